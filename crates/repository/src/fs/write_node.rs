//! Gives a restored file or folder the metadata of its node.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};

use crate::format::go;
use crate::{Node, NodeKind};

/// Makes what has no content: a link, device or fifo. Sockets are made by their programs, so they are left out.
pub fn create_special(path: &Path, node: &Node) -> io::Result<()> {
    let file_type = match node.kind {
        NodeKind::Symlink => {
            let target = std::ffi::OsStr::from_bytes(&node.link_target);
            return Ok(rustix::fs::symlinkat(target, CWD, path)?);
        }
        NodeKind::BlockDevice => FileType::BlockDevice,
        NodeKind::CharDevice => FileType::CharacterDevice,
        NodeKind::Fifo => FileType::Fifo,
        NodeKind::File | NodeKind::Dir | NodeKind::Socket | NodeKind::Unknown => return Ok(()),
    };
    Ok(rustix::fs::mknodat(CWD, path, file_type, Mode::from_raw_mode(0o600), node.device)?)
}

/// Sets owner (where `privileged`), extended attributes, mode and times, in the order in which none undoes or forbids
/// another: changing the owner clears set-uid bits and capabilities, an attribute can only be set on a file that may be
/// written, an access list and a mode say the same, and all of them change times.
///
/// Tries everything and gives what could not be set.
pub fn apply_metadata(path: &Path, node: &Node, privileged: bool) -> Vec<String> {
    let mut failures = Vec::new();
    let mut attempt = |what: &str, result: rustix::io::Result<()>| {
        if let Err(error) = result {
            failures.push(format!("its {what} could not be set: {}", io::Error::from(error)));
        }
    };
    let mut is_owned = false;
    if privileged {
        let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
        let changed = rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW);
        is_owned = changed.is_ok();
        attempt("owner", changed);
    }
    for xattr in node.xattrs.iter().filter(|xattr| privileged || !xattr.is_privileged()) {
        let set = rustix::fs::lsetxattr(path, xattr.name.as_str(), &xattr.value, XattrFlags::empty());
        attempt(&format!("extended attribute {}", xattr.name), set);
    }
    if node.kind != NodeKind::Symlink {
        let mode = Mode::from_raw_mode(permissions_for(node, is_owned));
        attempt("mode", rustix::fs::chmodat(CWD, path, mode, AtFlags::empty()));
    }
    let time = Timespec { tv_sec: node.mtime.seconds, tv_nsec: i64::from(node.mtime.nanoseconds) };
    let times = Timestamps { last_access: time, last_modification: time };
    attempt("time", rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW));
    failures
}

/// The permissions that a restored file gets. A set-user-ID bit means its owner, so where the owner is not restored the bit
/// must not be either: it would lend out the rights of whoever restores. The same goes for the group.
pub(crate) fn permissions_for(node: &Node, is_owned: bool) -> u32 {
    const SET_USER_ID: u32 = 0o4000;
    const SET_GROUP_ID: u32 = 0o2000;
    let mut permissions = go::permissions_from_mode(node.mode);
    if !is_owned && node.uid != rustix::process::geteuid().as_raw() {
        permissions &= !SET_USER_ID;
    }
    if !is_owned && node.gid != rustix::process::getegid().as_raw() {
        permissions &= !SET_GROUP_ID;
    }
    permissions
}
