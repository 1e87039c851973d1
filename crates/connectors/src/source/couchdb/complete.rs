//! Whether every shard is there that the shard map names. CouchDB makes a missing one anew, as empty, and says nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

use couchfile::{Database, Error, ReadAt, ShardMap, ShardName, ShardRange, is_node_name, shard_maps};
use repository::Problem;

/// The shard map, below the data folder.
pub const SHARD_MAP: &str = "_dbs.couch";
/// The nodes of the cluster.
pub const NODES: &str = "_nodes.couch";
/// What the shard map may be called: the second is what a compaction left where there is no other.
pub const SHARD_MAP_FILES: [&str; 2] = [SHARD_MAP, "_dbs.couch.compact"];
/// As [`SHARD_MAP_FILES`], for the nodes.
pub const NODES_FILES: [&str; 2] = [NODES, "_nodes.couch.compact"];
/// Databases that a problem names one by one.
const DATABASES_NAMED_MAX: usize = 20;

/// Which ranges of a database lack.
type Lacking = BTreeMap<String, Vec<ShardRange>>;

/// The shard maps that can be read, and why others cannot.
pub fn maps<R: ReadAt>(database: &Database<R>) -> (Vec<ShardMap>, Option<Error>) {
    let (mut maps, mut failed) = (Vec::new(), None);
    for map in shard_maps(database) {
        match map {
            Ok(map) => maps.push(map),
            Err(error) => failed = Some(error),
        }
    }
    (maps, failed)
}

/// The nodes that `_nodes.couch` names, sorted.
pub fn nodes<R: ReadAt>(database: &Database<R>) -> Vec<String> {
    let documents = database.documents().flatten();
    documents.filter(|info| !info.deleted && is_node_name(&info.id)).map(|info| info.id).collect()
}

/// The nodes of the cluster: those that shard maps name where `_nodes.couch` is missing or empty.
pub fn nodes_or_named<R: ReadAt>(database: Option<Database<R>>, maps: &[ShardMap]) -> Vec<String> {
    let nodes = database.map_or_else(Vec::new, |database| nodes(&database));
    if nodes.is_empty() { named_nodes(maps).into_iter().map(str::to_owned).collect() } else { nodes }
}

/// The nodes that shard maps name.
pub fn named_nodes(maps: &[ShardMap]) -> BTreeSet<&str> {
    maps.iter().flat_map(|map| &map.by_node).map(|(node, _)| node.as_str()).collect()
}

/// The node whose folder has this shard map: the one that opened the file last.
pub fn owner<R: ReadAt>(shard_map: &Database<R>) -> Option<String> {
    shard_map.header().epochs.first().map(|epoch| epoch.node.clone())
}

/// The owner of another data folder.
pub fn owner_of_folder(folder: &Path) -> Option<String> {
    owner(&open_shard_map(folder)?)
}

/// The shard maps of a folder as they are now; `None` where they cannot be read.
pub fn maps_of_folder(folder: &Path) -> Option<Vec<ShardMap>> {
    Some(maps(&open_shard_map(folder)?).0)
}

/// Under which of its two names a small database lies in a folder, if it does.
pub fn name_in(folder: &Path, names: [&'static str; 2]) -> Option<&'static str> {
    names.into_iter().find(|name| folder.join(name).symlink_metadata().is_ok())
}

/// Opens a small database as it is now.
pub fn open(host: &Path) -> Option<Database<File>> {
    Database::open(repository::fs::open(host).ok()?).ok()
}

/// Opens the shard map as it is now, also where only what a compaction left for it is there.
pub fn open_shard_map(folder: &Path) -> Option<Database<File>> {
    SHARD_MAP_FILES.iter().find_map(|name| open(&folder.join(name)))
}

/// Opens the list of nodes as it is now, as [`open_shard_map`] does.
pub fn open_nodes(folder: &Path) -> Option<Database<File>> {
    NODES_FILES.iter().find_map(|name| open(&folder.join(name)))
}

/// Whether a map is about the database whose shard this is. Ranges may be more than it names, while CouchDB splits some.
pub fn is_of(map: &ShardMap, shard: &ShardName) -> bool {
    (&map.database, &map.suffix) == (&shard.database, &shard.suffix)
}

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
    grouped.into_iter().map(|(ranges, databases)| (shown(ranges), named(&databases))).collect()
}

/// Databases in words, the first of them by name.
pub fn named<'d>(databases: impl IntoIterator<Item = &'d String, IntoIter: ExactSizeIterator>) -> String {
    let databases = databases.into_iter();
    let more = databases.len().saturating_sub(DATABASES_NAMED_MAX);
    let shown: Vec<&str> = databases.take(DATABASES_NAMED_MAX).map(String::as_str).collect();
    let mut named = shown.join(", ");
    if more > 0 {
        named.push_str(&format!(" and {more} more databases"));
    }
    named
}
