//! Single databases that go back into a data folder which went on without them: whether its shard map still names them as
//! the snapshot does, and which indexes there were made of what is replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use couchfile::rewrite::put_shard_maps;
use couchfile::{Database, ReadAt, ShardMap, ShardName};
use repository::{Facts, SourceError};

use super::complete::{self, SHARD_MAP};
use super::data_folder::{NOUVEAU, SEARCH_INDEXES};
use super::rewritten::{Beside, open};
use super::select::{Selected, named};

/// The databases of `databases` that the shard map in `folder` does not name as the snapshot does, each with what is
/// otherwise, in words. CouchDB would not find their files. Databases that are no clustered ones are passed over.
///
/// # Errors
/// The shard map cannot be read, or not all of it.
pub fn named_otherwise(
    facts: &Facts,
    folder: &Path,
    databases: &[String],
) -> Result<BTreeMap<String, &'static str>, SourceError> {
    let expected = databases.iter().map(|name| (name, named(facts, name).into_iter().collect::<BTreeSet<_>>()));
    let expected: Vec<_> = expected.filter(|(_, shards)| !shards.is_empty()).collect();
    if expected.is_empty() {
        return Ok(BTreeMap::new());
    }
    let database = complete::open_shard_map(folder).ok_or_else(|| unreadable("it cannot be opened"))?;
    let maps = all_maps(&database)?;
    let mut otherwise = BTreeMap::new();
    for (name, shards) in expected {
        let Some(map) = maps.get(name) else {
            otherwise.insert(name.clone(), "the shard map does not name it any more");
            continue;
        };
        let now: BTreeSet<ShardName> = map.by_node.iter().flat_map(|(node, _)| map.shards_of(node)).collect();
        if now != shards {
            let is_anew = shards.iter().all(|shard| shard.suffix != map.suffix);
            let what = if is_anew { "it was made anew since" } else { "its shards are other ones now" };
            otherwise.insert(name.clone(), what);
        }
    }
    Ok(otherwise)
}

/// Puts into `staged`, the data folder of a staged copy, the shard map that `live` has now, with those of `databases` as the
/// snapshot has them. What is in the staged copy's shard map before is the snapshot's.
///
/// # Errors
/// A shard map cannot be read, or what was written is not what it should be. Then the staged copy stays as it was.
pub fn name_again(staged: &Path, live: &Path, databases: &[String]) -> Result<(), SourceError> {
    let path = staged.join(SHARD_MAP);
    let from = open(&path)?;
    let now = complete::open_shard_map(live).ok_or_else(|| unreadable("it cannot be opened"))?;
    let written = Beside::write(&path, |out| put_shard_maps(&now, &from, databases, out))?;
    let mut expected = all_maps(&now)?;
    expected.extend(all_maps(&from)?.into_iter().filter(|(name, _)| databases.contains(name)));
    if all_maps(&written.open()?)? != expected {
        return Err(SourceError::Invalid {
            what: format!("what was written for {} reads back otherwise", path.display()),
        });
    }
    written.persist()
}

fn all_maps<R: ReadAt>(database: &Database<R>) -> Result<BTreeMap<String, ShardMap>, SourceError> {
    let (maps, failed) = complete::maps(database);
    match failed {
        Some(error) => Err(unreadable(&error.to_string())),
        None => Ok(maps.into_iter().map(|map| (map.database.clone(), map)).collect()),
    }
}

fn unreadable(what: &str) -> SourceError {
    SourceError::Invalid { what: format!("the shard map {SHARD_MAP} that is there now: {what}") }
}

/// The indexes that Nouveau and Clouseau have in `folder` of the shards of `selected`. They know nothing of a database that
/// goes back, and would pass over what is written from then on until it has as many updates again.
pub fn search_indexes(folder: &Path, selected: &Selected) -> Vec<PathBuf> {
    let shards: BTreeSet<PathBuf> = selected.shards().map(|shard| PathBuf::from(shard.to_string())).collect();
    let is_node = |path: &PathBuf| path.file_name().is_some_and(|name| name.as_bytes().contains(&b'@'));
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
