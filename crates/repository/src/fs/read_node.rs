//! Reads a file's metadata into a node: everything restic keeps.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt as _};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Stat};

use crate::format::go;
use crate::format::node::Xattr;
use crate::format::time::Time;
use crate::{Node, NodeKind};

/// Reads nodes. Keeps the names of users and groups it has looked up.
#[derive(Default)]
pub struct NodeReader {
    users: uzers::UsersCache,
}

/// A node, and what of it could not be read.
#[derive(Debug)]
pub struct ReadNode {
    /// The metadata, without content and subtree.
    pub node: Node,
    /// Why its extended attributes are not in the node.
    pub xattr_error: Option<io::Error>,
    /// The file system it lies on, which the node itself keeps for few files only.
    pub file_system: u64,
}

impl NodeReader {
    /// Reads the metadata of what lies at `path`, without following a link. Its name in the tree is `path`'s last part.
    pub fn read(&self, path: &Path) -> io::Result<ReadNode> {
        let stat = rustix::fs::statat(rustix::fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW)?;
        let name = path.file_name().map_or(&b""[..], OsStrExt::as_bytes);
        let mut node = self.from_stat(name, &stat);
        if node.kind == NodeKind::Symlink {
            node.link_target = std::fs::read_link(path)?.into_os_string().into_vec();
        }
        let (xattrs, xattr_error) = match read_xattrs(path) {
            Ok(xattrs) => (xattrs, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        node.xattrs = xattrs;
        Ok(ReadNode { node, xattr_error, file_system: stat.st_dev })
    }

    /// The node of a `stat`, without link target and extended attributes.
    pub fn from_stat(&self, name: &[u8], stat: &Stat) -> Node {
        let mut node = node_of_stat(name, stat);
        node.user = self.user_name(stat.st_uid);
        node.group = self.group_name(stat.st_gid);
        node
    }

    fn user_name(&self, uid: u32) -> String {
        use uzers::Users as _;
        self.users.get_user_by_uid(uid).map_or_else(String::new, |user| user.name().to_string_lossy().into_owned())
    }

    fn group_name(&self, gid: u32) -> String {
        use uzers::Groups as _;
        self.users.get_group_by_gid(gid).map_or_else(String::new, |group| group.name().to_string_lossy().into_owned())
    }
}

/// What a `stat` alone says: no names of owner and group, no link target, no extended attributes.
pub(crate) fn node_of_stat(name: &[u8], stat: &Stat) -> Node {
    let kind = kind_of(FileType::from_raw_mode(stat.st_mode));
    let mut node = Node::new(name, kind);
    node.mode = go::mode_from_posix(stat.st_mode);
    node.mtime = Time::from_stat(stat.st_mtime, nanoseconds(stat.st_mtime_nsec));
    // Reading must change no tree, so the time of the last read is not kept. restic does the same by default.
    node.atime = node.mtime;
    node.ctime = Time::from_stat(stat.st_ctime, nanoseconds(stat.st_ctime_nsec));
    node.uid = stat.st_uid;
    node.gid = stat.st_gid;
    node.inode = stat.st_ino;
    if kind == NodeKind::File {
        node.size = u64::try_from(stat.st_size).unwrap_or(0);
    }
    if !matches!(kind, NodeKind::Dir | NodeKind::Fifo | NodeKind::Socket) {
        node.links = stat.st_nlink;
    }
    if kind != NodeKind::Dir && node.links > 1 {
        node.device_id = stat.st_dev;
    }
    if matches!(kind, NodeKind::BlockDevice | NodeKind::CharDevice) {
        node.device = stat.st_rdev;
    }
    node
}

fn nanoseconds(value: impl TryInto<u32>) -> u32 {
    value.try_into().unwrap_or(0)
}

fn kind_of(file_type: FileType) -> NodeKind {
    match file_type {
        FileType::RegularFile => NodeKind::File,
        FileType::Directory => NodeKind::Dir,
        FileType::Symlink => NodeKind::Symlink,
        FileType::BlockDevice => NodeKind::BlockDevice,
        FileType::CharacterDevice => NodeKind::CharDevice,
        FileType::Fifo => NodeKind::Fifo,
        FileType::Socket => NodeKind::Socket,
        FileType::Unknown => NodeKind::Unknown,
    }
}

/// The extended attributes of what lies at `path`, without following a link, sorted by name.
pub(crate) fn read_xattrs(path: &Path) -> io::Result<Vec<Xattr>> {
    let names = match read_growing(|| rustix::fs::llistxattr_query(path), |buffer| rustix::fs::llistxattr(path, buffer))
    {
        Ok(names) => names,
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut xattrs = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name_os = OsStr::from_bytes(name);
        let size = || rustix::fs::lgetxattr_query(path, name_os);
        match read_growing(size, |buffer| rustix::fs::lgetxattr(path, name_os, buffer)) {
            Ok(value) => xattrs.push(Xattr { name: String::from_utf8_lossy(name).into_owned(), value }),
            // Removed since it was listed.
            Err(rustix::io::Errno::NODATA) => {}
            Err(error) => return Err(error.into()),
        }
    }
    xattrs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(xattrs)
}

/// Asks for the `size` and then reads that much. Most files have no attributes, so the first call is the only one.
fn read_growing(
    size: impl Fn() -> rustix::io::Result<usize>,
    read: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Vec<u8>> {
    loop {
        let size = size()?;
        if size == 0 {
            return Ok(Vec::new());
        }
        let mut buffer = vec![0; size];
        match read(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            // It grew between the two calls.
            Err(rustix::io::Errno::RANGE) => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::XattrFlags;

    use super::*;

    #[test]
    fn extended_attributes_are_read_whole_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "").unwrap();
        assert_eq!(read_xattrs(&path).unwrap(), []);
        let set = |name: &str, value: &[u8]| rustix::fs::lsetxattr(&path, name, value, XattrFlags::empty());
        if set("user.b", &[0xff; 2000]) == Err(rustix::io::Errno::OPNOTSUPP) {
            eprintln!("left out: the temporary folder's file system keeps no extended attributes");
            return;
        }
        set("user.a", b"").unwrap();
        let xattr = |name: &str, value: &[u8]| Xattr { name: name.to_owned(), value: value.to_vec() };
        assert_eq!(read_xattrs(&path).unwrap(), [xattr("user.a", b""), xattr("user.b", &[0xff; 2000])]);
    }
}
