//! Whether the server itself is well, for whoever watches over it; and the document that describes the API.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use operations::config::Metrics;
use serde::Serialize;

use super::extract::blocking;
use crate::access::Visitor;
use crate::metrics;
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

/// How all stands, in the text format of Prometheus: for anybody where `server: metrics: open` says so, else for who may see every
/// stack.
#[utoipa::path(get, path = "/metrics", tag = "server", responses(
    (status = 200, body = String, content_type = "text/plain"),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn metrics(State(shared): State<Arc<Shared>>, visitor: Visitor) -> Result<Response, Problem> {
    if shared.settings.server.metrics == Metrics::Token {
        visitor.caller.ok_or_else(Problem::unauthorized)?.require_all_stacks()?;
    }
    let text = blocking(move || Ok(metrics::text(&shared)?)).await?;
    Ok(([(header::CONTENT_TYPE, metrics::MEDIA_TYPE)], text).into_response())
}

/// The OpenAPI document.
pub fn document<S: Clone + Send + Sync + 'static>(document: utoipa::openapi::OpenApi) -> Router<S> {
    let text: Arc<str> = document.to_json().unwrap_or_default().into();
    let answer = async move || ([(header::CONTENT_TYPE, "application/json")], text.to_string()).into_response();
    Router::new().route("/openapi.json", get(answer))
}
