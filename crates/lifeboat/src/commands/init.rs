//! `lifeboat init`: looks into a folder, writes `lifeboat.yaml` and a password, makes the copies.

pub mod copies;

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use operations::config::{
    self, FILE_NAME, NewConfig, NewCopy, NewSource, SecretSource, Settings, SourceKind, StackSettings, Url, WrongUrl,
};
use operations::{Fault, FaultKind};
use repository::format::crypto;
use serde_json::json;

use self::copies::Made;
use super::{discover, sentinel};
use crate::app::Run;
use crate::arguments;
use crate::invocation;
use crate::output::Outcome;

/// The password file's name beside a new configuration.
const PASSWORD_FILE: &str = "lifeboat.password";
/// The repository's folder beside a new configuration.
const COPY_FOLDER: &str = "lifeboat-backups";

pub fn run(run: &Run, arguments: &arguments::Init) -> Result<Outcome, Fault> {
    let file = config_file(run)?;
    let settings = if file.exists() {
        let asked = [("--copy", !arguments.copy.is_empty()), ("--stack", arguments.stack.is_some())];
        if let Some((option, _)) = asked.into_iter().find(|(_, is_asked)| *is_asked) {
            let what = format!("{} is there already, so {option} changes nothing", file.display());
            return Err(Fault::new(FaultKind::Usage, what).with_hint(
                "write it into that file, then run `lifeboat init` again; or name another one with --config",
            ));
        }
        run.output.chat(format!("{} is there already and stays as it is", file.display()));
        let settings = config::load(&file, &run.environment)?;
        if arguments.dir != Path::new(".") {
            let dir = std::fs::canonicalize(&arguments.dir)
                .map_err(|error| Fault::local(format!("cannot look into {}", arguments.dir.display()), error))?;
            stack_of(&settings, &dir)?;
        }
        settings
    } else if let Some(settings) = of_environment(run, arguments)? {
        run.output.chat("ALTCHA Sentinel's variables are the configuration");
        settings
    } else {
        let mut plan = Plan::look(run, &arguments.dir, arguments.stack.as_deref())?;
        plan.go_to(&arguments.copy)?;
        plan.show(run);
        if !arguments.yes {
            confirm(run)?;
        }
        plan.write(run)?
    };
    arguments.anew.iter().try_for_each(|name| settings.copy(name).map(drop))?;
    let Made { repository, is_new, outcome } = copies::run(run, &settings, &arguments.anew)?;
    run.output.summary(json!({
        "status": if outcome == Outcome::Ok { "ok" } else { "partial" }, "config": settings.origin(),
        "repository": repository, "created": is_new, "password": passwords(&settings).join(", "),
    }));
    if is_new {
        warn_of_password(run, &settings);
    }
    run.output.chat(format!("next: {} backup", invocation::of(&run.environment, &settings)));
    Ok(outcome)
}

/// What ALTCHA Sentinel's variables configure, where there is no file and nothing says what one should hold.
fn of_environment(run: &Run, arguments: &arguments::Init) -> Result<Option<Settings>, Fault> {
    let is_asked = !arguments.copy.is_empty() || arguments.stack.is_some() || arguments.dir != Path::new(".");
    match is_asked || run.find_settings().is_ok() {
        true => Ok(None),
        false => run.settings_of_environment(),
    }
}

/// Says where the password is, and what losing it means.
pub fn warn_of_password(run: &Run, settings: &Settings) {
    for password in passwords(settings) {
        run.output.text(format!("the password comes from {password}"));
    }
    run.output.text("  WITHOUT IT THE BACKUPS CANNOT BE READ, by nobody: keep a copy of it elsewhere, on paper too");
}

/// Where the passwords of the copies come from.
fn passwords(settings: &Settings) -> Vec<String> {
    let mut passwords = Vec::new();
    for password in settings.copies.iter().filter_map(|copy| copy.password().ok()) {
        let whence = password.to_string();
        if !passwords.contains(&whence) {
            passwords.push(whence);
        }
    }
    passwords
}

fn confirm(run: &Run) -> Result<(), Fault> {
    match run.output.ask("Write this configuration? [y/N]").as_deref() {
        Some("y" | "Y" | "yes") => Ok(()),
        Some(_) => Err(Fault::new(FaultKind::Cancelled, "not confirmed; nothing was written")),
        None => Err(Fault::new(FaultKind::Usage, "writing a configuration must be confirmed")
            .with_hint("add --yes where nobody can be asked")),
    }
}

/// The stack that has a source for `dir`, or for a CouchDB in it, or for the Sentinel there.
pub fn stack_of<'a>(settings: &'a Settings, dir: &Path) -> Result<&'a StackSettings, Fault> {
    let covers = |stack: &&StackSettings| {
        // Its volume may lie below, or where the engine keeps it.
        let is_sentinel = stack.name == sentinel::STACK;
        stack.sources.iter().any(|source| match &source.kind {
            SourceKind::Files(files) => {
                files.paths.iter().any(|path| dir.starts_with(path) || is_sentinel && path.starts_with(dir))
            }
            SourceKind::CouchDb(couchdb) => couchdb.data.host().is_some_and(|data| data.starts_with(dir)),
            SourceKind::Compose(compose) => is_sentinel && compose.files.iter().any(|file| file.starts_with(dir)),
            _ => false,
        })
    };
    settings.stacks.iter().find(covers).ok_or_else(|| {
        let what = format!("{} does not protect {}", settings.file.display(), dir.display());
        Fault::new(FaultKind::Config, what)
            .with_hint("add a `files` source for it there, or name another configuration with --config")
    })
}

/// Where a new configuration goes: `--config`, else the current folder.
pub fn config_file(run: &Run) -> Result<PathBuf, Fault> {
    absolute(run.config.as_deref().unwrap_or(Path::new(FILE_NAME)))
}

/// Refuses to go on where there is a configuration, before anything is asked or made.
pub fn refuse_existing(run: &Run) -> Result<(), Fault> {
    let file = config_file(run)?;
    if !file.exists() {
        return Ok(());
    }
    let what = format!("{} is there already", file.display());
    Err(Fault::new(FaultKind::AlreadyExists, what)
        .with_hint("name another configuration with --config, or add the copy to this one below `copies:`"))
}

pub fn absolute(path: &Path) -> Result<PathBuf, Fault> {
    std::path::absolute(path).map_err(|error| Fault::local(format!("cannot use {}", path.display()), error))
}

/// What a new configuration will say.
pub struct Plan {
    pub stack: String,
    pub copies: Vec<NewCopy>,
    pub password_file: PathBuf,
    config_file: PathBuf,
    sources: Vec<NewSource>,
    found: discover::Found,
}

impl Plan {
    /// Looks into `dir` and decides on sources, names and places.
    pub fn look(run: &Run, dir: &Path, stack: Option<&str>) -> Result<Self, Fault> {
        let config_file = config_file(run)?;
        let folder = config_file.parent().unwrap_or(Path::new("/")).to_owned();
        let dir = std::fs::canonicalize(dir)
            .map_err(|error| Fault::local(format!("cannot look into {}", dir.display()), error))?;
        let found = discover::look(run, &dir)?;
        let name = stack.or(found.stack()).map_or_else(|| name_for(&dir), str::to_owned);
        Ok(Self {
            stack: name,
            copies: NewCopy::at([Url::Folder(folder.join(COPY_FOLDER))]),
            password_file: folder.join(PASSWORD_FILE),
            config_file,
            sources: found.sources()?,
            found,
        })
    }

    pub fn show(&self, run: &Run) {
        self.found.show(run.output);
        let places: Vec<String> = self.copies.iter().map(|copy| copy.url.to_string()).collect();
        run.output.chat(format!("stack {}; backups go to {}", self.stack, places.join(", ")));
    }

    /// What was found and no source covers.
    pub fn gaps(&self) -> Vec<String> {
        self.found.gaps()
    }

    /// Takes the places that the user names in place of the default, where there are any.
    pub fn go_to(&mut self, urls: &[String]) -> Result<(), Fault> {
        if urls.is_empty() {
            return Ok(());
        }
        let place = |text: &String| match Url::parse(text) {
            // Relative to where the user is, and not to where the configuration will be.
            Ok(Url::Folder(folder)) => Ok(Url::Folder(absolute(&folder)?)),
            Ok(url) => Ok(url),
            Err(WrongUrl { what, hint }) => Err(Fault::new(FaultKind::Usage, what).with_hint(hint)),
        };
        self.copies = NewCopy::at(urls.iter().map(place).collect::<Result<Vec<_>, _>>()?);
        Ok(())
    }

    /// Writes configuration and password, neither over an existing file.
    pub fn write(&self, run: &Run) -> Result<Settings, Fault> {
        let text = config::render(&NewConfig {
            password_file: self.password_file.clone(),
            copies: self.copies.clone(),
            stack: self.stack.clone(),
            sources: self.sources.clone(),
            program: invocation::path(),
            presets: self.found.presets(),
        })?;
        // Understood before it is written: a configuration that cannot be read would help nobody.
        let settings = config::parse(&text, &self.config_file, &run.environment)?;
        if let Some(folder) = self.config_file.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|error| Fault::local(format!("cannot make {}", folder.display()), error))?;
        }
        if self.password_file.exists() {
            // One that will be refused is refused before there is a configuration, which would count as set up.
            SecretSource::File(self.password_file.clone()).read()?;
        } else {
            write_password(&self.password_file)?;
        }
        write_new(&self.config_file, text.as_bytes(), 0o644)?;
        Ok(settings)
    }
}

/// A stack name out of a folder's name.
fn name_for(dir: &Path) -> String {
    let name = dir.file_name().map_or_else(|| "host".into(), std::ffi::OsStr::to_string_lossy);
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c.to_ascii_lowercase() } else { '-' };
    let name: String = name.chars().map(plain).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "stack".to_owned() } else { name.to_owned() }
}

/// 256 random bits, in letters and digits that can be written on paper and read out.
pub fn write_password(file: &Path) -> Result<(), Fault> {
    let random = crypto::random::<32>()
        .map_err(|error| Fault::new(FaultKind::Failed, "cannot make a password").with_source(error))?;
    let mut text = zeroize::Zeroizing::new(data_encoding::BASE32_NOPAD.encode(&random));
    text.push('\n');
    write_new(file, text.as_bytes(), 0o600)
}

fn write_new(file: &Path, content: &[u8], mode: u32) -> Result<(), Fault> {
    let write = || {
        let mut handle = std::fs::File::options().write(true).create_new(true).mode(mode).open(file)?;
        handle.write_all(content)?;
        handle.sync_all()
    };
    write().map_err(|error| Fault::local(format!("cannot write {}", file.display()), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_are_named_after_folders() {
        assert_eq!(name_for(Path::new("/srv/My App")), "my-app");
        assert_eq!(name_for(Path::new("/")), "host");
        assert_eq!(name_for(Path::new("/srv/...")), "stack");
    }
}
