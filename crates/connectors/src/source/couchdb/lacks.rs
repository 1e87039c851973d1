//! What a snapshot lacks of one database, and which databases it lacks altogether, as the facts say.

use std::collections::BTreeSet;
use std::path::Path;

use couchfile::ShardName;
use repository::{Facts, Problem};

use super::capture::UNDECRYPTABLE;
use super::data_folder::Kind;
use super::facts::{DAMAGED, DATABASES, FILES};
use super::select::{has_shard, names, no_database, no_shard_map, object, shards_lacking, shards_named};
use super::shard_map::SHARD_MAP_FILES;

/// What the snapshot lacks of `database`, in words; nothing where it is whole. `of_all` are the facts of all nodes that are in
/// the snapshot: what another one has is not lacking.
pub fn lacks(facts: &Facts, of_all: &[&Facts], database: &str) -> Vec<String> {
    if let Some(what) = no_database(facts).or_else(|| no_shard_map(facts)) {
        return vec![what];
    }
    if !databases_in(facts).contains(database) {
        return vec!["it is not there".to_owned()];
    }
    let is_own = |shard: &ShardName| shard.database == database;
    let here: BTreeSet<ShardName> = shards_lacking(facts).into_iter().filter(is_own).collect();
    let nowhere = |shard: &ShardName| !here.contains(shard) && !of_all.iter().any(|facts| has_shard(facts, shard));
    let elsewhere: Vec<ShardName> = shards_named(facts, database).into_iter().filter(nowhere).collect();
    let is_database = |name: &&String| Kind::of(Path::new(name.as_str())) == Kind::Database;
    let damaged = object(facts, DAMAGED).map(|(name, _)| name).filter(is_database);
    let damaged = damaged.filter_map(|name| ShardName::parse(name)).filter(is_own);
    let damaged: BTreeSet<ShardName> = damaged.filter(|shard| !here.contains(shard)).collect();
    let map = is_map_damaged(facts).then(|| "the shard map is damaged, or not the one of before".to_owned());
    let shards = [
        ranges("missing", here.iter()),
        ranges("on nodes whose files are not in the snapshot", elsewhere.iter()),
        ranges("damaged", damaged.iter()),
    ];
    map.into_iter().chain(shards.into_iter().flatten()).collect()
}

/// Whether a problem of the source is that nobody could decrypt `database`.
pub fn is_undecryptable(problem: &Problem, database: &str) -> bool {
    problem.what.ends_with(&format!("{UNDECRYPTABLE}{database}"))
}

/// The databases that the shard map named.
pub fn databases_in(facts: &Facts) -> BTreeSet<&str> {
    object(facts, DATABASES).map(|(name, _)| name.as_str()).collect()
}

/// Whether a database that the snapshot does not have may be lost. One that a whole shard map does not name, and of which no shard
/// is there, was deleted.
pub fn may_be_lost(facts: &Facts, database: &str) -> bool {
    let is_of_it = |name: &String| ShardName::parse(name).is_some_and(|shard| shard.database == database);
    no_database(facts).is_some()
        || no_shard_map(facts).is_some()
        || is_map_damaged(facts)
        || names(facts, FILES, Kind::Database).iter().any(is_of_it)
}

fn is_map_damaged(facts: &Facts) -> bool {
    object(facts, DAMAGED).any(|(name, _)| SHARD_MAP_FILES.contains(&name.as_str()))
}

fn ranges<'s>(what: &str, shards: impl ExactSizeIterator<Item = &'s ShardName>) -> Option<String> {
    let noun = if shards.len() == 1 { "shard" } else { "shards" };
    let ranges: Vec<String> = shards.map(|shard| shard.range.to_string()).collect();
    (!ranges.is_empty()).then(|| format!("{noun} {what}: {}", ranges.join(", ")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn facts(json: Value) -> Facts {
        serde_json::from_value(json).unwrap()
    }

    /// A node that has the first of three shards of `medic`, the second damaged, and a damaged view.
    fn node() -> Facts {
        facts(json!({
            "nodes": ["couchdb@one", "couchdb@two"],
            "databases": { "medic": {
                "suffix": ".1", "ranges": ["00000000-3fffffff", "40000000-7fffffff", "80000000-bfffffff", "c0000000-ffffffff"],
            } },
            "files": {
                "_dbs.couch": {}, "shards/00000000-3fffffff/medic.1.couch": {}, "shards/40000000-7fffffff/medic.1.couch": {},
            },
            "damaged": {
                "shards/40000000-7fffffff/medic.1.couch": { "what": "torn" },
                "shards/80000000-bfffffff/medic.1.couch": { "what": "its file is not there" },
                ".shards/00000000-3fffffff/medic.1_design/mrview/2da00b9a4e2604c99e4b65b70817033f.view": { "what": "torn" },
            },
            "missing": ["shards/80000000-bfffffff/medic.1.couch"],
        }))
    }

    #[test]
    fn what_a_snapshot_lacks_of_a_database_is_told_by_its_ranges() {
        let one = node();
        let other = facts(json!({ "files": { "shards/c0000000-ffffffff/medic.1.couch": {} } }));
        let (missing, damaged) = ("shard missing: 80000000-bfffffff", "shard damaged: 40000000-7fffffff");
        assert_eq!(lacks(&one, &[&one, &other], "medic"), [missing, damaged]);
        let elsewhere = "shard on nodes whose files are not in the snapshot: c0000000-ffffffff";
        assert_eq!(lacks(&one, &[&one], "medic"), [missing, elsewhere, damaged]);
        assert_eq!(lacks(&one, &[&one], "medic-sentinel"), ["it is not there"]);
        let mut whole = one.clone();
        whole.retain(|name, _| !["damaged", "missing"].contains(&name.as_str()));
        let rest = ["80000000-bfffffff", "c0000000-ffffffff"];
        let rest = rest.map(|range| (format!("shards/{range}/medic.1.couch"), json!({})));
        whole["files"].as_object_mut().unwrap().extend(rest);
        assert_eq!(lacks(&whole, &[&whole], "medic"), [""; 0]);
        let empty = facts(json!({ "databases": { "medic": {} } }));
        assert!(lacks(&empty, &[&empty], "medic")[0].starts_with("no database is in the snapshot"));
    }

    #[test]
    fn a_database_that_left_a_whole_shard_map_was_deleted() {
        let deleted = facts(json!({ "files": { "_dbs.couch": {} }, "databases": {} }));
        assert!(!may_be_lost(&deleted, "medic"));
        let with = |key: &str, value: Value| {
            let mut facts = deleted.clone();
            facts.insert(key.to_owned(), value);
            may_be_lost(&facts, "medic")
        };
        assert!(with("damaged", json!({ "_dbs.couch": { "what": "another file stands in its place" } })));
        assert!(with("files", json!({ "_dbs.couch": {}, "shards/00000000-ffffffff/medic.1.couch": {} })));
        assert!(with("files", json!({})));
    }
}
