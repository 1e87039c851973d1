//! A session with a server, through `psql`: what it is asked is SQL, and what it answers is rows as JSON, one a line.

use repository::{Cancel, SourceError};
use serde::de::{DeserializeOwned, IgnoredAny};

use super::server::Server;
use crate::program::{Dialogue, Program};

/// The longest row: one has a few names and numbers.
const LINE_BYTES_MAX: usize = 1 << 20;

/// What a session is given before anything else: no time limit of the server's may end what takes long, and text is UTF-8.
const BEGINNING: &str = "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; \
                         SET quote_all_identifiers = off; SET default_transaction_read_only = off; \
                         SET standard_conforming_strings = on; SET search_path = pg_catalog;";

/// A session with one database.
pub struct Session {
    psql: Dialogue,
    /// How many questions were asked: each answer ends with its number.
    asked: u64,
    answered: u64,
}

impl Session {
    /// Begins a session: `psql` is started, and connects meanwhile.
    pub fn begin(server: &Server, psql: Program, database: &str, cancel: &Cancel) -> Result<Self, SourceError> {
        let psql = psql.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "--no-password"]).with_input();
        let running = server.at(psql, database).variable("PGCLIENTENCODING", "UTF8").start(server.stage(), cancel)?;
        let psql = Dialogue::new(running, "psql", format!("database {database}"), LINE_BYTES_MAX);
        let mut session = Self { psql, asked: 0, answered: 0 };
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
        row.ok_or_else(|| self.psql.failed("gave no answer to a question that has one"))
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
        self.psql.write(&format!("{text}\n"))
    }

    /// The rows of the answer to the oldest question that has had none.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<Vec<T>, SourceError> {
        self.answered += 1;
        let end = self.answered.to_string();
        let mut rows = Vec::new();
        loop {
            let line = self.psql.line()?;
            if line == end {
                return Ok(rows);
            }
            let row = serde_json::from_str(&line);
            rows.push(row.map_err(|error| self.psql.failed(&format!("gave a row that cannot be read: {error}")))?);
        }
    }
}
