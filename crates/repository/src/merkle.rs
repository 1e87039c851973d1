//! One hash over all names, portable metadata and contents of a tree.
//!
//! A tree's id covers inode numbers and change times, which no restore can bring back. This hash leaves them out, so the
//! manifest can say what a restored tree must be, and a drill can say that it is. Each field is preceded by its length,
//! so that no two different trees are hashed alike.

use sha2::{Digest as _, Sha256};

use crate::{Node, NodeKind};

/// The hash of one folder, taken in child by child.
#[derive(Clone, Debug)]
pub struct FolderHash(Sha256);

impl Default for FolderHash {
    fn default() -> Self {
        Self::new()
    }
}

impl FolderHash {
    /// A folder without children.
    pub fn new() -> Self {
        Self(Sha256::new_with_prefix(b"lifeboat tree 1"))
    }

    /// Takes in a child; for a folder with its own hash.
    pub fn push(&mut self, node: &Node, folder_hash: Option<&[u8; 32]>) {
        self.field(&node.name);
        self.field(node.kind.name().as_bytes());
        self.number(u64::from(crate::format::go::permissions_from_mode(node.mode)));
        self.number(u64::from(node.uid));
        self.number(u64::from(node.gid));
        self.number(node.mtime.seconds as u64);
        self.number(u64::from(node.mtime.nanoseconds));
        self.field(&node.link_target);
        self.number(node.device);
        self.number(node.xattrs.len() as u64);
        for xattr in &node.xattrs {
            self.field(xattr.name.as_bytes());
            self.field(&xattr.value);
        }
        if node.kind == NodeKind::File {
            self.number(node.size);
            self.number(node.content.len() as u64);
            node.content.iter().for_each(|id| self.0.update(id.0));
        }
        self.field(folder_hash.map_or(&[][..], |hash| &hash[..]));
    }

    /// The folder's hash.
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }

    fn field(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    fn number(&mut self, number: u64) {
        self.0.update(number.to_le_bytes());
    }
}
