//! Are we safe? One sentence for each stack, what is wrong, and the button that mends it.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::layout::{Frame, SignedIn, shown};
use super::stack::{Card, Detail};
use super::words::{ago, deed};
use crate::access::Caller;
use crate::api::blocking;
use crate::journal::{Run, Status};
use crate::known::of_stacks;
use crate::problem::Problem;
use crate::shared::Shared;

#[derive(Template)]
#[template(path = "home.html")]
struct HomePage {
    frame: Frame,
    asked_at: Option<String>,
    stacks: Vec<Card>,
    /// More of the stack, where it is the only one.
    detail: Option<Detail>,
    running: Vec<Running>,
}

/// A run that is under way.
struct Running {
    id: String,
    what: String,
}

/// The page.
pub async fn show(State(shared): State<Arc<Shared>>, SignedIn(caller): SignedIn) -> Response {
    let who = caller.clone();
    let made = blocking(move || home(&shared, &who)).await;
    shown(&caller, made)
}

fn home(shared: &Shared, caller: &Caller) -> Result<HomePage, Problem> {
    let told = shared.known.told("status")?;
    let now = shared.clock.now();
    let asked_at = told.as_ref().map(|told| ago(told.at, now));
    let known = told.map(|told| of_stacks(&told.summary, &caller.stacks)).unwrap_or_default();
    let mut stacks: Vec<_> = known.iter().map(|(name, health)| Card::new(shared, caller, name, health)).collect();
    stacks.sort_by_key(|card| card.rank());
    let detail = match known.iter().next() {
        Some((name, health)) if known.len() == 1 => Some(Detail::new(shared, name, health)?),
        _ => None,
    };
    let is_seen = |run: &Run| run.task.stack().is_none_or(|stack| caller.sees(stack));
    let running = shared.runner.journal.open(Status::Running)?.into_iter().filter(is_seen);
    let running = running.map(|run| Running { what: deed(&run.task), id: run.id }).collect();
    Ok(HomePage { frame: Frame::new("Are we safe?", "/", caller), asked_at, stacks, detail, running })
}
