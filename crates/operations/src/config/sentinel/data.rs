//! What Sentinel's variables say of its data: the folder, and the servers that hold what is not in it.

use std::path::{Path, PathBuf};

use super::super::address::{Address, SECRET_KEYS};
use super::super::settings::{
    DatabaseServer, DatabaseSettings, FilesSettings, SourceKind, SourceSettings, SqliteSettings,
};
use super::variables::{ProcessVariables, Text, Variables};
use crate::{Fault, FaultKind};

/// The source with the main database.
pub const MAIN: &str = "main";
/// The source with what Sentinel keeps in its Redis, its own or another.
pub const REDIS: &str = "redis";
/// The source with SQLite databases in the data folder, where the main one is not among them as far as anybody says.
pub const OTHER: &str = "other";
/// The source with everything else.
pub const FILES: &str = "files";

/// The variable that says what is left out on purpose.
const WITHOUT: &str = "LIFEBOAT_WITHOUT";
/// How the files of Sentinel's own Redis are told from the main database, where nobody says: its documentation names the
/// store, and not the file.
pub const REDIS_FILES: [&str; 2] = ["*exotdb*", "*redis*"];

/// Variables that name a server with the main database, and what captures it.
pub const MAIN_SERVERS: [(&str, Option<Server>); 8] = [
    ("POSTGRES_URL", Some(Server::Postgres)),
    ("MYSQL_URL", Some(Server::Mysql)),
    ("MARIADB_URL", Some(Server::Mysql)),
    ("MSSQL_URL", None),
    ("ORACLE_URL", None),
    ("ORACLEDB_URL", None),
    ("LIBSQL_URL", None),
    ("TURBOLITE_URL", None),
];

/// The same for what Sentinel keeps in Redis.
pub const REDIS_SERVERS: [(&str, Option<Server>); 2] =
    [("REDIS_URL", Some(Server::Redis)), ("REDIS_CLUSTER_URL", None)];

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
    /// Redis and Valkey.
    Redis,
}

impl Server {
    /// The kind of source that captures it.
    pub fn source(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Redis => "redis",
        }
    }
}

/// The sources of Sentinel's stack, and what they lack.
pub struct Sources {
    /// The sources.
    pub sources: Vec<SourceSettings>,
    /// What is not among them, in words for the user.
    pub notices: Vec<String>,
}

/// Decides on the sources of a Sentinel with this data folder.
pub fn sources(variables: &Variables<'_>, of_process: &ProcessVariables<'_>, data: &Path) -> Result<Sources, Fault> {
    let without = without(of_process)?;
    let mut found = Sources { sources: Vec::new(), notices: Vec::new() };
    let redis_files = redis_files(of_process)?;
    let own_redis = found.redis(variables, data, &redis_files, without.contains(&REDIS))?;
    let main = main(variables, without.contains(&MAIN))?;
    let exclude = if own_redis { redis_files } else { Vec::new() };
    let sqlite = SqliteSettings::new(vec![data.to_owned()], exclude);
    if !matches!(main, Main::Sqlite) {
        // As plain files they would be copied while they are written.
        found.add(OTHER, SourceKind::Sqlite(SqliteSettings { may_be_none: true, ..sqlite.clone() }));
    }
    match main {
        Main::Sqlite => found.add_first(MAIN, SourceKind::Sqlite(sqlite)),
        Main::Server(kind) => found.add_first(MAIN, *kind),
        Main::Elsewhere(name) => found.notices.push(format!(
            "the main database ({name}) is NOT in these backups, as {WITHOUT} says: back it up with its own tools"
        )),
        Main::LeftOut => {
            found.notices.push(format!(
                "the main database is NOT in these backups, as {WITHOUT} says, unless it is a SQLite file in {}: all of those are in source {OTHER}",
                data.display()
            ));
        }
    }
    let mut paths = vec![data.to_owned()];
    paths.extend(found.uploads(variables, of_process, data)?);
    found.add(FILES, SourceKind::Files(FilesSettings::new(paths)));
    Ok(found)
}

enum Main {
    Sqlite,
    Server(Box<SourceKind>),
    /// In a server that is not captured, named by its variable.
    Elsewhere(String),
    LeftOut,
}

/// What the user leaves out on purpose.
fn without(variables: &ProcessVariables<'_>) -> Result<Vec<&'static str>, Fault> {
    let Some(text) = variables.get(WITHOUT)? else { return Ok(Vec::new()) };
    let one = |word: &str| [MAIN, REDIS].into_iter().find(|known| *known == word);
    let words = text.value.split(',').map(str::trim).filter(|word| !word.is_empty());
    let hint = format!("write {MAIN}, {REDIS}, or both with a comma between them");
    words.map(|word| one(word).ok_or_else(|| text.fault("this names no part of Sentinel", &hint))).collect()
}

fn main(variables: &Variables<'_>, is_left_out: bool) -> Result<Main, Fault> {
    let mut set = Vec::new();
    for (name, kind) in MAIN_SERVERS {
        set.extend(variables.get(name)?.map(|url| (url, kind)));
    }
    if let [(first, _), (second, _), ..] = &set[..] {
        return Err(second.fault(
            &format!("{} is set too, and Sentinel has one main database", first.name),
            "unset the one that it does not use",
        ));
    }
    match set.pop() {
        None if is_left_out => Ok(Main::LeftOut),
        None => Ok(Main::Sqlite),
        Some((url, _)) if is_left_out => Ok(Main::Elsewhere(url.name)),
        Some((url, Some(kind))) => Ok(Main::Server(Box::new(server(&url, kind)?))),
        Some((url, None)) => Err(url.fault("Lifeboat cannot capture this kind of database", &instead(MAIN))),
    }
}

/// What to do about what cannot be captured.
fn instead(source: &str) -> String {
    format!("back it up with its own tools, and set {WITHOUT}={source} so that the rest is backed up without it")
}

fn redis_files(variables: &ProcessVariables<'_>) -> Result<Vec<String>, Fault> {
    let Some(text) = variables.get("LIFEBOAT_REDIS_FILES")? else {
        return Ok(REDIS_FILES.map(str::to_owned).to_vec());
    };
    let patterns: Vec<String> = text.value.split(',').map(|pattern| pattern.trim().to_owned()).collect();
    match patterns.iter().all(|pattern| !pattern.is_empty() && !pattern.starts_with('!')) {
        true => Ok(patterns),
        false => {
            Err(text.fault("one of these is no pattern", "write names of files such as *exotdb*, with commas between"))
        }
    }
}

/// Patterns that leave out everything but these files; what lies in a folder of such a name is one of them, too.
pub fn all_but(files: &[String]) -> Vec<String> {
    let everything = ["*".to_owned(), "!*/".to_owned()].into_iter();
    let these = files.iter().flat_map(|pattern| [format!("!{pattern}"), format!("!{pattern}/**")]);
    everything.chain(these).collect()
}

/// The database at an address. Its password goes where nothing shows it.
fn server(text: &Text, kind: Server) -> Result<SourceKind, Fault> {
    let (scheme, schemes, example): (_, &[&str], _) = match kind {
        Server::Postgres => ("postgresql", &["postgres", "postgresql"], "postgres://user:password@host:5432/database"),
        Server::Mysql => ("mysql", &["mysql", "mariadb"], "mysql://user:password@host:3306/database"),
        Server::Redis => ("redis", &["redis", "valkey", "rediss", "valkeys"], "redis://user:password@host:6379"),
    };
    let hint = format!("write it like {example}");
    let address = Address::parse(&text.value).filter(|address| schemes.contains(&&*address.scheme));
    let address = address.ok_or_else(|| text.fault("this is no address of such a server", &hint))?;
    let scheme = if matches!(&*address.scheme, "rediss" | "valkeys") { "rediss" } else { scheme };
    let query: Vec<String> = address.query.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if address.query.iter().any(|(key, _)| SECRET_KEYS.contains(&key.as_str())) {
        return Err(text.fault("a password stands in its query, where it would be shown", &hint));
    }
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    let url = format!("{scheme}://{}{query}", address.server);
    // A Redis is captured with all that it holds; its path is a number.
    let database =
        Some(address.path.trim_matches('/')).filter(|name| !name.is_empty() && !matches!(kind, Server::Redis));
    let settings = DatabaseSettings {
        user: address.user.clone(),
        password: address.secret(),
        databases: database.map(literally).into_iter().collect(),
        ..DatabaseSettings::new(DatabaseServer::Url(url))
    };
    Ok(match kind {
        Server::Postgres => SourceKind::Postgres(settings),
        Server::Mysql => SourceKind::Mysql(settings),
        Server::Redis => SourceKind::Redis(settings),
    })
}

/// A pattern that means this name alone.
fn literally(name: &str) -> String {
    let escaped = |c: char| if "*?[]{}\\".contains(c) { format!("[{c}]") } else { c.to_string() };
    name.chars().map(escaped).collect()
}

impl Sources {
    fn add(&mut self, name: &str, kind: SourceKind) {
        self.sources.push(SourceSettings::new(name, kind));
    }

    fn add_first(&mut self, name: &str, kind: SourceKind) {
        self.sources.insert(0, SourceSettings::new(name, kind));
    }

    /// Adds what Sentinel keeps in its Redis. True where that is a file of the data folder.
    fn redis(
        &mut self,
        variables: &Variables<'_>,
        data: &Path,
        files: &[String],
        is_left_out: bool,
    ) -> Result<bool, Fault> {
        if is_left_out {
            self.notices.push(format!(
                "what Sentinel keeps in its Redis is NOT in these backups, as {WITHOUT} says, unless it is a SQLite file in {}: all of those are",
                data.display()
            ));
            return Ok(false);
        }
        if let Some(url) = variables.get("REDIS_CLUSTER_URL")? {
            return Err(url.fault("Lifeboat cannot capture a cluster of Redis", &instead(REDIS)));
        }
        if let Some(url) = variables.get("REDIS_URL")? {
            let source = server(&url, Server::Redis)?;
            self.add(REDIS, source);
            return Ok(false);
        }
        match variables.get("EXOTDB_REDIS_STORAGE")? {
            Some(storage) if storage.value.as_str() == "memory" => {
                let what = "is kept in memory alone, as EXOTDB_REDIS_STORAGE says: it is in NO backup, and goes with each restart";
                self.notices.push(format!("what Sentinel keeps in its Redis {what}"));
                return Ok(false);
            }
            Some(storage) if storage.value.as_str() != "local" => {
                return Err(storage.fault("Lifeboat can capture storage `local` alone", &instead(REDIS)));
            }
            _ => {}
        }
        let settings = SqliteSettings::new(vec![data.to_owned()], all_but(files));
        self.add(REDIS, SourceKind::Sqlite(settings));
        Ok(true)
    }

    /// A folder of uploads that is not in the data folder.
    fn uploads(
        &mut self,
        variables: &Variables<'_>,
        of_process: &ProcessVariables<'_>,
        data: &Path,
    ) -> Result<Option<PathBuf>, Fault> {
        let provider = variables.get("STORAGE_PROVIDER")?;
        if let Some(provider) = provider.filter(|provider| !provider.value.eq_ignore_ascii_case("local")) {
            self.notices.push(format!(
                "uploads are kept by provider {}, as {} says, and not in {}: they are NOT in these backups",
                *provider.value,
                provider.name,
                data.display()
            ));
            return Ok(None);
        }
        let Some(folder) = variables.get("STORAGE_LOCAL_DIR")? else { return Ok(None) };
        let path = Path::new(folder.value.as_str());
        if !path.is_absolute() {
            return Err(folder.fault("this is no path from the root", "write it like /data/storage"));
        }
        if path.starts_with(data) {
            return Ok(None);
        }
        if of_process.get("STORAGE_LOCAL_DIR")?.is_none() {
            self.notices.push(format!(
                "uploads lie in {}, as {} says: they are NOT in these backups unless Lifeboat's own environment says so, too",
                path.display(),
                folder.name
            ));
            return Ok(None);
        }
        Ok(Some(path.to_owned()))
    }
}

/// The folder with Sentinel's data.
pub fn folder(variables: &ProcessVariables<'_>) -> Result<PathBuf, Fault> {
    let Some(text) = variables.get("DATA_DIR")? else { return Ok(PathBuf::from("/data")) };
    match Path::new(text.value.as_str()) {
        path if path.is_absolute() => Ok(path.components().collect()),
        _ => {
            Err(Fault::new(FaultKind::Config, "DATA_DIR: this is no path from the root")
                .with_hint("write it like /data"))
        }
    }
}
