//! A program that runs in a container, by the engine's `exec`.
//!
//! The engine has no way to end such a program, so a shell tells its number in the container first, on standard error, and
//! becomes the program: by that number it is ended, with all that it started.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error as EngineError;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use repository::{Cancel, SourceError};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroize as _;

use super::{Ended, Exit, Program, SAID_BYTES_MAX, keep_end, text_of};
use crate::containers::{Container, Containers, said};

/// Tells the program's number, and becomes it.
const TELLING: &str = "echo \"$$\" >&2; exec \"$@\"";
/// Ends a program by its number, with all that it started.
const ENDING: &str = include_str!("ending.sh");
/// How long to wait for a number that was not told yet.
const NUMBER_PATIENCE: Duration = Duration::from_secs(2);
/// The longest number of a process, and the end of its line.
const NUMBER_BYTES_MAX: usize = 11;
/// Bytes of output in one piece.
const PIECE_BYTES: usize = 64 << 10;

/// A program in a container that was started.
pub struct InContainer {
    containers: Arc<Containers>,
    container: Container,
    /// What it is, for messages.
    what: String,
    exec: String,
    /// `None` once it was closed.
    input: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    output: Pin<Box<dyn Stream<Item = Result<LogOutput, EngineError>> + Send>>,
    /// Output that nobody has read yet.
    unread: VecDeque<Bytes>,
    number: Number,
    said: VecDeque<u8>,
    output_has_ended: bool,
    has_ended: bool,
    cancel: Cancel,
}

/// The program's number in the container.
enum Number {
    /// What has come of it.
    Coming(Vec<u8>),
    Told(String),
}

impl InContainer {
    pub(super) fn start(
        program: &Program,
        containers: &Arc<Containers>,
        container: &Container,
        cancel: &Cancel,
    ) -> Result<Self, SourceError> {
        let what = format!("{} in container {}", program.name(), container.name);
        let mut cmd: Vec<String> = ["/bin/sh", "-c", TELLING, "sh"].map(str::to_owned).into();
        for word in &program.words {
            let word =
                word.to_str().ok_or_else(|| SourceError::unavailable(format!("{what}: a word of it is not UTF-8")))?;
            cmd.push(word.to_owned());
        }
        let folder = program.folder.as_ref().map(|folder| folder.to_string_lossy().into_owned());
        let mut options = CreateExecOptions {
            cmd: Some(cmd),
            attach_stdin: Some(program.has_input),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            env: Some(program.variables.iter().map(|(name, value)| format!("{name}={}", value.as_str())).collect()),
            user: program.user.map(|(uid, gid)| format!("{uid}:{gid}")),
            working_dir: folder,
            ..CreateExecOptions::default()
        };
        let made = containers.ask(&what, containers.docker.create_exec(&container.id, options.clone()));
        options.env.zeroize();
        let exec = made?.id;
        let options = StartExecOptions { output_capacity: Some(PIECE_BYTES), ..StartExecOptions::default() };
        let started = containers.ask(&what, containers.docker.start_exec(&exec, Some(options)))?;
        let StartExecResults::Attached { output, input } = started else {
            return Err(SourceError::unavailable(format!("{what}: its output cannot be read")));
        };
        Ok(Self {
            containers: Arc::clone(containers),
            container: container.clone(),
            what,
            exec,
            input: program.has_input.then_some(input),
            output,
            unread: VecDeque::new(),
            number: Number::Coming(Vec::new()),
            said: VecDeque::new(),
            output_has_ended: false,
            has_ended: false,
            cancel: cancel.clone(),
        })
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError> {
        loop {
            if let Some(piece) = self.unread.front_mut() {
                let length = buffer.len().min(piece.len());
                buffer[..length].copy_from_slice(&piece.split_to(length));
                if piece.is_empty() {
                    self.unread.pop_front();
                }
                return Ok(length);
            }
            if self.output_has_ended {
                return Ok(0);
            }
            let piece = self.containers.wait_unless(&self.cancel, self.output.next())?;
            self.take(piece)?;
        }
    }

    fn take(&mut self, piece: Option<Result<LogOutput, EngineError>>) -> Result<(), SourceError> {
        match piece {
            None => self.output_has_ended = true,
            Some(Err(error)) => return Err(SourceError::unavailable(format!("{}: {}", self.what, said(&error)))),
            Some(Ok(LogOutput::StdErr { message })) => self.take_errors(&message),
            Some(Ok(other)) => self.unread.extend(Some(other.into_bytes()).filter(|piece| !piece.is_empty())),
        }
        Ok(())
    }

    fn take_errors(&mut self, message: &[u8]) {
        let rest = match &mut self.number {
            Number::Told(_) => message,
            Number::Coming(digits) => match message.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    digits.extend_from_slice(&message[..end]);
                    self.number = Number::Told(String::from_utf8_lossy(digits).trim().to_owned());
                    &message[end + 1..]
                }
                // Where the shell itself does not start, what comes is what the engine says of that.
                None if digits.len() + message.len() > NUMBER_BYTES_MAX => message,
                None => {
                    digits.extend_from_slice(message);
                    &[]
                }
            },
        };
        keep_end(&mut self.said, rest, SAID_BYTES_MAX);
    }

    /// Takes in what it prints while it is written to, so that neither waits for the other.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), SourceError> {
        while !bytes.is_empty() {
            let Some(input) = &mut self.input else {
                return Err(SourceError::unavailable(format!("{}: its input is closed", self.what)));
            };
            let (output, has_ended) = (&mut self.output, self.output_has_ended);
            enum Came {
                Written(io::Result<usize>),
                Piece(Option<Result<LogOutput, EngineError>>),
            }
            let came = self.containers.wait_unless(&self.cancel, async {
                tokio::select! {
                    written = input.write(bytes) => Came::Written(written),
                    piece = output.next(), if !has_ended => Came::Piece(piece),
                }
            })?;
            match came {
                Came::Piece(piece) => self.take(piece)?,
                Came::Written(Ok(length)) if length > 0 && !self.output_has_ended => bytes = &bytes[length..],
                Came::Written(_) => {
                    let ended = self.wait()?;
                    let what = format!("{} takes no more input: it {}", self.what, ended.told());
                    return Err(SourceError::Invalid { what });
                }
            }
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), SourceError> {
        let Some(input) = &mut self.input else { return Ok(()) };
        let flushed = self.containers.wait_unless(&self.cancel, input.flush())?;
        flushed.map_err(|error| SourceError::unavailable(format!("{}: {error}", self.what)))
    }

    pub(super) fn close_input(&mut self) -> Result<(), SourceError> {
        if let Some(mut input) = self.input.take() {
            // One that has ended has no input to be closed.
            let _ = self.containers.wait_unless(&self.cancel, input.shutdown())?;
        }
        Ok(())
    }

    pub(super) fn is_over(&self) -> bool {
        self.output_has_ended
    }

    pub(super) fn wait(&mut self) -> Result<Ended, SourceError> {
        self.close_input()?;
        while !self.output_has_ended {
            let piece = self.containers.wait_unless(&self.cancel, self.output.next())?;
            self.take(piece)?;
            self.unread.clear();
        }
        let ended = self.containers.ask(&self.what, self.containers.docker.inspect_exec(&self.exec))?;
        self.has_ended = true;
        if let Number::Coming(digits) = &self.number {
            keep_end(&mut self.said, digits, SAID_BYTES_MAX);
        }
        let exit = ended.exit_code.map_or(Exit::Unknown, Exit::Code);
        Ok(Ended { exit, said: text_of(&mut self.said) })
    }

    /// Ends the program, also where the run was cancelled.
    fn end(&mut self) -> Result<(), SourceError> {
        let steady = self.containers.steady()?;
        while let Number::Coming(_) = self.number {
            let output = &mut self.output;
            let next = steady
                .wait_unless(&Cancel::new(), async { tokio::time::timeout(NUMBER_PATIENCE, output.next()).await })?;
            match next {
                Ok(piece @ Some(Ok(_))) => self.take(piece)?,
                // It never told its number, so it never began.
                _ => return Ok(()),
            }
        }
        let Number::Told(number) = &self.number else { return Ok(()) };
        steady.exec(&self.container, &["/bin/sh", "-c", ENDING, "sh", number], &mut io::sink()).map(drop)
    }
}

/// What nobody waits for any more leaves nothing behind.
impl Drop for InContainer {
    fn drop(&mut self) {
        if !self.has_ended {
            // Where the engine is gone, so is what it ran, or nobody can reach it.
            let _ = self.end();
        }
    }
}
