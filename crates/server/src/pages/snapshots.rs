//! Snapshots: which there are, where each lies, and what proves it.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::button::Button;
use super::layout::{Frame, SignedIn, shown};
use super::words::{ago, bytes, escaped, minute, short, text, texts, time};
use crate::access::Caller;
use crate::api::{Path, Query, blocking, snapshots};
use crate::known::WantedSnapshots;
use crate::problem::Problem;
use crate::shared::Shared;
use crate::task::Task;

/// Snapshots on a page.
const SNAPSHOTS: usize = 50;

/// Which snapshots; what is empty does not count.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Filter {
    stack: String,
    before: String,
}

#[derive(Template)]
#[template(path = "snapshots.html")]
struct SnapshotsPage {
    frame: Frame,
    filter: Filter,
    stacks: Vec<String>,
    snapshots: Vec<SnapshotView>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "snapshot.html")]
struct SnapshotPage {
    frame: Frame,
    snapshot: SnapshotView,
    drills: Vec<Button>,
    /// The one before it of the same stack, to compare with.
    before: Option<String>,
}

/// A snapshot, as pages show it.
pub struct SnapshotView {
    /// Its id.
    pub id: String,
    /// Its beginning.
    pub short: String,
    /// The stack that it is of.
    pub stack: String,
    /// When it was taken.
    pub at: String,
    /// How long ago that is.
    pub ago: String,
    /// How much there was to back up.
    pub size: String,
    /// Whether all was taken: `ok` or `partial`.
    pub status: String,
    /// Its sources, with when each was read.
    pub sources: Vec<SourceView>,
    /// The copies that have it.
    pub copies: Vec<CopyView>,
    /// Its archives, as a restore takes them.
    pub archives: Vec<String>,
    /// The host that made it.
    pub host: String,
}

/// A source in a snapshot.
pub struct SourceView {
    /// Its name.
    pub name: String,
    /// When it was read.
    pub captured: String,
}

/// A copy that has a snapshot.
pub struct CopyView {
    /// Its name.
    pub name: String,
    /// What was proven of it there, where anything was.
    pub proof: Option<String>,
    /// What to restore from there.
    pub uri: String,
}

/// The list.
pub async fn show(
    State(shared): State<Arc<Shared>>,
    SignedIn(caller): SignedIn,
    Query(filter): Query<Filter>,
) -> Response {
    let who = caller.clone();
    let made = blocking(move || list(&shared, &who, filter)).await;
    shown(&caller, made)
}

fn list(shared: &Shared, caller: &Caller, filter: Filter) -> Result<SnapshotsPage, Problem> {
    let before = Some(&filter.before).filter(|before| !before.is_empty());
    let before = before.map(|before| before.parse::<Timestamp>()).transpose();
    let wanted = WantedSnapshots {
        before: before.map_err(|_| Problem::bad("`before` is no time: go back to the first page"))?,
        stack: Some(filter.stack.clone()).filter(|stack| !stack.is_empty()),
        visible: caller.stacks.clone(),
        limit: SNAPSHOTS,
    };
    let found = shared.known.snapshots(&wanted)?;
    let last = found.last().filter(|_| found.len() == SNAPSHOTS);
    let next = last
        .map(|last| format!("/snapshots?stack={}&before={}", escaped(&filter.stack), escaped(&text(&last["time"]))));
    let stacks = shared.settings.stacks.iter().filter(|stack| caller.sees(&stack.name));
    Ok(SnapshotsPage {
        frame: Frame::new("Snapshots", "/snapshots", caller),
        stacks: stacks.map(|stack| stack.name.clone()).collect(),
        snapshots: found.iter().map(|snapshot| SnapshotView::new(snapshot, shared.clock.now())).collect(),
        next,
        filter,
    })
}

/// One snapshot.
pub async fn show_one(
    State(shared): State<Arc<Shared>>,
    SignedIn(caller): SignedIn,
    Path(id): Path<String>,
) -> Response {
    let who = caller.clone();
    let made = blocking(move || {
        let found = snapshots::find(&shared, &who, &id)?;
        let snapshot = SnapshotView::new(&found, shared.clock.now());
        let drill = |copy: &CopyView| Task::Drill {
            stack: snapshot.stack.clone(),
            copy: Some(copy.name.clone()),
            snapshot: Some(snapshot.id.clone()),
            level: None,
        };
        let drills = snapshot.copies.iter().filter_map(|copy| Button::of(&shared, &who, &drill(copy))).collect();
        let wanted = WantedSnapshots {
            before: time(&found["time"]),
            stack: Some(snapshot.stack.clone()),
            visible: None,
            limit: 1,
        };
        let before = shared.known.snapshots(&wanted)?.first().map(|before| text(&before["id"]));
        let title = format!("Snapshot {}", snapshot.short);
        Ok(SnapshotPage { frame: Frame::new(title, "/snapshots", &who), snapshot, drills, before })
    });
    shown(&caller, made.await)
}

impl SnapshotView {
    /// By what `lifeboat snapshots` said of it.
    pub fn new(line: &Value, now: Timestamp) -> Self {
        let id = text(&line["id"]);
        let at = time(&line["time"]).unwrap_or_default();
        let captured = |name: &str| captured(&line["captured"][name]);
        let sources = texts(&line["sources"]).into_iter().map(|name| SourceView { captured: captured(&name), name });
        let proof = |copy: &str| {
            let drill = &line["drilled"][copy];
            Some(format!("level {} {}", drill["level"], ago(time(&drill["at"])?, now)))
        };
        let copies = texts(&line["copies"]).into_iter().map(|name| CopyView {
            proof: proof(&name),
            uri: escaped(&format!("lifeboat:{name}/{id}")),
            name,
        });
        Self {
            short: short(&id),
            stack: text(&line["stack"]),
            at: minute(at),
            ago: ago(at, now),
            size: line["bytes_source"].as_u64().map_or_else(|| "unknown size".to_owned(), bytes),
            status: text(&line["status"]),
            sources: sources.collect(),
            copies: copies.collect(),
            archives: texts(&line["archives"]),
            host: text(&line["hostname"]),
            id,
        }
    }
}

/// When a source was read, in the form that the manifest has it.
fn captured(value: &Value) -> String {
    let mut times: Vec<_> = match value {
        Value::Object(fields) => fields.values().filter_map(time).map(minute).collect(),
        other => time(other).map(minute).into_iter().collect(),
    };
    times.dedup();
    times.join(" to ")
}
