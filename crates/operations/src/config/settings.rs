//! What the configuration means: every value read, every default filled in, every path absolute.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};

use super::after_restore::AfterRestoreSettings;
use super::archive::{ArchiveKey, ArchiveSettings};
use super::hook::{FreezeSettings, Hooks};
use super::jobs::JobsSettings;
use super::location::Location;
use super::mistake::nearest;
use super::notifications::NotificationsSettings;
use super::secret::{CommandLine, SecretSource};
use super::sentinel::SentinelSettings;
use super::server::ServerSettings;
use super::show;
use crate::retention::Policy;
use crate::schedule::{Expression, Hours, Overlap};
use crate::{Fault, FaultKind};

/// The whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The file it was read from, absolute. Where the environment is the configuration, there is none of this name: see
    /// [`Settings::origin`].
    pub file: PathBuf,
    /// The folder that temporary files of backups and drills are made in. It may not exist yet.
    pub state_dir: PathBuf,
    /// Where the password comes from of copies that have none of their own; each copy knows the one it has. `None` where
    /// all have their own.
    pub password: Option<SecretSource>,
    /// The places that keep the backups, in the order of the file, which is the order of preference. At least one.
    pub copies: Vec<CopySettings>,
    /// The applications to protect, in the order of the file. At least one.
    pub stacks: Vec<StackSettings>,
    /// What is done by itself besides the backups and drills of stacks.
    pub jobs: JobsSettings,
    /// Where the server is reached.
    pub server: ServerSettings,
    /// Whom the server tells what is wrong.
    pub notifications: NotificationsSettings,
    /// What else ALTCHA Sentinel's variables say, where they are the configuration.
    pub sentinel: Option<SentinelSettings>,
}

/// A place that keeps the backups.
#[derive(Clone, Debug, PartialEq)]
pub struct CopySettings {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub location: Location,
    /// How the backups are kept there.
    pub layout: Layout,
    /// Which snapshots to keep in it. `None`: what the stack says.
    pub retention: Option<Policy>,
    /// What it lies on, such as `disk`.
    pub media: String,
    /// Whether it is at another site than the data.
    pub offsite: bool,
    /// Whether nobody can change or delete what is in it for a time, as the configuration says.
    pub immutable: bool,
    /// Whether it may be absent.
    pub removable: bool,
    /// The place it stands at.
    pub site: Option<String>,
    /// Who runs it. Never `None` for what is not a folder.
    pub provider: Option<String>,
    /// The account it is in.
    pub account: Option<String>,
    /// The region it is in.
    pub region: Option<String>,
    /// Bytes a second to write at most.
    pub upload_limit: Option<NonZeroU64>,
    /// Bytes a second to read at most.
    pub download_limit: Option<NonZeroU64>,
}

/// How a copy keeps backups.
#[derive(Clone, Debug, PartialEq)]
pub enum Layout {
    /// As a repository of restic's format.
    Repository {
        /// Where the password comes from.
        password: SecretSource,
    },
    /// As archives.
    Archive(ArchiveSettings),
}

/// An application to protect.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StackSettings {
    /// Its name.
    #[serde(skip)]
    pub name: String,
    /// When to back up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Expression>,
    /// The time zone of schedules and of retention.
    #[serde(rename = "timezone", serialize_with = "show::time_zone")]
    pub time_zone: TimeZone,
    /// The hours in which backups and drills may begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hours: Option<Hours>,
    /// What happens where a backup is due while one of this stack runs.
    pub overlap: Overlap,
    /// The names of the copies to write to, the one to prefer first. At least one.
    pub copies: Vec<String>,
    /// Which snapshots to keep.
    pub retention: Policy,
    /// When and how deeply to drill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drill: Option<DrillSettings>,
    /// How old the newest backup may be.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "show::maybe_duration")]
    pub rpo: Option<Duration>,
    /// How long a restore may take.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "show::maybe_duration")]
    pub rto: Option<Duration>,
    /// Commands to run before and after a backup.
    #[serde(flatten)]
    pub hooks: Hooks,
    /// Containers that stand still while the sources are read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freeze: Option<FreezeSettings>,
    /// What to do once data was put back under the application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_restore: Option<AfterRestoreSettings>,
    /// What holds the data, in the order of the file. At least one.
    #[serde(serialize_with = "show::sources")]
    pub sources: Vec<SourceSettings>,
}

/// When and how deeply to drill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DrillSettings {
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Expression>,
    /// 0 to 3; see the drill levels of the guide.
    pub level: u8,
}

/// One thing that holds data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSettings {
    /// Its name, which is its folder in the snapshot.
    pub name: String,
    /// When to back it up, where that is another time than the stack's.
    pub schedule: Option<Expression>,
    /// What it is, with its options.
    pub kind: SourceKind,
    /// Commands to run before and after it is read.
    pub hooks: Hooks,
}

impl SourceSettings {
    /// A source without hooks, backed up with its stack.
    pub fn new(name: impl Into<String>, kind: SourceKind) -> Self {
        Self { name: name.into(), schedule: None, kind, hooks: Hooks::default() }
    }
}

/// The kinds of source that this version has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// Files and folders.
    Files(FilesSettings),
    /// SQLite databases.
    Sqlite(SqliteSettings),
    /// A Compose project.
    Compose(ComposeSettings),
    /// What a command prints.
    Command(CommandSettings),
    /// The data folder of a CouchDB.
    #[serde(rename = "couchdb")]
    CouchDb(CouchDbSettings),
    /// Certificates with their private keys.
    Tls(TlsSettings),
    /// A named volume.
    Volume(VolumeSettings),
    /// Files out of a container.
    ContainerFiles(ContainerFilesSettings),
    /// Databases of a PostgreSQL server.
    Postgres(DatabaseSettings),
    /// Databases of a MariaDB or MySQL server.
    Mysql(DatabaseSettings),
    /// What a Redis or Valkey holds, as it says itself.
    Redis(DatabaseSettings),
    /// The same by its files.
    #[serde(rename = "redis")]
    RedisFiles(RedisFilesSettings),
}

/// Files and folders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FilesSettings {
    /// Files and folders, absolute. At least one.
    pub paths: Vec<PathBuf>,
    /// What to leave out: gitignore patterns, not parsed.
    pub exclude: Vec<String>,
    /// Leave out folders that hold a `CACHEDIR.TAG`.
    pub exclude_caches: bool,
    /// Stay on the file system that each path is on.
    pub one_file_system: bool,
    /// Files that only ever grow: gitignore patterns, not parsed.
    pub append_only: Vec<String>,
    /// How often such files are read in full all the same. Zero: every time.
    #[serde(serialize_with = "show::duration")]
    pub full_read: Duration,
}

/// How often files that only grow are read in full, where nothing is said.
const FULL_READ: Duration = Duration::from_secs(7 * 86_400);

impl FilesSettings {
    /// Everything below `paths`, with the defaults of a `files` source that says nothing else.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self {
            paths,
            exclude: Vec::new(),
            exclude_caches: false,
            one_file_system: false,
            append_only: vec!["*.couch".to_owned(), "*.view".to_owned()],
            full_read: FULL_READ,
        }
    }
}

/// SQLite databases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SqliteSettings {
    /// Databases, folders to look for them in, or globs; absolute. At least one.
    pub paths: Vec<PathBuf>,
    /// What to leave out: gitignore patterns, not parsed.
    pub exclude: Vec<String>,
    /// Whether it is no problem that no database is found. No file says it.
    #[serde(skip)]
    pub may_be_none: bool,
    /// How much of its rows a database may lose from one snapshot to the next before that is a problem, in percent.
    #[serde(rename = "max_shrink", serialize_with = "show::percent")]
    pub max_shrink_percent: u8,
}

impl SqliteSettings {
    /// Databases at and below `paths`, without what matches `exclude`.
    pub fn new(paths: Vec<PathBuf>, exclude: Vec<String>) -> Self {
        Self { paths, exclude, may_be_none: false, max_shrink_percent: MAX_SHRINK_PERCENT }
    }
}

/// A Compose project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ComposeSettings {
    /// Compose files or globs, absolute. At least one.
    pub files: Vec<PathBuf>,
    /// Env files besides those that the compose files name, absolute.
    pub env: Vec<PathBuf>,
    /// The project's name, where it is not that of the folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}

/// What a command prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CommandSettings {
    /// The command.
    pub run: CommandLine,
    /// The name of the file in the snapshot: a single part of a path.
    pub name: String,
    /// A text that must end the output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trailer: Option<String>,
}

/// The data folder of a CouchDB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CouchDbSettings {
    /// The folder with `_dbs.couch` and `shards`: of the host, or in a volume.
    pub data: PlaceSettings,
    /// CouchDB's own configuration: a folder or a file, of the host, or in a volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<PlaceSettings>,
    /// How often its files are read and checked in full. Zero: every time.
    #[serde(serialize_with = "show::duration")]
    pub full_read: Duration,
    /// Keep Nouveau's indexes.
    pub nouveau: bool,
    /// The running CouchDB that what was captured is compared with.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub server: Option<CouchServerSettings>,
}

/// A running CouchDB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CouchServerSettings {
    /// Its address, without user and password.
    pub url: String,
    /// Who asks.
    pub login: Option<CouchLogin>,
}

/// A user of CouchDB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CouchLogin {
    /// The name.
    pub user: String,
    /// The password.
    pub password: SecretSource,
}

impl CouchDbSettings {
    /// The folder `data`, with the defaults of a `couchdb` source that says nothing else.
    pub fn new(data: PlaceSettings) -> Self {
        Self { data, config: None, full_read: FULL_READ, nouveau: false, server: None }
    }
}

/// Certificates with their private keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum TlsSettings {
    /// All of them lie in one place.
    From {
        /// The folder.
        from: PlaceSettings,
    },
    /// One certificate and its key.
    Pair {
        /// The file with the certificate, absolute.
        cert: PathBuf,
        /// The file with its private key, absolute.
        key: PathBuf,
    },
}

/// A place that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaceSettings {
    /// A path of the host, absolute.
    Host(PathBuf),
    /// In a named volume.
    Volume {
        /// The volume.
        name: String,
        /// A path in it, without `..`; empty for all of it.
        below: PathBuf,
    },
    /// In a container of a Compose service.
    Service {
        /// The project, where several have such a service.
        project: Option<String>,
        /// The service.
        service: String,
        /// The path in it, absolute and without `..`.
        path: PathBuf,
    },
}

impl PlaceSettings {
    /// The path, where it is one of the host.
    pub fn host(&self) -> Option<&Path> {
        match self {
            Self::Host(path) => Some(path),
            Self::Volume { .. } | Self::Service { .. } => None,
        }
    }
}

impl fmt::Display for PlaceSettings {
    /// As it is typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(path) => write!(f, "{}", path.display()),
            Self::Volume { name, below } if below.as_os_str().is_empty() => write!(f, "volume:{name}"),
            Self::Volume { name, below } => write!(f, "volume:{name}/{}", below.display()),
            Self::Service { project: None, service, path } => write!(f, "{service}:{}", path.display()),
            Self::Service { project: Some(project), service, path } => {
                write!(f, "{project}/{service}:{}", path.display())
            }
        }
    }
}

impl Serialize for PlaceSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A named volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VolumeSettings {
    /// Its name.
    pub name: String,
    /// What to leave out: gitignore patterns, not parsed.
    pub exclude: Vec<String>,
    /// Files that only ever grow: gitignore patterns, not parsed.
    pub append_only: Vec<String>,
    /// How often such files are read in full all the same. Zero: every time.
    #[serde(serialize_with = "show::duration")]
    pub full_read: Duration,
    /// What to do with the containers that use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub halt: Option<HaltSettings>,
}

/// What to do with containers while their data is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HaltSettings {
    /// Stop them, and start them again.
    Stop,
    /// Pause them, and let them go on.
    Pause,
}

/// Files out of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ContainerFilesSettings {
    /// Which container.
    #[serde(flatten)]
    pub of: ContainerSettings,
    /// Absolute paths in it. At least one.
    pub paths: Vec<PathBuf>,
    /// What to leave out: gitignore patterns, not parsed.
    pub exclude: Vec<String>,
}

/// A database server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseSettings {
    /// Where it is.
    pub server: DatabaseServer,
    /// Who logs in, where it is said.
    pub user: Option<String>,
    /// The password.
    pub password: Option<SecretSource>,
    /// Names and patterns of the databases to capture; all where empty.
    pub databases: Vec<String>,
    /// Those to leave out.
    pub exclude: Vec<String>,
    /// The folder with the database's own programs, absolute.
    pub tools: Option<PathBuf>,
    /// How much of its rows or keys a database may lose from one snapshot to the next before that is a problem, in percent.
    pub max_shrink_percent: u8,
}

/// The files of a Redis or Valkey.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RedisFilesSettings {
    /// The folder of its data: of the host, or in a volume.
    pub files: PlaceSettings,
    /// How much of its keys a database may lose from one snapshot to the next before that is a problem, in percent.
    #[serde(rename = "max_shrink", serialize_with = "show::percent")]
    pub max_shrink_percent: u8,
}

/// Where a database server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseServer {
    /// At an address, without password and database.
    Url(String),
    /// In a container.
    Container(ContainerSettings),
}

/// Half of the rows may go without a word: those of sessions and queues come and go.
pub const MAX_SHRINK_PERCENT: u8 = 50;

impl DatabaseSettings {
    /// All databases of `server`, as whoever it lets in.
    pub fn new(server: DatabaseServer) -> Self {
        Self {
            server,
            user: None,
            password: None,
            databases: Vec::new(),
            exclude: Vec::new(),
            tools: None,
            max_shrink_percent: MAX_SHRINK_PERCENT,
        }
    }
}

/// A container that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ContainerSettings {
    /// By the service of a Compose project.
    Service {
        /// The service.
        service: String,
        /// The project, where several have such a service.
        #[serde(skip_serializing_if = "Option::is_none")]
        project: Option<String>,
    },
    /// By its own name.
    Container {
        /// The name.
        container: String,
    },
}

impl Settings {
    /// Where it comes from, for messages.
    pub fn origin(&self) -> String {
        match &self.sentinel {
            Some(_) => "the environment".to_owned(),
            None => self.file.display().to_string(),
        }
    }

    /// The folder of the configuration: relative paths start there, and commands run there.
    pub fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("/"))
    }

    /// The stack `name`, or a fault that lists the stacks there are.
    pub fn stack(&self, name: &str) -> Result<&StackSettings, Fault> {
        let names: Vec<&str> = self.stacks.iter().map(|stack| stack.name.as_str()).collect();
        self.stacks.iter().find(|stack| stack.name == name).ok_or_else(|| unknown("stack", name, &names))
    }

    /// The copy `name`, or a fault that lists the copies there are.
    pub fn copy(&self, name: &str) -> Result<&CopySettings, Fault> {
        let names: Vec<&str> = self.copies.iter().map(|copy| copy.name.as_str()).collect();
        self.copies.iter().find(|copy| copy.name == name).ok_or_else(|| unknown("copy", name, &names))
    }

    /// The copies that are repositories, in the order of preference. At least one of each stack's is.
    pub fn repositories(&self) -> impl Iterator<Item = &CopySettings> {
        self.copies.iter().filter(|copy| copy.archives().is_none())
    }

    /// Which of a stack's snapshots to keep in a copy.
    pub fn retention<'a>(&self, stack: &'a StackSettings, copy: &'a CopySettings) -> &'a Policy {
        copy.retention.as_ref().unwrap_or(&stack.retention)
    }

    /// Every file with a secret that the configuration names.
    pub fn secret_files(&self) -> BTreeSet<&Path> {
        fn of_source(source: &SourceSettings) -> Option<&Path> {
            match &source.kind {
                SourceKind::CouchDb(CouchDbSettings { server: Some(server), .. }) => {
                    server.login.as_ref()?.password.file()
                }
                SourceKind::Postgres(database) | SourceKind::Mysql(database) | SourceKind::Redis(database) => {
                    database.password.as_ref()?.file()
                }
                _ => None,
            }
        }
        let own = self.password.iter().filter_map(SecretSource::file);
        let of_sources = self.stacks.iter().flat_map(|stack| &stack.sources).filter_map(of_source);
        let after = self.stacks.iter().filter_map(|stack| stack.after_restore.as_ref()?.secret_file());
        let identity = self.sentinel.iter().filter_map(|sentinel| sentinel.identity.as_ref()?.file());
        let of_copies = self.copies.iter().flat_map(CopySettings::secret_files);
        own.chain(of_copies)
            .chain(of_sources)
            .chain(after)
            .chain(identity)
            .chain(self.notifications.secret_files())
            .collect()
    }
}

impl CopySettings {
    /// Where the password of its repository comes from. A fault for an archive copy, which is none.
    pub fn password(&self) -> Result<&SecretSource, Fault> {
        match &self.layout {
            Layout::Repository { password } => Ok(password),
            Layout::Archive(_) => {
                let what = format!("copy {} keeps archives, which are no repository", self.name);
                Err(Fault::new(FaultKind::Usage, what)
                    .with_hint("name another copy; `lifeboat restore` takes the path of an archive as it is"))
            }
        }
    }

    /// How it keeps archives, where it does.
    pub fn archives(&self) -> Option<&ArchiveSettings> {
        match &self.layout {
            Layout::Repository { .. } => None,
            Layout::Archive(settings) => Some(settings),
        }
    }

    /// Every file with a secret that it needs.
    pub fn secret_files(&self) -> impl Iterator<Item = &Path> {
        let key = match &self.layout {
            Layout::Repository { password } => Some(password),
            Layout::Archive(ArchiveSettings { key: ArchiveKey::Passphrase(passphrase), .. }) => Some(passphrase),
            Layout::Archive(_) => None,
        };
        self.location.secret_files().into_iter().chain(key.and_then(SecretSource::file))
    }
}

impl StackSettings {
    /// The source `name`, or a fault that lists the stack's sources.
    pub fn source(&self, name: &str) -> Result<&SourceSettings, Fault> {
        let names: Vec<&str> = self.sources.iter().map(|source| source.name.as_str()).collect();
        self.sources.iter().find(|source| source.name == name).ok_or_else(|| unknown("source", name, &names))
    }
}

impl SourceKind {
    /// Whether it is no wonder that there is nothing to back up.
    pub fn may_be_none(&self) -> bool {
        matches!(self, Self::Sqlite(sqlite) if sqlite.may_be_none)
    }

    /// The kind's name in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Files(_) => "files",
            Self::Sqlite(_) => "sqlite",
            Self::Compose(_) => "compose",
            Self::Command(_) => "command",
            Self::CouchDb(_) => "couchdb",
            Self::Tls(_) => "tls",
            Self::Volume(_) => "volume",
            Self::ContainerFiles(_) => "container-files",
            Self::Postgres(_) => "postgres",
            Self::Mysql(_) => "mysql",
            Self::Redis(_) | Self::RedisFiles(_) => "redis",
        }
    }
}

fn unknown(what: &str, name: &str, names: &[&str]) -> Fault {
    let meant = nearest(name, names).map_or(String::new(), |near| format!("did you mean `{near}`? "));
    Fault::new(FaultKind::NotFound, format!("the configuration has no {what} `{name}`"))
        .with_hint(format!("{meant}it has: {}", names.join(", ")))
}
