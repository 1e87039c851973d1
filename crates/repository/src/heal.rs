//! Mends what can be mended from within one copy: the index, from the packs' own headers.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::format::index_file::IndexedPack;
use crate::format::pack::PackedBlob;
use crate::index::Location;
use crate::lock::{Access, with_lock};
use crate::storage::Listed;
use crate::{Error, Event, File, FileKind, Id, Index, Repository, RunCx, prune, receipt};

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
    /// Packs of the right size whose content is not what their name says.
    pub packs_damaged: Vec<Id>,
    /// Blobs of the packs of these two lists that the index named and that are lost.
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
}

/// Makes the index say exactly what the packs hold. Readable entries are trusted where the pack has the size they make;
/// all other packs are asked themselves. Of a pack that was cut short, the blobs that are still whole stay in the index,
/// so that they can be restored, and the others leave it, so that the next backup stores them anew. Condemned packs stay
/// out.
///
/// With `read_data` every byte of every pack is read, and blobs that are not what their name says leave the index, too.
pub fn index(cx: &RunCx<'_>, repository: &Arc<Repository>, read_data: bool) -> Result<Healed, Error> {
    with_lock(cx, repository, Access::Exclusive, || {
        let mut healed = Healed::default();
        let (index, damaged) = Index::load_readable(cx, repository)?;
        healed.index_files_replaced = damaged.iter().map(|(id, _)| *id).collect();
        let listed: HashMap<Id, u64> =
            repository.storage().list(FileKind::Pack)?.into_iter().map(|listed| (listed.id, listed.bytes)).collect();
        let condemned: HashSet<Id> =
            prune::load_condemned(repository)?.0.into_iter().flat_map(|(_, list)| list.packs).collect();
        let mut packs = BTreeMap::new();
        let mut doubtful = BTreeMap::new();
        for (id, blobs) in index.packs() {
            let pack = IndexedPack { id, blobs };
            match listed.get(&id) {
                Some(bytes) if *bytes == pack.pack_bytes() => drop(packs.insert(id, pack)),
                Some(_) => drop(doubtful.insert(id, pack)),
                None => healed.packs_missing.push(id),
            }
        }
        if read_data {
            drop_damaged(cx, repository, &mut packs, &mut healed)?;
        }
        for (id, bytes) in &listed {
            cx.cancel.check()?;
            if packs.contains_key(id) || healed.packs_damaged.contains(id) || condemned.contains(id) {
                continue;
            }
            match repository.pack_header(&Listed { id: *id, bytes: *bytes }) {
                Ok(blobs) => {
                    healed.packs_added += 1;
                    packs.insert(*id, IndexedPack { id: *id, blobs });
                }
                Err(error) if error.is_damage() => {
                    healed.packs_unreadable.push((*id, error.to_string()));
                    if let Some(pack) = doubtful.remove(id) {
                        let whole = whole_blobs(cx, repository, &pack)?;
                        healed.blobs_dropped += pack.blobs.len() - whole.len();
                        if !whole.is_empty() {
                            packs.insert(*id, IndexedPack { id: *id, blobs: whole });
                        }
                    }
                }
                Err(error) => return Err(error),
            }
        }
        if healed.changed_anything() {
            let packs: Vec<_> = packs.into_values().collect();
            prune::write_index(cx, repository, &packs)?;
            for id in index.files().iter().chain(&healed.index_files_replaced) {
                repository.delete_if_there(File::new(FileKind::Index, *id))?;
            }
        }
        healed.receipts_removed = receipt::remove_useless(repository)?;
        Ok(healed)
    })
}

/// Reads packs that have the size they should have, and takes what is damaged in them out of the index.
fn drop_damaged(
    cx: &RunCx<'_>,
    repository: &Repository,
    packs: &mut BTreeMap<Id, IndexedPack>,
    healed: &mut Healed,
) -> Result<(), Error> {
    let bytes_total = packs.values().map(IndexedPack::pack_bytes).sum();
    cx.events.emit(Event::StepStarted { name: "reading packs".to_owned(), bytes_total: Some(bytes_total) });
    for pack in packs.values_mut() {
        let bytes = repository.storage().get(File::pack(pack.id), None)?;
        cx.events.emit(Event::Bytes(bytes.len() as u64));
        if Id::of(&bytes) == pack.id {
            continue;
        }
        let whole = whole_blobs(cx, repository, pack)?;
        healed.blobs_dropped += pack.blobs.len() - whole.len();
        healed.packs_damaged.push(pack.id);
        pack.blobs = whole;
    }
    packs.retain(|_, pack| !pack.blobs.is_empty());
    Ok(())
}

/// The blobs of a damaged pack that can still be read.
fn whole_blobs(cx: &RunCx<'_>, repository: &Repository, pack: &IndexedPack) -> Result<Vec<PackedBlob>, Error> {
    let mut whole = Vec::new();
    for blob in &pack.blobs {
        cx.cancel.check()?;
        match repository.blob_at(&Location { pack: pack.id, blob: *blob }) {
            Ok(_) => whole.push(*blob),
            Err(error) if error.is_damage() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(whole)
}
