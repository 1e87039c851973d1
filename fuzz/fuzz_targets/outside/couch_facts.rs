//! What a manifest says of a CouchDB: no reading of it leads out of the folder that it is about.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use repository::Facts;
use tempfile::TempDir;

/// Empty; made once, and left to whoever cleans up after temporary files.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("there is room for a folder"));

fuzz_target!(|input: &[u8]| {
    let Ok(facts) = serde_json::from_slice::<Facts>(input) else { return };
    connectors::fuzzing::couch_facts(&facts, FOLDER.path());
});
