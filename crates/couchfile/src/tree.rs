//! CouchDB's B+trees. A node holds either pointers to others, `{kp_node, [{LastKey, {Offset, Reduction, Size}}, …]}`, or
//! entries, `{kv_node, [{Key, Value}, …]}`. No node has a checksum, so nothing in one is taken for granted.
//!
//! A node is always written after those below it, so pointers that do not lead backwards are refused, which rules out
//! circles; and all nodes of a tree together cannot be longer than the file, which rules out trees that visit the same
//! nodes again and again.

use std::cmp::Ordering;

use crate::blocks::Blocks;
use crate::limits::{TREE_DEPTH_MAX, TREE_PATH_BYTES_MAX};
use crate::term::{Kind, Term, Terms};
use crate::{Error, ReadAt};

/// The root of a tree; `None` where it is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TreeState {
    pub(crate) root: Option<Child>,
}

/// A pointer to a node, as a header or the node above it has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Child {
    /// The last key below it; a header does not say.
    pub(crate) last_key: Option<Key>,
    pub(crate) offset: u64,
    /// What it says of all entries below it, encoded.
    pub(crate) reduction: Vec<u8>,
}

/// A key: document ids and uuids are bytes, sequences are numbers, views have anything, which only ICU could compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    Number(u64),
    Bytes(Vec<u8>),
    Other(Vec<u8>),
}

impl Key {
    pub(crate) fn of(term: Term<'_>) -> Self {
        if let Some(number) = term.unsigned() {
            return Self::Number(number);
        }
        match term.kind() {
            Kind::Binary(bytes) => Self::Bytes(bytes.to_vec()),
            _ => Self::Other(term.raw().to_vec()),
        }
    }

    /// `None` where this library does not know the order.
    pub(crate) fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Number(one), Self::Number(other)) => Some(one.cmp(other)),
            (Self::Bytes(one), Self::Bytes(other)) => Some(one.cmp(other)),
            _ => None,
        }
    }

    fn is_before(&self, other: &Self) -> bool {
        self.compare(other) == Some(Ordering::Less)
    }
}

impl TreeState {
    pub(crate) fn decode(term: Term<'_>, offset: u64) -> Result<Self, Error> {
        if term.is_atom("nil") {
            return Ok(Self { root: None });
        }
        let root = Child::decode(None, term).ok_or(Error::Malformed { offset, what: "the root of a tree" })?;
        Ok(Self { root: Some(root) })
    }
}

impl Child {
    /// `{Offset, Reduction, Size}`, before 1.2 without the size.
    fn decode(last_key: Option<Key>, term: Term<'_>) -> Option<Self> {
        let mut parts = term.tuple().filter(|parts| (2..=3).contains(&parts.len()))?;
        let offset = parts.next()?.unsigned()?;
        let reduction = parts.next()?.raw().to_vec();
        Some(Self { last_key, offset, reduction })
    }
}

/// A node.
pub(crate) enum Node {
    Inner(Vec<Child>),
    Leaf(Leaf),
}

/// A node with entries.
pub(crate) struct Leaf {
    pub(crate) offset: u64,
    terms: Terms,
    list: u32,
}

impl Leaf {
    /// Keys and values, in the order of the node.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Result<(Term<'_>, Term<'_>), Error>> {
        let list = self.terms.term(self.list).list().into_iter().flatten();
        list.map(|entry| {
            let [key, value] =
                entry.tuple_of().ok_or(Error::Tree { offset: self.offset, what: "an entry is no pair" })?;
            Ok((key, value))
        })
    }
}

impl Node {
    pub(crate) fn read<R: ReadAt + ?Sized>(blocks: Blocks<'_, R>, offset: u64) -> Result<(Self, NodeCost), Error> {
        let chunk = blocks.chunk(offset)?;
        let stored = chunk.end - offset;
        let terms = Terms::of_chunk(chunk, offset)?;
        let cost = NodeCost { stored, memory: terms.memory_bytes() };
        let wrong = |what| Error::Tree { offset, what };
        let [kind, list] = terms.root().tuple_of().ok_or(wrong("it is no pair"))?;
        let entries = list.list().ok_or(wrong("it holds no list"))?;
        if kind.is_atom("kv_node") {
            let list = list.index();
            return Ok((Self::Leaf(Leaf { offset, terms, list }), cost));
        }
        if !kind.is_atom("kp_node") {
            return Err(wrong("it is of an unknown kind"));
        }
        let children = entries.map(|entry| {
            let [key, place] = entry.tuple_of().ok_or(wrong("an entry is no pair"))?;
            let child = Child::decode(Some(Key::of(key)), place).ok_or(wrong("a pointer is malformed"))?;
            if child.offset >= offset {
                return Err(wrong("it points to what was written after it"));
            }
            Ok(child)
        });
        let children = children.collect::<Result<Vec<_>, _>>()?;
        Ok((Self::Inner(children), cost))
    }
}

/// What reading a node took.
#[derive(Clone, Copy)]
pub(crate) struct NodeCost {
    /// Bytes of the file.
    stored: u64,
    /// Bytes of memory.
    memory: u64,
}

/// What a walk comes past.
pub(crate) enum Step {
    /// An inner node begins.
    Enter,
    /// A node with entries. It is entered and left by this alone.
    Leaf(Child, Leaf),
    /// An inner node ends.
    Leave(Child),
    /// What is below this pointer cannot be read.
    Lost(Child, Error),
    /// What is below this pointer was written before what the walk is about, and is not read.
    Older(Child),
}

/// Goes through a tree in order, node by node, from a certain key on. Damage costs what is below it and no more.
pub(crate) struct Walk<'r, R: ?Sized> {
    blocks: Blocks<'r, R>,
    from: Option<Key>,
    root: Option<Child>,
    path: Vec<Frame>,
    path_bytes: u64,
    /// Bytes that nodes of this tree may still take of the file.
    left: u64,
    /// Nodes that lie before are not read.
    since: u64,
}

struct Frame {
    node: Child,
    children: std::vec::IntoIter<Child>,
    memory: u64,
}

impl<'r, R: ReadAt + ?Sized> Walk<'r, R> {
    pub(crate) fn new(blocks: Blocks<'r, R>, state: &TreeState, from: Option<Key>) -> Self {
        Self { blocks, from, root: state.root.clone(), path: Vec::new(), path_bytes: 0, left: blocks.end(), since: 0 }
    }

    /// Passes over nodes that lie before the offset `since`.
    pub(crate) fn since(self, since: u64) -> Self {
        Self { since, ..self }
    }

    pub(crate) fn next(&mut self) -> Option<Step> {
        if let Some(root) = self.root.take() {
            return Some(self.enter(root));
        }
        loop {
            let frame = self.path.last_mut()?;
            let Some(child) = frame.children.next() else {
                self.path_bytes -= frame.memory;
                return self.path.pop().map(|frame| Step::Leave(frame.node));
            };
            let skipped = self
                .from
                .as_ref()
                .is_some_and(|from| child.last_key.as_ref().is_some_and(|last_key| last_key.is_before(from)));
            if !skipped {
                return Some(self.enter(child));
            }
        }
    }

    fn enter(&mut self, child: Child) -> Step {
        if child.offset < self.since {
            return Step::Older(child);
        }
        match self.read(&child) {
            Ok((Node::Leaf(leaf), _)) => Step::Leaf(child, leaf),
            Ok((Node::Inner(children), cost)) => {
                let frame = Frame { node: child, children: children.into_iter(), memory: cost.memory };
                self.path_bytes += cost.memory;
                self.path.push(frame);
                Step::Enter
            }
            Err(error) => Step::Lost(child, error),
        }
    }

    fn read(&mut self, child: &Child) -> Result<(Node, NodeCost), Error> {
        let offset = child.offset;
        if self.path.len() >= TREE_DEPTH_MAX {
            return Err(Error::Tree { offset, what: "it lies too deep" });
        }
        let (node, cost) = Node::read(self.blocks, offset)?;
        let path_bytes = self.path_bytes + cost.memory;
        if path_bytes > TREE_PATH_BYTES_MAX {
            let limit = TREE_PATH_BYTES_MAX;
            return Err(Error::TooLarge { offset, bytes: path_bytes, unit: "bytes of nodes", limit });
        }
        self.left = self.left.checked_sub(cost.stored).ok_or(Error::Tree {
            offset,
            what: "it belongs to a tree whose nodes together are longer than the file",
        })?;
        Ok((node, cost))
    }
}

/// The entries of a tree, from `from` on, each decoded by `decode`. What cannot be read is yielded as an error, and the
/// walk goes on behind it.
pub(crate) struct Entries<'r, R: ?Sized, T> {
    walk: Walk<'r, R>,
    decode: fn(Term<'_>, Term<'_>, u64) -> Result<T, Error>,
    leaf: Option<(Leaf, u32)>,
}

impl<'r, R: ReadAt + ?Sized, T> Entries<'r, R, T> {
    pub(crate) fn new(walk: Walk<'r, R>, decode: fn(Term<'_>, Term<'_>, u64) -> Result<T, Error>) -> Self {
        Self { walk, decode, leaf: None }
    }

    /// The next entry of the node that is being read, if it has one more.
    fn of_leaf(&mut self) -> Option<Result<T, Error>> {
        loop {
            let (leaf, position) = self.leaf.as_mut()?;
            let list = leaf.terms.term(leaf.list);
            // The list is gone through by value, not by position, which would take time by the square.
            let next = if *position == 0 { list.list()?.next() } else { leaf.terms.after(*position, list) };
            let Some(entry) = next else {
                self.leaf = None;
                return None;
            };
            *position = entry.index();
            let offset = leaf.offset;
            let Some([key, value]) = entry.tuple_of() else {
                return Some(Err(Error::Tree { offset, what: "an entry is no pair" }));
            };
            if self.walk.from.as_ref().is_some_and(|from| Key::of(key).is_before(from)) {
                continue;
            }
            return Some((self.decode)(key, value, offset));
        }
    }
}

impl<R: ReadAt + ?Sized, T> Iterator for Entries<'_, R, T> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.of_leaf() {
                return Some(entry);
            }
            match self.walk.next()? {
                Step::Leaf(_, leaf) => self.leaf = Some((leaf, 0)),
                Step::Lost(_, error) => return Some(Err(error)),
                Step::Enter | Step::Leave(_) | Step::Older(_) => {}
            }
        }
    }
}
