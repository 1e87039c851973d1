//! Runs: listed, started, cancelled.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::extract::{Json, Page, Path, Query, blocking, key, limit, tagged};
use crate::access::{Caller, Role};
use crate::journal::{Run, Status, Wanted};
use crate::problem::Problem;
use crate::shared::Shared;
use crate::task::Task;

/// Which runs.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WantedRuns {
    /// The last id of the page before.
    before: Option<String>,
    /// Only of this kind, such as `backup`.
    kind: Option<String>,
    /// Only of this stack.
    stack: Option<String>,
    /// Only with this status.
    status: Option<Status>,
    /// So many at most.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u16>,
}

/// The runs, the newest first.
#[utoipa::path(get, path = "/v1/admin/runs", tag = "runs", params(WantedRuns), responses(
    (status = 200, body = Page<Run>),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn list(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Query(wanted): Query<WantedRuns>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let limit = limit(wanted.limit)?;
    let WantedRuns { before, kind, stack, status, limit: _ } = wanted;
    let wanted = Wanted { before, kind, stack, status, visible: caller.stacks, limit };
    let runs = blocking(move || Ok(shared.runner.journal.list(&wanted)?)).await?;
    tagged(&headers, &Page::new(runs, limit, |run| Some(run.id.clone())))
}

/// A run.
#[utoipa::path(get, path = "/v1/admin/runs/{id}", tag = "runs", params(("id" = String, Path, description = "The run's id")), responses(
    (status = 200, body = Run),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn one(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    tagged(&headers, &find(&shared, &caller, &id)?)
}

/// Starts something: a backup, a drill, a restore, a check, a heal, a sync, a prune or a tamper test.
#[utoipa::path(post, path = "/v1/admin/runs", tag = "runs", request_body = Task,
    params(("Idempotency-Key" = Option<String>, Header, description = "Sent again with the same key, nothing is done twice")),
    responses(
    (status = 202, body = Run),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn start(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
    Json(task): Json<Task>,
) -> Result<Response, Problem> {
    begin(shared, caller, &headers, task).await
}

/// Cancels a run.
#[utoipa::path(post, path = "/v1/admin/runs/{id}/cancel", tag = "runs", params(("id" = String, Path, description = "The run's id")), responses(
    (status = 202, body = Run, description = "It was asked to stop"),
    (status = 409, body = Problem, content_type = "application/problem+json", description = "It has ended"),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn cancel(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let run = stop(&shared, &caller, &id)?;
    Ok((StatusCode::ACCEPTED, axum::Json(run)).into_response())
}

/// Asks a run to stop, for who may.
pub fn stop(shared: &Shared, caller: &Caller, id: &str) -> Result<Run, Problem> {
    let run = find(shared, caller, id)?;
    caller.require(role_for(shared, &run.task))?;
    shared.audit.add(&caller.name, "cancel", &format!("run {id}"), "ok", shared.clock.now())?;
    if !shared.runner.cancel(id)? {
        return Err(Problem::new(StatusCode::CONFLICT, "ended", "this run has ended already"));
    }
    find(shared, caller, id)
}

/// The run with this id, for who may see it.
pub fn find(shared: &Shared, caller: &Caller, id: &str) -> Result<Run, Problem> {
    let run = shared.runner.journal.run(id)?;
    let is_seen = |run: &Run| run.task.stack().is_none_or(|stack| caller.sees(stack));
    run.filter(is_seen).ok_or_else(|| Problem::not_found(format!("there is no run {id}")))
}

/// Writes down that something was asked for, by who may ask for it; the scheduler starts it.
pub async fn begin(shared: Arc<Shared>, caller: Caller, headers: &HeaderMap, task: Task) -> Result<Response, Problem> {
    allow(&shared, &caller, &task)?;
    let key = key(headers)?.map(str::to_owned);
    let (status, body) = blocking(move || ask_for(&shared, &caller, key.as_deref(), &task)).await?;
    Ok((status, axum::Json(body)).into_response())
}

fn ask_for(shared: &Shared, caller: &Caller, key: Option<&str>, task: &Task) -> Result<(StatusCode, Value), Problem> {
    let now = shared.clock.now();
    let request = json!({ "start": task }).to_string();
    shared.answered.once(&caller.name, key, &request, now, || {
        let run = write_down(shared, caller, task)?;
        let mut body = json!(run);
        body["run_id"] = Value::from(run.id);
        Ok((StatusCode::ACCEPTED, body))
    })
}

/// As [`begin`], for a page, which has no use for a key: after a form was sent, the browser is sent on.
pub async fn queue(shared: Arc<Shared>, caller: Caller, task: Task) -> Result<Run, Problem> {
    allow(&shared, &caller, &task)?;
    blocking(move || write_down(&shared, &caller, &task)).await
}

fn write_down(shared: &Shared, caller: &Caller, task: &Task) -> Result<Run, Problem> {
    let now = shared.clock.now();
    shared.audit.add(&caller.name, task.kind(), &told(task), "ok", now)?;
    let run = shared.runner.journal.queue(task, &format!("asked for by {}", caller.name), Some(&caller.name), now)?;
    shared.bell.ring();
    Ok(run)
}

/// What is asked for, in words for the audit log.
fn told(task: &Task) -> String {
    let words: Vec<_> = task.arguments().iter().map(|word| word.to_string_lossy().into_owned()).collect();
    words.join(" ")
}

/// Whether the task makes sense with this configuration, and who asks may ask for it.
fn allow(shared: &Shared, caller: &Caller, task: &Task) -> Result<(), Problem> {
    caller.require(role_for(shared, task))?;
    match task.stack() {
        Some(stack) => {
            caller.require_stack(stack)?;
            shared.settings.stack(stack)?;
        }
        // It is about copies, which hold all stacks.
        None => caller.require_all_stacks()?,
    }
    if let Task::Backup { stack, sources, copies } = task {
        let stack = shared.settings.stack(stack)?;
        sources.iter().try_for_each(|source| stack.source(source).map(drop))?;
        copies.iter().try_for_each(|copy| shared.settings.copy(copy).map(drop))?;
    }
    task.copy().map(|copy| shared.settings.copy(copy)).transpose()?;
    if let Task::Drill { level: Some(level), .. } = task
        && *level > operations::drill::LEVEL_MAX
    {
        return Err(Problem::bad(format!("a drill level is a number from 0 to {}", operations::drill::LEVEL_MAX)));
    }
    if let Task::Check { subset: Some(subset), .. } = task
        && !(1..=100).contains(subset)
    {
        return Err(Problem::bad("`subset` is a share in percent, from 1 to 100"));
    }
    let texts = [task.snapshot(), task.uri(), task.to()];
    match texts.into_iter().flatten().any(|text| text.is_empty() || text.contains('\0')) {
        true => Err(Problem::bad("a text is empty, or has a zero byte in it")),
        false => Ok(()),
    }
}

/// Who may ask for it. A restore to where the data came from, or to anywhere but the folder for that, is for admins.
pub fn role_for(shared: &Shared, task: &Task) -> Role {
    let is_below = |to: &str| {
        let to = std::path::Path::new(to);
        let is_plain = !to.components().any(|part| matches!(part, std::path::Component::ParentDir));
        is_plain && to.starts_with(&shared.settings.server.restore_dir)
    };
    match task {
        Task::Restore { to: Some(to), .. } if is_below(to) => Role::Operator,
        Task::Restore { dry_run: true, .. } => Role::Operator,
        Task::Restore { .. } | Task::Prune { .. } => Role::Admin,
        _ => Role::Operator,
    }
}
