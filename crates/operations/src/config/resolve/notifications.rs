//! Whom the server tells, and how.

use jiff::civil::Time;

use super::copy::TypedSecret;
use super::{Mistake, Resolver, Result, Text, required};
use crate::config::after_restore::is_http_url;
use crate::config::notifications::{
    EmailDocument, EmailSettings, Encryption, NOTHING_RAN_FOR, NotificationsDocument, NotificationsSettings,
    PingDocument, PingSettings, Preset, ReceiverDocument, ReceiverSettings, Way, WebhookDocument, WebhookSettings,
};
use crate::config::secret::{SecretSource, Typed};
use crate::config::text::Place;
use crate::status::Severity;

/// The port at which servers of e-mail speak TLS from the start.
const SMTPS_PORT: u16 = 465;

impl Resolver<'_> {
    pub(super) fn notifications(&self, told: Option<&NotificationsDocument>) -> Result<NotificationsSettings> {
        let none = NotificationsDocument::default();
        let told = told.unwrap_or(&none);
        let to = told.to.iter().flat_map(|to| &to.0);
        Ok(NotificationsSettings {
            nothing_ran_for: told.nothing_ran_for.as_ref().map_or(Ok(NOTHING_RAN_FOR), |span| self.duration(span))?,
            time_zone: match &told.timezone {
                Some(zone) => self.time_zone(zone)?,
                None => self.environment.time_zone().clone(),
            },
            to: to.map(|(name, receiver)| self.receiver(name, receiver)).collect::<Result<_>>()?,
        })
    }

    fn receiver(&self, name: &Text, receiver: &ReceiverDocument) -> Result<ReceiverSettings> {
        Ok(ReceiverSettings {
            name: self.name(name)?,
            severity: receiver.severity.as_ref().map_or(Ok(Severity::Warning), |text| self.severity(text))?,
            digest: receiver.digest.as_ref().map(|text| self.time_of_day(text)).transpose()?,
            way: self.way(name, receiver)?,
        })
    }

    /// Exactly one.
    fn way(&self, name: &Text, receiver: &ReceiverDocument) -> Result<Way> {
        let webhooks = [
            (Preset::Webhook, &receiver.webhook),
            (Preset::Ntfy, &receiver.ntfy),
            (Preset::Slack, &receiver.slack),
            (Preset::Discord, &receiver.discord),
            (Preset::Teams, &receiver.teams),
            (Preset::Telegram, &receiver.telegram),
            (Preset::Gotify, &receiver.gotify),
        ];
        let mut ways = Vec::new();
        if let Some(email) = &receiver.email {
            ways.push(Way::Email(self.email(name, email)?));
        }
        for (preset, webhook) in webhooks {
            if let Some(webhook) = webhook {
                ways.push(Way::Webhook(self.webhook(name, preset, webhook)?));
            }
        }
        if let Some(pings) = &receiver.healthchecks {
            if let Some(digest) = &receiver.digest {
                return Err(Mistake::at(digest.place, "pings carry no digest").with_hint("remove `digest`"));
            }
            ways.push(Way::Healthchecks(self.pings(name, pings)?));
        }
        match (ways.pop(), ways.is_empty()) {
            (Some(way), true) => Ok(way),
            _ => Err(Mistake::at(name.place, "a receiver is told in exactly one way").with_hint(
                "write one of email, webhook, ntfy, slack, discord, teams, telegram, gotify and healthchecks below it",
            )),
        }
    }

    fn email(&self, name: &Text, email: &EmailDocument) -> Result<EmailSettings> {
        let server = required(&email.server, name, "server", "the server of e-mail, such as `smtp.example.org:587`")?;
        let (host, port) = self.host_and_port(server)?;
        let to = required(&email.to, name, "to", "who gets it, such as `to: ops@example.org`")?;
        let to = to.texts().iter().map(|text| self.address_of_mail(text)).collect::<Result<Vec<_>>>()?;
        if to.is_empty() {
            return Err(Mistake::at(name.place, "`to` names nobody").with_hint("write who gets it"));
        }
        let from = required(&email.from, name, "from", "the sender, such as `backup@example.org`")?;
        let encryption = match &email.encryption {
            Some(text) => self.encryption(text)?,
            None if port == SMTPS_PORT => Encryption::Tls,
            None => Encryption::StartTls,
        };
        let password = self.secret("password", (&email.password, &email.password_file, &email.password_command))?;
        let user = email.user.as_ref().map(|user| self.filled(user)).transpose()?;
        let login = match (user, password) {
            (Some(user), Some(password)) => Some((user, password)),
            (None, None) => None,
            _ => {
                return Err(Mistake::at(name.place, "`user` and a password go together")
                    .with_hint("add the other, such as `password_file`, or remove both"));
            }
        };
        Ok(EmailSettings { host, port, encryption, from: self.address_of_mail(from)?, to, login })
    }

    fn webhook(&self, name: &Text, preset: Preset, webhook: &WebhookDocument) -> Result<WebhookSettings> {
        let missing = |key: &str| {
            Mistake::at(name.place, format!("`{}` needs `{key}`", preset.name()))
                .with_hint(format!("add `{key}` below it"))
        };
        let no_use = |place: Place, key: &str| {
            Mistake::at(place, format!("`{}` has no use for `{key}`", preset.name())).with_hint("remove it")
        };
        let url = self.url_of_receiver((&webhook.url, &webhook.url_file, &webhook.url_command))?;
        let token = self.secret("token", (&webhook.token, &webhook.token_file, &webhook.token_command))?;
        match preset {
            Preset::Telegram => {}
            _ if url.is_none() => return Err(missing("url_file")),
            _ => {}
        }
        let (takes_token, needs_token) = match preset {
            Preset::Telegram | Preset::Gotify => (true, true),
            Preset::Webhook | Preset::Ntfy => (true, false),
            Preset::Slack | Preset::Discord | Preset::Teams => (false, false),
        };
        match &token {
            None if needs_token => return Err(missing("token_file")),
            Some(_) if !takes_token => return Err(no_use(name.place, "token")),
            _ => {}
        }
        match &webhook.chat {
            None if preset == Preset::Telegram => return Err(missing("chat")),
            Some(chat) if preset != Preset::Telegram => return Err(no_use(chat.place, "chat")),
            _ => {}
        }
        if let Some(body) = webhook.body.as_ref().filter(|_| preset != Preset::Webhook) {
            return Err(no_use(body.place, "body"));
        }
        Ok(WebhookSettings {
            preset,
            url,
            token,
            chat: webhook.chat.as_ref().map(|chat| self.filled(chat)).transpose()?,
            body: webhook.body.as_ref().map(|body| self.typed(body)).transpose()?,
            allow_local: self.boolean(&webhook.allow_local)?,
        })
    }

    fn pings(&self, name: &Text, pings: &PingDocument) -> Result<PingSettings> {
        let url = self.url_of_receiver((&pings.url, &pings.url_file, &pings.url_command))?;
        let url = url.ok_or_else(|| {
            Mistake::at(name.place, "`healthchecks` needs `url_file`").with_hint("add a file with the check's address")
        })?;
        Ok(PingSettings { url, jobs: self.texts(&pings.jobs)?, allow_local: self.boolean(&pings.allow_local)? })
    }

    /// One that stands in the configuration is judged here, any other when it is read. No message repeats it.
    fn url_of_receiver(&self, typed: TypedSecret<'_>) -> Result<Option<SecretSource>> {
        let url = self.secret("url", typed)?;
        match (&url, typed.0) {
            (Some(SecretSource::Given(url)), Some(text)) if !is_http_url(url.expose()) => {
                Err(Mistake::at(text.place, "this is no address that a request can go to")
                    .with_hint("write it like https://ntfy.sh/topic; a login goes into `token`"))
            }
            _ => Ok(url),
        }
    }

    fn typed(&self, text: &Text) -> Result<Typed> {
        Ok(Typed::new(text.raw.to_string(), self.filled(text)?))
    }

    fn severity(&self, text: &Text) -> Result<Severity> {
        match &*self.text(text)? {
            "notice" => Ok(Severity::Notice),
            "warning" => Ok(Severity::Warning),
            "critical" => Ok(Severity::Critical),
            _ => {
                Err(Mistake::at(text.place, "expected notice, warning or critical").with_hint("write one of the three"))
            }
        }
    }

    fn encryption(&self, text: &Text) -> Result<Encryption> {
        match &*self.text(text)? {
            "tls" => Ok(Encryption::Tls),
            "starttls" => Ok(Encryption::StartTls),
            "none" => Ok(Encryption::None),
            _ => Err(Mistake::at(text.place, "expected tls, starttls or none").with_hint("write one of the three")),
        }
    }

    fn time_of_day(&self, text: &Text) -> Result<Time> {
        let typed = self.text(text)?;
        let wrong =
            || Mistake::at(text.place, "expected a time of the day").with_hint("write it in quotes, like \"07:00\"");
        let (hour, minute) = typed.split_once(':').filter(|(_, minute)| minute.len() == 2).ok_or_else(wrong)?;
        match (hour.parse(), minute.parse()) {
            (Ok(hour), Ok(minute)) => Time::new(hour, minute, 0, 0).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }

    fn host_and_port(&self, text: &Text) -> Result<(String, u16)> {
        let typed = self.text(text)?;
        let parts = typed.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        match parts {
            Some((host, port)) if !host.is_empty() && port > 0 && !host.contains(['/', '@', ' ']) => {
                Ok((host.trim_matches(['[', ']']).to_owned(), port))
            }
            _ => Err(Mistake::at(text.place, "expected a server and its port")
                .with_hint("write it like smtp.example.org:587")),
        }
    }

    fn address_of_mail(&self, text: &Text) -> Result<String> {
        let address = self.filled(text)?;
        match address.contains('@') && !address.contains(char::is_control) {
            true => Ok(address),
            false => Err(Mistake::at(text.place, "this is no address of e-mail")
                .with_hint("write it like ops@example.org or Backup <backup@example.org>")),
        }
    }
}
