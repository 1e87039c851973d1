//! A restored data folder for a node of another name, which CouchDB would otherwise refuse every database of: it ties each
//! shard to the node that holds it, in `_dbs.couch` and `_nodes.couch`.

use std::path::Path;

use couchfile::rewrite::{NodeNames, rename_in_nodes, rename_in_shard_maps};
use repository::SourceError;

use super::rewritten::{Beside, open};
use super::shard_map::{NODE_LIST, NODE_LIST_FILES, SHARD_MAP, SHARD_MAP_FILES, name_in};

/// What was renamed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RenamedNodes {
    /// Shard maps, which are one for each database.
    pub databases: usize,
    /// Nodes.
    pub nodes: usize,
}

/// Gives nodes new names in the data folder `folder`. Each of the two files is written anew beside the old one, read back
/// and checked, and only then takes its place. One that a compaction left under its second name keeps that. Without
/// `_nodes.couch`, which CouchDB then makes anew, the shard maps know the nodes.
///
/// # Errors
/// A name that no node has; a file that is missing or damaged. What was not yet renamed then stays as it was.
pub fn rename_nodes(folder: &Path, names: &NodeNames) -> Result<RenamedNodes, SourceError> {
    let maps = folder.join(name_in(folder, SHARD_MAP_FILES).unwrap_or(SHARD_MAP));
    let nodes = folder.join(name_in(folder, NODE_LIST_FILES).unwrap_or(NODE_LIST));
    let maps_database = open(&maps)?;
    let nodes_database = if nodes.exists() { Some(open(&nodes)?) } else { None };
    let known: Vec<String> = match &nodes_database {
        Some(database) => super::shard_map::nodes(database),
        None => {
            let maps = super::shard_map::maps(&maps_database).0;
            super::shard_map::named_nodes(&maps).into_iter().map(str::to_owned).collect()
        }
    };
    if let Some(unknown) = names.keys().find(|name| !known.contains(name)) {
        let what = format!("no node is called {unknown}; the snapshot has {}", known.join(", "));
        return Err(SourceError::Unavailable { what });
    }
    let new_maps = Beside::write(&maps, |out| rename_in_shard_maps(&maps_database, names, out))?;
    let write_nodes = |database| Beside::write(&nodes, |out| rename_in_nodes(database, names, out));
    let new_nodes = nodes_database.as_ref().map(write_nodes).transpose()?;
    let changed = |file: &Beside| file.rewritten.changed.len();
    let renamed =
        RenamedNodes { databases: changed(&new_maps), nodes: new_nodes.as_ref().map_or(names.len(), changed) };
    new_maps.persist()?;
    new_nodes.map_or(Ok(()), Beside::persist)?;
    Ok(renamed)
}
