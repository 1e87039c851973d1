//! Sources that lie in one place: a folder, a volume, a container, or files that belong together.

use std::path::{Component, Path, PathBuf};

use super::{Resolver, Result, required};
use crate::config::document::{ContainerFilesDocument, TlsDocument, VolumeDocument};
use crate::config::mistake::Mistake;
use crate::config::settings::{
    ContainerFilesSettings, ContainerSettings, FilesSettings, HaltSettings, PlaceSettings, TlsSettings, VolumeSettings,
};
use crate::config::text::Text;

impl Resolver<'_> {
    pub(super) fn tls(&self, name: &Text, tls: &TlsDocument) -> Result<TlsSettings> {
        let hint = "`from: /etc/ssl/shop`, a folder, or both `cert` and `key`";
        match (&tls.from, &tls.cert, &tls.key) {
            (Some(from), None, None) => Ok(TlsSettings::From { from: self.place(from)? }),
            (Some(_), Some(other), _) | (Some(_), None, Some(other)) => Err(Mistake::at(
                other.place,
                "`from` stands for all files, so `cert` and `key` have no place beside it",
            )
            .with_hint("remove `from`, or the other two")),
            (None, None, None) => Err(Mistake::at(name.place, "`from` is missing").with_hint(format!("add {hint}"))),
            (None, cert, key) => Ok(TlsSettings::Pair {
                cert: self.path(required(cert, name, "cert", hint)?)?,
                key: self.path(required(key, name, "key", hint)?)?,
            }),
        }
    }

    pub(super) fn volume(&self, name: &Text, volume: &VolumeDocument) -> Result<VolumeSettings> {
        let preset = FilesSettings::new(Vec::new());
        let hint = "for example `name: shop_data`; `docker volume ls` shows what there is";
        Ok(VolumeSettings {
            name: self.engine_name(required(&volume.name, name, "name", hint)?)?,
            exclude: self.texts(&volume.exclude)?,
            append_only: match &volume.append_only {
                None => preset.append_only,
                patterns => self.texts(patterns)?,
            },
            full_read: volume.full_read.as_ref().map_or(Ok(preset.full_read), |span| self.duration(span))?,
            halt: volume.halt.as_ref().map(|halt| self.halt(halt)).transpose()?,
        })
    }

    pub(super) fn halt(&self, text: &Text) -> Result<HaltSettings> {
        match &*self.text(text)? {
            "stop" => Ok(HaltSettings::Stop),
            "pause" => Ok(HaltSettings::Pause),
            _ => Err(Mistake::at(text.place, "expected stop or pause")
                .with_hint("write one of the two, or remove it to let the containers go on")),
        }
    }

    pub(super) fn container_files(
        &self,
        name: &Text,
        files: &ContainerFilesDocument,
    ) -> Result<ContainerFilesSettings> {
        let of = self.container(name, (&files.service, &files.project, &files.container))?;
        let paths = required(&files.paths, name, "paths", "for example `paths: [/etc/nginx]`")?;
        if paths.texts().is_empty() {
            return Err(Mistake::at(paths.place(), "the list is empty").with_hint("name at least one path"));
        }
        Ok(ContainerFilesSettings {
            of,
            paths: paths.texts().iter().map(|path| self.path_in_container(path)).collect::<Result<_>>()?,
            exclude: self.texts(&files.exclude)?,
        })
    }

    /// A container, by a service or by its own name.
    pub(super) fn container(
        &self,
        name: &Text,
        (service, project, container): (&Option<Text>, &Option<Text>, &Option<Text>),
    ) -> Result<ContainerSettings> {
        Ok(match (service, container, project) {
            (Some(service), None, project) => ContainerSettings::Service {
                service: self.engine_name(service)?,
                project: project.as_ref().map(|project| self.engine_name(project)).transpose()?,
            },
            (None, Some(container), None) => ContainerSettings::Container { container: self.engine_name(container)? },
            (None, Some(_), Some(project)) => {
                return Err(Mistake::at(project.place, "`project` belongs to a `service`, not to a `container`")
                    .with_hint("remove it: a container's name needs no project"));
            }
            (Some(_), Some(container), _) => {
                return Err(Mistake::at(container.place, "`service` and `container` are both given")
                    .with_hint("remove one of the two"));
            }
            (None, None, _) => {
                return Err(Mistake::at(name.place, "`service` is missing")
                    .with_hint("add the name of a Compose service, or `container` with the name of a container"));
            }
        })
    }

    fn path_in_container(&self, text: &Text) -> Result<PathBuf> {
        let path = self.filled(text)?;
        inside(&path).ok_or_else(|| {
            Mistake::at(text.place, "this is no path in a container")
                .with_hint("write it from the root of the container, such as /etc/nginx, without `..`")
        })
    }

    /// A path of the host, `volume:NAME`, `volume:NAME/path`, `service:/path` or `project/service:/path`.
    pub(super) fn place(&self, text: &Text) -> Result<PlaceSettings> {
        let filled = self.filled(text)?;
        if let Some(volume) = filled.strip_prefix("volume:") {
            let (name, below) = volume.split_once('/').unwrap_or((volume, ""));
            let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
            let below = Path::new(below);
            if !is_engine_name(name) || !below.components().all(is_plain) {
                return Err(Mistake::at(text.place, "this names no place in a volume")
                    .with_hint("write it like volume:shop_certs or volume:shop_certs/live, without `..`"));
            }
            return Ok(PlaceSettings::Volume { name: name.to_owned(), below: below.components().collect() });
        }
        // A path of the host that looks like this is written with `./` or `/` before it.
        if let Some((service, path)) = filled.split_once(":/") {
            let (project, service) = match service.split_once('/') {
                Some((project, service)) => (Some(project), service),
                None => (None, service),
            };
            if is_engine_name(service) && project.is_none_or(is_engine_name) {
                let path = inside(&format!("/{path}")).ok_or_else(|| {
                    Mistake::at(text.place, "this names no place in a container")
                        .with_hint("write it like nginx:/etc/nginx/private, without `..`")
                })?;
                let project = project.map(str::to_owned);
                return Ok(PlaceSettings::Service { project, service: service.to_owned(), path });
            }
        }
        self.path_of(text, &filled).map(PlaceSettings::Host)
    }

    /// As [`Self::place`], but not in a container: the files of a server could not be opened there, to be read as of one moment.
    pub(super) fn place_of_server(&self, text: &Text, server: &str) -> Result<PlaceSettings> {
        match self.place(text)? {
            PlaceSettings::Service { .. } => {
                let what = format!("{server}'s files are read where they lie, not out of a container");
                Err(Mistake::at(text.place, what)
                    .with_hint("name the folder of the host that is mounted there, or volume:NAME"))
            }
            place => Ok(place),
        }
    }

    pub(super) fn engine_name(&self, text: &Text) -> Result<String> {
        let name = self.filled(text)?;
        if !is_engine_name(&name) {
            return Err(Mistake::at(text.place, "this cannot be the name of a volume, service or container")
                .with_hint("they have letters, digits, `_`, `.` and `-`, and begin with a letter or digit"));
        }
        Ok(name)
    }
}

/// What Docker takes for a name.
fn is_engine_name(name: &str) -> bool {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(is_fine)
}

/// A path below the root, without `..`.
fn inside(path: &str) -> Option<PathBuf> {
    let mut parts = Path::new(path).components();
    let is_rooted = parts.next() == Some(Component::RootDir);
    let below: Vec<_> = parts.collect();
    let is_plain = |part: &Component<'_>| matches!(part, Component::Normal(_));
    let is_fine = is_rooted && !below.is_empty() && below.iter().all(is_plain) && !path.contains('\0');
    is_fine.then(|| Path::new("/").join(below.iter().collect::<PathBuf>()))
}
