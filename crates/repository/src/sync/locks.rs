//! Locks on several copies at once.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use super::Left;
use crate::lock::{Access, Lock, with_held_lock};
use crate::{Error, Event, FileKind, Repository, RunCx, StorageError};

/// Runs `body` under a lock on `target`, and a shared one on each of `others`, so that none of them is pruned meanwhile.
///
/// One that may not be written, or is full, is read without a lock: its packs are held against their names, and what a
/// prune takes away it keeps for a day. One that cannot be locked for another reason is left out, and so is one that is the
/// target by another name. `body` is given the others that are left; where none is, and one failed, its failure is returned.
pub(crate) fn with_locks<T>(
    cx: &RunCx<'_>,
    target: &Arc<Repository>,
    access: Access,
    others: &[Arc<Repository>],
    body: impl FnOnce(&RunCx<'_>, &Lock<'_>, &[Arc<Repository>], Vec<Left>) -> Result<T, Error>,
) -> Result<T, Error> {
    with_held_lock(cx, target, access, |cx, lock| {
        let (mut held, mut usable, mut left, mut failure) = (Vec::new(), Vec::new(), Vec::new(), None);
        let mut cancelled = false;
        for other in others {
            match Lock::acquire(cx, other, Access::Shared) {
                Ok(lock) => {
                    held.push(lock);
                    usable.push(other.clone());
                }
                Err(Error::Storage(StorageError::Denied { .. } | StorageError::Full { .. })) => {
                    usable.push(other.clone());
                }
                // The lock that keeps us out is our own: it is the target by another name.
                Err(Error::Locked { .. }) if holds(other, lock) => {
                    let what = "it is the same place, by another name".to_owned();
                    left.push(Left { location: other.storage().location(), what });
                }
                Err(error) => {
                    cancelled |= cx.cancel.is_cancelled();
                    left.push(Left { location: other.storage().location(), what: error.to_string() });
                    failure.get_or_insert(error);
                }
            }
        }
        // In a server that outlives a panic, the locks would be renewed for ever.
        let result = match failure {
            _ if cancelled => Ok(Err(Error::Cancelled)),
            Some(failure) if usable.is_empty() => Ok(Err(failure)),
            _ => catch_unwind(AssertUnwindSafe(|| body(cx, lock, &usable, left))),
        };
        let lost = held.iter().try_for_each(Lock::check);
        for lock in held {
            // The work is done. The lock of a process that has ended is removed by the next run.
            if let Err(error) = lock.release() {
                cx.events.emit(Event::Note(format!("a lock could not be removed: {error}")));
            }
        }
        match (result.unwrap_or_else(|panic| resume_unwind(panic)), lost) {
            // A lost lock shows as a cancelled run, in whatever guise; say why.
            (Err(_), Err(lost)) if cx.cancel.is_cancelled() => Err(lost),
            (result, _) => result,
        }
    })
}

/// Whether the file of this lock lies in a copy.
fn holds(copy: &Repository, lock: &Lock<'_>) -> bool {
    let own = lock.file().id;
    copy.storage().list(FileKind::Lock).is_ok_and(|locks| locks.iter().any(|listed| listed.id == own))
}
