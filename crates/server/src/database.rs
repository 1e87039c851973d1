//! The server's memory: one SQLite file in the state folder. It may be deleted; then users are set up anew, and the history of
//! runs is gone, but nothing that a restore needs.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use operations::Fault;
use rusqlite::Connection;

/// The changes of the tables, in order; how many were made is the file's `user_version`. Those that were released stay as they are.
const MIGRATIONS: &[&str] = &[include_str!("database/1.sql"), include_str!("database/2.sql")];
/// How long to wait for another process that writes, such as one that makes a copy of the file.
const BUSY_PATIENCE: Duration = Duration::from_secs(10);

/// The open file. Questions are short, so one connection serves all.
pub struct Database(Mutex<Connection>);

impl Database {
    /// Opens `file`, which is made where it is not there.
    ///
    /// # Errors
    ///
    /// Where it cannot be read or written, or was written by a later version.
    pub fn open(file: &Path) -> Result<Self, Fault> {
        let failed = |error: rusqlite::Error| {
            Fault::local(format!("cannot open the server's memory {}", file.display()), std::io::Error::other(error))
                .with_hint("if the file is damaged, move it away: users and the history of runs are then set up anew")
        };
        let mut connection = Connection::open(file).map_err(failed)?;
        connection.busy_timeout(BUSY_PATIENCE).map_err(failed)?;
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON")
            .map_err(failed)?;
        migrate(&mut connection).map_err(failed)?;
        Ok(Self(Mutex::new(connection)))
    }

    /// Asks or changes something.
    ///
    /// # Errors
    ///
    /// What SQLite says, such as that the disk is full.
    pub fn with<T>(&self, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Fault> {
        ask(&self.connection()).map_err(broken)
    }

    /// Changes several things together, or none.
    ///
    /// # Errors
    ///
    /// As [`Database::with`].
    pub fn change<T>(&self, change: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Fault> {
        let mut connection = self.connection();
        let all = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(broken)?;
        let changed = change(&all).map_err(broken)?;
        all.commit().map_err(broken)?;
        Ok(changed)
    }

    /// A panic in another thread rolled its change back.
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn broken(error: rusqlite::Error) -> Fault {
    Fault::local("the server's memory in the state folder cannot be used", std::io::Error::other(error))
        .with_hint("see whether the disk is full, and who may write the folder")
}

fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let all = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Exclusive)?;
    let made: u32 = all.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let made = made as usize;
    if made > MIGRATIONS.len() {
        let what = format!("it was written by a later version of Lifeboat (tables {made}, known {})", MIGRATIONS.len());
        return Err(rusqlite::Error::ToSqlConversionFailure(what.into()));
    }
    for change in &MIGRATIONS[made..] {
        all.execute_batch(change)?;
    }
    all.pragma_update(None, "user_version", MIGRATIONS.len() as u32)?;
    all.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_a_later_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("server.db");
        let add = "INSERT INTO job (name, memory) VALUES ('backup a', '{}')";
        Database::open(&file).unwrap().with(|db| db.execute(add, [])).unwrap();
        let again = Database::open(&file).unwrap();
        assert_eq!(
            again.with(|db| db.query_row("SELECT count(*) FROM job", [], |row| row.get::<_, i64>(0))).unwrap(),
            1
        );
        again.with(|db| db.pragma_update(None, "user_version", 99)).unwrap();
        drop(again);
        let fault = Database::open(&file).err().unwrap();
        assert!(fault.text().contains("a later version of Lifeboat"), "{}", fault.text());
    }

    #[test]
    fn what_is_changed_together_is_changed_wholly_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("server.db")).unwrap();
        let broken = database.change(|db| {
            db.execute("INSERT INTO job (name, memory) VALUES ('a', '{}')", [])?;
            db.execute("INSERT INTO job (name, memory) VALUES ('a', '{}')", [])
        });
        assert!(broken.is_err());
        assert_eq!(
            database.with(|db| db.query_row("SELECT count(*) FROM job", [], |row| row.get::<_, i64>(0))).unwrap(),
            0
        );
    }
}
