//! The one dump on its way into its files, which are read one after the other.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard};

use repository::{Id, SourceError};
use sha2::{Digest as _, Sha256};

use super::session::lock_hint;
use super::split::{Held, LogPosition, Splitter};
use crate::source::output::{Awaited, Output, Proof, Whole};
use crate::source::produced::ProducedFile;

const READ_BYTES: usize = 64 << 10;
/// What tools say on standard error of what they leave out, though some end as if all were well.
const COMPLAINTS: [&str; 3] = ["Got error", "Couldn't ", "Error: "];

/// That the tool complained of nothing. What it prints is judged as it is parted.
pub struct NoComplaint;

impl Proof for NoComplaint {
    fn take(&mut self, _: &mut [u8]) -> Result<(), String> {
        Ok(())
    }

    fn verdict(&mut self, said: &str) -> Result<(), String> {
        match said.lines().any(|line| COMPLAINTS.iter().any(|complaint| line.contains(complaint))) {
            true => Err("ended as if all were well".to_owned()),
            false => Ok(()),
        }
    }
}

/// A dump.
#[derive(Clone)]
pub struct Dump(Arc<Mutex<Flow>>);

struct Flow {
    output: Output,
    splitter: Splitter,
    /// What was found, once all was read.
    found: Option<Found>,
}

/// What a dump holds.
#[derive(Clone, Debug)]
pub struct Found {
    /// By database.
    pub held: BTreeMap<String, Held>,
    /// How far the log of changes had come.
    pub position: LogPosition,
}

impl Dump {
    /// What `output` prints, which is a dump of these databases in this order.
    pub fn new(output: Output, databases: Vec<String>) -> Self {
        Self(Arc::new(Mutex::new(Flow { output, splitter: Splitter::new(databases), found: None })))
    }

    /// Waits for the first bytes of it. Before the tool prints any of what databases hold, it has begun its transaction.
    pub fn wait_for_data(&self) -> Result<(), SourceError> {
        let mut flow = self.flow();
        while flow.splitter.pieces().is_empty() && flow.found.is_none() {
            flow.pump()?;
        }
        Ok(())
    }

    /// The file with this number, called `name`.
    pub fn file(&self, number: usize, name: &str) -> ProducedFile {
        let awaited = Awaited::new(name);
        let content = Part {
            dump: self.clone(),
            number,
            piece: Vec::new(),
            given: 0,
            bytes: 0,
            sha256: Sha256::new(),
            awaited: awaited.clone(),
            has_ended: false,
        };
        ProducedFile::new(content, awaited)
    }

    /// What it holds, and what the tool said though all went well. Fails where it was not read to its end, or not whole.
    pub fn finish(&self) -> Result<(Found, String), SourceError> {
        let flow = self.flow();
        let said = flow.output.awaited().whole()?.said;
        let lacking = || SourceError::Invalid { what: "the dump was not read to its end".to_owned() };
        Ok((flow.found.clone().ok_or_else(lacking)?, said))
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Flow {
    /// Reads some more, or comes to the end.
    fn pump(&mut self) -> Result<(), SourceError> {
        let what = self.output.awaited().what().to_owned();
        let invalid = |why: String| SourceError::Invalid { what: format!("{what} {why}") };
        let mut buffer = vec![0; READ_BYTES];
        let length = self.output.read(&mut buffer).map_err(|error| match error.downcast::<SourceError>() {
            Ok(SourceError::Invalid { what }) => SourceError::Invalid { what: with_hint(what) },
            Ok(error) => error,
            Err(error) => invalid(format!("cannot be read: {error}")),
        })?;
        if length > 0 {
            return self.splitter.push(&buffer[..length]).map_err(invalid);
        }
        let (held, position) = self.splitter.finish().map_err(invalid)?;
        self.found = Some(Found { held, position });
        Ok(())
    }
}

fn with_hint(told: String) -> String {
    let hint = lock_hint(&told).unwrap_or_default();
    told + &hint
}

/// One file of it.
struct Part {
    dump: Dump,
    number: usize,
    piece: Vec<u8>,
    given: usize,
    bytes: u64,
    sha256: Sha256,
    awaited: Awaited,
    has_ended: bool,
}

impl Part {
    /// Gets the next piece of this file; an empty one at its end.
    fn next_piece(&self) -> Result<Vec<u8>, SourceError> {
        let mut flow = self.dump.flow();
        loop {
            match flow.splitter.pieces().front().map(|(number, _)| *number) {
                Some(number) if number == self.number => {
                    let piece = flow.splitter.pieces().pop_front().map(|(_, piece)| piece).unwrap_or_default();
                    if !piece.is_empty() {
                        return Ok(piece);
                    }
                }
                Some(number) if number > self.number => return Ok(Vec::new()),
                Some(_) => {
                    let what = format!("{} was read before what comes before it", self.awaited.what());
                    return Err(SourceError::Invalid { what });
                }
                None if flow.found.is_some() => return Ok(Vec::new()),
                None => flow.pump()?,
            }
        }
    }
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.piece.len() && !self.has_ended && !buffer.is_empty() {
            (self.piece, self.given) = (self.next_piece().map_err(io::Error::other)?, 0);
            if self.piece.is_empty() {
                self.has_ended = true;
                let sha256 = Id(self.sha256.finalize_reset().into()).to_hex();
                self.awaited.tell(Whole { bytes: self.bytes, sha256, said: String::new() });
            }
        }
        let length = buffer.len().min(self.piece.len() - self.given);
        let given = &self.piece[self.given..self.given + length];
        buffer[..length].copy_from_slice(given);
        self.sha256.update(given);
        self.bytes += length as u64;
        self.given += length;
        Ok(length)
    }
}
