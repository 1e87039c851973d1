//! Fills packs with encrypted blobs and closes them.

use crate::Id;
use crate::format::crypto::{Key, NoRandomness};
use crate::format::index_file::IndexedPack;
use crate::format::pack::{self, PackedBlob};
use crate::limits::{PACK_BYTES_MAX, PACK_BYTES_TARGET};

/// A pack that blobs are still added to.
#[derive(Debug, Default)]
pub struct OpenPack {
    bytes: Vec<u8>,
    blobs: Vec<PackedBlob>,
}

/// A pack ready to be stored.
#[derive(Debug)]
pub struct SealedPack {
    /// The whole file.
    pub bytes: Vec<u8>,
    /// Its name and its blobs.
    pub listing: IndexedPack,
}

impl OpenPack {
    /// An empty pack that reuses a buffer.
    pub fn with_buffer(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        Self { bytes: buffer, blobs: Vec::new() }
    }

    /// Adds a blob in its stored form; `blob.offset` is set here.
    pub fn push(&mut self, mut blob: PackedBlob, stored: &[u8]) {
        debug_assert_eq!(blob.length as usize, stored.len());
        debug_assert!(self.blobs.iter().all(|other| other.kind == blob.kind));
        if self.bytes.capacity() == 0 {
            // Sized once: growing by doubling would leave twice the pack behind.
            self.bytes.reserve_exact(PACK_BYTES_TARGET + PACK_BYTES_TARGET / 8);
        }
        // Packs end at 128 MiB, which `is_full` and the blob limit see to, so the offset fits.
        blob.offset = self.bytes.len() as u32;
        self.bytes.extend_from_slice(stored);
        self.blobs.push(blob);
    }

    /// Whether it has reached its target size.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= PACK_BYTES_TARGET
    }

    /// Whether a blob of `length` stored bytes leaves it no larger than restic reads. An empty pack takes any blob.
    pub fn has_room(&self, length: usize) -> bool {
        let header = pack::trailer_bytes(&self.blobs) + 64;
        self.blobs.is_empty() || self.bytes.len() + length + header <= PACK_BYTES_MAX
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.blobs.is_empty()
    }

    /// Adds header and length, and names the pack by its hash.
    pub fn seal(mut self, key: &Key) -> Result<SealedPack, NoRandomness> {
        let start = self.bytes.len();
        key.encrypt_to(&pack::encode_header(&self.blobs), &mut self.bytes)?;
        // A header of a full pack has some kilobytes.
        let header = (self.bytes.len() - start) as u32;
        self.bytes.extend_from_slice(&header.to_le_bytes());
        let id = Id::of(&self.bytes);
        Ok(SealedPack { bytes: self.bytes, listing: IndexedPack { id, blobs: self.blobs } })
    }
}
