//! `lifeboat.yaml`: it is the user's own, but programs write it, too.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use operations::config::{self, Environment};

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let _ = repository_fuzz::within(input, 1024, || {
        let environment = Environment::of([("HOME", "/root"), ("WORD", "a: [b, #")]);
        config::parse(text, Path::new("/etc/lifeboat/lifeboat.yaml"), &environment)
    });
});
