//! What is known of a server and of its databases.

use std::collections::BTreeMap;
use std::path::PathBuf;

use repository::Facts;
use serde_json::{Value, json};

use super::inventory::Identity;
use super::split::{Held, LogPosition};
use crate::source::output::Whole;
use crate::source::produced::{FILES, files_fact};
use crate::source::shrink;

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

/// What this snapshot lacks that the last one had: databases that are gone, of those that `is_wanted`, and more than `percent_max`
/// of the rows of one. Each with the name of the database.
pub fn lost(
    previous: &Facts,
    held: &BTreeMap<String, Held>,
    is_wanted: impl Fn(&str) -> bool,
    percent_max: u8,
) -> Vec<(String, String)> {
    let before = previous.get(DATABASES).and_then(Value::as_object).into_iter().flatten();
    let lost = before.filter(|(name, _)| is_wanted(name)).filter_map(|(name, before)| {
        let rows = before["tables"].as_object().into_iter().flat_map(|tables| tables.values());
        let rows = rows.filter_map(Value::as_u64).fold(0, u64::saturating_add);
        let what = match held.get(name) {
            Some(now) => {
                let now = now.tables.values().copied().fold(0, u64::saturating_add);
                shrink::told("rows", rows, now, percent_max)?
            }
            None => "was in the last snapshot and is not in this one: see where it has gone, or name it in `exclude`"
                .to_owned(),
        };
        Some((name.clone(), what))
    });
    lost.collect()
}

/// Sizes and hashes.
pub fn add_files(facts: &mut Facts, files: &BTreeMap<PathBuf, Whole>) {
    facts.insert(FILES.to_owned(), files_fact(files));
}
