//! What lies in a snapshot, folder by folder; one file of it to download, one item to restore.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde_json::Value;

use super::layout::{Frame, SignedIn, shown};
use super::words::{bytes, escaped, minute, short, text, time};
use crate::access::{Caller, Role};
use crate::api::snapshots::{Place, entries, within};
use crate::api::{Path, Query, blocking};
use crate::problem::Problem;
use crate::shared::Shared;

#[derive(Template)]
#[template(path = "browse.html")]
struct BrowsePage {
    frame: Frame,
    id: String,
    /// The folders on the way, each with its link.
    way: Vec<(String, String)>,
    /// What to restore for this folder.
    uri: String,
    is_root: bool,
    entries: Vec<Entry>,
}

/// What lies in a folder.
struct Entry {
    name: String,
    kind: String,
    size: String,
    at: String,
    /// Opens the folder.
    open: Option<String>,
    /// Gives the file.
    download: Option<String>,
    restore: String,
}

/// The page.
pub async fn show(
    State(shared): State<Arc<Shared>>,
    SignedIn(caller): SignedIn,
    Path(id): Path<String>,
    Query(place): Query<Place>,
) -> Response {
    let who = caller.clone();
    let made = blocking(move || browse(&shared, &who, &id, place)).await;
    shown(&caller, made)
}

fn browse(shared: &Shared, caller: &Caller, id: &str, place: Place) -> Result<BrowsePage, Problem> {
    caller.require(Role::Operator)?;
    let path = place.path.clone().unwrap_or_default();
    let (place, copy) = within(shared, caller, id, place)?;
    let id = place.split(':').next().unwrap_or(id).to_owned();
    let mut entries: Vec<_> =
        entries(shared, &place, copy.as_deref())?.iter().map(|node| Entry::new(&id, node)).collect();
    entries.sort_by(|a, b| (a.open.is_none(), &a.name).cmp(&(b.open.is_none(), &b.name)));
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    let way = (1..=parts.len()).map(|count| (parts[count - 1].to_owned(), files(&id, &parts[..count].join("/"))));
    Ok(BrowsePage {
        frame: Frame::new(format!("Files in snapshot {}", short(&id)), "/snapshots", caller),
        way: way.collect(),
        is_root: parts.is_empty(),
        uri: escaped(&place),
        entries,
        id,
    })
}

/// The link to a folder.
fn files(id: &str, path: &str) -> String {
    format!("/snapshots/{id}/files?path={}", escaped(path))
}

impl Entry {
    fn new(id: &str, node: &Value) -> Self {
        let (path, kind) = (text(&node["path"]), text(&node["type"]));
        let is_file = kind == "file";
        let content = || format!("/v1/admin/snapshots/{id}/content?path={}", escaped(&path));
        Self {
            name: path.rsplit('/').next().unwrap_or(&path).to_owned(),
            size: if is_file { bytes(node["size"].as_u64().unwrap_or_default()) } else { String::new() },
            at: time(&node["mtime"]).map(minute).unwrap_or_default(),
            open: (kind == "dir").then(|| files(id, &path)),
            download: is_file.then(content),
            restore: escaped(&format!("{id}:{path}")),
            kind,
        }
    }
}
