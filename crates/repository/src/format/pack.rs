//! Packs: encrypted blobs, then an encrypted header that lists them, then the header's length (4 bytes, little endian).

use super::crypto::{self, Key};
use super::id::Id;
use crate::limits::{BLOB_BYTES_MAX, PACK_BYTES_MAX};

/// What a blob holds. The two never share a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BlobKind {
    /// A piece of a file.
    Data,
    /// A tree.
    Tree,
}

impl BlobKind {
    /// restic's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Tree => "tree",
        }
    }
}

/// One blob within a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedBlob {
    /// SHA-256 of the plain blob.
    pub id: Id,
    /// What it holds.
    pub kind: BlobKind,
    /// Where it starts in the pack.
    pub offset: u32,
    /// Bytes in the pack, encryption included.
    pub length: u32,
    /// Bytes before compression; `None` where the blob is stored uncompressed.
    pub plain_length: Option<u32>,
}

impl PackedBlob {
    /// Bytes of the plain blob.
    pub fn plain_bytes(&self) -> u32 {
        self.plain_length.unwrap_or(self.length.saturating_sub(crypto::OVERHEAD_BYTES as u32))
    }
}

const ENTRY_BYTES: usize = 1 + 4 + 32;
const ENTRY_BYTES_COMPRESSED: usize = ENTRY_BYTES + 4;
const LENGTH_BYTES: usize = 4;

/// The plain header that lists `blobs`, which lie in the pack in this order.
pub fn encode_header(blobs: &[PackedBlob]) -> Vec<u8> {
    let mut header = Vec::with_capacity(blobs.len() * ENTRY_BYTES_COMPRESSED);
    for blob in blobs {
        let kind = u8::from(blob.kind == BlobKind::Tree) + if blob.plain_length.is_some() { 2 } else { 0 };
        header.push(kind);
        header.extend_from_slice(&blob.length.to_le_bytes());
        if let Some(plain_length) = blob.plain_length {
            header.extend_from_slice(&plain_length.to_le_bytes());
        }
        header.extend_from_slice(&blob.id.0);
    }
    header
}

/// Bytes that encrypted header and length take in a pack of `blobs`.
pub fn trailer_bytes(blobs: &[PackedBlob]) -> usize {
    blobs.iter().map(entry_bytes).sum::<usize>() + crypto::OVERHEAD_BYTES + LENGTH_BYTES
}

/// Bytes that one blob takes in the plain header.
pub fn entry_bytes(blob: &PackedBlob) -> usize {
    if blob.plain_length.is_some() { ENTRY_BYTES_COMPRESSED } else { ENTRY_BYTES }
}

/// The bytes at a pack's end that hold its encrypted header and length, given its last four bytes and its size.
pub fn header_range(pack_bytes: u64, last_four: [u8; 4]) -> Result<std::ops::Range<u64>, String> {
    let header = u64::from(u32::from_le_bytes(last_four));
    let end = pack_bytes.checked_sub(LENGTH_BYTES as u64).ok_or("it is too short for a pack")?;
    if pack_bytes > PACK_BYTES_MAX as u64 {
        return Err(format!("it is larger than {PACK_BYTES_MAX} bytes"));
    }
    if header > end || header < (crypto::OVERHEAD_BYTES + ENTRY_BYTES) as u64 {
        return Err(format!("its header cannot have {header} bytes"));
    }
    Ok(end - header..end)
}

/// Reads the header at the end of `tail`, which are the last bytes of a pack of `pack_bytes` bytes, or all of it.
pub fn header_of(key: &Key, tail: &[u8], pack_bytes: u64) -> Result<Vec<PackedBlob>, String> {
    let last = tail.last_chunk::<LENGTH_BYTES>().ok_or("it is too short for a pack")?;
    let range = header_range(pack_bytes, *last)?;
    let from_end = |at: u64| usize::try_from(pack_bytes - at).ok().and_then(|back| tail.len().checked_sub(back));
    let header = from_end(range.start).zip(from_end(range.end)).and_then(|(start, end)| tail.get(start..end));
    let header = header.ok_or("its header is longer than its blobs make it")?;
    decode_header(key, &mut header.to_vec(), range.start)
}

/// Decrypts and reads a pack's header; `blobs_bytes` is where the header starts, so what all blobs together must fill.
pub fn decode_header(key: &Key, encrypted: &mut [u8], blobs_bytes: u64) -> Result<Vec<PackedBlob>, String> {
    let plain = key.decrypt_in_place(encrypted).map_err(|error| format!("header: {error}"))?;
    let blobs = parse_header(plain)?;
    let filled = blobs.last().map_or(0, |last| u64::from(last.offset) + u64::from(last.length));
    if filled != blobs_bytes {
        return Err(format!("its blobs take {filled} bytes where {blobs_bytes} are"));
    }
    Ok(blobs)
}

/// Reads a decrypted header.
pub fn parse_header(plain: &[u8]) -> Result<Vec<PackedBlob>, String> {
    let mut blobs = Vec::new();
    let mut rest = plain;
    let mut offset = 0u32;
    while let Some((&kind, entry)) = rest.split_first() {
        let compressed = kind & 2 != 0;
        if kind > 3 {
            return Err(format!("blob type {kind} is not known"));
        }
        let size = if compressed { ENTRY_BYTES_COMPRESSED } else { ENTRY_BYTES } - 1;
        let (entry, next) = entry.split_at_checked(size).ok_or("the header ends within an entry")?;
        let (lengths, id) = entry.split_at(size - 32);
        let length = read_u32(lengths);
        let blob = PackedBlob {
            id: Id(id.try_into().map_err(|_| "the header ends within an entry")?),
            kind: if kind & 1 == 1 { BlobKind::Tree } else { BlobKind::Data },
            offset,
            length,
            plain_length: compressed.then(|| read_u32(&lengths[4..])),
        };
        check_lengths(&blob)?;
        blobs.push(blob);
        offset = offset.checked_add(length).ok_or("its blobs are larger than a pack can be")?;
        rest = next;
    }
    Ok(blobs)
}

fn read_u32(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).rev().fold(0, |value, byte| value << 8 | u32::from(*byte))
}

/// Holds a blob's lengths against what can be, before anything is allocated for it.
pub fn check_lengths(blob: &PackedBlob) -> Result<(), String> {
    if blob.length < crypto::OVERHEAD_BYTES as u32 || blob.length as usize > PACK_BYTES_MAX {
        return Err(format!("blob {} cannot have {} bytes", blob.id, blob.length));
    }
    // No program stores an empty blob, and where lengths are kept zero stands for "not compressed".
    if blob.plain_length == Some(0) {
        return Err(format!("blob {} is compressed and cannot have 0 bytes", blob.id));
    }
    if blob.plain_bytes() > BLOB_BYTES_MAX {
        return Err(format!("blob {} is larger than {BLOB_BYTES_MAX} bytes", blob.id));
    }
    Ok(())
}

/// Decrypts, decompresses and verifies one blob. `stored` are its bytes in the pack.
pub fn open_blob(key: &Key, blob: &PackedBlob, stored: &mut [u8]) -> Result<Vec<u8>, String> {
    BlobOpener::new(key)?.open(blob, stored).map(<[u8]>::to_vec)
}

/// Opens many blobs one after the other; keeps its buffer and the decompressor's state from blob to blob.
pub struct BlobOpener<'k> {
    key: &'k Key,
    decompressor: zstd::bulk::Decompressor<'static>,
    plain: Vec<u8>,
}

impl<'k> BlobOpener<'k> {
    /// An opener for blobs encrypted with `key`.
    pub fn new(key: &'k Key) -> Result<Self, String> {
        let decompressor = zstd::bulk::Decompressor::new().map_err(|error| format!("zstd: {error}"))?;
        Ok(Self { key, decompressor, plain: Vec::new() })
    }

    /// Decrypts, decompresses and verifies one blob. `stored` are its bytes in the pack.
    pub fn open<'a>(&'a mut self, blob: &PackedBlob, stored: &'a mut [u8]) -> Result<&'a [u8], String> {
        let decrypted = self.key.decrypt_in_place(stored).map_err(|error| error.to_string())?;
        let plain = match blob.plain_length {
            None => &*decrypted,
            Some(length) => {
                self.plain.clear();
                // Held against `BLOB_BYTES_MAX` by `check_lengths` before any blob gets here.
                self.plain.reserve(length as usize);
                let unpacked = self.decompressor.decompress_to_buffer(decrypted, &mut self.plain);
                unpacked.map_err(|error| format!("zstd: {error}"))?;
                &self.plain
            }
        };
        verify_blob(blob, plain)?;
        Ok(plain)
    }
}

/// Fails unless `plain` is what `blob` names.
pub fn verify_blob(blob: &PackedBlob, plain: &[u8]) -> Result<(), String> {
    if plain.len() != blob.plain_bytes() as usize {
        return Err(format!("it has {} bytes, not {}", plain.len(), blob.plain_bytes()));
    }
    let id = Id::of(plain);
    if id != blob.id {
        return Err(format!("its content has the SHA-256 {id}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(kind: BlobKind, offset: u32, length: u32, plain_length: Option<u32>) -> PackedBlob {
        PackedBlob { id: Id::of(&offset.to_le_bytes()), kind, offset, length, plain_length }
    }

    #[test]
    fn a_header_is_read_back() {
        let blobs = [
            blob(BlobKind::Data, 0, 100, None),
            blob(BlobKind::Data, 100, 50, Some(900)),
            blob(BlobKind::Tree, 150, 60, Some(70)),
            blob(BlobKind::Tree, 210, 33, None),
        ];
        let header = encode_header(&blobs);
        assert_eq!(header.len() + 32 + 4, trailer_bytes(&blobs));
        assert_eq!(parse_header(&header).unwrap(), blobs);
    }

    #[test]
    fn malformed_headers_are_refused() {
        let good = encode_header(&[blob(BlobKind::Data, 0, 100, Some(900))]);
        assert!(parse_header(&good[..good.len() - 1]).unwrap_err().contains("within an entry"));
        let mut unknown = good.clone();
        unknown[0] = 4;
        assert!(parse_header(&unknown).unwrap_err().contains("not known"));
        let mut huge = good;
        huge[5..9].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(parse_header(&huge).unwrap_err().contains("larger than"));
        let empty = encode_header(&[blob(BlobKind::Tree, 0, 100, Some(0))]);
        assert!(parse_header(&empty).unwrap_err().contains("cannot have 0 bytes"));
        assert!(header_range(3, [0; 4]).is_err());
        assert!(header_range(1000, 2000u32.to_le_bytes()).is_err());
    }
}
