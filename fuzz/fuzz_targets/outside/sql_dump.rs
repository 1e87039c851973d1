//! Dumps in SQL: however they come, they are parted into the same files.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // Each file begins with what the dump begins with, and names of tables are kept.
    let whole = repository_fuzz::within(input, 128, || connectors::fuzzing::sql_dump(input, usize::MAX));
    let parted = connectors::fuzzing::sql_dump(input, 3);
    match (whole, parted) {
        (Ok(whole), Ok(parted)) => assert_eq!(whole, parted),
        (whole, parted) => assert_eq!(whole.is_ok(), parted.is_ok()),
    }
});
