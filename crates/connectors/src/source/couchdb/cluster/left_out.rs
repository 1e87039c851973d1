//! What sources have and a layout for other nodes does not bring, in words.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use couchfile::ShardName;
use repository::Facts;

use super::super::damage::without_ending;
use super::super::facts::{DATABASES, FILES};
use super::super::select::object;
use super::super::shard_map::{NODE_LIST, SHARD_MAP};
use super::{Held, record};

/// Databases that no or another shard map names than that of `first`: of another name, or made at another time. `placed` are
/// the shards that are brought, or that nobody has.
pub(super) fn databases(
    sources: &[(&str, &Facts)],
    held: &[Held],
    first: usize,
    placed: &BTreeSet<ShardName>,
) -> Vec<String> {
    // By name and suffix, with the sources whose map names it, and those that have shards of it.
    let mut left_out: BTreeMap<(String, String), [BTreeSet<&str>; 2]> = BTreeMap::new();
    let suffix_of = |facts: &Facts, database: &str| {
        let suffix = record(facts, DATABASES, database).and_then(|fact| fact.get("suffix")?.as_str());
        suffix.map(str::to_owned)
    };
    let facts_of_first = sources[first].1;
    for ((name, facts), held) in sources.iter().zip(held) {
        for (database, _) in object(facts, DATABASES) {
            let suffix = suffix_of(facts, database).unwrap_or_default();
            if suffix_of(facts_of_first, database).as_deref() != Some(&*suffix) {
                left_out.entry((database.clone(), suffix)).or_default()[0].insert(name);
            }
        }
        for shard in held.files.iter().filter_map(|file| ShardName::parse(file)).filter(|shard| !placed.contains(shard))
        {
            left_out.entry((shard.database, shard.suffix)).or_default()[1].insert(name);
        }
    }
    let told = |((database, suffix), [named, having]): ((String, String), [BTreeSet<&str>; 2])| {
        let list = |names: &BTreeSet<&str>| names.iter().copied().collect::<Vec<_>>().join(", ");
        let main = sources[first].0;
        let from = list(&named.union(&having).copied().collect());
        let why = match (suffix_of(facts_of_first, &database), named.is_empty()) {
            (Some(of_first), _) if of_first == suffix => {
                format!("{from} has shards of it that the shard map of {main} does not name")
            }
            (Some(of_first), _) => {
                format!("{from} has another one of that name, of {suffix}, while that of {main} is of {of_first}")
            }
            (None, false) => format!("only the shard map of {from} names it, and that of {main} does not"),
            (None, true) => format!("{from} has shards of it, and no shard map names it"),
        };
        format!("database {database}: {why}; left out, restore it out of the source alone")
    };
    left_out.into_iter().map(told).collect()
}

/// A database that is one file beside the shards, which belongs to its node alone.
pub(super) struct Beside {
    /// Those that are brought: for each name the one of `first`, else the fullest, with its source.
    pub taken: Vec<(usize, String)>,
    /// Those that are not, though they hold something.
    pub left_out: Vec<String>,
}

/// A file beside the shards of a source.
struct Own<'f> {
    source: usize,
    file: &'f String,
    documents: u64,
    updates: u64,
    uuid: Option<&'f str>,
}

impl<'f> Own<'f> {
    fn new(source: usize, file: &'f String, facts: &'f Facts) -> Self {
        let record = record(facts, FILES, file);
        let number = |name: &str| record.and_then(|record| record.get(name)?.as_u64()).unwrap_or(0);
        Self {
            source,
            file,
            documents: number("documents").saturating_add(number("deleted")),
            updates: number("update_seq"),
            uuid: record.and_then(|record| record.get("uuid")?.as_str()),
        }
    }

    /// Whether it is another database, or has what `taken` has not.
    fn adds_to(&self, taken: &Self) -> bool {
        let is_earlier = self.uuid.is_some() && self.uuid == taken.uuid && self.updates <= taken.updates;
        self.documents > 0 && !is_earlier
    }
}

pub(super) fn beside_shards(sources: &[(&str, &Facts)], held: &[Held], first: usize) -> Beside {
    let mut by_name: BTreeMap<&str, Vec<Own<'_>>> = BTreeMap::new();
    for (source, held) in held.iter().enumerate() {
        let files = held.files.iter().filter(|name| ShardName::parse(name).is_none());
        for file in files.filter(|name| ![SHARD_MAP, NODE_LIST].map(without_ending).contains(&without_ending(name))) {
            by_name.entry(without_ending(file)).or_default().push(Own::new(source, file, sources[source].1));
        }
    }
    let mut beside = Beside { taken: Vec::new(), left_out: Vec::new() };
    for (name, files) in by_name {
        let worth = |own: &&Own<'_>| (own.source == first, own.documents, own.updates, Reverse(own.source));
        let Some(taken) = files.iter().max_by_key(worth) else { continue };
        for other in files.iter().filter(|other| other.source != taken.source && other.adds_to(taken)) {
            beside.left_out.push(format!(
                "database {name}, which is one file beside the shards: that of {} is taken, and that of {} is left out; \
                 restore it out of the source alone",
                sources[taken.source].0, sources[other.source].0
            ));
        }
        beside.taken.push((taken.source, taken.file.clone()));
    }
    beside
}
