//! What is known of a server and its databases, in the manifest.

use std::collections::BTreeMap;

use repository::Facts;
use serde_json::{Value, json};

use super::archive::Contents;
use super::inventory::{Counted, Database};
use crate::source::into_server::TABLES;

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
/// A database's file in the snapshot.
pub const FILE: &str = "file";
/// How a database's text is stored, such as `UTF8`.
pub const ENCODING: &str = "encoding";
/// Versions of extensions, by name.
pub const EXTENSIONS: &str = "extensions";

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
