//! A host of the Community Health Toolkit (CHT), recognised by the images that its compose files name, or by the database that
//! it keeps everything in.
//!
//! It has two Compose projects: that of CHT, whose files the upgrade service writes anew with each upgrade, and that of the
//! upgrade service, whose `.env` has the variables of both. CouchDB's own configuration and the certificates are in volumes
//! that Docker makes anew, with other content, where they are missing.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use repository::{Cancel, SourceError};

use super::compose::{
    ComposeOptions, ComposeProject, ComposeService, history_folder, parse_env_file, read_compose_project,
};
use super::couchdb::has_database;
use super::discover::{Discovery, Uncovered, uncovered_of};
use super::place::Place;
use crate::containers::{Container, EngineAddress, Mount};

/// How the names of CHT's images begin.
const IMAGE_PREFIX: &str = "cht-";
const UPGRADE_SERVICE: &str = "upgrade-service";
/// The database that every CHT has.
const DATABASE: &str = "medic";
/// What CHT's own project is called where its environment does not say.
const PROJECT: &str = "cht";
/// Where volumes and folders are in the containers.
const DATA: &str = "/opt/couchdb/data";
const CREDENTIALS: &str = "/opt/couchdb/etc/local.d";
const CERTIFICATES: &str = "/etc/nginx/private";
/// What the guide puts beside the folders of the projects.
const BESIDE: [&str; 2] = ["certs", "certbot"];
/// An env file larger than this is none.
const ENV_BYTES_MAX: u64 = 1 << 20;

/// What of a CHT was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChtHost {
    /// Its version: the tag of its images.
    pub version: Option<String>,
    /// CouchDB's nodes that run here.
    pub nodes: Vec<ChtNode>,
    /// Its Compose projects: its own, and that of the upgrade service.
    pub projects: Vec<ChtProject>,
    /// Where its certificate is.
    pub certificates: Option<Place>,
    /// Folders that belong to it besides.
    pub folders: Vec<PathBuf>,
    /// What it should have and was not found, and what to do.
    pub missing: Vec<String>,
    /// What was found besides and is no part of it.
    pub uncovered: Vec<Uncovered>,
}

/// A node of CouchDB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChtNode {
    /// The data folder.
    pub data: Place,
    /// CouchDB's own configuration, with the secret.
    pub config: Option<Place>,
}

/// A Compose project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChtProject {
    /// Its name.
    pub name: String,
    /// Compose files, or a path with a wildcard for all in a folder.
    pub files: Vec<PathBuf>,
    /// Env files.
    pub env: Vec<PathBuf>,
}

impl ChtHost {
    /// Looks for a CHT in what was found in a folder. `None` where there is none. The engine is asked only where the folder
    /// is the place that CHT runs at, and not a copy of such a host. Its own project is given the name and the variables that
    /// it runs with: its folder is called `compose`, and says neither.
    pub fn find(
        found: &mut Discovery,
        engine: &EngineAddress,
        variables: &BTreeMap<String, String>,
        cancel: &Cancel,
    ) -> Result<Option<Self>, SourceError> {
        let Some((host, project)) = Self::look(found, engine, variables, cancel)? else { return Ok(None) };
        if let Some(project) = project
            && let Some(own) = found.projects.iter_mut().find(|own| own.files == project.files)
        {
            *own = project;
        }
        Ok(Some(host))
    }

    /// What was found, and CHT's own project as it runs.
    fn look(
        found: &Discovery,
        engine: &EngineAddress,
        variables: &BTreeMap<String, String>,
        cancel: &Cancel,
    ) -> Result<Option<(Self, Option<ComposeProject>)>, SourceError> {
        let shallowest = |role: &[&str]| {
            let runs = |project: &&ComposeProject| project.services.values().any(|service| has_role(service, role));
            let depth = |project: &&ComposeProject| folder_of(project).map_or(0, |folder| folder.components().count());
            found.projects.iter().filter(runs).min_by_key(depth)
        };
        let own = shallowest(&["couchdb", "api", "sentinel"]);
        let upgrade = shallowest(&[UPGRADE_SERVICE]);
        let has_medic = |folder: &&PathBuf| has_database(folder, DATABASE);
        let data: Vec<_> = found.couchdb_folders.iter().filter(has_medic).cloned().collect();
        if own.is_none() && data.is_empty() {
            return Ok(None);
        }
        let environment = upgrade.map(environment).unwrap_or_default();
        let env: Vec<_> = upgrade.iter().flat_map(|project| project.env_files.iter().cloned()).collect();
        let folder = own.and_then(folder_of);
        let root = folder.and_then(|folder| root_of(folder, environment.get("CHT_COMPOSE_PATH")?)).unwrap_or_default();
        let named = environment.get("CHT_COMPOSE_PROJECT_NAME").cloned().unwrap_or_else(|| PROJECT.to_owned());
        let project = match own {
            None => None,
            Some(own) => {
                let (files, name) = (own.files.iter().cloned().collect(), Some(named.clone()));
                let options = ComposeOptions {
                    files,
                    env: env.clone(),
                    project: name,
                    variables: variables.clone(),
                    engine: None,
                };
                Some(read_compose_project(&options, cancel)?)
            }
        };
        let running = if root.as_os_str().is_empty() { running(engine, cancel)? } else { Vec::new() };
        let look = Look { found, root, engine, running, cancel };
        let mut host = Self::default();
        host.take_nodes(&look, project.as_ref(), data);
        host.take_certificates(&look, project.as_ref());
        if let (Some(own), Some(folder)) = (own, folder) {
            host.projects.push(ChtProject { name: named, files: all_of(own, folder), env });
        } else {
            host.missing.push("CHT's compose files are not here: name the folder that they are in, too".to_owned());
        }
        match upgrade {
            Some(upgrade) => host.projects.push(ChtProject {
                name: upgrade.name.clone(),
                files: upgrade.files.iter().cloned().collect(),
                env: Vec::new(),
            }),
            None => host.missing.push(
                "the upgrade service's compose file and its `.env`, which has CouchDB's password and secret, are not here"
                    .to_owned(),
            ),
        }
        let home = upgrade.and_then(folder_of).or(folder).and_then(Path::parent);
        let beside = home.into_iter().flat_map(|home| BESIDE.map(|name| home.join(name)));
        host.folders = beside.filter(|folder| folder.is_dir()).collect();
        host.uncovered = host.not_of_it(found, [own, upgrade]);
        Ok(Some((host, project)))
    }

    fn take_nodes(&mut self, look: &Look<'_>, project: Option<&ComposeProject>, data: Vec<PathBuf>) {
        let services = project.iter().flat_map(|project| project.services.iter().map(move |pair| (*project, pair)));
        for (project, (name, service)) in services.filter(|(_, (_, service))| has_role(service, &["couchdb"])) {
            self.version = self.version.take().or_else(|| tag(service).map(str::to_owned));
            let mounts = look.mounts(project, name, service);
            let config = mounts.get(CREDENTIALS).cloned().and_then(|mount| self.place(look, "config", mount));
            if let Some(data) = mounts.get(DATA).cloned().and_then(|mount| self.place(look, "data", mount)) {
                self.nodes.push(ChtNode { data, config });
            }
        }
        // Without compose files that say so, the database itself does.
        if self.nodes.is_empty() {
            let config = look.volume(&format!("{PROJECT}_cht-credentials")).ok();
            self.nodes.extend(data.into_iter().map(|data| ChtNode { data: Place::Host(data), config: config.clone() }));
        }
        if self.nodes.is_empty() {
            self.missing.push("CouchDB's data folder was not found: add a source `couchdb` with its `data`".to_owned());
        } else if self.nodes.iter().all(|node| node.config.is_none()) {
            let what = "CouchDB's own configuration (volume cht-credentials) was not found: without the secret in it nobody \
                        can decrypt medic-vault; add it as `config`";
            self.missing.push(what.to_owned());
        }
    }

    fn take_certificates(&mut self, look: &Look<'_>, project: Option<&ComposeProject>) {
        let services = project.iter().flat_map(|project| project.services.iter().map(move |pair| (*project, pair)));
        for (project, (name, service)) in services.filter(|(_, (_, service))| has_role(service, &["nginx"])) {
            let mount = look.mounts(project, name, service).get(CERTIFICATES).cloned();
            self.certificates = mount.and_then(|mount| self.place(look, "from", mount));
        }
        if project.is_none() {
            self.certificates = look.volume(&format!("{PROJECT}_cht-ssl")).ok();
        }
        if self.certificates.is_none() {
            let what = "the certificate (volume cht-ssl) was not found: add a source `tls` with its `from`";
            self.missing.push(what.to_owned());
        }
    }

    /// The place of what is mounted, if it is there.
    fn place(&mut self, look: &Look<'_>, option: &str, mount: Mount) -> Option<Place> {
        let found = match mount {
            Mount::Volume { name } => look.volume(&name),
            Mount::Bind { host } => look.folder(&host),
        };
        found.map_err(|what| self.missing.push(format!("{option}: {what}"))).ok()
    }

    /// What was found in the folder and is neither CHT's nor below its data.
    fn not_of_it(&self, found: &Discovery, own: [Option<&ComposeProject>; 2]) -> Vec<Uncovered> {
        let is_own = |project: &&ComposeProject| {
            let is_history = || {
                let histories = own.iter().flatten().filter_map(|own| history_folder(own));
                folder_of(project).is_some_and(|folder| histories.into_iter().any(|kept| folder.starts_with(kept)))
            };
            own.iter().flatten().any(|own| own.files == project.files) || is_history()
        };
        let of_projects: Vec<_> = found.projects.iter().flat_map(|project| uncovered_of(project, &found.dir)).collect();
        let is_data = |gap: &&Uncovered| {
            self.nodes
                .iter()
                .any(|node| matches!(&node.data, Place::Host(data) if Path::new(&gap.name).starts_with(data)))
        };
        let mut gaps: Vec<_> =
            found.uncovered.iter().filter(|gap| !of_projects.contains(gap) && !is_data(gap)).cloned().collect();
        let gap = |name: String, why: &str| Uncovered { name, why: why.to_owned(), server: None };
        for project in found.projects.iter().filter(|project| !is_own(project)) {
            let name = format!("compose project {}", project.name);
            gaps.push(gap(name, "is no part of CHT: add sources for it, or a stack of its own"));
            gaps.extend(uncovered_of(project, &found.dir));
        }
        for database in &found.databases {
            let name = database.path.display().to_string();
            gaps.push(gap(name, "is a SQLite database and no part of CHT: add a source `sqlite` for it"));
        }
        gaps
    }
}

/// What is looked at.
struct Look<'a> {
    found: &'a Discovery,
    /// What stands for `/` in a copy of a host; empty where this is the host.
    root: PathBuf,
    engine: &'a EngineAddress,
    running: Vec<Container>,
    cancel: &'a Cancel,
}

impl Look<'_> {
    /// What is mounted into a service, by the path in it: as the engine says where it has such a container, else as the
    /// files do.
    fn mounts(&self, project: &ComposeProject, name: &str, service: &ComposeService) -> BTreeMap<&'static str, Mount> {
        let container = self
            .running
            .iter()
            .find(|container| container.project() == Some(&project.name) && container.service() == Some(name));
        let mut mounts = BTreeMap::new();
        for target in [DATA, CREDENTIALS, CERTIFICATES] {
            let of_engine = container.and_then(|container| container.mounts.get(Path::new(target)).cloned());
            let bind = || {
                let found = service.binds.iter().find(|bind| Path::new(&bind.target) == Path::new(target));
                found.map(|bind| Mount::Bind { host: bind.host.clone() })
            };
            mounts.extend(of_engine.or_else(bind).map(|mount| (target, mount)));
        }
        for key in &service.volumes {
            let name = project.volumes.get(key).map_or(key, |volume| &volume.name).clone();
            let target = match () {
                () if key.contains("credentials") => CREDENTIALS,
                () if key.contains("ssl") => CERTIFICATES,
                () => DATA,
            };
            mounts.entry(target).or_insert(Mount::Volume { name });
        }
        mounts
    }

    /// A folder of the host, where this is a copy of one also below its root.
    fn folder(&self, host: &Path) -> Result<Place, String> {
        let inside: PathBuf = host.components().filter(|part| matches!(part, Component::Normal(_))).collect();
        let copied = if host.starts_with(&self.root) { host.to_owned() } else { self.root.join(inside) };
        if copied.is_dir() { Ok(Place::Host(copied)) } else { Err(format!("{} is not there", copied.display())) }
    }

    /// A volume, where the engine has it; else its folder, where that was copied along.
    fn volume(&self, name: &str) -> Result<Place, String> {
        let mut why = None;
        if self.root.as_os_str().is_empty() {
            match self.engine.volume(name, self.cancel).and_then(|volume| volume.folder()) {
                Ok(_) => return Ok(Place::Volume { name: name.to_owned(), below: PathBuf::new() }),
                Err(error) => why = Some(error.to_string()),
            }
        }
        let roots = [&self.root, &self.found.dir].into_iter().filter(|root| !root.as_os_str().is_empty());
        let folders = roots.flat_map(|root| ["var/lib/docker/volumes", "volumes"].map(|volumes| root.join(volumes)));
        let folder = folders.map(|volumes| volumes.join(name).join("_data")).find(|folder| folder.is_dir());
        folder.map(Place::Host).ok_or_else(|| why.unwrap_or_else(|| format!("volume {name} is not there")))
    }
}

/// The engine's containers; none where no engine answers.
fn running(engine: &EngineAddress, cancel: &Cancel) -> Result<Vec<Container>, SourceError> {
    match engine.open(cancel).and_then(|containers| containers.containers()) {
        Err(SourceError::Cancelled) => Err(SourceError::Cancelled),
        found => Ok(found.unwrap_or_default()),
    }
}

fn has_role(service: &ComposeService, roles: &[&str]) -> bool {
    role(service).is_some_and(|role| roles.contains(&role))
}

/// What an image of CHT is for: `public.ecr.aws/medic/cht-api:4.20.0` is `api`.
fn role(service: &ComposeService) -> Option<&str> {
    let image = service.image.as_deref()?.split('@').next()?;
    image.rsplit('/').next()?.split(':').next()?.strip_prefix(IMAGE_PREFIX)
}

fn tag(service: &ComposeService) -> Option<&str> {
    let image = service.image.as_deref()?.split('@').next()?;
    image.rsplit('/').next()?.split_once(':').map(|(_, tag)| tag)
}

fn folder_of(project: &ComposeProject) -> Option<&Path> {
    project.files.first()?.parent()
}

/// The compose files in the folder, also those that an upgrade will add.
fn all_of(project: &ComposeProject, folder: &Path) -> Vec<PathBuf> {
    let is_pattern = folder.to_string_lossy().contains(['*', '?', '[', '{']);
    let is_plain = |file: &PathBuf| file.parent() == Some(folder) && file.extension().is_some_and(|end| end == "yml");
    if !is_pattern && project.files.iter().all(is_plain) {
        return vec![folder.join("*.yml")];
    }
    project.files.iter().cloned().collect()
}

/// The variables of a project's env files.
fn environment(project: &ComposeProject) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for file in &project.env_files {
        let is_small = file.metadata().is_ok_and(|metadata| metadata.len() <= ENV_BYTES_MAX);
        let text = if is_small { std::fs::read(file).unwrap_or_default() } else { Vec::new() };
        variables.extend(parse_env_file(&String::from_utf8_lossy(&text), &|_| None));
    }
    variables
}

/// What stands for `/`, where `folder` is a copy of the folder `host`; `None` where it is that folder.
fn root_of(folder: &Path, host: &str) -> Option<PathBuf> {
    let host = Path::new(host).strip_prefix("/").ok()?;
    let above = folder.ancestors().nth(host.components().count())?;
    (above != Path::new("/") && above.join(host) == folder).then(|| above.to_owned())
}
