//! What has to be known of a job's past to decide about it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What is kept of a job from one decision to the next, and from one start of the server to the next. Whoever starts the
/// job writes it down first, so that a run which was cut off is known to have begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Every time of its timetable up to this one is settled: the job was begun for it, or refused.
    pub settled: Timestamp,
    /// When it was last begun.
    pub begun: Option<Timestamp>,
    /// When that run ended, however it did. `None` while it runs, and where it was cut off.
    pub ended: Option<Timestamp>,
    /// How often that run was started again after it had been cut off.
    #[serde(default)]
    pub restarts: u32,
    /// The time that came while it ran and for which it is to run once more.
    #[serde(default)]
    pub queued: Option<Timestamp>,
}

impl Memory {
    /// Of a job that is new at `now`: what its timetable says of earlier times does not count.
    pub fn new(now: Timestamp) -> Self {
        Self { settled: now, begun: None, ended: None, restarts: 0, queued: None }
    }

    /// The same once the run that was begun has ended, however it did.
    #[must_use]
    pub fn with_end(&self, at: Timestamp) -> Self {
        Self { ended: Some(at), restarts: 0, ..self.clone() }
    }

    /// The same once a run has begun that does for everything up to `at`.
    pub(super) fn with_begin(&self, at: Timestamp, restarts: u32) -> Self {
        Self { settled: self.settled.max(at), begun: Some(at), ended: None, restarts, queued: None }
    }

    /// When the run began that has not ended. Where the job does not run, it was cut off.
    pub(super) fn unended(&self) -> Option<Timestamp> {
        self.begun.filter(|_| self.ended.is_none())
    }
}
