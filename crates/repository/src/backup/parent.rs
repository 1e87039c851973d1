//! Walks the parent snapshot's trees in step with a capture, to find what each entry was before.

use std::collections::BTreeMap;

use crate::format::snapshot::Snapshot;
use crate::format::tree::TreeReader;
use crate::walk::open_tree;
use crate::{Error, Id, Index, Node, NodeKind, Problem, Repository};

/// A position in the parent snapshot. Both sides are sorted by name, so each tree is read once and node by node.
///
/// Where a tree of the parent is damaged, its files are read in full as if there were no parent, and that is a problem
/// of the run: a tree of the same name counts as stored, so the new snapshot may need the damaged one.
pub(super) struct ParentCursor<'a> {
    repository: &'a Repository,
    index: &'a Index,
    root: BTreeMap<Vec<u8>, Node>,
    /// The open folders. `None` where the parent has no such folder.
    folders: Vec<Option<Folder>>,
    problems: Vec<Problem>,
}

struct Folder {
    tree: Id,

    reader: TreeReader,
    /// The first node that was not passed yet.
    next: Option<Node>,
}

impl<'a> ParentCursor<'a> {
    pub fn at_root(repository: &'a Repository, index: &'a Index, parent: Option<&Snapshot>) -> Result<Self, Error> {
        let (root, folders, problems) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut cursor = Self { repository, index, root, folders, problems };
        let Some(parent) = parent else { return Ok(cursor) };
        cursor.root = cursor.root_of(parent)?;
        Ok(cursor)
    }

    /// The nodes in the root of a snapshot, by name.
    fn root_of(&mut self, snapshot: &Snapshot) -> Result<BTreeMap<Vec<u8>, Node>, Error> {
        let mut root = BTreeMap::new();
        if let Some(mut folder) = self.open(&snapshot.tree)? {
            while let Some(node) = folder.next.take() {
                root.insert(node.name.clone(), node);
                folder.advance(&mut self.problems);
            }
        }
        Ok(root)
    }

    /// From now on, `name` in the root is what it was in `snapshot`.
    pub fn take_root_node(&mut self, name: &[u8], snapshot: &Snapshot) -> Result<(), Error> {
        match self.root_of(snapshot)?.remove(name) {
            Some(node) => self.root.insert(name.to_vec(), node),
            None => self.root.remove(name),
        };
        Ok(())
    }

    /// The damage that was met since the last call.
    pub fn take_problems(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.problems)
    }

    /// A node of the snapshot's root.
    pub fn root_node(&self, name: &[u8]) -> Option<&Node> {
        self.root.get(name)
    }

    /// Steps into a folder of the open one, or of the root. Every `enter` has its `leave`, whether there is a parent.
    pub fn enter(&mut self, name: &[u8]) -> Result<(), Error> {
        let node = match self.folders.last_mut() {
            None => self.root.get(name).cloned(),
            Some(None) => None,
            Some(Some(folder)) => folder.find(name, &mut self.problems),
        };
        let subtree = node.filter(|node| node.kind == NodeKind::Dir).and_then(|node| node.subtree);
        let folder = match subtree {
            Some(tree) => self.open(&tree)?,
            None => None,
        };
        self.folders.push(folder);
        Ok(())
    }

    pub fn leave(&mut self) {
        self.folders.pop();
    }

    /// What `name` was in the open folder. Names must be asked for in order.
    pub fn find(&mut self, name: &[u8]) -> Option<Node> {
        let folder = self.folders.last_mut().and_then(Option::as_mut)?;
        folder.find(name, &mut self.problems)
    }

    fn open(&mut self, tree: &Id) -> Result<Option<Folder>, Error> {
        match open_tree(self.repository, self.index, tree) {
            Ok(reader) => {
                let mut folder = Folder { tree: *tree, reader, next: None };
                folder.advance(&mut self.problems);
                Ok(Some(folder))
            }
            // What no index names is stored anew, so it does no harm to the new snapshot.
            Err(Error::BlobMissing { .. }) => Ok(None),
            Err(error) if error.is_damage() => {
                self.problems.push(damaged(tree, &error));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

fn damaged(tree: &Id, error: &Error) -> Problem {
    let what = format!("it cannot be read in the backup before this one; run `lifeboat check`: {error}");
    Problem { source: String::new(), path: format!("folder {}", tree.short()), what }
}

impl Folder {
    fn advance(&mut self, problems: &mut Vec<Problem>) {
        // A tree that breaks off is taken as far as it goes.
        self.next = self.reader.next().unwrap_or_else(|what| {
            problems.push(damaged(&self.tree, &Error::MalformedTree { id: self.tree, what }));
            None
        });
    }

    fn find(&mut self, name: &[u8], problems: &mut Vec<Problem>) -> Option<Node> {
        while self.next.as_ref().is_some_and(|node| node.name.as_slice() < name) {
            self.advance(problems);
        }
        if self.next.as_ref()?.name != name {
            return None;
        }
        let node = self.next.take();
        self.advance(problems);
        node
    }
}
