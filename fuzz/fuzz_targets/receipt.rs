//! Records of drills.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repository::format::go;
use repository::format::receipt::Receipt;

fuzz_target!(|input: &[u8]| {
    repository_fuzz::survives(input, Receipt::parse, go::to_json);
});
