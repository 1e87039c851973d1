//! `lifeboat`: the command line, and the one place that wires configuration, sources, storages and operations together.

mod alike;
mod allocator;
mod app;
mod arguments;
mod commands;
mod copy_report;
mod documents;
mod into_step;
mod invocation;
mod look;
mod mask;
mod open_archives;
mod output;
mod progress;
mod sentinel;
mod signals;
mod surroundings;
mod under_way;
mod wiring;

use std::process::ExitCode;

use clap::Parser as _;

use arguments::Arguments;
use output::Output;

fn main() -> ExitCode {
    allocator::give_large_blocks_back();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // Whoever asked for JSON gets it also where nothing else was understood.
        Err(error) => return output::usage(&error, std::env::args_os().any(|argument| argument == "--json")),
    };
    if arguments.common.background {
        give_way();
    }
    let output = Output::new(arguments.common.json, arguments.common.quiet);
    match commands::run(arguments, &output) {
        Ok(outcome) => outcome.into(),
        Err(fault) => output.fault(&fault),
    }
}

/// Before there are threads, as each takes over what the one has that starts it. The priority at the disks follows
/// (ioprio_set(2)). A machine that does not allow it is none the worse.
fn give_way() {
    const NICENESS: i32 = 10;
    let _ = rustix::process::nice(NICENESS);
}
