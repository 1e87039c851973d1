//! What was done by whom.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::extract::{Page, Query, blocking, limit, tagged};
use crate::access::{Caller, Role};
use crate::audit::Deed;
use crate::problem::Problem;
use crate::shared::Shared;

/// Which deeds.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WantedDeeds {
    /// Only those with smaller numbers: the `next` of the page before.
    before: Option<i64>,
    /// So many at most.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u16>,
}

/// Whether the log is as it was written.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Checked {
    /// Whether no row was changed or taken out.
    is_whole: bool,
    /// The number of the first row that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_wrong: Option<i64>,
}

/// What was done by whom, the newest first.
#[utoipa::path(get, path = "/v1/admin/audit", tag = "people", params(WantedDeeds), responses(
    (status = 200, body = Page<Deed>),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn list(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Query(wanted): Query<WantedDeeds>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.require(Role::Admin)?;
    caller.require_all_stacks()?;
    let limit = limit(wanted.limit)?;
    let deeds = blocking(move || Ok(shared.audit.list(wanted.before, limit)?)).await?;
    tagged(&headers, &Page::new(deeds, limit, |deed| Some(deed.number.to_string())))
}

/// Computes every hash of the log again.
#[utoipa::path(get, path = "/v1/admin/audit/check", tag = "people", responses(
    (status = 200, body = Checked),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn check(State(shared): State<Arc<Shared>>, caller: Caller) -> Result<axum::Json<Checked>, Problem> {
    caller.require(Role::Admin)?;
    caller.require_all_stacks()?;
    let first_wrong = blocking(move || Ok(shared.audit.first_wrong()?)).await?;
    Ok(axum::Json(Checked { is_whole: first_wrong.is_none(), first_wrong }))
}
