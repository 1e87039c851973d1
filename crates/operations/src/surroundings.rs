//! The seam to what is done around a capture: the hooks of its sources, and containers that stand still meanwhile. Here
//! stands when each is done; what it is, whoever wires the program knows.

use jiff::Timestamp;
use repository::{Error, Problem, RunCx};

use crate::manifest::SourceStatus;

/// What is done around the capture of a stack. Whatever comes of the capture, [`Surroundings::end`] is the last that is called.
pub trait Surroundings: Sync {
    /// Does what comes before the capture of these sources. What went wrong and makes one of them doubtful is its problem.
    fn begin(&self, cx: &RunCx<'_>, sources: &[&str]) -> Result<Vec<Problem>, Error>;

    /// Makes still what must not change while it is read. The views are opened next. A problem without a source concerns all.
    fn hold_still(&self, cx: &RunCx<'_>) -> Result<Vec<Problem>, Error>;

    /// Whether something stands still, and waits for the end of the reading.
    fn is_still(&self) -> bool;

    /// Since when something moves again that should have stood still, where it does.
    fn moved(&self) -> Option<Moved>;

    /// Nothing is read any more that could change meanwhile: all may go on. Gives what does not.
    fn release(&self) -> Vec<Problem>;

    /// Does what comes after the capture of a source, which was read to its end.
    fn was_read(&self, source: &str, status: SourceStatus);

    /// Does all of the above that is still to be done, as after a run that failed.
    fn end(&self, failure: Option<&Error>);
}

/// That something did not stand still for as long as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Since when it moves again.
    pub at: Timestamp,
    /// What, why, and what to do.
    pub what: String,
}

/// A stack around which nothing is done.
#[derive(Clone, Copy, Debug)]
pub struct NoSurroundings;

impl Surroundings for NoSurroundings {
    fn begin(&self, _: &RunCx<'_>, _: &[&str]) -> Result<Vec<Problem>, Error> {
        Ok(Vec::new())
    }

    fn hold_still(&self, _: &RunCx<'_>) -> Result<Vec<Problem>, Error> {
        Ok(Vec::new())
    }

    fn is_still(&self) -> bool {
        false
    }

    fn moved(&self) -> Option<Moved> {
        None
    }

    fn release(&self) -> Vec<Problem> {
        Vec::new()
    }

    fn was_read(&self, _: &str, _: SourceStatus) {}

    fn end(&self, _: Option<&Error>) {}
}
