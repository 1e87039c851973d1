//! Certificates that openssl made, changed while the server speaks TLS with them.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::Command;

use axum::routing::get;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use super::*;

struct Made {
    folder: tempfile::TempDir,
}

impl Made {
    fn new() -> Self {
        let made = Self { folder: tempfile::tempdir().unwrap() };
        made.renew("a");
        made
    }

    /// A pair that vouches for itself, under `name`.
    fn renew(&self, name: &str) {
        let words = format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -keyout {name}.key -out {name}.pem -subj \
             /CN=localhost -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE"
        );
        let mut openssl = Command::new("openssl");
        let output = openssl.args(words.split(' ')).current_dir(self.folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn files(&self) -> TlsFiles {
        TlsFiles { certificate: self.path("a.pem"), key: self.path("a.key") }
    }

    fn put(&self, from: &str, to: &str) {
        std::fs::copy(self.path(from), self.path(to)).unwrap();
    }

    /// What a browser that trusts the certificate `trusted` gets.
    async fn ask(&self, address: SocketAddr, trusted: &str) -> std::io::Result<String> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path(trusted)).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TcpStream::connect(address).await?;
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}

async fn serve(certificate: Arc<Certificate>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let door = Door::open(listener, certificate).unwrap();
    let address = door.local_addr().unwrap();
    let says_who = get(async |ConnectInfo(address): ConnectInfo<SocketAddr>| address.ip().to_string());
    let service = with_tls(Router::new().route("/", says_who)).into_make_service_with_connect_info::<Peer>();
    tokio::spawn(async move { axum::serve(door, service).await });
    address
}

#[tokio::test]
async fn a_certificate_that_changes_is_used_at_once_and_a_wrong_one_is_not() {
    let made = Made::new();
    let certificate = Arc::new(Certificate::read(&made.files()).unwrap());
    let address = serve(Arc::clone(&certificate)).await;
    let first = made.ask(address, "a.pem").await.unwrap();
    assert!(first.ends_with("\r\n\r\n127.0.0.1"), "{first}");
    assert!(first.contains("strict-transport-security: max-age=31536000"), "{first}");
    assert_eq!(certificate.look(), Look::Same);
    made.put("a.pem", "old.pem");
    made.renew("b");
    made.put("b.pem", "a.pem");
    let Look::Wrong(why) = certificate.look() else { panic!("the key is still the old one's") };
    assert!(why.contains("a.key is not the key of the certificate in"), "{why}");
    assert_eq!(certificate.look(), Look::Same, "what is wrong is told once");
    made.ask(address, "old.pem").await.unwrap();
    made.put("b.key", "a.key");
    assert_eq!(certificate.look(), Look::Renewed);
    made.ask(address, "b.pem").await.unwrap();
    assert!(made.ask(address, "old.pem").await.is_err());
    std::fs::remove_file(made.path("a.key")).unwrap();
    assert!(matches!(certificate.look(), Look::Wrong(_)));
    made.ask(address, "b.pem").await.unwrap();
}

#[tokio::test]
async fn who_says_nothing_and_who_speaks_no_tls_hold_up_nobody() {
    let made = Made::new();
    let address = serve(Arc::new(Certificate::read(&made.files()).unwrap())).await;
    let _silent: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    made.ask(address, "a.pem").await.unwrap();
    let mut answer = Vec::new();
    let mut plain = plain.into_std().unwrap();
    plain.set_nonblocking(false).unwrap();
    // An alert of TLS, or nothing: never a page.
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[test]
fn what_is_wrong_at_the_start_names_the_file_and_the_reason() {
    let made = Made::new();
    made.renew("b");
    std::fs::write(made.path("empty"), "").unwrap();
    std::fs::write(made.path("odd.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let told = |certificate: &str, key: &str| {
        let files = TlsFiles { certificate: made.path(certificate), key: made.path(key) };
        let fault = Certificate::read(&files).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Config);
        assert!(fault.hint.is_some(), "{fault:?}");
        fault.text().replace(&format!("{}/", made.folder.path().display()), "")
    };
    assert_eq!(told("none", "a.key"), "cannot read the certificate none: No such file or directory (os error 2)");
    assert_eq!(told("a.pem", "none"), "cannot read the certificate's key none: No such file or directory (os error 2)");
    assert_eq!(told("empty", "a.key"), "empty holds no certificate in PEM");
    assert_eq!(told("a.pem", "empty"), "empty holds no key in PEM");
    assert_eq!(told("a.pem", "a.pem"), "a.pem holds no key in PEM");
    assert_eq!(told("a.pem", "b.key"), "b.key is not the key of the certificate in a.pem");
    assert!(told("odd.pem", "a.key").starts_with("odd.pem and its key cannot be used: "));
}
