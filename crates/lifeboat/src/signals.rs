//! Ctrl-C and SIGTERM: the first asks the run to end well, the second ends it at once.

use std::time::Duration;

use operations::{Fault, FaultKind};
use repository::Cancel;
use signal_hook::consts::{SIGINT, SIGTERM, TERM_SIGNALS};
use signal_hook::{flag, low_level};

/// A run that was asked to stop and still works after this is ended. Its lock is then removed by the next run, which
/// sees that the process is gone.
const PATIENCE: Duration = Duration::from_millis(1800);
const EXIT_CANCELLED: i32 = 130;

/// Sets `cancel` at the first signal.
pub fn install(cancel: &Cancel) -> Result<(), Fault> {
    let failed = |error| Fault::local("cannot handle signals", error);
    for signal in [SIGINT, SIGTERM] {
        // Runs before the flag is set, so only a second signal finds it set.
        flag::register_conditional_shutdown(signal, EXIT_CANCELLED, cancel.flag()).map_err(failed)?;
        flag::register(signal, cancel.flag()).map_err(failed)?;
    }
    debug_assert!(TERM_SIGNALS.contains(&SIGTERM));
    let watched = cancel.clone();
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            while !watched.is_cancelled() {
                std::thread::sleep(Duration::from_millis(50));
            }
            std::thread::sleep(PATIENCE);
            low_level::exit(EXIT_CANCELLED);
        })
        .map(drop)
        .map_err(|error| Fault::new(FaultKind::Failed, "cannot start a thread").with_source(error))
}
