//! Asks a storage again when it failed in a way that may pass.
//!
//! The hard part is the answer that got lost. A put whose failure was reported may have been done all the same, so that
//! the next try finds the file in place; the same goes for a delete. Both are told apart from somebody else's work.
//!
//! And a failure that seemed to pass may be one of a single file: a disk reports a dead sector like a cable that fell
//! out. Where a file cannot be read but its place still answers, the failure is the file's own and permanent.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::archives::{ArchivePlace, ArchiveWriter, StoredArchive};
use super::{File, FileKind, Listed, Storage, StorageError};
use crate::limits::{FIRST_CONTACT_TRIES, RETRY_PAUSE_FIRST, RETRY_PAUSE_MAX, RETRY_PAUSES_TOTAL_MAX, STORAGE_TRIES};
use crate::{Cancel, Clock};

/// A storage that is asked again after [`StorageError::Transient`], with pauses that double and vary at random, so that
/// several clients of one server do not come back all at once.
///
/// It gives up after [`STORAGE_TRIES`] tries ([`FIRST_CONTACT_TRIES`] where the place never answered: it is more likely
/// away than flaky, and others wait for the news), with pauses of at most [`RETRY_PAUSES_TOTAL_MAX`] in all, or when the run is
/// cancelled, and then returns the last error. A cancelled run's calls are still tried once: it has a lock to remove. A
/// `get` that was given up is [`StorageError::Permanent`] where the place can still be listed.
pub struct Retry {
    inner: Arc<dyn Storage>,
    attempts: Attempts,
    /// Files whose reading was given up though the place answered. Their other parts are asked for once, so that a pack
    /// on dead sectors does not cost all pauses for each of its blobs.
    unreadable: Mutex<HashSet<File>>,
}

impl Retry {
    /// Retries what is asked of `inner`.
    pub fn new(inner: Arc<dyn Storage>, clock: Arc<dyn Clock>, cancel: Cancel) -> Self {
        Self { inner, attempts: Attempts::new(clock, cancel), unreadable: Mutex::default() }
    }

    fn unreadable(&self) -> MutexGuard<'_, HashSet<File>> {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the place itself can be reached. Keys are the shortest list that every repository has.
    fn answers(&self) -> bool {
        self.inner.list(FileKind::Key).is_ok()
    }

    /// Decides what it means that a file is there after an earlier try to put it failed: ours if it has our bytes.
    fn verify(&self, file: File, bytes: &[u8], exists: StorageError) -> Result<(), StorageError> {
        if self.inner.get(file, None)? == bytes { Ok(()) } else { Err(exists) }
    }
}

/// The tries of one place.
struct Attempts {
    clock: Arc<dyn Clock>,
    cancel: Cancel,
    /// The place has answered, with whatever.
    has_answered: AtomicBool,
}

impl Attempts {
    fn new(clock: Arc<dyn Clock>, cancel: Cancel) -> Self {
        Self { clock, cancel, has_answered: AtomicBool::new(false) }
    }

    /// Calls until there is an answer other than a transient failure. `call` is told whether it is called again.
    fn until_answered<T>(&self, call: impl FnMut(bool) -> Result<T, StorageError>) -> Result<T, StorageError> {
        self.until_answered_within(STORAGE_TRIES, call)
    }

    fn until_answered_within<T>(
        &self,
        tries: u32,
        mut call: impl FnMut(bool) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let mut pauses_left = RETRY_PAUSES_TOTAL_MAX;
        let mut retries = 0;
        loop {
            let error = match call(retries > 0) {
                Err(error @ StorageError::Transient { .. }) => error,
                answer => {
                    self.has_answered.store(true, Ordering::Relaxed);
                    return answer;
                }
            };
            let tries = if self.has_answered.load(Ordering::Relaxed) { tries } else { tries.min(FIRST_CONTACT_TRIES) };
            let pause = pause_after(retries).min(pauses_left);
            retries += 1;
            pauses_left -= pause;
            if retries >= tries || !self.cancel.pause(&*self.clock, pause) {
                return Err(error);
            }
        }
    }
}

/// The pause after so many retries: a random part, at least half, of the first pause doubled by each.
fn pause_after(retries: u32) -> Duration {
    let full = RETRY_PAUSE_FIRST.saturating_mul(1 << retries.min(16)).min(RETRY_PAUSE_MAX);
    // Without randomness the pause is merely not spread.
    let share = getrandom::u32().unwrap_or(u32::MAX);
    full / 2 + (full / 2).mul_f64(f64::from(share) / f64::from(u32::MAX))
}

impl Storage for Retry {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn put(&self, file: File, bytes: &[u8]) -> Result<(), StorageError> {
        self.attempts.until_answered(|again| match self.inner.put(file, bytes) {
            Err(exists @ StorageError::AlreadyExists { .. }) if again => self.verify(file, bytes, exists),
            answer => answer,
        })
    }

    fn get(&self, file: File, range: Option<Range<u64>>) -> Result<Vec<u8>, StorageError> {
        let tries = if self.unreadable().contains(&file) { 1 } else { STORAGE_TRIES };
        match self.attempts.until_answered_within(tries, |_| self.inner.get(file, range.clone())) {
            Err(StorageError::Transient { location, what })
                if !self.attempts.cancel.is_cancelled() && self.answers() =>
            {
                self.unreadable().insert(file);
                Err(StorageError::Permanent { location, what })
            }
            answer => answer,
        }
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, StorageError> {
        self.attempts.until_answered(|_| self.inner.list(kind))
    }

    fn modified(&self, file: File) -> Result<Option<Timestamp>, StorageError> {
        self.attempts.until_answered(|_| self.inner.modified(file))
    }

    fn give_up_with(&self, part: Option<&Cancel>) {
        self.inner.give_up_with(part);
    }

    fn delete(&self, file: File) -> Result<(), StorageError> {
        self.attempts.until_answered(|again| match self.inner.delete(file) {
            Err(StorageError::NotFound { .. }) if again => Ok(()),
            answer => answer,
        })
    }
}

/// The same for a place of archives: listings, readings and removals are asked again. A part that is written is not, since
/// what came before it is gone with its connection.
pub struct RetryArchives {
    inner: Arc<dyn ArchivePlace>,
    attempts: Attempts,
}

impl RetryArchives {
    /// Retries what is asked of `inner`.
    pub fn new(inner: Arc<dyn ArchivePlace>, clock: Arc<dyn Clock>, cancel: Cancel) -> Self {
        Self { inner, attempts: Attempts::new(clock, cancel) }
    }
}

impl ArchivePlace for RetryArchives {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn list(&self, folder: &str) -> Result<Vec<StoredArchive>, StorageError> {
        self.attempts.until_answered(|_| self.inner.list(folder))
    }

    fn create(&self, path: &str) -> Result<Box<dyn ArchiveWriter + '_>, StorageError> {
        self.attempts.until_answered(|_| self.inner.create(path))
    }

    fn read(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>, StorageError> {
        self.attempts.until_answered(|_| self.inner.read(path, range.clone()))
    }

    fn modified(&self, path: &str) -> Result<Option<Timestamp>, StorageError> {
        self.attempts.until_answered(|_| self.inner.modified(path))
    }

    fn delete(&self, path: &str) -> Result<(), StorageError> {
        self.attempts.until_answered(|_| self.inner.delete(path))
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::Id;
    use crate::clock::SimulatedClock;
    use crate::storage::conformance;
    use crate::storage::fault::{Effect, Failure, Fault, When};
    use crate::storage::memory::MemoryStorage;
    use crate::storage::record::{Record, Verb};

    const LOST: Effect = Effect::Fail(Failure::Transient);
    const ANSWER_LOST: Effect = Effect::LoseAnswer(Failure::Transient);

    /// From the inside out: memory, faults, a record of what reaches the faults, retries.
    struct Stack {
        memory: MemoryStorage,
        fault: Arc<Fault>,
        record: Arc<Record>,
        clock: Arc<SimulatedClock>,
        cancel: Cancel,
        retry: Retry,
    }

    fn stack() -> Stack {
        let memory = MemoryStorage::new();
        let fault = Arc::new(Fault::new(Arc::new(memory.clone()), 1));
        let record = Arc::new(Record::new(fault.clone()));
        let clock = Arc::new(SimulatedClock::new(Timestamp::UNIX_EPOCH));
        let cancel = Cancel::new();
        let retry = Retry::new(record.clone(), clock.clone(), cancel.clone());
        Stack { memory, fault, record, clock, cancel, retry }
    }

    fn file() -> File {
        File::pack(Id::of(b"file"))
    }

    #[test]
    fn what_is_asked_of_archives_is_asked_again_until_it_is_answered() {
        struct Flaky(std::sync::atomic::AtomicU32);
        impl ArchivePlace for Flaky {
            fn location(&self) -> String {
                "flaky".to_owned()
            }
            fn list(&self, _: &str) -> Result<Vec<StoredArchive>, StorageError> {
                match self.0.fetch_add(1, Ordering::Relaxed) {
                    2 => Ok(Vec::new()),
                    _ => Err(StorageError::Transient { location: self.location(), what: "list".to_owned() }),
                }
            }
            fn create(&self, path: &str) -> Result<Box<dyn ArchiveWriter + '_>, StorageError> {
                Err(StorageError::Permanent { location: self.location(), what: path.to_owned() })
            }
            fn read(&self, path: &str, _: Range<u64>) -> Result<Vec<u8>, StorageError> {
                self.create(path).map(|_| Vec::new())
            }
            fn delete(&self, path: &str) -> Result<(), StorageError> {
                self.create(path).map(drop)
            }
        }
        let clock = Arc::new(SimulatedClock::new(Timestamp::UNIX_EPOCH));
        let flaky = Arc::new(Flaky(std::sync::atomic::AtomicU32::new(0)));
        let place = RetryArchives::new(flaky.clone(), clock, Cancel::new());
        assert_eq!(place.list("").unwrap(), []);
        assert!(place.read("a", 0..1).is_err() && place.delete("a").is_err() && place.create("a").is_err());
        assert!(place.list("").is_err(), "it gives up in the end");
        assert_eq!(flaky.0.load(Ordering::Relaxed), 3 + STORAGE_TRIES);
    }

    #[test]
    fn a_retried_storage_conforms() {
        conformance::run(&|| Arc::new(stack().retry));
    }

    #[test]
    fn over_a_storage_that_loses_a_fifth_of_all_calls_or_answers_everything_gets_done() {
        let s = stack();
        s.fault.add(When::Percent(10), LOST);
        s.fault.add(When::Percent(10), ANSWER_LOST);
        let pack = |name: u32| File::pack(Id::of(&name.to_le_bytes()));
        for name in 0..200 {
            s.retry.put(pack(name), &name.to_le_bytes()).unwrap();
        }
        for name in (0..200).step_by(2) {
            s.retry.delete(pack(name)).unwrap();
        }
        for name in (1..200).step_by(2) {
            assert_eq!(s.retry.get(pack(name), None).unwrap(), name.to_le_bytes());
        }
        assert_eq!(s.retry.list(FileKind::Pack).unwrap().len(), 100);
        assert!(s.fault.calls() > 450, "only {} calls: none failed", s.fault.calls());
    }

    #[test]
    fn every_verb_is_tried_again_until_it_succeeds() {
        let s = stack();
        for failing in [1, 2, 4, 5, 7, 8, 10, 11] {
            s.fault.add(When::Nth(failing), LOST);
        }
        s.retry.put(file(), b"abc").unwrap();
        assert_eq!(s.retry.get(file(), Some(1..3)).unwrap(), b"bc");
        assert_eq!(s.retry.list(FileKind::Pack).unwrap().len(), 1);
        s.retry.delete(file()).unwrap();
        assert_eq!(s.fault.calls(), 12);
        assert_eq!(s.memory.files(), []);
    }

    #[test]
    fn what_will_not_pass_is_reported_at_once() {
        for failure in [Failure::Permanent, Failure::Full, Failure::Denied] {
            let s = stack();
            s.fault.add(When::After(0), Effect::Fail(failure));
            s.retry.put(file(), b"abc").unwrap_err();
            assert_eq!((s.fault.calls(), s.clock.now()), (1, Timestamp::UNIX_EPOCH));
        }
        let s = stack();
        assert!(matches!(s.retry.get(file(), None), Err(StorageError::NotFound { .. })));
        assert!(matches!(s.retry.delete(file()), Err(StorageError::NotFound { .. })));
        s.retry.put(file(), b"abc").unwrap();
        assert!(matches!(s.retry.put(file(), b"abc"), Err(StorageError::AlreadyExists { .. })));
        assert_eq!(s.record.calls().len(), 4);
    }

    #[test]
    fn it_gives_up_after_bounded_tries_and_time() {
        let s = stack();
        s.fault.add(When::After(1), LOST);
        s.retry.list(FileKind::Key).unwrap();
        assert!(matches!(s.retry.list(FileKind::Key), Err(StorageError::Transient { .. })));
        assert_eq!(s.fault.calls(), 1 + u64::from(STORAGE_TRIES));
        let waited = Duration::try_from(s.clock.now().duration_since(Timestamp::UNIX_EPOCH)).unwrap();
        assert!(waited > RETRY_PAUSE_MAX && waited <= RETRY_PAUSES_TOTAL_MAX, "{waited:?}");
    }

    #[test]
    fn a_place_that_never_answered_is_given_up_sooner() {
        let s = stack();
        s.fault.add(When::After(0), LOST);
        assert!(matches!(s.retry.list(FileKind::Key), Err(StorageError::Transient { .. })));
        assert_eq!(s.fault.calls(), u64::from(FIRST_CONTACT_TRIES));
        let waited = Duration::try_from(s.clock.now().duration_since(Timestamp::UNIX_EPOCH)).unwrap();
        assert!(waited <= Duration::from_secs(8), "{waited:?}");
    }

    #[test]
    fn a_file_that_cannot_be_read_in_a_place_that_answers_is_a_permanent_failure_of_that_file() {
        let s = stack();
        s.retry.put(file(), b"abc").unwrap();
        s.fault.add(When::Calls(Verb::Get, None), LOST);
        assert!(matches!(s.retry.get(file(), None), Err(StorageError::Permanent { .. })));
        assert_eq!(s.record.count(Verb::Get, FileKind::Pack), STORAGE_TRIES as usize);
        // Once is enough from now on.
        assert!(matches!(s.retry.get(file(), Some(0..1)), Err(StorageError::Permanent { .. })));
        assert_eq!(s.record.count(Verb::Get, FileKind::Pack), STORAGE_TRIES as usize + 1);
        s.fault.mend();
        assert_eq!(s.retry.get(file(), Some(0..1)).unwrap(), b"a");
        // Where nothing answers, it is the place.
        s.fault.add(When::After(0), LOST);
        assert!(matches!(s.retry.get(file(), None), Err(StorageError::Transient { .. })));
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_vary() {
        for retries in 0..40 {
            let full = RETRY_PAUSE_FIRST.as_secs_f64() * f64::from(retries).exp2();
            let full = Duration::from_secs_f64(full.min(RETRY_PAUSE_MAX.as_secs_f64()));
            let pauses: Vec<_> = (0..8).map(|_| pause_after(retries)).collect();
            assert!(pauses.iter().all(|pause| (full / 2..=full).contains(pause)), "{retries}: {pauses:?}");
            assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{pauses:?}");
        }
    }

    #[test]
    fn a_cancelled_run_is_tried_once_and_not_again() {
        let s = stack();
        s.retry.put(file(), b"abc").unwrap();
        s.cancel.cancel();
        s.fault.add(When::Nth(2), LOST);
        assert!(matches!(s.retry.delete(file()), Err(StorageError::Transient { .. })));
        assert_eq!(s.clock.now(), Timestamp::UNIX_EPOCH);
        s.retry.delete(file()).unwrap();
    }

    #[test]
    fn a_put_whose_answer_was_lost_is_recognised_as_done() {
        let s = stack();
        s.fault.add(When::Nth(1), ANSWER_LOST);
        s.retry.put(file(), b"abc").unwrap();
        let verbs: Vec<_> = s.record.calls().iter().map(|call| call.verb).collect();
        assert_eq!(verbs, [Verb::Put, Verb::Put, Verb::Get]);
        assert_eq!(s.memory.read(file()).unwrap(), b"abc");
    }

    #[test]
    fn a_put_that_failed_does_not_mistake_somebody_elses_file_for_its_own() {
        let s = stack();
        s.memory.plant(file(), b"other".to_vec());
        s.fault.add(When::Nth(1), LOST);
        assert!(matches!(s.retry.put(file(), b"abc"), Err(StorageError::AlreadyExists { .. })));
        assert_eq!(s.memory.read(file()).unwrap(), b"other");
    }

    #[test]
    fn a_put_is_verified_even_when_the_verification_fails_at_first() {
        let s = stack();
        s.fault.add(When::Nth(1), ANSWER_LOST);
        s.fault.add(When::NthOf(1, Verb::Get, None), LOST);
        s.retry.put(file(), b"abc").unwrap();
        assert_eq!(s.record.count(Verb::Get, FileKind::Pack), 2);
    }

    #[test]
    fn a_delete_whose_answer_was_lost_is_recognised_as_done() {
        let s = stack();
        s.memory.plant(file(), b"abc".to_vec());
        s.fault.add(When::Nth(1), ANSWER_LOST);
        s.retry.delete(file()).unwrap();
        assert_eq!((s.record.calls().len(), s.memory.files()), (2, vec![]));
    }
}
