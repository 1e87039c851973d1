//! `lifeboat coverage`: everything on this machine that holds data, and whether it is backed up and was drilled: by the
//! configuration, and by what the newest snapshots say that they have of it.

mod stored;

use std::collections::BTreeSet;
use std::path::PathBuf;

use connectors::containers::{Containers, EngineAddress};
use connectors::source::{ComposeProject, Covered, Reach, Sight, Thing};
use operations::Fault;
use operations::config::{CouchDbSettings, PlaceSettings, SourceKind, SourceSettings, StackSettings, TlsSettings};
use repository::SourceError;
use serde_json::{Value, json};

use self::stored::{Gone, Stored};
use super::reach;
use crate::app::App;
use crate::arguments;
use crate::output::{Outcome, count};

/// What a thing lacks, shown one by one.
const LACKS_SHOWN: usize = 5;

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
    let stored = Stored::look(app)?;
    let (mut uncovered, mut partly, mut undrilled, mut things) = (0, 0, 0, Vec::new());
    for thing in sight.things() {
        let Protection { covered, by, lacks, is_drilled } = protection(thing, &reaches, &stored)?;
        let is_whole = covered == Covered::Yes && lacks.is_empty();
        uncovered += u64::from(covered == Covered::No);
        partly += u64::from(!lacks.is_empty());
        undrilled += u64::from(is_whole && !is_drilled);
        show(app, thing, covered, &by, &lacks, is_drilled);
        things.push(json!({
            "kind": thing.kind.name(), "name": thing.name, "path": thing.place, "used_by": thing.used_by,
            "known": !thing.is_unknown, "covered": is_whole, "lacks": lacks, "rebuilt": covered == Covered::Rebuilt, "drilled": is_drilled,
            "sources": by.iter().map(|(stack, source)| json!({ "stack": stack, "source": source })).collect::<Vec<_>>(),
        }));
    }
    let (lost, gone) = show_gone(app, &stored);
    for problem in &sight.problems {
        app.output().text(format!("problem: {problem}"));
    }
    if let Some(why) = &no_engine {
        app.output().text(format!("without a container engine, only what compose files and folders show: {why}"));
    }
    let found = count(things.len() as u64, "thing");
    let in_part = if partly > 0 { format!("{partly} covered in PART, ") } else { String::new() };
    let of_gone = if lost > 0 { format!("{} LOST, ", count(lost, "database")) } else { String::new() };
    app.output().text(format!(
        "{found} found, {of_gone}{uncovered} NOT covered, {in_part}{undrilled} covered and never drilled"
    ));
    if uncovered > 0 {
        app.output().chat("add sources for them to lifeboat.yaml, such as `volume: { name: … }`");
    }
    if partly + lost > 0 {
        app.output().chat("`lifeboat snapshots --problems` says why; mend it and run `lifeboat backup`");
    }
    // What could not be looked at may be anything.
    let is_ok = uncovered + partly + lost == 0 && sight.problems.is_empty();
    app.output().summary(json!({
        "status": if is_ok { "ok" } else { "partial" }, "things": things, "uncovered": uncovered, "partly": partly,
        "undrilled": undrilled, "gone": gone, "engine": engine.as_ref().map(|engine| engine.socket()),
        "no_engine": no_engine, "problems": sight.problems,
    }));
    Ok(if is_ok { Outcome::Ok } else { Outcome::Partial })
}

/// Shows the databases that an earlier snapshot has and the newest has not. Gives how many of them may be lost, and all as JSON.
fn show_gone(app: &App, stored: &Stored<'_>) -> (u64, Vec<Value>) {
    let (mut lost, mut gone) = (0, Vec::new());
    for one in stored.gone() {
        lost += u64::from(one.may_be_lost);
        let Gone { source: (stack, source), database, snapshot, may_be_lost } = one;
        let what = format!("couchdb-database {database} of {stack}/{source}, which snapshot {} has", snapshot.short());
        match may_be_lost {
            true => app.output().text(format!("NOT in the newest snapshot: {what}")),
            false => app.output().chat(format!("deleted since: {what}")),
        }
        gone.push(json!({
            "database": database, "stack": stack, "source": source, "snapshot_id": snapshot, "may_be_lost": may_be_lost,
        }));
    }
    (lost, gone)
}

/// What the sources do for a thing.
struct Protection<'r> {
    covered: Covered,
    /// The sources that capture it.
    by: Vec<&'r SourceName>,
    /// What the newest snapshot lacks of it.
    lacks: Vec<String>,
    is_drilled: bool,
}

fn protection<'r>(
    thing: &Thing,
    reaches: &'r [(SourceName, Reach)],
    stored: &Stored<'_>,
) -> Result<Protection<'r>, Fault> {
    let covered = Reach::cover(reaches.iter().map(|(_, reach)| reach), thing);
    if covered != Covered::Yes {
        return Ok(Protection { covered, by: Vec::new(), lacks: Vec::new(), is_drilled: false });
    }
    let sources = |takes: &dyn Fn(&Reach) -> bool| -> Vec<&'r SourceName> {
        reaches.iter().filter(|(_, reach)| takes(reach)).map(|(name, _)| name).collect()
    };
    let whole = sources(&|reach| reach.covers(thing));
    let is_whole = !whole.is_empty();
    let by = if is_whole { whole } else { sources(&|reach| reach.takes_part_of(thing)) };
    let (mut lacks, mut drills) = (Vec::new(), Vec::new());
    for name in &by {
        lacks.extend(stored.lacks(name, thing)?);
        drills.push(stored.is_proven(name, thing)?);
    }
    Ok(match is_whole {
        // Each captures all of it, so the best of them counts, and the drill of one proves it.
        true => {
            let lacks = lacks.into_iter().min_by_key(Vec::len).unwrap_or_default();
            Protection { covered, by, lacks, is_drilled: drills.contains(&true) }
        }
        // Each captures a part of it, so it takes all of them, and the drills of all.
        false => {
            let lacks: BTreeSet<String> = lacks.into_iter().flatten().collect();
            Protection { covered, by, lacks: lacks.into_iter().collect(), is_drilled: !drills.contains(&false) }
        }
    })
}

fn show(app: &App, thing: &Thing, covered: Covered, by: &[&SourceName], lacks: &[String], is_drilled: bool) {
    let (kind, name) = (thing.kind.name(), &thing.name);
    match covered {
        Covered::No => app.output().text(format!("NOT covered: {thing}")),
        Covered::Rebuilt => app.output().chat(format!("left out: {kind} {name}, which CouchDB makes anew")),
        Covered::Yes => {
            let sources: Vec<String> = by.iter().map(|(stack, source)| format!("{stack}/{source}")).collect();
            let sources = sources.join(", ");
            let proof = if is_drilled { "drilled" } else { "never drilled" };
            if lacks.is_empty() {
                app.output().chat(format!("covered: {kind} {name} by {sources}, {proof}"));
                return;
            }
            let more = lacks.len().saturating_sub(LACKS_SHOWN);
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            let lacks = lacks[..lacks.len().min(LACKS_SHOWN)].join("; ");
            let proof = if is_drilled { "an earlier snapshot of it was drilled" } else { proof };
            app.output().text(format!(
                "covered in PART: {kind} {name} by {sources}, {proof}; in the newest snapshot: {lacks}{more}"
            ));
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
