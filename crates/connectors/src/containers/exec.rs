//! Commands in a running container.

use std::io::Write;

use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use futures_util::StreamExt as _;
use repository::SourceError;

use super::{Container, Containers};

/// Bytes of errors that are kept: enough for a message.
const ERROR_BYTES_MAX: usize = 4 << 10;
/// Bytes of output in one piece.
const PIECE_BYTES: usize = 64 << 10;

/// How a command in a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// Its exit code.
    pub code: i64,
    /// The beginning of what it wrote to standard error. It may hold secrets, so it must not be shown unasked.
    pub errors: String,
}

impl Containers {
    /// Runs a program with arguments in a running container. What it prints goes to `output` as it comes.
    ///
    /// The arguments are seen by whoever lists processes, so they must hold no secret.
    pub fn exec(&self, container: &Container, command: &[&str], output: &mut dyn Write) -> Result<Exec, SourceError> {
        let what = format!("a command in container {}", container.name);
        let options = CreateExecOptions {
            cmd: Some(command.to_vec()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..CreateExecOptions::default()
        };
        let made = self.ask(&what, self.docker.create_exec(&container.id, options))?;
        let options = StartExecOptions { output_capacity: Some(PIECE_BYTES), ..StartExecOptions::default() };
        let started = self.ask(&what, self.docker.start_exec(&made.id, Some(options)))?;
        let StartExecResults::Attached { output: mut pieces, .. } = started else {
            return Err(SourceError::unavailable(format!("{what}: its output cannot be read")));
        };
        let mut errors = Vec::new();
        while let Some(piece) = self.wait(pieces.next())? {
            match piece.map_err(|error| SourceError::unavailable(format!("{what}: {}", super::said(&error))))? {
                LogOutput::StdErr { message } => {
                    let room = ERROR_BYTES_MAX - errors.len();
                    errors.extend_from_slice(&message[..message.len().min(room)]);
                }
                piece => output.write_all(&piece.into_bytes()).map_err(|error| {
                    SourceError::unavailable(format!("{what}: its output cannot be written: {error}"))
                })?,
            }
        }
        let ended = self.ask(&what, self.docker.inspect_exec(&made.id))?;
        let code = ended
            .exit_code
            .ok_or_else(|| SourceError::unavailable(format!("{what}: it ended without an exit code")))?;
        Ok(Exec { code, errors: String::from_utf8_lossy(&errors).into_owned() })
    }
}
