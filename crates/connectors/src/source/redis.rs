//! Source `redis`: the dump of a running Redis or Valkey, as it sends it to whoever follows it, and its users.
//!
//! Nothing of the server's disk is needed. The dump is read as it flows: it is whole where its structure and its checksum say
//! so, and what it holds is counted in it. Of an unchanged server, two dumps differ in their first bytes, where the time and
//! the memory in use stand, and in the checksum at their end.

pub(crate) mod aof;
mod cluster;
mod crc64;
mod encrypted;
mod examine;
mod facts;
mod feed;
mod files;
mod folder;
mod line;
mod link;
pub(crate) mod rdb;
mod resp;
mod restore;
mod scratch;
mod server;
mod tail;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use repository::format::time::Time;
use repository::{Cancel, Capture, CaptureCx, Event, Events, Facts, Item, Problem, Source, SourceError, View};

pub use self::examine::examine;
pub use self::files::{RedisFilesOptions, RedisFilesSource};
pub use self::restore::RedisRestore;

use self::aof::Counted;
use self::line::Place;
use self::rdb::{Dump, Parser};
use self::server::{Login, Purpose, Server, Users};
use super::Password;
use super::output::Proof;
use super::produced::{self, Produced, ProducedFile};
use super::server_at::{ServerAt, running};
use super::shrink::{Before, Lost};
use crate::containers::EngineAddress;
use crate::program::Stage;

/// The kind's name in the configuration.
pub const KIND: &str = "redis";

/// Where it listens, unless it is told otherwise.
const PORT: u16 = 6379;
/// The dump, as a server loads it from its folder.
const DUMP: &str = "dump.rdb";
/// The users, as `aclfile` takes them.
const USERS: &str = "users.acl";

/// What a [`RedisSource`] captures.
#[derive(Clone)]
pub struct RedisOptions {
    /// The server.
    pub server: ServerAt,
    /// Who asks. Else whom the address names, or the server's default user.
    pub user: Option<String>,
    /// The password; where there is none, that of the container, if any.
    pub password: Option<Password>,
    /// How much of its keys a database may lose from one snapshot to the next before that is a problem, in percent.
    pub max_shrink_percent: u8,
    /// Where the container engine is.
    pub engine: EngineAddress,
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisOptions({:?})", self.server)
    }
}

impl RedisOptions {
    /// The server. A container must run.
    fn server(&self, purpose: Purpose, cancel: &Cancel) -> Result<Server, SourceError> {
        let password = self.password.as_ref().map(|password| password()).transpose();
        let password = password.map_err(|what| SourceError::Unavailable { what })?;
        let login = Login { user: self.user.clone(), password, purpose };
        match &self.server {
            ServerAt::Url(url) => {
                let (user, place) = Place::parse(url)?;
                Ok(Server::At { place, login: Login { user: login.user.or(user), ..login } })
            }
            ServerAt::Container(name) => {
                let (containers, container) = running(name, &self.engine, cancel)?;
                let (variables, words) = (containers.environment(&container)?, containers.command(&container)?);
                Ok(Server::in_container(Stage::Container { containers, container }, login, &variables, &words))
            }
        }
    }
}

/// A Redis or Valkey.
#[derive(Debug)]
pub struct RedisSource(RedisOptions);

impl RedisSource {
    /// Nothing is asked yet. Fails with a message for the user where the address cannot be read.
    pub fn new(options: RedisOptions) -> Result<Self, SourceError> {
        if let ServerAt::Url(url) = &options.server {
            Place::parse(url)?;
        }
        Ok(Self(options))
    }
}

impl Source for RedisSource {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn claims(&self, _: &Cancel) -> Result<BTreeSet<PathBuf>, SourceError> {
        Ok(BTreeSet::new())
    }

    fn view(&self) -> View {
        View::Flowing
    }

    fn capture<'a>(&'a self, cx: &CaptureCx<'a>) -> Result<Box<dyn Capture + 'a>, SourceError> {
        let server = self.0.server(Purpose::Backup, cx.cancel)?;
        let info = server.info(cx.cancel)?;
        let mut facts = facts::of_server(&info);
        if cx.look_only {
            let name = server.what();
            cx.events.emit(Event::Note(format!("{name}: what it holds is not counted in a dry run")));
            return Ok(Box::new(RedisCapture::new(
                self.0.max_shrink_percent,
                cx,
                BTreeMap::new(),
                Found::default(),
                facts,
            )));
        }
        let mut problems = VecDeque::new();
        if let Some(what) = server.lacks_of_cluster(&info, cx.cancel)? {
            let what = format!(
                "{what}: the keys of the other nodes are not in the snapshot; a cluster as a whole is not captured in this version"
            );
            problems.push_back(Problem::new(Path::new(&server.what()), what));
        }
        let mut files = BTreeMap::new();
        match server.users(cx.cancel)? {
            Users::Known(lines) => {
                facts.insert(facts::USERS.to_owned(), lines.len().into());
                let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
                files.insert(USERS.into(), ProducedFile::ready(USERS, text.into_bytes()));
            }
            Users::None => {}
            Users::Untold(why) => {
                let what = format!("its users are not in the snapshot: {why}; allow +acl|list to get them");
                problems.push_back(Problem::new(Path::new(&server.what()), what));
            }
        }
        let found = Found::default();
        let proof = Watched { parser: Parser::default(), found: found.clone() };
        let (output, position) = server.dump(proof, cx.cancel)?;
        facts.extend(position.map(|position| facts::of_position(&position)));
        files.insert(DUMP.into(), ProducedFile::printed(output));
        let capture = RedisCapture::new(self.0.max_shrink_percent, cx, files, found, facts);
        Ok(Box::new(RedisCapture { problems, ..capture }))
    }
}

/// What was found in a file, once it was read.
#[derive(Debug)]
struct Found<T>(Arc<Mutex<Option<T>>>);

impl<T> Default for Found<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Clone for Found<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Found<T> {
    fn get(&self) -> MutexGuard<'_, Option<T>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Holds an output to being a dump, and keeps what it holds.
struct Watched {
    parser: Parser,
    found: Found<Dump>,
}

impl Proof for Watched {
    fn take(&mut self, bytes: &mut [u8]) -> Result<(), String> {
        self.parser.push(bytes).map_err(broken)
    }

    fn verdict(&mut self, _: &str) -> Result<(), String> {
        let dump = self.parser.finish().map_err(broken)?;
        *self.found.get() = Some(dump.clone());
        Ok(())
    }
}

fn broken(what: String) -> String {
    format!("gave no whole dump: {what}")
}

struct RedisCapture<'a> {
    events: &'a dyn Events,
    cancel: &'a Cancel,
    problems: VecDeque<Problem>,
    produced: Produced,
    found: Found<Dump>,
    /// The files of the log, by their names.
    logs: Vec<(String, Found<Counted>)>,
    facts: Facts,
    /// Until it was held against this snapshot.
    before: Option<Before<'a>>,
}

impl<'a> RedisCapture<'a> {
    fn new(
        max_shrink_percent: u8,
        cx: &CaptureCx<'a>,
        files: BTreeMap<PathBuf, ProducedFile>,
        found: Found<Dump>,
        facts: Facts,
    ) -> Self {
        let produced = Produced::new(files, Time::from(cx.clock.now()));
        let before = Before::new(cx, max_shrink_percent);
        let (problems, logs) = (VecDeque::new(), Vec::new());
        Self { events: cx.events, cancel: cx.cancel, problems, produced, found, logs, facts, before }
    }
}

impl Capture for RedisCapture<'_> {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        self.cancel.check()?;
        if let Some(item) = self.problems.pop_front().map(Item::Problem).or_else(|| self.produced.next()) {
            return Ok(Some(item));
        }
        // All was read, so that it is known what there is.
        let lost = match (self.before.take(), &*self.found.get()) {
            (Some(before), Some(dump)) => facts::lost(&before, dump),
            _ => Lost::default(),
        };
        self.problems
            .extend(lost.note(&mut self.facts).into_iter().map(|(name, what)| Problem::new(Path::new(&name), what)));
        Ok(self.problems.pop_front().map(Item::Problem))
    }

    fn finish(self: Box<Self>) -> Result<Facts, SourceError> {
        let files = self.produced.finish(self.events)?;
        let mut facts = self.facts;
        if let Some(dump) = &*self.found.get() {
            if dump.version >= rdb::CHECKSUM_SINCE && dump.checksum.is_none() {
                let what = "the server makes no checksums (rdbchecksum no), so the dump is held to its structure alone";
                self.events.emit(Event::Note(what.to_owned()));
            }
            facts.extend(facts::of_dump(dump));
        }
        let counted = self.logs.iter().filter_map(|(name, found)| Some((name.clone(), (*found.get())?)));
        facts.extend(facts::of_log(counted));
        produced::add_files(&mut facts, &files);
        Ok(facts)
    }
}
