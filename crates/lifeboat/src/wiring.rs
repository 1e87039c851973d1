//! Settings become storages, repositories and sources.

mod buckets;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use archive::Recipients;
use connectors::containers::{ContainerName, EngineAddress, GuardCommand, Halt, Halts, PutRight, Replaced};
use connectors::source::couchdb::{Peer, ServerOptions};
use connectors::source::{
    CommandOptions, CommandSource, ComposeOptions, ComposeSource, ContainerFilesOptions, ContainerFilesSource,
    CouchDbOptions, CouchDbSource, DatabaseOptions, FilesOptions, FilesSource, MysqlSource, Password, Place,
    PostgresSource, RedisFilesOptions, RedisFilesSource, RedisOptions, RedisSource, RunLine, ServerAt, SqliteOptions,
    SqliteSource, TlsOptions, TlsSource, VolumeOptions, VolumeSource,
};
use connectors::storage::{LocalStorage, SftpOptions, SftpStorage};
use operations::backup::NamedSource;
use operations::config::{
    ArchiveKey, CommandLine, ContainerSettings, CopySettings, CouchServerSettings, DatabaseServer, DatabaseSettings,
    Environment, FreezeSettings, HaltSettings, Location, PlaceSettings, Secret, SecretSource, Settings, SftpLocation,
    SourceKind, SourceSettings, SqliteSettings, StackSettings, TlsSettings,
};
use operations::{Fault, in_place, shell};
use repository::limits::CACHE_BYTES_MAX;
use repository::storage::archives::{ArchivePlace, LimitedArchives};
use repository::storage::cache::Cache;
use repository::storage::limit::Limit;
use repository::storage::retry::{Retry, RetryArchives};
use repository::{Cancel, File, Repository, Source, SourceError, Storage};
use zeroize::Zeroizing;

use crate::app::Run;
use crate::output::Output;

/// The place a copy lies in, held to its bandwidth.
pub fn storage(copy: &CopySettings, run: &Run) -> Result<Arc<dyn Storage>, Fault> {
    let place: Arc<dyn Storage> = match &copy.location {
        Location::Local(folder) => Arc::new(LocalStorage::new(folder.clone())),
        Location::Sftp(sftp) => Arc::new(SftpStorage::new(sftp_options(sftp), run.cancel.clone())),
        other => Arc::new(buckets::open(other, run.cancel.clone())?),
    };
    let (up, down) = (copy.upload_limit, copy.download_limit);
    let held: Arc<dyn Storage> = if up.is_none() && down.is_none() {
        place
    } else {
        Arc::new(Limit::new(place, up, down, Arc::new(run.clock), run.cancel.clone()))
    };
    Ok(tenacious(held, run))
}

/// The place an archive copy lies in, held to its bandwidth.
pub fn archives(copy: &CopySettings, run: &Run) -> Result<Arc<dyn ArchivePlace>, Fault> {
    let tenacious = |place| Arc::new(RetryArchives::new(place, Arc::new(run.clock), run.cancel.clone()));
    let place: Arc<dyn ArchivePlace> = match &copy.location {
        Location::Local(folder) => tenacious(Arc::new(LocalStorage::new(folder.clone()))),
        Location::Sftp(sftp) => tenacious(Arc::new(SftpStorage::new(sftp_options(sftp), run.cancel.clone()))),
        // Asks again by itself, part by part.
        other => Arc::new(buckets::open(other, run.cancel.clone())?),
    };
    let (up, down) = (copy.upload_limit, copy.download_limit);
    Ok(Arc::new(LimitedArchives::new(place, up, down, Arc::new(run.clock), run.cancel.clone())))
}

/// To whom an archive copy is encrypted.
pub fn recipients(key: &ArchiveKey) -> Result<Recipients, Fault> {
    match key {
        ArchiveKey::Recipients(keys) => Ok(Recipients::keys(keys.iter().map(String::as_str))?),
        ArchiveKey::Passphrase(source) => Ok(Recipients::passphrase(source.read()?.expose())),
    }
}

/// Whether what opens a copy may put something in the place of a file there, which no copy does by itself. `bytes` are what
/// the file holds.
pub fn may_overwrite(copy: &CopySettings, run: &Run, file: File, bytes: &[u8]) -> Result<bool, Fault> {
    let cancel = run.cancel.clone();
    Ok(match &copy.location {
        Location::Local(folder) => LocalStorage::new(folder.clone()).may_overwrite(file)?,
        Location::Sftp(sftp) => SftpStorage::new(sftp_options(sftp), cancel).may_overwrite(file)?,
        other => buckets::open(other, cancel)?.may_overwrite(file, bytes)?,
    })
}

fn sftp_options(sftp: &SftpLocation) -> SftpOptions {
    SftpOptions {
        user: Some(sftp.user.clone()),
        host: sftp.host.clone(),
        port: Some(sftp.port),
        path: sftp.path.clone(),
        private_key_file: sftp.private_key_file.clone(),
        known_hosts_file: sftp.known_hosts_file.clone(),
    }
}

/// A folder of this machine as a storage.
pub fn local(folder: &Path, run: &Run) -> Arc<dyn Storage> {
    tenacious(Arc::new(LocalStorage::new(folder.to_owned())), run)
}

/// What may work when tried again is tried again.
fn tenacious(storage: Arc<dyn Storage>, run: &Run) -> Arc<dyn Storage> {
    Arc::new(Retry::new(storage, Arc::new(run.clock), run.cancel.clone()))
}

/// Opens a copy with a password.
pub fn open(copy: &CopySettings, password: &Secret, run: &Run) -> Result<Arc<Repository>, Fault> {
    Ok(Arc::new(Repository::open(storage(copy, run)?, password.expose())?))
}

/// Opens the repository of a copy with a cache before it, in `folder`.
pub fn open_cached(
    copy: &CopySettings,
    password: &Secret,
    run: &Run,
    folder: PathBuf,
) -> Result<Arc<Repository>, Fault> {
    let cache = Cache::new(storage(copy, run)?, folder, CACHE_BYTES_MAX);
    Ok(Arc::new(Repository::open(Arc::new(cache), password.expose())?))
}

/// What sources need besides their settings.
#[derive(Clone)]
pub struct Around<'a> {
    /// The folder of the configuration, in which commands run.
    pub folder: &'a Path,
    /// Where it is noted which containers are halted. All sources share it, since they may share containers.
    pub halts: Halts,
    pub environment: &'a Environment,
}

impl<'a> Around<'a> {
    /// What is around every source of a configuration.
    pub fn of(settings: &'a Settings, environment: &'a Environment) -> Self {
        let halts = Halts::below(&settings.state_dir).watched_by(guard(&settings.state_dir));
        Self { folder: settings.folder(), halts, environment }
    }

    /// Where the container engine is.
    pub fn engine(&self) -> EngineAddress {
        EngineAddress::of(self.environment.variables())
    }
}

/// Lets containers go on that an earlier run halted before it was ended, and says so.
pub fn put_containers_right(settings: &Settings, run: &Run) {
    tell_put_right(run.output, Halts::below(&settings.state_dir).put_right(&run.cancel, &run.clock, &is_whole));
}

/// Says what became of containers that were left halted.
pub fn tell_put_right(output: Output, right: PutRight) {
    for container in right.resumed {
        output.left_halted(&container, "was left halted by a run that ended early; it runs again");
    }
    for (container, what) in right.problems {
        output.left_halted(&container, &format!("may still be halted by a run that ended early: {what}"));
    }
}

/// This program, to keep watch over what it halts. By this path it is the one that runs, also where another was installed since.
fn guard(state: &Path) -> GuardCommand {
    GuardCommand { program: "/proc/self/exe".into(), arguments: vec!["keep-watch".into(), state.into()] }
}

/// Whether what was replaced below a container is whole: never touched, restored, or put back.
pub fn is_whole(replaced: &Replaced) -> Result<(), String> {
    match in_place::half_way(&replaced.places, &replaced.paths) {
        Ok(None) => Ok(()),
        Ok(Some(undo)) => Err(format!(
            "it stays stopped, since its files are half restored; undo that: lifeboat restore --undo {}",
            shell::quote(&undo.to_string_lossy())
        )),
        Err(error) => Err(format!("it stays stopped, since whether its files are whole is unknown: {error}")),
    }
}

/// The containers that stand still.
pub fn frozen_containers(freeze: &FreezeSettings) -> Vec<ContainerName> {
    let services = freeze
        .services
        .iter()
        .map(|service| ContainerName::Service { project: freeze.project.clone(), service: service.clone() });
    services.chain(freeze.containers.iter().cloned().map(ContainerName::Container)).collect()
}

/// Looks for the containers in which hooks of a stack run, or that stand still for it. Gives how many there are.
pub fn find_containers(stack: &StackSettings, around: &Around<'_>, cancel: &Cancel) -> Result<usize, SourceError> {
    let hooks = std::iter::once(&stack.hooks).chain(stack.sources.iter().map(|source| &source.hooks));
    let in_containers = hooks.flat_map(|hooks| hooks.before.iter().chain(&hooks.after));
    let named = in_containers.filter_map(|hook| hook.container.clone()).map(container_name);
    let names: Vec<ContainerName> = named.chain(stack.freeze.iter().flat_map(frozen_containers)).collect();
    if names.is_empty() {
        return Ok(0);
    }
    let containers = around.engine().open(cancel)?;
    names.iter().map(|name| Ok(containers.find_all(name)?.len())).sum()
}

/// A command that settings name.
pub fn run_line(line: &CommandLine) -> RunLine {
    match line {
        CommandLine::Shell(text) => RunLine::Shell(text.expose().to_owned()),
        CommandLine::Program(words) => RunLine::Words(words.iter().map(|word| word.expose().into()).collect()),
    }
}

/// The container that settings name.
pub fn container_name(settings: ContainerSettings) -> ContainerName {
    match settings {
        ContainerSettings::Service { service, project } => ContainerName::Service { project, service },
        ContainerSettings::Container { container } => ContainerName::Container(container),
    }
}

/// The databases that a source captures.
pub fn databases(sqlite: &SqliteSettings, cancel: &Cancel) -> Result<Vec<PathBuf>, SourceError> {
    Ok(sqlite_source(sqlite.clone())?.claims(cancel)?.into_iter().collect())
}

/// Of these databases, those that a source `sqlite` takes and those that it does not.
pub fn parted(sqlite: &SqliteSettings, databases: &[PathBuf]) -> Result<(Vec<PathBuf>, Vec<PathBuf>), SourceError> {
    let source = sqlite_source(sqlite.clone())?;
    Ok(databases.iter().cloned().partition(|path| source.wants(path)))
}

fn sqlite_source(sqlite: SqliteSettings) -> Result<SqliteSource, SourceError> {
    SqliteSource::new(SqliteOptions {
        paths: sqlite.paths,
        exclude: sqlite.exclude,
        may_be_none: sqlite.may_be_none,
        max_shrink_percent: sqlite.max_shrink_percent,
        ..SqliteOptions::default()
    })
}

fn place(settings: PlaceSettings) -> Place {
    match settings {
        PlaceSettings::Host(path) => Place::Host(path),
        PlaceSettings::Volume { name, below } => Place::Volume { name, below },
        PlaceSettings::Service { project, service, path } => {
            Place::Container { container: ContainerName::Service { project, service }, path }
        }
    }
}

fn server_at(settings: DatabaseServer) -> ServerAt {
    match settings {
        DatabaseServer::Url(url) => ServerAt::Url(url),
        DatabaseServer::Container(container) => ServerAt::Container(container_name(container)),
    }
}

/// The CouchDB that the configuration says works with a source's data.
pub fn couch_server(settings: &Settings, stack: &str, source: &str) -> Option<ServerOptions> {
    let sources = &settings.stack(stack).ok()?.sources;
    match &sources.iter().find(|settings| settings.name == source)?.kind {
        SourceKind::CouchDb(couchdb) => couchdb.server.clone().map(server_options),
        _ => None,
    }
}

fn server_options(server: CouchServerSettings) -> ServerOptions {
    ServerOptions { url: server.url, login: server.login.map(|login| (login.user, password(login.password))) }
}

/// A server of PostgreSQL, MariaDB or MySQL, and what is wanted of it.
pub fn database_options(database: DatabaseSettings, around: &Around<'_>) -> DatabaseOptions {
    DatabaseOptions {
        server: server_at(database.server),
        user: database.user,
        password: database.password.map(password),
        databases: database.databases,
        exclude: database.exclude,
        max_shrink_percent: database.max_shrink_percent,
        tools: database.tools,
        engine: around.engine(),
    }
}

/// A Redis or Valkey.
pub fn redis(database: DatabaseSettings, around: &Around<'_>) -> RedisOptions {
    RedisOptions {
        server: server_at(database.server),
        user: database.user,
        password: database.password.map(password),
        max_shrink_percent: database.max_shrink_percent,
        engine: around.engine(),
    }
}

/// Got when it is needed, so that a backup does not fail for want of it.
fn password(source: SecretSource) -> Password {
    Arc::new(move || match source.read() {
        Ok(secret) => Ok(Zeroizing::new(secret.expose().to_owned())),
        Err(fault) => Err(fault.text()),
    })
}

/// The sources of a stack; only those named, where any are.
pub fn sources(stack: &StackSettings, only: &[String], around: Around<'_>) -> Result<Vec<NamedSource>, Fault> {
    let chosen: Vec<&SourceSettings> = if only.is_empty() {
        stack.sources.iter().collect()
    } else {
        only.iter().map(|name| stack.source(name)).collect::<Result<_, _>>()?
    };
    chosen
        .into_iter()
        .map(|settings| {
            let source = source(&settings.kind, peers(stack, &settings.name), &around)
                .map_err(|error| in_source(&settings.name, error))?;
            Ok(NamedSource { name: settings.name.clone(), source })
        })
        .collect()
}

/// The other sources of a stack that capture CouchDB's configuration: in a cluster, that of CHT is on one node alone.
fn peers(stack: &StackSettings, name: &str) -> Vec<Peer> {
    let others = stack.sources.iter().filter(|other| other.name != name);
    let peers = others.filter_map(|other| match &other.kind {
        SourceKind::CouchDb(couchdb) => {
            Some(Peer { data: place(couchdb.data.clone()), config: place(couchdb.config.clone()?) })
        }
        _ => None,
    });
    peers.collect()
}

fn in_source(name: &str, error: SourceError) -> Fault {
    let mut fault = Fault::from(error);
    fault.message = format!("source {name}: {}", fault.message);
    fault
}

fn source(kind: &SourceKind, peers: Vec<Peer>, around: &Around<'_>) -> Result<Box<dyn Source>, SourceError> {
    Ok(match kind.clone() {
        SourceKind::Files(files) => Box::new(FilesSource::new(FilesOptions {
            paths: files.paths,
            exclude: files.exclude,
            one_file_system: files.one_file_system,
            exclude_caches: files.exclude_caches,
            append_only: files.append_only,
            full_read: files.full_read,
        })?),
        SourceKind::Sqlite(sqlite) => Box::new(sqlite_source(sqlite)?),
        SourceKind::Compose(compose) => Box::new(ComposeSource::new(ComposeOptions {
            files: compose.files,
            env: compose.env,
            project: compose.project,
            variables: around.environment.variables().clone(),
            engine: Some(around.engine()),
        })?),
        SourceKind::Command(command) => Box::new(CommandSource::new(CommandOptions {
            run: run_line(&command.run),
            name: command.name,
            trailer: command.trailer,
            folder: around.folder.to_owned(),
        })?),
        SourceKind::Tls(TlsSettings::From { from }) => {
            Box::new(TlsSource::new(TlsOptions::From { place: place(from), engine: around.engine() }))
        }
        SourceKind::Tls(TlsSettings::Pair { cert, key }) => Box::new(TlsSource::new(TlsOptions::Pair { cert, key })),
        SourceKind::Volume(volume) => Box::new(VolumeSource::new(VolumeOptions {
            name: volume.name,
            exclude: volume.exclude,
            append_only: volume.append_only,
            full_read: volume.full_read,
            halt: volume.halt.map(|halt| match halt {
                HaltSettings::Stop => Halt::Stop,
                HaltSettings::Pause => Halt::Pause,
            }),
            engine: around.engine(),
            halts: around.halts.clone(),
        })),
        SourceKind::ContainerFiles(files) => Box::new(ContainerFilesSource::new(ContainerFilesOptions {
            container: container_name(files.of),
            paths: files.paths,
            exclude: files.exclude,
            engine: around.engine(),
        })?),
        SourceKind::Postgres(database) => Box::new(PostgresSource::new(database_options(database, around))?),
        SourceKind::Mysql(database) => Box::new(MysqlSource::new(database_options(database, around))?),
        SourceKind::Redis(database) => Box::new(RedisSource::new(redis(database, around))?),
        SourceKind::RedisFiles(redis) => Box::new(RedisFilesSource::new(RedisFilesOptions {
            files: place(redis.files),
            max_shrink_percent: redis.max_shrink_percent,
            engine: around.engine(),
        })),
        SourceKind::CouchDb(couchdb) => Box::new(CouchDbSource::new(CouchDbOptions {
            data: place(couchdb.data),
            config: couchdb.config.map(place),
            engine: around.engine(),
            full_read: couchdb.full_read,
            nouveau: couchdb.nouveau,
            peers,
            server: couchdb.server.map(server_options),
        })),
    })
}
