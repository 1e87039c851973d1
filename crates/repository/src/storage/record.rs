//! Records every call to a storage, so that tests can count requests: what a backup costs is part of what it promises.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::Timestamp;

use super::{File, FileKind, Listed, Storage, StorageError};
use crate::Cancel;

/// What a storage can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// [`Storage::put`]
    Put,
    /// [`Storage::get`]
    Get,
    /// [`Storage::list`]
    List,
    /// [`Storage::delete`]
    Delete,
    /// [`Storage::modified`]
    Modified,
}

/// One call, with what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What was asked for.
    pub verb: Verb,
    /// The kind of file asked about.
    pub kind: FileKind,
    /// The file, but for listings.
    pub file: Option<File>,
    /// Bytes of content handed over by a put, or received from a get; 0 for the rest and for a failed get.
    pub bytes: u64,
    /// Whether it succeeded.
    pub ok: bool,
}

/// A storage that keeps a record of its calls, in the order in which they ended.
pub struct Record {
    inner: Arc<dyn Storage>,
    calls: Mutex<Vec<Call>>,
}

impl Record {
    /// Records what is asked of `inner`.
    pub fn new(inner: Arc<dyn Storage>) -> Self {
        Self { inner, calls: Mutex::default() }
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<Call> {
        self.lock().clone()
    }

    /// Every call so far, which are then forgotten: what one step of a test cost.
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *self.lock())
    }

    /// How often `verb` was asked for a file of `kind`, successfully or not.
    pub fn count(&self, verb: Verb, kind: FileKind) -> usize {
        self.lock().iter().filter(|call| call.verb == verb && call.kind == kind).count()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Call>> {
        self.calls.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn note(&self, verb: Verb, file: File, bytes: usize, ok: bool) {
        self.lock().push(Call { verb, kind: file.kind, file: Some(file), bytes: bytes as u64, ok });
    }
}

impl Storage for Record {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn put(&self, file: File, bytes: &[u8]) -> Result<(), StorageError> {
        let result = self.inner.put(file, bytes);
        self.note(Verb::Put, file, bytes.len(), result.is_ok());
        result
    }

    fn get(&self, file: File, range: Option<Range<u64>>) -> Result<Vec<u8>, StorageError> {
        let result = self.inner.get(file, range);
        self.note(Verb::Get, file, result.as_ref().map_or(0, Vec::len), result.is_ok());
        result
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, StorageError> {
        let result = self.inner.list(kind);
        self.lock().push(Call { verb: Verb::List, kind, file: None, bytes: 0, ok: result.is_ok() });
        result
    }

    fn modified(&self, file: File) -> Result<Option<Timestamp>, StorageError> {
        let result = self.inner.modified(file);
        self.note(Verb::Modified, file, 0, result.is_ok());
        result
    }

    fn keep_near(&self, file: File, bytes: Option<&[u8]>) {
        self.inner.keep_near(file, bytes);
    }

    fn give_up_with(&self, part: Option<&Cancel>) {
        self.inner.give_up_with(part);
    }

    fn delete(&self, file: File) -> Result<(), StorageError> {
        let result = self.inner.delete(file);
        self.note(Verb::Delete, file, 0, result.is_ok());
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Id;
    use crate::storage::conformance;
    use crate::storage::memory::MemoryStorage;

    #[test]
    fn a_recorded_storage_conforms() {
        conformance::run(&|| Arc::new(Record::new(Arc::new(MemoryStorage::new()))));
    }

    #[test]
    fn every_call_is_recorded_with_its_bytes_and_outcome() {
        let storage = Record::new(Arc::new(MemoryStorage::new()));
        let file = File::pack(Id::of(b"a"));
        storage.put(file, b"12345").unwrap();
        storage.put(file, b"123").unwrap_err();
        storage.get(file, Some(1..3)).unwrap();
        storage.list(FileKind::Pack).unwrap();
        storage.delete(file).unwrap();
        storage.get(file, None).unwrap_err();

        assert_eq!(storage.count(Verb::Put, FileKind::Pack), 2);
        assert_eq!(storage.count(Verb::Put, FileKind::Index), 0);
        let call = |verb, bytes, ok| Call { verb, kind: FileKind::Pack, file: Some(file), bytes, ok };
        let expected = vec![
            call(Verb::Put, 5, true),
            call(Verb::Put, 3, false),
            call(Verb::Get, 2, true),
            Call { verb: Verb::List, kind: FileKind::Pack, file: None, bytes: 0, ok: true },
            call(Verb::Delete, 0, true),
            call(Verb::Get, 0, false),
        ];
        assert_eq!(storage.calls(), expected);
        assert_eq!(storage.take(), expected);
        assert_eq!(storage.calls(), []);
    }
}
