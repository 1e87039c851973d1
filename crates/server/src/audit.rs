//! What was done by whom. Rows are only added, and each row's hash covers the row before, so that a row which was changed or taken
//! out shows; but for the last ones, of which the log on standard error has the hash too.

use std::sync::Arc;

use jiff::Timestamp;
use operations::Fault;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::database::Database;
use crate::journal::time;
use crate::log;

/// The log.
pub struct Audit(Arc<Database>);

/// One row of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Deed {
    /// Its number, from 1 on, without gaps.
    pub number: i64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Who: a user, `token NAME`, or an address where nobody had signed in.
    pub actor: String,
    /// What was done, such as `restore`.
    pub action: String,
    /// To what.
    pub what: String,
    /// What came of it: `ok`, or why not.
    pub outcome: String,
    /// SHA-256 over the hash of the row before and this row, in hexadecimal.
    #[schema(value_type = String)]
    #[serde(serialize_with = "hexadecimal")]
    pub hash: [u8; 32],
}

impl Audit {
    /// The log in `database`.
    pub fn new(database: Arc<Database>) -> Self {
        Self(database)
    }

    /// Writes down a deed. What is done is not done where this fails.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub fn add(&self, actor: &str, action: &str, what: &str, outcome: &str, now: Timestamp) -> Result<(), Fault> {
        let deed = self.0.change(|db| {
            let (number, before) = last(db)?.map_or((0, [0; 32]), |deed| (deed.number, deed.hash));
            let [actor, action, what, outcome] = [actor, action, what, outcome].map(str::to_owned);
            let at = time(now.as_millisecond());
            let mut deed = Deed { number: number + 1, at, actor, action, what, outcome, hash: [0; 32] };
            deed.hash = deed.hash_after(&before);
            let insert = "INSERT INTO audit (number, at, actor, action, what, outcome, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            db.execute(
                insert,
                params![deed.number, at.as_millisecond(), deed.actor, deed.action, deed.what, deed.outcome, deed.hash],
            )?;
            Ok(deed)
        })?;
        let hash = data_encoding::HEXLOWER.encode(&deed.hash);
        let fields = [("actor", actor), ("what", what), ("outcome", outcome), ("audit", &hash)];
        log::line("info", action, &fields);
        Ok(())
    }

    /// Deeds, the newest first: those before `before`, `limit` at most.
    ///
    /// # Errors
    ///
    /// Where they cannot be read.
    pub fn list(&self, before: Option<i64>, limit: usize) -> Result<Vec<Deed>, Fault> {
        let ask = format!("SELECT {COLUMNS} FROM audit WHERE number < ?1 ORDER BY number DESC LIMIT ?2");
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.0.with(|db| db.prepare_cached(&ask)?.query_map([before.unwrap_or(i64::MAX), limit], read)?.collect())
    }

    /// The number of the first row that is not as it was written, or that lacks. `None`: all are right.
    ///
    /// # Errors
    ///
    /// Where they cannot be read.
    pub fn first_wrong(&self) -> Result<Option<i64>, Fault> {
        let ask = format!("SELECT {COLUMNS} FROM audit ORDER BY number");
        self.0.with(|db| {
            let (mut number, mut before) = (0, [0; 32]);
            for deed in db.prepare(&ask)?.query_map([], read)? {
                let deed = deed?;
                number += 1;
                if deed.number != number || deed.hash != deed.hash_after(&before) {
                    return Ok(Some(number));
                }
                before = deed.hash;
            }
            Ok(None)
        })
    }
}

impl Deed {
    /// Each text with its length before it, so that none runs into the next.
    fn hash_after(&self, before: &[u8; 32]) -> [u8; 32] {
        let mut hasher = Sha256::new_with_prefix(before);
        hasher.update(self.number.to_be_bytes());
        hasher.update(self.at.as_millisecond().to_be_bytes());
        for text in [&self.actor, &self.action, &self.what, &self.outcome] {
            hasher.update((text.len() as u64).to_be_bytes());
            hasher.update(text);
        }
        hasher.finalize().into()
    }
}

const COLUMNS: &str = "number, at, actor, action, what, outcome, hash";

fn last(db: &Connection) -> rusqlite::Result<Option<Deed>> {
    let ask = format!("SELECT {COLUMNS} FROM audit ORDER BY number DESC LIMIT 1");
    db.prepare_cached(&ask)?.query_row([], read).optional()
}

fn read(row: &Row<'_>) -> rusqlite::Result<Deed> {
    Ok(Deed {
        number: row.get(0)?,
        at: time(row.get(1)?),
        actor: row.get(2)?,
        action: row.get(3)?,
        what: row.get(4)?,
        outcome: row.get(5)?,
        hash: row.get(6)?,
    })
}

fn hexadecimal<S: serde::Serializer>(hash: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&data_encoding::HEXLOWER.encode(hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_or_taken_out_shows() {
        let folder = tempfile::tempdir().unwrap();
        let database = Arc::new(Database::open(&folder.path().join("db")).unwrap());
        let audit = Audit::new(Arc::clone(&database));
        for number in 1..=5 {
            audit.add("ada", "restore", &format!("snapshot {number}"), "ok", Timestamp::UNIX_EPOCH).unwrap();
        }
        assert_eq!(audit.first_wrong().unwrap(), None);
        let numbers: Vec<_> = audit.list(Some(5), 2).unwrap().into_iter().map(|deed| deed.number).collect();
        assert_eq!(numbers, [4, 3]);
        for change in ["DELETE FROM audit WHERE number = 2", "UPDATE audit SET actor = 'bob' WHERE number = 4"] {
            assert!(database.with(|db| db.execute(change, [])).is_err(), "the table itself refuses");
        }
        database.with(|db| db.execute_batch("DROP TRIGGER audit_stays; DROP TRIGGER audit_is_as_written")).unwrap();
        database.with(|db| db.execute("UPDATE audit SET actor = 'bob' WHERE number = 4", [])).unwrap();
        assert_eq!(audit.first_wrong().unwrap(), Some(4));
        database.with(|db| db.execute("DELETE FROM audit WHERE number = 2", [])).unwrap();
        assert_eq!(audit.first_wrong().unwrap(), Some(2));
    }
}
