//! Tells people what is wrong, and what is well again: each receiver once, when it changes.
//!
//! What a receiver was told last about each stack, each job and the server is kept in the database, and compared with how things
//! are. What could not be sent is so still to be told: it is tried again, later and later, also by the next server.

mod change;
mod digest;
mod email;
mod http;
mod message;
mod pings;
mod state;
mod told;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use operations::config::{ReceiverSettings, Way};
use operations::{Fault, FaultKind};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::log;
use crate::runner::News;
use crate::shared::Shared;
pub use message::Message;
use state::State;
use told::Told;

/// How things are is compared so often where nothing happens: that nothing happens is found out so.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// After the first failure it is tried again so soon; after each further one, in twice the time.
const TRY_AGAIN_AFTER_MIN: Duration = Duration::from_secs(30);
const TRY_AGAIN_AFTER_MAX: Duration = Duration::from_secs(60 * 60);

/// Tells all receivers, each in its own time, until the server ends.
pub fn start(shared: &Arc<Shared>) {
    let started = shared.clock.now();
    for receiver in &shared.settings.notifications.to {
        let (shared, receiver) = (Arc::clone(shared), receiver.clone());
        match &receiver.way {
            Way::Healthchecks(_) => drop(tokio::spawn(pings::keep_pinging(shared, receiver))),
            _ => drop(tokio::spawn(keep_telling(shared, receiver, started))),
        }
    }
}

/// Sends one message.
///
/// # Errors
///
/// Why it could not be sent, without any secret.
pub async fn send(receiver: &ReceiverSettings, message: &Message) -> Result<(), Fault> {
    match &receiver.way {
        Way::Email(email) => email::send(email, message).await,
        Way::Webhook(webhook) => webhook::send(webhook, message).await,
        Way::Healthchecks(pings) => pings::send(pings, pings::Phase::Success, &message.title).await,
    }
}

async fn keep_telling(shared: Arc<Shared>, receiver: ReceiverSettings, started: Timestamp) {
    let mut news = shared.runner.news();
    let mut failures = 0;
    loop {
        let patience = match look(&shared, &receiver, started).await {
            Ok(()) => {
                failures = 0;
                LOOK_AGAIN_AFTER
            }
            Err(fault) => {
                let patience = after_failure(failures);
                failures += 1;
                tell_failure(&receiver, &fault, patience);
                tokio::time::sleep(patience).await;
                continue;
            }
        };
        // Whether something happened or the time is over, it is looked again.
        let _ = tokio::time::timeout(patience, happened(&mut news)).await;
    }
}

/// One look: tells what has changed.
async fn look(shared: &Arc<Shared>, receiver: &ReceiverSettings, started: Timestamp) -> Result<(), Fault> {
    let told = Told::new(shared, &receiver.name);
    let now = shared.clock.now();
    for (subject, state) in states(shared, started, now).await? {
        let state = state.from(receiver.severity);
        let before = told.state(&subject)?;
        if before == state {
            continue;
        }
        if let Some(message) = change::message(&shared.host, &subject, &before, &state, now) {
            send(receiver, &message).await?;
            log::line("info", "told", &[("receiver", &receiver.name), ("subject", &subject), ("state", message.state)]);
        }
        told.keep(&subject, &state, now)?;
    }
    digest::tell_if_due(shared, receiver, &told, now).await
}

/// Where no request waits for it: what is known of many stacks is long.
async fn states(shared: &Arc<Shared>, started: Timestamp, now: Timestamp) -> Result<Vec<(String, State)>, Fault> {
    let shared = Arc::clone(shared);
    let all = tokio::task::spawn_blocking(move || state::all(&shared, started, now)).await;
    all.unwrap_or_else(|_| Err(Fault::new(FaultKind::Failed, "how things are could not be worked out")))
}

async fn happened(news: &mut Receiver<News>) {
    loop {
        match news.recv().await {
            Ok(News::Known | News::Run(_)) | Err(RecvError::Lagged(_)) => return,
            Ok(News::Said(_)) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

fn after_failure(failures: u32) -> Duration {
    TRY_AGAIN_AFTER_MIN.saturating_mul(2_u32.saturating_pow(failures)).min(TRY_AGAIN_AFTER_MAX)
}

fn tell_failure(receiver: &ReceiverSettings, fault: &Fault, patience: Duration) {
    let what = format!("cannot tell {} by {}: {}", receiver.name, receiver.kind(), fault.text());
    let again = format!("{} s", patience.as_secs());
    log::line("error", &what, &[("receiver", &receiver.name), ("tries_again_after", &again)]);
}

#[cfg(test)]
mod tests;
