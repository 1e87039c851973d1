//! Damage × every kind of file × everything that reads it: found, named, never passed on as good data.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use repository::check::{self, ReadData, Report};
use repository::clock::SimulatedClock;
use repository::format::key_file::KdfCost;
use repository::format::pack::BlobKind;
use repository::format::receipt::{Receipt, Verdict};
use repository::format::time::Time;
use repository::limits::RETRY_PAUSES_TOTAL_MAX;
use repository::prune::{self, Options};
use repository::repository::Found;
use repository::storage::retry::Retry;
use repository::{Clock, Error, File, FileKind, Id, Index, Repository, StorageError, forget};

use crate::support::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Harm {
    Flip(usize),
    Cut,
    Remove,
}

const HARMS: [Harm; 5] = [Harm::Flip(0), Harm::Flip(50), Harm::Flip(99), Harm::Cut, Harm::Remove];

/// A repository with a file of every kind.
struct Scene {
    world: World,
    folder: tempfile::TempDir,
    snapshots: Vec<(Id, BTreeMap<String, Vec<u8>>)>,
    tree_packs: BTreeSet<Id>,
}

fn scene() -> Scene {
    let world = World::new();
    let repository = world.open();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, seed| std::fs::write(folder.path().join(name), noise(150_000, seed)).unwrap();
    let back_up = || back_up(&world.cx(), &repository, FolderCapture::of(folder.path())).unwrap().id;
    std::fs::create_dir_all(folder.path().join("below/deep")).unwrap();
    write("below/deep/a", 1);
    write("b", 2);
    write("gone", 5);
    let forgotten = back_up();
    std::fs::remove_file(folder.path().join("gone")).unwrap();
    let first = back_up();
    std::fs::write(folder.path().join("below/deep/a"), noise(170_000, 3)).unwrap();
    write("c", 4);
    let second = back_up();
    let snapshots = [first, second].map(|id| (id, world.contents(id).unwrap().files)).to_vec();
    forget::forget(&world.cx(), &repository, &[forgotten], forget::Why::Named).unwrap();
    prune::prune(&world.cx(), &repository, Options { unused_percent_max: 0, ..Options::default() }).unwrap();
    assert!(!world.files(FileKind::Condemned).is_empty());
    let receipt = Receipt {
        snapshot: second,
        stack: "test".to_owned(),
        copy: "memory".to_owned(),
        level: 3,
        verdict: Verdict::Passed,
        partial: false,
        at: Time::from(start()),
        rto_s: 1.0,
        rpo_s: 1.0,
        program_version: "test".to_owned(),
    };
    repository.save_json(FileKind::Receipt, &receipt).unwrap();
    let index = Index::load(&world.cx(), &repository).unwrap();
    let is_tree = |(id, blobs): (Id, Vec<repository::format::pack::PackedBlob>)| {
        blobs.iter().any(|blob| blob.kind == BlobKind::Tree).then_some(id)
    };
    let tree_packs = index.packs().into_iter().filter_map(is_tree).collect();
    Scene { world, folder, snapshots, tree_packs }
}

fn harm(world: &World, file: File, harm: Harm) {
    let length = world.memory.read(file).unwrap().len();
    let done = match harm {
        Harm::Flip(percent) => world.memory.flip(file, (length - 1) * percent / 99),
        Harm::Cut => world.memory.truncate(file, length * 2 / 3),
        Harm::Remove => world.memory.remove(file),
    };
    assert!(done, "{file} {harm:?}");
}

/// Everything the scene's snapshots restore to: file by file, the right bytes, or nothing and a problem.
fn restorable(scene: &Scene, world: &World) -> BTreeSet<(Id, String)> {
    let mut whole = BTreeSet::new();
    for (id, files) in &scene.snapshots {
        let Ok(restored) = world.contents(*id) else { continue };
        for (name, bytes) in files {
            match restored.files.get(name) {
                Some(found) => {
                    assert!(found == bytes, "{name} came back wrong");
                    whole.insert((*id, name.clone()));
                }
                None => {
                    let path = format!("data/{name}");
                    let reported = restored.problems.iter().any(|problem| path.starts_with(&problem.path));
                    assert!(reported, "{name} is absent and nobody says so: {:?}", restored.problems);
                }
            }
        }
        assert!(restored.files.keys().all(|name| files.contains_key(name)));
    }
    whole
}

/// Each case: a file of the repository and what happens to it.
fn for_all(scene: &Scene, kinds: &[FileKind], mut case: impl FnMut(&World, File, Harm)) {
    for kind in kinds {
        let files = scene.world.files(*kind);
        assert!(!files.is_empty(), "{kind:?}");
        for file in files {
            for harm_done in HARMS {
                let world = scene.world.fork();
                harm(&world, file, harm_done);
                case(&world, file, harm_done);
            }
        }
    }
}

fn check_all(world: &World) -> Result<Report, Error> {
    let repository = open(Arc::new(world.memory.clone()))?;
    check::check(&world.cx(), &repository, ReadData::All)
}

fn condemned(scene: &Scene) -> BTreeSet<Id> {
    let index = Index::load(&scene.world.cx(), &scene.world.open()).unwrap();
    scene.world.files(FileKind::Pack).iter().map(|file| file.id).filter(|id| !index.packs().contains_key(id)).collect()
}

#[test]
fn damage_to_config_or_key_is_named_when_the_repository_is_opened() {
    let scene = scene();
    for_all(&scene, &[FileKind::Config, FileKind::Key], |world, file, harm| {
        let error = open(Arc::new(world.memory.clone())).unwrap_err();
        match (file.kind, harm) {
            (FileKind::Key, Harm::Remove) => assert_eq!(
                error.to_string(),
                "config is damaged: there is no key file beside it, and nothing can be read without one"
            ),
            _ => assert!(error.to_string().starts_with(&format!("{file} is damaged: ")), "{harm:?}: {error}"),
        }
    });
}

#[test]
fn a_damaged_key_file_does_not_keep_another_password_from_opening() {
    let world = World::new();
    let cost = KdfCost::FAST;
    let other = world.open().add_key("other", cost, start()).unwrap();
    assert!(world.memory.flip(File::new(FileKind::Key, other), 30));
    let repository = world.open();
    let report = check::check(&world.cx(), &repository, ReadData::None).unwrap();
    assert_eq!(report.findings.iter().map(|f| f.file.unwrap()).collect::<Vec<_>>(), [File::new(FileKind::Key, other)]);
    let error = Repository::open(Arc::new(world.memory.clone()), "other").unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
}

#[test]
fn check_finds_and_names_all_damage_and_who_suffers() {
    let scene = scene();
    let unindexed = condemned(&scene);
    let kinds = [FileKind::Pack, FileKind::Index, FileKind::Snapshot, FileKind::Receipt, FileKind::Condemned];
    for_all(&scene, &kinds, |world, file, harm| {
        let report = check_all(world).unwrap();
        let what = format!("{file} {harm:?}: {report:?}");
        // What is lost is exactly what a restore cannot bring back, and every file of it is named.
        let whole = restorable(&scene, world);
        for (id, files) in &scene.snapshots {
            for name in files.keys() {
                let path = format!("data/{name}");
                let named = report
                    .affected
                    .iter()
                    .any(|affected| affected.snapshot == *id && (path.starts_with(affected.path.to_str().unwrap())));
                let forgotten = file.kind == FileKind::Snapshot && harm == Harm::Remove;
                if !forgotten && !whole.contains(&(*id, name.clone())) {
                    assert!(named, "{name} of {id}: {what}");
                }
            }
        }
        assert_eq!(report.affected_total, report.affected.len());
        let unneeded = file.kind == FileKind::Pack && unindexed.contains(&file.id);
        // The receipt of its drill knows of a snapshot, and nothing of the others.
        let drilled = repository::receipt::load(&scene.world.open()).unwrap().readable;
        let nobody_knows = match file.kind {
            FileKind::Snapshot => drilled.iter().all(|(_, receipt)| receipt.snapshot != file.id),
            kind => matches!(kind, FileKind::Receipt | FileKind::Condemned),
        };
        if unneeded || (harm == Harm::Remove && nobody_knows) {
            assert!(report.is_ok(), "{what}");
        } else if file.kind == FileKind::Index && harm == Harm::Remove {
            assert!(report.findings.iter().all(|finding| finding.file.is_none()), "{what}");
            assert!(!report.findings.is_empty() && !report.affected.is_empty(), "{what}");
        } else {
            assert!(report.findings.iter().any(|finding| finding.file == Some(file)), "{what}");
        }
    });
}

#[test]
fn a_damaged_lock_is_named_by_check_and_keeps_others_out_with_clear_words() {
    let scene = scene();
    let world = scene.world.fork();
    let id = Id::of(b"lock");
    let lock = File::new(FileKind::Lock, id);
    world.memory.plant(lock, b"not a lock".to_vec());
    let report = check_all(&world).unwrap();
    assert_eq!(report.findings[0].file, Some(lock));
    let error = back_up(&world.cx(), &world.open(), FolderCapture::of(scene.folder.path())).unwrap_err();
    assert!(matches!(&error, Error::LockDamaged { file } if *file == lock), "{error}");
    assert_eq!(error.to_string(), format!("the repository is locked by {lock}, which is damaged"));
}

#[test]
fn a_restore_from_a_damaged_copy_gives_right_bytes_or_names_what_is_missing() {
    let scene = scene();
    for_all(&scene, &[FileKind::Pack], |world, file, harm| {
        // `restorable` fails on wrong bytes and on silence.
        let whole = restorable(&scene, world);
        let all: usize = scene.snapshots.iter().map(|(_, files)| files.len()).sum();
        if condemned(&scene).contains(&file.id) {
            assert_eq!(whole.len(), all);
        } else if !scene.tree_packs.contains(&file.id) && harm == Harm::Flip(99) {
            // The header's length: the blobs themselves are whole.
            assert_eq!(whole.len(), all, "{file}");
        } else if scene.tree_packs.contains(&file.id) && harm == Harm::Remove {
            assert!(whole.len() < all, "{file}");
        }
    });
}

#[test]
fn prune_of_a_damaged_copy_takes_nothing_away_that_could_be_restored() {
    let scene = scene();
    let kinds = [FileKind::Pack, FileKind::Index, FileKind::Snapshot, FileKind::Receipt, FileKind::Condemned];
    let unindexed = condemned(&scene);
    for_all(&scene, &kinds, |world, file, harm| {
        let before = restorable(&scene, world);
        let options = Options { grace: Duration::ZERO, unused_percent_max: 0 };
        let outcome = prune::prune(&world.cx(), &world.open(), options);
        let what = format!("{file} {harm:?}: {:?}", outcome.as_ref().map(|_| ()));
        let after = restorable(&scene, world);
        assert!(after.is_superset(&before), "{what}");
        assert_eq!(world.files(FileKind::Lock), [], "{what}");
        if file.kind == FileKind::Index && outcome.is_ok() {
            // The condemned packs still held what the lost index file named.
            assert_eq!(after.len(), scene.snapshots.iter().map(|(_, files)| files.len()).sum::<usize>(), "{what}");
        }
        // A cut pack may have lost nothing but its header.
        let needed = (file.kind == FileKind::Pack && !unindexed.contains(&file.id) && harm == Harm::Remove)
            || (file.kind == FileKind::Index && harm != Harm::Remove)
            || (file.kind == FileKind::Snapshot && harm != Harm::Remove);
        if needed {
            assert!(outcome.is_err_and(|error| error.is_damage()), "{what}");
        }
    });
}

#[test]
fn a_backup_over_damage_never_harms_what_is_left() {
    let scene = scene();
    let kinds = [FileKind::Pack, FileKind::Index, FileKind::Snapshot, FileKind::Receipt, FileKind::Condemned];
    let mut now = BTreeMap::new();
    read_folder(scene.folder.path(), "", &mut now);
    for_all(&scene, &kinds, |world, file, harm| {
        let before = restorable(&scene, world);
        let outcome = back_up(&world.cx(), &world.open(), FolderCapture::of(scene.folder.path()));
        assert!(restorable(&scene, world).is_superset(&before), "{file} {harm:?}");
        assert_eq!(world.files(FileKind::Lock), []);
        match outcome {
            Err(error) => assert!(file.kind == FileKind::Index && error.is_damage(), "{file} {harm:?}: {error}"),
            Ok(backup) if file.kind == FileKind::Pack => {
                // The index still names what is damaged, so the new snapshot may lean on it; a restore says so, and where
                // it is a tree, which the backup reads, the backup itself.
                let restored = world.contents(backup.id);
                let whole = restored.as_ref().is_ok_and(|restored| restored.files == now);
                if scene.tree_packs.contains(&file.id) && !whole {
                    assert!(!backup.problems.is_empty(), "{file} {harm:?}: the backup met a damaged tree in silence");
                }
                if let Ok(restored) = restored {
                    assert!(restored.files.iter().all(|(name, bytes)| now[name] == *bytes), "{file} {harm:?}");
                    assert!(restored.files.len() == now.len() || !restored.problems.is_empty());
                }
            }
            // Everything the index does not name was stored anew.
            Ok(backup) => assert!(world.contents(backup.id).unwrap().files == now, "{file} {harm:?}"),
        }
    });
}

#[test]
fn blobs_that_lie_in_two_packs_survive_the_loss_of_one() {
    let world = World::new();
    let repository = world.open();
    let bytes = noise(300_000, 1);
    let capture = || StreamCapture::default().with("a", std::io::Cursor::new(bytes.clone()));
    let first = back_up(&world.cx(), &repository, capture()).unwrap();
    // A second writer that saw an empty index. Its trees carry another time.
    back_up_with(&world.cx(), &repository, &Index::default(), capture()).unwrap();
    let index = Index::load(&world.cx(), &repository).unwrap();
    let holds_data = |blobs: &[repository::format::pack::PackedBlob]| blobs[0].kind == BlobKind::Data;
    let packs: Vec<Id> = index.packs().into_iter().filter(|(_, blobs)| holds_data(blobs)).map(|(id, _)| id).collect();
    assert!(packs.len() >= 2);
    for pack in packs {
        for harm_done in HARMS {
            let world = world.fork();
            harm(&world, File::pack(pack), harm_done);
            let restored = world.contents(first.id).unwrap();
            assert!(restored.problems.is_empty() && restored.files["a"] == bytes, "{pack} {harm_done:?}");
            let report = check_all(&world).unwrap();
            assert!(!report.is_ok() && report.affected.is_empty(), "{report:?}");
        }
    }
}

#[test]
fn a_blob_of_which_one_copy_is_missing_and_the_other_damaged_is_lost() {
    let world = World::new();
    let repository = world.open();
    let capture = || StreamCapture::default().with("a", std::io::Cursor::new(noise(20_000, 1)));
    let first = back_up(&world.cx(), &repository, capture()).unwrap();
    let second = back_up_with(&world.cx(), &repository, &Index::default(), capture()).unwrap();
    let index = Index::load(&world.cx(), &repository).unwrap();
    let path = std::path::Path::new("data/a");
    let node = repository::walk::find(&repository, &index, &first.snapshot.tree, path).unwrap().unwrap();
    let places: Vec<_> = index.locations(BlobKind::Data, &node.content[0]).collect();
    assert_eq!(places.len(), 2);
    assert!(world.memory.remove(File::pack(places[0].pack)));
    assert!(check_all(&world).unwrap().affected.is_empty());
    assert!(world.memory.flip(File::pack(places[1].pack), places[1].blob.offset as usize));
    let affected: BTreeSet<_> = check_all(&world).unwrap().affected.into_iter().collect();
    let named: BTreeSet<_> = affected.iter().filter(|affected| affected.path == path).map(|a| a.snapshot).collect();
    assert_eq!(named, BTreeSet::from([first.id, second.id]));
}

#[test]
fn a_pack_on_a_bad_spot_of_the_disk_is_named_and_the_others_are_checked() {
    let scene = scene();
    let bad = *scene.tree_packs.first().unwrap();
    let watch = move |_: &repository::storage::memory::MemoryStorage, asked: Asked<'_>| match asked {
        Asked::Get(file) if file == File::pack(bad) => Err(StorageError::Permanent {
            location: "memory".to_owned(),
            what: format!("read {file}: input/output error"),
        }),
        _ => Ok(()),
    };
    let repository = open(Arc::new(Watched { inner: scene.world.memory.clone(), watch })).unwrap();
    let report = check::check(&scene.world.cx(), &repository, ReadData::All).unwrap();
    assert!(!report.affected.is_empty());
    let named: Vec<_> = report.findings.iter().filter(|finding| finding.file == Some(File::pack(bad))).collect();
    assert!(named.iter().any(|finding| finding.what.contains("input/output error")), "{:?}", report.findings);
    let index = Index::load(&scene.world.cx(), &repository).unwrap();
    assert_eq!(report.packs_read, index.packs().len() - 1);
}

#[test]
fn a_dead_sector_under_one_pack_ends_neither_check_nor_restore() {
    let world = World::new();
    let repository = world.open();
    let stream = |seed| std::io::Cursor::new(noise(100_000, seed));
    back_up(&world.cx(), &repository, StreamCapture::default().with("a", stream(1))).unwrap();
    let before: BTreeSet<Id> = Index::load(&world.cx(), &repository).unwrap().packs().into_keys().collect();
    let both = StreamCapture::default().with("a", stream(1)).with("b", stream(2));
    let both = back_up(&world.cx(), &repository, both).unwrap().id;
    let is_data = |blobs: &[repository::format::pack::PackedBlob]| blobs[0].kind == BlobKind::Data;
    let packs = Index::load(&world.cx(), &repository).unwrap().packs();
    // The facts in the root are the same in both, so that new data packs hold nothing but `b`.
    let dead: BTreeSet<Id> =
        packs.into_iter().filter(|(id, blobs)| !before.contains(id) && is_data(blobs)).map(|(id, _)| id).collect();
    assert!(!dead.is_empty());
    let bad = dead.clone();
    let watch = move |_: &_, asked: Asked<'_>| match asked {
        // As a local disk reports EIO: it may pass, but never does.
        Asked::Get(file) if bad.contains(&file.id) => {
            Err(StorageError::Transient { location: "disk".to_owned(), what: "input/output error".to_owned() })
        }
        _ => Ok(()),
    };
    let storage = Arc::new(Watched { inner: world.memory.clone(), watch });
    let clock = Arc::new(SimulatedClock::new(start()));
    let repository = open(Arc::new(Retry::new(storage, clock.clone(), world.cancel.clone()))).unwrap();
    let report = check::check(&world.cx(), &repository, ReadData::All).unwrap();
    let found: BTreeSet<Id> = report.findings.iter().filter_map(|finding| Some(finding.file?.id)).collect();
    assert_eq!(found, dead, "{report:?}");
    let affected: Vec<_> =
        report.affected.iter().map(|affected| (affected.snapshot, affected.path.as_path())).collect();
    assert_eq!(affected, [(both, std::path::Path::new("data/b"))]);
    let restored = contents(&world.cx(), &repository, both).unwrap();
    assert!(restored.files["a"] == noise(100_000, 1) && !restored.files.contains_key("b"));
    assert_eq!(restored.problems.len(), 1, "{:?}", restored.problems);
    let waited = Duration::try_from(clock.now().duration_since(start())).unwrap();
    assert!(waited <= RETRY_PAUSES_TOTAL_MAX * dead.len() as u32, "{waited:?}");
}

#[test]
fn what_is_left_of_a_repository_is_found_and_nothing_new_is_made_there() {
    let world = scene().world;
    let found = || Repository::found_at(&world.memory).unwrap();
    let remove = |kind| world.files(kind).into_iter().for_each(|file| assert!(world.memory.remove(file)));
    let opened = || Repository::open(Arc::new(world.memory.clone()), PASSWORD).map(drop).unwrap_err();
    assert_eq!(found(), Found::Repository);
    let config = world.memory.read(File::CONFIG).unwrap();
    remove(FileKind::Config);
    assert_eq!(found(), Found::Remains);
    assert!(matches!(opened(), Error::Damaged { file: File::CONFIG, .. }));
    remove(FileKind::Key);
    assert_eq!(found(), Found::Remains);
    assert!(matches!(opened(), Error::Damaged { file: File::CONFIG, .. }));
    let storage = Arc::new(world.memory.clone());
    let made = Repository::init(storage, PASSWORD, KdfCost::FAST, CHUNK_AVERAGE as u32, start());
    assert!(matches!(made, Err(Error::AlreadyInitialised { .. })), "it would be unrelated");
    world.memory.plant(File::CONFIG, config);
    assert_eq!(found(), Found::Repository);
    [FileKind::Config, FileKind::Snapshot, FileKind::Index].into_iter().for_each(remove);
    assert_eq!(found(), Found::Nothing, "packs alone are of no use to anybody");
    assert!(matches!(opened(), Error::NoRepository { .. }));
    world.memory.plant(File::new(FileKind::Key, Id::of(b"key")), b"key".to_vec());
    assert_eq!(found(), Found::Keys);
}
