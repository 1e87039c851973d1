//! A server of our own, for a drill: made anew in a temporary folder, spoken to by a socket in it alone, gone afterwards.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use repository::{Cancel, SourceError};

use super::server::{OWN_PORT, Server};
use super::session::Session;
use super::tools::{Tools, Version};
use crate::program::{Ended, Program, Running, Stage};

/// How long the server may take to let somebody in.
const START_PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks whether it does.
const PAUSE: Duration = Duration::from_millis(50);
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
/// Whom to run as where Lifeboat is root, which PostgreSQL refuses to be: the first that there is.
const USERS: [&str; 2] = ["postgres", "nobody"];

/// A running server. Ends when dropped.
pub struct Scratch {
    server: Server,
    tools: Tools,
    folder: tempfile::TempDir,
    user: Option<(u32, u32)>,
    /// `None` once it was stopped.
    running: Option<Running>,
}

impl Scratch {
    /// Starts one of this version or, where that is not here, of a later one. Its first user is called `user`.
    pub fn start(version: Version, user: &str, cancel: &Cancel) -> Result<Self, SourceError> {
        let tools = Tools::find(&Stage::Here, None, "initdb", version, cancel)?;
        let as_user = unprivileged()?;
        let folder =
            tempfile::Builder::new().prefix("lifeboat-pg-").tempdir().map_err(SourceError::io(std::env::temp_dir()))?;
        if let Some((uid, gid)) = as_user {
            std::os::unix::fs::chown(folder.path(), Some(uid), Some(gid)).map_err(SourceError::io(folder.path()))?;
        }
        let server = Server::own(&folder.path().to_string_lossy(), user);
        let mut scratch = Self { server, tools, folder, user: as_user, running: None };
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
        self.folder.path().join("data")
    }

    /// A program of the server, run by whom the server runs.
    fn own(&self, name: &str) -> Program {
        let program = self.tools.program(name).variable("LC_ALL", "C").in_folder(self.folder.path());
        match self.user {
            Some((uid, gid)) => program.as_user(uid, gid),
            None => program,
        }
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
        let program = self.own("postgres").arg("-D").arg(self.data()).arg("-k").arg(self.folder.path());
        program.args(["-p", OWN_PORT]).args(settings).start(&Stage::Here, cancel)
    }

    fn wait_until_up(&mut self, cancel: &Cancel) -> Result<(), SourceError> {
        let until = Instant::now() + START_PATIENCE;
        let socket = self.folder.path().join(format!(".s.PGSQL.{OWN_PORT}"));
        loop {
            cancel.check()?;
            let asked =
                socket.exists().then(|| self.session("template1", cancel).and_then(|mut session| session.settle()));
            match asked {
                Some(Ok(_)) => return Ok(()),
                Some(Err(SourceError::Cancelled)) => return Err(SourceError::Cancelled),
                Some(Err(error)) if Instant::now() > until => return Err(unavailable(&error.to_string())),
                None if Instant::now() > until => return Err(unavailable("it makes no socket")),
                Some(Err(_)) | None => std::thread::sleep(PAUSE),
            }
            if let Some(ended) = self.ended() {
                return Err(unavailable(&format!("postgres {}", ended.told())));
            }
        }
    }

    /// How it ended, where it has.
    fn ended(&mut self) -> Option<Ended> {
        self.running.as_mut().and_then(|running| running.has_ended().then(|| running.wait().ok()).flatten())
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

/// Whom to run a server as: nobody else where this is not root.
fn unprivileged() -> Result<Option<(u32, u32)>, SourceError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let found = USERS.iter().find_map(uzers::get_user_by_name);
    let user = found.ok_or_else(|| unavailable("PostgreSQL does not run as root, and there is no user nobody"))?;
    Ok(Some((user.uid(), user.primary_group_id())))
}

fn unavailable(what: &str) -> SourceError {
    SourceError::Unavailable { what: format!("a scratch server could not be started: {what}") }
}
