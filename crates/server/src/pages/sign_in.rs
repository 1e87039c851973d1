//! How people come in and go out, and how the first one is made.

use std::sync::Arc;

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::layout::{Frame, failed, page, page_with};
use crate::access::{Visitor, cookies, is_same_origin};
use crate::api::{Query, blocking};
use crate::problem::Problem;
use crate::shared::Shared;

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    frame: Frame,
    name: String,
    problem: Option<String>,
    needs_setup: bool,
}

#[derive(Template)]
#[template(path = "setup.html")]
struct SetupPage {
    frame: Frame,
    code: String,
    name: String,
    problem: Option<String>,
    is_good: bool,
}

/// What is typed to come in.
#[derive(Deserialize)]
pub struct SignIn {
    name: String,
    password: String,
}

/// The link's end.
#[derive(Deserialize)]
pub struct Code {
    #[serde(default)]
    code: String,
}

/// What is typed to become the first user.
#[derive(Deserialize)]
pub struct SetUp {
    code: String,
    name: String,
    password: String,
}

/// The page to sign in on.
pub async fn show(State(shared): State<Arc<Shared>>, visitor: Visitor) -> Result<Response, Problem> {
    if visitor.caller.is_some() {
        return Ok(Redirect::to("/").into_response());
    }
    Ok(page(&SignInPage {
        frame: Frame::open("Sign in"),
        name: String::new(),
        problem: None,
        needs_setup: shared.setup.is_open()?,
    }))
}

/// Signs in, or says why not; never whether it was the name or the password.
pub async fn sign_in(
    State(shared): State<Arc<Shared>>,
    visitor: Visitor,
    headers: HeaderMap,
    Form(typed): Form<SignIn>,
) -> Response {
    if !is_same_origin(&headers) {
        return failed(Problem::forbidden("this form was sent by another site"));
    }
    let name = typed.name.clone();
    let entered = {
        let shared = Arc::clone(&shared);
        blocking(move || enter(&shared, &visitor.address, &typed)).await
    };
    match entered {
        Ok(cookie) => ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response(),
        Err(problem) => {
            let frame = Frame::open("Sign in");
            let shown = SignInPage { frame, name, problem: Some(problem.detail.clone()), needs_setup: false };
            let mut response = page_with(problem.status(), &shown);
            if let Some(seconds) = problem.retry_after_s {
                response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            }
            response
        }
    }
}

/// Gives the cookie.
fn enter(shared: &Shared, address: &str, typed: &SignIn) -> Result<String, Problem> {
    let now = shared.clock.now();
    let tried = [typed.name.as_str(), address];
    let wait_s = shared.throttle.wait(&tried, now).as_secs_f64().ceil() as u32;
    if wait_s > 0 {
        let what = format!("too many wrong passwords: try again in {wait_s} s");
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many", what);
        return Err(Problem { retry_after_s: Some(wait_s), ..problem });
    }
    match shared.users.who(&typed.name, &typed.password)? {
        Some(user) => {
            shared.throttle.right(&tried);
            shared.audit.add(&user.name, "sign in", address, "ok", now)?;
            Ok(shared.sessions.begin(&user.name, now)?)
        }
        None => {
            shared.throttle.wrong(&tried, now);
            // What was typed as a name may be a password.
            shared.audit.add(address, "sign in", "a user", "wrong name or password", now)?;
            Err(Problem::new(StatusCode::UNAUTHORIZED, "wrong-password", "name or password is wrong"))
        }
    }
}

/// Signs out.
pub async fn sign_out(
    State(shared): State<Arc<Shared>>,
    visitor: Visitor,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if let Some(caller) = &visitor.caller {
        shared.audit.add(&caller.name, "sign out", &visitor.address, "ok", shared.clock.now())?;
    }
    let cookie = shared.sessions.end(&cookies(&headers))?;
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/sign-in")).into_response())
}

/// The page for the first user, behind the link that the server printed.
pub async fn show_setup(
    State(shared): State<Arc<Shared>>,
    Query(Code { code }): Query<Code>,
) -> Result<Response, Problem> {
    let is_good = shared.setup.is_good(&code, shared.clock.now())?;
    let status = if is_good { StatusCode::OK } else { StatusCode::NOT_FOUND };
    let frame = Frame::open("Set up Lifeboat");
    Ok(page_with(status, &SetupPage { frame, code, name: String::new(), problem: None, is_good }))
}

/// Makes the first user, who has signed in by that.
pub async fn set_up(State(shared): State<Arc<Shared>>, headers: HeaderMap, Form(typed): Form<SetUp>) -> Response {
    if !is_same_origin(&headers) {
        return failed(Problem::forbidden("this form was sent by another site"));
    }
    let SetUp { code, name, password } = typed;
    let made = {
        let (shared, code, name) = (Arc::clone(&shared), code.clone(), name.clone());
        blocking(move || {
            let now = shared.clock.now();
            let user = shared.setup.finish(&code, name.trim(), &password, now)?;
            shared.audit.add(&user.name, "set up", "the first user", "ok", now)?;
            Ok(shared.sessions.begin(&user.name, now)?)
        })
        .await
    };
    match made {
        Ok(cookie) => ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response(),
        Err(problem) => {
            let is_good = problem.status() != StatusCode::FORBIDDEN;
            let told =
                problem.hint.as_ref().map_or(problem.detail.clone(), |hint| format!("{}: {hint}", problem.detail));
            let frame = Frame::open("Set up Lifeboat");
            page_with(problem.status(), &SetupPage { frame, code, name, problem: Some(told), is_good })
        }
    }
}
