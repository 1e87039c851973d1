//! A tree: the sorted nodes of one folder, as JSON. Folders of 100,000 files make trees of some 50 MB, so a tree is
//! built and read node by node.

use super::go;
use super::id::Id;
use super::node::{Node, NodeKind};

const START: &[u8] = b"{\"nodes\":[";
const END: &[u8] = b"]}\n";

/// Encodes a tree node by node.
#[derive(Debug)]
pub struct TreeWriter {
    bytes: Vec<u8>,
    last_name: Vec<u8>,
}

impl Default for TreeWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl TreeWriter {
    /// A tree without nodes.
    pub fn new() -> Self {
        Self { bytes: START.to_vec(), last_name: Vec::new() }
    }

    /// Adds a node. Names must come sorted by their bytes and only once.
    pub fn push(&mut self, node: &Node) -> Result<(), String> {
        if !Node::is_valid_name(&node.name) {
            return Err(format!("{:?} cannot be a name", node.display_name()));
        }
        if node.name <= self.last_name {
            return Err(format!("{:?} comes out of order", node.display_name()));
        }
        if self.bytes.len() > START.len() {
            self.bytes.push(b',');
        }
        go::append_json(node, &mut self.bytes);
        self.last_name.clone_from(&node.name);
        Ok(())
    }

    /// The tree's bytes, whose SHA-256 is its id.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(END);
        self.bytes
    }
}

/// Reads a tree node by node, without holding them all.
#[derive(Debug)]
pub struct TreeReader {
    bytes: Vec<u8>,
    /// Where the next node starts; `None` past the last.
    at: Option<usize>,
    last_name: Vec<u8>,
}

impl TreeReader {
    /// Begins to read the bytes of a tree blob.
    pub fn new(bytes: Vec<u8>) -> Result<Self, String> {
        let start = find_nodes(&bytes)?;
        Ok(Self { bytes, at: start, last_name: Vec::new() })
    }

    /// The next node, held against everything a path on this machine needs.
    #[expect(clippy::should_implement_trait, reason = "an iterator of results would be read on past an error")]
    pub fn next(&mut self) -> Result<Option<Node>, String> {
        let Some(at) = self.at else { return Ok(None) };
        let mut values = serde_json::Deserializer::from_slice(&self.bytes[at..]).into_iter::<Node>();
        let node = match values.next() {
            Some(Ok(node)) => node,
            Some(Err(error)) => return Err(format!("byte {at}: {error}")),
            None => return Err("it ends early".to_owned()),
        };
        let mut next = at + values.byte_offset();
        skip_space(&self.bytes, &mut next);
        self.at = match self.bytes.get(next) {
            Some(b',') => Some(next + 1),
            Some(b']') => None,
            _ => return Err(format!("byte {next}: expected , or ]")),
        };
        self.check(&node)?;
        self.last_name.clone_from(&node.name);
        Ok(Some(node))
    }

    fn check(&self, node: &Node) -> Result<(), String> {
        if !Node::is_valid_name(&node.name) {
            return Err(format!("{:?} cannot be a name", node.display_name()));
        }
        if node.name <= self.last_name {
            return Err(format!("{:?} comes out of order or twice", node.display_name()));
        }
        if node.kind == NodeKind::Dir && node.subtree.is_none() {
            return Err(format!("folder {:?} has no tree", node.display_name()));
        }
        Ok(())
    }
}

/// The offset of the first node, or `None` for a tree without nodes. Keys before `nodes` are passed over, as restic
/// does for the sake of future versions.
fn find_nodes(bytes: &[u8]) -> Result<Option<usize>, String> {
    let mut at = 0;
    expect(bytes, &mut at, b'{')?;
    loop {
        skip_space(bytes, &mut at);
        let mut key = serde_json::Deserializer::from_slice(&bytes[at..]).into_iter::<String>();
        let name = key.next().ok_or("it ends early")?.map_err(|error| format!("byte {at}: {error}"))?;
        at += key.byte_offset();
        expect(bytes, &mut at, b':')?;
        if name == "nodes" {
            break;
        }
        skip_space(bytes, &mut at);
        let mut value = serde_json::Deserializer::from_slice(&bytes[at..]).into_iter::<serde::de::IgnoredAny>();
        value.next().ok_or("it ends early")?.map_err(|error| format!("byte {at}: {error}"))?;
        at += value.byte_offset();
        expect(bytes, &mut at, b',')?;
    }
    skip_space(bytes, &mut at);
    if bytes[at..].starts_with(b"null") {
        return Ok(None);
    }
    expect(bytes, &mut at, b'[')?;
    skip_space(bytes, &mut at);
    Ok((bytes.get(at) != Some(&b']')).then_some(at))
}

fn expect(bytes: &[u8], at: &mut usize, byte: u8) -> Result<(), String> {
    skip_space(bytes, at);
    if bytes.get(*at) != Some(&byte) {
        return Err(format!("byte {at}: expected {}", char::from(byte)));
    }
    *at += 1;
    Ok(())
}

fn skip_space(bytes: &[u8], at: &mut usize) {
    while bytes.get(*at).is_some_and(u8::is_ascii_whitespace) {
        *at += 1;
    }
}

/// The blobs a tree refers to: data blobs of its files, tree blobs of its folders. For sweeps that need nothing else.
pub fn references(bytes: Vec<u8>, mut data: impl FnMut(Id), mut tree: impl FnMut(Id)) -> Result<(), String> {
    let mut reader = TreeReader::new(bytes)?;
    while let Some(node) = reader.next()? {
        node.content.into_iter().for_each(&mut data);
        node.subtree.into_iter().for_each(&mut tree);
    }
    Ok(())
}
