//! Pings at the start and end of jobs, as Healthchecks takes them: who gets no ping in time knows that nothing runs, also where the
//! server is gone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use operations::Fault;
use operations::config::{PingSettings, ReceiverSettings, Way};
use tokio::sync::broadcast::error::RecvError;

use super::http::{self, Body, Request};
use crate::journal::{Run, Status};
use crate::log;
use crate::runner::News;
use crate::shared::Shared;

/// A ping that fails is tried again so often: a later one says more than one that comes late.
const TRIES: u32 = 4;
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// What a ping says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The job has begun.
    Start,
    /// It ended well.
    Success,
    /// It did not.
    Fail,
}

/// Sends pings until the server ends.
pub async fn keep_pinging(shared: Arc<Shared>, receiver: ReceiverSettings) {
    let Way::Healthchecks(settings) = &receiver.way else { return };
    let mut news = shared.runner.news();
    let mut begun = BTreeSet::new();
    loop {
        let id = match news.recv().await {
            Ok(News::Run(id)) => id,
            Ok(_) | Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        let Ok(Some(run)) = shared.runner.journal.run(&id) else { continue };
        if !is_about(settings, &run) {
            continue;
        }
        let Some(phase) = phase(run.status) else { continue };
        // That it begins may be told more than once, and is said once.
        let is_said = match phase {
            Phase::Start => !begun.insert(id),
            Phase::Success | Phase::Fail => {
                begun.remove(&id);
                false
            }
        };
        if !is_said {
            ping(&receiver, settings, phase, &run).await;
        }
    }
}

fn is_about(settings: &PingSettings, run: &Run) -> bool {
    run.job.as_ref().is_some_and(|job| settings.jobs.is_empty() || settings.jobs.contains(job))
}

/// What there is to say of a run; nothing of one that somebody stopped.
fn phase(status: Status) -> Option<Phase> {
    match status {
        Status::Running => Some(Phase::Start),
        Status::Ok => Some(Phase::Success),
        Status::Partial | Status::Failed | Status::CutOff => Some(Phase::Fail),
        Status::Queued | Status::Cancelled => None,
    }
}

async fn ping(receiver: &ReceiverSettings, settings: &PingSettings, phase: Phase, run: &Run) {
    let text = run.message.clone().unwrap_or_default();
    for tries in 1..=TRIES {
        let Err(fault) = send(settings, phase, &text).await else { return };
        let what = format!("cannot ping {}: {}", receiver.name, fault.text());
        log::line("error", &what, &[("receiver", &receiver.name), ("run", &run.id)]);
        if tries < TRIES {
            tokio::time::sleep(TRY_AGAIN_AFTER * tries).await;
        }
    }
}

/// Sends one ping, with `text` for whoever looks at it.
///
/// # Errors
///
/// Why it could not be sent, without the address.
pub async fn send(settings: &PingSettings, phase: Phase, text: &str) -> Result<(), Fault> {
    let url = http::secret(&settings.url).await?;
    let url = url.expose().trim_end_matches('/');
    let url = match phase {
        Phase::Start => format!("{url}/start"),
        Phase::Success => url.to_owned(),
        Phase::Fail => format!("{url}/fail"),
    };
    http::send(&Request { url, header: None, body: Body::Text(text.to_owned()) }, settings.allow_local).await
}
