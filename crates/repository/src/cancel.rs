//! One flag that stops a run: set by Ctrl-C, SIGTERM, an API call or a failed stage of the pipeline.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::limits::CANCEL_POLL;
use crate::{Clock, Error};

/// A flag shared by all threads of a run. Clones share the flag.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    flag: Arc<AtomicBool>,
    /// What this is a part of.
    above: Option<Arc<Cancel>>,
}

impl Cancel {
    /// A flag that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// A flag for a part of the run, which is set with this one, and can be set without it.
    pub fn child(&self) -> Self {
        Self { flag: Arc::default(), above: Some(Arc::new(self.clone())) }
    }

    /// The flag behind this handle, for signal handlers, which may only touch an atomic.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.flag.clone()
    }

    /// Asks the run to stop as soon as it can leave the repository valid.
    pub fn cancel(&self) {
        self.flag.store(true, Ordering::SeqCst);
    }

    /// Whether the run was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.flag.load(Ordering::SeqCst) || self.above.as_ref().is_some_and(|above| above.is_cancelled())
    }

    /// Fails with [`Error::Cancelled`] once the run was asked to stop. Called in every loop that may take long.
    pub fn check(&self) -> Result<(), Error> {
        if self.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Sleeps for `duration`, or until the run is asked to stop. Says whether the whole time went by.
    pub fn pause(&self, clock: &dyn Clock, mut duration: Duration) -> bool {
        while !self.is_cancelled() {
            if duration.is_zero() {
                return true;
            }
            let slice = duration.min(CANCEL_POLL);
            clock.sleep(slice);
            duration -= slice;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::clock::SimulatedClock;

    #[test]
    fn a_pause_lasts_as_long_as_it_should_and_ends_at_once_when_cancelled() {
        let clock = SimulatedClock::new(Timestamp::UNIX_EPOCH);
        let cancel = Cancel::new();
        assert!(cancel.pause(&clock, Duration::from_millis(12_345)));
        assert_eq!(clock.now().as_millisecond(), 12_345);
        cancel.cancel();
        assert!(!cancel.pause(&clock, Duration::from_secs(60)));
        assert_eq!(clock.now().as_millisecond(), 12_345);
    }

    #[test]
    fn a_part_is_cancelled_with_the_whole_and_not_the_whole_with_a_part() {
        let whole = Cancel::new();
        let (one, other) = (whole.child(), whole.child());
        one.clone().cancel();
        assert!(one.is_cancelled() && one.child().is_cancelled());
        assert!(!whole.is_cancelled() && !other.is_cancelled());
        whole.cancel();
        assert!(other.is_cancelled() && whole.child().is_cancelled());
    }
}
