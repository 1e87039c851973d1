//! A repository in memory with a simulated clock, captures over real folders and over lists of streams, and restores
//! that end as a map of bytes.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use repository::backup::{self, BackupStats, Description};
use repository::clock::SimulatedClock;
use repository::events::Recorded;
use repository::format::key_file::KdfCost;
use repository::format::lock_file::LockFile;
use repository::format::snapshot::Snapshot;
use repository::format::time::Time;
use repository::fs::NodeReader;
use repository::lock::{Access, with_lock};
use repository::restore;
use repository::storage::memory::MemoryStorage;
pub use repository::storage::watched::{Asked, Watched};
use repository::{
    Cancel, Capture, Clock, Data, Entry, Error, Event, Facts, File, FileKind, Id, Identity, Index, Item, Node,
    NodeKind, Problem, Repository, RunCx, SourceError, Storage,
};

pub const PASSWORD: &str = "correct horse";
/// The smallest average there is, so that small files have several chunks.
pub const CHUNK_AVERAGE: usize = 64 << 10;
pub const CHUNK_MIN: usize = CHUNK_AVERAGE / 4;
pub const CHUNK_MAX: usize = CHUNK_AVERAGE * 4;

/// A storage with a repository in it, and what a run needs.
pub struct World {
    pub memory: MemoryStorage,
    pub clock: SimulatedClock,
    pub cancel: Cancel,
    pub events: Recorded,
}

/// Made once and copied: making one costs a scrypt.
static EMPTY: LazyLock<MemoryStorage> = LazyLock::new(|| {
    let memory = MemoryStorage::new();
    let average = CHUNK_AVERAGE as u32;
    Repository::init(Arc::new(memory.clone()), PASSWORD, KdfCost::FAST, average, start()).unwrap();
    memory
});

pub fn start() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

impl World {
    pub fn new() -> Self {
        Self::on(EMPTY.fork())
    }

    pub fn on(memory: MemoryStorage) -> Self {
        let clock = SimulatedClock::new(start());
        Self { memory, clock, cancel: Cancel::new(), events: Recorded::default() }
    }

    /// A copy of the storage as it is, at the same time.
    pub fn fork(&self) -> Self {
        Self { clock: SimulatedClock::new(self.clock.now()), ..Self::on(self.memory.fork()) }
    }

    pub fn cx(&self) -> RunCx<'_> {
        RunCx { events: &self.events, cancel: &self.cancel, clock: &self.clock, lock: None }
    }

    pub fn open(&self) -> Arc<Repository> {
        open(Arc::new(self.memory.clone())).unwrap()
    }

    pub fn files(&self, kind: FileKind) -> Vec<File> {
        self.memory.files().into_iter().filter(|file| file.kind == kind).collect()
    }

    /// What a snapshot restores to; fails where it cannot be restored at all.
    pub fn contents(&self, snapshot: Id) -> Result<Restored, Error> {
        let repository = open(Arc::new(self.memory.clone()))?;
        contents(&self.cx(), &repository, snapshot)
    }

    pub fn notes(&self) -> Vec<String> {
        let events = self.events.events();
        events.into_iter().filter_map(|event| if let Event::Note(note) = event { Some(note) } else { None }).collect()
    }
}

pub fn open(storage: Arc<dyn Storage>) -> Result<Arc<Repository>, Error> {
    Repository::open(storage, PASSWORD).map(Arc::new)
}

/// A backup's outcome.
#[derive(Debug)]
pub struct Backup {
    pub id: Id,
    pub snapshot: Snapshot,
    pub stats: BackupStats,
    pub problems: Vec<Problem>,
}

/// Backs `capture` up as the source `data`, under a lock, compared with the newest snapshot.
pub fn back_up(cx: &RunCx<'_>, repository: &Arc<Repository>, capture: impl Capture) -> Result<Backup, Error> {
    with_lock(cx, repository, Access::Shared, |cx| {
        let index = Index::load(cx, repository)?;
        back_up_with(cx, repository, &index, capture)
    })
}

/// The same without a lock, by a writer that has read `index` some time ago.
pub fn back_up_with(
    cx: &RunCx<'_>,
    repository: &Repository,
    index: &Index,
    mut capture: impl Capture,
) -> Result<Backup, Error> {
    // Snapshots are told apart by their times.
    cx.clock.sleep(std::time::Duration::from_secs(1));
    let parent = repository.snapshots_readable(cx.cancel)?.0.pop();
    let snapshot = parent.as_ref().map(|(_, snapshot)| snapshot);
    let (problems, written) = backup::write(cx, repository, index, snapshot, |writer| {
        let written = writer.source("data", &mut capture)?;
        Box::new(capture).finish()?;
        writer.root_file("facts.json", b"{}")?;
        Ok(written.problems)
    })?;
    let about = Description {
        identity: Identity { hostname: "host".to_owned(), username: "user".to_owned(), uid: 0, gid: 0 },
        paths: vec!["/data".to_owned()],
        tags: vec![Snapshot::stack_tag("test")],
        program_version: "lifeboat test".to_owned(),
        parent: parent.map(|(id, _)| id),
    };
    let (id, snapshot) = written.save(cx, repository, about)?;
    Ok(Backup { id, snapshot, stats: written.stats, problems })
}

/// A restored tree: the bytes of each file by its path below `data`, and what could not be restored.
#[derive(Debug, Default)]
pub struct Restored {
    pub files: BTreeMap<String, Vec<u8>>,
    pub problems: Vec<Problem>,
}

/// Restores a snapshot into a temporary folder, by as much of the index as can be read, and reads it back.
pub fn contents(cx: &RunCx<'_>, repository: &Repository, snapshot: Id) -> Result<Restored, Error> {
    let (index, _) = Index::load_readable(cx, repository)?;
    let tree = repository.snapshot(snapshot)?.tree;
    let folder = tempfile::tempdir().unwrap();
    let options = restore::Options::for_this_process();
    let restored = restore::tree(cx, repository, &index, &tree, folder.path(), options)?;
    let mut files = BTreeMap::new();
    read_folder(&folder.path().join("data"), "", &mut files);
    Ok(Restored { files, problems: restored.problems })
}

/// The regular files below `folder`, by relative path.
pub fn read_folder(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            read_folder(&entry.path(), &format!("{name}/"), files);
        } else if kind.is_file() {
            files.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
}

/// A capture of a real folder: a plain walk.
pub struct FolderCapture {
    folder: PathBuf,
    waiting: VecDeque<PathBuf>,
    reader: NodeReader,
    append_only: bool,
    /// Called with each path after it was looked at and before the engine reads it.
    between: Box<dyn FnMut(&Path) + Send>,
}

impl FolderCapture {
    pub fn of(folder: &Path) -> Self {
        let mut waiting = VecDeque::new();
        list_sorted(folder, Path::new(""), &mut waiting);
        let (folder, between) = (folder.to_owned(), Box::new(|_: &Path| {}));
        Self { folder, waiting, reader: NodeReader::default(), append_only: false, between }
    }

    pub fn append_only(mut self) -> Self {
        self.append_only = true;
        self
    }

    pub fn between(mut self, hook: impl FnMut(&Path) + Send + 'static) -> Self {
        self.between = Box::new(hook);
        self
    }
}

fn list_sorted(folder: &Path, below: &Path, waiting: &mut VecDeque<PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(folder.join(below)).unwrap().map(Result::unwrap).collect();
    entries.sort_by(|a, b| a.file_name().as_bytes().cmp(b.file_name().as_bytes()));
    for entry in entries {
        let path = below.join(entry.file_name());
        waiting.push_back(path.clone());
        if entry.file_type().unwrap().is_dir() {
            list_sorted(folder, &path, waiting);
        }
    }
}

impl Capture for FolderCapture {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        let Some(path) = self.waiting.pop_front() else { return Ok(None) };
        let full = self.folder.join(&path);
        let mut node = self.reader.read(&full).map_err(SourceError::io(&full))?.node;
        let data = if node.kind == NodeKind::File {
            if self.append_only {
                use std::os::unix::fs::MetadataExt as _;
                // A source that asks for append-only reading keeps the device, so that the file is known again.
                node.device_id = std::fs::symlink_metadata(&full).map_err(SourceError::io(&full))?.dev();
            }
            Data::File { path: full, append_only: self.append_only.then_some(|_| Ok(true)) }
        } else {
            Data::None
        };
        (self.between)(&path);
        Ok(Some(Item::Entry(Box::new(Entry { path, node, data }))))
    }

    fn finish(self: Box<Self>) -> Result<Facts, SourceError> {
        Ok(Facts::new())
    }
}

/// A capture of streams that lie in memory.
#[derive(Default)]
pub struct StreamCapture {
    entries: VecDeque<(String, Box<dyn Read + Send>)>,
}

impl StreamCapture {
    /// Adds a file. Names must come sorted and lie in no folder.
    pub fn with(mut self, name: &str, stream: impl Read + Send + 'static) -> Self {
        self.entries.push_back((name.to_owned(), Box::new(stream)));
        self
    }
}

impl Capture for StreamCapture {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        let Some((name, stream)) = self.entries.pop_front() else { return Ok(None) };
        let mut node = Node::new(name.as_bytes(), NodeKind::File);
        node.mode = 0o640;
        node.mtime = Time::from(start());
        node.uid = rustix::process::geteuid().as_raw();
        node.gid = rustix::process::getegid().as_raw();
        node.links = 1;
        Ok(Some(Item::Entry(Box::new(Entry { path: name.into(), node, data: Data::Stream(stream) }))))
    }

    fn finish(self: Box<Self>) -> Result<Facts, SourceError> {
        Ok(Facts::new())
    }
}

/// A stream whose reads return as many bytes as the sizes say, over and over.
pub struct Drip {
    bytes: std::io::Cursor<Vec<u8>>,
    sizes: Vec<usize>,
    turn: usize,
}

impl Drip {
    pub fn new(bytes: Vec<u8>, sizes: Vec<usize>) -> Self {
        Self { bytes: std::io::Cursor::new(bytes), sizes, turn: 0 }
    }
}

impl Read for Drip {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let size = self.sizes.get(self.turn % self.sizes.len().max(1)).copied().unwrap_or(usize::MAX);
        self.turn += 1;
        let size = size.clamp(1, buffer.len().max(1)).min(buffer.len());
        self.bytes.read(&mut buffer[..size])
    }
}

/// The splitmix64 generator: the same numbers for the same seed.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }

    pub fn noise(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    Random(seed).noise(length)
}

/// Makes every lock one of a process that has ended, as a crash leaves it.
pub fn bury_lock_holders(repository: &Repository) {
    for listed in repository.storage().list(FileKind::Lock).unwrap() {
        let json = repository.load_json(FileKind::Lock, listed.id).unwrap();
        let mut lock = LockFile::parse(&json).unwrap();
        let process = lock.lifeboat.as_mut().unwrap();
        process.start_ticks = process.start_ticks.wrapping_sub(1);
        repository.storage().delete(File::new(FileKind::Lock, listed.id)).unwrap();
        repository.save_json(FileKind::Lock, &lock).unwrap();
    }
}

/// Waits until a file that is changed now gets another time than one that was changed just before.
pub fn let_file_times_move_on() {
    std::thread::sleep(std::time::Duration::from_millis(12));
}
