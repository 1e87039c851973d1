//! The shard map and the list of nodes of a data folder: what they are called, and what they say now.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use couchfile::{Database, Error, ReadAt, ShardMap, ShardName, is_node_name, shard_maps};

/// The shard map, below the data folder.
pub const SHARD_MAP: &str = "_dbs.couch";
/// The nodes of the cluster.
pub const NODE_LIST: &str = "_nodes.couch";
/// What the shard map may be called: the second is what a compaction left where there is no other.
pub const SHARD_MAP_FILES: [&str; 2] = [SHARD_MAP, "_dbs.couch.compact"];
/// As [`SHARD_MAP_FILES`], for the nodes.
pub const NODE_LIST_FILES: [&str; 2] = [NODE_LIST, "_nodes.couch.compact"];

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
    NODE_LIST_FILES.iter().find_map(|name| open(&folder.join(name)))
}

/// Whether a map is about the database whose shard this is. Ranges may be more than it names, while CouchDB splits some.
pub fn is_of(map: &ShardMap, shard: &ShardName) -> bool {
    (&map.database, &map.suffix) == (&shard.database, &shard.suffix)
}
