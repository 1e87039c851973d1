//! A place as the configuration names it: a path of the host, `volume:NAME/path`, or `service:/path` in a container.

use std::path::{Path, PathBuf};

use repository::{Cancel, SourceError};

use crate::containers::{ContainerName, EngineAddress};

/// Where something lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the host.
    Host(PathBuf),
    /// In a volume.
    Volume {
        /// The volume's name.
        name: String,
        /// A path in it; empty for all of it.
        below: PathBuf,
    },
    /// In a container.
    Container {
        /// Which one.
        container: ContainerName,
        /// An absolute path in it.
        path: PathBuf,
    },
}

impl Place {
    /// The path on the host, where there is one: what lies in a container has none that may be relied on. Asks the engine
    /// only about volumes. Fails where the volume is not there or cannot be read.
    pub fn on_host(&self, engine: &EngineAddress, cancel: &Cancel) -> Result<Option<PathBuf>, SourceError> {
        Ok(match self {
            Self::Host(path) => Some(path.clone()),
            Self::Volume { name, below } => Some(engine.volume(name, cancel)?.path(below)?),
            Self::Container { .. } => None,
        })
    }
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Self {
        Self::Host(path.to_owned())
    }
}
