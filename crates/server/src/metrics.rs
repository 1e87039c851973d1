//! How all stands, in the text format of Prometheus, version 0.0.4. What each series means is told in its `HELP` and in
//! docs/guides/monitoring.md; `deploy/` has a dashboard and rules that go by them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use operations::Fault;
use operations::config::StackSettings;
use serde_json::Value;

use crate::due::{self, Scheduled};
use crate::journal::Status;
use crate::known::WantedSnapshots;
use crate::shared::Shared;
use crate::task::KINDS;

/// The media type of the text.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Every hash of the audit log is computed again at most so often.
const AUDIT_AGAIN_AFTER: Duration = Duration::from_secs(10 * 60);
const SEVERITIES: [&str; 3] = ["notice", "warning", "critical"];
const RULES: [&str; 5] = ["copies", "media", "offsite", "immutable", "verified"];
const ENDS: [Status; 5] = [Status::Ok, Status::Partial, Status::Failed, Status::Cancelled, Status::CutOff];

/// When the audit log was checked last, and whether it was whole.
#[derive(Default)]
pub struct AuditChecked(Mutex<Option<(Timestamp, bool)>>);

impl AuditChecked {
    fn is_whole(&self, shared: &Shared) -> Result<bool, Fault> {
        let mut checked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = shared.clock.now();
        let is_young = |at: Timestamp| at <= now && now.duration_since(at).unsigned_abs() < AUDIT_AGAIN_AFTER;
        if let Some((_, is_whole)) = checked.filter(|(at, _)| is_young(*at)) {
            return Ok(is_whole);
        }
        let is_whole = shared.audit.first_wrong()?.is_none();
        *checked = Some((now, is_whole));
        Ok(is_whole)
    }
}

/// All series, as they are now.
///
/// # Errors
///
/// Where the server's memory cannot be read.
pub fn text(shared: &Shared) -> Result<String, Fault> {
    let mut page = Page::default();
    of_server(shared, &mut page)?;
    of_stacks(shared, &mut page)?;
    of_copies(shared, &mut page)?;
    of_runs(shared, &mut page)?;
    of_jobs(shared, &mut page)?;
    Ok(page.text)
}

fn of_server(shared: &Shared, page: &mut Page) -> Result<(), Fault> {
    page.family("lifeboat_build_info", "The version that runs; always 1.");
    page.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    page.family("lifeboat_audit_ok", "Whether no row of the audit log was changed or taken out.");
    page.sample(&[], flag(shared.audit_checked.is_whole(shared)?));
    page.family("lifeboat_known_timestamp_seconds", "When the copies were last looked at, by what was asked.");
    for command in ["status", "copies", "coverage"] {
        if let Some(told) = shared.known.told(command)? {
            page.sample(&[("command", command)], seconds(told.at));
        }
    }
    Ok(())
}

fn of_stacks(shared: &Shared, page: &mut Page) -> Result<(), Fault> {
    let told = shared.known.told("status")?.map(|told| told.summary).unwrap_or_default();
    let known: Vec<(&StackSettings, &Value)> =
        shared.settings.stacks.iter().filter_map(|stack| Some((stack, told["stacks"].get(&stack.name)?))).collect();
    page.family("lifeboat_stack_last_backup_timestamp_seconds", "When the newest snapshot of a stack was taken.");
    for (stack, health) in &known {
        page.maybe(&[("stack", &stack.name)], time(&health["last_backup"]).map(seconds));
    }
    page.family("lifeboat_stack_backup_age_seconds", "How old the newest snapshot of a stack is.");
    for (stack, health) in &known {
        let age = time(&health["last_backup"]).map(|at| shared.clock.now().duration_since(at).as_secs_f64());
        page.maybe(&[("stack", &stack.name)], age);
    }
    page.family("lifeboat_stack_rpo_seconds", "How old the newest snapshot may be, where the stack says so.");
    for stack in &shared.settings.stacks {
        page.maybe(&[("stack", &stack.name)], stack.rpo.map(|rpo| rpo.as_secs_f64()));
    }
    page.family("lifeboat_stack_rto_seconds", "How long a restore may take, where the stack says so.");
    for stack in &shared.settings.stacks {
        page.maybe(&[("stack", &stack.name)], stack.rto.map(|rto| rto.as_secs_f64()));
    }
    page.family("lifeboat_stack_rpo_ok", "Whether the newest snapshot is young enough, where the stack says so.");
    for (stack, health) in &known {
        page.maybe(&[("stack", &stack.name)], health["rpo_ok"].as_bool().map(flag));
    }
    page.family("lifeboat_stack_rto_ok", "Whether the newest drills were quick enough, where the stack says so.");
    for (stack, health) in &known {
        page.maybe(&[("stack", &stack.name)], health["rto_ok"].as_bool().map(flag));
    }
    page.family("lifeboat_stack_problems", "What is wrong with a stack, by severity.");
    for (stack, health) in &known {
        problems(page, "stack", &stack.name, health);
    }
    page.family("lifeboat_stack_score", "The 3-2-1-1-0 score of a stack, rule by rule.");
    for (stack, health) in &known {
        for rule in RULES {
            page.maybe(&[("stack", &stack.name), ("rule", rule)], health["score"][rule].as_f64());
        }
    }
    page.family("lifeboat_stack_source_bytes", "The bytes that the newest snapshot of a stack stands for.");
    for (stack, _) in &known {
        let wanted = WantedSnapshots { stack: Some(stack.name.clone()), limit: 1, ..Default::default() };
        let newest = shared.known.snapshots(&wanted)?;
        page.maybe(&[("stack", &stack.name)], newest.first().and_then(|newest| newest["bytes_source"].as_f64()));
    }
    drills(page, &known);
    Ok(())
}

fn drills(page: &mut Page, known: &[(&StackSettings, &Value)]) {
    type Of = fn(&Value) -> Option<f64>;
    let families: [(&'static str, &'static str, Of); 4] = [
        ("lifeboat_drill_timestamp_seconds", "When a stack was last drilled on a copy.", |drill| {
            time(&drill["at"]).map(seconds)
        }),
        ("lifeboat_drill_passed", "Whether the last drill passed.", |drill| Some(flag(drill["status"] == "passed"))),
        ("lifeboat_drill_level", "The level that the last drill reached.", |drill| drill["level"].as_f64()),
        ("lifeboat_drill_rto_seconds", "How long the restore of the last drill took.", |drill| drill["rto_s"].as_f64()),
    ];
    for (name, help, of) in families {
        page.family(name, help);
        for (stack, health) in known {
            for (copy, drill) in health["last_drill"].as_object().into_iter().flatten() {
                page.maybe(&[("stack", &stack.name), ("copy", copy)], of(drill));
            }
        }
    }
}

fn of_copies(shared: &Shared, page: &mut Page) -> Result<(), Fault> {
    let lines = shared.known.told("copies")?.map(|told| told.lines).unwrap_or_default();
    let copies: Vec<(&str, &Value)> = lines
        .iter()
        .filter(|line| line["message_type"] == "copy")
        .filter_map(|line| Some((line["name"].as_str()?, line)))
        .collect();
    page.family("lifeboat_copy_reachable", "Whether a copy could be opened.");
    for (name, copy) in &copies {
        page.maybe(&[("copy", name)], copy["reachable"].as_bool().map(flag));
    }
    page.family("lifeboat_copy_absent", "Whether a removable copy is away, which is no fault.");
    for (name, copy) in &copies {
        page.maybe(&[("copy", name)], copy["absent"].as_bool().map(flag));
    }
    page.family("lifeboat_copy_problems", "What is wrong with a copy, by severity.");
    for (name, copy) in &copies {
        problems(page, "copy", name, copy);
    }
    type Of = fn(&Value) -> Option<f64>;
    let families: [(&'static str, &'static str, Of); 4] = [
        ("lifeboat_copy_snapshots", "How many snapshots of a stack a copy holds.", |held| held["snapshots"].as_f64()),
        ("lifeboat_copy_lacks", "How many snapshots of a stack other copies hold and this one should.", |held| {
            held["lacks"].as_array().map(|lacks| lacks.len() as f64)
        }),
        ("lifeboat_copy_lag_snapshots", "How many newer snapshots of a stack other copies hold.", |held| {
            held["lag"]["snapshots"].as_f64()
        }),
        (
            "lifeboat_copy_lag_seconds",
            "By how much a copy's newest snapshot of a stack is behind that of others.",
            |held| held["lag"]["seconds"].as_f64(),
        ),
    ];
    for (family, help, of) in families {
        page.family(family, help);
        for (name, copy) in &copies {
            for (stack, held) in copy["stacks"].as_object().into_iter().flatten() {
                page.maybe(&[("copy", name), ("stack", stack)], of(held));
            }
        }
    }
    Ok(())
}

fn of_runs(shared: &Shared, page: &mut Page) -> Result<(), Fault> {
    let counts = shared.runner.journal.counts()?;
    let count = |kind: &str, status: Status| {
        let found = counts.iter().find(|(of, is, _)| of == kind && *is == status);
        found.map_or(0.0, |(.., count)| *count as f64)
    };
    page.counter("lifeboat_runs_total", "Runs that ended, by kind and how.");
    for kind in KINDS {
        for status in ENDS {
            page.sample(&[("kind", kind), ("status", status.name())], count(kind, status));
        }
    }
    for (name, help, status) in [
        ("lifeboat_runs_running", "Runs that are under way, by kind.", Status::Running),
        ("lifeboat_runs_queued", "Runs that wait for their turn, by kind.", Status::Queued),
    ] {
        page.family(name, help);
        for kind in KINDS {
            page.sample(&[("kind", kind)], count(kind, status));
        }
    }
    page.family("lifeboat_run_last_end_timestamp_seconds", "When any run last ended.");
    page.maybe(&[], shared.runner.journal.last_end()?.map(seconds));
    Ok(())
}

fn of_jobs(shared: &Shared, page: &mut Page) -> Result<(), Fault> {
    let now = shared.clock.now();
    let jobs = due::jobs(&shared.settings, &shared.host);
    let memories = jobs.iter().map(|job| shared.runner.journal.memory(&job.name)).collect::<Result<Vec<_>, Fault>>()?;
    let labels = |job: &Scheduled| [("job", job.name.clone()), ("kind", job.task.kind().to_owned())];
    page.family("lifeboat_job_next_timestamp_seconds", "When a job is due next.");
    for job in &jobs {
        page.maybe(&borrowed(&labels(job)), job.timetable.next_after(now).map(seconds));
    }
    page.family("lifeboat_job_begun_timestamp_seconds", "When a job last began.");
    for (job, memory) in jobs.iter().zip(&memories) {
        page.maybe(&borrowed(&labels(job)), memory.as_ref().and_then(|memory| memory.begun).map(seconds));
    }
    page.family("lifeboat_job_late", "Whether a job was due more than an hour ago and has not begun.");
    for (job, memory) in jobs.iter().zip(&memories) {
        let is_late = memory.as_ref().is_some_and(|memory| job.late_since(memory, now).is_some());
        page.sample(&borrowed(&labels(job)), flag(is_late));
    }
    Ok(())
}

fn borrowed<'a>(labels: &'a [(&'static str, String); 2]) -> [(&'static str, &'a str); 2] {
    labels.each_ref().map(|(key, value)| (*key, value.as_str()))
}

fn problems(page: &mut Page, label: &'static str, name: &str, of: &Value) {
    for severity in SEVERITIES {
        let all = of["problems"].as_array().into_iter().flatten();
        let count = all.filter(|problem| problem["severity"] == severity).count();
        page.sample(&[(label, name), ("severity", severity)], count as f64);
    }
}

fn flag(is_so: bool) -> f64 {
    if is_so { 1.0 } else { 0.0 }
}

fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// The text, as it is written: family by family.
#[derive(Default)]
struct Page {
    text: String,
    name: &'static str,
}

impl Page {
    fn family(&mut self, name: &'static str, help: &'static str) {
        self.begin(name, help, "gauge");
    }

    fn counter(&mut self, name: &'static str, help: &'static str) {
        self.begin(name, help, "counter");
    }

    fn begin(&mut self, name: &'static str, help: &'static str, kind: &'static str) {
        self.name = name;
        self.text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, labels: &[(&'static str, &str)], value: f64) {
        let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        self.text.push_str(&format!("{}{labels} {value}\n", self.name));
    }

    /// What is not known has no sample, so that nobody takes it for 0.
    fn maybe(&mut self, labels: &[(&'static str, &str)], value: Option<f64>) {
        if let Some(value) = value {
            self.sample(labels, value);
        }
    }
}

/// As the format has values of labels.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests;
