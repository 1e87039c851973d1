//! Mends what can be mended from within one copy: the index, from the packs' own headers.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::format::index_file::IndexedPack;
use crate::lock::{Access, with_lock};
use crate::storage::Listed;
use crate::{Error, File, FileKind, Id, Index, Repository, RunCx, StorageError, prune};

/// What was mended, and what was not.
#[derive(Clone, Debug, Default)]
pub struct Healed {
    /// Packs whose header was read because the index lacked them or said something else.
    pub packs_added: usize,
    /// Packs that the index named but are not there.
    pub packs_missing: Vec<Id>,
    /// Damaged index files that were replaced.
    pub index_files_replaced: Vec<Id>,
    /// Packs whose header cannot be read: what they hold is out of reach until another copy gives them back.
    pub packs_unreadable: Vec<(Id, String)>,
}

impl Healed {
    /// Whether anything had to be mended.
    pub fn changed_anything(&self) -> bool {
        self.packs_added > 0 || !self.packs_missing.is_empty() || !self.index_files_replaced.is_empty()
    }
}

/// Makes the index say exactly what the packs hold. Readable entries are trusted where the pack has the size they make;
/// all other packs are asked themselves. Condemned packs stay out.
pub fn index(cx: &RunCx<'_>, repository: &Arc<Repository>) -> Result<Healed, Error> {
    with_lock(cx, repository, Access::Exclusive, || {
        let mut healed = Healed::default();
        let (index, damaged) = Index::load_readable(cx, repository)?;
        healed.index_files_replaced = damaged.iter().map(|(id, _)| *id).collect();
        let listed: HashMap<Id, u64> =
            repository.storage().list(FileKind::Pack)?.into_iter().map(|listed| (listed.id, listed.bytes)).collect();
        let condemned: HashSet<Id> =
            prune::load_condemned(repository)?.into_iter().flat_map(|(_, list)| list.packs).collect();
        let mut packs = BTreeMap::new();
        for (id, blobs) in index.packs() {
            let pack = IndexedPack { id, blobs };
            match listed.get(&id) {
                Some(bytes) if *bytes == pack.pack_bytes() => drop(packs.insert(id, pack)),
                Some(_) => {}
                None => healed.packs_missing.push(id),
            }
        }
        for (id, bytes) in &listed {
            cx.cancel.check()?;
            if packs.contains_key(id) || condemned.contains(id) {
                continue;
            }
            match repository.pack_header(&Listed { id: *id, bytes: *bytes }) {
                Ok(blobs) => {
                    healed.packs_added += 1;
                    packs.insert(*id, IndexedPack { id: *id, blobs });
                }
                Err(error) if error.is_damage() => healed.packs_unreadable.push((*id, error.to_string())),
                Err(error) => return Err(error),
            }
        }
        if healed.changed_anything() {
            let packs: Vec<_> = packs.into_values().collect();
            prune::write_index(cx, repository, &packs)?;
            for id in index.files().iter().chain(&healed.index_files_replaced) {
                match repository.storage().delete(File::new(FileKind::Index, *id)) {
                    Ok(()) | Err(StorageError::NotFound { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(healed)
    })
}
