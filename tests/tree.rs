//! Two trees are the same when every name, kind, byte, owner, mode, time, attribute and hard link is.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// What is compared of one entry.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    kind: &'static str,
    pub mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    size: u64,
    device: u64,
    link_target: Option<PathBuf>,
    xattrs: BTreeMap<OsString, Vec<u8>>,
    /// The first path of those that are the same file.
    same_as: Option<PathBuf>,
    /// Hash of the content.
    pub content: Option<u64>,
}

/// A tree by its paths, relative to its root; the root is the empty path.
pub type Tree = BTreeMap<PathBuf, Seen>;

/// Reads a tree.
pub fn read(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut first: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(relative) = waiting.pop() {
        let path = if relative.as_os_str().is_empty() { root.to_owned() } else { root.join(&relative) };
        let meta = std::fs::symlink_metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if meta.is_dir() {
            let mut names: Vec<OsString> =
                std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            // The last is looked at first: then the first name in order is the first of its hard links.
            names.sort_by(|a, b| b.cmp(a));
            waiting.extend(names.into_iter().map(|name| relative.join(name)));
        }
        let seen = see(&path, &meta, &relative, &mut first);
        tree.insert(relative, seen);
    }
    tree
}

fn see(path: &Path, meta: &Metadata, relative: &Path, first: &mut BTreeMap<(u64, u64), PathBuf>) -> Seen {
    let kind = meta.file_type();
    let linked = !meta.is_dir() && meta.nlink() > 1;
    let same_as = linked.then(|| first.entry((meta.dev(), meta.ino())).or_insert_with(|| relative.to_owned()).clone());
    let is_device = kind.is_block_device() || kind.is_char_device();
    Seen {
        kind: match () {
            () if kind.is_file() => "file",
            () if kind.is_dir() => "folder",
            () if kind.is_symlink() => "symlink",
            () if kind.is_fifo() => "fifo",
            () if kind.is_socket() => "socket",
            () if kind.is_block_device() => "block device",
            () => "character device",
        },
        mode: meta.mode() & 0o7777,
        owner: (meta.uid(), meta.gid()),
        mtime: (meta.mtime(), meta.mtime_nsec()),
        // A folder's size is the file system's own affair.
        size: if meta.is_dir() { 0 } else { meta.size() },
        device: if is_device { meta.rdev() } else { 0 },
        link_target: kind.is_symlink().then(|| std::fs::read_link(path).unwrap()),
        xattrs: xattrs(path),
        same_as,
        content: kind.is_file().then(|| hash(&std::fs::read(path).unwrap())),
    }
}

fn xattrs(path: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let mut names = vec![0u8; 64 << 10];
    let Ok(length) = rustix::fs::llistxattr(path, &mut names) else { return BTreeMap::new() };
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0u8; 64 << 10];
            let length = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
            value.truncate(length);
            (std::ffi::OsStr::from_bytes(name).to_owned(), value)
        })
        .collect()
}

/// Trees are compared within a test, and nobody tries to deceive it.
fn hash(bytes: &[u8]) -> u64 {
    use std::hash::Hasher as _;
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// Asserts that two trees are the same, and names what differs.
pub fn assert_same(expected: &Tree, found: &Tree, when: &str) {
    let mut differences = Vec::new();
    for path in expected.keys().chain(found.keys().filter(|path| !expected.contains_key(*path))) {
        match (expected.get(path), found.get(path)) {
            (Some(expected), Some(found)) if expected == found => {}
            (Some(expected), Some(found)) => differences.push(format!("{path:?}:\n  {expected:?}\n  {found:?}")),
            (Some(_), None) => differences.push(format!("{path:?} is missing")),
            (None, _) => differences.push(format!("{path:?} should not be there")),
        }
    }
    let count = differences.len();
    differences.truncate(10);
    assert!(differences.is_empty(), "{when}: {count} differences, the first are\n{}", differences.join("\n"));
}

/// Asserts that what lies below two folders is the same. The folders themselves may differ.
pub fn assert_same_on_disk(expected: &Path, found: &Path) {
    let [mut one, mut other] = [expected, found].map(read);
    one.remove(Path::new(""));
    other.remove(Path::new(""));
    assert_same(&one, &other, &format!("{} and {}", expected.display(), found.display()));
}
