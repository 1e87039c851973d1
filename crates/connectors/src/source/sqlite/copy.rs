//! One database, copied while others write to it.

use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use repository::fs::free_bytes;
use repository::{Cancel, Clock, SourceError};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::SIDE_FILES_WITH_DATA;
use super::find::with_suffix;

/// Pages copied between two looks at whether to stop: at most 64 MiB.
const STEP_PAGES: i32 = 1024;
/// The smallest page (sqlite.org/fileformat2.html, 1.3.2).
const PAGE_BYTES_MIN: u64 = 512;
/// How long SQLite itself waits for a lock before the wait is ours, with looks at whether to stop.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// Why there is no copy.
#[derive(Debug)]
pub enum CopyError {
    Cancelled,
    /// The place for temporary files is full.
    NoSpace,
    /// The database is at fault, in words for the user.
    Failed(String),
}

impl CopyError {
    /// What an error of SQLite means.
    pub fn from_sqlite(error: &rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => Self::Cancelled,
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// Copies the database at `path` into the new file `to`, as it was at one commit. Waits up to `lock_wait` for others to
/// release it.
pub fn copy(path: &Path, to: &Path, lock_wait: Duration, cancel: &Cancel, clock: &dyn Clock) -> Result<(), CopyError> {
    let start = clock.now();
    loop {
        let failed = match try_copy(path, to, cancel) {
            Ok(()) => return Ok(()),
            Err(Attempt::Ended(error)) => return Err(error),
            Err(Attempt::Busy) => {
                let waited = clock.now().duration_since(start).unsigned_abs();
                (waited >= lock_wait).then(|| format!("another program kept it locked for {} s", lock_wait.as_secs()))
            }
        };
        if let Some(why) = failed {
            return Err(CopyError::Failed(why));
        }
        if cancel.is_cancelled() {
            return Err(CopyError::Cancelled);
        }
        remove(to);
        clock.sleep(BUSY_PAUSE);
    }
}

/// How an attempt ended without a copy.
enum Attempt {
    /// Another program is in the way.
    Busy,
    Ended(CopyError),
}

impl From<rusqlite::Error> for Attempt {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => {
                Self::Busy
            }
            _ => Self::Ended(CopyError::from_sqlite(&error)),
        }
    }
}

fn try_copy(path: &Path, to: &Path, cancel: &Cancel) -> Result<(), Attempt> {
    // SQLite takes such a stump for an empty database, and deletes the journal that could mend it.
    if path.metadata().is_ok_and(|found| (1..PAGE_BYTES_MIN).contains(&found.len())) {
        return Err(Attempt::Ended(CopyError::Failed("the file is shorter than a page".to_owned())));
    }
    match open_for_reading(path) {
        Ok(source) => pour(&source, to, cancel),
        Err(error) if needs_side_files(&error) && !has_side_files(path) => copy_at_rest(path, to, cancel),
        Err(error) => Err(error.into()),
    }
}

/// Opens a database that others may be writing to, and pins its present state.
///
/// SQLite is asked for write access, as readers of a database in WAL mode need its shared memory and a crashed writer's
/// journal must be rolled back; where the file permits no writing, SQLite settles for reading. Nothing else is changed.
fn open_for_reading(path: &Path) -> rusqlite::Result<Connection> {
    let source =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    source.busy_timeout(BUSY_TIMEOUT)?;
    // The last to close a database moves its log into it. A log that was here before us is not ours to move.
    let has_log = with_suffix(path, "-wal").metadata().is_ok_and(|log| log.len() > 0);
    source.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, has_log)?;
    source.execute_batch("PRAGMA query_only = 1; BEGIN")?;
    // The first read pins the state for the transaction. This one needs no readable schema, so that a damaged database
    // is copied too. Backups of an open transaction's connection read in that transaction.
    source.pragma_query_value(None, "schema_version", |_| Ok(()))?;
    Ok(source)
}

/// Whether SQLite failed because it may not make a file beside the database.
fn needs_side_files(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
}

fn has_side_files(path: &Path) -> bool {
    SIDE_FILES_WITH_DATA.iter().any(|side| with_suffix(path, side).metadata().is_ok_and(|found| found.len() > 0))
}

/// Copies a database in a place that permits no writing: nobody has it open, so it is read as it lies. Should somebody
/// turn out to have written to it from elsewhere, the attempt does not count.
fn copy_at_rest(path: &Path, to: &Path, cancel: &Cancel) -> Result<(), Attempt> {
    let state = || path.metadata().map(|found| fingerprint(&found)).ok();
    let before = state();
    let source = open_immutable(path)?;
    source.execute_batch("BEGIN")?;
    pour(&source, to, cancel)?;
    if state() != before || has_side_files(path) {
        return Err(Attempt::Busy);
    }
    Ok(())
}

fn fingerprint(metadata: &Metadata) -> (u64, u64, i64, i64) {
    (metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

fn pour(source: &Connection, to: &Path, cancel: &Cancel) -> Result<(), Attempt> {
    // What fails from here on because of a full disk, fails at the copy: the source is only read.
    let full = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Attempt::Ended(CopyError::NoSpace),
        _ => error.into(),
    };
    let mut copy = Connection::open(to)?;
    // A copy that is not finished is thrown away, so it needs no journal and no syncing.
    copy.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")?;
    let backup = Backup::new(source, &mut copy)?;
    loop {
        match backup.step(STEP_PAGES).map_err(full)? {
            StepResult::Done => break,
            StepResult::More if cancel.is_cancelled() => return Err(Attempt::Ended(CopyError::Cancelled)),
            StepResult::More => {}
            _ => return Err(Attempt::Busy),
        }
    }
    drop(backup);
    copy.close().map_err(|(_, error)| full(error))
}

/// Opens a database that nobody writes to, without touching anything beside it.
pub fn open_immutable(path: &Path) -> rusqlite::Result<Connection> {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => uri.push(char::from(*byte)),
            byte => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(uri, flags)
}

/// Removes what there is of a copy. It may never have been made.
pub fn remove(copy: &Path) {
    let _ = std::fs::remove_file(copy);
}

/// Fails where `scratch` has no room for copies of all the databases.
pub fn check_space<'a>(databases: impl Iterator<Item = &'a PathBuf>, scratch: &Path) -> Result<(), SourceError> {
    let bytes = |path: &Path| path.metadata().map_or(0, |metadata| metadata.len());
    let needed: u64 = databases.map(|path| bytes(path) + bytes(&with_suffix(path, "-wal"))).sum();
    let free = free_bytes(scratch).map_err(SourceError::io(scratch))?;
    if needed > free {
        let what = format!(
            "copies of the databases need {needed} bytes in {}, where {free} are free; free some space, or set `state_dir` to a place with more",
            scratch.display()
        );
        return Err(SourceError::Unavailable { what });
    }
    Ok(())
}

/// The error where the place for temporary files filled up all the same.
pub fn no_space(scratch: &Path) -> SourceError {
    let what = format!(
        "no space is left in {} for copies of the databases; free some space, or set `state_dir` to a place with more",
        scratch.display()
    );
    SourceError::Unavailable { what }
}
