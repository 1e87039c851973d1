//! Two trees that should hold the same are compared without keeping either.

use crate::Checksum;
use crate::document::{DocumentInfo, Purge};
use crate::term::encode::Encoder;

/// Sums of hashes that are the same for the same entries in any order, so that two trees are compared without keeping
/// either.
#[derive(Debug, Default)]
pub(super) struct Sum {
    entries: u64,
    /// Over leaves, which both trees have in files of any age.
    leaves: u128,
    /// Over all revisions; `None` once there was an entry that has leaves only.
    revisions: Option<u128>,
}

impl Sum {
    pub(super) fn new() -> Self {
        Self { revisions: Some(0), ..Self::default() }
    }

    pub(super) fn add(&mut self, info: &DocumentInfo) {
        let mut out = Encoder::default();
        out.binary(info.id.as_bytes()).unsigned(info.seq).unsigned(info.deleted.into());
        for leaf in info.leaves() {
            out.unsigned(leaf.revision().position).binary(&leaf.revision().id);
            if let Some(body) = leaf.body() {
                out.unsigned(body.deleted.into()).unsigned(body.offset).unsigned(body.seq);
            }
        }
        self.entries += 1;
        self.leaves = self.leaves.wrapping_add(hash(out));
        let mut out = Encoder::default();
        out.binary(info.id.as_bytes());
        for node in info.revisions.nodes() {
            out.unsigned(node.revision.position).binary(&node.revision.id);
            out.unsigned(node.parent.map_or(0, |parent| u64::from(parent) + 1));
            if let Some(body) = &node.body {
                out.unsigned(body.deleted.into()).unsigned(body.offset).unsigned(body.seq);
            }
        }
        let all = hash(out);
        self.revisions = self.revisions.filter(|_| info.complete).map(|sum| sum.wrapping_add(all));
    }

    pub(super) fn add_purge(&mut self, purge: &Purge) {
        let mut out = Encoder::default();
        out.unsigned(purge.seq).binary(purge.uuid.as_bytes()).binary(purge.id.as_bytes());
        for revision in &purge.revisions {
            out.unsigned(revision.position).binary(&revision.id);
        }
        self.entries += 1;
        self.leaves = self.leaves.wrapping_add(hash(out));
    }

    pub(super) fn agrees(&self, other: &Self) -> bool {
        let revisions = self.revisions.zip(other.revisions).is_none_or(|(one, other)| one == other);
        self.entries == other.entries && self.leaves == other.leaves && revisions
    }
}

fn hash(out: Encoder) -> u128 {
    u128::from_be_bytes(Checksum::Xxh3.of(&out.finish()))
}

/// Whether two entries tell the same of a document.
pub(super) fn same(one: &DocumentInfo, other: &DocumentInfo) -> bool {
    let sum = |info| {
        let mut sum = Sum::new();
        sum.add(info);
        sum
    };
    sum(one).agrees(&sum(other))
}
