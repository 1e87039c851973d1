//! What a receiver was told last.

use std::sync::Arc;

use jiff::Timestamp;
use operations::Fault;
use rusqlite::{OptionalExtension as _, params};

use super::state::State;
use crate::database::Database;
use crate::shared::Shared;

/// What one receiver was told.
pub struct Told<'a> {
    database: &'a Arc<Database>,
    receiver: &'a str,
}

impl<'a> Told<'a> {
    /// Of the receiver of this name.
    pub fn new(shared: &'a Shared, receiver: &'a str) -> Self {
        Self { database: &shared.database, receiver }
    }

    /// How it was told that `subject` is. All is well where it was told nothing, or what another version wrote.
    ///
    /// # Errors
    ///
    /// Where it cannot be read.
    pub fn state(&self, subject: &str) -> Result<State, Fault> {
        Ok(self.text(subject)?.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
    }

    /// Keeps that it was told.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub fn keep(&self, subject: &str, state: &State, now: Timestamp) -> Result<(), Fault> {
        let text = serde_json::to_string(state)
            .map_err(|error| Fault::local("a state cannot be written", std::io::Error::other(error)))?;
        self.keep_text(subject, &text, now)
    }

    /// What is kept under `subject`.
    ///
    /// # Errors
    ///
    /// Where it cannot be read.
    pub fn text(&self, subject: &str) -> Result<Option<String>, Fault> {
        let ask = "SELECT state FROM told WHERE receiver = ?1 AND subject = ?2";
        self.database.with(|db| db.query_row(ask, [self.receiver, subject], |row| row.get(0)).optional())
    }

    /// Keeps a text under `subject`.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub fn keep_text(&self, subject: &str, text: &str, now: Timestamp) -> Result<(), Fault> {
        let keep = "INSERT INTO told (receiver, subject, state, at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (receiver, subject) DO \
                    UPDATE SET state = excluded.state, at = excluded.at";
        let values = params![self.receiver, subject, text, now.as_millisecond()];
        self.database.with(|db| db.execute(keep, values)).map(drop)
    }
}
