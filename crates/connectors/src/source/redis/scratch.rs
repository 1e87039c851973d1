//! A server of our own that loads a dump, so that it is counted by what it is for.
//!
//! It listens at a socket in a folder of its own and nowhere else. It is told that it is a replica of a master that nobody is,
//! since only a master throws away keys whose time is over, and those that were captured must be counted.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Instant;

use repository::{Cancel, SourceError};

use super::DUMP;
use super::rdb::{Dump, Keys};
use super::resp::{Connection, Reply};
use super::server::{database, pairs};
use crate::program::{Program, Running, Stage};
use crate::source::scratch_server::{self, Home, PAUSE, START_PATIENCE};
use crate::source::server_at::Address;

/// Programs that load a dump.
const SERVERS: [&str; 2] = ["redis-server", "valkey-server"];
/// Whom to run as where Lifeboat is root.
const USER: &str = "redis";
/// What is shown of its log.
const LOG_CHARS_MAX: usize = 2000;
/// As many as a server has, unless it is told otherwise.
const DATABASES_MIN: u64 = 16;
/// More than anybody has: a log does not tell at its beginning how many there are.
const LOG_DATABASES: u64 = 1024;
/// The file that takes what the server says, once it has understood what it is told.
const OUTPUT: &str = "log";
/// The folder of the files of a log.
const LOG_FOLDER: &str = "appendonlydir";
const MANIFEST_END: &str = ".manifest";
/// Where it listens.
const SOCKET: &str = "socket";
/// The file of a dump that it writes.
const SAVED: &str = "saved.rdb";
/// What it says of itself while it loads what lies in its folder, and while it writes a dump: 0 once that is over.
const LOADING: &str = "loading";
const SAVING: &str = "rdb_bgsave_in_progress";
/// How the last dump that it wrote came out.
const SAVE_STATUS: &str = "rdb_last_bgsave_status";
/// What a server says that is too old for what it is told.
const WRONG_WORDS: &str = "FATAL CONFIG FILE ERROR";

/// What a server says that it has.
#[derive(Debug, PartialEq, Eq)]
pub struct Counted {
    /// By the number of the database.
    pub databases: BTreeMap<u64, Keys>,
    /// Libraries of functions.
    pub functions: u64,
}

/// Lets a server load the dump at `path`, and counts. Fails where no server is here, or none that loads such a dump.
pub fn count(path: &Path, dump: &Dump, cancel: &Cancel) -> Result<Counted, SourceError> {
    let home = home()?;
    lay(&home, path)?;
    let databases = dump.databases.keys().next_back().map_or(0, |last| last.saturating_add(1)).max(DATABASES_MIN);
    let words = ["--dbfilename", DUMP, "--appendonly", "no", "--databases", &databases.to_string()];
    let mut scratch = Scratch::start(home, &words, cancel)?;
    let mut connection = scratch.connect(cancel)?;
    scratch.wait_until_over(LOADING, &mut connection, cancel)?;
    let text = match connection.ask(&["INFO", "keyspace"])? {
        Reply::Text(text) => String::from_utf8_lossy(&text).into_owned(),
        other => return Err(scratch.failed(&format!("it does not tell what it has: {other:?}"))),
    };
    let mut databases: BTreeMap<u64, Keys> =
        pairs(&text).iter().filter_map(|(name, values)| database(name, values)).collect();
    for (number, keys) in &mut databases {
        connection.ask(&["SELECT", &number.to_string()])?;
        match connection.ask(&["DBSIZE"])? {
            Reply::Number(size) if u64::try_from(size) == Ok(keys.keys) => {}
            other => return Err(scratch.failed(&format!("database {number} has {} keys and {other:?}", keys.keys))),
        }
    }
    // Servers before version 7 have none.
    let functions = match connection.ask(&["FUNCTION", "LIST"])? {
        Reply::List(list) => list.len() as u64,
        _ => 0,
    };
    Ok(Counted { databases, functions })
}

/// Lets a server load the log in these files, the manifest beside them if there is one. Gives what is wrong with it, if anything
/// is. Fails where no server is here, or none that knows such a log.
pub fn load_log(files: &[PathBuf], cancel: &Cancel) -> Result<Result<(), String>, SourceError> {
    Ok(of_log(files, cancel)?.map(drop))
}

/// A dump that a scratch server wrote. It is gone with its folder when this is dropped.
pub struct SavedDump {
    home: Home,
}

impl SavedDump {
    /// Its file.
    pub fn path(&self) -> PathBuf {
        self.home.path().join(SAVED)
    }
}

/// A dump of what a log makes: a server loads it and writes the dump. Fails as [`load_log`] does, and where the log is damaged.
pub fn dump_of_log(files: &[PathBuf], cancel: &Cancel) -> Result<SavedDump, SourceError> {
    let loaded = of_log(files, cancel)?;
    let (mut scratch, mut connection) = loaded.map_err(|what| SourceError::Invalid { what })?;
    match connection.ask(&["BGSAVE"])? {
        Reply::Text(_) => {}
        other => return Err(scratch.failed(&format!("it writes no dump: {other:?}"))),
    }
    let persistence = scratch.wait_until_over(SAVING, &mut connection, cancel)?;
    if persistence.get(SAVE_STATUS).is_none_or(|status| status != "ok") {
        return Err(scratch.failed("it could not write the dump"));
    }
    let Scratch { running, home } = scratch;
    drop(running);
    Ok(SavedDump { home })
}

/// A server that has loaded a log, or what is wrong with that.
fn of_log(files: &[PathBuf], cancel: &Cancel) -> Result<Result<(Scratch, Connection), String>, SourceError> {
    let home = home()?;
    let Some(of_log) = files.first().and_then(|file| file.parent()) else { return Ok(Err("it is missing".to_owned())) };
    let listed = std::fs::read_dir(of_log).map_err(SourceError::io(of_log))?.filter_map(Result::ok);
    let manifest = listed.map(|entry| entry.path()).find(|path| path.to_string_lossy().ends_with(MANIFEST_END));
    let below = if manifest.is_some() { home.path().join(LOG_FOLDER) } else { home.path().to_owned() };
    std::fs::create_dir_all(&below).map_err(SourceError::io(&below))?;
    home.give(&below)?;
    // The server writes to the log that it has loaded.
    for file in files.iter().chain(&manifest) {
        copy(&home, file, &below.join(file.file_name().unwrap_or_default()))?;
    }
    let name = manifest.as_ref().unwrap_or(&files[0]).file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(MANIFEST_END).unwrap_or(&name);
    let databases = LOG_DATABASES.to_string();
    let mut words =
        vec!["--appendonly", "yes", "--appendfilename", name, "--aof-load-truncated", "no", "--databases", &databases];
    if manifest.is_some() {
        words.extend(["--appenddirname", LOG_FOLDER]);
    }
    words.extend(["--dbfilename", SAVED]);
    let mut scratch = Scratch::start(home, &words, cancel)?;
    let mut loaded = || {
        let mut connection = scratch.connect(cancel)?;
        scratch.wait_until_over(LOADING, &mut connection, cancel)?;
        Ok(connection)
    };
    match loaded() {
        Ok(connection) => Ok(Ok((scratch, connection))),
        // A server ends at what it cannot load. One that only does not answer says nothing about the log.
        Err(SourceError::Unavailable { what }) if scratch.running.has_ended() && !what.contains(WRONG_WORDS) => {
            Ok(Err(what))
        }
        Err(error) => Err(error),
    }
}

fn home() -> Result<Home, SourceError> {
    Home::make("lifeboat-redis-", USER)
}

/// Lays the dump at `path` where the server looks for it.
fn lay(home: &Home, path: &Path) -> Result<(), SourceError> {
    let there = home.path().join(DUMP);
    if home.is_for_another() {
        // What was restored is for its owner alone, and stays so.
        return copy(home, path, &there);
    }
    let path = std::path::absolute(path).map_err(SourceError::io(path))?;
    symlink(path, there).map_err(SourceError::io(home.path()))
}

fn copy(home: &Home, file: &Path, to: &Path) -> Result<(), SourceError> {
    std::fs::copy(file, to).map_err(SourceError::io(file))?;
    home.give(to)
}

/// The server, and its folder, which must outlive it.
struct Scratch {
    running: Running,
    home: Home,
}

impl Scratch {
    /// In a folder of its own, with what lies there.
    fn start(home: Home, words: &[&str], cancel: &Cancel) -> Result<Self, SourceError> {
        let mut missing = Vec::new();
        for server in SERVERS {
            let program = home.own(Program::new(server)).args(["--port", "0", "--unixsocket", SOCKET]);
            let program = program
                .args(["--unixsocketperm", "700", "--save", "", "--daemonize", "no"])
                .args(words.iter().copied());
            let program = program.args(["--replicaof", "127.0.0.1", "1", "--replica-serve-stale-data", "yes"]);
            match program.args(["--logfile", OUTPUT]).start(&Stage::Here, cancel) {
                Ok(running) => return Ok(Self { running, home }),
                Err(SourceError::Cancelled) => return Err(SourceError::Cancelled),
                Err(error) => missing.push(error.to_string()),
            }
        }
        Err(scratch_server::unavailable(&format!("{}; install redis-server or valkey-server", missing.join("; "))))
    }

    fn connect(&mut self, cancel: &Cancel) -> Result<Connection, SourceError> {
        let socket = Address::Unix(self.home.path().join(SOCKET)).into();
        match scratch_server::wait_until_up(&mut self.running, cancel, || Connection::open(&socket, cancel)) {
            Err(SourceError::Unavailable { what }) => Err(self.failed(&format!("it lets nobody in: {what}"))),
            connected => connected,
        }
    }

    /// Waits until what it does is over. Gives what it then says of how it keeps its data.
    fn wait_until_over(
        &mut self,
        what: &str,
        connection: &mut Connection,
        cancel: &Cancel,
    ) -> Result<BTreeMap<String, String>, SourceError> {
        let mut until = Instant::now() + START_PATIENCE;
        loop {
            cancel.check()?;
            match connection.ask(&["INFO", "persistence"]) {
                Ok(Reply::Text(text)) => {
                    let said = pairs(&String::from_utf8_lossy(&text));
                    if said.get(what).is_some_and(|is_on| is_on == "0") {
                        return Ok(said);
                    }
                    // As long as it answers, it takes its time.
                    until = Instant::now() + START_PATIENCE;
                }
                Err(SourceError::Cancelled) => return Err(SourceError::Cancelled),
                Ok(_) | Err(_) => {}
            }
            if self.running.has_ended() {
                return Err(self.failed("it ended before it was done"));
            }
            if Instant::now() > until {
                return Err(self.failed("it does not answer any more"));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// With what it said last.
    fn failed(&mut self, what: &str) -> SourceError {
        let log = std::fs::read(self.home.path().join(OUTPUT)).unwrap_or_default();
        let mut said = String::from_utf8_lossy(&log).into_owned();
        if self.running.has_ended()
            && let Ok(ended) = self.running.wait()
        {
            said.push_str(&ended.said);
        }
        let from = said.char_indices().rev().nth(LOG_CHARS_MAX).map_or(0, |(at, _)| at);
        SourceError::unavailable(format!("a scratch server: {what}; it said: {}", said[from..].trim()))
    }
}
