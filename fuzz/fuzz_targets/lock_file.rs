//! Locks of Lifeboat and of restic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repository::format::go;
use repository::format::lock_file::LockFile;

fuzz_target!(|input: &[u8]| {
    repository_fuzz::survives(input, LockFile::parse, go::to_json);
});
