//! Removes snapshots. What they alone needed is removed by `prune`.

use std::sync::Arc;

use crate::lock::{Access, with_lock};
use crate::{Error, File, FileKind, Id, Repository, RunCx, StorageError};

/// Removes the snapshot files `ids`, alone in the repository as restic does it.
pub fn forget(cx: &RunCx<'_>, repository: &Arc<Repository>, ids: &[Id]) -> Result<(), Error> {
    with_lock(cx, repository, Access::Exclusive, || {
        for id in ids {
            cx.cancel.check()?;
            match repository.storage().delete(File::new(FileKind::Snapshot, *id)) {
                // Another run removed it first.
                Ok(()) | Err(StorageError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    })
}
