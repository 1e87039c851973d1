//! Archives on a server that is reached by SSH.

use std::ops::Range;
use std::sync::Arc;

use jiff::Timestamp;
use repository::StorageError;
use repository::storage::archives::{ArchivePlace, ArchiveWriter, StoredArchive};

use super::packet::{Code, Kind, Name, Request};
use super::request::{Failed, attributes, done, read_folders};
use super::session::Session;
use super::transfer::{LEFTOVER_SECONDS, ReadFailed, chance, make_durable, replace, write_pieces};
use super::{FOLDERS_READ, SftpStorage};
use crate::storage::layout::PART_MARK;

/// A file that is being written under a temporary name.
struct Writer<'a> {
    storage: &'a SftpStorage,
    session: Arc<Session>,
    handle: Vec<u8>,
    folder: String,
    temp: String,
    path: String,
    bytes: u64,
    /// The file has its name; nothing is to be cleared away.
    is_named: bool,
}

impl SftpStorage {
    fn begin(&self, path: &str) -> Result<Writer<'_>, Failed> {
        let session = self.session()?;
        let path = self.full_path(path);
        let folder = path.rsplit_once('/').map_or(".", |(folder, _)| folder).to_owned();
        let temp = format!("{path}{PART_MARK}{:016x}", chance());
        let handle = self.create(&session, &folder, &temp)?;
        Ok(Writer { storage: self, session, handle, folder, temp, path, bytes: 0, is_named: false })
    }

    fn list_below(&self, folder: &str) -> Result<Vec<StoredArchive>, Failed> {
        let session = self.session()?;
        let mut objects = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while !folders.is_empty() {
            let some: Vec<String> = folders.drain(..folders.len().min(FOLDERS_READ)).collect();
            let paths: Vec<String> =
                some.iter().map(|folder| self.full_path(if folder.is_empty() { "." } else { folder })).collect();
            for (folder, names) in some.iter().zip(read_folders(&session, &paths)?) {
                for Name { name, attributes } in names {
                    // Ours are text; what is not is somebody else's.
                    let Ok(name) = String::from_utf8(name) else { continue };
                    let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
                    if attributes.is_folder() && !matches!(name.as_str(), "." | ".." | "lost+found") {
                        folders.push(path);
                    } else if attributes.may_be_file() && !name.contains(PART_MARK) {
                        objects.push(StoredArchive { path, bytes: attributes.size.unwrap_or(0) });
                    }
                }
            }
        }
        Ok(objects)
    }
}

impl Writer<'_> {
    fn publish(&mut self) -> Result<(), Failed> {
        make_durable(&self.session, &self.handle)?;
        done(self.session.send(Request::new(Kind::Close).bytes(&self.handle))?)?;
        replace(&self.session, &self.temp, &self.path)?;
        self.is_named = true;
        self.sweep();
        Ok(())
    }

    /// Removes what writers that are gone left in the folder: as old, by the server's clock, as only theirs can be.
    fn sweep(&self) {
        let modified = |path: &str| {
            let sent = self.session.send(Request::new(Kind::Lstat).bytes(path.as_bytes())).ok()?;
            attributes(sent).ok()?.modified
        };
        let (Some(now), Ok(found)) =
            (modified(&self.path), read_folders(&self.session, std::slice::from_ref(&self.folder)))
        else {
            return;
        };
        for Name { name, attributes } in found.into_iter().flatten() {
            let name = String::from_utf8_lossy(&name);
            let is_old = attributes.modified.is_some_and(|at| now.saturating_sub(at) >= LEFTOVER_SECONDS);
            if name.contains(PART_MARK) && is_old {
                let path = format!("{}/{name}", self.folder);
                let _ = self.session.send(Request::new(Kind::Remove).bytes(path.as_bytes()));
            }
        }
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        if !self.is_named {
            // If this fails, a later run sweeps up what stays.
            let _ = self.session.send(Request::new(Kind::Remove).bytes(self.temp.as_bytes()));
        }
    }
}

impl ArchiveWriter for Writer<'_> {
    fn write(&mut self, part: Vec<u8>) -> Result<(), StorageError> {
        let given_up = self.storage.given_up(true);
        let written = write_pieces(&self.session, &self.handle, self.bytes, &part, &given_up);
        self.bytes += part.len() as u64;
        let written = written.map_err(|failed| self.storage.full_or(&self.session, &self.folder, part.len(), failed));
        written.map_err(|failed| self.storage.error("write", &self.path, failed))
    }

    fn finish(mut self: Box<Self>) -> Result<(), StorageError> {
        let published = self.publish();
        published.map_err(|failed| self.storage.error("write", &self.path, failed))
    }
}

impl ArchivePlace for SftpStorage {
    fn location(&self) -> String {
        self.options.location()
    }

    fn list(&self, folder: &str) -> Result<Vec<StoredArchive>, StorageError> {
        self.list_below(folder).map_err(|failed| self.error("list", folder, failed))
    }

    fn create(&self, path: &str) -> Result<Box<dyn ArchiveWriter + '_>, StorageError> {
        match self.begin(path) {
            Ok(writer) => Ok(Box::new(writer)),
            Err(failed) => Err(self.error("write", path, failed)),
        }
    }

    fn read(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>, StorageError> {
        let session = self.session().map_err(|failed| self.error("read", path, failed))?;
        let read = self.read(&session, &self.full_path(path), Some(range), &self.given_up(true));
        read.map_err(|failed| match failed {
            ReadFailed::Asking(failed) => self.error("read", path, failed),
            ReadFailed::What(what) => {
                StorageError::Permanent { location: self.options.location(), what: format!("read {path}: {what}") }
            }
        })
    }

    fn modified(&self, path: &str) -> Result<Option<Timestamp>, StorageError> {
        let full = self.full_path(path);
        let found = self
            .session()
            .and_then(|session| attributes(session.send(Request::new(Kind::Stat).bytes(full.as_bytes()))?));
        let found = found.map_err(|failed| self.error("look at", path, failed))?;
        Ok(found.modified.and_then(|seconds| Timestamp::from_second(seconds.into()).ok()))
    }

    fn delete(&self, path: &str) -> Result<(), StorageError> {
        let full = self.full_path(path);
        let removed =
            self.session().and_then(|session| done(session.send(Request::new(Kind::Remove).bytes(full.as_bytes()))?));
        match removed {
            Err(failed) if failed.is(Code::NoSuchFile) => Ok(()),
            removed => removed.map_err(|failed| self.error("delete", path, failed)),
        }
    }
}
