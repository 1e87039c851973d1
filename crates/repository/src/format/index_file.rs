//! Index files: which blobs lie where in which packs.

use serde::{Deserialize, Serialize};

use super::id::Id;
use super::pack::{self, BlobKind, PackedBlob};

/// One index file. Packs of all index files together make the index; an older file may be superseded by a newer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexFile {
    /// Index files that this one stands for. Only read: Lifeboat deletes replaced files itself.
    pub supersedes: Vec<Id>,
    /// The packs.
    pub packs: Vec<IndexedPack>,
}

/// A pack and its blobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedPack {
    /// The pack.
    pub id: Id,
    /// Its blobs, in the order they lie.
    pub blobs: Vec<PackedBlob>,
}

impl IndexedPack {
    /// The size a pack of these blobs has.
    pub fn pack_bytes(&self) -> u64 {
        let blobs: u64 = self.blobs.iter().map(|blob| u64::from(blob.length)).sum();
        blobs + pack::trailer_bytes(&self.blobs) as u64
    }
}

#[derive(Serialize, Deserialize)]
struct Written {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    supersedes: Vec<Id>,
    packs: Vec<WrittenPack>,
}

/// A pack as it stands in an index file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WrittenPack {
    id: Id,
    blobs: Vec<WrittenBlob>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct WrittenBlob {
    id: Id,
    #[serde(rename = "type")]
    kind: WrittenKind,
    offset: u32,
    length: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uncompressed_length: Option<u32>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenKind {
    Data,
    Tree,
}

impl IndexFile {
    /// Reads the JSON of an index file.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let written: Written = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let packs = written.packs.into_iter().map(IndexedPack::try_from).collect::<Result<_, _>>()?;
        Ok(Self { supersedes: written.supersedes, packs })
    }

    /// The JSON of the file.
    pub fn to_json(&self) -> Vec<u8> {
        let packs = self.packs.iter().map(WrittenPack::from).collect();
        super::go::to_json(&Written { supersedes: self.supersedes.clone(), packs })
    }
}

impl From<&IndexedPack> for WrittenPack {
    fn from(pack: &IndexedPack) -> Self {
        let blobs = pack.blobs.iter().map(|blob| WrittenBlob {
            id: blob.id,
            kind: match blob.kind {
                BlobKind::Data => WrittenKind::Data,
                BlobKind::Tree => WrittenKind::Tree,
            },
            offset: blob.offset,
            length: blob.length,
            uncompressed_length: blob.plain_length,
        });
        Self { id: pack.id, blobs: blobs.collect() }
    }
}

impl TryFrom<WrittenPack> for IndexedPack {
    type Error = String;

    fn try_from(written: WrittenPack) -> Result<Self, String> {
        let blobs = written.blobs.into_iter().map(|blob| {
            let blob = PackedBlob {
                id: blob.id,
                kind: match blob.kind {
                    WrittenKind::Data => BlobKind::Data,
                    WrittenKind::Tree => BlobKind::Tree,
                },
                offset: blob.offset,
                length: blob.length,
                // Go's `omitempty` drops a zero; other writers may keep it.
                plain_length: blob.uncompressed_length.filter(|length| *length != 0),
            };
            pack::check_lengths(&blob)?;
            if blob.offset.checked_add(blob.length).is_none_or(|end| end as usize > crate::limits::PACK_BYTES_MAX) {
                return Err(format!("blob {} ends past what a pack can hold", blob.id));
            }
            Ok(blob)
        });
        let mut blobs = blobs.collect::<Result<Vec<_>, String>>()?;
        blobs.sort_by_key(|blob| blob.offset);
        Ok(Self { id: written.id, blobs })
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn the_json_is_restics() {
        let blob = PackedBlob { id: Id([1; 32]), kind: BlobKind::Tree, offset: 0, length: 40, plain_length: Some(90) };
        let plain = PackedBlob { id: Id([2; 32]), kind: BlobKind::Data, offset: 40, length: 50, plain_length: None };
        let file =
            IndexFile { supersedes: vec![], packs: vec![IndexedPack { id: Id([3; 32]), blobs: vec![blob, plain] }] };
        let json = file.to_json();
        expect![[r#"{"packs":[{"id":"0303030303030303030303030303030303030303030303030303030303030303","blobs":[{"id":"0101010101010101010101010101010101010101010101010101010101010101","type":"tree","offset":0,"length":40,"uncompressed_length":90},{"id":"0202020202020202020202020202020202020202020202020202020202020202","type":"data","offset":40,"length":50}]}]}"#]]
        .assert_eq(std::str::from_utf8(&json).unwrap());
        assert_eq!(IndexFile::parse(&json).unwrap(), file);
    }
}
