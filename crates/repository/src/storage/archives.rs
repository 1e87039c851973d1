//! The seam to a place of archives: a few large objects under names that people read, written and read as streams. A
//! repository's files go through [`super::Storage`], which holds them in memory whole.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::StorageError;
use super::limit::Lanes;
use crate::limits::{ARCHIVE_PART_BYTES, ARCHIVE_PART_BYTES_MAX, ARCHIVE_PARTS_MAX};
use crate::{Cancel, Clock};

/// An object as a listing gives it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredArchive {
    /// Its path below the place's root, with `/` between parts.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// A place that keeps archives. Calls block, as those of [`super::Storage`] do.
pub trait ArchivePlace: Send + Sync {
    /// The name users know the place by, without secrets.
    fn location(&self) -> String;

    /// All objects below `folder`, at any depth, in no particular order; an empty `folder` is the place's root. What does
    /// not exist holds nothing.
    fn list(&self, folder: &str) -> Result<Vec<StoredArchive>, StorageError>;

    /// Begins an object. Nothing of it is seen before [`ArchiveWriter::finish`], and nothing of it stays where that is not
    /// reached.
    fn create(&self, path: &str) -> Result<Box<dyn ArchiveWriter + '_>, StorageError>;

    /// Reads the bytes of `range`, all of which the object has.
    fn read(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>, StorageError>;

    /// When an object was written, by the place's own clock. `None` where it does not say.
    fn modified(&self, _path: &str) -> Result<Option<Timestamp>, StorageError> {
        Ok(None)
    }

    /// Removes an object. That it is not there is no error.
    fn delete(&self, path: &str) -> Result<(), StorageError>;
}

/// An object on its way.
pub trait ArchiveWriter {
    /// Adds bytes: equally many each time but the last, since some servers want parts of one size.
    fn write(&mut self, part: Vec<u8>) -> Result<(), StorageError>;

    /// Makes the object durable and seen, whole, in the place of the one that has its name.
    fn finish(self: Box<Self>) -> Result<(), StorageError>;
}

/// Reads an object from its start to its end, part by part.
pub struct ArchiveReader<'a> {
    place: &'a dyn ArchivePlace,
    path: &'a str,
    bytes_total: u64,
    at: u64,
    part: io::Cursor<Vec<u8>>,
}

impl<'a> ArchiveReader<'a> {
    /// Reads `object` of `place`.
    pub fn new(place: &'a dyn ArchivePlace, object: &'a StoredArchive) -> Self {
        Self { place, path: &object.path, bytes_total: object.bytes, at: 0, part: io::Cursor::default() }
    }
}

impl io::Read for ArchiveReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.part.position() == self.part.get_ref().len() as u64 && self.at < self.bytes_total {
            let end = self.bytes_total.min(self.at + ARCHIVE_PART_BYTES as u64);
            let part = self.place.read(self.path, self.at..end).map_err(io::Error::other)?;
            self.at = end;
            self.part = io::Cursor::new(part);
        }
        self.part.read(buffer)
    }
}

/// Writes an object from a stream of bytes: collects them to parts.
pub struct ArchiveSink<'a> {
    writer: Box<dyn ArchiveWriter + 'a>,
    part: Vec<u8>,
    part_bytes: usize,
    cancel: &'a Cancel,
    bytes: u64,
}

impl<'a> ArchiveSink<'a> {
    /// Begins the object `path`, of about `bytes_expected`: that many fit into the parts that a server takes.
    pub fn create(
        place: &'a dyn ArchivePlace,
        path: &str,
        bytes_expected: u64,
        cancel: &'a Cancel,
    ) -> Result<Self, StorageError> {
        let wanted = usize::try_from(bytes_expected / ARCHIVE_PARTS_MAX).unwrap_or(usize::MAX);
        let part_bytes = wanted.clamp(ARCHIVE_PART_BYTES, ARCHIVE_PART_BYTES_MAX);
        Ok(Self { writer: place.create(path)?, part: Vec::new(), part_bytes, cancel, bytes: 0 })
    }

    /// Sends what is left, and makes the object seen. Gives its size in bytes.
    pub fn finish(mut self) -> Result<u64, StorageError> {
        if !self.part.is_empty() {
            self.writer.write(std::mem::take(&mut self.part))?;
        }
        self.writer.finish()?;
        Ok(self.bytes)
    }
}

impl io::Write for ArchiveSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.part_bytes - self.part.len());
        self.part.extend_from_slice(&bytes[..taken]);
        self.bytes += taken as u64;
        if self.part.len() == self.part_bytes {
            self.cancel.check().map_err(io::Error::other)?;
            let part = std::mem::take(&mut self.part);
            self.writer.write(part).map_err(io::Error::other)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A place whose content crosses the line no faster than it may, as [`super::limit::Limit`].
pub struct LimitedArchives {
    inner: Arc<dyn ArchivePlace>,
    lanes: Lanes,
}

impl LimitedArchives {
    /// Limits `inner` to `up` and `down` bytes a second; `None` is as fast as it goes.
    pub fn new(
        inner: Arc<dyn ArchivePlace>,
        up: Option<NonZeroU64>,
        down: Option<NonZeroU64>,
        clock: Arc<dyn Clock>,
        cancel: Cancel,
    ) -> Self {
        Self { inner, lanes: Lanes::new(up, down, clock, cancel) }
    }
}

struct LimitedWriter<'a> {
    place: &'a LimitedArchives,
    inner: Box<dyn ArchiveWriter + 'a>,
}

impl ArchivePlace for LimitedArchives {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn list(&self, folder: &str) -> Result<Vec<StoredArchive>, StorageError> {
        self.inner.list(folder)
    }

    fn create(&self, path: &str) -> Result<Box<dyn ArchiveWriter + '_>, StorageError> {
        Ok(Box::new(LimitedWriter { place: self, inner: self.inner.create(path)? }))
    }

    fn read(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>, StorageError> {
        self.lanes.wait_down(range.end.saturating_sub(range.start));
        self.inner.read(path, range)
    }

    fn modified(&self, path: &str) -> Result<Option<Timestamp>, StorageError> {
        self.inner.modified(path)
    }

    fn delete(&self, path: &str) -> Result<(), StorageError> {
        self.inner.delete(path)
    }
}

impl ArchiveWriter for LimitedWriter<'_> {
    fn write(&mut self, part: Vec<u8>) -> Result<(), StorageError> {
        self.place.lanes.wait_up(part.len() as u64);
        self.inner.write(part)
    }

    fn finish(self: Box<Self>) -> Result<(), StorageError> {
        self.inner.finish()
    }
}

/// A place in memory, for tests.
#[derive(Default)]
pub struct MemoryArchives {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl MemoryArchives {
    /// What is in it. Changing it damages the place.
    pub fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct MemoryWriter<'a> {
    place: &'a MemoryArchives,
    path: String,
    bytes: Vec<u8>,
}

impl ArchivePlace for MemoryArchives {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn list(&self, folder: &str) -> Result<Vec<StoredArchive>, StorageError> {
        let start = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let objects = self.objects();
        let below = objects.iter().filter(|(path, _)| path.starts_with(&start));
        Ok(below.map(|(path, bytes)| StoredArchive { path: path.clone(), bytes: bytes.len() as u64 }).collect())
    }

    fn create(&self, path: &str) -> Result<Box<dyn ArchiveWriter + '_>, StorageError> {
        Ok(Box::new(MemoryWriter { place: self, path: path.to_owned(), bytes: Vec::new() }))
    }

    fn read(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>, StorageError> {
        let objects = self.objects();
        let bytes = objects.get(path).and_then(|bytes| bytes.get(range.start as usize..range.end as usize));
        bytes.map(<[u8]>::to_vec).ok_or_else(|| StorageError::Permanent {
            location: self.location(),
            what: format!("read {path}: it has no bytes {range:?}"),
        })
    }

    fn delete(&self, path: &str) -> Result<(), StorageError> {
        self.objects().remove(path);
        Ok(())
    }
}

impl ArchiveWriter for MemoryWriter<'_> {
    fn write(&mut self, part: Vec<u8>) -> Result<(), StorageError> {
        self.bytes.extend(part);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), StorageError> {
        self.place.objects().insert(self.path, self.bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::SystemClock;
    use crate::storage::conformance;

    #[test]
    fn a_place_in_memory_and_a_limited_one_conform() {
        conformance::archives(&MemoryArchives::default());
        let (rate, memory) = (NonZeroU64::new(1 << 40), Arc::new(MemoryArchives::default()));
        conformance::archives(&LimitedArchives::new(memory, rate, rate, Arc::new(SystemClock), Cancel::new()));
    }

    #[test]
    fn a_cancelled_run_ends_at_the_next_part() {
        let (memory, cancel) = (MemoryArchives::default(), Cancel::new());
        let mut sink = ArchiveSink::create(&memory, "a", 0, &cancel).unwrap();
        cancel.cancel();
        assert!(sink.write_all(&vec![0; ARCHIVE_PART_BYTES + 1]).is_err());
    }
}
