//! The link for the first user. There is no password to begin with, so whoever can read what the server prints makes the first admin.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use operations::{Fault, FaultKind};
use rusqlite::params;

use super::secret::{self, Secret};
use super::user::{User, Users};
use crate::database::Database;

/// How long the link is good. Each start of the server prints another.
const GOOD_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Makes the first user.
pub struct Setup(Arc<Database>);

impl Setup {
    /// The link's memory in `database`.
    pub fn new(database: Arc<Database>) -> Self {
        Self(database)
    }

    /// Whether there is no user yet.
    ///
    /// # Errors
    ///
    /// Where the memory cannot be read.
    pub fn is_open(&self) -> Result<bool, Fault> {
        self.0.with(|db| db.query_row("SELECT NOT EXISTS (SELECT 1 FROM user)", [], |row| row.get(0)))
    }

    /// Makes a new link's secret, in place of the one before; nothing where there are users.
    ///
    /// # Errors
    ///
    /// Where it cannot be kept.
    pub fn begin(&self, now: Timestamp) -> Result<Option<Secret>, Fault> {
        if !self.is_open()? {
            return Ok(None);
        }
        let secret = Secret::new("")?;
        self.0.change(|db| {
            db.execute("DELETE FROM setup", [])?;
            let insert = "INSERT INTO setup (hash, created_at) VALUES (?1, ?2)";
            db.execute(insert, params![secret.hash(), now.as_millisecond()])
        })?;
        Ok(Some(secret))
    }

    /// Whether a link is good.
    ///
    /// # Errors
    ///
    /// Where the memory cannot be read.
    pub fn is_good(&self, secret: &str, now: Timestamp) -> Result<bool, Fault> {
        let oldest = now.saturating_sub(GOOD_FOR).map_or(i64::MIN, Timestamp::as_millisecond);
        let ask = "SELECT EXISTS (SELECT 1 FROM setup WHERE hash = ?1 AND created_at > ?2) AND NOT EXISTS (SELECT 1 FROM user)";
        self.0.with(|db| db.query_row(ask, params![secret::hash(secret), oldest], |row| row.get(0)))
    }

    /// Makes the first user, an admin. The link is good no more.
    ///
    /// # Errors
    ///
    /// Where the link is not good, or name or password are none.
    pub fn finish(&self, secret: &str, name: &str, password: &str, now: Timestamp) -> Result<User, Fault> {
        if !self.is_good(secret, now)? {
            return Err(Fault::new(FaultKind::Denied, "this link is not good any more")
                .with_hint("restart the server: it prints another one, as long as there is no user"));
        }
        let user = Users::new(Arc::clone(&self.0)).add_first(name, password, now)?;
        self.0.with(|db| db.execute("DELETE FROM setup", []))?;
        Ok(user)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Role;
    use super::*;

    #[test]
    fn the_link_makes_one_admin_and_then_is_good_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let setup = Setup::new(Arc::new(Database::open(&folder.path().join("db")).unwrap()));
        let at = |hours: i64| Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(hours);
        let old = setup.begin(at(0)).unwrap().unwrap();
        let link = setup.begin(at(0)).unwrap().unwrap();
        let finish = |secret: &str, hours| setup.finish(secret, "ada", "three plain words", at(hours));
        assert!(finish(old.text(), 0).is_err(), "another one was printed since");
        assert!(finish(link.text(), 25).is_err() && finish("", 0).is_err());
        assert!(setup.finish(link.text(), "ada", "short", at(1)).is_err());
        assert_eq!(finish(link.text(), 1).unwrap().role, Role::Admin);
        assert!(finish(link.text(), 1).is_err());
        assert!(setup.begin(at(2)).unwrap().is_none() && !setup.is_open().unwrap());
    }
}
