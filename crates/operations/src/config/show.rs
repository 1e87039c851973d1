//! The effective settings in the shape of `lifeboat.yaml`, with secrets masked: what `lifeboat config show` prints.

use std::time::Duration;

use jiff::tz::TimeZone;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::secret::SecretSource;
use super::settings::{Settings, SourceSettings};
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
        match &self.password {
            SecretSource::Given(secret) => map.serialize_entry("password", secret)?,
            SecretSource::File(path) => map.serialize_entry("password_file", path)?,
            SecretSource::Command { line, .. } => map.serialize_entry("password_command", line)?,
        }
        map.serialize_entry("copies", &Named(self.copies.iter().map(|copy| (&*copy.name, copy)).collect()))?;
        map.serialize_entry("stacks", &Named(self.stacks.iter().map(|stack| (&*stack.name, stack)).collect()))?;
        map.end()
    }
}

/// Things by name, in order.
struct Named<'a, T>(Vec<(&'a str, &'a T)>);

impl<T: Serialize> Serialize for Named<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

pub fn sources<S: Serializer>(sources: &[SourceSettings], serializer: S) -> Result<S::Ok, S::Error> {
    Named(sources.iter().map(|source| (&*source.name, &source.kind)).collect()).serialize(serializer)
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
