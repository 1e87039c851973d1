//! What is known of a server and of its dump.

use std::collections::BTreeMap;

use repository::Facts;
use serde_json::{Value, json};

use super::aof::Counted;
use super::rdb::{Dump, Keys};
use crate::source::shrink::{Before, Lost, Sizes};

/// The server's name and version.
pub const SERVER: &str = "server";
/// Of which history of changes the dump is a state, and which.
pub const POSITION: &str = "position";
/// The dump's own version, and its checksum.
const DUMP: &str = "dump";
/// How many keys each database has, and how many of these expire; by its number.
pub const DATABASES: &str = "databases";
/// How many keys there are of each type.
const TYPES: &str = "types";
/// How many libraries of functions.
pub const FUNCTIONS: &str = "functions";
/// The types of modules that have values in the dump.
const MODULES: &str = "modules";
/// The files of the log of changes, with how many commands are in each, and keys in the dump that it may begin with.
pub const LOG: &str = "log";
/// How many users.
pub const USERS: &str = "users";

/// Whether it is a Redis, and which.
pub fn of_server(info: &BTreeMap<String, String>) -> Facts {
    let get = |name: &str| info.get(name).cloned();
    let (name, version) = match get("valkey_version") {
        Some(version) => (get("server_name").unwrap_or_else(|| "valkey".to_owned()), Some(version)),
        None => ("redis".to_owned(), get("redis_version")),
    };
    Facts::from_iter([(SERVER.to_owned(), json!({ "name": name, "version": version, "role": get("role") }))])
}

/// See [`POSITION`].
pub fn of_position((id, offset): &(String, u64)) -> (String, Value) {
    (POSITION.to_owned(), json!({ "history": id, "offset": offset }))
}

/// What the dump holds.
pub fn of_dump(dump: &Dump) -> Facts {
    let checksum = dump.checksum.map(|sum| format!("{sum:016x}"));
    let facts = [
        (DUMP, json!({ "version": dump.version, "checksum": checksum })),
        (DATABASES, of_databases(&dump.databases)),
        (TYPES, json!(dump.types)),
        (FUNCTIONS, json!(dump.functions)),
        (MODULES, json!(dump.modules)),
    ];
    facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// See [`LOG`]. `None` where there is no log.
pub fn of_log(counted: impl Iterator<Item = (String, Counted)>) -> Option<(String, Value)> {
    let fact =
        |(name, counted): (String, Counted)| (name, json!({ "commands": counted.commands, "keys": counted.keys }));
    let log: Facts = counted.map(fact).collect();
    (!log.is_empty()).then(|| (LOG.to_owned(), Value::Object(log)))
}

/// Empty databases are left out, as a server does it.
pub fn of_databases(databases: &BTreeMap<u64, Keys>) -> Value {
    let filled = databases.iter().filter(|(_, keys)| keys.keys > 0);
    let fact =
        |(number, keys): (&u64, &Keys)| (number.to_string(), json!({ "keys": keys.keys, "expiring": keys.expiring }));
    Value::Object(filled.map(fact).collect())
}

/// What is lost of keys that stay: those that expire come and go. A database without keys is one with none of them.
pub fn lost(before: &Before<'_>, dump: &Dump) -> Lost {
    let staying = |database: &Value| Some(database["keys"].as_u64()?.saturating_sub(database["expiring"].as_u64()?));
    let sizes = |facts: &Facts| -> Sizes {
        let all = facts.get(DATABASES).and_then(Value::as_object).into_iter().flatten();
        all.filter_map(|(number, database)| Some((told_as(number), staying(database)?))).collect()
    };
    let now: Sizes = dump
        .databases
        .iter()
        .map(|(number, keys)| (told_as(&number.to_string()), keys.keys.saturating_sub(keys.expiring)))
        .collect();
    before.lost("keys that do not expire", sizes, |name| Some(now.get(name).copied().unwrap_or(0)), |_, _| true)
}

fn told_as(number: &str) -> String {
    format!("database {number}")
}
