//! Snapshots of Lifeboat and of restic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repository::format::go;
use repository::format::snapshot::Snapshot;

fuzz_target!(|input: &[u8]| {
    if let Some(snapshot) = repository_fuzz::survives(input, Snapshot::parse, go::to_json) {
        let stack = snapshot.stack().map(Snapshot::stack_tag);
        assert!(stack.is_none_or(|tag| snapshot.tags.contains(&tag)));
    }
});
