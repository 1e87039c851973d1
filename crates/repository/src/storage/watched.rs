//! A storage in memory that asks a test before it does anything: for what a bad place, a slow line or another program does
//! in the midst of a run.

use std::ops::Range;

use super::memory::MemoryStorage;
use super::{File, FileKind, Listed, Storage, StorageError};

/// A place that passes everything on after a look at it. `watch` is given what lies there, to change it, and what is about
/// to be done, to hold it up or to fail it.
pub struct Watched<F> {
    /// The place.
    pub inner: MemoryStorage,
    /// Asked before each call.
    pub watch: F,
}

/// What a call is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked<'a> {
    /// Put these bytes.
    Put(File, &'a [u8]),
    /// Read it, or a part of it.
    Get(File),
}

impl<F: Fn(&MemoryStorage, Asked<'_>) -> Result<(), StorageError> + Send + Sync> Storage for Watched<F> {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn put(&self, file: File, bytes: &[u8]) -> Result<(), StorageError> {
        (self.watch)(&self.inner, Asked::Put(file, bytes))?;
        self.inner.put(file, bytes)
    }

    fn get(&self, file: File, range: Option<Range<u64>>) -> Result<Vec<u8>, StorageError> {
        (self.watch)(&self.inner, Asked::Get(file))?;
        self.inner.get(file, range)
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, StorageError> {
        self.inner.list(kind)
    }

    fn delete(&self, file: File) -> Result<(), StorageError> {
        self.inner.delete(file)
    }
}
