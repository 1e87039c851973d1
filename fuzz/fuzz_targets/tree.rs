//! Trees and their nodes. Their names become paths on the machine that restores.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repository::format::tree::{self, TreeReader, TreeWriter};
use repository::{Node, NodeKind};

fuzz_target!(|input: &[u8]| {
    let Ok(nodes) = repository_fuzz::within(input, 64, || read(input)) else { return };
    let mut last: &[u8] = b"";
    for node in &nodes {
        assert!(Node::is_valid_name(&node.name));
        assert!(last < node.name.as_slice());
        assert!(node.kind != NodeKind::Dir || node.subtree.is_some());
        last = &node.name;
    }
    check_references(input, &nodes);

    let written = write(&nodes);
    let again = read(&written).expect("what was read and written is read");
    assert_eq!(nodes, again);
    assert_eq!(written, write(&again));
});

/// The nodes of a tree, without what only a file can have.
fn read(bytes: &[u8]) -> Result<Vec<Node>, String> {
    let mut reader = TreeReader::new(bytes.to_vec())?;
    let mut nodes = Vec::new();
    while let Some(mut node) = reader.next()? {
        if node.kind != NodeKind::File {
            node.content.clear();
        }
        nodes.push(node);
    }
    assert_eq!(reader.next(), Ok(None), "a tree that has ended stays so");
    Ok(nodes)
}

fn write(nodes: &[Node]) -> Vec<u8> {
    let mut writer = TreeWriter::new();
    nodes.iter().for_each(|node| writer.push(node).expect("what was read can be written"));
    writer.finish()
}

fn check_references(bytes: &[u8], nodes: &[Node]) {
    let (mut data, mut trees) = (0, 0);
    tree::references(bytes.to_vec(), |_| data += 1, |_| trees += 1).expect("it was read before");
    assert!(data >= nodes.iter().map(|node| node.content.len()).sum::<usize>());
    assert_eq!(trees, nodes.iter().filter(|node| node.subtree.is_some()).count());
}
