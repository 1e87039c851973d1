//! The receipts of drills that lie in a copy. They go with their snapshot, so one without it tells of a loss.

use std::collections::BTreeSet;

use crate::format::receipt::Receipt;
use crate::{Error, Event, File, FileKind, Id, Repository, RunCx};

/// The receipts of a copy, each with its own id.
#[derive(Debug, Default)]
pub struct Receipts {
    /// Those that can be read.
    pub readable: Vec<(Id, Receipt)>,
    /// Those whose content is not what it must be.
    pub damaged: Vec<Id>,
    /// Those that could not be read though their place answers. Each may be the proof of any snapshot.
    pub unread: Vec<(Id, Error)>,
}

impl Receipts {
    /// Fails where one could not be read: what rules would remove may be what it proves.
    pub fn check_all_read(self) -> Result<Self, Error> {
        let Self { readable, damaged, unread } = self;
        match unread.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(Self { readable, damaged, unread: Vec::new() }),
        }
    }
}

/// All receipts.
pub fn load(repository: &Repository) -> Result<Receipts, Error> {
    let Receipts { mut readable, mut damaged, mut unread } = Receipts::default();
    for listed in repository.storage().list(FileKind::Receipt)? {
        match repository.load_json(FileKind::Receipt, listed.id) {
            Ok(json) => match Receipt::parse(&json) {
                Ok(receipt) => readable.push((listed.id, receipt)),
                Err(_) => damaged.push(listed.id),
            },
            // It may be whole, so it is not one to be removed.
            Err(error @ Error::Unreadable { .. }) => unread.push((listed.id, error)),
            Err(error) if error.is_damage() => damaged.push(listed.id),
            // Removed since it was listed.
            Err(Error::Storage(crate::StorageError::NotFound { .. })) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Receipts { readable, damaged, unread })
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

/// Removes the receipts of these snapshots, as far as they can be read; what could not is named. The caller holds the
/// exclusive lock.
pub(crate) fn remove_of(cx: &RunCx<'_>, repository: &Repository, snapshots: &BTreeSet<Id>) -> Result<(), Error> {
    let Receipts { readable, unread, .. } = load(repository)?;
    for (id, receipt) in readable {
        if snapshots.contains(&receipt.snapshot) {
            repository.delete_if_there(File::new(FileKind::Receipt, id))?;
        }
    }
    for (_, error) in unread {
        let what = format!("{error}; where it is of a snapshot that is removed now, it will tell of a loss");
        cx.events.emit(Event::Note(what));
    }
    Ok(())
}

/// Removes receipts that cannot be read and those whose snapshot is gone; how many. They prove nothing. The caller holds
/// the exclusive lock.
pub(crate) fn remove_useless(repository: &Repository) -> Result<usize, Error> {
    let Receipts { readable, damaged, .. } = load(repository)?;
    let orphans = orphans(repository)?;
    let useless = readable.into_iter().filter(|(_, receipt)| orphans.contains(&receipt.snapshot)).map(|(id, _)| id);
    let useless: Vec<Id> = useless.chain(damaged).collect();
    for id in &useless {
        repository.delete_if_there(File::new(FileKind::Receipt, *id))?;
    }
    Ok(useless.len())
}
