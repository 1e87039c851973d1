//! Mends a copy: its index from the packs' own headers ([`index`]), all else from other copies ([`from_copies`]).

mod from_copies;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

pub use from_copies::{FromCopies, How, from_copies};

use crate::format::index_file::IndexedPack;
use crate::format::key_file::KdfCost;
use crate::format::pack::PackedBlob;
use crate::index::Location;
use crate::lock::{Access, Lock, with_held_lock};
use crate::storage::Listed;
use crate::{Error, Event, File, FileKind, Id, Index, Repository, RunCx, Storage, StorageError, prune, receipt};

/// What was mended, and what was not.
#[derive(Clone, Debug, Default)]
pub struct Healed {
    /// Packs whose header was read because the index lacked them or said something else.
    pub packs_added: usize,
    /// Packs that the index named but are not there.
    pub packs_missing: Vec<Id>,
    /// Damaged index files that were replaced.
    pub index_files_replaced: Vec<Id>,
    /// Packs whose header cannot be read: what they hold, but for blobs that are still whole, is out of reach until
    /// another copy gives them back.
    pub packs_unreadable: Vec<(Id, String)>,
    /// Packs that were read and whose content is not what their name says. Where not one blob in it is whole, the pack is
    /// removed.
    pub packs_damaged: Vec<Id>,
    /// Packs that could not be read though their place answers. Nobody knows whether they are whole, so they are left alone.
    pub packs_unread: Vec<(Id, String)>,
    /// Blobs of damaged packs that the index named and that are lost.
    pub blobs_dropped: usize,
    /// Receipts of drills that were removed, since they or their snapshots are lost.
    pub receipts_removed: usize,
}

impl Healed {
    /// Whether anything had to be mended.
    pub fn changed_anything(&self) -> bool {
        self.packs_added > 0
            || self.blobs_dropped > 0
            || !self.packs_missing.is_empty()
            || !self.index_files_replaced.is_empty()
    }

    /// Adds packs that could not be read, each once.
    fn note_unread(&mut self, failed: BTreeMap<Id, String>) {
        let failed = failed.into_iter().filter(|(id, _)| self.packs_unread.iter().all(|(noted, _)| noted != id));
        let failed: Vec<_> = failed.collect();
        self.packs_unread.extend(failed);
    }
}

/// What came of reading packs.
#[derive(Default)]
struct Read {
    /// Their content is not what their name says.
    damaged: BTreeSet<Id>,
    /// They could not be read, and why: a line on which large files stall says nothing about what lies at its end.
    failed: BTreeMap<Id, String>,
}

/// Makes the index say exactly what the packs hold. Readable entries are trusted where the pack has the size they make;
/// all other packs are asked themselves. Of a pack that was cut short, the blobs that are still whole stay in the index,
/// so that they can be restored, and the others leave it, so that the next backup stores them anew. Condemned packs stay
/// out.
///
/// With `read_data` every byte of every pack is read, and blobs that are not what their name says leave the index, too.
pub fn index(cx: &RunCx<'_>, repository: &Arc<Repository>, read_data: bool) -> Result<Healed, Error> {
    with_held_lock(cx, repository, Access::Exclusive, |cx, lock| {
        let read = if read_data {
            let (index, _) = Index::load_readable(cx, repository)?;
            let packs: HashSet<Id> = index.pack_ids().iter().copied().collect();
            damaged_packs(cx, repository, packs, Some(index.pack_bytes().iter().sum()))?
        } else {
            Read::default()
        };
        let mut healed = mend_index(cx, repository, &read.damaged)?;
        healed.note_unread(read.failed);
        remove_worthless(cx, repository, &healed, lock)?;
        healed.receipts_removed = receipt::remove_useless(repository)?;
        Ok(healed)
    })
}

/// Puts the config file of `from` in the place of one that is missing or damaged in another copy of the same repository,
/// one of whose key files `password` must open. Whether that was needed. Every other mending needs the config first.
pub fn config(from: &Repository, storage: &dyn Storage, password: &str) -> Result<bool, Error> {
    from.mend_config(storage, password)
}

/// Adds a key file for `password` to another copy of the same repository, which lost the ones it had. Whether that was
/// needed. That its config opens with the master key of `from` proves that it is the same; where it does not, this fails
/// with [`Error::NotACopy`].
pub fn key(
    from: &Repository,
    storage: &dyn Storage,
    password: &str,
    cost: KdfCost,
    now: Timestamp,
) -> Result<bool, Error> {
    from.mend_key(storage, password, cost, now)
}

/// [`index`] under a lock that is held, for packs of which `damaged` are known to be.
fn mend_index(cx: &RunCx<'_>, repository: &Repository, damaged: &BTreeSet<Id>) -> Result<Healed, Error> {
    let mut healed = Healed::default();
    let (index, unreadable) = Index::load_readable(cx, repository)?;
    healed.index_files_replaced = unreadable.iter().map(|(id, _)| *id).collect();
    let unread: HashSet<Id> =
        unreadable.iter().filter(|(_, error)| matches!(error, Error::Unreadable { .. })).map(|(id, _)| *id).collect();
    let listed: HashMap<Id, u64> =
        repository.storage().list(FileKind::Pack)?.into_iter().map(|listed| (listed.id, listed.bytes)).collect();
    let condemned: HashSet<Id> =
        prune::load_condemned(repository)?.0.into_iter().flat_map(|(_, list)| list.packs).collect();
    let mut packs = BTreeMap::new();
    let mut doubtful = BTreeMap::new();
    for (id, blobs) in index.packs() {
        let pack = IndexedPack { id, blobs };
        match listed.get(&id) {
            Some(bytes) if damaged.contains(&id) => drop_lost(cx, repository, pack, *bytes, &mut packs, &mut healed)?,
            Some(bytes) if *bytes == pack.pack_bytes() => drop(packs.insert(id, pack)),
            Some(_) => drop(doubtful.insert(id, pack)),
            None => healed.packs_missing.push(id),
        }
    }
    healed.packs_damaged = damaged.iter().filter(|id| listed.contains_key(id)).copied().collect();
    for (id, bytes) in &listed {
        cx.cancel.check()?;
        if packs.contains_key(id) || damaged.contains(id) || condemned.contains(id) {
            continue;
        }
        match repository.pack_header(&Listed { id: *id, bytes: *bytes }) {
            Ok(blobs) => {
                healed.packs_added += 1;
                packs.insert(*id, IndexedPack { id: *id, blobs });
            }
            Err(Error::Unreadable { what, .. }) => {
                healed.packs_unread.push((*id, what));
                // It stays as it was.
                packs.extend(doubtful.remove(id).map(|pack| (*id, pack)));
            }
            Err(error) if error.is_damage() => {
                healed.packs_unreadable.push((*id, error.to_string()));
                if let Some(pack) = doubtful.remove(id) {
                    drop_lost(cx, repository, pack, *bytes, &mut packs, &mut healed)?;
                }
            }
            Err(error) => return Err(error),
        }
    }
    if !healed.packs_unread.is_empty() {
        // They may be all that tells what is in those packs.
        healed.index_files_replaced.retain(|id| !unread.contains(id));
    }
    if healed.changed_anything() {
        let packs: Vec<_> = packs.into_values().collect();
        prune::write_index(cx, repository, &packs)?;
        for id in index.files().iter().chain(&healed.index_files_replaced) {
            repository.delete_if_there(File::new(FileKind::Index, *id))?;
        }
    }
    Ok(healed)
}

/// Removes packs in which not one blob is whole. Left where they are, they would look like packs that an interrupted run
/// did not come to name, and be named by the next.
fn remove_worthless(cx: &RunCx<'_>, repository: &Repository, healed: &Healed, lock: &Lock<'_>) -> Result<(), Error> {
    if healed.packs_damaged.is_empty() {
        return Ok(());
    }
    let index = Index::load(cx, repository)?;
    let indexed: HashSet<Id> = index.pack_ids().iter().copied().collect();
    for id in healed.packs_damaged.iter().filter(|id| !indexed.contains(id)) {
        cx.cancel.check()?;
        lock.check()?;
        repository.delete_if_there(File::pack(*id))?;
    }
    Ok(())
}

/// Reads the packs given, and says whose content is not what their name says. What seems damaged is read once more: a bad
/// cable must cost no data that is whole. An answer that never came is no damage.
fn damaged_packs(
    cx: &RunCx<'_>,
    repository: &Repository,
    packs: impl IntoIterator<Item = Id>,
    bytes_total: Option<u64>,
) -> Result<Read, Error> {
    cx.events.emit(Event::StepStarted { name: "reading packs".to_owned(), bytes_total });
    let found = Mutex::new(Read::default());
    repository.on_all_processors(packs, |_, id| {
        cx.cancel.check()?;
        let read = repository.load_stored(File::pack(id)).or_else(|error| match error {
            // What is not there is nobody's damage; the listing says so.
            Error::Storage(StorageError::NotFound { .. }) => Ok(Vec::new()),
            error @ Error::Damaged { .. } => repository.load_stored(File::pack(id)).map_err(|again| match again {
                // Wrong bytes came once; what is not sure is not damage.
                Error::Damaged { .. } => error,
                again => again,
            }),
            error => Err(error),
        });
        match read {
            Ok(bytes) => cx.events.emit(Event::Bytes(bytes.len() as u64)),
            Err(Error::Unreadable { what, .. }) => {
                found.lock().unwrap_or_else(PoisonError::into_inner).failed.insert(id, what);
            }
            Err(error) if error.is_damage() => {
                found.lock().unwrap_or_else(PoisonError::into_inner).damaged.insert(id);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    })?;
    Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Keeps those blobs of a damaged pack that can still be read, and those that could not be read and may be whole. `bytes`:
/// its length as it lies there.
fn drop_lost(
    cx: &RunCx<'_>,
    repository: &Repository,
    mut pack: IndexedPack,
    bytes: u64,
    packs: &mut BTreeMap<Id, IndexedPack>,
    healed: &mut Healed,
) -> Result<(), Error> {
    let before = pack.blobs.len();
    let mut unread = BTreeMap::new();
    pack.blobs = not_lost(cx, repository, &pack, bytes, &mut unread)?;
    healed.note_unread(unread);
    healed.blobs_dropped += before - pack.blobs.len();
    if !pack.blobs.is_empty() {
        packs.insert(pack.id, pack);
    }
    Ok(())
}

/// The blobs of a damaged pack that are whole, and those of which nobody knows, which are noted.
fn not_lost(
    cx: &RunCx<'_>,
    repository: &Repository,
    pack: &IndexedPack,
    bytes: u64,
    unread: &mut BTreeMap<Id, String>,
) -> Result<Vec<PackedBlob>, Error> {
    let mut kept = Vec::new();
    for blob in &pack.blobs {
        cx.cancel.check()?;
        // What lies past its end need not be asked for.
        if u64::from(blob.offset) + u64::from(blob.length) > bytes {
            continue;
        }
        match repository.blob_at(&Location { pack: pack.id, blob: *blob }) {
            Ok(_) => kept.push(*blob),
            Err(Error::Unreadable { what, .. }) => {
                unread.insert(pack.id, what);
                kept.push(*blob);
            }
            Err(error) if error.is_damage() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(kept)
}
