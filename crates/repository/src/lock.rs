//! Locks, compatible with restic's: many writers that only add, or one that deletes.
//!
//! The protocol is "write, then look": a lock is written first and the others are listed after it. On a storage whose
//! listings show every finished write (all that Lifeboat supports), of two programs at least the later one sees the
//! other, so both never go on. restic waits 200 ms before its second look for the sake of older stores; a lock of ours
//! is in place before we look, so its second look finds it (`docs/design/locks.md`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;

use crate::format::lock_file::{LockFile, Process};
use crate::limits::{LOCK_REFRESH, LOCK_STALE, LOCK_TRUSTED};
use crate::{Cancel, Clock, Error, Event, File, FileKind, Id, Identity, Repository, RunCx, StorageError};

/// How a lock is to be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Beside others that only add: backup.
    Shared,
    /// Alone: forget, prune.
    Exclusive,
}

/// A lock that is held and renewed until [`Lock::release`].
pub struct Lock<'a> {
    repository: Arc<Repository>,
    state: Arc<State>,
    clock: &'a dyn Clock,
    refresher: Option<JoinHandle<()>>,
}

struct State {
    /// The lock file at the moment; changes at each renewal.
    id: Mutex<Id>,
    /// The time that stands in it. Others go by that, and not by when the file had arrived.
    renewed: Mutex<Timestamp>,
    stop: Mutex<bool>,
    stopped: Condvar,
    lost: AtomicBool,
}

impl State {
    /// How old the lock is to others; no age if the clock was set back.
    fn age(&self, now: Timestamp) -> Duration {
        let renewed = *self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::try_from(now.duration_since(renewed)).unwrap_or_default()
    }

    /// Puts a new lock file in the place of the one at the moment. Fails with [`Error::LockLost`] where that one may have
    /// been taken for dead before the new one had arrived: a machine slept, or a put took very long. Going on would hide it.
    fn renew(&self, repository: &Repository, file: &mut LockFile, clock: &dyn Clock) -> Result<(), Error> {
        let check = || if self.age(clock.now()) > LOCK_TRUSTED { Err(Error::LockLost) } else { Ok(()) };
        check()?;
        let now = clock.now();
        file.time = now.into();
        let id = repository.save_json(FileKind::Lock, file)?;
        let arrived = check();
        let old = std::mem::replace(&mut *self.id.lock().unwrap_or_else(PoisonError::into_inner), id);
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = now;
        // A lock left behind would only be one of a process that can be seen to be dead.
        let _ = remove(repository, old);
        arrived
    }
}

impl<'a> Lock<'a> {
    /// Takes a lock, removing provably dead ones first. Fails with [`Error::Locked`] where a living one conflicts,
    /// and with [`Error::LockDamaged`] where one might.
    ///
    /// Sets `cx.cancel` if the lock can later not be renewed, so that the run ends before others may think it dead.
    pub fn acquire(cx: &RunCx<'a>, repository: &Arc<Repository>, access: Access) -> Result<Self, Error> {
        repository.check_writable()?;
        // Looking before writing keeps two programs that wait for each other from both backing off for ever.
        check_others(cx, repository, access, None)?;
        let now = cx.clock.now();
        let file = describe_self(access, now);
        let id = repository.save_json(FileKind::Lock, &file)?;
        if let Err(error) = check_others(cx, repository, access, Some(id)) {
            // Why there is no lock says more than that its file could not be removed; that one goes stale by itself.
            let _ = remove(repository, id);
            return Err(error);
        }
        let state = Arc::new(State {
            id: Mutex::new(id),
            renewed: Mutex::new(now),
            stop: Mutex::new(false),
            stopped: Condvar::new(),
            lost: AtomicBool::new(false),
        });
        let refresher = spawn_refresher(repository, &state, file, cx.cancel.clone());
        Ok(Self { repository: repository.clone(), state, clock: cx.clock, refresher: Some(refresher) })
    }

    /// Fails once others may soon take the lock for dead. A machine that slept notices here, before its refresher wakes.
    /// To be asked right before whatever others rely on: a snapshot, an index that names packs, a deletion.
    pub fn check(&self) -> Result<(), Error> {
        if self.state.lost.load(Ordering::SeqCst) || self.state.age(self.clock.now()) > LOCK_TRUSTED {
            Err(Error::LockLost)
        } else {
            Ok(())
        }
    }

    /// The lock file at the moment.
    pub(crate) fn file(&self) -> File {
        File::new(FileKind::Lock, *self.state.id.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// When that was written, by the clock of the run.
    pub(crate) fn written_at(&self) -> Timestamp {
        *self.state.renewed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the renewal and removes the lock. A lock that is not released is removed by the next run, since its process
    /// can be seen to be dead.
    pub fn release(mut self) -> Result<(), Error> {
        *self.state.stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.state.stopped.notify_all();
        if let Some(refresher) = self.refresher.take() {
            // A refresher that panicked leaves a lock that goes stale by itself.
            let _ = refresher.join();
        }
        remove(&self.repository, self.file().id)
    }
}

/// A lock that may not be removed, on a copy that can only be added to. Others see its process end, or wait until it is
/// stale.
fn is_denied(error: &Error) -> bool {
    matches!(error, Error::Storage(StorageError::Denied { .. }))
}

/// Runs `body` under a lock and releases it whatever comes of it. What it is given knows of the lock
/// ([`RunCx::check_lock`]), and is cancelled where the lock is lost, while the rest of the run goes on.
pub fn with_lock<T>(
    cx: &RunCx<'_>,
    repository: &Arc<Repository>,
    access: Access,
    body: impl FnOnce(&RunCx<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    with_held_lock(cx, repository, access, |cx, _| body(cx))
}

/// The same for a `body` that asks, before it destroys something, whether the lock still holds.
pub(crate) fn with_held_lock<T>(
    cx: &RunCx<'_>,
    repository: &Arc<Repository>,
    access: Access,
    body: impl FnOnce(&RunCx<'_>, &Lock<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let cancel = cx.cancel.child();
    let cx = RunCx { cancel: &cancel, ..*cx };
    let lock = Lock::acquire(&cx, repository, access)?;
    let held = RunCx { lock: Some(&lock), ..cx };
    repository.storage().give_up_with(Some(&cancel));
    // In a server that outlives a panic, the lock would be renewed for ever.
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(&held, &lock)));
    repository.storage().give_up_with(None);
    let lost = lock.check();
    let released = lock.release();
    let result = result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    // A lost lock shows as a cancelled run, in whatever guise; say why.
    let value = match (result, lost) {
        (Err(_), Err(lost)) if cancel.is_cancelled() => return Err(lost),
        (result, _) => result?,
    };
    match released {
        Err(error) if access == Access::Shared && is_denied(&error) => {
            let minutes = LOCK_STALE.as_secs() / 60;
            cx.events.emit(Event::Note(format!(
                "{}: the lock may not be removed and stays; programs that delete wait for {minutes} minutes",
                repository.storage().location()
            )));
        }
        released => released?,
    }
    Ok(value)
}

/// A lock of another program.
#[derive(Clone, Debug)]
pub struct Held {
    /// The lock file.
    pub id: Id,
    /// What it says.
    pub said: Said,
    /// What is known of its holder.
    pub holder: Holder,
}

/// What a lock file says.
#[derive(Clone, Debug)]
pub enum Said {
    /// Whose it is.
    Lock(LockFile),
    /// Nothing: it is damaged.
    Damaged,
    /// Nothing that could be read, and why. It may be whole.
    Unread(String),
}

/// What a lock tells of its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// For all that is known, it is at work.
    Alive,
    /// It did not renew the lock for [`LOCK_STALE`], by this machine's clock.
    Silent,
    /// It has ended for sure.
    Gone,
}

impl Held {
    /// Its holder is provably gone, or it was not renewed in time.
    pub fn is_dead(&self) -> bool {
        self.holder != Holder::Alive
    }
}

/// All locks, with what is known of their holders.
pub fn held(repository: &Repository, now: Timestamp) -> Result<Vec<Held>, Error> {
    let mut held = Vec::new();
    for listed in repository.storage().list(FileKind::Lock)? {
        let said = match repository.load_json(FileKind::Lock, listed.id) {
            // Released since it was listed.
            Err(Error::Storage(StorageError::NotFound { .. })) => continue,
            Err(Error::Unreadable { what, .. }) => Said::Unread(what),
            Err(error) if error.is_damage() => Said::Damaged,
            json => LockFile::parse(&json?).map_or(Said::Damaged, Said::Lock),
        };
        let holder = match &said {
            Said::Lock(file) => holder_of(file, now),
            Said::Damaged | Said::Unread(_) => Holder::Alive,
        };
        held.push(Held { id: listed.id, said, holder });
    }
    Ok(held)
}

fn check_others(cx: &RunCx<'_>, repository: &Repository, access: Access, own: Option<Id>) -> Result<(), Error> {
    for other in held(repository, cx.clock.now())? {
        if Some(other.id) == own {
            continue;
        }
        let is_dead = match (other.holder, own) {
            (Holder::Alive, _) => false,
            (Holder::Gone, _) => true,
            // Our own lock will tell what time it is where the other one lies.
            (Holder::Silent, None) => continue,
            (Holder::Silent, Some(own)) => is_silent_there(repository, own, other.id)?,
        };
        if is_dead {
            match remove(repository, other.id) {
                // Who may only add leaves it to those who may delete; it is in nobody's way who adds.
                Err(error) if access == Access::Shared && is_denied(&error) => {}
                removed => removed?,
            }
            continue;
        }
        let is_shared = matches!(&other.said, Said::Lock(file) if !file.exclusive);
        if access == Access::Exclusive || !is_shared {
            return Err(refused(&other));
        }
    }
    Ok(())
}

/// Whether a lock that is old by our clock is old by the place's own, too, which wrote down when both came. A clock that
/// runs ahead would take every living lock for dead. Places that do not tell leave it at our clock.
fn is_silent_there(repository: &Repository, own: Id, other: Id) -> Result<bool, Error> {
    let written = |id| match repository.storage().modified(File::new(FileKind::Lock, id)) {
        // Removed meanwhile.
        Err(StorageError::NotFound { .. }) => Ok(None),
        written => written,
    };
    Ok(match (written(own)?, written(other)?) {
        (Some(own), Some(other)) => Duration::try_from(own.duration_since(other)).is_ok_and(|age| age > LOCK_STALE),
        _ => true,
    })
}

fn refused(lock: &Held) -> Error {
    let name = File::new(FileKind::Lock, lock.id);
    let holder = match &lock.said {
        Said::Damaged => return Error::LockDamaged { file: name },
        Said::Unread(what) => {
            format!(
                "{name}, which may be anybody's, as it could not be read: {what}; mend the disk or the line, and try again"
            )
        }
        Said::Lock(file) => {
            let how = if file.exclusive { "exclusively " } else { "" };
            format!("process {} of {} on {}, {how}since {}", file.pid, file.username, file.hostname, file.time)
        }
    };
    Error::Locked { holder }
}

fn remove(repository: &Repository, id: Id) -> Result<(), Error> {
    // Another program may have found it dead first.
    repository.delete_if_there(File::new(FileKind::Lock, id)).map(drop)
}

fn describe_self(access: Access, now: Timestamp) -> LockFile {
    let identity = Identity::of_process();
    LockFile {
        time: now.into(),
        exclusive: access == Access::Exclusive,
        hostname: identity.hostname,
        username: identity.username,
        pid: rustix::process::getpid().as_raw_nonzero().get(),
        uid: Some(identity.uid),
        gid: Some(identity.gid),
        lifeboat: Process::current(),
    }
}

fn holder_of(lock: &LockFile, now: Timestamp) -> Holder {
    if is_gone(lock) {
        Holder::Gone
    } else if Duration::try_from(now.duration_since(lock.time.into())).is_ok_and(|age| age > LOCK_STALE) {
        Holder::Silent
    } else {
        Holder::Alive
    }
}

/// Whether the process that wrote a lock has ended for sure.
fn is_gone(lock: &LockFile) -> bool {
    match (&lock.lifeboat, Process::current()) {
        (Some(theirs), Some(ours)) if theirs.boot_id == ours.boot_id && theirs.pid_namespace == ours.pid_namespace => {
            start_ticks(&lock.pid.to_string()) != Some(theirs.start_ticks)
        }
        // Another boot of this very machine: all its processes are gone.
        (Some(theirs), Some(ours)) if theirs.boot_id != ours.boot_id => is_this_host(lock) && ours.is_first_namespace(),
        (Some(_), _) => false,
        // restic's own rule: the same host, and no such process.
        (None, _) => is_this_host(lock) && !process_exists(lock.pid),
    }
}

fn is_this_host(lock: &LockFile) -> bool {
    !lock.hostname.is_empty() && lock.hostname == Identity::of_process().hostname
}

fn process_exists(pid: i32) -> bool {
    let Some(pid) = rustix::process::Pid::from_raw(pid) else { return true };
    // Not being allowed to signal a process proves that there is one.
    !matches!(rustix::process::test_kill_process(pid), Err(rustix::io::Errno::SRCH))
}

impl Process {
    /// This process; `None` where the system does not say (no `/proc`).
    pub fn current() -> Option<Self> {
        Some(Self {
            boot_id: std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned(),
            pid_namespace: std::fs::read_link("/proc/self/ns/pid").ok()?.to_string_lossy().into_owned(),
            start_ticks: start_ticks("self")?,
        })
    }

    /// The name space of the machine itself has a fixed inode (`PROC_PID_INIT_INO` in Linux's `proc_ns.h`). Containers
    /// may share a host's name without being it, so only here does an equal name prove an equal machine.
    fn is_first_namespace(&self) -> bool {
        self.pid_namespace == "pid:[4026531836]"
    }
}

/// Field 22 of `/proc/PID/stat` (proc(5)): clock ticks after boot at which the process started.
fn start_ticks(process: &str) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is the name in parentheses and may hold anything, so count from its end.
    let (_, rest) = stat.rsplit_once(')')?;
    // A zombie has ended; only its parent has not noticed.
    let mut fields = rest.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Renews on a thread of its own, by the machine's clock: a lock is a promise to other machines.
fn spawn_refresher(
    repository: &Arc<Repository>,
    state: &Arc<State>,
    mut file: LockFile,
    cancel: Cancel,
) -> JoinHandle<()> {
    let (repository, state) = (repository.clone(), state.clone());
    std::thread::spawn(move || {
        let clock = crate::SystemClock;
        while !wait_to_stop(&state) {
            match state.renew(&repository, &mut file, &clock) {
                Ok(()) => {}
                // There is time for another try.
                Err(error) if !matches!(error, Error::LockLost) && state.age(clock.now()) < LOCK_TRUSTED => {}
                Err(_) => {
                    state.lost.store(true, Ordering::SeqCst);
                    cancel.cancel();
                    return;
                }
            }
        }
    })
}

/// Waits for [`LOCK_REFRESH`]; true when the lock is being released.
fn wait_to_stop(state: &State) -> bool {
    let stop = state.stop.lock().unwrap_or_else(PoisonError::into_inner);
    let (stop, _) =
        state.stopped.wait_timeout_while(stop, LOCK_REFRESH, |stop| !*stop).unwrap_or_else(PoisonError::into_inner);
    *stop
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SimulatedClock;
    use crate::format::key_file::KdfCost;
    use crate::storage::Storage;
    use crate::storage::memory::MemoryStorage;
    use crate::storage::watched::{Asked, Watched};

    /// A place to which a lock is on its way for so many minutes.
    fn far(clock: Arc<SimulatedClock>, minutes: Arc<Mutex<u64>>) -> Arc<dyn Storage> {
        let watch = move |_: &MemoryStorage, asked: Asked<'_>| -> Result<(), StorageError> {
            if let Asked::Put(..) = asked {
                clock.advance(Duration::from_secs(*minutes.lock().unwrap() * 60));
            }
            Ok(())
        };
        Arc::new(Watched { inner: MemoryStorage::new(), watch })
    }

    #[test]
    fn a_renewal_counts_from_the_time_in_the_file_and_one_that_came_too_late_is_a_lost_lock() {
        let clock = Arc::new(SimulatedClock::new("2026-03-01T12:00:00Z".parse().unwrap()));
        let minutes = Arc::new(Mutex::new(0));
        let far = far(clock.clone(), minutes.clone());
        let repository = Repository::init(far, "p", KdfCost::FAST, 256 << 10, clock.now()).unwrap();
        let mut file = describe_self(Access::Shared, clock.now());
        let id = repository.save_json(FileKind::Lock, &file).unwrap();
        let state = State {
            id: Mutex::new(id),
            renewed: Mutex::new(clock.now()),
            stop: Mutex::new(false),
            stopped: Condvar::new(),
            lost: AtomicBool::new(false),
        };
        // Five minutes after the last, ten minutes on its way: others take it for ten minutes old.
        clock.advance(LOCK_REFRESH);
        *minutes.lock().unwrap() = 10;
        state.renew(&repository, &mut file, &*clock).unwrap();
        assert_eq!(state.age(clock.now()), Duration::from_secs(10 * 60));
        assert_eq!(Timestamp::from(file.time), clock.now() - Duration::from_secs(10 * 60));
        // Twenty minutes on its way: when it arrives, the one before may have been removed as dead.
        clock.advance(LOCK_REFRESH);
        *minutes.lock().unwrap() = 20;
        assert!(matches!(state.renew(&repository, &mut file, &*clock), Err(Error::LockLost)));
        let listed = repository.storage().list(FileKind::Lock).unwrap();
        assert_eq!((listed.len(), listed[0].id), (1, *state.id.lock().unwrap()), "it is there to be removed");
        // A machine that slept does not hide it by renewing.
        *minutes.lock().unwrap() = 0;
        clock.advance(LOCK_STALE);
        assert!(matches!(state.renew(&repository, &mut file, &*clock), Err(Error::LockLost)));
    }
}
