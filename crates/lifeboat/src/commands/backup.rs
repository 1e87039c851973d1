//! `lifeboat backup`: one snapshot of each stack.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use operations::backup::{self, BackupReport, NamedSource, StackBackup};
use operations::config::{CopySettings, StackSettings};
use operations::manifest::{SourceStatus, Window};
use operations::restore_guide::GuideCopy;
use operations::state::LastRun;
use operations::{Fault, FaultKind};
use repository::Clock as _;
use serde::Serialize;
use serde_json::json;

use super::for_each;
use crate::app::{App, Each};
use crate::arguments;
use crate::copy_report::{self, CopyReport, CopyStatus};
use crate::into_step::IntoStep;
use crate::output::{Outcome, bytes, complain, count, seconds};
use crate::sentinel;
use crate::surroundings::{self, AroundStack, FailedHook};
use crate::under_way::UnderWay;
use crate::wiring;

/// Notes of a source that are printed at the end; all are in the summary and in the manifest.
const NOTES_SHOWN_MAX: usize = 5;

pub fn run(app: &App, arguments: &arguments::Backup) -> Result<Outcome, Fault> {
    let stacks = app.stacks(&arguments.stack)?;
    if let Some(disabled) = sentinel::disabled(app) {
        return Ok(disabled);
    }
    sentinel::notices(&app.settings).for_each(|what| app.output().text(format!("note: {what}")));
    let name = |stack: &&StackSettings| format!("stack {}", stack.name);
    for_each(app.output(), &stacks, name, |stack| {
        if arguments.dry_run {
            return preview(app, stack, &arguments.source).map(|()| Outcome::Ok);
        }
        let stack = only_into(app, stack, &arguments.copy)?;
        Ok(one(app, &stack, &arguments.source, &arguments.tag)?.outcome)
    })
}

/// The stack with those of its copies alone that are named, where any are.
fn only_into<'s>(app: &App, stack: &'s StackSettings, names: &[String]) -> Result<Cow<'s, StackSettings>, Fault> {
    if names.is_empty() {
        return Ok(Cow::Borrowed(stack));
    }
    let mut is_repository = false;
    for name in names {
        is_repository |= app.settings.copy(name)?.archives().is_none();
        if !stack.copies.contains(name) {
            return Err(Fault::new(FaultKind::Usage, format!("stack {} does not go to copy {name}", stack.name))
                .with_hint(format!("it goes to: {}", stack.copies.join(", "))));
        }
    }
    if !is_repository {
        return Err(Fault::new(FaultKind::Usage, "only archives are named, and these are made out of a repository")
            .with_hint("name a copy that is one, too"));
    }
    let copies = stack.copies.iter().filter(|name| names.contains(name)).cloned().collect();
    Ok(Cow::Owned(StackSettings { copies, ..stack.clone() }))
}

/// A backup that was taken.
pub struct Done {
    pub report: BackupReport,
    pub outcome: Outcome,
    /// The names of the copies that have it, the one that was written first.
    pub copies: Vec<String>,
}

/// Takes a snapshot of one stack, reports it, and remembers how that ended.
pub fn one(app: &App, stack: &StackSettings, only: &[String], tags: &[String]) -> Result<Done, Fault> {
    let mut hooks = Vec::new();
    let done = take(app, stack, only, tags, &mut hooks);
    let now = app.run.clock.now();
    let run = match &done {
        // Whoever stopped it knows of it, and not of what went wrong after that.
        Err(fault) if fault.kind == FaultKind::Cancelled && hooks.is_empty() => return done,
        Err(fault) if fault.kind == FaultKind::Cancelled => {
            LastRun::with_cancelled(app.state().last_run(&stack.name), now, hooks)
        }
        Err(fault) => LastRun { at: now, failure: Some(fault.text()), hooks, cancelled: None },
        Ok(_) => LastRun { at: now, failure: None, hooks, cancelled: None },
    };
    if let Err(fault) = app.state().save_run(&stack.name, &run) {
        complain(&format!("how it ended cannot be kept for `lifeboat status`: {}", fault.text()));
    }
    done
}

/// Takes a snapshot of one stack into the first of its copies that can be opened, brings all of them into step, and reports
/// it. The others follow while it is written. One that does not get it makes the run partial. Adds the hooks that failed to
/// `failed_hooks`, in words, however it ends.
fn take(
    app: &App,
    stack: &StackSettings,
    only: &[String],
    tags: &[String],
    failed_hooks: &mut Vec<String>,
) -> Result<Done, Fault> {
    let clock: &dyn repository::Clock = &app.run.clock;
    let started = clock.now();
    // A name that is not there must be an error, and not a backup of nothing.
    only.iter().try_for_each(|name| stack.source(name).map(drop))?;
    let around = wiring::Around::of(&app.settings, &app.run.environment);
    let sources = wiring::sources(stack, &[], around.clone())?;
    let copies = app.repositories(None, Some(stack))?;
    let surroundings = AroundStack::new(app, stack, around);
    let job = StackBackup {
        stack: &stack.name,
        sources: &sources,
        only,
        tags,
        scratch: &app.scratch(),
        own_paths: &app.own_paths(),
        copies: &guide_copies(&copies),
        count_first: app.run.progress.is_visible(),
        others: &[],
        surroundings: &surroundings,
    };
    // It may be what brings a copy into reach.
    let taken = surroundings.before().and_then(|()| write_all(app, stack, &copies, &job));
    match &taken {
        Ok(taken) => surroundings.after(taken.status().into(), Some(taken.report.snapshot.to_hex()), None),
        Err(fault) => surroundings.after(surroundings::ended(fault), None, Some(fault.text())),
    }
    failed_hooks.extend(surroundings.faults());
    let Taken { report, written_to, copies } = taken?;
    let duration_s = clock.now().duration_since(started).as_secs_f64();
    let summary = Summary::new(&report, &stack.name, &written_to, &copies, started, duration_s).with(&surroundings);
    let notices = sentinel::notices(&app.settings).map(str::to_owned).collect();
    let summary = Summary { notices, ..summary };
    app.output().summary(&summary);
    print(app, &summary, &report);
    let outcome = summary.status.outcome();
    let got_it = |name: &String, report: &CopyReport| *name != written_to && report.status == CopyStatus::Ok;
    let others: Vec<String> =
        copies.into_iter().filter(|(name, report)| got_it(name, report)).map(|(name, _)| name).collect();
    Ok(Done { report, outcome, copies: std::iter::once(written_to).chain(others).collect() })
}

/// A snapshot that was taken, and brought into the copies as far as that could be done.
struct Taken {
    report: BackupReport,
    /// The copy that was written first.
    written_to: String,
    copies: BTreeMap<String, CopyReport>,
}

impl Taken {
    fn status(&self) -> SourceStatus {
        let all_have_it = copy_report::outcome(self.copies.values()) == Outcome::Ok;
        if all_have_it { self.report.status() } else { SourceStatus::Partial }
    }
}

/// Takes the snapshot, and brings all copies into step.
fn write_all(
    app: &App,
    stack: &StackSettings,
    copies: &[&CopySettings],
    job: &StackBackup<'_>,
) -> Result<Taken, Fault> {
    let mut each = app.open_each_cached(copies)?;
    if each.opened.is_empty() {
        return Err(app.none_opened(each.faults));
    }
    let (report, written_to, under_way) = write(app, &mut each, job)?;
    // Also the one that was written: it may have been away while the others got a snapshot.
    let stepped = IntoStep::of(app, &[stack]).bring(each, |_| true, |name| under_way.settle(app, name));
    under_way.finish(app);
    let copies = stepped.inspect_err(|_| {
        let id = report.snapshot.short();
        complain(&format!("snapshot {id} is complete in copy {written_to}; the others were not brought into step"));
    })?;
    Ok(Taken { report, written_to, copies })
}

/// Writes the snapshot to the first of the copies. Where that one fails on the way, or is locked, the next one is written: the
/// death of one place must not cost the backup, nor a lock that stays there for a day or, being damaged, for ever. Gives also
/// the name of the copy that has it.
fn write(app: &App, each: &mut Each<'_>, job: &StackBackup<'_>) -> Result<(BackupReport, String, UnderWay), Fault> {
    loop {
        let Some((first, others)) = each.opened.split_first_mut() else {
            return Err(app.none_opened(std::mem::take(&mut each.faults)));
        };
        let under_way = UnderWay::begin(app, first, others)?;
        let others: Vec<_> = others.iter().map(|other| Arc::clone(&other.repository)).collect();
        let written = backup::run(&app.cx(), &under_way.repository, &StackBackup { others: &others, ..*job });
        app.run.progress.finish();
        match written {
            Ok(report) => {
                first.repository = Arc::clone(&under_way.repository);
                return Ok((report, first.copy.name.clone(), under_way));
            }
            Err(error) => {
                under_way.finish(app);
                use repository::Error::{LockDamaged, LockLost, Locked, Storage, Unreadable};
                // A lock is lost where its place hangs.
                let is_place = matches!(error, Storage(_) | Unreadable { .. } | LockLost);
                let is_locked = matches!(error, Locked { .. } | LockDamaged { .. });
                let fault = Fault::from(error);
                // A repository of its own is none of its copies.
                let next = others.iter().position(|other| other.is_copy_of(&first.repository));
                let Some(next) = next.filter(|_| is_place || is_locked) else { return Err(fault) };
                let failed = each.opened.remove(0);
                each.opened[..=next].rotate_right(1);
                let how = if is_locked { "is in use" } else { "failed" };
                complain(&format!("copy {} {how}: {}; the next copy is written", failed.copy.name, fault.text()));
                each.failed.push((failed.copy, fault));
            }
        }
    }
}

/// The copies as `RESTORE.md` names them.
fn guide_copies(copies: &[&CopySettings]) -> Vec<GuideCopy> {
    copies.iter().map(|copy| GuideCopy { name: copy.name.clone(), restic: copy.location.restic() }).collect()
}

/// The summary of a backup; `tests/json.rs` holds its keys.
#[derive(Serialize)]
struct Summary {
    status: RunStatus,
    stack: String,
    snapshot_id: String,
    parent: Option<String>,
    started_at: Timestamp,
    duration_s: f64,
    bytes_source: u64,
    bytes_read: u64,
    bytes_added: u64,
    files_new: u64,
    files_changed: u64,
    files_unmodified: u64,
    sources: BTreeMap<String, serde_json::Value>,
    copies: BTreeMap<String, serde_json::Value>,
    problems: usize,
    /// Those that failed.
    hooks: Vec<FailedHook>,
    /// What is not in the backup though it belongs to the application.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notices: Vec<String>,
    #[serde(skip)]
    all_have_it: bool,
}

/// How a run ended that took its snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum RunStatus {
    Ok,
    Partial,
    /// What must come after it failed.
    Failed,
}

impl RunStatus {
    fn outcome(self) -> Outcome {
        match self {
            Self::Ok => Outcome::Ok,
            Self::Partial => Outcome::Partial,
            Self::Failed => Outcome::Bad,
        }
    }
}

impl From<Outcome> for RunStatus {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok => Self::Ok,
            Outcome::Partial => Self::Partial,
            Outcome::Bad => Self::Failed,
        }
    }
}

impl Summary {
    /// `copy` was written; what it and the others lacked is in `stepped`.
    fn new(
        report: &BackupReport,
        stack: &str,
        copy: &str,
        stepped: &BTreeMap<String, CopyReport>,
        started_at: Timestamp,
        duration_s: f64,
    ) -> Self {
        let stats = &report.stats;
        let sources = report.sources.iter().map(|(name, record)| {
            let value = json!({
                "kind": record.kind, "status": record.status, "captured": record.captured, "tree": record.tree,
                "facts": record.facts, "problems": record.problems, "notes": record.notes,
            });
            (name.clone(), value)
        });
        let bytes_added = stats.stored.bytes_added_packed;
        let of_sources = if report.status() == SourceStatus::Ok { Outcome::Ok } else { Outcome::Partial };
        let all_have_it = copy_report::outcome(stepped.values()) == Outcome::Ok;
        let of_copies = if all_have_it { Outcome::Ok } else { Outcome::Partial };
        let mut copies: BTreeMap<String, serde_json::Value> =
            stepped.iter().map(|(name, report)| (name.clone(), json!(report))).collect();
        if let Some(written) = copies.get_mut(copy) {
            let brought = written["bytes_added"].as_u64().unwrap_or(0);
            written["bytes_added"] = json!(bytes_added + brought);
        }
        Self {
            status: of_sources.and(of_copies).into(),
            stack: stack.to_owned(),
            snapshot_id: report.snapshot.to_hex(),
            parent: report.parent.map(repository::Id::to_hex),
            started_at,
            duration_s,
            bytes_source: stats.bytes_source,
            bytes_read: stats.bytes_read,
            bytes_added,
            files_new: stats.files_new,
            files_changed: stats.files_changed,
            files_unmodified: stats.files_unmodified,
            sources: sources.collect(),
            copies,
            problems: report.problems.len(),
            hooks: Vec::new(),
            notices: Vec::new(),
            all_have_it,
        }
    }

    /// The same, with what the hooks make of it.
    fn with(self, surroundings: &AroundStack<'_>) -> Self {
        let status = self.status.outcome().and(surroundings.outcome()).into();
        Self { status, hooks: surroundings.failed(), ..self }
    }
}

fn print(app: &App, summary: &Summary, report: &BackupReport) {
    let output = app.output();
    let Summary { stack, files_new, files_changed, files_unmodified, .. } = summary;
    for (name, record) in &report.sources {
        let tree = &record.tree;
        let problems = match record.problems_total {
            0 => String::new(),
            problems => format!(", {}", count(problems as u64, "problem")),
        };
        let files = count(tree.files, "file");
        output.chat(format!("  {name} ({}): {files}, {}{problems}", record.kind, bytes(tree.bytes)));
        let of_stack = app.settings.stack(stack).and_then(|settings| settings.source(name));
        if tree.files == 0 && !of_stack.is_ok_and(|source| source.kind.may_be_none()) {
            output.text(format!("  source {name} is EMPTY: there is no file in it"));
        }
    }
    if !app.run.progress.shows_notes() {
        report.sources.iter().for_each(|(name, record)| show_notes(app, name, &record.notes));
    }
    if let Some(host) = &report.other_host {
        output.text(format!(
            "  host {host} took the snapshot before this one: if it still backs up, give the stacks different names, or they are \
             one to Lifeboat"
        ));
    }
    let all = Window::around(report.sources.values().filter_map(|record| record.captured));
    if let Some(Window { from, to }) = all.filter(|_| report.sources.len() > 1) {
        let (apart, from) = (seconds(to.duration_since(from).as_secs_f64()), from.strftime("%H:%M:%S UTC"));
        output.chat(format!("  all sources are of the {apart} from {from} on"));
    }
    output.chat(format!("  files: {files_new} new, {files_changed} read again, {files_unmodified} unchanged"));
    output.chat(format!(
        "  read {}, added {} in {}",
        bytes(summary.bytes_read),
        bytes(summary.bytes_added),
        seconds(summary.duration_s)
    ));
    let short = report.snapshot.short();
    match summary.problems {
        0 if !summary.all_have_it => {
            output.text(format!("snapshot {short} of {stack} is complete, but NOT in every copy: see above"));
        }
        0 => output.text(format!("snapshot {short} of {stack} is complete")),
        problems => output.text(format!(
            "snapshot {short} of {stack} is PARTIAL: {} left out or doubtful, named above",
            count(problems as u64, "thing")
        )),
    }
    if summary.status == RunStatus::Failed {
        output.text(format!("the run of {stack} FAILED after that: see the hook above"));
    }
}

/// What was left out on purpose, or is worth knowing. Few of these come in an ordinary run, and who sees none believes that all is
/// in the snapshot.
fn show_notes(app: &App, source: &str, notes: &[String]) {
    let (shown, more) = notes.split_at(notes.len().min(NOTES_SHOWN_MAX));
    shown.iter().for_each(|note| app.output().chat(format!("  note: {source}: {note}")));
    if !more.is_empty() {
        let more = count(more.len() as u64, "more note");
        app.output().chat(format!("  note: {source}: {more}; `--verbose` shows all"));
    }
}

/// What a backup would capture, counted by walking the sources.
fn preview(app: &App, stack: &StackSettings, only: &[String]) -> Result<(), Fault> {
    let sources = app.sources(stack, &[])?;
    let counts = backup::preview(&app.cx(), &sources, only, &app.scratch(), &app.own_paths())?;
    for NamedSource { name, .. } in sources.iter().filter(|named| !counts.contains_key(&named.name)) {
        if only.is_empty() || only.contains(name) {
            app.output().text(format!("{name}: a command, not started"));
        }
    }
    for (name, counted) in &counts {
        let (files, problems) = (count(counted.files, "file"), count(counted.problems, "problem"));
        app.output().text(format!("{name}: {files}, {}, {problems}", bytes(counted.bytes)));
    }
    app.output().summary(json!({ "status": "ok", "dry_run": true, "stack": stack.name, "sources": counts }));
    Ok(())
}
