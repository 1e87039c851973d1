//! `lifeboat.yaml`: found, read, understood, shown and written.
//!
//! What the user typed (`document.rs`, all values raw texts with their places) and what it means ([`Settings`]) are two
//! types, with one boundary between them (`resolve.rs`). Every mistake names file, line, column and field, and says what
//! to do.

mod address;
mod after_restore;
mod archive;
mod document;
pub mod duration;
mod environment;
mod hook;
mod jobs;
mod location;
mod mistake;
mod notifications;
mod rate;
mod render;
mod resolve;
mod secret;
pub mod sentinel;
mod server;
mod settings;
mod show;
mod text;
mod url;

use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::{Fault, FaultKind};
use document::Document;
use mistake::Mistake;
use resolve::Resolver;

pub use after_restore::{AfterRestoreSettings, CallSettings, ReadySettings};
pub use archive::{ArchiveKey, ArchiveSettings, PrefixTemplate};
pub use environment::Environment;
pub use hook::{FreezeSettings, HookSettings, Hooks, OnError};
pub use jobs::{CheckJob, JobSettings, JobsSettings};
pub use location::{
    AzureLocation, AzureLogin, B2Location, GcsLocation, Location, ResticLocation, S3AccessKey, S3Location,
    SftpLocation, WebdavLocation, WebdavLogin,
};
pub(crate) use mistake::nearest;
pub use notifications::{
    EmailSettings, Encryption, NotificationsSettings, PingSettings, Preset, ReceiverSettings, Way, WebhookSettings,
};
pub use render::{NewConfig, NewCopy, NewSource, Presets, render};
pub use resolve::database::wrong_server_url;
pub use secret::{CommandLine, Secret, SecretSource, Typed};
pub use server::{Metrics, ServerSettings, TlsFiles};
pub use settings::{
    CommandSettings, ComposeSettings, ContainerFilesSettings, ContainerSettings, CopySettings, CouchDbSettings,
    CouchLogin, CouchServerSettings, DatabaseServer, DatabaseSettings, DrillSettings, FilesSettings, HaltSettings,
    Layout, PlaceSettings, RedisFilesSettings, Settings, SourceKind, SourceSettings, SqliteSettings, StackSettings,
    TlsSettings, VolumeSettings,
};
pub use url::{Url, WrongUrl};

/// The configuration's name where it is looked for by itself.
pub const FILE_NAME: &str = "lifeboat.yaml";
/// Where the configuration lies on a machine that has one for all.
pub const SYSTEM_FILE: &str = "/etc/lifeboat/lifeboat.yaml";
/// The variable that names the configuration.
pub const FILE_VARIABLE: &str = "LIFEBOAT_CONFIG";
/// A configuration larger than this is surely another file.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// The configuration to use: `given` on the command line, else `$LIFEBOAT_CONFIG`, else `lifeboat.yaml` in the current
/// folder, else `/etc/lifeboat/lifeboat.yaml`. The first two need not exist: reading them gives the error.
pub fn find(given: Option<&Path>, environment: &Environment) -> Result<PathBuf, Fault> {
    find_among(given, environment, &[Path::new(FILE_NAME), Path::new(SYSTEM_FILE)])
}

fn find_among(given: Option<&Path>, environment: &Environment, places: &[&Path]) -> Result<PathBuf, Fault> {
    if let Some(file) = given {
        return Ok(file.to_owned());
    }
    if let Some(file) = environment.get(FILE_VARIABLE).filter(|file| !file.is_empty()) {
        return Ok(file.into());
    }
    for place in places {
        // A file that is there but may not be looked at must not be passed over for the next one.
        if place.try_exists().unwrap_or(true) {
            return Ok(place.to_path_buf());
        }
    }
    let looked: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
    Err(Fault::new(FaultKind::Config, format!("no configuration: there is no {}", looked.join(" and no ")))
        .with_hint(format!("run `lifeboat init` to write one, or name one with `--config` or ${FILE_VARIABLE}")))
}

/// Reads and understands the configuration in `file`. Secrets are read later: see [`SecretSource::read`].
pub fn load(file: &Path, environment: &Environment) -> Result<Settings, Fault> {
    let mut text = Zeroizing::new(String::new());
    std::fs::File::open(file).and_then(|opened| opened.take(CONFIG_BYTES_MAX + 1).read_to_string(&mut text)).map_err(
        |error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                Fault::new(FaultKind::Config, format!("the configuration {} does not exist", file.display()))
                    .with_hint("run `lifeboat init` to write one, or name another one with `--config`")
            }
            std::io::ErrorKind::InvalidData => {
                Fault::new(FaultKind::Config, format!("{} is not a UTF-8 text", file.display()))
            }
            _ => {
                let fault = Fault::local(format!("cannot read the configuration {}", file.display()), error);
                Fault { kind: FaultKind::Config, ..fault }
            }
        },
    )?;
    if text.len() as u64 > CONFIG_BYTES_MAX {
        let what = format!("{} is larger than {CONFIG_BYTES_MAX} bytes and surely no configuration", file.display());
        return Err(Fault::new(FaultKind::Config, what));
    }
    parse(&text, file, environment)
}

/// Understands `text`, the content of `file`. Relative paths in it are relative to the folder of `file`.
pub fn parse(text: &str, file: &Path, environment: &Environment) -> Result<Settings, Fault> {
    let absolute = std::path::absolute(file)
        .map_err(|error| Fault::local(format!("cannot tell the folder of {}", file.display()), error))?;
    // Snippets of the file could show secrets, and `yes` is a text to be judged where it is read.
    let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
    let mistake = match serde_saphyr::from_str_with_options::<Document>(text, options) {
        Ok(document) => match (Resolver { environment, file: &absolute }).settings(&document) {
            Ok(settings) => return Ok(settings),
            Err(mistake) => mistake,
        },
        Err(error) => Mistake::from(&error),
    };
    Err(mistake.into_fault(file, text))
}

/// The JSON schema of `lifeboat.yaml`, for editors.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Document).to_value()
}

#[cfg(test)]
mod tests;
