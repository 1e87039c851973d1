//! A session with a server, through `psql`: what it is asked is SQL, and what it answers is rows as JSON, one a line.

use repository::{Cancel, SourceError};
use serde::de::{DeserializeOwned, IgnoredAny};

use super::server::Server;
use crate::program::{Program, Running};

/// Bytes read at once.
const READ_BYTES: usize = 16 << 10;
/// The longest row: one has a few names and numbers.
const LINE_BYTES_MAX: usize = 1 << 20;

/// What a session is given before anything else: no time limit of the server's may end what takes long, and text is UTF-8.
const BEGINNING: &str = "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; \
                         SET standard_conforming_strings = on; SET search_path = pg_catalog;";

/// A session with one database.
pub struct Session {
    running: Running,
    /// The database, for messages.
    database: String,
    read: Vec<u8>,
    /// How many questions were asked: each answer ends with its number.
    asked: u64,
    answered: u64,
}

impl Session {
    /// Begins a session: `psql` is started, and connects meanwhile.
    pub fn begin(server: &Server, psql: Program, database: &str, cancel: &Cancel) -> Result<Self, SourceError> {
        let psql = psql.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "--no-password"]).with_input();
        let running = server.at(psql, database).variable("PGCLIENTENCODING", "UTF8").start(server.stage(), cancel)?;
        let mut session = Self { running, database: database.to_owned(), read: Vec::new(), asked: 0, answered: 0 };
        session.write(BEGINNING)?;
        Ok(session)
    }

    /// Asks, and waits for all rows of the answer.
    pub fn ask<T: DeserializeOwned>(&mut self, query: &str) -> Result<Vec<T>, SourceError> {
        self.send(query)?;
        self.receive()
    }

    /// Asks for one row.
    pub fn ask_one<T: DeserializeOwned>(&mut self, query: &str) -> Result<T, SourceError> {
        let row = self.ask(query)?.into_iter().next();
        row.ok_or_else(|| self.failed("psql gave no answer to a question that has one"))
    }

    /// Asks, and does not wait.
    pub fn send(&mut self, query: &str) -> Result<(), SourceError> {
        self.write(&format!("SELECT row_to_json(r) FROM ({query}) AS r;"))?;
        self.end_question()
    }

    /// Runs what has no answer, and waits until it is done.
    pub fn execute(&mut self, statement: &str) -> Result<(), SourceError> {
        self.run(statement)?;
        self.settle()
    }

    /// Waits until it is connected, and all that it was given is done. To be called where every answer was received.
    pub fn settle(&mut self) -> Result<(), SourceError> {
        self.end_question()?;
        self.receive::<IgnoredAny>().map(drop)
    }

    /// Runs what has no answer, and does not wait.
    pub fn run(&mut self, statement: &str) -> Result<(), SourceError> {
        self.write(&format!("{statement};"))
    }

    /// Asks every query that a query gives, each as if it had been asked here. They never leave the server's own encoding.
    pub fn ask_each<T: DeserializeOwned>(&mut self, queries: &str) -> Result<Vec<T>, SourceError> {
        self.write(&format!("{queries} \\gexec"))?;
        self.end_question()?;
        self.receive()
    }

    fn end_question(&mut self) -> Result<(), SourceError> {
        self.asked += 1;
        self.write(&format!("\\echo {}", self.asked))
    }

    fn write(&mut self, text: &str) -> Result<(), SourceError> {
        self.running.write(format!("{text}\n").as_bytes()).map_err(|error| self.named(error))
    }

    /// The rows of the answer to the oldest question that has had none.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<Vec<T>, SourceError> {
        self.answered += 1;
        let end = self.answered.to_string();
        let mut rows = Vec::new();
        loop {
            let line = self.line()?;
            if line == end {
                return Ok(rows);
            }
            let row = serde_json::from_str(&line);
            rows.push(row.map_err(|error| self.failed(&format!("psql gave a row that cannot be read: {error}")))?);
        }
    }

    fn line(&mut self) -> Result<String, SourceError> {
        let mut looked_at = 0;
        loop {
            if let Some(end) = self.read[looked_at..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=looked_at + end).collect();
                return Ok(String::from_utf8_lossy(line.trim_ascii_end()).into_owned());
            }
            looked_at = self.read.len();
            if looked_at > LINE_BYTES_MAX {
                return Err(self.failed("psql gave a row that is longer than any can be"));
            }
            let mut buffer = [0; READ_BYTES];
            let length = self.running.read(&mut buffer).map_err(|error| self.named(error))?;
            if length == 0 {
                let ended = self.running.wait()?;
                return Err(self.failed(&format!("psql {}", ended.told())));
            }
            self.read.extend_from_slice(&buffer[..length]);
        }
    }

    fn failed(&self, what: &str) -> SourceError {
        SourceError::Unavailable { what: format!("database {}: {what}", self.database) }
    }

    fn named(&self, error: SourceError) -> SourceError {
        match error {
            SourceError::Cancelled => SourceError::Cancelled,
            error => self.failed(&error.to_string()),
        }
    }
}
