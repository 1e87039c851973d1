//! Terms as CouchDB stores them, plain, with Snappy or deflated, read as everything that a file can have in their place.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// A value takes 16 bytes, and a list of them three times that while it grows; what is read out of values is smaller
/// than twenty of them. Deflate makes at most 1040 bytes of one.
const PER_PLAIN_BYTE: usize = 400;
const DEFLATE_RATIO_MAX: usize = 1040;

fuzz_target!(|input: &[u8]| {
    let plain = input.starts_with(&[131]) && !input.starts_with(&[131, 80]);
    let per_byte = if plain { PER_PLAIN_BYTE } else { PER_PLAIN_BYTE * DEFLATE_RATIO_MAX };
    let read = repository_fuzz::within(input, per_byte, || couchfile::fuzzing::term(input));
    if let Ok(Some(json)) = read {
        // No JSON that could not be read by others. They do not nest as deeply, and know no numbers beyond a float.
        let parsed: Result<serde::de::IgnoredAny, _> = serde_json::from_slice(&json);
        if let Err(error) = parsed {
            let message = error.to_string();
            let known = ["recursion limit exceeded", "number out of range"];
            assert!(known.iter().any(|known| message.starts_with(known)), "{message}");
        }
    }
});
