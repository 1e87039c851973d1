//! Source `volume`: the files of a named volume, out of the folder where the container engine keeps them.
//!
//! Where it is asked for, the containers that use the volume are stopped or paused until all was read.

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use repository::source::VOLUME_FACT;
use repository::{Cancel, Capture, CaptureCx, Event, Facts, Item, Problem, Source, SourceError};
use serde_json::Value;

use super::files::{FilesOptions, FilesSource};
use crate::containers::{Containers, EngineAddress, Halt, Halted, Halts, Mount};

/// The kind's name in the configuration.
pub const KIND: &str = "volume";

/// What a [`VolumeSource`] captures.
#[derive(Clone, Debug)]
pub struct VolumeOptions {
    /// The volume's name, as the engine knows it.
    pub name: String,
    /// Gitignore patterns of what is left out, anchored at the volume.
    pub exclude: Vec<String>,
    /// Gitignore patterns, anchored as `exclude`, of files that only ever grow between rewrites.
    pub append_only: Vec<String>,
    /// After this long, append-only files are read in full again.
    pub full_read: Duration,
    /// Whether the containers that use it are halted meanwhile.
    pub halt: Option<Halt>,
    /// Where the engine is.
    pub engine: EngineAddress,
    /// Where it is noted which containers are halted.
    pub halts: Halts,
}

/// A volume.
#[derive(Debug)]
pub struct VolumeSource(VolumeOptions);

impl VolumeSource {
    /// Asks the engine nothing yet.
    pub fn new(options: VolumeOptions) -> Self {
        Self(options)
    }

    /// Halts every container that runs and uses the volume.
    fn halt(&self, halt: Halt, cx: &CaptureCx<'_>) -> Result<Vec<Halted>, SourceError> {
        let options = &self.0;
        let containers: Containers = options.engine.open(cx.cancel)?;
        let mut halted = Vec::new();
        for container in containers.containers()? {
            let uses = |mount: &Mount| matches!(mount, Mount::Volume { name } if *name == options.name);
            if container.mounts.values().any(uses)
                && let Some(one) = options.halts.halt(&containers, &container, halt, cx.clock)?
            {
                cx.events.emit(Event::Note(format!("container {} is {}", container.name, halt.done())));
                halted.push(one);
            }
        }
        Ok(halted)
    }
}

impl Source for VolumeSource {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn claims(&self, _: &Cancel) -> Result<BTreeSet<PathBuf>, SourceError> {
        Ok(BTreeSet::new())
    }

    fn capture<'a>(&'a self, cx: &CaptureCx<'a>) -> Result<Box<dyn Capture + 'a>, SourceError> {
        let options = &self.0;
        let volume = options.engine.volume(&options.name, cx.cancel)?;
        let files = FilesSource::new(FilesOptions {
            paths: vec![volume.folder()?],
            exclude: options.exclude.clone(),
            append_only: options.append_only.clone(),
            full_read: options.full_read,
            ..FilesOptions::default()
        })?;
        let halted = match options.halt.filter(|_| !cx.look_only) {
            Some(halt) => self.halt(halt, cx)?,
            None => Vec::new(),
        };
        Ok(Box::new(VolumeCapture {
            inner: files.into_capture(cx)?,
            halted,
            waiting: VecDeque::new(),
            fact: volume.facts(),
        }))
    }
}

struct VolumeCapture<'a> {
    inner: Box<dyn Capture + 'a>,
    halted: Vec<Halted>,
    waiting: VecDeque<Item>,
    fact: Value,
}

impl Capture for VolumeCapture<'_> {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        if let Some(item) = self.inner.next()? {
            return Ok(Some(item));
        }
        // All was read. What is captured is whole, whether or not the containers go on.
        for halted in self.halted.drain(..) {
            let name = halted.name().to_owned();
            if let Err(error) = halted.resume() {
                let problem = Problem { source: String::new(), path: name, what: error.to_string() };
                self.waiting.push_back(Item::Problem(problem));
            }
        }
        Ok(self.waiting.pop_front())
    }

    fn finish(self: Box<Self>) -> Result<Facts, SourceError> {
        let mut facts = self.inner.finish()?;
        facts.insert(VOLUME_FACT.to_owned(), self.fact);
        Ok(facts)
    }
}
