//! A place as the configuration names it: a path of the host, `volume:NAME/path`, or `service:/path` in a container.

use std::path::{Path, PathBuf};

use repository::{Cancel, SourceError};
use serde_json::Value;

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

/// Where a place lies on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OnHost {
    /// Its path.
    pub path: PathBuf,
    /// What is known of the volume it lies in, as [`repository::source::VOLUME_FACT`] has it.
    pub volume: Option<Value>,
}

impl Place {
    /// Where it lies on the host, if it does: what lies in a container has no path there that may be relied on. Asks the
    /// engine only about volumes. Fails where the volume is not there or cannot be read.
    pub(super) fn on_host(&self, engine: &EngineAddress, cancel: &Cancel) -> Result<Option<OnHost>, SourceError> {
        Ok(match self {
            Self::Host(path) => Some(OnHost { path: path.clone(), volume: None }),
            Self::Volume { name, below } => {
                let volume = engine.volume(name, cancel)?;
                Some(OnHost { path: volume.path(below)?, volume: Some(volume.facts()) })
            }
            Self::Container { .. } => None,
        })
    }
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Self {
        Self::Host(path.to_owned())
    }
}
