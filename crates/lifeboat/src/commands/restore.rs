//! `lifeboat restore`: to a new place, or to where it came from with an undo.

use std::path::Path;

use operations::snapshots::{self, Place};
use operations::{Fault, FaultKind, restore};
use repository::format::snapshot::Snapshot;
use repository::restore::Options;
use repository::{Clock as _, Id, Index, Repository};
use serde_json::json;

use crate::app::{App, Run};
use crate::arguments;
use crate::output::{Outcome, bytes, count, seconds};

/// Changes shown one by one by `--dry-run`; `--json` gives all.
const CHANGES_SHOWN: usize = 50;

pub fn run(run: Run, arguments: &arguments::Restore) -> Result<Outcome, Fault> {
    let app = run.configured()?;
    let Some(place) = &arguments.place else {
        return Err(Fault::new(FaultKind::Usage, "name what to restore: SNAPSHOT[:SOURCE[/PATH]]"));
    };
    let copy = app.copy(arguments.copy.as_deref())?;
    let repository = app.open(copy)?;
    let stack = arguments.stack.as_deref();
    let (id, snapshot) = snapshots::resolve(&repository, &app.run.cancel, &place.snapshot, stack)?;
    let index = Index::load(&app.cx(), &repository)?;
    let job = Chosen { app: &app, repository: &repository, index: &index, id, snapshot: &snapshot, place, arguments };
    match &arguments.to {
        Some(target) => job.to(target, &copy.name),
        None => Err(Fault::new(FaultKind::Usage, "say where to: --to DIR, or --in-place")
            .with_hint("--in-place puts everything where it came from, and keeps what is there now for an undo")),
    }
}

struct Chosen<'a> {
    app: &'a App,
    repository: &'a Repository,
    index: &'a Index,
    id: Id,
    snapshot: &'a Snapshot,
    place: &'a Place,
    arguments: &'a arguments::Restore,
}

impl Chosen<'_> {
    fn to(&self, target: &Path, copy: &str) -> Result<Outcome, Fault> {
        let app = self.app;
        let (tree, path) = (&self.snapshot.tree, &self.place.path);
        let preview = restore::preview(&app.cx(), self.repository, self.index, tree, path)?;
        let what = format!("{}, {}", count(preview.files, "file"), bytes(preview.bytes));
        if self.arguments.dry_run {
            app.output().summary(json!({ "status": "ok", "dry_run": true, "snapshot_id": self.id, "copy": copy,
                "files": preview.files, "dirs": preview.dirs, "others": preview.others, "bytes": preview.bytes }));
            app.output().text(format!("would restore {what} to {}", target.display()));
            return Ok(Outcome::Ok);
        }
        let started = app.run.clock.now();
        let options = Options { keep_damaged: self.arguments.keep_damaged, ..Options::for_this_process() };
        let result = restore::to_new_place(&app.cx(), self.repository, self.index, tree, path, target, options);
        app.run.progress.finish();
        let restored = result.map_err(|error| incomplete(error, target))?;
        let took = app.run.clock.now().duration_since(started).as_secs_f64();
        let partial = !restored.problems.is_empty();
        app.output().summary(json!({
            "status": if partial { "partial" } else { "ok" }, "snapshot_id": self.id, "copy": copy,
            "target": target.to_string_lossy(), "files": restored.files, "dirs": restored.dirs,
            "bytes": restored.bytes, "bytes_fetched": restored.bytes_fetched, "duration_s": took,
            "problems": restored.problems,
        }));
        if !options.privileged {
            app.output().chat("not run as root: owners, devices and privileged attributes were left out");
        }
        let short = self.id.short();
        if partial {
            let problems = count(restored.problems.len() as u64, "problem");
            app.output().text(format!("restored snapshot {short} to {} PARTIALLY: {problems}, named above", target.display()));
            return Ok(Outcome::Partial);
        }
        app.output().text(format!("restored {what} of snapshot {short} to {} in {}", target.display(), seconds(took)));
        Ok(Outcome::Ok)
    }

}

/// Says that a restore that broke off left something behind.
fn incomplete(error: repository::Error, target: &Path) -> Fault {
    let refused = matches!(&error, repository::Error::Local { path, .. } if path == target);
    let fault = Fault::from(error);
    if refused || fault.kind == FaultKind::NotFound {
        return fault;
    }
    let hint = fault.hint.clone().map_or_else(String::new, |hint| format!("{hint}; "));
    fault.with_hint(format!("{hint}{} is incomplete: empty it before you try again", target.display()))
}

