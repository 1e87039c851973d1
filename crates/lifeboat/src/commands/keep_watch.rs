//! `lifeboat keep-watch`, which no user types: the process that lets containers go on where the run that halted them is killed.

use std::path::Path;
use std::sync::Arc;

use connectors::containers::{Halts, keep_watch};
use operations::Fault;
use repository::SystemClock;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::output::{Outcome, Output};
use crate::wiring;

/// Watches over what is noted below the state folder, until standard input ends.
pub fn run(state: &Path, output: Output) -> Result<Outcome, Fault> {
    let failed = |error| Fault::local("cannot keep watch over containers", error);
    // Signals that end the run are sent to all that it started, and this is what must be left.
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::default()).map_err(failed)?;
    }
    // It fails where it leads a group already, in which no terminal sends it a signal.
    let _ = rustix::process::setsid();
    // The folder that the run was started in may be unmounted after it.
    std::env::set_current_dir("/").map_err(failed)?;
    let tell = &mut |right| wiring::tell_put_right(output, right);
    keep_watch(&Halts::below(state), std::io::stdin(), &SystemClock, &wiring::is_whole, tell).map_err(failed)?;
    Ok(Outcome::Ok)
}
