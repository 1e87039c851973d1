//! Create Snapshot: of a whole stack or one source of it, into all copies or some.

use std::sync::Arc;

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use super::button::go;
use super::form::Typed;
use super::layout::{Frame, SignedIn, failed_for, shown};
use crate::access::{Caller, Role};
use crate::api::Query;
use crate::problem::Problem;
use crate::shared::Shared;
use crate::task::Task;

/// Which stack.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Of {
    stack: String,
}

#[derive(Template)]
#[template(path = "create.html")]
struct CreatePage {
    frame: Frame,
    /// The stacks to choose from, where none is chosen yet.
    stacks: Vec<String>,
    chosen: Option<Chosen>,
}

/// A stack, with what can be chosen of it.
struct Chosen {
    stack: String,
    /// Each with its kind.
    sources: Vec<(String, &'static str)>,
    copies: Vec<String>,
}

/// The form.
pub async fn show(State(shared): State<Arc<Shared>>, SignedIn(caller): SignedIn, Query(of): Query<Of>) -> Response {
    shown(&caller, form(&shared, &caller, &of.stack))
}

fn form(shared: &Shared, caller: &Caller, wanted: &str) -> Result<CreatePage, Problem> {
    caller.require(Role::Operator)?;
    let seen = shared.settings.stacks.iter().filter(|stack| caller.sees(&stack.name));
    let stacks: Vec<_> = seen.map(|stack| stack.name.clone()).collect();
    let wanted = if wanted.is_empty() { None } else { Some(wanted) };
    let chosen = match (wanted, &stacks[..]) {
        (Some(name), _) => Some(name),
        (None, [only]) => Some(&**only),
        _ => None,
    };
    let chosen = chosen.map(|name| {
        caller.require_stack(name)?;
        let stack = shared.settings.stack(name)?;
        let sources = stack.sources.iter().map(|source| (source.name.clone(), source.kind.name()));
        Ok::<_, Problem>(Chosen { stack: name.to_owned(), sources: sources.collect(), copies: stack.copies.clone() })
    });
    Ok(CreatePage { frame: Frame::new("Create snapshot", "/snapshots", caller), chosen: chosen.transpose()?, stacks })
}

/// Takes the snapshot, and shows its run.
pub async fn create(
    State(shared): State<Arc<Shared>>,
    SignedIn(caller): SignedIn,
    Form(typed): Form<Typed>,
) -> Response {
    match typed.needed("stack") {
        Ok(stack) => {
            go(shared, caller, Task::Backup { stack, sources: typed.all("source"), copies: typed.all("copies") }).await
        }
        Err(problem) => failed_for(&caller, problem),
    }
}
