//! Ctrl-C, SIGTERM and SIGHUP: the first asks the run to end well; Ctrl-C or SIGTERM a while after it ends it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use operations::{Fault, FaultKind};
use repository::Cancel;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

use crate::output::complain;

/// A run that was asked to stop and still works after this is ended. Its lock is then removed by the next run, which
/// sees that the process is gone.
const PATIENCE: Duration = Duration::from_millis(1800);
/// The same, where something is owed that the run must first get to: to a container that takes long to stop, it has to wait.
const PATIENCE_OWED: Duration = Duration::from_secs(60);
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
pub struct Tidying {
    under_way: Arc<AtomicUsize>,
    owed: Arc<AtomicUsize>,
}

/// Something that must be done, until this is dropped.
pub struct Tidied(Arc<AtomicUsize>);

impl Tidying {
    /// Begins something that ends by itself, within a limit of its own.
    pub fn begin(&self) -> Tidied {
        Tidied::counted(&self.under_way)
    }

    /// Something will have to be done, and the run has first to get there, for which it is given [`PATIENCE_OWED`].
    pub fn owe(&self) -> Tidied {
        Tidied::counted(&self.owed)
    }

    fn is_owed(&self) -> bool {
        self.owed.load(Ordering::SeqCst) > 0
    }

    /// Sleeps for `duration`. Before that for as long as something is being done, and for `owed` at most while it is owed; this
    /// begins anew with all that is done meanwhile.
    fn outlast(&self, duration: Duration, owed: Duration) {
        let (mut left, mut left_owed) = (duration, owed);
        while !left.is_zero() {
            std::thread::sleep(POLL.min(left));
            if self.under_way.load(Ordering::SeqCst) > 0 {
                (left, left_owed) = (duration, owed);
            } else if self.is_owed() && !left_owed.is_zero() {
                (left, left_owed) = (duration, left_owed.saturating_sub(POLL));
            } else {
                left = left.saturating_sub(POLL);
            }
        }
    }
}

impl Tidied {
    fn counted(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(counter))
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
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        if signal == SIGHUP && is_hangup_ignored() {
            continue;
        }
        // The kernel and the shell both send SIGHUP where a connection is lost, and nobody is left there to be impatient.
        if signal != SIGHUP {
            flag::register_conditional_shutdown(signal, EXIT_CANCELLED, Arc::clone(&is_impatient)).map_err(failed)?;
        }
        flag::register(signal, cancel.flag()).map_err(failed)?;
        flag::register(signal, Arc::clone(&asked)).map_err(failed)?;
    }
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            while !asked.load(Ordering::SeqCst) {
                std::thread::sleep(POLL);
            }
            std::thread::sleep(ONE_SIGNAL);
            is_impatient.store(true, Ordering::SeqCst);
            outlasted.outlast(PATIENCE - ONE_SIGNAL, PATIENCE_OWED);
            say_last_words(outlasted.is_owed());
            low_level::exit(EXIT_CANCELLED);
        })
        .map(|_| tidying)
        .map_err(|error| Fault::new(FaultKind::Failed, "cannot start a thread").with_source(error))
}

/// Whether SIGHUP was ignored when this process began, as `nohup` has it: then a lost connection is to change nothing.
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (SIGHUP - 1)) != 0)
}

/// Another thread may hold standard error for ever, so nothing waits for this one.
fn say_last_words(is_owed: bool) {
    let (said, heard) = mpsc::sync_channel(1);
    let speaker = std::thread::Builder::new().spawn(move || {
        let undone = if is_owed { "; what must come after it, such as hooks, was NOT done" } else { "" };
        complain(&format!("error: cancelled; what was under way did not end in time, so the run was ended{undone}"));
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
    fn what_is_owed_is_waited_for_and_not_for_ever() {
        let millis = Duration::from_millis;
        let took = |tidying: &Tidying, owed| {
            let begun = std::time::Instant::now();
            tidying.outlast(millis(100), owed);
            begun.elapsed()
        };
        let tidying = Tidying::default();
        let never = tidying.owe();
        assert!(took(&tidying, millis(400)) >= millis(500));
        // What is done meanwhile is time that the rest is not charged for.
        let done = tidying.begin();
        let doing = std::thread::spawn(move || {
            std::thread::sleep(millis(600));
            drop(done);
        });
        assert!(took(&tidying, millis(400)) >= millis(1000));
        doing.join().unwrap();
        drop(never);
        assert!(took(&tidying, Duration::from_secs(600)) < Duration::from_secs(60));
    }

    #[test]
    fn a_run_that_cancels_itself_is_not_ended_from_outside() {
        let cancel = Cancel::new();
        install(&cancel).unwrap();
        cancel.cancel();
        // Else this process is ended, and with it the test.
        std::thread::sleep(PATIENCE + LAST_WORDS_PATIENCE + Duration::from_millis(200));
    }
}
