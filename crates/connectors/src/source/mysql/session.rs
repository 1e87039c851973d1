//! A session with a server, through its client: what it is asked is SQL, and what it answers is rows of texts.

use repository::{Cancel, SourceError};

use super::names::unescaped;
use super::server::Server;
use crate::program::Dialogue;

/// The longest row: the grants of a user may be many, but a row is one of them.
const LINE_BYTES_MAX: usize = 16 << 20;
/// How the line begins that ends an answer; a number follows.
const END: &str = "lifeboat has its answer ";

/// Rows of an answer.
pub type Rows = Vec<Vec<String>>;

/// A session. It ends when this is dropped.
pub struct Session {
    client: Dialogue,
    /// How many questions were asked.
    asked: u64,
}

impl Session {
    pub(super) fn begin(server: &Server, cancel: &Cancel) -> Result<Self, SourceError> {
        let client = server.client().args(["--batch", "--skip-column-names", "--unbuffered"]).with_input();
        let running = client.start(server.stage(), cancel)?;
        let client = Dialogue::new(running, "its client", server.name().to_owned(), LINE_BYTES_MAX);
        Ok(Self { client, asked: 0 })
    }

    /// Asks, and waits for all rows of the answer. After a failure the session is over.
    pub fn ask(&mut self, sql: &str) -> Result<Rows, SourceError> {
        self.asked += 1;
        let end = format!("{END}{}", self.asked);
        self.client.write(&format!("{sql};\nSELECT '{end}';\n"))?;
        let mut rows = Vec::new();
        loop {
            let line = self.client.line()?;
            if line == end {
                return Ok(rows);
            }
            rows.push(line.split('\t').map(unescaped).collect());
        }
    }

    /// Asks for one value.
    pub fn ask_one(&mut self, sql: &str) -> Result<String, SourceError> {
        let value = self.ask(sql)?.into_iter().flatten().next();
        value.ok_or_else(|| self.client.failed("gave no answer to a question that has one"))
    }
}
