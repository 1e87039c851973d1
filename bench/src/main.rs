//! Compares Lifeboat with its peers: makes data, runs each program on it in turn, and prints what it cost.

mod copies;
mod couchdb;
mod data;
mod folder;
mod index;
mod machine;
mod measure;
mod postgres;
mod report;
mod run;
mod tool;

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};

use crate::data::Settings;
use crate::machine::Machine;
use crate::report::Report;
use crate::tool::{Program, Tool};

fn main() -> Result<ExitCode> {
    match Arguments::parse().command {
        Verb::Generate { folder, data } => data::generate(&folder, data.settings()?)?,
        Verb::Grow { folder } => data::grow(&folder)?,
        Verb::Change { folder } => data::change(&folder)?,
        Verb::Index { blobs, work } => {
            fs::create_dir_all(&work).with_context(|| format!("create {}", work.display()))?;
            writeln!(io::stdout(), "| blobs | opened in | bytes a blob | peak memory |\n| --- | --- | --- | --- |")?;
            index::measure(&work, blobs)?;
        }
        Verb::Couchdb { shards, size, seed, work, programs } => {
            ensure!(shards >= 8 && shards % 8 == 0, "`--shards` must be a multiple of eight");
            ensure!(size > 0.0 && size <= 1000.0, "`--size` must be above 0 and at most 1000");
            fs::create_dir_all(&work).with_context(|| format!("create {}", work.display()))?;
            let (lifeboat, restic) = programs.find()?;
            let size = couchdb::Size { shards, bytes: (size * f64::from(1 << 30)) as u64, seed };
            couchdb::compare(&work.canonicalize()?, &lifeboat, &restic, size)?;
        }
        Verb::Postgres { size, seed, work, programs, borgmatic } => {
            ensure!(size > 0.0 && size <= 1000.0, "`--size` must be above 0 and at most 1000");
            fs::create_dir_all(&work).with_context(|| format!("create {}", work.display()))?;
            let (lifeboat, restic) = programs.find()?;
            let borgmatic = Some(borgmatic).filter(|path| postgres::runs(path));
            if borgmatic.is_none() {
                writeln!(io::stderr(), "left out: borgmatic is not here")?;
            }
            let programs = postgres::Programs { lifeboat: &lifeboat, restic: &restic, borgmatic: borgmatic.as_deref() };
            let size = postgres::Size { bytes: (size * f64::from(1 << 30)) as u64, seed };
            postgres::compare(&work.canonicalize()?, &programs, size)?;
        }
        Verb::Copies { data, rounds, work, programs } => {
            ensure!(rounds > 0, "`--rounds` must be at least 1");
            fs::create_dir_all(&work).with_context(|| format!("create {}", work.display()))?;
            let (lifeboat, restic) = programs.find()?;
            copies::compare(&work.canonicalize()?, &lifeboat, &restic, data.settings()?, rounds)?;
        }
        Verb::IndexOpen { folder } => index::open(&folder)?,
        Verb::Run(arguments) => return compare(&arguments),
        Verb::Measure { result, command } => return measure::launch(&result, &command),
    }
    Ok(ExitCode::SUCCESS)
}

/// Compare Lifeboat with its peers.
#[derive(Debug, Parser)]
#[command(name = "lifeboat-bench")]
struct Arguments {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write the first generation of the data into FOLDER
    Generate {
        /// A new or empty folder, or one that this command filled before
        folder: PathBuf,
        #[command(flatten)]
        data: DataArguments,
    },
    /// Append 3 % to the append-only files in FOLDER
    Grow {
        /// A folder filled by `generate`
        folder: PathBuf,
    },
    /// Make the second generation of the data in FOLDER
    Change {
        /// A folder filled by `generate`
        folder: PathBuf,
    },
    /// Open a made-up index of very many blobs
    Index {
        /// How many
        #[arg(long, default_value_t = 10_000_000)]
        blobs: u64,
        /// A folder for the made-up repository; needs about 1 GB
        #[arg(long, value_name = "FOLDER", default_value = "target/bench")]
        work: PathBuf,
    },
    /// A CouchDB that did not change, and one that grew by 1 %, beside restic
    Couchdb {
        /// Shards, eight to a database
        #[arg(long, default_value_t = 200)]
        shards: u32,
        /// GiB of all shards together
        #[arg(long, default_value_t = 10.0)]
        size: f64,
        /// Another seed makes other documents
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// A folder for data and repositories; needs three times the size
        #[arg(long, value_name = "FOLDER", default_value = "target/bench")]
        work: PathBuf,
        #[command(flatten)]
        programs: Programs,
    },
    /// A PostgreSQL, before and after 1 % of its rows changed, beside `pg_dump` into restic and beside borgmatic
    Postgres {
        /// GiB of all rows, as `pg_dump` writes them
        #[arg(long, default_value_t = 2.0)]
        size: f64,
        /// Another seed makes other rows
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// A folder for repositories; needs twice the size, and the server three times the size among temporary files
        #[arg(long, value_name = "FOLDER", default_value = "target/bench")]
        work: PathBuf,
        #[command(flatten)]
        programs: Programs,
        /// The program borgmatic
        #[arg(long, value_name = "PATH", env = "BORGMATIC", default_value = "borgmatic")]
        borgmatic: PathBuf,
    },
    /// Three copies beside one, and beside restic run three times
    Copies {
        #[command(flatten)]
        data: DataArguments,
        /// How often everything is done
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// A folder for data and repositories; needs about 30 GB at scale 1
        #[arg(long, value_name = "FOLDER", default_value = "target/bench-copies")]
        work: PathBuf,
        #[command(flatten)]
        programs: Programs,
    },
    /// Open an index (used by `index`)
    #[command(hide = true)]
    IndexOpen {
        /// The repository
        folder: PathBuf,
    },
    /// Run all programs in turn and print the result as Markdown
    Run(RunArguments),
    /// Run a command and write what it cost (used by `run`)
    #[command(hide = true)]
    Measure {
        /// The file for the result
        result: PathBuf,
        /// The command
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

#[derive(Debug, Args)]
struct DataArguments {
    /// Size of the data: 1 is about 4 GiB
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Another seed makes other data of the same kind
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl DataArguments {
    fn settings(&self) -> Result<Settings> {
        ensure!(self.scale > 0.0 && self.scale <= 100.0, "`--scale` must be above 0 and at most 100");
        Ok(Settings { scale: self.scale, seed: self.seed })
    }
}

/// What is compared everywhere.
#[derive(Debug, Args)]
struct Programs {
    /// The program lifeboat
    #[arg(long, value_name = "PATH", default_value = "target/release/lifeboat")]
    lifeboat: PathBuf,
    /// The program restic
    #[arg(long, value_name = "PATH", env = "RESTIC", default_value = "restic")]
    restic: PathBuf,
}

impl Programs {
    fn find(&self) -> Result<(Program, Program)> {
        Ok((Program::find(Tool::Lifeboat, &self.lifeboat)?, Program::find(Tool::Restic, &self.restic)?))
    }
}

#[derive(Debug, Args)]
struct RunArguments {
    #[command(flatten)]
    data: DataArguments,
    /// How often everything is done
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Leave a program out; may be repeated
    #[arg(long, value_name = "PROGRAM")]
    without: Vec<Tool>,
    /// A folder for data and repositories, new or used by an earlier run; needs about 30 GB at scale 1
    #[arg(long, value_name = "FOLDER", default_value = "target/bench")]
    work: PathBuf,
    /// Leave the data of the last round and the repositories in the work folder
    #[arg(long)]
    keep: bool,
    /// Also write the result into this file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    programs: Programs,
    /// The program rustic
    #[arg(long, value_name = "PATH", env = "RUSTIC", default_value = "rustic")]
    rustic: PathBuf,
    /// The program borg
    #[arg(long, value_name = "PATH", env = "BORG", default_value = "borg")]
    borg: PathBuf,
}

/// Runs the comparison. The exit code is 1 when a program failed, so that a smoke test notices.
fn compare(arguments: &RunArguments) -> Result<ExitCode> {
    ensure!(arguments.rounds > 0, "`--rounds` must be at least 1");
    let settings = arguments.data.settings()?;
    let (programs, left_out) = programs(arguments)?;
    fs::create_dir_all(&arguments.work).with_context(|| format!("create {}", arguments.work.display()))?;
    let machine = Machine::look(&arguments.work.canonicalize()?);
    let outcome = run::run(&arguments.work, &programs, settings, arguments.rounds, arguments.keep)?;
    let rounds = arguments.rounds;
    let report =
        Report { machine: &machine, settings, rounds, programs: &programs, left_out: &left_out, outcome: &outcome };
    let text = report.markdown();
    io::stdout().write_all(text.as_bytes())?;
    if let Some(path) = &arguments.out {
        fs::write(path, &text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(if outcome.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The programs to measure, and for each of the others the reason why not.
fn programs(arguments: &RunArguments) -> Result<(Vec<Program>, Vec<String>)> {
    let (mut found, mut left_out) = (Vec::new(), Vec::new());
    for (tool, path) in [
        (Tool::Lifeboat, arguments.programs.lifeboat.as_path()),
        (Tool::Restic, &arguments.programs.restic),
        (Tool::Rustic, &arguments.rustic),
        (Tool::Borg, &arguments.borg),
        (Tool::Cp, Path::new("cp")),
    ] {
        if arguments.without.contains(&tool) {
            left_out.push(format!("{tool}, as asked for"));
            continue;
        }
        match Program::find(tool, path) {
            Ok(program) => found.push(program),
            Err(error) if tool == Tool::Lifeboat => {
                return Err(error.context("build it with `cargo build --release`, or say `--without lifeboat`"));
            }
            Err(error) => {
                writeln!(io::stderr(), "left out: {error:#}")?;
                left_out.push(format!("{error:#}"));
            }
        }
    }
    if found.is_empty() {
        bail!("no program is left to measure");
    }
    Ok((found, left_out))
}
