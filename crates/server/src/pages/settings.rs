//! Settings: who may do what, what was done by whom, and the configuration as it is read. The file itself stays the place to
//! edit that.

use std::sync::Arc;

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::form::Typed;
use super::layout::{Frame, SignedIn, failed_for, page, shown};
use super::words::minute;
use crate::access::{Caller, NewToken, Role};
use crate::api::{Json, Path, Query, blocking, people};
use crate::audit::Deed;
use crate::problem::Problem;
use crate::shared::Shared;

/// Deeds on a page.
const DEEDS: usize = 100;

#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsPage {
    frame: Frame,
    name: String,
    users: Vec<(String, &'static str, String)>,
    tokens: Vec<TokenRow>,
    roles: [&'static str; 3],
    /// A token that was made just now, which is shown this once.
    made: Option<(String, String)>,
}

/// A token, as the page shows it.
struct TokenRow {
    id: String,
    name: String,
    role: &'static str,
    stacks: String,
    expires: String,
    used: String,
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    frame: Frame,
    deeds: Vec<(Deed, String)>,
    first_wrong: Option<i64>,
    next: Option<i64>,
}

#[derive(Template)]
#[template(path = "configuration.html")]
struct ConfigurationPage {
    frame: Frame,
    text: String,
}

/// Which deeds.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Before {
    before: Option<i64>,
}

/// The page: for everybody their own password, for admins all else.
pub async fn show(State(shared): State<Arc<Shared>>, SignedIn(caller): SignedIn) -> Response {
    shown(&caller, settings(&shared, &caller, None))
}

fn settings(shared: &Shared, caller: &Caller, made: Option<(String, String)>) -> Result<SettingsPage, Problem> {
    let is_admin = people::for_admins(caller).is_ok();
    let users = if is_admin { shared.users.all()? } else { Vec::new() };
    let tokens = if is_admin { shared.tokens.all()? } else { Vec::new() };
    let never = || "never".to_owned();
    Ok(SettingsPage {
        frame: Frame::new("Settings", "/settings", caller),
        name: caller.name.clone(),
        users: users.into_iter().map(|user| (user.name, user.role.name(), minute(user.created_at))).collect(),
        tokens: tokens
            .into_iter()
            .map(|token| TokenRow {
                id: token.id,
                name: token.name,
                role: token.role.name(),
                stacks: token.stacks.map_or_else(|| "all".to_owned(), |stacks| stacks.join(", ")),
                expires: token.expires_at.map_or_else(never, minute),
                used: token.used_at.map_or_else(never, minute),
            })
            .collect(),
        roles: [Role::Viewer, Role::Operator, Role::Admin].map(Role::name),
        made,
    })
}

/// Adds a user.
pub async fn add_user(
    State(shared): State<Arc<Shared>>,
    SignedIn(caller): SignedIn,
    Form(typed): Form<Typed>,
) -> Response {
    let new =
        || Ok(people::NewUser { name: typed.needed("name")?, role: role(&typed)?, password: typed.secret("password") });
    let added = match new() {
        Ok(new) => people::add_user(State(shared), caller.clone(), Json(new)).await,
        Err(problem) => Err(problem),
    };
    back(&caller, added)
}

/// Gives a user another role or password.
pub async fn change_user(
    State(shared): State<Arc<Shared>>,
    SignedIn(caller): SignedIn,
    Form(typed): Form<Typed>,
) -> Response {
    let change = || {
        let role = typed.one("role").map(|_| role(&typed)).transpose()?;
        let password = Some(typed.secret("password")).filter(|password| !password.is_empty());
        Ok((typed.needed("name")?, people::UserChange { role, password }))
    };
    let changed = match change() {
        Ok((name, change)) => people::change_user(State(shared), caller.clone(), Path(name), Json(change)).await,
        Err(problem) => Err(problem),
    };
    back(&caller, changed)
}

/// Removes a user.
pub async fn remove_user(
    State(shared): State<Arc<Shared>>,
    SignedIn(caller): SignedIn,
    Form(typed): Form<Typed>,
) -> Response {
    let removed = match typed.needed("name") {
        Ok(name) => people::remove_user(State(shared), caller.clone(), Path(name)).await,
        Err(problem) => Err(problem),
    };
    back(&caller, removed)
}

/// Makes a token, and shows what it is, this once.
pub async fn add_token(
    State(shared): State<Arc<Shared>>,
    SignedIn(caller): SignedIn,
    Form(typed): Form<Typed>,
) -> Response {
    let made = || {
        let days = typed.one("days").map(|days| days.parse()).transpose();
        let stacks = Some(typed.all("stacks")).filter(|stacks| !stacks.is_empty());
        let new = NewToken {
            name: typed.needed("name")?,
            role: role(&typed)?,
            stacks,
            days: days.map_err(|_| Problem::bad("the days are no number"))?,
        };
        let made = people::make_token(&shared, &caller, &new)?;
        settings(&shared, &caller, Some((made.token.name, made.secret)))
    };
    shown(&caller, made())
}

/// Revokes a token.
pub async fn remove_token(
    State(shared): State<Arc<Shared>>,
    SignedIn(caller): SignedIn,
    Form(typed): Form<Typed>,
) -> Response {
    let removed = match typed.needed("id") {
        Ok(id) => people::remove_token(State(shared), caller.clone(), Path(id)).await,
        Err(problem) => Err(problem),
    };
    back(&caller, removed)
}

/// What was done by whom.
pub async fn audit(
    State(shared): State<Arc<Shared>>,
    SignedIn(caller): SignedIn,
    Query(Before { before }): Query<Before>,
) -> Response {
    let who = caller.clone();
    let made = blocking(move || {
        people::for_admins(&who)?;
        let deeds = shared.audit.list(before, DEEDS)?;
        let next = deeds.last().filter(|_| deeds.len() == DEEDS).map(|deed| deed.number);
        let deeds = deeds.into_iter().map(|deed| (deed.clone(), minute(deed.at))).collect();
        let first_wrong = shared.audit.first_wrong()?;
        Ok(AuditPage { frame: Frame::new("Audit log", "/settings", &who), deeds, first_wrong, next })
    });
    shown(&caller, made.await)
}

/// The configuration as it is read.
pub async fn configuration(State(shared): State<Arc<Shared>>, SignedIn(caller): SignedIn) -> Response {
    let made = || {
        caller.require(Role::Operator)?;
        caller.require_all_stacks()?;
        let text = serde_json::to_string_pretty(&shared.settings.to_json()?);
        let text = text.map_err(|error| Problem::bad(error.to_string()))?;
        Ok(ConfigurationPage { frame: Frame::new("Configuration", "/settings", &caller), text })
    };
    match made() {
        Ok(template) => page(&template),
        Err(problem) => failed_for(&caller, problem),
    }
}

fn role(typed: &Typed) -> Result<Role, Problem> {
    Role::parse(&typed.needed("role")?).ok_or_else(|| Problem::bad("there is no such role"))
}

/// Back to the page, or to one that says why it was not done.
fn back<T>(caller: &Caller, done: Result<T, Problem>) -> Response {
    match done {
        Ok(_) => Redirect::to("/settings").into_response(),
        Err(problem) => failed_for(caller, problem),
    }
}
