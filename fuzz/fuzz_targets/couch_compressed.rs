//! Compressed terms: the rest of the input is one that was made by nobody, or what is to be compressed.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// As in `couch_term`, for Snappy and for deflate.
const PER_BYTE: [usize; 2] = [400 * 32, 400 * 1040];

fuzz_target!(|input: &[u8]| {
    let Some((way, rest)) = input.split_first() else { return };
    match way % 3 {
        0 => couchfile::fuzzing::compressed(rest).expect("anything can be compressed"),
        1 => {
            let stored = [&[1], rest].concat();
            let _ = repository_fuzz::within(&stored, PER_BYTE[0], || couchfile::fuzzing::term(&stored));
        }
        _ => {
            let stored = [&[131, 80], rest].concat();
            let _ = repository_fuzz::within(&stored, PER_BYTE[1], || couchfile::fuzzing::term(&stored));
        }
    }
});
