//! Archives in a folder of this machine.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use repository::StorageError;
use repository::storage::archives::{ArchivePlace, ArchiveWriter, StoredArchive};
use rustix::io::Errno;

use super::{LEFTOVER_SECONDS, LocalStorage};
use crate::storage::layout::PART_MARK;

/// What a new disk has in its root, for its owner alone.
const LOST_AND_FOUND: &str = "lost+found";

/// A file that is being written under a temporary name.
struct Writer<'a> {
    storage: &'a LocalStorage,
    /// `None` once it is closed.
    file: Option<File>,
    temp: PathBuf,
    path: PathBuf,
}

impl LocalStorage {
    fn object_error(&self, verb: &str, path: &Path, error: &io::Error) -> StorageError {
        match Errno::from_io_error(error) {
            Some(errno) => self.error(verb, &path.display().to_string(), errno),
            None => StorageError::Permanent {
                location: self.path.display().to_string(),
                what: format!("{verb} {}: {error}", path.display()),
            },
        }
    }

    /// Fails where the root is another folder than the one that was found first: its disk was unmounted, and what is
    /// written now would fill the one below.
    fn check_root(&self) -> io::Result<()> {
        let Some(root) = self.root()? else { return Ok(()) };
        let (found, now) = (rustix::fs::fstat(&root.folder)?, rustix::fs::stat(&self.path)?);
        match (found.st_dev, found.st_ino) == (now.st_dev, now.st_ino) {
            true => Ok(()),
            false => Err(io::Error::other("another folder took its place; was its disk unmounted?")),
        }
    }

    fn begin(&self, path: &Path) -> io::Result<(PathBuf, File)> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        self.check_root()?;
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        loop {
            let mut temp = path.as_os_str().to_owned();
            temp.push(format!("{PART_MARK}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temp) {
                // Left by an earlier process of this number.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                opened => return Ok((PathBuf::from(temp), opened?)),
            }
        }
    }
}

fn list_below(root: &Path, folder: &Path, objects: &mut Vec<StoredArchive>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound || folder.ends_with(LOST_AND_FOUND) => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            list_below(root, &path, objects)?;
        } else if kind.is_file()
            // Ours are text; what is not is somebody else's.
            && let Some(below) = path.strip_prefix(root).ok().and_then(Path::to_str)
            && !below.contains(PART_MARK)
        {
            match entry.metadata() {
                // Removed since.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                found => objects.push(StoredArchive { path: below.to_owned(), bytes: found?.len() }),
            }
        }
    }
    Ok(())
}

impl Writer<'_> {
    fn publish(&mut self) -> io::Result<()> {
        let Some(file) = self.file.take() else { return Ok(()) };
        file.sync_all()?;
        let written = file.metadata()?;
        // Against accidents only, and some file systems have no modes.
        let _ = file.set_permissions(fs::Permissions::from_mode(0o400));
        // Closed first, since some network file systems do not rename an open file.
        drop(file);
        self.storage.check_root()?;
        fs::rename(&self.temp, &self.path)?;
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
            sweep(folder, written.mtime());
        }
        Ok(())
    }
}

/// Removes what writers that are gone left in a folder: as old, by the file system's clock, as only theirs can be.
fn sweep(folder: &Path, now: i64) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_old = entry.metadata().is_ok_and(|found| now - found.mtime() >= LEFTOVER_SECONDS);
        if entry.file_name().to_string_lossy().contains(PART_MARK) && is_old {
            // An untidy folder is no reason to fail: the next run tries again.
            let _ = fs::remove_file(entry.path());
        }
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        // If this fails, a later run sweeps up what stays.
        let _ = fs::remove_file(&self.temp);
    }
}

impl ArchiveWriter for Writer<'_> {
    fn write(&mut self, part: Vec<u8>) -> Result<(), StorageError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(&part).map_err(|error| self.storage.object_error("write", &self.path, &error))
    }

    fn finish(mut self: Box<Self>) -> Result<(), StorageError> {
        self.publish().map_err(|error| self.storage.object_error("write", &self.path, &error))
    }
}

impl ArchivePlace for LocalStorage {
    fn location(&self) -> String {
        self.path.display().to_string()
    }

    fn list(&self, folder: &str) -> Result<Vec<StoredArchive>, StorageError> {
        let mut objects = Vec::new();
        // The root that is found first is the one that all of the run works with.
        self.root().map_err(|error| self.object_error("list", &self.path, &error.into()))?;
        let folder = self.path.join(folder);
        let listed = list_below(&self.path, &folder, &mut objects);
        listed.map(|()| objects).map_err(|error| self.object_error("list", &folder, &error))
    }

    fn create(&self, path: &str) -> Result<Box<dyn ArchiveWriter + '_>, StorageError> {
        let path = self.path.join(path);
        match self.begin(&path) {
            Ok((temp, file)) => Ok(Box::new(Writer { storage: self, file: Some(file), temp, path })),
            Err(error) => Err(self.object_error("write", &path, &error)),
        }
    }

    fn read(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>, StorageError> {
        let path = self.path.join(path);
        let read = || {
            let mut bytes = vec![0; usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0)];
            File::open(&path)?.read_exact_at(&mut bytes, range.start)?;
            Ok(bytes)
        };
        read().map_err(|error: io::Error| self.object_error("read", &path, &error))
    }

    fn modified(&self, path: &str) -> Result<Option<Timestamp>, StorageError> {
        let path = self.path.join(path);
        let found = fs::metadata(&path).map_err(|error| self.object_error("look at", &path, &error))?;
        Ok(Timestamp::from_second(found.mtime()).ok())
    }

    fn delete(&self, path: &str) -> Result<(), StorageError> {
        let path = self.path.join(path);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(self.object_error("delete", &path, &error)),
            _ => Ok(()),
        }
    }
}
