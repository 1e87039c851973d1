//! The container engine of this machine, Docker or Podman, over its socket: what runs here, where its data lies, and files
//! in and out of containers.
//!
//! Only a socket of this machine is used: what the engine says of paths is about the machine that it runs on. Nothing here
//! makes or removes a container, a volume or an image.

mod address;
mod exec;
mod freeze;
mod guard;
mod halt;
mod mounted;
mod states;
mod volume;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::pin::Pin;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum, MountPoint};
use bollard::query_parameters::{
    ContainerArchiveInfoOptionsBuilder, DownloadFromContainerOptionsBuilder, ListContainersOptionsBuilder,
    ListVolumesOptions, RestartContainerOptions, StartContainerOptions, StopContainerOptions,
    UploadToContainerOptionsBuilder,
};
use bollard::{Docker, errors::Error as EngineError};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use repository::limits::CANCEL_POLL;
use repository::{Cancel, SourceError};
use tokio::runtime::Runtime;

pub use self::address::EngineAddress;
pub use self::exec::Exec;
pub use self::freeze::{FreezeOptions, Frozen};
pub use self::guard::{GuardCommand, keep_watch};
pub use self::halt::{Halt, Halted, Halts, MayGoOn, PutRight, Replaced};
pub use self::mounted::User;
pub use self::volume::Volume;

/// How long the engine may take to begin an answer. Stopping a container alone takes ten seconds where it does not listen.
const ANSWER_SECONDS_MAX: u64 = 600;

/// Compose's labels; both of its versions set them.
pub(crate) const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
const NUMBER: &str = "com.docker.compose.container-number";
const ONE_OFF: &str = "com.docker.compose.oneoff";

/// An engine that answers.
pub struct Containers {
    pub(crate) docker: Docker,
    socket: PathBuf,
    runtime: Runtime,
    cancel: Cancel,
}

impl std::fmt::Debug for Containers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Containers({})", self.socket.display())
    }
}

/// A container, running or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its name, without a slash.
    pub name: String,
    /// The image's name, as the container was made of.
    pub image: String,
    /// The image's id.
    pub image_id: String,
    /// What it does.
    pub state: ContainerState,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What is mounted into it, by the path in it.
    pub mounts: BTreeMap<PathBuf, Mount>,
}

/// What a container does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerState {
    /// It runs.
    Running,
    /// Its processes are held.
    Paused,
    /// It does not run.
    Stopped,
}

/// What is mounted into a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mount {
    /// A volume.
    Volume {
        /// Its name; long and random for one that was given none.
        name: String,
    },
    /// A file or folder of the host.
    Bind {
        /// Where it lies.
        host: PathBuf,
    },
}

impl Container {
    /// The Compose project it belongs to.
    pub fn project(&self) -> Option<&str> {
        self.labels.get(PROJECT).map(String::as_str)
    }

    /// The Compose service it runs.
    pub fn service(&self) -> Option<&str> {
        self.labels.get(SERVICE).map(String::as_str)
    }

    /// Its number among the containers of its service.
    fn number(&self) -> u64 {
        self.labels.get(NUMBER).and_then(|number| number.parse().ok()).unwrap_or(1)
    }

    /// Whether it was made by `compose run` for one command.
    fn is_one_off(&self) -> bool {
        self.labels.get(ONE_OFF).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// Whether `name` means this container: its name, or the one that the other version of Compose gives it. Version 1
    /// joins the parts with `_`, version 2 with `-`, so names change when a host is upgraded.
    fn is_called(&self, name: &str) -> bool {
        let composed = |joint: &str| {
            let (project, service) = (self.project()?, self.service()?);
            Some(format!("{project}{joint}{service}{joint}{}", self.number()))
        };
        self.name == name
            || (!self.is_one_off() && ["_", "-"].iter().any(|joint| composed(joint).as_deref() == Some(name)))
    }

    fn of(summary: ContainerSummary) -> Self {
        let names = summary.names.unwrap_or_default();
        // A link of the old kind is a name with two slashes.
        let own = names.iter().map(|name| name.trim_start_matches('/')).find(|name| !name.contains('/'));
        let mounts = summary.mounts.unwrap_or_default().into_iter().filter_map(mount).collect();
        Self {
            name: own.unwrap_or_default().to_owned(),
            id: summary.id.unwrap_or_default(),
            image: summary.image.unwrap_or_default(),
            image_id: summary.image_id.unwrap_or_default(),
            state: match summary.state {
                // Podman tells one that is being stopped apart, and it writes until it is.
                Some(
                    ContainerSummaryStateEnum::RUNNING
                    | ContainerSummaryStateEnum::RESTARTING
                    | ContainerSummaryStateEnum::STOPPING,
                ) => ContainerState::Running,
                Some(ContainerSummaryStateEnum::PAUSED) => ContainerState::Paused,
                _ => ContainerState::Stopped,
            },
            labels: summary.labels.unwrap_or_default().into_iter().collect(),
            mounts,
        }
    }
}

fn mount(point: MountPoint) -> Option<(PathBuf, Mount)> {
    let mount = match point.typ?.as_str() {
        "volume" => Mount::Volume { name: point.name? },
        "bind" => Mount::Bind { host: point.source?.into() },
        _ => return None,
    };
    Some((point.destination?.into(), mount))
}

/// A container as the configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerName {
    /// The service of a Compose project; a container of that name where no project has such a service.
    Service {
        /// The project, where several have such a service.
        project: Option<String>,
        /// The service.
        service: String,
    },
    /// A container's own name.
    Container(String),
}

impl std::fmt::Display for ContainerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Service { project: Some(project), service } => write!(f, "service {service} of {project}"),
            Self::Service { project: None, service } => write!(f, "service {service}"),
            Self::Container(name) => write!(f, "container {name}"),
        }
    }
}

impl Containers {
    /// Connects to the engine at `socket`, which answers. Waiting for it ends soon after `cancel` is set.
    fn connect(socket: &Path, cancel: &Cancel) -> Result<Self, SourceError> {
        let failed = |error: EngineError| SourceError::unavailable(format!("{}: {}", socket.display(), said(&error)));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| SourceError::unavailable(format!("no thread for the container engine: {error}")))?;
        let path = socket.to_string_lossy();
        let docker =
            Docker::connect_with_unix(&path, ANSWER_SECONDS_MAX, bollard::API_DEFAULT_VERSION).map_err(failed)?;
        let mut containers = Self { docker, socket: socket.to_owned(), runtime, cancel: cancel.clone() };
        // Older engines refuse the newest version of the interface.
        containers.docker = containers.wait(containers.docker.clone().negotiate_version())?.map_err(failed)?;
        Ok(containers)
    }

    /// The socket that it was found at.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// All containers, also those that do not run, sorted by name.
    pub fn containers(&self) -> Result<Vec<Container>, SourceError> {
        let options = ListContainersOptionsBuilder::default().all(true).build();
        let listed =
            self.ask("the containers", async { states::all(self.docker.list_containers(Some(options)).await) })?;
        let mut containers: Vec<_> = listed.into_iter().map(Container::of).collect();
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(containers)
    }

    /// The container that is meant. Of a service with several, the first of those that run.
    pub fn find(&self, wanted: &ContainerName) -> Result<Container, SourceError> {
        choose(wanted, self.containers()?)
    }

    /// The containers that are meant: all of a service.
    pub fn find_all(&self, wanted: &ContainerName) -> Result<Vec<Container>, SourceError> {
        chosen(wanted, self.containers()?)
    }

    /// All volumes, sorted by name.
    pub fn volumes(&self) -> Result<Vec<Volume>, SourceError> {
        let listed = self.ask("the volumes", self.docker.list_volumes(None::<ListVolumesOptions>))?;
        let mut volumes: Vec<_> = listed.volumes.unwrap_or_default().into_iter().map(Volume::of).collect();
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(volumes)
    }

    /// The volume called `name`.
    pub fn volume(&self, name: &str) -> Result<Volume, SourceError> {
        let volumes = self.volumes()?;
        let names: Vec<_> = volumes.iter().map(|volume| volume.name.clone()).collect();
        let missing = || SourceError::unavailable(format!("there is no volume {name}; {}", listed("there are", names)));
        volumes.into_iter().find(|volume| volume.name == name).ok_or_else(missing)
    }

    /// The digests by which a registry knows an image, such as `NAME@sha256:…`; none for one that was made here.
    pub fn digests(&self, image: &str) -> Result<Vec<String>, SourceError> {
        let found = self.ask(&format!("image {image}"), self.docker.inspect_image(image))?;
        let mut digests = found.repo_digests.unwrap_or_default();
        digests.sort();
        Ok(digests)
    }

    /// What a container was made of, as the engine tells it. Holds the environment, so it must not be shown.
    pub fn definition(&self, container: &Container) -> Result<serde_json::Value, SourceError> {
        let asked = self.docker.inspect_container(&container.id, None);
        self.ask(&container.name, async {
            let found = asked.await.and_then(|found| Ok(serde_json::to_value(found)?));
            states::or_as_told(found, Some)
        })
    }

    /// The variables that a container was made with. There are passwords among them, so they must not be shown.
    pub fn environment(&self, container: &Container) -> Result<BTreeMap<String, String>, SourceError> {
        let definition = self.definition(container)?;
        let variables = definition["Config"]["Env"].as_array().into_iter().flatten();
        let split = variables.filter_map(|variable| variable.as_str()?.split_once('='));
        Ok(split.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// The words that a container runs. There may be passwords among them, so they must not be shown.
    pub fn command(&self, container: &Container) -> Result<Vec<String>, SourceError> {
        let definition = self.definition(container)?;
        let words =
            ["Entrypoint", "Cmd"].map(|part| definition["Config"][part].as_array().cloned().unwrap_or_default());
        Ok(words.iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect())
    }

    /// The same engine, for what must be done also after the run was cancelled.
    pub(crate) fn steady(&self) -> Result<Self, SourceError> {
        Self::connect(&self.socket, &Cancel::new())
    }

    /// Where a link at `path` in a container leads to; `None` where there is none. Fails where nothing is at `path`.
    pub fn link_target(&self, container: &Container, path: &Path) -> Result<Option<PathBuf>, SourceError> {
        let options = ContainerArchiveInfoOptionsBuilder::default().path(&text(path)?).build();
        let asked = self.docker.get_container_archive_info(&container.id, Some(options));
        let found = self.ask(&format!("{} in container {}", path.display(), container.name), asked)?;
        Ok(Some(PathBuf::from(found.link_target)).filter(|target| target.is_absolute()))
    }

    /// What lies at `path` in a container, running or not, as a tar. Its members begin with the last part of the path.
    pub fn read(&self, container: &Container, path: &Path) -> Result<impl Read, SourceError> {
        let options = DownloadFromContainerOptionsBuilder::default().path(&text(path)?).build();
        let stream = Box::pin(self.docker.download_from_container(&container.id, Some(options)));
        let what = format!("{} in container {}", path.display(), container.name);
        Ok(TarStream { containers: self, stream, rest: Bytes::new(), what })
    }

    /// Unpacks a tar into the folder `path` of a container, running or not. What is there of the same name is replaced.
    pub fn write(&self, container: &Container, path: &Path, tar: Vec<u8>) -> Result<(), SourceError> {
        let options = UploadToContainerOptionsBuilder::default().path(&text(path)?).build();
        let body = bollard::body_full(tar.into());
        let asked = self.docker.upload_to_container(&container.id, Some(options), body);
        self.ask(&format!("{} in container {}", path.display(), container.name), asked)
    }

    fn start(&self, id: &str) -> Result<(), SourceError> {
        self.ask("starting it", self.docker.start_container(id, None::<StartContainerOptions>))
    }

    fn stop(&self, id: &str) -> Result<(), SourceError> {
        self.ask("stopping it", self.docker.stop_container(id, None::<StopContainerOptions>))
    }

    /// Ends a container and starts it again; one that does not run is started.
    pub fn restart(&self, container: &Container) -> Result<(), SourceError> {
        let asked = self.docker.restart_container(&container.id, None::<RestartContainerOptions>);
        self.ask(&format!("restarting container {}", container.name), asked)
    }

    fn pause(&self, id: &str) -> Result<(), SourceError> {
        self.ask("pausing it", self.docker.pause_container(id))
    }

    fn unpause(&self, id: &str) -> Result<(), SourceError> {
        self.ask("unpausing it", self.docker.unpause_container(id))
    }

    /// Waits for an answer about `what`.
    pub(crate) fn ask<T>(
        &self,
        what: &str,
        answer: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, SourceError> {
        self.wait(answer)?.map_err(|error| SourceError::unavailable(format!("{what}: {}", said(&error))))
    }

    /// Waits, and looks meanwhile whether the run was cancelled.
    fn wait<T>(&self, answer: impl Future<Output = T>) -> Result<T, SourceError> {
        self.wait_unless(&self.cancel, answer)
    }

    /// Waits, and looks meanwhile whether a part of the run was cancelled.
    pub(crate) fn wait_unless<T>(&self, cancel: &Cancel, answer: impl Future<Output = T>) -> Result<T, SourceError> {
        self.runtime.block_on(async {
            let mut answer = std::pin::pin!(answer);
            loop {
                cancel.check()?;
                if let Ok(answer) = tokio::time::timeout(CANCEL_POLL, &mut answer).await {
                    return Ok(answer);
                }
            }
        })
    }
}

/// The bytes of a tar while they come.
struct TarStream<'a> {
    containers: &'a Containers,
    stream: Pin<Box<dyn Stream<Item = Result<Bytes, EngineError>> + Send + 'a>>,
    rest: Bytes,
    /// What is read.
    what: String,
}

impl Read for TarStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.containers.wait(self.stream.next()).map_err(io::Error::other)? {
                None => return Ok(0),
                Some(Ok(bytes)) => self.rest = bytes,
                Some(Err(error)) => return Err(io::Error::other(format!("{}: {}", self.what, said(&error)))),
            }
        }
        let length = buffer.len().min(self.rest.len());
        buffer[..length].copy_from_slice(&self.rest.split_to(length));
        Ok(length)
    }
}

/// The container of `all` that is meant.
fn choose(wanted: &ContainerName, all: Vec<Container>) -> Result<Container, SourceError> {
    let rank = |found: &Container| (found.state == ContainerState::Stopped, found.number());
    let first = chosen(wanted, all)?.into_iter().min_by_key(rank);
    first.ok_or_else(|| SourceError::unavailable(format!("{wanted} is not here")))
}

/// The containers of `all` that are meant, at least one.
fn chosen(wanted: &ContainerName, all: Vec<Container>) -> Result<Vec<Container>, SourceError> {
    let names: Vec<_> = all.iter().map(|container| container.name.clone()).collect();
    let missing =
        || SourceError::unavailable(format!("{wanted} is not here; {}", listed("there are containers", names)));
    match wanted {
        ContainerName::Container(name) => {
            let exact = all.iter().position(|container| container.name == *name);
            let found = exact.or_else(|| all.iter().position(|container| container.is_called(name)));
            found.and_then(|found| all.into_iter().nth(found)).map(|found| vec![found]).ok_or_else(missing)
        }
        ContainerName::Service { project, service } => {
            let is_of = |container: &Container| {
                container.service() == Some(service)
                    && project.as_deref().is_none_or(|project| container.project() == Some(project))
                    && !container.is_one_off()
            };
            let (found, others): (Vec<_>, Vec<_>) = all.into_iter().partition(is_of);
            let projects: BTreeSet<_> = found.iter().filter_map(|container| container.project()).collect();
            if projects.len() > 1 {
                let projects = listed("projects", projects.into_iter().map(str::to_owned).collect());
                let what = format!("{service} is a service of several projects: say which one is meant; {projects}");
                return Err(SourceError::unavailable(what));
            }
            if !found.is_empty() {
                return Ok(found);
            }
            let named = others.into_iter().find(|container| project.is_none() && container.name == *service);
            named.map(|named| vec![named]).ok_or_else(missing)
        }
    }
}

/// Names shown at most.
const NAMES_SHOWN: usize = 20;

fn listed(what: &str, mut names: Vec<String>) -> String {
    let more = names.len().saturating_sub(NAMES_SHOWN);
    names.truncate(NAMES_SHOWN);
    match (names.as_slice(), more) {
        ([], _) => format!("{what}: none"),
        (names, 0) => format!("{what}: {}", names.join(", ")),
        (names, more) => format!("{what}: {} and {more} more", names.join(", ")),
    }
}

/// What the engine says of an error, without what surrounds it.
pub(crate) fn said(error: &EngineError) -> String {
    match error {
        EngineError::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        EngineError::RequestTimeoutError => "the container engine does not answer; see whether it hangs".to_owned(),
        other => other.to_string(),
    }
}

fn text(path: &Path) -> Result<String, SourceError> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| {
        SourceError::unavailable(format!("{} is not UTF-8, which the container engine needs", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(name: &str, labels: &[(&str, &str)], state: ContainerState) -> Container {
        Container {
            id: name.to_owned(),
            name: name.to_owned(),
            image: String::new(),
            image_id: String::new(),
            state,
            labels: labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
            mounts: BTreeMap::new(),
        }
    }

    fn of_service(name: &str, project: &str, number: &str, state: ContainerState) -> Container {
        container(name, &[(PROJECT, project), (SERVICE, "cache"), (NUMBER, number)], state)
    }

    fn service(project: Option<&str>, service: &str) -> ContainerName {
        ContainerName::Service { project: project.map(str::to_owned), service: service.to_owned() }
    }

    #[test]
    fn services_are_found_by_labels_whatever_their_containers_are_called() {
        use ContainerState::{Running, Stopped};
        let found = |wanted: &ContainerName, all: &[Container]| choose(wanted, all.to_vec()).map(|found| found.name);
        let v1 = of_service("demo_cache_1", "demo", "1", Running);
        let v2 = of_service("demo-cache-1", "demo", "1", Running);
        assert_eq!(found(&service(None, "cache"), std::slice::from_ref(&v1)).unwrap(), "demo_cache_1");
        assert_eq!(found(&service(Some("demo"), "cache"), std::slice::from_ref(&v2)).unwrap(), "demo-cache-1");
        // Each is also found by the name that the other version gives it.
        for (wanted, all, name) in [("demo-cache-1", &v1, "demo_cache_1"), ("demo_cache_1", &v2, "demo-cache-1")] {
            assert_eq!(found(&ContainerName::Container(wanted.into()), std::slice::from_ref(all)).unwrap(), name);
        }
        let stopped = of_service("demo-cache-1", "demo", "1", Stopped);
        let second = of_service("demo-cache-2", "demo", "2", Running);
        assert_eq!(found(&service(None, "cache"), &[stopped.clone(), second]).unwrap(), "demo-cache-2");
        assert_eq!(found(&service(None, "cache"), &[stopped]).unwrap(), "demo-cache-1");
        let other = of_service("other-cache-1", "other", "1", Running);
        let error = found(&service(None, "cache"), &[v2.clone(), other.clone()]).unwrap_err().to_string();
        assert!(error.contains("projects: demo, other"), "{error}");
        assert_eq!(found(&service(Some("other"), "cache"), &[v2.clone(), other]).unwrap(), "other-cache-1");
        let one_off = container(
            "demo-cache-run-1",
            &[(PROJECT, "demo"), (SERVICE, "cache"), (NUMBER, "1"), (ONE_OFF, "True")],
            Running,
        );
        assert_eq!(found(&service(None, "cache"), &[one_off, v2]).unwrap(), "demo-cache-1");
        let plain = container("nginx", &[], Running);
        assert_eq!(found(&service(None, "nginx"), std::slice::from_ref(&plain)).unwrap(), "nginx");
        let error = found(&service(None, "web"), &[plain]).unwrap_err().to_string();
        assert_eq!(error, "service web is not here; there are containers: nginx");
    }
}
