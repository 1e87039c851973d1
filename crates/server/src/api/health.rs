//! Whether the server itself is well, for whoever watches over it; and the document that describes the API.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use serde::Serialize;

use super::extract::blocking;
use crate::problem::Problem;
use crate::shared::Shared;

/// That the server answers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Well {
    /// Always `ok`.
    status: &'static str,
}

/// Answers as long as the server does.
#[utoipa::path(get, path = "/.live", tag = "server", security(()), responses((status = 200, body = Well)))]
pub async fn live() -> axum::Json<Well> {
    axum::Json(Well { status: "ok" })
}

/// Answers with success where the server's memory can be read and it knows how the stacks stand.
#[utoipa::path(get, path = "/.ready", tag = "server", security(()), responses(
    (status = 200, body = Well),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub async fn ready(State(shared): State<Arc<Shared>>) -> Result<axum::Json<Well>, Problem> {
    let told = blocking(move || Ok(shared.known.told("status")?)).await;
    match told {
        Ok(Some(_)) => Ok(axum::Json(Well { status: "ok" })),
        Ok(None) => {
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-known-yet", "the copies are being looked at"))
        }
        Err(problem) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "failed", problem.detail)),
    }
}

/// The OpenAPI document.
pub fn document<S: Clone + Send + Sync + 'static>(document: utoipa::openapi::OpenApi) -> Router<S> {
    let text: Arc<str> = document.to_json().unwrap_or_default().into();
    let answer = async move || ([(header::CONTENT_TYPE, "application/json")], text.to_string()).into_response();
    Router::new().route("/openapi.json", get(answer))
}
