//! Archives of `pg_dump`: what is stored of one that is whole is one that is whole, and stays as it is.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let read = repository_fuzz::within(input, 64, || connectors::fuzzing::postgres_archive(input));
    if let Ok(stored) = read {
        assert_eq!(connectors::fuzzing::postgres_archive(&stored), Ok(stored));
    }
});
