//! Shard maps: a renaming puts the new name wherever the old one was, and changes nothing else.
#![no_main]

use couchfile::rewrite::NodeNames;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let names = NodeNames::from([("a@b".to_owned(), "c@d".to_owned()), ("c@d".to_owned(), "e@f".to_owned())]);
    if let Ok(Some(map)) = couchfile::fuzzing::shard_map(input, &names) {
        assert!(map.n() <= map.by_node.len());
        let shards: usize = map.by_node.iter().map(|(node, _)| map.shards_of(node).count()).sum();
        assert!(shards >= map.q() || map.by_node.is_empty());
        let _ = map.is_complete();
    }
});
