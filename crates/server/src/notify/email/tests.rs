//! E-mail, given to a real server of e-mail: `aiosmtpd`.

use jiff::Timestamp;
use operations::config::SecretSource;
use servers::MailServer;

use super::*;
use crate::notify::state::Level;

fn settings(port: u16, password: &str) -> EmailSettings {
    EmailSettings {
        host: "127.0.0.1".to_owned(),
        port,
        encryption: Encryption::None,
        from: "Bäckup <backup@example.org>".to_owned(),
        to: vec!["ops@example.org".to_owned(), "Ada <ada@example.org>".to_owned()],
        login: Some((MailServer::USER.to_owned(), SecretSource::Given(Secret::new(password.to_owned())))),
    }
}

fn message() -> Message {
    Message {
        title: "stack a on h: NOT SAFE".to_owned(),
        text: "- critical: äöü".to_owned(),
        level: Level::Critical,
        subject: "stack a".to_owned(),
        state: "problem",
        host: "h".to_owned(),
        at: Timestamp::UNIX_EPOCH,
    }
}

#[tokio::test]
async fn a_message_arrives_with_all_it_says_and_a_wrong_password_is_told_without_it() {
    let Some(server) = servers::mail() else { return };
    send(&settings(server.port, MailServer::PASSWORD), &message()).await.unwrap();
    let mails = server.mails();
    let mail = mails[0]["mail"].as_str().unwrap();
    assert_eq!((mails.len(), &mails[0]["from"]), (1, &"backup@example.org".into()));
    assert_eq!(mails[0]["to"], serde_json::json!(["ops@example.org", "ada@example.org"]));
    assert!(mail.contains("Subject: stack a on h: NOT SAFE\r\n"), "{mail}");
    let id = mail.lines().find_map(|line| line.strip_prefix("Message-ID: <")).unwrap();
    assert!(id.ends_with("@example.org>"), "{id}");
    assert!(mail.contains("Date: Thu, 01 Jan 1970 00:00:00 +0000\r\n"), "{mail}");
    assert!(
        mail.contains("LSBjcml0aWNhbDogw6TDtsO8DQo=") && mail.contains("Content-Type: text/plain; charset=utf-8"),
        "{mail}"
    );
    let fault = send(&settings(server.port, "wrong SECRET"), &message()).await.unwrap_err();
    assert!(fault.text().contains("535") && fault.text().contains("***"), "{fault:?}");
    assert!(!format!("{fault:?}").contains("SECRET"), "{fault:?}");
}

#[tokio::test]
async fn nothing_is_sent_to_a_server_whose_certificate_nobody_vouches_for_or_that_does_not_encrypt() {
    let Some(server) = servers::mail() else { return };
    for encryption in [Encryption::StartTls, Encryption::Tls] {
        let settings = EmailSettings { encryption, ..settings(server.port, MailServer::PASSWORD) };
        let fault = send(&settings, &message()).await.unwrap_err();
        assert!(!format!("{fault:?}").contains("SECRET"), "{fault:?}");
    }
    assert!(server.mails().is_empty());
}

#[tokio::test]
async fn what_is_wrong_is_told() {
    let settings = settings(1, "x");
    let gone = send(&settings, &message()).await.unwrap_err();
    assert!(gone.text().contains("Connection refused"), "{gone:?}");
    let nobody = EmailSettings { from: "nobody".to_owned(), ..settings };
    assert_eq!(send(&nobody, &message()).await.unwrap_err().text(), "`nobody` is no address of e-mail");
}
