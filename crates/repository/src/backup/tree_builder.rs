//! Builds the trees of one source. Entries wait in order until their chunks are stored; a folder's tree follows its last
//! entry.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use super::TreeFacts;
use crate::blob_writer::{BlobWriter, PendingId};
use crate::format::pack::BlobKind;
use crate::format::tree::TreeWriter;
use crate::limits::{CHUNKS_PENDING, ENTRIES_PENDING, TREE_DEPTH_MAX};
use crate::merkle::FolderHash;
use crate::{Error, Id, Node, NodeKind};

/// Something that is not a folder, with its content on the way.
pub(super) struct Leaf {
    pub node: Node,
    pub content: Vec<Content>,
}

/// A piece of a file: known already, or on its way through the pipeline.
pub(super) enum Content {
    Known(Id),
    Pending(PendingId),
}

impl Content {
    pub fn wait(&self) -> Result<Id, Error> {
        match self {
            Self::Known(id) => Ok(*id),
            Self::Pending(pending) => pending.wait(),
        }
    }
}

enum Waiting {
    Enter(Box<Node>),
    Leaf(Box<Leaf>),
    Leave,
}

struct OpenFolder {
    node: Node,
    tree: TreeWriter,
    hash: FolderHash,
}

/// How many folders' trees were stored anew.
#[derive(Clone, Copy, Default)]
pub(super) struct DirCount {
    pub stored: u64,
}

pub(super) struct TreeBuilder {
    /// The folder that entries are pushed to, relative to the source.
    open_path: PathBuf,
    waiting: VecDeque<Waiting>,
    /// Chunks of all waiting entries.
    chunks_waiting: usize,
    folders: Vec<OpenFolder>,
    facts: TreeFacts,
    dirs: DirCount,
}

impl OpenFolder {
    fn new(node: Node) -> Self {
        Self { node, tree: TreeWriter::new(), hash: FolderHash::new() }
    }

    fn push(&mut self, node: &Node, subtree_hash: Option<[u8; 32]>) -> Result<(), Error> {
        self.hash.push(node, subtree_hash.as_ref());
        self.tree.push(node).map_err(|what| Error::Internal(format!("entries of a source: {what}")))
    }
}

impl TreeBuilder {
    /// Begins a source whose own folder is `root`.
    pub fn new(root: Node) -> Self {
        Self {
            open_path: PathBuf::new(),
            waiting: VecDeque::new(),
            chunks_waiting: 0,
            folders: vec![OpenFolder::new(root)],
            facts: TreeFacts::default(),
            dirs: DirCount::default(),
        }
    }

    pub fn open_path(&self) -> &Path {
        &self.open_path
    }

    pub fn enter(&mut self, path: &Path, node: Node) -> Result<(), Error> {
        if path.components().count() > TREE_DEPTH_MAX {
            return Err(Error::Internal(format!("{} lies too deep", path.display())));
        }
        path.clone_into(&mut self.open_path);
        self.facts.dirs += 1;
        self.waiting.push_back(Waiting::Enter(Box::new(node)));
        Ok(())
    }

    pub fn leave(&mut self) {
        self.open_path.pop();
        self.waiting.push_back(Waiting::Leave);
    }

    pub fn push(&mut self, leaf: Leaf) -> Result<(), Error> {
        if leaf.node.kind == NodeKind::File {
            self.facts.files += 1;
            self.facts.bytes += leaf.node.size;
        } else {
            self.facts.others += 1;
        }
        self.chunks_waiting += leaf.content.len();
        self.waiting.push_back(Waiting::Leaf(Box::new(leaf)));
        Ok(())
    }

    /// Takes waiting entries into their trees: all of them, or as many as keeps the queue within its bounds.
    pub fn settle(&mut self, blobs: &BlobWriter<'_>, all: bool) -> Result<(), Error> {
        let keep = if all { 0 } else { ENTRIES_PENDING };
        while self.waiting.len() > keep || self.chunks_waiting > CHUNKS_PENDING {
            let Some(event) = self.waiting.pop_front() else { break };
            match event {
                Waiting::Enter(node) => self.folders.push(OpenFolder::new(*node)),
                Waiting::Leave => self.close(blobs)?,
                Waiting::Leaf(leaf) => {
                    let Leaf { mut node, content } = *leaf;
                    self.chunks_waiting -= content.len();
                    node.content = content.iter().map(Content::wait).collect::<Result<_, _>>()?;
                    self.open_folder()?.push(&node, None)?;
                }
            }
        }
        Ok(())
    }

    fn open_folder(&mut self) -> Result<&mut OpenFolder, Error> {
        self.folders.last_mut().ok_or_else(|| Error::Internal("a source left its own folder".to_owned()))
    }

    fn close(&mut self, blobs: &BlobWriter<'_>) -> Result<(), Error> {
        let (node, hash) = self.seal(blobs)?;
        self.open_folder()?.push(&node, Some(hash))
    }

    fn seal(&mut self, blobs: &BlobWriter<'_>) -> Result<(Node, [u8; 32]), Error> {
        let Some(OpenFolder { mut node, tree, hash }) = self.folders.pop() else {
            return Err(Error::Internal("a source left its own folder".to_owned()));
        };
        let bytes = tree.finish();
        self.dirs.stored += u64::from(!blobs.is_known(BlobKind::Tree, &Id::of(&bytes)));
        node.subtree = Some(blobs.store_tree(bytes)?);
        Ok((node, hash.finish()))
    }

    /// Closes the source's own folder.
    pub fn finish(mut self, blobs: &BlobWriter<'_>) -> Result<(Node, TreeFacts, DirCount), Error> {
        self.settle(blobs, true)?;
        let (node, hash) = self.seal(blobs)?;
        if !self.folders.is_empty() {
            return Err(Error::Internal("a source did not leave its folders".to_owned()));
        }
        self.facts.root = data_encoding::HEXLOWER.encode(&hash);
        Ok((node, self.facts, self.dirs))
    }
}
