//! PostgreSQL.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::{Client, Script, free_port};

/// Where Debian and Ubuntu put the programs of each version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// A running PostgreSQL.
pub struct PostgresServer {
    /// Its port on this machine.
    pub port: u16,
    /// The folder of its programs.
    pub programs: PathBuf,
    /// The folder of its socket.
    pub folder: PathBuf,
    _script: Script,
}

impl PostgresServer {
    /// The superuser's name.
    pub const USER: &str = "postgres";
    /// Everybody's password.
    pub const PASSWORD: &str = "secret";

    /// Starts one, for a test that stops it.
    pub fn start() -> Result<Self, String> {
        let versions = fs::read_dir(VERSIONS).into_iter().flatten().flatten();
        let mut programs: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
        programs.retain(|programs| programs.join("initdb").exists());
        programs.sort();
        let programs = programs.pop().ok_or("postgresql is not installed")?;
        let port = free_port();
        let (script, folder) = Script::start("postgres.sh", &[&port.to_string(), &programs.display().to_string()])?;
        Ok(Self { port, programs, folder: folder.into(), _script: script })
    }

    /// Its address, by which a password is needed.
    pub fn url(&self) -> String {
        format!("postgresql://127.0.0.1:{}", self.port)
    }

    /// Runs SQL in a database as the superuser. Gives what it prints, without the last end of line.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let output = self.psql(database, &["-c", sql]);
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Runs a file of SQL in a database as the superuser.
    pub fn sql_file(&self, database: &str, file: &Path) {
        self.psql(database, &["-f", &file.display().to_string()]);
    }

    fn psql(&self, database: &str, arguments: &[&str]) -> Output {
        let output = self.command("psql", database).args(["-XAtq", "-v", "ON_ERROR_STOP=1"]).args(arguments).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// A client that stays connected to a database. What it is told must give one row.
    pub fn client(&self, database: &str) -> Client {
        Client::start(self.command("psql", database).args(["-XAtq", "-v", "ON_ERROR_STOP=1"]))
    }

    /// One of its programs, pointed at a database by the socket, as the superuser.
    pub fn command(&self, program: &str, database: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.env("PGHOST", &self.folder).env("PGPORT", self.port.to_string());
        command.env("PGUSER", Self::USER).env("PGDATABASE", database);
        command
    }

    /// The file whose first line is the number of its first process.
    pub fn pid_file(&self) -> PathBuf {
        self.folder.join("data/postmaster.pid")
    }
}
