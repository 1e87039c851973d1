//! One file a command, one function each: arguments in, outcome out; what a large one consists of lies in a folder of its name.
//! `cht` and `sentinel` make the sources of such an application for `init`, `protect` and `discover`; `reach` says what of a host these can look at.

mod adopt;
mod backup;
mod browse;
mod check;
mod cht;
mod configuration;
mod copies;
mod coverage;
mod diff;
mod discover;
mod docs;
mod drill;
mod find;
mod forget;
mod heal;
mod init;
mod keep_watch;
mod key;
mod protect;
mod prune;
mod reach;
mod restore;
mod sentinel;
mod serve;
mod snapshots;
mod status;
mod sync;

use clap::CommandFactory as _;
use operations::config::CopySettings;
use operations::{Fault, FaultKind};
use serde_json::json;

use crate::app::Run;
use crate::arguments::{self, Arguments, Command, CopiesAction};
use crate::output::{Outcome, Output};

/// Does what the command line says.
pub fn run(arguments: Arguments, output: &Output) -> Result<Outcome, Fault> {
    if let Command::KeepWatch(arguments) = &arguments.command {
        return keep_watch::run(&arguments.state, *output);
    }
    let run = Run::new(&arguments.common, *output)?;
    let untold = run.progress.untold();
    let outcome = run_command(run, arguments.command, *output);
    untold.tell();
    outcome
}

fn run_command(run: Run, command: Command, output: Output) -> Result<Outcome, Fault> {
    match command {
        Command::Protect(arguments) => protect::run(run, &arguments),
        Command::Init(arguments) => init::run(&run, &arguments),
        Command::Discover(arguments) => discover::run(&run, &arguments),
        Command::Adopt(arguments) => adopt::run(&run, &arguments),
        Command::Config(arguments) => configuration::run(run, &arguments),
        Command::Completions(arguments) => Ok(completions(output, arguments.shell)),
        Command::Backup(arguments) => backup::run(&run.configured()?, &arguments),
        Command::Snapshots(arguments) => snapshots::run(&run.configured()?, &arguments),
        Command::Ls(arguments) => browse::ls(&run.configured()?, &arguments),
        Command::Cat(arguments) => browse::cat(&run.configured()?, &arguments),
        Command::Find(arguments) => find::run(&run.configured()?, &arguments),
        Command::Diff(arguments) => diff::run(&run.configured()?, &arguments),
        Command::Docs(arguments) => docs::run(&run.configured()?, &arguments),
        Command::Restore(arguments) => restore::run(run, &arguments.without_uri()?),
        Command::Drill(arguments) => drill::run(&run.configured()?, &arguments),
        Command::Check(arguments) => check::check(&run.configured()?, &arguments),
        Command::Heal(arguments) => heal::run(&run.configured()?, &arguments),
        Command::Sync(arguments) => sync::run(&run.configured()?, &arguments),
        Command::Forget(arguments) => forget::forget(&run.configured()?, &arguments),
        Command::Prune(arguments) => prune::run(&run.configured()?, &arguments),
        Command::Key(arguments) => key::run(&run.configured()?, &arguments),
        Command::Copies(arguments::Copies { action: None }) => copies::run(&run.configured()?),
        Command::Copies(arguments::Copies { action: Some(CopiesAction::Test(arguments)) }) => {
            copies::probe::run(&run.configured()?, &arguments)
        }
        Command::Coverage(arguments) => coverage::run(&run.configured()?, &arguments),
        Command::Status(arguments) => status::run(&run.configured()?, &arguments),
        Command::Serve => serve::run(run),
        // It has no use for what a run has, signals least of all.
        Command::KeepWatch(arguments) => keep_watch::run(&arguments.state, output),
    }
}

/// Does something for each of several. One that fails keeps no other from its turn; the first failure is the result, so
/// that it is the last thing said, and those after it are said at once.
fn for_each<T>(
    output: Output,
    items: &[T],
    name: impl Fn(&T) -> String,
    mut work: impl FnMut(&T) -> Result<Outcome, Fault>,
) -> Result<Outcome, Fault> {
    let mut outcome = Outcome::Ok;
    let mut first: Option<Fault> = None;
    for item in items {
        let mut fault = match work(item) {
            Ok(done) => {
                outcome = outcome.and(done);
                continue;
            }
            Err(fault) if fault.kind == FaultKind::Cancelled || items.len() == 1 => return Err(fault),
            Err(fault) => fault,
        };
        fault.message = format!("{}: {}", name(item), fault.message);
        match first {
            None => first = Some(fault),
            // The exit code is the first one's.
            Some(_) => drop(output.fault(&fault)),
        }
    }
    first.map_or(Ok(outcome), Err)
}

/// [`for_each`] of copies. One that is away makes no failure of what was done in the others: it is named, and the run is partial.
fn for_each_copy(
    output: Output,
    copies: &[&CopySettings],
    mut work: impl FnMut(&CopySettings) -> Result<Outcome, Fault>,
) -> Result<Outcome, Fault> {
    let mut missed = Vec::new();
    let name = |copy: &&CopySettings| format!("copy {}", copy.name);
    let outcome = for_each(output, copies, name, |copy| match work(copy) {
        Err(fault) if copies.len() > 1 && matches!(fault.kind, FaultKind::NoRepository | FaultKind::Storage) => {
            missed.push((copy.name.as_str(), fault));
            Ok(Outcome::Partial)
        }
        done => done,
    })?;
    let mut missed = missed.into_iter().peekable();
    if missed.peek().is_none() {
        return Ok(outcome);
    }
    let first = if missed.len() == copies.len() { missed.next() } else { None };
    missed.for_each(|(name, fault)| output.passed_over(name, &fault));
    if let Some((name, mut fault)) = first {
        fault.message = format!("copy {name}: {}", fault.message);
        return Err(fault);
    }
    output.summary(json!({ "status": if outcome == Outcome::Bad { "damaged" } else { "partial" } }));
    Ok(outcome)
}

fn completions(output: Output, shell: clap_complete::Shell) -> Outcome {
    // Into memory first: it panics where its reader is gone.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "lifeboat", &mut script);
    output.raw(&script);
    Outcome::Ok
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_fails_keeps_no_other_from_its_turn() {
        let output = Output::new(false, true);
        let run = |results: &[Result<Outcome, FaultKind>]| {
            let mut turns = 0;
            let work = |result: &Result<Outcome, FaultKind>| {
                turns += 1;
                result.map_err(|kind| Fault::new(kind, "failed"))
            };
            let done = for_each(output, results, |_| "stack a".to_owned(), work);
            (turns, done.map_err(|fault| (fault.kind, fault.message)))
        };
        let failed = |kind| Err((kind, "stack a: failed".to_owned()));
        assert_eq!(run(&[Ok(Outcome::Bad), Ok(Outcome::Partial), Ok(Outcome::Ok)]), (3, Ok(Outcome::Bad)));
        assert_eq!(run(&[Ok(Outcome::Partial), Ok(Outcome::Ok)]), (2, Ok(Outcome::Partial)));
        let results = [Ok(Outcome::Ok), Err(FaultKind::Locked), Err(FaultKind::Source), Ok(Outcome::Partial)];
        assert_eq!(run(&results), (4, failed(FaultKind::Locked)));
        let alone = Err((FaultKind::Source, "failed".to_owned()));
        assert_eq!(run(&[Err(FaultKind::Source)]), (1, alone), "alone it needs no name");
        let cancelled = Err((FaultKind::Cancelled, "failed".to_owned()));
        assert_eq!(run(&[Err(FaultKind::Cancelled), Ok(Outcome::Ok)]), (1, cancelled));
    }
}
