//! The index the other way round: which blobs lie in a pack. Four bytes a blob, made only where it is asked for.

use super::Index;
use crate::format::pack::{self, BlobKind, PackedBlob};

/// The positions of all blobs, pack by pack.
#[derive(Debug)]
pub(crate) struct ByPack {
    /// Where each pack's blobs begin in `order`, and the end.
    starts: Vec<u32>,
    /// Positions among the data blobs, or past those among the trees.
    order: Vec<u32>,
}

impl ByPack {
    /// Sorts the positions of `index` by pack.
    pub fn of(index: &Index) -> Self {
        let mut starts = vec![0; index.packs.len() + 1];
        let slots = || index.data.iter().chain(&index.trees);
        for slot in slots() {
            starts[slot.pack as usize + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut next = starts.clone();
        let mut order = vec![0; slots().count()];
        // 48 bytes a blob: an index of four thousand million does not fit into a machine that runs this.
        for (at, slot) in (0u32..).zip(slots()) {
            let place = &mut next[slot.pack as usize];
            order[*place as usize] = at;
            *place += 1;
        }
        Self { starts, order }
    }

    /// The blobs of the pack with this number: kind and position in `index`, in no particular order.
    pub fn positions<'a>(&'a self, index: &'a Index, pack: usize) -> impl Iterator<Item = (BlobKind, usize)> + 'a {
        let data = index.data.len();
        let range = self.starts[pack] as usize..self.starts[pack + 1] as usize;
        self.order[range].iter().map(move |at| {
            let at = *at as usize;
            if at < data { (BlobKind::Data, at) } else { (BlobKind::Tree, at - data) }
        })
    }

    /// The blobs of that pack in the order they lie.
    pub fn blobs(&self, index: &Index, pack: usize) -> Vec<PackedBlob> {
        let mut blobs: Vec<_> = self.positions(index, pack).map(|(kind, at)| index.location(kind, at).blob).collect();
        blobs.sort_by_key(|blob| blob.offset);
        blobs
    }
}

impl Index {
    /// The size that each pack's blobs make, by its number.
    pub(crate) fn pack_bytes(&self) -> Vec<u64> {
        let mut bytes = vec![pack::trailer_bytes(&[]) as u64; self.packs.len()];
        for kind in [BlobKind::Data, BlobKind::Tree] {
            for at in 0..self.len(kind) {
                let blob = self.location(kind, at).blob;
                bytes[self.pack_number(kind, at)] += u64::from(blob.length) + pack::entry_bytes(&blob) as u64;
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Id;
    use crate::format::index_file::IndexedPack;

    #[test]
    fn every_pack_gives_its_own_blobs_and_its_size() {
        let packs: Vec<IndexedPack> = (0u32..20)
            .map(|pack| {
                let mut offset = 0;
                let blobs = (0..pack % 7).map(|n| {
                    let blob = PackedBlob {
                        id: Id::of(&(pack * 100 + n).to_le_bytes()),
                        kind: if n % 3 == 2 { BlobKind::Tree } else { BlobKind::Data },
                        offset,
                        length: 50 + n,
                        plain_length: (n % 2 == 0).then_some(100),
                    };
                    offset += blob.length;
                    blob
                });
                IndexedPack { id: Id::of(&[pack as u8]), blobs: blobs.collect() }
            })
            .collect();
        let index = Index::of_packs(&packs);
        let (by_pack, bytes) = (ByPack::of(&index), index.pack_bytes());
        for (number, id) in index.pack_ids().iter().enumerate() {
            let pack = packs.iter().find(|pack| pack.id == *id).unwrap();
            assert_eq!(by_pack.blobs(&index, number), pack.blobs);
            assert_eq!(bytes[number], pack.pack_bytes());
        }
    }
}
