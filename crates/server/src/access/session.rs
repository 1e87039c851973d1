//! Those who have signed in.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use operations::Fault;
use rusqlite::{OptionalExtension as _, params};

use super::secret::{self, Secret};
use crate::database::Database;
use crate::journal::time;

/// The cookie's name where it comes over TLS. The prefix makes browsers hold to what is set (RFC 6265bis, 4.1.3).
const COOKIE_TLS: &str = "__Host-lifeboat";
/// The cookie's name.
pub const COOKIE: &str = "lifeboat";
/// A session in which nothing is done for so long ends.
const IDLE_MAX: Duration = Duration::from_secs(12 * 60 * 60);
/// A session ends after this in any case.
const AGE_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How exactly it is known when something was last done.
const SEEN_EVERY: Duration = Duration::from_secs(60);

/// The sessions.
pub struct Sessions {
    database: Arc<Database>,
    is_tls: bool,
}

impl Sessions {
    /// The sessions in `database`, of people who come over TLS or do not.
    pub fn new(database: Arc<Database>, is_tls: bool) -> Self {
        Self { database, is_tls }
    }

    /// Begins a session. Gives the value of `Set-Cookie`.
    ///
    /// # Errors
    ///
    /// Where it cannot be kept.
    pub fn begin(&self, user: &str, now: Timestamp) -> Result<String, Fault> {
        let secret = Secret::new("")?;
        let (at, oldest) = (now.as_millisecond(), before(now, AGE_MAX));
        self.database.change(|db| {
            db.execute("DELETE FROM session WHERE created_at < ?1 OR seen_at < ?2", [oldest, before(now, IDLE_MAX)])?;
            let insert = "INSERT INTO session (hash, user, created_at, seen_at) VALUES (?1, ?2, ?3, ?3)";
            db.execute(insert, params![secret.hash(), user, at])
        })?;
        Ok(self.cookie(secret.text(), AGE_MAX.as_secs()))
    }

    /// The name of the user whose session it is, where it goes on.
    ///
    /// # Errors
    ///
    /// Where the memory cannot be read.
    pub fn user(&self, cookies: &str, now: Timestamp) -> Result<Option<String>, Fault> {
        let Some(secret) = self.secret_in(cookies) else { return Ok(None) };
        let ask = "SELECT user, seen_at FROM session WHERE hash = ?1 AND created_at >= ?2 AND seen_at >= ?3";
        let hash = secret::hash(secret);
        let (oldest, idle) = (before(now, AGE_MAX), before(now, IDLE_MAX));
        self.database.with(|db| {
            let found = db
                .prepare_cached(ask)?
                .query_row(params![hash, oldest, idle], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))
                .optional()?;
            let Some((user, seen)) = found else { return Ok(None) };
            if now.duration_since(time(seen)).unsigned_abs() > SEEN_EVERY {
                db.execute("UPDATE session SET seen_at = ?2 WHERE hash = ?1", params![hash, now.as_millisecond()])?;
            }
            Ok(Some(user))
        })
    }

    /// Ends a session. Gives the value of `Set-Cookie` that makes the browser forget it.
    ///
    /// # Errors
    ///
    /// Where the memory cannot be written.
    pub fn end(&self, cookies: &str) -> Result<String, Fault> {
        if let Some(secret) = self.secret_in(cookies) {
            let hash = secret::hash(secret);
            self.database.with(|db| db.execute("DELETE FROM session WHERE hash = ?1", [hash]))?;
        }
        Ok(self.cookie("", 0))
    }

    fn name(&self) -> &'static str {
        if self.is_tls { COOKIE_TLS } else { COOKIE }
    }

    fn cookie(&self, value: &str, age_s: u64) -> String {
        let secure = if self.is_tls { "; Secure" } else { "" };
        format!("{}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age_s}{secure}", self.name())
    }

    fn secret_in<'c>(&self, cookies: &'c str) -> Option<&'c str> {
        let mut all = cookies.split(';').filter_map(|cookie| cookie.trim().split_once('='));
        all.find(|(name, _)| *name == self.name()).map(|(_, secret)| secret).filter(|secret| !secret.is_empty())
    }
}

fn before(now: Timestamp, duration: Duration) -> i64 {
    now.saturating_sub(duration).map_or(i64::MIN, Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::super::{Role, Users};
    use super::*;

    #[test]
    fn a_session_ends_by_itself_when_it_is_idle_or_old_or_its_user_gets_another_password() {
        let folder = tempfile::tempdir().unwrap();
        let database = Arc::new(Database::open(&folder.path().join("db")).unwrap());
        let users = Users::new(Arc::clone(&database));
        users.add("ada", Role::Admin, "three plain words", Timestamp::UNIX_EPOCH).unwrap();
        let sessions = Sessions::new(database, true);
        let at = |hours: i64| Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(hours);
        let begin = || {
            let set = sessions.begin("ada", at(0)).unwrap();
            assert!(set.contains("HttpOnly; SameSite=Strict") && set.ends_with("; Secure"), "{set}");
            format!("other=1; {}", set.split(';').next().unwrap())
        };
        let cookie = begin();
        assert!(cookie.contains("__Host-lifeboat="));
        for hour in (0..=160).step_by(8) {
            assert_eq!(sessions.user(&cookie, at(hour)).unwrap().as_deref(), Some("ada"), "{hour}");
        }
        assert_eq!(sessions.user(&cookie, at(169)).unwrap(), None, "a week is over");
        assert_eq!(sessions.user(&begin(), at(13)).unwrap(), None, "nothing was done for half a day");
        for nonsense in ["", "lifeboat=x", "__Host-lifeboat=", "__Host-lifeboat=x", "=;;="] {
            assert_eq!(sessions.user(nonsense, at(0)).unwrap(), None);
        }
        let (one, other) = (begin(), begin());
        sessions.end(&one).unwrap();
        assert_eq!(sessions.user(&one, at(0)).unwrap(), None);
        assert!(sessions.user(&other, at(0)).unwrap().is_some());
        users.set_password("ada", "three other words").unwrap();
        assert_eq!(sessions.user(&other, at(0)).unwrap(), None);
    }
}
