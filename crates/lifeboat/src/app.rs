//! What every command works with: the configuration, the run's context, and the open copies.

use std::path::PathBuf;
use std::sync::Arc;

use operations::backup::NamedSource;
use operations::config::{self, CopySettings, Environment, Settings, StackSettings};
use operations::{Fault, FaultKind};
use repository::{Cancel, Event, File, FileKind, Index, Problem, Repository, RunCx, SystemClock};

use crate::arguments::Common;
use crate::output::Output;
use crate::progress::Progress;
use crate::{signals, wiring};

/// A run of the program without a configuration yet.
pub struct Run {
    pub environment: Environment,
    pub output: Output,
    pub progress: Progress,
    pub cancel: Cancel,
    pub clock: SystemClock,
    /// `--config`, as given.
    pub config: Option<PathBuf>,
}

/// A run with its configuration.
pub struct App {
    pub run: Run,
    pub settings: Settings,
}

impl Run {
    pub fn new(common: &Common, output: Output) -> Result<Self, Fault> {
        let cancel = Cancel::new();
        signals::install(&cancel)?;
        Ok(Self {
            environment: Environment::of_process(),
            output,
            progress: Progress::new(output, common.verbose),
            cancel,
            clock: SystemClock,
            config: common.config.clone(),
        })
    }

    pub fn cx(&self) -> RunCx<'_> {
        RunCx { events: &self.progress, cancel: &self.cancel, clock: &self.clock }
    }

    /// Reads the configuration.
    pub fn configured(self) -> Result<App, Fault> {
        let file = config::find(self.config.as_deref(), &self.environment)?;
        let settings = config::load(&file, &self.environment)?;
        Ok(App { run: self, settings })
    }
}

impl App {
    pub fn cx(&self) -> RunCx<'_> {
        self.run.cx()
    }

    pub fn output(&self) -> Output {
        self.run.output
    }

    /// The copy called `name`, or the first one.
    pub fn copy(&self, name: Option<&str>) -> Result<&CopySettings, Fault> {
        match name {
            Some(name) => self.settings.copy(name),
            None => self.settings.copies.first().ok_or_else(no_copies),
        }
    }

    /// Opens a copy with the configured password.
    pub fn open(&self, copy: &CopySettings) -> Result<Arc<Repository>, Fault> {
        let password = self.settings.password.read()?;
        wiring::open(copy, &password, &self.run)
    }

    /// Opens the copy called `name`, or the first one.
    pub fn open_named(&self, name: Option<&str>) -> Result<Arc<Repository>, Fault> {
        self.open(self.copy(name)?)
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

    /// The stacks called `names`, or all.
    pub fn stacks(&self, names: &[String]) -> Result<Vec<&StackSettings>, Fault> {
        if names.is_empty() {
            return Ok(self.settings.stacks.iter().collect());
        }
        names.iter().map(|name| self.settings.stack(name)).collect()
    }

    /// The sources of a stack; only those named, where any are.
    pub fn sources(&self, stack: &StackSettings, only: &[String]) -> Result<Vec<NamedSource>, Fault> {
        wiring::sources(stack, only, self.settings.folder(), &self.run.environment)
    }

    /// Where runs make their temporary folders.
    pub fn scratch(&self) -> PathBuf {
        self.settings.state_dir.join("scratch")
    }

    /// What is never backed up: the copies, and the state that may be deleted.
    pub fn own_paths(&self) -> Vec<PathBuf> {
        let copies = self.settings.copies.iter().map(|copy| copy.path.clone());
        copies.chain([self.settings.state_dir.clone()]).collect()
    }
}

fn no_copies() -> Fault {
    Fault::new(FaultKind::Config, "the configuration names no copy").with_hint("add one below `copies:`")
}
