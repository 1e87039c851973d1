//! Snapshots: listed, looked into, taken and restored.

use std::process::Stdio;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;

use super::extract::{Json, Page, Path, Printed, Query, blocking, limit, tagged};
use super::runs;
use crate::access::{Caller, Role};
use crate::journal::Run;
use crate::known::WantedSnapshots;
use crate::problem::Problem;
use crate::shared::Shared;
use crate::task::Task;

/// A download goes on in pieces of this size.
const PIECE_BYTES: usize = 64 << 10;

/// What to take a snapshot of.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Create {
    /// The stack; may be left out where there is one only.
    #[serde(default)]
    stack: Option<String>,
    /// Only this source of it. `main` and `redis` are the database and the Redis of an ALTCHA Sentinel.
    #[serde(default)]
    database: Option<String>,
    /// Only into these copies.
    #[serde(default)]
    copies: Vec<String>,
}

/// What to restore.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Restore {
    /// `lifeboat:COPY/SNAPSHOT[/SOURCE[/PATH]]`, `SNAPSHOT[:SOURCE[/PATH]]`, or an archive's path or URL.
    uri: String,
    /// The folder that it goes into. Operators name one below the folder for restores; a relative one is below it.
    #[serde(default)]
    to: Option<String>,
    /// To where it came from. For admins.
    #[serde(default)]
    in_place: bool,
    /// Only says what would be done.
    #[serde(default)]
    dry_run: bool,
}

/// Which snapshots.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WantedParams {
    /// Only older ones: the `next` of the page before.
    #[param(value_type = Option<String>, format = DateTime)]
    before: Option<Timestamp>,
    /// Only of this stack.
    stack: Option<String>,
    /// So many at most.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u16>,
}

/// Where to look in a snapshot.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Place {
    /// `SOURCE/PATH`; the whole snapshot where it is left out.
    pub path: Option<String>,
    /// The copy to look in; the first that has it where it is left out.
    pub copy: Option<String>,
}

/// Takes a snapshot.
#[utoipa::path(post, path = "/v1/admin/snapshots/create", tag = "snapshots", request_body = Create,
    params(("Idempotency-Key" = Option<String>, Header, description = "Sent again with the same key, nothing is done twice")),
    responses(
    (status = 202, body = Run),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn create(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
    Json(create): Json<Create>,
) -> Result<Response, Problem> {
    let stack = match (create.stack, shared.settings.stacks.as_slice()) {
        (Some(stack), _) => stack,
        (None, [only]) => only.name.clone(),
        (None, _) => {
            caller.require(Role::Operator)?;
            return Err(Problem::bad("there are several stacks").with_hint("name one with `stack`"));
        }
    };
    let task = Task::Backup { stack, sources: create.database.into_iter().collect(), copies: create.copies };
    runs::begin(shared, caller, &headers, task).await
}

/// Restores a snapshot, or what is named of it.
#[utoipa::path(post, path = "/v1/admin/snapshots/restore", tag = "snapshots", request_body = Restore,
    params(("Idempotency-Key" = Option<String>, Header, description = "Sent again with the same key, nothing is done twice")),
    responses(
    (status = 202, body = Run),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn restore(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
    Json(restore): Json<Restore>,
) -> Result<Response, Problem> {
    let to = match (&restore.to, restore.in_place) {
        (Some(to), false) => Some(shared.settings.server.restore_dir.join(to).to_string_lossy().into_owned()),
        (None, true) => None,
        _ => {
            caller.require(Role::Operator)?;
            return Err(Problem::bad("a restore goes either `to` a folder or `in_place`"));
        }
    };
    let task = Task::Restore { uri: restore.uri, to, dry_run: restore.dry_run };
    runs::begin(shared, caller, &headers, task).await
}

/// The snapshots, the newest first, with the copies that hold each and what was proven of it.
#[utoipa::path(get, path = "/v1/admin/snapshots", tag = "snapshots", params(WantedParams), responses(
    (status = 200, body = Page<Printed>),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn list(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Query(wanted): Query<WantedParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let limit = limit(wanted.limit)?;
    let wanted = WantedSnapshots { before: wanted.before, stack: wanted.stack, visible: caller.stacks, limit };
    let found = blocking(move || Ok(shared.known.snapshots(&wanted)?)).await?;
    tagged(&headers, &Page::new(found, limit, |line| line["time"].as_str().map(str::to_owned)))
}

/// A snapshot.
#[utoipa::path(get, path = "/v1/admin/snapshots/{id}", tag = "snapshots", params(("id" = String, Path, description = "The snapshot's id, or its first digits")), responses(
    (status = 200, body = Printed),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn one(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    tagged(&headers, &find(&shared, &caller, &id)?)
}

/// What lies in a folder of a snapshot.
#[utoipa::path(get, path = "/v1/admin/snapshots/{id}/files", tag = "snapshots", params(("id" = String, Path, description = "The snapshot's id"), Place), responses(
    (status = 200, body = Page<Printed>),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn files(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
    Query(place): Query<Place>,
) -> Result<Response, Problem> {
    caller.require(Role::Operator)?;
    let (place, copy) = within(&shared, &caller, &id, place)?;
    let found = blocking(move || entries(&shared, &place, copy.as_deref())).await?;
    Ok(axum::Json(Page { items: found, next: None }).into_response())
}

/// A file out of a snapshot.
#[utoipa::path(get, path = "/v1/admin/snapshots/{id}/content", tag = "snapshots", params(("id" = String, Path, description = "The snapshot's id"), Place), responses(
    (status = 200, description = "The bytes of the file", content_type = "application/octet-stream", body = Vec<u8>),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn content(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
    Query(place): Query<Place>,
) -> Result<Response, Problem> {
    caller.require(Role::Operator)?;
    let name = place.path.clone().ok_or_else(|| Problem::bad("name the file with `path`"))?;
    let (place, copy) = within(&shared, &caller, &id, place)?;
    shared.audit.add(&caller.name, "download", &place, "ok", shared.clock.now())?;
    download(&shared, &place, copy.as_deref(), &name).await
}

/// The snapshot with this id, for who may see it.
pub fn find(shared: &Shared, caller: &Caller, id: &str) -> Result<Value, Problem> {
    let found = shared.known.snapshot(id)?;
    let is_seen = |found: &Value| found["stack"].as_str().is_none_or(|stack| caller.sees(stack));
    found.filter(is_seen).ok_or_else(|| Problem::not_found(format!("there is no snapshot {id}")))
}

/// The place as the commands take it, and the copy.
pub fn within(shared: &Shared, caller: &Caller, id: &str, place: Place) -> Result<(String, Option<String>), Problem> {
    let found = find(shared, caller, id)?;
    let id = found["id"].as_str().unwrap_or(id);
    place.copy.as_ref().map(|copy| shared.settings.copy(copy)).transpose()?;
    match place.path.as_deref().map(|path| path.trim_matches('/')).filter(|path| !path.is_empty()) {
        Some(path) if path.contains('\0') => Err(Problem::bad("a path has no zero byte in it")),
        Some(path) => Ok((format!("{id}:{path}"), place.copy)),
        None => Ok((id.to_owned(), place.copy)),
    }
}

/// What lies in a folder of a snapshot, as `lifeboat ls` prints it.
pub fn entries(shared: &Shared, place: &str, copy: Option<&str>) -> Result<Vec<Value>, Problem> {
    let copy = copy.map(|copy| format!("--copy={copy}"));
    let mut arguments = vec!["ls"];
    arguments.extend(copy.as_deref());
    arguments.extend(["--", place]);
    let (mut lines, _) = said(shared, &arguments)?;
    lines.retain(|line| line["message_type"] == "node");
    Ok(lines)
}

/// What changed from one place in a snapshot to another, as `lifeboat diff` prints it, and its summary.
pub fn changes(shared: &Shared, from: &str, to: &str) -> Result<(Vec<Value>, Value), Problem> {
    let (mut lines, summary) = said(shared, &["diff", "--", from, to])?;
    lines.retain(|line| line["message_type"] == "change");
    Ok((lines, summary))
}

/// The lines of a command that ended well, and the last one.
fn said(shared: &Shared, arguments: &[&str]) -> Result<(Vec<Value>, Value), Problem> {
    let mut lines = shared.known.say(arguments)?;
    match lines.pop() {
        Some(last) if last["message_type"] == "error" => Err(told(&last)),
        last => Ok((lines, last.unwrap_or_default())),
    }
}

/// What a command said went wrong.
fn told(error: &Value) -> Problem {
    let (status, code) = match error["code"].as_str() {
        Some("not-found") => (StatusCode::NOT_FOUND, "not-found"),
        Some("usage") => (StatusCode::BAD_REQUEST, "usage"),
        _ => (StatusCode::CONFLICT, "unreadable"),
    };
    let problem = Problem::new(status, code, error["message"].as_str().unwrap_or("it cannot be read"));
    error["hint"].as_str().map(str::to_owned).into_iter().fold(problem, Problem::with_hint)
}

async fn download(shared: &Shared, place: &str, copy: Option<&str>, name: &str) -> Result<Response, Problem> {
    let mut arguments = vec!["cat".into()];
    arguments.extend(copy.map(|copy| format!("--copy={copy}").into()));
    arguments.extend(["--".into(), place.into()]);
    let cannot = |error: std::io::Error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", error.to_string());
    let mut command = tokio::process::Command::from(shared.runner.program().printing(&arguments));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn().map_err(cannot)?;
    let Some(mut output) = child.stdout.take() else { return Err(cannot(std::io::Error::other("no output"))) };
    let mut first = vec![0; PIECE_BYTES];
    let bytes = output.read(&mut first).await.map_err(cannot)?;
    first.truncate(bytes);
    if bytes == 0 {
        // Either it is empty, or it could not be read, which must not look like an empty file.
        let exit = child.wait().await.map_err(cannot)?;
        if !exit.success() {
            return Err(Problem::not_found(format!("{place} is no file that can be read"))
                .with_hint("`files` lists what is there"));
        }
    }
    let body = stream::try_unfold((first, Some((child, output))), |(piece, rest)| async move {
        if piece.is_empty() {
            let Some((mut child, _)) = rest else { return Ok(None) };
            // A download that lacks its end is broken off, so that nobody takes it for whole.
            return match child.wait().await {
                Ok(exit) if exit.success() => Ok(None),
                Ok(_) => Err(std::io::Error::other("the file could not be read to its end")),
                Err(error) => Err(error),
            };
        }
        let Some((child, mut output)) = rest else { return Ok(None) };
        let mut next = vec![0; PIECE_BYTES];
        let bytes = output.read(&mut next).await?;
        next.truncate(bytes);
        Ok(Some((piece, (next, Some((child, output))))))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_DISPOSITION, disposition(name)),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

/// The file's name in the form of RFC 6266 that takes any character.
fn disposition(path: &str) -> String {
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or("file");
    let mut text = "attachment; filename*=UTF-8''".to_owned();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}
