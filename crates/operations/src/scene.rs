//! A stack of slow sources and what stands around it, for tests of the order in which a backup does things.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use repository::{Cancel, Capture, CaptureCx, Clock, Error, Facts, Item, Problem, RunCx, Source, SourceError, View};

use crate::backup::{self, NamedSource, StackBackup};
use crate::manifest::SourceStatus;
use crate::memory::Memory;
use crate::surroundings::{Moved, Surroundings};

pub const SECOND: Duration = Duration::from_secs(1);
type Log = Arc<Mutex<Vec<String>>>;

/// Where several wait for each other.
#[derive(Default)]
struct Meeting(Mutex<usize>, Condvar);

impl Meeting {
    /// Whether `count` came.
    fn wait_for(&self, count: usize) -> bool {
        let mut came = self.0.lock().unwrap();
        *came += 1;
        self.1.notify_all();
        !self.1.wait_timeout_while(came, 20 * SECOND, |came| *came < count).unwrap().1.timed_out()
    }
}

/// One file, which takes a second to be opened and a second to be read.
struct Slow {
    name: &'static str,
    view: View,
    log: Log,
    meeting: Option<Arc<Meeting>>,
    fails: bool,
    /// A part of it is opened again when it is read.
    reopens: bool,
}

struct SlowView<'a>(&'a Slow, &'a dyn Clock);

impl Source for Slow {
    fn kind(&self) -> &'static str {
        "slow"
    }

    fn claims(&self, _: &Cancel) -> Result<BTreeSet<PathBuf>, SourceError> {
        Ok(BTreeSet::new())
    }

    fn view(&self) -> View {
        self.view
    }

    fn capture<'a>(&'a self, cx: &CaptureCx<'a>) -> Result<Box<dyn Capture + 'a>, SourceError> {
        self.log.lock().unwrap().push(format!("open {}", self.name));
        assert!(self.meeting.as_ref().is_none_or(|meeting| meeting.wait_for(2)), "they are opened one by one");
        cx.clock.sleep(SECOND);
        Ok(Box::new(SlowView(self, cx.clock)))
    }
}

impl Capture for SlowView<'_> {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        self.1.sleep(SECOND);
        if self.0.fails {
            return Err(SourceError::Invalid { what: "broken".to_owned() });
        }
        // Nothing is stored; it is the time that counts.
        Ok(None)
    }

    fn reopened(&self) -> Option<Timestamp> {
        self.0.reopens.then(|| self.1.now())
    }

    fn finish(self: Box<Self>) -> Result<Facts, SourceError> {
        self.0.log.lock().unwrap().push(format!("read {}", self.0.name));
        Ok(Facts::new())
    }
}

/// Notes what it is told of the run.
pub struct Around {
    log: Log,
    is_still: bool,
    /// When what stood still moved again, if it did.
    pub moved: Option<Timestamp>,
}

impl Around {
    fn note(&self, what: String) {
        self.log.lock().unwrap().push(what);
    }
}

impl Surroundings for Around {
    fn begin(&self, _: &RunCx<'_>, sources: &[&str]) -> Result<Vec<Problem>, Error> {
        self.note(format!("begin {}", sources.join(" ")));
        Ok(Vec::new())
    }

    fn hold_still(&self, _: &RunCx<'_>) -> Result<Vec<Problem>, Error> {
        self.note("hold still".to_owned());
        Ok(Vec::new())
    }

    fn is_still(&self) -> bool {
        self.is_still
    }

    fn moved(&self) -> Option<Moved> {
        self.moved.map(|at| Moved { at, what: "it moved".to_owned() })
    }

    fn release(&self) -> Vec<Problem> {
        self.note("release".to_owned());
        Vec::new()
    }

    fn was_read(&self, source: &str, status: SourceStatus) {
        self.note(format!("after {source} {status:?}"));
    }

    fn end(&self, failure: Option<&Error>) {
        self.note(format!("end {}", failure.map(ToString::to_string).unwrap_or_default()));
    }
}

/// A repository, and sources and surroundings that write one log.
pub struct Scene {
    pub memory: Memory,
    log: Log,
    meeting: Arc<Meeting>,
}

impl Scene {
    pub fn new() -> Self {
        Self { memory: Memory::new(), log: Log::default(), meeting: Arc::default() }
    }

    pub fn source(&self, name: &'static str, view: View) -> NamedSource {
        let meeting = (view != View::Live).then(|| Arc::clone(&self.meeting));
        let source = Slow {
            name,
            view,
            log: Arc::clone(&self.log),
            meeting,
            fails: name == "broken",
            reopens: name == "reopened",
        };
        NamedSource { name: name.to_owned(), source: Box::new(source) }
    }

    /// Backs up a database, files and a server that does not wait, in this order.
    pub fn back_up(&self, around: &Around) -> backup::BackupReport {
        let sources =
            [("held", View::Held), ("live", View::Live), ("flowing", View::Flowing)].map(|(n, v)| self.source(n, v));
        let job = StackBackup { sources: &sources, surroundings: around, ..self.memory.job() };
        backup::run(&self.memory.cx(), &self.memory.repository, &job).unwrap()
    }

    pub fn around(&self, is_still: bool) -> Around {
        Around { log: Arc::clone(&self.log), is_still, moved: None }
    }

    /// What was noted since this was asked last.
    pub fn log(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}
