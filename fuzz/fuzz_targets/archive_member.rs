//! Members of archives: with recipients anybody can encrypt one.
#![no_main]

use std::io::Read as _;

use archive::member::MemberReader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    repository_fuzz::within(input, 32, || {
        let mut tar = tar::Archive::new(input);
        let mut members = MemberReader::default();
        let Ok(entries) = tar.entries() else { return };
        for entry in entries.raw(true) {
            let Ok(mut entry) = entry else { return };
            let Ok(member) = members.read(&mut entry) else { return };
            let is_below =
                |path: &std::path::Path| path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
            if let Some(member) = member {
                assert!(is_below(&member.path) && member.link.iter().all(|link| is_below(link)));
            }
            let mut content = [0; 512];
            while entry.read(&mut content).is_ok_and(|length| length > 0) {}
        }
    });
});
