//! A session with a server, through its client: what it is asked is SQL, and what it answers is rows of texts.

use repository::{Cancel, SourceError};

use super::names::unescaped;
use super::server::Server;
use crate::program::Running;

/// Bytes read at once.
const READ_BYTES: usize = 16 << 10;
/// The longest row: the grants of a user may be many, but a row is one of them.
const LINE_BYTES_MAX: usize = 16 << 20;
/// How the line begins that ends an answer; a number follows.
const END: &str = "lifeboat has its answer ";

/// Rows of an answer.
pub type Rows = Vec<Vec<String>>;

/// A session. It ends when this is dropped.
pub struct Session {
    running: Running,
    /// The server, for messages.
    server: String,
    read: Vec<u8>,
    /// How many questions were asked.
    asked: u64,
}

impl Session {
    pub(super) fn begin(server: &Server, cancel: &Cancel) -> Result<Self, SourceError> {
        let client = server.client().args(["--batch", "--skip-column-names", "--unbuffered"]).with_input();
        let running = client.start(server.stage(), cancel)?;
        Ok(Self { running, server: server.name().to_owned(), read: Vec::new(), asked: 0 })
    }

    /// Asks, and waits for all rows of the answer. After a failure the session is over.
    pub fn ask(&mut self, sql: &str) -> Result<Rows, SourceError> {
        self.asked += 1;
        let end = format!("{END}{}", self.asked);
        let text = format!("{sql};\nSELECT '{end}';\n");
        self.running.write(text.as_bytes()).map_err(|error| self.named(error))?;
        let mut rows = Vec::new();
        loop {
            let line = self.line()?;
            if line == end {
                return Ok(rows);
            }
            rows.push(line.split('\t').map(unescaped).collect());
        }
    }

    /// Asks for one value.
    pub fn ask_one(&mut self, sql: &str) -> Result<String, SourceError> {
        let value = self.ask(sql)?.into_iter().flatten().next();
        value.ok_or_else(|| self.failed("it gave no answer to a question that has one"))
    }

    fn line(&mut self) -> Result<String, SourceError> {
        let mut looked_at = 0;
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.read[looked_at..]) {
                let line: Vec<u8> = self.read.drain(..=looked_at + end).collect();
                return Ok(String::from_utf8_lossy(&line[..line.len() - 1]).into_owned());
            }
            looked_at = self.read.len();
            if looked_at > LINE_BYTES_MAX {
                return Err(self.failed("it gave a row that is longer than any can be"));
            }
            let mut buffer = [0; READ_BYTES];
            let length = self.running.read(&mut buffer).map_err(|error| self.named(error))?;
            if length == 0 {
                let ended = self.running.wait()?;
                return Err(self.failed(&format!("its client {}", ended.told())));
            }
            self.read.extend_from_slice(&buffer[..length]);
        }
    }

    fn failed(&self, what: &str) -> SourceError {
        SourceError::Unavailable { what: format!("{}: {what}", self.server) }
    }

    fn named(&self, error: SourceError) -> SourceError {
        match error {
            SourceError::Cancelled => SourceError::Cancelled,
            error => self.failed(&error.to_string()),
        }
    }
}
