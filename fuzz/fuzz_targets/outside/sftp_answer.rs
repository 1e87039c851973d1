//! Answers of SFTP servers.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    repository_fuzz::within(input, 32, || connectors::fuzzing::sftp_answer(input));
});
