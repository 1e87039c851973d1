//! An ALTCHA Sentinel, recognised by the image that a compose file names, or by the secrets that it keeps beside its
//! databases.
//!
//! All that it has lies in one volume, `/data`, but for databases in servers that its environment names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use repository::{Cancel, SourceError};

use super::compose::{ComposeProject, ComposeService, parse_env_file, parse_plain_env_file};
use super::discover::{Discovery, FoundServer, Uncovered, discover, server_kind_of_image, uncovered_of};
use crate::containers::EngineAddress;

/// How the names of its image end, in any registry.
const IMAGE: &str = "altcha-org/sentinel";
/// Where its volume is in the container.
const DATA: &str = "/data";
/// The file in it with what was set in Sentinel's own pages and the secrets that it made.
const ENV: &str = ".env";
/// Secrets that nothing else has.
const SECRETS: [&str; 3] = ["ALTCHA_HMAC_SECRET", "CODE_CHALLENGE_SECRET", "EXOTDB_HMAC_SECRET"];
/// An env file larger than this is none.
const ENV_BYTES_MAX: u64 = 1 << 20;
/// Variables that name a server with a part of Sentinel's data, and the kind of source for it; `None` where there is none.
pub struct ServerVariables<'a> {
    /// What is there, in words.
    pub part: &'a str,
    /// What the source for it is called.
    pub source: &'a str,
    /// By name.
    pub variables: Vec<(&'a str, Option<&'a str>)>,
}

/// What of a Sentinel was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SentinelHost {
    /// Its version: the tag of its image.
    pub version: Option<String>,
    /// The folder that is its volume.
    pub data: Option<PathBuf>,
    /// SQLite databases in it.
    pub databases: Vec<PathBuf>,
    /// Its Compose project's name and files.
    pub project: Option<(String, Vec<PathBuf>)>,
    /// Services of its project that its variables name, which hold a part of its data; each with what the source for it is called.
    pub servers: Vec<(String, FoundServer)>,
    /// What it should have and was not found, or has where it cannot be found, and what to do.
    pub missing: Vec<String>,
    /// What was found besides and is no part of it.
    pub uncovered: Vec<Uncovered>,
}

impl SentinelHost {
    /// Looks for a Sentinel in what was found in a folder. `None` where there is none.
    pub fn find(
        found: &Discovery,
        servers: &[ServerVariables<'_>],
        engine: &EngineAddress,
        cancel: &Cancel,
    ) -> Result<Option<Self>, SourceError> {
        let services = found.projects.iter().flat_map(|project| project.services.values().map(move |s| (project, s)));
        let own = services.into_iter().find(|(_, service)| version(service).is_some());
        let mut host = Self::default();
        match own {
            Some((project, service)) => {
                host.version = version(service).map(str::to_owned);
                host.project = Some((project.name.clone(), project.files.iter().cloned().collect()));
                match volume(found, project, service, engine, cancel) {
                    Err(SourceError::Cancelled) => return Err(SourceError::Cancelled),
                    Err(error) => host.missing.push(format!("its volume {DATA}: {error}")),
                    Ok(data) => host.data = Some(data),
                }
            }
            None => {
                let folders = found.databases.iter().filter_map(|database| database.path.parent());
                let Some(data) = folders.filter(|folder| has_secrets(folder)).min() else { return Ok(None) };
                host.data = Some(data.to_owned());
            }
        }
        if let Some(data) = &host.data {
            host.databases = discover(data, cancel)?.databases.into_iter().map(|database| database.path).collect();
        }
        let own = own.map(|(project, _)| project);
        host.look_for_servers(own, servers);
        host.uncovered = host.not_of_it(found, own);
        Ok(Some(host))
    }

    /// Databases that are not in the volume: those in services of its own project are found by these; others are named, as nobody
    /// but the user can say how Lifeboat logs in there.
    fn look_for_servers(&mut self, project: Option<&ComposeProject>, servers: &[ServerVariables<'_>]) {
        // What its environment says wins.
        let mut variables = self.data.as_ref().map_or_else(BTreeMap::new, |data| own_env(data));
        let of_project = project.iter().flat_map(|project| &project.env_files);
        of_project.for_each(|file| variables.extend(parse_env_file(&text_of(file), &|_| None)));
        let is_set = |name: &str| variables.get(name).is_some_and(|value| !value.is_empty());
        for ServerVariables { part, source, variables: names } in servers {
            for (name, kind) in names.iter().filter(|(name, _)| is_set(name)) {
                let here = project.and_then(|project| server_in(project, (*kind)?, host_of(variables.get(*name)?)?));
                if let Some(here) = here {
                    self.servers.push(((*source).to_owned(), here));
                    continue;
                }
                self.missing.push(match kind {
                    Some(kind) => {
                        format!("its {part} is the server that {name} names: add a source `{kind}` with its `url`, `user` and `password_file`")
                    }
                    None => format!(
                        "its {part} is what {name} names, which Lifeboat cannot capture: back it up with its own tools"
                    ),
                });
            }
        }
        if variables.get("EXOTDB_REDIS_STORAGE").is_some_and(|storage| storage != "local") {
            let what = "its Redis is not kept in the volume, as EXOTDB_REDIS_STORAGE says: it is in no backup";
            self.missing.push(what.to_owned());
        }
    }

    /// What was found in the folder and is neither Sentinel's nor in its volume.
    fn not_of_it(&self, found: &Discovery, own: Option<&ComposeProject>) -> Vec<Uncovered> {
        // Databases in it that none of its variables names are no part of it either.
        let is_used = |server| self.servers.iter().any(|(_, used)| Some(used.kind) == server);
        let of_own = own.iter().flat_map(|own| uncovered_of(own, &found.dir));
        let of_own: Vec<_> = of_own.filter(|gap| gap.server.is_none() || is_used(gap.server)).collect();
        let mut gaps: Vec<_> = found.uncovered.iter().filter(|gap| !of_own.contains(gap)).cloned().collect();
        let is_data = |path: &Path| self.data.as_ref().is_some_and(|data| path.starts_with(data));
        let gap = |name: String, why: &str| Uncovered { name, why: why.to_owned(), server: None };
        for project in found.projects.iter().filter(|project| own.is_none_or(|own| own.files != project.files)) {
            let name = format!("compose project {}", project.name);
            gaps.push(gap(name, "is no part of Sentinel: add sources for it, or a stack of its own"));
        }
        for database in found.databases.iter().filter(|database| !is_data(&database.path)) {
            let name = database.path.display().to_string();
            gaps.push(gap(name, "is a SQLite database and not in Sentinel's volume: add a source `sqlite` for it"));
        }
        gaps
    }
}

/// The service of this name, where it runs a server of this kind.
fn server_in(project: &ComposeProject, kind: &str, service: &str) -> Option<FoundServer> {
    let image = project.services.get(service)?.image.as_deref()?;
    let found = server_kind_of_image(image).filter(|found| found.source() == Some(kind))?;
    Some(FoundServer { project: project.name.clone(), service: service.to_owned(), kind: found })
}

/// The host that an address names.
fn host_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let place = rest.split(['/', '?', '#']).next()?;
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    Some(place.split_once(':').map_or(place, |(host, _)| host)).filter(|host| !host.is_empty())
}

/// The tag of Sentinel's image; empty where it has none, `None` where the service runs something else.
fn version(service: &ComposeService) -> Option<&str> {
    let image = service.image.as_deref()?.split('@').next()?;
    let (name, tag) = match image.rsplit_once(':') {
        // A colon before a slash is that of the registry's port.
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, ""),
    };
    let is_own = name == IMAGE || name.strip_suffix(IMAGE).is_some_and(|registry| registry.ends_with('/'));
    is_own.then_some(tag)
}

/// The folder that is mounted as Sentinel's volume: one of the host, or that of a volume of the engine, or of a copy of one.
fn volume(
    found: &Discovery,
    project: &ComposeProject,
    service: &ComposeService,
    engine: &EngineAddress,
    cancel: &Cancel,
) -> Result<PathBuf, SourceError> {
    if let Some(bind) = service.binds.iter().find(|bind| Path::new(&bind.target) == Path::new(DATA)) {
        return match bind.host.is_dir() {
            true => Ok(bind.host.clone()),
            false => Err(SourceError::unavailable(format!("{} is not there", bind.host.display()))),
        };
    }
    let key = service.volumes.first().ok_or_else(|| {
        SourceError::unavailable("no volume is mounted there, so everything ends with the container; mount one")
    })?;
    let name = project.volumes.get(key).map_or(key, |volume| &volume.name);
    let copied = found.dir.join("volumes").join(name).join("_data");
    if copied.is_dir() {
        return Ok(copied);
    }
    engine.volume(name, cancel)?.folder()
}

/// Whether this is a folder with the secrets of a Sentinel.
fn has_secrets(folder: &Path) -> bool {
    let variables = own_env(folder);
    SECRETS.iter().any(|name| variables.contains_key(*name))
}

/// The variables in the `.env` that Sentinel itself wrote into its volume.
fn own_env(data: &Path) -> BTreeMap<String, String> {
    parse_plain_env_file(&text_of(&data.join(ENV)))
}

/// What an env file says; nothing where it cannot be read.
fn text_of(file: &Path) -> String {
    let is_small = file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() <= ENV_BYTES_MAX);
    let text = if is_small { std::fs::read(file).unwrap_or_default() } else { Vec::new() };
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_address_is_what_it_names() {
        for (url, host) in [
            ("postgres://u:p%40@db:5432/x", Some("db")),
            ("redis://cache", Some("cache")),
            ("mysql://db/x?a=@b", Some("db")),
            ("db", None),
            ("x:///y", None),
        ] {
            assert_eq!(host_of(url), host, "{url}");
        }
    }

    #[test]
    fn it_is_told_by_its_image_in_any_registry() {
        let of = |image: &str| {
            let service = ComposeService { image: Some(image.to_owned()), ..ComposeService::default() };
            version(&service).map(str::to_owned)
        };
        assert_eq!(of("ghcr.io/altcha-org/sentinel:1.14.0"), Some("1.14.0".to_owned()));
        assert_eq!(of("public.ecr.aws/n6m6b4n8/altcha-org/sentinel:2@sha256:00"), Some("2".to_owned()));
        assert_eq!(of("localhost:5000/altcha-org/sentinel"), Some(String::new()));
        // CHT has a service of this name.
        for other in
            ["medicmobile/cht-sentinel:4", "x/notaltcha-org/sentinel:1", "redis:7", "altcha-org/sentinel-agent:1"]
        {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
