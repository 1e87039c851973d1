//! Who may work beside whom, and whose lock is no longer anybody's.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use repository::clock::SimulatedClock;
use repository::format::key_file::KdfCost;
use repository::format::lock_file::{LockFile, Process};
use repository::format::receipt::{Receipt, Verdict};
use repository::lock::{Access, Lock, held, with_lock};
use repository::prune::{self, Options};
use repository::storage::Listed;
use repository::storage::fault::{Effect, Failure, Fault, When};
use repository::storage::limit::Limit;
use repository::storage::memory::MemoryStorage;
use repository::storage::record::Verb;
use repository::{
    Cancel, Clock as _, Error, File, FileKind, Id, Identity, Repository, RunCx, Storage, StorageError, check, forget,
    heal, sync,
};

use crate::support::*;

fn own_lock(world: &World) -> LockFile {
    LockFile {
        time: world.clock.now().into(),
        exclusive: true,
        hostname: Identity::of_process().hostname,
        username: "somebody".to_owned(),
        pid: rustix::process::getpid().as_raw_nonzero().get(),
        uid: Some(0),
        gid: Some(0),
        lifeboat: Process::current(),
    }
}

/// The number of a process that has ended.
fn dead_pid() -> i32 {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    i32::try_from(child.id()).unwrap()
}

/// Whether another program's lock keeps this one out. If not, it must have been removed.
fn keeps_out(world: &World, repository: &Arc<Repository>, lock: &LockFile) -> bool {
    let id = repository.save_json(FileKind::Lock, lock).unwrap();
    let ours = Lock::acquire(&world.cx(), repository, Access::Shared);
    let kept_out = match ours {
        Ok(ours) => {
            assert!(!held(repository, world.clock.now()).unwrap().iter().any(|held| held.id == id));
            ours.release().unwrap();
            false
        }
        Err(Error::Locked { holder }) => {
            assert!(holder.contains("somebody") && holder.contains(&lock.pid.to_string()), "{holder}");
            let _ = repository.storage().delete(File::new(FileKind::Lock, id));
            true
        }
        Err(error) => panic!("{error}"),
    };
    assert_eq!(world.files(FileKind::Lock), []);
    kept_out
}

#[test]
fn many_that_add_work_side_by_side_and_one_that_deletes_works_alone() {
    let world = World::new();
    let (one, other) = (world.open(), world.open());
    let shared = Lock::acquire(&world.cx(), &one, Access::Shared).unwrap();
    let beside = Lock::acquire(&world.cx(), &other, Access::Shared).unwrap();
    let refused = Lock::acquire(&world.cx(), &other, Access::Exclusive).err().unwrap();
    assert!(matches!(refused, Error::Locked { .. }), "{refused}");
    assert_eq!(world.files(FileKind::Lock).len(), 2, "a refused lock is not left behind");
    shared.release().unwrap();
    beside.release().unwrap();
    let alone = Lock::acquire(&world.cx(), &other, Access::Exclusive).unwrap();
    for access in [Access::Shared, Access::Exclusive] {
        assert!(matches!(Lock::acquire(&world.cx(), &one, access), Err(Error::Locked { .. })));
    }
    alone.check().unwrap();
    alone.release().unwrap();
    assert_eq!(world.files(FileKind::Lock), []);
}

#[test]
fn of_two_that_want_to_be_alone_never_both_are() {
    let world = World::new();
    let repositories = [world.open(), world.open()];
    let mut winners = 0;
    for _ in 0..100 {
        let alone = AtomicUsize::new(0);
        let barrier = Barrier::new(2);
        std::thread::scope(|scope| {
            for repository in &repositories {
                let (world, alone, barrier) = (&world, &alone, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let lock = Lock::acquire(&world.cx(), repository, Access::Exclusive);
                    alone.fetch_add(usize::from(lock.is_ok()), Ordering::SeqCst);
                    barrier.wait();
                    if let Ok(lock) = lock {
                        lock.release().unwrap();
                    }
                });
            }
        });
        let alone = alone.into_inner();
        assert!(alone <= 1);
        winners += alone;
        assert_eq!(world.files(FileKind::Lock), []);
    }
    println!("{winners} of 100 rounds had a winner");
}

#[test]
fn the_lock_of_a_process_that_ended_is_removed() {
    let world = World::new();
    let repository = world.open();
    let ours = own_lock(&world);
    assert!(keeps_out(&world, &repository, &ours), "this very process lives");
    // Its number was given to a newer process.
    let process = Process { start_ticks: 1, ..Process::current().unwrap() };
    assert!(!keeps_out(&world, &repository, &LockFile { lifeboat: Some(process), ..ours.clone() }));
    assert!(!keeps_out(&world, &repository, &LockFile { pid: dead_pid(), ..ours.clone() }));
    // restic's locks say less, but the host and the number are enough.
    let restic = LockFile { lifeboat: None, ..ours.clone() };
    assert!(keeps_out(&world, &repository, &restic));
    assert!(!keeps_out(&world, &repository, &LockFile { pid: dead_pid(), ..restic.clone() }));
    // On another host nobody knows.
    let elsewhere = LockFile { hostname: "elsewhere".to_owned(), pid: dead_pid(), ..restic };
    assert!(keeps_out(&world, &repository, &elsewhere));
    // In another container the number means another process.
    let process = Process { pid_namespace: "pid:[1]".to_owned(), ..Process::current().unwrap() };
    assert!(keeps_out(&world, &repository, &LockFile { pid: dead_pid(), lifeboat: Some(process), ..ours }));
}

#[test]
fn a_lock_from_before_a_reboot_is_removed_where_the_machine_is_surely_the_same() {
    let world = World::new();
    let repository = world.open();
    let earlier = Process { boot_id: "an earlier boot".to_owned(), ..Process::current().unwrap() };
    let lock = LockFile { lifeboat: Some(earlier), ..own_lock(&world) };
    // Only in the machine's own name space does the same host name prove the same machine.
    let is_machine = Process::current().unwrap().pid_namespace == "pid:[4026531836]";
    assert_eq!(keeps_out(&world, &repository, &lock), !is_machine);
    assert!(keeps_out(&world, &repository, &LockFile { hostname: "elsewhere".to_owned(), ..lock }));
}

#[test]
fn a_lock_that_was_not_renewed_for_half_an_hour_is_removed() {
    let world = World::new();
    let repository = world.open();
    let now = world.clock.now();
    let aged = |minutes: u64| LockFile {
        time: (now - Duration::from_secs(minutes * 60)).into(),
        hostname: "elsewhere".to_owned(),
        lifeboat: None,
        ..own_lock(&world)
    };
    assert!(keeps_out(&world, &repository, &aged(29)));
    assert!(!keeps_out(&world, &repository, &aged(31)));
    // Another machine's clock may be ahead; that makes nobody dead.
    let ahead = LockFile { time: (now + Duration::from_secs(3 * 3600)).into(), ..aged(0) };
    assert!(keeps_out(&world, &repository, &ahead));
}

#[test]
fn a_lock_is_released_whatever_comes_of_the_work() {
    let world = World::new();
    let repository = world.open();
    with_lock(&world.cx(), &repository, Access::Exclusive, |_| {
        assert_eq!(world.files(FileKind::Lock).len(), 1);
        Ok(())
    })
    .unwrap();
    let failed = with_lock(&world.cx(), &repository, Access::Exclusive, |_| {
        Err::<(), _>(Error::NotFound("nothing there".to_owned()))
    });
    assert_eq!(failed.unwrap_err().to_string(), "nothing there");
    assert_eq!(world.files(FileKind::Lock), []);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        with_lock(&world.cx(), &repository, Access::Exclusive, |_| -> Result<(), Error> { panic!("a bug") })
    }));
    assert_eq!(*panicked.unwrap_err().downcast_ref::<&str>().unwrap(), "a bug");
    assert_eq!(world.files(FileKind::Lock), []);
}

#[test]
fn releasing_what_another_program_removed_is_no_error() {
    let world = World::new();
    let repository = world.open();
    let lock = Lock::acquire(&world.cx(), &repository, Access::Shared).unwrap();
    for file in world.files(FileKind::Lock) {
        assert!(world.memory.remove(file));
    }
    lock.release().unwrap();
}

#[test]
fn a_host_that_may_not_delete_backs_up_and_syncs_and_one_that_may_prunes() {
    let world = World::new();
    let copy = World::on(MemoryStorage::new());
    Repository::init_copy(&world.open(), Arc::new(copy.memory.clone()), PASSWORD, KdfCost::FAST, start()).unwrap();
    let add_only = |world: &World| {
        let fault = Fault::new(Arc::new(world.memory.clone()), 1);
        fault.add(When::Calls(Verb::Delete, None), Effect::Fail(Failure::Denied));
        Arc::new(Repository::open(Arc::new(fault), PASSWORD).unwrap())
    };
    let (first, second) = (add_only(&world), add_only(&copy));
    let capture = |seed| StreamCapture::default().with("a", std::io::Cursor::new(noise(50_000, seed)));
    let ids: Vec<Id> = (1..4).map(|seed| back_up(&world.cx(), &first, capture(seed)).unwrap().id).collect();
    assert_eq!(world.files(FileKind::Lock).len(), 3, "they stay");
    let synced = sync::run(&world.cx(), std::slice::from_ref(&first), &second, &ids).unwrap();
    assert_eq!(synced.snapshots, ids);
    // This process lives, so its locks are held for all that others know; it alone knows better.
    assert!(matches!(forget::forget(&world.cx(), &first, &ids[..1], forget::Why::Named), Err(Error::Locked { .. })));
    for file in world.files(FileKind::Lock) {
        assert!(world.memory.remove(file));
    }
    let denied = forget::forget(&world.cx(), &first, &ids[..1], forget::Why::Named).unwrap_err();
    assert!(matches!(denied, Error::Storage(StorageError::Denied { .. })), "{denied}");
    for file in world.files(FileKind::Lock) {
        assert!(world.memory.remove(file));
    }
    forget::forget(&world.cx(), &world.open(), &ids[..1], forget::Why::Named).unwrap();
    prune::prune(&world.cx(), &world.open(), Options { grace: Duration::ZERO, unused_percent_max: 0 }).unwrap();
    assert!(world.contents(ids[2]).unwrap().problems.is_empty());
}

/// A repository whose clock goes on by half an hour and more when a file of this kind is about to be put, as where a put
/// waits for a slow line or the machine sleeps. Nobody renews the lock meanwhile.
fn slow_to_put(world: &Arc<World>, kind: FileKind) -> Arc<Repository> {
    let clock = world.clone();
    let watch = move |_: &MemoryStorage, call: Asked<'_>| -> Result<(), StorageError> {
        if matches!(call, Asked::Put(file, _) if file.kind == kind) {
            clock.clock.advance(Duration::from_secs(31 * 60));
        }
        Ok(())
    };
    open(Arc::new(Watched { inner: world.memory.clone(), watch })).unwrap()
}

#[test]
fn a_backup_whose_lock_has_gone_stale_writes_no_snapshot_and_no_index() {
    for (slow, index_files) in [(FileKind::Pack, 0), (FileKind::Index, 1)] {
        let world = Arc::new(World::new());
        let capture = StreamCapture::default().with("a", std::io::Cursor::new(noise(50_000, 1)));
        let lost = back_up(&world.cx(), &slow_to_put(&world, slow), capture).unwrap_err();
        assert!(matches!(lost, Error::LockLost), "{lost:?}");
        assert_eq!(world.files(FileKind::Snapshot), [], "others may have removed what it needs");
        assert_eq!(world.files(FileKind::Index).len(), index_files);
        assert_eq!(world.files(FileKind::Lock), []);
    }
}

#[test]
fn a_sync_whose_lock_has_gone_stale_writes_no_snapshot_and_no_index() {
    let source = World::new();
    let capture = StreamCapture::default().with("a", std::io::Cursor::new(noise(50_000, 1)));
    let id = back_up(&source.cx(), &source.open(), capture).unwrap().id;
    for (slow, index_files) in [(FileKind::Pack, 0), (FileKind::Index, 1)] {
        let copy = Arc::new(World::on(MemoryStorage::new()));
        Repository::init_copy(&source.open(), Arc::new(copy.memory.clone()), PASSWORD, KdfCost::FAST, start()).unwrap();
        let lost = sync::run(&copy.cx(), &[source.open()], &slow_to_put(&copy, slow), &[id]).unwrap_err();
        assert!(matches!(lost, Error::LockLost), "{lost:?}");
        assert_eq!((copy.files(FileKind::Snapshot), copy.files(FileKind::Index).len()), (vec![], index_files));
    }
}

#[test]
fn a_lock_is_as_old_as_the_time_that_stands_in_it() {
    let world = Arc::new(World::new());
    // Its file takes half an hour to arrive, and is dead to others when it does.
    let repository = slow_to_put(&world, FileKind::Lock);
    let lock = Lock::acquire(&world.cx(), &repository, Access::Shared).unwrap();
    assert!(matches!(lock.check(), Err(Error::LockLost)));
    lock.release().unwrap();
}

#[test]
fn a_lost_lock_ends_what_needs_it_and_not_the_run() {
    let world = World::new();
    let ended = with_lock(&world.cx(), &world.open(), Access::Shared, |cx| {
        // As the refresher does it.
        cx.cancel.cancel();
        world.clock.advance(Duration::from_secs(21 * 60));
        cx.cancel.check()
    });
    assert!(matches!(ended, Err(Error::LockLost)), "{ended:?}");
    assert!(!world.cancel.is_cancelled());
    with_lock(&world.cx(), &world.open(), Access::Shared, |cx| cx.cancel.check()).unwrap();
}

/// A place that writes down by its own clock when files come.
struct Dated {
    inner: MemoryStorage,
    clock: Arc<SimulatedClock>,
    written: Mutex<BTreeMap<File, Timestamp>>,
}

impl Storage for Dated {
    fn location(&self) -> String {
        self.inner.location()
    }
    fn put(&self, file: File, bytes: &[u8]) -> Result<(), StorageError> {
        self.written.lock().unwrap().insert(file, self.clock.now());
        self.inner.put(file, bytes)
    }
    fn get(&self, file: File, range: Option<std::ops::Range<u64>>) -> Result<Vec<u8>, StorageError> {
        self.inner.get(file, range)
    }
    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, StorageError> {
        self.inner.list(kind)
    }
    fn modified(&self, file: File) -> Result<Option<Timestamp>, StorageError> {
        Ok(self.written.lock().unwrap().get(&file).copied())
    }
    fn delete(&self, file: File) -> Result<(), StorageError> {
        self.inner.delete(file)
    }
}

#[test]
fn a_clock_that_runs_ahead_takes_no_living_lock_for_dead() {
    let world = World::new();
    let there = Arc::new(SimulatedClock::new(start()));
    let dated = Dated { inner: world.memory.clone(), clock: there.clone(), written: Mutex::default() };
    let repository = open(Arc::new(dated)).unwrap();
    let theirs = LockFile { hostname: "elsewhere".to_owned(), lifeboat: None, ..own_lock(&world) };
    let id = repository.save_json(FileKind::Lock, &theirs).unwrap();
    let (ahead, cancel) = (SimulatedClock::new(start() + Duration::from_secs(45 * 60)), Cancel::new());
    let cx = RunCx { clock: &ahead, cancel: &cancel, ..world.cx() };
    for access in [Access::Shared, Access::Exclusive] {
        assert!(matches!(Lock::acquire(&cx, &repository, access), Err(Error::Locked { .. })));
        assert_eq!(world.files(FileKind::Lock), [File::new(FileKind::Lock, id)]);
    }
    // It is dead once half an hour went by where it lies, too.
    there.advance(Duration::from_secs(31 * 60));
    Lock::acquire(&cx, &repository, Access::Exclusive).unwrap().release().unwrap();
    assert_eq!(world.files(FileKind::Lock), []);
}

/// A repository on a disk that cannot read this file.
fn cannot_read(world: &World, bad: File) -> Arc<Repository> {
    let watch = move |_: &MemoryStorage, asked: Asked<'_>| match asked {
        Asked::Get(file) if file == bad => {
            Err(StorageError::Permanent { location: "memory".to_owned(), what: "input/output error".to_owned() })
        }
        _ => Ok(()),
    };
    open(Arc::new(Watched { inner: world.memory.clone(), watch })).unwrap()
}

#[test]
fn a_lock_that_could_not_be_read_keeps_others_out_and_is_not_called_damaged() {
    let world = World::new();
    let id = world.open().save_json(FileKind::Lock, &own_lock(&world)).unwrap();
    let lock = File::new(FileKind::Lock, id);
    let repository = cannot_read(&world, lock);
    let Err(Error::Locked { holder }) = Lock::acquire(&world.cx(), &repository, Access::Shared) else {
        panic!("it may be an exclusive one");
    };
    assert!(
        holder.starts_with(&lock.to_string()) && holder.contains("could not be read: input/output error"),
        "{holder}"
    );
    assert!(!holder.contains("damaged") && !holder.contains("remove"), "{holder}");
    let report = check::check(&world.cx(), &repository, check::ReadData::None).unwrap();
    assert_eq!(report.findings[0].file, Some(lock));
    assert_eq!(report.findings[0].what, "it cannot be read: input/output error");
    assert_eq!(world.files(FileKind::Lock), [lock]);
}

#[test]
fn packs_that_wait_for_the_line_do_not_go_out_once_the_lock_is_lost() {
    let world = World::new();
    let clock = Arc::new(SimulatedClock::new(start()));
    let limit = Limit::new(Arc::new(world.memory.clone()), NonZeroU64::new(1), None, clock, world.cancel.clone());
    let repository = open(Arc::new(limit)).unwrap();
    let pack = |name: &[u8]| File::pack(Id::of(name));
    let put = |name: &[u8]| repository.storage().put(pack(name), &[7; 1000]).map_err(Error::from);
    let ended = with_lock(&world.cx(), &repository, Access::Shared, |cx| {
        put(b"in time")?;
        // As the refresher does it.
        cx.cancel.cancel();
        world.clock.advance(Duration::from_secs(21 * 60));
        put(b"too late")
    });
    assert!(matches!(ended, Err(Error::LockLost)), "{ended:?}");
    assert_eq!(world.files(FileKind::Pack), [pack(b"in time")]);
    assert_eq!(world.files(FileKind::Lock), []);
    with_lock(&world.cx(), &repository, Access::Shared, |_| put(b"under the next one")).unwrap();
    assert_eq!(world.files(FileKind::Pack).len(), 2);
}

#[test]
fn a_copy_by_another_name_does_not_lock_itself_out() {
    let world = World::new();
    let capture = StreamCapture::default().with("a", std::io::Cursor::new(noise(50_000, 1)));
    back_up(&world.cx(), &world.open(), capture).unwrap();
    let how = heal::How { read_data: true, some_away: false };
    let healed = heal::from_copies(&world.cx(), &world.open(), &[world.open()], how).unwrap();
    assert!(healed.is_whole(), "{healed:?}");
    assert_eq!(healed.left[0].what, "it is the same place, by another name");
    assert_eq!(world.files(FileKind::Lock), []);
}

#[test]
fn rules_remove_nothing_while_a_receipt_could_not_be_read() {
    let world = World::new();
    let capture = |seed| StreamCapture::default().with("a", std::io::Cursor::new(noise(50_000, seed)));
    let [old, new] = [1, 2].map(|seed| back_up(&world.cx(), &world.open(), capture(seed)).unwrap().id);
    let receipt = Receipt {
        snapshot: old,
        stack: "app".to_owned(),
        copy: "disk".to_owned(),
        level: 3,
        verdict: Verdict::Passed,
        partial: false,
        at: start().into(),
        rto_s: 1.0,
        rpo_s: 1.0,
        program_version: "test".to_owned(),
    };
    let receipt = File::new(FileKind::Receipt, world.open().save_json(FileKind::Receipt, &receipt).unwrap());
    let repository = cannot_read(&world, receipt);
    let refused = forget::forget(&world.cx(), &repository, &[old], forget::Why::Rules);
    assert!(matches!(refused, Err(Error::Unreadable { file, .. }) if file == receipt), "{refused:?}");
    assert_eq!((world.files(FileKind::Snapshot).len(), world.files(FileKind::Lock)), (2, vec![]));
    let report = check::check(&world.cx(), &repository, check::ReadData::None).unwrap();
    assert_eq!(report.findings.iter().map(|finding| finding.file).collect::<Vec<_>>(), [Some(receipt)]);
    // Nor is it taken for one that is of no use.
    assert_eq!(heal::index(&world.cx(), &repository, false).unwrap().receipts_removed, 0);
    // What somebody names may go, and so may all once it can be read.
    forget::forget(&world.cx(), &repository, &[new], forget::Why::Named).unwrap();
    assert_eq!(world.files(FileKind::Receipt), [receipt]);
    forget::forget(&world.cx(), &world.open(), &[old], forget::Why::Rules).unwrap();
    assert_eq!((world.files(FileKind::Snapshot), world.files(FileKind::Receipt)), (vec![], vec![]));
}
