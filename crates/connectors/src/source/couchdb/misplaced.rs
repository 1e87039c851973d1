//! A folder that was named a level too high or too deep. Its files would be captured, as files: no shard map is read then,
//! nothing is opened in order, and a lost shard is told by nobody.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use repository::{Cancel, SourceError};

use super::shard_map::{SHARD_MAP_FILES, name_in};
use crate::source::walk::is_kept_by_restore;

/// How far below the named folder another is looked for.
const LEVELS_MAX: usize = 4;
/// Folders that are looked into, so that a whole disk which was named is not.
const FOLDERS_MAX: usize = 2_000;

/// Whether a folder is, or was, the data folder of a CouchDB: its shard map or its shards are in it.
pub fn is_data_folder(folder: &Path) -> bool {
    has_shard_map(folder) || folder.join("shards").is_dir()
}

/// Refuses a folder that is no data folder, where one with a shard map lies above or below it.
pub fn refuse(folder: &Path, cancel: &Cancel) -> Result<(), SourceError> {
    if is_data_folder(folder) {
        return Ok(());
    }
    let above = folder.ancestors().skip(1).find(|above| has_shard_map(above)).map(Path::to_path_buf);
    let meant = match above {
        Some(above) => Some(above),
        None => below(folder, cancel)?,
    };
    match meant {
        Some(meant) => Err(SourceError::Unavailable {
            what: format!(
                "data: {} has neither `_dbs.couch` nor `shards` in it, and {} is a data folder of CouchDB: name that one",
                folder.display(),
                meant.display()
            ),
        }),
        None => Ok(()),
    }
}

/// `shards` alone is no sign here: other folders than CouchDB's are called that.
fn has_shard_map(folder: &Path) -> bool {
    name_in(folder, SHARD_MAP_FILES).is_some()
}

/// The nearest folder below with a shard map, the first by name.
fn below(root: &Path, cancel: &Cancel) -> Result<Option<PathBuf>, SourceError> {
    let mut folders = VecDeque::from([(root.to_path_buf(), 0)]);
    for _ in 0..FOLDERS_MAX {
        cancel.check()?;
        let Some((folder, level)) = folders.pop_front() else { break };
        if has_shard_map(&folder) {
            return Ok(Some(folder));
        }
        if level < LEVELS_MAX {
            let names = folders_in(&folder).into_iter().map(|name| (folder.join(name), level + 1));
            folders.extend(names);
        }
    }
    Ok(None)
}

/// The names of the folders in one, sorted. What cannot be listed is told by the capture, if it comes to that.
fn folders_in(folder: &Path) -> Vec<OsString> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|file_type| file_type.is_dir()));
    // What a restore in place keeps for its undo has a shard map, too.
    let mut names: Vec<_> = folders.map(|entry| entry.file_name()).filter(|name| !is_kept_by_restore(name)).collect();
    names.sort_unstable();
    names
}
