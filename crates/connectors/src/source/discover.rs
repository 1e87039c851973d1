//! Looks around in a folder: what is there to protect, and what of it a backup of the folder would miss.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::FileType;
use std::path::{Path, PathBuf};

use repository::{Cancel, Problem, SourceError};

use super::compose::{ComposeOptions, ComposeProject, FILE_NAMES, read_compose_project};
use super::walk::{CACHE_TAG, Seen, is_cache_tag, walk};
use super::{couchdb, layout, sqlite};
use crate::containers::{Container, ContainerState, EngineAddress, Mount};

/// After this many files and folders, what was found so far must do.
const ENTRIES_MAX: u64 = 10_000_000;
/// A file larger than this is not asked whether it is a compose file.
const COMPOSE_BYTES_MAX: u64 = 1 << 20;
/// A file larger than this is not asked whether it holds a certificate or a key.
const PEM_BYTES_MAX: u64 = 64 << 10;
/// How the names of such files end.
const PEM_NAMES: [&str; 4] = ["pem", "crt", "cer", "key"];
/// Folders whose YAML files describe what others run.
const FOREIGN_FOLDERS: [&str; 3] = ["node_modules", ".git", "vendor"];
/// What lies here is the running machine, such as Docker's socket, and no data.
const MACHINE_FOLDERS: [&str; 6] = ["/dev", "/proc", "/run", "/sys", "/var/run", "/etc/localtime"];

/// What a folder holds.
#[derive(Clone, Debug, Default)]
pub struct Discovery {
    /// The folder, from the root.
    pub dir: PathBuf,
    /// Regular files in it, at any depth.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// SQLite databases, sorted by path.
    pub databases: Vec<FoundDatabase>,
    /// Compose projects, sorted by the path of their first file.
    pub projects: Vec<ComposeProject>,
    /// Folders with a valid `CACHEDIR.TAG`, sorted.
    pub cache_folders: Vec<PathBuf>,
    /// Certificates that have a private key beside them, sorted. One without is an authority's, and public.
    pub certificates: Vec<PathBuf>,
    /// Data folders of CouchDB, sorted.
    pub couchdb_folders: Vec<PathBuf>,
    /// Database servers of these projects that run just now, as the container engine says: see [`Discovery::find_servers`].
    pub servers: Vec<FoundServer>,
    /// What a backup of these finds would miss, or not get as one state.
    pub uncovered: Vec<Uncovered>,
    /// What could not be looked at.
    pub problems: Vec<Problem>,
    /// The folder holds more than was looked at.
    pub is_cut_short: bool,
}

/// A SQLite database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoundDatabase {
    /// Its file.
    pub path: PathBuf,
    /// Size of the file, without its log.
    pub bytes: u64,
}

/// A database server in a container of a Compose project, which is captured through the server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoundServer {
    /// The project.
    pub project: String,
    /// The service.
    pub service: String,
    /// What it is.
    pub kind: ServerKind,
}

/// Something that a backup of the folder does not cover.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uncovered {
    /// What it is called: a path, a volume, a service.
    pub name: String,
    /// What it is and why it is not covered.
    pub why: String,
    /// The server whose data it is, where that is known.
    pub server: Option<ServerKind>,
}

/// A kind of database server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerKind {
    /// CouchDB.
    Couchdb,
    /// MongoDB.
    Mongodb,
    /// MySQL, MariaDB and Percona Server.
    Mysql,
    /// PostgreSQL and what is built on it.
    Postgres,
    /// Redis, Valkey and KeyDB.
    Redis,
}

/// By what an image's name contains.
const IMAGES: [(&str, ServerKind); 13] = [
    ("couchdb", ServerKind::Couchdb),
    ("mongo", ServerKind::Mongodb),
    ("mysql", ServerKind::Mysql),
    ("mariadb", ServerKind::Mysql),
    ("percona-server", ServerKind::Mysql),
    ("postgres", ServerKind::Postgres),
    ("postgis", ServerKind::Postgres),
    ("pgvector", ServerKind::Postgres),
    ("timescaledb", ServerKind::Postgres),
    ("redis", ServerKind::Redis),
    ("valkey", ServerKind::Redis),
    ("keydb", ServerKind::Redis),
    ("dragonfly", ServerKind::Redis),
];
/// What the names of images contain that only work with a server.
const COMPANIONS: [&str; 9] =
    ["exporter", "express", "commander", "insight", "admin", "backup", "proxy", "operator", "router"];

/// Variables that the images of servers set, and no image that only works with one.
const VARIABLES: [(&str, ServerKind); 7] = [
    ("PG_MAJOR", ServerKind::Postgres),
    ("MARIADB_VERSION", ServerKind::Mysql),
    ("MYSQL_MAJOR", ServerKind::Mysql),
    ("REDIS_VERSION", ServerKind::Redis),
    ("REDIS_DOWNLOAD_URL", ServerKind::Redis),
    ("VALKEY_VERSION", ServerKind::Redis),
    ("VALKEY_DOWNLOAD_URL", ServerKind::Redis),
];
/// What the names of images contain that speak Redis's language, but give nobody a dump.
const WITHOUT_DUMPS: &str = "dragonfly";

impl ServerKind {
    /// Where images of it keep their data: the official ones, and those of Bitnami.
    pub fn data_folders(self) -> &'static [&'static str] {
        match self {
            Self::Couchdb => &["/opt/couchdb/data", "/bitnami/couchdb"],
            Self::Mongodb => &["/data/db", "/bitnami/mongodb"],
            Self::Mysql => &["/var/lib/mysql", "/bitnami/mysql", "/bitnami/mariadb"],
            Self::Postgres => &["/var/lib/postgresql", "/bitnami/postgresql"],
            Self::Redis => &["/data", "/bitnami/redis", "/bitnami/valkey"],
        }
    }

    /// The kind of source that captures all that such a server has, if there is one that needs nothing but its container.
    pub fn source(self) -> Option<&'static str> {
        match self {
            Self::Postgres => Some("postgres"),
            Self::Mysql => Some("mysql"),
            Self::Redis => Some("redis"),
            Self::Couchdb | Self::Mongodb => None,
        }
    }

    /// The server's name on screen.
    pub fn name(self) -> &'static str {
        match self {
            Self::Couchdb => "CouchDB",
            Self::Mongodb => "MongoDB",
            Self::Mysql => "MySQL",
            Self::Postgres => "PostgreSQL",
            Self::Redis => "Redis",
        }
    }
}

/// The database server that an image runs, guessed from its name: `docker.io/library/postgres:16` is PostgreSQL.
pub fn server_kind_of_image(image: &str) -> Option<ServerKind> {
    let name = image.split('@').next()?;
    let name = name.rsplit('/').next()?.split(':').next()?.to_lowercase();
    let is_companion = COMPANIONS.iter().any(|companion| name.contains(companion));
    let kind = IMAGES.iter().find(|(part, _)| name.contains(part)).map(|(_, kind)| *kind);
    kind.filter(|_| !is_companion)
}

/// Looks into `dir`, at any depth, following no link. Opens every file for a moment, to know databases by their content.
/// Fails where `dir` is no folder or cannot be listed, and when cancelled.
pub fn discover(dir: &Path, cancel: &Cancel) -> Result<Discovery, SourceError> {
    let dir = layout::absolute(dir).map_err(SourceError::io(dir))?;
    std::fs::read_dir(&dir).map_err(SourceError::io(&dir))?;
    let mut search = Search {
        found: Discovery { dir: dir.clone(), ..Discovery::default() },
        compose: BTreeMap::new(),
        key_folders: BTreeSet::new(),
        entries: 0,
    };
    walk(&dir, cancel, &mut |seen| search.see(seen))?;
    let Search { mut found, compose, key_folders, .. } = search;
    found.certificates.retain(|path| path.parent().is_some_and(|folder| key_folders.contains(folder)));
    found.certificates.sort();
    found.projects = projects(compose, cancel)?;
    let uncovered: Vec<_> = found.projects.iter().flat_map(|project| uncovered_of(project, &dir)).collect();
    found.uncovered.extend(uncovered);
    found.databases.sort();
    found.cache_folders.sort();
    found.couchdb_folders.sort();
    found.uncovered.sort();
    found.uncovered.dedup();
    Ok(found)
}

impl Discovery {
    /// Finds the servers whose containers run, which can be captured through them, and takes what they keep off what is not
    /// covered. Who has no engine has none.
    pub fn find_servers(&mut self, engine: &EngineAddress, cancel: &Cancel) -> Result<(), SourceError> {
        let containers = match engine.open(cancel) {
            Err(SourceError::Cancelled) => return Err(SourceError::Cancelled),
            Err(_) => return Ok(()),
            Ok(containers) => containers,
        };
        for container in containers.containers()? {
            let (Some(project), Some(service)) = (container.project(), container.service()) else { continue };
            let is_here =
                self.projects.iter().any(|found| found.name == project && found.services.contains_key(service));
            if container.state != ContainerState::Running || !is_here || container.image.contains(WITHOUT_DUMPS) {
                continue;
            }
            let of_variables = || -> Result<Option<ServerKind>, SourceError> {
                let variables = containers.environment(&container)?;
                Ok(VARIABLES.iter().find(|(name, _)| variables.contains_key(*name)).map(|(_, kind)| *kind))
            };
            let kind = match server_kind_of_image(&container.image) {
                None => of_variables()?,
                kind => kind,
            };
            let Some(kind) = kind.filter(|kind| kind.source().is_some()) else { continue };
            let server = FoundServer { project: project.to_owned(), service: service.to_owned(), kind };
            if !self.servers.contains(&server) {
                self.take_off(&server, &container);
                self.servers.push(server);
            }
        }
        self.servers.sort();
        Ok(())
    }

    /// What a server keeps in the folders of its data is covered by what it gives.
    fn take_off(&mut self, server: &FoundServer, container: &Container) {
        let FoundServer { project, service, kind } = server;
        let is_data = |inside: &Path| kind.data_folders().iter().any(|folder| inside.starts_with(folder));
        let (mut names, mut folders) = (vec![format!("service {service} of {project}")], Vec::new());
        for (inside, mount) in container.mounts.iter().filter(|(inside, _)| is_data(inside)) {
            names.push(format!("{} in service {service} of {project}", inside.display()));
            match mount {
                Mount::Volume { name } => names.push(format!("volume {name}")),
                Mount::Bind { host } => folders.push(host.clone()),
            }
        }
        self.uncovered.retain(|gap| {
            !names.contains(&gap.name) && !folders.iter().any(|folder| Path::new(&gap.name).starts_with(folder))
        });
    }
}

struct Search {
    found: Discovery,
    /// Files that may be compose files, by folder.
    compose: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
    /// Folders with a private key.
    key_folders: BTreeSet<PathBuf>,
    entries: u64,
}

impl Search {
    fn see(&mut self, seen: Seen<'_>) -> bool {
        match seen {
            Seen::Names(folder, names) => self.see_names(folder, names),
            Seen::Entry(path, file_type) => {
                self.entries += 1;
                if file_type.is_file() {
                    self.see_file(path);
                }
            }
            Seen::Unreadable(path, error) => {
                let what = format!("could not be looked into: {error}");
                self.found.problems.push(Problem::new(path, what));
            }
        }
        self.found.is_cut_short |= self.entries >= ENTRIES_MAX;
        !self.found.is_cut_short
    }

    fn see_names(&mut self, folder: &Path, names: &[(OsString, FileType)]) {
        let has = |wanted: &str| names.iter().any(|(name, _)| name == wanted);
        if has(CACHE_TAG) && is_cache_tag(&folder.join(CACHE_TAG)) {
            self.found.cache_folders.push(folder.to_path_buf());
        }
        let has_couch = || names.iter().any(|(name, _)| Path::new(name).extension().is_some_and(|end| end == "couch"));
        // One that lost its shard map is one all the more.
        if has(couchdb::SHARD_MAP) || has("shards") && (has(".shards") || has_couch()) {
            self.found.couchdb_folders.push(folder.to_path_buf());
        }
        let server = match () {
            () if has("PG_VERSION") && has("base") && has("global") => ServerKind::Postgres,
            () if has("ibdata1") => ServerKind::Mysql,
            () if has("WiredTiger.wt") => ServerKind::Mongodb,
            () if has_couch() => ServerKind::Couchdb,
            () if has("dump.rdb") || has("appendonlydir") => ServerKind::Redis,
            () => return,
        };
        let why = format!(
            "files of {}: while the server runs, they are not captured as one state, as files are read one by one",
            server.name()
        );
        let name = folder.display().to_string();
        self.found.uncovered.push(Uncovered { name, why, server: Some(server) });
    }

    fn see_file(&mut self, path: &Path) {
        let Ok(metadata) = path.symlink_metadata() else { return };
        self.found.files += 1;
        self.found.bytes += metadata.len();
        match sqlite::has_magic(path) {
            Ok(true) => {
                self.found.databases.push(FoundDatabase { path: path.to_path_buf(), bytes: metadata.len() });
            }
            Ok(false) if metadata.len() <= COMPOSE_BYTES_MAX && is_compose_file(path) => {
                let folder = path.parent().unwrap_or(path).to_path_buf();
                self.compose.entry(folder).or_default().insert(path.to_path_buf());
            }
            Ok(false) if metadata.len() <= PEM_BYTES_MAX && has_pem_name(path) => self.see_pem(path),
            Ok(false) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => self.found.problems.push(Problem::new(path, format!("could not be read: {error}"))),
        }
    }
}

impl Search {
    /// A file that cannot be read was reported when it was asked whether it is a database.
    fn see_pem(&mut self, path: &Path) {
        let bytes = std::fs::read(path).unwrap_or_default();
        let has = |mark: &[u8]| bytes.windows(mark.len()).any(|window| window == mark);
        if has(b"PRIVATE KEY-----") {
            self.key_folders.extend(path.parent().map(Path::to_path_buf));
        }
        if has(b"-----BEGIN CERTIFICATE-----") {
            self.found.certificates.push(path.to_path_buf());
        }
    }
}

fn has_pem_name(path: &Path) -> bool {
    path.extension().is_some_and(|end| PEM_NAMES.iter().any(|name| end == *name))
}

/// Whether what lies at `host` is the running machine, and no data.
pub(super) fn is_of_machine(host: &Path) -> bool {
    MACHINE_FOLDERS.iter().any(|folder| host.starts_with(folder))
}

/// Whether a file is a compose file, by its name, or as YAML with services.
fn is_compose_file(path: &Path) -> bool {
    let is_yaml = path.extension().is_some_and(|end| end == "yml" || end == "yaml");
    let is_foreign = || path.components().any(|part| FOREIGN_FOLDERS.iter().any(|name| part.as_os_str() == *name));
    let has_services = || {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().any(|line| line.starts_with("services:"))
    };
    let has_known_name = FILE_NAMES.iter().any(|name| path.file_name().is_some_and(|own| own == *name));
    is_yaml && !is_foreign() && (has_known_name || has_services())
}

/// The projects in folders with compose files. In a folder with a file that Compose takes by itself, that is one project;
/// what else is there, and belongs to no other project, is one more.
fn projects(
    folders: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
    cancel: &Cancel,
) -> Result<Vec<ComposeProject>, SourceError> {
    let read = |files: Vec<PathBuf>| match read_compose_project(&ComposeOptions { files, ..Default::default() }, cancel)
    {
        Ok(project) => Ok(Some(project)),
        Err(SourceError::Cancelled) => Err(SourceError::Cancelled),
        // It vanished meanwhile, or `.env` names files that are not there.
        Err(_) => Ok(None),
    };
    let is_standard = |file: &PathBuf| FILE_NAMES.iter().any(|name| file.file_name().is_some_and(|own| own == *name));
    let mut projects = Vec::new();
    for (folder, files) in &folders {
        if files.iter().any(is_standard) {
            projects.extend(read(vec![folder.clone()])?);
        }
    }
    let taken: BTreeSet<_> = projects.iter().flat_map(|project| project.files.iter().cloned()).collect();
    for (_, mut files) in folders {
        files.retain(|file| !taken.contains(file) && !is_standard(file));
        if !files.is_empty() {
            projects.extend(read(files.into_iter().collect())?.filter(|project| !project.services.is_empty()));
        }
    }
    projects.sort_by(|a, b| a.files.cmp(&b.files));
    Ok(projects)
}

/// What of a project lies elsewhere than in `dir`, or is data of a server.
pub(super) fn uncovered_of(project: &ComposeProject, dir: &Path) -> Vec<Uncovered> {
    let mut uncovered = Vec::new();
    let mut add = |name: String, why: String, server| uncovered.push(Uncovered { name, why, server });
    for (key, service) in &project.services {
        let server = service.image.as_deref().and_then(server_kind_of_image);
        if let Some(server) = server {
            let how = server
                .source()
                .map_or_else(String::new, |kind| format!("; add a source `{kind}: {{ service: {key} }}`"));
            let why = format!("runs {}: its data must be taken through the server to be one state{how}", server.name());
            add(format!("service {key} of {}", project.name), why, Some(server));
        }
        for volume in &service.volumes {
            let name = project.volumes.get(volume).map_or(volume, |volume| &volume.name);
            add(format!("volume {name}"), format!("is kept by Docker, outside {}", dir.display()), server);
        }
        for target in &service.unnamed_volumes {
            let why = "is a volume without a name: its data ends with the container".to_owned();
            add(format!("{target} in service {key} of {}", project.name), why, server);
        }
        for bind in service.binds.iter().filter(|bind| !bind.host.starts_with(dir) && !is_of_machine(&bind.host)) {
            let why = format!("is mounted by service {key} of {}, and lies outside {}", project.name, dir.display());
            add(bind.host.display().to_string(), why, server);
        }
    }
    uncovered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, files: &[(&str, &str)]) {
        for (file, text) in files {
            let path = dir.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn images_are_known_by_their_names() {
        let cases = [
            ("postgres", Some(ServerKind::Postgres)),
            ("docker.io/library/postgres:16-alpine@sha256:00", Some(ServerKind::Postgres)),
            ("localhost:5000/medic/cht-couchdb:4.5", Some(ServerKind::Couchdb)),
            ("valkey/valkey:8", Some(ServerKind::Redis)),
            ("mariadb", Some(ServerKind::Mysql)),
            ("prometheuscommunity/postgres-exporter", None),
            ("mongo-express", None),
            ("postgres/nginx", None),
            ("", None),
        ];
        for (image, kind) in cases {
            assert_eq!(server_kind_of_image(image), kind, "{image}");
        }
    }

    #[test]
    fn a_folder_shows_what_it_holds_and_what_a_backup_of_it_would_miss() {
        let dir = tempfile::tempdir().unwrap();
        let compose = "services:\n  db: {image: postgres, volumes: ['data:/var/lib', './conf:/c', '/srv/x:/x', '/var/run/docker.sock:/s', /tmp/u]}\n";
        let texts = [
            ("app/compose.yml", compose),
            ("app/compose.override.yml", "services: {web: {image: nginx, env_file: web.env}}"),
            ("app/web.env", "A=1"),
            ("app/values.yml", "replicas: 1\n"),
            ("cht/cht-core.yml", "services:\n  api: {image: api}\n"),
            ("cht/cht-couchdb.yml", "services:\n  couch: {image: cht-couchdb}\n"),
            ("web/node_modules/x/docker-compose.yml", "services:\n  no: {image: no}\n"),
            ("cache/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55"),
            ("pg/PG_VERSION", "16"),
            ("pg/base/1", "x"),
            ("pg/global/1", "x"),
        ];
        write(dir.path(), &texts);
        let database = rusqlite::Connection::open(dir.path().join("app/data.bin")).unwrap();
        database.execute_batch("CREATE TABLE t (a)").unwrap();
        drop(database);
        std::os::unix::fs::symlink("/", dir.path().join("link")).unwrap();
        let found = discover(dir.path(), &Cancel::new()).unwrap();
        assert_eq!((found.files, found.is_cut_short, found.problems.len()), (12, false, 0));
        let text_bytes: usize = texts.iter().map(|(_, text)| text.len()).sum();
        assert_eq!(found.bytes, 8192 + u64::try_from(text_bytes).unwrap());
        assert_eq!(found.databases, [FoundDatabase { path: dir.path().join("app/data.bin"), bytes: 8192 }]);
        assert_eq!(found.cache_folders, [dir.path().join("cache")]);
        let projects: Vec<_> = found
            .projects
            .iter()
            .map(|project| (project.name.as_str(), project.services.keys().map(String::as_str).collect::<Vec<_>>()))
            .collect();
        assert_eq!(projects, [("app", vec!["db", "web"]), ("cht", vec!["api", "couch"])]);
        assert_eq!(found.projects[0].env_files, [dir.path().join("app/web.env")].into());
        let uncovered: Vec<_> = found.uncovered.iter().map(|uncovered| uncovered.name.clone()).collect();
        let expected = [
            "/srv/x".to_owned(),
            "/tmp/u in service db of app".to_owned(),
            dir.path().join("pg").display().to_string(),
            "service couch of cht".to_owned(),
            "service db of app".to_owned(),
            "volume app_data".to_owned(),
        ];
        assert_eq!(BTreeSet::from_iter(uncovered), BTreeSet::from(expected));
    }

    #[test]
    fn what_cannot_be_looked_into_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert!(discover(&dir.path().join("gone"), &Cancel::new()).is_err());
        let cancelled = Cancel::new();
        cancelled.cancel();
        assert!(matches!(discover(dir.path(), &cancelled), Err(SourceError::Cancelled)));
        crate::source::testing::as_plain_user(dir.path(), || {
            use std::os::unix::fs::PermissionsExt as _;
            write(dir.path(), &[("shut/x", ""), ("secret", "x")]);
            let chmod = |name: &str, mode| {
                std::fs::set_permissions(dir.path().join(name), std::fs::Permissions::from_mode(mode)).unwrap();
            };
            chmod("shut", 0);
            chmod("secret", 0);
            let found = discover(dir.path(), &Cancel::new()).unwrap();
            chmod("shut", 0o700);
            assert_eq!((found.files, found.problems.len()), (1, 2));
        });
    }
}
