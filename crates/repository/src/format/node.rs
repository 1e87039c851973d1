//! A node: one file, folder or other thing in a tree, with all the metadata restic keeps.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::Error as _;
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::go;
use super::id::Id;
use super::time::Time;

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharDevice,
    /// A named pipe.
    Fifo,
    /// A socket. Stored for its metadata; a restore leaves it out, as its program makes it anew.
    Socket,
    /// Something this program does not know, out of a repository that another wrote.
    Unknown,
}

const KIND_NAMES: [(NodeKind, &str); 7] = [
    (NodeKind::File, "file"),
    (NodeKind::Dir, "dir"),
    (NodeKind::Symlink, "symlink"),
    (NodeKind::BlockDevice, "dev"),
    (NodeKind::CharDevice, "chardev"),
    (NodeKind::Fifo, "fifo"),
    (NodeKind::Socket, "socket"),
];

impl NodeKind {
    /// restic's word for the kind.
    pub fn name(self) -> &'static str {
        KIND_NAMES.iter().find(|(kind, _)| *kind == self).map_or("irregular", |(_, name)| name)
    }

    fn from_name(name: &str) -> Self {
        KIND_NAMES.iter().find(|(_, known)| *known == name).map_or(Self::Unknown, |(kind, _)| *kind)
    }
}

/// An extended attribute. ACLs and file capabilities are such attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xattr {
    /// The full name, with its name space. restic keeps names as text, so names that are not UTF-8 are lost there.
    pub name: String,
    /// The value.
    pub value: Vec<u8>,
}

impl Xattr {
    /// Whether only root may set it: the name spaces `security` and `trusted` (xattr(7)).
    pub fn is_privileged(&self) -> bool {
        self.name.starts_with("security.") || self.name.starts_with("trusted.")
    }
}

/// One thing in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The name's bytes, without a slash.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: NodeKind,
    /// Go's `fs.FileMode`, type bits included; see [`go::permissions_from_mode`].
    pub mode: u32,
    /// When the content was changed.
    pub mtime: Time,
    /// When it was last read. The same as `mtime` where the source does not say, so that reading changes no tree.
    pub atime: Time,
    /// When content or metadata were changed.
    pub ctime: Time,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// The owner's name; empty where there is none.
    pub user: String,
    /// The group's name; empty where there is none.
    pub group: String,
    /// The inode's number.
    pub inode: u64,
    /// The file system's device number. Only kept where it means something later: hard links, append-only files.
    pub device_id: u64,
    /// Bytes of a regular file.
    pub size: u64,
    /// Number of hard links.
    pub links: u64,
    /// Target of a symbolic link.
    pub link_target: Vec<u8>,
    /// Extended attributes.
    pub xattrs: Vec<Xattr>,
    /// Device number of a device.
    pub device: u64,
    /// The blobs of a regular file, in order.
    pub content: Vec<Id>,
    /// The tree of a folder.
    pub subtree: Option<Id>,
}

impl Node {
    /// A node of `kind` with nothing else known.
    pub fn new(name: impl Into<Vec<u8>>, kind: NodeKind) -> Self {
        Self {
            name: name.into(),
            kind,
            mode: 0,
            mtime: Time::EPOCH,
            atime: Time::EPOCH,
            ctime: Time::EPOCH,
            uid: 0,
            gid: 0,
            user: String::new(),
            group: String::new(),
            inode: 0,
            device_id: 0,
            size: 0,
            links: 0,
            link_target: Vec::new(),
            xattrs: Vec::new(),
            device: 0,
            content: Vec::new(),
            subtree: None,
        }
    }

    /// The name for people; bytes that are not UTF-8 are replaced.
    pub fn display_name(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.name)
    }

    /// Whether the file that was `parent` in an earlier snapshot is surely unchanged, by restic's rule.
    pub fn is_unchanged_since(&self, parent: &Self) -> bool {
        self.kind == NodeKind::File
            && parent.kind == NodeKind::File
            && self.size == parent.size
            && self.mtime == parent.mtime
            && self.ctime == parent.ctime
            && self.inode == parent.inode
    }

    /// Whether a name can be that of a node: not empty, `.`, `..`, and without slashes and zero bytes. Everything that
    /// comes out of a repository is held against this before it becomes a path on this machine.
    pub fn is_valid_name(name: &[u8]) -> bool {
        !name.is_empty() && name != b"." && name != b".." && !name.contains(&b'/') && !name.contains(&0)
    }
}

impl Serialize for Node {
    /// Keys and omissions are those of Go's struct, in its order, so that equal trees have equal ids in both programs.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut node = serializer.serialize_struct("Node", 20)?;
        node.serialize_field("name", &go::quote(&self.name))?;
        node.serialize_field("type", self.kind.name())?;
        skip_default(&mut node, "mode", &self.mode)?;
        node.serialize_field("mtime", &self.mtime)?;
        node.serialize_field("atime", &self.atime)?;
        node.serialize_field("ctime", &self.ctime)?;
        node.serialize_field("uid", &self.uid)?;
        node.serialize_field("gid", &self.gid)?;
        skip_default(&mut node, "user", &self.user)?;
        skip_default(&mut node, "group", &self.group)?;
        skip_default(&mut node, "inode", &self.inode)?;
        skip_default(&mut node, "device_id", &self.device_id)?;
        skip_default(&mut node, "size", &self.size)?;
        skip_default(&mut node, "links", &self.links)?;
        skip_default(&mut node, "linktarget", &String::from_utf8_lossy(&self.link_target))?;
        if std::str::from_utf8(&self.link_target).is_err() {
            node.serialize_field("linktarget_raw", &BASE64.encode(&self.link_target))?;
        }
        if !self.xattrs.is_empty() {
            node.serialize_field("extended_attributes", &self.xattrs)?;
        }
        skip_default(&mut node, "device", &self.device)?;
        node.serialize_field("content", &(self.kind == NodeKind::File).then_some(&self.content))?;
        if let Some(subtree) = &self.subtree {
            node.serialize_field("subtree", subtree)?;
        }
        node.end()
    }
}

fn skip_default<S: serde::ser::SerializeStruct, T: Serialize + Default + PartialEq>(
    node: &mut S,
    key: &'static str,
    value: &T,
) -> Result<(), S::Error> {
    if *value == T::default() { Ok(()) } else { node.serialize_field(key, value) }
}

impl Serialize for Xattr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut xattr = serializer.serialize_struct("Xattr", 2)?;
        xattr.serialize_field("name", &self.name)?;
        // Go writes an empty byte slice as "" and a nil one as null; readers take both.
        xattr.serialize_field("value", &BASE64.encode(&self.value))?;
        xattr.end()
    }
}

/// A node as it stands in JSON; unknown keys of newer programs are passed over.
#[derive(Deserialize)]
struct Written<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(default)]
    mode: u32,
    #[serde(default = "epoch")]
    mtime: Time,
    #[serde(default = "epoch")]
    atime: Time,
    #[serde(default = "epoch")]
    ctime: Time,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
    #[serde(default)]
    user: String,
    #[serde(default)]
    group: String,
    #[serde(default)]
    inode: u64,
    #[serde(default)]
    device_id: u64,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    links: u64,
    #[serde(default)]
    linktarget: String,
    #[serde(default)]
    linktarget_raw: Option<String>,
    #[serde(default)]
    extended_attributes: Option<Vec<WrittenXattr>>,
    #[serde(default)]
    device: u64,
    #[serde(default)]
    content: Option<Vec<Id>>,
    #[serde(default)]
    subtree: Option<Id>,
}

#[derive(Deserialize)]
struct WrittenXattr {
    name: String,
    value: Option<String>,
}

fn epoch() -> Time {
    Time::EPOCH
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        let name = go::unquote(&written.name).ok_or_else(|| D::Error::custom("a name is not quoted as Go does"))?;
        let base64 = |text: String| BASE64.decode(text).map_err(|_| D::Error::custom("bytes are not in base64"));
        let link_target = match written.linktarget_raw {
            Some(raw) => base64(raw)?,
            None => written.linktarget.into_bytes(),
        };
        let xattrs = written
            .extended_attributes
            .unwrap_or_default()
            .into_iter()
            .map(|xattr| Ok(Xattr { name: xattr.name, value: base64(xattr.value.unwrap_or_default())? }));
        Ok(Self {
            name,
            kind: NodeKind::from_name(&written.kind),
            mode: written.mode,
            mtime: written.mtime,
            atime: written.atime,
            ctime: written.ctime,
            uid: written.uid,
            gid: written.gid,
            user: written.user,
            group: written.group,
            inode: written.inode,
            device_id: written.device_id,
            size: written.size,
            links: written.links,
            link_target,
            xattrs: xattrs.collect::<Result<_, D::Error>>()?,
            device: written.device,
            content: written.content.unwrap_or_default(),
            subtree: written.subtree,
        })
    }
}
