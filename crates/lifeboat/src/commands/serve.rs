//! `lifeboat serve`: all year, until it is stopped.

use operations::Fault;
use repository::Identity;
use server::{Program, Start};

use crate::app::{App, Run};
use crate::invocation;
use crate::output::Outcome;

/// Serves until a signal ends it.
pub fn run(run: Run) -> Result<Outcome, Fault> {
    let App { run, settings } = run.configured()?;
    // It asks its runs to end well, and gives them the time.
    let _owed = run.tidying.owe();
    // Where the environment is the configuration, the runs have it from there, too.
    let config =
        if settings.sentinel.is_none() { vec!["--config".into(), settings.file.clone().into()] } else { Vec::new() };
    server::serve(Start {
        settings,
        host: Identity::of_process().hostname,
        program: Program { path: invocation::path(), arguments: config },
        cancel: run.cancel.clone(),
    })?;
    Ok(Outcome::Ok)
}
