//! A program that runs on this machine.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use repository::{Cancel, SourceError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Ended, Exit, Program, SAID_BYTES_MAX, keep_end, text_of};
use crate::process;

/// Between two looks at whether to stop.
const PAUSE: Duration = Duration::from_millis(50);

/// A program of this machine that was started.
pub struct Here {
    name: String,
    child: Child,
    /// `None` once it was closed.
    input: Option<ChildStdin>,
    output: ChildStdout,
    /// `None` once it was closed.
    errors: Option<ChildStderr>,
    said: VecDeque<u8>,
    cancel: Cancel,
}

impl Here {
    pub(super) fn start(program: &Program, cancel: &Cancel) -> Result<Self, SourceError> {
        let name = program.name();
        let mut command = Command::new(&name);
        command.args(program.words.iter().skip(1));
        for (name, value) in &program.variables {
            command.env(name, value.as_str());
        }
        if let Some(folder) = &program.folder {
            command.current_dir(folder);
        }
        if let Some((uid, gid)) = program.user {
            command.uid(uid).gid(gid);
        }
        let input = if program.has_input { Stdio::piped() } else { Stdio::null() };
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let unavailable = |error: &dyn std::fmt::Display| SourceError::Unavailable {
            what: format!("{name} could not be started: {error}"),
        };
        let mut child = command.spawn().map_err(|error| unavailable(&error))?;
        let input = child.stdin.take();
        if let Some(input) = &input {
            // It is written to only while it takes something, so that a look at whether to stop is never far.
            rustix::io::ioctl_fionbio(input, true).map_err(|error| unavailable(&error))?;
        }
        let (Some(output), errors @ Some(_)) = (child.stdout.take(), child.stderr.take()) else {
            // It was started with both.
            return Err(unavailable(&"its output is closed"));
        };
        Ok(Self { name, child, input, output, errors, said: VecDeque::new(), cancel: cancel.clone() })
    }

    /// Waits a moment for output; true where there is some, or its end. Standard error is taken in meanwhile, so that the
    /// program never waits for someone to read it.
    fn wait_for_output(&mut self) -> io::Result<bool> {
        let (output, errors) = wait_for(&self.output, PollFlags::IN, self.errors.as_ref())?;
        if errors {
            self.take_errors()?;
        }
        Ok(output)
    }

    fn take_errors(&mut self) -> io::Result<()> {
        let Some(errors) = &mut self.errors else { return Ok(()) };
        let mut buffer = [0; 4096];
        let length = errors.read(&mut buffer)?;
        if length == 0 {
            self.errors = None;
        }
        keep_end(&mut self.said, &buffer[..length], SAID_BYTES_MAX);
        Ok(())
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError> {
        loop {
            self.cancel.check()?;
            let read = match self.wait_for_output() {
                Ok(false) => continue,
                Ok(true) => self.output.read(buffer),
                Err(error) => Err(error),
            };
            return read.map_err(|error| self.failed("its output cannot be read", &error));
        }
    }

    /// As [`Here::read`], but waits a moment only: `None` where nothing came.
    pub(super) fn read_what_is_there(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, SourceError> {
        self.cancel.check()?;
        let read =
            self.wait_for_output().and_then(|there| if there { self.output.read(buffer).map(Some) } else { Ok(None) });
        read.map_err(|error| self.failed("its output cannot be read", &error))
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), SourceError> {
        while !bytes.is_empty() {
            self.cancel.check()?;
            match self.write_some(bytes) {
                Ok(length) => bytes = &bytes[length..],
                Err(error) => {
                    // What it said tells more than that it does not listen.
                    let ended = self.wait()?;
                    let what = format!("{} takes no more input ({error}): it {}", self.name, ended.told());
                    return Err(SourceError::Invalid { what });
                }
            }
        }
        Ok(())
    }

    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(input) = &mut self.input else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let (input_is_ready, errors) = wait_for(&*input, PollFlags::OUT, self.errors.as_ref())?;
        let written = match input_is_ready.then(|| input.write(bytes)) {
            None => Ok(0),
            Some(Err(error)) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
            Some(written) => written,
        };
        if errors {
            self.take_errors()?;
        }
        written
    }

    pub(super) fn close_input(&mut self) {
        self.input = None;
    }

    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    pub(super) fn wait(&mut self) -> Result<Ended, SourceError> {
        self.close_input();
        let status = loop {
            match self.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) => self.cancel.check()?,
                Err(error) => return Err(self.failed("whether it has ended is not to be known", &error)),
            }
        };
        let exit = match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Code(code.into()),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Unknown,
        };
        Ok(Ended { exit, said: text_of(&mut self.said) })
    }

    /// Whether it has ended, waiting a moment for it.
    fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        // What it has said by now is in the pipe; a child of its own may hold the pipe open for ever.
        while let Some(errors) = &self.errors
            && poll_again(&mut [PollFd::new(errors, PollFlags::IN)], Duration::ZERO)? > 0
        {
            self.take_errors()?;
        }
        if status.is_none() {
            poll_again(&mut [], PAUSE)?;
        }
        Ok(status)
    }

    fn failed(&self, what: &str, error: &io::Error) -> SourceError {
        SourceError::Invalid { what: format!("{}: {what}: {error}", self.name) }
    }
}

/// What nobody waits for any more leaves nothing behind.
impl Drop for Here {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            process::end_group(&mut self.child);
        }
    }
}

/// Waits until `first` is ready or there are errors to be read, but no longer than [`PAUSE`]. Says which of both.
fn wait_for(first: &impl AsFd, flags: PollFlags, errors: Option<&ChildStderr>) -> io::Result<(bool, bool)> {
    let mut polled = vec![PollFd::new(first, flags)];
    polled.extend(errors.map(|errors| PollFd::new(errors, PollFlags::IN)));
    poll_again(&mut polled, PAUSE)?;
    let is_ready = |polled: Option<&PollFd<'_>>| polled.is_some_and(|polled| !polled.revents().is_empty());
    Ok((is_ready(polled.first()), is_ready(polled.get(1))))
}

fn poll_again(polled: &mut [PollFd<'_>], timeout: Duration) -> io::Result<usize> {
    match poll(polled, Some(&Timespec { tv_sec: 0, tv_nsec: timeout.as_nanos() as _ })) {
        Ok(ready) => Ok(ready),
        // A signal came in; whoever polls asks again.
        Err(rustix::io::Errno::INTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}
