//! `lifeboat restore`: to a new place, or to where it came from with an undo.

mod archive;
mod archived;
mod cluster;
mod containers;
mod couch_files;
mod couch_in_place;
mod documents;
mod host;
mod latest;
mod reload;
mod server;

use std::path::{Path, PathBuf};

use connectors::source::couchdb;
use jiff::Timestamp;
use operations::in_place::{self, InPlaceError, Job};
use operations::manifest::{Manifest, SourceRecord};
use operations::snapshots::{LATEST, Place};
use operations::{Fault, FaultKind, restore};
use repository::format::snapshot::Snapshot;
use repository::restore::{Options, Restored};
use repository::{Clock as _, Event, Events as _, Id, Index, Problem, Repository, SourceError};
use serde_json::{Value, json};

use self::containers::Users;
use self::couch_files::CouchDbRestore;
use self::couch_in_place::InPlaceParts;
use self::reload::Reload;
use crate::alike::grouped;
use crate::app::{App, Opened, Run};
use crate::arguments::{self, RestoreFrom};
use crate::output::{Outcome, bytes, count, seconds};

/// Changes shown one by one by `--dry-run`; `--json` gives all.
const CHANGES_SHOWN: usize = 50;

pub fn run(run: Run, arguments: &arguments::Restore) -> Result<Outcome, Fault> {
    if let Some(folder) = &arguments.undo {
        return undo(&run, folder, arguments.force);
    }
    if let Some(folder) = &arguments.drop_undo {
        return drop_undo(&run, folder);
    }
    let latest = Place { snapshot: LATEST.to_owned(), path: PathBuf::new() };
    let place = match &arguments.place {
        Some(RestoreFrom::Archive(archive)) => return archive::run(run, archive, arguments),
        Some(RestoreFrom::Snapshot(place) | RestoreFrom::Uri { place, .. }) => place,
        None if arguments.stack.is_some() => &latest,
        None => return Err(Fault::new(FaultKind::Usage, "name what to restore: SNAPSHOT[:SOURCE[/PATH]]")),
    };
    if let Some(name) = &arguments.copy
        && let Some(settings) = run.settings_if_any()?
        && let copy = settings.copy(name)?
        && copy.archives().is_some()
    {
        return archive::run_of_copy(run, &settings, copy, place, arguments);
    }
    if let Some((flag, _)) = [("--identity", &arguments.identity), ("--passphrase-file", &arguments.passphrase_file)]
        .into_iter()
        .find(|(_, file)| file.is_some())
    {
        return Err(Fault::new(FaultKind::Usage, format!("{flag} is for archives: leave it out")));
    }
    let app = run.configured()?;
    if let Some(url) = &arguments.couch.couch_url {
        return documents::run(&app, place, url, arguments);
    }
    if let Some(server) = &arguments.server.server {
        return server::run(&app, place, server, arguments);
    }
    if arguments.to.is_none() && !arguments.in_place {
        return Err(nowhere());
    }
    let stack = arguments.stack.as_deref();
    let of_stack = stack.and_then(|name| app.settings.stack(name).ok());
    let copies = app.repositories(arguments.copy.as_deref(), of_stack)?;
    let (Opened { copy, repository }, found) = app.find_snapshot(&copies, &place.snapshot, stack)?;
    let index = app.index(&repository)?;
    let (id, snapshot) = (found.id, &found.snapshot);
    let is_doubtful = !found.doubts.is_empty();
    let manifest = match Manifest::load(&repository, &index, &snapshot.tree) {
        // What is damaged is told of by the restore.
        Err(error) if error.is_damage() => None,
        manifest => manifest?,
    };
    let couchdb = CouchDbRestore::of(manifest.as_ref(), &place.path, arguments)?;
    let (repository, index, manifest) = (&*repository, &index, manifest.as_ref());
    let job = Chosen { app: &app, repository, index, id, snapshot, manifest, is_doubtful, place, couchdb, arguments };
    for doubt in found.doubts {
        app.run.progress.emit(Event::Problem(doubt));
    }
    let done = match &arguments.to {
        Some(target) if !arguments.couch_files.nodes.is_empty() => job.to_cluster(target, &copy.name),
        Some(target) if arguments.is_as_host() => job.to_root(target, &copy.name),
        Some(target) => job.to(target, &copy.name),
        None => job.in_place(),
    }?;
    Ok(if done == Outcome::Ok && is_doubtful { Outcome::Partial } else { done })
}

/// What is to be said where nobody said where to.
fn nowhere() -> Fault {
    Fault::new(
        FaultKind::Usage,
        "say where to: --to DIR, --in-place, --couch-url URL for documents, or --server URL for databases",
    )
    .with_hint(
        "--to DIR --as-host puts the whole host back into an empty root; --in-place puts everything where it came from, and keeps \
         what is there now for an undo",
    )
}

pub(super) struct Chosen<'a> {
    pub(super) app: &'a App,
    pub(super) repository: &'a Repository,
    pub(super) index: &'a Index,
    pub(super) id: Id,
    pub(super) snapshot: &'a Snapshot,
    /// `None` where another program made it, or it is damaged.
    pub(super) manifest: Option<&'a Manifest>,
    /// A snapshot that cannot be read may be newer than this one.
    pub(super) is_doubtful: bool,
    pub(super) place: &'a Place,
    pub(super) couchdb: CouchDbRestore<'a>,
    pub(super) arguments: &'a arguments::Restore,
}

impl Chosen<'_> {
    fn to(&self, target: &Path, copy: &str) -> Result<Outcome, Fault> {
        let app = self.app;
        if self.arguments.dry_run {
            // A restore does not begin with this: it would read all trees once more, a request each in a far copy.
            let preview = self.preview()?;
            return self.would_restore(
                target,
                copy,
                preview,
                &format!("to {}", target.display()),
                &self.couchdb.known_damage(),
            );
        }
        let started = app.run.clock.now();
        let options = Options { keep_damaged: self.arguments.keep_damaged, ..Options::for_this_process() };
        let (tree, cx) = (&self.snapshot.tree, app.cx());
        let result = match self.couchdb.files() {
            Some(files) => {
                restore::several_to_new_place(&cx, self.repository, self.index, tree, &files, target, options)
            }
            None => restore::to_new_place(&cx, self.repository, self.index, tree, &self.place.path, target, options),
        };
        app.run.progress.finish();
        let restored = result.map_err(|error| incomplete(error, target))?;
        self.conclude(target, copy, started, restored, None)
    }

    /// What `--dry-run` says of a restore to a new place; `to` says where to, in words. What is known to be wrong with it is
    /// told as it would be by the restore.
    pub(super) fn would_restore(
        &self,
        target: &Path,
        copy: &str,
        preview: restore::Preview,
        to: &str,
        problems: &[String],
    ) -> Result<Outcome, Fault> {
        restore::check_target(target)?;
        let restore::Preview { files, dirs, others, bytes: of_files, .. } = preview;
        let (output, is_partial) = (self.app.output(), !problems.is_empty());
        grouped(problems.iter().cloned()).iter().for_each(|what| output.text(format!("problem: {what}")));
        let problems: Vec<_> = problems.iter().map(|what| Problem::new(target, what.clone())).collect();
        output.summary(json!({
            "status": if is_partial { "partial" } else { "ok" }, "dry_run": true, "snapshot_id": self.id, "copy": copy,
            "files": files, "dirs": dirs, "others": others, "bytes": of_files, "problems": problems,
        }));
        output.text(format!("would restore {}, {} {to}", count(files, "file"), bytes(of_files)));
        Ok(if is_partial { Outcome::Partial } else { Outcome::Ok })
    }

    /// Reads back what a CouchDB would be started on, and reports a restore to a new place. `next` is what to do then.
    pub(super) fn conclude(
        &self,
        target: &Path,
        copy: &str,
        started: Timestamp,
        restored: Restored,
        next: Option<Value>,
    ) -> Result<Outcome, Fault> {
        let wrong = self.couchdb.finish(self.app, target)?;
        self.report(target, copy, started, restored, wrong, next)
    }

    /// Reports a restore to a new place. `wrong` is what was found when it was read back.
    pub(super) fn report(
        &self,
        target: &Path,
        copy: &str,
        started: Timestamp,
        mut restored: Restored,
        wrong: Vec<String>,
        next: Option<Value>,
    ) -> Result<Outcome, Fault> {
        let (app, left_out) = (self.app, self.left_out());
        grouped(wrong.iter().cloned()).iter().for_each(|what| app.output().text(format!("problem: {what}")));
        restored.problems.extend(wrong.into_iter().map(|what| Problem::new(target, what)));
        let took = app.run.clock.now().duration_since(started).as_secs_f64();
        let partial = !restored.problems.is_empty();
        // Of a whole host, what the backup could not take is lacking, too.
        let is_partial = partial || self.is_doubtful || (next.is_some() && left_out > 0);
        let mut summary = json!({
            "status": if is_partial { "partial" } else { "ok" }, "snapshot_id": self.id, "copy": copy,
            "target": target.to_string_lossy(), "files": restored.files, "dirs": restored.dirs,
            "bytes": restored.bytes, "bytes_fetched": restored.bytes_fetched, "duration_s": took,
            "problems": restored.problems, "left_out_at_backup": left_out,
        });
        if let Some(next) = next {
            summary["next"] = next;
        }
        app.output().summary(summary);
        if left_out > 0 {
            let things = count(left_out as u64, "thing");
            app.output().text(format!(
                "this snapshot is PARTIAL: {things} left out or doubtful when it was made (`lifeboat snapshots --problems`)"
            ));
        }
        if !Options::for_this_process().privileged {
            app.output().chat("not run as root: owners, devices and privileged attributes were left out");
        }
        let short = self.id.short();
        if partial {
            let problems = count(restored.problems.len() as u64, "problem");
            app.output()
                .text(format!("restored snapshot {short} to {} PARTIALLY: {problems}, named above", target.display()));
            return Ok(Outcome::Partial);
        }
        let what = format!("{}, {}", count(restored.files, "file"), bytes(restored.bytes));
        app.output().text(format!("restored {what} of snapshot {short} to {} in {}", target.display(), seconds(took)));
        Ok(Outcome::Ok)
    }

    /// What was asked for, as paths in the snapshot.
    fn paths(&self) -> Vec<PathBuf> {
        match self.couchdb.files() {
            Some(files) => files.into_iter().map(|(path, _)| path).collect(),
            None => vec![self.place.path.clone()],
        }
    }

    fn preview(&self) -> Result<restore::Preview, Fault> {
        let mut total = restore::Preview::default();
        for path in self.paths() {
            total.add(restore::preview(&self.app.cx(), self.repository, self.index, &self.snapshot.tree, &path)?);
        }
        Ok(total)
    }

    /// Things that the backup itself could not take; none that is known of in another program's snapshot.
    pub(super) fn left_out(&self) -> usize {
        self.manifest.map_or(0, |manifest| manifest.sources.values().map(|record| record.problems_total).sum())
    }

    fn in_place(&self) -> Result<Outcome, Fault> {
        let app = self.app;
        let tree = self.snapshot.tree;
        let Some(manifest) = self.manifest else {
            let what = "this snapshot does not say where things came from: another program made it, or it is damaged";
            return Err(Fault::new(FaultKind::Unsupported, what).with_hint("restore it with --to DIR"));
        };
        let mut protected = app.own_paths();
        protected.push(app.settings.file.clone());
        protected.extend(app.settings.secret_files().into_iter().map(Path::to_owned));
        let (delete, force) = (self.arguments.delete, self.arguments.force);
        let parts = self.couchdb.in_place();
        let InPlaceParts { rewritten, outdated, .. } = parts;
        let selected = parts.selected.unwrap_or_else(|| vec![self.place.path.clone()]);
        let claimed = if delete { self.claimed_by_others(manifest, &selected)? } else { Vec::new() };
        let options = in_place::Options { delete, force, protected, claimed, rewritten, outdated };
        let job = Job { snapshot: self.id, tree, manifest, selected: &selected, options: &options };
        let mut preview = in_place::preview(&app.cx(), self.repository, self.index, &job).map_err(to_fault)?;
        let users = Users::of(app, &preview, self.arguments)?;
        preview.findings.extend(users.findings());
        preview.findings.extend(parts.findings);
        preview.findings.extend(self.couchdb.of_servers(app, manifest, &users));
        app.run.progress.finish();
        if users.are_stopped() {
            // What is still there once they stand still keeps the restore from beginning.
            let of_programs = preview.findings.iter_mut().filter(|finding| finding.is_of_program);
            of_programs.for_each(|finding| finding.effect = in_place::Effect::Warns);
        }
        let blocking = preview.blocking(options.force);
        self.show(&preview, !blocking.is_empty());
        if self.arguments.dry_run {
            return Ok(if blocking.is_empty() { Outcome::Ok } else { Outcome::Bad });
        }
        if !blocking.is_empty() {
            return Err(to_fault(InPlaceError::Blocked(blocking)));
        }
        self.confirm(manifest)?;
        let done = self.restore_below(&users, &job)?;
        let started: Vec<String> = match users.are_stopped() {
            true => users.all().iter().map(|user| user.container.name.clone()).collect(),
            false => Vec::new(),
        };
        for problem in grouped(done.problems.iter().map(ToString::to_string)) {
            app.output().text(format!("problem: {problem}"));
        }
        let short = self.id.short();
        app.output()
            .text(format!("restored snapshot {short} in place; {} compared beforehand", count(done.compared, "entry")));
        if let Some(undo) = done.undo.first() {
            let undo = undo.display();
            app.output().text(format!("what was there is kept in {undo}"));
            app.output().text(format!("  lifeboat restore --undo {undo}        puts it back"));
            app.output().text(format!("  lifeboat restore --drop-undo {undo}   deletes it"));
        }
        let reload = reload::run(app, &manifest.stack, &started);
        reload.iter().for_each(|reload| reload.tell(app));
        let partial = !done.problems.is_empty() || reload.as_ref().is_some_and(Reload::is_wanting);
        app.output().summary(json!({
            "status": if partial || self.is_doubtful { "partial" } else { "ok" }, "snapshot_id": self.id, "in_place": true,
            "compared": done.compared, "bytes_fetched": done.bytes_fetched, "undo": done.undo,
            "skipped": done.skipped, "warnings": done.warnings, "problems": done.problems,
            "reload": reload.as_ref().map(Reload::json),
        }));
        Ok(if partial { Outcome::Partial } else { Outcome::Ok })
    }

    /// What the stack's sources capture now of which nothing is restored. The snapshot may know none of it: it may be of some
    /// sources alone, or older than what they have now.
    fn claimed_by_others(&self, manifest: &Manifest, selected: &[PathBuf]) -> Result<Vec<PathBuf>, Fault> {
        let app = self.app;
        let Ok(stack) = app.settings.stack(&manifest.stack) else { return Ok(Vec::new()) };
        let is_restored = |name: &str| {
            selected.iter().any(|path| match path.iter().next() {
                Some(first) => first == name,
                None => manifest.sources.contains_key(name),
            })
        };
        let mut claimed = Vec::new();
        for named in app.sources(stack, &[])?.iter().filter(|named| !is_restored(&named.name)) {
            let claims = named.source.claims(&app.run.cancel).map_err(|error| {
                let mut fault = Fault::from(error);
                let what = "nothing was changed: what source";
                fault.message =
                    format!("{what} {} holds cannot be told from surplus that goes: {}", named.name, fault.message);
                if fault.kind == FaultKind::Cancelled { fault } else { fault.with_hint("leave --delete out") }
            })?;
            claimed.extend(claims);
        }
        Ok(claimed)
    }

    /// Restores while the containers that work with the files stand still, where that was asked for.
    fn restore_below(&self, users: &Users, job: &Job<'_>) -> Result<in_place::Done, Fault> {
        let app = self.app;
        let stopped = users.stop(app)?;
        let stand_still = |source: Option<&str>| match self.arguments.force {
            true => Ok(()),
            false => self.couchdb.stand_still(app, job.manifest, source),
        };
        let check = |record: &SourceRecord, folder: &Path, is_whole: bool| self.check(record, folder, is_whole);
        // This comes right before the swap, and staging may have taken hours.
        let rewrite = |source: &str, staging: &Path| {
            stand_still(Some(source))?;
            self.couchdb.rewrite(app, source, staging)
        };
        let result = match stand_still(None) {
            Ok(()) => in_place::restore(&app.cx(), self.repository, self.index, job, &check, &rewrite),
            Err(error) => Err(repository::Error::Source(error).into()),
        };
        app.run.progress.finish();
        if let Err(error @ InPlaceError::HalfWay { undo, .. }) = &result {
            let left = stopped.leave();
            let fault = Fault::new(FaultKind::Failed, error.to_string());
            return Err(match left.is_empty() {
                true => fault,
                false => fault.with_hint(format!(
                    "{} stays stopped, since its files are half restored; once `lifeboat restore --undo {}` has put them \
                     back, it is started again",
                    left.join(", "),
                    undo.display()
                )),
            });
        }
        // Whatever failed, what is there now is whole: as it was, or as it is in the snapshot.
        let not_started = stopped.start();
        match result {
            Ok(mut done) => {
                done.problems.extend(not_started);
                Ok(done)
            }
            Err(error) => {
                not_started.into_iter().for_each(|problem| app.run.progress.emit(Event::Problem(problem)));
                Err(to_fault(error))
            }
        }
    }

    fn show(&self, preview: &in_place::Preview, is_blocked: bool) {
        let output = self.app.output();
        for target in &preview.targets {
            output.text(format!("restore {}", target.root.host.display()));
        }
        for skipped in &preview.skipped {
            output.text(format!("left out: {skipped}"));
        }
        let changes: Vec<_> = preview.plan.changes.iter().filter(|change| change.is_visible()).collect();
        let shown = if self.arguments.dry_run { CHANGES_SHOWN } else { 0 };
        for change in changes.iter().take(shown) {
            output.text(format!("  {change}"));
        }
        if self.arguments.dry_run && changes.len() > shown {
            output.text(format!("  and {} more", changes.len() - shown));
        }
        output.text(format!(
            "{}, {} the same; what is not in the snapshot: {} left alone",
            count(changes.len() as u64, "change"),
            preview.plan.identical,
            preview.plan.extras_left
        ));
        for finding in &preview.findings {
            output.text(finding_line(finding));
        }
        if self.arguments.dry_run {
            output.summary(json!({
                "status": if is_blocked { "blocked" } else { "ok" }, "dry_run": true, "snapshot_id": self.id, "changes": changes.iter().map(|change| json!({ "path": change.path.to_string_lossy(), "action": change.action })).collect::<Vec<_>>(),
                "identical": preview.plan.identical, "extras_left": preview.plan.extras_left,
                "findings": preview.findings, "skipped": preview.skipped, "bytes_staged": preview.bytes_staged,
            }));
        }
    }

    /// In-place restores are confirmed by typing the stack's name, or by `--yes`.
    fn confirm(&self, manifest: &Manifest) -> Result<(), Fault> {
        if self.arguments.yes {
            return Ok(());
        }
        let stack = &manifest.stack;
        let question = format!("This replaces what is there now. Type {stack} to go on:");
        match self.app.output().ask(&question) {
            Some(answer) if answer == *stack => Ok(()),
            Some(_) => Err(Fault::new(FaultKind::Cancelled, "not confirmed; nothing was changed")),
            None => Err(Fault::new(FaultKind::Usage, "an in-place restore must be confirmed")
                .with_hint("add --yes where nobody can be asked")),
        }
    }

    /// What a source's own format says about the staged data, against the manifest.
    fn check(&self, record: &SourceRecord, folder: &Path, is_whole: bool) -> Result<Vec<String>, SourceError> {
        let cancel = &self.app.run.cancel;
        if !is_whole {
            // No CouchDB may be started on files that were not read back, be it a part of them.
            if record.kind == couchdb::KIND {
                return couchdb::check_part(folder, &record.facts, cancel);
            }
            return Err(SourceError::Unavailable { what: "not all of it is restored into one folder".to_owned() });
        }
        let found = connectors::source::examine(&record.kind, folder, &record.facts, cancel)?;
        Ok(operations::drill::differences(&record.facts, &found))
    }
}

fn undo(run: &Run, folder: &Path, force: bool) -> Result<Outcome, Fault> {
    if !force {
        containers::refuse_undo(run, &in_place::undo_targets(folder).map_err(to_fault)?)?;
    }
    let undone = in_place::undo(folder, force).map_err(to_fault)?;
    // A restore that was cut may have left containers stopped, which go on now. That is noted where the configuration
    // says; an undo works without one.
    let _ = run.settings();
    run.output.summary(json!({
        "status": if undone.remarks.is_empty() { "ok" } else { "partial" }, "steps": undone.steps,
        "remarks": undone.remarks, "replaced": undone.folders,
    }));
    for remark in &undone.remarks {
        run.output.text(format!("problem: {remark}"));
    }
    run.output.text(format!("what was there before is back ({} undone)", count(undone.steps, "step")));
    for folder in &undone.folders {
        run.output.text(format!("what the restore had put there is kept in {}", folder.join("replaced").display()));
    }
    Ok(if undone.remarks.is_empty() { Outcome::Ok } else { Outcome::Partial })
}

fn drop_undo(run: &Run, folder: &Path) -> Result<Outcome, Fault> {
    in_place::drop_undo(folder).map_err(to_fault)?;
    run.output.summary(json!({ "status": "ok", "dropped": folder }));
    run.output.text(format!("deleted what was kept in {}", folder.display()));
    Ok(Outcome::Ok)
}

fn finding_line(finding: &in_place::Finding) -> String {
    let effect = if finding.effect == in_place::Effect::Warns { "warning" } else { "in the way" };
    format!("{effect}: {finding}")
}

/// Says that a restore that broke off left something behind.
pub(super) fn incomplete(error: repository::Error, target: &Path) -> Fault {
    let refused = matches!(&error, repository::Error::Local { path, .. } if path == target);
    let fault = Fault::from(error);
    if refused || fault.kind == FaultKind::NotFound {
        return fault;
    }
    let hint = fault.hint.clone().map_or_else(String::new, |hint| format!("{hint}; "));
    fault.with_hint(format!("{hint}{} is incomplete: empty it before you try again", target.display()))
}

fn to_fault(error: InPlaceError) -> Fault {
    match error {
        InPlaceError::Engine(error) => error.into(),
        InPlaceError::Io { path, error } => Fault::local(format!("cannot work with {}", path.display()), error),
        InPlaceError::Selection(what) => Fault::new(FaultKind::NotFound, what),
        error @ InPlaceError::Invalid(_) => Fault::new(FaultKind::Damaged, error.to_string())
            .with_hint("run `lifeboat check --read-data`, or restore another snapshot"),
        error @ InPlaceError::Blocked(_) => Fault::new(FaultKind::Denied, error.to_string())
            .with_hint("mend what blocks, or restore to another place with --to DIR"),
        error => Fault::new(FaultKind::Failed, error.to_string()),
    }
}
