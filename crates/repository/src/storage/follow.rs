//! Hands the packs of a running backup on to other copies, so that they are nearly in step when it ends.
//!
//! A courtesy and never a duty: a copy that keeps up is waited for, a moment, since to read a pack again costs more; one that
//! once did not is waited for no more. A pack that a copy has no room for is dropped, and so is all that comes after a
//! failure; `sync` finds in the listing what got there, and brings the rest. So a copy at a hundredth of the speed costs the
//! backup neither time nor memory.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use jiff::Timestamp;

use super::{File, FileKind, Listed, Storage, StorageError};
use crate::limits::{FOLLOWER_PATIENCE, PACKS_FOLLOWING};
use crate::{Cancel, Id};

/// The first copy's storage. Each pack put here goes on to the followers once it is durable.
///
/// Put it above [`super::retry::Retry`], and give it followers that have their own.
pub struct Follow {
    inner: Arc<dyn Storage>,
    lanes: Vec<Arc<Lane>>,
}

/// A copy that follows; its worker runs until [`Follower::finish`].
pub struct Follower {
    lane: Arc<Lane>,
    worker: JoinHandle<(Put, Option<StorageError>)>,
}

/// The packs that a copy got, and their bytes.
type Put = (Vec<Id>, u64);

/// What a copy got.
#[derive(Debug)]
pub struct Followed {
    /// Packs that it has now.
    pub packs: Vec<Id>,
    /// Their bytes.
    pub bytes: u64,
    /// Packs that it had no room for, or that came after its failure.
    pub dropped: usize,
    /// What ended it early.
    pub failure: Option<StorageError>,
}

struct Lane {
    copy: Arc<dyn Storage>,
    /// `None` once the copy follows no longer.
    queue: Mutex<Option<Sender<Pack>>>,
    dropped: AtomicUsize,
    /// It had no room in time once.
    lags: AtomicBool,
}

type Pack = (File, Arc<Vec<u8>>);

impl Lane {
    fn queue(&self) -> MutexGuard<'_, Option<Sender<Pack>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follow {
    /// Lets each of `copies` follow what is put into `inner`, on a thread of its own. Each has [`PACKS_FOLLOWING`] packs
    /// waiting at most, and one under way.
    pub fn start(
        inner: Arc<dyn Storage>,
        copies: impl IntoIterator<Item = Arc<dyn Storage>>,
        cancel: &Cancel,
    ) -> (Self, Vec<Follower>) {
        let followers: Vec<_> = copies
            .into_iter()
            .map(|copy| {
                let (send, packs) = bounded(PACKS_FOLLOWING);
                let queue = Mutex::new(Some(send));
                let (dropped, lags) = (AtomicUsize::new(0), AtomicBool::new(false));
                let lane = Arc::new(Lane { copy: copy.clone(), queue, dropped, lags });
                // Weak: a queue that its own worker held open would never end.
                let (cancel, own) = (cancel.clone(), Arc::downgrade(&lane));
                let worker = std::thread::spawn(move || follow(&*copy, &packs, &cancel, &own));
                Follower { lane, worker }
            })
            .collect();
        let lanes = followers.iter().map(|follower| follower.lane.clone()).collect();
        (Self { inner, lanes }, followers)
    }

    fn hand_on(&self, file: File, bytes: &[u8]) {
        let mut shared: Option<Arc<Vec<u8>>> = None;
        for lane in &self.lanes {
            let queue = lane.queue().clone();
            let patience = if lane.lags.load(Ordering::SeqCst) { Duration::ZERO } else { FOLLOWER_PATIENCE };
            // Only packs for which there may be room are copied.
            let sent = queue.filter(|queue| !patience.is_zero() || !queue.is_full()).is_some_and(|queue| {
                let bytes = shared.get_or_insert_with(|| Arc::new(bytes.to_vec())).clone();
                queue.send_timeout((file, bytes), patience).is_ok()
            });
            if !sent {
                lane.lags.store(true, Ordering::SeqCst);
                lane.dropped.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

impl Follower {
    /// Lets the packs that wait be put, and says what the copy got. One that is slow takes its time here, so finish
    /// followers on threads of their own where the others are not to wait.
    pub fn finish(self) -> Followed {
        drop(self.lane.queue().take());
        let ((packs, bytes), failure) = self.worker.join().unwrap_or_default();
        Followed { packs, bytes, dropped: self.lane.dropped.load(Ordering::SeqCst), failure }
    }
}

/// Puts packs until the queue ends, the run is cancelled or the copy fails.
fn follow(
    copy: &dyn Storage,
    packs: &Receiver<Pack>,
    cancel: &Cancel,
    lane: &Weak<Lane>,
) -> (Put, Option<StorageError>) {
    let (mut put, mut bytes_put) = (Vec::new(), 0);
    let mut failure = None;
    let count_dropped = || {
        if let Some(lane) = lane.upgrade() {
            lane.dropped.fetch_add(1, Ordering::SeqCst);
        }
    };
    for (file, bytes) in packs {
        if cancel.is_cancelled() || failure.is_some() {
            count_dropped();
            continue;
        }
        match copy.put(file, &bytes) {
            // The name is the hash of the content, so what is there is the same pack.
            Ok(()) | Err(StorageError::AlreadyExists { .. }) => {
                put.push(file.id);
                bytes_put += bytes.len() as u64;
            }
            Err(error) => {
                failure = Some(error);
                count_dropped();
                // Nothing more is copied for it.
                if let Some(lane) = lane.upgrade() {
                    drop(lane.queue().take());
                }
            }
        }
    }
    ((put, bytes_put), failure)
}

impl Storage for Follow {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn put(&self, file: File, bytes: &[u8]) -> Result<(), StorageError> {
        self.inner.put(file, bytes)?;
        if file.kind == FileKind::Pack {
            self.hand_on(file, bytes);
        }
        Ok(())
    }

    fn get(&self, file: File, range: Option<Range<u64>>) -> Result<Vec<u8>, StorageError> {
        self.inner.get(file, range)
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, StorageError> {
        self.inner.list(kind)
    }

    fn modified(&self, file: File) -> Result<Option<Timestamp>, StorageError> {
        self.inner.modified(file)
    }

    fn keep_near(&self, file: File, bytes: Option<&[u8]>) {
        self.inner.keep_near(file, bytes);
    }

    fn give_up_with(&self, part: Option<&Cancel>) {
        self.inner.give_up_with(part);
        for lane in &self.lanes {
            // A pack that no index of this place will name helps no copy. One that follows no longer has a lock of its own.
            let queue = lane.queue();
            if queue.is_some() {
                lane.copy.give_up_with(part);
            }
        }
    }

    fn delete(&self, file: File) -> Result<(), StorageError> {
        self.inner.delete(file)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;
    use crate::clock::SimulatedClock;
    use crate::storage::conformance;
    use crate::storage::fault::{Effect, Failure, Fault, When};
    use crate::storage::limit::Limit;
    use crate::storage::memory::MemoryStorage;
    use crate::storage::record::Verb;
    use crate::storage::watched::{Asked, Watched};

    fn pack(name: u32) -> File {
        File::pack(Id::of(&name.to_le_bytes()))
    }

    fn start(copies: Vec<Arc<dyn Storage>>, cancel: &Cancel) -> (MemoryStorage, Follow, Vec<Follower>) {
        let first = MemoryStorage::new();
        let (follow, followers) = Follow::start(Arc::new(first.clone()), copies, cancel);
        (first, follow, followers)
    }

    #[test]
    fn a_followed_storage_conforms() {
        conformance::run(&|| Arc::new(start(vec![Arc::new(MemoryStorage::new())], &Cancel::new()).1));
    }

    #[test]
    fn packs_go_on_and_nothing_else_does() {
        let copies = [MemoryStorage::new(), MemoryStorage::new()];
        let (first, follow, followers) =
            start(copies.iter().map(|copy| Arc::new(copy.clone()) as Arc<dyn Storage>).collect(), &Cancel::new());
        for kind in FileKind::ALL {
            follow.put(File::new(kind, Id::of(b"a")), b"abc").unwrap();
        }
        assert_eq!(first.files().len(), FileKind::ALL.len());
        // One that is there already was handed on by whoever put it.
        follow.put(File::pack(Id::of(b"a")), b"abc").unwrap_err();
        for (follower, copy) in followers.into_iter().zip(&copies) {
            let followed = follower.finish();
            assert_eq!((followed.packs, followed.dropped), (vec![Id::of(b"a")], 0));
            assert_eq!(copy.files(), [File::pack(Id::of(b"a"))]);
        }
        follow.put(pack(1), b"later").unwrap();
        assert!(copies.iter().all(|copy| copy.files().len() == 1), "what is finished follows no longer");
    }

    /// A place that says which file is put, and waits for a signal before each.
    fn slow(inner: MemoryStorage, signal: Receiver<()>, begun: Sender<File>) -> Arc<dyn Storage> {
        let watch = move |_: &MemoryStorage, asked: Asked<'_>| -> Result<(), StorageError> {
            if let Asked::Put(file, _) = asked {
                let _ = begun.send(file);
                let _ = signal.recv();
            }
            Ok(())
        };
        Arc::new(Watched { inner, watch })
    }

    #[test]
    fn a_copy_that_stands_still_holds_up_nobody_and_keeps_few_packs_in_memory() {
        let (held_up, quick) = (MemoryStorage::new(), MemoryStorage::new());
        let (go, signal) = crossbeam_channel::unbounded();
        let (begun, began) = crossbeam_channel::unbounded();
        let copies: Vec<Arc<dyn Storage>> = vec![slow(held_up.clone(), signal, begun), Arc::new(quick.clone())];
        let (first, follow, followers) = start(copies, &Cancel::new());
        follow.put(pack(0), &[0; 1000]).unwrap();
        assert_eq!(began.recv().unwrap(), pack(0));
        // The slow one has begun with the first and does not go on. If anybody waited for it for long, this would never end.
        for name in 1..50 {
            follow.put(pack(name), &[0; 1000]).unwrap();
        }
        assert_eq!((first.files().len(), held_up.files().len()), (50, 0));
        let dropped = followers[0].lane.dropped.load(Ordering::SeqCst);
        assert_eq!(dropped, 50 - 1 - PACKS_FOLLOWING, "one is under way, few wait");
        drop(go);
        let followed: Vec<_> = followers.into_iter().map(Follower::finish).collect();
        let begun: Vec<Id> = (0..=PACKS_FOLLOWING as u32).map(|name| pack(name).id).collect();
        assert_eq!(followed[0].packs, begun);
        assert_eq!(followed[1].packs.len() + followed[1].dropped, 50);
        assert_eq!(quick.files().len(), followed[1].packs.len());
    }

    #[test]
    fn a_copy_that_fails_gets_no_more_and_says_why() {
        let memory = MemoryStorage::new();
        let fault =
            Fault::new(Arc::new(memory.clone()), 1).with(When::NthOf(2, Verb::Put, None), Effect::Fail(Failure::Full));
        let (_, follow, followers) = start(vec![Arc::new(fault)], &Cancel::new());
        let wait_for = |lane: &Lane, queued: usize| {
            while lane.queue().as_ref().is_some_and(|queue| queue.len() > queued) {
                std::thread::yield_now();
            }
        };
        for name in 0..20 {
            follow.put(pack(name), b"abc").unwrap();
            wait_for(&followers[0].lane, 0);
        }
        let followed = followers.into_iter().next().unwrap().finish();
        assert!(matches!(followed.failure, Some(StorageError::Full { .. })));
        assert_eq!((followed.packs, followed.dropped), (vec![pack(0).id], 19));
        assert_eq!(memory.files(), [pack(0)]);
    }

    #[test]
    fn a_cancelled_run_hands_nothing_on() {
        let memory = MemoryStorage::new();
        let cancel = Cancel::new();
        let (first, follow, followers) = start(vec![Arc::new(memory.clone())], &cancel);
        cancel.cancel();
        follow.put(pack(1), b"abc").unwrap();
        let followed = followers.into_iter().next().unwrap().finish();
        assert_eq!((followed.packs, followed.dropped), (vec![], 1));
        assert_eq!((first.files().len(), memory.files().len()), (1, 0));
    }

    #[test]
    fn what_is_given_up_in_the_first_copy_does_not_go_out_to_the_others() {
        let (memory, run) = (MemoryStorage::new(), Cancel::new());
        let clock = Arc::new(SimulatedClock::new(Timestamp::UNIX_EPOCH));
        let limit = Limit::new(Arc::new(memory.clone()), NonZeroU64::new(1), None, clock, run.clone());
        let (_, follow, followers) = start(vec![Arc::new(limit)], &run);
        let part = run.child();
        follow.give_up_with(Some(&part));
        part.cancel();
        follow.put(pack(1), b"abc").unwrap();
        let followed = followers.into_iter().next().unwrap().finish();
        assert!(matches!(followed.failure, Some(StorageError::Permanent { .. })), "{followed:?}");
        assert_eq!(memory.files(), []);
    }
}
