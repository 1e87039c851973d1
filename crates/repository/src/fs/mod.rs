//! Files and folders of this machine as nodes, and nodes as files and folders of this machine.

mod read_node;
mod write_node;

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

pub(crate) use read_node::node_of_stat;
pub use read_node::{NodeReader, ReadNode};
pub(crate) use write_node::permissions_for;
pub use write_node::{apply_metadata, create_special};

/// Free bytes for this user below `folder`, or below the nearest folder above it that exists.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    let existing = folder.ancestors().find(|path| path.exists()).unwrap_or(folder);
    let space = rustix::fs::statvfs(existing)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

/// Opens a file to read it, without following a link and without waiting for a fifo's writer; without touching the time of
/// the last read where the system allows that (for one's own files, or root).
pub fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let open = |flags: OFlags| File::options().read(true).custom_flags(flags.bits() as i32).open(path);
    match open(flags | OFlags::NOATIME) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => open(flags),
        opened => opened,
    }
}
