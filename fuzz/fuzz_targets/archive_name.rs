//! Names of archives, as a listing gives them.
#![no_main]

use archive::ArchiveName;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(name) = std::str::from_utf8(input) else { return };
    if let Ok(parsed) = repository_fuzz::within(input, 32, || name.parse::<ArchiveName>()) {
        assert_eq!(parsed.to_string(), name);
    }
});
