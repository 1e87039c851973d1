//! A copy in a folder of this machine: a disk, a mounted share.
//!
//! The layout is restic's, so that stock restic reads the folder as it is. Folders are made when first needed; restic
//! 0.14 neither misses empty ones nor looks at temporary files, which are named as its own are.
//!
//! A killed process leaves a temporary file behind. No listing shows it, and it goes, a day later, with the first put of
//! a process that has listed its folder.
//!
//! The root folder is opened once and everything is reached from there: when a disk is unmounted or a folder replaced
//! under a running backup, the rest must fail, and not quietly fill the empty mount point.

mod archives;
mod direct;
#[cfg(test)]
mod tests;
mod write_once;

use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use jiff::Timestamp;
use repository::storage::Listed;
use repository::{File, FileKind, Storage, StorageError};
use rustix::buffer::spare_capacity;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::{fs, io};

use self::write_once::{PUBLISH, Publish, sync, write_once};
use super::layout::{id_of, is_digit, is_temporary, place};

/// A temporary file untouched for this long belongs to a process that is gone.
const LEFTOVER_SECONDS: i64 = 24 * 60 * 60;

/// A folder that holds a copy.
///
/// Make a new one for each run: it keeps to the folder that it finds first, even if another takes that one's place.
pub struct LocalStorage {
    path: PathBuf,
    /// Opened when it is first needed and there.
    root: OnceLock<Root>,
    /// Temporary files that listings came across, relative to the root.
    temporary: Mutex<BTreeSet<String>>,
    publish: &'static [Publish],
}

/// The opened root folder.
struct Root {
    folder: OwnedFd,
    file_mode: Mode,
    folder_mode: Mode,
}

impl LocalStorage {
    /// The copy in the folder `path`, which need not exist yet: the first put makes it.
    pub fn new(path: PathBuf) -> Self {
        Self { path, root: OnceLock::new(), temporary: Mutex::default(), publish: &PUBLISH }
    }

    /// The root folder, if there is one.
    fn root(&self) -> Result<Option<&Root>, Errno> {
        if self.root.get().is_none() {
            let folder = match open_folder(CWD, &self.path) {
                Err(Errno::NOENT) => return Ok(None),
                folder => folder?,
            };
            // A repository that its owner shares with a group stays shared. restic goes by the same sign.
            let shared = fs::statat(&folder, "config", AtFlags::empty())
                .is_ok_and(|config| Mode::from_raw_mode(config.st_mode).contains(Mode::RGRP));
            let (file_mode, folder_mode) = if shared { (0o440, 0o750) } else { (0o400, 0o700) };
            let (file_mode, folder_mode) = (Mode::from_raw_mode(file_mode), Mode::from_raw_mode(folder_mode));
            // Should another thread have been faster, its folder is the one.
            let _ = self.root.set(Root { folder, file_mode, folder_mode });
        }
        Ok(self.root.get())
    }

    /// The root folder, made if there is none.
    fn root_made(&self) -> Result<&Root, Errno> {
        if let Some(root) = self.root()? {
            return Ok(root);
        }
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.path);
        made.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        if let Some(parent) = self.path.parent() {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            sync(open_folder(CWD, parent)?)?;
        }
        self.root()?.ok_or(Errno::NOENT)
    }

    fn write(&self, file: File, bytes: &[u8]) -> Result<(), Errno> {
        let root = self.root_made()?;
        let (folder, name) = place(file);
        let folder = root.open_or_make(&folder)?;
        let written_at = write_once(&folder, &name, bytes, root.file_mode, self.publish)?;
        self.sweep(root, written_at);
        Ok(())
    }

    /// Removes the temporary files that listings came across, if they are old at `now`. That is the file system's own
    /// time, of a file just written, so that a server whose clock differs makes no file older than it is.
    fn sweep(&self, root: &Root, now: i64) {
        let seen = std::mem::take(&mut *self.temporary.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        for path in seen {
            // An untidy folder is no reason for a backup to fail: the next run tries again.
            if let Ok(found) = fs::statat(&root.folder, &path, AtFlags::SYMLINK_NOFOLLOW)
                && now.saturating_sub(found.st_mtime) >= LEFTOVER_SECONDS
            {
                let _ = fs::unlinkat(&root.folder, &path, AtFlags::empty());
            }
        }
    }

    fn list_folder(&self, root: &Root, kind: FileKind, path: &str, listed: &mut Vec<Listed>) -> Result<(), Errno> {
        let folder = match open_folder(&root.folder, path) {
            Err(Errno::NOENT) => return Ok(()),
            folder => folder?,
        };
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            let Some(id) = id_of(kind, path, name) else {
                if is_temporary(name) {
                    let path = format!("{path}/{}", String::from_utf8_lossy(name));
                    self.temporary.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(path);
                }
                continue;
            };
            match fs::statat(&folder, entry.file_name(), AtFlags::empty()) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_file() => {
                    listed.push(Listed { id, bytes: stat.st_size as u64 });
                }
                // A folder, or removed since.
                Ok(_) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn list_packs(&self, root: &Root, listed: &mut Vec<Listed>) -> Result<(), Errno> {
        let data = match open_folder(&root.folder, FileKind::Pack.folder()) {
            Err(Errno::NOENT) => return Ok(()),
            data => data?,
        };
        for entry in Dir::read_from(&data)? {
            let entry = entry?;
            let Ok(name @ [a, b]) = <&[u8; 2]>::try_from(entry.file_name().to_bytes()) else { continue };
            if !is_digit(*a) || !is_digit(*b) {
                continue;
            }
            let path = format!("{}/{}", FileKind::Pack.folder(), String::from_utf8_lossy(name));
            match self.list_folder(root, FileKind::Pack, &path, listed) {
                // A file where a folder of packs would be holds none.
                Ok(()) | Err(Errno::NOTDIR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn error(&self, verb: &str, what: &str, errno: Errno) -> StorageError {
        let location = self.location();
        let what = format!("{verb} {what}: {errno}");
        match errno {
            Errno::NOSPC | Errno::DQUOT => StorageError::Full { location },
            Errno::ACCESS | Errno::PERM | Errno::ROFS => StorageError::Denied { location, what },
            errno if may_pass(errno) => StorageError::Transient { location, what },
            _ => StorageError::Permanent { location, what },
        }
    }

    fn missing_or(&self, verb: &str, file: File, errno: Errno) -> StorageError {
        match errno {
            Errno::NOENT => StorageError::NotFound { file, location: self.location() },
            errno => self.error(verb, &file.path(), errno),
        }
    }
}

impl LocalStorage {
    /// Whether this process may write into a file that is there, or make it so that it may be written, neither of which a copy
    /// ever does. Changes nothing.
    pub fn may_overwrite(&self, file: File) -> Result<bool, StorageError> {
        let failed = |errno| self.missing_or("open", file, errno);
        let root = self.root().and_then(|root| root.ok_or(Errno::NOENT)).map_err(failed)?;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        match retry_on_intr(|| fs::openat(&root.folder, file.path(), flags, Mode::empty())) {
            Ok(_) => Ok(true),
            // The mode keeps its owner from accidents alone: who may change it may write. It is set to what it is.
            Err(Errno::ACCESS) => Ok(fs::chmodat(&root.folder, file.path(), root.file_mode, AtFlags::empty()).is_ok()),
            Err(Errno::PERM | Errno::ROFS) => Ok(false),
            Err(errno) => Err(failed(errno)),
        }
    }
}

impl Storage for LocalStorage {
    fn location(&self) -> String {
        self.path.display().to_string()
    }

    fn put(&self, file: File, bytes: &[u8]) -> Result<(), StorageError> {
        self.write(file, bytes).map_err(|errno| match errno {
            Errno::EXIST => StorageError::AlreadyExists { file, location: self.location() },
            errno => self.error("write", &file.path(), errno),
        })
    }

    fn get(&self, file: File, range: Option<Range<u64>>) -> Result<Vec<u8>, StorageError> {
        let failed = |errno| self.missing_or("read", file, errno);
        let permanent =
            |what| StorageError::Permanent { location: self.location(), what: format!("read {file}: {what}") };
        let root = self.root().and_then(|root| root.ok_or(Errno::NOENT)).map_err(failed)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = retry_on_intr(|| fs::openat(&root.folder, file.path(), flags, Mode::empty())).map_err(failed)?;

        let size = fs::fstat(&opened).map_err(failed)?.st_size as u64;
        let range = range.unwrap_or(0..size);
        if range.start > range.end || range.end > size {
            return Err(permanent(format!("bytes {range:?} of {size} asked for")));
        }
        let mut bytes = Vec::new();
        let wanted = usize::try_from(range.end - range.start).ok();
        let Some(wanted) = wanted.filter(|wanted| bytes.try_reserve_exact(*wanted).is_ok()) else {
            return Err(permanent(format!("{size} bytes do not fit in memory")));
        };
        while bytes.len() < wanted {
            let at = range.start + bytes.len() as u64;
            // One call, as a rule: it ends early only for a signal or some network file systems.
            if retry_on_intr(|| io::pread(&opened, spare_capacity(&mut bytes), at)).map_err(failed)? == 0 {
                return Err(permanent(format!("it ends after {at} of {size} bytes")));
            }
        }
        // More may have been reserved than was asked for.
        bytes.truncate(wanted);
        Ok(bytes)
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, StorageError> {
        let failed = |errno| self.error("list", kind.folder(), errno);
        let Some(root) = self.root().map_err(failed)? else { return Ok(Vec::new()) };
        let mut listed = Vec::new();
        match kind {
            FileKind::Pack => self.list_packs(root, &mut listed),
            FileKind::Config => self.list_folder(root, kind, ".", &mut listed),
            kind => self.list_folder(root, kind, kind.folder(), &mut listed),
        }
        .map_err(failed)?;
        Ok(listed)
    }

    fn modified(&self, file: File) -> Result<Option<Timestamp>, StorageError> {
        let failed = |errno| self.missing_or("look at", file, errno);
        let root = self.root().and_then(|root| root.ok_or(Errno::NOENT)).map_err(failed)?;
        let stat = fs::statat(&root.folder, file.path(), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        Ok(Timestamp::from_second(stat.st_mtime).ok())
    }

    fn delete(&self, file: File) -> Result<(), StorageError> {
        let failed = |errno| self.missing_or("delete", file, errno);
        let root = self.root().and_then(|root| root.ok_or(Errno::NOENT)).map_err(failed)?;
        fs::unlinkat(&root.folder, file.path(), AtFlags::empty()).map_err(failed)?;
        // A pack or lock that a crash brings back is only in the way. An index that comes back names packs that are
        // gone, a snapshot what was pruned, a key a password that was withdrawn.
        if !matches!(file.kind, FileKind::Pack | FileKind::Lock) {
            open_folder(&root.folder, &place(file).0).and_then(sync).map_err(failed)?;
        }
        Ok(())
    }
}

impl Root {
    /// Opens the folder at `path` below the root; makes it, and those above it, if need be.
    fn open_or_make(&self, path: &str) -> Result<OwnedFd, Errno> {
        match open_folder(&self.folder, path) {
            Err(Errno::NOENT) if path != "." => {}
            opened => return opened,
        }
        let (above, name) = path.rsplit_once('/').unwrap_or((".", path));
        let above = self.open_or_make(above)?;
        match fs::mkdirat(&above, name, self.folder_mode) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        sync(&above)?;
        open_folder(&above, name)
    }
}

fn open_folder(from: impl AsFd, path: impl rustix::path::Arg + Copy) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    retry_on_intr(|| fs::openat(&from, path, flags, Mode::empty()))
}

/// Whether trying again may help. `EIO` is the hard one: from a disk it is usually final, but soft NFS mounts, USB disks
/// and FUSE answer so for what passes, too. A put is safe to repeat, since it writes a new file from the first byte, and
/// a minute lost on a dead sector costs less than a backup lost to a loose cable.
fn may_pass(errno: Errno) -> bool {
    let share = [Errno::IO, Errno::STALE, Errno::TIMEDOUT, Errno::HOSTDOWN, Errno::HOSTUNREACH, Errno::CONNRESET];
    let machine = [Errno::INTR, Errno::AGAIN, Errno::BUSY, Errno::NFILE, Errno::MFILE, Errno::NOMEM];
    share.contains(&errno) || machine.contains(&errno)
}
