//! The REST API. Each handler carries its part of the OpenAPI document, which is made from the code alone.

mod audit;
pub mod drills;
mod events;
mod extract;
mod health;
mod notifications;
pub mod people;
pub mod runs;
pub mod snapshots;
pub mod stacks;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::Response;
use utoipa::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use extract::{Json, Path, Query, blocking};

use crate::access::COOKIE;
use crate::pages;
use crate::problem::Problem;
use crate::shared::Shared;

/// The largest request: nothing that is sent is long.
const BODY_BYTES_MAX: usize = 64 << 10;

/// What no page of this server needs is forbidden to all of them: scripts and styles from elsewhere or within the page, frames.
const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

#[derive(OpenApi)]
#[openapi(
    info(title = "Lifeboat", description = "Backups that are proven to restore."),
    security(("token" = []), ("session" = [])),
    components(schemas(Problem))
)]
struct Description;

/// All routes.
pub fn router(shared: Arc<Shared>) -> Router {
    let (router, document) = routes().split_for_parts();
    let document = described(document);
    router
        .merge(pages::reference::router(&document))
        .merge(health::document(document))
        .merge(pages::router())
        .fallback(async || Problem::not_found("there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", "this path does not take this method")
        })
        .layer(map_response(with_headers))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(shared)
}

/// The OpenAPI document, as JSON.
pub fn openapi() -> String {
    described(routes().split_for_parts().1).to_pretty_json().unwrap_or_default()
}

fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(snapshots::create))
        .routes(routes!(snapshots::restore))
        .routes(routes!(snapshots::list))
        .routes(routes!(snapshots::one))
        .routes(routes!(snapshots::files))
        .routes(routes!(snapshots::content))
        .routes(routes!(runs::list, runs::start))
        .routes(routes!(runs::one))
        .routes(routes!(runs::cancel))
        .routes(routes!(events::of_run))
        .routes(routes!(events::all))
        .routes(routes!(drills::list, drills::start))
        .routes(routes!(drills::one))
        .routes(routes!(drills::receipt))
        .routes(routes!(stacks::list))
        .routes(routes!(stacks::status))
        .routes(routes!(stacks::copies))
        .routes(routes!(stacks::coverage))
        .routes(routes!(stacks::jobs))
        .routes(routes!(stacks::configuration))
        .routes(routes!(people::users, people::add_user))
        .routes(routes!(people::change_user, people::remove_user))
        .routes(routes!(people::tokens, people::add_token))
        .routes(routes!(people::remove_token))
        .routes(routes!(people::me))
        .routes(routes!(notifications::list))
        .routes(routes!(notifications::test))
        .routes(routes!(audit::list))
        .routes(routes!(audit::check))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
}

/// With the ways to say who asks.
fn described(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let token = SecurityScheme::Http(
        HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A token, made under Settings")).build(),
    );
    let session = ApiKeyValue::with_description(COOKIE, "The cookie of somebody who has signed in");
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("token", token);
    components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(session)));
    document
}

async fn with_headers(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    // What is told is for who asked, as it is now.
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
