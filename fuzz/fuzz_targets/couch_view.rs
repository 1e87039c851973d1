//! View files.
#![no_main]

use couchfile::{Level, View};
use libfuzzer_sys::fuzz_target;

/// As in `couch_file`.
const PER_BYTE: usize = 400 * 1040;

fuzz_target!(|input: &[u8]| {
    repository_fuzz::within(input, PER_BYTE, || {
        if let Ok(view) = View::open(input) {
            let report = view.check(Level::Attachments);
            let _ = report.findings.iter().map(|finding| finding.to_string().len()).sum::<usize>();
        }
    });
});
