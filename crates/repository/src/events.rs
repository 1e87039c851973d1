//! The seam to whoever watches a run: a terminal, the run log, an API client.

use std::path::PathBuf;
use std::sync::Mutex;

use crate::Problem;

/// Something that happened during a run. Counters are increments, never totals.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A step of the run begins; the name is shown as is ("backing up", "checking").
    StepStarted {
        /// What the step is called on screen.
        name: String,
        /// Bytes the step will go through, where that is known beforehand.
        bytes_total: Option<u64>,
    },
    /// Bytes of source data went through the step.
    Bytes(u64),
    /// One file of a source was stored or restored.
    FileDone(PathBuf),
    /// Something was left out or is doubtful; the run goes on and ends as *partial*.
    Problem(Problem),
    /// Something worth knowing that changes no verdict.
    Note(String),
}

/// Receives events. Implementations must be quick: they are called from the hot path.
pub trait Events: Send + Sync {
    /// Takes one event.
    fn emit(&self, event: Event);
}

/// Drops every event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Events for Silent {
    fn emit(&self, _: Event) {}
}

/// Keeps every event, for tests and for the run log.
#[derive(Debug, Default)]
pub struct Recorded(Mutex<Vec<Event>>);

impl Recorded {
    /// All events so far, in order.
    pub fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}

impl Events for Recorded {
    fn emit(&self, event: Event) {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(event);
    }
}
