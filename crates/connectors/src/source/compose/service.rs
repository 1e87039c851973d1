//! Services and volumes of a compose project.

use std::path::PathBuf;

use serde_json::Value;

/// A service of a compose project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ComposeService {
    /// The image, variables replaced. `None` for a service that is only built.
    pub image: Option<String>,
    /// Whether the image is built from a folder of the project.
    pub is_built: bool,
    /// Named volumes it mounts, by the name they have in the files.
    pub volumes: Vec<String>,
    /// Folders and files of the host that it mounts.
    pub binds: Vec<BindMount>,
    /// Places in the container with a volume that has no name, so that its data ends with the container.
    pub unnamed_volumes: Vec<String>,
}

/// A folder or file of the host in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindMount {
    /// Where it lies on the host. It may not exist.
    pub host: PathBuf,
    /// Where it lies in the container.
    pub target: String,
}

/// A volume that Docker keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedVolume {
    /// The name that Docker knows it by.
    pub name: String,
    /// It belongs to no project.
    pub is_external: bool,
}

impl ComposeService {
    /// The digest that the image is pinned to.
    pub fn digest(&self) -> Option<&str> {
        self.image.as_deref()?.split_once('@').map(|(_, digest)| digest)
    }

    /// Lays what a later file says over what an earlier one does.
    pub(super) fn merge(&mut self, later: Self) {
        self.image = later.image.or(self.image.take());
        self.is_built |= later.is_built;
        let is_new = |volume: &String| !self.volumes.contains(volume);
        let volumes: Vec<_> = later.volumes.into_iter().filter(is_new).collect();
        self.volumes.extend(volumes);
        self.binds.retain(|bind| later.binds.iter().all(|new| new.target != bind.target));
        self.binds.extend(later.binds);
        self.unnamed_volumes.retain(|target| !later.unnamed_volumes.contains(target));
        self.unnamed_volumes.extend(later.unnamed_volumes);
    }
}

impl NamedVolume {
    /// Reads a volume as it is declared; the name is empty where the project gives it.
    pub(super) fn read(value: &Value, shown: &dyn Fn(&str) -> String) -> Self {
        let external = &value["external"];
        let is_external = external.as_bool().unwrap_or(!external.is_null());
        let name = value["name"].as_str().or_else(|| external["name"].as_str());
        Self { name: name.map(shown).unwrap_or_default(), is_external }
    }
}

/// What the `volumes` of a service mount, in the short and the long form.
pub(super) fn mounts<'a>(
    volumes: impl Iterator<Item = &'a Value>,
    shown: &dyn Fn(&str) -> String,
    resolve: &dyn Fn(&str) -> PathBuf,
) -> ComposeService {
    let mut service = ComposeService::default();
    for volume in volumes {
        let (source, target, is_bind) = match volume {
            Value::String(text) => {
                let text = shown(text);
                let (source, target) = match text.split_once(':') {
                    Some((source, rest)) => {
                        let target = rest.split_once(':').map_or(rest, |(target, _)| target);
                        (Some(source.to_owned()), target.to_owned())
                    }
                    None => (None, text),
                };
                let is_bind = source.as_deref().is_some_and(|source| source.starts_with(['/', '.', '~']));
                (source, target, is_bind)
            }
            long => {
                let kind = long["type"].as_str().unwrap_or("volume");
                if !matches!(kind, "bind" | "volume") {
                    continue;
                }
                let target = long["target"].as_str().map(shown).unwrap_or_default();
                (long["source"].as_str().map(shown), target, kind == "bind")
            }
        };
        match source.filter(|source| !source.is_empty()) {
            Some(source) if is_bind => service.binds.push(BindMount { host: resolve(&source), target }),
            Some(source) if !service.volumes.contains(&source) => service.volumes.push(source),
            Some(_) => {}
            None => service.unnamed_volumes.push(target),
        }
    }
    service
}
