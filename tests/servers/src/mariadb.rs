//! A MariaDB, and what tests do with it past the program under test.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::{Client, Script, free_port, program};

/// A running MariaDB.
pub struct MariadbServer {
    /// Its port on this machine.
    pub port: u16,
    /// The folder of its socket.
    pub folder: PathBuf,
    /// The number of its process.
    pub pid: i32,
    _script: Script,
}

impl MariadbServer {
    /// A user that is let in by the port, and may do everything.
    pub const USER: &str = "backup";
    /// The password of that user.
    pub const PASSWORD: &str = "secret";

    /// Starts one, with these arguments, for a test that stops it.
    pub fn start(arguments: &[&str]) -> Result<Self, String> {
        for name in ["mariadbd", "mariadb-install-db", "mariadb", "mariadb-dump"] {
            program(name)?;
        }
        let port = free_port();
        let number = port.to_string();
        let all: Vec<_> = [number.as_str()].into_iter().chain(arguments.iter().copied()).collect();
        let (script, said) = Script::start("mariadb.sh", &all)?;
        let (folder, pid) = said.rsplit_once(' ').ok_or("it does not tell its folder")?;
        let pid = pid.parse().map_err(|_| "it does not tell its number")?;
        Ok(Self { port, folder: folder.into(), pid, _script: script })
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("mysqld.sock")
    }

    /// The address of its socket, as the configuration has it.
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// A client of `root` that stays connected. What it is told must give one row.
    pub fn client(&self) -> Client {
        Client::start(self.command().arg("--unbuffered"))
    }

    fn command(&self) -> Command {
        let mut command = Command::new("mariadb");
        command.args([
            "--no-defaults",
            "--user=root",
            "--batch",
            "--skip-column-names",
            "--default-character-set=utf8mb4",
        ]);
        command.arg("--socket").arg(self.socket());
        command
    }

    /// Runs SQL as `root`. Gives what it prints, without the last end of line.
    pub fn sql(&self, sql: &str) -> String {
        let mut command = self.command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // One that gives up early tells why.
                let _ = stdin.write_all(sql.as_bytes());
            });
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
        })
    }
}
