//! Are we safe? One sentence for each stack, what is wrong, and the button that mends it.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use serde_json::Value;

use super::layout::{Frame, SignedIn, failed, page};
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
    stacks: Vec<StackCard>,
    running: Vec<Run>,
}

/// A stack, as the page shows it.
struct StackCard {
    name: String,
    /// `safe`, `warning` or `critical`.
    state: &'static str,
    sentence: String,
    problems: Vec<Trouble>,
}

/// What is wrong, and what mends it.
struct Trouble {
    severity: String,
    text: String,
    fix: String,
}

/// The page.
pub async fn show(State(shared): State<Arc<Shared>>, SignedIn(caller): SignedIn) -> Response {
    let frame = Frame::new("Are we safe?", &caller);
    let asked = blocking(move || {
        let told = shared.known.told("status")?;
        let now = shared.clock.now();
        let asked_at = told.as_ref().map(|told| ago(told.at, now));
        let stacks = told.map(|told| of_stacks(&told.summary, &caller.stacks)).unwrap_or_default();
        let stacks = stacks.iter().map(|(name, health)| card(name, health, now)).collect();
        let is_seen = |run: &Run| run.task.stack().is_none_or(|stack| caller.sees(stack));
        let running = shared.runner.journal.open(Status::Running)?.into_iter().filter(is_seen).collect();
        Ok::<_, Problem>((asked_at, stacks, running))
    });
    match asked.await {
        Ok((asked_at, stacks, running)) => page(&HomePage { frame, asked_at, stacks, running }),
        Err(problem) => failed(problem),
    }
}

fn card(name: &str, health: &Value, now: Timestamp) -> StackCard {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let problems: Vec<Trouble> = health["problems"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|problem| Trouble {
            severity: text(&problem["severity"]),
            text: text(&problem["text"]),
            fix: text(&problem["fix"]),
        })
        .collect();
    let has = |severity: &str| problems.iter().any(|problem| problem.severity == severity);
    let state = match (has("critical"), has("warning")) {
        (true, _) => "critical",
        (false, true) => "warning",
        (false, false) => "safe",
    };
    StackCard { name: name.to_owned(), state, sentence: sentence(health, now), problems }
}

/// Until when it is protected, what proved that, and where.
fn sentence(health: &Value, now: Timestamp) -> String {
    let time = |value: &Value| value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let Some(backup) = time(&health["last_backup"]) else {
        return "There is no backup yet.".to_owned();
    };
    let drills = health["last_drill"].as_object().into_iter().flatten();
    let passed = drills.filter(|(_, drill)| drill["status"] == "passed");
    let proven: Vec<_> = passed.filter_map(|(copy, drill)| Some((time(&drill["at"])?, copy))).collect();
    let protected = format!("Everything until {} is backed up", ago(backup, now));
    match proven.iter().max() {
        None => format!("{protected}, but no drill has proven yet that it restores."),
        Some((at, _)) => {
            let copies: Vec<_> = proven.iter().map(|(_, copy)| copy.as_str()).collect();
            format!("{protected}; a restore from {} was proven {}.", copies.join(", "), ago(*at, now))
        }
    }
}

/// How long ago, for people.
fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs();
    match seconds {
        ..60 => "just now".to_owned(),
        60..5400 => format!("{} minutes ago", seconds / 60),
        5400..172_800 => format!("{} hours ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86400),
    }
}
