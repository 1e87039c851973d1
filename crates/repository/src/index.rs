//! Where every blob lies, in memory: sorted arrays of 48 bytes a blob, however many millions there are.

mod by_pack;

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) use by_pack::ByPack;

use crate::format::index_file::IndexFile;
use crate::format::pack::{BlobKind, PackedBlob};
use crate::{Error, FileKind, Id, Repository, RunCx, StorageError};

/// The index of a repository at one moment.
#[derive(Debug, Default)]
pub struct Index {
    packs: Vec<Id>,
    data: Vec<Slot>,
    trees: Vec<Slot>,
    /// The index files it was read from.
    files: Vec<Id>,
}

/// One blob in one pack. 48 bytes; a test holds it to that.
#[derive(Clone, Copy, Debug)]
struct Slot {
    id: Id,
    pack: u32,
    offset: u32,
    length: u32,
    /// Zero where the blob is stored uncompressed.
    plain_length: u32,
}

/// Where a blob lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// The pack.
    pub pack: Id,
    /// The blob in it.
    pub blob: PackedBlob,
}

impl Index {
    /// Reads all index files. A file that cannot be read is an error: a blob must not seem missing because of it.
    pub fn load(cx: &RunCx<'_>, repository: &Repository) -> Result<Self, Error> {
        let (index, damaged) = Self::load_readable(cx, repository)?;
        match damaged.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(index),
        }
    }

    /// The index for a run that stores: without the blobs whose pack is gone or ends before them, and how many those are.
    /// They count as unknown, so they are stored anew where a source still has them. Costs one listing.
    pub fn load_stored(cx: &RunCx<'_>, repository: &Repository) -> Result<(Self, usize), Error> {
        let mut index = Self::load(cx, repository)?;
        let listed = repository.storage().list(FileKind::Pack)?;
        let bytes_of: HashMap<Id, u64> = listed.into_iter().map(|listed| (listed.id, listed.bytes)).collect();
        let bytes: Vec<u64> = index.packs.iter().map(|id| bytes_of.get(id).copied().unwrap_or(0)).collect();
        let before = index.data.len() + index.trees.len();
        let is_stored = |slot: &Slot| u64::from(slot.offset) + u64::from(slot.length) <= bytes[slot.pack as usize];
        index.data.retain(is_stored);
        index.trees.retain(is_stored);
        let lost = before - index.data.len() - index.trees.len();
        Ok((index, lost))
    }

    /// Reads the index files that can be read, and names the damaged ones.
    pub fn load_readable(cx: &RunCx<'_>, repository: &Repository) -> Result<(Self, Vec<(Id, Error)>), Error> {
        let shared = Mutex::new(Loaded::default());
        load_files(cx, repository, list(repository)?, &shared)?;
        let missing = std::mem::take(&mut lock(&shared).missing);
        if !missing.is_empty() {
            // A prune replaced them since they were listed. What is listed again and still not there is damaged.
            let done: HashSet<Id> = lock(&shared).builder.files.iter().copied().collect();
            let again = list(repository)?.into_iter().filter(|id| !done.contains(id)).collect();
            load_files(cx, repository, again, &shared)?;
        }
        let mut loaded = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        loaded.damaged.append(&mut loaded.missing);
        Ok((loaded.builder.build(repository.threads()), loaded.damaged))
    }

    /// An index of these packs alone.
    pub fn of_packs<'a>(packs: impl IntoIterator<Item = &'a crate::format::index_file::IndexedPack>) -> Self {
        let mut builder = Builder::default();
        for pack in packs {
            builder.add_pack(pack.id, &pack.blobs);
        }
        builder.build(1)
    }

    /// Whether a blob is stored.
    pub fn contains(&self, kind: BlobKind, id: &Id) -> bool {
        search(self.slots(kind), id).is_some()
    }

    /// Every place a blob lies in; several after an interrupted prune or two backups at once.
    pub fn locations(&self, kind: BlobKind, id: &Id) -> impl Iterator<Item = Location> + use<'_> {
        self.range(kind, id).map(move |at| self.location(kind, at))
    }

    /// One place a blob lies in.
    pub fn find(&self, kind: BlobKind, id: &Id) -> Option<Location> {
        Some(self.location(kind, search(self.slots(kind), id)?))
    }

    /// Bytes of the plain blob.
    pub fn plain_bytes(&self, kind: BlobKind, id: &Id) -> Option<u32> {
        self.find(kind, id).map(|location| location.blob.plain_bytes())
    }

    /// The positions of a blob in its kind's array, for marking blobs in arrays beside it.
    pub fn range(&self, kind: BlobKind, id: &Id) -> std::ops::Range<usize> {
        let slots = self.slots(kind);
        let Some(start) = search(slots, id) else { return 0..0 };
        let end = slots[start..].iter().position(|slot| slot.id != *id).map_or(slots.len(), |after| start + after);
        start..end
    }

    /// The blob at a position below [`Index::len`].
    pub fn location(&self, kind: BlobKind, at: usize) -> Location {
        let slot = self.slots(kind)[at];
        let blob = PackedBlob {
            id: slot.id,
            kind,
            offset: slot.offset,
            length: slot.length,
            plain_length: (slot.plain_length != 0).then_some(slot.plain_length),
        };
        Location { pack: self.packs[slot.pack as usize], blob }
    }

    /// The packs by number. One that several index files name has several numbers.
    pub(crate) fn pack_ids(&self) -> &[Id] {
        &self.packs
    }

    /// The number of the pack that holds the blob at a position.
    pub(crate) fn pack_number(&self, kind: BlobKind, at: usize) -> usize {
        self.slots(kind)[at].pack as usize
    }

    /// Blobs of a kind, duplicates counted.
    pub fn len(&self, kind: BlobKind) -> usize {
        self.slots(kind).len()
    }

    /// Whether no blob is stored.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty() && self.trees.is_empty()
    }

    /// The index files it was read from.
    pub fn files(&self) -> &[Id] {
        &self.files
    }

    /// The same index, as if read from these files.
    pub(crate) fn with_files(mut self, files: Vec<Id>) -> Self {
        self.files = files;
        self
    }

    /// All packs with their blobs, in the order they lie.
    pub fn packs(&self) -> HashMap<Id, Vec<PackedBlob>> {
        let mut packs: HashMap<Id, Vec<PackedBlob>> = self.packs.iter().map(|id| (*id, Vec::new())).collect();
        for kind in [BlobKind::Data, BlobKind::Tree] {
            for at in 0..self.len(kind) {
                let location = self.location(kind, at);
                packs.entry(location.pack).or_default().push(location.blob);
            }
        }
        for blobs in packs.values_mut() {
            blobs.sort_by_key(|blob| blob.offset);
            blobs.dedup();
        }
        packs
    }

    fn slots(&self, kind: BlobKind) -> &[Slot] {
        match kind {
            BlobKind::Data => &self.data,
            BlobKind::Tree => &self.trees,
        }
    }
}

/// The first place of an id. Ids are hashes and so lie evenly: where one must be follows from its first bytes, to within
/// about the square root of their number, and few are compared.
fn search(slots: &[Slot], id: &Id) -> Option<usize> {
    let begin = |id: &Id| id.0.first_chunk().copied().map_or(0, u64::from_be_bytes);
    let sought = begin(id);
    // Below the number of slots, since it is less than that share of them.
    let guess = ((u128::from(sought) * slots.len() as u128) >> 64) as usize;
    let (mut low, mut high, mut step) = (guess, guess, slots.len().isqrt());
    while low > 0 && begin(&slots[low].id) >= sought {
        low = low.saturating_sub(step);
        step *= 2;
    }
    while high < slots.len() && begin(&slots[high].id) < sought {
        high = slots.len().min(high + step);
        step *= 2;
    }
    let near = &slots[low..high.max(low)];
    let mut at = low + near.partition_point(|slot| begin(&slot.id) < sought);
    // Two with the same beginning are next to each other, if there ever are two.
    while slots.get(at).is_some_and(|slot| begin(&slot.id) == sought && slot.id < *id) {
        at += 1;
    }
    slots.get(at).is_some_and(|slot| slot.id == *id).then_some(at)
}

/// What the reading of index files gave so far.
#[derive(Default)]
struct Loaded {
    builder: Builder,
    damaged: Vec<(Id, Error)>,
    /// Listed, and not there when they were read.
    missing: Vec<(Id, Error)>,
}

fn lock(shared: &Mutex<Loaded>) -> MutexGuard<'_, Loaded> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn list(repository: &Repository) -> Result<Vec<Id>, Error> {
    Ok(repository.storage().list(FileKind::Index)?.into_iter().map(|listed| listed.id).collect())
}

fn load_files(cx: &RunCx<'_>, repository: &Repository, files: Vec<Id>, shared: &Mutex<Loaded>) -> Result<(), Error> {
    repository.on_all_processors(files, |_, id| {
        cx.cancel.check()?;
        let parsed = repository.load_json(FileKind::Index, id).and_then(|json| {
            IndexFile::parse(&json).map_err(|what| Error::Damaged { file: crate::File::new(FileKind::Index, id), what })
        });
        let mut loaded = lock(shared);
        match parsed {
            Ok(file) => {
                loaded.builder.files.push(id);
                file.packs.iter().for_each(|pack| loaded.builder.add_pack(pack.id, &pack.blobs));
            }
            Err(error @ Error::Storage(StorageError::NotFound { .. })) => loaded.missing.push((id, error)),
            Err(error) if error.is_damage() => loaded.damaged.push((id, error)),
            Err(error) => return Err(error),
        }
        Ok(())
    })
}

#[derive(Default)]
struct Builder {
    packs: Vec<Id>,
    data: Vec<Slot>,
    trees: Vec<Slot>,
    files: Vec<Id>,
}

impl Builder {
    fn add_pack(&mut self, id: Id, blobs: &[PackedBlob]) {
        // Four thousand million packs would be 64 EiB; the index would end long before.
        let pack = self.packs.len() as u32;
        self.packs.push(id);
        for blob in blobs {
            let slot = Slot {
                id: blob.id,
                pack,
                offset: blob.offset,
                length: blob.length,
                plain_length: blob.plain_length.unwrap_or(0),
            };
            match blob.kind {
                BlobKind::Data => self.data.push(slot),
                BlobKind::Tree => self.trees.push(slot),
            }
        }
    }

    fn build(mut self, threads: usize) -> Index {
        sort(&mut self.data, threads);
        sort(&mut self.trees, threads);
        Index { packs: self.packs, data: self.data, trees: self.trees, files: self.files }
    }
}

/// Sorts by id, halves side by side: with ten million blobs this is a good part of opening a repository.
fn sort(slots: &mut [Slot], threads: usize) {
    if threads < 2 || slots.len() < 1 << 16 {
        slots.sort_unstable_by_key(|slot| slot.id);
        return;
    }
    let middle = slots.len() / 2;
    slots.select_nth_unstable_by(middle, |a, b| a.id.cmp(&b.id));
    let (low, high) = slots.split_at_mut(middle);
    std::thread::scope(|scope| {
        scope.spawn(|| sort(low, threads / 2));
        sort(high, threads / 2);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::index_file::IndexedPack;

    fn blob(n: u32, offset: u32) -> PackedBlob {
        PackedBlob {
            id: Id::of(&n.to_le_bytes()),
            kind: BlobKind::Data,
            offset,
            length: 100,
            plain_length: Some(n + 1),
        }
    }

    #[test]
    fn a_blob_costs_48_bytes() {
        assert_eq!(size_of::<Slot>(), 48);
    }

    #[test]
    fn ids_are_found_however_unevenly_they_lie() {
        let id = |begin: u64, end: u8| {
            let mut bytes = [end; 32];
            bytes[..8].copy_from_slice(&begin.to_be_bytes());
            Id(bytes)
        };
        let begins = [0, 1, 2, 3, 5, 1 << 20, u64::MAX / 2, u64::MAX - 2, u64::MAX];
        let all = begins.into_iter().flat_map(|begin| [id(begin, 1), id(begin, 7)]);
        for left_out in all.clone() {
            let of = |id| PackedBlob { id, ..blob(0, 0) };
            let blobs = all.clone().filter(|id| *id != left_out).flat_map(|id| [of(id), of(id)]).collect();
            let index = Index::of_packs(&[IndexedPack { id: Id::of(b"pack"), blobs }]);
            for id in all.clone() {
                let range = index.range(BlobKind::Data, &id);
                assert_eq!(range.len(), if id == left_out { 0 } else { 2 }, "{id}");
                assert!(range.into_iter().all(|at| index.location(BlobKind::Data, at).blob.id == id));
            }
        }
        assert!(!Index::default().contains(BlobKind::Data, &id(5, 1)));
    }

    #[test]
    fn blobs_are_found_in_every_pack_they_lie_in() {
        let packs: Vec<IndexedPack> = (0..50)
            .map(|pack| IndexedPack {
                id: Id::of(&[pack as u8, 1]),
                blobs: (0..40).map(|n| blob(pack * 20 + n, n * 100)).collect(),
            })
            .collect();
        let index = Index::of_packs(&packs);
        assert_eq!(index.len(BlobKind::Data), 2000);
        for n in 0..1020 {
            let id = Id::of(&(n as u32).to_le_bytes());
            let expected = packs.iter().filter(|pack| pack.blobs.iter().any(|blob| blob.id == id)).count();
            let found: Vec<_> = index.locations(BlobKind::Data, &id).collect();
            assert_eq!(found.len(), expected, "{n}");
            assert!(found.iter().all(|location| location.blob.id == id));
            assert!(!index.contains(BlobKind::Tree, &id));
        }
        assert_eq!(index.find(BlobKind::Data, &Id::of(b"other")), None);
        assert_eq!(index.packs()[&packs[7].id], packs[7].blobs);
    }
}
