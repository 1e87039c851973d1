//! What stands in each snapshot about its sources.
#![no_main]

use libfuzzer_sys::fuzz_target;
use operations::manifest::Manifest;

fuzz_target!(|input: &[u8]| {
    repository_fuzz::survives(input, Manifest::parse, |manifest| {
        serde_json::to_vec(manifest).expect("it was JSON before")
    });
});
