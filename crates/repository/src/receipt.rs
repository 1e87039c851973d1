//! The receipts of drills that lie in a copy. They go with their snapshot, so one without it tells of a loss.

use std::collections::BTreeSet;

use crate::format::receipt::Receipt;
use crate::{Error, File, FileKind, Id, Repository};

/// The receipts of a copy, each with its own id.
#[derive(Debug, Default)]
pub struct Receipts {
    /// Those that can be read.
    pub readable: Vec<(Id, Receipt)>,
    /// Those that cannot.
    pub damaged: Vec<Id>,
}

/// All receipts.
pub fn load(repository: &Repository) -> Result<Receipts, Error> {
    let Receipts { mut readable, mut damaged } = Receipts::default();
    for listed in repository.storage().list(FileKind::Receipt)? {
        match repository.load_json(FileKind::Receipt, listed.id) {
            Ok(json) => match Receipt::parse(&json) {
                Ok(receipt) => readable.push((listed.id, receipt)),
                Err(_) => damaged.push(listed.id),
            },
            // It may be whole, so it is not one to be removed.
            Err(Error::Unreadable { .. }) => {}
            Err(error) if error.is_damage() => damaged.push(listed.id),
            // Removed since it was listed.
            Err(Error::Storage(crate::StorageError::NotFound { .. })) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Receipts { readable, damaged })
}

/// Snapshots that were drilled and are gone, though Lifeboat removes receipts together with snapshots.
pub fn orphans(repository: &Repository) -> Result<BTreeSet<Id>, Error> {
    let receipts = load(repository)?.readable;
    if receipts.is_empty() {
        return Ok(BTreeSet::new());
    }
    let there: BTreeSet<Id> = repository.storage().list(FileKind::Snapshot)?.iter().map(|listed| listed.id).collect();
    Ok(receipts.iter().map(|(_, receipt)| receipt.snapshot).filter(|snapshot| !there.contains(snapshot)).collect())
}

/// Removes the receipts of these snapshots. The caller holds the exclusive lock.
pub(crate) fn remove_of(repository: &Repository, snapshots: &BTreeSet<Id>) -> Result<(), Error> {
    for (id, receipt) in load(repository)?.readable {
        if snapshots.contains(&receipt.snapshot) {
            repository.delete_if_there(File::new(FileKind::Receipt, id))?;
        }
    }
    Ok(())
}

/// Removes receipts that cannot be read and those whose snapshot is gone; how many. They prove nothing. The caller holds
/// the exclusive lock.
pub(crate) fn remove_useless(repository: &Repository) -> Result<usize, Error> {
    let Receipts { readable, damaged } = load(repository)?;
    let orphans = orphans(repository)?;
    let useless = readable.into_iter().filter(|(_, receipt)| orphans.contains(&receipt.snapshot)).map(|(id, _)| id);
    let useless: Vec<Id> = useless.chain(damaged).collect();
    for id in &useless {
        repository.delete_if_there(File::new(FileKind::Receipt, *id))?;
    }
    Ok(useless.len())
}
