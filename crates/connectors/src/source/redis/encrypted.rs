//! A line that is encrypted: who answers must show a certificate of the host, unless the address says that it need not.

use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme, StreamOwned};

use crate::source::server_tls::{ServerTls, TlsMode};

/// An encrypted line.
pub type Encrypted = StreamOwned<ClientConnection, TcpStream>;

/// Agrees with the server at the other end, which is `host`, on how to encrypt. Fails with why that is not possible, and what to
/// do.
pub fn begin(mut stream: TcpStream, host: &str, tls: &ServerTls) -> Result<Encrypted, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("{host} is no name of a host"))?;
    let mut connection = ClientConnection::new(Arc::new(config(tls)?), name).map_err(|error| error.to_string())?;
    connection.complete_io(&mut stream).map_err(|error| {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
        match cause {
            Some(rustls::Error::InvalidCertificate(_)) => {
                format!("{error}; name the certificate of who signed it in the url: ?ssl-ca=FILE")
            }
            _ => format!("{error}; is the line encrypted at this port?"),
        }
    })?;
    Ok(StreamOwned::new(connection, stream))
}

fn config(tls: &ServerTls) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    let is_verified = tls.mode.is_none_or(|mode| mode >= TlsMode::VerifyCa);
    let builder = match is_verified {
        true => builder.with_root_certificates(trusted(tls.ca_file.as_deref())?),
        false => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))),
    };
    match (&tls.cert_file, &tls.key_file) {
        (Some(cert), Some(key)) => {
            let own = builder.with_client_auth_cert(certificates(cert)?, private_key(key)?);
            own.map_err(|error| format!("{}: {error}", cert.display()))
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

/// Those who may sign a certificate: of the file or, where there is none, whom the system trusts.
fn trusted(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    let Some(path) = ca_file else {
        let (taken, _) = store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return if taken > 0 {
            Ok(store)
        } else {
            Err("the system trusts no certificates: name ssl-ca=FILE".to_owned())
        };
    };
    for certificate in certificates(path)? {
        store.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(store)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |error: rustls::pki_types::pem::Error| format!("{}: {error}", path.display());
    let found: Vec<_> = CertificateDer::pem_file_iter(path).map_err(wrong)?.collect::<Result<_, _>>().map_err(wrong)?;
    if found.is_empty() { Err(format!("{}: there is no certificate in it", path.display())) } else { Ok(found) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| format!("{}: no key can be read: {error}", path.display()))
}

/// Takes any certificate, for addresses that say `ssl-mode=REQUIRED`. Who shows it must have its key all the same.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
