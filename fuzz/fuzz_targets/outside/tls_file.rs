//! Files among certificates and keys. Others may have written them: whoever issued the certificate, or a container.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = repository_fuzz::within(input, 64, || connectors::fuzzing::tls_file(input));
});
