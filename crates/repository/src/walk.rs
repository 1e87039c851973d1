//! Walks the trees of snapshots.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::format::pack::BlobKind;
use crate::format::tree::{self, TreeReader};
use crate::limits::TREE_DEPTH_MAX;
use crate::{Error, Id, Index, Node, NodeKind, Repository, RunCx};

/// A node and where it lies below the walk's start. Folders come before what they hold.
#[derive(Debug)]
pub struct Step {
    /// Path below the start; names that are not UTF-8 keep their bytes.
    pub path: PathBuf,
    /// The node.
    pub node: Node,
}

/// Reads a tree for node-by-node reading.
pub fn open_tree(repository: &Repository, index: &Index, id: &Id) -> Result<TreeReader, Error> {
    let bytes = repository.blob(index, BlobKind::Tree, id)?;
    TreeReader::new(bytes).map_err(|what| Error::MalformedTree { id: *id, what })
}

/// Goes through all nodes below `tree` in order, holding one open tree for each level. `visit` says whether to go into
/// a folder.
pub fn walk(
    cx: &RunCx<'_>,
    repository: &Repository,
    index: &Index,
    tree: &Id,
    visit: &mut dyn FnMut(Step) -> Result<bool, Error>,
) -> Result<(), Error> {
    let mut open = vec![(open_tree(repository, index, tree)?, *tree, PathBuf::new())];
    while let Some((reader, id, folder)) = open.last_mut() {
        cx.cancel.check()?;
        let next = reader.next().map_err(|what| Error::MalformedTree { id: *id, what })?;
        let Some(node) = next else {
            open.pop();
            continue;
        };
        let path = join(folder, &node.name);
        let subtree = node.subtree.filter(|_| node.kind == NodeKind::Dir);
        if visit(Step { path: path.clone(), node })?
            && let Some(subtree) = subtree
        {
            if open.len() >= TREE_DEPTH_MAX {
                return Err(Error::MalformedTree { id: subtree, what: format!("{} lies too deep", path.display()) });
            }
            open.push((open_tree(repository, index, &subtree)?, subtree, path));
        }
    }
    Ok(())
}

/// `folder` and a name of any bytes.
pub fn join(folder: &Path, name: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    folder.join(std::ffi::OsStr::from_bytes(name))
}

/// The node at `path` below `tree`; the empty path is the tree itself and gives a folder without a name.
pub fn find(repository: &Repository, index: &Index, tree: &Id, path: &Path) -> Result<Option<Node>, Error> {
    use std::os::unix::ffi::OsStrExt as _;
    let mut found = Node::new("", NodeKind::Dir);
    found.subtree = Some(*tree);
    for part in path.iter().filter(|part| *part != "/") {
        let Some(tree) = found.subtree.filter(|_| found.kind == NodeKind::Dir) else { return Ok(None) };
        let mut reader = open_tree(repository, index, &tree)?;
        loop {
            let next = reader.next().map_err(|what| Error::MalformedTree { id: tree, what })?;
            match next {
                Some(node) if node.name == part.as_bytes() => {
                    found = node;
                    break;
                }
                // Sorted: what is not there by now does not come.
                Some(node) if node.name.as_slice() < part.as_bytes() => {}
                _ => return Ok(None),
            }
        }
    }
    Ok(Some(found))
}

/// Visits every tree below `roots` once, and gives the blobs each refers to. Damaged trees go to `damaged` and are not
/// gone into.
pub fn sweep(
    cx: &RunCx<'_>,
    repository: &Repository,
    index: &Index,
    roots: &[Id],
    mut data: impl FnMut(Id),
    mut seen_tree: impl FnMut(Id),
    mut damaged: impl FnMut(Id, Error) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut seen: HashSet<Id> = roots.iter().copied().collect();
    let mut waiting: Vec<Id> = seen.iter().copied().collect();
    while let Some(id) = waiting.pop() {
        cx.cancel.check()?;
        seen_tree(id);
        let below = repository.blob(index, BlobKind::Tree, &id).and_then(|bytes| {
            let mut below = Vec::new();
            tree::references(bytes, &mut data, |tree| below.push(tree))
                .map_err(|what| Error::MalformedTree { id, what })?;
            Ok(below)
        });
        match below {
            Ok(below) => waiting.extend(below.into_iter().filter(|tree| seen.insert(*tree))),
            Err(error) if error.is_damage() => damaged(id, error)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
