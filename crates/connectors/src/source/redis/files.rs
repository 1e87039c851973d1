//! A Redis or Valkey, captured from its files: for one that cannot be reached, or whose log has what no dump has yet.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use repository::source::VOLUME_FACT;
use repository::{Cancel, Capture, CaptureCx, Event, Facts, Source, SourceError};

use super::aof::{Counted, Log};
use super::folder::{Folder, Part};
use super::rdb::Parser;
use super::{DUMP, Found, KIND, RedisCapture, Watched, broken};
use crate::containers::EngineAddress;
use crate::program::{Ended, Exit};
use crate::source::output::{Origin, Output, Proof};
use crate::source::place::{OnHost, Place};
use crate::source::produced::ProducedFile;

/// What a [`RedisFilesSource`] captures.
#[derive(Clone)]
pub struct RedisFilesOptions {
    /// The folder of the server's data. Not in a container.
    pub files: Place,
    /// How much of its keys a database may lose from one snapshot to the next before that is a problem, in percent.
    pub max_shrink_percent: u8,
    /// Where the container engine is, for what lies in a volume.
    pub engine: EngineAddress,
}

impl fmt::Debug for RedisFilesOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisFilesOptions({:?})", self.files)
    }
}

/// The dump and the log of a Redis or Valkey, which may be running.
#[derive(Debug)]
pub struct RedisFilesSource(RedisFilesOptions);

impl RedisFilesSource {
    /// Nothing is looked at yet.
    pub fn new(options: RedisFilesOptions) -> Self {
        Self(options)
    }

    fn on_host(&self, cancel: &Cancel) -> Result<OnHost, SourceError> {
        let found = self.0.files.on_host(&self.0.engine, cancel)?;
        found.ok_or_else(|| SourceError::Unavailable {
            what: "files: they must lie on the host or in a volume".to_owned(),
        })
    }
}

impl Source for RedisFilesSource {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn claims(&self, cancel: &Cancel) -> Result<BTreeSet<PathBuf>, SourceError> {
        let Folder { dump, log } = Folder::open(&self.on_host(cancel)?.path, cancel)?;
        Ok(dump.map(|dump| dump.path).into_iter().chain(log.map(|log| log.path)).collect())
    }

    fn capture<'a>(&'a self, cx: &CaptureCx<'a>) -> Result<Box<dyn Capture + 'a>, SourceError> {
        let OnHost { path, volume } = self.on_host(cx.cancel)?;
        let folder = Folder::open(&path, cx.cancel)?;
        let mut facts = Facts::new();
        facts.extend(volume.map(|volume| (VOLUME_FACT.to_owned(), vec![volume].into())));
        let (mut files, found, mut logs) = (BTreeMap::new(), Found::default(), Vec::new());
        if cx.look_only {
            cx.events.emit(Event::Note(format!("{}: what it holds is not counted in a dry run", path.display())));
        } else {
            if let Some(dump) = folder.dump {
                let proof = Watched { parser: Parser::default(), found: found.clone() };
                files.insert(DUMP.into(), produced(dump, proof, cx.cancel));
            }
            if let Some(log) = folder.log {
                if let Some((name, text)) = log.manifest {
                    let file = ProducedFile::ready(&name.to_string_lossy(), text.into_bytes());
                    files.insert(name, file);
                }
                for (name, part) in log.parts {
                    let shown = name.to_string_lossy().into_owned();
                    let found = Found::default();
                    logs.push((shown.clone(), found.clone()));
                    let file = if part.bytes == 0 {
                        // One that was just begun.
                        *found.get() = Some(Counted::default());
                        ProducedFile::ready(&shown, Vec::new())
                    } else {
                        produced(part, WatchedLog { log: Log::default(), found }, cx.cancel)
                    };
                    files.insert(name, file);
                }
            }
        }
        let capture = RedisCapture::new(self.0.max_shrink_percent, cx, files, found, facts);
        Ok(Box::new(RedisCapture { logs, ..capture }))
    }
}

fn produced(part: Part, proof: impl Proof + 'static, cancel: &Cancel) -> ProducedFile {
    let what = part.path.display().to_string();
    let whole = WholeFile { file: part.file, left: part.bytes, what: what.clone() };
    ProducedFile::printed(Output::of(what, proof, cancel, whole))
}

/// Holds a file to being a log, and keeps how much it holds.
struct WatchedLog {
    log: Log,
    found: Found<Counted>,
}

impl Proof for WatchedLog {
    fn take(&mut self, bytes: &mut [u8]) -> Result<(), String> {
        self.log.push(bytes).map_err(broken)
    }

    fn verdict(&mut self, _: &str) -> Result<(), String> {
        *self.found.get() = Some(self.log.finish().map_err(broken)?);
        Ok(())
    }
}

/// A file, as far as it is taken.
struct WholeFile {
    file: File,
    left: u64,
    what: String,
}

impl Origin for WholeFile {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError> {
        if self.left == 0 {
            return Ok(0);
        }
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let length = self.file.read(&mut buffer[..room]).map_err(SourceError::io(&self.what))?;
        self.left -= length as u64;
        match length {
            0 => Err(SourceError::Invalid { what: format!("{} got shorter while it was read", self.what) }),
            length => Ok(length),
        }
    }

    fn wait(&mut self) -> Result<Ended, SourceError> {
        Ok(Ended { exit: Exit::Code(0), said: String::new() })
    }
}
