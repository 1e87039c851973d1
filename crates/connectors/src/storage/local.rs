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

mod write_once;

use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use repository::storage::Listed;
use repository::{File, FileKind, Id, Storage, StorageError};
use rustix::buffer::spare_capacity;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::{fs, io};

use self::write_once::{PUBLISH, Publish, sync, write_once};

/// A temporary file untouched for this long belongs to a process that is gone.
const LEFTOVER_SECONDS: i64 = 24 * 60 * 60;
/// What stands between the name a file will have and the rest of its temporary name; restic's choice.
const TEMP_MARK: &[u8] = b"-tmp-";

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

/// The folder a file lies in, relative to the root, and its name there.
fn place(file: File) -> (String, String) {
    let path = file.path();
    let (folder, name) = path.rsplit_once('/').unwrap_or((".", &path));
    (folder.to_owned(), name.to_owned())
}

/// The id of the file `name` in `folder`, if a file of `kind` has that name and would be looked for there.
fn id_of(kind: FileKind, folder: &str, name: &[u8]) -> Option<Id> {
    if kind == FileKind::Config {
        return (name == b"config").then_some(Id::ZERO);
    }
    let id = Id::from_hex(name).ok()?;
    let (expected_folder, expected_name) = place(File::new(kind, id));
    (folder == expected_folder && name == expected_name.as_bytes()).then_some(id)
}

/// Whether this is the name of a file that is, or was, about to be written, by us or by restic.
fn is_temporary(name: &[u8]) -> bool {
    let Some(mark) = name.windows(TEMP_MARK.len()).position(|window| window == TEMP_MARK) else { return false };
    let becomes = &name[..mark];
    becomes == b"config" || (becomes.len() == 64 && becomes.iter().all(|digit| is_digit(*digit)))
}

fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// Whether trying again may help. `EIO` is the hard one: from a disk it is usually final, but soft NFS mounts, USB disks
/// and FUSE answer so for what passes, too. A put is safe to repeat, since it writes a new file from the first byte, and
/// a minute lost on a dead sector costs less than a backup lost to a loose cable.
fn may_pass(errno: Errno) -> bool {
    let share = [Errno::IO, Errno::STALE, Errno::TIMEDOUT, Errno::HOSTDOWN, Errno::HOSTUNREACH, Errno::CONNRESET];
    let machine = [Errno::INTR, Errno::AGAIN, Errno::BUSY, Errno::NFILE, Errno::MFILE, Errno::NOMEM];
    share.contains(&errno) || machine.contains(&errno)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File as StdFile, FileTimes, Permissions};
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use proptest::prelude::*;
    use repository::storage::conformance;
    use repository::storage::memory::MemoryStorage;
    use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
    use tempfile::TempDir;

    use super::*;

    fn pack(name: &str) -> File {
        File::pack(Id::of(name.as_bytes()))
    }

    /// An empty repository folder, and the folder around it that goes with the test.
    fn fresh() -> (LocalStorage, PathBuf, TempDir) {
        let around = tempfile::tempdir().unwrap();
        let root = around.path().join("repository");
        (LocalStorage::new(root.clone()), root, around)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    /// Every file below `folder`, relative to it.
    fn files_below(folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            match path.is_dir() {
                true => found.extend(files_below(&path).into_iter().map(|below| format!("{name}/{below}"))),
                false => found.push(name),
            }
        }
        found.sort();
        found
    }

    /// Runs `deed` bound by file permissions, which root is not: in a thread without root's capabilities.
    fn as_plain_user(deed: impl FnOnce() + Send) {
        let none = CapabilitySet::empty();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none }).unwrap();
                deed();
            });
        });
    }

    fn conforms(publish: &'static [Publish]) {
        let around = tempfile::tempdir().unwrap();
        let next = AtomicU64::new(0);
        conformance::run(&|| {
            let root = around.path().join(next.fetch_add(1, Ordering::Relaxed).to_string());
            Arc::new(LocalStorage { publish, ..LocalStorage::new(root) })
        });
    }

    #[test]
    fn local_storage_conforms() {
        conforms(&PUBLISH);
    }

    #[test]
    fn local_storage_conforms_without_exclusive_renames() {
        conforms(&PUBLISH[1..]);
    }

    #[test]
    fn without_links_and_exclusive_renames_a_file_is_still_not_overwritten() {
        let (storage, root, _around) = fresh();
        let storage = LocalStorage { publish: &PUBLISH[2..], ..storage };
        storage.put(pack("a"), b"first").unwrap();
        assert!(matches!(storage.put(pack("a"), b"second"), Err(StorageError::AlreadyExists { .. })));
        assert_eq!(storage.get(pack("a"), None).unwrap(), b"first");
        assert_eq!(files_below(&root), [pack("a").path()]);
    }

    #[test]
    fn foreign_files_are_passed_over() {
        let (storage, root, _around) = fresh();
        conformance::passes_over_foreign_names(&storage, &|path| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "foreign").unwrap();
        });
    }

    #[test]
    fn files_lie_where_restic_looks_and_only_their_owner_reads_them() {
        let (storage, root, _around) = fresh();
        for kind in FileKind::ALL {
            let file = if kind == FileKind::Config { File::CONFIG } else { File::new(kind, Id::of(b"a")) };
            storage.put(file, b"content").unwrap();
            assert_eq!(fs::read(root.join(file.path())).unwrap(), b"content");
            assert_eq!(mode(&root.join(file.path())), 0o400, "{file}");
        }
        for folder in ["", "data", "data/ca", "index", "lifeboat", "lifeboat/receipts"] {
            assert_eq!(mode(&root.join(folder)), 0o700, "{folder}");
        }
        assert_eq!(files_below(&root).len(), FileKind::ALL.len(), "no temporary file stays");
    }

    #[test]
    fn a_repository_shared_with_a_group_stays_shared() {
        let (storage, root, _around) = fresh();
        storage.put(File::CONFIG, b"config").unwrap();
        fs::set_permissions(root.join("config"), Permissions::from_mode(0o440)).unwrap();
        LocalStorage::new(root.clone()).put(pack("a"), b"content").unwrap();
        assert_eq!(mode(&root.join(pack("a").path())), 0o440);
        let folder_mode = mode(&root.join("data"));
        assert_eq!(folder_mode & !0o050, 0o700, "{folder_mode:o}");
    }

    #[test]
    fn temporary_files_of_the_dead_are_swept_up_and_those_of_the_living_are_not() {
        let (storage, root, _around) = fresh();
        storage.put(pack("a"), b"content").unwrap();
        let below = root.join(pack("a").path()).parent().unwrap().to_owned();
        let hex = pack("b").id.to_hex();
        let (old, young, foreign) =
            (format!("{hex}-tmp-12-3"), format!("{hex}-tmp-987654321"), "notes-tmp-1".to_owned());
        for (name, age) in [(&old, LEFTOVER_SECONDS + 60), (&young, LEFTOVER_SECONDS - 60), (&foreign, 1 << 30)] {
            let file = StdFile::create(below.join(name)).unwrap();
            let written = file.metadata().unwrap().modified().unwrap() - Duration::from_secs(age as u64);
            file.set_times(FileTimes::new().set_modified(written)).unwrap();
        }

        storage.put(pack("c"), b"a put without a listing before it").unwrap();
        assert!(below.join(&old).exists());
        assert_eq!(storage.list(FileKind::Pack).unwrap().len(), 2);
        assert!(below.join(&old).exists(), "listing changes nothing");
        storage.put(pack("d"), b"content").unwrap();
        assert!(!below.join(&old).exists());
        assert!(below.join(&young).exists() && below.join(&foreign).exists());
    }

    #[test]
    fn a_folder_put_in_the_place_of_the_repository_is_not_written_to() {
        let (storage, root, around) = fresh();
        storage.put(pack("a"), b"content").unwrap();
        fs::rename(&root, around.path().join("moved")).unwrap();
        fs::create_dir(&root).unwrap();
        storage.put(pack("b"), b"content").unwrap();
        assert_eq!(files_below(&root), Vec::<String>::new());
        assert_eq!(files_below(&around.path().join("moved")).len(), 2);
    }

    #[test]
    fn a_repository_that_was_removed_is_not_made_again() {
        let (storage, root, _around) = fresh();
        storage.put(pack("a"), b"content").unwrap();
        fs::remove_dir_all(&root).unwrap();
        assert!(matches!(storage.put(pack("b"), b"content"), Err(StorageError::Permanent { .. })));
        assert!(matches!(storage.get(pack("a"), None), Err(StorageError::NotFound { .. })));
        assert!(!root.exists());
    }

    #[test]
    fn a_plain_user_is_told_what_was_denied() {
        let (storage, root, _around) = fresh();
        storage.put(pack("a"), b"content").unwrap();
        let (file, below) = (root.join(pack("a").path()), root.join("data").join(&pack("a").id.to_hex()[..2]));
        let denied = |result: Result<(), StorageError>, verb: &str| match result {
            Err(StorageError::Denied { what, .. }) => assert_eq!(what, format!("{verb}: {}", Errno::ACCESS)),
            other => panic!("{verb}: {other:?}"),
        };
        as_plain_user(|| {
            fs::set_permissions(&below, Permissions::from_mode(0o500)).unwrap();
            denied(storage.put(pack("a"), b"content"), &format!("write {}", pack("a")));
            denied(storage.delete(pack("a")), &format!("delete {}", pack("a")));
            fs::set_permissions(&file, Permissions::from_mode(0o000)).unwrap();
            denied(storage.get(pack("a"), None).map(drop), &format!("read {}", pack("a")));
            fs::set_permissions(&below, Permissions::from_mode(0o000)).unwrap();
            denied(storage.list(FileKind::Pack).map(drop), "list data");
            fs::set_permissions(&below, Permissions::from_mode(0o700)).unwrap();
            fs::set_permissions(&root, Permissions::from_mode(0o500)).unwrap();
            denied(storage.put(File::CONFIG, b"config"), "write config");
            fs::set_permissions(&root, Permissions::from_mode(0o000)).unwrap();
            denied(LocalStorage::new(root.clone()).list(FileKind::Key).map(drop), "list keys");
            denied(LocalStorage::new(root.join("below")).put(File::CONFIG, b""), "write config");
            fs::set_permissions(&root, Permissions::from_mode(0o700)).unwrap();
        });
        assert_eq!(files_below(&root), [pack("a").path()]);
    }

    #[test]
    fn on_a_full_disk_a_put_fails_as_full_and_leaves_nothing_behind() {
        let (storage, root, _around) = fresh();
        fs::create_dir(&root).unwrap();
        let Some(_mounted) = Mounted::tmpfs(&root, "1m") else {
            let name = "on_a_full_disk_a_put_fails_as_full_and_leaves_nothing_behind";
            // Past the test harness, which would keep it to itself.
            writeln!(std::io::stderr(), "left out: {name}: may not mount a small disk here").unwrap();
            return;
        };
        storage.put(pack("a"), &[1; 600 << 10]).unwrap();
        for _ in 0..3 {
            assert!(matches!(storage.put(pack("b"), &[2; 600 << 10]), Err(StorageError::Full { .. })));
        }
        assert_eq!(files_below(&root), [pack("a").path()]);
        assert_eq!(storage.get(pack("a"), None).unwrap(), [1; 600 << 10]);
        storage.delete(pack("a")).unwrap();
        storage.put(pack("b"), &[2; 600 << 10]).unwrap();
        drop(storage);
    }

    /// A small disk, there until this is dropped.
    struct Mounted<'a>(&'a Path);

    impl<'a> Mounted<'a> {
        fn tmpfs(on: &'a Path, size: &str) -> Option<Self> {
            let options = format!("size={size},mode=700");
            let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(on).output();
            mount.is_ok_and(|output| output.status.success()).then(|| Self(on))
        }
    }

    impl Drop for Mounted<'_> {
        fn drop(&mut self) {
            // Lazily: the storage of a failed test still holds the folder open.
            Command::new("umount").arg("--lazy").arg(self.0).status().unwrap();
        }
    }

    #[test]
    fn the_systems_errors_become_the_kinds_callers_branch_on() {
        let storage = LocalStorage::new("/srv/copy".into());
        let kind = |errno| match storage.error("write", "config", errno) {
            StorageError::Full { .. } => "full",
            StorageError::Denied { .. } => "denied",
            StorageError::Transient { .. } => "transient",
            StorageError::Permanent { .. } => "permanent",
            other => panic!("{other:?}"),
        };
        for (expected, errnos) in [
            ("full", [Errno::NOSPC, Errno::DQUOT].as_slice()),
            ("denied", &[Errno::ACCESS, Errno::PERM, Errno::ROFS]),
            ("transient", &[Errno::INTR, Errno::IO, Errno::STALE, Errno::TIMEDOUT]),
            ("permanent", &[Errno::NAMETOOLONG, Errno::ISDIR, Errno::NODEV, Errno::LOOP]),
        ] {
            assert!(errnos.iter().all(|errno| kind(*errno) == expected), "{expected}: {errnos:?}");
        }
        let error = storage.error("write", "config", Errno::ROFS);
        assert_eq!(error.to_string(), "/srv/copy denies access: write config: Read-only file system (os error 30)");
        assert!(std::error::Error::source(&error).is_none());
    }

    #[derive(Clone, Debug)]
    enum Deed {
        Put(File, Vec<u8>),
        Get(File, Option<Range<u64>>),
        List(FileKind),
        Delete(File),
    }

    fn any_deed() -> impl Strategy<Value = Deed> {
        // Few names and kinds, so that deeds meet.
        let kind = || prop::sample::select(vec![FileKind::Config, FileKind::Pack, FileKind::Lock, FileKind::Receipt]);
        let file = move || {
            (kind(), 0..3_u8).prop_map(|(kind, name)| match kind {
                FileKind::Config => File::CONFIG,
                kind => File::new(kind, Id([name; 32])),
            })
        };
        let range = (0..40_u64, 0..40_u64).prop_map(|(start, end)| start..end);
        prop_oneof![
            (file(), prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(file, bytes)| Deed::Put(file, bytes)),
            (file(), prop::option::of(range)).prop_map(|(file, range)| Deed::Get(file, range)),
            kind().prop_map(Deed::List),
            file().prop_map(Deed::Delete),
        ]
    }

    /// What a storage answered, without its name.
    fn answer(storage: &dyn Storage, deed: &Deed) -> String {
        let error = |error: StorageError| match error {
            StorageError::NotFound { file, .. } => format!("{file} not found"),
            StorageError::AlreadyExists { file, .. } => format!("{file} is there"),
            StorageError::Permanent { what, .. } => what,
            other => panic!("{deed:?}: {other}"),
        };
        match deed.clone() {
            Deed::Put(file, bytes) => storage.put(file, &bytes).map_or_else(error, |()| "done".into()),
            Deed::Get(file, range) => storage.get(file, range).map_or_else(error, |bytes| format!("{bytes:?}")),
            Deed::Delete(file) => storage.delete(file).map_or_else(error, |()| "done".into()),
            Deed::List(kind) => storage.list(kind).map_or_else(error, |mut listed| {
                listed.sort();
                format!("{listed:?}")
            }),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 100, ..ProptestConfig::default() })]

        #[test]
        fn whatever_is_done_a_folder_and_memory_give_the_same_answers(
            deeds in prop::collection::vec(any_deed(), 1..40),
        ) {
            let (local, _root, _around) = fresh();
            let memory = MemoryStorage::new();
            for deed in &deeds {
                prop_assert_eq!(answer(&local, deed), answer(&memory, deed), "{:?}", deed);
            }
        }
    }
}
