//! `lifeboat backup`: one snapshot of each stack.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use connectors::process;
use jiff::Timestamp;
use operations::backup::{self, BackupReport, NamedSource, StackBackup};
use operations::config::{CopySettings, StackSettings};
use operations::manifest::SourceStatus;
use operations::restore_guide::GuideCopy;
use operations::scratch::Scratch;
use operations::state::LastRun;
use operations::{Fault, FaultKind};
use repository::storage::follow::Follower;
use repository::{Clock as _, Event, Repository};
use serde::Serialize;
use serde_json::json;

use super::for_each;
use crate::app::App;
use crate::arguments;
use crate::output::{Outcome, bytes, complain, count, seconds};
use crate::step::{self, Brought, CopyReport, CopyStatus, Step};

/// Between two looks at whether a command has ended.
const WATCH_PAUSE: Duration = Duration::from_millis(20);

pub fn run(app: &App, arguments: &arguments::Backup) -> Result<Outcome, Fault> {
    let stacks = app.stacks(&arguments.stack)?;
    let name = |stack: &&StackSettings| format!("stack {}", stack.name);
    for_each(app.output(), &stacks, name, |stack| {
        if arguments.dry_run {
            return preview(app, stack, &arguments.source).map(|()| Outcome::Ok);
        }
        Ok(one(app, stack, &arguments.source, &arguments.tag)?.outcome)
    })
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
    let done = take(app, stack, only, tags);
    let failure = match &done {
        // Whoever stopped it knows of it.
        Err(fault) if fault.kind == FaultKind::Cancelled => return done,
        done => done.as_ref().err().map(Fault::text),
    };
    let run = LastRun { at: app.run.clock.now(), failure };
    if let Err(fault) = app.state().save_run(&stack.name, &run) {
        complain(&format!("how it ended cannot be kept for `lifeboat status`: {}", fault.text()));
    }
    done
}

/// Takes a snapshot of one stack into the first of its copies that can be opened, brings the others into step, and reports
/// it. The others follow while it is written. One that does not get it makes the run partial.
fn take(app: &App, stack: &StackSettings, only: &[String], tags: &[String]) -> Result<Done, Fault> {
    let clock: &dyn repository::Clock = &app.run.clock;
    let started = clock.now();
    if let Some(what) = stack.idle_schedules() {
        app.output().chat(what);
    }
    // A name that is not there must be an error, and not a backup of nothing.
    only.iter().try_for_each(|name| stack.source(name).map(drop))?;
    let sources = app.sources(stack, &[])?;
    let copies = app.repositories(None, Some(stack))?;
    let mut each = app.open_each_cached(&copies)?;
    let Some(first) = each.opened.first() else { return Err(app.none_opened(each.faults)) };
    run_before(app, stack)?;
    let copy = first.copy;
    let others = each.opened.iter().skip(1).filter(|other| other.repository.is_copy_of(&first.repository));
    let (names, others): (Vec<&str>, Vec<&Repository>) =
        others.map(|other| (&*other.copy.name, &*other.repository)).unzip();
    // Where no copy is near, what was sent to the first must not be fetched again for the next.
    let is_far = each.opened.iter().all(|opened| opened.copy.location.local().is_none());
    let spool = if is_far && !others.is_empty() { Some(Scratch::create(&app.scratch())?) } else { None };
    let folder = spool.as_ref().map(|spool| spool.path().to_owned());
    let (repository, followers) = first.repository.followed_by(&others, folder, &app.run.cancel);
    let repository = Arc::new(repository);
    let followers: BTreeMap<&str, Mutex<Option<Follower>>> =
        names.into_iter().zip(followers.into_iter().map(|follower| Mutex::new(Some(follower)))).collect();
    let job = StackBackup {
        stack: &stack.name,
        sources: &sources,
        only,
        tags,
        scratch: &app.scratch(),
        own_paths: &app.own_paths(),
        copies: &guide_copies(&copies),
        count_first: app.run.progress.is_visible(),
    };
    let taken = backup::run(&app.cx(), &repository, &job);
    app.run.progress.finish();
    let written_to = copy.name.clone();
    // What is under way to a copy gets there before it is asked what it lacks.
    let ready = |name: &str| {
        let follower =
            followers.get(name).and_then(|follower| follower.lock().unwrap_or_else(PoisonError::into_inner).take());
        let Some(followed) = follower.map(Follower::finish) else { return Brought::default() };
        if let Some(failure) = followed.failure {
            app.cx().events.emit(Event::Note(format!("copy {name} no longer followed the backup: {failure}")));
        }
        Brought { packs: followed.packs.len(), bytes: followed.bytes }
    };
    if let Some(first) = each.opened.first_mut() {
        first.repository = repository;
    }
    let done = taken.map_err(Fault::from).and_then(|report| {
        let copies = Step::of(app, &[stack]).take(each, |name| name != written_to, ready)?;
        Ok((report, copies))
    });
    // Also after a failure: nothing of this stack may still be under way when the next begins.
    for name in followers.keys() {
        let _ = ready(name);
    }
    if let Some(Err(error)) = spool.map(Scratch::remove) {
        complain(&format!("what was kept of packs under way cannot be removed; the next run tries again: {error}"));
    }
    let (report, copies) = done?;
    let duration_s = clock.now().duration_since(started).as_secs_f64();
    let summary = Summary::new(&report, &stack.name, &written_to, &copies, started, duration_s);
    app.output().summary(&summary);
    print(app, &summary, &report);
    let outcome = if summary.status == SourceStatus::Ok { Outcome::Ok } else { Outcome::Partial };
    let got_it = copies.into_iter().filter(|(_, report)| report.status == CopyStatus::Ok).map(|(name, _)| name);
    Ok(Done { report, outcome, copies: std::iter::once(written_to).chain(got_it).collect() })
}

/// The copies as `RESTORE.md` names them.
fn guide_copies(copies: &[&CopySettings]) -> Vec<GuideCopy> {
    copies.iter().map(|copy| GuideCopy { name: copy.name.clone(), restic: copy.location.restic() }).collect()
}

/// The summary of a backup; `tests/json.rs` holds its keys.
#[derive(Serialize)]
struct Summary {
    status: SourceStatus,
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
}

impl Summary {
    /// `copy` was written; what came of the others is in `others`.
    fn new(
        report: &BackupReport,
        stack: &str,
        copy: &str,
        others: &BTreeMap<String, CopyReport>,
        started_at: Timestamp,
        duration_s: f64,
    ) -> Self {
        let stats = &report.stats;
        let sources = report.sources.iter().map(|(name, record)| {
            let value = json!({
                "kind": record.kind, "status": record.status, "tree": record.tree, "facts": record.facts,
                "problems": record.problems,
            });
            (name.clone(), value)
        });
        let bytes_added = stats.stored.bytes_added_packed;
        let written = (copy.to_owned(), json!({ "status": "ok", "bytes_added": bytes_added }));
        let all_have_it = step::outcome(others.values()) == Outcome::Ok;
        let others = others.iter().map(|(name, report)| (name.clone(), json!(report)));
        Self {
            status: if all_have_it { report.status() } else { SourceStatus::Partial },
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
            copies: std::iter::once(written).chain(others).collect(),
            problems: report.problems.len(),
        }
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
        if tree.files == 0 {
            output.text(format!("  source {name} is EMPTY: there is no file in it"));
        }
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
        0 if summary.status == SourceStatus::Partial => {
            output.text(format!("snapshot {short} of {stack} is complete, but NOT in every copy: see above"));
        }
        0 => output.text(format!("snapshot {short} of {stack} is complete")),
        problems => output.text(format!(
            "snapshot {short} of {stack} is PARTIAL: {} left out or doubtful, named above",
            count(problems as u64, "thing")
        )),
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

/// The stack's own commands. One that fails keeps the backup from running on data that is not ready.
fn run_before(app: &App, stack: &StackSettings) -> Result<(), Fault> {
    for line in &stack.before {
        let (program, words) = line.program();
        let failed = |what: String| {
            Fault::new(FaultKind::Source, format!("the command `{line}` that must run before the backup {what}"))
                .with_hint("nothing was backed up; mend the command, or remove it from `before:`")
        };
        // In a group of its own, so that what it starts can be stopped with it.
        let mut child = std::process::Command::new(program)
            .args(words)
            .current_dir(app.settings.folder())
            .stdin(std::process::Stdio::null())
            .stdout(std::io::stderr())
            .process_group(0)
            .spawn()
            .map_err(|error| failed(format!("cannot be started: {error}")))?;
        let status = loop {
            let looked = child.try_wait().inspect_err(|_| process::end_group(&mut child));
            match looked.map_err(|error| failed(format!("cannot be watched: {error}")))? {
                Some(status) => break status,
                None if app.run.cancel.pause(&app.run.clock, WATCH_PAUSE) => {}
                None => {
                    process::end_group(&mut child);
                    return Err(repository::Error::Cancelled.into());
                }
            }
        };
        if !status.success() {
            return Err(failed(format!("failed: {status}")));
        }
    }
    Ok(())
}
