//! What all runs come to, for metrics and notifications.

use jiff::Timestamp;
use operations::Fault;
use rusqlite::{OptionalExtension as _, params};

use super::{COLUMNS, Journal, Run, Status, json, read, time};
use crate::task::Task;

impl Journal {
    /// How many runs there are of each kind and status.
    ///
    /// # Errors
    ///
    /// Where they cannot be read.
    pub fn counts(&self) -> Result<Vec<(String, Status, i64)>, Fault> {
        let ask = "SELECT kind, status, count(*) FROM run GROUP BY kind, status";
        let rows: Vec<(String, String, i64)> = self.0.with(|db| {
            let mut asked = db.prepare_cached(ask)?;
            let rows = asked.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            rows.collect()
        })?;
        Ok(rows.into_iter().filter_map(|(kind, status, count)| Some((kind, Status::parse(&status)?, count))).collect())
    }

    /// When the last run ended. `None` where none has.
    ///
    /// # Errors
    ///
    /// As [`Journal::counts`].
    pub fn last_end(&self) -> Result<Option<Timestamp>, Fault> {
        let last: Option<i64> =
            self.0.with(|db| db.query_row("SELECT max(ended_at) FROM run", [], |row| row.get(0)))?;
        Ok(last.map(time))
    }

    /// The last run of just this task that ended by itself, whoever asked for it.
    ///
    /// # Errors
    ///
    /// As [`Journal::counts`].
    pub fn last_ended(&self, task: &Task) -> Result<Option<Run>, Fault> {
        let ask = format!(
            "SELECT {COLUMNS} FROM run WHERE task = ?1 AND ended_at IS NOT NULL AND status != 'cancelled' ORDER BY id DESC \
             LIMIT 1"
        );
        self.0.with(|db| db.prepare_cached(&ask)?.query_row(params![json(task)?], read).optional())
    }
}
