//! Writes a file of a folder once, such that a crash at any point leaves it whole or absent, and nobody overwrites it.
//!
//! It is written to a temporary file in the same folder; that is made durable; it is given its name, which fails if the
//! name is taken; the folder is made durable. A crash before the third step leaves a temporary file.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::{fs, io};

use super::direct::write_front;

/// Writes `bytes` to the file `name` of `folder`. `Errno::EXIST` says that it is there already. Once this returns, the
/// file and its name are durable. Returns the file system's time of writing, in seconds since 1970.
pub(super) fn write_once(
    folder: &OwnedFd,
    name: &str,
    bytes: &[u8],
    mode: Mode,
    ways: &[Publish],
) -> Result<i64, Errno> {
    let (temp, opened) = create_temporary(folder, name)?;
    let published = fill(&opened, bytes, mode).and_then(|written_at| {
        // Closed first, since some network file systems do not rename an open file.
        drop(opened);
        publish(folder, &temp, name, ways)?;
        Ok(written_at)
    });
    if published.is_err() {
        // Nobody is served by a second error; a later run sweeps up what stays.
        let _ = fs::unlinkat(folder, &temp, AtFlags::empty());
    }
    if matches!(published, Ok(_) | Err(Errno::EXIST)) {
        // Whoever hears that the file is there already relies on it, so its name has to last in that case, too.
        sync(folder)?;
    }
    published
}

/// A way to give a file its name without taking it from another.
#[derive(Clone, Copy)]
pub(super) enum Publish {
    /// One call; not on NFS.
    Rename,
    /// A second name, and the first removed; not on FAT and some FUSE file systems.
    Link,
    /// For file systems that have neither. Two writers of one name at the same moment can both win; as names are
    /// checksums of contents, both wrote the same, but for `config` when two people set up one repository at once.
    CheckThenRename,
}

/// In order of preference.
pub(super) const PUBLISH: [Publish; 3] = [Publish::Rename, Publish::Link, Publish::CheckThenRename];

/// Creates a file beside the one it will become, under a name nobody has.
fn create_temporary(folder: &OwnedFd, name: &str) -> Result<(String, OwnedFd), Errno> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    loop {
        let unique = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let temp = format!("{name}-tmp-{}-{}", unique.0, unique.1);
        match fs::openat(folder, &temp, flags, Mode::RUSR | Mode::WUSR) {
            // Left by an earlier process of this number, or used by one of another machine.
            Err(Errno::EXIST | Errno::INTR) => {}
            opened => return Ok((temp, opened?)),
        }
    }
}

/// Writes a file's bytes and makes them durable. Returns the file system's time of it, in seconds.
fn fill(file: &OwnedFd, bytes: &[u8], mode: Mode) -> Result<i64, Errno> {
    let mut bytes = &bytes[write_front(file, bytes)?..];
    while !bytes.is_empty() {
        match retry_on_intr(|| io::write(file, bytes))? {
            0 => return Err(Errno::IO),
            written => bytes = &bytes[written..],
        }
    }
    // Against accidents only, and some file systems (exFAT, many shares) have no modes.
    let _ = fs::fchmod(file, mode);
    sync(file)?;
    Ok(fs::fstat(file)?.st_mtime)
}

fn publish(folder: &OwnedFd, temp: &str, name: &str, ways: &[Publish]) -> Result<(), Errno> {
    let mut result = Err(Errno::NOTSUP);
    for way in ways {
        result = match way {
            Publish::Rename => fs::renameat_with(folder, temp, folder, name, RenameFlags::NOREPLACE),
            Publish::Link => fs::linkat(folder, temp, folder, name, AtFlags::empty()).map(|()| {
                let _ = fs::unlinkat(folder, temp, AtFlags::empty());
            }),
            Publish::CheckThenRename => match fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => Err(Errno::EXIST),
                Err(Errno::NOENT) => fs::renameat(folder, temp, folder, name),
                Err(error) => Err(error),
            },
        };
        // What systems answer when they do not know this way. If it means something else, the last way says so.
        if !matches!(result, Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP | Errno::PERM)) {
            break;
        }
    }
    result
}

/// Makes a file's bytes, or a folder's names, durable; as far as the file system can.
pub(super) fn sync(file: impl AsFd) -> Result<(), Errno> {
    match retry_on_intr(|| fs::fsync(&file)) {
        Err(Errno::NOTSUP | Errno::INVAL | Errno::NOSYS) => Ok(()),
        result => result,
    }
}
