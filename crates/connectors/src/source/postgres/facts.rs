//! What is known of a server and its databases, in the manifest.

use std::collections::BTreeMap;

use repository::Facts;
use serde_json::{Value, json};

use super::archive::Contents;
use super::inventory::{Counted, Database};
use crate::source::shrink;

/// The fact that says which server it was.
pub const SERVER: &str = "server";
/// The server's version, below [`SERVER`].
pub const VERSION: &str = "version";
/// The user that the server was made with, below [`SERVER`].
pub const FIRST_USER: &str = "first_user";
/// The fact that lists the roles.
pub const ROLES: &str = "roles";
/// The fact that holds all databases, by name.
pub const DATABASES: &str = "databases";
/// A database's file in the snapshot, and how its text is stored.
pub const FILE: &str = "file";
/// See [`FILE`].
pub const ENCODING: &str = "encoding";
/// Versions of extensions, by name.
pub const EXTENSIONS: &str = "extensions";

/// Rows of each table, by name.
pub const TABLES: &str = "tables";

/// What this snapshot lacks that the last one had: databases that are gone, of those that `is_wanted`, and more than `percent_max`
/// of the rows of one. Each with the name of the database.
pub fn lost(
    previous: &Facts,
    databases: &Facts,
    is_wanted: impl Fn(&str) -> bool,
    percent_max: u8,
) -> Vec<(String, String)> {
    let before = previous.get(DATABASES).and_then(Value::as_object).into_iter().flatten();
    let lost = before.filter(|(name, _)| is_wanted(name)).filter_map(|(name, before)| {
        let what = match databases.get(name) {
            Some(now) => shrink::told("rows", rows(before), rows(now), percent_max)?,
            None => "was in the last snapshot and is not in this one: see where it has gone, or name it in `exclude`"
                .to_owned(),
        };
        Some((name.clone(), what))
    });
    lost.collect()
}

fn rows(database: &Value) -> u64 {
    let tables = database[TABLES].as_object().into_iter().flat_map(|tables| tables.values());
    tables.filter_map(Value::as_u64).fold(0, u64::saturating_add)
}

/// What is known of a database besides what was counted.
pub fn about(database: &Database, file: &str) -> Facts {
    let facts = [
        (FILE, file),
        ("owner", &database.owner),
        (ENCODING, &database.encoding),
        ("collate", &database.collate),
        ("ctype", &database.ctype),
    ];
    facts.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
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
