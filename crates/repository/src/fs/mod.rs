//! Files and folders of this machine as nodes, and nodes as files and folders of this machine.

mod read_node;
mod write_node;

use std::path::Path;

pub(crate) use read_node::node_of_stat;
pub use read_node::{NodeReader, ReadNode};
pub(crate) use write_node::permissions_for;
pub use write_node::{apply_metadata, create_special};

/// Free bytes for this user below `folder`, or below the nearest folder above it that exists.
pub fn free_bytes(folder: &Path) -> std::io::Result<u64> {
    let existing = folder.ancestors().find(|path| path.exists()).unwrap_or(folder);
    let space = rustix::fs::statvfs(existing)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}
