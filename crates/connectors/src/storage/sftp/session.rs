//! One connection: requests of many threads at once, each answered to whoever asked.
//!
//! Whoever has a request writes it to `ssh`; one thread reads the answers and hands them out. The same thread looks at
//! the time: where somebody waits and nothing has come for [`STALL`], it ends `ssh`, and with it every wait.

use std::collections::HashMap;
use std::io::{self, Read, Write as _};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use repository::limits::CANCEL_POLL;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};

use super::packet::{Reply, Request, parse};
use crate::process;

/// A connection on which nothing came for so long, while somebody waited, is given up.
const STALL: Duration = Duration::from_secs(60);
/// How often it is looked at the time.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };
/// The largest packet that is taken in. OpenSSH sends at most 256 KiB.
const PACKET_BYTES_MAX: usize = 1 << 20;
/// What is kept of standard error: its end.
const SAID_BYTES_MAX: usize = 8 << 10;
/// How long what `ssh` says at its end is waited for.
const PATIENCE: Duration = Duration::from_millis(500);
/// Under which the answer to the first packet is waited for; others start at 0 and never get there.
const VERSION: u32 = u32::MAX;

/// A running `ssh` that speaks SFTP.
pub(super) struct Session {
    shared: Arc<Shared>,
    input: Mutex<ChildStdin>,
    next: AtomicU32,
    reader: Option<JoinHandle<()>>,
    pid: Pid,
    /// Extensions that the server has.
    extensions: Vec<String>,
}

/// A connection that is no more.
#[derive(Clone, Debug)]
pub(super) enum Broken {
    /// `ssh` ended; this is what it said on standard error.
    Ended(String),
    /// Nothing came for too long.
    Stalled,
    /// What came is not SFTP.
    NotSftp,
    /// `ssh` could not be started.
    NotStarted(String),
    /// The run was cancelled while this was waited for. The connection itself is as it was.
    Cancelled,
}

struct Shared {
    state: Mutex<State>,
}

struct State {
    waiting: HashMap<u32, SyncSender<Reply>>,
    /// When something came, or when the first of those that wait began to.
    moved: Instant,
    broken: Option<Broken>,
}

/// A request that was sent.
pub(super) struct Waiting {
    shared: Arc<Shared>,
    reply: Receiver<Reply>,
}

impl Session {
    /// Starts `ssh` and waits until the server is ready.
    pub(super) fn start(command: Command) -> Result<Self, Broken> {
        Self::start_with(command, STALL)
    }

    fn start_with(mut command: Command, stall: Duration) -> Result<Self, Broken> {
        let not_started = |error: io::Error| {
            Broken::NotStarted(match error.kind() {
                io::ErrorKind::NotFound => "`ssh` is not installed; SFTP copies need it (openssh-client)".to_owned(),
                _ => format!("start ssh: {error}"),
            })
        };
        let mut child = command.spawn().map_err(not_started)?;
        let (Some(input), Some(output), Some(errors)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(not_started(io::Error::other("it has no input and output")));
        };
        let pid = Pid::from_child(&child);
        let state = State { waiting: HashMap::new(), moved: Instant::now(), broken: None };
        let shared = Arc::new(Shared { state: Mutex::new(state) });
        let reader = Reader { shared: shared.clone(), child, output, errors: Some(errors), said: Vec::new(), stall };
        let reader = std::thread::Builder::new().name("sftp".to_owned()).spawn(|| reader.run()).map_err(not_started)?;
        let input = Mutex::new(input);
        let mut session =
            Self { shared, input, next: AtomicU32::new(0), reader: Some(reader), pid, extensions: Vec::new() };
        let version = session.send_numbered(VERSION, &Request::init())?;
        match version.wait(&|| false)? {
            Reply::Version(extensions) => session.extensions = extensions,
            _ => return Err(Broken::NotSftp),
        }
        Ok(session)
    }

    /// Whether the server has an extension.
    pub(super) fn has(&self, extension: &str) -> bool {
        self.extensions.iter().any(|known| known == extension)
    }

    /// Whether it can still be used.
    pub(super) fn is_open(&self) -> bool {
        self.shared.state().broken.is_none()
    }

    /// Sends a request. Its answer need not be waited for.
    pub(super) fn send(&self, request: Request) -> Result<Waiting, Broken> {
        let number = loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number != VERSION {
                break number;
            }
        };
        self.send_numbered(number, &request.numbered(number))
    }

    fn send_numbered(&self, number: u32, packet: &[u8]) -> Result<Waiting, Broken> {
        let (sender, reply) = sync_channel(1);
        {
            let mut state = self.shared.state();
            if let Some(broken) = &state.broken {
                return Err(broken.clone());
            }
            if state.waiting.is_empty() {
                state.moved = Instant::now();
            }
            state.waiting.insert(number, sender);
        }
        let waiting = Waiting { shared: self.shared.clone(), reply };
        let written = self.input.lock().unwrap_or_else(PoisonError::into_inner).write_all(packet);
        match written {
            Ok(()) => Ok(waiting),
            // `ssh` is ending. The reader knows why, or will in a moment.
            Err(_) => Err(waiting.wait(&|| false).err().unwrap_or_else(|| Broken::Ended(String::new()))),
        }
    }
}

impl Waiting {
    /// Waits for the answer, or until `cancelled` says that nobody wants it any more.
    pub(super) fn wait(self, cancelled: &dyn Fn() -> bool) -> Result<Reply, Broken> {
        loop {
            match self.reply.recv_timeout(CANCEL_POLL) {
                Ok(reply) => return Ok(reply),
                Err(RecvTimeoutError::Timeout) if cancelled() => return Err(Broken::Cancelled),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let broken = self.shared.state().broken.clone();
                    return Err(broken.unwrap_or_else(|| Broken::Ended(String::new())));
                }
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that takes in what `ssh` gives.
struct Reader {
    shared: Arc<Shared>,
    child: Child,
    output: ChildStdout,
    errors: Option<ChildStderr>,
    said: Vec<u8>,
    stall: Duration,
}

impl Reader {
    fn run(mut self) {
        let broken = self.take_in();
        let broken = match broken {
            Broken::Ended(_) => {
                self.hear_out();
                Broken::Ended(String::from_utf8_lossy(&self.said).into_owned())
            }
            other => other,
        };
        {
            let mut state = self.shared.state();
            state.broken = Some(broken);
            // Ends every wait.
            state.waiting.clear();
        }
        process::end_group(&mut self.child);
    }

    /// Hands out answers until there are no more. Says why there are none.
    fn take_in(&mut self) -> Broken {
        let mut taken = Vec::new();
        let mut buffer = vec![0; 256 << 10];
        loop {
            match self.wait() {
                Ok(false) => {
                    let state = self.shared.state();
                    if !state.waiting.is_empty() && state.moved.elapsed() >= self.stall {
                        return Broken::Stalled;
                    }
                    continue;
                }
                Ok(true) => {}
                Err(_) => return Broken::Ended(String::new()),
            }
            match self.output.read(&mut buffer) {
                Ok(0) | Err(_) => return Broken::Ended(String::new()),
                Ok(length) => taken.extend_from_slice(&buffer[..length]),
            }
            let Some(used) = self.hand_out(&taken) else { return Broken::NotSftp };
            taken.drain(..used);
        }
    }

    /// Hands out the whole packets in `taken` and says how many bytes they are. `None` where they are no packets.
    fn hand_out(&self, taken: &[u8]) -> Option<usize> {
        let mut used = 0;
        let mut state = self.shared.state();
        state.moved = Instant::now();
        while let Some((length, rest)) = taken[used..].split_first_chunk() {
            let length = u32::from_be_bytes(*length) as usize;
            if length > PACKET_BYTES_MAX {
                return None;
            }
            let Some(packet) = rest.get(..length) else { break };
            let (number, reply) = parse(packet)?;
            let number = if matches!(reply, Reply::Version(_)) { VERSION } else { number };
            if let Some(sender) = state.waiting.remove(&number) {
                // Fails where nobody waits for it any more. There is room for the one answer.
                let _ = sender.try_send(reply);
            }
            used += 4 + length;
        }
        Some(used)
    }

    /// Waits a moment for answers; true where there is something. What `ssh` says is taken in meanwhile.
    fn wait(&mut self) -> io::Result<bool> {
        let mut polled = vec![PollFd::new(&self.output, PollFlags::IN)];
        polled.extend(self.errors.as_ref().map(|errors| PollFd::new(errors, PollFlags::IN)));
        match poll(&mut polled, Some(&LOOK)) {
            Err(rustix::io::Errno::INTR) => return Ok(false),
            result => result?,
        };
        let is_ready = |polled: Option<&PollFd<'_>>| polled.is_some_and(|polled| !polled.revents().is_empty());
        let (output, errors) = (is_ready(polled.first()), is_ready(polled.get(1)));
        drop(polled);
        if errors {
            self.hear();
        }
        Ok(output)
    }

    fn hear(&mut self) {
        let Some(errors) = &mut self.errors else { return };
        let mut buffer = [0; 4096];
        match errors.read(&mut buffer) {
            Ok(0) | Err(_) => self.errors = None,
            Ok(length) => self.said.extend_from_slice(&buffer[..length]),
        }
        let too_much = self.said.len().saturating_sub(SAID_BYTES_MAX);
        self.said.drain(..too_much);
    }

    /// Takes in what `ssh` says while it ends, but waits no longer than for a moment: a child of it may hold the pipe.
    fn hear_out(&mut self) {
        let until = Instant::now() + PATIENCE;
        while let Some(errors) = &self.errors
            && Instant::now() < until
        {
            let ready =
                poll(&mut [PollFd::new(errors, PollFlags::IN)], Some(&Timespec { tv_sec: 0, tv_nsec: 50_000_000 }));
            if matches!(ready, Ok(1)) {
                self.hear();
            }
        }
    }
}

/// What was answered is done, so the connection can go at any time.
impl Drop for Session {
    fn drop(&mut self) {
        if self.is_open() {
            // The reader then sees the end of the output, and waits for the process.
            let _ = kill_process_group(self.pid, Signal::TERM);
        }
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::Stdio;

    use super::super::packet::Kind;
    use super::*;

    /// A server that first says it is one, and then does what `then` says.
    const VERSION_3: &str = "printf '\\0\\0\\0\\005\\002\\0\\0\\0\\003'";

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn ask(session: &Session) -> Broken {
        let request = Request::new(Kind::Lstat).bytes(b"x");
        session.send(request).and_then(|waiting| waiting.wait(&|| false)).map(drop).unwrap_err()
    }

    #[test]
    fn a_server_that_stops_answering_is_given_up_and_its_connection_ended() {
        let patience = Duration::from_millis(600);
        let session = Session::start_with(shell(&format!("{VERSION_3}; cat >/dev/null")), patience).unwrap();
        // Nobody waits, so nothing is late.
        std::thread::sleep(patience * 2);
        assert!(session.is_open());
        let started = Instant::now();
        assert!(matches!(ask(&session), Broken::Stalled));
        assert!((patience..patience * 4).contains(&started.elapsed()), "{:?}", started.elapsed());
        assert!(!session.is_open());
        assert!(matches!(ask(&session), Broken::Stalled), "and stays so");
    }

    #[test]
    fn a_login_script_that_prints_is_found_out() {
        for greeting in ["Welcome to the server!", "\\0\\0\\0\\005\\377abcd"] {
            let session = Session::start(shell(&format!("printf '{greeting}'; cat >/dev/null")));
            assert!(matches!(session.map(drop), Err(Broken::NotSftp)));
        }
    }

    #[test]
    fn what_ssh_says_last_is_kept_and_a_program_that_is_missing_is_named() {
        let session = Session::start(shell("echo 'no way' >&2; exit 255"));
        assert!(matches!(session.map(drop), Err(Broken::Ended(said)) if said == "no way\n"));
        let mut command = Command::new("/nowhere/ssh");
        command.stdin(Stdio::piped());
        assert!(matches!(Session::start(command).map(drop), Err(Broken::NotStarted(what)) if what.contains("`ssh`")));
    }
}
