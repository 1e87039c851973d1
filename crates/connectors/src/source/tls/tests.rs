//! Certificates and keys that openssl made, valid from 2025-06-01 to 2026-06-01; `expired` until 2025-12-31. The clock of
//! these tests stands at 2026-01-01.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::source::testing::{Captured, Setup};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/source/tls/fixtures");

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(FIXTURES).join(name)).unwrap()
}

/// A folder with these fixtures under other names.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, from) in files {
        fs::write(dir.path().join(name), fixture(from)).unwrap();
    }
    dir
}

fn of_folder(dir: &Path) -> TlsSource {
    TlsSource::new(TlsOptions::From { place: dir.into(), engine: EngineAddress::default() })
}

fn capture(dir: &Path) -> Captured {
    Setup::default().capture(&of_folder(dir)).unwrap()
}

fn problems(dir: &Path) -> Vec<String> {
    let shown = format!("{}/", dir.display());
    capture(dir).problems.iter().map(|problem| problem.replace(&shown, "")).collect()
}

#[test]
fn keys_of_every_common_kind_are_found_to_match_their_certificates() {
    for (kind, key) in [("rsa", "rsa.key"), ("rsa", "rsa-pkcs1.key"), ("ec", "ec.key"), ("ed25519", "ed25519.key")] {
        let dir = folder(&[("cert.pem", &format!("{kind}.crt")), ("key.pem", key)]);
        fs::write(dir.path().join("deploy.sh"), "#!/bin/sh\nnginx -s reload\n").unwrap();
        let captured = capture(dir.path());
        assert_eq!(captured.problems, [""; 0], "{key}");
        assert_eq!(captured.below(dir.path()), ["cert.pem", "deploy.sh", "key.pem"]);
        let path = |name: &str| layout::fact_key(&dir.path().join(name));
        let certificate = &captured.facts[CERTIFICATES_FACT][&path("cert.pem")][0];
        assert_eq!(certificate["key_matches"], true, "{key}");
        assert_eq!(certificate["subject"], "O=Shop,CN=shop.example");
        assert_eq!(certificate["issuer"], "O=Shop,CN=shop.example");
        assert_eq!(certificate["names"], json!(["*.shop.example", "192.0.2.7", "shop.example"]));
        assert_eq!(certificate["not_before"], "2025-06-01T00:00:00Z");
        assert_eq!(certificate["not_after"], "2026-06-01T00:00:00Z");
        let state = json!([{ "state": "matches", "certificate": certificate["fingerprint"] }]);
        assert_eq!(captured.facts[KEYS][&path("key.pem")], state);
    }
}

#[test]
fn a_fingerprint_is_the_one_that_openssl_shows() {
    let pem = Pem::parse(Path::new("ec.crt"), &fixture("ec.crt"));
    let fingerprint = "81919e4e9e195905ed25de96c5640e89b1a6d74dea95e0d3933d2fe0e88adbd1";
    assert_eq!(pem.certificates[0].fingerprint, fingerprint);
}

#[test]
fn a_key_of_another_certificate_is_a_problem() {
    let dir = folder(&[("cert.pem", "rsa.crt"), ("key.pem", "ec.key")]);
    let what = "key.pem: this key belongs to none of the certificates here: put the right one beside it";
    assert_eq!(problems(dir.path()), [what]);
}

#[test]
fn an_expired_certificate_is_a_problem_and_restores_equal_all_the_same() {
    let dir = folder(&[("cert.pem", "expired.crt"), ("key.pem", "ec.key")]);
    let captured = capture(dir.path());
    assert_eq!(captured.problems.len(), 1, "{:?}", captured.problems);
    assert!(captured.problems[0].ends_with("CN=shop.example expired on 2025-12-31: renew it"));
    let target = tempfile::tempdir().unwrap();
    captured.restore(target.path());
    let recount = || examine(target.path(), &captured.facts, &Cancel::new()).unwrap();
    let counted = recount();
    assert_eq!(counted[CERTIFICATES_FACT], captured.facts[CERTIFICATES_FACT]);
    assert_eq!(counted[KEYS], captured.facts[KEYS]);
    fs::write(target.path().join(dir.path().strip_prefix("/").unwrap()).join("cert.pem"), fixture("ec.crt")).unwrap();
    assert_ne!(recount()[CERTIFICATES_FACT], captured.facts[CERTIFICATES_FACT], "another certificate");
    fs::remove_file(target.path().join(dir.path().strip_prefix("/").unwrap()).join("key.pem")).unwrap();
    assert_ne!(recount()[KEYS], captured.facts[KEYS], "the key is gone");
}

#[test]
fn what_cannot_be_read_is_a_problem_and_is_captured_as_it_lies() {
    let dir = folder(&[("good.pem", "rsa.crt"), ("key.pem", "rsa.key")]);
    let cut = fixture("ec.crt");
    let cut = &cut[..cut.len() - 40];
    fs::write(dir.path().join("cut.pem"), cut).unwrap();
    let text = String::from_utf8(fixture("ec.crt")).unwrap();
    // Still base64, and no certificate.
    let (head, tail) = text.split_at(text.find("\nMII").unwrap() + 1);
    fs::write(dir.path().join("damaged.crt"), format!("{head}AAAA{}", &tail[4..])).unwrap();
    fs::write(dir.path().join("none.crt"), "x").unwrap();
    let found = problems(dir.path());
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(found[0], "cut.pem: is a PEM file that cannot be read: it is cut short or damaged");
    assert!(found[1].starts_with("damaged.crt: holds a certificate that cannot be read"), "{}", found[1]);
    assert_eq!(found[2], "none.crt: holds no certificate, though its name says so");
    assert_eq!(capture(dir.path()).get(&dir.path().join("cut.pem")).bytes, cut);
}

#[test]
fn a_key_that_cannot_be_compared_is_noted_and_no_problem() {
    for (name, key, says) in [
        ("p521.crt", "p521.key", "of a kind that is not compared"),
        ("ec.crt", "encrypted.key", "needs a passphrase"),
        ("ec.crt", "encrypted-old.key", "needs a passphrase"),
    ] {
        let dir = folder(&[("cert.pem", name), ("key.pem", key)]);
        let captured = capture(dir.path());
        assert_eq!(captured.problems, [""; 0], "{key}");
        assert!(captured.notes.iter().any(|note| note.contains(says)), "{key}: {:?}", captured.notes);
    }
}

#[test]
fn what_links_lead_to_is_captured_too() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, live) = (dir.path().join("archive"), dir.path().join("live"));
    for folder in [&archive, &live] {
        fs::create_dir(folder).unwrap();
    }
    fs::write(archive.join("cert2.pem"), fixture("ec.crt")).unwrap();
    fs::write(archive.join("privkey2.pem"), fixture("ec.key")).unwrap();
    fs::write(archive.join("cert1.pem"), fixture("expired.crt")).unwrap();
    for (link, target) in [("cert.pem", "../archive/cert2.pem"), ("privkey.pem", "../archive/privkey2.pem")] {
        std::os::unix::fs::symlink(target, live.join(link)).unwrap();
    }
    let expected =
        ["archive/", "archive/cert2.pem", "archive/privkey2.pem", "live/", "live/cert.pem", "live/privkey.pem"];
    let captured = capture(&live);
    assert_eq!(captured.below(dir.path()), expected);
    assert_eq!(captured.problems, [""; 0]);
    let pair = TlsOptions::Pair { cert: live.join("cert.pem"), key: live.join("privkey.pem") };
    let captured = Setup::default().capture(&TlsSource::new(pair)).unwrap();
    assert_eq!(captured.below(dir.path()), expected);
    assert_eq!(captured.problems, [""; 0]);
}

#[test]
fn a_pair_without_its_key_or_a_folder_without_a_certificate_is_a_problem() {
    let dir = folder(&[("cert.pem", "ec.crt"), ("key.pem", "rsa.crt")]);
    let pair = TlsOptions::Pair { cert: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
    let captured = Setup::default().capture(&TlsSource::new(pair)).unwrap();
    assert_eq!(captured.problems.len(), 1, "{:?}", captured.problems);
    assert!(captured.problems[0].ends_with("key.pem: holds no private key"));
    let dir = folder(&[("key.pem", "ec.key")]);
    let found = problems(dir.path());
    assert!(found.iter().any(|what| what.contains("no certificate is here")), "{found:?}");
    let gone = Setup::default().capture(&of_folder(Path::new("/nowhere/tls")));
    assert!(gone.is_err_and(|error| error.to_string().contains("/nowhere/tls")));
}

#[test]
fn a_folder_without_any_key_is_a_problem_unless_its_certificates_are_those_of_authorities() {
    // As the servers of CHT make it by themselves: signed for itself, as an authority, for a name.
    let dir = folder(&[("cert.pem", "ec.crt"), ("root.crt", "authority.crt")]);
    let found = problems(dir.path());
    assert_eq!(found, [format!("cert.pem: {WITHOUT_KEY}")]);
    assert_eq!(problems(folder(&[("root.crt", "authority.crt")]).path()), [""; 0]);
}

/// A second backup, after `change`, with what it says of the folder.
fn after(dir: &Path, change: impl FnOnce()) -> Captured {
    let mut setup = Setup::default();
    setup.previous = Some(setup.capture(&of_folder(dir)).unwrap().facts);
    change();
    // It is told for as long as it is so.
    setup.previous = Some(setup.capture(&of_folder(dir)).unwrap().facts);
    setup.capture(&of_folder(dir)).unwrap()
}

#[test]
fn a_key_that_was_in_an_earlier_snapshot_and_is_gone_is_told_until_it_is_back() {
    let dir =
        folder(&[("cert.pem", "ec.crt"), ("key.pem", "ec.key"), ("other.pem", "rsa.crt"), ("other.key", "rsa.key")]);
    let remove = |name: &str| fs::remove_file(dir.path().join(name)).unwrap();
    let captured = after(dir.path(), || remove("key.pem"));
    assert_eq!(captured.problems, [format!("{}: {LOST_KEY}", dir.path().join("cert.pem").display())]);
    let target = tempfile::tempdir().unwrap();
    captured.restore(target.path());
    assert_eq!(examine(target.path(), &captured.facts, &Cancel::new()).unwrap(), captured.facts);
    // A key that needs a passphrase may be the one.
    fs::write(dir.path().join("key.pem"), fixture("ec.key")).unwrap();
    let captured = after(dir.path(), || fs::write(dir.path().join("key.pem"), fixture("encrypted.key")).unwrap());
    assert_eq!(captured.problems, [""; 0]);

    let dir = folder(&[("root.pem", "authority.crt"), ("key.pem", "encrypted.key")]);
    let captured = after(dir.path(), || fs::remove_file(dir.path().join("key.pem")).unwrap());
    assert_eq!(captured.problems, [format!("{}: {WITHOUT_KEY}", dir.path().join("root.pem").display())]);
    let mut setup = Setup { previous: Some(captured.facts.clone()), ..Setup::default() };
    fs::write(dir.path().join("key.pem"), fixture("encrypted.key")).unwrap();
    setup.previous = Some(setup.capture(&of_folder(dir.path())).unwrap().facts);
    let whole = setup.capture(&of_folder(dir.path())).unwrap();
    assert!(whole.problems.is_empty() && !whole.facts.contains_key(KEYS_LOST), "{:?}", whole.facts);
}

#[test]
fn nothing_of_a_private_key_is_shown() {
    let dir = folder(&[("cert.pem", "rsa.crt"), ("key.pem", "ec.key"), ("p521.key", "p521.key")]);
    let captured = capture(dir.path());
    let shown = format!("{:?} {:?} {:?}", captured.facts, captured.problems, captured.notes);
    for key in ["ec.key", "p521.key"] {
        let text = String::from_utf8(fixture(key)).unwrap();
        for line in text.lines().filter(|line| !line.starts_with('-')) {
            assert!(!shown.contains(line));
        }
    }
}

#[test]
fn a_dry_run_reads_no_file() {
    let dir = folder(&[("cert.pem", "expired.crt")]);
    let setup = Setup { look_only: true, ..Setup::default() };
    let captured = setup.capture(&of_folder(dir.path())).unwrap();
    assert_eq!((captured.problems.len(), captured.below(dir.path()).len()), (0, 1));
}

proptest! {
    #[test]
    fn any_change_to_a_file_is_read_or_named(
        name in prop::sample::select(vec!["ec.crt", "rsa.crt", "p521.key", "rsa-pkcs1.key", "encrypted-old.key"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut: Option<prop::sample::Index>,
    ) {
        let mut bytes = fixture(name);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len())));
        let pem = Pem::parse(Path::new("a.pem"), &bytes);
        // Whatever it is, it does not pass for something else without a word.
        let found = pem.certificates.len() + pem.keys.len() + pem.problems.len();
        prop_assert!(found > 0 || !bytes.starts_with(b"-----BEGIN "), "{pem:?}");
    }
}
