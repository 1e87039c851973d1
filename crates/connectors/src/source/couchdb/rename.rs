//! A restored data folder for a node of another name, which CouchDB would otherwise refuse every database of: it ties each
//! shard to the node that holds it, in `_dbs.couch` and `_nodes.couch`.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use couchfile::rewrite::{NodeNames, Renamed, rename_in_nodes, rename_in_shard_maps};
use couchfile::{Database, Level};
use repository::SourceError;

use super::complete::{NODES, SHARD_MAP};

/// What was renamed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RenamedNodes {
    /// Shard maps, which are one for each database.
    pub databases: usize,
    /// Nodes.
    pub nodes: usize,
}

/// Gives nodes new names in the data folder `folder`. Each of the two files is written anew beside the old one, read back
/// and checked, and only then takes its place. Without `_nodes.couch`, which CouchDB then makes anew, the shard maps know the
/// nodes.
///
/// # Errors
/// A name that no node has; a file that is missing or damaged. What was not yet renamed then stays as it was.
pub fn rename_nodes(folder: &Path, names: &NodeNames) -> Result<RenamedNodes, SourceError> {
    let (maps, nodes) = (folder.join(SHARD_MAP), folder.join(NODES));
    let maps_database = open(&maps)?;
    let nodes_database = if nodes.exists() { Some(open(&nodes)?) } else { None };
    let known: Vec<String> = match &nodes_database {
        Some(database) => super::complete::nodes(database),
        None => {
            let maps = super::complete::maps(&maps_database).0;
            super::complete::named_nodes(&maps).into_iter().map(str::to_owned).collect()
        }
    };
    if let Some(unknown) = names.keys().find(|name| !known.contains(name)) {
        let what = format!("no node is called {unknown}; the snapshot has {}", known.join(", "));
        return Err(SourceError::Unavailable { what });
    }
    let new_maps = write_beside(&maps, |out| rename_in_shard_maps(&maps_database, names, out))?;
    let write_nodes = |database| write_beside(&nodes, |out| rename_in_nodes(database, names, out));
    let new_nodes = nodes_database.as_ref().map(write_nodes).transpose()?;
    let changed = |new: &(tempfile::NamedTempFile, Renamed)| new.1.changed.len();
    let renamed =
        RenamedNodes { databases: changed(&new_maps), nodes: new_nodes.as_ref().map_or(names.len(), changed) };
    let all = std::iter::once((new_maps, &maps)).chain(new_nodes.map(|new| (new, &nodes)));
    for ((file, _), path) in all {
        file.persist(path).map_err(|error| SourceError::io(path)(error.error))?;
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(SourceError::io(folder))?;
    Ok(renamed)
}

fn open(path: &Path) -> Result<Database<File>, SourceError> {
    let file = File::open(path).map_err(SourceError::io(path))?;
    Database::open(file).map_err(invalid(path))
}

fn invalid(path: &Path) -> impl Fn(couchfile::Error) -> SourceError {
    move |error| SourceError::Invalid { what: format!("{}: {error}", path.display()) }
}

/// The new file has the old one's owner and mode.
fn write_beside(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&File>) -> Result<Renamed, couchfile::Error>,
) -> Result<(tempfile::NamedTempFile, Renamed), SourceError> {
    let io = |error| SourceError::io(path)(error);
    let folder = path.parent().unwrap_or(Path::new("/"));
    let file = tempfile::Builder::new().prefix(".lifeboat-renamed-").tempfile_in(folder).map_err(io)?;
    let mut out = BufWriter::new(file.as_file());
    let renamed = write(&mut out).map_err(invalid(path))?;
    out.flush().map_err(io)?;
    drop(out);
    let report = open(file.path())?.check(Level::Attachments);
    if let Some(finding) = report.findings.first() {
        return Err(SourceError::Invalid {
            what: format!("what was written for {} is wrong: {finding}", path.display()),
        });
    }
    let old = std::fs::metadata(path).map_err(io)?;
    // A plain user owns both files already.
    let owner = std::os::unix::fs::fchown(
        file.as_file(),
        Some(std::os::unix::fs::MetadataExt::uid(&old)),
        Some(std::os::unix::fs::MetadataExt::gid(&old)),
    );
    owner
        .or_else(|error| if error.kind() == std::io::ErrorKind::PermissionDenied { Ok(()) } else { Err(error) })
        .map_err(io)?;
    file.as_file().set_permissions(old.permissions()).map_err(io)?;
    file.as_file().sync_all().map_err(io)?;
    Ok((file, renamed))
}
