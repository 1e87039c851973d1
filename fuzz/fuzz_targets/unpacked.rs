//! The plain form of index files, snapshots and locks: JSON or compressed JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repository::format::unpacked;
use repository::limits::UNPACKED_BYTES_MAX;

fuzz_target!(|input: &[u8]| {
    if let Ok(json) = unpacked::decode(input) {
        assert!(json.len() <= UNPACKED_BYTES_MAX.max(input.len()));
    }
    let encoded = unpacked::encode(input).expect("anything can be compressed");
    assert_eq!(unpacked::decode(&encoded).as_deref(), Ok(input));
});
