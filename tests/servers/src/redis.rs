//! A Redis, and what tests do with it past the program under test.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::{Client, Script, free_port, program};

/// A running Redis.
pub struct RedisServer {
    /// Its port on this machine.
    pub port: u16,
    /// Where it keeps its data.
    pub folder: PathBuf,
    /// The number of its process.
    pub pid: i32,
    _script: Script,
}

impl RedisServer {
    pub(super) fn is_here() -> Result<(), String> {
        program("redis-server")?;
        program("redis-cli")
    }

    pub(super) fn start(arguments: &[&str]) -> Result<Self, String> {
        let port = free_port();
        let number = port.to_string();
        let all: Vec<_> = [number.as_str()].into_iter().chain(arguments.iter().copied()).collect();
        let (script, said) = Script::start("redis.sh", &all)?;
        let (folder, pid) = said.rsplit_once(' ').ok_or("it does not tell its folder")?;
        let pid = pid.parse().map_err(|_| "it does not tell its number")?;
        Ok(Self { port, folder: folder.into(), pid, _script: script })
    }

    /// Runs commands, one a line, as `redis-cli` reads them. Gives what it prints; fails where one is refused.
    pub fn run(&self, commands: &str) -> String {
        let printed = self.pipe(&[], commands.as_bytes());
        let refused =
            printed.lines().find(|line| ["ERR ", "NOAUTH ", "WRONGTYPE "].iter().any(|word| line.starts_with(word)));
        assert_eq!(refused, None, "{commands}");
        printed.trim_end().to_owned()
    }

    /// A client that stays connected. What it is told must have one answer.
    pub fn client(&self) -> Client {
        Client::start(Command::new("redis-cli").args(["-p", &self.port.to_string()]))
    }

    /// Runs `redis-cli` with these words and this input.
    pub fn pipe(&self, words: &[&str], input: &[u8]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &self.port.to_string()]).args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // One that gives up early tells why.
                let _ = stdin.write_all(input);
            });
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "redis-cli {words:?}: {said}");
            String::from_utf8_lossy(&output.stdout).into_owned()
        })
    }
}
