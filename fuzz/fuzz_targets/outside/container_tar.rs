//! Tars that a container engine makes of whatever a container's programs wrote: nothing of them leads out of the path that
//! was asked for.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // A node holds some hundred bytes for each header of 512, and a file's bytes are read.
    if let Ok(files) = repository_fuzz::within(input, 32, || connectors::fuzzing::container_tar(input)) {
        for path in files.keys() {
            let mut parts = path.components();
            assert!(path.starts_with("/a"), "{}", path.display());
            assert!(parts.all(|part| !matches!(part, std::path::Component::ParentDir)), "{}", path.display());
        }
    }
});
