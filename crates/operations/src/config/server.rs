//! Where `lifeboat serve` is reached, and how.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::text::Text;

/// The port that nothing else is registered for.
const PORT: u16 = 8484;

/// `lifeboat serve`: where it is reached, and how.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "server", extend("required" = []))]
pub struct ServerDocument {
    /// The address and port to listen on. Default: `127.0.0.1:8484`, for this machine alone.
    pub listen: Option<Text>,
    /// The address that people type into their browser, such as `https://backup.example.org`, where a proxy stands before it.
    pub url: Option<Text>,
    /// A file with the certificate and those that vouch for it, in PEM: with it, the server speaks TLS. It is read again when it changes.
    pub certificate: Option<Text>,
    /// The file with the certificate's key, in PEM.
    pub certificate_key: Option<Text>,
    /// Who may read `/metrics`: `open` for anybody who reaches the server, `token` for who has signed in or has a token. Default: token.
    #[schemars(schema_with = "metrics")]
    pub metrics: Option<Text>,
    /// The folder that restores started by an operator go into. Default: `restores` in the state folder.
    pub restore_dir: Option<Text>,
}

/// Where the server is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerSettings {
    /// The address and port to listen on.
    pub listen: SocketAddr,
    /// The address that people type, without a slash at its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The files with certificate and key.
    #[serde(flatten)]
    pub tls: Option<TlsFiles>,
    /// Who may read the metrics.
    pub metrics: Metrics,
    /// The folder that an operator restores into.
    pub restore_dir: PathBuf,
}

/// Who may read the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Metrics {
    /// Anybody who reaches the server.
    Open,
    /// Who has signed in or has a token.
    Token,
}

fn metrics(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": ["open", "token"] })
}

/// The files that make the server speak TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TlsFiles {
    /// The certificate and those that vouch for it, in PEM.
    pub certificate: PathBuf,
    /// Its key, in PEM.
    #[serde(rename = "certificate_key")]
    pub key: PathBuf,
}

impl ServerSettings {
    /// For this machine alone.
    pub fn local(restore_dir: PathBuf) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
            url: None,
            tls: None,
            metrics: Metrics::Token,
            restore_dir,
        }
    }
}
