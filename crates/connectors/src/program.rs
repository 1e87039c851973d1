//! A program that is spoken to: run here, or in a container by its engine.
//!
//! It is given words, variables and, where it is asked for, an input; its output is read as it comes, and of what it says on
//! standard error the end is kept. It runs in a process group of its own, and is ended when the run is cancelled or nobody
//! wants it any more. A password is given in a variable, never as a word: whoever lists processes sees the words.

mod dialogue;
mod here;
mod in_container;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;

use repository::{Cancel, SourceError};
use zeroize::Zeroizing;

pub use self::dialogue::Dialogue;

use self::here::Here;
use self::in_container::InContainer;
use crate::containers::{Container, Containers};

/// What is kept of standard error: its end, where the reason stands.
const SAID_BYTES_MAX: usize = 8 << 10;

/// Where programs run.
#[derive(Clone, Debug)]
pub enum Stage {
    /// On this machine, found by `PATH`.
    Here,
    /// In a container that runs, by its engine.
    Container {
        /// The engine.
        containers: Arc<Containers>,
        /// The container.
        container: Container,
    },
}

/// A program and what it is given.
#[derive(Clone)]
pub struct Program {
    words: Vec<OsString>,
    variables: Vec<(String, Zeroizing<String>)>,
    folder: Option<PathBuf>,
    user: Option<(u32, u32)>,
    has_input: bool,
}

/// Shows its name alone: there may be a password among the words, and there are among the variables.
impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Program({} …)", self.name())
    }
}

impl Program {
    /// A program by its name or path. Its input is empty, its environment that of Lifeboat, or that of the container.
    pub fn new(name: impl Into<OsString>) -> Self {
        Self { words: vec![name.into()], variables: Vec::new(), folder: None, user: None, has_input: false }
    }

    /// One more word.
    #[must_use]
    pub fn arg(mut self, word: impl Into<OsString>) -> Self {
        self.words.push(word.into());
        self
    }

    /// More words.
    #[must_use]
    pub fn args<W: Into<OsString>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.words.extend(words.into_iter().map(Into::into));
        self
    }

    /// Another program runs it: that is given these words, and then those of this one.
    #[must_use]
    pub fn run_by<W: Into<OsString>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.words.splice(0..0, words.into_iter().map(Into::into));
        self
    }

    /// A variable of its environment, such as one that holds a password.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), Zeroizing::new(value.to_owned())));
        self
    }

    /// The folder it runs in; else that of Lifeboat, or that of the container.
    #[must_use]
    pub fn in_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// As whom it runs, by the numbers of user and group. Here, that takes root; in a container it is the engine's to give.
    #[must_use]
    pub fn as_user(mut self, uid: u32, gid: u32) -> Self {
        self.user = Some((uid, gid));
        self
    }

    /// It has an input, which [`Running::write`] fills.
    #[must_use]
    pub fn with_input(mut self) -> Self {
        self.has_input = true;
        self
    }

    /// Its name, for messages.
    pub fn name(&self) -> String {
        self.words.first().map(OsString::as_os_str).map(OsStr::to_string_lossy).unwrap_or_default().into_owned()
    }

    /// Starts it. Fails where it is not there; in a container that shows only when it has ended, with exit code 127.
    pub fn start(&self, stage: &Stage, cancel: &Cancel) -> Result<Running, SourceError> {
        cancel.check()?;
        Ok(match stage {
            Stage::Here => Running::Here(Here::start(self, cancel)?),
            Stage::Container { containers, container } => {
                Running::InContainer(Box::new(InContainer::start(self, containers, container, cancel)?))
            }
        })
    }

    /// Runs it to its end, with an empty input. Gives what it printed, which must be small, and how it ended.
    pub fn run(&self, stage: &Stage, cancel: &Cancel) -> Result<(Vec<u8>, Ended), SourceError> {
        let mut running = self.start(stage, cancel)?;
        running.close_input()?;
        let (mut printed, mut buffer) = (Vec::new(), [0; 16 << 10]);
        loop {
            let length = running.read(&mut buffer)?;
            if length == 0 {
                return Ok((printed, running.wait()?));
            }
            if printed.len() + length > PRINTED_BYTES_MAX {
                let what = format!("{} prints more than is ever expected of it", self.name());
                return Err(SourceError::Invalid { what });
            }
            printed.extend_from_slice(&buffer[..length]);
        }
    }
}

impl Program {
    /// Runs it until it has ended itself, with an empty input, and shows what it prints to `see`. What it leaves running may go on
    /// printing, which nobody sees then; in a container, where only the end of the output tells, that is waited for.
    pub fn run_watched(
        &self,
        stage: &Stage,
        cancel: &Cancel,
        see: &mut dyn FnMut(&[u8]),
    ) -> Result<Ended, SourceError> {
        let mut running = self.start(stage, cancel)?;
        running.close_input()?;
        let mut buffer = [0; 16 << 10];
        loop {
            // Asked before the look at the output, so that nothing that was printed by then is missed.
            let (has_ended, length) = match &mut running {
                Running::Here(here) => (here.has_ended(), here.read_what_is_there(&mut buffer)?),
                Running::InContainer(there) => (false, Some(there.read(&mut buffer)?)),
            };
            match length {
                Some(0) => return running.wait(),
                Some(length) => see(&buffer[..length]),
                None if has_ended => return running.wait(),
                None => {}
            }
        }
    }
}

/// What a program that is run to its end may print.
const PRINTED_BYTES_MAX: usize = 64 << 20;

/// A program that was started. It is ended, where it has not ended by itself, when this is dropped.
pub enum Running {
    /// On this machine.
    Here(Here),
    /// In a container.
    InContainer(Box<InContainer>),
}

impl Running {
    /// The next bytes of its output, waiting for some; none at its end, which proves nothing. Fails when cancelled.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError> {
        match self {
            Self::Here(here) => here.read(buffer),
            Self::InContainer(there) => there.read(buffer),
        }
    }

    /// Writes all of it to its input. What it prints meanwhile must be small, since nobody reads it here.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        match self {
            Self::Here(here) => here.write(bytes),
            Self::InContainer(there) => there.write(bytes),
        }
    }

    /// Ends its input.
    pub fn close_input(&mut self) -> Result<(), SourceError> {
        match self {
            Self::Here(here) => here.close_input(),
            Self::InContainer(there) => there.close_input()?,
        }
        Ok(())
    }

    /// Whether it has ended, without waiting. What runs in a container shows that by the end of its output alone.
    pub fn has_ended(&mut self) -> bool {
        match self {
            Self::Here(here) => here.has_ended(),
            Self::InContainer(there) => there.is_over(),
        }
    }

    /// Waits until it has ended. To be called after the end of its output.
    pub fn wait(&mut self) -> Result<Ended, SourceError> {
        match self {
            Self::Here(here) => here.wait(),
            Self::InContainer(there) => there.wait(),
        }
    }
}

/// Ends what runs with this flag when it is dropped: what was begun beside a capture ends with it, however that ends.
pub struct Guard(pub Cancel);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// By itself, or not.
    pub exit: Exit,
    /// The end of what it said on standard error.
    pub said: String,
}

/// How a program ended, as the system tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i64),
    /// By a signal.
    Signal(i32),
    /// The system does not say.
    Unknown,
}

impl Ended {
    /// Whether it says that all went well.
    pub fn is_well(&self) -> bool {
        self.exit == Exit::Code(0)
    }

    /// How it ended; to follow the name of the program.
    pub fn how(&self) -> String {
        match self.exit {
            Exit::Code(code) => format!("ended with exit code {code}"),
            Exit::Signal(signal) => format!("was killed by signal {signal}"),
            Exit::Unknown => "ended in an unknown way".to_owned(),
        }
    }

    /// What went wrong, and what it said to it; to follow the name of the program.
    pub fn told(&self) -> String {
        let how = self.how();
        if self.said.is_empty() { how } else { format!("{how}; it said: {}", self.said) }
    }
}

/// Adds to the end of something of which no more than the last `bytes_max` are kept.
pub(crate) fn keep_end(end: &mut VecDeque<u8>, bytes: &[u8], bytes_max: usize) {
    end.extend(&bytes[bytes.len().saturating_sub(bytes_max)..]);
    end.drain(..end.len().saturating_sub(bytes_max));
}

fn text_of(end: &mut VecDeque<u8>) -> String {
    String::from_utf8_lossy(end.make_contiguous()).trim().to_owned()
}
