//! What is done around the backup of a stack: its hooks and those of its sources, and containers that stand still meanwhile.
//!
//! What comes after is done however the backup ended, also after a signal: `signals` waits for it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use connectors::containers::{FreezeOptions, Frozen, Halt};
use connectors::hook::Hook;
use operations::config::{HaltSettings, HookSettings, Hooks, OnError, SourceKind, SourceSettings, StackSettings};
use operations::manifest::SourceStatus;
use operations::surroundings::{Moved, Surroundings};
use operations::{Fault, FaultKind};
use repository::{Cancel, Error, Event, Problem, RunCx, SourceError};
use serde::Serialize;

use crate::app::App;
use crate::mask::Mask;
use crate::output::{Outcome, complain};
use crate::signals::Tidied;
use crate::wiring::{self, Around};

/// Characters of a command in messages.
const SHOWN_CHARS_MAX: usize = 60;

/// How a backup ended, as the hooks after it are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Ok,
    Partial,
    Failed,
    Cancelled,
}

impl Ended {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl From<SourceStatus> for Ended {
    fn from(status: SourceStatus) -> Self {
        match status {
            SourceStatus::Ok => Self::Ok,
            SourceStatus::Partial => Self::Partial,
        }
    }
}

/// What is told of a hook that failed.
#[derive(Clone, Debug, Serialize)]
pub struct FailedHook {
    /// `before` or `after`.
    hook: &'static str,
    /// The source that it belongs to; else it is the stack's.
    source: Option<String>,
    /// The command as it was typed.
    command: String,
    on_error: OnError,
    error: String,
}

impl std::fmt::Display for FailedHook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of = self.source.as_ref().map_or(String::new(), |source| format!(" of source {source}"));
        write!(f, "the `{}` hook `{}`{of} {}", self.hook, self.command, self.error)
    }
}

/// What is done around the backup of a stack.
pub struct AroundStack<'a> {
    app: &'a App,
    stack: &'a StackSettings,
    /// That of the sources, too: they may want the same containers halted.
    around: Around<'a>,
    mask: Mask,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    failed: Vec<FailedHook>,
    /// What the stack's own hooks make doubtful.
    doubts: Vec<Problem>,
    /// Sources before which something was done, and after which nothing yet.
    begun: Vec<String>,
    frozen: Option<Frozen>,
    moved: Option<Moved>,
    /// Sources that were read while something stood still, and how. What comes after them may need what stands still.
    read: Vec<(String, Ended)>,
    /// There is something to be done afterwards, so a run that is asked to stop is given the time to get there.
    owed: Option<Tidied>,
}

/// When a hook runs, of what, and what it is told besides.
struct Occasion<'a> {
    hook: &'static str,
    source: Option<&'a str>,
    ended: Option<Ended>,
    more: &'a [(&'static str, String)],
}

impl<'a> AroundStack<'a> {
    pub fn new(app: &'a App, stack: &'a StackSettings, around: Around<'a>) -> Self {
        Self { app, stack, around, mask: Mask::of(app), progress: Mutex::default() }
    }

    /// Runs the stack's hooks before all else.
    pub fn before(&self) -> Result<(), Fault> {
        if has_any(&self.stack.hooks) {
            self.owe();
        }
        let occasion = Occasion { hook: "before", source: None, ended: None, more: &[] };
        let problems = self.run_before(&self.stack.hooks, &occasion)?;
        self.progress().doubts = problems;
        Ok(())
    }

    /// Runs the stack's hooks after all else; nothing is owed any more. `snapshot` is the one that was taken, and `error` what kept
    /// it from that.
    pub fn after(&self, ended: Ended, snapshot: Option<String>, error: Option<String>) {
        let more: Vec<_> = [("LIFEBOAT_SNAPSHOT_ID", snapshot), ("LIFEBOAT_ERROR", error)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        self.run_after(&self.stack.hooks, &Occasion { hook: "after", source: None, ended: Some(ended), more: &more });
        self.progress().owed = None;
    }

    /// The hooks that failed.
    pub fn failed(&self) -> Vec<FailedHook> {
        self.progress().failed.clone()
    }

    /// Those among them that are worth mending, in words.
    pub fn faults(&self) -> Vec<String> {
        let progress = self.progress();
        let faults = progress.failed.iter().filter(|failed| failed.on_error != OnError::Continue);
        faults.map(ToString::to_string).collect()
    }

    /// What they make of a run that took its snapshot.
    pub fn outcome(&self) -> Outcome {
        let of_one = |failed: &FailedHook| match failed.on_error {
            OnError::Fail => Outcome::Bad,
            OnError::Warn => Outcome::Partial,
            OnError::Continue => Outcome::Ok,
        };
        self.progress().failed.iter().map(of_one).fold(Outcome::Ok, Outcome::and)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that something is to be done afterwards, until [`Self::after`] has done it.
    fn owe(&self) {
        let owed = self.app.run.tidying.owe();
        self.progress().owed.get_or_insert(owed);
    }

    /// Gives problems of hooks that failed and that the run goes on without.
    fn run_before(&self, hooks: &Hooks, occasion: &Occasion<'_>) -> Result<Vec<Problem>, Error> {
        let mut problems = Vec::new();
        for hook in &hooks.before {
            let Some(failed) = self.run(hook, occasion, &self.app.run.cancel)? else { continue };
            match hook.on_error {
                OnError::Fail => {
                    let what = format!("{failed}, so nothing was backed up; `--verbose` shows what it says");
                    return Err(SourceError::Unavailable { what }.into());
                }
                OnError::Warn => problems.push(Problem {
                    source: occasion.source.unwrap_or_default().to_owned(),
                    path: occasion.hook.to_owned(),
                    what: failed.to_string(),
                }),
                OnError::Continue => complain(&format!("{failed}; the run goes on")),
            }
        }
        Ok(problems)
    }

    /// Runs all of them, whatever comes of each and whether or not the backup was cancelled.
    fn run_after(&self, hooks: &Hooks, occasion: &Occasion<'_>) {
        if hooks.after.is_empty() {
            return;
        }
        let _patience = self.app.run.tidying.begin();
        for hook in &hooks.after {
            // Nobody sets this flag, so it is never cancelled.
            if let Ok(Some(failed)) = self.run(hook, occasion, &Cancel::new()) {
                complain(&failed.to_string());
            }
        }
    }

    /// Runs one. Gives how it failed; fails itself where the run was cancelled.
    fn run(&self, hook: &HookSettings, occasion: &Occasion<'_>, cancel: &Cancel) -> Result<Option<FailedHook>, Error> {
        let mut variables =
            vec![("LIFEBOAT_STACK", self.stack.name.clone()), ("LIFEBOAT_HOOK", occasion.hook.to_owned())];
        variables.extend(occasion.source.map(|source| ("LIFEBOAT_SOURCE", source.to_owned())));
        variables.extend(occasion.ended.map(|ended| ("LIFEBOAT_STATUS", ended.word().to_owned())));
        variables.extend(occasion.more.iter().cloned());
        let command = shown(&hook.run.to_string());
        let mut say = |line: &str| {
            let line = self.mask.masked(line);
            self.app.cx().events.emit(Event::Note(format!("{} `{command}`: {line}", occasion.hook)));
        };
        match self.wired(hook).run(&variables, cancel, &mut say) {
            Ok(()) => Ok(None),
            Err(SourceError::Cancelled) => Err(Error::Cancelled),
            Err(error) => {
                let source = occasion.source.map(str::to_owned);
                let (hook, on_error, error) = (occasion.hook, hook.on_error, error.to_string());
                let failed = FailedHook { hook, source, command, on_error, error };
                self.progress().failed.push(failed.clone());
                Ok(Some(failed))
            }
        }
    }

    fn wired(&self, hook: &HookSettings) -> Hook {
        Hook {
            run: wiring::run_line(&hook.run),
            container: hook.container.clone().map(wiring::container_name),
            folder: self.around.folder.to_owned(),
            timeout: hook.timeout,
            engine: self.around.engine(),
        }
    }

    fn settings_of(&self, source: &str) -> Option<&SourceSettings> {
        self.stack.sources.iter().find(|settings| settings.name == source)
    }

    /// What comes after a source, unless it was done.
    fn after_source(&self, source: &str, ended: Ended) {
        let begun = {
            let mut progress = self.progress();
            let place = progress.begun.iter().position(|begun| begun == source);
            place.map(|place| progress.begun.remove(place))
        };
        if let (Some(source), Some(settings)) = (&begun, self.settings_of(source)) {
            self.run_after(
                &settings.hooks,
                &Occasion { hook: "after", source: Some(source), ended: Some(ended), more: &[] },
            );
        }
    }
}

impl Surroundings for AroundStack<'_> {
    fn begin(&self, _: &RunCx<'_>, sources: &[&str]) -> Result<Vec<Problem>, Error> {
        let mut problems = self.progress().doubts.clone();
        for source in sources {
            let Some(settings) = self.settings_of(source) else { continue };
            if has_any(&settings.hooks) || is_halting(settings) {
                self.owe();
            }
            self.progress().begun.push((*source).to_owned());
            let occasion = Occasion { hook: "before", source: Some(source), ended: None, more: &[] };
            problems.extend(self.run_before(&settings.hooks, &occasion)?);
        }
        Ok(problems)
    }

    fn hold_still(&self, cx: &RunCx<'_>) -> Result<Vec<Problem>, Error> {
        let Some(freeze) = &self.stack.freeze else { return Ok(Vec::new()) };
        self.owe();
        let options = FreezeOptions {
            halt: match freeze.mode {
                HaltSettings::Stop => Halt::Stop,
                HaltSettings::Pause => Halt::Pause,
            },
            containers: wiring::frozen_containers(freeze),
            max_downtime: freeze.max_downtime,
            engine: self.around.engine(),
            halts: self.around.halts.clone(),
        };
        let begun = options.begin(cx.cancel, cx.clock, &mut |note| cx.events.emit(Event::Note(note)));
        let (frozen, problems) = begun.map_err(|error| match error {
            SourceError::Unavailable { what } => SourceError::unavailable(format!("freeze: {what}")),
            error => error,
        })?;
        let mut progress = self.progress();
        (progress.frozen, progress.moved) = (Some(frozen), None);
        Ok(problems)
    }

    fn is_still(&self) -> bool {
        self.progress().frozen.is_some()
    }

    fn moved(&self) -> Option<Moved> {
        let progress = self.progress();
        let now = progress.frozen.as_ref().and_then(Frozen::over).map(|at| self.moved_at(at));
        now.or_else(|| progress.moved.clone())
    }

    fn release(&self) -> Vec<Problem> {
        let Some(frozen) = self.progress().frozen.take() else { return Vec::new() };
        let moved = frozen.over().map(|at| self.moved_at(at));
        self.progress().moved = moved;
        let _patience = self.app.run.tidying.begin();
        let problems = frozen.release();
        let read = std::mem::take(&mut self.progress().read);
        read.iter().for_each(|(source, ended)| self.after_source(source, *ended));
        problems
    }

    fn was_read(&self, source: &str, status: SourceStatus) {
        if self.is_still() {
            self.progress().read.push((source.to_owned(), status.into()));
        } else {
            self.after_source(source, status.into());
        }
    }

    fn end(&self, failure: Option<&Error>) {
        self.release().iter().for_each(|problem| complain(&problem.to_string()));
        let ended = match failure {
            None => Ended::Ok,
            Some(Error::Cancelled) => Ended::Cancelled,
            Some(_) => Ended::Failed,
        };
        let left = self.progress().begun.clone();
        left.iter().for_each(|source| self.after_source(source, ended));
    }
}

impl AroundStack<'_> {
    fn moved_at(&self, at: jiff::Timestamp) -> Moved {
        let limit = self.stack.freeze.as_ref().map_or(0, |freeze| freeze.max_downtime.as_secs());
        let what = format!(
            "the containers went on after {limit} s (max_downtime), before this was read, so it is not of one moment with the \
             rest; give them more time, or let less be read meanwhile"
        );
        Moved { at, what }
    }
}

fn has_any(hooks: &Hooks) -> bool {
    !hooks.before.is_empty() || !hooks.after.is_empty()
}

/// Whether containers stand still while it is captured.
fn is_halting(source: &SourceSettings) -> bool {
    matches!(&source.kind, SourceKind::Volume(volume) if volume.halt.is_some())
}

/// How a run ended that failed.
pub fn ended(fault: &Fault) -> Ended {
    if fault.kind == FaultKind::Cancelled { Ended::Cancelled } else { Ended::Failed }
}

/// A command in a message: one line that is not long.
fn shown(command: &str) -> String {
    let line = command.lines().next().unwrap_or_default().trim();
    let is_cut = line.chars().count() > SHOWN_CHARS_MAX || command.trim().lines().count() > 1;
    let shown: String = line.chars().take(SHOWN_CHARS_MAX).collect();
    if is_cut { format!("{shown}…") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_in_one_short_line() {
        assert_eq!(shown("sync\n"), "sync");
        assert_eq!(shown("one\ntwo"), "one…");
        assert_eq!(shown(&"é".repeat(100)), format!("{}…", "é".repeat(SHOWN_CHARS_MAX)));
    }
}
