//! Programs that Lifeboat starts, each in a process group of its own, so that what they start ends with them.

use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How long a program that was asked to end may take for it.
const PATIENCE: Duration = Duration::from_millis(500);

/// Ends a program that leads a process group, and all of its group: first asks, then makes it. It is gone afterwards, and so
/// is its entry in the table of processes.
pub fn end_group(child: &mut Child) {
    let group = Pid::from_child(child);
    // Where a signal cannot be sent, there is nobody left to get it.
    let _ = kill_process_group(group, Signal::TERM);
    let until = Instant::now() + PATIENCE;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    // Also where the program itself has ended: its children need not have.
    let _ = kill_process_group(group, Signal::KILL);
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
    use std::process::{Command, Stdio};

    use super::*;

    fn started(script: &str) -> Child {
        let mut child =
            Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).process_group(0).spawn().unwrap();
        let mut said = [0; 3];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
        child
    }

    #[test]
    fn one_that_does_not_listen_is_ended_too_and_with_it_what_it_started() {
        let mut child = started("trap '' TERM; sleep 600 & echo up; while :; do sleep 1; done");
        let group = Pid::from_child(&child);
        end_group(&mut child);
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        let until = Instant::now() + Duration::from_secs(10);
        while rustix::process::test_kill_process_group(group).is_ok() {
            assert!(Instant::now() < until, "its children still run");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn one_that_listens_ends_as_it_likes() {
        let mut child = started("trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done");
        end_group(&mut child);
        assert_eq!(child.wait().unwrap().code(), Some(7));
    }
}
