//! CouchDB's files as they are stored: every document and attachment read straight from the copy, without a restore, and
//! held against what the manifest says.
//!
//! That every byte is the one that was stored, a check of the copy shows. This shows that what was stored are whole
//! databases: a capture checks what it reads, which a disk may give otherwise when it is stored, and believes what was captured
//! before.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use couchfile::{Database, ReadAt, ShardName, ViewName};
use repository::file_reader::StoredFiles;
use repository::walk::{self, Go, Step};
use repository::{Error, Event, Facts, Id, Index, Node, NodeKind, Repository, RunCx};
use serde_json::Value;

use super::damage::{self, Damage};
use super::data_folder::Kind;
use super::examine::{FileRead, OTHER_COMMIT, read};
use super::facts::{Counted, DAMAGED, DATA, DATABASES, FILES, NODES, VIEWS};
use super::shard_map::{NODE_LIST, SHARD_MAP};
use crate::documents::Stored;
use crate::source::layout;

/// Files that are read at the same time: where the copy is far, each waits for its own parts.
const FILES_AT_ONCE: usize = 4;
/// Decoded parts that are kept of each file meanwhile. No part of a file that is shorter is fetched twice.
const CACHE_BYTES_PER_FILE: usize = 32 << 20;

/// A source of kind `couchdb` in a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct StoredSource<'s> {
    /// The snapshot.
    pub snapshot: Id,
    /// The snapshot's root tree.
    pub tree: Id,
    /// The source's name.
    pub name: &'s str,
    /// What the manifest says of it.
    pub facts: &'s Facts,
}

/// Something that is wrong with a stored file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFinding {
    /// The snapshot.
    pub snapshot: Id,
    /// The source.
    pub source: String,
    /// The file, below the data folder; empty where it is none in particular.
    pub path: String,
    /// The database, where the file is one of a database.
    pub database: Option<String>,
    /// The range of the shard, where it is one.
    pub shard: Option<String>,
    /// Documents that are lost or in doubt, the first of them.
    pub documents: Vec<String>,
    /// How many these are in all.
    pub documents_total: usize,
    /// What is wrong, in words that name the file.
    pub what: String,
}

/// A check of any number of sources of one repository. A file that several have with the same content is read once.
pub struct StoredCheck<'r> {
    cx: RunCx<'r>,
    repository: &'r Repository,
    index: &'r Index,
    cache_bytes_per_file: usize,
    /// What was found in each content that was read, as a database or as a view.
    read: HashMap<(bool, Vec<Id>), FileRead>,
    /// Damage from before that was told.
    told: BTreeSet<(String, String)>,
    report: StoredReport,
}

/// What a check of stored files found.
#[derive(Clone, Debug, Default)]
pub struct StoredReport {
    /// What is wrong.
    pub findings: Vec<StoredFinding>,
    /// What was damaged on the host already when it was captured, in words: no damage of the copy.
    pub damaged_before: Vec<String>,
    /// Files that were read.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Documents in them, deleted ones included, as their headers count them.
    pub documents: u64,
}

/// A file that is to be read.
struct StoredFile {
    key: String,
    kind: Kind,
    node: Node,
}

impl<'r> StoredCheck<'r> {
    /// A check of sources in `repository`.
    pub fn new(cx: RunCx<'r>, repository: &'r Repository, index: &'r Index) -> Self {
        Self {
            cx,
            repository,
            index,
            cache_bytes_per_file: CACHE_BYTES_PER_FILE,
            read: HashMap::new(),
            told: BTreeSet::new(),
            report: StoredReport::default(),
        }
    }

    /// What was found in all sources.
    pub fn finish(self) -> StoredReport {
        self.report
    }

    /// The same, keeping no more than `bytes` of decoded parts of each file.
    #[cfg(test)]
    pub(super) fn with_cache(self, bytes: usize) -> Self {
        Self { cache_bytes_per_file: bytes, ..self }
    }

    /// Reads the files of a source. What is wrong is a finding, also where it is the copy that has lost parts of a file.
    ///
    /// # Errors
    /// Those that keep it from reading on: the copy is out of reach, or the run was cancelled.
    pub fn source(&mut self, source: &StoredSource<'_>) -> Result<(), Error> {
        let fact = |name: &str| source.facts.get(name).and_then(Value::as_object).into_iter().flatten();
        let data = source.facts.get(DATA).and_then(Value::as_str);
        let Some(folder) = data.and_then(|data| layout::restored(Path::new(source.name), data)) else {
            self.find(source, "", "the manifest does not say where its data folder is");
            return Ok(());
        };
        for (key, record) in fact(DAMAGED) {
            let host = Path::new("/").join(&folder);
            if self.told.insert((key.clone(), record.to_string())) {
                self.report.damaged_before.push(format!(
                    "source {}: {}",
                    source.name,
                    damage::problem(&host, key, record).what
                ));
            }
        }
        let (files, lost_folders) = self.list(source, &folder)?;
        self.read_all(&files)?;
        let known = self.report.findings.len();
        let mut counted = Counted::default();
        let mut there = BTreeSet::new();
        for file in &files {
            self.hold(source, file, &mut counted);
            there.insert(file.key.as_str());
        }
        for (key, _) in fact(FILES).chain(fact(VIEWS)).filter(|(key, _)| !there.contains(key.as_str())) {
            // Of a folder that is lost with all that is in it, the check of the copy tells.
            if !lost_folders.iter().any(|folder| Path::new(key).starts_with(folder)) {
                self.find(source, key, "the manifest names it, and it is not in the snapshot");
            }
        }
        if self.report.findings.len() == known && lost_folders.is_empty() {
            self.hold_sums(source, &files, counted);
        }
        Ok(())
    }

    /// The database and view files of a source, and folders whose list is damaged.
    fn list(&self, source: &StoredSource<'_>, folder: &Path) -> Result<(Vec<StoredFile>, Vec<PathBuf>), Error> {
        let (mut files, mut lost) = (Vec::new(), Vec::new());
        let root = match walk::find(self.repository, self.index, &source.tree, folder) {
            Ok(found) => found.and_then(|node| node.subtree),
            Err(error) if error.is_damage() => {
                lost.push(PathBuf::new());
                None
            }
            Err(error) => return Err(error),
        };
        let Some(root) = root else { return Ok((files, lost)) };
        let mut damaged = |path: &Path, _| {
            lost.push(path.to_owned());
            Ok(())
        };
        let mut visit = |step: Step<'_>| {
            if let Step::Reach(path, node) = step
                && node.kind == NodeKind::File
                && let kind @ (Kind::Database | Kind::View) = Kind::of(path)
            {
                files.push(StoredFile { key: layout::fact_key(path), kind, node: node.clone() });
            }
            Ok(Go::In)
        };
        match walk::walk_readable(&self.cx, self.repository, self.index, &root, &mut visit, &mut damaged) {
            Err(error) if error.is_damage() => lost.push(PathBuf::new()),
            walked => walked?,
        }
        Ok((files, lost))
    }

    /// Reads what was not read before.
    fn read_all(&mut self, files: &[StoredFile]) -> Result<(), Error> {
        let mut waiting: HashMap<_, _> = files.iter().map(|file| (file.content(), file)).collect();
        waiting.retain(|content, _| !self.read.contains_key(content));
        let bytes_total = waiting.values().map(|file| file.node.size).sum();
        let name = "reading databases".to_owned();
        self.cx.events.emit(Event::StepStarted { name, bytes_total: Some(bytes_total) });
        self.report.files += waiting.len();
        self.report.bytes += bytes_total;
        let mut waiting: Vec<_> = waiting.into_values().collect();
        // The longest first, so that none of them is alone in the end.
        waiting.sort_by_key(|file| (file.node.size, file.key.clone()));
        let (waiting, results, failed) = (Mutex::new(waiting), Mutex::new(Vec::new()), Mutex::new(None));
        std::thread::scope(|scope| {
            for _ in 0..FILES_AT_ONCE {
                scope.spawn(|| {
                    let next = || lock(&waiting).pop();
                    while let Some(file) = next() {
                        let found = self.read_one(file, &failed);
                        self.cx.events.emit(Event::Bytes(file.node.size));
                        lock(&results).push((file.content(), found));
                        if lock(&failed).is_some() {
                            return;
                        }
                    }
                });
            }
        });
        if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        for (content, found) in results.into_inner().unwrap_or_else(PoisonError::into_inner) {
            let count = |name: &str| found.0.as_ref().and_then(|header| header.get(name)?.as_u64()).unwrap_or(0);
            // What files say of themselves need not be true.
            let counted = count("documents").saturating_add(count("deleted"));
            self.report.documents = self.report.documents.saturating_add(counted);
            self.read.insert(content, found);
        }
        Ok(())
    }

    fn read_one(&self, file: &StoredFile, failed: &Mutex<Option<Error>>) -> FileRead {
        let files = StoredFiles::with_cache(self.repository, self.index, self.cache_bytes_per_file);
        match files.open(&file.node) {
            Ok(opened) => read(Watched { file: Stored(opened), cx: self.cx, failed }, file.kind, true),
            Err(error) => (None, Some(Damage::of_header(error.to_string()))),
        }
    }

    /// Holds what was read of a file against what is recorded of it.
    fn hold(&mut self, source: &StoredSource<'_>, file: &StoredFile, counted: &mut Counted) {
        let recorded =
            |name: &str| source.facts.get(name).and_then(Value::as_object).and_then(|fact| fact.get(&file.key));
        let Some((header, damage)) = self.read.get(&file.content()) else { return };
        let noted = if file.kind == Kind::View { &mut counted.views } else { &mut counted.files };
        noted.extend(header.clone().map(|header| (file.key.clone(), header)));
        if recorded(DAMAGED).is_some() {
            return;
        }
        let expected = recorded(if file.kind == Kind::View { VIEWS } else { FILES });
        let finding = match (damage, expected) {
            (Some(damage), _) => StoredFinding::of_damage(source, &file.key, damage),
            (None, expected) if header.as_ref() == expected => return,
            (None, None) => StoredFinding::new(source, &file.key, "the manifest does not know it"),
            (None, Some(_)) => StoredFinding::new(source, &file.key, OTHER_COMMIT),
        };
        self.report.findings.push(finding);
    }

    fn find(&mut self, source: &StoredSource<'_>, key: &str, what: &str) {
        self.report.findings.push(StoredFinding::new(source, key, what));
    }

    /// Holds the sums over each database's shards, and the nodes, against what is recorded.
    fn hold_sums(&mut self, source: &StoredSource<'_>, files: &[StoredFile], mut counted: Counted) {
        let stored = StoredFiles::with_cache(self.repository, self.index, self.cache_bytes_per_file);
        let open = |name: &str| {
            let node = &files.iter().find(|file| file.key == name)?.node;
            Database::open(Stored(stored.open(node).ok()?)).ok()
        };
        counted.add_maps(open(NODE_LIST), open(SHARD_MAP));
        let found = counted.into_facts();
        let member = |facts: &Facts, key: &str| facts.get(DATABASES).and_then(|fact| fact.get(key)).cloned();
        let names = |facts: &Facts| -> BTreeSet<String> {
            let databases = facts.get(DATABASES).and_then(Value::as_object);
            databases.into_iter().flatten().map(|(name, _)| name.clone()).collect()
        };
        for name in names(&found).union(&names(source.facts)) {
            let (counted, recorded) = (member(&found, name), member(source.facts, name));
            if counted != recorded {
                let shown = |value: Option<Value>| value.map_or("nothing".to_owned(), |value| value.to_string());
                let what =
                    format!("its shards together have {}, and the manifest says {}", shown(counted), shown(recorded));
                self.find(source, &format!("{name}.couch"), &what);
            }
        }
        if found.get(NODES) != source.facts.get(NODES) {
            self.find(source, NODE_LIST, "it names other nodes than the manifest");
        }
    }
}

impl StoredFinding {
    fn new(source: &StoredSource<'_>, key: &str, what: &str) -> Self {
        let shard = ViewName::parse(key).map_or_else(|| ShardName::parse(key), |view| ShardName::parse(&view.database));
        let unsharded = || key.strip_suffix(".couch").map(str::to_owned);
        Self {
            snapshot: source.snapshot,
            source: source.name.to_owned(),
            path: key.to_owned(),
            database: shard.as_ref().map(|shard| shard.database.clone()).or_else(unsharded),
            shard: shard.map(|shard| shard.range.to_string()),
            documents: Vec::new(),
            documents_total: 0,
            what: if key.is_empty() { what.to_owned() } else { format!("{}: {what}", damage::name(key)) },
        }
    }

    fn of_damage(source: &StoredSource<'_>, key: &str, damage: &Damage) -> Self {
        Self {
            documents: damage.documents.clone(),
            documents_total: damage.documents_total,
            what: damage.told(key),
            ..Self::new(source, key, "")
        }
    }
}

impl StoredFile {
    /// What two files have in common of which one need not be read.
    fn content(&self) -> (bool, Vec<Id>) {
        (self.kind == Kind::View, self.node.content.clone())
    }
}

/// A stored file that cannot be read any more once the copy is out of reach, or the run was cancelled: otherwise every
/// document of every file would be tried, and called lost.
struct Watched<'f> {
    file: Stored<'f>,
    cx: RunCx<'f>,
    failed: &'f Mutex<Option<Error>>,
}

impl ReadAt for Watched<'_> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let over = || io::Error::other("the check is over");
        if lock(self.failed).is_some() {
            return Err(over());
        }
        let read = self.cx.cancel.check().and_then(|()| self.file.0.read_at(offset, buffer));
        match read {
            Err(error) if !error.is_damage() => {
                lock(self.failed).get_or_insert(error);
                Err(over())
            }
            read => read.map_err(io::Error::other),
        }
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
