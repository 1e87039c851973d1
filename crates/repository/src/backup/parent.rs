//! Walks the parent snapshot's trees in step with a capture, to find what each entry was before.

use std::collections::BTreeMap;

use crate::format::pack::BlobKind;
use crate::format::snapshot::Snapshot;
use crate::format::tree::TreeReader;
use crate::{Error, Id, Index, Node, NodeKind, Repository};

/// A position in the parent snapshot. Both sides are sorted by name, so each tree is read once and node by node.
///
/// A parent that cannot be read is no parent: the files are then read in full, which is always right.
pub(super) struct ParentCursor<'a> {
    repository: &'a Repository,
    index: &'a Index,
    root: BTreeMap<Vec<u8>, Node>,
    /// The open folders. `None` where the parent has no such folder.
    folders: Vec<Option<Folder>>,
}

struct Folder {
    reader: TreeReader,
    /// The first node that was not passed yet.
    next: Option<Node>,
}

impl<'a> ParentCursor<'a> {
    pub fn at_root(repository: &'a Repository, index: &'a Index, parent: Option<&Snapshot>) -> Self {
        let mut cursor = Self { repository, index, root: BTreeMap::new(), folders: Vec::new() };
        if let Some(mut folder) = parent.and_then(|parent| cursor.open(&parent.tree)) {
            while let Some(node) = folder.next.take() {
                cursor.root.insert(node.name.clone(), node);
                folder.advance();
            }
        }
        cursor
    }

    /// A node of the snapshot's root.
    pub fn root_node(&self, name: &[u8]) -> Option<&Node> {
        self.root.get(name)
    }

    /// Steps into a folder of the open one, or of the root. Every `enter` has its `leave`, whether there is a parent.
    pub fn enter(&mut self, name: &[u8]) {
        let node = match self.folders.last_mut() {
            None => self.root.get(name).cloned(),
            Some(None) => None,
            Some(Some(folder)) => folder.find(name),
        };
        let subtree = node.filter(|node| node.kind == NodeKind::Dir).and_then(|node| node.subtree);
        let folder = subtree.and_then(|id| self.open(&id));
        self.folders.push(folder);
    }

    pub fn leave(&mut self) {
        self.folders.pop();
    }

    /// What `name` was in the open folder. Names must be asked for in order.
    pub fn find(&mut self, name: &[u8]) -> Result<Option<Node>, Error> {
        Ok(self.folders.last_mut().and_then(Option::as_mut).and_then(|folder| folder.find(name)))
    }

    fn open(&self, id: &Id) -> Option<Folder> {
        let bytes = self.repository.blob(self.index, BlobKind::Tree, id).ok()?;
        let mut folder = Folder { reader: TreeReader::new(bytes).ok()?, next: None };
        folder.advance();
        Some(folder)
    }
}

impl Folder {
    fn advance(&mut self) {
        // A tree that breaks off is taken as far as it goes.
        self.next = self.reader.next().ok().flatten();
    }

    fn find(&mut self, name: &[u8]) -> Option<Node> {
        while self.next.as_ref().is_some_and(|node| node.name.as_slice() < name) {
            self.advance();
        }
        if self.next.as_ref()?.name != name {
            return None;
        }
        let node = self.next.take();
        self.advance();
        node
    }
}
