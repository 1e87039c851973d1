//! Ctrl-C and SIGTERM: the first asks the run to end well, one that comes a while after it ends it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use operations::{Fault, FaultKind};
use repository::Cancel;
use signal_hook::consts::{SIGINT, SIGTERM, TERM_SIGNALS};
use signal_hook::{flag, low_level};

use crate::output::complain;

/// A run that was asked to stop and still works after this is ended. Its lock is then removed by the next run, which
/// sees that the process is gone.
const PATIENCE: Duration = Duration::from_millis(1800);
/// Signals that come within this are one: `timeout` sends its own to the program and then to the group that it is in, and a
/// wrapper passes on what the terminal sent to both.
const ONE_SIGNAL: Duration = Duration::from_millis(500);
/// How long the last words may take: whoever reads them may have stopped reading.
const LAST_WORDS_PATIENCE: Duration = Duration::from_millis(100);
const EXIT_CANCELLED: i32 = 130;
/// Between two looks at what happened.
const POLL: Duration = Duration::from_millis(50);

/// What a run that was asked to stop must still do, such as the hooks after it: it is given the time.
#[derive(Clone, Debug, Default)]
pub struct Tidying(Arc<AtomicUsize>);

/// Something that must be done, until this is dropped.
pub struct Tidied(Arc<AtomicUsize>);

impl Tidying {
    /// Begins something that ends by itself, within a limit of its own.
    pub fn begin(&self) -> Tidied {
        self.0.fetch_add(1, Ordering::SeqCst);
        Tidied(Arc::clone(&self.0))
    }

    /// Sleeps for `duration`, and for as long as there is something to be done, and then for `duration` again.
    fn outlast(&self, duration: Duration) {
        let mut left = duration;
        while !left.is_zero() {
            std::thread::sleep(POLL.min(left));
            left = if self.0.load(Ordering::SeqCst) > 0 { duration } else { left.saturating_sub(POLL) };
        }
    }
}

impl Drop for Tidied {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Sets `cancel` at the first signal. What else sets it, such as a lost lock, ends no run: it is for the run to say why.
pub fn install(cancel: &Cancel) -> Result<Tidying, Fault> {
    let tidying = Tidying::default();
    let outlasted = tidying.clone();
    let failed = |error| Fault::local("cannot handle signals", error);
    let asked = Arc::new(AtomicBool::new(false));
    let is_impatient = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, EXIT_CANCELLED, Arc::clone(&is_impatient)).map_err(failed)?;
        flag::register(signal, cancel.flag()).map_err(failed)?;
        flag::register(signal, Arc::clone(&asked)).map_err(failed)?;
    }
    debug_assert!(TERM_SIGNALS.contains(&SIGTERM));
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            while !asked.load(Ordering::SeqCst) {
                std::thread::sleep(POLL);
            }
            std::thread::sleep(ONE_SIGNAL);
            is_impatient.store(true, Ordering::SeqCst);
            outlasted.outlast(PATIENCE - ONE_SIGNAL);
            say_last_words();
            low_level::exit(EXIT_CANCELLED);
        })
        .map(|_| tidying)
        .map_err(|error| Fault::new(FaultKind::Failed, "cannot start a thread").with_source(error))
}

/// Another thread may hold standard error for ever, so nothing waits for this one.
fn say_last_words() {
    let (said, heard) = mpsc::sync_channel(1);
    let speaker = std::thread::Builder::new().spawn(move || {
        complain("error: cancelled; what was under way did not end in time, so the run was ended");
        // Nobody listens any more where it took too long.
        let _ = said.send(());
    });
    if speaker.is_ok() {
        let _ = heard.recv_timeout(LAST_WORDS_PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_cancels_itself_is_not_ended_from_outside() {
        let cancel = Cancel::new();
        install(&cancel).unwrap();
        cancel.cancel();
        // Else this process is ended, and with it the test.
        std::thread::sleep(PATIENCE + LAST_WORDS_PATIENCE + Duration::from_millis(200));
    }
}
