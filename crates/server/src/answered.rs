//! Requests with an `Idempotency-Key` that were answered: sent again, they get the same answer, and nothing is done twice.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, params};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::database::Database;
use crate::problem::Problem;

/// How long an answer is kept.
const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);
const KEY_BYTES_MAX: usize = 255;

/// The answers.
pub struct Answered {
    database: Arc<Database>,
    /// One at a time: of two equal requests that come at once, the second waits for the first one's answer.
    turn: Mutex<()>,
}

/// An answer.
pub type Answer = (StatusCode, Value);

impl Answered {
    /// The answers in `database`.
    pub fn new(database: Arc<Database>) -> Self {
        Self { database, turn: Mutex::default() }
    }

    /// The answer that `actor` got to this `request` with this `key`; else what `make` gives, which is kept. Without a key it is
    /// always made. Problems are not kept, so that one can try again.
    ///
    /// # Errors
    ///
    /// What `make` gives, and 422 where the key was used for something else.
    pub fn once(
        &self,
        actor: &str,
        key: Option<&str>,
        request: &str,
        now: Timestamp,
        make: impl FnOnce() -> Result<Answer, Problem>,
    ) -> Result<Answer, Problem> {
        let Some(key) = key else { return make() };
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(Problem::bad(format!("an Idempotency-Key has 1 to {KEY_BYTES_MAX} characters")));
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let hash: [u8; 32] = Sha256::digest(request).into();
        let oldest = now.saturating_sub(KEPT_FOR).map_or(i64::MIN, Timestamp::as_millisecond);
        let found = self.database.with(|db| {
            db.execute("DELETE FROM answered WHERE at < ?1", [oldest])?;
            let ask = "SELECT request, status, body FROM answered WHERE actor = ?1 AND key = ?2";
            let read = |row: &rusqlite::Row<'_>| {
                Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, u16>(1)?, row.get::<_, String>(2)?))
            };
            db.query_row(ask, [actor, key], read).optional()
        })?;
        match found {
            Some((before, _, _)) if before != hash => Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "key-used",
                "this Idempotency-Key was used for another request",
            )
            .with_hint("send a new key")),
            Some((_, status, body)) => Ok((
                StatusCode::from_u16(status).unwrap_or(StatusCode::OK),
                serde_json::from_str(&body).unwrap_or_default(),
            )),
            None => {
                let (status, body) = make()?;
                let insert =
                    "INSERT INTO answered (key, actor, request, at, status, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
                let (at, text) = (now.as_millisecond(), body.to_string());
                self.database.with(|db| db.execute(insert, params![key, actor, hash, at, status.as_u16(), text]))?;
                Ok((status, body))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_is_sent_again_is_not_done_again() {
        let folder = tempfile::tempdir().unwrap();
        let answered = Answered::new(Arc::new(Database::open(&folder.path().join("db")).unwrap()));
        let made = Cell::new(0);
        let ask = |actor: &str, key, request: &str, hours: i64| {
            let now = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(hours);
            let answer = answered.once(actor, key, request, now, || {
                made.set(made.get() + 1);
                Ok((StatusCode::ACCEPTED, Value::from(made.get())))
            });
            answer.map(|(status, value)| (status.as_u16(), value)).map_err(|problem| problem.status)
        };
        assert_eq!(ask("ada", Some("k"), "r", 0), Ok((202, 1.into())));
        assert_eq!(ask("ada", Some("k"), "r", 23), Ok((202, 1.into())));
        assert_eq!(ask("ada", Some("k"), "other", 1), Err(422));
        assert_eq!(ask("bob", Some("k"), "r", 1), Ok((202, 2.into())), "keys are everybody's own");
        assert_eq!(ask("ada", None, "r", 1), Ok((202, 3.into())));
        assert_eq!(ask("ada", Some("k"), "r", 26), Ok((202, 4.into())), "after a day it is another request");
        assert_eq!(ask("ada", Some(""), "r", 0), Err(400));
    }
}
