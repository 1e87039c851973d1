//! Revisions of a document and the tree they form. A document that was edited in several places at once has several
//! leaves; the one that CouchDB shows is the winner, the others are conflicts.

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

use crate::Error;
use crate::attachment::places;
use crate::term::encode::Encoder;
use crate::term::{Kind, Term, Terms};

/// A revision: how many edits led to it, and its id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// How many edits led to it.
    pub position: u64,
    /// Its id: an MD5 where CouchDB made it, anything where a replication brought it.
    pub id: Vec<u8>,
}

/// As CouchDB prints it: `3-917fa2381192822767f010b95b45325b`.
impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.position, self.id_text())
    }
}

impl Revision {
    /// `{Position, Id}`
    pub(crate) fn decode(term: Term<'_>) -> Option<Self> {
        let [position, id] = term.tuple_of()?;
        Some(Self { position: position.unsigned()?, id: revision_id(id)? })
    }

    /// The part behind the dash.
    pub fn id_text(&self) -> String {
        if self.id.len() == 16 && self.position != 0 {
            self.id.iter().map(|byte| format!("{byte:02x}")).collect()
        } else {
            String::from_utf8_lossy(&self.id).into_owned()
        }
    }
}

/// Bytes that something takes: in the file, and as JSON with its attachments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// In the file.
    pub active: u64,
    /// As JSON, attachments included.
    pub external: u64,
}

/// Where the body of a revision lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBody {
    /// Whether this revision deletes the document.
    pub deleted: bool,
    /// Where in the file the body lies.
    pub offset: u64,
    /// The update that brought it.
    pub seq: u64,
    /// Its sizes, where the file has them.
    pub sizes: Option<Sizes>,
    /// What the tree says of its attachments, as it was encoded; read again only to be written again.
    pub(crate) attachments: Option<Vec<u8>>,
}

/// A revision in its tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionNode {
    /// The revision.
    pub revision: Revision,
    /// The one it was made from, as an index; `None` where the tree starts, which may be after forgotten ones.
    pub parent: Option<u32>,
    /// Whether nothing was made from it.
    pub leaf: bool,
    /// Its body. Those that are no leaves lose theirs at the next compaction.
    pub body: Option<StoredBody>,
}

/// All revisions of a document that the file knows, each after the one it was made from.
///
/// A clone shares the nodes: each leaf that is read holds its tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RevisionTree {
    nodes: Arc<Vec<RevisionNode>>,
}

/// A leaf, or another revision that was asked for: one that can be read, unless it is known by name only.
#[derive(Debug, Clone, Copy)]
pub struct Leaf<'t> {
    tree: &'t RevisionTree,
    index: u32,
}

impl RevisionTree {
    /// All revisions, each after its parent.
    pub fn nodes(&self) -> &[RevisionNode] {
        &self.nodes
    }

    pub(crate) fn nodes_mut(&mut self) -> &mut [RevisionNode] {
        Arc::make_mut(&mut self.nodes).as_mut_slice()
    }

    /// For writers: the caller keeps the order.
    pub(crate) fn of_nodes(nodes: Vec<RevisionNode>) -> Self {
        Self { nodes: Arc::new(nodes) }
    }

    /// The leaves, the winner first: not deleted before deleted, then by length, then by id.
    pub fn leaves(&self) -> Vec<Leaf<'_>> {
        let indexes = (0_u32..).zip(self.nodes.iter()).filter(|(_, node)| node.leaf).map(|(index, _)| index);
        let mut leaves: Vec<_> = indexes.map(|index| Leaf { tree: self, index }).collect();
        leaves.sort_by_key(|leaf| Reverse((!leaf.deleted(), leaf.revision())));
        leaves
    }

    /// The revision that CouchDB shows.
    pub fn winner(&self) -> Option<Leaf<'_>> {
        self.leaves().into_iter().next()
    }

    /// The revision that prints as `name`, whether or not something was made from it. The body of one that is no leaf stays
    /// in the file until the next compaction.
    pub fn named(&self, name: &str) -> Option<Leaf<'_>> {
        let index = self.nodes.iter().position(|node| node.revision.to_string() == name)?;
        Some(Leaf { tree: self, index: index as u32 })
    }

    fn history_of(&self, index: u32) -> impl Iterator<Item = &Revision> {
        let mut next = Some(index);
        std::iter::from_fn(move || {
            let node = &self.nodes[next? as usize];
            next = node.parent;
            Some(&node.revision)
        })
    }

    /// `[{Start, {RevId, Value, Below}}, …]`, without recursion.
    pub(crate) fn decode(term: Term<'_>, offset: u64) -> Result<Self, Error> {
        let wrong = |what| Error::Malformed { offset, what };
        let mut nodes = Vec::new();
        let mut pending = Vec::new();
        for start in term.list().ok_or(wrong("a revision tree is no list"))? {
            let [position, node] = start.tuple_of().ok_or(wrong("a revision tree without its start"))?;
            let position = position.unsigned().ok_or(wrong("a revision tree starts at no number"))?;
            pending.push((node, position, None));
            while let Some((node, position, parent)) = pending.pop() {
                let [id, value, below] = node.tuple_of().ok_or(wrong("a revision is no triple"))?;
                let below = below.list().ok_or(wrong("a revision has no list of those made from it"))?;
                let index = nodes.len() as u32;
                let revision = Revision { position, id: revision_id(id).ok_or(wrong("a revision without an id"))? };
                let body = StoredBody::decode(value, offset)?;
                nodes.push(RevisionNode { revision, parent, leaf: below.len() == 0, body });
                let position = position.checked_add(1).ok_or(wrong("a revision tree is too long"))?;
                // The first comes off last.
                let start = pending.len();
                pending.extend(below.map(|node| (node, position, Some(index))));
                pending[start..].reverse();
            }
        }
        Ok(Self::of_nodes(nodes))
    }

    /// The tree as it is stored. Nodes lie in the order of [`RevisionTree::decode`], so that what follows a node with a
    /// smaller depth is not below it.
    pub(crate) fn encode(&self, out: &mut Encoder) {
        let mut children = vec![0_usize; self.nodes.len()];
        for parent in self.nodes.iter().filter_map(|node| node.parent) {
            children[parent as usize] += 1;
        }
        out.list(self.nodes.iter().filter(|node| node.parent.is_none()).count());
        let mut open: Vec<(usize, usize)> = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            if node.parent.is_none() {
                out.tuple(2).unsigned(node.revision.position);
            }
            out.tuple(3).binary(&node.revision.id);
            match &node.body {
                Some(body) => body.encode(out),
                None => {
                    out.list(0).end_list();
                }
            }
            out.list(children[index]);
            open.push((index, children[index]));
            while let Some((_, left)) = open.last_mut() {
                if *left > 0 {
                    *left -= 1;
                    break;
                }
                out.end_list();
                open.pop();
            }
        }
        out.end_list();
    }
}

/// A revision in the tree it is of, which all that were read of a document share: a history of its own for each leaf of
/// many would be as long as all of them together.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    tree: RevisionTree,
    index: u32,
}

impl Line {
    /// As [`Leaf::history`].
    pub fn history(&self) -> impl Iterator<Item = &Revision> {
        self.tree.history_of(self.index)
    }
}

impl<'t> Leaf<'t> {
    fn node(self) -> &'t RevisionNode {
        &self.tree.nodes[self.index as usize]
    }

    /// The revision.
    pub fn revision(self) -> &'t Revision {
        &self.node().revision
    }

    /// Whether it deletes the document.
    pub fn deleted(self) -> bool {
        self.node().body.as_ref().is_some_and(|body| body.deleted)
    }

    /// Where its body lies; `None` where only its name is known.
    pub fn body(self) -> Option<&'t StoredBody> {
        self.node().body.as_ref()
    }

    /// The revision itself and those it came from, as far as the file remembers, the newest first.
    pub fn history(self) -> impl Iterator<Item = &'t Revision> {
        self.tree.history_of(self.index)
    }

    /// The revision with its history, for longer than the tree is there.
    pub(crate) fn line(self) -> Line {
        Line { tree: self.tree.clone(), index: self.index }
    }
}

impl StoredBody {
    /// `{Deleted, Offset, Seq, Sizes, Attachments}`, without the last ones in older files; `[]` where it is gone.
    fn decode(term: Term<'_>, offset: u64) -> Result<Option<Self>, Error> {
        let wrong = |what| Error::Malformed { offset, what };
        if term.list().is_some_and(|list| list.len() == 0) {
            return Ok(None);
        }
        let mut parts = term.tuple().ok_or(wrong("what a revision holds is no tuple"))?;
        if !(3..=5).contains(&parts.len()) {
            return Err(wrong("what a revision holds has an unknown form"));
        }
        let (Some(deleted), Some(place), Some(seq)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong("what a revision holds has an unknown form"));
        };
        Ok(Some(Self {
            deleted: flag(deleted).ok_or(wrong("a revision is neither deleted nor not"))?,
            offset: place.unsigned().ok_or(wrong("a revision's body lies nowhere"))?,
            seq: seq.unsigned().ok_or(wrong("a revision has no update sequence"))?,
            sizes: parts.next().and_then(Sizes::decode),
            attachments: parts.next().map(|term| term.raw().to_vec()),
        }))
    }

    fn encode(&self, out: &mut Encoder) {
        let Self { deleted, offset, seq, sizes, attachments } = self;
        let Sizes { active, external } = sizes.unwrap_or_default();
        out.tuple(5).unsigned((*deleted).into()).unsigned(*offset).unsigned(*seq);
        out.tuple(2).unsigned(active).unsigned(external);
        match attachments {
            Some(attachments) => out.raw(attachments),
            None => out.list(0).end_list(),
        };
    }
}

impl StoredBody {
    /// Where the chunks of its attachments lie, as far as the tree says, so without reading the body: `[{Chunks, Length}, …]`.
    /// What has another form says nothing.
    pub(crate) fn attachment_places(&self) -> Vec<(u64, Option<u64>)> {
        let read = |raw: &Vec<u8>| {
            let terms = Terms::of_raw(raw, self.offset).ok()?;
            let all = terms.root().list()?.filter_map(|term| places(term.tuple_of::<2>()?[0]));
            Some(all.flatten().collect())
        };
        self.attachments.as_ref().and_then(read).unwrap_or_default()
    }
}

impl Sizes {
    /// `{Active, External}`, in reductions `{size_info, Active, External}`. Before 2.0 it was the first number alone,
    /// which says nothing of the second and is left out.
    pub(crate) fn decode(term: Term<'_>) -> Option<Self> {
        let [active, external] = match term.tuple()?.len() {
            2 => term.tuple_of()?,
            _ => {
                let [_, active, external] = term.tuple_of()?;
                [active, external]
            }
        };
        Some(Self { active: active.unsigned()?, external: external.unsigned()? })
    }
}

/// Booleans were stored as numbers from the start, and as atoms by very old versions.
pub(crate) fn flag(term: Term<'_>) -> Option<bool> {
    match term.kind() {
        Kind::Int(0) => Some(false),
        Kind::Int(1) => Some(true),
        Kind::Atom(b"false") => Some(false),
        Kind::Atom(b"true") => Some(true),
        _ => None,
    }
}

fn revision_id(term: Term<'_>) -> Option<Vec<u8>> {
    match term.kind() {
        Kind::Binary(bytes) => Some(bytes.to_vec()),
        Kind::List(items) => items.map(|item| item.int()?.try_into().ok()).collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::term::Terms;

    fn node(position: u64, id: &str, parent: Option<u32>, leaf: bool, deleted: Option<bool>) -> RevisionNode {
        let body = deleted.map(|deleted| StoredBody { deleted, offset: 7, seq: 9, sizes: None, attachments: None });
        RevisionNode { revision: Revision { position, id: id.as_bytes().to_vec() }, parent, leaf, body }
    }

    fn again(tree: &RevisionTree) -> RevisionTree {
        let mut out = Encoder::default();
        tree.encode(&mut out);
        let mut tree = RevisionTree::decode(Terms::of_raw(&out.finish(), 0).unwrap().root(), 0).unwrap();
        for body in tree.nodes_mut().iter_mut().filter_map(|node| node.body.as_mut()) {
            (body.sizes, body.attachments) = (None, None);
        }
        tree
    }

    #[test]
    fn the_winner_is_alive_then_long_then_high() {
        let tree = RevisionTree::of_nodes(vec![
            node(1, "a", None, false, None),
            node(2, "b", Some(0), false, None),
            node(3, "dead", Some(1), true, Some(true)),
            node(2, "c", Some(0), true, Some(false)),
            node(2, "d", Some(0), true, Some(false)),
            node(1, "z", None, true, Some(false)),
        ]);
        let leaves: Vec<_> = tree.leaves().iter().map(|leaf| leaf.revision().to_string()).collect();
        assert_eq!(leaves, ["2-d", "2-c", "1-z", "3-dead"]);
        let history: Vec<_> = tree.leaves()[3].history().map(ToString::to_string).collect();
        assert_eq!(history, ["3-dead", "2-b", "1-a"]);
        let history: Vec<_> = tree.named("2-b").unwrap().history().map(ToString::to_string).collect();
        assert_eq!(history, ["2-b", "1-a"]);
        assert!(tree.named("2-x").is_none());
        assert_eq!(again(&tree), tree);
    }

    #[test]
    fn a_history_of_a_hundred_thousand_edits_is_read_and_written() {
        let nodes = (0..100_000_u32).map(|index| {
            node(u64::from(index) + 5, "x", index.checked_sub(1), index == 99_999, (index == 99_999).then_some(false))
        });
        let tree = RevisionTree::of_nodes(nodes.collect());
        assert_eq!(again(&tree), tree);
        assert_eq!(tree.winner().unwrap().history().count(), 100_000);
    }

    #[test]
    fn leaves_that_are_read_share_one_history() {
        let trunk = (0..1000_u32).map(|index| node(u64::from(index) + 1, "x", index.checked_sub(1), false, None));
        let leaves = (0..500_u32).map(|index| node(1001, &format!("{index:03}"), Some(999), true, Some(false)));
        let tree = RevisionTree::of_nodes(trunk.chain(leaves).collect());
        let lines: Vec<_> = tree.leaves().into_iter().map(Leaf::line).collect();
        assert_eq!(Arc::strong_count(&tree.nodes), 501, "nothing was copied");
        for (line, leaf) in lines.iter().zip(tree.leaves()) {
            assert!(line.history().eq(leaf.history()) && line.history().count() == 1001);
        }
    }

    #[test]
    fn revisions_print_as_couchdb_prints_them() {
        let made = Revision { position: 3, id: vec![0xab; 16] };
        assert_eq!(made.to_string(), format!("3-{}", "ab".repeat(16)));
        assert_eq!(Revision { position: 1, id: b"x".to_vec() }.to_string(), "1-x");
    }
}
