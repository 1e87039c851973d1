//! Single databases that go back into a data folder which went on without them: whether its shard map still names them as
//! the snapshot does, and which indexes there were made of what is replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};

use couchfile::rewrite::{NodeNames, put_shard_maps};
use couchfile::{Database, ReadAt, ShardMap, ShardName, is_node_name};
use repository::{Facts, SourceError};

use super::data_folder::{Kind, NOUVEAU, SEARCH_INDEXES};
use super::facts::FILES;
use super::rewritten::{Beside, open};
use super::select::{Selected, names, shards_named};
use super::shard_map::{self, NODE_LIST_FILES, SHARD_MAP, SHARD_MAP_FILES};

/// Why a database of a snapshot would not be found by the shard map that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedOtherwise {
    /// In words.
    pub why: &'static str,
    /// Whether the snapshot's shard map names it, so that its entry can come back with it.
    pub can_come_back: bool,
}

/// The databases of `databases` that the shard map in `folder` does not name as the snapshot does. CouchDB would not find
/// their files. Where the snapshot's own shard map does not name one, or could not be read, its files count. Databases that
/// are no clustered ones are passed over.
///
/// # Errors
/// The shard map cannot be read, or not all of it.
pub fn named_otherwise(
    facts: &Facts,
    folder: &Path,
    databases: &[String],
) -> Result<BTreeMap<String, NamedOtherwise>, SourceError> {
    let expected = databases.iter().map(|name| {
        let by_map: BTreeSet<_> = shards_named(facts, name).into_iter().collect();
        let can_come_back = !by_map.is_empty();
        (name, if can_come_back { by_map } else { by_files(facts, name) }, can_come_back)
    });
    let expected: Vec<_> = expected.filter(|(_, shards, _)| !shards.is_empty()).collect();
    if expected.is_empty() {
        return Ok(BTreeMap::new());
    }
    let maps = maps_there(folder)?.1;
    let mut otherwise = BTreeMap::new();
    for (name, shards, can_come_back) in expected {
        let why = match maps.get(name) {
            None => Some("the shard map does not name it any more"),
            Some(map) => {
                let now: BTreeSet<ShardName> = map.by_node.iter().flat_map(|(node, _)| map.shards_of(node)).collect();
                let is_anew = shards.iter().all(|shard| shard.suffix != map.suffix);
                let why = if is_anew { "it was made anew since" } else { "its shards are other ones now" };
                (now != shards).then_some(why)
            }
        };
        otherwise.extend(why.map(|why| (name.clone(), NamedOtherwise { why, can_come_back })));
    }
    Ok(otherwise)
}

/// The shards of a database by the files that the snapshot has.
fn by_files(facts: &Facts, database: &str) -> BTreeSet<ShardName> {
    let shards = names(facts, FILES, Kind::Database).into_iter().filter_map(|name| ShardName::parse(&name));
    shards.filter(|shard| shard.database == database).collect()
}

/// The nodes of a snapshot, held against those of the data folder that it goes back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodesThere {
    /// Those of the snapshot, by their new names, that are not there.
    pub unknown: Vec<String>,
    /// Those that are there.
    pub there: Vec<String>,
}

/// Holds the nodes that the snapshot knows, each by the name that `new_names` gives it, against those in `folder`.
pub fn nodes_there(facts: &Facts, folder: &Path, new_names: &NodeNames) -> NodesThere {
    let there = nodes_of(folder);
    let known = super::nodes(facts).into_iter().map(|node| new_names.get(node).map_or(node, String::as_str));
    // Where none is known there, nothing can be held against it.
    let known = known.filter(|_| !there.is_empty());
    let unknown = known.filter(|node| !there.iter().any(|name| name == node)).map(str::to_owned).collect();
    NodesThere { unknown, there }
}

fn nodes_of(folder: &Path) -> Vec<String> {
    shard_map::nodes_or_named(shard_map::open_nodes(folder), &shard_map::maps_of_folder(folder).unwrap_or_default())
}

/// The shard map and the list of nodes by the names that they have in the snapshot, each below the data folder, as far as it
/// has them.
pub fn cluster_files(facts: &Facts) -> Vec<&'static str> {
    let there = names(facts, FILES, Kind::Database);
    let name_of = |names: [&'static str; 2]| names.into_iter().find(|name| there.contains(*name));
    [SHARD_MAP_FILES, NODE_LIST_FILES].into_iter().filter_map(name_of).collect()
}

/// Whether a path below the data folder is the shard map's.
pub fn is_shard_map(file: &Path) -> bool {
    SHARD_MAP_FILES.iter().any(|name| file == Path::new(name))
}

/// Puts into `staged`, the data folder of a staged copy, the shard map that `live` has now, with those of `databases` as the
/// snapshot has them, but for the nodes' `new_names`. What is in the staged copy's shard map before is the snapshot's.
///
/// # Errors
/// A database would lie on a node that is not there; a shard map cannot be read; what was written is not what it should be.
/// Then the staged copy stays as it was.
pub fn name_again(staged: &Path, live: &Path, databases: &[String], new_names: &NodeNames) -> Result<(), SourceError> {
    let path = staged.join(shard_map::name_in(staged, SHARD_MAP_FILES).unwrap_or(SHARD_MAP));
    let from = open(&path)?;
    let back = all_maps(&from).map_err(|error| unreadable("of the snapshot", &error))?;
    let back = back.into_iter().filter(|(name, _)| databases.contains(name));
    let back: BTreeMap<_, _> = back.map(|(name, map)| (name, renamed(map, new_names))).collect();
    check_nodes(&back, &nodes_of(live))?;
    let (now, mut expected) = maps_there(live)?;
    let written = Beside::write(&path, |out| put_shard_maps(&now, &from, databases, new_names, out))?;
    let wrong =
        |what: String| SourceError::Invalid { what: format!("what was written for {}: {what}", path.display()) };
    let mut read = all_maps(&written.open()?).map_err(|error| wrong(error.to_string()))?;
    expected.extend(back);
    if !new_names.is_empty() {
        // What it tells of renamed nodes is held by couchfile's own tests.
        let of_back = |maps: &mut BTreeMap<String, ShardMap>| {
            maps.iter_mut().filter(|(name, _)| databases.contains(name)).for_each(|(_, map)| map.changelog.clear());
        };
        of_back(&mut read);
        of_back(&mut expected);
    }
    if read != expected {
        return Err(wrong("it reads back otherwise".to_owned()));
    }
    written.persist()
}

fn renamed(mut map: ShardMap, new_names: &NodeNames) -> ShardMap {
    let rename = |node: &mut String| {
        if let Some(name) = new_names.get(node) {
            node.clone_from(name);
        }
    };
    map.by_node.iter_mut().for_each(|(node, _)| rename(node));
    map.by_range.iter_mut().flat_map(|(_, nodes)| nodes).for_each(rename);
    map
}

/// Where no node is known, nothing can be held against them.
fn check_nodes(maps: &BTreeMap<String, ShardMap>, there: &[String]) -> Result<(), SourceError> {
    for (database, map) in maps {
        let mut nodes =
            map.by_node.iter().map(|(node, _)| node).chain(map.by_range.iter().flat_map(|(_, nodes)| nodes));
        if let Some(node) = nodes.find(|node| !there.is_empty() && !there.contains(node)) {
            let there = there.join(", ");
            return Err(SourceError::Unavailable {
                what: format!(
                    "database {database} would lie on node {node}, which is none of those that are there ({there}), so \
                     CouchDB would not open it: say its name of now, with --rename-node {node}=NAME"
                ),
            });
        }
    }
    Ok(())
}

/// The shard map in a data folder that goes on, and what it says.
fn maps_there(folder: &Path) -> Result<(Database<File>, BTreeMap<String, ShardMap>), SourceError> {
    let that_is_there = "that is there now";
    let database =
        shard_map::open_shard_map(folder).ok_or_else(|| unreadable(that_is_there, &"it cannot be opened"))?;
    let maps = all_maps(&database).map_err(|error| unreadable(that_is_there, &error))?;
    Ok((database, maps))
}

fn all_maps<R: ReadAt>(database: &Database<R>) -> Result<BTreeMap<String, ShardMap>, couchfile::Error> {
    let (maps, failed) = shard_map::maps(database);
    match failed {
        Some(error) => Err(error),
        None => Ok(maps.into_iter().map(|map| (map.database.clone(), map)).collect()),
    }
}

fn unreadable(which: &str, what: &dyn std::fmt::Display) -> SourceError {
    SourceError::Invalid { what: format!("the shard map {SHARD_MAP} {which}: {what}") }
}

/// The indexes that Nouveau and Clouseau have in `folder` of the shards of `selected`. They know nothing of a database that
/// goes back, and would pass over what is written from then on until it has as many updates again.
pub fn search_indexes(folder: &Path, selected: &Selected) -> Vec<PathBuf> {
    let shards: BTreeSet<PathBuf> = selected.shards().map(|shard| PathBuf::from(shard.to_string())).collect();
    let is_node = |path: &PathBuf| path.file_name().and_then(OsStr::to_str).is_some_and(is_node_name);
    let mut roots = vec![folder.join(NOUVEAU), folder.join(SEARCH_INDEXES)];
    for around in [folder.to_owned(), folder.join(NOUVEAU), folder.join(SEARCH_INDEXES)] {
        roots.extend(subfolders(&around).into_iter().filter(is_node));
    }
    let indexes = roots.iter().flat_map(|root| shards.iter().map(|shard| root.join(shard)));
    indexes.filter(|index| index.symlink_metadata().is_ok()).collect()
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut folders: Vec<_> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter(|entry| entry.file_name() != OsStr::new(".delete"))
        .map(|entry| entry.path())
        .collect();
    folders.sort();
    folders
}
