//! Whether every shard is there that the shard map names. CouchDB makes a missing one anew, as empty, and says nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use couchfile::{ShardMap, ShardName, ShardRange};
use repository::Problem;

use super::shard_map::{is_of, named_nodes};

/// Databases that a problem names one by one.
const DATABASES_NAMED_MAX: usize = 20;

/// Which ranges of a database lack.
type Lacking = BTreeMap<String, Vec<ShardRange>>;

/// What a shard map asks for, held against what is there.
pub struct Completeness<'a> {
    pub maps: &'a [ShardMap],
    /// Nodes that `_nodes.couch` names.
    pub nodes: &'a [String],
    pub owner: Option<&'a str>,
    /// Nodes whose folders other sources of the same stack capture.
    pub elsewhere: &'a BTreeSet<String>,
    /// Whether a file is there, by its path below the data folder.
    pub has: &'a dyn Fn(&str) -> bool,
}

impl Completeness<'_> {
    /// The node whose folder this is: the only one there is, else the owner of the shard map, which after a renaming may
    /// still be the old name, else the one of whose shards most are here.
    fn this_node(&self) -> Option<&str> {
        if let [node] = self.nodes {
            return Some(node);
        }
        if let Some(node) = self.certain_node() {
            return Some(node);
        }
        let here = |node: &&str| {
            let shards = self.maps.iter().flat_map(|map| map.shards_of(node));
            shards.filter(|shard| (self.has)(&shard.file())).count()
        };
        named_nodes(self.maps).into_iter().max_by_key(here)
    }

    /// This node, where shard maps name it and nothing has to be guessed.
    fn certain_node(&self) -> Option<&str> {
        let named = named_nodes(self.maps);
        let only = if let [node] = self.nodes { Some(node.as_str()) } else { None };
        only.filter(|node| named.contains(node)).or(self.owner.filter(|owner| named.contains(owner)))
    }

    /// Whether the shard maps still place a shard here. One that was split has other ranges since, one that was moved another
    /// node. Where it is not certain which node this is, a shard of any node may belong here.
    pub fn places_here(&self, shard: &ShardName) -> bool {
        let node = self.certain_node();
        let is_here = |name: &str| node.is_none_or(|node| node == name);
        let of_database = self.maps.iter().filter(|map| is_of(map, shard));
        let mut held = of_database.flat_map(|map| &map.by_node).filter(|(name, _)| is_here(name));
        held.any(|(_, ranges)| ranges.contains(&shard.range))
    }

    /// Ranges of this node whose files are not here.
    pub fn missing(&self) -> Lacking {
        let mut lacking = Lacking::new();
        for shard in self.missing_shards() {
            lacking.entry(shard.database).or_default().push(shard.range);
        }
        lacking
    }

    /// The shards of this node whose files are not here.
    pub fn missing_shards(&self) -> BTreeSet<ShardName> {
        let Some(node) = self.this_node() else { return BTreeSet::new() };
        let shards = self.maps.iter().flat_map(|map| map.shards_of(node));
        shards.filter(|shard| !(self.has)(&shard.file())).collect()
    }

    /// Ranges of which no copy is here, by the node that has one.
    fn on_other_nodes(&self) -> BTreeMap<&str, Lacking> {
        let this = self.this_node();
        let mut lacking: BTreeMap<&str, Lacking> = BTreeMap::new();
        for map in self.maps {
            for range in map.ranges() {
                let holders: Vec<_> =
                    map.by_node.iter().filter(|(_, ranges)| ranges.contains(&range)).map(|(node, _)| node).collect();
                let is_covered = |node: &&String| Some(node.as_str()) == this || self.elsewhere.contains(*node);
                if let Some(node) = holders.first().filter(|_| !holders.iter().any(is_covered)) {
                    lacking.entry(node).or_default().entry(map.database.clone()).or_default().push(range);
                }
            }
        }
        lacking
    }

    /// Those of the shards `files` that no shard map names.
    pub fn unnamed<'f>(&self, files: impl Iterator<Item = &'f str>) -> Vec<ShardName> {
        let shards = files.filter_map(ShardName::parse);
        shards.filter(|shard| !self.maps.iter().any(|map| is_of(map, shard))).collect()
    }

    /// What the snapshot lacks, in words.
    pub fn problems(&self, root: &Path) -> Vec<Problem> {
        let mut problems: Vec<_> = by_ranges(self.missing())
            .into_iter()
            .map(|(ranges, databases)| {
                let what = format!(
                    "the shard map names shards whose files are not there, and CouchDB would make them anew, as empty: \
                     {ranges} of {databases}"
                );
                Problem::new(&root.join("shards"), what)
            })
            .collect();
        for (node, lacking) in self.on_other_nodes() {
            for (ranges, databases) in by_ranges(lacking) {
                let what = format!(
                    "{ranges} of {databases}: on node {node}, whose files are not in this snapshot; add a source for \
                     its data folder"
                );
                problems.push(Problem::new(root, what));
            }
        }
        problems
    }
}

/// Databases that lack the same ranges, together.
fn by_ranges(lacking: Lacking) -> Vec<(String, String)> {
    let mut grouped: BTreeMap<Vec<ShardRange>, Vec<String>> = BTreeMap::new();
    for (database, ranges) in lacking {
        grouped.entry(ranges).or_default().push(database);
    }
    let shown = |ranges: Vec<ShardRange>| ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    grouped.into_iter().map(|(ranges, databases)| (shown(ranges), in_words(&databases))).collect()
}

/// Databases in words, the first of them by name.
pub fn in_words<'d>(databases: impl IntoIterator<Item = &'d String, IntoIter: ExactSizeIterator>) -> String {
    let databases = databases.into_iter();
    let more = databases.len().saturating_sub(DATABASES_NAMED_MAX);
    let shown: Vec<&str> = databases.take(DATABASES_NAMED_MAX).map(String::as_str).collect();
    let mut named = shown.join(", ");
    if more > 0 {
        named.push_str(&format!(" and {more} more databases"));
    }
    named
}
