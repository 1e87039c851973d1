//! What one command costs: the time on the wall, the processor time and the memory of all its processes.
//!
//! The kernel keeps the highest memory of all children a process has waited for, as one number that never falls again.
//! So each command gets a launcher of its own: this program, started again with the sub-command `measure`. The launcher
//! starts the command, waits, asks the kernel and writes the answer into a file.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// Prefixes of environment variables that change what the programs do. The user's own must not reach a measurement.
const FOREIGN_PREFIXES: [&str; 4] = ["LIFEBOAT_", "RESTIC_", "RUSTIC_", "BORG_"];
/// How much of a failed command's output is repeated in the error, in bytes.
const OUTPUT_SHOWN_BYTES: usize = 2000;

/// A command to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// Variables set on top of the environment.
    pub environment: Vec<(&'static str, OsString)>,
    /// The current folder.
    pub folder: PathBuf,
}

/// What a command cost, all processes that it started and waited for included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// From the start to the end.
    pub wall: Duration,
    /// User and system time.
    pub cpu: Duration,
    /// Highest resident memory of the largest process, in bytes.
    pub memory_peak: u64,
}

/// Runs a command under a launcher, once all that was written before is on the disk: nobody pays for what another left. Its output
/// goes to the file `log`. Fails when the command does.
pub fn measure(invocation: &Invocation, log: &Path) -> Result<Cost> {
    let result = log.with_extension("cost");
    let output = fs::File::create(log).with_context(|| format!("create {}", log.display()))?;
    let mut launcher = Command::new(std::env::current_exe().context("find this program")?);
    #[expect(
        clippy::disallowed_methods,
        reason = "variables of the user's own set-up are taken away, and none is read"
    )]
    let variables = std::env::vars_os();
    for (name, _) in variables {
        if FOREIGN_PREFIXES.iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes())) {
            launcher.env_remove(name);
        }
    }
    launcher.arg("measure").arg(&result).arg("--").args(&invocation.command);
    launcher.envs(invocation.environment.iter().map(|(name, value)| (name, value))).current_dir(&invocation.folder);
    launcher.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    rustix::fs::sync();
    let status = launcher.status().context("start the launcher")?;
    if !status.success() {
        let output = fs::read(log).unwrap_or_default();
        let shown = String::from_utf8_lossy(&output[output.len().saturating_sub(OUTPUT_SHOWN_BYTES)..]).into_owned();
        let command: Vec<_> = invocation.command.iter().map(|part| part.to_string_lossy()).collect();
        bail!("`{}` ended with {status}:\n{}", command.join(" "), shown.trim());
    }
    let text = fs::read_to_string(&result).with_context(|| format!("read {}", result.display()))?;
    parse(&text).with_context(|| format!("{} does not hold three numbers", result.display()))
}

/// The launcher: runs `command`, writes its cost into the file `result`, and passes its exit code on.
pub fn launch(result: &Path, command: &[OsString]) -> Result<ExitCode> {
    let (program, arguments) = command.split_first().context("name a program to measure")?;
    let start = Instant::now();
    let status = Command::new(program)
        .args(arguments)
        .status()
        .with_context(|| format!("start {}", program.to_string_lossy()))?;
    let wall = start.elapsed();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("ask for the cost of the command")?;
    fs::write(result, format(wall, &usage)).with_context(|| format!("write {}", result.display()))?;
    // A shell's way to tell that a signal ended the command.
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

fn format(wall: Duration, usage: &Usage) -> String {
    let cpu_microseconds = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    // Linux counts the memory in KiB.
    format!("{} {cpu_microseconds} {}\n", wall.as_micros(), usage.max_rss() * 1024)
}

fn parse(text: &str) -> Option<Cost> {
    let mut numbers = text.split_whitespace().map(str::parse::<u64>);
    let mut next = || numbers.next()?.ok();
    let (wall, cpu, memory_peak) = (next()?, next()?, next()?);
    Some(Cost { wall: Duration::from_micros(wall), cpu: Duration::from_micros(cpu), memory_peak })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_launcher_writes_what_the_runner_reads() {
        let folder = tempfile::tempdir().unwrap();
        let result = folder.path().join("cost");
        let command = ["sh", "-c", "sleep 0.2; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"].map(OsString::from);
        launch(&result, &command).unwrap();
        let cost = parse(&fs::read_to_string(&result).unwrap()).unwrap();
        assert!(cost.wall >= Duration::from_millis(200), "{cost:?}");
        assert!(cost.cpu >= Duration::from_millis(1), "{cost:?}");
        assert!((1 << 18..1 << 30).contains(&cost.memory_peak), "{cost:?}");
    }

    #[test]
    fn a_cut_result_is_not_taken_for_a_cost() {
        assert_eq!(parse("1 2"), None);
        assert_eq!(parse("1 2 x"), None);
    }
}
