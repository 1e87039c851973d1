//! Who is told what is wrong, and whether that works.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;

use super::extract::{Page, Path, tagged};
use crate::access::{Caller, Role};
use crate::notify::{self, Message};
use crate::problem::Problem;
use crate::shared::Shared;

/// Somebody who is told.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Receiver {
    /// Its name.
    pub name: String,
    /// How it is told, such as `email`.
    pub kind: &'static str,
    /// What it is told: this and what is worse.
    #[schema(value_type = String)]
    pub severity: operations::status::Severity,
    /// When it gets a summary every day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// Who is told, in the order of the configuration.
pub fn receivers(shared: &Shared) -> Vec<Receiver> {
    let to = shared.settings.notifications.to.iter();
    to.map(|receiver| Receiver {
        name: receiver.name.clone(),
        kind: receiver.kind(),
        severity: receiver.severity,
        digest: receiver.digest.map(|at| at.strftime("%H:%M").to_string()),
    })
    .collect()
}

/// Who is told what is wrong, as the configuration has it.
#[utoipa::path(get, path = "/v1/admin/notifications", tag = "notifications", responses(
    (status = 200, body = Page<Receiver>),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn list(State(shared): State<Arc<Shared>>, caller: Caller, headers: HeaderMap) -> Result<Response, Problem> {
    caller.require_all_stacks()?;
    tagged(&headers, &Page { items: receivers(&shared), next: None })
}

/// Sends a test to one of them, and waits for how that goes.
#[utoipa::path(post, path = "/v1/admin/notifications/{name}/test", tag = "notifications", params(("name" = String, Path, description = "The receiver's name")), responses(
    (status = 204, description = "It was taken"),
    (status = 502, body = Problem, content_type = "application/problem+json", description = "It could not be sent; the answer says why"),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn test(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.require(Role::Admin)?;
    caller.require_all_stacks()?;
    let receiver = shared.settings.notifications.to.iter().find(|receiver| receiver.name == name);
    let receiver = receiver.ok_or_else(|| Problem::not_found("there is no receiver of this name"))?;
    let now = shared.clock.now();
    let sent = notify::send(receiver, &Message::test(&shared.host, now)).await;
    let outcome = sent.as_ref().map_or_else(|fault| fault.text(), |()| "ok".to_owned());
    shared.audit.add(&caller.name, "test notification", &receiver.name, &outcome, now)?;
    sent.map(|()| StatusCode::NO_CONTENT).map_err(|fault| Problem {
        hint: fault.hint.clone(),
        ..Problem::new(StatusCode::BAD_GATEWAY, "not-sent", fault.text())
    })
}
