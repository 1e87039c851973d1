//! What was done and is being done.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use super::layout::{Frame, SignedIn, shown};
use super::words::{ago, deed, escaped, minute, seconds};
use crate::access::Caller;
use crate::api::{Query, blocking};
use crate::journal::{Run, Status, Wanted};
use crate::problem::Problem;
use crate::shared::Shared;

/// Runs on a page.
const RUNS: usize = 50;
/// The kinds of runs, to choose from.
const KINDS: [&str; 8] = ["backup", "drill", "restore", "check", "heal", "sync", "prune", "tamper-test"];
/// How runs stand, to choose from.
const STATUSES: [Status; 7] =
    [Status::Queued, Status::Running, Status::Ok, Status::Partial, Status::Failed, Status::Cancelled, Status::CutOff];

/// Which runs; what is empty does not count.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Filter {
    kind: String,
    stack: String,
    status: String,
    before: String,
}

#[derive(Template)]
#[template(path = "runs.html")]
struct RunsPage {
    frame: Frame,
    filter: Filter,
    kinds: [&'static str; 8],
    stacks: Vec<String>,
    statuses: Vec<&'static str>,
    runs: Vec<Row>,
    next: Option<String>,
}

/// A run in the list.
pub struct Row {
    /// Its id.
    pub id: String,
    /// What was done.
    pub what: String,
    /// How it stands.
    pub status: &'static str,
    /// When it was asked for.
    pub at: String,
    /// How long ago that is.
    pub ago: String,
    /// How long it took.
    pub took: String,
    /// Why it was started.
    pub cause: String,
    /// What went wrong.
    pub message: String,
}

/// The page.
pub async fn show(
    State(shared): State<Arc<Shared>>,
    SignedIn(caller): SignedIn,
    Query(filter): Query<Filter>,
) -> Response {
    let who = caller.clone();
    let made = blocking(move || list(&shared, &who, filter)).await;
    shown(&caller, made)
}

fn list(shared: &Shared, caller: &Caller, filter: Filter) -> Result<RunsPage, Problem> {
    let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let wanted = Wanted {
        before: some(&filter.before),
        kind: some(&filter.kind),
        stack: some(&filter.stack),
        status: STATUSES.into_iter().find(|status| status.name() == filter.status),
        visible: caller.stacks.clone(),
        limit: RUNS,
    };
    let runs = shared.runner.journal.list(&wanted)?;
    let last = runs.last().filter(|_| runs.len() == RUNS);
    let next = last.map(|last| {
        let Filter { kind, stack, status, .. } = &filter;
        format!("/runs?kind={}&stack={}&status={}&before={}", escaped(kind), escaped(stack), escaped(status), last.id)
    });
    let stacks = shared.settings.stacks.iter().filter(|stack| caller.sees(&stack.name));
    Ok(RunsPage {
        frame: Frame::new("Runs", "/runs", caller),
        kinds: KINDS,
        stacks: stacks.map(|stack| stack.name.clone()).collect(),
        statuses: STATUSES.map(Status::name).to_vec(),
        runs: runs.iter().map(|run| Row::new(shared, run)).collect(),
        next,
        filter,
    })
}

impl Row {
    /// Of a run.
    pub fn new(shared: &Shared, run: &Run) -> Self {
        let took = run.started_at.zip(run.ended_at);
        Self {
            id: run.id.clone(),
            what: deed(&run.task),
            status: run.status.name(),
            at: minute(run.queued_at),
            ago: ago(run.queued_at, shared.clock.now()),
            took: took.map_or(String::new(), |(start, end)| seconds(end.duration_since(start).as_secs_f64())),
            cause: run.cause.clone(),
            message: run.message.clone().unwrap_or_default(),
        }
    }
}
