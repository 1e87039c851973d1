//! Captures a source whole, for tests, and holds it to what every source promises.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use repository::clock::SimulatedClock;
use repository::events::Recorded;
use repository::source::{OnlyGrows, Previous};
use repository::{
    Cancel, Capture, CaptureCx, Clock, Data, Event, Facts, Id, Item, Node, NodeKind, Source, SourceError,
};

/// What a capture is given, with defaults.
pub struct Setup {
    pub scratch: tempfile::TempDir,
    pub claimed: BTreeSet<PathBuf>,
    pub own_paths: Vec<PathBuf>,
    pub previous: Option<Facts>,
    /// The snapshot that `previous` is of.
    pub parent: Id,
    /// Which snapshots are still there.
    pub has_snapshot: Box<dyn Fn(&Id) -> bool + Send + Sync>,
    /// A file that cannot be read when it is its turn.
    pub unreadable: Option<PathBuf>,
    /// What is append-only is read from its beginning all the same.
    pub reads_whole: bool,
    pub look_only: bool,
    pub cancel: Cancel,
    pub clock: SimulatedClock,
    pub events: Recorded,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            scratch: tempfile::tempdir().unwrap(),
            claimed: BTreeSet::new(),
            own_paths: Vec::new(),
            previous: None,
            parent: Id::of(b"parent"),
            has_snapshot: Box::new(|_| true),
            unreadable: None,
            reads_whole: false,
            look_only: false,
            cancel: Cancel::new(),
            clock: SimulatedClock::new("2026-01-01T00:00:00Z".parse().unwrap()),
            events: Recorded::default(),
        }
    }
}

/// Everything a capture gave.
#[derive(Debug)]
pub struct Captured {
    pub entries: Vec<Captive>,
    pub problems: Vec<String>,
    pub notes: Vec<String>,
    /// When a part of it was opened anew.
    pub reopened: Option<jiff::Timestamp>,
    pub facts: Facts,
}

/// An entry, its bytes read.
#[derive(Debug)]
pub struct Captive {
    pub path: PathBuf,
    pub node: Node,
    pub append_only: bool,
    pub bytes: Vec<u8>,
    pub is_stream: bool,
}

impl Setup {
    pub fn capture<'a>(&'a self, source: &'a dyn Source) -> Result<Captured, SourceError> {
        self.capture_with(&self.clock, |cx| source.capture(cx))
    }

    /// Opens the view of a source, for a test that does something while it is read.
    pub fn open<'a>(&'a self, source: &'a dyn Source) -> Result<Box<dyn Capture + 'a>, SourceError> {
        source.capture(&self.cx(&self.clock))
    }

    fn cx<'a>(&'a self, clock: &'a dyn Clock) -> CaptureCx<'a> {
        let previous = |facts| Previous { snapshot: self.parent, facts, has_snapshot: &*self.has_snapshot };
        CaptureCx {
            events: &self.events,
            cancel: &self.cancel,
            clock,
            claimed: &self.claimed,
            scratch: self.scratch.path(),
            own_paths: &self.own_paths,
            previous: self.previous.as_ref().map(previous),
            look_only: self.look_only,
        }
    }

    /// Captures what `open` opens, by another clock.
    pub fn capture_with<'a>(
        &'a self,
        clock: &'a dyn Clock,
        open: impl FnOnce(&CaptureCx<'a>) -> Result<Box<dyn Capture + 'a>, SourceError>,
    ) -> Result<Captured, SourceError> {
        let noted = self.events.events().len();
        let mut capture = open(&self.cx(clock))?;
        let (mut entries, mut problems) = (Vec::new(), Vec::new());
        while let Some(item) = capture.next()? {
            let entry = match item {
                Item::Problem(problem) => {
                    problems.push(problem.to_string());
                    continue;
                }
                Item::Entry(entry) => *entry,
            };
            let (append_only, is_stream, bytes) = match entry.data {
                Data::None => (false, false, Vec::new()),
                Data::Prefix { open, bytes, append_only } => {
                    use std::os::unix::fs::FileExt as _;
                    let mut content = vec![0; bytes as usize];
                    if self.unreadable.as_ref().is_some_and(|name| entry.path.ends_with(name)) {
                        capture.left_out();
                        continue;
                    }
                    open().unwrap().read_exact_at(&mut content, 0).unwrap();
                    if !append_only || self.reads_whole {
                        capture.read_whole();
                    }
                    (append_only, false, content)
                }
                Data::File { path, append_only } => {
                    let only_grows = |is_such: OnlyGrows| {
                        std::fs::File::open(&path).and_then(|file| is_such(&file)).unwrap_or(false)
                    };
                    (append_only.is_some_and(only_grows), false, std::fs::read(&path).unwrap_or_default())
                }
                Data::Stream(mut stream) => {
                    let mut bytes = Vec::new();
                    stream.read_to_end(&mut bytes).map_err(|error| match error.downcast::<SourceError>() {
                        Ok(error) => error,
                        Err(error) => SourceError::io(&entry.path)(error),
                    })?;
                    (false, true, bytes)
                }
            };
            entries.push(Captive { path: entry.path, node: entry.node, append_only, bytes, is_stream });
        }
        let reopened = capture.reopened();
        let facts = capture.finish()?;
        let notes = self.events.events().into_iter().skip(noted).filter_map(|event| match event {
            Event::Note(note) => Some(note),
            _ => None,
        });
        let captured = Captured { entries, problems, notes: notes.collect(), reopened, facts };
        captured.assert_in_order();
        assert_eq!(std::fs::read_dir(self.scratch.path()).unwrap().count(), 0, "temporary files were left");
        Ok(captured)
    }
}

impl Captured {
    /// Every entry once, in depth-first order, in a folder that came before it.
    fn assert_in_order(&self) {
        let mut folders = BTreeSet::from([PathBuf::new()]);
        let mut last: Option<&Path> = None;
        for entry in &self.entries {
            assert!(entry.path.is_relative());
            assert_eq!(entry.path.file_name().unwrap().as_bytes(), entry.node.name);
            assert!(folders.contains(entry.path.parent().unwrap()), "{:?} has no folder", entry.path);
            assert!(last.is_none_or(|last| *last < *entry.path), "{:?} comes after {last:?}", entry.path);
            last = Some(&entry.path);
            if entry.node.kind == NodeKind::Dir {
                folders.insert(entry.path.clone());
            }
        }
    }

    pub fn get(&self, host: &Path) -> &Captive {
        let path = host.strip_prefix("/").unwrap();
        self.entries.iter().find(|entry| entry.path == path).unwrap_or_else(|| panic!("{} is missing", host.display()))
    }

    /// The paths below `dir`, folders with a slash at their end.
    pub fn below(&self, dir: &Path) -> Vec<String> {
        let dir = dir.strip_prefix("/").unwrap();
        let below = self.entries.iter().filter_map(|entry| Some((entry.path.strip_prefix(dir).ok()?, entry)));
        below
            .filter(|(path, _)| !path.as_os_str().is_empty())
            .map(|(path, entry)| match entry.node.kind {
                NodeKind::Dir => format!("{}/", path.display()),
                _ => path.display().to_string(),
            })
            .collect()
    }

    /// Writes folders and files below `dir`, as a restore does.
    pub fn restore(&self, dir: &Path) {
        for entry in &self.entries {
            let path = dir.join(&entry.path);
            match entry.node.kind {
                NodeKind::Dir => std::fs::create_dir(path).unwrap(),
                NodeKind::File => std::fs::write(path, &entry.bytes).unwrap(),
                NodeKind::Symlink => {
                    std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(&entry.node.link_target), path).unwrap();
                }
                _ => {}
            }
        }
    }
}

/// The stream of the next entry that is one.
pub fn next_stream(capture: &mut dyn Capture) -> Box<dyn Read + Send> {
    loop {
        if let Item::Entry(entry) = capture.next().unwrap().expect("no entry is a stream")
            && let Data::Stream(stream) = entry.data
        {
            return stream;
        }
    }
}

/// Runs `test` as a user who may not read everything. Credentials belong to a thread on Linux, so no other test notices.
pub fn as_plain_user(own: &Path, test: impl FnOnce() + Send) {
    use rustix::process::{Gid, Uid, getuid};
    if !getuid().is_root() {
        return test();
    }
    const NOBODY: u32 = 65_534;
    std::os::unix::fs::chown(own, Some(NOBODY), Some(NOBODY)).unwrap();
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
