//! Speaks TLS with the certificate that the configuration names, and with the newer one once its files have changed. Files that
//! are wrong then are told in the log, and the certificate that was good stays: a renewal that failed must not shut the server.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderValue, header};
use axum::middleware::{map_request, map_response};
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use operations::config::TlsFiles;
use operations::{Fault, FaultKind};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::log;

/// Between two looks at the files.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How long a visitor is given to agree on a key.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// Visitors that agree on a key at once. More wait at the door.
const HANDSHAKES_MAX: usize = 256;
/// Visitors that may come in and are not yet let in.
const READY_MAX: usize = 64;
/// A year, as browsers are told to come by TLS alone.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// A certificate and its key, as they are in their files.
pub struct Certificate {
    files: TlsFiles,
    used: RwLock<Arc<CertifiedKey>>,
    /// SHA-256 of what the files held when they were looked at last, good or not: each change is told once.
    seen: RwLock<[u8; 32]>,
}

/// What a look at the files found.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Same,
    Renewed,
    Wrong(String),
}

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// Where one cannot be read or holds something else, or the key is another certificate's; it says which.
    pub fn read(files: &TlsFiles) -> Result<Self, Fault> {
        let (hash, key) = read(files);
        Ok(Self { files: files.clone(), used: RwLock::new(Arc::new(key?)), seen: RwLock::new(hash) })
    }

    /// Looks whether the files have changed, again and again.
    pub async fn keep_looking(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
            let certificate = Arc::clone(&self);
            let look = tokio::task::spawn_blocking(move || certificate.look()).await;
            let file = self.files.certificate.display();
            match look {
                Ok(Look::Renewed) => log::line("info", &format!("uses the new certificate in {file}"), &[]),
                Ok(Look::Wrong(why)) => log::line("error", &format!("goes on with the certificate it had: {why}"), &[]),
                Ok(Look::Same) | Err(_) => {}
            }
        }
    }

    fn look(&self) -> Look {
        let (hash, key) = read(&self.files);
        let seen = std::mem::replace(&mut *self.seen.write().unwrap_or_else(PoisonError::into_inner), hash);
        match key {
            _ if seen == hash => Look::Same,
            Ok(key) => {
                *self.used.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
                Look::Renewed
            }
            Err(fault) => Look::Wrong(fault.text()),
        }
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("files", &self.files).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.used.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// The hash of both files, of which one that cannot be read is empty; and what they come to.
fn read(files: &TlsFiles) -> ([u8; 32], Result<CertifiedKey, Fault>) {
    let [certificate, key] = [&files.certificate, &files.key].map(std::fs::read);
    let mut hash = Sha256::new();
    for bytes in [&certificate, &key] {
        let bytes = bytes.as_deref().unwrap_or_default();
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    }
    (hash.finalize().into(), understood(files, certificate, key))
}

fn understood(
    files: &TlsFiles,
    certificate: std::io::Result<Vec<u8>>,
    key: std::io::Result<Vec<u8>>,
) -> Result<CertifiedKey, Fault> {
    let unread = |what: &str, path: &Path, error| {
        let fault = Fault::local(format!("cannot read the {what} {}", path.display()), error);
        Fault { kind: FaultKind::Config, ..fault }
            .with_hint("see `server: certificate` in lifeboat.yaml, and who may read it")
    };
    let wrong = |path: &Path, what: &str, hint: &str| {
        Fault::new(FaultKind::Config, format!("{} {what}", path.display())).with_hint(hint)
    };
    let certificate = certificate.map_err(|error| unread("certificate", &files.certificate, error))?;
    let key = key.map_err(|error| unread("certificate's key", &files.key, error))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&certificate).collect();
    let pem = "it begins with -----BEGIN CERTIFICATE-----; the server's own comes first, then those that vouch for it";
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| wrong(&files.certificate, "holds no certificate in PEM", pem))?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| {
        wrong(&files.key, "holds no key in PEM", "it begins with -----BEGIN PRIVATE KEY----- and has no password")
    })?;
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => wrong(
            &files.key,
            &format!("is not the key of the certificate in {}", files.certificate.display()),
            "name the two files that were made together",
        ),
        error => wrong(&files.certificate, &format!("and its key cannot be used: {error}"), "have it made anew"),
    })
}

/// Lets in who comes by TLS.
pub struct Door {
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: std::io::Result<SocketAddr>,
}

impl Door {
    /// Opens it with `certificate`. Who is slow to agree on a key holds up nobody else.
    ///
    /// # Errors
    ///
    /// Where the program was built without what TLS needs.
    pub fn open(listener: TcpListener, certificate: Arc<Certificate>) -> Result<Self, Fault> {
        let unusable = |error| Fault::new(FaultKind::Failed, "TLS cannot be used").with_source(error);
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth()
            .with_cert_resolver(certificate);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let (sender, ready) = mpsc::channel(READY_MAX);
        let address = listener.local_addr();
        tokio::spawn(welcome(listener, TlsAcceptor::from(Arc::new(config)), sender));
        Ok(Self { ready, address })
    }
}

async fn welcome(
    mut listener: TcpListener,
    acceptor: TlsAcceptor,
    ready: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    let turns = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    // It is never closed.
    while let Ok(turn) = Arc::clone(&turns).acquire_owned().await {
        let (stream, address) = Listener::accept(&mut listener).await;
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            let agreed = tokio::time::timeout(HANDSHAKE_PATIENCE, acceptor.accept(stream)).await;
            drop(turn);
            // Scanners, and browsers that do not trust the certificate, are not worth a line each.
            if let Ok(Ok(stream)) = agreed {
                // Nobody takes it once the server ends.
                let _ = ready.send((stream, address)).await;
            }
        });
    }
}

impl Listener for Door {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        match self.ready.recv().await {
            Some(visitor) => visitor,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.address.as_ref().copied().map_err(|error| error.kind().into())
    }
}

/// Where somebody who came by TLS is.
#[derive(Clone, Copy, Debug)]
pub struct Peer(SocketAddr);

impl axum::extract::connect_info::Connected<IncomingStream<'_, Door>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// What is different by TLS: browsers are told to come back no other way, and addresses are told as without it.
pub fn with_tls(router: Router) -> Router {
    router.layer(map_response(with_hsts)).layer(map_request(with_address))
}

async fn with_hsts(mut response: Response) -> Response {
    response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, HSTS);
    response
}

async fn with_address(mut request: Request) -> Request {
    if let Some(ConnectInfo(Peer(address))) = request.extensions().get().copied() {
        request.extensions_mut().insert(ConnectInfo(address));
    }
    request
}

#[cfg(test)]
mod tests;
