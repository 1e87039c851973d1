//! A hook: a command of the user's before or after a capture, on this machine or in a container.
//!
//! It has a time limit, after which it is ended with all that it started. What it prints is passed on line by line, as it comes,
//! and kept nowhere: there may be a password in it. It is told by variables what it runs for.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use repository::{Cancel, SourceError};

use crate::containers::{ContainerName, EngineAddress};
use crate::program::Stage;
use crate::source::RunLine;

/// A line that a hook prints is cut after so many bytes.
const LINE_BYTES_MAX: usize = 4 << 10;

/// A command before or after a capture.
#[derive(Clone, Debug)]
pub struct Hook {
    /// The command.
    pub run: RunLine,
    /// The container that it runs in; `None`: on this machine.
    pub container: Option<ContainerName>,
    /// The folder it runs in, on this machine.
    pub folder: PathBuf,
    /// How long it may take.
    pub timeout: Duration,
    /// Where the engine of the container is.
    pub engine: EngineAddress,
}

impl Hook {
    /// Runs it to its end, told `variables`, and shows its lines to `say`.
    ///
    /// # Errors
    /// What it could not do, to follow its name in a message; nothing of what it printed is in it.
    /// [`SourceError::Cancelled`] where the run was asked to stop meanwhile.
    pub fn run(
        &self,
        variables: &[(&str, String)],
        cancel: &Cancel,
        say: &mut dyn FnMut(&str),
    ) -> Result<(), SourceError> {
        let limit = cancel.child();
        let (ended, watched) = channel::<()>();
        std::thread::scope(|scope| {
            let over = limit.clone();
            let watcher = scope.spawn(move || {
                let is_over = watched.recv_timeout(self.timeout) == Err(RecvTimeoutError::Timeout);
                if is_over {
                    over.cancel();
                }
                is_over
            });
            let done = self.run_within(variables, &limit, say);
            drop(ended);
            let is_over = watcher.join().unwrap_or(false);
            match done {
                Err(SourceError::Cancelled) if is_over && !cancel.is_cancelled() => {
                    Err(failed(format!("did not end within {} s, so it was ended", self.timeout.as_secs())))
                }
                done => done,
            }
        })
    }

    fn run_within(
        &self,
        variables: &[(&str, String)],
        cancel: &Cancel,
        say: &mut dyn FnMut(&str),
    ) -> Result<(), SourceError> {
        let (stage, mut program) = match &self.container {
            None => (Stage::Here, self.run.program().in_folder(&self.folder)),
            Some(name) => {
                let containers = Arc::new(self.engine.open(cancel)?);
                let container = containers.find(name)?;
                (Stage::Container { containers, container }, self.run.program_elsewhere())
            }
        };
        for (name, value) in variables {
            program = program.variable(name, value);
        }
        let mut lines = Lines { unfinished: Vec::new(), say };
        let ended = program.run_watched(&stage, cancel, &mut |bytes| lines.take(bytes))?;
        lines.end();
        ended.said.lines().for_each(say);
        if ended.is_well() { Ok(()) } else { Err(failed(ended.how())) }
    }
}

fn failed(what: String) -> SourceError {
    SourceError::Unavailable { what }
}

/// Output that becomes lines.
struct Lines<'a> {
    unfinished: Vec<u8>,
    say: &'a mut dyn FnMut(&str),
}

impl Lines<'_> {
    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => self.end(),
                _ if self.unfinished.len() < LINE_BYTES_MAX => self.unfinished.push(*byte),
                // The rest of a line that nobody reads.
                _ => {}
            }
        }
    }

    fn end(&mut self) {
        if !self.unfinished.is_empty() {
            (self.say)(String::from_utf8_lossy(&self.unfinished).trim_end());
            self.unfinished.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::Path;
    use std::time::Instant;

    use super::*;

    fn hook(run: RunLine, timeout: Duration) -> Hook {
        let engine = EngineAddress::of(&Default::default());
        Hook { run, container: None, folder: "/".into(), timeout, engine }
    }

    fn shell(text: &str) -> Hook {
        hook(RunLine::Shell(text.to_owned()), Duration::from_secs(60))
    }

    fn run(hook: &Hook) -> (Result<(), String>, Vec<String>) {
        let mut said = Vec::new();
        let variables = [("LIFEBOAT_STACK", "shop".to_owned())];
        let done = hook.run(&variables, &Cancel::new(), &mut |line| said.push(line.to_owned()));
        (done.map_err(|error| error.to_string()), said)
    }

    /// Waits until the process whose id a hook wrote to this file has ended.
    fn wait_until_gone(pid: &Path) {
        let started = Instant::now();
        let stat = format!("/proc/{}/stat", std::fs::read_to_string(pid).unwrap().trim());
        // One that nobody waited for yet has ended as well.
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(started.elapsed() < Duration::from_secs(20), "its child still runs");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn it_is_told_what_it_runs_for_and_its_lines_are_passed_on() {
        let said = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let asked = shell("echo one $LIFEBOAT_STACK; echo two; printf three; echo four >&2; pwd >&2");
        assert_eq!(run(&asked), (Ok(()), said(&["one shop", "two", "three", "four", "/"])));
        let words = ["printf", "%s", "$LIFEBOAT_STACK"].map(OsString::from);
        assert_eq!(run(&hook(RunLine::Words(words.into()), Duration::from_secs(60))).1, said(&["$LIFEBOAT_STACK"]));
        let (_, long) = run(&shell("head -c 100000 /dev/zero | tr '\\0' x"));
        assert_eq!(long, ["x".repeat(LINE_BYTES_MAX)]);
    }

    #[test]
    fn one_that_fails_says_how_and_nothing_of_what_it_printed() {
        let (done, said) = run(&shell("echo hunter2; echo hunter3 >&2; exit 7"));
        assert_eq!(done, Err("ended with exit code 7".to_owned()));
        assert_eq!(said, ["hunter2", "hunter3"]);
        let (done, _) = run(&shell("false | cat"));
        assert!(Path::new("/bin/bash").exists() == done.is_err(), "a part of a pipe failed: {done:?}");
        let missing = hook(RunLine::Words(vec!["no-such-program".into()]), Duration::from_secs(60));
        assert!(run(&missing).0.unwrap_err().contains("no-such-program could not be started"));
    }

    #[test]
    fn one_that_takes_too_long_is_ended_with_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let text = format!("sleep 600 & echo $! > {}; wait", pid.display());
        let started = Instant::now();
        let (done, _) = run(&hook(RunLine::Shell(text), Duration::from_secs(5)));
        assert_eq!(done, Err("did not end within 5 s, so it was ended".to_owned()));
        assert!(started.elapsed() < Duration::from_secs(20));
        wait_until_gone(&pid);
    }

    #[test]
    fn what_it_leaves_running_holds_up_nothing() {
        let started = Instant::now();
        let (done, said) = run(&shell("sleep 20 & echo up"));
        assert_eq!((done, said), (Ok(()), vec!["up".to_owned()]));
        assert!(started.elapsed() < Duration::from_secs(10), "its child holds the output open");
    }

    #[test]
    fn a_run_that_is_asked_to_stop_ends_it() {
        let (dir, cancel) = (tempfile::tempdir().unwrap(), Cancel::new());
        let pid = dir.path().join("pid");
        let asked = shell(&format!("sleep 600 & echo $! > {}; echo up; wait", pid.display()));
        let mut said = Vec::new();
        let done = asked.run(&[], &cancel, &mut |line| {
            said.push(line.to_owned());
            cancel.cancel();
        });
        assert!(matches!(done, Err(SourceError::Cancelled)), "{done:?}");
        assert_eq!(said, ["up"]);
        wait_until_gone(&pid);
    }
}
