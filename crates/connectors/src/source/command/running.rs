//! A running command whose output is read.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use repository::{Cancel, Id, SourceError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sha2::{Digest as _, Sha256};

use super::{CommandOptions, RunLine};
use crate::process;

/// What is kept of standard error: its end, where the reason stands.
const STDERR_BYTES_MAX: usize = 8 << 10;
/// White space after the trailer that is passed over.
const BLANK_BYTES_MAX: usize = 4 << 10;
/// Between two looks at whether to stop.
const PAUSE: Duration = Duration::from_millis(50);

/// How the command ended.
#[derive(Debug)]
pub enum Outcome {
    /// Its output was not read to the end.
    Pending,
    /// All its output was read, and all is well.
    Whole {
        bytes: u64,
        sha256: String,
        /// The end of what it said on standard error.
        said: String,
    },
    /// Why its output must not be kept.
    Broken(String),
    Cancelled,
}

/// The output of a running command. Reading fails at its end unless all is well.
pub struct Running {
    child: Child,
    stdout: ChildStdout,
    /// `None` once it was closed.
    stderr: Option<ChildStderr>,
    stderr_end: VecDeque<u8>,
    name: String,
    trailer: Option<Vec<u8>>,
    /// The end of the output, long enough for the trailer.
    end: VecDeque<u8>,
    bytes: u64,
    sha256: Sha256,
    cancel: Cancel,
    outcome: Arc<Mutex<Outcome>>,
}

/// bash where it is, since it notices a failure in the middle of a pipe; else the system's own shell.
fn shell() -> &'static str {
    const BASH: &str = "/bin/bash";
    if Path::new(BASH).exists() { BASH } else { "/bin/sh" }
}

impl Running {
    /// Starts the command.
    pub fn start(options: &CommandOptions, cancel: Cancel, outcome: Arc<Mutex<Outcome>>) -> Result<Self, SourceError> {
        let mut command = match &options.run {
            RunLine::Words(words) => {
                let mut command = Command::new(words.first().map(|word| word.as_os_str()).unwrap_or_default());
                command.args(words.iter().skip(1));
                command
            }
            RunLine::Shell(text) => {
                // The first line makes a shell that can do so fail where any part of a pipe does.
                let mut command = Command::new(shell());
                command.arg("-c").arg(format!("(set -o pipefail) 2>/dev/null && set -o pipefail\n{text}"));
                command
            }
        };
        command.current_dir(&options.folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let unavailable = |error: &dyn std::fmt::Display| SourceError::Unavailable {
            what: format!("the command for `{}` could not be started: {error}", options.name),
        };
        let mut child = command.spawn().map_err(|error| unavailable(&error))?;
        let (Some(stdout), stderr @ Some(_)) = (child.stdout.take(), child.stderr.take()) else {
            // It was started with both.
            return Err(unavailable(&"its output is closed"));
        };
        Ok(Self {
            child,
            stdout,
            stderr,
            stderr_end: VecDeque::new(),
            name: options.name.clone(),
            trailer: options.trailer.as_ref().map(|trailer| trailer.as_bytes().trim_ascii_end().to_vec()),
            end: VecDeque::new(),
            bytes: 0,
            sha256: Sha256::new(),
            cancel,
            outcome,
        })
    }

    /// Waits a moment for output; true where there is some, or its end. Standard error is taken in meanwhile, so that the
    /// command never waits for someone to read it.
    fn wait_for_output(&mut self) -> io::Result<bool> {
        let mut polled = vec![PollFd::new(&self.stdout, PollFlags::IN)];
        polled.extend(self.stderr.as_ref().map(|stderr| PollFd::new(stderr, PollFlags::IN)));
        wait(&mut polled)?;
        let is_ready = |polled: Option<&PollFd<'_>>| polled.is_some_and(|polled| !polled.revents().is_empty());
        let (output, errors) = (is_ready(polled.first()), is_ready(polled.get(1)));
        drop(polled);
        if errors {
            self.take_errors()?;
        }
        Ok(output)
    }

    fn take_errors(&mut self) -> io::Result<()> {
        let Some(stderr) = &mut self.stderr else { return Ok(()) };
        let mut buffer = [0; 4096];
        let length = stderr.read(&mut buffer)?;
        if length == 0 {
            self.stderr = None;
        }
        keep_end(&mut self.stderr_end, &buffer[..length], STDERR_BYTES_MAX);
        Ok(())
    }

    /// After the end of its output: waits for the command to end.
    fn exit_status(&mut self) -> io::Result<ExitStatus> {
        loop {
            let status = self.child.try_wait()?;
            // What it has said by now is in the pipe; a child of its own may hold the pipe open for ever.
            loop {
                let mut polled: Vec<_> =
                    self.stderr.as_ref().map(|stderr| PollFd::new(stderr, PollFlags::IN)).into_iter().collect();
                let none = Timespec { tv_sec: 0, tv_nsec: 0 };
                if polled.is_empty() || poll_again(&mut polled, &none)? == 0 {
                    break;
                }
                drop(polled);
                self.take_errors()?;
            }
            if let Some(status) = status {
                return Ok(status);
            }
            if self.cancel.is_cancelled() {
                return Err(io::Error::other(SourceError::Cancelled));
            }
            wait(&mut [])?;
        }
    }

    /// Whether the output is all it should be.
    fn verdict(&mut self) -> io::Result<Outcome> {
        let status = self.exit_status()?;
        let said = String::from_utf8_lossy(self.stderr_end.make_contiguous()).trim().to_owned();
        let why = match (status.code(), status.signal()) {
            (Some(0), _) if self.bytes == 0 => "printed nothing".to_owned(),
            (Some(0), _) => match &self.trailer {
                Some(trailer) if !self.end.make_contiguous().trim_ascii_end().ends_with(trailer) => {
                    "printed an output that does not end with the trailer, so it is not whole".to_owned()
                }
                _ => {
                    let sha256 = Id(self.sha256.finalize_reset().into()).to_hex();
                    return Ok(Outcome::Whole { bytes: self.bytes, sha256, said });
                }
            },
            (Some(code), _) => format!("ended with exit code {code}"),
            (None, Some(signal)) => format!("was killed by signal {signal}"),
            (None, None) => "ended in an unknown way".to_owned(),
        };
        let said = if said.is_empty() { String::new() } else { format!("; it said: {said}") };
        Ok(Outcome::Broken(format!("the command for `{}` {why}{said}", self.name)))
    }

    fn outcome(&self) -> std::sync::MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.cancel.is_cancelled() {
                return Err(io::Error::other(SourceError::Cancelled));
            }
            if !self.wait_for_output()? {
                continue;
            }
            let length = self.stdout.read(buffer)?;
            self.bytes += length as u64;
            self.sha256.update(&buffer[..length]);
            if let Some(trailer) = &self.trailer {
                keep_end(&mut self.end, &buffer[..length], trailer.len() + BLANK_BYTES_MAX);
            }
            return Ok(length);
        }
    }
}

impl Read for Running {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &*self.outcome() {
            Outcome::Pending => {}
            Outcome::Whole { .. } => return Ok(0),
            Outcome::Broken(why) => return Err(io::Error::other(SourceError::Invalid { what: why.clone() })),
            Outcome::Cancelled => return Err(io::Error::other(SourceError::Cancelled)),
        }
        if buffer.is_empty() {
            return Ok(0);
        }
        let read = self.read_some(buffer);
        let outcome = match read {
            Ok(0) => self.verdict(),
            Ok(length) => return Ok(length),
            Err(error) => Err(error),
        };
        let outcome = outcome.unwrap_or_else(|error| match self.cancel.is_cancelled() {
            true => Outcome::Cancelled,
            false => Outcome::Broken(format!("the output of the command for `{}` cannot be read: {error}", self.name)),
        });
        if !matches!(outcome, Outcome::Whole { .. }) {
            process::end_group(&mut self.child);
        }
        *self.outcome() = outcome;
        self.read(buffer)
    }
}

/// A capture that is given up, for whatever reason, leaves no command behind.
impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            process::end_group(&mut self.child);
        }
    }
}

fn keep_end(end: &mut VecDeque<u8>, bytes: &[u8], bytes_max: usize) {
    end.extend(&bytes[bytes.len().saturating_sub(bytes_max)..]);
    end.drain(..end.len().saturating_sub(bytes_max));
}

/// Waits until one of `polled` is ready, but no longer than [`PAUSE`].
fn wait(polled: &mut [PollFd<'_>]) -> io::Result<()> {
    poll_again(polled, &Timespec { tv_sec: 0, tv_nsec: PAUSE.as_nanos() as _ }).map(drop)
}

fn poll_again(polled: &mut [PollFd<'_>], timeout: &Timespec) -> io::Result<usize> {
    match poll(polled, Some(timeout)) {
        Ok(ready) => Ok(ready),
        // A signal came in; whoever polls asks again.
        Err(rustix::io::Errno::INTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}
