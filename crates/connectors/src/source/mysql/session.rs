//! A session with a server, through its client: what it is asked is SQL, and what it answers is rows of texts.

use repository::{Cancel, SourceError};

use super::names::unescaped;
use super::server::{LOCK_PATIENCE_S, Server};
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
    /// The server is told of by this, for messages.
    server: String,
    needs_tls: bool,
    /// How many questions were asked.
    asked: u64,
}

impl Session {
    pub(super) fn begin(server: &Server, cancel: &Cancel) -> Result<Self, SourceError> {
        let client = server.client().args(["--batch", "--skip-column-names", "--unbuffered"]).with_input();
        let running = client.start(server.stage(), cancel)?;
        let client = Dialogue::new(running, "its client", server.name().to_owned(), LINE_BYTES_MAX);
        let (server, needs_tls) = (server.name().to_owned(), server.needs_tls());
        let mut session = Self { client, server, needs_tls, asked: 0 };
        if needs_tls && session.ask("SHOW SESSION STATUS LIKE 'Ssl_cipher'")?.iter().flatten().all(is_no_cipher) {
            return Err(SourceError::unavailable(format!(
                "{}: it does not encrypt the line, which ssl-mode of the url asks for: set the server up for TLS",
                session.server
            )));
        }
        Ok(session)
    }

    /// Asks, and waits for all rows of the answer. After a failure the session is over.
    pub fn ask(&mut self, sql: &str) -> Result<Rows, SourceError> {
        let needs_tls = self.needs_tls;
        self.ask_as_it_is(sql).map_err(|error| with_hint(error, needs_tls))
    }

    fn ask_as_it_is(&mut self, sql: &str) -> Result<Rows, SourceError> {
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

    /// How many rows the server gives at most to whoever does not ask for all, as we do; where that is not all of them.
    pub fn rows_max(&mut self) -> Result<Option<u64>, SourceError> {
        let rows_max = self.ask_one("SELECT @lifeboat_rows_max")?;
        Ok(rows_max.parse().ok().filter(|rows_max| *rows_max < u64::MAX))
    }

    /// Asks for one value.
    pub fn ask_one(&mut self, sql: &str) -> Result<String, SourceError> {
        let value = self.ask(sql)?.into_iter().flatten().next();
        value.ok_or_else(|| self.client.failed("gave no answer to a question that has one"))
    }
}

/// Of the two values of a row, the name of the status is the one that is always there.
fn is_no_cipher(value: &String) -> bool {
    value.is_empty() || value == "Ssl_cipher"
}

/// A server that takes no line that is not encrypted may say no more than that the login is wrong.
fn with_hint(error: SourceError, needs_tls: bool) -> SourceError {
    let told = error.to_string();
    if let Some(hint) = lock_hint(&told) {
        return SourceError::unavailable(format!("{told}{hint}"));
    }
    let hint = if told.contains("insecure transport") {
        "; it takes encrypted lines alone: add ?ssl-mode=REQUIRED to the url"
    } else if told.contains("ERROR 1045") && !needs_tls {
        "; see whether user and password are right; where the server or the user takes encrypted lines alone, add \
         ?ssl-mode=REQUIRED to the url"
    } else {
        return error;
    };
    SourceError::unavailable(format!("{told}{hint}"))
}

/// What to do where somebody else had a table locked for too long, if that is what was told.
pub fn lock_hint(told: &str) -> Option<String> {
    told.contains("Lock wait timeout exceeded").then(|| {
        format!(
            "; somebody else had it locked for {LOCK_PATIENCE_S} s: SHOW PROCESSLIST says who, try again when that has ended"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_let_in_is_told_of_encryption() {
        let told = |what: &str, needs_tls| with_hint(SourceError::unavailable(what), needs_tls).to_string();
        assert!(told("ERROR 1045 (28000): Access denied for user 'a'@'b'", false).ends_with("REQUIRED to the url"));
        assert!(told("ERROR 3159: Connections using insecure transport are prohibited", false).contains("alone: add"));
        for (what, needs_tls) in [("ERROR 1045 (28000): Access denied for user 'a'@'b'", true), ("ERROR 1044", false)] {
            assert_eq!(told(what, needs_tls), what);
        }
    }
}
