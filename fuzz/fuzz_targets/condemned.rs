//! Lists of packs that `prune` took out of the index.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repository::format::go;
use repository::prune::Condemned;

fuzz_target!(|input: &[u8]| {
    repository_fuzz::survives(input, Condemned::parse, go::to_json);
});
