//! What changed between two snapshots.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use super::layout::{Frame, SignedIn, shown};
use super::words::{bytes, escaped, short, text};
use crate::access::{Caller, Role};
use crate::api::{Query, blocking, snapshots};
use crate::problem::Problem;
use crate::shared::Shared;

/// Changes that a page shows; whoever wants them all has `lifeboat diff`.
const CHANGES_MAX: usize = 1000;

/// Which two.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Two {
    from: String,
    to: String,
}

#[derive(Template)]
#[template(path = "compare.html")]
struct ComparePage {
    frame: Frame,
    two: Two,
    found: Option<Found>,
}

/// What changed.
struct Found {
    sentence: String,
    changes: Vec<Change>,
    more: usize,
}

/// One change.
struct Change {
    change: String,
    path: String,
    /// Where the item lies now; in the older snapshot where it was removed.
    restore: String,
}

/// The page: a form, and below it what changed once two are named.
pub async fn show(State(shared): State<Arc<Shared>>, SignedIn(caller): SignedIn, Query(two): Query<Two>) -> Response {
    let who = caller.clone();
    let made = blocking(move || compare(&shared, &who, two)).await;
    shown(&caller, made)
}

fn compare(shared: &Shared, caller: &Caller, two: Two) -> Result<ComparePage, Problem> {
    caller.require(Role::Operator)?;
    let frame = Frame::new("Compare snapshots", "/snapshots", caller);
    if two.from.trim().is_empty() || two.to.trim().is_empty() {
        return Ok(ComparePage { frame, two, found: None });
    }
    let id = |typed: &str| Ok::<_, Problem>(text(&snapshots::find(shared, caller, typed.trim())?["id"]));
    let (from, to) = (id(&two.from)?, id(&two.to)?);
    let (lines, totals) = snapshots::changes(shared, &from, &to)?;
    let changes = lines.iter().take(CHANGES_MAX).map(|line| {
        let (change, path) = (text(&line["change"]), text(&line["path"]));
        let of = if change == "removed" { &from } else { &to };
        Change { restore: escaped(&format!("{of}:{path}")), change, path }
    });
    let sentence = format!(
        "{} added, {} removed, {} changed; {} new, {} gone, from {} to {}.",
        totals["added"],
        totals["removed"],
        totals["changed"],
        bytes(totals["bytes_added"].as_u64().unwrap_or_default()),
        bytes(totals["bytes_removed"].as_u64().unwrap_or_default()),
        short(&from),
        short(&to),
    );
    let found = Found { sentence, changes: changes.collect(), more: lines.len().saturating_sub(CHANGES_MAX) };
    Ok(ComparePage { frame, two, found: Some(found) })
}
