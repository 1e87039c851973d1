//! Trees, built from their entries in order: leaves first, then the nodes above them until there is one.

use std::io::Write;

use super::Writer;
use crate::Error;
use crate::document::DocumentInfo;
use crate::revision::Sizes;
use crate::term::encode::Encoder;

/// Nodes are closed once they hold this much, as in CouchDB's default.
const NODE_BYTES: usize = 1279;
/// What a node starts to be split at holds two entries at least, or trees would have no end.
const NODE_ENTRIES_MIN: usize = 2;

/// What inner nodes say of what is below them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TreeKind {
    /// How many documents there are, how many deleted ones, and their sizes.
    Documents,
    /// How many entries there are.
    Counted,
    /// Nothing.
    Plain,
}

/// What an entry counts for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    alive: u64,
    deleted: u64,
    sizes: Sizes,
}

impl Tally {
    pub(crate) fn one() -> Self {
        Self { alive: 1, ..Self::default() }
    }

    pub(crate) fn of_document(info: &DocumentInfo) -> Self {
        let deleted = u64::from(info.deleted);
        Self { alive: 1 - deleted, deleted, sizes: info.sizes.unwrap_or_default() }
    }

    fn plus(self, other: &Self) -> Self {
        Self {
            alive: self.alive + other.alive,
            deleted: self.deleted + other.deleted,
            sizes: Sizes {
                active: self.sizes.active.saturating_add(other.sizes.active),
                external: self.sizes.external.saturating_add(other.sizes.external),
            },
        }
    }

    fn encode(&self, kind: TreeKind, out: &mut Encoder) {
        match kind {
            TreeKind::Documents => {
                out.tuple(3).unsigned(self.alive).unsigned(self.deleted);
                let Sizes { active, external } = self.sizes;
                out.tuple(3).atom("size_info").unsigned(active).unsigned(external);
            }
            TreeKind::Counted => {
                out.unsigned(self.alive);
            }
            TreeKind::Plain => {
                out.end_list();
            }
        }
    }
}

/// An entry, its key and value encoded.
pub(crate) struct Entry {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) tally: Tally,
}

/// The root of a tree that was written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    /// Encoded; `None` where the tree is empty.
    root: Option<Vec<u8>>,
}

impl Tree {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match &self.root {
            Some(root) => root.clone(),
            None => {
                let mut out = Encoder::default();
                out.atom("nil");
                out.finish()
            }
        }
    }
}

/// A node that was written, for the one above it.
struct Pointer {
    last_key: Vec<u8>,
    place: Vec<u8>,
    tally: Tally,
    tree_bytes: u64,
}

impl<W: Write> Writer<W> {
    /// Writes a tree of `entries`, which come in its order.
    pub(crate) fn tree(
        &mut self,
        kind: TreeKind,
        entries: impl Iterator<Item = Result<Entry, Error>>,
    ) -> Result<Tree, Error> {
        let mut node = Pending::new("kv_node");
        let mut pointers = Vec::new();
        for entry in entries {
            let Entry { key, value, tally } = entry?;
            node.push(key, &value, tally, 0);
            pointers.extend(node.close_if_full(self, kind)?);
        }
        pointers.extend(node.close(self, kind)?);
        while pointers.len() > 1 {
            let mut above = Vec::new();
            let mut node = Pending::new("kp_node");
            for Pointer { last_key, place, tally, tree_bytes } in pointers {
                node.push(last_key, &place, tally, tree_bytes);
                above.extend(node.close_if_full(self, kind)?);
            }
            above.extend(node.close(self, kind)?);
            pointers = above;
        }
        Ok(Tree { root: pointers.pop().map(|root| root.place) })
    }
}

/// A node whose entries are still coming.
struct Pending {
    kind: &'static str,
    entries: Encoder,
    bytes: usize,
    count: usize,
    last_key: Vec<u8>,
    tally: Tally,
    tree_bytes: u64,
}

impl Pending {
    fn new(kind: &'static str) -> Self {
        let tally = Tally::default();
        Self { kind, entries: Encoder::default(), bytes: 0, count: 0, last_key: Vec::new(), tally, tree_bytes: 0 }
    }

    fn push(&mut self, key: Vec<u8>, value: &[u8], tally: Tally, tree_bytes: u64) {
        self.entries.tuple(2).raw(&key).raw(value);
        self.bytes += key.len() + value.len();
        self.count += 1;
        self.tally = self.tally.plus(&tally);
        self.tree_bytes += tree_bytes;
        self.last_key = key;
    }

    fn close_if_full<W: Write>(&mut self, writer: &mut Writer<W>, kind: TreeKind) -> Result<Option<Pointer>, Error> {
        if self.bytes >= NODE_BYTES && self.count >= NODE_ENTRIES_MIN { self.close(writer, kind) } else { Ok(None) }
    }

    fn close<W: Write>(&mut self, writer: &mut Writer<W>, kind: TreeKind) -> Result<Option<Pointer>, Error> {
        let full = std::mem::replace(self, Self::new(self.kind));
        if full.count == 0 {
            return Ok(None);
        }
        let mut node = Encoder::term();
        node.tuple(2).atom(full.kind).list(full.count).raw(&full.entries.finish()).end_list();
        let written = writer.term(node)?;
        let tree_bytes = full.tree_bytes + written.length;
        let mut place = Encoder::default();
        place.tuple(3).unsigned(written.offset);
        full.tally.encode(kind, &mut place);
        place.unsigned(tree_bytes);
        let place = place.finish();
        Ok(Some(Pointer { last_key: full.last_key, place, tally: full.tally, tree_bytes }))
    }
}
