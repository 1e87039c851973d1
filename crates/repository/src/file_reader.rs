//! Reads stored files by offset, without restoring them: only the blobs that hold what is asked for are fetched, each by
//! its range of its pack.
//!
//! Whoever looks things up in a database jumps to and fro in several files at once, so all files that are open share
//! one cache of blobs, which has a bound.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use crate::format::pack::BlobKind;
use crate::limits::READER_CACHE_BYTES;
use crate::{Error, Id, Index, Node, Repository};

/// What stored files are read from.
pub struct StoredFiles<'r> {
    repository: &'r Repository,
    index: &'r Index,
    cache: Mutex<Cache>,
}

/// A stored file.
pub struct StoredFile<'f> {
    files: &'f StoredFiles<'f>,
    blobs: Vec<Id>,
    /// The offset behind each blob, in bytes.
    ends: Vec<u64>,
}

impl<'r> StoredFiles<'r> {
    /// Files of `repository`, found through `index`.
    pub fn new(repository: &'r Repository, index: &'r Index) -> Self {
        Self::with_cache(repository, index, READER_CACHE_BYTES)
    }

    /// The same, keeping no more than `bytes_max` of decoded blobs, and one that is larger.
    pub fn with_cache(repository: &'r Repository, index: &'r Index, bytes_max: usize) -> Self {
        Self { repository, index, cache: Mutex::new(Cache::new(bytes_max)) }
    }

    /// Opens the file that `node` describes. Fetches nothing.
    ///
    /// # Errors
    /// [`Error::BlobMissing`] where the index lacks one of its blobs: nobody knows then where those behind it lie.
    pub fn open<'f>(&'f self, node: &Node) -> Result<StoredFile<'f>, Error> {
        let mut end = 0_u64;
        let ends = node.content.iter().map(|id| {
            let bytes = self.index.plain_bytes(BlobKind::Data, id);
            let bytes = bytes.ok_or(Error::BlobMissing { id: *id, kind: BlobKind::Data.name() })?;
            end += u64::from(bytes);
            Ok(end)
        });
        Ok(StoredFile { ends: ends.collect::<Result<_, Error>>()?, blobs: node.content.clone(), files: self })
    }

    fn blob(&self, id: &Id) -> Result<Arc<Vec<u8>>, Error> {
        if let Some(blob) = self.cache().get(id) {
            return Ok(blob);
        }
        // Not under the lock: what another thread needs may be at hand.
        let blob = Arc::new(self.repository.blob(self.index, BlobKind::Data, id)?);
        self.cache().put(*id, blob.clone());
        Ok(blob)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StoredFile<'_> {
    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Reads into `buffer` from `offset` on and returns how many bytes were read: fewer than fit only where the file ends.
    ///
    /// # Errors
    /// Those of [`Repository::blob`], which name the blob.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut at = offset;
        let mut read = 0;
        // The first blob that ends behind the offset.
        let first = self.ends.partition_point(|end| *end <= offset);
        for (id, end) in self.blobs.iter().zip(&self.ends).skip(first) {
            if read == buffer.len() {
                break;
            }
            let blob = self.files.blob(id)?;
            let start = (blob.len() as u64).checked_sub(end - at).ok_or_else(|| self.wrong_length(id, &blob))?;
            let rest = usize::try_from(start).ok().and_then(|start| blob.get(start..)).unwrap_or_default();
            let length = rest.len().min(buffer.len() - read);
            buffer[read..read + length].copy_from_slice(&rest[..length]);
            read += length;
            at = *end;
        }
        Ok(read)
    }

    /// A blob whose hash is right and whose length is not what the index says: the index is wrong.
    fn wrong_length(&self, id: &Id, blob: &[u8]) -> Error {
        let what = format!("it has {} bytes, and the index says otherwise", blob.len());
        let pack = self.files.index.find(BlobKind::Data, id).map_or(Id::ZERO, |location| location.pack);
        Error::BlobDamaged { id: *id, kind: BlobKind::Data.name(), pack, what }
    }
}

/// Decoded blobs; those that were not asked for the longest leave first.
struct Cache {
    bytes_max: usize,
    bytes: usize,
    clock: u64,
    blobs: HashMap<Id, (Arc<Vec<u8>>, u64)>,
    by_use: BTreeMap<u64, Id>,
}

impl Cache {
    fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: 0, clock: 0, blobs: HashMap::new(), by_use: BTreeMap::new() }
    }

    fn get(&mut self, id: &Id) -> Option<Arc<Vec<u8>>> {
        let (blob, used) = self.blobs.get_mut(id)?;
        self.by_use.remove(used);
        self.clock += 1;
        *used = self.clock;
        self.by_use.insert(self.clock, *id);
        Some(blob.clone())
    }

    fn put(&mut self, id: Id, blob: Arc<Vec<u8>>) {
        self.clock += 1;
        self.bytes += blob.len();
        self.by_use.insert(self.clock, id);
        // Another thread may have fetched the same meanwhile.
        if let Some((replaced, used)) = self.blobs.insert(id, (blob, self.clock)) {
            self.bytes -= replaced.len();
            self.by_use.remove(&used);
        }
        while self.bytes > self.bytes_max && self.blobs.len() > 1 {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            if let Some((blob, _)) = self.blobs.remove(&oldest) {
                self.bytes -= blob.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_keeps_what_was_asked_for_last_within_its_bound() {
        let mut cache = Cache::new(100);
        let id = |name: u8| Id::of(&[name]);
        for name in 0..3 {
            cache.put(id(name), Arc::new(vec![name; 40]));
        }
        assert!(cache.get(&id(0)).is_none(), "the oldest left");
        assert_eq!(cache.get(&id(1)).unwrap()[0], 1);
        cache.put(id(3), Arc::new(vec![3; 40]));
        assert!(cache.get(&id(1)).is_some() && cache.get(&id(2)).is_none(), "what was used since stays");
        cache.put(id(3), Arc::new(vec![3; 40]));
        assert_eq!((cache.bytes, cache.blobs.len(), cache.by_use.len()), (80, 2, 2));
        cache.put(id(4), Arc::new(vec![4; 1000]));
        assert_eq!(
            (cache.bytes, cache.blobs.len(), cache.by_use.len()),
            (1000, 1, 1),
            "one that is larger stays alone"
        );
    }
}
