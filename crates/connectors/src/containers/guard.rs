//! A process that keeps watch over halted containers, since the one that halted them may be killed.
//!
//! It reads from a pipe whose other end that process alone has: the end of the pipe is the end of that process, however it came.
//! What it left halted, by its notes, is then let go on at once; and what is halted for longer than its note allows, in any case.
//! Where all processes are killed together, as by a reboot, the next command does it.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use repository::{Cancel, Clock, SourceError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::halt::{Halts, MayGoOn, PutRight};

/// What it prints once it watches.
const READY: &str = "ready";
/// Between two looks at the notes.
const LOOK_PAUSE: Duration = Duration::from_millis(250);
/// Whoever halted a container may let it go on that much too late, before it is taken for stuck.
const LATE_MAX: Duration = Duration::from_secs(1);
/// How long what was left halted is seen to, where the engine does not answer at once. The locks of a process that was killed are
/// released a moment after its pipe, too.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long its end is waited for.
const END_PATIENCE: Duration = Duration::from_millis(300);

/// How such a process is started. It must call [`keep_watch`].
#[derive(Clone, Debug)]
pub struct GuardCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// A process that is started when it is needed.
#[derive(Debug)]
pub(super) struct Watch {
    command: GuardCommand,
    guard: Mutex<Option<Guard>>,
}

impl Watch {
    pub(super) fn new(command: GuardCommand) -> Self {
        Self { command, guard: Mutex::default() }
    }

    /// Starts it, unless it runs.
    pub(super) fn begin(&self) -> Result<(), SourceError> {
        let mut guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        if guard.as_mut().is_none_or(Guard::has_ended) {
            *guard = Some(Guard::start(&self.command)?);
        }
        Ok(())
    }
}

/// A process that keeps watch for as long as one of these lives.
#[derive(Debug)]
struct Guard {
    child: Child,
    /// Closed when this is dropped, or this process ends.
    pipe: Option<ChildStdin>,
}

impl Guard {
    fn start(command: &GuardCommand) -> Result<Self, SourceError> {
        let failed = |what: &dyn std::fmt::Display| {
            SourceError::unavailable(format!(
                "no container is halted, since nobody would start it again after a kill: {what}"
            ))
        };
        let mut child = Command::new(&command.program)
            .args(&command.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed(&error))?;
        let (pipe, output) = (child.stdin.take(), child.stdout.take());
        let mut guard = Self { child, pipe };
        let mut line = String::new();
        // It says so at once, or ends.
        output.map(|output| BufReader::new(output).read_line(&mut line));
        if line.trim() == READY {
            return Ok(guard);
        }
        guard.pipe = None;
        Err(failed(&"the process that watches did not start"))
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Guard {
    /// It ends by itself. One that still has something to do is not waited for.
    fn drop(&mut self) {
        self.pipe = None;
        let mut waited = Duration::ZERO;
        while !self.has_ended() && waited < END_PATIENCE {
            const PAUSE: Duration = Duration::from_millis(5);
            std::thread::sleep(PAUSE);
            waited += PAUSE;
        }
    }
}

/// Keeps watch until `pipe` ends, and lets all go on then that the process at its other end left halted. `tell` is told of each
/// container that was put right.
///
/// # Errors
/// Standard output is closed, or the pipe cannot be waited for.
pub fn keep_watch(
    halts: &Halts,
    mut pipe: impl AsFd + Read,
    clock: &dyn Clock,
    may_go_on: MayGoOn<'_>,
    tell: &mut dyn FnMut(PutRight),
) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut output = std::io::stdout();
    writeln!(output, "{READY}")?;
    output.flush()?;
    while !has_ended(&mut pipe)? {
        let late = halts.let_go_overdue(clock.now() - LATE_MAX);
        if !late.is_empty() {
            tell(PutRight { resumed: late, problems: Vec::new() });
        }
    }
    let mut waited = Duration::ZERO;
    loop {
        let mut right = halts.put_right(&Cancel::new(), clock, may_go_on);
        let is_over = !halts.has_notes() || waited >= PATIENCE;
        if !is_over {
            // They are tried again.
            right.problems.clear();
        }
        if !right.resumed.is_empty() || !right.problems.is_empty() {
            tell(right);
        }
        if is_over {
            return Ok(());
        }
        clock.sleep(LOOK_PAUSE);
        waited += LOOK_PAUSE;
    }
}

/// Waits a moment for the end of the pipe.
fn has_ended(pipe: &mut (impl AsFd + Read)) -> std::io::Result<bool> {
    let pause = Timespec { tv_sec: 0, tv_nsec: LOOK_PAUSE.as_nanos() as _ };
    match poll(&mut [PollFd::new(&*pipe, PollFlags::IN)], Some(&pause)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => Ok(false),
        Ok(_) => Ok(pipe.read(&mut [0; 64])? == 0),
        Err(error) => Err(error.into()),
    }
}
