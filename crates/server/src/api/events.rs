//! What happens, as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use serde_json::json;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::extract::Path;
use super::runs;
use crate::access::Caller;
use crate::problem::Problem;
use crate::runner::News;
use crate::said;
use crate::shared::Shared;

/// Proxies cut lines on which nothing comes.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

/// What a run says, from the beginning on or after `Last-Event-ID`, until it ends: `said` events with a JSON line of the command
/// each, and one `end` event with the run.
#[utoipa::path(get, path = "/v1/admin/runs/{id}/events", tag = "runs",
    params(("id" = String, Path, description = "The run's id"),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was seen")),
    responses(
    (status = 200, description = "Server-sent events", content_type = "text/event-stream", body = String),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn of_run(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    runs::find(&shared, &caller, &id)?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let start = match last.filter(|last| !last.is_empty()) {
        Some(last) => last.parse().map_err(|_| Problem::bad("this is no id of an event of a run"))?,
        None => 0,
    };
    Ok(sse(follow(shared, id, start)))
}

/// That runs were asked for, have begun or ended (`run` events, with the run), and that more is known (`known` events).
#[utoipa::path(get, path = "/v1/admin/events", tag = "runs", responses(
    (status = 200, description = "Server-sent events", content_type = "text/event-stream", body = String),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn all(State(shared): State<Arc<Shared>>, caller: Caller) -> impl IntoResponse {
    let news = shared.runner.news();
    sse(stream::unfold((shared, caller, news), |(shared, caller, mut news)| async move {
        loop {
            let event = match news.recv().await {
                Ok(News::Run(id)) => match runs::find(&shared, &caller, &id) {
                    Ok(run) => Event::default().event("run").data(json!(run).to_string()),
                    Err(_) => continue,
                },
                Ok(News::Known) | Err(RecvError::Lagged(_)) => Event::default().event("known").data("{}"),
                Ok(News::Said(_)) => continue,
                Err(RecvError::Closed) => return None,
            };
            return Some((Ok(event), (shared, caller, news)));
        }
    }))
}

fn sse(events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static) -> impl IntoResponse {
    Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE_EVERY))
}

/// Somebody who follows a run.
struct Follower {
    shared: Arc<Shared>,
    id: String,
    /// The bytes that were told.
    told: u64,
    waiting: VecDeque<Event>,
    news: Receiver<News>,
    is_over: bool,
}

fn follow(shared: Arc<Shared>, id: String, told: u64) -> impl Stream<Item = Result<Event, Infallible>> + Send {
    // Before the first look, so that nothing comes in between.
    let news = shared.runner.news();
    let follower = Follower { shared, id, told, waiting: VecDeque::new(), news, is_over: false };
    stream::unfold(follower, |mut follower| async move { Some((Ok(follower.next().await?), follower)) })
}

impl Follower {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if self.is_over {
                return None;
            }
            // What was said before it ended is there once it has.
            let run = self.shared.runner.journal.run(&self.id).ok().flatten();
            let ended = run.filter(|run| run.status.is_end());
            let lines = said::lines(&self.shared.runner.said_in(&self.id), self.told).unwrap_or_default();
            if let Some(last) = lines.last() {
                self.told = last.end;
                let event = |line: said::Line| {
                    Event::default().event("said").id(line.end.to_string()).data(line.value.to_string())
                };
                self.waiting.extend(lines.into_iter().map(event));
                continue;
            }
            if let Some(run) = ended {
                self.is_over = true;
                return Some(Event::default().event("end").data(json!(run).to_string()));
            }
            if !self.hear().await {
                return None;
            }
        }
    }

    /// Waits for news of this run. Whether there can be any.
    async fn hear(&mut self) -> bool {
        loop {
            match self.news.recv().await {
                Ok(News::Said(id) | News::Run(id)) if id == self.id => return true,
                Err(RecvError::Lagged(_)) => return true,
                Err(RecvError::Closed) => return false,
                Ok(_) => {}
            }
        }
    }
}
