//! `lifeboat serve` tells: over TLS, to Prometheus, by e-mail, in its log.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use servers::MailServer;

use crate::support::{Running, Site, run, wait_until, write_secret};

struct Serving {
    site: Site,
    port: u16,
    log: PathBuf,
    _process: Running,
}

impl Serving {
    /// A server with these sections of the configuration besides, which trusts `authority`.
    fn start(site: Site, port: u16, sections: &str, authority: &Path) -> Self {
        add_to_config(&site, sections);
        let log = site.path("log");
        let mut command = site.lifeboat_command(["serve"]);
        let file = std::fs::File::create(&log).unwrap();
        command.env("SSL_CERT_FILE", authority).stdout(Stdio::null()).stderr(file);
        let process = Running(command.spawn().unwrap());
        Self { site, port, log, _process: process }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// What a client that trusts `authority` gets, headers and all. `None` where there is no answer.
    fn ask(&self, authority: &Path, path: &str) -> Option<String> {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-i", "--max-time", "10", "--cacert"]).arg(authority);
        let ran = run(curl.arg(format!("https://localhost:{}{path}", self.port)));
        ran.status.success().then(|| ran.text())
    }
}

fn add_to_config(site: &Site, sections: &str) {
    let config = std::fs::read_to_string(site.config()).unwrap();
    std::fs::write(site.config(), format!("{config}\n{sections}")).unwrap();
}

/// Puts the pair into files of the test's own, as it will change them.
fn put(site: &Site, certificate: &Path, key: &Path) {
    std::fs::copy(certificate, site.path("tls.pem")).unwrap();
    std::fs::copy(key, site.path("tls.key")).unwrap();
}

fn tls(site: &Site, port: u16) -> String {
    let [certificate, key] = ["tls.pem", "tls.key"].map(|name| site.path(name).display().to_string());
    format!(
        "server: {{ listen: '127.0.0.1:{port}', metrics: open, certificate: {certificate}, certificate_key: {key} }}\n"
    )
}

#[test]
fn a_server_speaks_tls_with_a_certificate_that_may_be_renewed_and_tells_prometheus() {
    let Some(made) = servers::certificates() else { return };
    let (site, port) = (Site::initialised(), servers::free_port());
    put(&site, &made.certificate(), &made.key());
    let sections = tls(&site, port);
    let serving = Serving::start(site, port, &sections, &made.authority());
    let ca = made.authority();
    wait_until("it knows how the copies are", || {
        serving.ask(&ca, "/metrics").is_some_and(|text| text.contains("lifeboat_copy_reachable{"))
    });
    let metrics = serving.ask(&ca, "/metrics").unwrap();
    assert!(metrics.contains("strict-transport-security: max-age=31536000"), "{metrics}");
    assert!(metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
    assert!(
        metrics.contains("lifeboat_stack_problems{stack=\"app\"") && metrics.contains("lifeboat_audit_ok 1"),
        "{metrics}"
    );
    std::fs::write(serving.site.path("tls.pem"), "nothing").unwrap();
    wait_until("it tells that the new file is wrong", || {
        serving.said().contains("tls.pem holds no certificate in PEM")
    });
    assert!(serving.ask(&ca, "/.live").is_some(), "the certificate that was good stays");
    let words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -keyout new.key -out new.pem -subj \
                 /CN=localhost -addext subjectAltName=DNS:localhost";
    run(Command::new("openssl").args(words.split(' ')).current_dir(serving.site.path("."))).ok();
    let [new, key] = ["new.pem", "new.key"].map(|name| serving.site.path(name));
    put(&serving.site, &new, &key);
    wait_until("it uses the new one", || serving.ask(&new, "/.live").is_some());
    assert!(serving.ask(&ca, "/.live").is_none());
}

#[test]
fn a_certificate_that_is_wrong_at_the_start_is_told_with_its_file() {
    let Some(made) = servers::certificates() else { return };
    let site = Site::initialised();
    put(&site, &made.certificate(), &made.authority());
    add_to_config(&site, &tls(&site, servers::free_port()));
    let ran = site.lifeboat(["serve"]);
    assert_ne!(ran.status.code(), Some(0));
    assert!(ran.errors().contains("tls.key holds no key in PEM"), "{}", ran.errors());
}

#[test]
fn a_stack_that_was_never_backed_up_is_told_by_e_mail_over_an_encrypted_line_and_no_secret_is_in_the_log() {
    let (Some(mail), Some(made)) = (servers::mail(), servers::certificates()) else { return };
    let (site, port) = (Site::initialised(), servers::free_port());
    let password = site.path("smtp-password");
    write_secret(&password, MailServer::PASSWORD);
    let wrong = site.path("wrong-password");
    write_secret(&wrong, "wrong SECRET");
    let receiver = |name: &str, password: &Path| {
        format!(
            "    {name}: {{ email: {{ server: 'localhost:{}', from: backup@example.org, to: {name}@example.org, user: {}, \
             password_file: {} }} }}\n",
            mail.port,
            MailServer::USER,
            password.display()
        )
    };
    let sections = format!(
        "server: {{ listen: '127.0.0.1:{port}' }}\nnotifications:\n  to:\n{}{}",
        receiver("ops", &password),
        receiver("nobody", &wrong)
    );
    let serving = Serving::start(site, port, &sections, &made.authority());
    wait_until("the mail has come", || !mail.mails().is_empty());
    let mails = mail.mails();
    assert_eq!((&mails[0]["encrypted"], &mails[0]["to"]), (&true.into(), &serde_json::json!(["ops@example.org"])));
    assert!(mails[0]["mail"].as_str().unwrap().contains("Subject: stack "), "{mails:?}");
    wait_until("it tells what it could not send", || serving.said().contains("cannot tell nobody by email: "));
    let said = serving.said();
    assert!(said.contains("535") && !said.contains("SECRET"), "{said}");
}
