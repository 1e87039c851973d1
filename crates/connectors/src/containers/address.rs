//! Where the container engine listens.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use repository::{Cancel, SourceError};

use super::{Containers, Volume};

/// Where Docker and Podman listen for the whole machine.
const OF_MACHINE: [&str; 2] = ["/var/run/docker.sock", "/run/podman/podman.sock"];
/// Where they listen for one user, below `$XDG_RUNTIME_DIR`.
const OF_USER: [&str; 2] = ["docker.sock", "podman/podman.sock"];

/// Where Docker keeps volumes, unless it is told otherwise.
const VOLUMES_OF_DOCKER: &str = "/var/lib/docker/volumes";

/// Which sockets to try.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineAddress {
    /// `$DOCKER_HOST`, which counts alone.
    docker_host: Option<String>,
    /// `$XDG_RUNTIME_DIR`.
    runtime_dir: Option<PathBuf>,
}

impl EngineAddress {
    /// As the environment says.
    pub fn of(variables: &BTreeMap<String, String>) -> Self {
        let variable = |name: &str| variables.get(name).filter(|value| !value.is_empty()).cloned();
        Self { docker_host: variable("DOCKER_HOST"), runtime_dir: variable("XDG_RUNTIME_DIR").map(PathBuf::from) }
    }

    /// The engine at `socket`, and at no other place.
    pub fn at(socket: &Path) -> Self {
        Self { docker_host: Some(format!("unix://{}", socket.display())), runtime_dir: None }
    }

    /// Connects to the first that answers. Fails where none does, with what to do.
    pub fn open(&self, cancel: &Cancel) -> Result<Containers, SourceError> {
        let mut denied = None;
        let sockets = self.sockets()?;
        for socket in &sockets {
            match UnixStream::connect(socket) {
                Ok(_) => return Containers::connect(socket, cancel),
                Err(error) if error.kind() == ErrorKind::PermissionDenied => denied = denied.or(Some(socket)),
                Err(_) => {}
            }
        }
        let shown: Vec<_> = sockets.iter().map(|socket| socket.display().to_string()).collect();
        Err(SourceError::unavailable(match denied {
            Some(socket) => format!(
                "{} may not be used: run Lifeboat as root, or add its user to the group of that socket",
                socket.display()
            ),
            None => format!(
                "no container engine answers at {}: start Docker or Podman, or name its socket with \
                 DOCKER_HOST=unix:///path",
                shown.join(" or ")
            ),
        }))
    }

    /// Whether one is named, or a socket is there: what cannot be asked then is worth knowing.
    pub fn is_expected(&self) -> bool {
        self.docker_host.is_some() || self.sockets().is_ok_and(|sockets| sockets.iter().any(|socket| socket.exists()))
    }

    /// The volume called `name`. Where no engine answers and none is named, Docker's own folder is looked into: its volumes
    /// are there also while it does not run.
    pub fn volume(&self, name: &str, cancel: &Cancel) -> Result<Volume, SourceError> {
        let error = match self.open(cancel) {
            Ok(containers) => return containers.volume(name),
            Err(SourceError::Cancelled) => return Err(SourceError::Cancelled),
            Err(error) => error,
        };
        let folder = Path::new(VOLUMES_OF_DOCKER).join(name).join("_data");
        match self.docker_host {
            None if folder.is_dir() => Ok(Volume::at(name, folder)),
            _ => Err(SourceError::unavailable(format!("volume {name}: {error}"))),
        }
    }

    /// Where an engine may listen, in the order in which to try.
    fn sockets(&self) -> Result<Vec<PathBuf>, SourceError> {
        if let Some(host) = &self.docker_host {
            // What else stands there may hold a name to log in with.
            let path = host.strip_prefix("unix://").ok_or_else(|| {
                SourceError::unavailable(
                    "DOCKER_HOST does not begin with unix://: only sockets of this machine are used",
                )
            })?;
            return Ok(vec![PathBuf::from(path)]);
        }
        let of_user = self.runtime_dir.iter().flat_map(|dir| OF_USER.iter().map(move |name| dir.join(name)));
        Ok(OF_MACHINE.into_iter().map(PathBuf::from).chain(of_user).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> EngineAddress {
        let variables = variables.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        EngineAddress::of(&variables.collect())
    }

    #[test]
    fn the_environment_says_which_sockets_are_tried() {
        let shown = |variables: &[(&str, &str)]| {
            let sockets = of(variables).sockets()?;
            Ok::<_, SourceError>(sockets.iter().map(|socket| socket.display().to_string()).collect::<Vec<_>>())
        };
        assert_eq!(shown(&[("DOCKER_HOST", "unix:///run/x.sock")]).unwrap(), ["/run/x.sock"]);
        assert_eq!(shown(&[("DOCKER_HOST", "")]).unwrap(), OF_MACHINE);
        let users = ["/var/run/docker.sock", "/run/podman/podman.sock", "/u/docker.sock", "/u/podman/podman.sock"];
        assert_eq!(shown(&[("XDG_RUNTIME_DIR", "/u")]).unwrap(), users);
        let error = shown(&[("DOCKER_HOST", "ssh://root:hunter2@host")]).unwrap_err().to_string();
        assert!(error.contains("unix://") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn without_an_engine_the_error_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let error = EngineAddress::at(&dir.path().join("s")).open(&Cancel::new()).unwrap_err().to_string();
        assert!(error.contains("start Docker or Podman, or name its socket with DOCKER_HOST"), "{error}");
    }
}
