//! What makes an application take up what was restored under it, as the configuration says it.

use std::time::Duration;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::duration;
use super::secret::{CommandLine, SecretSource, Typed};
use super::show;

/// How long to wait for an application to be ready, where nobody says.
pub const READY_WITHIN: Duration = Duration::from_secs(120);

/// What is done once data was put back under an application, in this order; then it is waited for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AfterRestoreSettings {
    /// Containers to restart, each by its Compose service or its own name.
    pub restart: Vec<String>,
    /// A request to send.
    pub call: Option<CallSettings>,
    /// Commands to run, in the folder of the configuration.
    pub run: Vec<CommandLine>,
    /// What tells that it works again.
    pub ready: Option<ReadySettings>,
}

/// A request over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallSettings {
    /// Where to; the variables in it may be secrets.
    pub url: Typed,
    /// The method.
    pub method: String,
    /// Headers, a line each as `NAME: VALUE`.
    pub headers: Option<SecretSource>,
}

/// An address that answers with success once the application is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadySettings {
    /// The address.
    pub url: Typed,
    /// How long to wait for it.
    pub within: Duration,
}

impl AfterRestoreSettings {
    /// The file with a secret that it needs.
    pub fn secret_file(&self) -> Option<&std::path::Path> {
        self.call.as_ref()?.headers.as_ref()?.file()
    }
}

/// Whether this is a method that a request may have (RFC 9110, 9.1): a few capital letters.
pub fn is_method(text: &str) -> bool {
    (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// Whether this is an address that a request goes to.
pub fn is_http_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    host.is_some_and(|host| !host.is_empty() && !host.contains('@')) && !text.contains(char::is_whitespace)
}

impl Serialize for AfterRestoreSettings {
    /// Keys that say nothing are left out.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.restart.is_empty() {
            map.serialize_entry("restart", &self.restart)?;
        }
        show::maybe(&mut map, "call", self.call.as_ref())?;
        if !self.run.is_empty() {
            map.serialize_entry("run", &self.run)?;
        }
        show::maybe(&mut map, "ready", self.ready.as_ref())?;
        map.end()
    }
}

impl Serialize for CallSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("url", &self.url)?;
        map.serialize_entry("method", &self.method)?;
        show::secret(&mut map, "headers", self.headers.as_ref())?;
        map.end()
    }
}

impl Serialize for ReadySettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("url", &self.url)?;
        map.serialize_entry("within", &duration::show(self.within))?;
        map.end()
    }
}
