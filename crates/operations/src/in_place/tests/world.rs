//! A folder of this host, a repository in memory, and snapshots of the one in the other.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use repository::backup::{self, Description};
use repository::format::key_file::KdfCost;
use repository::fs::NodeReader;
use repository::limits::CHUNK_BYTES_AVERAGE;
use repository::storage::memory::MemoryStorage;
use repository::{
    Cancel, Capture, Data, Entry, Facts, Id, Identity, Index, Item, Node, NodeKind, Repository, RunCx, Silent,
    SourceError, SystemClock,
};
use serde_json::json;
use tempfile::TempDir;

use crate::in_place::journal::is_own_folder;
use crate::in_place::{Done, InPlaceError, Job, Options, Preview, preview, restore};
use crate::manifest::{MANIFEST_NAME, Manifest, SourceRecord, SourceStatus};

pub struct World {
    _dir: TempDir,
    /// The folder that tests work in, links resolved.
    pub base: PathBuf,
    pub storage: MemoryStorage,
    pub repository: Repository,
    pub cancel: Cancel,
}

/// A snapshot, with what is needed to restore it.
pub struct Taken {
    pub id: Id,
    pub tree: Id,
    pub manifest: Manifest,
    pub index: Index,
}

/// A source: name, kind, paths below the base.
pub type Spec<'a> = (&'a str, &'a str, &'a [&'a str]);

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap().join("base");
        fs::create_dir(&base).unwrap();
        let storage = MemoryStorage::new();
        let now = jiff::Timestamp::UNIX_EPOCH;
        let repository =
            Repository::init(Arc::new(storage.clone()), "secret", KdfCost::FAST, CHUNK_BYTES_AVERAGE, now).unwrap();
        Self { _dir: dir, base, storage, repository, cancel: Cancel::new() }
    }

    pub fn cx(&self) -> RunCx<'_> {
        RunCx { events: &Silent, cancel: &self.cancel, clock: &SystemClock, lock: None }
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.base.join(below)
    }

    pub fn write(&self, below: &str, content: &str) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn read(&self, below: &str) -> String {
        fs::read_to_string(self.path(below)).unwrap()
    }

    pub fn mode(&self, below: &str, mode: u32) {
        fs::set_permissions(self.path(below), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Takes a snapshot of the sources.
    pub fn take(&self, specs: &[Spec<'_>]) -> Taken {
        let sources = specs.iter().map(|(name, kind, paths)| {
            let paths = paths.iter().map(|path| self.path(path)).collect();
            (*name, *kind, paths)
        });
        self.take_paths(&sources.collect::<Vec<(&str, &str, Vec<PathBuf>)>>())
    }

    pub fn take_paths(&self, sources: &[(&str, &str, Vec<PathBuf>)]) -> Taken {
        let cx = self.cx();
        let index = Index::load(&cx, &self.repository).unwrap();
        let write = |writer: &mut backup::SnapshotWriter<'_>| {
            let mut manifest =
                Manifest { version: Manifest::VERSION, stack: "test".to_owned(), sources: BTreeMap::new() };
            for (name, kind, paths) in sources {
                let others = sources.iter().filter(|other| other.0 != *name && other.1 != "files");
                let claimed = others.flat_map(|other| other.2.clone()).collect();
                let mut tree = Tree::new(paths, &claimed);
                let written = writer.source(name, &mut tree)?;
                let facts = Box::new(tree).finish()?;
                let (status, problems) = (SourceStatus::Ok, Vec::new());
                let kind = (*kind).to_owned();
                let record = SourceRecord {
                    kind,
                    status,
                    tree: written.tree,
                    captured: None,
                    facts,
                    emptied_of: None,
                    problems,
                    problems_total: 0,
                    notes: Vec::new(),
                };
                manifest.sources.insert((*name).to_owned(), record);
            }
            writer.root_file(MANIFEST_NAME, &manifest.to_json())?;
            Ok(manifest)
        };
        let (manifest, written) = backup::write(&cx, &self.repository, &index, None, write).unwrap();
        let (paths, tags) = Default::default();
        let program_version = "test".to_owned();
        let about = Description { identity: Identity::default(), paths, tags, program_version, parent: None };
        let (id, snapshot) = written.save(&cx, &self.repository, about).unwrap();
        let index = Index::load(&cx, &self.repository).unwrap();
        Taken { id, tree: snapshot.tree, manifest, index }
    }

    pub fn preview(&self, taken: &Taken, selected: &str, options: &Options) -> Result<Preview, InPlaceError> {
        preview(&self.cx(), &self.repository, &taken.index, &taken.job(&[selected.into()], options))
    }

    pub fn restore(&self, taken: &Taken, selected: &str, options: &Options) -> Result<Done, InPlaceError> {
        let selected = [selected.into()];
        let job = taken.job(&selected, options);
        restore(&self.cx(), &self.repository, &taken.index, &job, &|_, _, _| Ok(Vec::new()), &|_, _| Ok(()))
    }

    /// Everything in the base folder, and the base folder itself.
    pub fn seen(&self) -> BTreeMap<PathBuf, Seen> {
        see(&self.base)
    }

    /// The undo and staging folders in the base folder.
    pub fn own_folders(&self) -> Vec<PathBuf> {
        own_folders(&self.base)
    }
}

impl Taken {
    pub fn job<'a>(&'a self, selected: &'a [PathBuf], options: &'a Options) -> Job<'a> {
        Job { snapshot: self.id, tree: self.tree, manifest: &self.manifest, selected, options }
    }
}

pub fn delete() -> Options {
    Options { delete: true, ..Options::default() }
}

pub fn own_folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| is_own_folder(path.file_name().unwrap())).collect()
}

/// All that a restore must bring back of one thing.
#[derive(Clone, PartialEq, Eq)]
pub struct Seen {
    pub node: Node,
    pub content: Vec<u8>,
    /// The first name of the same file.
    pub same_as: PathBuf,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Node { kind, mode, mtime, uid, gid, links, xattrs, .. } = &self.node;
        write!(
            f,
            "{kind:?} {mode:o} {mtime} {uid}:{gid} {links} {xattrs:?} {:?}",
            String::from_utf8_lossy(&self.content)
        )
    }
}

pub fn see(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut names = BTreeSet::new();
    collect(root, &mut names);
    let (mut seen, mut first) = (BTreeMap::new(), HashMap::new());
    for path in names {
        let mut node = NodeReader::default().read(&path).unwrap().node;
        let found = path.symlink_metadata().unwrap();
        let same_as = first.entry((found.dev(), found.ino())).or_insert_with(|| path.clone()).clone();
        // Not a restore's to bring back.
        (node.ctime, node.inode, node.device_id) = (node.mtime, 0, 0);
        let content = if node.kind == NodeKind::File { fs::read(&path).unwrap() } else { Vec::new() };
        seen.insert(path, Seen { node, content, same_as });
    }
    seen
}

fn collect(path: &Path, names: &mut BTreeSet<PathBuf>) {
    names.insert(path.to_owned());
    if path.is_symlink() || !path.is_dir() {
        return;
    }
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if !is_own_folder(path.file_name().unwrap()) {
            collect(&path, names);
        }
    }
}

/// Captures paths of this host as the sources do, with the folders on the way to them.
struct Tree {
    entries: std::vec::IntoIter<PathBuf>,
    facts: Facts,
}

impl Tree {
    fn new(paths: &[PathBuf], claimed: &BTreeSet<PathBuf>) -> Self {
        let mut names = BTreeSet::new();
        for path in paths.iter().filter(|path| path.symlink_metadata().is_ok()) {
            let mut below = BTreeSet::new();
            collect(path, &mut below);
            names.extend(below.into_iter().filter(|path| !claimed.iter().any(|other| path.starts_with(other))));
            names.extend(
                path.ancestors().skip(1).filter(|on_the_way| on_the_way.parent().is_some()).map(Path::to_owned),
            );
        }
        let mut facts = Facts::new();
        if !paths.is_empty() {
            let quote = |path: &PathBuf| {
                use std::os::unix::ffi::OsStrExt as _;
                repository::format::go::quote(path.as_os_str().as_bytes())
            };
            facts.insert("paths".to_owned(), json!(paths.iter().map(quote).collect::<Vec<_>>()));
        }
        // Paths compare part by part, each by its bytes: the order of a tree.
        Self { entries: names.into_iter().collect::<Vec<_>>().into_iter(), facts }
    }
}

impl Capture for Tree {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        let Some(path) = self.entries.next() else { return Ok(None) };
        let node = NodeReader::default().read(&path).map_err(SourceError::io(&path))?.node;
        let data = match node.kind {
            NodeKind::File => Data::File { path: path.clone(), append_only: None },
            _ => Data::None,
        };
        let path = path.strip_prefix("/").unwrap().to_owned();
        Ok(Some(Item::Entry(Box::new(Entry { path, node, data }))))
    }

    fn finish(self: Box<Self>) -> Result<Facts, SourceError> {
        Ok(self.facts)
    }
}

/// Runs `test` as a user without rights of root, who owns `own`.
pub fn as_plain_user(own: &[&Path], test: impl FnOnce() + Send) {
    use rustix::process::{Gid, Uid, getuid};
    const NOBODY: u32 = 65_534;
    if !getuid().is_root() {
        return test();
    }
    for path in own {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    std::thread::scope(|scope| {
        let outcome = scope.spawn(|| {
            let (gid, uid) = (Gid::from_raw(NOBODY), Uid::from_raw(NOBODY));
            rustix::thread::set_thread_groups(&[]).unwrap();
            rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
            test();
        });
        if let Err(panic) = outcome.join() {
            std::panic::resume_unwind(panic);
        }
    });
}
