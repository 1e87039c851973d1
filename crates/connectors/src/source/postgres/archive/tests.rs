use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};

use proptest::prelude::*;

use super::{Archive, Contents, Listed, Shared, table_of_contents};
use crate::source::output::Proof as _;

const SQL: &str = "CREATE TABLE a (id serial PRIMARY KEY, t text); INSERT INTO a (t) SELECT repeat('x', n) FROM \
    generate_series(1, 50) AS n; CREATE TABLE empty (); CREATE VIEW v AS SELECT t FROM a; CREATE SEQUENCE \"odd', 'name\"; \
    SELECT setval('\"odd'', ''name\"', -5 + 10, false); SELECT lo_from_bytea(0, 'large'), lo_from_bytea(0, '')";

/// An archive that `pg_dump` made, which is small.
fn whole() -> Option<&'static [u8]> {
    static WHOLE: OnceLock<Vec<u8>> = OnceLock::new();
    let server = servers::postgres()?;
    Some(WHOLE.get_or_init(|| {
        let name = servers::unique();
        server.sql("postgres", &format!("CREATE DATABASE \"{name}\""));
        server.sql(&name, SQL);
        let output = server.command("pg_dump", &name).args(["-Fc", "-Z0"]).output().unwrap();
        assert!(output.status.success());
        output.stdout
    }))
}

/// What is made of an archive that comes in pieces of this many bytes.
fn read(archive: &[u8], piece: usize, said: &str) -> Result<(Vec<u8>, Contents), String> {
    let shared: Shared = Arc::new(Mutex::new(None));
    let mut proof = Archive::new(Arc::clone(&shared));
    let mut bytes = archive.to_vec();
    for piece in bytes.chunks_mut(piece) {
        proof.take(piece)?;
    }
    proof.verdict(said)?;
    let contents = shared.lock().unwrap().take().unwrap();
    Ok((bytes, contents))
}

#[test]
fn what_an_archive_holds_is_read_whatever_pieces_it_comes_in() {
    let Some(archive) = whole() else { return };
    let (bytes, contents) = read(archive, 1 << 20, "").unwrap();
    let objects: Vec<_> = contents.objects.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
    for expected in [("TABLE", 2), ("VIEW", 1), ("SEQUENCE", 2), ("CONSTRAINT", 1), ("DEFAULT", 1)] {
        assert!(objects.contains(&expected), "{expected:?} is not in {objects:?}");
    }
    let sequences: Vec<_> = contents.sequences.into_iter().collect();
    assert_eq!(sequences, [(b"public.a_id_seq".to_vec(), (50, true)), (b"public.odd', 'name".to_vec(), (5, false))]);
    for piece in [1, 2, 3, 7, 100] {
        assert_eq!(read(archive, piece, "").unwrap().0, bytes, "in pieces of {piece}");
    }
}

#[test]
fn when_it_was_made_is_taken_out_and_it_is_an_archive_still() {
    let Some(archive) = whole() else { return };
    let (bytes, _) = read(archive, 1 << 20, "").unwrap();
    let changed: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != archive[*at]).collect();
    assert!(!changed.is_empty() && changed.iter().all(|at| (11..60).contains(at)), "{changed:?}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &bytes).unwrap();
    let server = servers::postgres().unwrap();
    let listed = Command::new(server.programs.join("pg_restore")).arg("-l").arg(file.path()).env("TZ", "UTC").output();
    let listed = String::from_utf8(listed.unwrap().stdout).unwrap();
    assert!(
        listed.contains("Archive created at 2000-01-01 00:00:00") && listed.contains("TABLE DATA public a"),
        "{listed}"
    );
}

#[test]
fn an_archive_that_ends_early_is_never_whole() {
    let Some(archive) = whole() else { return };
    for length in 0..archive.len() {
        let error = read(&archive[..length], 1 << 20, "").unwrap_err();
        assert!(error.contains("ends early") || error.contains("lacks the data of"), "{length}: {error}");
    }
}

#[test]
fn what_is_no_archive_is_refused() {
    assert!(read(b"--\n-- PostgreSQL database dump\n", 100, "").unwrap_err().contains("something else"));
    assert!(read(b"PGDMP\x01\x63\x00\x04\x08\x01", 100, "").unwrap_err().contains("version 1.99.0"));
    let Some(archive) = whole() else { return };
    let error = read(archive, 100, "pg_dump: error: something").unwrap_err();
    assert!(error.contains("told of an error"), "{error}");
    assert!(read(archive, 100, "pg_dump: warning: something").is_ok());
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), tail in prop::collection::vec(any::<u8>(), 0..100),
        piece in 1_usize..100,
    ) {
        let Some(archive) = whole() else { return Ok(()) };
        let mut damaged = archive.to_vec();
        let at = at.index(damaged.len());
        damaged[at] = byte;
        let _ = read(&damaged, piece, "");
        damaged.truncate(at);
        damaged.extend_from_slice(&tail);
        let _ = read(&damaged, piece, "");
    }
}

#[test]
fn an_archive_of_each_version_of_the_format_is_read() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/postgres_archive");
    for minor in super::MINOR_VERSIONS {
        let archive = std::fs::read(folder.join(format!("1.{minor}"))).unwrap();
        let (_, contents) = read(&archive, 5, "").unwrap_or_else(|error| panic!("1.{minor}: {error}"));
        assert_eq!(contents.objects, [("TABLE".to_owned(), 1)].into(), "1.{minor}");
        assert_eq!(contents.sequences, [(b"public.s".to_vec(), (7, true))].into(), "1.{minor}");
        assert_eq!(contents.filled, [b"public.a".to_vec()].into(), "1.{minor}");
    }
    let error = read(&std::fs::read(folder.join("ends-early")).unwrap(), 100, "").unwrap_err();
    assert_eq!(error, "printed an archive that lacks the data of 1 tables");
}

#[test]
fn the_table_of_contents_says_what_needs_what() {
    let Some(archive) = whole() else { return };
    let listed = table_of_contents(archive).unwrap();
    let find = |kind: &str, name: &str| -> &Listed {
        listed.iter().find(|entry| entry.kind == kind && entry.name == name.as_bytes()).unwrap()
    };
    let (table, sequence) = (find("TABLE", "a"), find("SEQUENCE", "a_id_seq"));
    assert_eq!((&table.schema[..], &table.needs[..]), (&b"public"[..], &[][..]));
    assert_eq!(sequence.needs, [table.number]);
    let default = find("DEFAULT", "a id");
    assert!(default.needs.contains(&table.number) && default.needs.contains(&sequence.number), "{default:?}");
    for length in 0..600 {
        assert!(table_of_contents(&archive[..length]).is_err(), "{length}");
    }
}
