//! Copies: which can be reached, how far each lags behind, what is wrong, and what can be done.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde_json::Value;

use super::button::Button;
use super::layout::{Frame, SignedIn, shown};
use super::stack::Trouble;
use super::words::{ago, text, time};
use crate::access::Caller;
use crate::api::blocking;
use crate::problem::Problem;
use crate::shared::Shared;
use crate::task::Task;

#[derive(Template)]
#[template(path = "copies.html")]
struct CopiesPage {
    frame: Frame,
    asked_at: Option<String>,
    copies: Vec<CopyCard>,
}

/// A copy, as the page shows it.
struct CopyCard {
    name: String,
    location: String,
    labels: Vec<String>,
    state: &'static str,
    stacks: Vec<Standing>,
    problems: Vec<Trouble>,
    buttons: Vec<Button>,
}

/// How a copy stands with one stack.
struct Standing {
    stack: String,
    snapshots: String,
    newest: String,
    lag: String,
    drill: String,
}

/// The page.
pub async fn show(State(shared): State<Arc<Shared>>, SignedIn(caller): SignedIn) -> Response {
    let who = caller.clone();
    let made = blocking(move || {
        who.require_all_stacks()?;
        let told = shared.known.told("copies")?;
        let asked_at = told.as_ref().map(|told| ago(told.at, shared.clock.now()));
        let lines = told.map(|told| told.lines).unwrap_or_default();
        let copies = lines.iter().filter(|line| line["message_type"] == "copy");
        let copies = copies.map(|line| CopyCard::new(&shared, &who, line)).collect();
        Ok::<_, Problem>(CopiesPage { frame: Frame::new("Copies", "/copies", &who), asked_at, copies })
    });
    shown(&caller, made.await)
}

impl CopyCard {
    fn new(shared: &Shared, caller: &Caller, line: &Value) -> Self {
        let name = text(&line["name"]);
        let is = |label: &&str| line[*label] == true;
        let labels = ["offsite", "immutable", "removable"].iter().filter(|label| is(label));
        let media = text(&line["media"]);
        let copy = Some(name.clone());
        let tasks = [
            Task::Sync { copy: copy.clone() },
            Task::Check { copy: copy.clone(), read_data: false, subset: None },
            Task::Check { copy: copy.clone(), read_data: true, subset: None },
            Task::Heal { copy: copy.clone(), read_data: false },
            Task::TamperTest { copy: copy.clone() },
            Task::Prune { copy },
        ];
        let state = match (line["reachable"] == true, line["absent"] == true) {
            (true, _) => "reachable",
            (false, true) => "absent",
            (false, false) => "unreachable",
        };
        let problems = line["problems"].as_array().into_iter().flatten();
        let stacks = line["stacks"].as_object().into_iter().flatten();
        Self {
            location: text(&line["location"]),
            labels: std::iter::once(media).chain(labels.map(|label| (*label).to_owned())).collect(),
            state,
            stacks: stacks.map(|(stack, standing)| Standing::new(shared, stack, standing)).collect(),
            problems: problems.map(|problem| Trouble::new(shared, caller, problem)).collect(),
            buttons: tasks.iter().filter_map(|task| Button::of(shared, caller, task)).collect(),
            name,
        }
    }
}

impl Standing {
    fn new(shared: &Shared, stack: &str, standing: &Value) -> Self {
        let now = shared.clock.now();
        let lacks = standing["lacks"].as_array().map_or(0, Vec::len);
        let lag = match (standing["lag"]["snapshots"].as_u64().unwrap_or_default(), lacks) {
            (0, 0) => "in step".to_owned(),
            (0, lacks) => format!("lacks {lacks}"),
            (behind, _) => format!("{behind} behind"),
        };
        let drill = &standing["last_drill"];
        let drilled = time(&drill["at"])
            .map(|at| format!("{} level {}, {}", text(&drill["status"]), drill["level"], ago(at, now)));
        Self {
            stack: stack.to_owned(),
            snapshots: standing["snapshots"].to_string(),
            newest: time(&standing["newest"]["time"]).map_or_else(|| "none".to_owned(), |at| ago(at, now)),
            lag,
            drill: drilled.unwrap_or_else(|| "never".to_owned()),
        }
    }
}
