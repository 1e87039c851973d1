//! How databases become files, and names become patterns of the tools.

/// The file of a database in the snapshot. Letters and digits of any script stay as they are; what could be more than a name
/// to somebody is written as `%` and its bytes in hexadecimal digits.
pub fn file_name(database: &str) -> String {
    let mut name = String::new();
    for (at, letter) in database.char_indices() {
        let is_plain = letter.is_alphanumeric() || matches!(letter, '_' | '-') || (letter == '.' && at > 0);
        if is_plain {
            name.push(letter);
        } else {
            let mut bytes = [0; 4];
            name.extend(letter.encode_utf8(&mut bytes).bytes().map(|byte| format!("%{byte:02x}")));
        }
    }
    name + ".dump"
}

/// A pattern of `pg_dump` that means this table and no other.
pub fn pattern(schema: &str, table: &str) -> String {
    format!("{}.{}", quoted(schema), quoted(table))
}

/// A name as SQL has it, whatever is in it.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Schema and name of a table, of both as SQL has them: `public."T"`. `None` where that is not what it is.
pub fn parts(qualified: &str) -> Option<(String, String)> {
    let (schema, rest) = unquoted(qualified)?;
    let (name, rest) = unquoted(rest.strip_prefix('.')?)?;
    rest.is_empty().then_some((schema, name))
}

/// The name that a text begins with, and what follows it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find('.').unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let mut name = String::new();
    let mut rest = quoted;
    loop {
        let end = rest.find('"')?;
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(after) => (name, rest) = (name + "\"", after),
            None => return Some((name, rest)),
        }
    }
}

/// A text as SQL has it.
pub fn literal(text: &str) -> String {
    let text = text.replace('\'', "''");
    if text.contains('\\') { format!(" E'{}'", text.replace('\\', "\\\\")) } else { format!("'{text}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_of_a_database_is_a_name_of_a_file_and_no_two_are_the_same() {
        let names = ["shop", "Ünïcode", "a/b", "a%2fb", "..", ".hidden", "a b", "a.b", "quo\"te", "nl\n", "x;rm"];
        let files: Vec<_> = names.iter().map(|name| file_name(name)).collect();
        assert_eq!(files[..5], ["shop.dump", "Ünïcode.dump", "a%2fb.dump", "a%252fb.dump", "%2e..dump"]);
        assert_eq!(files.iter().collect::<std::collections::BTreeSet<_>>().len(), names.len());
        assert!(files.iter().all(|file| repository::Node::is_valid_name(file.as_bytes())));
    }

    #[test]
    fn names_are_read_back_as_they_were_quoted() {
        for (schema, name) in [("public", "t"), ("a.b", "c\"d"), ("\"", "ü x"), ("s", "..")] {
            assert_eq!(parts(&pattern(schema, name)), Some((schema.to_owned(), name.to_owned())));
        }
        assert_eq!(parts("public.t"), Some(("public".to_owned(), "t".to_owned())));
        for wrong in ["", "t", "public.", ".t", "\"a", "\"a\"b.c", "a.b.c"] {
            assert_eq!(parts(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn names_and_texts_are_quoted_whatever_is_in_them() {
        assert_eq!(pattern("pub*", "a\"b"), "\"pub*\".\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), " E'a\\\\''b'");
    }
}
