//! Messages as requests, in the form that each service takes.

use operations::config::{Preset, Secret, SecretSource, WebhookSettings};
use operations::{Fault, FaultKind};
use serde_json::json;

use super::http::{self, Request};
use super::message::Message;
use super::state::Level;

const TELEGRAM: &str = "https://api.telegram.org";
/// What Discord and Telegram take at most, with room for a title.
const TEXT_CHARS_MAX: usize = 1_800;

/// Sends a message.
///
/// # Errors
///
/// Why it could not be sent, without any secret.
pub async fn send(settings: &WebhookSettings, message: &Message) -> Result<(), Fault> {
    // Read each time: whoever changes a file need not start the server anew.
    let url = maybe_secret(settings.url.as_ref()).await?;
    let token = maybe_secret(settings.token.as_ref()).await?;
    let request = request(settings, url.as_ref(), token.as_ref(), message)?;
    http::send(&request, settings.allow_local).await
}

async fn maybe_secret(source: Option<&SecretSource>) -> Result<Option<Secret>, Fault> {
    match source {
        Some(source) => http::secret(source).await.map(Some),
        None => Ok(None),
    }
}

/// The request for a message.
fn request(
    settings: &WebhookSettings,
    url: Option<&Secret>,
    token: Option<&Secret>,
    message: &Message,
) -> Result<Request, Fault> {
    let given = url.map_or("", Secret::expose).trim_end_matches('/');
    let secret = token.map_or("", Secret::expose);
    let Message { title, text, .. } = message;
    let short = shortened(text);
    let bearer = token.map(|token| ("authorization", format!("Bearer {}", token.expose())));
    let (url, header, body) = match settings.preset {
        Preset::Webhook => (url.map_or("", Secret::expose).to_owned(), bearer, own(settings, message)),
        Preset::Ntfy => {
            // By JSON, as titles in headers can only be ASCII. That goes to the server, not to the topic.
            let (server, topic) =
                given.rsplit_once('/').filter(|(server, _)| !server.ends_with('/')).ok_or_else(no_topic)?;
            let body = json!({
                "topic": topic, "title": title, "message": text, "priority": priority(message.level, [3, 3, 4, 5]),
            });
            (server.to_owned(), bearer, body.to_string())
        }
        Preset::Slack => {
            (given.to_owned(), None, json!({ "text": format!("*{}*\n{}", plain(title), plain(text)) }).to_string())
        }
        Preset::Discord => {
            let nobody: [&str; 0] = [];
            let body = json!({ "content": format!("**{title}**\n{short}"), "allowed_mentions": { "parse": nobody } });
            (given.to_owned(), None, body.to_string())
        }
        Preset::Teams => (url.map_or("", Secret::expose).to_owned(), None, card(title, text)),
        Preset::Telegram => {
            let server = if given.is_empty() { TELEGRAM } else { given };
            let body = json!({ "chat_id": settings.chat, "text": format!("{title}\n{short}") });
            (format!("{server}/bot{secret}/sendMessage"), None, body.to_string())
        }
        Preset::Gotify => {
            let body = json!({ "title": title, "message": text, "priority": priority(message.level, [2, 4, 6, 8]) });
            (format!("{given}/message"), Some(("x-gotify-key", secret.to_owned())), body.to_string())
        }
    };
    Ok(Request { url, header, body: body.into() })
}

/// The body that the configuration has, or all there is.
fn own(settings: &WebhookSettings, message: &Message) -> String {
    let values = [
        ("title", &*message.title),
        ("text", &message.text),
        ("severity", message.level.name()),
        ("subject", &message.subject),
        ("state", message.state),
        ("host", &message.host),
    ];
    let Some(body) = &settings.body else {
        let mut all = serde_json::Map::new();
        all.extend(values.map(|(key, value)| (key.to_owned(), value.into())));
        all.insert("time".to_owned(), message.at.to_string().into());
        return serde_json::Value::Object(all).to_string();
    };
    // In one go, so that nothing in a value is taken for another's name.
    let mut rest = body.expose();
    let mut filled = String::new();
    while let Some(at) = rest.find('{') {
        filled.push_str(&rest[..at]);
        rest = &rest[at..];
        let named = |(key, _): &&(&str, &str)| rest[1..].strip_prefix(key).is_some_and(|rest| rest.starts_with('}'));
        match values.iter().find(named) {
            Some((key, value)) => {
                filled.push_str(&escaped(value));
                rest = &rest[key.len() + 2..];
            }
            None => {
                filled.push('{');
                rest = &rest[1..];
            }
        }
    }
    filled + rest
}

/// As it stands within quotes of JSON.
fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Of Slack's markup, so that nothing in a message is a link or calls somebody.
fn plain(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// An adaptive card, as the workflows of Teams take it.
fn card(title: &str, text: &str) -> String {
    let block = |text: &str, weight: &str| json!({ "type": "TextBlock", "text": text, "weight": weight, "wrap": true });
    // In a block, a line break is two.
    let body = [block(title, "Bolder"), block(&text.replace('\n', "\n\n"), "Default")];
    let card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4", "body": body,
    });
    json!({
        "type": "message",
        "attachments": [{ "contentType": "application/vnd.microsoft.card.adaptive", "content": card }],
    })
    .to_string()
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

fn priority(level: Level, [well, notice, warning, critical]: [u8; 4]) -> u8 {
    match level {
        Level::Well => well,
        Level::Notice => notice,
        Level::Warning => warning,
        Level::Critical => critical,
    }
}

fn no_topic() -> Fault {
    Fault::new(FaultKind::Config, "the address of ntfy names no topic")
        .with_hint("write it like https://ntfy.sh/TOPIC below `notifications`")
}

#[cfg(test)]
mod tests;
