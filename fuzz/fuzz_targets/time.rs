//! Times, which stand in every node, snapshot and lock.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repository::format::time::Time;

/// `2006-01-02T15:04:05Z` to `2006-01-02T15:04:05.123456789Z`.
const TEXT_BYTES: std::ops::RangeInclusive<usize> = 20..=30;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Some(time) = repository_fuzz::within(input, 8, || Time::parse(text)) else { return };
    assert!(time.nanoseconds < 1_000_000_000);
    let written = time.to_string();
    assert!(TEXT_BYTES.contains(&written.len()) && written.ends_with('Z'), "{written}");
    assert_eq!(Time::parse(&written), Some(time), "{written}");
    assert_eq!(Time::from_stat(time.seconds, time.nanoseconds), time);
});
