//! ALTCHA Sentinel's own variables as a configuration, for where there is no file: one stack, archives where Sentinel's
//! snapshots would go, and a repository of which they are made. Decisions: docs/design/sentinel.md.

mod data;
mod place;
#[cfg(test)]
mod tests;
mod variables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::after_restore::{AfterRestoreSettings, CallSettings, READY_WITHIN, ReadySettings, is_http_url, is_method};
use super::archive::{ArchiveKey, ArchiveSettings};
use super::duration;
use super::environment::Environment;
use super::hook::Hooks;
use super::jobs::JobsSettings;
use super::location::Location;
use super::notifications::NotificationsSettings;
use super::resolve::copy::wrong_recipient;
use super::secret::{CommandLine, SecretSource, Typed};
use super::server::ServerSettings;
use super::settings::{CopySettings, Layout, Settings, SourceSettings, StackSettings};
use crate::retention::Policy;
use crate::schedule::{Expression, Overlap};
use crate::{Fault, FaultKind};
use variables::{ProcessVariables, Variables};

pub use data::{FILES, MAIN, MAIN_SERVERS, REDIS, REDIS_FILES, REDIS_SERVERS, Server, all_but};

/// The variable with the key that opens archives.
const SECRET_KEY: &str = "AGE_SECRET_KEY";
/// The name of the stack.
pub const STACK: &str = "sentinel";
/// The copy that archives are made out of.
const REPOSITORY: &str = "repository";
/// The file with the password of a repository on this machine, where no variable gives one; below the state folder.
const PASSWORD_FILE: &str = "sentinel.password";
/// What stands for the configuration where one must be named: no file has this name.
const CONFIGURATION: &str = ".lifeboat-environment";

/// What Sentinel's variables say besides, where they are the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct SentinelSettings {
    /// The secret key of age that opens the archives, where Sentinel has it.
    pub identity: Option<SecretSource>,
    /// Why no backups are to be made, where they are switched off.
    pub disabled: Option<String>,
    /// What is not in the backups, in words for the user.
    pub notices: Vec<String>,
}

/// The folder with Sentinel's data, as the environment says it.
pub fn data_folder(environment: &Environment) -> Result<PathBuf, Fault> {
    data::folder(&Variables::new(environment.variables(), Path::new(""), &BTreeMap::new()).of_process())
}

/// Understands Sentinel's variables: those of the environment, and those that `env_file`, which Sentinel keeps in its data
/// folder, sets. `None` where none of those for snapshots is set. No message shows a value that may be a secret.
pub fn settings(
    environment: &Environment,
    env_file: &Path,
    of_file: &BTreeMap<String, String>,
) -> Result<Option<Settings>, Fault> {
    let variables = Variables::new(environment.variables(), env_file, of_file);
    if !variables.are_any_set() {
        return Ok(None);
    }
    variables.check()?;
    variables.check_own()?;
    if variables.are_all(SECRET_KEY) {
        return Err(Fault::new(
            FaultKind::Config,
            format!(
                "SNAPSHOTS_{SECRET_KEY} alone configures nothing: it opens archives in a restore; missing is where they are, and \
                 to whom they are encrypted"
            ),
        )
        .with_hint(
            "set SNAPSHOTS_STORAGE_PROVIDER with what belongs to it, and SNAPSHOTS_AGE_PUBLIC_KEY, which `age-keygen -y` makes of \
             the secret key",
        ));
    }
    let of_process = variables.of_process();
    let data = data::folder(&of_process)?;
    let disabled = disabled(&variables)?;
    let state_dir = environment.state_dir().ok_or_else(|| {
        Fault::new(FaultKind::Config, "there is no folder to put state into").with_hint("set STATE_DIRECTORY to one")
    })?;
    let place = place::archive_place(&variables).map_err(|fault| match &disabled {
        Some(why) => Fault { message: format!("{why}; for anything else, {}", fault.message), ..fault },
        None => fault,
    });
    let place::ArchivePlace { name, location, prefix } = place?;
    let key = key(&variables)?;
    let repository = place::repository_place(&of_process, &location, &state_dir.join(REPOSITORY))?;
    let password = password(&of_process, &key, &repository, &state_dir)?;
    let copies = vec![
        copy(REPOSITORY, repository, Layout::Repository { password: password.clone() }),
        copy(name, location, Layout::Archive(ArchiveSettings { prefix, key })),
    ];
    let data::Sources { mut sources, mut notices } = data::sources(&variables, &of_process, &data)?;
    let schedule = schedules(&variables, &mut sources, &mut notices)?;
    let stack = StackSettings {
        name: STACK.to_owned(),
        schedule,
        time_zone: environment.time_zone().clone(),
        hours: None,
        overlap: Overlap::default(),
        copies: copies.iter().map(|copy| copy.name.clone()).collect(),
        retention: Policy::preset(),
        drill: None,
        rpo: None,
        rto: None,
        hooks: Hooks::default(),
        freeze: None,
        after_restore: after_restore(&of_process)?,
        sources,
    };
    let identity = variables.snapshots_secret(SECRET_KEY)?.map(|key| key.value);
    Ok(Some(Settings {
        file: data.join(CONFIGURATION),
        jobs: JobsSettings::none(environment.time_zone().clone()),
        notifications: NotificationsSettings::none(environment.time_zone().clone()),
        server: ServerSettings::local(state_dir.join("restores")),
        state_dir,
        password: Some(password),
        copies,
        stacks: vec![stack],
        sentinel: Some(SentinelSettings { identity, disabled, notices }),
    }))
}

fn copy(name: &str, location: Location, layout: Layout) -> CopySettings {
    let region = match &location {
        Location::S3(s3) => s3.region.clone(),
        _ => None,
    };
    CopySettings {
        name: name.to_owned(),
        media: location.media().to_owned(),
        provider: location.provider(),
        location,
        layout,
        retention: None,
        offsite: false,
        immutable: false,
        removable: false,
        site: None,
        account: None,
        region,
        upload_limit: None,
        download_limit: None,
    }
}

/// To whom archives are encrypted. Nothing leaves unencrypted: the secrets of `.env` are among it.
fn key(variables: &Variables<'_>) -> Result<ArchiveKey, Fault> {
    let passphrase = variables.snapshots_secret("ENCRYPTION_KEY")?;
    match (variables.snapshots("AGE_PUBLIC_KEY")?, passphrase) {
        (Some(public), None) => match wrong_recipient(&public.value) {
            Some((what, hint)) => Err(public.fault(what, hint)),
            None => Ok(ArchiveKey::Recipients(vec![public.value.to_string()])),
        },
        (None, Some(passphrase)) => Ok(ArchiveKey::Passphrase(passphrase.value)),
        (Some(public), Some(passphrase)) => Err(public.fault(
            &format!("{} is set too, and an archive is encrypted to one of the two", passphrase.name),
            "unset one of the two; the repository gets a password of its own with LIFEBOAT_PASSWORD_FILE",
        )),
        (None, None) if variables.snapshots_secret(SECRET_KEY)?.is_some() => Err(Fault::new(
            FaultKind::Config,
            format!("there is no key to encrypt archives with: SNAPSHOTS_{SECRET_KEY} only opens them"),
        )
        .with_hint(
            "set SNAPSHOTS_AGE_PUBLIC_KEY to the public key that belongs to it, which `age-keygen -y` makes of it",
        )),
        (None, None) => Err(Fault::new(FaultKind::Config, "there is no key to encrypt archives with").with_hint(
            "set SNAPSHOTS_AGE_PUBLIC_KEY to the public key that `age-keygen` prints, or SNAPSHOTS_ENCRYPTION_KEY to a \
             passphrase: Sentinel's secrets are among what is backed up",
        )),
    }
}

/// The password of the repository. One that `init` makes lies beside the repository, for whose
/// readers it is a second lock and no more; so it will do on this machine alone.
fn password(
    variables: &ProcessVariables<'_>,
    key: &ArchiveKey,
    repository: &Location,
    state_dir: &Path,
) -> Result<SecretSource, Fault> {
    if let Some(own) = variables.secret("LIFEBOAT_PASSWORD")? {
        return Ok(own.value);
    }
    match (key, repository) {
        (ArchiveKey::Passphrase(passphrase), _) => Ok(passphrase.clone()),
        (ArchiveKey::Recipients(_), Location::Local(_)) => Ok(SecretSource::File(state_dir.join(PASSWORD_FILE))),
        (ArchiveKey::Recipients(_), _) => Err(Fault::new(FaultKind::Config, "LIFEBOAT_PASSWORD is missing")
            .with_hint("set it, or LIFEBOAT_PASSWORD_FILE, to the password of the repository in LIFEBOAT_REPOSITORY")),
    }
}

/// Gives sources schedules of their own. That of the main database is for all that lies beside it, too; for the Redis only where
/// that has none of its own, as nobody wants to be without. Gives the stack's, which is that of all.
fn schedules(
    variables: &Variables<'_>,
    sources: &mut [SourceSettings],
    notices: &mut Vec<String>,
) -> Result<Option<Expression>, Fault> {
    let one = |name: &str, source: Option<&str>| -> Result<Option<Expression>, Fault> {
        let Some(text) = variables.snapshots(name)? else { return Ok(None) };
        match source.is_none_or(|source| sources.iter().any(|other| other.name == source)) {
            true => {
                let parsed = Expression::parse(&text.value);
                parsed.map(Some).map_err(|wrong| text.fault(&wrong.what, &wrong.hint))
            }
            false => Err(text.fault("what it is for is not in these backups", "unset it")),
        }
    };
    let (all, main) = (one("CRON_SCHEDULE", None)?, one("MAIN_SCHEDULE", Some(MAIN))?);
    let redis = one("REDIS_SCHEDULE", Some(REDIS))?;
    let has_main = sources.iter().any(|source| source.name == MAIN);
    if let (None, None, Some(_), true) = (&all, &main, &redis, has_main) {
        notices.push(
            "the main database has no schedule, only the Redis has: set CRON_SCHEDULE or MAIN_SCHEDULE".to_owned(),
        );
    }
    let whole = match (&all, &redis) {
        (Some(_), _) => all.clone(),
        (None, None) => main.clone(),
        (None, Some(_)) => None,
    };
    for source in sources {
        source.schedule = match &*source.name {
            REDIS => redis.clone(),
            MAIN if all.is_some() => main.clone(),
            _ if all.is_none() && whole.is_none() => main.clone(),
            _ => None,
        };
    }
    Ok(whole)
}

fn disabled(variables: &Variables<'_>) -> Result<Option<String>, Fault> {
    let Some(text) = variables.snapshots("ENABLED")? else { return Ok(None) };
    match text.value.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(None),
        "0" | "false" | "no" | "off" => Ok(Some(format!("{} switches backups off", text.name))),
        _ => Err(text.fault("expected 0 or 1", "write 0 to switch backups off, 1 or nothing to have them")),
    }
}

/// Sentinel has no variables for this, so these are ours.
fn after_restore(variables: &ProcessVariables<'_>) -> Result<Option<AfterRestoreSettings>, Fault> {
    let http_url =
        |name: &'static str| -> Result<Option<Typed>, Fault> {
            let Some(text) = variables.get(name)? else { return Ok(None) };
            match is_http_url(&text.value) {
                true => Ok(Some(Typed::new(format!("${{{name}}}"), text.value.to_string()))),
                false => Err(text
                    .fault("this is no address that a request can go to", "write it like http://127.0.0.1:8080/path")),
            }
        };
    let restart = match variables.get("LIFEBOAT_RELOAD_CONTAINER")? {
        None => Vec::new(),
        Some(names) => {
            names.value.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
        }
    };
    for (name, to) in [
        ("LIFEBOAT_READY_WITHIN", "LIFEBOAT_READY_URL"),
        ("LIFEBOAT_RELOAD_METHOD", "LIFEBOAT_RELOAD_URL"),
        ("LIFEBOAT_RELOAD_HEADERS", "LIFEBOAT_RELOAD_URL"),
    ] {
        if let Some(lonely) = variables.secret(name)?.filter(|_| !variables.is_set(to)) {
            return Err(lonely.fault(&format!("it does nothing without {to}"), &format!("set {to}, or unset it")));
        }
    }
    let method = match variables.get("LIFEBOAT_RELOAD_METHOD")? {
        None => "POST".to_owned(),
        Some(text) if is_method(&text.value) => text.value.to_string(),
        Some(text) => return Err(text.fault("this is no method of HTTP", "write POST or GET")),
    };
    let headers = variables.secret("LIFEBOAT_RELOAD_HEADERS")?.map(|headers| headers.value);
    let call = http_url("LIFEBOAT_RELOAD_URL")?.map(|url| CallSettings { url, method, headers });
    let within = match variables.get("LIFEBOAT_READY_WITHIN")? {
        None => READY_WITHIN,
        Some(text) => duration::parse(&text.value)
            .ok_or_else(|| text.fault("expected a span of time", "write it like 90s, 2m or 1h"))?,
    };
    let ready = http_url("LIFEBOAT_READY_URL")?.map(|url| ReadySettings { url, within });
    let command = variables.get("LIFEBOAT_RELOAD_COMMAND")?;
    let command = command
        .map(|text| CommandLine::Shell(Typed::new("${LIFEBOAT_RELOAD_COMMAND}".to_owned(), text.value.to_string())));
    let after = AfterRestoreSettings { restart, call, run: command.into_iter().collect(), ready };
    Ok(Some(after).filter(|after| *after != AfterRestoreSettings::default()))
}
