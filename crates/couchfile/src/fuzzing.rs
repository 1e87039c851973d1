//! Parsers that nothing outside of this crate calls, for the fuzz targets in `fuzz/`, which hold what is said here.

use crate::attachment::Attachment;
use crate::document::{Document, DocumentInfo, LocalDocument};
use crate::revision::{Revision, RevisionNode, RevisionTree};
use crate::rewrite::{NodeNames, laid_out_body, renamed_body, spread};
use crate::term::encode::Encoder;
use crate::term::{Compression, Terms, compress};
use crate::{Error, ShardMap, json};

/// A stored term, in every reading that any place of a file gives one. Returns its JSON, if it has one. A revision tree
/// that is read is the same after it was written and read again.
pub fn term(stored: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    let terms = Terms::of_stored(stored.to_vec(), 0)?;
    let root = terms.root();
    let again = Terms::of_raw(root.raw(), 0)?;
    assert_eq!(again.root().raw(), root.raw());
    if let Ok(tree) = RevisionTree::decode(root, 0) {
        let mut out = Encoder::default();
        tree.encode(&mut out);
        let again = RevisionTree::decode(Terms::of_raw(&out.finish(), 0)?.root(), 0)?;
        let names = |tree: &RevisionTree| -> Vec<_> {
            let leaves = tree.leaves();
            leaves.iter().map(|leaf| leaf.history().cloned().collect::<Vec<_>>()).collect()
        };
        assert_eq!(names(&again), names(&tree), "a revision tree changes when it is written");
    }
    let _ = Attachment::decode(root, 0);
    if let Some([key, value]) = root.tuple_of() {
        let _ = DocumentInfo::of_id_entry(key, value, 0);
        let _ = DocumentInfo::of_seq_entry(key, value, 0);
        let _ = LocalDocument::of_entry(key, value, 0).map(|local| local.to_json());
    }
    let mut out = Vec::new();
    Ok(json::write(&mut out, root).ok().map(|()| out))
}

/// What is compressed comes back.
pub fn compressed(plain: &[u8]) -> Result<(), Error> {
    let mut encoder = Encoder::term();
    encoder.binary(plain);
    let encoded = encoder.finish();
    for how in [Compression::None, Compression::Snappy, Compression::Deflate] {
        let terms = Terms::of_stored(compress(encoded.clone(), how)?, 0)?;
        assert_eq!(terms.root().binary(), Some(plain));
    }
    Ok(())
}

/// The body of a document in `_dbs.couch`: read as a shard map, then with nodes renamed and read again.
pub fn shard_map(stored: &[u8], names: &NodeNames) -> Result<Option<ShardMap>, Error> {
    let document = document(Terms::of_stored(stored.to_vec(), 0)?);
    let map = ShardMap::of_document(&document)?;
    let Some(body) = renamed_body(&document, names)? else { return Ok(map) };
    let renamed = ShardMap::of_document(&self::document(Terms::of_raw(&body, 0)?))?;
    if let (Some(map), Some(renamed)) = (&map, &renamed) {
        let named = |node: &String| names.get(node).unwrap_or(node).clone();
        let by_node: Vec<_> = map.by_node.iter().map(|(node, ranges)| (named(node), ranges.clone())).collect();
        assert_eq!(renamed.by_node, by_node);
        let by_range = map.by_range.iter().map(|(range, nodes)| (*range, nodes.iter().map(named).collect()));
        assert_eq!(renamed.by_range, by_range.collect::<Vec<(_, Vec<_>)>>());
        assert_eq!((&renamed.suffix, &renamed.properties), (&map.suffix, &map.properties));
        assert_eq!(renamed.changelog.len(), map.changelog.len());
    }
    Ok(map)
}

/// The body of a document in `_dbs.couch`, laid out for `nodes`, of which there is at least one, and read again: each range
/// lies on one of them, evenly, and all else is as it was.
pub fn layout(stored: &[u8], nodes: &[String]) -> Result<Option<ShardMap>, Error> {
    let document = document(Terms::of_stored(stored.to_vec(), 0)?);
    let Some(body) = laid_out_body(&document, nodes)? else { return Ok(None) };
    let laid_out = self::document(Terms::of_raw(&body, 0)?);
    let (Some(before), Some(after)) = (ShardMap::of_document(&document)?, ShardMap::of_document(&laid_out)?) else {
        unreachable!("a shard map alone is laid out, and then is one");
    };
    let placed: Vec<_> = spread(&before.ranges(), nodes.len()).collect();
    let by_range: Vec<_> = placed.iter().map(|(range, at)| (*range, vec![nodes[*at].clone()])).collect();
    assert_eq!(after.by_range, by_range);
    let held = |at: usize| placed.iter().filter(|(_, node)| *node == at).map(|(range, _)| *range).collect::<Vec<_>>();
    let by_node = nodes.iter().enumerate().map(|(at, node)| (node.clone(), held(at)));
    assert_eq!(after.by_node, by_node.filter(|(_, ranges)| !ranges.is_empty()).collect::<Vec<_>>());
    assert_eq!((&after.suffix, &after.properties), (&before.suffix, &before.properties));
    assert!(after.changelog.starts_with(&before.changelog), "the changelog goes on");
    // Laid out once more, nothing moves.
    let again = laid_out_body(&laid_out, nodes)?.unwrap_or_default();
    let again = ShardMap::of_document(&self::document(Terms::of_raw(&again, 0)?))?;
    assert_eq!(again.as_ref(), Some(&after));
    Ok(Some(after))
}

fn document(body: Terms) -> Document {
    let revision = Revision { position: 1, id: vec![1; 16] };
    let node = RevisionNode { revision: revision.clone(), parent: None, leaf: true, body: None };
    let tree = RevisionTree::of_nodes(vec![node]);
    let line = tree.leaves()[0].line();
    Document {
        id: "db".to_owned(),
        revision,
        deleted: false,
        attachments: Vec::new(),
        checksum: None,
        offset: 0,
        stored_length: 0,
        line,
        body,
    }
}
