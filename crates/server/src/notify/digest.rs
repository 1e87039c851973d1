//! How all stacks are, once a day.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use operations::Fault;
use operations::config::ReceiverSettings;
use operations::status::Severity;
use serde_json::Value;

use super::change::said;
use super::message::Message;
use super::state::{Level, State, of_stack};
use super::told::Told;
use crate::log;
use crate::shared::Shared;

/// What is kept of it: the day of the last one.
const SUBJECT: &str = "digest";

/// Sends it where its time has come today and it was not sent yet.
///
/// # Errors
///
/// Why it could not be sent.
pub async fn tell_if_due(
    shared: &Arc<Shared>,
    receiver: &ReceiverSettings,
    told: &Told<'_>,
    now: Timestamp,
) -> Result<(), Fault> {
    let Some(at) = receiver.digest else { return Ok(()) };
    let local = now.to_zoned(shared.settings.notifications.time_zone.clone());
    let last: Option<Date> = told.text(SUBJECT)?.and_then(|day| day.parse().ok());
    // One that is new begins with the next day's, or with today's where that is still to come.
    let last = match last {
        Some(last) => last,
        None => {
            let begin = if local.time() >= at { local.date() } else { local.date().yesterday().unwrap_or(Date::MIN) };
            told.keep_text(SUBJECT, &begin.to_string(), now)?;
            begin
        }
    };
    // After a day without a server, or where a clock went back, only today's is sent.
    if local.time() < at || last >= local.date() {
        return Ok(());
    }
    // Nothing can be told before the copies were looked at.
    let Some(status) = shared.known.told("status")? else { return Ok(()) };
    super::send(receiver, &message(shared, &status.summary, now)).await?;
    log::line("info", "told", &[("receiver", &receiver.name), ("subject", SUBJECT)]);
    told.keep_text(SUBJECT, &local.date().to_string(), now)
}

fn message(shared: &Shared, summary: &Value, at: Timestamp) -> Message {
    let stacks: Vec<(&String, &Value, State)> = summary["stacks"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, health)| (name, health, of_stack(health).from(Severity::Warning)))
        .collect();
    let level = stacks.iter().map(|(.., state)| state.level()).max().unwrap_or_default();
    let bad = stacks.iter().filter(|(.., state)| state.level() > Level::Well).count();
    let lines: Vec<String> = stacks.iter().map(|(name, health, state)| of(name, health, state)).collect();
    let word = match bad {
        0 => "all is well".to_owned(),
        bad => format!("{bad} of {} stacks need a look", stacks.len()),
    };
    Message {
        title: format!("Backups on {}: {word}", shared.host),
        text: lines.join("\n"),
        level,
        subject: SUBJECT.to_owned(),
        state: "digest",
        host: shared.host.clone(),
        at,
    }
}

fn of(name: &str, health: &Value, state: &State) -> String {
    let backup = health["last_backup"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
    let backup = match backup {
        Some(at) => format!("backed up {}", at.strftime("%Y-%m-%d %H:%M UTC")),
        None => "never backed up".to_owned(),
    };
    let mut lines = vec![format!("{name}: {}; {backup}", state.level().name())];
    lines.extend(state.troubles.iter().map(said));
    lines.join("\n")
}
