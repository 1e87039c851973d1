//! What a file of a TLS folder holds: certificates and private keys. Of a key only its public half is kept.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use repository::Id;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::{PemObject as _, SectionKind};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use sha2::{Digest as _, Sha256};
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::{Decode as _, oid::AssociatedOid as _};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, SubjectAltName};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

/// How a section of a PEM file begins.
const BEGIN: &[u8] = b"-----BEGIN ";
/// Of a key that only a passphrase opens, in either of its two forms (RFC 1421, RFC 5958).
const ENCRYPTED: [&[u8]; 2] = [b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED"];
/// How the names of files end that hold a certificate, as PEM or as it is.
const CERTIFICATE_NAMES: [&str; 4] = ["pem", "crt", "cer", "der"];

/// What one file holds.
#[derive(Debug, Default)]
pub struct Pem {
    /// Its certificates, in order.
    pub certificates: Vec<Certificate>,
    /// Its private keys, in order.
    pub keys: Vec<Key>,
    /// What of it cannot be read, in words for the user.
    pub problems: Vec<String>,
}

/// A certificate, as far as users ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// SHA-256 over its DER, in hex.
    pub fingerprint: String,
    /// Whose it is.
    pub subject: String,
    /// The names and addresses it is for, sorted; `None` where they cannot be read.
    pub names: Option<Vec<String>>,
    /// Who signed it.
    pub issuer: String,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when it is valid.
    pub not_after: Timestamp,
    /// The bits of its public key.
    pub public_key: Vec<u8>,
    /// It may sign others. One that a server signed for itself often may, too.
    pub is_authority: bool,
}

/// A private key, without what is private of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// The bits of its public half.
    Public(Vec<u8>),
    /// Only a passphrase opens it.
    Encrypted,
    /// Of a kind whose public half is not worked out here, such as one on an unusual curve.
    OtherKind,
}

impl Pem {
    /// Reads what the file `path` holds. What is neither certificate nor key is passed over.
    pub fn parse(path: &Path, bytes: &[u8]) -> Self {
        let mut pem = Self::default();
        let is_pem = bytes.windows(BEGIN.len()).any(|window| window == BEGIN);
        if is_pem {
            pem.sections(bytes);
        } else if is_named_as_certificate(path) {
            match Certificate::parse(bytes) {
                Ok(certificate) => pem.certificates.push(certificate),
                Err(_) => pem.problems.push("holds no certificate, though its name says so".to_owned()),
            }
        }
        pem
    }

    fn sections(&mut self, bytes: &[u8]) {
        // Its lines of headers are no base64, so a reader of sections stumbles over it.
        if ENCRYPTED.iter().any(|mark| bytes.windows(mark.len()).any(|window| window == *mark)) {
            self.keys.push(Key::Encrypted);
        }
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes) {
            let Ok((kind, der)) = section else {
                if !self.keys.contains(&Key::Encrypted) {
                    self.problems.push("is a PEM file that cannot be read: it is cut short or damaged".to_owned());
                }
                return;
            };
            let key = match kind {
                SectionKind::Certificate => {
                    match Certificate::parse(&der) {
                        Ok(certificate) => self.certificates.push(certificate),
                        Err(error) => self.problems.push(format!("holds a certificate that cannot be read: {error}")),
                    }
                    continue;
                }
                SectionKind::PrivateKey => PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der)),
                SectionKind::RsaPrivateKey => PrivateKeyDer::Pkcs1(PrivatePkcs1KeyDer::from(der)),
                SectionKind::EcPrivateKey => PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(der)),
                _ => continue,
            };
            self.keys.push(Key::of(&key));
        }
    }
}

fn is_named_as_certificate(path: &Path) -> bool {
    path.extension().is_some_and(|end| CERTIFICATE_NAMES.iter().any(|name| end.eq_ignore_ascii_case(name)))
}

impl Key {
    fn of(key: &PrivateKeyDer<'_>) -> Self {
        let public = any_supported_type(key).ok().and_then(|key| {
            let info = key.public_key()?;
            let info = SubjectPublicKeyInfoOwned::from_der(&info).ok()?;
            Some(info.subject_public_key.raw_bytes().to_vec())
        });
        public.map_or(Self::OtherKind, Self::Public)
    }
}

impl Certificate {
    /// Reads DER, also of certificates that are not quite as RFC 5280 wants them: private ones seldom are.
    fn parse(der: &[u8]) -> Result<Self, x509_cert::der::Error> {
        let certificate = CertificateInner::<Raw>::from_der(der)?;
        let content = certificate.tbs_certificate();
        let time = |time: x509_cert::time::Time| {
            let since = SignedDuration::try_from(time.to_unix_duration()).unwrap_or(SignedDuration::MAX);
            Timestamp::from_duration(since).unwrap_or(Timestamp::MAX)
        };
        let extensions = content.extensions().map(Vec::as_slice).unwrap_or_default();
        let alternative = extensions.iter().find(|extension| extension.extn_id == SubjectAltName::OID);
        let names = alternative.map_or(Some(Vec::new()), |extension| {
            let names = SubjectAltName::from_der(extension.extn_value.as_bytes()).ok()?;
            let mut names: Vec<_> = names.0.iter().filter_map(name).collect();
            names.sort();
            Some(names)
        });
        let constraints = extensions.iter().find(|extension| extension.extn_id == BasicConstraints::OID);
        let constraints = constraints.map(|extension| BasicConstraints::from_der(extension.extn_value.as_bytes()));
        // Version 1 has no extensions; nobody but authorities still has such certificates.
        let is_old_root = extensions.is_empty() && content.subject() == content.issuer();
        Ok(Self {
            fingerprint: Id(Sha256::digest(der).into()).to_hex(),
            subject: content.subject().to_string(),
            names,
            issuer: content.issuer().to_string(),
            not_before: time(content.validity().not_before),
            not_after: time(content.validity().not_after),
            public_key: content.subject_public_key_info().subject_public_key.raw_bytes().to_vec(),
            is_authority: is_old_root || constraints.is_some_and(|found| found.is_ok_and(|found| found.ca)),
        })
    }

    /// Whether it is surely for a server or a client, which needs its private key: it may sign no others, or names hosts,
    /// which authorities do not (some name a mail address or a page).
    pub fn needs_key(&self) -> bool {
        let is_host = |name: &String| !name.contains(['@', '/']);
        !self.is_authority || self.names.iter().flatten().any(is_host)
    }
}

/// What a browser or a mail server would compare; other kinds of name are passed over.
fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(text) | GeneralName::Rfc822Name(text) | GeneralName::UniformResourceIdentifier(text) => {
            Some(text.to_string())
        }
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let short = <[u8; 4]>::try_from(bytes).map(std::net::IpAddr::from);
            short.or_else(|_| <[u8; 16]>::try_from(bytes).map(std::net::IpAddr::from)).ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}
