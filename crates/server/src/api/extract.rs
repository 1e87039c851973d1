//! What requests carry, with problems as answers where it does not make sense; and what many answers have in common.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::problem::Problem;

/// So many at once, where nobody says.
pub const LIMIT_USUAL: u16 = 50;
/// So many at once at most.
pub const LIMIT_MAX: u16 = 500;

/// A body of JSON.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let rejected = |rejection: axum::extract::rejection::JsonRejection| {
            let status = rejection.status();
            Problem::new(
                status,
                if status == StatusCode::PAYLOAD_TOO_LARGE { "too-large" } else { "usage" },
                rejection.body_text(),
            )
        };
        axum::Json::from_request(request, state).await.map(|axum::Json(value)| Self(value)).map_err(rejected)
    }
}

/// What stands after the question mark.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        query.map(|axum::extract::Query(value)| Self(value)).map_err(|rejection| Problem::bad(rejection.body_text()))
    }
}

/// What stands in the path.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        path.map(|axum::extract::Path(value)| Self(value)).map_err(|rejection| Problem::bad(rejection.body_text()))
    }
}

/// The `Idempotency-Key` of a request.
pub fn key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let key = headers.get("idempotency-key").map(HeaderValue::to_str);
    key.transpose().map_err(|_| Problem::bad("an Idempotency-Key is plain text"))
}

/// How many are wanted.
pub fn limit(wanted: Option<u16>) -> Result<usize, Problem> {
    match wanted.unwrap_or(LIMIT_USUAL) {
        limit @ 1..=LIMIT_MAX => Ok(limit.into()),
        _ => Err(Problem::bad(format!("`limit` is a number from 1 to {LIMIT_MAX}"))),
    }
}

/// JSON with an `ETag`; 304 where that is what who asks has already.
pub fn tagged(asked: &HeaderMap, value: &impl Serialize) -> Result<Response, Problem> {
    let cannot =
        |error: serde_json::Error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", error.to_string());
    let text = serde_json::to_string(value).map_err(cannot)?;
    let tag = format!("\"{}\"", data_encoding::HEXLOWER.encode(&Sha256::digest(&text)[..16]));
    let known = asked.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let is_known = known
        .is_some_and(|known| known == "*" || known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag));
    let mut response = match is_known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
    };
    let headers = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(response)
}

/// A page of a list, and where the next one begins.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// What to give as `before` for the next page; nothing on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// A page of `items`, of which there are more where it is full.
    pub fn new(items: Vec<T>, limit: usize, mark: impl Fn(&T) -> Option<String>) -> Self {
        let next = if items.len() == limit { items.last().and_then(mark) } else { None };
        Self { items, next }
    }
}

/// Runs what waits for files or computes where no other request waits for it.
pub async fn blocking<T: Send + 'static>(
    ask: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let ended = tokio::task::spawn_blocking(ask).await;
    ended.unwrap_or_else(|_| {
        Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "the request could not be answered"))
    })
}

/// An object, as a command printed it.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub struct Printed(pub Value);
