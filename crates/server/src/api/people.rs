//! Users and tokens.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};

use super::extract::{Json, Page, Path, blocking, tagged};
use crate::access::{Caller, NewToken, Role, Token, User};
use crate::problem::Problem;
use crate::shared::Shared;

/// Who asks.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Me {
    /// The user's name, or `token NAME`.
    name: String,
    /// What they may do.
    role: Role,
    /// The stacks that they may see; all where there is no list.
    #[serde(skip_serializing_if = "Option::is_none")]
    stacks: Option<Vec<String>>,
}

/// A user to be.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// The name.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Their password, of at least 12 characters.
    #[schema(min_length = 12)]
    pub password: String,
}

/// What is to be different of a user.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserChange {
    /// What they may do.
    #[serde(default)]
    pub role: Option<Role>,
    /// Another password, which ends their sessions.
    #[serde(default)]
    pub password: Option<String>,
}

/// A new token, with what it is. That is shown here and never again.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Made {
    /// What to send as `Authorization: Bearer …`.
    pub secret: String,
    /// What is kept of it.
    pub token: Token,
}

/// Who asks.
#[utoipa::path(get, path = "/v1/admin/me", tag = "people", responses(
    (status = 200, body = Me),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn me(caller: Caller, headers: HeaderMap) -> Result<Response, Problem> {
    let Caller { name, role, stacks } = caller;
    tagged(&headers, &Me { name, role, stacks })
}

/// The users.
#[utoipa::path(get, path = "/v1/admin/users", tag = "people", responses(
    (status = 200, body = Page<User>),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn users(State(shared): State<Arc<Shared>>, caller: Caller, headers: HeaderMap) -> Result<Response, Problem> {
    for_admins(&caller)?;
    tagged(&headers, &Page { items: shared.users.all()?, next: None })
}

/// Adds a user.
#[utoipa::path(post, path = "/v1/admin/users", tag = "people", request_body = NewUser, responses(
    (status = 201, body = User),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn add_user(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Json(new): Json<NewUser>,
) -> Result<Response, Problem> {
    for_admins(&caller)?;
    let user = blocking(move || {
        let now = shared.clock.now();
        let user = shared.users.add(&new.name, new.role, &new.password, now)?;
        shared.audit.add(&caller.name, "add user", &format!("{} as {}", new.name, new.role.name()), "ok", now)?;
        Ok(user)
    });
    Ok((StatusCode::CREATED, axum::Json(user.await?)).into_response())
}

/// Changes a user's role or password. The only admin stays one.
#[utoipa::path(patch, path = "/v1/admin/users/{name}", tag = "people", request_body = UserChange, params(("name" = String, Path, description = "The user's name")), responses(
    (status = 204, description = "Done"),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn change_user(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(name): Path<String>,
    Json(change): Json<UserChange>,
) -> Result<StatusCode, Problem> {
    // Everybody may give themselves another password.
    if change.role.is_some() || caller.name != name {
        for_admins(&caller)?;
    }
    blocking(move || {
        let now = shared.clock.now();
        if let Some(role) = change.role {
            shared.users.set_role(&name, role)?;
            shared.audit.add(&caller.name, "change role", &format!("{name} to {}", role.name()), "ok", now)?;
        }
        if let Some(password) = &change.password {
            shared.users.set_password(&name, password)?;
            shared.audit.add(&caller.name, "change password", &name, "ok", now)?;
        }
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// Removes a user. The only admin stays.
#[utoipa::path(delete, path = "/v1/admin/users/{name}", tag = "people", params(("name" = String, Path, description = "The user's name")), responses(
    (status = 204, description = "Done"),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn remove_user(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    for_admins(&caller)?;
    shared.users.remove(&name)?;
    shared.audit.add(&caller.name, "remove user", &name, "ok", shared.clock.now())?;
    Ok(StatusCode::NO_CONTENT)
}

/// The tokens, but for what they are.
#[utoipa::path(get, path = "/v1/admin/tokens", tag = "people", responses(
    (status = 200, body = Page<Token>),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn tokens(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    for_admins(&caller)?;
    tagged(&headers, &Page { items: shared.tokens.all()?, next: None })
}

/// Makes a token. What it is, is in this answer and never shown again.
#[utoipa::path(post, path = "/v1/admin/tokens", tag = "people", request_body = NewToken, responses(
    (status = 201, body = Made),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn add_token(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Json(new): Json<NewToken>,
) -> Result<Response, Problem> {
    for_admins(&caller)?;
    Ok((StatusCode::CREATED, axum::Json(make_token(&shared, &caller, &new)?)).into_response())
}

/// Makes a token, for who may.
pub fn make_token(shared: &Shared, caller: &Caller, new: &NewToken) -> Result<Made, Problem> {
    for_admins(caller)?;
    for stack in new.stacks.iter().flatten() {
        shared.settings.stack(stack)?;
    }
    let now = shared.clock.now();
    let (token, secret) = shared.tokens.add(new, &caller.name, now)?;
    shared.audit.add(&caller.name, "add token", &format!("{} as {}", token.name, token.role.name()), "ok", now)?;
    Ok(Made { secret: secret.text().to_owned(), token })
}

/// Revokes a token.
#[utoipa::path(delete, path = "/v1/admin/tokens/{id}", tag = "people", params(("id" = String, Path, description = "The token's id")), responses(
    (status = 204, description = "Done"),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn remove_token(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    for_admins(&caller)?;
    shared.tokens.remove(&id)?;
    shared.audit.add(&caller.name, "remove token", &id, "ok", shared.clock.now())?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who says who may do what may do all. A token for some stacks must not make one for all.
pub fn for_admins(caller: &Caller) -> Result<(), Problem> {
    caller.require(Role::Admin)?;
    caller.require_all_stacks()
}
