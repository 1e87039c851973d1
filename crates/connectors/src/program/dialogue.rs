//! A program that is spoken to in lines: what it is asked goes in, and what it answers comes out, a line at a time.

use repository::SourceError;

use super::Running;

/// Bytes read at once.
const READ_BYTES: usize = 16 << 10;

/// What was said with a program, and is to come. The program is ended when this is dropped.
pub struct Dialogue {
    running: Running,
    /// The program, for messages.
    program: &'static str,
    /// Whom it stands for, for messages.
    with: String,
    line_bytes_max: usize,
    read: Vec<u8>,
}

impl Dialogue {
    /// With a program that was started with an input.
    pub fn new(running: Running, program: &'static str, with: String, line_bytes_max: usize) -> Self {
        Self { running, program, with, line_bytes_max, read: Vec::new() }
    }

    /// Says something to it.
    pub fn write(&mut self, text: &str) -> Result<(), SourceError> {
        self.running.write(text.as_bytes()).map_err(|error| self.named(error))
    }

    /// The next line that it prints, waiting for it. Fails where the program ends instead.
    pub fn line(&mut self) -> Result<String, SourceError> {
        let mut looked_at = 0;
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.read[looked_at..]) {
                let line: Vec<u8> = self.read.drain(..=looked_at + end).collect();
                return Ok(String::from_utf8_lossy(&line[..line.len() - 1]).into_owned());
            }
            looked_at = self.read.len();
            if looked_at > self.line_bytes_max {
                return Err(self.failed("gave a row that is longer than any can be"));
            }
            let mut buffer = [0; READ_BYTES];
            let length = self.running.read(&mut buffer).map_err(|error| self.named(error))?;
            if length == 0 {
                let ended = self.running.wait()?;
                return Err(self.failed(&ended.told()));
            }
            self.read.extend_from_slice(&buffer[..length]);
        }
    }

    /// The error that the program did something; to follow its name.
    pub fn failed(&self, what: &str) -> SourceError {
        SourceError::unavailable(format!("{}: {} {what}", self.with, self.program))
    }

    fn named(&self, error: SourceError) -> SourceError {
        match error {
            SourceError::Cancelled => SourceError::Cancelled,
            error => SourceError::unavailable(format!("{}: {error}", self.with)),
        }
    }
}
