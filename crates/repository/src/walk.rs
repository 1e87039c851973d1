//! Walks the trees of snapshots.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::format::pack::BlobKind;
use crate::format::tree::{self, TreeReader};
use crate::limits::TREE_DEPTH_MAX;
use crate::{Error, Id, Index, Node, NodeKind, Repository, RunCx};

/// A moment of a walk. Folders come before what they hold, and once more after it.
#[derive(Debug)]
pub enum Step<'a> {
    /// A node is reached.
    Reach(&'a Path, &'a Node),
    /// Everything below a folder was visited; or nothing, where the visitor did not go in.
    Leave(&'a Path, &'a Node),
}

/// What a visitor wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// Into the folder just reached.
    In,
    /// Past it.
    Past,
}

struct OpenTree {
    reader: TreeReader,
    id: Id,
    path: PathBuf,
    /// The folder's own node; `None` for the walk's start.
    node: Option<Node>,
}

/// Reads a tree for node-by-node reading.
pub fn open_tree(repository: &Repository, index: &Index, id: &Id) -> Result<TreeReader, Error> {
    let bytes = repository.blob(index, BlobKind::Tree, id)?;
    TreeReader::new(bytes).map_err(|what| Error::MalformedTree { id: *id, what })
}

/// Goes through all nodes below `tree` in order, holding one open tree for each level. Paths are relative to `tree`;
/// names that are not UTF-8 keep their bytes. A damaged tree ends the walk.
pub fn walk(
    cx: &RunCx<'_>,
    repository: &Repository,
    index: &Index,
    tree: &Id,
    visit: &mut dyn FnMut(Step<'_>) -> Result<Go, Error>,
) -> Result<(), Error> {
    walk_readable(cx, repository, index, tree, visit, &mut |_, error| Err(error))
}

/// The same, but damage to the tree of a folder below `tree` goes to `damaged`, and the walk to the next folder.
pub fn walk_readable(
    cx: &RunCx<'_>,
    repository: &Repository,
    index: &Index,
    tree: &Id,
    visit: &mut dyn FnMut(Step<'_>) -> Result<Go, Error>,
    damaged: &mut dyn FnMut(&Path, Error) -> Result<(), Error>,
) -> Result<(), Error> {
    let reader = open_tree(repository, index, tree)?;
    let mut open = vec![OpenTree { reader, id: *tree, path: PathBuf::new(), node: None }];
    while let Some(folder) = open.last_mut() {
        cx.cancel.check()?;
        let next = match folder.reader.next() {
            Ok(next) => next,
            Err(what) => {
                damaged(&folder.path, Error::MalformedTree { id: folder.id, what })?;
                None
            }
        };
        let Some(node) = next else {
            if let Some(OpenTree { path, node: Some(node), .. }) = open.pop() {
                visit(Step::Leave(&path, &node))?;
            }
            continue;
        };
        let path = join(&folder.path, &node.name);
        let go = visit(Step::Reach(&path, &node))?;
        match node.subtree.filter(|_| node.kind == NodeKind::Dir) {
            Some(subtree) if go == Go::In => {
                let opened = if open.len() < TREE_DEPTH_MAX {
                    open_tree(repository, index, &subtree)
                } else {
                    Err(Error::MalformedTree { id: subtree, what: format!("{} lies too deep", path.display()) })
                };
                match opened {
                    Ok(reader) => open.push(OpenTree { reader, id: subtree, path, node: Some(node) }),
                    Err(error) if error.is_damage() => {
                        damaged(&path, error)?;
                        visit(Step::Leave(&path, &node))?;
                    }
                    Err(error) => return Err(error),
                }
            }
            Some(_) => drop(visit(Step::Leave(&path, &node))?),
            None => {}
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
    data: impl FnMut(Id),
    seen_tree: impl FnMut(Id),
    damaged: impl FnMut(Id, Error) -> Result<(), Error>,
) -> Result<(), Error> {
    let read = |id: &Id| repository.blob(index, BlobKind::Tree, id);
    sweep_with(cx, read, roots, data, seen_tree, damaged)
}

/// The same for trees that `read` fetches from wherever they are.
pub(crate) fn sweep_with(
    cx: &RunCx<'_>,
    mut read: impl FnMut(&Id) -> Result<Vec<u8>, Error>,
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
        let below = read(&id).and_then(|bytes| {
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
