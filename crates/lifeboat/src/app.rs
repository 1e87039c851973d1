//! What every command works with: the configuration, the run's context, and the open copies.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use operations::backup::NamedSource;
use operations::config::{self, CopySettings, Environment, Settings, StackSettings};
use operations::drill::{self, Receipts};
use operations::snapshots::{self, LATEST, Resolved};
use operations::state::{Seen, State};
use operations::status::CopyFault;
use operations::{Fault, FaultKind, copies};
use repository::format::receipt::Receipt;
use repository::repository::Found;
use repository::{
    Cancel, Clock as _, Event, File, FileKind, Id, Index, Problem, Repository, RunCx, SystemClock, plausible,
};

use crate::arguments::Common;
use crate::open_archives;
use crate::output::Output;
use crate::progress::Progress;
use crate::signals::Tidying;
use crate::{sentinel, signals, wiring};

/// How old the memory of a copy may be before it is renewed.
const SEEN_AGAIN_AFTER: Duration = Duration::from_secs(60 * 60);

/// A run of the program without a configuration yet.
pub struct Run {
    pub environment: Environment,
    pub output: Output,
    pub progress: Progress,
    pub cancel: Cancel,
    pub clock: SystemClock,
    /// What must be done also after a signal.
    pub tidying: Tidying,
    /// `--config`, as given.
    pub config: Option<PathBuf>,
}

/// A run with its configuration.
pub struct App {
    pub run: Run,
    pub settings: Settings,
}

/// What came of opening several copies.
#[derive(Default)]
pub struct Each<'a> {
    /// Those that could be opened, in the order that was asked.
    pub opened: Vec<Opened<'a>>,
    /// Those that could not.
    pub faults: Vec<(&'a CopySettings, Fault)>,
    /// Those that could, and failed afterwards.
    pub failed: Vec<(&'a CopySettings, Fault)>,
}

/// A copy that was opened.
pub struct Opened<'a> {
    pub copy: &'a CopySettings,
    pub repository: Arc<Repository>,
}

impl Run {
    pub fn new(common: &Common, output: Output) -> Result<Self, Fault> {
        let cancel = Cancel::new();
        let tidying = signals::install(&cancel)?;
        Ok(Self {
            environment: Environment::of_process(),
            output,
            progress: Progress::new(output, common.verbose, common.progress),
            cancel,
            clock: SystemClock,
            tidying,
            config: common.config.clone(),
        })
    }

    pub fn cx(&self) -> RunCx<'_> {
        RunCx { events: &self.progress, cancel: &self.cancel, clock: &self.clock, lock: None }
    }

    /// Reads the configuration.
    pub fn configured(self) -> Result<App, Fault> {
        let settings = self.settings()?;
        Ok(App { run: self, settings })
    }

    /// The configuration, for what works without one too.
    pub fn settings(&self) -> Result<Settings, Fault> {
        match self.find_settings() {
            Ok(file) => self.settings_in(&file),
            Err(none) => self.settings_of_environment()?.ok_or(none),
        }
    }

    /// The configuration, where there is one.
    pub fn settings_if_any(&self) -> Result<Option<Settings>, Fault> {
        match self.find_settings() {
            Ok(file) => self.settings_in(&file).map(Some),
            Err(_) => self.settings_of_environment(),
        }
    }

    /// What ALTCHA Sentinel's variables configure, where any are set.
    pub fn settings_of_environment(&self) -> Result<Option<Settings>, Fault> {
        let settings = sentinel::settings(&self.environment)?;
        settings.iter().for_each(|settings| wiring::put_containers_right(settings, self));
        Ok(settings)
    }

    /// The configuration file that was named, or that lies in one of the usual places.
    pub fn find_settings(&self) -> Result<PathBuf, Fault> {
        config::find(self.config.as_deref(), &self.environment)
    }

    pub fn settings_in(&self, file: &Path) -> Result<Settings, Fault> {
        let settings = config::load(file, &self.environment)?;
        // Whatever is asked for, an application that an earlier run left halted comes first.
        wiring::put_containers_right(&settings, self);
        Ok(settings)
    }
}

impl App {
    pub fn cx(&self) -> RunCx<'_> {
        self.run.cx()
    }

    pub fn output(&self) -> Output {
        self.run.output
    }

    /// The repository called `name`, or the first one.
    pub fn repository(&self, name: Option<&str>) -> Result<&CopySettings, Fault> {
        self.repositories(name, None)?.first().copied().ok_or_else(no_copies)
    }

    /// As [`App::copies`], of those alone that are repositories. Naming an archive copy is a fault.
    pub fn repositories(&self, name: Option<&str>, stack: Option<&StackSettings>) -> Result<Vec<&CopySettings>, Fault> {
        let mut copies = self.copies(name, stack)?;
        if name.is_some() {
            copies.iter().try_for_each(|copy| copy.password().map(drop))?;
        }
        copies.retain(|copy| copy.archives().is_none());
        Ok(copies)
    }

    /// The copy called `name`; without a name, all in the order of preference: that of `stack`, where there is one.
    pub fn copies(&self, name: Option<&str>, stack: Option<&StackSettings>) -> Result<Vec<&CopySettings>, Fault> {
        match (name, stack) {
            (Some(name), _) => Ok(vec![self.settings.copy(name)?]),
            (None, Some(stack)) => stack.copies.iter().map(|name| self.settings.copy(name)).collect(),
            (None, None) => Ok(self.settings.copies.iter().collect()),
        }
    }

    /// The copy called `name`; without a name, all that are here. For commands that go through every copy.
    pub fn copies_here(&self, name: Option<&str>) -> Result<Vec<&CopySettings>, Fault> {
        let copies = self.copies(name, None)?;
        if name.is_some() { Ok(copies) } else { self.here(copies) }
    }

    /// `copies` without the removable ones that are somewhere else just now; these are named. Where none is left, all stay, so
    /// that whoever opens them says why nothing was done.
    pub fn here<'a>(&self, copies: Vec<&'a CopySettings>) -> Result<Vec<&'a CopySettings>, Fault> {
        let mut here = Vec::new();
        let mut absent = Vec::new();
        for copy in &copies {
            if self.is_absent(copy)? { absent.push(*copy) } else { here.push(*copy) }
        }
        if here.is_empty() {
            return Ok(copies);
        }
        absent.iter().for_each(|copy| self.output().absent(&copy.name));
        Ok(here)
    }

    /// Whether a copy is removable, and nothing of it is at its place.
    pub fn is_absent(&self, copy: &CopySettings) -> Result<bool, Fault> {
        if !copy.removable {
            return Ok(false);
        }
        let found = match copy.archives() {
            Some(settings) => open_archives::open(self, copy, settings).map(|_| true),
            None => wiring::storage(copy, &self.run)
                .and_then(|storage| Ok(Repository::found_at(storage.as_ref())? != Found::Nothing)),
        };
        match found {
            Ok(is_there) => Ok(!is_there),
            Err(fault) if fault.kind == FaultKind::Cancelled => Err(fault),
            // Whatever else is wrong, who opens it says.
            Err(fault) => Ok(CopyFault::from(fault).is_absence()),
        }
    }

    /// Opens a copy with the password that the configuration gives it.
    pub fn open(&self, copy: &CopySettings) -> Result<Arc<Repository>, Fault> {
        let repository = wiring::open(copy, &copy.password()?.read()?, &self.run)?;
        self.remember_seen(copy, &repository);
        Ok(repository)
    }

    /// Opens a copy for what goes by it alone. Another repository in its place is refused: it is not changed, and what it shows
    /// is not said of the copy.
    pub fn open_own(&self, copy: &CopySettings) -> Result<Arc<Repository>, Fault> {
        let repository = self.open(copy)?;
        match self.was_seen_otherwise(copy, &repository) {
            Some(seen) => Err(stranger(copy, &seen)),
            None => Ok(repository),
        }
    }

    /// What this host remembers of `copy`, where it was another repository than this one.
    fn was_seen_otherwise(&self, copy: &CopySettings, repository: &Repository) -> Option<Seen> {
        let is_other = |before: Id| before != repository.config().id;
        self.state().repository_seen(copy).is_some_and(is_other).then(|| self.state().last_seen(copy)).flatten()
    }

    /// Opens a copy for a backup, which may rely on what this host has read of it before. Nothing that proves a copy, or
    /// says how it is, may do so.
    fn open_cached(&self, copy: &CopySettings) -> Result<Arc<Repository>, Fault> {
        // What is on this machine is as near as its cache would be.
        if copy.location.local().is_some() {
            return self.open(copy);
        }
        let folder = self.state().cache_of(copy);
        let repository = wiring::open_cached(copy, &copy.password()?.read()?, &self.run, folder)?;
        self.remember_seen(copy, &repository);
        Ok(repository)
    }

    fn remember_seen(&self, copy: &CopySettings, repository: &Repository) {
        if self.was_seen_otherwise(copy, repository).is_some() {
            // What is known of the copy tells a stranger in its place from it.
            return;
        }
        let (now, repository) = (self.run.clock.now(), repository.config().id);
        let is_news = self
            .state()
            .last_seen(copy)
            .is_none_or(|seen| now.duration_since(seen.at).unsigned_abs() > SEEN_AGAIN_AFTER);
        if is_news {
            // Who may read a copy may not always write state; then nobody relies on it.
            let _ = self.state().save_seen(copy, &Seen { at: now, repository });
        }
    }

    /// What this host remembers.
    pub fn state(&self) -> State {
        State::below(&self.settings.state_dir, &self.settings.file)
    }

    /// Opens the first of `copies` that can be opened. Those before it are passed over and named.
    pub fn open_first<'a>(&self, copies: &[&'a CopySettings]) -> Result<Opened<'a>, Fault> {
        let mut faults = Vec::new();
        for copy in copies {
            match self.open(copy) {
                Ok(repository) => {
                    self.say_passed_over(&faults);
                    return Ok(Opened { copy, repository });
                }
                Err(fault) if fault.kind == FaultKind::Cancelled => return Err(fault),
                Err(fault) => faults.push((*copy, fault)),
            }
        }
        Err(self.none_opened(faults))
    }

    /// Opens all of `copies` that can be opened, at once: each costs a key derivation, and one that is away costs patience.
    pub fn open_each<'a>(&self, copies: &[&'a CopySettings]) -> Result<Each<'a>, Fault> {
        self.each(copies, &|copy| self.open(copy))
    }

    /// The same for a backup.
    pub fn open_each_cached<'a>(&self, copies: &[&'a CopySettings]) -> Result<Each<'a>, Fault> {
        self.each(copies, &|copy| self.open_cached(copy))
    }

    fn each<'a>(
        &self,
        copies: &[&'a CopySettings],
        open: &(dyn Fn(&CopySettings) -> Result<Arc<Repository>, Fault> + Sync),
    ) -> Result<Each<'a>, Fault> {
        let opened: Vec<_> = std::thread::scope(|scope| {
            let open = |copy: &'a CopySettings| scope.spawn(move || open(copy));
            let threads: Vec<_> = copies.iter().map(|copy| (*copy, open(copy))).collect();
            let panicked = |_| Err(Fault::new(FaultKind::Failed, "opening it panicked"));
            threads.into_iter().map(|(copy, thread)| (copy, thread.join().unwrap_or_else(panicked))).collect()
        });
        let mut each = Each::default();
        for (copy, opened) in opened {
            match opened {
                Ok(repository) => each.opened.push(Opened { copy, repository }),
                Err(fault) if fault.kind == FaultKind::Cancelled => return Err(fault),
                Err(fault) => each.faults.push((copy, fault)),
            }
        }
        self.turn_strangers_away(&mut each);
        Ok(each)
    }

    /// Takes out what is not the repository that the others are copies of, so that nothing is written there, and none of the
    /// others is blamed for it.
    fn turn_strangers_away(&self, each: &mut Each<'_>) {
        let state = self.state();
        let place = |opened: &Opened<'_>| (opened.repository.config().id, state.repository_seen(opened.copy));
        let mut strangers = copies::strangers(&each.opened.iter().map(place).collect::<Vec<_>>()).into_iter();
        let (away, here): (Vec<_>, Vec<_>) =
            std::mem::take(&mut each.opened).into_iter().partition(|_| strangers.next().unwrap_or(false));
        for Opened { copy, repository } in away {
            let fault = match (self.was_seen_otherwise(copy, &repository), here.first()) {
                (None, Some(first)) => not_a_copy_of(&first.copy.name),
                (Some(seen), _) => stranger(copy, &seen),
                (None, None) => no_copies(),
            };
            each.faults.push((copy, fault));
        }
        each.opened = here;
    }

    /// Opens all of `copies` that can be opened, at least one. The others are passed over and named.
    pub fn open_all<'a>(&self, copies: &[&'a CopySettings]) -> Result<Vec<Opened<'a>>, Fault> {
        let Each { opened, faults, .. } = self.open_each(copies)?;
        if opened.is_empty() {
            return Err(self.none_opened(faults));
        }
        self.say_passed_over(&faults);
        Ok(opened)
    }

    /// Finds the snapshot called `name` in the first of `copies` that has it. `latest` is the newest of all that are in
    /// reach, so that a copy that lags behind does not pass off an old one as the newest.
    pub fn find_snapshot<'a>(
        &self,
        copies: &[&'a CopySettings],
        name: &str,
        stack: Option<&str>,
    ) -> Result<(Opened<'a>, Resolved), Fault> {
        if name == LATEST {
            let mut opened = self.open_all(copies)?;
            let repositories: Vec<&Repository> = opened.iter().map(|opened| &*opened.repository).collect();
            let (number, found) = snapshots::latest_among(&self.cx(), &repositories, stack)?;
            return Ok((opened.swap_remove(number), found));
        }
        let mut faults = Vec::new();
        for copy in copies {
            let found = self.open(copy).and_then(|repository| {
                let found = snapshots::resolve_noting_doubts(&self.cx(), &repository, name, stack)?;
                Ok((Opened { copy, repository }, found))
            });
            match found {
                Ok(found) => {
                    // That a copy does not have it is nothing to worry about.
                    faults.retain(|(_, fault): &(_, Fault)| fault.kind != FaultKind::NotFound);
                    self.say_passed_over(&faults);
                    return Ok(found);
                }
                Err(fault) if fault.kind == FaultKind::Cancelled => return Err(fault),
                Err(fault) => faults.push((*copy, fault)),
            }
        }
        // Where no copy has it, what keeps it from being found elsewhere matters more than that it is not here.
        faults.sort_by_key(|(_, fault)| fault.kind == FaultKind::NotFound);
        Err(self.none_opened(faults))
    }

    fn say_passed_over(&self, faults: &[(&CopySettings, Fault)]) {
        for (copy, fault) in faults {
            self.output().passed_over(&copy.name, fault);
        }
    }

    /// The first fault; those after it are said at once.
    pub fn none_opened(&self, mut faults: Vec<(&CopySettings, Fault)>) -> Fault {
        if faults.is_empty() {
            return no_copies();
        }
        let is_alone = faults.len() == 1;
        let (copy, mut first) = faults.remove(0);
        self.say_passed_over(&faults);
        if !is_alone {
            first.message = format!("copy {}: {}", copy.name, first.message);
        }
        first
    }

    /// The index for a command that only reads. A damaged index file is named, and what the others list can be read all
    /// the same: a copy that cannot be written, and so not be healed, must not be lost for that.
    pub fn index(&self, repository: &Repository) -> Result<Index, Fault> {
        let (index, damaged) = Index::load_readable(&self.cx(), repository)?;
        for (id, error) in damaged {
            let what = format!("{error}; what only this index lists is not found: run `lifeboat heal`");
            let path = File::new(FileKind::Index, id).path();
            self.cx().events.emit(Event::Problem(Problem { source: String::new(), path, what }));
        }
        Ok(index)
    }

    /// Says in a preview that nothing would be removed while the clock cannot be right.
    pub fn say_doubt_of_clock(&self, repository: &Repository) -> Result<(), Fault> {
        let snapshots = repository.snapshots_readable(&self.run.cancel)?.0;
        let newest = snapshots.last().map(|(id, snapshot)| (id.short(), snapshot.time.into()));
        if let Some(what) = plausible::doubt(self.run.clock.now(), newest, None) {
            self.output().text(format!("but nothing is removed while the clock cannot be right: {what}"));
        }
        Ok(())
    }

    /// The receipts of a copy for a command that only reads, oldest first. One that could not be read is named.
    pub fn receipts(&self, repository: &Repository) -> Result<Vec<Receipt>, Fault> {
        let Receipts { read, unread } = drill::receipts(repository)?;
        for (id, error) in unread {
            let (path, what) =
                (File::new(FileKind::Receipt, id).path(), format!("{error}; what it proves is not shown"));
            self.cx().events.emit(Event::Problem(Problem { source: String::new(), path, what }));
        }
        Ok(read)
    }

    /// Refuses the name of a stack that neither the configuration nor any snapshot knows. `is_found` says whether there are
    /// snapshots of it.
    pub fn check_stack(&self, name: Option<&str>, is_found: bool) -> Result<(), Fault> {
        match name {
            Some(name) if !is_found => self.settings.stack(name).map(drop),
            _ => Ok(()),
        }
    }

    /// The stacks called `names`, or all.
    pub fn stacks(&self, names: &[String]) -> Result<Vec<&StackSettings>, Fault> {
        if names.is_empty() {
            return Ok(self.settings.stacks.iter().collect());
        }
        names.iter().map(|name| self.settings.stack(name)).collect()
    }

    /// The sources of a stack; only those named, where any are.
    pub fn sources(&self, stack: &StackSettings, only: &[String]) -> Result<Vec<NamedSource>, Fault> {
        wiring::sources(stack, only, wiring::Around::of(&self.settings, &self.run.environment))
    }

    /// Where runs make their temporary folders.
    pub fn scratch(&self) -> PathBuf {
        self.settings.state_dir.join("scratch")
    }

    /// What is never backed up: the copies, the state that may be deleted, and the files with the passwords of the copies.
    /// Those would come back with an old password after it was changed, and are of no use to who cannot read the backup.
    pub fn own_paths(&self) -> Vec<PathBuf> {
        let copies = self.settings.copies.iter().filter_map(|copy| copy.location.local()).map(Path::to_owned);
        let secrets = self.settings.secret_files().into_iter().map(Path::to_owned);
        copies.chain(secrets).chain([self.settings.state_dir.clone()]).collect()
    }
}

/// What is to be said of the place of a copy that this host has seen there, and that is empty now.
pub fn gone(copy: &CopySettings, seen: &Seen) -> Fault {
    let (name, day) = (&copy.name, seen.at.strftime("%Y-%m-%d"));
    let what = format!("{} held it on {day}, and nothing is there now", copy.location);
    Fault::new(FaultKind::NoRepository, what).with_hint(format!(
        "mount its disk; where it is gone for good, `lifeboat init --anew {name}` makes it anew out of the other copies"
    ))
}

/// What is to be said of a repository at the place of a copy that is none of the others' copies.
pub fn not_a_copy_of(first: &str) -> Fault {
    Fault::new(FaultKind::Config, format!("it is a repository of its own, not a copy of copy {first}"))
        .with_hint("name another place for the copy, or give this repository a configuration of its own")
}

/// What is to be said of another repository in the place of a copy that this host has seen there.
pub fn stranger(copy: &CopySettings, seen: &Seen) -> Fault {
    let (name, day) = (&copy.name, seen.at.strftime("%Y-%m-%d"));
    let what = format!("it is a repository of its own, not the one that was at {} on {day}", copy.location);
    Fault::new(FaultKind::Config, what).with_hint(format!(
        "if disks were swapped, put the right one there; `lifeboat init --anew {name}` takes this one from now on"
    ))
}

fn no_copies() -> Fault {
    Fault::new(FaultKind::Config, "the configuration names no copy").with_hint("add one below `copies:`")
}
