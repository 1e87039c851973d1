//! One file a command, one function each: arguments in, outcome out.

mod adopt;
mod backup;
mod browse;
mod check;
mod configuration;
mod diff;
mod discover;
mod drill;
mod find;
mod forget;
mod init;
mod key;
mod protect;
mod restore;
mod snapshots;
mod status;

use clap::CommandFactory as _;
use operations::Fault;

use crate::app::Run;
use crate::arguments::{Arguments, Command};
use crate::output::{Outcome, Output};

/// Does what the command line says.
pub fn run(arguments: Arguments, output: &Output) -> Result<Outcome, Fault> {
    let run = Run::new(&arguments.common, *output)?;
    match arguments.command {
        Command::Protect(arguments) => protect::run(run, &arguments),
        Command::Init(arguments) => init::run(&run, &arguments),
        Command::Discover(arguments) => discover::run(&run, &arguments),
        Command::Adopt(arguments) => adopt::run(&run, &arguments),
        Command::Config(arguments) => configuration::run(run, &arguments),
        Command::Completions(arguments) => Ok(completions(arguments.shell)),
        Command::Backup(arguments) => backup::run(&run.configured()?, &arguments),
        Command::Snapshots(arguments) => snapshots::run(&run.configured()?, &arguments),
        Command::Ls(arguments) => browse::ls(&run.configured()?, &arguments),
        Command::Cat(arguments) => browse::cat(&run.configured()?, &arguments),
        Command::Find(arguments) => find::run(&run.configured()?, &arguments),
        Command::Diff(arguments) => diff::run(&run.configured()?, &arguments),
        Command::Restore(arguments) => restore::run(run, &arguments),
        Command::Drill(arguments) => drill::run(&run.configured()?, &arguments),
        Command::Check(arguments) => check::check(&run.configured()?, &arguments),
        Command::Heal(arguments) => check::heal(&run.configured()?, &arguments),
        Command::Forget(arguments) => forget::forget(&run.configured()?, &arguments),
        Command::Prune(arguments) => forget::prune(&run.configured()?, &arguments),
        Command::Key(arguments) => key::run(&run.configured()?, &arguments),
        Command::Status(arguments) => status::run(&run.configured()?, &arguments),
    }
}

fn completions(shell: clap_complete::Shell) -> Outcome {
    clap_complete::generate(shell, &mut Arguments::command(), "lifeboat", &mut std::io::stdout());
    Outcome::Ok
}
