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
    use super::*;
    use crate::scene::{SECOND, Scene};

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
}
