//! What all pages have in common.

use std::sync::Arc;

use askama::Template;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{Html, IntoResponse, Redirect, Response};

use crate::access::{Caller, Role, Visitor};
use crate::problem::Problem;
use crate::shared::Shared;

/// The pages that every other page links to.
const PAGES: [(&str, &str); 9] = [
    ("/", "Home"),
    ("/snapshots", "Snapshots"),
    ("/restore", "Restore"),
    ("/runs", "Runs"),
    ("/copies", "Copies"),
    ("/drills", "Drills"),
    ("/coverage", "Coverage"),
    ("/schedule", "Schedule"),
    ("/settings", "Settings"),
];

/// What stands around a page.
#[derive(Clone)]
pub struct Frame {
    /// The page's name, for the browser's tab and the heading.
    pub title: String,
    /// Which of the pages that all link to it belongs to.
    pub here: &'static str,
    /// Who has signed in.
    pub caller: Option<Caller>,
}

impl Frame {
    /// Of a page for somebody who has signed in, below the page `here`.
    pub fn new(title: impl Into<String>, here: &'static str, caller: &Caller) -> Self {
        Self { title: title.into(), here, caller: Some(caller.clone()) }
    }

    /// Of a page for anybody.
    pub fn open(title: &'static str) -> Self {
        Self { title: title.to_owned(), here: "", caller: None }
    }

    /// The links to other pages: those that who looks may open.
    pub fn pages(&self) -> Vec<(&'static str, &'static str)> {
        let may = |page: &str| page != "/restore" || self.operates();
        PAGES.into_iter().filter(|(page, _)| may(page)).collect()
    }

    /// Whether who looks may back up, drill and look into backups.
    pub fn operates(&self) -> bool {
        self.may(Role::Operator)
    }

    /// Whether who looks may do everything.
    pub fn administers(&self) -> bool {
        self.may(Role::Admin)
    }

    fn may(&self, role: Role) -> bool {
        self.caller.as_ref().is_some_and(|caller| caller.role >= role)
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

/// The page that was made for `caller`, or one that says why there is none.
pub fn shown(caller: &Caller, made: Result<impl Template, Problem>) -> Response {
    match made {
        Ok(template) => page(&template),
        Err(problem) => failed_for(caller, problem),
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

/// As [`failed`], for somebody who has signed in.
pub fn failed_for(caller: &Caller, problem: Problem) -> Response {
    page_with(problem.status(), &ProblemPage { frame: Frame::new("That did not work", "", caller), problem })
}
