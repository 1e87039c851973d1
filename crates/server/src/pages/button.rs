//! Buttons that start something.

use std::sync::Arc;

use axum::Form;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};

use super::form::Typed;
use super::layout::{SignedIn, failed_for};
use super::words::deed;
use crate::access::Caller;
use crate::api::runs;
use crate::problem::Problem;
use crate::shared::Shared;
use crate::task::Task;

/// A button, with what it starts.
pub struct Button {
    /// What is written on it.
    pub label: String,
    /// The task, as JSON.
    pub task: String,
}

impl Button {
    /// The button for `task`. `None` for who may not start it.
    pub fn of(shared: &Shared, caller: &Caller, task: &Task) -> Option<Self> {
        let may = caller.require(runs::role_for(shared, task)).is_ok();
        let sees = task.stack().map_or(caller.stacks.is_none(), |stack| caller.sees(stack));
        let task_text = serde_json::to_string(task).ok().filter(|_| may && sees)?;
        Some(Self { label: deed(task), task: task_text })
    }

    /// The button that mends a problem, where the first command that is named in what to do is one that the server starts.
    pub fn mending(shared: &Shared, caller: &Caller, fix: &str) -> Option<Self> {
        Self::of(shared, caller, &task_in(fix)?)
    }
}

/// The first command that a text names between backticks, as a task.
fn task_in(fix: &str) -> Option<Task> {
    let line = fix.split('`').nth(1)?.strip_prefix("lifeboat ")?;
    let mut words = line.split_ascii_whitespace();
    let command = words.next()?;
    let (mut copy, mut stack, mut read_data) = (None, None, false);
    while let Some(word) = words.next() {
        match word {
            "--copy" => copy = Some(words.next()?.to_owned()),
            "--read-data" => read_data = true,
            // It only says more.
            "--verbose" => {}
            _ if word.starts_with('-') || stack.is_some() => return None,
            _ => stack = Some(word.to_owned()),
        }
    }
    match (command, stack) {
        ("backup", Some(stack)) => {
            Some(Task::Backup { stack, sources: Vec::new(), copies: copy.into_iter().collect() })
        }
        ("drill", Some(stack)) => Some(Task::Drill { stack, copy, snapshot: None, level: None }),
        ("check", None) => Some(Task::Check { copy, read_data, subset: None }),
        ("heal", None) => Some(Task::Heal { copy, read_data }),
        ("sync", None) => Some(Task::Sync { copy }),
        ("prune", None) => Some(Task::Prune { copy }),
        _ => None,
    }
}

/// Starts what a button is for, and shows the run.
pub async fn start(
    State(shared): State<Arc<Shared>>,
    SignedIn(caller): SignedIn,
    Form(typed): Form<Typed>,
) -> Response {
    let task = typed.needed("task").and_then(|task| {
        serde_json::from_str(&task).map_err(|error| Problem::bad(format!("this is no task: {error}")))
    });
    match task {
        Ok(task) => go(shared, caller, task).await,
        Err(problem) => failed_for(&caller, problem),
    }
}

/// Starts a task, and shows the run.
pub async fn go(shared: Arc<Shared>, caller: Caller, task: Task) -> Response {
    match runs::queue(shared, caller.clone(), task).await {
        Ok(run) => Redirect::to(&format!("/runs/{}", run.id)).into_response(),
        Err(problem) => failed_for(&caller, problem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_mends_becomes_a_task_only_where_it_is_understood_in_full() {
        let line = |fix: &str| {
            let task = task_in(fix)?;
            let words: Vec<_> = task.arguments().into_iter().map(|word| word.into_string().unwrap()).collect();
            Some(words.join(" "))
        };
        assert_eq!(line("run `lifeboat drill app --copy nas`; then more").unwrap(), "drill --copy=nas -- app");
        assert_eq!(line("mend it, then run `lifeboat backup app --verbose`, which").unwrap(), "backup -- app");
        assert_eq!(line("run `lifeboat check --copy nas --read-data`").unwrap(), "check --copy=nas --read-data");
        assert_eq!(line("run `lifeboat heal`, then").unwrap(), "heal");
        for other in ["", "mount it", "`lifeboat`", "`lifeboat snapshots app`", "`lifeboat drill app --level 9 x`"] {
            assert_eq!(line(other), None, "{other}");
        }
    }
}
