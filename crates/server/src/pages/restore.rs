//! Restore Snapshot: what, and to where; looked at first, then done. In place it goes only for who types the stack's name.

use std::sync::Arc;

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use super::button::go;
use super::form::Typed;
use super::layout::{Frame, SignedIn, failed_for, shown};
use super::words::{minute, text, texts, time};
use crate::access::{Caller, Role};
use crate::api::{Query, blocking};
use crate::known::WantedSnapshots;
use crate::problem::Problem;
use crate::shared::Shared;
use crate::task::Task;

/// The newest snapshots, to pick one of.
const SNAPSHOTS: usize = 20;
/// What is typed where nobody knows which stack a snapshot is of.
const UNKNOWN: &str = "in place";

/// What was picked elsewhere.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Picked {
    uri: String,
    place: String,
    to: String,
}

#[derive(Template)]
#[template(path = "restore.html")]
struct RestorePage {
    frame: Frame,
    picked: Picked,
    in_place: bool,
    folder: String,
    /// What to type before it goes to where the data came from.
    word: String,
    /// What can be picked, and how it is called.
    newest: Vec<(String, String)>,
}

/// The form.
pub async fn show(
    State(shared): State<Arc<Shared>>,
    SignedIn(caller): SignedIn,
    Query(picked): Query<Picked>,
) -> Response {
    let who = caller.clone();
    let made = blocking(move || form(&shared, &who, picked)).await;
    shown(&caller, made)
}

fn form(shared: &Shared, caller: &Caller, picked: Picked) -> Result<RestorePage, Problem> {
    caller.require(Role::Operator)?;
    let wanted = WantedSnapshots { visible: caller.stacks.clone(), limit: SNAPSHOTS, ..WantedSnapshots::default() };
    let newest = shared.known.snapshots(&wanted)?.into_iter().flat_map(|line| {
        let id = text(&line["id"]);
        let copies = texts(&line["copies"]).into_iter();
        let taken = time(&line["time"]).map(minute).unwrap_or_default();
        let told = format!("{}, {taken}", text(&line["stack"]));
        copies.map(move |copy| (format!("lifeboat:{copy}/{id}"), format!("{told}, from {copy}")))
    });
    Ok(RestorePage {
        frame: Frame::new("Restore snapshot", "/restore", caller),
        in_place: picked.place == "in-place",
        folder: shared.settings.server.restore_dir.display().to_string(),
        word: word(shared, &picked.uri)?,
        newest: newest.collect(),
        picked,
    })
}

/// The name of the stack that a URI is of; another word where that is not known.
fn word(shared: &Shared, uri: &str) -> Result<String, Problem> {
    let found = snapshot_in(uri).map(|id| shared.known.snapshot(id)).transpose()?.flatten();
    let stack = found.and_then(|line| line["stack"].as_str().map(str::to_owned));
    Ok(stack.filter(|stack| !stack.is_empty()).unwrap_or_else(|| UNKNOWN.to_owned()))
}

/// The id in `lifeboat:COPY/ID[/…]` or `ID[:…]`.
fn snapshot_in(uri: &str) -> Option<&str> {
    match uri.trim().strip_prefix("lifeboat:") {
        Some(rest) => rest.split('/').nth(1),
        None => uri.trim().split(':').next(),
    }
}

/// Looks at what would be done, or does it; shows the run.
pub async fn restore(
    State(shared): State<Arc<Shared>>,
    SignedIn(caller): SignedIn,
    Form(typed): Form<Typed>,
) -> Response {
    match task(&shared, &caller, &typed) {
        Ok(task) => go(shared, caller, task).await,
        Err(problem) => failed_for(&caller, problem),
    }
}

fn task(shared: &Shared, caller: &Caller, typed: &Typed) -> Result<Task, Problem> {
    caller.require(Role::Operator)?;
    let uri = typed.needed("uri")?;
    let dry_run = typed.one("action").as_deref() != Some("restore");
    if typed.one("place").as_deref() != Some("in-place") {
        let to = shared.settings.server.restore_dir.join(typed.needed("to")?);
        return Ok(Task::Restore { uri, to: Some(to.to_string_lossy().into_owned()), dry_run });
    }
    let word = word(shared, &uri)?;
    if !dry_run && typed.one("confirm").as_deref() != Some(&*word) {
        return Err(Problem::bad("what is there now would be replaced, and that was not confirmed")
            .with_hint(format!("go back and type `{word}` into the field for that")));
    }
    Ok(Task::Restore { uri, to: None, dry_run })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_snapshot_is_found_in_each_form_of_a_uri() {
        for uri in ["lifeboat:disk/abc", "lifeboat:disk/abc/files/a:b", "abc", "abc:files/x", " abc "] {
            assert_eq!(snapshot_in(uri), Some("abc"), "{uri}");
        }
        assert_eq!(snapshot_in("lifeboat:disk"), None);
    }
}
