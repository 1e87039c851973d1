//! Source `sqlite`: databases in use, copied with SQLite's online backup API so that each copy is one committed state.
//!
//! All databases are copied before the first entry is yielded, since the copies, not the files, belong to the instant of
//! the recovery point. The facts are counted in exactly that copy. Nothing is lost where a copy cannot be made: then the
//! files are captured as they lie, and a problem says so.

mod copy;
mod facts;
mod find;
mod lost;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use ignore::gitignore::Gitignore;
use repository::fs::NodeReader;
use repository::source::SQLITE_SIDE_FILES;
use repository::{
    Cancel, Capture, CaptureCx, Data, Entry, Event, Events, Facts, Item, Node, NodeKind, Problem, Source, SourceError,
    View,
};
use serde_json::{Value, json};

pub use self::facts::examine;
pub(super) use self::find::has_magic;

use self::copy::{CopyError, check_space, copy};
use self::find::{Found, Kind, find, with_suffix};
use super::layout::{self, Placed, Step};
use super::shrink::{Before, USUAL_PERCENT_MAX};
use super::walk::compile_patterns;

/// The kind's name in the configuration.
pub const KIND: &str = "sqlite";

/// The fact that holds all databases, by path.
const DATABASES: &str = "databases";
/// Whether a database was copied by SQLite; otherwise its files were captured as they lay.
const COPIED: &str = "copied";
/// Of [`SQLITE_SIDE_FILES`], what holds data. The shared memory is made anew from the log.
const SIDE_FILES_WITH_DATA: [&str; 2] = ["-wal", "-journal"];

/// What a [`SqliteSource`] captures.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// Databases, folders to search for databases by their magic bytes (links not followed), or paths with wildcards.
    /// An encrypted database has no magic bytes, so it is only captured, as a file, where it is named itself.
    pub paths: Vec<PathBuf>,
    /// Gitignore patterns of what is left out of searches, anchored at each folder that is searched.
    pub exclude: Vec<String>,
    /// Whether it is no problem that no database is found.
    pub may_be_none: bool,
    /// How much of its rows a database may lose from one snapshot to the next before that is a problem, in percent.
    pub max_shrink_percent: u8,
    /// How long to wait for another program to release a database.
    pub lock_wait: Duration,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            paths: Vec::new(),
            exclude: Vec::new(),
            may_be_none: false,
            max_shrink_percent: USUAL_PERCENT_MAX,
            lock_wait: Duration::from_secs(30),
        }
    }
}

/// SQLite databases of the host.
#[derive(Debug)]
pub struct SqliteSource {
    options: SqliteOptions,
    exclude: Gitignore,
    /// What `claims` found, for the capture that follows.
    found: Mutex<Option<Found>>,
}

impl SqliteSource {
    /// Fails with a message for the user where a pattern is malformed or no path is given.
    pub fn new(options: SqliteOptions) -> Result<Self, SourceError> {
        if options.paths.is_empty() {
            return Err(SourceError::Unavailable { what: "paths: name at least one database or folder".to_owned() });
        }
        let exclude = compile_patterns("exclude", &options.exclude)?;
        Ok(Self { options, exclude, found: Mutex::new(None) })
    }

    /// Whether a database here is one of this source.
    pub fn wants(&self, path: &Path) -> bool {
        lost::is_wanted(path, &self.options, &self.exclude)
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, Option<Found>> {
        self.found.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Source for SqliteSource {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn claims(&self, cancel: &Cancel) -> Result<BTreeSet<PathBuf>, SourceError> {
        let found = find(&self.options, &self.exclude, cancel)?;
        let mut claims = BTreeSet::new();
        for path in found.databases.keys() {
            // A database that was named by a link has its side files where the link leads to.
            for path in [Some(path.clone()), path.canonicalize().ok()].into_iter().flatten() {
                claims.extend(SQLITE_SIDE_FILES.iter().map(|suffix| with_suffix(&path, suffix)));
                claims.insert(path);
            }
        }
        *self.remembered() = Some(found);
        Ok(claims)
    }

    fn view(&self) -> View {
        View::Held
    }

    fn capture<'a>(&'a self, cx: &CaptureCx<'a>) -> Result<Box<dyn Capture + 'a>, SourceError> {
        let remembered = self.remembered().take();
        let mut found = match remembered {
            Some(found) => found,
            None => find(&self.options, &self.exclude, cx.cancel)?,
        };
        let previous = cx.previous.map(|previous| previous.facts);
        if let Some(previous) = previous {
            lost::add_damaged(&mut found.databases, previous, &self.options, &self.exclude);
        }
        let own: Vec<_> = cx.own_paths.iter().map(PathBuf::as_path).chain([cx.scratch]).map(real).collect();
        found.databases.retain(|path, _| !own.iter().any(|own| real(path).starts_with(own)));
        check_space(found.databases.keys(), cx.scratch)?;
        let mut copies = Copies {
            source: self,
            reader: NodeReader::default(),
            folder: tempfile::Builder::new()
                .prefix("sqlite-")
                .tempdir_in(cx.scratch)
                .map_err(SourceError::io(cx.scratch))?,
            leaves: BTreeMap::new(),
            problems: found.problems.into(),
            facts: Facts::new(),
        };
        for (path, kind) in found.databases {
            copies.take(cx, &path, kind)?;
        }
        let mut facts = layout::paths_fact(copies.leaves.keys().map(PathBuf::as_path))?;
        if let Some(before) = Before::new(cx, self.options.max_shrink_percent) {
            let lost = lost::lost(&before, &copies.facts, &self.options, &self.exclude).note(&mut facts);
            copies.problems.extend(lost.into_iter().filter_map(lost::placed));
        }
        facts.insert(DATABASES.to_owned(), Value::Object(copies.facts));
        Ok(Box::new(SqliteCapture {
            events: cx.events,
            cancel: cx.cancel,
            reader: copies.reader,
            steps: Placed::new(copies.leaves),
            waiting: copies.problems.into_iter().map(Item::Problem).collect(),
            is_done: false,
            facts,
            _folder: copies.folder,
        }))
    }
}

fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

/// The copies while they are made.
struct Copies<'a> {
    source: &'a SqliteSource,
    reader: NodeReader,
    folder: tempfile::TempDir,
    leaves: BTreeMap<PathBuf, Leaf>,
    problems: VecDeque<Problem>,
    facts: Facts,
}

/// A file on its way into the snapshot.
enum Leaf {
    /// A copy that SQLite made, and the metadata of the original.
    Copy(PathBuf, Box<Node>),
    /// A file as it lies.
    AsItLies,
}

impl Copies<'_> {
    /// Copies one database, or sees to it that its files are captured as they lie.
    fn take(&mut self, cx: &CaptureCx<'_>, path: &Path, kind: Kind) -> Result<(), SourceError> {
        cx.cancel.check()?;
        if let Kind::NotADatabase(why) = kind {
            self.take_as_it_lies(path, why);
            return Ok(());
        }
        let mut node = match layout::read_followed(&self.reader, path) {
            Ok(read) => {
                self.problems.extend(read.xattr_error.map(|error| Problem::new(path, layout::xattrs(&error))));
                read.node
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                cx.events.emit(Event::Note(vanished(path)));
                return Ok(());
            }
            Err(error) => {
                self.problems.push_back(Problem::new(path, error.to_string()));
                return Ok(());
            }
        };
        if cx.look_only {
            self.leaves.insert(path.to_path_buf(), Leaf::AsItLies);
            return Ok(());
        }
        let to = self.folder.path().join(format!("{}.db", self.leaves.len()));
        let copied = copy(path, &to, self.source.options.lock_wait, cx.cancel, cx.clock);
        let counted = copied.and_then(|()| facts::count(&to, cx.cancel));
        let facts = match counted {
            Ok(facts) => facts,
            Err(CopyError::Cancelled) => return Err(SourceError::Cancelled),
            Err(CopyError::NoSpace) => return Err(copy::no_space(cx.scratch)),
            Err(CopyError::Failed(why)) => {
                copy::remove(&to);
                self.take_as_it_lies(path, format!("could not be copied as a database: {why}"));
                return Ok(());
            }
        };
        if let Some(what) = facts::integrity_problem(&facts) {
            self.problems.push_back(Problem::new(path, what));
        }
        if let Some(tables) = facts::unchecked(&facts) {
            let what = format!("{}: only its own program can check all of it; not checked: {tables}", path.display());
            cx.events.emit(Event::Note(what));
        }
        node.size = to.metadata().map_err(SourceError::io(&to))?.len();
        // Another name of the same file is captured on its own, so nothing is to be linked by a restore.
        (node.links, node.device_id) = (1, 0);
        self.facts.insert(layout::fact_key(path), facts);
        self.leaves.insert(path.to_path_buf(), Leaf::Copy(to, Box::new(node)));
        Ok(())
    }

    fn take_as_it_lies(&mut self, path: &Path, why: String) {
        let what = format!("{why}; its files were captured as they lie, which need not be one state");
        self.problems.push_back(Problem::new(path, what));
        self.facts.insert(layout::fact_key(path), json!({ COPIED: false }));
        let sides = SIDE_FILES_WITH_DATA.iter().map(|suffix| with_suffix(path, suffix));
        let sides: Vec<_> = sides.filter(|side| side.symlink_metadata().is_ok_and(|found| found.is_file())).collect();
        self.leaves.extend(sides.into_iter().chain([path.to_path_buf()]).map(|path| (path, Leaf::AsItLies)));
    }
}

fn vanished(path: &Path) -> String {
    format!("{}: vanished while it was being captured", path.display())
}

/// The copies on their way into the snapshot.
struct SqliteCapture<'a> {
    events: &'a dyn Events,
    cancel: &'a Cancel,
    reader: NodeReader,
    steps: Placed<Leaf>,
    waiting: VecDeque<Item>,
    is_done: bool,
    facts: Facts,
    /// Holds the copies, and removes them.
    _folder: tempfile::TempDir,
}

impl Capture for SqliteCapture<'_> {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        loop {
            self.cancel.check()?;
            if let Some(item) = self.waiting.pop_front() {
                return Ok(Some(item));
            }
            let (host, leaf) = match self.steps.next() {
                Some(Step::Folder(host)) => {
                    return Ok(Some(layout::folder_item(&self.reader, &host, &mut self.waiting)));
                }
                Some(Step::Leaf(host, leaf)) => (host, leaf),
                None => {
                    self.is_done = true;
                    return Ok(None);
                }
            };
            let path = layout::in_snapshot(&host);
            match leaf {
                Leaf::Copy(copy, node) => {
                    let file = std::fs::File::open(&copy).map_err(SourceError::io(&copy))?;
                    // Its space is free again as soon as it was read.
                    std::fs::remove_file(&copy).map_err(SourceError::io(&copy))?;
                    let data = Data::Stream(Box::new(file));
                    return Ok(Some(Item::Entry(Box::new(Entry { path, node: *node, data }))));
                }
                Leaf::AsItLies => match layout::read_followed(&self.reader, &host) {
                    Ok(read) if read.node.kind == NodeKind::File => {
                        let data = Data::File { path: host, append_only: None };
                        return Ok(Some(Item::Entry(Box::new(Entry { path, node: read.node, data }))));
                    }
                    Ok(_) => return Ok(Some(Item::Problem(Problem::new(&host, "is not a regular file")))),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        self.events.emit(Event::Note(vanished(&host)));
                    }
                    Err(error) => return Ok(Some(Item::Problem(Problem::new(&host, error.to_string())))),
                },
            }
        }
    }

    fn finish(self: Box<Self>) -> Result<Facts, SourceError> {
        if !self.is_done {
            return Err(SourceError::Invalid { what: "the databases were not read to their end".to_owned() });
        }
        Ok(self.facts)
    }
}
