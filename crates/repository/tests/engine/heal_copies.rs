//! A damaged copy is mended from others: packs, index files and snapshots, whole or blob by blob.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use repository::check::{self, ReadData};
use repository::format::key_file::KdfCost;
use repository::format::pack::BlobKind;
use repository::format::receipt::{Receipt, Verdict};
use repository::format::time::Time;
use repository::heal::{self, FromCopies, How};
use repository::prune::{self, Options};
use repository::storage::fault::{Effect, Failure, Fault, When};
use repository::storage::memory::MemoryStorage;
use repository::{Error, File, FileKind, Id, Index, Repository, Storage as _, StorageError, forget, sync};

use crate::support::*;

type Files = BTreeMap<String, Vec<u8>>;

/// A repository with two snapshots that share files, and what they hold.
struct Scene {
    world: World,
    folder: tempfile::TempDir,
    snapshots: Vec<(Id, Files)>,
}

fn scene() -> Scene {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, seed| std::fs::write(folder.path().join(name), noise(200_000, seed)).unwrap();
    let back_up = || back_up(&world.cx(), &world.open(), FolderCapture::of(folder.path())).unwrap().id;
    std::fs::create_dir(folder.path().join("below")).unwrap();
    write("below/a", 1);
    write("b", 2);
    let first = back_up();
    write("c", 3);
    let second = back_up();
    let snapshots = [first, second].map(|id| (id, world.contents(id).unwrap().files)).to_vec();
    Scene { world, folder, snapshots }
}

/// The same snapshots in packs of other names: a copy that was pruned in another way.
fn packed_otherwise(scene: &Scene) -> World {
    let other = scene.world.fork();
    std::fs::write(scene.folder.path().join("z"), noise(200_000, 9)).unwrap();
    let index = Index::load(&other.cx(), &other.open()).unwrap();
    let ids: Vec<_> = scene.snapshots.iter().map(|(id, _)| *id).collect();
    // All packs come blob by blob where their names are taken by something else.
    let fresh = World::on(MemoryStorage::new());
    Repository::init_copy(&other.open(), Arc::new(fresh.memory.clone()), PASSWORD, KdfCost::FAST, start()).unwrap();
    for id in index.packs().into_keys() {
        fresh.memory.plant(File::pack(id), b"something else".to_vec());
    }
    let synced = sync::run(&fresh.cx(), &[other.open()], &fresh.open(), &ids).unwrap();
    assert_eq!((synced.packs_moved, synced.snapshots.len()), (0, 2));
    for id in index.packs().into_keys() {
        assert!(fresh.memory.remove(File::pack(id)));
    }
    fresh
}

fn assert_whole(scene: &Scene, world: &World, what: &str) {
    let report = check::check(&world.cx(), &world.open(), ReadData::All).unwrap();
    assert_eq!((report.findings, report.affected), (vec![], vec![]), "{what}");
    assert_eq!(world.files(FileKind::Lock), [], "{what}");
    for (id, files) in &scene.snapshots {
        let restored = world.contents(*id).unwrap();
        assert!(restored.problems.is_empty() && restored.files == *files, "{what}");
    }
}

fn heal(world: &World, others: &[&World], read_data: bool) -> Result<FromCopies, Error> {
    let others: Vec<_> = others.iter().map(|world| world.open()).collect();
    heal::from_copies(&world.cx(), &world.open(), &others, How { read_data, some_away: false })
}

#[derive(Clone, Copy, Debug)]
enum Harm {
    Flip(usize),
    Cut,
    Remove,
}

fn harm(world: &World, file: File, harm: Harm) {
    let length = world.memory.read(file).unwrap().len();
    assert!(match harm {
        Harm::Flip(percent) => world.memory.flip(file, (length - 1) * percent / 99),
        Harm::Cut => world.memory.truncate(file, length * 2 / 3),
        Harm::Remove => world.memory.remove(file),
    });
}

const HARMS: [Harm; 5] = [Harm::Flip(0), Harm::Flip(50), Harm::Flip(99), Harm::Cut, Harm::Remove];

#[test]
fn a_whole_copy_is_left_alone() {
    let scene = scene();
    let before = scene.world.memory.files();
    for read_data in [false, true] {
        let healed = heal(&scene.world, &[&scene.world.fork()], read_data).unwrap();
        assert!(healed.is_whole() && healed.bytes_moved == 0 && !healed.index.changed_anything(), "{healed:?}");
        assert_eq!(scene.world.memory.files(), before);
    }
}

#[test]
fn any_one_damaged_file_is_mended_from_a_copy_with_the_same_packs() {
    let scene = scene();
    let before = scene.world.memory.files();
    for kind in [FileKind::Pack, FileKind::Index, FileKind::Snapshot] {
        for file in scene.world.files(kind) {
            for harm_done in HARMS {
                let bad = scene.world.fork();
                harm(&bad, file, harm_done);
                let what = format!("{file} {harm_done:?}");
                if kind == FileKind::Snapshot && matches!(harm_done, Harm::Remove) {
                    // Retention may have removed it; it is `sync` that brings it.
                    sync::run(&bad.cx(), &[scene.world.open()], &bad.open(), &[file.id]).unwrap();
                } else {
                    let healed = heal(&bad, &[&scene.world.fork()], true).unwrap();
                    assert!(healed.is_whole() && healed.damage.is_empty(), "{what}: {healed:?}");
                }
                assert_whole(&scene, &bad, &what);
                if kind == FileKind::Pack {
                    assert_eq!(bad.memory.read(file), scene.world.memory.read(file), "{what}");
                    assert_eq!(bad.files(kind), before.iter().filter(|f| f.kind == kind).copied().collect::<Vec<_>>());
                }
            }
        }
    }
}

#[test]
fn a_lost_snapshot_that_a_receipt_tells_of_comes_back_with_all_it_needs() {
    let scene = scene();
    let (lost, _) = scene.snapshots[1];
    let receipt = Receipt {
        snapshot: lost,
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
    let bad = scene.world.fork();
    bad.open().save_json(FileKind::Receipt, &receipt).unwrap();
    harm(&bad, File::new(FileKind::Snapshot, lost), Harm::Remove);
    // Nobody has it: it is named, and the receipt stays while a copy that may have it is away.
    let none = scene.world.fork();
    harm(&none, File::new(FileKind::Snapshot, lost), Harm::Remove);
    let away = Arc::new(Fault::new(Arc::new(none.memory.clone()), 1));
    let opened = Arc::new(Repository::open(away.clone(), PASSWORD).unwrap());
    away.add(When::After(0), Effect::Fail(Failure::Transient));
    let healed = heal::from_copies(&bad.cx(), &bad.open(), &[opened, none.open()], How::default()).unwrap();
    assert_eq!((healed.unhealed.len(), healed.left.len(), healed.index.receipts_removed), (1, 1, 0), "{healed:?}");
    let healed = heal(&bad, &[&scene.world.fork()], false).unwrap();
    assert_eq!((healed.is_whole(), healed.snapshots_replaced), (true, vec![lost]));
    assert_eq!(bad.files(FileKind::Receipt).len(), 1);
    assert_whole(&scene, &bad, "after the heal");
}

#[test]
fn missing_packs_and_damaged_trees_are_found_without_reading_all_data() {
    let scene = scene();
    let index = Index::load(&scene.world.cx(), &scene.world.open()).unwrap();
    for (id, blobs) in index.packs() {
        for harm_done in HARMS {
            if blobs[0].kind == BlobKind::Data && matches!(harm_done, Harm::Flip(_)) {
                continue;
            }
            let bad = scene.world.fork();
            harm(&bad, File::pack(id), harm_done);
            let trees_are_hurt = !matches!(harm_done, Harm::Flip(99));
            let healed = heal(&bad, &[&scene.world.fork()], false).unwrap();
            assert!(healed.is_whole(), "{healed:?}");
            if trees_are_hurt {
                assert_eq!(healed.packs_replaced, [id], "{harm_done:?}");
                assert_whole(&scene, &bad, &format!("{id} {harm_done:?}"));
            }
        }
    }
}

#[test]
fn packs_that_another_copy_has_otherwise_come_blob_by_blob() {
    let scene = scene();
    let other = packed_otherwise(&scene);
    for file in scene.world.files(FileKind::Pack) {
        for harm_done in HARMS {
            let bad = scene.world.fork();
            harm(&bad, file, harm_done);
            let healed = heal(&bad, &[&other], true).unwrap();
            assert!(healed.is_whole() && healed.packs_replaced.is_empty(), "{healed:?}");
            assert!(healed.packs_moved > 0 || healed.blobs_repacked > 0);
            assert!(!bad.files(FileKind::Pack).contains(&file), "what is damaged is gone");
            assert_whole(&scene, &bad, &format!("{file} {harm_done:?}"));
        }
    }
}

#[test]
fn a_copy_that_lost_all_its_packs_and_its_index_gets_them_back() {
    let scene = scene();
    for other in [scene.world.fork(), packed_otherwise(&scene)] {
        let bad = scene.world.fork();
        for kind in [FileKind::Pack, FileKind::Index] {
            bad.files(kind).into_iter().for_each(|file| assert!(bad.memory.remove(file)));
        }
        let healed = heal(&bad, &[&other], false).unwrap();
        assert!(healed.is_whole() && healed.packs_moved > 0, "{healed:?}");
        assert_whole(&scene, &bad, "all lost");
    }
}

#[test]
fn two_copies_with_different_damage_mend_each_other() {
    let scene = scene();
    let packs = scene.world.files(FileKind::Pack);
    let (one, other) = (scene.world.fork(), scene.world.fork());
    harm(&one, packs[0], Harm::Flip(30));
    harm(&other, packs[1], Harm::Flip(30));
    let healed = heal(&one, &[&other], true).unwrap();
    assert!(healed.is_whole() && healed.damage.is_empty(), "{healed:?}");
    assert_whole(&scene, &one, "the first");
    assert!(heal(&other, &[&one], true).unwrap().is_whole());
    assert_whole(&scene, &other, "the second");
}

#[test]
fn what_no_copy_has_whole_is_named_and_the_rest_is_mended() {
    let scene = scene();
    let index = Index::load(&scene.world.cx(), &scene.world.open()).unwrap();
    let packs = index.packs();
    let mut data: Vec<Id> =
        packs.iter().filter(|(_, blobs)| blobs[0].kind == BlobKind::Data).map(|(id, _)| *id).collect();
    data.sort();
    let (one, other) = (scene.world.fork(), scene.world.fork());
    for world in [&one, &other] {
        // The first blob of a pack is lost in both.
        assert!(world.memory.flip(File::pack(data[0]), 40));
    }
    harm(&one, File::pack(data[1]), Harm::Cut);
    let healed = heal(&one, &[&other], true).unwrap();
    assert!(!healed.is_whole() && !healed.incomplete.is_empty(), "{healed:?}");
    assert_eq!(healed.packs_replaced, [data[1]]);
    assert_eq!(healed.damage.iter().map(|damage| damage.file).collect::<Vec<_>>(), [File::pack(data[0])]);
    let lost = packs[&data[0]][0].id;
    assert!(healed.incomplete.iter().all(|incomplete| incomplete.what.contains(&lost.to_string())));
    assert!(one.memory.read(File::pack(data[0])).is_some(), "what may be the last trace is kept");
    // A third copy turns up.
    assert!(heal(&one, &[&other, &scene.world], true).unwrap().is_whole());
    assert_whole(&scene, &one, "mended at last");
}

#[test]
fn without_other_copies_what_is_whole_in_a_damaged_pack_is_saved() {
    let scene = scene();
    forget::forget(&scene.world.cx(), &scene.world.open(), &[scene.snapshots[1].0], forget::Why::Named).unwrap();
    let rest = Scene { snapshots: scene.snapshots[..1].to_vec(), ..scene };
    let index = Index::load(&rest.world.cx(), &rest.world.open()).unwrap();
    let (kept, _) = &rest.snapshots[0];
    let is_needed = |blob: &repository::format::pack::PackedBlob, pack: Id| {
        let bad = rest.world.fork();
        assert!(bad.memory.flip(File::pack(pack), blob.offset as usize + 20));
        !bad.contents(*kept).is_ok_and(|restored| restored.problems.is_empty())
    };
    let packs = index.packs();
    let unneeded = packs.iter().flat_map(|(pack, blobs)| blobs.iter().map(move |blob| (*pack, *blob)));
    let unneeded: Vec<_> = unneeded.filter(|(pack, blob)| !is_needed(blob, *pack)).collect();
    assert!(!unneeded.is_empty());
    for (pack, blob) in unneeded {
        let bad = rest.world.fork();
        assert!(bad.memory.flip(File::pack(pack), blob.offset as usize + 20));
        let healed = heal(&bad, &[], true).unwrap();
        assert!(healed.is_whole() && healed.packs_removed == [pack], "{healed:?}");
        assert_whole(&rest, &bad, "without others");
    }
}

#[test]
fn healing_may_end_at_any_call_and_be_repeated() {
    let scene = scene();
    let others = [scene.world.fork(), packed_otherwise(&scene)];
    for other in &others {
        let broken = scene.world.fork();
        let (packs, index) = (broken.files(FileKind::Pack), broken.files(FileKind::Index));
        harm(&broken, packs[0], Harm::Flip(30));
        harm(&broken, packs[1], Harm::Remove);
        harm(&broken, packs[2], Harm::Cut);
        harm(&broken, index[0], Harm::Flip(40));
        harm(&broken, File::new(FileKind::Snapshot, scene.snapshots[0].0), Harm::Cut);
        for failure in [Failure::Transient, Failure::Full] {
            for calls in 0.. {
                let world = broken.fork();
                let fault = Arc::new(Fault::new(Arc::new(world.memory.clone()), calls));
                let doomed = open(fault.clone()).unwrap();
                fault.add(When::After(fault.calls() + calls), Effect::Fail(failure));
                let outcome =
                    heal::from_copies(&world.cx(), &doomed, &[other.open()], How { read_data: true, some_away: false });
                bury_lock_holders(&world.open());
                bury_lock_holders(&other.open());
                let what = format!("{failure:?} after {calls} calls: {outcome:?}");
                if !world.files(FileKind::Snapshot).contains(&File::new(FileKind::Snapshot, scene.snapshots[0].0)) {
                    // Between taking the damaged one away and putting the good one: `sync` brings it.
                    sync::run(&world.cx(), &[other.open()], &world.open(), &[scene.snapshots[0].0]).unwrap();
                }
                assert!(heal(&world, &[other], true).unwrap().is_whole(), "{what}");
                assert_whole(&scene, &world, &what);
                prune::prune(&world.cx(), &world.open(), Options::default()).unwrap();
                assert_whole(&scene, &world, &what);
                if outcome.is_ok() {
                    assert!(calls > 20, "only {calls} calls could fail");
                    break;
                }
            }
        }
    }
}

#[test]
fn one_bad_read_costs_no_data_that_is_whole() {
    // Each read in turn gives one wrong bit, while all that is stored is right.
    let scene = scene();
    for nth in 1.. {
        let world = scene.world.fork();
        let fault = Arc::new(Fault::new(Arc::new(world.memory.clone()), nth));
        let shaky = open(fault.clone()).unwrap();
        fault.add(When::Nth(fault.calls() + nth), Effect::FlipBit);
        let before = fault.calls();
        let outcome = heal::from_copies(&world.cx(), &shaky, &[], How { read_data: true, some_away: false });
        let passed = fault.calls() - before < nth;
        bury_lock_holders(&world.open());
        // What was put down for damaged is found whole again.
        heal(&world, &[], true).unwrap();
        assert_whole(&scene, &world, &format!("read {nth}: {outcome:?}"));
        if passed {
            break;
        }
    }
}

#[test]
fn a_config_that_is_missing_or_damaged_comes_from_another_copy() {
    let scene = scene();
    for harm_done in HARMS {
        let bad = scene.world.fork();
        harm(&bad, File::CONFIG, harm_done);
        assert!(open(Arc::new(bad.memory.clone())).is_err());
        assert!(heal::config(&scene.world.open(), &bad.memory, "wrong").is_err());
        assert!(heal::config(&scene.world.open(), &bad.memory, PASSWORD).unwrap());
        assert!(!heal::config(&scene.world.open(), &bad.memory, PASSWORD).unwrap(), "once is enough");
        assert_whole(&scene, &bad, &format!("{harm_done:?}"));
    }
    let foreign = MemoryStorage::new();
    Repository::init(Arc::new(foreign.clone()), PASSWORD, KdfCost::FAST, CHUNK_AVERAGE as u32, start()).unwrap();
    assert!(foreign.flip(File::CONFIG, 40));
    let refused = heal::config(&scene.world.open(), &foreign, PASSWORD).unwrap_err();
    assert!(matches!(refused, Error::NotACopy { .. }), "{refused}");
}

#[test]
fn a_pack_in_which_nothing_is_whole_is_not_left_to_be_named_again() {
    let scene = scene();
    let bad = scene.world.fork();
    for (id, blobs) in Index::load(&bad.cx(), &bad.open()).unwrap().packs() {
        // Every blob, but not the header.
        blobs.iter().for_each(|blob| assert!(bad.memory.flip(File::pack(id), blob.offset as usize + 20)));
    }
    let healed = heal::index(&bad.cx(), &bad.open(), true).unwrap();
    assert!(healed.packs_damaged.iter().all(|id| bad.memory.read(File::pack(*id)).is_none()), "{healed:?}");
    bad.files(FileKind::Snapshot).into_iter().for_each(|file| assert!(bad.memory.remove(file)));
    let ids: Vec<_> = scene.snapshots.iter().map(|(id, _)| *id).collect();
    sync::run(&bad.cx(), &[scene.world.open()], &bad.open(), &ids).unwrap();
    assert_whole(&scene, &bad, "brought anew");
}

#[test]
fn what_could_not_be_read_is_named_and_left_alone() {
    let scene = scene();
    let other = scene.world.fork();
    let hurt = scene.world.files(FileKind::Pack)[0];
    assert!(scene.world.memory.flip(hurt, 10));
    let before = scene.world.memory.files();
    let puts = Arc::new(AtomicUsize::new(0));
    let counted = puts.clone();
    // Large downloads stall, listings pass, and so do the packs' ends; `Retry` has made it permanent.
    let watch = move |memory: &MemoryStorage, call: Asked<'_>| match call {
        Asked::Get(file) if file.kind == FileKind::Pack && file != hurt => {
            Err(StorageError::Permanent { location: memory.location(), what: "the answer stopped coming".to_owned() })
        }
        Asked::Put(file, _) if file.kind == FileKind::Pack => {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
        _ => Ok(()),
    };
    let stalling = open(Arc::new(Watched { inner: scene.world.memory.clone(), watch })).unwrap();
    let how = How { read_data: true, some_away: false };
    let healed = heal::from_copies(&scene.world.cx(), &stalling, &[other.open()], how).unwrap();
    assert!(!healed.is_whole());
    // What was read and is wrong is replaced all the same.
    assert_eq!((healed.packs_replaced, healed.packs_removed), (vec![hurt.id], vec![]));
    assert_eq!(healed.index.packs_unread.len(), scene.world.files(FileKind::Pack).len() - 1);
    assert!(healed.index.packs_unread.iter().all(|(_, what)| what.contains("stopped coming")));
    assert_eq!((puts.load(Ordering::SeqCst), scene.world.memory.files()), (1, before), "nothing else was touched");
    assert_whole(&scene, &scene.world, "the line is good again");
    // Without other copies neither.
    let damaged = heal::index(&scene.world.cx(), &stalling, true).unwrap();
    assert!(damaged.packs_damaged.is_empty() && !damaged.packs_unread.is_empty(), "{damaged:?}");
    assert_whole(&scene, &scene.world, "after `heal::index`");
}

#[test]
fn a_copy_without_key_files_gets_one_for_its_password_where_it_is_the_same_repository() {
    let scene = scene();
    let other = scene.world.fork();
    let keys = |world: &World| world.files(FileKind::Key).len();
    let give = |from: &World, to: &World, password: &str| {
        heal::key(&from.open(), &to.memory, password, KdfCost::FAST, start())
    };
    // While there is a key file, whoever knows no password gets in by none.
    assert!(!give(&other, &scene.world, "another").unwrap());
    for file in scene.world.files(FileKind::Key) {
        assert!(scene.world.memory.remove(file));
    }
    assert!(Repository::open(Arc::new(scene.world.memory.clone()), PASSWORD).is_err());
    let stranger = World::on(MemoryStorage::new());
    Repository::init(Arc::new(stranger.memory.clone()), PASSWORD, KdfCost::FAST, 256 << 10, start()).unwrap();
    assert!(matches!(give(&stranger, &scene.world, PASSWORD), Err(Error::NotACopy { .. })));
    assert_eq!(keys(&scene.world), 0);
    assert!(give(&other, &scene.world, PASSWORD).unwrap());
    assert_eq!(keys(&scene.world), 1);
    assert_whole(&scene, &scene.world, "it opens again");
    // One that is cut short opens as little as none; it stays, and is named by `check`.
    let file = scene.world.files(FileKind::Key)[0];
    assert!(scene.world.memory.truncate(file, 20));
    assert!(give(&other, &scene.world, PASSWORD).unwrap());
    assert!(Repository::open(Arc::new(scene.world.memory.clone()), PASSWORD).is_ok());
}
