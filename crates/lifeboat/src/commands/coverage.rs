//! `lifeboat coverage`: everything on this machine that holds data, and whether it is backed up and was drilled.

use std::collections::BTreeSet;
use std::path::PathBuf;

use connectors::containers::{ContainerName, Containers, EngineAddress, Mount};
use connectors::source::{ComposeOptions, ComposeProject, Reach, Sight, Thing, ThingKind, read_compose_project};
use operations::Fault;
use operations::config::{
    ComposeSettings, ContainerFilesSettings, PlaceSettings, SourceKind, SourceSettings, StackSettings, TlsSettings,
};
use operations::drill;
use repository::SourceError;
use serde_json::json;

use crate::app::App;
use crate::output::{Outcome, count};
use crate::{arguments, wiring};

/// A source, by the names of its stack and itself.
type SourceName = (String, String);

pub fn run(app: &App, arguments: &arguments::Coverage) -> Result<Outcome, Fault> {
    let (engine, no_engine) = match EngineAddress::of(app.run.environment.variables()).open(&app.run.cancel) {
        Ok(containers) => (Some(containers), None),
        Err(SourceError::Cancelled) => return Err(SourceError::Cancelled.into()),
        Err(error) => (None, Some(error.to_string())),
    };
    let projects = projects(app)?;
    let folders: Vec<PathBuf> = arguments.dir.iter().cloned().chain(folders_of_sources(app)).collect();
    let sight = Sight::new(engine.as_ref(), &projects, &folders, &app.run.cancel)?;
    let reaches = reaches(app, engine.as_ref())?;
    let drilled = drilled(app)?;
    let (mut uncovered, mut undrilled, mut things) = (0, 0, Vec::new());
    for thing in sight.things() {
        let by: Vec<&SourceName> =
            reaches.iter().filter(|(_, reach)| reach.covers(thing)).map(|(name, _)| name).collect();
        let is_drilled = by.iter().any(|name| drilled.contains(*name));
        uncovered += u64::from(by.is_empty());
        undrilled += u64::from(!by.is_empty() && !is_drilled);
        show(app, thing, &by, is_drilled);
        things.push(json!({
            "kind": thing.kind.name(), "name": thing.name, "path": thing.place, "used_by": thing.used_by,
            "covered": !by.is_empty(), "drilled": is_drilled,
            "sources": by.iter().map(|(stack, source)| json!({ "stack": stack, "source": source })).collect::<Vec<_>>(),
        }));
    }
    for problem in &sight.problems {
        app.output().text(format!("problem: {problem}"));
    }
    if let Some(why) = &no_engine {
        app.output().text(format!("without a container engine, only what compose files and folders show: {why}"));
    }
    let found = count(things.len() as u64, "thing");
    app.output().text(format!("{found} found, {uncovered} NOT covered, {undrilled} covered and never drilled"));
    if uncovered > 0 {
        app.output().chat("add sources for them to lifeboat.yaml, such as `volume: { name: … }`");
    }
    let outcome = if uncovered > 0 { Outcome::Partial } else { Outcome::Ok };
    app.output().summary(json!({
        "status": if uncovered > 0 { "partial" } else { "ok" }, "things": things, "uncovered": uncovered,
        "undrilled": undrilled, "engine": engine.as_ref().map(|engine| engine.socket()), "no_engine": no_engine,
        "problems": sight.problems,
    }));
    Ok(outcome)
}

fn show(app: &App, thing: &Thing, by: &[&SourceName], is_drilled: bool) {
    let (kind, name) = (thing.kind.name(), &thing.name);
    if by.is_empty() {
        let users: Vec<&str> = thing.used_by.iter().map(String::as_str).collect();
        let users = if users.is_empty() { String::new() } else { format!(" (used by {})", users.join(", ")) };
        return app.output().text(format!("NOT covered: {kind} {name}{users}"));
    }
    let sources: Vec<String> = by.iter().map(|(stack, source)| format!("{stack}/{source}")).collect();
    let proof = if is_drilled { "drilled" } else { "never drilled" };
    app.output().chat(format!("covered: {kind} {name} by {}, {proof}", sources.join(", ")));
}

/// All sources of all stacks.
fn sources(app: &App) -> impl Iterator<Item = (&StackSettings, &SourceSettings)> {
    app.settings.stacks.iter().flat_map(|stack| stack.sources.iter().map(move |source| (stack, source)))
}

/// The compose projects that sources name. One whose files are gone is told of by the backup.
fn projects(app: &App) -> Result<Vec<ComposeProject>, Fault> {
    let mut projects = Vec::new();
    for (_, source) in sources(app) {
        if let SourceKind::Compose(compose) = &source.kind {
            projects.extend(project(app, compose)?);
        }
    }
    Ok(projects)
}

fn project(app: &App, compose: &ComposeSettings) -> Result<Option<ComposeProject>, Fault> {
    let options = ComposeOptions {
        files: compose.files.clone(),
        env: compose.env.clone(),
        project: compose.project.clone(),
        variables: app.run.environment.variables().clone(),
        engine: None,
    };
    match read_compose_project(&options, &app.run.cancel) {
        Ok(project) => Ok(Some(project)),
        Err(SourceError::Cancelled) => Err(SourceError::Cancelled.into()),
        Err(_) => Ok(None),
    }
}

/// Folders that sources capture, so that what is in them is seen and shown to be covered.
fn folders_of_sources(app: &App) -> impl Iterator<Item = PathBuf> {
    sources(app).flat_map(|(_, source)| match &source.kind {
        SourceKind::Files(files) => files.paths.iter().filter(|path| path.is_dir()).cloned().collect(),
        SourceKind::Tls(TlsSettings::From { from: PlaceSettings::Host(path) }) if path.is_dir() => vec![path.clone()],
        _ => Vec::new(),
    })
}

/// What each source reaches.
fn reaches(app: &App, engine: Option<&Containers>) -> Result<Vec<(SourceName, Reach)>, Fault> {
    let mut reaches = Vec::new();
    for (stack, source) in sources(app) {
        let name = (stack.name.clone(), source.name.clone());
        reaches.extend(reach(app, &source.kind, engine)?.map(|reach| (name, reach)));
    }
    Ok(reaches)
}

/// `None` for a source that reaches nothing that can be seen here.
fn reach(app: &App, kind: &SourceKind, engine: Option<&Containers>) -> Result<Option<Reach>, Fault> {
    let place_of =
        |volume: &str| engine.and_then(|engine| engine.volume(volume).ok()).map(|found| found.place().to_owned());
    Ok(Some(match kind {
        SourceKind::Files(files) => Reach::paths(&files.paths, &files.exclude)?,
        SourceKind::Sqlite(sqlite) => {
            Reach::paths(&wiring::databases(sqlite, &app.run.cancel)?, &[])?.only(ThingKind::Database)
        }
        SourceKind::Compose(compose) => {
            let files = project(app, compose)?.map(|project| project.files).unwrap_or_default();
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
            places(&of_couchdb, place_of)?
        }
        SourceKind::Command(_) => return Ok(None),
    }))
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

/// The sources that came back in a drill of a snapshot that is still there. A copy that cannot be opened proves nothing,
/// and is named.
fn drilled(app: &App) -> Result<BTreeSet<SourceName>, Fault> {
    let each = app.open_each(&app.repositories(None, None)?)?;
    for (copy, fault) in &each.faults {
        app.output().passed_over(&copy.name, fault);
    }
    let mut drilled = BTreeSet::new();
    for opened in each.opened {
        let receipts = drill::receipts(&opened.repository)?;
        let telling = drill::telling_by_snapshot(&receipts);
        let (snapshots, _) = opened.repository.snapshots_readable(&app.run.cancel)?;
        for (id, snapshot) in snapshots {
            if let Some(receipt) = telling.get(&id).filter(|receipt| drill::is_proof(receipt)) {
                let names = snapshot.paths.iter().filter_map(|path| path.strip_prefix('/'));
                drilled.extend(names.map(|name| (receipt.stack.clone(), name.to_owned())));
            }
        }
    }
    Ok(drilled)
}
