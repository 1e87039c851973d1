//! What on this machine holds data, and whether it is backed up.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde_json::Value;

use super::layout::{Frame, SignedIn, shown};
use super::words::{ago, text, texts};
use crate::api::blocking;
use crate::problem::Problem;
use crate::shared::Shared;

#[derive(Template)]
#[template(path = "coverage.html")]
struct CoveragePage {
    frame: Frame,
    asked_at: Option<String>,
    uncovered: u64,
    things: Vec<Thing>,
    gone: Vec<String>,
    problems: Vec<String>,
    no_engine: Option<String>,
}

/// Something that holds data.
struct Thing {
    kind: String,
    name: String,
    place: String,
    used_by: String,
    /// `covered`, `partial`, `rebuilt` or `uncovered`.
    state: &'static str,
    is_drilled: bool,
    by: String,
    lacks: Vec<String>,
}

/// The page.
pub async fn show(State(shared): State<Arc<Shared>>, SignedIn(caller): SignedIn) -> Response {
    let who = caller.clone();
    let made = blocking(move || {
        who.require_all_stacks()?;
        let told = shared.known.told("coverage")?;
        let asked_at = told.as_ref().map(|told| ago(told.at, shared.clock.now()));
        let summary = told.map(|told| told.summary).unwrap_or_default();
        let mut things: Vec<_> = summary["things"].as_array().into_iter().flatten().map(Thing::new).collect();
        // What is not protected comes first.
        things.sort_by_key(|thing| ["uncovered", "partial", "covered"].iter().position(|state| *state == thing.state));
        let gone = summary["gone"].as_array().into_iter().flatten().filter(|gone| gone["may_be_lost"] == true);
        let gone = gone
            .map(|gone| format!("{} of {}/{}", text(&gone["database"]), text(&gone["stack"]), text(&gone["source"])));
        Ok::<_, Problem>(CoveragePage {
            frame: Frame::new("Coverage", "/coverage", &who),
            asked_at,
            uncovered: summary["uncovered"].as_u64().unwrap_or_default(),
            gone: gone.collect(),
            problems: texts(&summary["problems"]),
            no_engine: summary["no_engine"].as_str().map(str::to_owned),
            things,
        })
    });
    shown(&caller, made.await)
}

impl Thing {
    fn new(thing: &Value) -> Self {
        let lacks = texts(&thing["lacks"]);
        let state = match (thing["covered"] == true, thing["rebuilt"] == true) {
            (true, _) => "covered",
            (false, true) => "rebuilt",
            (false, false) if !lacks.is_empty() => "partial",
            (false, false) => "uncovered",
        };
        let by = thing["sources"].as_array().into_iter().flatten();
        let by: Vec<_> = by.map(|by| format!("{}/{}", text(&by["stack"]), text(&by["source"]))).collect();
        Self {
            kind: text(&thing["kind"]),
            name: text(&thing["name"]),
            place: text(&thing["path"]),
            used_by: super::words::plain(&thing["used_by"]),
            state,
            is_drilled: thing["drilled"] == true,
            by: by.join(", "),
            lacks,
        }
    }
}
