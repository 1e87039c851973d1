//! A server of our own, for a drill: made anew in a temporary folder, spoken to by a socket in it alone, gone afterwards.

use std::path::PathBuf;

use repository::{Cancel, SourceError};

use super::server::{OWN_PORT, Server};
use super::session::Session;
use super::tools::{Tools, Version};
use crate::program::{Program, Running, Stage};
use crate::source::scratch_server::{self, Home, unavailable};

/// What it needs not be: safe against a power cut, or seen from anywhere else.
const SETTINGS: [&str; 13] = [
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "archive_mode=off",
    "max_wal_size=4GB",
    "autovacuum=off",
    "max_locks_per_transaction=1024",
    "logging_collector=on",
    "log_directory=log",
];
/// Whom to run as where Lifeboat is root, which PostgreSQL refuses to be.
const USER: &str = "postgres";

/// A running server. Ends when dropped.
pub struct Scratch {
    server: Server,
    tools: Tools,
    home: Home,
    /// `None` once it was stopped.
    running: Option<Running>,
}

impl Scratch {
    /// Starts one of this version or, where that is not here, of a later one. Its first user is called `user`.
    pub fn start(version: Version, user: &str, cancel: &Cancel) -> Result<Self, SourceError> {
        let tools = Tools::find(&Stage::Here, None, "initdb", version, cancel)?;
        let home = Home::make("lifeboat-pg-", USER)?;
        let server = Server::own(&home.path().to_string_lossy(), user);
        let mut scratch = Self { server, tools, home, running: None };
        scratch.make(user, cancel)?;
        scratch.running = Some(scratch.run(cancel)?);
        scratch.wait_until_up(cancel)?;
        Ok(scratch)
    }

    /// How the tools reach it.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The tools of its version.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// A session with one of its databases.
    pub fn session(&self, database: &str, cancel: &Cancel) -> Result<Session, SourceError> {
        Session::begin(&self.server, self.tools.program("psql"), database, cancel)
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// A program of the server, run by whom the server runs.
    fn own(&self, name: &str) -> Program {
        self.home.own(self.tools.program(name).variable("LC_ALL", "C"))
    }

    fn make(&self, user: &str, cancel: &Cancel) -> Result<(), SourceError> {
        let program = self
            .own("initdb")
            .args(["--encoding=UTF8", "--locale=C", "--auth=trust", "--no-sync", "--no-instructions"])
            .arg(format!("--username={user}"))
            .arg("--pgdata")
            .arg(self.data());
        let (_, ended) = program.run(&Stage::Here, cancel)?;
        if ended.is_well() { Ok(()) } else { Err(unavailable(&format!("initdb {}", ended.told()))) }
    }

    fn run(&self, cancel: &Cancel) -> Result<Running, SourceError> {
        let settings = SETTINGS.iter().flat_map(|setting| ["-c", setting]);
        let program = self.own("postgres").arg("-D").arg(self.data()).arg("-k").arg(self.home.path());
        program.args(["-p", OWN_PORT]).args(settings).start(&Stage::Here, cancel)
    }

    fn wait_until_up(&mut self, cancel: &Cancel) -> Result<(), SourceError> {
        let Some(running) = &mut self.running else { return Ok(()) };
        let socket = self.home.path().join(format!(".s.PGSQL.{OWN_PORT}"));
        let (server, psql) = (&self.server, self.tools.program("psql"));
        let ask = || match socket.exists() {
            true => Session::begin(server, psql.clone(), "template1", cancel)?.settle(),
            false => Err(SourceError::unavailable("it makes no socket")),
        };
        match scratch_server::wait_until_up(running, cancel, ask) {
            Ok(()) => Ok(()),
            Err(SourceError::Cancelled) => Err(SourceError::Cancelled),
            Err(_) if running.has_ended() => Err(unavailable(&format!("postgres {}", running.wait()?.told()))),
            Err(error) => Err(unavailable(&error.to_string())),
        }
    }
}

/// Stops it: its parts are in groups of their own, so ending the one process alone would leave them for a while.
impl Drop for Scratch {
    fn drop(&mut self) {
        if self.running.is_some() {
            let stop = self.own("pg_ctl").args(["stop", "--mode=immediate", "--wait", "--silent", "--pgdata"]);
            // Where it does not stop so, it is made to with the next line.
            let _ = stop.arg(self.data()).run(&Stage::Here, &Cancel::new());
        }
        self.running = None;
    }
}
