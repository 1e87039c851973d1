//! Key files, which are the only files that are read before anything can be authenticated.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repository::format::key_file::{KeyFile, KeyFileError};

/// The password of the corpus' key files.
const PASSWORD: &str = "fuzz";

/// The numbers that say what the derivation costs.
#[derive(serde::Deserialize)]
struct Cost {
    #[serde(rename = "N")]
    n: u64,
    r: u64,
    p: u64,
}

fuzz_target!(|input: &[u8]| {
    let Ok(file) = repository_fuzz::within(input, 32, || KeyFile::parse(input)) else { return };
    let written = file.to_bytes();
    let again = KeyFile::parse(&written).expect("what was read and written is read");
    assert_eq!(written, again.to_bytes());

    let Ok(Cost { n, r, p }) = serde_json::from_slice(input) else { return };
    let memory = u128::from(n) * u128::from(r) * 128;
    let work = u128::from(n) * u128::from(r) * u128::from(p);
    if memory > 1 << 30 || r * p > 1 << 10 {
        // A hostile file must not make this machine run out of memory or time.
        let refused = repository_fuzz::within(input, 32, || file.unwrap(PASSWORD));
        assert!(matches!(refused, Err(KeyFileError::Malformed(_))));
    } else if work <= 1 << 10 {
        // What opens is opened again after it was written; what does not, fails in the same way.
        let (first, second) = (file.unwrap(PASSWORD), again.unwrap(PASSWORD));
        match (first, second) {
            (Ok(first), Ok(second)) => assert_eq!(key_text(&first), key_text(&second)),
            (Err(first), Err(second)) => assert_eq!(first.to_string(), second.to_string()),
            (first, second) => panic!("{first:?} and then {second:?}"),
        }
    }
});

fn key_text(key: &impl serde::Serialize) -> String {
    serde_json::to_string(key).expect("a key can be written")
}
