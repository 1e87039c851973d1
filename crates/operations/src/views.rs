//! The views of a stack's sources: opened as close together as they can be, and read in the order that keeps them so.
//!
//! Databases give what they held when their views were opened, so these are opened first and at once. What is read as it
//! stands follows, and is read before all else, or at least before what waits: files that a database names are then in the
//! snapshot as they were right after it.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use repository::{Capture, CaptureCx, Clock, Error, RunCx, SourceError, View};

use crate::backup::{NamedSource, in_source};
use crate::manifest::Window;

/// Views that are opened at once. Each waits for its server, and some copy a database meanwhile.
const OPENED_AT_ONCE_MAX: usize = 8;

/// A view that is open.
pub struct OpenView<'a> {
    /// Of what.
    pub named: &'a NamedSource,
    /// The view.
    pub capture: Box<dyn Capture + 'a>,
    /// How long opening it took.
    opened: Window,
}

impl OpenView<'_> {
    /// Whether it is of the time at which it is read.
    pub fn is_live(&self) -> bool {
        self.named.source.view() == View::Live
    }

    /// The time that what it gave is of, where all was read by `end`.
    pub fn window(&self, end: Timestamp) -> Window {
        if self.is_live() { Window { to: end, ..self.opened } } else { self.opened }
    }
}

/// Opens the views of `sources`, in the order that they are to be read. `is_still`: something stands still until what is live
/// was read.
pub fn open<'a>(
    cx: &RunCx<'_>,
    sources: &[&'a NamedSource],
    is_still: bool,
    context: impl Fn(&str) -> CaptureCx<'a>,
) -> Result<Vec<OpenView<'a>>, Error> {
    let (live, of_one_moment): (Vec<_>, Vec<_>) =
        sources.iter().copied().partition(|named| named.source.view() == View::Live);
    let waiting = of_one_moment.iter().map(|named| (*named, context(&named.name)));
    let mut views = open_at_once(cx, waiting.collect())?;
    for named in live {
        cx.cancel.check()?;
        views.push(open_one(cx.clock, named, &context(&named.name)).map_err(in_source(&named.name))?);
    }
    let place = |view: &OpenView<'_>| sources.iter().position(|named| named.name == view.named.name);
    views.sort_by_key(|view| (turn(view.named.source.view(), is_still), place(view)));
    Ok(views)
}

/// What is read earlier has the smaller one.
fn turn(view: View, is_still: bool) -> u8 {
    match view {
        View::Live if is_still => 0,
        View::Flowing => 1,
        View::Live => 2,
        View::Held => 3,
    }
}

/// A view that is to be opened.
type Waiting<'a> = (&'a NamedSource, CaptureCx<'a>);

/// Of several that fail, the first in the order of the stack is told.
fn open_at_once<'a>(cx: &RunCx<'_>, waiting: Vec<Waiting<'a>>) -> Result<Vec<OpenView<'a>>, Error> {
    let threads = waiting.len().min(OPENED_AT_ONCE_MAX);
    let waiting = Mutex::new(waiting.into_iter().enumerate());
    let opened = Mutex::new(Vec::new());
    let work = || {
        loop {
            let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((number, (named, context))) = next else { return };
            let view = open_one(cx.clock, named, &context).map_err(in_source(&named.name));
            opened.lock().unwrap_or_else(PoisonError::into_inner).push((number, view));
        }
    };
    std::thread::scope(|scope| {
        // One that panics ends this thread, too.
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    let mut opened = opened.into_inner().unwrap_or_else(PoisonError::into_inner);
    opened.sort_by_key(|(number, _)| *number);
    opened.into_iter().map(|(_, view)| view).collect()
}

fn open_one<'a>(
    clock: &dyn Clock,
    named: &'a NamedSource,
    context: &CaptureCx<'a>,
) -> Result<OpenView<'a>, SourceError> {
    context.cancel.check()?;
    let from = clock.now();
    let capture = named.source.capture(context)?;
    Ok(OpenView { named, capture, opened: Window { from, to: clock.now() } })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::PathBuf;
    use std::sync::{Arc, Condvar};
    use std::time::Duration;

    use repository::{Cancel, Facts, Item, Problem, Source};

    use super::*;
    use crate::backup::{self, StackBackup};
    use crate::manifest::{Manifest, SourceStatus};
    use crate::memory::{FixedFiles, Memory};
    use crate::surroundings::{Moved, Surroundings};

    const SECOND: Duration = Duration::from_secs(1);
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
    }

    struct SlowView<'a>(&'a Slow, Option<Item>, &'a dyn Clock);

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
            Ok(Box::new(SlowView(self, Some(Item::Problem(Problem::new("x".as_ref(), "y"))), cx.clock)))
        }
    }

    impl Capture for SlowView<'_> {
        fn next(&mut self) -> Result<Option<Item>, SourceError> {
            self.2.sleep(SECOND);
            if self.0.fails {
                return Err(SourceError::Invalid { what: "broken".to_owned() });
            }
            // Nothing is stored; it is the time that counts.
            self.1 = None;
            Ok(None)
        }

        fn finish(self: Box<Self>) -> Result<Facts, SourceError> {
            self.0.log.lock().unwrap().push(format!("read {}", self.0.name));
            Ok(Facts::new())
        }
    }

    struct Around {
        log: Log,
        is_still: bool,
        moved: Option<Timestamp>,
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

    struct Scene {
        memory: Memory,
        log: Log,
        meeting: Arc<Meeting>,
    }

    impl Scene {
        fn new() -> Self {
            Self { memory: Memory::new(), log: Log::default(), meeting: Arc::default() }
        }

        fn source(&self, name: &'static str, view: View) -> NamedSource {
            let meeting = (view != View::Live).then(|| Arc::clone(&self.meeting));
            let source = Slow { name, view, log: Arc::clone(&self.log), meeting, fails: name == "broken" };
            NamedSource { name: name.to_owned(), source: Box::new(source) }
        }

        /// Backs up a database, files and a server that does not wait, in this order.
        fn back_up(&self, around: &Around) -> backup::BackupReport {
            let sources = [("held", View::Held), ("live", View::Live), ("flowing", View::Flowing)]
                .map(|(n, v)| self.source(n, v));
            let job = StackBackup { sources: &sources, surroundings: around, ..self.memory.job() };
            backup::run(&self.memory.cx(), &self.memory.repository, &job).unwrap()
        }

        fn around(&self, is_still: bool) -> Around {
            Around { log: Arc::clone(&self.log), is_still, moved: None }
        }

        fn log(&self) -> Vec<String> {
            std::mem::take(&mut *self.log.lock().unwrap())
        }
    }

    #[test]
    fn databases_are_opened_at_once_and_what_is_live_is_read_before_what_waits() {
        for (is_still, read) in [
            (false, ["read flowing", "after flowing Ok", "read live", "release", "after live Ok"]),
            (true, ["read live", "release", "after live Ok", "read flowing", "after flowing Ok"]),
        ] {
            let scene = Scene::new();
            scene.back_up(&scene.around(is_still));
            let mut log = scene.log();
            log[2..4].sort();
            let begin = ["begin held live flowing", "hold still", "open flowing", "open held", "open live"];
            assert_eq!(log, [&begin[..], &read, &["read held", "after held Ok", "end "]].concat());
        }
    }

    #[test]
    fn the_window_of_what_waits_is_its_opening_and_of_what_is_live_also_its_reading() {
        let scene = Scene::new();
        let began = scene.memory.clock.now();
        let report = scene.back_up(&scene.around(true));
        let window = |name: &str| report.sources[name].captured.unwrap();
        // Both databases are opened in the first two seconds of the simulated time.
        for name in ["held", "flowing"] {
            assert!(window(name).from >= began && window(name).to <= began + 2 * SECOND, "{:?}", window(name));
        }
        assert_eq!(window("live"), Window { from: began + 2 * SECOND, to: began + 4 * SECOND });
    }

    #[test]
    fn what_was_read_after_it_moved_again_is_partial() {
        let scene = Scene::new();
        let moved = Some(scene.memory.clock.now() + 3 * SECOND);
        let report = scene.back_up(&Around { moved, ..scene.around(true) });
        let status = |name: &str| report.sources[name].status;
        assert_eq!(
            ["held", "live", "flowing"].map(status),
            [SourceStatus::Ok, SourceStatus::Partial, SourceStatus::Ok]
        );
        assert_eq!(report.sources["live"].problems[0].what, "it moved");
        assert_eq!(report.problems.len(), 1);
    }

    #[test]
    fn what_must_come_after_a_capture_is_told_that_it_failed() {
        let scene = Scene::new();
        let sources = [scene.source("live", View::Live), scene.source("broken", View::Live)];
        let around = scene.around(false);
        let job = StackBackup { sources: &sources, surroundings: &around, ..scene.memory.job() };
        backup::run(&scene.memory.cx(), &scene.memory.repository, &job).unwrap_err();
        assert_eq!(scene.log()[4..], ["read live", "after live Ok", "end source broken: broken"]);
    }

    #[test]
    fn an_unchanged_stack_keeps_the_times_of_its_manifest() {
        let memory = Memory::new();
        let back_up = |content: &'static str| {
            memory.clock.advance(SECOND);
            let sources = [FixedFiles::new(&[("a", content)]).named("a"), FixedFiles::new(&[("b", "same")]).named("b")];
            let report = memory.back_up(&sources, &[]).unwrap();
            let tree = memory.repository.snapshot(report.snapshot).unwrap().tree;
            let manifest = Manifest::load(&memory.repository, &memory.index(), &tree).unwrap().unwrap();
            let times = |name: &str| (manifest.sources[name].captured.unwrap(), report.sources[name].captured.unwrap());
            (times("a"), times("b"))
        };
        let (first, _) = back_up("one");
        assert_eq!(first.0, first.1);
        let (again, _) = back_up("one");
        assert_eq!(again.0, first.0, "nothing changed");
        assert!(again.1.from > first.1.to, "the run knows its own time");
        let (changed, other) = back_up("two");
        assert!(changed.0 == changed.1 && other.0 == other.1 && changed.0.from > again.1.to);
    }
}
