//! The index: made again from the packs, and looked up in at size.

use std::sync::Arc;

use repository::check::{self, ReadData};
use repository::clock::SimulatedClock;
use repository::format::index_file::{IndexFile, IndexedPack};
use repository::format::pack::{BlobKind, PackedBlob};
use repository::storage::memory::MemoryStorage;
use repository::{Cancel, File, FileKind, Id, Index, Repository, RunCx, Silent, StorageError, forget, heal, prune};

use crate::support::*;

/// Backups, each with what its one file holds.
type Backups = Vec<(Backup, Vec<u8>)>;

fn scene() -> (World, Arc<Repository>, Backups) {
    let world = World::new();
    let repository = world.open();
    let backups = (1..4).map(|seed| {
        let bytes = noise(250_000, seed);
        let capture = StreamCapture::default().with("a", std::io::Cursor::new(bytes.clone()));
        (back_up(&world.cx(), &repository, capture).unwrap(), bytes)
    });
    let backups = backups.collect();
    (world, repository, backups)
}

fn assert_whole(world: &World, backups: &[(Backup, Vec<u8>)]) {
    let report = check::check(&world.cx(), &world.open(), ReadData::All).unwrap();
    assert_eq!(report.findings, []);
    for (backup, bytes) in backups {
        let restored = world.contents(backup.id).unwrap();
        assert!(restored.problems.is_empty() && restored.files["a"] == *bytes);
    }
}

#[test]
fn a_whole_index_is_left_alone() {
    let (world, repository, _) = scene();
    let before = world.memory.files();
    let healed = heal::index(&world.cx(), &repository, false).unwrap();
    assert!(!healed.changed_anything(), "{healed:?}");
    assert_eq!(world.memory.files(), before);
}

#[test]
fn a_lost_index_is_made_again_from_the_packs() {
    let (world, repository, backups) = scene();
    for file in world.files(FileKind::Index) {
        assert!(world.memory.remove(file));
    }
    assert!(!world.contents(backups[0].0.id).is_ok_and(|restored| restored.problems.is_empty()));
    let healed = heal::index(&world.cx(), &repository, false).unwrap();
    assert_eq!(healed.packs_added, world.files(FileKind::Pack).len());
    assert_whole(&world, &backups);
}

#[test]
fn damaged_index_files_are_replaced() {
    let (world, repository, backups) = scene();
    let files = world.files(FileKind::Index);
    assert!(world.memory.flip(files[0], 40));
    assert!(world.memory.truncate(files[1], 30));
    let error = Index::load(&world.cx(), &repository).unwrap_err();
    assert!(error.is_damage(), "{error}");
    let healed = heal::index(&world.cx(), &repository, false).unwrap();
    let mut replaced = healed.index_files_replaced.clone();
    replaced.sort();
    assert_eq!(replaced, [files[0].id, files[1].id]);
    assert!(files.iter().all(|file| !world.files(FileKind::Index).contains(file)));
    assert_whole(&world, &backups);
}

#[test]
fn an_index_that_lies_about_a_pack_is_corrected() {
    let (world, repository, backups) = scene();
    let index = Index::load(&world.cx(), &repository).unwrap();
    let (id, mut blobs) = index.packs().into_iter().find(|(_, blobs)| blobs.len() > 1).unwrap();
    // A foreign program left out the last blob.
    blobs.pop();
    let lie = IndexFile { supersedes: vec![], packs: vec![IndexedPack { id, blobs }] };
    for file in world.files(FileKind::Index) {
        let packs = IndexFile::parse(&repository.load_json(FileKind::Index, file.id).unwrap()).unwrap().packs;
        if packs.iter().any(|pack| pack.id == id) {
            assert!(world.memory.remove(file));
        }
    }
    let json: serde_json::Value = serde_json::from_slice(&lie.to_json()).unwrap();
    repository.save_json(FileKind::Index, &json).unwrap();
    let healed = heal::index(&world.cx(), &repository, false).unwrap();
    assert!(healed.packs_added > 0);
    assert_whole(&world, &backups);
}

#[test]
fn a_missing_pack_leaves_the_index_so_that_the_next_backup_stores_it_anew() {
    let (world, repository, backups) = scene();
    let (backup, bytes) = &backups[2];
    let index = Index::load(&world.cx(), &repository).unwrap();
    let tree = index.find(BlobKind::Tree, &backup.snapshot.tree).unwrap().pack;
    let packs: Vec<Id> = index.packs().into_keys().filter(|id| *id != tree).collect();
    for id in &packs {
        assert!(world.memory.remove(File::pack(*id)));
    }
    let mut healed = heal::index(&world.cx(), &repository, false).unwrap();
    healed.packs_missing.sort();
    let mut expected = packs;
    expected.sort();
    assert_eq!(healed.packs_missing, expected);
    let capture = StreamCapture::default().with("a", std::io::Cursor::new(bytes.clone()));
    let next = back_up(&world.cx(), &repository, capture).unwrap();
    assert!(next.stats.stored.data_blobs > 0);
    // What was lost was the same in the earlier snapshot, which is thereby whole again.
    for id in [next.id, backup.id] {
        assert!(world.contents(id).unwrap().files["a"] == *bytes);
    }
}

#[test]
fn of_a_pack_that_was_cut_the_whole_blobs_stay_and_the_lost_ones_are_stored_anew() {
    let (world, repository, backups) = scene();
    let index = Index::load(&world.cx(), &repository).unwrap();
    let (pack, blobs) = index
        .packs()
        .into_iter()
        .find(|(_, blobs)| blobs.len() > 1 && blobs[0].kind == BlobKind::Data)
        .expect("the data has several blobs");
    let cut = blobs[1].offset as usize + 10;
    assert!(world.memory.truncate(File::pack(pack), cut));
    let healed = heal::index(&world.cx(), &repository, false).unwrap();
    assert_eq!(healed.packs_unreadable.len(), 1);
    assert_eq!(healed.blobs_dropped, blobs.len() - 1);
    let index = Index::load(&world.cx(), &repository).unwrap();
    assert!(index.contains(BlobKind::Data, &blobs[0].id) && !index.contains(BlobKind::Data, &blobs[1].id));
    assert!(repository.blob(&index, BlobKind::Data, &blobs[0].id).is_ok());
    // Once is enough.
    let again = heal::index(&world.cx(), &repository, false).unwrap();
    assert!(!again.changed_anything(), "{again:?}");
    for (_, bytes) in &backups {
        let capture = StreamCapture::default().with("a", std::io::Cursor::new(bytes.clone()));
        back_up(&world.cx(), &repository, capture).unwrap();
    }
    for (backup, bytes) in &backups {
        assert!(world.contents(backup.id).unwrap().files["a"] == *bytes);
    }
}

#[test]
fn two_hundred_thousand_blobs_are_found_where_they_lie() {
    let world = World::new();
    let repository = world.open();
    let id = |n: u32| Id::of(&n.to_le_bytes());
    let pack_id = |n: u32| Id::of(&[&b"pack"[..], &n.to_le_bytes()].concat());
    let blob = |n: u32, offset| PackedBlob {
        id: id(n),
        kind: if n.is_multiple_of(10) { BlobKind::Tree } else { BlobKind::Data },
        offset,
        length: 100 + n % 50,
        plain_length: (!n.is_multiple_of(3)).then_some(200 + n),
    };
    let packs: Vec<IndexedPack> = (0..2000)
        .map(|pack| {
            let mut offset = 0;
            let blobs = (pack * 100..(pack + 1) * 100).map(|n| {
                let blob = blob(n, offset);
                offset += blob.length;
                blob
            });
            IndexedPack { id: pack_id(pack), blobs: blobs.collect() }
        })
        .collect();
    for packs in packs.chunks(64) {
        let json = IndexFile { supersedes: vec![], packs: packs.to_vec() }.to_json();
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        repository.save_json(FileKind::Index, &value).unwrap();
    }
    let index = Index::load(&world.cx(), &repository).unwrap();
    assert_eq!((index.len(BlobKind::Data), index.len(BlobKind::Tree)), (180_000, 20_000));
    for (at, pack) in packs.iter().enumerate().step_by(7) {
        for expected in pack.blobs.iter().step_by(3) {
            let found = index.find(expected.kind, &expected.id).unwrap();
            assert_eq!((found.pack, found.blob), (pack_id(at as u32), *expected));
            assert_eq!(index.locations(expected.kind, &expected.id).count(), 1);
        }
    }
    for n in 200_000..200_500 {
        assert!(!index.contains(BlobKind::Data, &id(n)) && !index.contains(BlobKind::Tree, &id(n)));
    }
    assert_eq!(index.packs().len(), 2000);
}

/// A storage in which `meanwhile` happens once, just before the first file of `kind` is read.
fn racing(
    world: &World,
    kind: FileKind,
    meanwhile: impl Fn(&MemoryStorage) + Send + Sync + 'static,
) -> Arc<Repository> {
    let once = std::sync::Once::new();
    let watch = move |memory: &MemoryStorage, asked: Asked<'_>| {
        if matches!(asked, Asked::Get(file) if file.kind == kind) {
            once.call_once(|| meanwhile(memory));
        }
        Ok(())
    };
    open(Arc::new(Watched { inner: world.memory.clone(), watch })).unwrap()
}

#[test]
fn an_index_that_is_written_anew_while_it_is_read_is_not_taken_for_damaged() {
    let (world, repository, backups) = scene();
    forget::forget(&world.cx(), &repository, &[backups[0].0.id], forget::Why::Named).unwrap();
    let before = world.files(FileKind::Index);
    let racing = racing(&world, FileKind::Index, |memory| {
        let (clock, cancel) = (SimulatedClock::new(start()), Cancel::new());
        let cx = RunCx { events: &Silent, cancel: &cancel, clock: &clock, lock: None };
        prune::prune(&cx, &open(Arc::new(memory.clone())).unwrap(), prune::Options::default()).unwrap();
    });
    let report = check::check(&world.cx(), &racing, ReadData::All).unwrap();
    assert!(world.files(FileKind::Index).iter().all(|file| !before.contains(file)), "there was no race");
    assert_eq!((report.findings, report.affected), (vec![], vec![]));
    assert_whole(&world, &backups[1..]);
}

#[test]
fn a_condemned_list_that_is_deleted_while_it_is_checked_is_not_taken_for_damaged() {
    let (world, repository, backups) = scene();
    forget::forget(&world.cx(), &repository, &[backups[0].0.id], forget::Why::Named).unwrap();
    prune::prune(&world.cx(), &repository, prune::Options::default()).unwrap();
    let list = world.files(FileKind::Condemned)[0];
    let racing = racing(&world, FileKind::Condemned, move |memory| assert!(memory.remove(list)));
    assert_eq!(check::check(&world.cx(), &racing, ReadData::None).unwrap().findings, []);
    assert_eq!(world.files(FileKind::Condemned), []);
}

#[test]
fn an_index_file_that_stays_listed_and_is_never_found_is_damaged() {
    let (world, _, _) = scene();
    let lost = world.files(FileKind::Index)[0];
    let watch = move |_: &MemoryStorage, asked: Asked<'_>| match asked {
        Asked::Get(file) if file == lost => Err(StorageError::NotFound { file, location: "memory".to_owned() }),
        _ => Ok(()),
    };
    let repository = open(Arc::new(Watched { inner: world.memory.clone(), watch })).unwrap();
    let (_, damaged) = Index::load_readable(&world.cx(), &repository).unwrap();
    assert_eq!(damaged.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [lost.id]);
    assert!(Index::load(&world.cx(), &repository).is_err());
}

#[test]
fn blobs_of_a_damaged_pack_that_could_not_be_read_stay_in_the_index() {
    let (world, _, backups) = scene();
    let hurt = world.files(FileKind::Pack)[0];
    assert!(world.memory.flip(hurt, 10));
    let before = world.memory.files();
    let reads = std::sync::atomic::AtomicUsize::new(0);
    // It is read as a whole, and once more as it seems damaged; then the disk gives nothing of it any more.
    let watch = move |_: &MemoryStorage, asked: Asked<'_>| match asked {
        Asked::Get(file) if file == hurt && reads.fetch_add(1, std::sync::atomic::Ordering::SeqCst) >= 2 => {
            Err(StorageError::Permanent { location: "memory".to_owned(), what: "input/output error".to_owned() })
        }
        _ => Ok(()),
    };
    let failing = open(Arc::new(Watched { inner: world.memory.clone(), watch })).unwrap();
    let healed = heal::index(&world.cx(), &failing, true).unwrap();
    assert_eq!((&healed.packs_damaged[..], healed.blobs_dropped), (&[hurt.id][..], 0), "{healed:?}");
    assert!(matches!(&healed.packs_unread[..], [(id, what)] if *id == hurt.id && what.contains("input/output error")));
    assert_eq!(world.memory.files(), before, "nothing was touched");
    let index = Index::load(&world.cx(), &world.open()).unwrap();
    let blob = index.packs().remove(&hurt.id).unwrap()[0];
    let unread = failing.blob_at(&repository::index::Location { pack: hurt.id, blob }).unwrap_err();
    assert!(matches!(unread, repository::Error::Unreadable { file, .. } if file == hurt), "{unread}");
    assert!(world.memory.flip(hurt, 10));
    assert_whole(&world, &backups);
}
