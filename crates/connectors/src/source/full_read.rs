//! When files that only grow are read from the first byte on all the same, so that a tail is trusted for so long only.

use std::time::Duration;

use jiff::Timestamp;
use repository::{CaptureCx, Facts};
use serde_json::Value;

/// The fact that says when such files were last read in full, in RFC 3339.
pub const FULL_READ_AT: &str = "full_read_at";

/// Whether a full reading is due, and when the last one was: now, where it is.
pub struct FullRead {
    pub is_due: bool,
    at: Timestamp,
}

impl FullRead {
    /// By what the parent snapshot says and how long that holds.
    pub fn new(cx: &CaptureCx<'_>, holds: Duration) -> Self {
        let now = cx.clock.now();
        let fact = cx.previous.and_then(|previous| previous.facts.get(FULL_READ_AT)?.as_str());
        match fact.and_then(|at| at.parse::<Timestamp>().ok()) {
            // A time ahead of the clock proves nothing.
            Some(at) if at <= now && now.duration_since(at).unsigned_abs() < holds => Self { is_due: false, at },
            _ => Self { is_due: true, at: now },
        }
    }

    /// Notes the last full reading in the facts of this snapshot.
    pub fn note(&self, facts: &mut Facts) {
        facts.insert(FULL_READ_AT.to_owned(), Value::from(self.at.to_string()));
    }
}
