//! Tables out of an archive, each with all that is its own: `pg_restore --table` brings rows alone, without keys, defaults,
//! indexes and triggers. What belongs to what is told by the table of contents, where every entry names those it needs.

use std::collections::BTreeSet;

use super::archive::Listed;

/// The kinds of entry that others can be of, and those of them that have rows.
const RELATIONS: [&str; 4] = ["TABLE", "MATERIALIZED VIEW", "VIEW", "FOREIGN TABLE"];
const WITH_ROWS: [&str; 2] = ["TABLE", "MATERIALIZED VIEW"];
/// What is of one relation, though it may need others.
const OF_RELATION: [&str; 13] = [
    "TABLE DATA",
    "MATERIALIZED VIEW DATA",
    "SEQUENCE",
    "DEFAULT",
    "CONSTRAINT",
    "CHECK CONSTRAINT",
    FOREIGN_KEY,
    "INDEX",
    "STATISTICS",
    "TRIGGER",
    "RULE",
    "POLICY",
    "ROW SECURITY",
];
/// What is of whatever it needs.
const OF_ANYTHING: [&str; 5] = ["COMMENT", "ACL", "SECURITY LABEL", "SEQUENCE OWNED BY", "SEQUENCE SET"];
const FOREIGN_KEY: &str = "FK CONSTRAINT";
const PARTITION: &str = "TABLE ATTACH";
const PUBLISHED: &str = "PUBLICATION TABLE";

/// What is restored of an archive.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Picked {
    /// The numbers of its entries, in their order.
    pub entries: Vec<i64>,
    /// Foreign keys among them, to tables that are not.
    pub references: Vec<Reference>,
    /// Those of the tables that are partitions of others.
    pub partitions: Vec<String>,
    /// Tables in publications, as `PUBLICATION TABLE`.
    pub published: Vec<String>,
}

/// A foreign key to a table that is not picked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The number of its entry.
    pub entry: i64,
    /// Its table and its name.
    pub name: String,
    /// Schema and name of the table that must be there.
    pub to: (String, String),
}

impl Picked {
    /// The list for `pg_restore`.
    pub fn list(&self) -> String {
        self.entries.iter().map(|number| format!("{number};\n")).collect()
    }

    /// Leaves an entry out, and what is said of it.
    pub fn leave_out(&mut self, entry: i64, contents: &[Listed]) {
        let is_about = |other: &&Listed| OF_ANYTHING.contains(&&*other.kind) && other.needs.contains(&entry);
        let gone: Vec<i64> = contents.iter().filter(is_about).map(|other| other.number).chain([entry]).collect();
        self.entries.retain(|number| !gone.contains(number));
    }
}

/// Picks tables, by schema and name. Fails, with a message for the user, where one is not listed or where it is not certain what
/// belongs to it.
pub fn pick<'a>(contents: &[Listed], tables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Picked, String> {
    let mut own = BTreeSet::new();
    for (schema, name) in tables {
        let is_meant = |entry: &&Listed| {
            WITH_ROWS.contains(&&*entry.kind) && entry.schema == schema.as_bytes() && entry.name == name.as_bytes()
        };
        let found = contents.iter().find(is_meant);
        let found = found.ok_or_else(|| format!("the archive does not list table {schema}.{name} under this name"))?;
        own.insert(found.number);
    }
    let tables = own.clone();
    loop {
        let before = own.len();
        for entry in contents {
            if entry.needs.iter().any(|number| own.contains(number)) && belongs(entry, contents, &own)? {
                own.insert(entry.number);
            }
        }
        if own.len() == before {
            break;
        }
    }
    let mut picked = Picked::default();
    for entry in contents {
        if own.contains(&entry.number) {
            picked.entries.push(entry.number);
        }
        let mut needed = relations(entry, contents);
        let is_of_tables = needed.iter().any(|relation| tables.contains(&relation.number));
        match &*entry.kind {
            FOREIGN_KEY if own.contains(&entry.number) => {
                needed.retain(|relation| !tables.contains(&relation.number));
                picked.references.extend(needed.into_iter().map(|relation| Reference {
                    entry: entry.number,
                    name: text(&entry.name),
                    to: (text(&relation.schema), text(&relation.name)),
                }));
            }
            PARTITION if needed.iter().any(|it| tables.contains(&it.number) && it.name == entry.name) => {
                picked.partitions.push(text(&entry.name));
            }
            PUBLISHED if is_of_tables => picked.published.push(text(&entry.name)),
            _ => {}
        }
    }
    Ok(picked)
}

/// Everything but these extensions, and what is said of them.
pub fn without_extensions(contents: &[Listed], extensions: &[String]) -> Picked {
    let is_left_out = |entry: &&Listed| match &*entry.kind {
        "EXTENSION" => extensions.iter().any(|name| entry.name == name.as_bytes()),
        "COMMENT" => extensions.iter().any(|name| {
            let quoted = super::names::quoted(name);
            [name, &quoted].into_iter().any(|name| entry.name == format!("EXTENSION {name}").as_bytes())
        }),
        _ => false,
    };
    let entries = contents.iter().filter(|entry| !is_left_out(entry)).map(|entry| entry.number).collect();
    Picked { entries, ..Picked::default() }
}

/// Whether an entry that needs something of our `own` is of it, too.
fn belongs(entry: &Listed, contents: &[Listed], own: &BTreeSet<i64>) -> Result<bool, String> {
    if OF_ANYTHING.contains(&&*entry.kind) {
        return Ok(true);
    }
    if !OF_RELATION.contains(&&*entry.kind) {
        return Ok(false);
    }
    let needed = relations(entry, contents);
    // Where there are several, the entry is called by the name of the one it is of, a space, and its own.
    let is_named = |relation: &&Listed| {
        let rest = entry.name.strip_prefix(&relation.name[..]);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b" "))
    };
    let named: Vec<&Listed> = needed.iter().copied().filter(is_named).collect();
    match (&needed[..], &named[..]) {
        ([one], _) | (_, [one]) => Ok(own.contains(&one.number)),
        // It needs an index or a sequence of ours, and is of no relation.
        ([], _) => Ok(false),
        _ => {
            let (kind, name) = (&entry.kind, text(&entry.name));
            Err(format!("the archive does not tell of which table {kind} {name} is"))
        }
    }
}

/// The relations that an entry needs, each once.
fn relations<'a>(entry: &Listed, contents: &'a [Listed]) -> Vec<&'a Listed> {
    let is_needed = |other: &&Listed| RELATIONS.contains(&&*other.kind) && entry.needs.contains(&other.number);
    contents.iter().filter(is_needed).collect()
}

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(entries: &[(i64, &str, &str, &[i64])]) -> Vec<Listed> {
        let listed = |(number, kind, name, needs): &(i64, &str, &str, &[i64])| Listed {
            number: *number,
            kind: kind.to_string(),
            schema: b"public".to_vec(),
            name: name.as_bytes().to_vec(),
            needs: needs.to_vec(),
            ..Listed::default()
        };
        entries.iter().map(listed).collect()
    }

    #[test]
    fn what_is_of_others_stays_though_it_needs_the_table() {
        let contents = contents(&[
            (1, "TABLE", "a", &[]),
            (2, "TABLE", "b", &[]),
            (3, "VIEW", "v", &[1]),
            (4, "SEQUENCE", "a_id_seq", &[1]),
            (5, "DEFAULT", "b id", &[2, 4]),
            (6, "RULE", "v r", &[3, 1]),
            (7, "POLICY", "a p", &[2, 1]),
            (8, "CONSTRAINT", "a a_pkey", &[1]),
            (9, "FK CONSTRAINT", "b b_a", &[1, 2, 8]),
            (10, "FK CONSTRAINT", "a a_b", &[1, 2]),
            (11, "COMMENT", "CONSTRAINT a_b ON a", &[10]),
        ]);
        let mut picked = pick(&contents, [("public", "a")]).unwrap();
        assert_eq!(picked.entries, [1, 4, 7, 8, 10, 11]);
        let to = ("public".to_owned(), "b".to_owned());
        assert_eq!(picked.references, [Reference { entry: 10, name: "a a_b".to_owned(), to }]);
        picked.leave_out(10, &contents);
        assert_eq!(picked.list(), "1;\n4;\n7;\n8;\n");
        let both = pick(&contents, [("public", "a"), ("public", "b")]).unwrap();
        assert_eq!((both.entries, both.references), (vec![1, 2, 4, 5, 7, 8, 9, 10, 11], vec![]));
    }

    #[test]
    fn what_might_be_of_either_of_two_is_refused() {
        let contents =
            contents(&[(1, "TABLE", "a", &[]), (2, "TABLE", "a b", &[]), (3, "FK CONSTRAINT", "a b c", &[1, 2])]);
        let error = pick(&contents, [("public", "a")]).unwrap_err();
        assert_eq!(error, "the archive does not tell of which table FK CONSTRAINT a b c is");
        let error = pick(&contents, [("other", "a")]).unwrap_err();
        assert_eq!(error, "the archive does not list table other.a under this name");
    }
}
