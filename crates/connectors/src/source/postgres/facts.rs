//! What is known of a server and its databases, in the manifest.

use std::collections::{BTreeMap, BTreeSet};

use repository::Facts;
use serde_json::{Value, json};

use super::archive::Contents;
use super::inventory::{Counted, Database};
use super::tools::Version;
use crate::source::into_server::TABLES;

/// The fact that says which server it was.
pub const SERVER: &str = "server";
/// The server's version, below [`SERVER`].
pub const VERSION: &str = "version";
/// The user that the server was made with, below [`SERVER`].
pub const FIRST_USER: &str = "first_user";
/// The fact that lists the roles; of a database, those that it needs.
pub const ROLES: &str = "roles";
/// The fact that holds all databases, by name.
pub const DATABASES: &str = "databases";
/// Whether their passwords are in the snapshot, below [`SERVER`]; only where they are not.
pub const ROLE_PASSWORDS: &str = "role_passwords";
/// A database's file in the snapshot.
pub const FILE: &str = "file";
/// How a database's text is stored, such as `UTF8`.
pub const ENCODING: &str = "encoding";
/// Versions of extensions, by name.
pub const EXTENSIONS: &str = "extensions";
/// Since this version, `pg_dump` writes rights and settings of the database itself, which were left to `pg_dumpall` before.
const WITH_PROPERTIES: u32 = 11;
/// The version of the rules by which a database's text was sorted. Another server has its own, and sorts anew.
const COLLATION_VERSION: &str = "collation_version";

/// What is known of a database besides what was counted.
pub fn about(database: &Database, file: &str) -> Facts {
    let facts = [(FILE, Some(file)), (ENCODING, Some(&*database.encoding))];
    let facts = facts.into_iter().chain([(COLLATION_VERSION, database.collation_version.as_deref())]);
    facts.filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?)))).collect()
}

/// The roles that a database needs: whose its things are, and who has rights to them.
pub fn roles_needed(used: &[String], contents: &Contents) -> Value {
    // What is nobody's that PostgreSQL keeps account of is its first user's.
    let owners = contents.owners.iter().filter_map(|owner| String::from_utf8(owner.clone()).ok());
    let owners = owners.filter(|owner| !owner.starts_with("pg_"));
    json!(used.iter().cloned().chain(owners).collect::<BTreeSet<_>>())
}

/// What `pg_dump` does not write of what belongs to a database itself, which a restore then lacks.
pub fn what_is_not_dumped(properties: Option<&Value>, encoding: &str, dumped_by: Version) -> Option<String> {
    if dumped_by.major < WITH_PROPERTIES {
        return Some(format!(
            "pg_dump {dumped_by} does not write them: install one of version {WITH_PROPERTIES} or newer"
        ));
    }
    // What all databases share is mostly in UTF-8.
    let is_written =
        |properties: &Value| ["UTF8", "SQL_ASCII"].contains(&encoding) || properties.to_string().is_ascii();
    let is_lost = !properties.is_some_and(is_written);
    is_lost.then(|| format!("pg_dump writes none of their letters that are not in its encoding, {encoding}"))
}

/// What was counted in a database, what its archive holds, and the last value of each sequence and whether it was given out.
pub fn counted(counted: &Counted, contents: &Contents, sequences: &BTreeMap<String, (i64, bool)>) -> Facts {
    let sequences: BTreeMap<&String, Value> = sequences
        .iter()
        .map(|(name, (last, is_called))| (name, json!({ "last": last, "given_out": is_called })))
        .collect();
    let facts = [
        (TABLES, json!(counted.tables)),
        ("large_objects", json!(counted.large_objects)),
        (EXTENSIONS, json!(counted.extensions)),
        ("sequences", json!(sequences)),
        ("objects", json!(contents.objects)),
    ];
    facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pg_dump_loses_is_not_compared() {
        let lost = |comment: &str, encoding: &str, major: u32| {
            what_is_not_dumped(Some(&json!({ "comment": comment })), encoding, Version { major, minor: 0 })
        };
        assert_eq!([lost("ü", "UTF8", 11), lost("ü", "SQL_ASCII", 18), lost("u", "LATIN1", 15)], [None, None, None]);
        assert!(lost("ü", "LATIN1", 15).unwrap().ends_with("not in its encoding, LATIN1"));
        assert!(lost("u", "UTF8", 10).unwrap().starts_with("pg_dump 10.0 does not write them"));
        assert!(what_is_not_dumped(None, "UTF8", Version { major: 15, minor: 0 }).is_some());
    }
}
