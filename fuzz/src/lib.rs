//! What the fuzz targets share: a bound on the memory a parser may take, and the check that what it accepts survives
//! being written and read again.
//!
//! Whoever can write to the storage chooses these bytes. A parser may refuse them; it must not crash, loop, take memory
//! out of proportion, or accept what it would not write itself.

use std::fmt::Debug;

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Memory that any call may take, whatever its input: buffers of compressors, messages of errors.
const FIXED_BYTES: usize = 1 << 20;

/// Runs `parse` and fails where it needed more than `per_byte` bytes of memory at once for each byte of `input`.
pub fn within<T>(input: &[u8], per_byte: usize, parse: impl FnOnce() -> T) -> T {
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    let parsed = parse();
    let taken = ALLOCATOR.peak_usage().saturating_sub(before);
    let bound = FIXED_BYTES + per_byte * input.len();
    assert!(taken <= bound, "{} bytes of input took {taken} bytes of memory, more than {bound}", input.len());
    parsed
}

/// Parses `input`, and where that works writes it and reads it again: both must be equal. `written` gives the bytes.
pub fn survives<T: Debug + PartialEq, E: Debug>(
    input: &[u8],
    parse: impl Fn(&[u8]) -> Result<T, E>,
    write: impl Fn(&T) -> Vec<u8>,
) -> Option<T> {
    // A list of ids holds 32 bytes for each 67 of JSON; growing it by doubling, while the old part is copied, and the
    // small strings of other types stay below this.
    let parsed = within(input, 32, || parse(input)).ok()?;
    let written = write(&parsed);
    match parse(&written) {
        Ok(again) => assert_eq!(parsed, again, "it changes when it is written and read again"),
        Err(error) => panic!("what was read and written is refused: {error:?}"),
    }
    Some(parsed)
}
