//! A run that is asked to stop stops soon, says so, and leaves a valid repository without a lock.

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use repository::check::{self, ReadData};
use repository::lock::{Access, with_lock};
use repository::prune::{self, Options};
use repository::storage::memory::MemoryStorage;
use repository::{
    Cancel, Error, Event, Events, FileKind, Index, Repository, RunCx, StorageError, forget, heal, restore,
};

use crate::support::*;

const SOON: Duration = Duration::from_secs(2);

/// Bytes without end; the run is cancelled after some of them.
struct Endless {
    random: Random,
    left: usize,
    cancel: Cancel,
    cancelled: Arc<OnceLock<Instant>>,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = buffer.len().min(1 << 16);
        buffer[..length].copy_from_slice(&self.random.noise(length));
        self.left = self.left.saturating_sub(length);
        if self.left == 0 {
            self.cancelled.get_or_init(Instant::now);
            self.cancel.cancel();
        }
        Ok(length)
    }
}

fn assert_valid(world: &World, snapshots: usize) {
    assert_eq!(world.files(FileKind::Lock), []);
    let fresh = World::on(world.memory.fork());
    let report = check::check(&fresh.cx(), &fresh.open(), ReadData::All).unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(report.snapshots, snapshots);
}

#[test]
fn a_backup_of_an_endless_stream_can_be_cancelled_at_any_time() {
    for megabytes in [0, 1, 3, 20] {
        let world = World::new();
        let cancelled = Arc::new(OnceLock::new());
        let stream = Endless {
            random: Random(1),
            left: megabytes << 20,
            cancel: world.cancel.clone(),
            cancelled: cancelled.clone(),
        };
        let capture = StreamCapture::default().with("endless", stream);
        let error = back_up(&world.cx(), &world.open(), capture).unwrap_err();
        assert!(matches!(error, Error::Cancelled), "{megabytes}: {error:?}");
        assert!(cancelled.get().unwrap().elapsed() < SOON);
        assert_valid(&world, 0);
    }
}

#[test]
fn a_backup_cancelled_by_another_thread_says_that_it_was_cancelled() {
    // Many small files, so that cancelling meets every stage of the pipeline.
    for after in 0..8 {
        let world = World::new();
        let repository = world.open();
        let stream = |seed| std::io::Cursor::new(noise(300_000, seed));
        let capture =
            (100..160).fold(StreamCapture::default(), |capture, at| capture.with(&at.to_string(), stream(at)));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(15 * after));
                world.cancel.cancel();
            });
            match back_up(&world.cx(), &repository, capture) {
                Ok(_) => println!("it was done before it could be cancelled"),
                Err(error) => assert!(matches!(error, Error::Cancelled), "{error:?}"),
            }
        });
        let snapshots = world.files(FileKind::Snapshot).len();
        assert_valid(&world, snapshots);
    }
}

/// Cancels when the last byte was handed to the pipeline, so that what is queued is dropped there.
struct CancelAtTheEnd {
    left: AtomicUsize,
    cancel: Cancel,
}

impl Events for CancelAtTheEnd {
    fn emit(&self, event: Event) {
        if let Event::Bytes(bytes) = event
            && self.left.fetch_sub(bytes as usize, Ordering::SeqCst) == bytes as usize
        {
            self.cancel.cancel();
        }
    }
}

#[test]
fn a_backup_whose_last_chunks_were_dropped_says_that_it_was_cancelled() {
    const BYTES: usize = 3 << 20;
    let world = World::new();
    let repository = world.open();
    let events = CancelAtTheEnd { left: AtomicUsize::new(BYTES), cancel: world.cancel.clone() };
    let cx = RunCx { events: &events, ..world.cx() };
    let capture = StreamCapture::default().with("a", std::io::Cursor::new(noise(BYTES, 1)));
    let error = back_up(&cx, &repository, capture).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error:?}");
    assert_valid(&world, 0);
}

/// Some packs of data, on a storage that cancels the run when the nth of them is asked for.
fn cancelling(gets: usize) -> (World, Arc<Repository>, Backup, Arc<OnceLock<Instant>>) {
    let world = World::new();
    let capture = StreamCapture::default().with("a", std::io::Cursor::new(noise(20 << 20, 1)));
    let backup = back_up(&world.cx(), &world.open(), capture).unwrap();
    let (cancel, asked) = (world.cancel.clone(), AtomicUsize::new(0));
    let cancelled = Arc::new(OnceLock::new());
    let instant = cancelled.clone();
    let watch = move |_: &MemoryStorage, call: Asked<'_>| -> Result<(), StorageError> {
        if matches!(call, Asked::Get(file) if file.kind == FileKind::Pack)
            && asked.fetch_add(1, Ordering::SeqCst) + 1 == gets
        {
            instant.get_or_init(Instant::now);
            cancel.cancel();
        }
        Ok(())
    };
    let repository = open(Arc::new(Watched { inner: world.memory.clone(), watch })).unwrap();
    (world, repository, backup, cancelled)
}

fn assert_soon<T: std::fmt::Debug>(
    world: &World,
    repository: &Arc<Repository>,
    access: Access,
    cancelled: &OnceLock<Instant>,
    work: impl FnOnce(&RunCx<'_>) -> Result<T, Error>,
) {
    let error = with_lock(&world.cx(), repository, access, |cx| work(cx)).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error:?}");
    assert!(cancelled.get().unwrap().elapsed() < SOON);
}

#[test]
fn a_restore_can_be_cancelled() {
    for gets in [1, 3, 5] {
        let (world, repository, backup, cancelled) = cancelling(gets);
        let folder = tempfile::tempdir().unwrap();
        let options = restore::Options::for_this_process();
        assert_soon(&world, &repository, Access::Shared, &cancelled, |cx| {
            let index = Index::load(cx, &repository)?;
            restore::tree(cx, &repository, &index, &backup.snapshot.tree, folder.path(), options)
        });
        assert_valid(&world, 1);
    }
}

#[test]
fn a_check_can_be_cancelled() {
    let (world, repository, _, cancelled) = cancelling(2);
    assert_soon(&world, &repository, Access::Shared, &cancelled, |cx| check::check(cx, &repository, ReadData::All));
    assert_valid(&world, 1);
}

#[test]
fn a_prune_can_be_cancelled_while_it_packs_anew() {
    // The gets of the planning are some trees; the twentieth is one of a blob to be packed anew.
    let (world, repository, backup, cancelled) = cancelling(20);
    let half = StreamCapture::default().with("a", std::io::Cursor::new(noise(10 << 20, 1)));
    let half = back_up(&world.cx(), &world.open(), half).unwrap();
    forget::forget(&world.cx(), &world.open(), &[backup.id], forget::Why::Named).unwrap();
    let options = Options { grace: Duration::ZERO, unused_percent_max: 0 };
    let error = prune::prune(&world.cx(), &repository, options).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error:?}");
    assert!(cancelled.get().unwrap().elapsed() < SOON);
    assert_valid(&world, 1);
    let fresh = World::on(world.memory.fork());
    assert!(fresh.contents(half.id).unwrap().files["a"] == noise(10 << 20, 1));
}

#[test]
fn a_run_that_is_cancelled_before_it_begins_changes_nothing() {
    let world = World::new();
    let repository = world.open();
    let before = world.memory.files();
    world.cancel.cancel();
    let capture = StreamCapture::default().with("a", std::io::Cursor::new(b"a".to_vec()));
    assert!(matches!(back_up(&world.cx(), &repository, capture), Err(Error::Cancelled)));
    assert!(matches!(prune::prune(&world.cx(), &repository, Options::default()), Err(Error::Cancelled)));
    assert_eq!(world.memory.files(), before);
}

#[test]
fn a_heal_from_another_copy_can_be_cancelled() {
    for gets in [1, 3] {
        let (world, repository, _, cancelled) = cancelling(gets);
        let other = World::on(world.memory.fork());
        let hurt = world.files(FileKind::Pack)[0];
        assert!(world.memory.flip(hurt, 50));
        let error = heal::from_copies(
            &world.cx(),
            &repository,
            &[other.open()],
            heal::How { read_data: true, some_away: false },
        )
        .unwrap_err();
        assert!(matches!(error, Error::Cancelled), "{error:?}");
        assert!(cancelled.get().unwrap().elapsed() < SOON);
        assert_eq!((world.files(FileKind::Lock), other.files(FileKind::Lock)), (vec![], vec![]));
        let fresh = World::on(world.memory.fork());
        assert!(
            heal::from_copies(
                &fresh.cx(),
                &fresh.open(),
                &[other.open()],
                heal::How { read_data: true, some_away: false }
            )
            .unwrap()
            .is_whole()
        );
        assert_valid(&fresh, 1);
    }
}
