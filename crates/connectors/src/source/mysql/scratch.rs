//! A server of our own, for a drill: made anew in a temporary folder, spoken to by a socket in it alone, gone afterwards.

use std::fs::File;
use std::path::Path;

use repository::{Cancel, SourceError};

use super::load::load;
use super::server::Server;
use super::tools::Kind;
use crate::program::{Program, Running, Stage};
use crate::source::scratch_server::{self, Home, unavailable};

/// Whom to run as where Lifeboat is root.
const USER: &str = "mysql";
/// What it needs not be: safe against a power cut, seen from anywhere else, or busy by itself.
const SETTINGS: [&str; 8] = [
    "--skip-networking",
    "--skip-log-bin",
    "--event-scheduler=OFF",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-strict-mode=OFF",
    "--max-allowed-packet=1G",
    "--log-bin-trust-function-creators=ON",
    "--log-error=error.log",
];

/// A running server. Ends when dropped.
pub struct Scratch {
    server: Server,
    /// Dropped before its folder is removed.
    running: Running,
    home: Home,
}

impl Scratch {
    /// Starts one of this kind, which takes capitals in names as the other one did.
    pub fn start(kind: Kind, lower_case_table_names: &str, cancel: &Cancel) -> Result<Self, SourceError> {
        let home = Home::make("lifeboat-my-", USER)?;
        let own = |name: &str| {
            let program = home.own(Program::new(name).arg("--no-defaults"));
            // Several that share a folder for temporary files remove each other's.
            program.variable("TMPDIR", &home.path().to_string_lossy())
        };
        let data = home.path().join("data");
        let data = format!("--datadir={}", data.display());
        let names = format!("--lower-case-table-names={}", lower_case_table_names.parse::<u8>().unwrap_or(0));
        let (make, server) = match kind {
            Kind::Mariadb => (
                own("mariadb-install-db").args(["--auth-root-authentication-method=normal", "--skip-test-db"]),
                own("mariadbd"),
            ),
            Kind::Mysql => (own("mysqld").arg("--initialize-insecure"), own("mysqld")),
        };
        let (_, ended) = make.arg(&data).arg(&names).run(&Stage::Here, cancel).map_err(|error| missing(kind, error))?;
        if !ended.is_well() {
            return Err(unavailable(&format!("making it {}", ended.told())));
        }
        let socket = home.path().join("socket");
        let at = format!("--socket={}", socket.display());
        let running = server.arg(data).arg(names).arg(at).args(SETTINGS).start(&Stage::Here, cancel);
        let running = running.map_err(|error| missing(kind, error))?;
        let server = Server::own(&socket, cancel)?;
        let mut scratch = Self { server, running, home };
        scratch.wait_until_up(&socket, cancel)?;
        Ok(scratch)
    }

    /// How the client reaches it.
    pub fn server(&self) -> &Server {
        &self.server
    }

    fn wait_until_up(&mut self, socket: &Path, cancel: &Cancel) -> Result<(), SourceError> {
        let server = &self.server;
        let ask = || match socket.exists() {
            true => server.session(cancel)?.ask_one("SELECT 1"),
            false => Err(SourceError::unavailable("it makes no socket")),
        };
        match scratch_server::wait_until_up(&mut self.running, cancel, ask) {
            Ok(_) => Ok(()),
            Err(SourceError::Cancelled) => Err(SourceError::Cancelled),
            Err(_) => Err(self.not_up()),
        }
    }

    fn not_up(&self) -> SourceError {
        let logs = ["error.log", "data/error.log"].map(|name| std::fs::read(self.home.path().join(name)));
        let log = logs.into_iter().flatten().next().unwrap_or_default();
        let text = String::from_utf8_lossy(&log).into_owned();
        let errors: Vec<_> = text.lines().filter(|line| line.contains("[ERROR]")).collect();
        unavailable(&format!("it lets nobody in; it said: {}", errors.join("; ")))
    }

    /// Loads a file. Gives what is wrong with it, if anything is.
    pub fn load(&self, file: &Path, cancel: &Cancel) -> Result<Result<(), String>, SourceError> {
        let content = File::open(file).map_err(SourceError::io(file))?;
        load(&self.server, content, &file.to_string_lossy(), cancel)
    }
}

fn missing(kind: Kind, error: SourceError) -> SourceError {
    match error {
        SourceError::Cancelled => SourceError::Cancelled,
        error => unavailable(&format!("{error}; install the server of {}", kind.name())),
    }
}
