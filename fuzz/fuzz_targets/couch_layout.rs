//! Shard maps laid out for other nodes: each range lies on one of them, all else stays, and doing it again moves nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // The last of these is in the corpus, so that some shards stay where they are.
    let nodes = ["c@d", "e@f", "a@b"].map(str::to_owned);
    let Some((first, stored)) = input.split_first() else { return };
    let nodes = &nodes[usize::from(*first) % nodes.len()..];
    if let Ok(Some(map)) = couchfile::fuzzing::layout(stored, nodes) {
        assert!(map.n() <= 1);
    }
});
