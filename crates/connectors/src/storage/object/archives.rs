//! Archives in a bucket: sent in parts, and seen once the last part is there.
//!
//! Parts are asked for again here, and not by [`repository::storage::retry`]: what failed is one part of many, and only
//! the client of the protocol knows which.

use std::ops::Range;

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use opendal::layers::RetryLayer;
use opendal::options::{ListOptions, ReadOptions};
use opendal::{Buffer, EntryMode, Operator};
use repository::StorageError;
use repository::limits::{FIRST_CONTACT_TRIES, RETRY_PAUSE_FIRST, RETRY_PAUSE_MAX, STORAGE_TRIES};
use repository::storage::archives::{ArchivePlace, ArchiveWriter, StoredArchive};

use super::ObjectStorage;

/// An object whose parts are on their way.
struct Writer<'a> {
    storage: &'a ObjectStorage,
    path: String,
    /// `None` once it is finished or given up.
    writer: Option<opendal::Writer>,
}

impl ObjectStorage {
    fn asking_again(&self, tries: u32) -> Operator {
        let retry = RetryLayer::new()
            .with_jitter()
            .with_min_delay(RETRY_PAUSE_FIRST)
            .with_max_delay(RETRY_PAUSE_MAX)
            .with_max_times(tries.saturating_sub(1) as usize);
        self.in_parts.clone().layer(retry)
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        if let Some(mut writer) = self.writer.take() {
            // What fails here is cleared away by the bucket's own rule for uploads that were given up.
            let _ = self.storage.wait_for(false, async move { writer.abort().await });
        }
    }
}

impl ArchiveWriter for Writer<'_> {
    fn write(&mut self, part: Vec<u8>) -> Result<(), StorageError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let written = self.storage.wait_for(true, writer.write(Buffer::from(part)));
        written.map_err(|failed| self.storage.error(&format!("write {}", self.path), None, failed))
    }

    fn finish(mut self: Box<Self>) -> Result<(), StorageError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        // The last part goes with it.
        let closed = self.storage.wait_for(true, writer.close());
        closed.map_err(|failed| self.storage.error(&format!("write {}", self.path), None, failed))?;
        // What is closed is not to be given up.
        self.writer = None;
        Ok(())
    }
}

impl ArchivePlace for ObjectStorage {
    fn location(&self) -> String {
        self.location.clone()
    }

    fn list(&self, folder: &str) -> Result<Vec<StoredArchive>, StorageError> {
        let operator = self.asking_again(FIRST_CONTACT_TRIES);
        let path = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let list = async {
            let mut objects = Vec::new();
            let options = ListOptions { recursive: true, limit: self.manner.list_limit(), ..ListOptions::default() };
            let mut entries = operator.lister_options(&path, options).await?;
            while let Some(entry) = entries.try_next().await? {
                #[cfg(feature = "webdav")]
                if self.manner.notice(&entry) {
                    continue;
                }
                if entry.metadata().mode() == EntryMode::FILE {
                    objects.push(StoredArchive {
                        path: entry.path().to_owned(),
                        bytes: entry.metadata().content_length(),
                    });
                }
            }
            Ok(objects)
        };
        self.wait_for(false, list).map_err(|failed| self.error(&format!("list {folder}"), None, failed))
    }

    fn create(&self, path: &str) -> Result<Box<dyn ArchiveWriter + '_>, StorageError> {
        #[cfg(feature = "webdav")]
        if let super::Manner::Renames(dav) = &self.manner {
            return self.stream(dav, path);
        }
        let operator = self.asking_again(STORAGE_TRIES);
        let writer = self.wait_for(false, operator.writer(path));
        let writer = writer.map_err(|failed| self.error(&format!("write {path}"), None, failed))?;
        Ok(Box::new(Writer { storage: self, path: path.to_owned(), writer: Some(writer) }))
    }

    fn read(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>, StorageError> {
        let operator = self.asking_again(STORAGE_TRIES);
        let options = ReadOptions { range: range.clone().into(), ..ReadOptions::default() };
        let read = self.wait_for(true, operator.read_options(path, options));
        let bytes = read.map_err(|failed| self.error(&format!("read {path}"), None, failed))?.to_vec();
        if bytes.len() as u64 != range.end - range.start {
            let what = format!("read {path}: other bytes came than {range:?}");
            return Err(StorageError::Permanent { location: self.location.clone(), what });
        }
        Ok(bytes)
    }

    fn modified(&self, path: &str) -> Result<Option<Timestamp>, StorageError> {
        let operator = self.asking_again(STORAGE_TRIES);
        let found = self.wait_for(false, operator.stat(path));
        let found = found.map_err(|failed| self.error(&format!("look at {path}"), None, failed))?;
        Ok(found.last_modified().map(|time| time.into_inner()))
    }

    fn delete(&self, path: &str) -> Result<(), StorageError> {
        let operator = self.asking_again(STORAGE_TRIES);
        let deleted = self.wait_for(false, operator.delete(path));
        deleted.map_err(|failed| self.error(&format!("delete {path}"), None, failed))
    }
}
