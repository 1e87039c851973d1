//! A repository in memory, a clock that stands still, and sources of fixed files: what tests of operations work on.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use repository::clock::SimulatedClock;
use repository::format::go::mode_from_posix;
use repository::format::key_file::KdfCost;
use repository::format::pack::BlobKind;
use repository::format::snapshot::Snapshot;
use repository::limits::CHUNK_BYTES_AVERAGE;
use repository::storage::memory::MemoryStorage;
use repository::{
    Cancel, Capture, CaptureCx, Data, Entry, Facts, File, FileKind, Id, Index, Item, Node, NodeKind, Repository, RunCx,
    Silent, Source, SourceError, Storage as _, walk,
};

use crate::backup::{self, BackupReport, NamedSource, StackBackup};
use crate::surroundings::NoSurroundings;

pub struct Memory {
    pub storage: MemoryStorage,
    pub repository: Arc<Repository>,
    pub cancel: Cancel,
    pub clock: SimulatedClock,
    pub scratch: tempfile::TempDir,
}

impl Memory {
    pub fn new() -> Self {
        let storage = MemoryStorage::new();
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let repository =
            Repository::init(Arc::new(storage.clone()), "secret", KdfCost::FAST, CHUNK_BYTES_AVERAGE, now).unwrap();
        Self {
            storage,
            repository: Arc::new(repository),
            cancel: Cancel::new(),
            clock: SimulatedClock::new(now),
            scratch: tempfile::tempdir().unwrap(),
        }
    }

    /// Another copy of the repository, as it is now.
    pub fn copied(&self) -> Self {
        let storage = MemoryStorage::new();
        storage.put(File::CONFIG, &self.storage.get(File::CONFIG, None).unwrap()).unwrap();
        for kind in [FileKind::Key, FileKind::Pack, FileKind::Index, FileKind::Snapshot, FileKind::Receipt] {
            for listed in self.storage.list(kind).unwrap() {
                let file = File::new(kind, listed.id);
                storage.put(file, &self.storage.get(file, None).unwrap()).unwrap();
            }
        }
        let repository = Arc::new(Repository::open(Arc::new(storage.clone()), "secret").unwrap());
        Self { storage, repository, ..Self::new() }
    }

    pub fn cx(&self) -> RunCx<'_> {
        RunCx { events: &Silent, cancel: &self.cancel, clock: &self.clock, lock: None }
    }

    /// Writes a snapshot file of `stack`, or of none where that is empty, that names no tree: enough for what only lists
    /// snapshots.
    pub fn snapshot(&self, stack: &str, time: &str, tags: &[&str]) -> Id {
        let own = Some(Snapshot::stack_tag(stack)).filter(|_| !stack.is_empty());
        let tags: Vec<String> = own.into_iter().chain(tags.iter().map(|tag| (*tag).to_owned())).collect();
        let json = serde_json::json!({ "time": time, "tree": Id::of(time.as_bytes()), "paths": ["/x"], "tags": tags });
        let snapshot = Snapshot::parse(json.to_string().as_bytes()).unwrap();
        self.repository.save_json(FileKind::Snapshot, &snapshot).unwrap()
    }

    /// Backs up the sources, or those called in `only`.
    pub fn back_up(&self, sources: &[NamedSource], only: &[&str]) -> Result<BackupReport, repository::Error> {
        let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
        backup::run(&self.cx(), &self.repository, &StackBackup { sources, only: &only, ..self.job() })
    }

    /// A backup of no sources yet.
    pub fn job(&self) -> StackBackup<'_> {
        StackBackup {
            stack: "cht",
            sources: &[],
            only: &[],
            tags: &[],
            scratch: self.scratch.path(),
            own_paths: &[],
            copies: &[],
            count_first: false,
            others: &[],
            surroundings: &NoSurroundings,
        }
    }

    pub fn index(&self) -> Index {
        Index::load(&self.cx(), &self.repository).unwrap()
    }

    /// Inverts a byte of the stored content, or tree, of what lies at `path` in the snapshot.
    pub fn damage(&self, snapshot: Id, path: &str) {
        let index = self.index();
        let tree = self.repository.snapshot(snapshot).unwrap().tree;
        let node = walk::find(&self.repository, &index, &tree, Path::new(path)).unwrap().unwrap();
        let (kind, id) = match node.subtree {
            Some(tree) => (BlobKind::Tree, tree),
            None => (BlobKind::Data, node.content[0]),
        };
        let location = index.locations(kind, &id).next().unwrap();
        assert!(self.storage.flip(File::pack(location.pack), location.blob.offset as usize + 20));
    }
}

/// Files of fixed content.
pub struct FixedFiles {
    pub kind: &'static str,
    /// Paths, sorted, each in a folder of its own name or in none; and what they hold.
    pub files: Vec<(&'static str, &'static str)>,
    /// Host paths that it claims.
    pub claims: Vec<PathBuf>,
    /// Fails to open with this error.
    pub fails_with: Option<std::io::ErrorKind>,
    /// How often a view of it was opened.
    pub opened: Arc<AtomicUsize>,
    /// The snapshots that its captures were compared with.
    pub parents: Arc<Mutex<Vec<Option<Id>>>>,
    /// What it finds.
    pub facts: Facts,
    /// Whether it learns from its last snapshot what is lost.
    pub finds_losses: bool,
}

impl FixedFiles {
    pub fn new(files: &[(&'static str, &'static str)]) -> Self {
        let (claims, opened, parents, facts) = Default::default();
        Self {
            kind: "files",
            files: files.to_vec(),
            claims,
            fails_with: None,
            opened,
            parents,
            facts,
            finds_losses: false,
        }
    }

    pub fn named(self, name: &str) -> NamedSource {
        NamedSource { name: name.to_owned(), source: Box::new(self) }
    }
}

impl Source for FixedFiles {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn claims(&self, _: &Cancel) -> Result<BTreeSet<PathBuf>, SourceError> {
        Ok(self.claims.iter().cloned().collect())
    }

    fn finds_losses(&self) -> bool {
        self.finds_losses
    }

    fn capture<'a>(&'a self, cx: &CaptureCx<'a>) -> Result<Box<dyn Capture + 'a>, SourceError> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.parents.lock().unwrap().push(cx.previous.map(|previous| previous.snapshot));
        if let Some(kind) = self.fails_with {
            return Err(SourceError::io("/srv/x")(kind.into()));
        }
        let is_left = |path: &str| !cx.claimed.contains(&Path::new("/").join(path));
        let mut items = Vec::new();
        for (path, content) in self.files.iter().filter(|(path, _)| is_left(path)) {
            if let Some((folder, _)) = path.rsplit_once('/') {
                items.push(entry(folder, NodeKind::Dir, ""));
            }
            items.push(entry(path, NodeKind::File, content));
        }
        Ok(Box::new(FixedView(items.into_iter(), self.facts.clone())))
    }
}

fn entry(path: &str, kind: NodeKind, content: &'static str) -> Item {
    let name = path.rsplit('/').next().unwrap();
    let mut node = Node::new(name, kind);
    node.mode = mode_from_posix(if kind == NodeKind::Dir { 0o040_755 } else { 0o100_644 });
    node.size = content.len() as u64;
    let data = if kind == NodeKind::Dir { Data::None } else { Data::Stream(Box::new(Cursor::new(content))) };
    Item::Entry(Box::new(Entry { path: path.into(), node, data }))
}

struct FixedView(std::vec::IntoIter<Item>, Facts);

impl Capture for FixedView {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        Ok(self.0.next())
    }

    fn finish(self: Box<Self>) -> Result<Facts, SourceError> {
        Ok(self.1)
    }
}
