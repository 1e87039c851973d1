//! Entries are moved between folders whose own times and modes must not change by it.

use std::io;
use std::path::Path;

use repository::format::go;
use repository::fs::{NodeReader, apply_metadata};
use repository::{Node, NodeKind};
use rustix::fs::{AtFlags, CWD, Mode, RenameFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use super::{InPlaceError, verify_options};

/// Runs `body`, which makes or removes entries of `folder`, and gives the folder the time back that it had. Where it
/// belongs to somebody else, its time cannot be set; that keeps nobody from restoring.
pub(super) fn keeping_time<T>(folder: &Path, body: impl FnOnce() -> T) -> T {
    let before = NodeReader::default().read(folder);
    let value = body();
    if let Ok(before) = before {
        let _ = set_time(folder, &before.node);
    }
    value
}

fn set_time(folder: &Path, node: &Node) -> rustix::io::Result<()> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT as _ },
        last_modification: Timespec { tv_sec: node.mtime.seconds, tv_nsec: i64::from(node.mtime.nanoseconds) },
    };
    rustix::fs::utimensat(CWD, folder, &times, AtFlags::SYMLINK_NOFOLLOW)
}

/// Gives `folder` the metadata of `node`, and only what differs. Gives what could not be set.
pub(super) fn bring_to(folder: &Path, node: &Node) -> Vec<String> {
    let privileged = verify_options().privileged;
    let found = match NodeReader::default().read(folder) {
        Ok(found) => found.node,
        Err(error) => return vec![format!("its metadata could not be read: {error}")],
    };
    if found.kind != NodeKind::Dir || node.kind != NodeKind::Dir {
        return vec!["its metadata was left alone, as it is no folder".to_owned()];
    }
    let owner = |node: &Node| privileged.then_some((node.uid, node.gid));
    let permissions = |node: &Node| go::permissions_from_mode(node.mode);
    let same = owner(&found) == owner(node) && permissions(&found) == permissions(node) && found.xattrs == node.xattrs;
    if same {
        let set = if found.mtime == node.mtime { Ok(()) } else { set_time(folder, node) };
        return set
            .err()
            .map(|error| format!("its time could not be set: {}", io::Error::from(error)))
            .into_iter()
            .collect();
    }
    // The system's own labels are not the user's to lose.
    let is_surplus = |name: &str| {
        let of_user = name.starts_with("user.") || name.starts_with("system.posix_acl_");
        of_user && !node.xattrs.iter().any(|xattr| xattr.name == name)
    };
    let mut failures = Vec::new();
    for xattr in found.xattrs.iter().filter(|xattr| is_surplus(&xattr.name)) {
        if let Err(error) = rustix::fs::lremovexattr(folder, xattr.name.as_str()) {
            let error = io::Error::from(error);
            failures.push(format!("its extended attribute {} could not be removed: {error}", xattr.name));
        }
    }
    failures.extend(apply_metadata(folder, node, privileged));
    failures
}

/// Lets the owner of a folder make and remove entries, until [`bring_to`] gives it its mode back. Root needs no leave.
pub(super) fn open_up(folder: &Path, node: &Node) {
    let permissions = go::permissions_from_mode(node.mode);
    if permissions & 0o700 != 0o700 && !verify_options().privileged {
        // Where this fails, so will the first rename, with a better message.
        let _ = rustix::fs::chmodat(CWD, folder, Mode::from_raw_mode(permissions | 0o700), AtFlags::empty());
    }
}

/// Renames, and never replaces what is there.
pub(super) fn move_entry(from: &Path, to: &Path) -> Result<(), InPlaceError> {
    let failed = |error: Errno| {
        let error = io::Error::from(error);
        let what = format!("could not be moved to {}: {error}", to.display());
        InPlaceError::io(from)(io::Error::new(error.kind(), what))
    };
    match rename(from, to) {
        Err(Errno::ACCESS) if !verify_options().privileged => {
            // A folder that its owner may not write to cannot be moved into another: its `..` is written.
            let node = NodeReader::default().read(from).map_err(InPlaceError::io(from))?.node;
            if node.kind != NodeKind::Dir {
                return Err(failed(Errno::ACCESS));
            }
            open_up(from, &node);
            let moved = rename(from, to).map_err(failed);
            let _ = bring_to(if moved.is_ok() { to } else { from }, &node);
            moved
        }
        result => result.map_err(failed),
    }
}

fn rename(from: &Path, to: &Path) -> rustix::io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system can refuse by itself.
        Err(Errno::INVAL | Errno::NOSYS) => match to.symlink_metadata() {
            Ok(_) => Err(Errno::EXIST),
            Err(_) => rustix::fs::renameat(CWD, from, CWD, to),
        },
        result => result,
    }
}
