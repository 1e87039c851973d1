//! Logs of changes of a Redis: however they come, as much of them is a state, and it takes no memory to know.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // The dump that it may begin with is counted as in `redis_dump`.
    let whole = repository_fuzz::within(input, 128, || connectors::fuzzing::redis_log(input, usize::MAX));
    let parted = connectors::fuzzing::redis_log(input, 3);
    match (whole, parted) {
        (Ok(whole), Ok(parted)) => assert_eq!(whole, parted),
        (whole, parted) => assert_eq!(whole.is_ok(), parted.is_ok()),
    }
});
