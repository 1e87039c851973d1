//! A storage in memory: the other half of the `Storage` seam, for tests and simulations.
//!
//! Besides the seam itself it lets a test look behind the engine's back: read, damage, cut, remove and plant files.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use super::{File, FileKind, Listed, Storage, StorageError};
use crate::Id;

/// A place in memory. Clones share it; [`MemoryStorage::fork`] copies it.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    files: Arc<Mutex<Files>>,
}

/// The bytes are shared, so that a reader copies them without holding up the others.
type Files = BTreeMap<File, Arc<Vec<u8>>>;

impl MemoryStorage {
    /// An empty place.
    pub fn new() -> Self {
        Self::default()
    }

    /// A second place with what this one holds now; from then on they differ.
    pub fn fork(&self) -> Self {
        Self { files: Arc::new(Mutex::new(self.lock().clone())) }
    }

    /// Every file, by kind and id.
    pub fn files(&self) -> Vec<File> {
        self.lock().keys().copied().collect()
    }

    /// What a file holds.
    pub fn read(&self, file: File) -> Option<Vec<u8>> {
        Some(self.lock().get(&file)?.to_vec())
    }

    /// Puts `bytes` in a file's place, whether or not it is there: what a foreign program might do.
    pub fn plant(&self, file: File, bytes: Vec<u8>) {
        self.lock().insert(file, Arc::new(bytes));
    }

    /// Inverts the bits of the byte at `offset`. False if there is no such byte.
    #[must_use]
    pub fn flip(&self, file: File, offset: usize) -> bool {
        let mut files = self.lock();
        let Some(byte) = files.get_mut(&file).and_then(|bytes| Arc::make_mut(bytes).get_mut(offset)) else {
            return false;
        };
        *byte = !*byte;
        true
    }

    /// Cuts a file to its first `bytes` bytes. False if it is not there or not longer.
    #[must_use]
    pub fn truncate(&self, file: File, bytes: usize) -> bool {
        let mut files = self.lock();
        let Some(content) = files.get_mut(&file).filter(|content| content.len() > bytes) else { return false };
        Arc::make_mut(content).truncate(bytes);
        true
    }

    /// Removes a file. False if it is not there.
    #[must_use]
    pub fn remove(&self, file: File) -> bool {
        self.lock().remove(&file).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Storage for MemoryStorage {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn put(&self, file: File, bytes: &[u8]) -> Result<(), StorageError> {
        let bytes = Arc::new(bytes.to_vec());
        let mut files = self.lock();
        if files.contains_key(&file) {
            return Err(StorageError::AlreadyExists { file, location: self.location() });
        }
        files.insert(file, bytes);
        Ok(())
    }

    fn get(&self, file: File, range: Option<Range<u64>>) -> Result<Vec<u8>, StorageError> {
        let content = self.lock().get(&file).cloned();
        let Some(content) = content else { return Err(StorageError::NotFound { file, location: self.location() }) };
        let Some(range) = range else { return Ok(content.to_vec()) };
        let part = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        match part.and_then(|(start, end)| content.get(start..end)) {
            Some(part) => Ok(part.to_vec()),
            None => Err(StorageError::Permanent {
                location: self.location(),
                what: format!("read {file}: bytes {range:?} of {} asked for", content.len()),
            }),
        }
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, StorageError> {
        let files = self.lock();
        let of_kind = files.range(File::new(kind, Id::ZERO)..).take_while(|(file, _)| file.kind == kind);
        Ok(of_kind.map(|(file, content)| Listed { id: file.id, bytes: content.len() as u64 }).collect())
    }

    fn delete(&self, file: File) -> Result<(), StorageError> {
        match self.lock().remove(&file) {
            Some(_) => Ok(()),
            None => Err(StorageError::NotFound { file, location: self.location() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::conformance;

    #[test]
    fn memory_storage_conforms() {
        conformance::run(&|| Arc::new(MemoryStorage::new()));
    }

    #[test]
    fn a_test_can_look_at_damage_cut_plant_and_remove_files() {
        let storage = MemoryStorage::new();
        let file = File::pack(Id::of(b"a"));
        storage.put(file, b"abc").unwrap();
        assert_eq!((storage.files(), storage.read(file)), (vec![file], Some(b"abc".to_vec())));

        assert!(storage.flip(file, 1) && !storage.flip(file, 3));
        assert_eq!(storage.get(file, None).unwrap(), [b'a', !b'b', b'c']);
        assert!(storage.truncate(file, 2) && !storage.truncate(file, 2));
        assert_eq!(storage.get(file, None).unwrap(), [b'a', !b'b']);
        storage.plant(file, b"new".to_vec());
        assert_eq!(storage.get(file, None).unwrap(), b"new");
        assert!(storage.remove(file) && !storage.remove(file) && !storage.flip(file, 0));
        assert_eq!((storage.files(), storage.read(file)), (vec![], None));
    }

    #[test]
    fn clones_share_and_forks_do_not() {
        let storage = MemoryStorage::new();
        let file = File::pack(Id::of(b"a"));
        storage.clone().put(file, b"abc").unwrap();
        let fork = storage.fork();
        assert!(fork.flip(file, 0));
        assert_eq!(storage.read(file).unwrap(), b"abc");
        assert_ne!(fork.read(file).unwrap(), b"abc");
    }
}
