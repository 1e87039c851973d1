//! Files and folders of this machine as nodes, and nodes as files and folders of this machine.

mod read_node;
mod write_node;

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{FileType, OFlags};

pub(crate) use read_node::node_of_stat;
pub use read_node::{NodeReader, ReadNode};
pub(crate) use write_node::permissions_for;
pub use write_node::{apply_metadata, create_special};

use crate::NodeKind;

/// The bits of a mode that say what a thing is, as POSIX has them. Of what no program makes, those of a file.
pub fn type_bits(kind: NodeKind) -> u32 {
    let file_type = match kind {
        NodeKind::Dir => FileType::Directory,
        NodeKind::Symlink => FileType::Symlink,
        NodeKind::BlockDevice => FileType::BlockDevice,
        NodeKind::CharDevice => FileType::CharacterDevice,
        NodeKind::Fifo => FileType::Fifo,
        NodeKind::File | NodeKind::Socket | NodeKind::Unknown => FileType::RegularFile,
    };
    file_type.as_raw_mode()
}

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
