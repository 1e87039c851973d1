//! One run: how far it is, what it said, how it ended; cancel and do again.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};

use super::button::Button;
use super::layout::{Frame, SignedIn, failed_for, shown};
use super::log::{LogLine, facts, lines};
use super::words::{deed, escaped, minute, seconds, text};
use crate::access::Caller;
use crate::api::{Path, blocking, drills, runs};
use crate::journal::Run;
use crate::shared::Shared;
use crate::task::Task;

#[derive(Template)]
#[template(path = "run.html")]
struct RunPage {
    frame: Frame,
    id: String,
    status: &'static str,
    is_over: bool,
    cause: String,
    command: String,
    queued: String,
    took: Option<String>,
    message: Option<String>,
    hint: Option<String>,
    facts: Vec<(String, String)>,
    drills: Vec<DrillView>,
    /// The snapshot that it took or was about.
    snapshot: Option<String>,
    log: Vec<LogLine>,
    may_cancel: bool,
    again: Option<Button>,
    /// Where a restore is asked for once more, or for real after a preview.
    restore: Option<Onward>,
}

/// A link to what can be done next.
struct Onward {
    url: String,
    label: &'static str,
}

/// What a drill found in one copy.
struct DrillView {
    copy: String,
    status: String,
    level: String,
    took: String,
    snapshot: String,
    receipt: String,
    steps: Vec<(String, String)>,
    sources: Vec<Compared>,
}

/// How one source came back.
struct Compared {
    name: String,
    status: String,
    compared: String,
    differences: Vec<String>,
}

#[derive(Template)]
#[template(path = "log.html")]
struct LogPart {
    log: Vec<LogLine>,
}

/// The page.
pub async fn show(State(shared): State<Arc<Shared>>, SignedIn(caller): SignedIn, Path(id): Path<String>) -> Response {
    let who = caller.clone();
    let made = blocking(move || {
        let run = runs::find(&shared, &who, &id)?;
        Ok(view(&shared, &who, &run))
    });
    shown(&caller, made.await)
}

/// What it said so far, as the part of the page that is shown anew while it runs.
pub async fn show_log(
    State(shared): State<Arc<Shared>>,
    SignedIn(caller): SignedIn,
    Path(id): Path<String>,
) -> Response {
    let who = caller.clone();
    let made = blocking(move || {
        let run = runs::find(&shared, &who, &id)?;
        Ok(LogPart { log: lines(&shared, &run) })
    });
    shown(&caller, made.await)
}

/// Asks it to stop.
pub async fn cancel(State(shared): State<Arc<Shared>>, SignedIn(caller): SignedIn, Path(id): Path<String>) -> Response {
    match runs::stop(&shared, &caller, &id) {
        Ok(run) => Redirect::to(&format!("/runs/{}", run.id)).into_response(),
        Err(problem) => failed_for(&caller, problem),
    }
}

fn view(shared: &Shared, caller: &Caller, run: &Run) -> RunPage {
    let is_over = run.status.is_end();
    let may = caller.require(runs::role_for(shared, &run.task)).is_ok();
    let words: Vec<_> = run.task.arguments().iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let drills: Vec<_> = drills::receipts(shared, run).iter().map(DrillView::new).collect();
    // What a drill found is shown copy by copy.
    let result = run.summary.as_ref().filter(|_| drills.is_empty());
    // A restore is looked at again before it is done again.
    let is_restore = matches!(run.task, Task::Restore { .. });
    let again = Button::of(shared, caller, &run.task).filter(|_| is_over && !is_restore);
    RunPage {
        frame: Frame::new(deed(&run.task), "/runs", caller),
        id: run.id.clone(),
        status: run.status.name(),
        is_over,
        cause: run.cause.clone(),
        command: format!("lifeboat {}", words.join(" ")),
        queued: minute(run.queued_at),
        took: run.started_at.zip(run.ended_at).map(|(start, end)| seconds(end.duration_since(start).as_secs_f64())),
        message: run.message.clone(),
        hint: run.hint.clone(),
        facts: result.map(facts).unwrap_or_default(),
        snapshot: result.and_then(|result| result["snapshot_id"].as_str()).map(str::to_owned),
        drills,
        log: lines(shared, run),
        may_cancel: may && !is_over,
        again,
        restore: onward(&run.task).filter(|_| is_over && may),
    }
}

fn onward(task: &Task) -> Option<Onward> {
    let Task::Restore { uri, dry_run, .. } = task else { return None };
    let label = if *dry_run { "Restore this" } else { "Restore again" };
    let to = task.to().map_or("&place=in-place".to_owned(), |to| format!("&place=folder&to={}", escaped(to)));
    Some(Onward { url: format!("/restore?uri={}{to}", escaped(uri)), label })
}

impl DrillView {
    fn new(line: &serde_json::Value) -> Self {
        let steps = line["steps"].as_array().into_iter().flatten();
        let sources = line["sources"].as_object().into_iter().flatten();
        Self {
            copy: text(&line["copy"]),
            status: text(&line["status"]),
            level: line["level"].to_string(),
            took: seconds(line["rto_s"].as_f64().unwrap_or_default()),
            snapshot: text(&line["snapshot_id"]),
            receipt: text(&line["receipt"]),
            steps: steps
                .map(|step| (text(&step["step"]), seconds(step["seconds"].as_f64().unwrap_or_default())))
                .collect(),
            sources: sources
                .map(|(name, source)| Compared {
                    name: name.clone(),
                    status: text(&source["status"]),
                    compared: source["compared"].to_string(),
                    differences: source["differences"].as_array().into_iter().flatten().map(difference).collect(),
                })
                .collect(),
        }
    }
}

fn difference(value: &serde_json::Value) -> String {
    format!("{}: {}", text(&value["path"]), text(&value["what"]))
}
