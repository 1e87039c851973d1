//! The copies that `init` makes: out of one that opens, and a new repository only where there is none to make them of.
//! It must never put an unrelated repository in the place of a copy whose disk is only not mounted.

use std::sync::Arc;

use operations::config::{CopySettings, Secret, SecretSource, Settings, SourceKind, StackSettings};
use operations::state::{Seen, State};
use operations::{Fault, FaultKind, backup};
use repository::format::key_file::KdfCost;
use repository::repository::Found;
use repository::{Clock as _, File, FileKind, Id, Repository, Storage};

use super::write_password;
use crate::app::{Run, gone, not_a_copy_of, stranger};
use crate::output::Outcome;
use crate::wiring;

/// What came of making the copies.
pub struct Made {
    /// Where the repository lies that the others are copies of; empty where all copies keep archives.
    pub repository: String,
    /// Whether it was created, rather than found.
    pub is_new: bool,
    /// Partial where a copy is neither there nor could be made.
    pub outcome: Outcome,
}

/// What lies in the place of a copy.
enum Standing {
    /// A repository that opens.
    Open(Arc<Repository>),
    /// Nothing, and nothing that is known to have been there.
    Free(Arc<dyn Storage>),
    /// Key files alone, as an `init` leaves them that was interrupted. A copy can be made there; a new repository cannot.
    Half(Arc<dyn Storage>),
    /// Nothing, where this host has seen a repository.
    Gone(Fault),
    /// What keeps it from being looked into.
    Closed(Fault),
}

/// Makes the copies that are not there yet. Those called in `anew` are made even where this host has seen a repository: an
/// emptied place looks like one that is not mounted, so that somebody has to say it.
pub fn run(run: &Run, settings: &Settings, anew: &[String]) -> Result<Made, Fault> {
    let state = State::below(&settings.state_dir, &settings.file);
    let outcome = begin_archives(run, settings, &state, anew)?;
    let mut standings = Vec::new();
    for copy in settings.repositories() {
        let is_meant = anew.contains(&copy.name);
        standings.push((copy, standing(run, copy, &state, is_meant)?));
    }
    if standings.is_empty() {
        return Ok(Made { repository: String::new(), is_new: false, outcome });
    }
    let (first, from, is_new) = match standings.iter().position(|(_, standing)| matches!(standing, Standing::Open(_))) {
        Some(open) => {
            let (copy, Standing::Open(repository)) = standings.remove(open) else { return Err(none_found()) };
            run.output.text(format!("there is a repository in {} already; it opens", copy.location));
            (copy, repository, false)
        }
        None => {
            if anew.is_empty() {
                refuse_beside_archives(run, settings)?;
            }
            let (copy, repository) = create(run, settings, &state, &mut standings)?;
            run.output.text(format!("created a repository in {}", copy.location));
            (copy, repository, true)
        }
    };
    remember(run, &state, first, &from);
    let others = make_others(run, &state, (&first.name, &from), standings)?;
    Ok(Made { repository: first.location.to_string(), is_new, outcome: outcome.and(others) })
}

fn standing(run: &Run, copy: &CopySettings, state: &State, is_meant: bool) -> Result<Standing, Fault> {
    match look(run, copy, state, is_meant) {
        Err(fault) if fault.kind == FaultKind::Cancelled => Err(fault),
        Err(fault) => Ok(Standing::Closed(fault)),
        Ok(standing) => Ok(standing),
    }
}

fn look(run: &Run, copy: &CopySettings, state: &State, is_meant: bool) -> Result<Standing, Fault> {
    let storage = wiring::storage(copy, run)?;
    let seen = state.last_seen(copy).filter(|_| !is_meant);
    match (Repository::found_at(storage.as_ref())?, seen) {
        // A copy that is made over what is left of it has that again.
        (Found::Remains, _) if is_meant => Ok(Standing::Free(storage)),
        (Found::Remains | Found::Repository, seen) => {
            let password = password(copy)?.ok_or_else(|| password_is_missing(copy))?;
            let repository = Repository::open(storage, password.expose())?;
            let is_other = |seen: &Seen| ![Id::ZERO, repository.config().id].contains(&seen.repository);
            match seen.filter(is_other) {
                Some(seen) => Err(stranger(copy, &seen)),
                None => Ok(Standing::Open(Arc::new(repository))),
            }
        }
        (Found::Keys, None) => Ok(Standing::Half(storage)),
        (Found::Keys, Some(_)) => Err(half(storage.as_ref())),
        (Found::Nothing, None) => Ok(Standing::Free(storage)),
        (Found::Nothing, Some(seen)) => Ok(Standing::Gone(gone(copy, &seen))),
    }
}

/// Creates a repository in the first place that is free. Fails where a copy holds or held one: what is made here would be
/// unrelated to it.
fn create<'a>(
    run: &Run,
    settings: &Settings,
    state: &State,
    standings: &mut Vec<(&'a CopySettings, Standing)>,
) -> Result<(&'a CopySettings, Arc<Repository>), Fault> {
    // A place that does not answer and never did is named, and keeps nobody from beginning.
    let is_away = |fault: &Fault| matches!(fault.kind, FaultKind::Storage | FaultKind::Denied);
    let forbids = |(copy, standing): &(&CopySettings, Standing)| match standing {
        Standing::Gone(_) | Standing::Half(_) => true,
        Standing::Closed(fault) => !is_away(fault) || state.last_seen(copy).is_some(),
        Standing::Open(_) | Standing::Free(_) => false,
    };
    let position = match standings.iter().position(forbids) {
        None => standings.iter().position(|(_, standing)| matches!(standing, Standing::Free(_))),
        forbidden => return Err(fault_of(standings, forbidden)),
    };
    let Some(position) = position else { return Err(fault_of(standings, Some(0))) };
    let (copy, Standing::Free(storage)) = standings.remove(position) else { return Err(none_found()) };
    let password = made_password(copy)?;
    let average = chunk_bytes_average(bytes_source(run, settings));
    let cost = KdfCost::for_password(password.expose());
    let created = Repository::init(storage, password.expose(), cost, average, run.clock.now())?;
    Ok((copy, Arc::new(created)))
}

/// What keeps the copy at `position` from being used, with its name where there are several.
fn fault_of(standings: &mut Vec<(&CopySettings, Standing)>, position: Option<usize>) -> Fault {
    let is_alone = standings.len() == 1;
    let (copy, mut fault) = match position.map(|position| standings.remove(position)) {
        Some((copy, Standing::Gone(fault) | Standing::Closed(fault))) => (copy, fault),
        Some((copy, Standing::Half(storage))) => (copy, half(storage.as_ref())),
        Some((_, Standing::Open(_) | Standing::Free(_))) | None => return none_found(),
    };
    if !is_alone {
        fault.message = format!("copy {}: {}", copy.name, fault.message);
    }
    fault
}

fn none_found() -> Fault {
    Fault::new(FaultKind::NoRepository, "no copy opens").with_hint("see `lifeboat config check`")
}

/// Makes the other copies: empty ones, which backups and `sync` fill.
fn make_others(
    run: &Run,
    state: &State,
    (first, from): (&str, &Repository),
    standings: Vec<(&CopySettings, Standing)>,
) -> Result<Outcome, Fault> {
    let mut outcome = Outcome::Ok;
    for (copy, standing) in standings {
        let fault = match standing {
            // By its name it would be healed and filled with the others, and it never can be.
            Standing::Open(repository) if !repository.is_copy_of(from) => not_a_copy_of(first),
            Standing::Open(repository) => {
                remember(run, state, copy, &repository);
                run.output.text(format!("copy {}: there is a repository in {}; it opens", copy.name, copy.location));
                continue;
            }
            Standing::Free(storage) | Standing::Half(storage) => match make_copy(run, copy, from, storage) {
                Ok(repository) => {
                    remember(run, state, copy, &repository);
                    run.output.text(format!("created copy {} in {}; backups fill it", copy.name, copy.location));
                    continue;
                }
                Err(fault) => fault,
            },
            Standing::Gone(fault) | Standing::Closed(fault) => fault,
        };
        if fault.kind == FaultKind::Cancelled {
            return Err(fault);
        }
        run.output.passed_over(&copy.name, &fault);
        outcome = Outcome::Partial;
    }
    Ok(outcome)
}

fn make_copy(
    run: &Run,
    copy: &CopySettings,
    from: &Repository,
    storage: Arc<dyn Storage>,
) -> Result<Repository, Fault> {
    let password = made_password(copy)?;
    let cost = KdfCost::for_password(password.expose());
    Ok(Repository::init_copy(from, storage, password.expose(), cost, run.clock.now())?)
}

/// So that a disk which is not mounted the next time is not taken for a free place.
fn remember(run: &Run, state: &State, copy: &CopySettings, repository: &Repository) {
    // Who may read a copy may not always write state; then nobody relies on it.
    let _ = state.save_seen(copy, &Seen { at: run.clock.now(), repository: repository.config().id });
}

/// Begins the archive copies that are not there yet; see [`run`].
fn begin_archives(run: &Run, settings: &Settings, state: &State, anew: &[String]) -> Result<Outcome, Fault> {
    let mut outcome = Outcome::Ok;
    for copy in &settings.copies {
        let Some(archives) = copy.archives() else { continue };
        let seen = state.last_seen(copy).filter(|_| !anew.contains(&copy.name));
        match crate::open_archives::begin(run, copy, archives, seen.as_ref()) {
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

/// Refuses a new repository where an archive copy still has archives of these stacks: the host was lost, and the first backup of
/// an application that holds nothing yet would be the newest of them, and pass for what is to be restored.
fn refuse_beside_archives(run: &Run, settings: &Settings) -> Result<(), Fault> {
    for copy in settings.copies.iter().filter(|copy| copy.archives().is_some()) {
        // One that is away was named before.
        let held = crate::open_archives::held(run, copy).unwrap_or_default();
        let Some(newest) = held.iter().rfind(|archived| settings.stack(&archived.stack).is_ok()) else { continue };
        let (stack, name) = (&newest.stack, &copy.name);
        let what = format!(
            "copy {name} has archives of stack {stack}, the newest of {}, and the repository that they were made out of is not \
             here; a backup of what is here now would be taken for the newest of them",
            newest.time.strftime("%Y-%m-%d %H:%M UTC")
        );
        return Err(Fault::new(FaultKind::NoRepository, what).with_hint(format!(
            "restore first: `lifeboat snapshots --copy {name}` lists them; then `lifeboat init --anew {name}` begins a new \
             repository, also where they are another host's"
        )));
    }
    Ok(())
}

/// The password of a copy; `None` where its file is not there.
fn password(copy: &CopySettings) -> Result<Option<Secret>, Fault> {
    match copy.password()? {
        SecretSource::File(file) if !file.exists() => Ok(None),
        secret => secret.read().map(Some),
    }
}

/// The password of a copy that is about to be made. Where its file is missing, too, one is made up.
fn made_password(copy: &CopySettings) -> Result<Secret, Fault> {
    let secret = copy.password()?;
    if let SecretSource::File(file) = secret
        && !file.exists()
    {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|error| Fault::local(format!("cannot make {}", folder.display()), error))?;
        }
        write_password(file)?;
    }
    secret.read()
}

fn password_is_missing(copy: &CopySettings) -> Fault {
    let whence = copy.password().map_or_else(|_| String::new(), ToString::to_string);
    Fault::new(FaultKind::Config, format!("the password is missing, but there is a repository already: {whence}"))
        .with_hint("put the password of that repository there")
}

/// Key files without a `config` are what an interrupted `init` leaves, or what is left of a repository that was cut down.
fn half(storage: &dyn Storage) -> Fault {
    let keys = match storage.list(FileKind::Key) {
        Ok(keys) => keys,
        Err(error) => return error.into(),
    };
    let files: Vec<String> = keys.iter().map(|listed| File::new(FileKind::Key, listed.id).path()).collect();
    let what = format!("{} holds key files, {}, but no `config`", storage.location(), files.join(", "));
    Fault::new(FaultKind::AlreadyExists, what).with_hint(
        "if no backup was made there yet, an `init` was interrupted: delete them and run it again; else bring `config` back, or \
         name another place",
    )
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
    use std::path::Path;

    use operations::config::{self, Environment};
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
        let key = File::new(FileKind::Key, Id::of(b"key"));
        storage.put(key, b"key").unwrap();
        let fault = half(&storage);
        assert_eq!(fault.kind, FaultKind::AlreadyExists);
        assert!(fault.message.contains(&key.to_string()), "{fault:?}");
    }
}
