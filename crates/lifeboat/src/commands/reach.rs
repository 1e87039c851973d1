//! What the sources of a configuration reach on this machine, for whoever asks what is covered.

use std::path::PathBuf;

use connectors::containers::{ContainerName, Containers, Mount};
use connectors::source::{ComposeOptions, ComposeProject, Reach, ServerKind, ThingKind, read_compose_project};
use operations::Fault;
use operations::config::{
    ComposeSettings, ContainerFilesSettings, DatabaseServer, DatabaseSettings, PlaceSettings, SourceKind, TlsSettings,
};
use repository::SourceError;

use crate::app::Run;
use crate::wiring;

/// What a source captures of what can be seen on this machine; `None` where that is nothing.
pub fn reach(run: &Run, kind: &SourceKind, engine: Option<&Containers>) -> Result<Option<Reach>, Fault> {
    let place_of =
        |volume: &str| engine.and_then(|engine| engine.volume(volume).ok()).map(|found| found.place().to_owned());
    Ok(Some(match kind {
        SourceKind::Files(files) => Reach::paths(&files.paths, &files.exclude)?,
        SourceKind::Sqlite(sqlite) => {
            Reach::paths(&wiring::databases(sqlite, &run.cancel)?, &[])?.only(ThingKind::Database)
        }
        SourceKind::Compose(compose) => {
            let files = project(run, compose)?.map(|project| project.files).unwrap_or_default();
            Reach::paths(&files.into_iter().collect::<Vec<_>>(), &[])?
        }
        SourceKind::Tls(TlsSettings::Pair { cert, key }) => Reach::paths(&[cert.clone(), key.clone()], &[])?,
        SourceKind::Volume(volume) => {
            let place: Vec<PathBuf> = place_of(&volume.name).into_iter().collect();
            Reach::paths(&place, &volume.exclude)?.with_volumes([volume.name.clone()])
        }
        SourceKind::Tls(TlsSettings::From { from: PlaceSettings::Service { project, service, path } }) => {
            let (project, service) = (project.clone(), service.clone());
            return in_container(engine, &ContainerName::Service { project, service }, std::slice::from_ref(path), &[]);
        }
        SourceKind::Tls(TlsSettings::From { from }) => places(&[from], place_of)?,
        SourceKind::ContainerFiles(ContainerFilesSettings { of, paths, exclude }) => {
            return in_container(engine, &wiring::container_name(of.clone()), paths, exclude);
        }
        SourceKind::CouchDb(couchdb) => {
            let of_couchdb: Vec<_> = std::iter::once(&couchdb.data).chain(&couchdb.config).collect();
            places(&of_couchdb, place_of)?.of_couchdb(couchdb.nouveau)
        }
        SourceKind::Postgres(database) => return of_database(engine, database, ServerKind::Postgres),
        SourceKind::Mysql(database) => return of_database(engine, database, ServerKind::Mysql),
        SourceKind::Redis(database) => return of_database(engine, database, ServerKind::Redis),
        SourceKind::RedisFiles(redis) => places(&[&redis.files], place_of)?,
        SourceKind::Command(_) => return Ok(None),
    }))
}

/// A server of which everything is captured, in a container.
fn of_database(
    engine: Option<&Containers>,
    database: &DatabaseSettings,
    kind: ServerKind,
) -> Result<Option<Reach>, Fault> {
    match &database.server {
        DatabaseServer::Container(container) if database.databases.is_empty() && database.exclude.is_empty() => {
            let data: Vec<_> = kind.data_folders().iter().map(PathBuf::from).collect();
            in_container(engine, &wiring::container_name(container.clone()), &data, &[])
        }
        _ => Ok(None),
    }
}

/// What lies on the host or in volumes.
fn places(places: &[&PlaceSettings], place_of: impl Fn(&str) -> Option<PathBuf>) -> Result<Reach, Fault> {
    let (mut paths, mut volumes) = (Vec::new(), Vec::new());
    for place in places {
        match place {
            PlaceSettings::Host(path) => paths.push(path.clone()),
            PlaceSettings::Volume { name, below } => {
                paths.extend(place_of(name).map(|place| place.join(below)));
                volumes.extend(below.as_os_str().is_empty().then(|| name.clone()));
            }
            PlaceSettings::Service { .. } => {}
        }
    }
    Ok(Reach::paths(&paths, &[])?.with_volumes(volumes))
}

/// What is mounted into a container at or below one of `paths`.
fn in_container(
    engine: Option<&Containers>,
    name: &ContainerName,
    paths: &[PathBuf],
    exclude: &[String],
) -> Result<Option<Reach>, Fault> {
    let Some(container) = engine.and_then(|engine| engine.find(name).ok()) else { return Ok(None) };
    let is_captured = |inside: &PathBuf| paths.iter().any(|path| inside.starts_with(path));
    let (mut volumes, mut hosts) = (Vec::new(), Vec::new());
    for (_, mount) in container.mounts.iter().filter(|(inside, _)| is_captured(inside)) {
        match mount {
            Mount::Volume { name } => volumes.push(name.clone()),
            Mount::Bind { host } => hosts.push(host.clone()),
        }
    }
    Ok(Some(Reach::paths(&hosts, exclude)?.with_volumes(volumes)))
}

/// The project that a source names; `None` where its files are gone, which the backup tells of.
pub fn project(run: &Run, compose: &ComposeSettings) -> Result<Option<ComposeProject>, Fault> {
    let options = ComposeOptions {
        files: compose.files.clone(),
        env: compose.env.clone(),
        project: compose.project.clone(),
        variables: run.environment.variables().clone(),
        engine: None,
    };
    match read_compose_project(&options, &run.cancel) {
        Ok(project) => Ok(Some(project)),
        Err(SourceError::Cancelled) => Err(SourceError::Cancelled.into()),
        Err(_) => Ok(None),
    }
}
