//! Removes snapshots. What they alone needed is removed by `prune`.

use std::sync::Arc;

use crate::lock::{Access, with_held_lock};
use crate::plausible::check_clock;
use crate::{Error, File, FileKind, Id, Repository, RunCx, receipt};

/// Why snapshots are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Somebody named them.
    Named,
    /// Rules about their age chose them: not while the clock cannot be right, nor while the receipt of a drill could not be
    /// read, which may be the proof of one of them.
    Rules,
}

/// Removes the snapshot files `ids` and the receipts of their drills, alone in the repository as restic does it.
pub fn forget(cx: &RunCx<'_>, repository: &Arc<Repository>, ids: &[Id], why: Why) -> Result<(), Error> {
    with_held_lock(cx, repository, Access::Exclusive, |cx, lock| {
        if why == Why::Rules {
            check_clock(cx, repository, lock)?;
            receipt::load(repository)?.check_all_read()?;
        }
        // Receipts first: one that stays behind would tell of a snapshot that was lost.
        receipt::remove_of(cx, repository, &ids.iter().copied().collect())?;
        for id in ids {
            cx.cancel.check()?;
            lock.check()?;
            repository.delete_if_there(File::new(FileKind::Snapshot, *id))?;
        }
        Ok(())
    })
}
