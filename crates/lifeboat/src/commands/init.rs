//! `lifeboat init`: looks into a folder, writes `lifeboat.yaml` and a password, creates the repository.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use operations::config::{
    self, CopySettings, FILE_NAME, NewConfig, NewCopy, NewSource, Secret, SecretSource, Settings, SourceKind,
    StackSettings, Url, WrongUrl,
};
use operations::state::State;
use operations::{Fault, FaultKind, backup};
use repository::format::crypto;
use repository::format::key_file::KdfCost;
use repository::{Clock as _, File, FileKind, Repository, Storage};
use serde_json::json;

use super::discover;
use crate::app::Run;
use crate::arguments;
use crate::invocation;
use crate::output::Outcome;
use crate::wiring;

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
    } else {
        let mut plan = Plan::look(run, &arguments.dir, arguments.stack.as_deref())?;
        plan.go_to(&arguments.copy)?;
        plan.show(run);
        if !arguments.yes {
            confirm(run)?;
        }
        plan.write(run)?
    };
    let created = create_repository(run, &settings)?;
    let outcome = create_others(run, &settings)?;
    let first = settings.repositories().next().map_or_else(String::new, |copy| copy.location.to_string());
    run.output.summary(json!({
        "status": "ok", "config": settings.file, "repository": first, "created": created.is_some(),
        "password": passwords(&settings).join(", "),
    }));
    if created.is_none() {
        run.output.text(format!("there is a repository in {first} already; it opens"));
    } else {
        run.output.text(format!("created a repository in {first}"));
        warn_of_password(run, &settings);
    }
    run.output.chat(format!("next: {} backup", invocation::line(&run.environment, &settings.file)));
    Ok(outcome)
}

/// Makes the copies after the first one that are not there yet: empty ones, which backups and `sync` fill from the others.
/// One that this host has seen before is not made anew: its disk may only not be mounted.
pub fn create_others(run: &Run, settings: &Settings) -> Result<Outcome, Fault> {
    let mut outcome = begin_archives(run, settings)?;
    let repositories: Vec<&CopySettings> = settings.repositories().collect();
    let Some((first, others @ [_, ..])) = repositories.split_first() else { return Ok(outcome) };
    let first = wiring::open(first, &first.password()?.read()?, run)?;
    let state = State::below(&settings.state_dir, &settings.file);
    for copy in others {
        let made = wiring::storage(copy, run).and_then(|storage| {
            let password = password_for(copy, storage.as_ref())?;
            match Repository::open(storage.clone(), password.expose()) {
                Err(repository::Error::NoRepository { .. }) => refuse_half(storage.as_ref())?,
                opened => return Ok(opened.map(|_| false)?),
            }
            if let Some(seen) = state.last_seen(copy) {
                let what =
                    format!("{} held it on {}, and nothing is there now", copy.location, seen.at.strftime("%Y-%m-%d"));
                return Err(Fault::new(FaultKind::NoRepository, what)
                    .with_hint("mount its disk; a copy that is gone for good gets a new name in lifeboat.yaml"));
            }
            let cost = KdfCost::for_password(password.expose());
            Repository::init_copy(&first, storage, password.expose(), cost, run.clock.now())?;
            Ok(true)
        });
        match made {
            Ok(true) => run.output.text(format!("created copy {} in {}; backups fill it", copy.name, copy.location)),
            Ok(false) => {
                run.output.text(format!("copy {}: there is a repository in {}; it opens", copy.name, copy.location));
            }
            Err(fault) if fault.kind == FaultKind::Cancelled => return Err(fault),
            Err(fault) => {
                run.output.passed_over(&copy.name, &fault);
                outcome = Outcome::Partial;
            }
        }
    }
    Ok(outcome)
}

/// Begins the archive copies that are not there yet; see [`create_others`].
fn begin_archives(run: &Run, settings: &Settings) -> Result<Outcome, Fault> {
    let mut outcome = Outcome::Ok;
    let state = State::below(&settings.state_dir, &settings.file);
    for copy in &settings.copies {
        let Some(archives) = copy.archives() else { continue };
        let begun = match state.last_seen(copy) {
            Some(_) => Ok(false),
            None => crate::archives::begin(run, copy, archives),
        };
        match begun {
            Ok(true) => run.output.text(format!("began copy {} in {}; backups fill it", copy.name, copy.location)),
            Ok(false) => {}
            Err(fault) if fault.kind == FaultKind::Cancelled => return Err(fault),
            Err(fault) => {
                run.output.passed_over(&copy.name, &fault);
                outcome = Outcome::Partial;
            }
        }
    }
    Ok(outcome)
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

/// The stack that has a source for `dir`, or for a CouchDB in it.
pub fn stack_of<'a>(settings: &'a Settings, dir: &Path) -> Result<&'a StackSettings, Fault> {
    let covers = |stack: &&StackSettings| {
        stack.sources.iter().any(|source| match &source.kind {
            SourceKind::Files(files) => files.paths.iter().any(|path| dir.starts_with(path)),
            SourceKind::CouchDb(couchdb) => couchdb.data.host().is_some_and(|data| data.starts_with(dir)),
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
            sources: found.sources(),
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
        if !self.password_file.exists() {
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
fn write_password(file: &Path) -> Result<(), Fault> {
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

/// Creates the first copy's repository; `None` where there is one that opens. A missing password file is made.
pub fn create_repository(run: &Run, settings: &Settings) -> Result<Option<Repository>, Fault> {
    let Some(copy) = settings.repositories().next() else { return Ok(None) };
    let storage = wiring::storage(copy, run)?;
    let password = password_for(copy, storage.as_ref())?;
    match Repository::open(storage.clone(), password.expose()) {
        Ok(_) => return Ok(None),
        Err(repository::Error::NoRepository { .. }) => refuse_half(storage.as_ref())?,
        Err(error) => return Err(error.into()),
    }
    let average = chunk_bytes_average(bytes_source(run, settings));
    let cost = KdfCost::for_password(password.expose());
    Ok(Some(Repository::init(storage, password.expose(), cost, average, run.clock.now())?))
}

/// The password of a copy that may not be there yet. Where its file is missing, too, one is made up.
fn password_for(copy: &CopySettings, storage: &dyn Storage) -> Result<Secret, Fault> {
    let secret = copy.password()?;
    if let SecretSource::File(file) = secret
        && !file.exists()
    {
        if wiring::holds_repository(storage)? {
            let what = format!("the password file {} is missing, but there is a repository already", file.display());
            return Err(Fault::new(FaultKind::Config, what).with_hint("put the password of that repository there"));
        }
        write_password(file)?;
    }
    secret.read()
}

/// Key files without a `config` are what an interrupted `init` leaves, or what is left of a repository that was cut down.
fn refuse_half(storage: &dyn Storage) -> Result<(), Fault> {
    let keys = storage.list(FileKind::Key)?;
    let Some(first) = keys.first() else { return Ok(()) };
    let what =
        format!("{} holds a key file, {}, but no `config`", storage.location(), File::new(FileKind::Key, first.id));
    Err(Fault::new(FaultKind::AlreadyExists, what).with_hint(
        "if no backup was made there yet, an `init` was interrupted: delete the key file and run it again; \
         else bring `config` back, or name another place",
    ))
}

/// Larger chunks for very large sources: the index grows with their number (`docs/design/chunking.md`).
fn chunk_bytes_average(bytes_source: u64) -> u32 {
    match bytes_source >> 40 {
        0..=3 => repository::limits::CHUNK_BYTES_AVERAGE,
        4..=15 => repository::limits::CHUNK_BYTES_AVERAGE * 2,
        _ => repository::limits::CHUNK_BYTES_AVERAGE * 4,
    }
}

/// Bytes of all `files` sources, as far as they can be counted: only their magnitude matters. To count the others would
/// be to run commands and copy databases.
fn bytes_source(run: &Run, settings: &Settings) -> u64 {
    let count = |stack| {
        let names = files_sources(stack);
        if names.is_empty() {
            return Ok(0);
        }
        let sources = wiring::sources(stack, &names, wiring::Around::of(settings, &run.environment))?;
        let counts = backup::preview(&run.cx(), &sources, &[], &settings.state_dir.join("scratch"), &[])?;
        Ok::<u64, Fault>(counts.values().map(|counted| counted.bytes).sum())
    };
    settings.stacks.iter().filter_map(|stack| count(stack).ok()).sum()
}

fn files_sources(stack: &StackSettings) -> Vec<String> {
    let files = stack.sources.iter().filter(|source| matches!(source.kind, SourceKind::Files(_)));
    files.map(|source| source.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use operations::config::Environment;
    use repository::Id;
    use repository::storage::memory::MemoryStorage;

    use super::*;

    #[test]
    fn only_sources_of_files_are_counted_before_a_repository_is_made() {
        let text = "version: 1\nstate_dir: /s\npassword: p\ncopies: {disk: {url: /b}}\nstacks:\n  a: {sources: {\
                    run: {command: {run: 'false'}}, db: {sqlite: {paths: /d}}, one: {files: {paths: /f}}}}\n  \
                    b: {sources: {run: {command: {run: 'false'}}}}\n";
        let settings = config::parse(text, Path::new("/lifeboat.yaml"), &Environment::of_process()).unwrap();
        assert_eq!(files_sources(&settings.stacks[0]), ["one"]);
        assert_eq!(files_sources(&settings.stacks[1]), [""; 0]);
    }

    #[test]
    fn what_an_interrupted_init_left_is_named() {
        let storage = MemoryStorage::new();
        assert!(refuse_half(&storage).is_ok());
        let key = File::new(FileKind::Key, Id::of(b"key"));
        storage.put(key, b"key").unwrap();
        let fault = refuse_half(&storage).unwrap_err();
        assert_eq!(fault.kind, FaultKind::AlreadyExists);
        assert!(fault.message.contains(&key.to_string()), "{fault:?}");
    }

    #[test]
    fn stacks_are_named_after_folders() {
        assert_eq!(name_for(Path::new("/srv/My App")), "my-app");
        assert_eq!(name_for(Path::new("/")), "host");
        assert_eq!(name_for(Path::new("/srv/...")), "stack");
    }
}
