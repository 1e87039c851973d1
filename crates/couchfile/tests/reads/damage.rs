//! Files cut at many places and with single bytes changed: never a panic, and never a wrong document taken for a good one.

use std::collections::BTreeMap;

use couchfile::{Checksum, Compression, CouchWriter, Database, Encoding, Error, Format, Level, View, salvage};
use serde_json::json;

use crate::fixtures::{CHT, CLEAN, Files, TORN, switch};

/// Small files of all kinds: both checksums, all compressions, attachments, conflicts, purges, local documents, views.
/// `COUCHFILE_TEST_BYTES` takes all files that are no longer than that.
fn small_files() -> Files {
    let mut files = Files::new();
    let longest: Option<usize> = switch("COUCHFILE_TEST_BYTES").map(|bytes| bytes.parse().unwrap());
    let of_each_kind = if longest.is_some() { usize::MAX } else { 4 };
    for (fixture, limit) in [(&CLEAN, 45_000), (&TORN, 45_000), (&CHT, 60_000)] {
        let limit = longest.unwrap_or(limit);
        let mut found: Vec<_> = fixture.files().into_iter().filter(|(_, bytes)| bytes.len() < limit).collect();
        found.retain(|(path, _)| path.ends_with(".couch") || path.ends_with(".view"));
        found.sort_by_key(|(_, bytes)| std::cmp::Reverse(bytes.len()));
        let mut kinds = BTreeMap::<&str, usize>::new();
        for (path, bytes) in found {
            let seen = kinds.entry(if path.ends_with(".view") { "view" } else { "couch" }).or_default();
            if *seen < of_each_kind {
                *seen += 1;
                files.insert(format!("{}/{path}", fixture.name), bytes);
            }
        }
    }
    files
}

/// What a file holds: for each leaf its whole text and its attachments. Two readings can be compared.
fn contents(database: &Database<&[u8]>) -> BTreeMap<String, Option<Vec<u8>>> {
    let mut all = BTreeMap::new();
    for info in database.documents().flatten() {
        for leaf in info.leaves() {
            let name = format!("{} {}", info.id, leaf.revision());
            let content = match database.read(&info.id, leaf) {
                Ok(Some(document)) => {
                    let text = document.to_json(couchfile::JsonOptions { revisions: true, encodings: true });
                    let mut content = text.map(String::into_bytes).unwrap_or_default();
                    let read = |attachment| database.write_attachment(&info.id, attachment, &mut content);
                    let whole = document.attachments.iter().map(read).all(|read| read.is_ok());
                    Some(content).filter(|content| whole && !content.is_empty())
                }
                Ok(None) | Err(_) => None,
            };
            all.insert(name, content);
        }
    }
    all
}

/// Reads everything that can be read of a damaged file, for the sake of what must not happen meanwhile.
fn read_all(bytes: &[u8]) -> Option<Database<&[u8]>> {
    let _ = salvage(&bytes, Level::Trees, 3);
    if let Ok(view) = View::open(bytes) {
        view.check(Level::Attachments);
    }
    let database = Database::open(bytes).ok()?;
    for local in database.local_documents().flatten() {
        let _ = local.to_json();
    }
    let _ = (database.purges().count(), database.security(), database.partitioned(), database.changes(0).count());
    let _ = couchfile::shard_maps(&database).count();
    Some(database)
}

#[test]
fn a_file_cut_anywhere_is_an_older_state_of_itself_or_none() {
    let files = small_files();
    let mut cuts = 0;
    for (path, bytes) in &files {
        cuts += bytes.len() / 97;
        let whole: Vec<_> = couchfile::headers(bytes).flatten().collect();
        for length in (0..bytes.len()).step_by(97) {
            let cut = &bytes[..length];
            let Some(database) = read_all(cut) else { continue };
            // Whatever header it is, the whole file has it, too, and nothing it leads to is cut off.
            assert!(whole.contains(database.header()), "{path} cut at {length}");
            let report = database.check(Level::Attachments);
            assert!(report.is_ok(), "{path} cut at {length}: {}", report.findings[0]);
        }
    }
    println!("{} files cut at {cuts} places", files.len());
}

#[test]
fn a_changed_byte_is_found_or_changes_nothing() {
    let flips = switch("COUCHFILE_TEST_FLIPS").map_or(10_000, |flips| flips.parse().unwrap());
    let mut random = Random(0x1234_5678_9abc_def1);
    let files: Vec<_> = small_files().into_iter().collect();
    let originals: Vec<_> = files.iter().map(|(_, bytes)| Database::open(&bytes[..]).ok()).collect();
    let expected: Vec<_> = originals.iter().map(|database| database.as_ref().map(contents)).collect();
    let (mut views, mut older, mut found, mut nothing) = (0, 0, 0, 0);
    for _ in 0..flips {
        let chosen = random.below(files.len());
        let (path, bytes) = &files[chosen];
        let mut damaged = bytes.clone();
        let at = random.below(bytes.len());
        damaged[at] ^= 1 + random.below(255) as u8;
        let context = format!("{path}, byte {at} made {:#x}", damaged[at]);
        let opened = read_all(&damaged);
        let Some(original) = &originals[chosen] else {
            assert!(opened.is_none(), "{context}: a view became a database");
            views += 1;
            continue;
        };
        let Some(database) = opened.filter(|database| database.header() == original.header()) else {
            // The newest header is gone, which leaves an older state as after a cut, or none.
            let place = original.header().place;
            assert!((place.offset..place.end).contains(&(at as u64)), "{context}");
            older += 1;
            continue;
        };
        let report = database.check(Level::Attachments);
        let contents = contents(&database);
        let Some(expected) = &expected[chosen] else { continue };
        if report.is_ok() {
            assert_eq!(contents, *expected, "{context}: nothing was found");
            nothing += 1;
        } else {
            found += 1;
            // What a check does not name must be right, though something else is wrong.
            let concerned = report.documents_concerned();
            let whole_tree = report.findings.iter().any(|finding| finding.subject.document().is_none());
            for (name, content) in &contents {
                let id = name.rsplit_once(' ').unwrap().0;
                if !whole_tree && !concerned.contains(id) {
                    assert_eq!(Some(content), expected.get(name), "{context}: {name}");
                }
            }
        }
    }
    println!(
        "{flips} bytes: {views} in views, {older} in the newest header, {found} found, {nothing} changed nothing that is read"
    );
}

#[test]
fn a_changed_byte_in_a_body_is_never_read_as_a_document() {
    let mut random = Random(77);
    for (path, bytes) in small_files().into_iter().filter(|(path, _)| path.ends_with(".couch")) {
        let database = Database::open(&bytes[..]).unwrap();
        for info in database.documents().map(Result::unwrap) {
            for leaf in info.leaves() {
                let document = database.read(&info.id, leaf).unwrap().unwrap();
                let mut damaged = bytes.clone();
                // Behind its length and checksum.
                let at = document.offset + 21 + random.below(document.stored_length as usize - 21) as u64;
                if at.is_multiple_of(4096) {
                    continue;
                }
                damaged[at as usize] ^= 1 + random.below(255) as u8;
                let read = Database::open(&damaged[..]).unwrap().read(&info.id, leaf).map(|_| ());
                assert!(matches!(read, Err(Error::Checksum { .. })), "{path} {} byte {at}: {read:?}", info.id);
            }
        }
    }
}

/// xorshift: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

#[test]
fn an_attachment_past_the_end_is_found_without_reading_its_document() {
    let create = || {
        let format = Format { checksum: Checksum::Md5, compression: Compression::Snappy };
        CouchWriter::create(Vec::new(), format, "0123", "couchdb@127.0.0.1").unwrap()
    };
    let attach = |writer: &mut CouchWriter<Vec<u8>>, content: &[u8]| {
        writer.attachment("photo", "image/png", content, 1, Encoding::Identity).unwrap()
    };
    let mut longer = create();
    attach(&mut longer, &[7; 100_000]);
    let elsewhere = attach(&mut longer, b"content");
    for is_lost in [false, true] {
        let mut writer = create();
        let attachment = if is_lost { elsewhere.clone() } else { attach(&mut writer, b"content") };
        writer.put_with("patient", &json!({}), &[attachment]).unwrap();
        writer.commit().unwrap();
        let report = Database::open(writer.into_inner()).unwrap().check(Level::Trees);
        let expected = if is_lost { vec!["patient"] } else { Vec::new() };
        assert_eq!(report.documents_concerned().into_iter().collect::<Vec<_>>(), expected, "{:?}", report.findings);
    }
}
