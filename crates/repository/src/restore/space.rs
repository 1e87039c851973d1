//! How much room a restore takes.

use std::collections::HashSet;

use crate::chunker::Chunker;
use crate::format::pack::BlobKind;
use crate::{Id, Index, Node, Repository};

/// Adds up what files take on disk: one with several names once, and holes not at all, as far as they show.
///
/// A hole shows where it is as long as the largest chunk, since then it is a chunk of zeros and nothing else; chunks of
/// restic's largest size are known, too.
pub struct Space {
    zeros: HashSet<Id>,
    linked: HashSet<(u64, u64)>,
}

/// restic's largest chunk, in bytes.
const RESTIC_CHUNK_BYTES_MAX: usize = 8 << 20;

impl Space {
    /// For files of this repository.
    pub fn new(repository: &Repository) -> Self {
        let chunker = Chunker::new(repository.key(), repository.config().chunk_bytes_average());
        let largest = [chunker.bytes_max(), RESTIC_CHUNK_BYTES_MAX];
        let zeros = largest.into_iter().map(|bytes| Id::of(&vec![0; bytes])).collect();
        Self { zeros, linked: HashSet::new() }
    }

    /// Bytes that this file adds.
    pub fn needed(&mut self, index: &Index, node: &Node) -> u64 {
        if node.links > 1 && !self.linked.insert((node.device_id, node.inode)) {
            return 0;
        }
        let holes = node.content.iter().filter(|id| self.zeros.contains(id));
        let holes: u64 = holes.filter_map(|id| index.plain_bytes(BlobKind::Data, id)).map(u64::from).sum();
        node.size.saturating_sub(holes)
    }
}
