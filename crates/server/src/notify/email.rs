//! Messages by e-mail.

use std::time::{Duration, SystemTime};

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{SmtpTransport, Transport as _};
use operations::config::{EmailSettings, Encryption, Secret};
use operations::{Fault, FaultKind};

use super::message::Message;

/// How long the server may take for each step.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends a message.
///
/// # Errors
///
/// Why it could not be sent, without the password.
pub async fn send(settings: &EmailSettings, message: &Message) -> Result<(), Fault> {
    let (settings, message) = (settings.clone(), message.clone());
    let sent = tokio::task::spawn_blocking(move || send_now(&settings, &message)).await;
    sent.unwrap_or_else(|_| Err(Fault::new(FaultKind::Failed, "the e-mail was not sent")))
}

fn send_now(settings: &EmailSettings, message: &Message) -> Result<(), Fault> {
    let mail = mail(settings, message)?;
    let login = settings.login.as_ref();
    let login = login.map(|(user, password)| Ok::<_, Fault>((user, password.read()?))).transpose()?;
    let mut transport = SmtpTransport::builder_dangerous(&settings.host)
        .port(settings.port)
        .timeout(Some(PATIENCE))
        .tls(tls(settings)?);
    if let Some((user, password)) = &login {
        transport = transport.credentials(Credentials::new((*user).clone(), password.expose().to_owned()));
    }
    let sent = transport.build().send(&mail);
    sent.map(drop).map_err(|error| failed(&error, login.as_ref().map(|(_, password)| password)))
}

fn mail(settings: &EmailSettings, message: &Message) -> Result<lettre::Message, Fault> {
    let from = mailbox(&settings.from)?;
    let random = getrandom::u64().map_err(|error| Fault::local("the system gives no random numbers", error.into()))?;
    let id = format!("<lifeboat.{random:016x}@{}>", from.email.domain());
    let mut mail = lettre::Message::builder()
        .from(from)
        .message_id(Some(id))
        .subject(&message.title)
        .date(SystemTime::from(message.at))
        .header(ContentType::TEXT_PLAIN);
    for to in &settings.to {
        mail = mail.to(mailbox(to)?);
    }
    mail.body(format!("{}\n", message.text))
        .map_err(|error| Fault::new(FaultKind::Failed, "the e-mail cannot be written").with_source(error))
}

fn mailbox(address: &str) -> Result<Mailbox, Fault> {
    address.parse().map_err(|_| {
        Fault::new(FaultKind::Config, format!("`{address}` is no address of e-mail"))
            .with_hint("write it like ops@example.org or Backup <backup@example.org> below `notifications`")
    })
}

/// With `starttls`, nothing goes over a line that the server does not encrypt.
fn tls(settings: &EmailSettings) -> Result<Tls, Fault> {
    let parameters = || {
        TlsParameters::new(settings.host.clone())
            .map_err(|error| Fault::new(FaultKind::Failed, "TLS cannot be used").with_source(error))
    };
    Ok(match settings.encryption {
        Encryption::Tls => Tls::Wrapper(parameters()?),
        Encryption::StartTls => Tls::Required(parameters()?),
        Encryption::None => Tls::None,
    })
}

/// What the server says may repeat what it was told.
fn failed(error: &lettre::transport::smtp::Error, password: Option<&Secret>) -> Fault {
    let text = error.to_string();
    let text = password.map_or_else(|| text.clone(), |password| text.replace(password.expose(), "***"));
    Fault::new(FaultKind::Failed, format!("the server of e-mail: {text}"))
}

#[cfg(test)]
mod tests;
