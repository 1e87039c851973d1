//! What is written into data folders that were restored for other nodes: shard maps and lists of nodes.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, lchown};
use std::path::{Path, PathBuf};

use couchfile::ShardName;
use couchfile::rewrite::{lay_out_nodes, lay_out_shard_maps, new_nodes};
use repository::{Cancel, SourceError};

use super::super::data_folder::COMPACTED;
use super::super::rewritten::{Beside, open};
use super::super::shard_map::{self, NODE_LIST, NODE_LIST_FILES, SHARD_MAP, SHARD_MAP_FILES, name_in};
use crate::source::walk::{Seen, walk};

/// Writes the shard maps and lists of nodes of data folders that were restored by a plan, for their nodes, and reads them
/// back: all nodes have the same shard maps, and each has the files that these say it has. Gives the number of databases.
///
/// # Errors
/// What is otherwise. No CouchDB may then be started on any of the folders.
pub fn write_cluster(
    folders: &[(String, PathBuf)],
    lacking: &[ShardName],
    cancel: &Cancel,
) -> Result<usize, SourceError> {
    let nodes: Vec<_> = folders.iter().map(|(node, _)| node.clone()).collect();
    let mut agreed = None;
    for (node, folder) in folders {
        // What a compaction left under the second name keeps that.
        let maps = folder.join(name_in(folder, SHARD_MAP_FILES).unwrap_or(SHARD_MAP));
        let list = folder.join(name_in(folder, NODE_LIST_FILES).unwrap_or(NODE_LIST));
        let old_maps = open(&maps)?;
        let new_maps = Beside::write(&maps, |out| lay_out_shard_maps(&old_maps, &nodes, node, out))?;
        let new_list = match list.exists() {
            true => {
                let old_list = open(&list)?;
                Beside::write(&list, |out| lay_out_nodes(&old_list, &nodes, node, out))?
            }
            // No snapshot had it whole. A CouchDB alone would make it anew; one of several would know none of the others.
            false => Beside::write_like(&list, &maps, |out| new_nodes(&old_maps, &nodes, node, out))?,
        };
        new_maps.persist()?;
        new_list.persist()?;
        let wrong = |what: String| SourceError::Invalid { what: format!("{node}: {what}") };
        let (read, failed) = shard_map::maps(&open(&maps)?);
        if let Some(error) = failed {
            return Err(wrong(format!("{SHARD_MAP}: {error}")));
        }
        let listed: BTreeSet<_> = shard_map::nodes(&open(&list)?).into_iter().collect();
        if listed != nodes.iter().cloned().collect() {
            return Err(wrong(format!("{NODE_LIST} names {listed:?}")));
        }
        for shard in read.iter().flat_map(|map| map.shards_of(node)).filter(|shard| !lacking.contains(shard)) {
            let file = shard.file();
            if ![file.clone(), format!("{file}{COMPACTED}")].iter().any(|file| folder.join(file).is_file()) {
                return Err(wrong(format!("{file} is not there")));
            }
        }
        if *agreed.get_or_insert_with(|| read.clone()) != read {
            return Err(wrong(format!("its {SHARD_MAP} is not that of {}", nodes[0])));
        }
        own_folders(folder, &maps, cancel)?;
    }
    Ok(agreed.map_or(0, |maps| maps.len()))
}

/// Gives folders that were made on the way to files the owner of the files, since CouchDB makes more files in them.
fn own_folders(folder: &Path, like: &Path, cancel: &Cancel) -> Result<(), SourceError> {
    let owner = std::fs::metadata(like).map_err(SourceError::io(like))?;
    let mut folders = vec![folder.to_owned()];
    walk(folder, cancel, &mut |seen| {
        if let Seen::Entry(path, kind) = seen
            && kind.is_dir()
        {
            folders.push(path.to_path_buf());
        }
        true
    })?;
    for path in folders {
        match lchown(&path, Some(owner.uid()), Some(owner.gid())) {
            // A plain user owns all of it already.
            Err(error) if error.kind() != ErrorKind::PermissionDenied => return Err(SourceError::io(&path)(error)),
            _ => {}
        }
    }
    Ok(())
}
