//! Compose files, with what Compose's own variables make of them.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("there is room for a folder"));

fuzz_target!(|input: &[u8]| {
    std::fs::write(FOLDER.path().join("compose.yaml"), input).expect("there is room for a file");
    // Trees of YAML take some hundred bytes for each value, which may be a character long.
    let _ = repository_fuzz::within(input, 1024, || connectors::fuzzing::compose_project(FOLDER.path()));
});
