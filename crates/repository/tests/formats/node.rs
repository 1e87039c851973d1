//! Any node a source can give survives being written and read.

use proptest::collection::vec;
use proptest::prelude::*;
use repository::format::go;
use repository::format::node::Xattr;
use repository::format::time::Time;
use repository::format::tree::{TreeReader, TreeWriter};
use repository::{Id, Node, NodeKind};

fn name() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop_oneof![vec(1u8.., 1..40), any::<String>().prop_map(String::into_bytes)];
    bytes.prop_filter("a node cannot have this name", |name| Node::is_valid_name(name))
}

fn time() -> impl Strategy<Value = Time> {
    (any::<i64>(), 0u32..1_000_000_000).prop_map(|(seconds, nanoseconds)| Time::from_stat(seconds, nanoseconds))
}

fn id() -> impl Strategy<Value = Id> {
    any::<[u8; 32]>().prop_map(Id)
}

fn kind() -> impl Strategy<Value = NodeKind> {
    use NodeKind::{BlockDevice, CharDevice, Dir, Fifo, File, Socket, Symlink, Unknown};
    prop::sample::select(vec![File, Dir, Symlink, BlockDevice, CharDevice, Fifo, Socket, Unknown])
}

prop_compose! {
    fn xattr()(name in ".*", value in vec(any::<u8>(), 0..50)) -> Xattr {
        Xattr { name, value }
    }
}

prop_compose! {
    fn node()(
        (name, kind, mode) in (name(), kind(), any::<u32>()),
        times in [time(), time(), time()],
        (uid, gid, user, group) in (any::<u32>(), any::<u32>(), ".*", ".*"),
        numbers in any::<[u64; 5]>(),
        link_target in prop_oneof![vec(any::<u8>(), 0..60), any::<String>().prop_map(String::into_bytes)],
        xattrs in vec(xattr(), 0..4),
        content in vec(id(), 0..4),
        subtree in id(),
    ) -> Node {
        let [mtime, atime, ctime] = times;
        let [inode, device_id, size, links, device] = numbers;
        // Only files have content and only folders a tree: the format has no other place for them.
        let content = if kind == NodeKind::File { content } else { Vec::new() };
        let subtree = (kind == NodeKind::Dir).then_some(subtree);
        Node {
            name, kind, mode, mtime, atime, ctime, uid, gid, user, group, inode, device_id, size, links, link_target,
            xattrs, device, content, subtree,
        }
    }
}

fn read(tree: Vec<u8>) -> Vec<Node> {
    let mut reader = TreeReader::new(tree).unwrap();
    std::iter::from_fn(|| reader.next().unwrap()).collect()
}

fn write(nodes: &[Node]) -> Vec<u8> {
    let mut writer = TreeWriter::new();
    nodes.iter().for_each(|node| writer.push(node).unwrap());
    writer.finish()
}

proptest! {
    #[test]
    fn any_node_survives(node in node()) {
        let json = go::to_json(&node);
        prop_assert_eq!(&serde_json::from_slice::<Node>(&json).unwrap(), &node);
        let text = String::from_utf8(json).unwrap();
        let escaped = !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']);
        prop_assert!(escaped, "{}", text);
    }

    #[test]
    fn any_tree_survives(mut nodes in vec(node(), 0..8)) {
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        nodes.dedup_by(|a, b| a.name == b.name);
        let tree = write(&nodes);
        prop_assert_eq!(&read(tree.clone()), &nodes);
        prop_assert_eq!(write(&read(tree.clone())), tree);
    }
}

#[test]
fn trees_are_refused_where_a_path_made_of_them_would_be_unsafe() {
    let of = |names: &[&str]| {
        let nodes: Vec<_> = names.iter().map(|name| format!(r#"{{"name":"{name}","type":"file"}}"#)).collect();
        let mut reader = TreeReader::new(format!(r#"{{"nodes":[{}]}}"#, nodes.join(",")).into_bytes())?;
        let mut count = 0;
        while reader.next()?.is_some() {
            count += 1;
        }
        Ok::<_, String>(count)
    };
    assert_eq!(of(&["a", "b", "c"]), Ok(3));
    for names in [&[".."][..], &["."], &[""], &["a/b"], &["\\\\x2e."], &["nul\\\\x00"], &["b", "a"], &["a", "a"]] {
        assert!(of(names).is_err(), "{names:?}");
    }
    let folder = TreeReader::new(br#"{"nodes":[{"name":"d","type":"dir"}]}"#.to_vec()).unwrap().next();
    assert!(folder.unwrap_err().contains("has no tree"));
}

#[test]
fn link_targets_that_are_not_utf_8_are_kept_as_restic_keeps_them() {
    // restic since 0.16 (`LinkTargetRaw` in its node.go): the text for old readers, the bytes in base64 for the rest.
    let json = br#"{"name":"l","type":"symlink","linktarget":"a\ufffd","linktarget_raw":"Yf8=","content":null}"#;
    let node: Node = serde_json::from_slice(json).unwrap();
    assert_eq!(node.link_target, b"a\xff");
    let written = String::from_utf8(go::to_json(&node)).unwrap();
    assert!(written.contains(r#""linktarget_raw":"Yf8=""#), "{written}");
}
