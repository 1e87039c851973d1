//! Names as Go quotes them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repository::format::go;

fuzz_target!(|input: &[u8]| {
    // Any bytes can be a name.
    let quoted = go::quote(input);
    assert!(!quoted.contains(|c: char| c.is_control()), "{quoted:?}");
    assert_eq!(go::unquote(&quoted).as_deref(), Some(input), "{quoted}");

    // Other programs quote in other ways; what is read means the same once it is quoted again.
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Some(name) = repository_fuzz::within(input, 4, || go::unquote(text)) else { return };
    assert_eq!(go::unquote(&go::quote(&name)), Some(name));
});
