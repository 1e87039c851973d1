//! Restores a whole host into an empty root: what each source captured comes to the path of the host that it was read from.
//!
//! Sources share folders, and sometimes files, such as an env file that two Compose projects use. They are restored once.

use std::path::{Path, PathBuf};

use repository::restore::{self, Options, Restored};
use repository::walk::{join, open_tree};
use repository::{Error, Event, Id, Index, Node, Repository, RunCx};

use crate::in_place::host_paths;
use crate::manifest::{Manifest, SourceRecord};
use crate::restore::{Preview, check_space, count, prepare_target};

/// The folder in the root for what has no place on a host: what commands printed, files out of containers, and what
/// Lifeboat itself wrote.
pub const BESIDE: &str = "lifeboat-restore";

/// What is restored, in order: each with its path below the root.
#[derive(Clone, Debug, Default)]
pub struct HostParts(Vec<(Node, PathBuf)>);

/// Finds the parts of the source `only`, or of all sources: those of configuration and certificates first, then data. Fails
/// where there is no such source.
pub fn parts(
    repository: &Repository,
    index: &Index,
    tree: &Id,
    manifest: &Manifest,
    only: Option<&str>,
) -> Result<HostParts, Error> {
    if let Some(name) = only
        && !manifest.sources.contains_key(name)
    {
        let names: Vec<_> = manifest.sources.keys().map(String::as_str).collect();
        return Err(Error::NotFound(format!("source {name} is not in the snapshot; it has {}", names.join(", "))));
    }
    let mut ranked = Vec::new();
    for node in nodes(repository, index, tree)? {
        let name = String::from_utf8_lossy(&node.name).into_owned();
        let Some(record) = manifest.sources.get(&name) else {
            if only.is_none() {
                let below = join(Path::new(BESIDE), &node.name);
                ranked.push((u8::MAX, node, below));
            }
            continue;
        };
        if only.is_none_or(|only| only == name) {
            for (node, below) in of_source(repository, index, &name, record, node)? {
                ranked.push((rank(&record.kind), node, below));
            }
        }
    }
    ranked.sort_by_key(|(rank, ..)| *rank);
    Ok(HostParts(ranked.into_iter().map(|(_, node, below)| (node, below)).collect()))
}

/// Who comes first. Where a file is in several sources, it is that of the one that knows most of it.
pub fn rank(kind: &str) -> u8 {
    match kind {
        "compose" => 0,
        "tls" => 1,
        "files" => 3,
        _ => 2,
    }
}

/// A source's folder, in parts: what belongs to a path of the host, and what lies beside that.
fn of_source(
    repository: &Repository,
    index: &Index,
    name: &str,
    record: &SourceRecord,
    folder: Node,
) -> Result<Vec<(Node, PathBuf)>, Error> {
    let beside = Path::new(BESIDE).join(name);
    let hosts = host_paths(record);
    let Some(tree) = folder.subtree.filter(|_| !hosts.is_empty()) else { return Ok(vec![(folder, beside)]) };
    let is_of_host = |node: &Node| {
        let named = Path::new("/").join(join(Path::new(""), &node.name));
        hosts.iter().any(|host| host.starts_with(&named) || host.parent().is_none())
    };
    let placed = |node: Node| {
        let below = if is_of_host(&node) { PathBuf::new() } else { beside.clone() };
        let below = join(&below, &node.name);
        (node, below)
    };
    Ok(nodes(repository, index, &tree)?.into_iter().map(placed).collect())
}

/// What lies right in a tree. Names of trees are single parts of paths.
fn nodes(repository: &Repository, index: &Index, tree: &Id) -> Result<Vec<Node>, Error> {
    let mut reader = open_tree(repository, index, tree)?;
    let mut nodes = Vec::new();
    while let Some(node) = reader.next().map_err(|what| Error::MalformedTree { id: *tree, what })? {
        nodes.push(node);
    }
    Ok(nodes)
}

impl HostParts {
    /// Counts what would be restored. What several sources have is counted for each.
    pub fn preview(&self, cx: &RunCx<'_>, repository: &Repository, index: &Index) -> Result<Preview, Error> {
        let mut total = Preview::default();
        for (node, _) in &self.0 {
            // The restore tells of what is damaged.
            total.add(count(cx, repository, index, node, &mut |_, _| {})?);
        }
        Ok(total)
    }

    /// Restores them into `target`, which must be empty or not exist.
    pub fn restore(
        &self,
        cx: &RunCx<'_>,
        repository: &Repository,
        index: &Index,
        target: &Path,
        options: Options,
    ) -> Result<Restored, Error> {
        let Preview { bytes, bytes_needed, .. } = self.preview(cx, repository, index)?;
        prepare_target(target)?;
        check_space(target, bytes_needed)?;
        cx.events.emit(Event::StepStarted { name: "restoring".to_owned(), bytes_total: Some(bytes) });
        restore::merged(cx, repository, index, &self.0, target, options)
    }
}
