//! What is known of files that a capture did not see: whose folder was not mounted, that could not be opened, that are gone.
//! It is carried from snapshot to snapshot, so that a file which comes back with less than it had is found out, and what holds
//! it whole is not removed meanwhile.

use std::collections::BTreeSet;

use repository::source::GOOD_IN_FACT;
use serde_json::{Map, Value, json};

use super::damage::identity;
use super::data_folder::{COMPACTED, Kind};
use super::parent::Before;

/// What is carried on of the files that the parent snapshot knows and this capture has neither in `files` nor in `damaged`.
/// It ends where `is_deleted`, which is asked for shards by their files, says so.
pub fn carried(
    before: &Before<'_>,
    files: &Map<String, Value>,
    damaged: &Map<String, Value>,
    is_deleted: impl Fn(&str) -> bool,
) -> Map<String, Value> {
    let is_known = |key: &str| files.contains_key(key) || damaged.contains_key(key);
    let is_seen = |file: &str| is_known(file) || is_known(&format!("{file}{COMPACTED}"));
    let unseen = database_files(before).into_iter().filter(|file| !is_seen(file) && !is_deleted(file));
    unseen.map(|file| (file.to_owned(), record(before, file))).collect()
}

/// The database files that the parent snapshot knows, a compacted one by the name that it will have.
pub fn database_files<'a>(before: &Before<'a>) -> BTreeSet<&'a str> {
    before.database_files().map(|key| key.strip_suffix(COMPACTED).unwrap_or(key)).collect()
}

fn record(before: &Before<'_>, file: &str) -> Value {
    json!({
        "last": before.last(file).map(identity),
        "lost": before.lost(file),
        "good_in": before.good_in(Kind::Database, file),
    })
}

/// The fact that lists the snapshots which `records` name.
pub fn good_in<'a>(records: impl Iterator<Item = &'a Value>) -> Option<(String, Value)> {
    let named: BTreeSet<&str> = records.filter_map(|record| record.get("good_in")?.as_str()).collect();
    (!named.is_empty()).then(|| (GOOD_IN_FACT.to_owned(), json!(named)))
}
