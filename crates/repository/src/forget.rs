//! Removes snapshots. What they alone needed is removed by `prune`.

use std::sync::Arc;

use crate::lock::{Access, with_lock};
use crate::{Error, File, FileKind, Id, Repository, RunCx, receipt};

/// Removes the snapshot files `ids` and the receipts of their drills, alone in the repository as restic does it.
pub fn forget(cx: &RunCx<'_>, repository: &Arc<Repository>, ids: &[Id]) -> Result<(), Error> {
    with_lock(cx, repository, Access::Exclusive, || {
        // Receipts first: one that stays behind would tell of a snapshot that was lost.
        receipt::remove_of(repository, &ids.iter().copied().collect())?;
        for id in ids {
            cx.cancel.check()?;
            repository.delete_if_there(File::new(FileKind::Snapshot, *id))?;
        }
        Ok(())
    })
}
