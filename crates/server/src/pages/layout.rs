//! What all pages have in common.

use std::sync::Arc;

use askama::Template;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{Html, IntoResponse, Redirect, Response};

use crate::access::{Caller, Visitor};
use crate::problem::Problem;
use crate::shared::Shared;

/// What stands around a page.
#[derive(Clone)]
pub struct Frame {
    /// The page's name, for the browser's tab and the heading.
    pub title: &'static str,
    /// Who has signed in.
    pub caller: Option<Caller>,
}

impl Frame {
    /// Of a page for somebody who has signed in.
    pub fn new(title: &'static str, caller: &Caller) -> Self {
        Self { title, caller: Some(caller.clone()) }
    }

    /// Of a page for anybody.
    pub fn open(title: &'static str) -> Self {
        Self { title, caller: None }
    }
}

/// Somebody who has signed in; whoever has not is sent to where that is done.
pub struct SignedIn(pub Caller);

impl FromRequestParts<Arc<Shared>> for SignedIn {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Response> {
        match Visitor::from_request_parts(parts, shared).await {
            Ok(Visitor { caller: Some(caller), .. }) => Ok(Self(caller)),
            Ok(_) => Err(Redirect::to("/sign-in").into_response()),
            Err(problem) => Err(failed(problem)),
        }
    }
}

/// A page, rendered.
pub fn page(template: &impl Template) -> Response {
    page_with(StatusCode::OK, template)
}

/// A page that is the answer to something that did not work.
pub fn page_with(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", error.to_string()).into_response(),
    }
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    frame: Frame,
    problem: Problem,
}

/// A page that says what did not work.
pub fn failed(problem: Problem) -> Response {
    page_with(problem.status(), &ProblemPage { frame: Frame::open("That did not work"), problem })
}
