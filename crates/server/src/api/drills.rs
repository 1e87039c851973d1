//! Drills: the runs that prove copies.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::Value;

use super::extract::{Json, Page, Path, Printed, Query, blocking, limit, tagged};
use super::runs;
use crate::access::Caller;
use crate::journal::{Run, Wanted};
use crate::problem::Problem;
use crate::said;
use crate::shared::Shared;
use crate::task::Task;

const KIND: &str = "drill";

/// What to drill.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDrill {
    /// The stack.
    stack: String,
    /// The copy to restore from; every one where none is named.
    #[serde(default)]
    copy: Option<String>,
    /// The snapshot; the newest where none is named.
    #[serde(default)]
    snapshot: Option<String>,
    /// How deeply, from 0 to 3; as the stack says where it is left out.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 3)]
    level: Option<u8>,
}

/// Which drills.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WantedDrills {
    /// The last id of the page before.
    before: Option<String>,
    /// Only of this stack.
    stack: Option<String>,
    /// So many at most.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u16>,
}

/// The drills that this server ran, the newest first.
#[utoipa::path(get, path = "/v1/admin/drills", tag = "drills", params(WantedDrills), responses(
    (status = 200, body = Page<Run>),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn list(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Query(wanted): Query<WantedDrills>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let limit = limit(wanted.limit)?;
    let wanted = Wanted {
        before: wanted.before,
        kind: Some(KIND.to_owned()),
        stack: wanted.stack,
        status: None,
        visible: caller.stacks,
        limit,
    };
    let found = blocking(move || Ok(shared.runner.journal.list(&wanted)?)).await?;
    tagged(&headers, &Page::new(found, limit, |run| Some(run.id.clone())))
}

/// Starts a drill.
#[utoipa::path(post, path = "/v1/admin/drills", tag = "drills", request_body = NewDrill,
    params(("Idempotency-Key" = Option<String>, Header, description = "Sent again with the same key, nothing is done twice")),
    responses(
    (status = 202, body = Run),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn start(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
    Json(new): Json<NewDrill>,
) -> Result<Response, Problem> {
    let NewDrill { stack, copy, snapshot, level } = new;
    runs::begin(shared, caller, &headers, Task::Drill { stack, copy, snapshot, level }).await
}

/// A drill.
#[utoipa::path(get, path = "/v1/admin/drills/{id}", tag = "drills", params(("id" = String, Path, description = "The id of the drill's run")), responses(
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

/// What a drill proved in each copy, with the id of the receipt that lies there.
#[utoipa::path(get, path = "/v1/admin/drills/{id}/receipt", tag = "drills", params(("id" = String, Path, description = "The id of the drill's run")), responses(
    (status = 200, body = Page<Printed>),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn receipt(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let drill = find(&shared, &caller, &id)?;
    if !drill.status.is_end() {
        return Err(Problem::not_found("this drill has not ended, so there is no receipt yet"));
    }
    let items = blocking(move || Ok(receipts(&shared, &drill))).await?;
    Ok(axum::Json(Page { items, next: None }).into_response())
}

/// The lines of a drill that have a receipt.
pub fn receipts(shared: &Shared, drill: &Run) -> Vec<Value> {
    let mut found = Vec::new();
    let mut start = 0;
    while let Ok(lines) = said::lines(&shared.runner.said_in(&drill.id), start) {
        let Some(last) = lines.last() else { break };
        start = last.end;
        found.extend(lines.into_iter().map(|line| line.value).filter(|value| value["receipt"].is_string()));
    }
    found
}

fn find(shared: &Shared, caller: &Caller, id: &str) -> Result<Run, Problem> {
    match runs::find(shared, caller, id) {
        Ok(run) if run.task.kind() == KIND => Ok(run),
        _ => Err(Problem::not_found(format!("there is no drill {id}"))),
    }
}
