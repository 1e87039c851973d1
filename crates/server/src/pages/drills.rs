//! Drills: what is proven, of which stack in which copy, and how long a restore takes.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use serde_json::Value;

use super::button::Button;
use super::layout::{Frame, SignedIn, shown};
use super::plot::Plot;
use super::runs::Row;
use super::words::{ago, minute, seconds, text, time};
use crate::access::Caller;
use crate::api::{blocking, drills};
use crate::journal::{Run, Wanted};
use crate::known::of_stacks;
use crate::problem::Problem;
use crate::shared::Shared;
use crate::task::Task;

/// Drills that are listed, and looked at for how long they took.
const DRILLS: usize = 100;
/// Stacks that get a plot: more are looked at one by one, on their runs.
const PLOTS_MAX: usize = 10;

#[derive(Template)]
#[template(path = "drills.html")]
struct DrillsPage {
    frame: Frame,
    copies: Vec<String>,
    stacks: Vec<Proven>,
    plots: Vec<StackPlot>,
    runs: Vec<Row>,
}

/// What is proven of a stack.
struct Proven {
    name: String,
    cells: Vec<Cell>,
}

/// What is proven of a stack in one copy.
struct Cell {
    status: String,
    text: String,
    button: Option<Button>,
}

/// How long restores of a stack took.
struct StackPlot {
    name: String,
    plot: Plot,
    top: String,
    bound: Option<String>,
}

/// The page.
pub async fn show(State(shared): State<Arc<Shared>>, SignedIn(caller): SignedIn) -> Response {
    let who = caller.clone();
    let made = blocking(move || matrix(&shared, &who)).await;
    shown(&caller, made)
}

fn matrix(shared: &Shared, caller: &Caller) -> Result<DrillsPage, Problem> {
    let health = shared.known.told("status")?.map(|told| of_stacks(&told.summary, &caller.stacks)).unwrap_or_default();
    let copies: Vec<_> = shared.settings.copies.iter().map(|copy| copy.name.clone()).collect();
    let seen = || shared.settings.stacks.iter().filter(|stack| caller.sees(&stack.name));
    let stacks = seen().map(|stack| Proven {
        cells: copies
            .iter()
            .map(|copy| match stack.copies.contains(copy) {
                true => Cell::new(shared, caller, &stack.name, copy, &health),
                false => Cell { status: "none".to_owned(), text: "not used".to_owned(), button: None },
            })
            .collect(),
        name: stack.name.clone(),
    });
    let wanted =
        Wanted { kind: Some("drill".to_owned()), visible: caller.stacks.clone(), limit: DRILLS, ..Wanted::default() };
    let found = shared.runner.journal.list(&wanted)?;
    let plots = seen().take(PLOTS_MAX).filter_map(|stack| {
        let bound = stack.rto.map(|rto| rto.as_secs_f64());
        let plot = Plot::new(&times(shared, &found, &stack.name), bound)?;
        Some(StackPlot { name: stack.name.clone(), top: seconds(plot.top), bound: bound.map(seconds), plot })
    });
    Ok(DrillsPage {
        frame: Frame::new("Drills", "/drills", caller),
        stacks: stacks.collect(),
        plots: plots.collect(),
        runs: found.iter().map(|run| Row::new(shared, run)).collect(),
        copies,
    })
}

impl Cell {
    fn new(shared: &Shared, caller: &Caller, stack: &str, copy: &str, health: &serde_json::Map<String, Value>) -> Self {
        let drill = health.get(stack).map(|health| &health["last_drill"][copy]);
        let at = drill.and_then(|drill| Some((drill, time(&drill["at"])?)));
        let (status, told) = match at {
            Some((drill, at)) => {
                (text(&drill["status"]), format!("level {}, {}", drill["level"], ago(at, shared.clock.now())))
            }
            None => ("never".to_owned(), "nothing is proven".to_owned()),
        };
        let task = Task::Drill { stack: stack.to_owned(), copy: Some(copy.to_owned()), snapshot: None, level: None };
        Self { status, text: told, button: Button::of(shared, caller, &task) }
    }
}

/// How long each drill of a stack took to restore.
fn times(shared: &Shared, found: &[Run], stack: &str) -> Vec<(Timestamp, f64, String)> {
    let ended = found.iter().filter(|run| run.task.stack() == Some(stack));
    let of_run = |run: &Run| {
        let at = run.ended_at?;
        let lines = drills::receipts(shared, run).into_iter();
        Some(lines.filter_map(move |line| {
            let took = line["rto_s"].as_f64()?;
            Some((at, took, format!("{}: {} from {}", minute(at), seconds(took), text(&line["copy"]))))
        }))
    };
    ended.filter_map(of_run).flatten().collect()
}
