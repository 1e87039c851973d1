//! What `stat` says of a file, by which one that did not change since the parent snapshot is known.

use std::fmt;

use repository::Node;
use repository::format::time::Time;

/// What of a file changes when its content does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    mtime: Time,
    ctime: Time,
}

impl Stamp {
    pub fn of(node: &Node, device: u64) -> Self {
        Self { device, inode: node.inode, size: node.size, mtime: node.mtime, ctime: node.ctime }
    }

    /// Whether both are one file, however much was appended to it.
    pub fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let [device, inode, size] = [parts.next()?, parts.next()?, parts.next()?].map(|part| part.parse().ok());
        let mut time = || {
            let (seconds, nanoseconds) = parts.next()?.split_once('.')?;
            Some(Time { seconds: seconds.parse().ok()?, nanoseconds: nanoseconds.parse().ok()? })
        };
        Some(Self { device: device?, inode: inode?, size: size?, mtime: time()?, ctime: time()? })
    }
}

/// `device:inode:size:mtime:ctime`, times in seconds with nine digits behind the point.
impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, inode, size, mtime, ctime } = self;
        let (m, c) = (mtime.nanoseconds, ctime.nanoseconds);
        write!(f, "{device}:{inode}:{size}:{}.{m:09}:{}.{c:09}", mtime.seconds, ctime.seconds)
    }
}
