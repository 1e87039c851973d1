//! Keeps the packs of a run on this machine until all copies have them, so that what was just uploaded to one is not
//! downloaded to be uploaded to the next.
//!
//! A courtesy, as [`super::follow`]: a pack for which there is no room is fetched from where it was put.

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use std::sync::Arc;

use jiff::Timestamp;

use super::{File, FileKind, Listed, Storage, StorageError};
use crate::Cancel;
use crate::fs::free_bytes;
use crate::limits::SPOOL_BYTES_LEFT_MIN;

/// A storage whose new packs are also kept in a folder. What lies there is as it is stored: encrypted.
///
/// Whoever makes it removes the folder after the run.
pub struct Spool {
    inner: Arc<dyn Storage>,
    folder: PathBuf,
    bytes_max: u64,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    packs: HashMap<File, u64>,
    bytes: u64,
}

impl Spool {
    /// Keeps up to `bytes_max` of what is put into `inner` in `folder`, which is there, is empty and nobody else's.
    pub fn new(inner: Arc<dyn Storage>, folder: PathBuf, bytes_max: u64) -> Self {
        Self { inner, folder, bytes_max, kept: Mutex::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, file: File) -> PathBuf {
        self.folder.join(file.id.to_hex())
    }

    /// Keeps a pack where there is room. That it cannot be kept is no failure.
    fn keep(&self, file: File, bytes: &[u8]) {
        let length = bytes.len() as u64;
        let has_room = free_bytes(&self.folder).is_ok_and(|free| free >= SPOOL_BYTES_LEFT_MIN + length);
        {
            // The room is taken before it is used, since packs come from several threads.
            let mut kept = self.kept();
            if !has_room || kept.bytes + length > self.bytes_max {
                return;
            }
            kept.bytes += length;
        }
        if fs::write(self.path(file), bytes).is_ok() {
            self.kept().packs.insert(file, length);
        } else {
            self.kept().bytes -= length;
            // Half a pack helps nobody.
            let _ = fs::remove_file(self.path(file));
        }
    }

    /// A kept pack, or the bytes of `range` in it.
    fn read(&self, file: File, range: Option<&Range<u64>>) -> Option<Vec<u8>> {
        use std::os::unix::fs::FileExt as _;
        let length = *self.kept().packs.get(&file)?;
        let range = range.cloned().unwrap_or(0..length);
        if range.start > range.end || range.end > length {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(range.end - range.start).ok()?];
        fs::File::open(self.path(file)).and_then(|open| open.read_exact_at(&mut bytes, range.start)).ok()?;
        Some(bytes)
    }
}

impl Storage for Spool {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn put(&self, file: File, bytes: &[u8]) -> Result<(), StorageError> {
        self.inner.put(file, bytes)?;
        if file.kind == FileKind::Pack {
            self.keep(file, bytes);
        }
        Ok(())
    }

    fn get(&self, file: File, range: Option<Range<u64>>) -> Result<Vec<u8>, StorageError> {
        match self.read(file, range.as_ref()) {
            Some(bytes) => Ok(bytes),
            None => self.inner.get(file, range),
        }
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, StorageError> {
        self.inner.list(kind)
    }

    fn modified(&self, file: File) -> Result<Option<Timestamp>, StorageError> {
        self.inner.modified(file)
    }

    fn keep_near(&self, file: File, bytes: Option<&[u8]>) {
        self.inner.keep_near(file, bytes);
    }

    fn give_up_with(&self, part: Option<&Cancel>) {
        self.inner.give_up_with(part);
    }

    fn delete(&self, file: File) -> Result<(), StorageError> {
        let mut kept = self.kept();
        if let Some(bytes) = kept.packs.remove(&file) {
            kept.bytes -= bytes;
            // It lies in a folder that is removed after the run.
            let _ = fs::remove_file(self.path(file));
        }
        drop(kept);
        self.inner.delete(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Id;
    use crate::storage::conformance;
    use crate::storage::memory::MemoryStorage;
    use crate::storage::record::{Record, Verb};

    #[test]
    fn a_spool_conforms() {
        let folders = Mutex::new(Vec::new());
        conformance::run(&|| {
            let folder = tempfile::tempdir().unwrap();
            let spool = Spool::new(Arc::new(MemoryStorage::new()), folder.path().to_owned(), 1 << 20);
            folders.lock().unwrap().push(folder);
            Arc::new(spool)
        });
    }

    #[test]
    fn what_was_put_is_read_from_here_as_far_as_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let record = Arc::new(Record::new(Arc::new(MemoryStorage::new())));
        let spool = Spool::new(record.clone(), folder.path().to_owned(), 10);
        let pack = |name: &[u8]| File::pack(Id::of(name));
        spool.put(pack(b"kept"), b"12345678").unwrap();
        spool.put(pack(b"too much"), b"123").unwrap();
        spool.put(File::new(FileKind::Index, Id::of(b"i")), b"1").unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(spool.get(pack(b"kept"), Some(2..4)).unwrap(), b"34");
        assert_eq!(spool.get(pack(b"kept"), None).unwrap(), b"12345678");
        assert_eq!(record.count(Verb::Get, FileKind::Pack), 0);
        assert_eq!(spool.get(pack(b"too much"), None).unwrap(), b"123");
        assert_eq!(record.count(Verb::Get, FileKind::Pack), 1);
        // A disk that lost what was kept is made up for.
        fs::remove_file(folder.path().join(pack(b"kept").id.to_hex())).unwrap();
        assert_eq!(spool.get(pack(b"kept"), None).unwrap(), b"12345678");
        spool.delete(pack(b"kept")).unwrap();
        assert!(spool.get(pack(b"kept"), None).is_err());
    }
}
