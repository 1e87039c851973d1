//! Whom `lifeboat serve` tells what is wrong, and how.

use std::path::Path;
use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::document::boolean;
use super::secret::{SecretSource, Typed};
use super::show;
use super::text::{Named, OneOrMany, Text};
use crate::status::Severity;

/// How long no run may end before that is told: a day, and two hours for a daily backup that takes longer than the last.
pub const NOTHING_RAN_FOR: Duration = Duration::from_secs(26 * 60 * 60);

/// Whom `lifeboat serve` tells what is wrong, and what is well again.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "notifications", extend("required" = ["to"]))]
pub struct NotificationsDocument {
    /// How long no run may end before that is told, such as `26h`, where anything is scheduled. Default: 26h.
    pub nothing_ran_for: Option<Text>,
    /// The time zone of digests. Default: the machine's.
    pub timezone: Option<Text>,
    /// Who is told, by name.
    pub to: Option<Named<ReceiverDocument>>,
}

/// Somebody who is told.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "receiver", extend("required" = []))]
pub struct ReceiverDocument {
    /// What is told: `critical`, `warning` or `notice` and what is worse. Default: warning.
    #[schemars(schema_with = "severity")]
    pub severity: Option<Text>,
    /// When a summary of all stacks is sent every day, such as `07:00`. Default: never.
    pub digest: Option<Text>,
    /// By e-mail, over a server that takes it by SMTP.
    pub email: Option<EmailDocument>,
    /// A POST to any address.
    pub webhook: Option<WebhookDocument>,
    /// A topic of ntfy: its `url`, and a `token` where it needs one.
    pub ntfy: Option<WebhookDocument>,
    /// An incoming webhook of Slack or Mattermost: its `url`.
    pub slack: Option<WebhookDocument>,
    /// A webhook of Discord: its `url`.
    pub discord: Option<WebhookDocument>,
    /// A workflow's webhook of Microsoft Teams: its `url`.
    pub teams: Option<WebhookDocument>,
    /// A bot of Telegram: its `token`, and the `chat`.
    pub telegram: Option<WebhookDocument>,
    /// Gotify: the server's `url`, and an application's `token`.
    pub gotify: Option<WebhookDocument>,
    /// Pings at the start and end of jobs, as Healthchecks takes them.
    pub healthchecks: Option<PingDocument>,
}

/// A server of e-mail, and from whom to whom.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "email", extend("required" = ["server", "from", "to"]))]
pub struct EmailDocument {
    /// The server and its port, such as `smtp.example.org:587`.
    pub server: Option<Text>,
    /// How the line is encrypted: `tls` from the start, `starttls`, or `none`. Default: `tls` at port 465, else `starttls`.
    #[schemars(schema_with = "encryption")]
    pub encryption: Option<Text>,
    /// The sender, such as `Backup <backup@example.org>`.
    pub from: Option<Text>,
    /// The receivers.
    pub to: Option<OneOrMany>,
    /// Who logs in. Default: nobody.
    pub user: Option<Text>,
    /// The password of `user`. Better: `password_file`.
    pub password: Option<Text>,
    /// A file that holds the password of `user` and that only its owner may read.
    pub password_file: Option<Text>,
    /// A command that prints the password of `user`.
    pub password_command: Option<OneOrMany>,
}

/// A request that is sent.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "notification-webhook", extend("required" = []))]
pub struct WebhookDocument {
    /// Where it goes. Better: `url_file`, where whoever knows the address may send.
    pub url: Option<Text>,
    /// A file that holds the address and that only its owner may read.
    pub url_file: Option<Text>,
    /// A command that prints the address.
    pub url_command: Option<OneOrMany>,
    /// What lets Lifeboat in. Better: `token_file`.
    pub token: Option<Text>,
    /// A file that holds the token and that only its owner may read.
    pub token_file: Option<Text>,
    /// A command that prints the token.
    pub token_command: Option<OneOrMany>,
    /// With `telegram`: the chat's id.
    pub chat: Option<Text>,
    /// With `webhook`: the text to send, in which `{title}`, `{text}`, `{severity}`, `{subject}`, `{state}` and `{host}` are
    /// replaced, as within quotes of JSON. Default: a JSON object with all of them.
    pub body: Option<Text>,
    /// Whether it may go to this machine or to a link-local address, such as the one that tells a cloud's credentials.
    /// Default: false.
    #[schemars(schema_with = "boolean")]
    pub allow_local: Option<Text>,
}

/// Pings at the start and end of jobs.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "pings", extend("required" = []))]
pub struct PingDocument {
    /// The check's address; `/start` and `/fail` are put behind it. Better: `url_file`, as whoever knows it may ping.
    pub url: Option<Text>,
    /// A file that holds the address and that only its owner may read.
    pub url_file: Option<Text>,
    /// A command that prints the address.
    pub url_command: Option<OneOrMany>,
    /// The jobs that it is about, such as `backup app`. Default: all.
    pub jobs: Option<OneOrMany>,
    /// Whether it may go to this machine or to a link-local address. Default: false.
    #[schemars(schema_with = "boolean")]
    pub allow_local: Option<Text>,
}

fn severity(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": ["notice", "warning", "critical"] })
}

fn encryption(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": ["tls", "starttls", "none"] })
}

/// Whom the server tells what is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct NotificationsSettings {
    /// How long no run may end before that is told.
    pub nothing_ran_for: Duration,
    /// The time zone of digests.
    pub time_zone: TimeZone,
    /// Who is told.
    pub to: Vec<ReceiverSettings>,
}

/// Somebody who is told.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceiverSettings {
    /// Its name.
    pub name: String,
    /// What is told: this and what is worse.
    pub severity: Severity,
    /// When a summary is sent every day.
    pub digest: Option<Time>,
    /// How.
    pub way: Way,
}

/// How somebody is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Way {
    /// By e-mail, over a server that takes it by SMTP.
    Email(EmailSettings),
    /// By a request.
    Webhook(WebhookSettings),
    /// By pings.
    Healthchecks(PingSettings),
}

/// A server of e-mail, and from whom to whom.
#[derive(Clone, Debug, PartialEq)]
pub struct EmailSettings {
    /// The server's name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the line is encrypted.
    pub encryption: Encryption,
    /// The sender.
    pub from: String,
    /// The receivers. At least one.
    pub to: Vec<String>,
    /// Who logs in, and the password.
    pub login: Option<(String, SecretSource)>,
}

/// How a line to a server of e-mail is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    /// From the start.
    Tls,
    /// Once the server was asked to; without it nothing is sent.
    StartTls,
    /// Not at all.
    None,
}

/// A request that is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookSettings {
    /// What takes it.
    pub preset: Preset,
    /// Where it goes. `None` where the preset has a place of its own.
    pub url: Option<SecretSource>,
    /// What lets Lifeboat in.
    pub token: Option<SecretSource>,
    /// The chat's id.
    pub chat: Option<String>,
    /// The text to send.
    pub body: Option<Typed>,
    /// Whether it may go to this machine or to a link-local address.
    pub allow_local: bool,
}

/// What takes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Anything.
    Webhook,
    /// A topic of ntfy.
    Ntfy,
    /// Slack, or Mattermost.
    Slack,
    /// Discord.
    Discord,
    /// Microsoft Teams.
    Teams,
    /// Telegram.
    Telegram,
    /// Gotify.
    Gotify,
}

impl Preset {
    /// Its key in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Ntfy => "ntfy",
            Self::Slack => "slack",
            Self::Discord => "discord",
            Self::Teams => "teams",
            Self::Telegram => "telegram",
            Self::Gotify => "gotify",
        }
    }
}

/// Pings at the start and end of jobs.
#[derive(Clone, Debug, PartialEq)]
pub struct PingSettings {
    /// The check's address.
    pub url: SecretSource,
    /// The jobs that it is about; all where none is named.
    pub jobs: Vec<String>,
    /// Whether it may go to this machine or to a link-local address.
    pub allow_local: bool,
}

impl NotificationsSettings {
    /// Nobody is told.
    pub fn none(time_zone: TimeZone) -> Self {
        Self { nothing_ran_for: NOTHING_RAN_FOR, time_zone, to: Vec::new() }
    }

    /// The files with secrets.
    pub(super) fn secret_files(&self) -> impl Iterator<Item = &Path> {
        self.to
            .iter()
            .flat_map(|receiver| match &receiver.way {
                Way::Email(email) => [email.login.as_ref().and_then(|(_, password)| password.file()), None],
                Way::Webhook(webhook) => {
                    [&webhook.url, &webhook.token].map(|secret| secret.as_ref().and_then(SecretSource::file))
                }
                Way::Healthchecks(pings) => [pings.url.file(), None],
            })
            .flatten()
    }
}

impl ReceiverSettings {
    /// How it is told, by the key in the configuration.
    pub fn kind(&self) -> &'static str {
        match &self.way {
            Way::Email(_) => "email",
            Way::Webhook(webhook) => webhook.preset.name(),
            Way::Healthchecks(_) => "healthchecks",
        }
    }
}

impl Serialize for NotificationsSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct To<'a>(&'a [ReceiverSettings]);

        impl Serialize for To<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.0.iter().map(|receiver| (&receiver.name, receiver)))
            }
        }

        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("nothing_ran_for", &super::duration::show(self.nothing_ran_for))?;
        map.serialize_entry("timezone", &self.time_zone.iana_name())?;
        map.serialize_entry("to", &To(&self.to))?;
        map.end()
    }
}

impl Serialize for ReceiverSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("severity", &self.severity)?;
        show::maybe(&mut map, "digest", self.digest.map(|at| at.strftime("%H:%M").to_string()).as_ref())?;
        match &self.way {
            Way::Email(email) => map.serialize_entry(self.kind(), email)?,
            Way::Webhook(webhook) => map.serialize_entry(self.kind(), webhook)?,
            Way::Healthchecks(pings) => map.serialize_entry(self.kind(), pings)?,
        }
        map.end()
    }
}

impl Serialize for EmailSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("server", &format!("{}:{}", self.host, self.port))?;
        map.serialize_entry("encryption", &self.encryption)?;
        map.serialize_entry("from", &self.from)?;
        map.serialize_entry("to", &self.to)?;
        if let Some((user, password)) = &self.login {
            map.serialize_entry("user", user)?;
            show::secret(&mut map, "password", Some(password))?;
        }
        map.end()
    }
}

impl Serialize for WebhookSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        show::secret(&mut map, "url", self.url.as_ref())?;
        show::secret(&mut map, "token", self.token.as_ref())?;
        show::maybe(&mut map, "chat", self.chat.as_ref())?;
        show::maybe(&mut map, "body", self.body.as_ref())?;
        map.serialize_entry("allow_local", &self.allow_local)?;
        map.end()
    }
}

impl Serialize for PingSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        show::secret(&mut map, "url", Some(&self.url))?;
        show::maybe(&mut map, "jobs", Some(&self.jobs).filter(|jobs| !jobs.is_empty()))?;
        map.serialize_entry("allow_local", &self.allow_local)?;
        map.end()
    }
}
