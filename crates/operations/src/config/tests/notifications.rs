//! Whom `lifeboat serve` tells what is wrong.

use expect_test::expect;

use super::*;

fn document(notifications: &str) -> String {
    format!(
        "version: 1\npassword_file: /pw\nstate_dir: /state\ncopies: {{ disk: {{ url: /b }} }}\nstacks: {{ s: {{ sources: {{ f: \
         {{ files: {{ paths: [/x] }} }} }} }} }}\nnotifications:\n{notifications}"
    )
}

fn told(receiver: &str) -> String {
    let document = document(&format!("  to: {{ a: {{ {receiver} }} }}\n"));
    match parse(&document, Path::new("/etc/lifeboat/lifeboat.yaml"), &environment()) {
        Ok(settings) => panic!("{settings:?}"),
        Err(fault) => format!("{} | {}", fault.text(), fault.hint.unwrap_or_default()),
    }
}

#[test]
fn receivers_are_read_and_shown_without_their_secrets() {
    let text = r#"  nothing_ran_for: 12h
  timezone: Africa/Nairobi
  to:
    ops:
      digest: "07:05"
      severity: notice
      email: { server: "smtp.example.org:465", from: "B <b@example.org>", to: [a@example.org], user: u, password_file: pw }
    chat: { slack: { url: "https://hooks.example.org/SECRET" } }
    phone: { severity: critical, telegram: { token: SECRET, chat: 17 } }
    own: { webhook: { url_file: /u, token_file: /t, body: '{"x": "{title}"}', allow_local: true } }
    watch: { healthchecks: { url_file: hc, jobs: backup s } }
"#;
    let settings = read(&document(text));
    let shown = settings.to_yaml().unwrap();
    assert!(!shown.contains("SECRET") && !format!("{settings:?}").contains("SECRET"));
    expect![[r#"
        notifications:
          nothing_ran_for: 12h
          timezone: Africa/Nairobi
          to:
            ops:
              severity: notice
              digest: 07:05
              email:
                server: smtp.example.org:465
                encryption: tls
                from: B <b@example.org>
                to:
                - a@example.org
                user: u
                password_file: /etc/lifeboat/pw
            chat:
              severity: warning
              slack:
                url: "***"
                allow_local: false
            phone:
              severity: critical
              telegram:
                token: "***"
                chat: "17"
                allow_local: false
            own:
              severity: warning
              webhook:
                url_file: /u
                token_file: /t
                body: "{\"x\": \"{title}\"}"
                allow_local: true
            watch:
              severity: warning
              healthchecks:
                url_file: /etc/lifeboat/hc
                jobs:
                - backup s
                allow_local: false
    "#]]
    .assert_eq(&shown[shown.find("notifications:").unwrap()..]);
    let files: Vec<_> = settings.secret_files().into_iter().collect();
    assert_eq!(files, ["/etc/lifeboat/hc", "/etc/lifeboat/pw", "/pw", "/t", "/u"].map(Path::new));
}

#[test]
fn without_a_word_nobody_is_told() {
    let settings = read(&document("  nothing_ran_for: 2d\n"));
    assert!(settings.notifications.to.is_empty());
    assert!(!settings.to_yaml().unwrap().contains("notifications"));
}

#[test]
fn what_cannot_be_is_told_with_what_to_write() {
    let mail = "server: 'h:25', from: a@b, to: c@d";
    let all = [
        told(""),
        told("slack: { url: 'https://a/b' }, discord: { url: 'https://a/b' }"),
        told("slack: {}"),
        told("slack: { url: hooks.example.org/SECRET }"),
        told("slack: { url: 'https://a/b', token: SECRET }"),
        told("gotify: { url: 'https://a/b' }"),
        told("telegram: { token: SECRET }"),
        told("ntfy: { url: 'https://a/b', chat: 5 }"),
        told("ntfy: { url: 'https://a/b', body: x }"),
        told("healthchecks: {}"),
        told("digest: '07:00', healthchecks: { url: 'https://a/b' }"),
        told("digest: 7am, slack: { url: 'https://a/b' }"),
        told("severity: bad, slack: { url: 'https://a/b' }"),
        told("email: { server: h, from: a@b, to: c@d }"),
        told("email: { server: 'h:25', from: nobody, to: c@d }"),
        told("email: { server: 'h:25', from: a@b }"),
        told(&format!("email: {{ {mail}, user: u }}")),
        told(&format!("email: {{ {mail}, encryption: ssl }}")),
    ];
    assert!(!all.join("").contains("SECRET"));
    expect![[r#"
        /etc/lifeboat/lifeboat.yaml:7:9: notifications.to.a: a receiver is told in exactly one way | write one of email, webhook, ntfy, slack, discord, teams, telegram, gotify and healthchecks below it
        /etc/lifeboat/lifeboat.yaml:7:9: notifications.to.a: a receiver is told in exactly one way | write one of email, webhook, ntfy, slack, discord, teams, telegram, gotify and healthchecks below it
        /etc/lifeboat/lifeboat.yaml:7:9: notifications.to.a: `slack` needs `url_file` | add `url_file` below it
        /etc/lifeboat/lifeboat.yaml:7:28: notifications.to.a.slack.url: this is no address that a request can go to | write it like https://ntfy.sh/topic; a login goes into `token`
        /etc/lifeboat/lifeboat.yaml:7:9: notifications.to.a: `slack` has no use for `token` | remove it
        /etc/lifeboat/lifeboat.yaml:7:9: notifications.to.a: `gotify` needs `token_file` | add `token_file` below it
        /etc/lifeboat/lifeboat.yaml:7:9: notifications.to.a: `telegram` needs `chat` | add `chat` below it
        /etc/lifeboat/lifeboat.yaml:7:48: notifications.to.a.ntfy.chat: `ntfy` has no use for `chat` | remove it
        /etc/lifeboat/lifeboat.yaml:7:48: notifications.to.a.ntfy.body: `ntfy` has no use for `body` | remove it
        /etc/lifeboat/lifeboat.yaml:7:9: notifications.to.a: `healthchecks` needs `url_file` | add a file with the check's address
        /etc/lifeboat/lifeboat.yaml:7:22: notifications.to.a.digest: pings carry no digest | remove `digest`
        /etc/lifeboat/lifeboat.yaml:7:22: notifications.to.a.digest: expected a time of the day | write it in quotes, like "07:00"
        /etc/lifeboat/lifeboat.yaml:7:24: notifications.to.a.severity: expected notice, warning or critical | write one of the three
        /etc/lifeboat/lifeboat.yaml:7:31: notifications.to.a.email.server: expected a server and its port | write it like smtp.example.org:587
        /etc/lifeboat/lifeboat.yaml:7:45: notifications.to.a.email.from: this is no address of e-mail | write it like ops@example.org or Backup <backup@example.org>
        /etc/lifeboat/lifeboat.yaml:7:9: notifications.to.a: `to` is missing | add who gets it, such as `to: ops@example.org`
        /etc/lifeboat/lifeboat.yaml:7:9: notifications.to.a: `user` and a password go together | add the other, such as `password_file`, or remove both
        /etc/lifeboat/lifeboat.yaml:7:71: notifications.to.a.email.encryption: expected tls, starttls or none | write one of the three"#]].assert_eq(&all.join("\n"));
}
