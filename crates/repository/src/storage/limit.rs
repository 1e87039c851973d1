//! Holds a storage to a bandwidth, so that a backup leaves room on the line for others.
//!
//! Put it below [`super::retry::Retry`], so that what is sent twice counts twice.

use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::{Arc, Mutex};
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
/// waits: what it still has to do, such as removing its lock, goes through at once.
pub struct Limit {
    inner: Arc<dyn Storage>,
    lanes: Lanes,
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
        Self { inner, lanes: Lanes::new(up, down, clock, cancel) }
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
        self.wait(&self.up, bytes);
    }

    /// Waits until so many bytes may be fetched.
    pub fn wait_down(&self, bytes: u64) {
        self.wait(&self.down, bytes);
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

    fn wait(&self, bucket: &Option<Bucket>, bytes: u64) {
        if let Some(bucket) = bucket {
            let pause = bucket.take(bytes, self.clock.now());
            self.cancel.pause(&*self.clock, pause);
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
        match file.kind {
            FileKind::Pack => self.lanes.wait_up(bytes.len() as u64),
            _ => self.lanes.charge_up(bytes.len() as u64),
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

    fn delete(&self, file: File) -> Result<(), StorageError> {
        self.inner.delete(file)
    }
}

#[cfg(test)]
mod tests {
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
    fn a_cancelled_run_does_not_wait_and_can_still_remove_its_lock() {
        let (storage, clock, cancel) = limited(1, 1);
        storage.put(pack(1), &[7; 1 << 20]).unwrap();
        cancel.cancel();
        storage.put(pack(2), &[7; 1 << 20]).unwrap();
        storage.delete(pack(2)).unwrap();
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH);
    }
}
