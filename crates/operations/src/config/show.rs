//! The effective settings in the shape of `lifeboat.yaml`, with secrets masked: what `lifeboat config show` prints.

use std::time::Duration;

use jiff::tz::TimeZone;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::archive::ArchiveKey;
use super::hook::Hooks;
use super::location::{AzureLogin, Location};
use super::rate;
use super::secret::SecretSource;
use super::settings::{
    ContainerSettings, CopySettings, CouchServerSettings, DatabaseServer, DatabaseSettings, Layout, Settings,
    SourceKind, SourceSettings,
};
use crate::schedule::Expression;
use crate::{Fault, FaultKind};

impl Settings {
    /// The effective values as YAML, secrets masked.
    pub fn to_yaml(&self) -> Result<String, Fault> {
        let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
        serde_saphyr::to_string_with_options(self, options).map_err(cannot_show)
    }

    /// The effective values as JSON, secrets masked, in the same shape.
    pub fn to_json(&self) -> Result<serde_json::Value, Fault> {
        serde_json::to_value(self).map_err(cannot_show)
    }
}

fn cannot_show(error: impl std::error::Error + Send + Sync + 'static) -> Fault {
    Fault::new(FaultKind::Failed, "the settings cannot be shown").with_source(error)
}

impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("version", &1)?;
        map.serialize_entry("state_dir", &self.state_dir)?;
        secret(&mut map, "password", self.password.as_ref())?;
        map.serialize_entry("copies", &Named(self.copies.iter().map(|copy| (&*copy.name, copy)).collect()))?;
        map.serialize_entry("stacks", &Named(self.stacks.iter().map(|stack| (&*stack.name, stack)).collect()))?;
        map.serialize_entry("jobs", &self.jobs)?;
        map.serialize_entry("server", &self.server)?;
        maybe(&mut map, "notifications", Some(&self.notifications).filter(|told| !told.to.is_empty()))?;
        map.end()
    }
}

impl Serialize for CopySettings {
    /// Keys that say nothing are left out.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("url", &self.location.to_string())?;
        match &self.location {
            Location::Local(_) => {}
            Location::S3(s3) => {
                maybe(&mut map, "endpoint", s3.endpoint.as_ref())?;
                if let Some(key) = &s3.access_key {
                    secret(&mut map, "access_key_id", Some(&key.id))?;
                    secret(&mut map, "secret_access_key", Some(&key.secret))?;
                    secret(&mut map, "session_token", key.session_token.as_ref())?;
                }
            }
            Location::Azure(azure) => {
                maybe(&mut map, "endpoint", azure.endpoint.as_ref())?;
                match &azure.login {
                    AzureLogin::ConnectionString(string) => secret(&mut map, "connection_string", Some(string))?,
                    AzureLogin::Key { key, .. } => secret(&mut map, "account_key", Some(key))?,
                    AzureLogin::Sas { token, .. } => secret(&mut map, "sas_token", Some(token))?,
                    AzureLogin::Platform { .. } => {}
                }
            }
            Location::Gcs(gcs) => maybe(&mut map, "credential_file", gcs.credential_file.as_ref())?,
            Location::B2(b2) => {
                map.serialize_entry("bucket_id", &b2.bucket_id)?;
                secret(&mut map, "application_key_id", Some(&b2.key_id))?;
                secret(&mut map, "application_key", Some(&b2.key))?;
            }
            Location::Webdav(webdav) => {
                if let Some(login) = &webdav.login {
                    map.serialize_entry("login_user", &login.user)?;
                    secret(&mut map, "login_password", Some(&login.password))?;
                }
            }
            Location::Sftp(sftp) => {
                maybe(&mut map, "private_key_file", sftp.private_key_file.as_ref())?;
                maybe(&mut map, "known_hosts_file", sftp.known_hosts_file.as_ref())?;
            }
        }
        map.serialize_entry("media", &self.media)?;
        for (key, is_so) in [("offsite", self.offsite), ("immutable", self.immutable), ("removable", self.removable)] {
            map.serialize_entry(key, &is_so)?;
        }
        for (key, label) in
            [("site", &self.site), ("provider", &self.provider), ("account", &self.account), ("region", &self.region)]
        {
            maybe(&mut map, key, label.as_ref())?;
        }
        maybe(&mut map, "retention", self.retention.as_ref())?;
        maybe(&mut map, "upload_limit", self.upload_limit.map(rate::show).as_ref())?;
        maybe(&mut map, "download_limit", self.download_limit.map(rate::show).as_ref())?;
        match &self.layout {
            Layout::Repository { password } => secret(&mut map, "password", Some(password))?,
            Layout::Archive(archive) => {
                map.serialize_entry("layout", "archive")?;
                map.serialize_entry("prefix", &archive.prefix)?;
                match &archive.key {
                    ArchiveKey::Recipients(recipients) => map.serialize_entry("recipients", recipients)?,
                    ArchiveKey::Passphrase(passphrase) => secret(&mut map, "passphrase", Some(passphrase))?,
                }
            }
        }
        map.end()
    }
}

impl Serialize for CouchServerSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("url", &self.url)?;
        if let Some(login) = &self.login {
            map.serialize_entry("user", &login.user)?;
            secret(&mut map, "password", Some(&login.password))?;
        }
        map.end()
    }
}

/// A share as it is typed.
struct Percent(u8);

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}%", self.0))
    }
}

/// See [`Percent`].
pub fn percent<S: Serializer>(percent: &u8, serializer: S) -> Result<S::Ok, S::Error> {
    Percent(*percent).serialize(serializer)
}

/// See [`Percent`].
pub fn maybe_percent<S: Serializer>(percent: &Option<u8>, serializer: S) -> Result<S::Ok, S::Error> {
    percent.map(Percent).serialize(serializer)
}

impl Serialize for DatabaseSettings {
    /// Keys that say nothing are left out.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.server {
            DatabaseServer::Url(url) => map.serialize_entry("url", url)?,
            DatabaseServer::Container(ContainerSettings::Container { container }) => {
                map.serialize_entry("container", container)?;
            }
            DatabaseServer::Container(ContainerSettings::Service { service, project }) => {
                map.serialize_entry("service", service)?;
                maybe(&mut map, "project", project.as_ref())?;
            }
        }
        maybe(&mut map, "user", self.user.as_ref())?;
        secret(&mut map, "password", self.password.as_ref())?;
        for (key, patterns) in [("databases", &self.databases), ("exclude", &self.exclude)] {
            maybe(&mut map, key, Some(patterns).filter(|patterns| !patterns.is_empty()))?;
        }
        maybe(&mut map, "tools", self.tools.as_ref())?;
        map.serialize_entry("max_shrink", &Percent(self.max_shrink_percent))?;
        map.end()
    }
}

/// `x`, `x_file` or `x_command`.
pub fn secret<M: SerializeMap>(map: &mut M, name: &str, source: Option<&SecretSource>) -> Result<(), M::Error> {
    match source {
        None => Ok(()),
        Some(SecretSource::Given(secret)) => map.serialize_entry(name, secret),
        Some(SecretSource::File(path)) => map.serialize_entry(&format!("{name}_file"), path),
        Some(SecretSource::Command { line, .. }) => map.serialize_entry(&format!("{name}_command"), line),
    }
}

pub fn maybe<M: SerializeMap>(map: &mut M, key: &str, value: Option<&impl Serialize>) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(key, value))
}

/// Things by name, in order.
struct Named<'a, T>(Vec<(&'a str, &'a T)>);

impl<T: Serialize> Serialize for Named<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

/// A source without its name.
#[derive(Serialize)]
struct Unnamed<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule: Option<&'a str>,
    #[serde(flatten)]
    kind: &'a SourceKind,
    #[serde(flatten)]
    hooks: &'a Hooks,
}

pub fn sources<S: Serializer>(sources: &[SourceSettings], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(sources.iter().map(|source| {
        let SourceSettings { schedule, kind, hooks, .. } = source;
        (&*source.name, Unnamed { schedule: schedule.as_ref().map(Expression::as_str), kind, hooks })
    }))
}

pub fn duration<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&super::duration::show(*duration))
}

pub fn maybe_duration<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(super::duration::show).serialize(serializer)
}

/// A zone without a name is read from this machine's files.
pub fn time_zone<S: Serializer>(zone: &TimeZone, serializer: S) -> Result<S::Ok, S::Error> {
    zone.iana_name().serialize(serializer)
}
