//! What is protected and how it stands.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::extract::{Page, Printed, blocking, tagged};
use crate::access::{Caller, Role};
use crate::due;
use crate::known::{Told, of_stacks};
use crate::problem::Problem;
use crate::shared::Shared;

/// So many of a job's next times are told.
const NEXT_TIMES: usize = 5;

/// A stack, as the configuration has it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Stack {
    /// Its name.
    name: String,
    /// Its sources.
    sources: Vec<Source>,
    /// The copies that it goes to, the one to prefer first.
    copies: Vec<String>,
}

/// A source of a stack.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Source {
    /// Its name.
    name: String,
    /// Its kind, such as `postgres`.
    kind: &'static str,
}

/// Something that is done by itself.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct JobTimes {
    /// Its name.
    pub name: String,
    /// What it does.
    pub kind: &'static str,
    /// The stack that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// When it is due next, the five next times.
    #[schema(value_type = Vec<String>)]
    pub next: Vec<Timestamp>,
    /// When it last began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub begun: Option<Timestamp>,
    /// The hours in which it may begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hours: Option<String>,
}

/// The stacks.
#[utoipa::path(get, path = "/v1/admin/stacks", tag = "stacks", responses(
    (status = 200, body = Page<Stack>),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn list(State(shared): State<Arc<Shared>>, caller: Caller, headers: HeaderMap) -> Result<Response, Problem> {
    let stacks = shared.settings.stacks.iter().filter(|stack| caller.sees(&stack.name));
    let items = stacks.map(|stack| Stack {
        name: stack.name.clone(),
        sources: stack
            .sources
            .iter()
            .map(|source| Source { name: source.name.clone(), kind: source.kind.name() })
            .collect(),
        copies: stack.copies.clone(),
    });
    tagged(&headers, &Page { items: items.collect(), next: None })
}

/// Whether all is safe, stack by stack, as `lifeboat status` says it.
#[utoipa::path(get, path = "/v1/admin/status", tag = "stacks", responses(
    (status = 200, body = Printed),
    (status = 503, body = Problem, content_type = "application/problem+json", description = "The server has just started and does not know yet"),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn status(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let told = told(&shared, "status").await?;
    let stacks = Value::Object(of_stacks(&told.summary, &caller.stacks));
    tagged(&headers, &json!({ "at": told.at, "stacks": stacks }))
}

/// The copies: what each holds, how far behind it is, and what is wrong.
#[utoipa::path(get, path = "/v1/admin/copies", tag = "stacks", responses(
    (status = 200, body = Page<Printed>),
    (status = 503, body = Problem, content_type = "application/problem+json", description = "The server has just started and does not know yet"),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn copies(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let told = told(&shared, "copies").await?;
    let items: Vec<Value> = told.lines.into_iter().filter(|line| line["message_type"] == "copy").collect();
    let items = items.into_iter().map(|mut copy| {
        copy["stacks"] = Value::Object(of_stacks(&copy, &caller.stacks));
        // What is wrong may name stacks that who asks does not see.
        if caller.stacks.is_some() {
            copy["problems"] = json!([]);
        }
        copy
    });
    tagged(&headers, &Page { items: items.collect(), next: None })
}

/// What on this host is backed up, and what is not.
#[utoipa::path(get, path = "/v1/admin/coverage", tag = "stacks", responses(
    (status = 200, body = Printed),
    (status = 503, body = Problem, content_type = "application/problem+json", description = "The server has just started and does not know yet"),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn coverage(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.require_all_stacks()?;
    tagged(&headers, &told(&shared, "coverage").await?.summary)
}

/// What is done by itself, and when next.
#[utoipa::path(get, path = "/v1/admin/jobs", tag = "stacks", responses(
    (status = 200, body = Page<JobTimes>),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn jobs(State(shared): State<Arc<Shared>>, caller: Caller, headers: HeaderMap) -> Result<Response, Problem> {
    let items = blocking(move || {
        let times = times(&shared)?;
        let is_seen = |job: &JobTimes| job.stack.as_ref().is_none_or(|stack| caller.sees(stack));
        Ok(times.into_iter().filter(is_seen).collect())
    });
    tagged(&headers, &Page { items: items.await?, next: None })
}

/// The configuration as it is read, secrets masked.
#[utoipa::path(get, path = "/v1/admin/config", tag = "stacks", responses(
    (status = 200, body = Printed),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn configuration(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.require(Role::Operator)?;
    caller.require_all_stacks()?;
    tagged(&headers, &shared.settings.to_json()?)
}

/// The jobs with their next times.
pub fn times(shared: &Shared) -> Result<Vec<JobTimes>, Problem> {
    let now = shared.clock.now();
    let all = due::jobs(&shared.settings, &shared.host).into_iter().map(|job| {
        let memory = shared.runner.journal.memory(&job.name)?;
        let next = std::iter::successors(job.timetable.next_after(now), |at| job.timetable.next_after(*at));
        Ok(JobTimes {
            kind: job.task.kind(),
            stack: job.task.stack().map(str::to_owned),
            next: next.take(NEXT_TIMES).collect(),
            begun: memory.and_then(|memory| memory.begun),
            hours: job.hours.map(|hours| hours.to_string()),
            name: job.name,
        })
    });
    all.collect()
}

/// What a command said last, where it was asked.
async fn told(shared: &Arc<Shared>, command: &'static str) -> Result<Told, Problem> {
    let shared = Arc::clone(shared);
    let told = blocking(move || Ok(shared.known.told(command)?)).await?;
    told.ok_or_else(|| {
        let what = "the server has just started and looks at the copies; ask again in a moment";
        Problem { retry_after_s: Some(5), ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-known-yet", what) }
    })
}
