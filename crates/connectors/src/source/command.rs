//! Source `command`: what a command prints, streamed into one file.
//!
//! An end of output proves nothing. The stream itself fails at its end unless the command ended with exit code 0, printed
//! something, and ended with the trailer it was to end with: so a broken dump can never be stored as a whole one.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use repository::format::time::Time;
use repository::{Cancel, Capture, CaptureCx, Events, Facts, Item, Node, Source, SourceError};
use serde_json::Value;

use super::file_hash::file_hash;
use super::output::{ExitAlone, Output};
use super::produced::{BYTES, Produced, ProducedFile, SHA256};
use super::trailer::Trailer;
use crate::program::{Program, Stage};

/// The kind's name in the configuration.
pub const KIND: &str = "command";

const NAME: &str = "name";
const EXIT_CODE: &str = "exit_code";

/// What to run.
#[derive(Clone)]
pub enum RunLine {
    /// A program and its arguments.
    Words(Vec<OsString>),
    /// Text for a shell: bash with `pipefail` where there is one, so that a part of a pipe that fails is noticed, else
    /// `/bin/sh`, with `pipefail` where it knows it. A shell that does not tells the exit code of the last command only; there a
    /// trailer is the only way to notice.
    Shell(String),
}

/// Shows no word of it, since there may be a password among them.
impl std::fmt::Debug for RunLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Words(_) => "Words(…)",
            Self::Shell(_) => "Shell(…)",
        })
    }
}

/// What a [`CommandSource`] captures.
#[derive(Clone, Debug)]
pub struct CommandOptions {
    /// The command. Its environment is that of Lifeboat, its input is empty, and it runs in a process group of its own.
    pub run: RunLine,
    /// Name of the file in the snapshot.
    pub name: String,
    /// Text that the output must end with; white space at the end of both is passed over.
    pub trailer: Option<String>,
    /// The folder it runs in.
    pub folder: PathBuf,
}

/// The output of a command.
#[derive(Debug)]
pub struct CommandSource(CommandOptions);

impl CommandSource {
    /// Fails with a message for the user where the command is empty, the name cannot be a file's, or the trailer is blank.
    pub fn new(options: CommandOptions) -> Result<Self, SourceError> {
        let unavailable = |what: &str| Err(SourceError::Unavailable { what: what.to_owned() });
        let is_empty = match &options.run {
            RunLine::Words(words) => words.first().is_none_or(|program| program.is_empty()),
            RunLine::Shell(text) => text.trim().is_empty(),
        };
        if is_empty {
            return unavailable("run: the command is empty");
        }
        if !Node::is_valid_name(options.name.as_bytes()) || options.name.len() > NAME_BYTES_MAX {
            return unavailable("name: must be a file name of at most 255 bytes, without slashes");
        }
        if options.trailer.as_ref().is_some_and(|trailer| trailer.trim_ascii().is_empty()) {
            return unavailable("trailer: is blank, so it would prove nothing");
        }
        Ok(Self(options))
    }
}

/// Linux has no longer file names.
const NAME_BYTES_MAX: usize = 255;

impl Source for CommandSource {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn claims(&self, _: &Cancel) -> Result<BTreeSet<PathBuf>, SourceError> {
        Ok(BTreeSet::new())
    }

    fn capture<'a>(&'a self, cx: &CaptureCx<'a>) -> Result<Box<dyn Capture + 'a>, SourceError> {
        let options = &self.0;
        let what = format!("the command for `{}`", options.name);
        let running = options.run.program().in_folder(&options.folder).start(&Stage::Here, cx.cancel).map_err(
            |error| match error {
                SourceError::Unavailable { what: why } => SourceError::Unavailable { what: format!("{what}: {why}") },
                other => other,
            },
        )?;
        let output = match options.trailer.as_deref().and_then(Trailer::new) {
            Some(trailer) => Output::of(what, trailer, cx.cancel, running),
            None => Output::of(what, ExitAlone, cx.cancel, running),
        };
        let files = [(PathBuf::from(&options.name), ProducedFile::printed(output))].into();
        let produced = Produced::new(files, Time::from(cx.clock.now()));
        Ok(Box::new(CommandCapture { events: cx.events, name: &options.name, produced }))
    }
}

impl RunLine {
    /// The command on this machine.
    pub(crate) fn program(&self) -> Program {
        self.program_of(shell())
    }

    /// The command where it is not known which shells there are.
    pub(crate) fn program_elsewhere(&self) -> Program {
        self.program_of("sh")
    }

    fn program_of(&self, shell: &str) -> Program {
        match self {
            Self::Words(words) => {
                let name = words.first().map(OsString::as_os_str).unwrap_or_default();
                Program::new(name).args(words.iter().skip(1))
            }
            // The first line makes a shell that can do so fail where any part of a pipe does.
            Self::Shell(text) => {
                Program::new(shell).arg("-c").arg(format!("(set -o pipefail) 2>/dev/null && set -o pipefail\n{text}"))
            }
        }
    }
}

/// bash where it is, since it notices a failure in the middle of a pipe; else the system's own shell.
fn shell() -> &'static str {
    const BASH: &str = "/bin/bash";
    if Path::new(BASH).exists() { BASH } else { "/bin/sh" }
}

struct CommandCapture<'a> {
    events: &'a dyn Events,
    name: &'a str,
    produced: Produced,
}

impl Capture for CommandCapture<'_> {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        Ok(self.produced.next())
    }

    fn finish(self: Box<Self>) -> Result<Facts, SourceError> {
        let files = self.produced.finish(self.events)?;
        let Some(whole) = files.into_values().next() else { return Ok(Facts::new()) };
        Ok(facts(self.name, whole.bytes, &whole.sha256, Value::from(0)))
    }
}

fn facts(name: &str, bytes: u64, sha256: &str, exit_code: Value) -> Facts {
    let facts =
        [(NAME, Value::from(name)), (BYTES, Value::from(bytes)), (SHA256, Value::from(sha256)), (EXIT_CODE, exit_code)];
    facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Measures the restored file. A file that is missing has no size and hash.
pub fn examine(dir: &Path, recorded: &Facts, cancel: &Cancel) -> Result<Facts, SourceError> {
    let name = recorded.get(NAME).and_then(Value::as_str).filter(|name| Node::is_valid_name(name.as_bytes()));
    let Some(name) = name else {
        return Err(SourceError::Invalid { what: "the manifest does not name the command's file".to_owned() });
    };
    let path = dir.join(name);
    let exit_code = recorded.get(EXIT_CODE).cloned().unwrap_or_default();
    match file_hash(&path, cancel)? {
        Some((bytes, sha256)) => Ok(facts(name, bytes, &sha256, exit_code)),
        None => Ok([(NAME.to_owned(), Value::from(name))].into_iter().collect()),
    }
}
