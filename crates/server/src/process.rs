//! A process that outlives the server's own, and is recognised by the next one.

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

/// A process, told from a later one that got the same number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    number: i32,
    /// Ticks after the start of the machine.
    started: u64,
    /// This start of the machine.
    boot: String,
}

impl Process {
    /// The process with this number. `None` where it is gone.
    pub fn of(number: u32) -> Option<Self> {
        let number = i32::try_from(number).ok()?;
        let (_, started) = stat(number)?;
        Some(Self { number, started, boot: boot()? })
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        // One that has ended and was not waited for yet is none.
        let runs = |(state, started): (char, u64)| started == self.started && !matches!(state, 'Z' | 'X');
        boot().is_some_and(|boot| boot == self.boot) && stat(self.number).is_some_and(runs)
    }

    /// Asks it to end well.
    pub fn stop(&self) {
        if let Some(pid) = Pid::from_raw(self.number).filter(|_| self.is_alive()) {
            // It may have ended just now.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

/// The state and the time of start, of `proc_pid_stat(5)`. The name before them may hold anything, brackets too.
fn stat(number: i32) -> Option<(char, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    // The state is the third field, the start the 22nd.
    Some((state, fields.nth(18)?.parse().ok()?))
}

fn boot() -> Option<String> {
    Some(std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_until_it_ends() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        assert!(process.is_alive());
        assert!(!Process { started: process.started + 1, ..process.clone() }.is_alive(), "the number was given anew");
        assert!(!Process { boot: "another".to_owned(), ..process.clone() }.is_alive());
        process.stop();
        child.wait().unwrap();
        assert!(!process.is_alive());
        assert_eq!(Process::of(u32::MAX), None);
    }
}
