//! Holds a storage to a bandwidth, so that a backup leaves room on the line for others.
//!
//! Put it below [`super::retry::Retry`], so that what is sent twice counts twice.

use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::{File, FileKind, Listed, Storage, StorageError};
use crate::{Cancel, Clock};

/// A storage whose content crosses the line no faster than it may. Listings and deletions are small and not counted.
///
/// Only packs wait. All else is small and counted, so that packs wait for it, and goes at once: a lock that queued behind
/// packs would be renewed too late, and others would take it for dead.
///
/// Files are handed over whole, so the rate holds on average over files, not within one. A cancelled run no longer
/// waits: what it still has to do, such as removing its lock, goes through at once. Where only a part of the run is
/// ([`Storage::give_up_with`]), packs of that part that wait are not put.
pub struct Limit {
    inner: Arc<dyn Storage>,
    lanes: Lanes,
    /// What the packs are of.
    part: Mutex<Option<Cancel>>,
}

impl Limit {
    /// Limits `inner` to `up` and `down` bytes a second; `None` is as fast as it goes.
    pub fn new(
        inner: Arc<dyn Storage>,
        up: Option<NonZeroU64>,
        down: Option<NonZeroU64>,
        clock: Arc<dyn Clock>,
        cancel: Cancel,
    ) -> Self {
        Self { inner, lanes: Lanes::new(up, down, clock, cancel), part: Mutex::default() }
    }
}

/// The line to a place, with what may pass each way.
pub(super) struct Lanes {
    up: Option<Bucket>,
    down: Option<Bucket>,
    clock: Arc<dyn Clock>,
    cancel: Cancel,
}

impl Lanes {
    /// In bytes a second each way; `None` is as fast as it goes.
    pub fn new(up: Option<NonZeroU64>, down: Option<NonZeroU64>, clock: Arc<dyn Clock>, cancel: Cancel) -> Self {
        let bucket = |rate: Option<NonZeroU64>| rate.map(|rate| Bucket::full(rate, clock.now()));
        Self { up: bucket(up), down: bucket(down), clock, cancel }
    }

    /// Waits until so many bytes may be sent.
    pub fn wait_up(&self, bytes: u64) {
        self.wait(&self.up, bytes, &self.cancel);
    }

    /// The same for bytes that are of no use once `part` of the run is cancelled: false then, unless all of it is.
    fn wait_up_for(&self, bytes: u64, part: &Cancel) -> bool {
        self.wait(&self.up, bytes, part);
        !part.is_cancelled() || self.cancel.is_cancelled()
    }

    /// Waits until so many bytes may be fetched.
    pub fn wait_down(&self, bytes: u64) {
        self.wait(&self.down, bytes, &self.cancel);
    }

    /// Counts bytes that are sent without waiting.
    fn charge_up(&self, bytes: u64) {
        self.charge(&self.up, bytes);
    }

    /// Counts bytes that were fetched already.
    fn charge_down(&self, bytes: u64) {
        self.charge(&self.down, bytes);
    }

    fn charge(&self, bucket: &Option<Bucket>, bytes: u64) {
        if let Some(bucket) = bucket {
            bucket.take(bytes, self.clock.now());
        }
    }

    fn wait(&self, bucket: &Option<Bucket>, bytes: u64, cancel: &Cancel) {
        if let Some(bucket) = bucket {
            let pause = bucket.take(bytes, self.clock.now());
            cancel.pause(&*self.clock, pause);
        }
    }
}

/// A token bucket that holds one second's worth of bytes and may go into debt, since a file can be larger than that.
struct Bucket {
    bytes_per_second: f64,
    level: Mutex<(f64, Timestamp)>,
}

impl Bucket {
    fn full(rate: NonZeroU64, now: Timestamp) -> Self {
        let bytes_per_second = rate.get() as f64;
        Self { bytes_per_second, level: Mutex::new((bytes_per_second, now)) }
    }

    /// Takes `bytes` out and says how long to wait before they may pass: until the debts of those before are paid.
    fn take(&self, bytes: u64, now: Timestamp) -> Duration {
        let mut level = self.level.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (tokens, filled_at) = &mut *level;
        let elapsed = now.duration_since(*filled_at).as_secs_f64().max(0.0);
        *tokens = (*tokens + elapsed * self.bytes_per_second).min(self.bytes_per_second);
        // The clock may be set back, in which case time begins anew: else it would stand still until it caught up.
        *filled_at = now;
        let debt = -tokens.min(0.0);
        *tokens -= bytes as f64;
        Duration::try_from_secs_f64(debt / self.bytes_per_second).unwrap_or(Duration::MAX)
    }
}

impl Storage for Limit {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn put(&self, file: File, bytes: &[u8]) -> Result<(), StorageError> {
        let length = bytes.len() as u64;
        // As it is when the pack comes: by its turn, another part may have begun.
        let part = self.part.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match part.filter(|_| file.kind == FileKind::Pack) {
            Some(part) if !self.lanes.wait_up_for(length, &part) => {
                let what = format!("write {file}: given up while it waited for the line");
                return Err(StorageError::Permanent { location: self.location(), what });
            }
            Some(_) => {}
            None if file.kind == FileKind::Pack => self.lanes.wait_up(length),
            None => self.lanes.charge_up(length),
        }
        self.inner.put(file, bytes)
    }

    fn get(&self, file: File, range: Option<Range<u64>>) -> Result<Vec<u8>, StorageError> {
        // How much comes shows only when it is here: it is charged to whoever comes next.
        if file.kind == FileKind::Pack {
            self.lanes.wait_down(0);
        }
        let bytes = self.inner.get(file, range)?;
        self.lanes.charge_down(bytes.len() as u64);
        Ok(bytes)
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, StorageError> {
        self.inner.list(kind)
    }

    fn modified(&self, file: File) -> Result<Option<Timestamp>, StorageError> {
        self.inner.modified(file)
    }

    fn give_up_with(&self, part: Option<&Cancel>) {
        *self.part.lock().unwrap_or_else(PoisonError::into_inner) = part.cloned();
        self.inner.give_up_with(part);
    }

    fn delete(&self, file: File) -> Result<(), StorageError> {
        self.inner.delete(file)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use super::*;
    use crate::Id;
    use crate::clock::SimulatedClock;
    use crate::storage::conformance;
    use crate::storage::memory::MemoryStorage;

    fn limited(up: u64, down: u64) -> (Limit, Arc<SimulatedClock>, Cancel) {
        let clock = Arc::new(SimulatedClock::new(Timestamp::UNIX_EPOCH));
        let cancel = Cancel::new();
        let (up, down) = (NonZeroU64::new(up), NonZeroU64::new(down));
        let storage = Limit::new(Arc::new(MemoryStorage::new()), up, down, clock.clone(), cancel.clone());
        (storage, clock, cancel)
    }

    fn pack(name: u32) -> File {
        File::pack(Id::of(&name.to_le_bytes()))
    }

    #[test]
    fn a_limited_storage_conforms() {
        conformance::run(&|| Arc::new(limited(1 << 20, 1 << 20).0));
    }

    #[test]
    fn what_is_put_keeps_to_the_rate_and_what_is_read_to_its_own() {
        let (storage, clock, _) = limited(1000, 200);
        for name in 0..10 {
            storage.put(pack(name), &[7; 3000]).unwrap();
        }
        // 30,000 bytes at 1000 a second, less the full bucket and the last file, whose debt nobody has paid yet.
        let sent = clock.now().as_second();
        assert!((26..=30).contains(&sent), "{sent} s");
        for name in 0..5 {
            storage.get(pack(name), None).unwrap();
            storage.get(pack(name), Some(10..1010)).unwrap();
        }
        let read = clock.now().as_second() - sent;
        assert!((94..=100).contains(&read), "{read} s for 20,000 bytes at 200 a second");
    }

    #[test]
    fn only_packs_wait_and_they_wait_for_all_else_too() {
        let (storage, clock, _) = limited(1000, 1000);
        storage.put(pack(1), &[7; 5000]).unwrap();
        for kind in FileKind::ALL.into_iter().filter(|kind| *kind != FileKind::Pack) {
            let file = File::new(kind, Id::of(b"small"));
            storage.put(file, &[7; 1000]).unwrap();
            storage.get(file, None).unwrap();
        }
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH, "a lock is renewed at once, whatever waits");
        storage.put(pack(2), &[7; 1000]).unwrap();
        assert_eq!(clock.now().as_second(), 4 + 7);
        storage.get(pack(2), None).unwrap();
        assert_eq!(clock.now().as_second(), 4 + 7, "their bytes came in the meantime");
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        let (storage, clock, _) = limited(0, 0);
        storage.put(pack(1), &[7; 1 << 20]).unwrap();
        storage.get(pack(1), None).unwrap();
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH);
    }

    #[test]
    fn time_that_went_by_fills_the_bucket_with_one_second_at_most() {
        let (storage, clock, _) = limited(1000, 0);
        clock.advance(Duration::from_secs(3600));
        for name in 0..4 {
            storage.put(pack(name), &[7; 1000]).unwrap();
        }
        assert_eq!(clock.now().as_second() - 3600, 2);
    }

    #[test]
    fn packs_of_a_part_of_the_run_that_is_given_up_do_not_go_out() {
        let (storage, clock, run) = limited(1, 1);
        let part = run.child();
        storage.give_up_with(Some(&part));
        storage.put(pack(1), &[7; 1 << 20]).unwrap();
        part.cancel();
        assert!(matches!(storage.put(pack(2), &[7; 1 << 20]), Err(StorageError::Permanent { .. })));
        storage.put(File::new(FileKind::Lock, Id::of(b"lock")), b"lock").unwrap();
        assert_eq!(storage.list(FileKind::Pack).unwrap().len(), 1);
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH, "nor does anybody wait for them");
        storage.give_up_with(None);
        storage.put(pack(3), &[7; 1]).unwrap();
        assert!(clock.now().as_second() > 1 << 20, "what comes next keeps to the rate");
    }

    /// A clock at whose first tick what was under way is given up, and something else begins.
    struct Interrupting(Weak<Limit>, Cancel);

    impl Clock for Interrupting {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }
        fn sleep(&self, _: Duration) {
            self.0.upgrade().unwrap().give_up_with(None);
            self.1.cancel();
        }
    }

    #[test]
    fn a_pack_that_waits_is_given_up_with_what_was_under_way_when_it_came() {
        let run = Cancel::new();
        let part = run.child();
        let storage = Arc::new_cyclic(|storage: &Weak<Limit>| {
            let clock = Arc::new(Interrupting(storage.clone(), part.clone()));
            Limit::new(Arc::new(MemoryStorage::new()), NonZeroU64::new(1), None, clock, run.clone())
        });
        storage.give_up_with(Some(&part));
        storage.put(pack(1), &[7; 1000]).unwrap();
        assert!(matches!(storage.put(pack(2), b"abc"), Err(StorageError::Permanent { .. })));
        assert_eq!(storage.list(FileKind::Pack).unwrap().len(), 1);
    }

    #[test]
    fn a_cancelled_run_does_not_wait_and_can_still_remove_its_lock() {
        let (storage, clock, cancel) = limited(1, 1);
        storage.put(pack(1), &[7; 1 << 20]).unwrap();
        cancel.cancel();
        storage.put(pack(2), &[7; 1 << 20]).unwrap();
        storage.delete(pack(2)).unwrap();
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH);
    }
}
