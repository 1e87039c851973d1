//! Repositories made by other programs are read down to the last byte, and restic's trees are written as restic does.

use std::collections::BTreeSet;

use repository::format::config::Config;
use repository::format::index_file::IndexFile;
use repository::format::pack::BlobKind;
use repository::{Error, FileKind, Index};

use crate::fixture::{Fixture, fixtures_folder, with_cx, write_again};

/// Made from the same source twice, with some changes between.
const TWO_SNAPSHOTS: [(&str, u32); 3] =
    [("restic-0.14-version-1", 1), ("restic-0.14-version-2", 2), ("rustic-0.11-version-2", 2)];
/// Every kind of node and every awkward name is in them.
const NODES_MIN: usize = 60;

#[test]
fn no_fixture_and_no_listing_is_lost() {
    let mut expected = BTreeSet::from(["make.py".to_owned(), "restic-0.14-differing.tar.gz".to_owned()]);
    expected.extend(crate::differing::TAGS.map(|tag| format!("restic-0.14-differing.{tag}.list")));
    for (name, _) in TWO_SNAPSHOTS {
        expected.extend(["tar.gz", "first.list", "second.list"].map(|end| format!("{name}.{end}")));
    }
    let found = std::fs::read_dir(fixtures_folder()).unwrap();
    let found: BTreeSet<_> = found.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(found, expected);
}

fn check_contents(name: &'static str, version: u32) {
    let fixture = Fixture::open(name);
    assert_eq!(fixture.repository.config().version, version);
    match fixture.repository.check_writable() {
        Ok(()) => assert_eq!(version, Config::VERSION),
        Err(error) => assert!(version == 1 && matches!(error, Error::ReadOnlyVersion), "{error}"),
    }
    assert_eq!(fixture.snapshots.keys().collect::<Vec<_>>(), ["first", "second"]);
    assert!(fixture.snapshots.values().all(|snapshot| snapshot.hostname == "fixture"));
    assert!(fixture.snapshots["second"].parent.is_some());
    for tag in ["first", "second"] {
        let (nodes, listing) = (fixture.nodes(tag), fixture.listing(tag));
        assert!(listing.len() > NODES_MIN);
        for (path, listed) in &listing {
            assert_eq!(nodes.get(path), Some(listed), "{tag}: {}", String::from_utf8_lossy(path));
        }
        assert_eq!(nodes.len(), listing.len(), "{tag}: there is more than was backed up");
    }
    check_packs(&fixture);
}

/// What the index says of each pack is what the pack's own header says, and every blob can be read.
fn check_packs(fixture: &Fixture) {
    let repository = &fixture.repository;
    let indexed = fixture.index.packs();
    let listed = repository.storage().list(FileKind::Pack).unwrap();
    assert_eq!(indexed.len(), listed.len());
    for pack in &listed {
        assert_eq!(repository.pack_header(pack).unwrap(), indexed[&pack.id], "pack {}", pack.id);
    }
    for kind in [BlobKind::Data, BlobKind::Tree] {
        assert!(fixture.index.len(kind) > 4);
        for at in 0..fixture.index.len(kind) {
            repository.blob_at(&fixture.index.location(kind, at)).unwrap();
        }
    }
    check_index_files(fixture);
}

/// Index files survive being written by Lifeboat.
fn check_index_files(fixture: &Fixture) {
    let repository = &fixture.repository;
    let mut packs = Vec::new();
    for listed in repository.storage().list(FileKind::Index).unwrap() {
        let file = IndexFile::parse(&repository.load_json(FileKind::Index, listed.id).unwrap()).unwrap();
        assert_eq!(IndexFile::parse(&file.to_json()).unwrap(), file);
        packs.extend(file.packs);
    }
    let sizes: std::collections::HashMap<_, _> =
        repository.storage().list(FileKind::Pack).unwrap().iter().map(|listed| (listed.id, listed.bytes)).collect();
    assert!(packs.iter().all(|pack| pack.pack_bytes() == sizes[&pack.id]));
    assert_eq!(Index::of_packs(&packs).packs(), fixture.index.packs());
    with_cx(|cx| assert_eq!(Index::load(cx, repository).unwrap().packs(), fixture.index.packs()));
}

#[test]
fn a_version_1_repository_is_read_and_never_written() {
    let (name, version) = TWO_SNAPSHOTS[0];
    check_contents(name, version);
}

#[test]
fn a_version_2_repository_of_restic_is_read() {
    let (name, version) = TWO_SNAPSHOTS[1];
    check_contents(name, version);
}

#[test]
fn a_version_2_repository_of_rustic_is_read() {
    let (name, version) = TWO_SNAPSHOTS[2];
    check_contents(name, version);
}

#[test]
fn restics_trees_are_written_again_byte_for_byte() {
    for name in ["restic-0.14-version-1", "restic-0.14-version-2"] {
        let trees = Fixture::open(name).trees();
        assert!(trees.len() >= 9, "{name} has only {} trees", trees.len());
        for (id, tree) in trees {
            let (ours, theirs) = (write_again(&tree), tree);
            // As text, so that a failure shows where they differ.
            assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs), "{name}: tree {id}");
            assert_eq!(repository::Id::of(&ours), id);
        }
    }
}

#[test]
fn rustics_trees_mean_the_same_after_lifeboat_wrote_them() {
    // rustic quotes fewer characters and leaves out other fields than restic, so the bytes differ.
    for (id, tree) in Fixture::open("rustic-0.11-version-2").trees() {
        let ours = write_again(&tree);
        assert_eq!(write_again(&ours), ours, "tree {id}");
    }
}
