//! How a database itself is made, by what its archive says: `pg_restore` does that only under the name it had.

use super::archive::Listed;

/// The word that stands before a database's name. As a name in SQL it would be quoted.
const WORD: &str = "DATABASE";
/// What the table of contents calls the entries.
const CREATE: &str = "DATABASE";
/// How statements in UTF-8 begin.
const UTF8: &[u8] = b"SET client_encoding = 'UTF8';\n";
/// What stands before a table space.
const TABLE_SPACE: &str = " TABLESPACE = ";

/// Statements about a database, in its own encoding.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Definition {
    /// Says how the others are written.
    written: Vec<u8>,
    create: Vec<u8>,
    owner: Vec<u8>,
    /// What is done once it is there: properties, rights, comments.
    then: Vec<u8>,
}

impl Definition {
    /// The definition in an archive. `None` where the archive has none.
    pub fn of(contents: &[Listed]) -> Option<Self> {
        let mut found = Self::default();
        for entry in contents {
            if entry.tells_how_written() {
                found.written.extend_from_slice(&entry.definition);
            } else if entry.kind == CREATE {
                found.create.extend_from_slice(&entry.definition);
                found.owner = entry.owner.clone();
            } else if entry.is_about_database() {
                found.then.extend_from_slice(&entry.definition);
            }
        }
        // What all databases share is seldom in the encoding of this one: see `inventory::as_stored`.
        if [&found.create, &found.owner, &found.then].into_iter().all(|text| std::str::from_utf8(text).is_ok()) {
            found.written.extend_from_slice(UTF8);
        }
        (!found.create.is_empty()).then_some(found)
    }

    /// The table space it lies in, if that is not the usual one.
    pub fn table_space(&self) -> Option<String> {
        let at = table_space(&self.create)?;
        let name = self.create[at + TABLE_SPACE.len()..].trim_ascii_end().strip_suffix(b";")?;
        let name = String::from_utf8(name.to_vec()).ok()?;
        let inner = name.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
        Some(inner.map_or(name.clone(), |inner| inner.replace("\"\"", "\"")))
    }

    /// Makes it under this name, in the usual table space or its own.
    pub fn create(&self, name: &str, in_its_table_space: bool) -> Vec<u8> {
        let create = match table_space(&self.create).filter(|_| !in_its_table_space) {
            Some(at) => [&self.create[..at], b";\n"].concat(),
            None => self.create.clone(),
        };
        [&*self.written, &renamed(&create, name)].concat()
    }

    /// Gives it, under this name, its owner, properties, rights and comments.
    pub fn properties(&self, name: &str) -> Vec<u8> {
        let mut statements = self.written.clone();
        if !self.owner.is_empty() {
            statements.extend(format!("ALTER DATABASE {} OWNER TO \"", written(name)).into_bytes());
            statements.extend(self.owner.iter().flat_map(|byte| vec![*byte; if *byte == b'"' { 2 } else { 1 }]));
            statements.extend(b"\";\n");
        }
        statements.extend(renamed(&self.then, name));
        statements
    }
}

/// A name as SQL has it, in any encoding.
fn written(name: &str) -> String {
    if name.is_ascii() {
        return super::names::quoted(name);
    }
    let letter = |letter: char| match letter {
        '"' => "\"\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        letter if letter.is_ascii() => letter.to_string(),
        letter => format!("\\+{:06x}", u32::from(letter)),
    };
    format!("U&\"{}\"", name.chars().map(letter).collect::<String>())
}

/// Where the table space is named, which comes last.
fn table_space(create: &[u8]) -> Option<usize> {
    let is_there = |at: &usize| create[*at..].starts_with(TABLE_SPACE.as_bytes());
    outside_of_quotes(create).filter(is_there).last()
}

/// With another name after each word that a database's name follows.
fn renamed(statements: &[u8], name: &str) -> Vec<u8> {
    let (mut renamed, mut done) = (Vec::new(), 0);
    let word = format!(" {WORD} ").into_bytes();
    let words: Vec<usize> = outside_of_quotes(statements).filter(|at| statements[*at..].starts_with(&word)).collect();
    for at in words {
        let begins = at + word.len();
        renamed.extend_from_slice(&statements[done..begins]);
        renamed.extend_from_slice(written(name).as_bytes());
        done = begins + name_length(&statements[begins..]);
    }
    renamed.extend_from_slice(&statements[done..]);
    renamed
}

/// How long the name is that a text begins with.
fn name_length(text: &[u8]) -> usize {
    let is_end = |at: &usize| matches!(text[*at], b' ' | b';' | b'\n');
    outside_of_quotes(text).find(is_end).unwrap_or(text.len())
}

/// Where in these statements no text and no quoted name is. A quote that is doubled ends one and begins another, and in all encodings
/// of servers a quote is a quote.
fn outside_of_quotes(statements: &[u8]) -> impl Iterator<Item = usize> {
    let mut within = None;
    statements.iter().enumerate().filter_map(move |(at, byte)| {
        match (within, byte) {
            (None, b'\'' | b'"') => within = Some(*byte),
            (None, _) => return Some(at),
            (Some(quote), byte) if *byte == quote => within = None,
            _ => {}
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(kind: &str, name: &str, definition: &str) -> Listed {
        Listed {
            kind: kind.to_owned(),
            name: name.as_bytes().to_vec(),
            owner: b"odd \"role".to_vec(),
            definition: definition.as_bytes().to_vec(),
            ..Listed::default()
        }
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_database_gets_another_name_wherever_it_is_named_and_nowhere_else() {
        let contents = [
            listed("ENCODING", "ENCODING", "SET client_encoding = 'LATIN1';\n"),
            listed(
                "DATABASE",
                "a \"b",
                "CREATE DATABASE \"a \"\"b\" WITH ENCODING = 'UTF8' TABLESPACE = \"of \"\"it\";\n",
            ),
            listed(
                "COMMENT",
                "DATABASE \"a \"\"b\"",
                "COMMENT ON DATABASE \"a \"\"b\" IS 'it''s DATABASE x; TABLESPACE = y';\n",
            ),
            listed(
                "DATABASE PROPERTIES",
                "a \"b",
                "ALTER ROLE database IN DATABASE \"a \"\"b\" SET a.b TO ' DATABASE x';\n",
            ),
            listed("ACL", "DATABASE \"a \"\"b\"", "GRANT CONNECT ON DATABASE \"a \"\"b\" TO database;\n"),
            listed("COMMENT", "TABLE t", "COMMENT ON TABLE t IS 'x';\n"),
        ];
        let found = Definition::of(&contents).unwrap();
        assert_eq!(found.table_space().as_deref(), Some("of \"it"));
        let set = "SET client_encoding = 'LATIN1';\nSET client_encoding = 'UTF8';\n";
        assert_eq!(text(found.create("c", false)), format!("{set}CREATE DATABASE \"c\" WITH ENCODING = 'UTF8';\n"));
        let own = format!("{set}CREATE DATABASE \"c\" WITH ENCODING = 'UTF8' TABLESPACE = \"of \"\"it\";\n");
        assert_eq!(text(found.create("c", true)), own);
        assert_eq!(
            text(found.properties("ü\"")),
            format!(
                "{set}ALTER DATABASE U&\"\\+0000fc\"\"\" OWNER TO \"odd \"\"role\";\n\
                 COMMENT ON DATABASE U&\"\\+0000fc\"\"\" IS 'it''s DATABASE x; TABLESPACE = y';\n\
                 ALTER ROLE database IN DATABASE U&\"\\+0000fc\"\"\" SET a.b TO ' DATABASE x';\n\
                 GRANT CONNECT ON DATABASE U&\"\\+0000fc\"\"\" TO database;\n"
            )
        );
        assert_eq!(Definition::of(&contents[..1]), None);
    }
}
