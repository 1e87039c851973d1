//! Containers that work with what is restored in place: named before anything is done, and with `--stop-containers` stopped
//! for it.
//!
//! They are started again on the data before, where nothing was swapped, or on what was restored, which was compared with
//! the snapshot by then; never on a mixture. A note of each outlives this process. Whoever finds one looks into the
//! journals of the swap first.

use std::path::{Path, PathBuf};

use connectors::containers::{ContainerState, Containers, EngineAddress, Halted, Halts, Replaced, User};
use operations::in_place::{self, Effect, Finding, Preview, ProcessesSeen};
use operations::{Fault, FaultKind};
use repository::{Event, Events as _, Problem, SourceError};

use crate::app::{App, Run};
use crate::arguments;

/// The containers of this machine that work with what is restored.
pub struct Users {
    containers: Option<Containers>,
    users: Vec<User>,
    halts: Halts,
    replaced: Replaced,
    /// They are to be stopped.
    stop: bool,
    /// The user stopped all that works with it.
    programs_stopped: bool,
    /// Why they could not be looked for, where there seems to be an engine.
    unknown: Option<String>,
}

impl Users {
    /// Looks for them. With `--stop-containers`, an engine that does not answer is a fault.
    pub fn of(app: &App, preview: &Preview, arguments: &arguments::Restore) -> Result<Self, Fault> {
        let (stop, programs_stopped) = (arguments.stop_containers, arguments.programs_stopped);
        let paths: Vec<_> = preview.targets.iter().map(|target| target.live.clone()).collect();
        let engine = EngineAddress::of(app.run.environment.variables());
        let found = engine.open(&app.run.cancel).and_then(|containers| {
            let users = containers.users(&paths)?;
            Ok((containers, users))
        });
        let (containers, users, unknown) = match found {
            Ok((containers, users)) => (Some(containers), users, None),
            Err(SourceError::Cancelled) => return Err(SourceError::Cancelled.into()),
            Err(error) if stop => return Err(error.into()),
            Err(error) => (None, Vec::new(), engine.is_expected().then(|| error.to_string())),
        };
        let halts = Halts::below(&app.settings.state_dir);
        let replaced = Replaced { paths, places: preview.places.clone() };
        Ok(Self { containers, users, halts, replaced, stop, programs_stopped, unknown })
    }

    /// What bears on the restore.
    pub fn findings(&self) -> Vec<Finding> {
        let of_user = |user: &User| {
            let shown = user.shown();
            let (effect, what) = match user.container.state {
                ContainerState::Running if self.stop => (
                    Effect::Warns,
                    format!("{shown} works with it: it is stopped for the restore, and started after it"),
                ),
                ContainerState::Running => (
                    Effect::BlocksUnlessForced,
                    format!("{shown} works with it: stop it first, or use --stop-containers"),
                ),
                ContainerState::Paused => {
                    (Effect::BlocksUnlessForced, format!("{shown} is paused, and would go on with it: stop it first"))
                }
                ContainerState::Stopped if self.halts.is_noted(&user.container) => {
                    let what = "is stopped by another run of Lifeboat, which will start it: wait for that run";
                    (Effect::BlocksUnlessForced, format!("{shown} {what}"))
                }
                ContainerState::Stopped => return None,
            };
            Some(Finding::new(effect, &user.path, what))
        };
        let unknown = self.unknown.as_ref().map(|error| {
            let what = format!("whether a container works with it is unknown: {error}");
            Finding::new(Effect::Warns, self.replaced.paths.first().map_or(Path::new("/"), PathBuf::as_path), what)
        });
        let seen = if self.containers.is_none() { in_place::processes_seen() } else { ProcessesSeen::All };
        let hidden = hidden(seen, self.programs_stopped).map(|(effect, what)| {
            let path = self.replaced.paths.first().map_or(Path::new("/"), PathBuf::as_path);
            Finding::new(effect, path, what)
        });
        self.users.iter().filter_map(of_user).chain(unknown).chain(hidden).collect()
    }

    /// The containers that work with what is restored, also those that stand still.
    pub fn all(&self) -> &[User] {
        &self.users
    }

    /// Whether programs that work with the files now will be gone once the restore begins. It looks again then.
    pub fn are_stopped(&self) -> bool {
        self.stop && self.users.iter().any(|user| user.container.state == ContainerState::Running)
    }

    /// Stops those that run, where that was asked for. Where it fails, all run again.
    pub fn stop(&self, app: &App) -> Result<Stopped, Fault> {
        let mut stopped = Stopped(Vec::new());
        let Some(containers) = self.containers.as_ref().filter(|_| self.stop) else { return Ok(stopped) };
        for user in &self.users {
            match self.halts.stop_for_restore(containers, &user.container, &self.replaced, &app.run.clock) {
                Ok(Some(halted)) => {
                    app.run.progress.emit(Event::Note(format!("{} is stopped", user.shown())));
                    stopped.0.push(halted);
                }
                Ok(None) => {}
                Err(error) => {
                    for problem in stopped.start() {
                        app.run.progress.emit(Event::Problem(problem));
                    }
                    return Err(error.into());
                }
            }
        }
        Ok(stopped)
    }
}

/// What is to be said where programs may work with the files that cannot be seen.
fn hidden(seen: ProcessesSeen, programs_stopped: bool) -> Option<(Effect, &'static str)> {
    match (seen, programs_stopped) {
        (ProcessesSeen::All, _) => None,
        (ProcessesSeen::OwnMachine, _) => Some((
            Effect::Warns,
            "only programs of this machine were looked at: where a folder is shared with others, stop what works with it there",
        )),
        (ProcessesSeen::Container, true) => Some((
            Effect::Warns,
            "whether a program works with it cannot be seen from inside this container; you said that none does",
        )),
        (ProcessesSeen::Container, false) => Some((
            Effect::BlocksUnlessForced,
            "whether a program works with it cannot be seen from inside this container: give the container the engine's \
             socket, or stop all programs that do and say so with --programs-stopped",
        )),
    }
}

/// Containers that were stopped. What drops them leaves them stopped, and their notes where they are.
pub struct Stopped(Vec<Halted>);

impl Stopped {
    /// Starts them again, the last first. Gives those that do not start.
    pub fn start(self) -> Vec<Problem> {
        let started = self.0.into_iter().rev().map(|halted| {
            let name = PathBuf::from(halted.name());
            halted.resume().map_err(|error| Problem::new(&name, error.to_string()))
        });
        started.filter_map(Result::err).collect()
    }

    /// Leaves them stopped. Says which.
    pub fn leave(self) -> Vec<String> {
        self.0.iter().map(|halted| halted.name().to_owned()).collect()
    }
}

/// Refuses to undo below a container that works with the files. Where no engine answers, nobody is in the way.
pub fn refuse_undo(run: &Run, targets: &[PathBuf]) -> Result<(), Fault> {
    let Ok(containers) = EngineAddress::of(run.environment.variables()).open(&run.cancel) else { return Ok(()) };
    let users = containers.users(targets)?;
    let up: Vec<_> = users.iter().filter(|user| user.is_up()).map(User::shown).collect();
    if up.is_empty() {
        return Ok(());
    }
    let what = format!("nothing was changed: {} works with what would be put back", up.join(", "));
    Err(Fault::new(FaultKind::Denied, what).with_hint("stop it first, or use --force"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_container_around_a_program_keeps_a_restore_from_beginning() {
        let effect = |seen, stopped| hidden(seen, stopped).map(|(effect, _)| effect);
        assert_eq!(effect(ProcessesSeen::All, false), None);
        assert_eq!(effect(ProcessesSeen::OwnMachine, false), Some(Effect::Warns));
        assert_eq!(effect(ProcessesSeen::Container, true), Some(Effect::Warns));
        assert_eq!(effect(ProcessesSeen::Container, false), Some(Effect::BlocksUnlessForced));
    }
}
