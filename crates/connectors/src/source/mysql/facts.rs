//! What is known of a server and of its databases.

use std::collections::BTreeMap;

use repository::Facts;
use serde_json::{Value, json};

use super::inventory::Identity;
use super::split::{Held, LogPosition};

/// The server's kind and version, and how it takes capitals.
pub const SERVER: &str = "server";
/// How far its log of changes had come.
pub const LOG: &str = "binary_log";
/// What each database holds.
pub const DATABASES: &str = "databases";
/// How many accounts.
pub const ACCOUNTS: &str = "accounts";

/// See [`SERVER`].
pub fn of_server(identity: &Identity) -> Facts {
    let server = json!({
        "kind": identity.kind.name(), "version": identity.said,
        "lower_case_table_names": identity.lower_case_table_names,
    });
    Facts::from_iter([(SERVER.to_owned(), server)])
}

/// See [`LOG`]. `None` where the server keeps no log, or does not tell.
pub fn of_log(position: &LogPosition) -> Option<(String, Value)> {
    let (file, place) = position.file.as_ref()?;
    Some((LOG.to_owned(), json!({ "file": file, "position": place, "gtid": position.gtid })))
}

/// See [`DATABASES`].
pub fn of_databases(held: &BTreeMap<String, Held>) -> Value {
    let fact = |held: &Held| {
        json!({
            "tables": held.tables, "sequences": held.sequences, "views": held.views, "routines": held.routines,
            "triggers": held.triggers, "events": held.events,
        })
    };
    Value::Object(held.iter().map(|(name, held)| (name.clone(), fact(held))).collect())
}
