//! Opens the stored fixtures and reads the listings of what went into them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use repository::format::go;
use repository::format::pack::BlobKind;
use repository::format::snapshot::Snapshot;
use repository::format::tree::{TreeReader, TreeWriter};
use repository::walk::{Go, Step, walk};
use repository::{Cancel, Id, Index, Node, NodeKind, Repository, RunCx, Silent, SystemClock};
use tempfile::TempDir;

use crate::folder::Folder;

pub const PASSWORD: &str = "correct horse battery staple";

pub struct Fixture {
    pub repository: Repository,
    pub index: Index,
    /// By tag; every snapshot of a fixture has one.
    pub snapshots: BTreeMap<String, Snapshot>,
    name: &'static str,
    // Removed when the test ends.
    _folder: TempDir,
}

pub fn fixtures_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/fixtures")
}

/// Unpacks the archive of a fixture.
pub fn unpack(name: &str) -> (TempDir, Arc<Folder>) {
    let folder = tempfile::tempdir().unwrap();
    let archive = fixtures_folder().join(format!("{name}.tar.gz"));
    let done = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(folder.path()).status().unwrap();
    assert!(done.success(), "tar failed");
    let storage = Arc::new(Folder(folder.path().join(name)));
    (folder, storage)
}

impl Fixture {
    pub fn open(name: &'static str) -> Self {
        let (folder, storage) = unpack(name);
        let repository = Repository::open(storage, PASSWORD).unwrap();
        let (index, snapshots) =
            with_cx(|cx| (Index::load(cx, &repository).unwrap(), repository.snapshots(cx.cancel).unwrap()));
        let by_tag = snapshots.into_iter().map(|(_, snapshot)| (snapshot.tags.concat(), snapshot)).collect();
        Self { repository, index, snapshots: by_tag, name, _folder: folder }
    }

    /// What the snapshot must hold, by path.
    pub fn listing(&self, tag: &str) -> BTreeMap<Vec<u8>, Listed> {
        let path = fixtures_folder().join(format!("{}.{tag}.list", self.name));
        let listing = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        listing.lines().map(Listed::parse).collect()
    }

    /// The snapshot's nodes by path, in the form of the listing.
    pub fn nodes(&self, tag: &str) -> BTreeMap<Vec<u8>, Listed> {
        let mut nodes = BTreeMap::new();
        with_cx(|cx| {
            walk(cx, &self.repository, &self.index, &self.snapshots[tag].tree, &mut |step| {
                if let Step::Reach(path, node) = step {
                    let path = path.as_os_str().as_encoded_bytes().to_vec();
                    assert!(nodes.insert(path, Listed::of(node, &self.content(node))).is_none());
                }
                Ok(Go::In)
            })
            .unwrap();
        });
        nodes
    }

    /// All bytes of a file.
    fn content(&self, node: &Node) -> Vec<u8> {
        let blob = |id: &Id| self.repository.blob(&self.index, BlobKind::Data, id).unwrap();
        let content: Vec<u8> = node.content.iter().flat_map(blob).collect();
        assert!(node.kind != NodeKind::File || content.len() as u64 == node.size, "{}", node.display_name());
        content
    }

    /// Every tree's id and bytes.
    pub fn trees(&self) -> Vec<(Id, Vec<u8>)> {
        let ids = (0..self.index.len(BlobKind::Tree)).map(|at| self.index.location(BlobKind::Tree, at).blob.id);
        ids.map(|id| (id, self.repository.blob(&self.index, BlobKind::Tree, &id).unwrap())).collect()
    }
}

/// The tree as Lifeboat writes it.
pub fn write_again(tree: &[u8]) -> Vec<u8> {
    let mut reader = TreeReader::new(tree.to_vec()).unwrap();
    let mut writer = TreeWriter::new();
    while let Some(node) = reader.next().unwrap() {
        writer.push(&node).unwrap();
    }
    writer.finish()
}

pub fn with_cx<T>(run: impl FnOnce(&RunCx<'_>) -> T) -> T {
    run(&RunCx { events: &Silent, cancel: &Cancel::new(), clock: &SystemClock, lock: None })
}

/// One node in the words of a listing; see `write_listing` in `fixtures/make.py`.
#[derive(Debug, PartialEq, Eq)]
pub struct Listed(BTreeMap<&'static str, String>);

const COLUMNS: [&str; 13] =
    ["kind", "mode", "uid", "gid", "mtime", "ctime", "inode", "links", "size", "device", "target", "xattrs", "sha256"];

impl Listed {
    fn parse(line: &str) -> (Vec<u8>, Self) {
        let (path, facts) = line.split_once(' ').unwrap();
        let facts: Vec<_> = facts.split(' ').map(str::to_owned).collect();
        assert_eq!(facts.len(), COLUMNS.len(), "{line}");
        (bytes_of(path), Self(COLUMNS.into_iter().zip(facts).collect()))
    }

    fn of(node: &Node, content: &[u8]) -> Self {
        let file = node.kind == NodeKind::File;
        let device = matches!(node.kind, NodeKind::BlockDevice | NodeKind::CharDevice);
        let given = |given: bool, fact: String| if given { fact } else { "-".to_owned() };
        let nanoseconds = |time: repository::format::time::Time| {
            (i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds)).to_string()
        };
        let mut xattrs: Vec<_> = node.xattrs.iter().map(|xattr| (xattr.name.as_bytes(), &xattr.value)).collect();
        xattrs.sort();
        let xattrs: Vec<_> = xattrs.iter().map(|(name, value)| format!("{}={}", text_of(name), hex(value))).collect();
        let facts = [
            node.kind.name().to_owned(),
            format!("{:04o}", go::permissions_from_mode(node.mode)),
            node.uid.to_string(),
            node.gid.to_string(),
            nanoseconds(node.mtime),
            nanoseconds(node.ctime),
            node.inode.to_string(),
            given(file, node.links.to_string()),
            given(file, node.size.to_string()),
            given(device, node.device.to_string()),
            given(node.kind == NodeKind::Symlink, text_of(&node.link_target)),
            given(!xattrs.is_empty(), xattrs.join(",")),
            given(file, Id::of(content).to_hex()),
        ];
        Self(COLUMNS.into_iter().zip(facts).collect())
    }

    pub fn target(&self) -> Vec<u8> {
        bytes_of(&self.0["target"])
    }

    /// The same node with another target.
    pub fn with_target(mut self, target: &[u8]) -> Self {
        self.0.insert("target", text_of(target));
        self
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes as one word: everything but letters, digits and a few marks as `%XX`.
fn text_of(bytes: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    let text: String = bytes
        .iter()
        .map(|&byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") })
        .collect();
    if text.is_empty() { "%".to_owned() } else { text }
}

fn bytes_of(text: &str) -> Vec<u8> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts.filter(|part| !part.is_empty()) {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    bytes
}
