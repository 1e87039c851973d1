//! What a program prints, as the content of a file that proves itself.
//!
//! An end of output proves nothing. The stream itself fails at its end unless the program ended with exit code 0, printed
//! something, and what it printed is whole by a [`Proof`]: so a broken dump can never be stored as a whole one.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard};

use repository::{Cancel, Id, SourceError};
use sha2::{Digest as _, Sha256};

use crate::program::{Ended, Running};

/// Looks at an output as it flows, and says at its end whether it was whole.
pub trait Proof: Send {
    /// The next bytes. What tells when the output was made, and nothing of its content, may be changed in place, so that the
    /// same content gives the same bytes. Fails, with what is wrong, as soon as it cannot be right any more.
    fn take(&mut self, bytes: &mut [u8]) -> Result<(), String>;

    /// Whether the output, which has ended, was whole, the program having `said` this on standard error. Else what is wrong;
    /// that is to follow the name of the program.
    fn verdict(&mut self, said: &str) -> Result<(), String>;
}

/// Where an output comes from: a program, or a connection to a server.
pub trait Origin: Send {
    /// The next bytes, waiting for some; none at its end, which proves nothing. Fails when cancelled.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError>;

    /// How it ended. Called after the end of its output.
    fn wait(&mut self) -> Result<Ended, SourceError>;
}

impl Origin for Running {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError> {
        Self::read(self, buffer)
    }

    fn wait(&mut self) -> Result<Ended, SourceError> {
        Self::wait(self)
    }
}

/// Nothing but that something was printed, and that the program says that all went well.
pub struct ExitAlone;

impl Proof for ExitAlone {
    fn take(&mut self, _: &mut [u8]) -> Result<(), String> {
        Ok(())
    }

    fn verdict(&mut self, _: &str) -> Result<(), String> {
        Ok(())
    }
}

/// Starts a program when its output is wanted.
type Start = Box<dyn FnOnce() -> Result<Running, SourceError> + Send>;

/// The output of a program. Reading fails at its end unless all is well; the program is ended where it is given up.
pub struct Output {
    /// The program, for messages.
    what: String,
    flow: Flow,
    proof: Box<dyn Proof>,
    bytes: u64,
    sha256: Sha256,
    cancel: Cancel,
    awaited: Awaited,
}

enum Flow {
    Waiting(Start),
    Running(Box<dyn Origin>),
    Over,
}

impl Output {
    /// The output of a program that is started with the first byte that is wanted of it.
    pub fn new(
        what: String,
        proof: impl Proof + 'static,
        cancel: &Cancel,
        start: impl FnOnce() -> Result<Running, SourceError> + Send + 'static,
    ) -> Self {
        Self::with(what, proof, cancel, Flow::Waiting(Box::new(start)))
    }

    /// The output of a program that runs, or of what is like one.
    pub fn of(what: String, proof: impl Proof + 'static, cancel: &Cancel, running: impl Origin + 'static) -> Self {
        Self::with(what, proof, cancel, Flow::Running(Box::new(running)))
    }

    fn with(what: String, proof: impl Proof + 'static, cancel: &Cancel, flow: Flow) -> Self {
        Self {
            awaited: Awaited::new(&what),
            what,
            flow,
            proof: Box::new(proof),
            bytes: 0,
            sha256: Sha256::new(),
            cancel: cancel.clone(),
        }
    }

    /// What tells, after all was read, how it ended.
    pub fn awaited(&self) -> Awaited {
        self.awaited.clone()
    }

    fn running(&mut self) -> Result<&mut Box<dyn Origin>, SourceError> {
        if let Flow::Waiting(_) = self.flow
            && let Flow::Waiting(start) = std::mem::replace(&mut self.flow, Flow::Over)
        {
            self.flow = Flow::Running(Box::new(start()?));
        }
        match &mut self.flow {
            Flow::Running(running) => Ok(running),
            Flow::Waiting(_) | Flow::Over => Err(SourceError::Invalid { what: format!("{} is over", self.what) }),
        }
    }

    fn invalid(&self, why: &str) -> SourceError {
        SourceError::Invalid { what: format!("{} {why}", self.what) }
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError> {
        let length = self.running()?.read(buffer)?;
        let bytes = &mut buffer[..length];
        if let Err(why) = self.proof.take(bytes) {
            return Err(self.invalid(&why));
        }
        self.bytes += length as u64;
        self.sha256.update(bytes);
        Ok(length)
    }

    /// After the end of the output: whether it is all it should be.
    fn verdict(&mut self) -> Result<Whole, SourceError> {
        let ended = self.running()?.wait()?;
        if !ended.is_well() {
            return Err(self.invalid(&ended.told()));
        }
        let verdict = if self.bytes == 0 { Err("printed nothing".to_owned()) } else { self.proof.verdict(&ended.said) };
        if let Err(why) = verdict {
            let said = if ended.said.is_empty() { String::new() } else { format!("; it said: {}", ended.said) };
            return Err(self.invalid(&format!("{why}{said}")));
        }
        Ok(Whole { bytes: self.bytes, sha256: hex(&mut self.sha256), said: ended.said })
    }
}

fn hex(sha256: &mut Sha256) -> String {
    Id(sha256.finalize_reset().into()).to_hex()
}

impl Read for Output {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &*self.awaited.outcome() {
            Outcome::Pending => {}
            Outcome::Whole(_) => return Ok(0),
            Outcome::Broken(why) => return Err(io::Error::other(SourceError::Invalid { what: why.clone() })),
            Outcome::Cancelled => return Err(io::Error::other(SourceError::Cancelled)),
        }
        if buffer.is_empty() {
            return Ok(0);
        }
        let outcome = match self.read_some(buffer) {
            Ok(0) => self.verdict(),
            Ok(length) => return Ok(length),
            Err(error) => Err(error),
        };
        // Ends the program where it has not ended.
        self.flow = Flow::Over;
        *self.awaited.outcome() = match outcome {
            Ok(whole) => Outcome::Whole(whole),
            Err(_) if self.cancel.is_cancelled() => Outcome::Cancelled,
            Err(error) => Outcome::Broken(error.to_string()),
        };
        self.read(buffer)
    }
}

/// An output that was read to its end, and is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// How much there was.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
    /// The end of what the program said on standard error.
    pub said: String,
}

impl Whole {
    /// Of bytes that are there already.
    pub fn of(bytes: &[u8]) -> Self {
        let mut sha256 = Sha256::new();
        sha256.update(bytes);
        Self { bytes: bytes.len() as u64, sha256: hex(&mut sha256), said: String::new() }
    }
}

/// How an output ended, for who did not read it.
#[derive(Clone)]
pub struct Awaited {
    what: String,
    outcome: Arc<Mutex<Outcome>>,
}

enum Outcome {
    /// It was not read to its end.
    Pending,
    Whole(Whole),
    /// Why it must not be kept.
    Broken(String),
    Cancelled,
}

impl Awaited {
    /// Of an output that has not ended yet.
    pub fn new(what: &str) -> Self {
        Self { what: what.to_owned(), outcome: Arc::new(Mutex::new(Outcome::Pending)) }
    }

    /// Tells that it was read to its end, and is whole.
    pub fn tell(&self, whole: Whole) {
        *self.outcome() = Outcome::Whole(whole);
    }

    /// Of what is known to be whole.
    pub fn known(what: &str, whole: Whole) -> Self {
        let awaited = Self::new(what);
        awaited.tell(whole);
        awaited
    }

    /// The program, or the name of what is there already; for messages.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Fails where it was not whole, or not read to its end.
    pub fn whole(&self) -> Result<Whole, SourceError> {
        let invalid = |what: String| Err(SourceError::Invalid { what });
        match &*self.outcome() {
            Outcome::Whole(whole) => Ok(whole.clone()),
            Outcome::Broken(why) => invalid(why.clone()),
            Outcome::Cancelled => Err(SourceError::Cancelled),
            Outcome::Pending => invalid(format!("the output of {} was not read to its end", self.what)),
        }
    }

    fn outcome(&self) -> MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
