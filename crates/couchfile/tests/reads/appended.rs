//! What was appended to a file since it was last checked, held against a check of the whole.

use couchfile::{Checksum, Compression, CouchWriter, Database, Encoding, Format, Level};
use serde_json::json;

use crate::fixtures::{ALL, Files};

/// Files in which older headers of the same database are left, with where to cut for each.
fn grown() -> impl Iterator<Item = (String, Vec<u8>, Vec<u64>)> {
    let files = ALL.iter().flat_map(|fixture| -> Files { fixture.files() });
    files.filter(|(path, _)| path.ends_with(".couch")).filter_map(|(path, bytes)| {
        let headers: Vec<_> = Database::open(&bytes).ok()?.headers().flatten().collect();
        let older = headers.iter().skip(1).filter(|header| header.documents() > 0);
        let ends: Vec<u64> = older.map(|header| header.place.end).collect();
        (!ends.is_empty()).then_some((path, bytes, ends))
    })
}

#[test]
fn only_what_was_appended_is_read_and_all_of_that() {
    let (mut files, mut commits, mut read, mut in_all) = (0, 0, 0, 0);
    for (path, bytes, ends) in grown() {
        let database = Database::open(&bytes).unwrap();
        let whole = database.check(Level::Attachments);
        for (age, end) in ends.iter().enumerate() {
            let earlier = Database::open(&bytes[..*end as usize]).unwrap();
            let appended = database.check_appended(Level::Attachments, earlier.header());
            assert!(appended.is_ok(), "{path} since {end}: {}", appended.findings[0]);
            assert!(appended.nodes <= whole.nodes && appended.bodies_md5 <= whole.bodies_md5, "{path}");
            read += if age == 0 { appended.nodes } else { 0 };
            commits += 1;
        }
        let nothing = database.check_appended(Level::Attachments, database.header());
        // Purges are read each time.
        assert!(nothing.nodes <= 2 && nothing.leaves == 0 && nothing.is_ok(), "{path}: {} nodes", nothing.nodes);
        files += 1;
        in_all += whole.nodes;
    }
    println!("{files} files, {commits} commits, {read} of {in_all} nodes since the last but one");
    assert!(files > 20 && commits > 100 && read * 4 < in_all * 3, "{files} files, {read} of {in_all} nodes");
}

#[test]
fn damage_in_what_was_appended_is_found_and_all_that_is_lost_named() {
    let (mut found, mut passed_over, mut old) = (0, 0, 0);
    let long = grown().filter(|(_, bytes, _)| bytes.len() > 60_000);
    for (path, bytes, ends) in long.take(1) {
        let cut = ends[0];
        let earlier = Database::open(&bytes[..cut as usize]).unwrap();
        let appended = (cut as usize..bytes.len()).step_by(13);
        for at in (0..cut as usize).step_by(499).chain(appended) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            let Ok(database) = Database::open(&damaged) else { continue };
            if database.header().place.end <= cut {
                continue;
            }
            let appended = database.check_appended(Level::Trees, earlier.header());
            let whole = database.check(Level::Trees);
            if at as u64 >= cut {
                // A pointer to an older node is believed, so that damage in it may be passed over; nothing else is.
                if appended.is_ok() {
                    passed_over += u64::from(!whole.is_ok());
                    continue;
                }
                assert_eq!(appended.findings_total, whole.findings_total, "{path} at {at}");
                assert_eq!(appended.documents_concerned(), whole.documents_concerned(), "{path} at {at}");
                found += 1;
            } else {
                // It was checked before.
                old += u64::from(appended.is_ok() && !whole.is_ok());
            }
        }
    }
    println!("{found} found, {passed_over} passed over, {old} in what was checked before");
    assert!(found > 5 && old > 0 && passed_over < found, "{found} found, {passed_over} passed over, {old} before");
}

#[test]
fn of_a_later_revision_the_attachments_that_were_there_before_are_not_read_again() {
    let format = Format { checksum: Checksum::Md5, compression: Compression::None };
    let mut writer = CouchWriter::create(Vec::new(), format, "0123", "couchdb@127.0.0.1").unwrap();
    let photo = writer.attachment("photo", "image/png", &[b'x'; 500], 1, Encoding::Identity).unwrap();
    writer.put_with("patient", &json!({"n": 1}), std::slice::from_ref(&photo)).unwrap();
    let cut = writer.commit().unwrap().end as usize;
    let scan = writer.attachment("scan", "image/png", &[b'z'; 500], 2, Encoding::Identity).unwrap();
    writer.put_with("patient", &json!({"n": 2}), &[photo, scan]).unwrap();
    writer.commit().unwrap();
    let bytes = writer.into_inner();
    let earlier = Database::open(&bytes[..cut]).unwrap();
    let found = |content: u8| {
        let mut damaged = bytes.clone();
        let at = damaged.windows(20).position(|part| part == [content; 20]).unwrap();
        damaged[at + 100] = b'-';
        let database = Database::open(&damaged).unwrap();
        let findings = |level| database.check_appended(level, earlier.header()).findings_total;
        (findings(Level::Documents), findings(Level::Attachments), database.check(Level::Attachments).findings_total)
    };
    assert_eq!((found(b'x'), found(b'z')), ((0, 0, 1), (0, 1, 1)));
}
