//! Dumps that a Redis sends: however they come, they hold the same, and take no memory for it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // A database is two bytes, and an entry of a map; so is a module's type, of nine.
    let whole = repository_fuzz::within(input, 128, || connectors::fuzzing::redis_dump(input, usize::MAX));
    let parted = connectors::fuzzing::redis_dump(input, 3);
    match (whole, parted) {
        (Ok(whole), Ok(parted)) => assert_eq!(whole, parted),
        (whole, parted) => assert_eq!(whole.is_ok(), parted.is_ok()),
    }
});
