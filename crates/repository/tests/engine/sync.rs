//! Copies of one repository are brought into step: the same packs, nothing twice, no snapshot before what it needs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use repository::check::{self, ReadData};
use repository::format::key_file::KdfCost;
use repository::format::pack::{BlobKind, PackedBlob};
use repository::lock::{Access, Lock};
use repository::storage::fault::{Effect, Failure, Fault, When};
use repository::storage::follow::Follow;
use repository::storage::memory::MemoryStorage;
use repository::storage::record::{Call, Record, Verb};
use repository::sync::{self, Synced};
use repository::{Error, File, FileKind, Id, Index, Repository, StorageError, forget, prune};

use crate::support::*;

/// A second, empty copy of the repository in `world`.
pub fn empty_copy(world: &World) -> World {
    let copy = World::on(MemoryStorage::new());
    let storage = Arc::new(copy.memory.clone());
    Repository::init_copy(&world.open(), storage, PASSWORD, KdfCost::FAST, start()).unwrap();
    copy
}

pub fn one(name: &str, bytes: usize, seed: u64) -> StreamCapture {
    StreamCapture::default().with(name, std::io::Cursor::new(noise(bytes, seed)))
}

pub fn sync(sources: &[&World], target: &World, wanted: &[Id]) -> Result<Synced, Error> {
    let sources: Vec<_> = sources.iter().map(|world| world.open()).collect();
    sync::run(&target.cx(), &sources, &target.open(), wanted)
}

pub fn snapshots(world: &World) -> Vec<Id> {
    let listed = world.open().snapshots(&world.cancel).unwrap();
    listed.into_iter().map(|(id, _)| id).collect()
}

pub fn assert_clean(world: &World) {
    let report = check::check(&world.cx(), &world.open(), ReadData::All).unwrap();
    assert_eq!((report.findings, report.affected), (vec![], vec![]));
    assert_eq!(world.files(FileKind::Lock), []);
}

pub fn assert_same(one: &World, other: &World, snapshot: Id) {
    let (one, other) = (one.contents(snapshot).unwrap(), other.contents(snapshot).unwrap());
    assert_eq!((&one.problems, &other.problems), (&vec![], &vec![]));
    assert!(one.files == other.files && !one.files.is_empty());
}

/// Three snapshots, each with packs of its own.
pub fn scene() -> (World, Vec<Id>) {
    let world = World::new();
    let repository = world.open();
    let ids = (1..4).map(|seed| back_up(&world.cx(), &repository, one("a", 300_000, seed)).unwrap().id).collect();
    (world, ids)
}

pub fn pack_of(world: &World, kind: BlobKind) -> File {
    let index = Index::load(&world.cx(), &world.open()).unwrap();
    // The manifest, which all snapshots share, must not be in it.
    let is_meant = |blobs: &[PackedBlob]| blobs[0].kind == kind && blobs.iter().all(|blob| blob.id != Id::of(b"{}"));
    let mut packs: Vec<_> = index.packs().into_iter().filter(|(_, blobs)| is_meant(blobs)).collect();
    packs.sort_by_key(|(id, _)| *id);
    File::pack(packs[0].0)
}

#[test]
fn a_new_copy_opens_with_its_own_password_and_is_a_copy() {
    let (world, _) = scene();
    let first = world.open();
    let memory = MemoryStorage::new();
    let storage = Arc::new(memory.clone());
    let copy = Repository::init_copy(&first, storage.clone(), "another password", KdfCost::FAST, start()).unwrap();
    assert!(copy.is_copy_of(&first) && first.is_copy_of(&copy));
    assert_eq!(memory.read(File::CONFIG), world.memory.read(File::CONFIG), "the config is the same byte for byte");
    let again = Repository::open(storage.clone(), "another password").unwrap();
    assert!(again.is_copy_of(&first) && again.key_id() == copy.key_id());
    assert!(matches!(Repository::open(storage.clone(), PASSWORD), Err(Error::WrongPassword { keys: 1 })));
    assert!(!World::on(memory).open_with("another password").is_copy_of(&fresh_repository()));
    let refused = Repository::init_copy(&first, storage, "a third", KdfCost::FAST, start()).unwrap_err();
    assert!(matches!(refused, Error::AlreadyInitialised { .. }), "{refused}");
}

fn fresh_repository() -> Repository {
    let storage = Arc::new(MemoryStorage::new());
    Repository::init(storage, PASSWORD, KdfCost::FAST, CHUNK_AVERAGE as u32, start()).unwrap()
}

impl World {
    fn open_with(&self, password: &str) -> Repository {
        Repository::open(Arc::new(self.memory.clone()), password).unwrap()
    }
}

#[test]
fn making_a_copy_may_end_at_any_call_and_be_repeated() {
    let (world, _) = scene();
    let first = world.open();
    for calls in 0.. {
        let memory = MemoryStorage::new();
        let fault = Arc::new(Fault::new(Arc::new(memory.clone()), calls));
        fault.add(When::After(calls), Effect::Fail(Failure::Transient));
        let outcome = Repository::init_copy(&first, fault, PASSWORD, KdfCost::FAST, start());
        if outcome.is_ok() {
            assert!(calls >= 4);
            break;
        }
        Repository::init_copy(&first, Arc::new(memory.clone()), PASSWORD, KdfCost::FAST, start()).unwrap();
        assert_eq!(memory.files().len(), 2, "after {calls} calls: one key file and the config");
    }
}

#[test]
fn a_place_with_the_keys_of_another_repository_is_not_made_a_copy() {
    let (world, _) = scene();
    let other = World::new();
    let foreign = MemoryStorage::new();
    Repository::init(Arc::new(foreign.clone()), PASSWORD, KdfCost::FAST, CHUNK_AVERAGE as u32, start()).unwrap();
    assert!(foreign.remove(File::CONFIG));
    let before = foreign.files();
    let refused = |password| {
        let storage = Arc::new(foreign.clone());
        Repository::init_copy(&world.open(), storage, password, KdfCost::FAST, start()).unwrap_err()
    };
    assert!(matches!(refused(PASSWORD), Error::NotACopy { .. }));
    assert!(matches!(refused("unknown"), Error::AlreadyInitialised { .. }));
    assert_eq!(foreign.files(), before);
    drop(other);
}

#[test]
fn a_new_copy_gets_the_same_packs_byte_for_byte() {
    let (world, ids) = scene();
    let copy = empty_copy(&world);
    let plan = sync::plan(&copy.cx(), &[world.open()], &copy.open(), &ids).unwrap();
    let packs = world.files(FileKind::Pack);
    assert_eq!((plan.packs, plan.packs_there, plan.blobs), (packs.len(), 0, 0));
    assert_eq!(copy.files(FileKind::Pack), [], "a plan changes nothing");
    let synced = sync(&[&world], &copy, &ids).unwrap();
    assert_eq!((synced.packs_moved, synced.bytes_moved), (plan.packs, plan.bytes));
    assert_eq!((&synced.snapshots, &synced.incomplete), (&ids, &vec![]));
    assert_eq!(plan.snapshots.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids);
    assert_eq!(copy.files(FileKind::Pack), packs);
    for file in packs.into_iter().chain(world.files(FileKind::Snapshot)) {
        assert!(copy.memory.read(file) == world.memory.read(file), "{file}");
    }
    assert_clean(&copy);
    ids.iter().for_each(|id| assert_same(&world, &copy, *id));
}

#[test]
fn only_the_snapshots_that_are_wanted_come_with_no_more_than_they_need() {
    let (world, ids) = scene();
    let copy = empty_copy(&world);
    sync(&[&world], &copy, &ids[1..2]).unwrap();
    assert_eq!(snapshots(&copy), ids[1..2]);
    assert!(copy.files(FileKind::Pack).len() < world.files(FileKind::Pack).len());
    assert_clean(&copy);
    assert_same(&world, &copy, ids[1]);
}

pub fn count(calls: &[Call], verb: Verb, kind: FileKind) -> usize {
    calls.iter().filter(|call| call.verb == verb && call.kind == kind).count()
}

#[test]
fn a_sync_of_p_packs_is_three_listings_p_puts_an_index_a_snapshot_and_a_lock() {
    let (world, mut ids) = scene();
    let copy = empty_copy(&world);
    sync(&[&world], &copy, &ids).unwrap();
    ids.push(back_up(&world.cx(), &world.open(), one("b", 54 << 20, 9)).unwrap().id);
    let record = Arc::new(Record::new(Arc::new(copy.memory.clone())));
    let from = Arc::new(Record::new(Arc::new(world.memory.clone())));
    let (target, source) = (open(record.clone()).unwrap(), open(from.clone()).unwrap());
    record.take();
    from.take();
    let synced = sync::run(&copy.cx(), &[source], &target, &ids).unwrap();
    let (calls, read) = (record.take(), from.take());
    let packs = count(&calls, Verb::Put, FileKind::Pack);
    assert!(packs >= 4 && packs == synced.packs_moved, "{synced:?}");
    for kind in [FileKind::Snapshot, FileKind::Index, FileKind::Pack] {
        assert_eq!(count(&calls, Verb::List, kind), 1, "{kind:?}");
    }
    assert_eq!(count(&calls, Verb::Put, FileKind::Index), packs.div_ceil(64));
    assert_eq!(count(&calls, Verb::Put, FileKind::Snapshot), 1);
    assert_eq!((count(&calls, Verb::Put, FileKind::Lock), count(&calls, Verb::Delete, FileKind::Lock)), (1, 1));
    assert_eq!(calls.iter().filter(|call| call.verb == Verb::Put).count(), packs + 3);
    assert_eq!((count(&calls, Verb::Get, FileKind::Pack), count(&calls, Verb::Get, FileKind::Snapshot)), (0, 0));
    // Of the source, each pack is fetched once, and besides them only trees: the root and the source's own folder.
    let pack_gets: Vec<_> = read.iter().filter(|call| call.verb == Verb::Get && call.kind == FileKind::Pack).collect();
    assert_eq!(pack_gets.len(), packs + 2);
    let bytes: u64 = pack_gets.iter().map(|call| call.bytes).sum();
    assert!(bytes < synced.bytes_moved + 100_000, "{bytes}");

    let again = sync::run(&copy.cx(), &[open(from.clone()).unwrap()], &target, &ids).unwrap();
    assert_eq!(again, Synced::default());
    let calls: Vec<_> = record.take().into_iter().map(|call| (call.verb, call.kind)).collect();
    assert_eq!(calls, [(Verb::List, FileKind::Snapshot)], "a copy in step costs one listing and no lock");
}

#[test]
fn index_files_are_written_after_each_64_packs_and_no_snapshot_before_the_last() {
    let world = World::new();
    let repository = world.open();
    let ids: Vec<_> =
        (1..36).map(|seed| back_up(&world.cx(), &repository, one("a", 30_000, seed)).unwrap().id).collect();
    let copy = empty_copy(&world);
    let record = Arc::new(Record::new(Arc::new(copy.memory.clone())));
    let target = open(record.clone()).unwrap();
    record.take();
    let synced = sync::run(&copy.cx(), &[repository], &target, &ids).unwrap();
    let puts: Vec<_> = record.take().into_iter().filter(|call| call.verb == Verb::Put).map(|call| call.kind).collect();
    let packs = synced.packs_moved;
    assert!(packs > 64, "{packs}");
    assert_eq!(puts.iter().filter(|kind| **kind == FileKind::Index).count(), packs.div_ceil(64));
    let first_snapshot = puts.iter().position(|kind| *kind == FileKind::Snapshot).unwrap();
    assert!(puts[first_snapshot..].iter().all(|kind| *kind == FileKind::Snapshot), "{puts:?}");
    assert_eq!(puts.len() - first_snapshot, ids.len());
    assert_clean(&copy);
}

/// Ends a sync at each call to the target (or to the source), then looks at what is left and runs it again.
fn crash_everywhere(on_target: bool) {
    let (world, ids) = scene();
    let before = empty_copy(&world);
    sync(&[&world], &before, &ids[..1]).unwrap();
    let packs = world.files(FileKind::Pack).len() - before.files(FileKind::Pack).len();
    for calls in 0.. {
        let (source, copy) = (world.fork(), before.fork());
        let doomed = if on_target { &copy } else { &source };
        let fault = Arc::new(Fault::new(Arc::new(doomed.memory.clone()), calls));
        let broken = open(fault.clone()).unwrap();
        fault.add(When::After(fault.calls() + calls), Effect::Fail(Failure::Transient));
        let (from, to) = if on_target { (source.open(), broken) } else { (broken, copy.open()) };
        let outcome = sync::run(&copy.cx(), &[from], &to, &ids);

        bury_lock_holders(&copy.open());
        bury_lock_holders(&source.open());
        let what = format!("after {calls} calls: {outcome:?}");
        let report = check::check(&copy.cx(), &copy.open(), ReadData::All).unwrap();
        assert_eq!((report.findings, report.affected), (vec![], vec![]), "{what}");
        snapshots(&copy).iter().for_each(|id| assert_same(&world, &copy, *id));
        let moved = copy.files(FileKind::Pack).len() - before.files(FileKind::Pack).len();
        let rest = sync(&[&source], &copy, &ids).unwrap();
        assert_eq!(rest.packs_moved, packs - moved, "nothing is moved twice {what}");
        // A run that has nothing to do takes no lock and so meets no dead one.
        for world in [&source, &copy] {
            Lock::acquire(&world.cx(), &world.open(), Access::Exclusive).unwrap().release().unwrap();
        }
        assert_clean(&copy);
        assert_eq!((snapshots(&copy), &source.files(FileKind::Lock)), (ids.clone(), &vec![]), "{what}");
        ids.iter().for_each(|id| assert_same(&world, &copy, *id));
        if outcome.is_ok_and(|synced| synced.incomplete.is_empty()) && moved == packs {
            assert!(calls > 8, "only {calls} calls could fail");
            break;
        }
    }
}

#[test]
fn a_sync_may_end_at_any_call() {
    crash_everywhere(true);
}

#[test]
fn the_source_of_a_sync_may_be_lost_at_any_call() {
    crash_everywhere(false);
}

#[test]
fn packs_that_lie_in_the_target_already_are_named_and_not_moved() {
    let (world, ids) = scene();
    let copy = empty_copy(&world);
    sync(&[&world], &copy, &ids).unwrap();
    // As a run leaves it that was killed before its index file.
    for kind in [FileKind::Index, FileKind::Snapshot] {
        copy.files(kind).into_iter().for_each(|file| assert!(copy.memory.remove(file)));
    }
    let record = Arc::new(Record::new(Arc::new(copy.memory.clone())));
    let target = open(record.clone()).unwrap();
    record.take();
    let synced = sync::run(&copy.cx(), &[world.open()], &target, &ids).unwrap();
    assert_eq!((synced.packs_moved, synced.packs_there), (0, world.files(FileKind::Pack).len()));
    let calls = record.take();
    assert_eq!(count(&calls, Verb::Put, FileKind::Pack), 0);
    let read: u64 = calls.iter().filter(|call| call.kind == FileKind::Pack).map(|call| call.bytes).sum();
    assert!(read < 10_000, "headers alone are looked at: {read}");
    assert_clean(&copy);
    assert_eq!(snapshots(&copy), ids);
}

#[test]
fn copies_that_were_forgotten_and_pruned_differently_are_brought_into_step() {
    let (world, ids) = scene();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, seed| std::fs::write(folder.path().join(name), noise(250_000, seed)).unwrap();
    let copy = empty_copy(&world);
    write("kept", 11);
    write("gone", 12);
    let mixed = back_up(&world.cx(), &world.open(), FolderCapture::of(folder.path())).unwrap().id;
    std::fs::remove_file(folder.path().join("gone")).unwrap();
    write("new", 13);
    let later = back_up(&world.cx(), &world.open(), FolderCapture::of(folder.path())).unwrap().id;
    let all: Vec<_> = ids.iter().copied().chain([mixed, later]).collect();
    sync(&[&world], &copy, &all).unwrap();
    let at_once = prune::Options { grace: Duration::ZERO, unused_percent_max: 0 };
    // Each side forgets something else and packs anew.
    forget::forget(&world.cx(), &world.open(), &[mixed, ids[0]], forget::Why::Named).unwrap();
    prune::prune(&world.cx(), &world.open(), at_once).unwrap();
    forget::forget(&copy.cx(), &copy.open(), &[later, ids[1]], forget::Why::Named).unwrap();
    prune::prune(&copy.cx(), &copy.open(), at_once).unwrap();
    write("newest", 14);
    let newest = back_up(&world.cx(), &world.open(), FolderCapture::of(folder.path())).unwrap().id;

    let before = copy.fork();
    sync(&[&world], &copy, &[newest, later, ids[1]]).unwrap();
    sync(&[&before], &world, &[mixed, ids[0]]).unwrap();
    for side in [&world, &copy] {
        assert_clean(side);
        assert_eq!(BTreeSet::from_iter(snapshots(side)), all.iter().copied().chain([newest]).collect());
    }
    all.iter().chain([&newest]).for_each(|id| assert_same(&world, &copy, *id));
}

#[test]
fn no_snapshot_is_in_the_target_before_all_it_needs() {
    let (world, ids) = scene();
    let copy = empty_copy(&world);
    let failures = Arc::new(AtomicUsize::new(0));
    let seen = failures.clone();
    // Looks at the target before each snapshot that is put: it must be complete by then.
    let watch = move |inner: &MemoryStorage, asked: Asked<'_>| {
        if let Asked::Put(file, bytes) = asked
            && file.kind == FileKind::Snapshot
        {
            let world = World::on(inner.fork());
            world.memory.plant(file, bytes.to_vec());
            let report = check::check(&world.cx(), &world.open(), ReadData::All).unwrap();
            seen.fetch_add(1 + 1000 * report.findings.len(), Ordering::SeqCst);
        }
        Ok(())
    };
    let target = open(Arc::new(Watched { inner: copy.memory.clone(), watch })).unwrap();
    sync::run(&copy.cx(), &[world.open()], &target, &ids).unwrap();
    assert_eq!(failures.load(Ordering::SeqCst), 3);
}

#[test]
fn two_copies_may_be_brought_into_step_with_each_other_at_once() {
    let (world, ids) = scene();
    let copy = empty_copy(&world);
    sync(&[&world], &copy, &ids).unwrap();
    // From here on each has what the other lacks.
    let here = back_up(&world.cx(), &world.open(), one("b", 2_000_000, 21)).unwrap().id;
    let there = back_up(&copy.cx(), &copy.open(), one("c", 2_000_000, 22)).unwrap().id;
    std::thread::scope(|scope| {
        let one = scope.spawn(|| sync(&[&world], &copy, &[here]).unwrap());
        let other = scope.spawn(|| sync(&[&copy], &world, &[there]).unwrap());
        assert_eq!(one.join().unwrap().snapshots, [here]);
        assert_eq!(other.join().unwrap().snapshots, [there]);
    });
    for side in [&world, &copy] {
        assert_clean(side);
        assert_eq!(snapshots(side).len(), 5);
    }
    [here, there].iter().for_each(|id| assert_same(&world, &copy, *id));
}

#[test]
fn two_syncs_into_one_copy_at_once_do_no_harm() {
    let (world, ids) = scene();
    let copy = empty_copy(&world);
    std::thread::scope(|scope| {
        let runs = [0, 1].map(|_| scope.spawn(|| sync(&[&world], &copy, &ids).unwrap()));
        runs.into_iter().for_each(|run| drop(run.join().unwrap()));
    });
    assert_clean(&copy);
    assert_eq!(copy.files(FileKind::Pack), world.files(FileKind::Pack));
    assert_eq!(snapshots(&copy), ids);
}

#[test]
fn another_repository_is_refused() {
    let (world, ids) = scene();
    let other = World::on(MemoryStorage::new());
    let storage = Arc::new(other.memory.clone());
    Repository::init(storage, PASSWORD, KdfCost::FAST, CHUNK_AVERAGE as u32, start()).unwrap();
    let before = other.memory.files();
    let error = sync(&[&world], &other, &ids).unwrap_err();
    assert!(matches!(error, Error::NotACopy { .. }), "{error}");
    assert_eq!(other.memory.files(), before);
}

#[test]
fn a_source_that_cannot_be_written_is_read_without_a_lock() {
    for failure in [Failure::Denied, Failure::Full] {
        let (world, ids) = scene();
        let copy = empty_copy(&world);
        let fault = Fault::new(Arc::new(world.memory.clone()), 1)
            .with(When::Calls(Verb::Put, None), Effect::Fail(failure))
            .with(When::Calls(Verb::Delete, None), Effect::Fail(failure));
        let source = open(Arc::new(fault)).unwrap();
        let synced = sync::run(&copy.cx(), &[source], &copy.open(), &ids).unwrap();
        assert_eq!((synced.snapshots, synced.left), (ids, vec![]));
        assert_clean(&copy);
    }
}

#[test]
fn packs_that_a_prune_takes_from_an_unlocked_source_are_found_where_they_are_now() {
    let (world, _) = scene();
    let folder = tempfile::tempdir().unwrap();
    // So many that no pack has only what is kept, whichever thread packs which.
    let each = |name: &str| (0..20).map(|number| folder.path().join(format!("{name}-{number}"))).collect::<Vec<_>>();
    for (seed, path) in (100..).zip(each("kept").into_iter().chain(each("gone"))) {
        std::fs::write(path, noise(12_000, seed)).unwrap();
    }
    let mixed = back_up(&world.cx(), &world.open(), FolderCapture::of(folder.path())).unwrap().id;
    each("gone").iter().for_each(|path| std::fs::remove_file(path).unwrap());
    let kept = back_up(&world.cx(), &world.open(), FolderCapture::of(folder.path())).unwrap().id;
    forget::forget(&world.cx(), &world.open(), &[mixed], forget::Why::Named).unwrap();
    let copy = empty_copy(&world);
    // Before the first whole pack is given, a prune that saw no lock packs everything anew and waits for nothing.
    let pruned = std::sync::Once::new();
    let trees = AtomicUsize::new(0);
    let watch = move |inner: &MemoryStorage, asked: Asked<'_>| match asked {
        Asked::Put(file, _) if file.kind == FileKind::Lock => {
            Err(StorageError::Denied { location: "memory".to_owned(), what: "read only".to_owned() })
        }
        // The two trees of the snapshot are read first.
        Asked::Get(file) if file.kind == FileKind::Pack && trees.fetch_add(1, Ordering::SeqCst) >= 2 => {
            pruned.call_once(|| {
                let world = World::on(inner.clone());
                let options = prune::Options { grace: Duration::ZERO, unused_percent_max: 0 };
                assert!(prune::prune(&world.cx(), &world.open(), options).unwrap().1.packs_deleted > 0);
            });
            Ok(())
        }
        _ => Ok(()),
    };
    let source = open(Arc::new(Watched { inner: world.memory.clone(), watch })).unwrap();
    let synced = sync::run(&copy.cx(), &[source], &copy.open(), &[kept]).unwrap();
    assert!(synced.blobs_repacked > 0, "there was no race: {synced:?}");
    assert_eq!((synced.snapshots, synced.incomplete), (vec![kept], vec![]));
    assert_clean(&copy);
    assert_same(&world, &copy, kept);
}

#[test]
fn a_source_that_is_being_pruned_is_left_out_and_a_target_that_is_is_an_error() {
    let (world, ids) = scene();
    let (copy, second) = (empty_copy(&world), world.fork());
    let lock = Lock::acquire(&world.cx(), &world.open(), Access::Exclusive).unwrap();
    let error = sync(&[&world], &copy, &ids).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    let synced = sync(&[&world, &second], &copy, &ids).unwrap();
    assert_eq!((synced.snapshots.len(), synced.left.len()), (3, 1), "the other source gives all");
    lock.release().unwrap();
    let copy = empty_copy(&world);
    let lock = Lock::acquire(&copy.cx(), &copy.open(), Access::Exclusive).unwrap();
    assert!(matches!(sync(&[&world], &copy, &ids), Err(Error::Locked { .. })));
    assert_eq!(world.files(FileKind::Lock), []);
    lock.release().unwrap();
}

#[test]
fn a_full_target_ends_the_run_and_nothing_is_moved_twice_when_there_is_room() {
    let (world, ids) = scene();
    let copy = empty_copy(&world);
    let fault = Arc::new(Fault::new(Arc::new(copy.memory.clone()), 1));
    fault.add(When::NthOf(3, Verb::Put, Some(FileKind::Pack)), Effect::Fail(Failure::Full));
    let target = open(fault.clone()).unwrap();
    let error = sync::run(&copy.cx(), &[world.open()], &target, &ids).unwrap_err();
    assert!(matches!(error, Error::Storage(StorageError::Full { .. })), "{error}");
    assert_clean(&copy);
    let there = copy.files(FileKind::Pack).len();
    let synced = sync(&[&world], &copy, &ids).unwrap();
    assert_eq!(synced.packs_moved + there, world.files(FileKind::Pack).len());
    assert_eq!(synced.packs_there, there);
    assert_clean(&copy);
}

#[test]
fn a_sync_can_be_cancelled() {
    let (world, ids) = scene();
    let big = back_up(&world.cx(), &world.open(), one("b", 40 << 20, 9)).unwrap().id;
    let wanted: Vec<_> = ids.into_iter().chain([big]).collect();
    for puts in [1, 3, 5] {
        let copy = empty_copy(&world);
        let (cancel, asked, cancelled) =
            (copy.cancel.clone(), AtomicUsize::new(0), Arc::new(std::sync::OnceLock::new()));
        let instant = cancelled.clone();
        let watch = move |_: &MemoryStorage, call: Asked<'_>| {
            if matches!(call, Asked::Put(file, _) if file.kind == FileKind::Pack)
                && asked.fetch_add(1, Ordering::SeqCst) + 1 == puts
            {
                instant.get_or_init(Instant::now);
                cancel.cancel();
            }
            Ok(())
        };
        let target = open(Arc::new(Watched { inner: copy.memory.clone(), watch })).unwrap();
        let error = sync::run(&copy.cx(), &[world.open()], &target, &wanted).unwrap_err();
        assert!(matches!(error, Error::Cancelled), "{error:?}");
        assert!(cancelled.get().unwrap().elapsed() < Duration::from_secs(2));
        assert_eq!(world.files(FileKind::Lock), []);
        assert_clean(&World::on(copy.memory.fork()));
    }
}

#[test]
fn copies_that_follow_a_backup_are_brought_into_step_without_moving_a_pack_twice() {
    let (world, ids) = scene();
    let copies = [empty_copy(&world), empty_copy(&world)];
    copies.iter().for_each(|copy| drop(sync(&[&world], copy, &ids).unwrap()));
    let records: Vec<_> = copies.iter().map(|copy| Arc::new(Record::new(Arc::new(copy.memory.clone())))).collect();
    let storages = records.iter().map(|record| record.clone() as Arc<dyn repository::Storage>);
    let (follow, followers) = Follow::start(Arc::new(world.memory.clone()), storages, &world.cancel);
    let before = world.files(FileKind::Pack).len();
    let id = back_up(&world.cx(), &open(Arc::new(follow)).unwrap(), one("b", 54 << 20, 9)).unwrap().id;
    let packs = world.files(FileKind::Pack).len() - before;
    for ((follower, copy), record) in followers.into_iter().zip(&copies).zip(&records) {
        let followed = follower.finish();
        assert_eq!(followed.packs.len() + followed.dropped, packs);
        assert!(followed.failure.is_none() && !followed.packs.is_empty());
        assert_eq!(snapshots(copy), ids, "no snapshot follows by itself");
        let target = open(record.clone()).unwrap();
        let synced = sync::run(&copy.cx(), &[world.open()], &target, &[id]).unwrap();
        assert_eq!((synced.packs_there, synced.packs_moved), (followed.packs.len(), followed.dropped));
        assert_eq!(count(&record.take(), Verb::Put, FileKind::Pack), packs, "each once");
        assert_clean(copy);
        assert_same(&world, copy, id);
    }
}
