//! Headers: where files end, old versions, and what is refused.

use couchfile::{Checksum, Database, Error, Level, View, ViewName, headers};

use crate::fixtures::{ALL, CHT, CLEAN, TORN, eunit, open, torn_tails};

#[test]
fn files_end_where_another_program_saw_them_end() {
    let files = TORN.files();
    let mut compared = 0;
    for (path, expected) in torn_tails().as_object().unwrap() {
        let Some(bytes) = files.get(path) else { continue };
        assert_eq!(expected["size"], bytes.len());
        let place = if path.ends_with(".view") {
            View::open(bytes).unwrap().header().place
        } else {
            open(bytes).header().place
        };
        assert_eq!(
            (expected["header_at"].as_u64(), expected["header_end"].as_u64()),
            (Some(place.offset), Some(place.end))
        );
        assert_eq!(place.checksum, Checksum::Xxh3);
        compared += 1;
    }
    assert!(compared > 10, "{compared} files compared");
}

#[test]
fn a_file_cut_behind_any_header_is_the_file_as_of_that_header() {
    let files = CLEAN.files();
    for path in ["_dbs.couch", "shards/00000000-7fffffff/purged.1795229457.couch"] {
        let bytes = &files[path];
        let all: Vec<_> = headers(bytes).map(Result::unwrap).collect();
        assert!(all.len() > 2);
        assert_eq!(all[0], *open(bytes).header());
        for header in all {
            let cut = open(&bytes[..header.place.end as usize]);
            assert_eq!(*cut.header(), header);
            let report = cut.check(Level::Attachments);
            assert!(report.is_ok(), "{path} at {}: {}", header.place.offset, report.findings[0]);
            let older = open(bytes).as_of(header);
            let (older, cut): (Vec<_>, Vec<_>) = (older.documents().collect(), cut.documents().collect());
            assert_eq!(format!("{older:?}"), format!("{cut:?}"));
        }
    }
}

#[test]
fn checksums_of_both_kinds_are_known_apart() {
    assert!(
        CHT.files()
            .iter()
            .filter(|(path, _)| path.starts_with("shards/"))
            .all(|(_, bytes)| { open(bytes).header().place.checksum == Checksum::Md5 })
    );
    let report = open(&CLEAN.files()["_dbs.couch"]).check(Level::Documents);
    assert!(report.bodies_md5 == 0 && report.bodies_xxh3 > 10);
}

#[test]
fn couchdbs_own_test_files_of_disk_versions_6_to_8_are_whole() {
    let mut versions = Vec::new();
    for (path, bytes) in eunit() {
        let report = if path.ends_with(".view") {
            let view = View::open(bytes).unwrap();
            assert_eq!(format!("{}.view", view.header().signature), path);
            assert_eq!((view.header().views.len(), view.header().views[0].rows > 0), (1, true));
            view.check(Level::Attachments)
        } else {
            let database = Database::open(bytes).unwrap();
            versions.push((database.header().disk_version, database.purge_seq().unwrap()));
            let documents = database.documents().map(Result::unwrap).count();
            assert_eq!(documents as u64, database.header().documents(), "{path}");
            assert_eq!(database.changes(0).count(), documents);
            database.security().unwrap();
            for local in database.local_documents() {
                local.unwrap().to_json().unwrap();
            }
            for info in database.documents() {
                database.json(&info.unwrap(), couchfile::JsonOptions::default()).unwrap().unwrap();
            }
            database.check(Level::Attachments)
        };
        assert!(report.is_ok(), "{path}: {}", report.findings[0]);
    }
    versions.sort_unstable();
    assert_eq!(
        versions,
        [(6, 0), (6, 1), (6, 2), (6, 2), (7, 0), (7, 1), (7, 2), (7, 3), (8, 0), (8, 0), (8, 0), (8, 0)]
    );
}

#[test]
fn views_are_as_far_as_their_databases_or_behind() {
    let mut views = 0;
    for fixture in ALL {
        let files = fixture.files();
        for (path, bytes) in &files {
            let Some(name) = ViewName::parse(path) else { continue };
            let view = View::open(bytes).unwrap_or_else(|error| panic!("{path}: {error}"));
            let header = view.header();
            assert_eq!(header.signature, name.signature);
            let database = open(&files[&format!("{}.couch", name.database)]);
            assert!(header.update_seq <= database.header().update_seq, "{path}");
            let report = view.check(Level::Attachments);
            assert!(report.is_ok(), "{path}: {}", report.findings[0]);
            assert_eq!(report.rows, header.views.iter().map(|view| view.rows).sum::<u64>());
            views += 1;
        }
    }
    assert!(views > 25, "{views}");
}

#[test]
fn files_of_another_kind_are_refused_as_that() {
    let files = CLEAN.files();
    let (_, view) = files.iter().find(|(path, _)| path.ends_with(".view")).unwrap();
    assert!(matches!(Database::open(view), Err(Error::OtherKind { found: "a view", .. })));
    assert!(matches!(View::open(&files["_dbs.couch"]), Err(Error::OtherKind { found: "a database", .. })));
    assert!(matches!(Database::open(&[][..]), Err(Error::NoHeader { blocks: 0 })));
    assert!(matches!(Database::open(&[1; 10_000][..]), Err(Error::NoHeader { blocks: 3 })));
}
