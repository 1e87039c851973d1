//! `lifeboat coverage`: everything on this machine that holds data, and whether it is backed up and was drilled.

use std::collections::BTreeSet;
use std::path::PathBuf;

use connectors::containers::{Containers, EngineAddress};
use connectors::source::{ComposeProject, Covered, Reach, Sight, Thing};
use operations::Fault;
use operations::config::{CouchDbSettings, PlaceSettings, SourceKind, SourceSettings, StackSettings, TlsSettings};
use operations::drill;
use repository::SourceError;
use serde_json::json;

use super::reach;
use crate::app::App;
use crate::arguments;
use crate::output::{Outcome, count};

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
        let Protection { covered, by, is_drilled } = protection(thing, &reaches, &drilled);
        uncovered += u64::from(covered == Covered::No);
        undrilled += u64::from(covered == Covered::Yes && !is_drilled);
        show(app, thing, covered, &by, is_drilled);
        things.push(json!({
            "kind": thing.kind.name(), "name": thing.name, "path": thing.place, "used_by": thing.used_by,
            "known": !thing.is_unknown, "covered": covered == Covered::Yes, "rebuilt": covered == Covered::Rebuilt, "drilled": is_drilled,
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

/// What the sources do for a thing.
struct Protection<'r> {
    covered: Covered,
    /// The sources that capture it.
    by: Vec<&'r SourceName>,
    is_drilled: bool,
}

fn protection<'r>(thing: &Thing, reaches: &'r [(SourceName, Reach)], drilled: &BTreeSet<SourceName>) -> Protection<'r> {
    let covered = Reach::cover(reaches.iter().map(|(_, reach)| reach), thing);
    if covered != Covered::Yes {
        return Protection { covered, by: Vec::new(), is_drilled: false };
    }
    let sources = |takes: &dyn Fn(&Reach) -> bool| -> Vec<&'r SourceName> {
        reaches.iter().filter(|(_, reach)| takes(reach)).map(|(name, _)| name).collect()
    };
    let by = sources(&|reach| reach.covers(thing));
    if !by.is_empty() {
        // Each captures all of it, so the drill of one proves it.
        let is_drilled = by.iter().any(|name| drilled.contains(*name));
        return Protection { covered, by, is_drilled };
    }
    // Each captures a part of it, so it takes the drills of all.
    let by = sources(&|reach| reach.takes_part_of(thing));
    let is_drilled = by.iter().all(|name| drilled.contains(*name));
    Protection { covered, by, is_drilled }
}

fn show(app: &App, thing: &Thing, covered: Covered, by: &[&SourceName], is_drilled: bool) {
    let (kind, name) = (thing.kind.name(), &thing.name);
    match covered {
        Covered::No => app.output().text(format!("NOT covered: {thing}")),
        Covered::Rebuilt => app.output().chat(format!("left out: {kind} {name}, which CouchDB makes anew")),
        Covered::Yes => {
            let sources: Vec<String> = by.iter().map(|(stack, source)| format!("{stack}/{source}")).collect();
            let sources = sources.join(", ");
            let proof = if is_drilled { "drilled" } else { "never drilled" };
            app.output().chat(format!("covered: {kind} {name} by {sources}, {proof}"));
        }
    }
}

/// All sources of all stacks.
fn sources(app: &App) -> impl Iterator<Item = (&StackSettings, &SourceSettings)> {
    app.settings.stacks.iter().flat_map(|stack| stack.sources.iter().map(move |source| (stack, source)))
}

/// The compose projects that sources name.
fn projects(app: &App) -> Result<Vec<ComposeProject>, Fault> {
    let mut projects = Vec::new();
    for (_, source) in sources(app) {
        if let SourceKind::Compose(compose) = &source.kind {
            projects.extend(reach::project(&app.run, compose)?);
        }
    }
    Ok(projects)
}

/// Folders that sources capture, so that what is in them is seen and shown to be covered.
fn folders_of_sources(app: &App) -> impl Iterator<Item = PathBuf> {
    sources(app).flat_map(|(_, source)| match &source.kind {
        SourceKind::Files(files) => files.paths.iter().filter(|path| path.is_dir()).cloned().collect(),
        SourceKind::Tls(TlsSettings::From { from: PlaceSettings::Host(path) }) if path.is_dir() => vec![path.clone()],
        SourceKind::CouchDb(CouchDbSettings { data: PlaceSettings::Host(path), .. }) if path.is_dir() => {
            vec![path.clone()]
        }
        _ => Vec::new(),
    })
}

/// What each source reaches.
fn reaches(app: &App, engine: Option<&Containers>) -> Result<Vec<(SourceName, Reach)>, Fault> {
    let mut reaches = Vec::new();
    for (stack, source) in sources(app) {
        let name = (stack.name.clone(), source.name.clone());
        reaches.extend(reach::reach(&app.run, &source.kind, engine)?.map(|reach| (name, reach)));
    }
    Ok(reaches)
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
        let receipts = app.receipts(&opened.repository)?;
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
