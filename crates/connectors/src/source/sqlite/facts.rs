//! What a database holds, counted exactly, in a file that nobody writes to.

use std::path::Path;

use repository::{Cancel, Facts, SourceError};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde_json::{Value, json};

use super::copy::{CopyError, open_immutable};
use super::{COPIED, DATABASES};
use crate::source::layout;

/// Findings of an integrity check that are kept.
const FINDINGS_MAX: u32 = 3;
/// Steps of SQLite's virtual machine between two looks at whether to stop.
const PROGRESS_STEPS: i32 = 10_000;
const INTEGRITY: &str = "integrity";
/// What SQLite says of what is whole.
const OK: &str = "ok";
/// Before the tables that only the program can check that made the database.
const OK_BUT: &str = "ok, but not checked: ";

/// Counts the database at `path`: integrity, page size and count, versions, encoding, rows of each table. A table that
/// cannot be counted, such as a virtual one of an extension that is not here, has `null`.
pub fn count(path: &Path, cancel: &Cancel) -> Result<Value, CopyError> {
    let counted = open_immutable(path).and_then(|mut database| {
        let cancel = cancel.clone();
        database.progress_handler(PROGRESS_STEPS, Some(move || cancel.is_cancelled()))?;
        // What stands in the database's own schema must not run anything with effects.
        database.execute_batch("PRAGMA trusted_schema = 0; PRAGMA cell_size_check = 1")?;
        count_open(&database)
    });
    counted.map_err(|error| CopyError::from_sqlite(&error))
}

fn count_open(database: &Connection) -> rusqlite::Result<Value> {
    let number = |pragma: &str| database.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let encoding: String = database.pragma_query_value(None, "encoding", |row| row.get(0))?;
    Ok(json!({
        COPIED: true,
        INTEGRITY: integrity(database)?,
        "page_size": number("page_size")?,
        "page_count": number("page_count")?,
        "user_version": number("user_version")?,
        "application_id": number("application_id")?,
        "encoding": encoding,
        "tables": tables(database)?,
    }))
}

/// "ok", or the first findings. A database that is too damaged for the check has the reason as its finding. Where parts of the
/// schema belong to the program that made it, such as a collation, the tables are checked one by one, and those named that
/// nobody else can check.
fn integrity(database: &Connection) -> rusqlite::Result<String> {
    match check(database, &FINDINGS_MAX) {
        Err(error) if is_of_its_program(&error) => integrity_of_tables(database),
        findings => Ok(findings?.join("; ")),
    }
}

fn integrity_of_tables(database: &Connection) -> rusqlite::Result<String> {
    let tables = match names(database) {
        Ok(tables) => tables,
        Err(error) => return Ok(damage(Err(error))?.unwrap_or_default()),
    };
    let (mut findings, mut unchecked) = (Vec::new(), Vec::new());
    for table in tables {
        match check(database, &table) {
            Err(error) if is_of_its_program(&error) => {
                unchecked.push(format!("{table} ({error})"));
                findings.extend(damage(read_rows(database, &table).or_else(pass_over_its_programs))?);
            }
            found => findings.extend(found?.into_iter().filter(|found| found != OK)),
        }
    }
    unchecked.push("what belongs to no table".to_owned());
    findings.truncate(FINDINGS_MAX as usize);
    Ok(if findings.is_empty() { format!("{OK_BUT}{}", unchecked.join(", ")) } else { findings.join("; ") })
}

/// What SQLite finds in the database or, where `what` is a name, in one table. Fails where it cannot look.
fn check(database: &Connection, what: &dyn rusqlite::ToSql) -> rusqlite::Result<Vec<String>> {
    let mut findings = Vec::new();
    let checked = database.pragma(None, "integrity_check", what, |row| {
        findings.push(text(row.get_ref(0)?));
        Ok(())
    });
    if checked.as_ref().is_err_and(is_of_its_program) {
        checked?;
    } else {
        findings.extend(damage(checked)?);
    }
    Ok(findings)
}

fn pass_over_its_programs(error: rusqlite::Error) -> rusqlite::Result<()> {
    if is_of_its_program(&error) { Ok(()) } else { Err(error) }
}

/// Reads every row of a table, and all of each row. Of a table whose rows lie in the order of such a collation not even that is
/// possible.
fn read_rows(database: &Connection, table: &str) -> rusqlite::Result<()> {
    let mut reading = database.prepare(&format!("SELECT * FROM {} NOT INDEXED", quoted(table)))?;
    let mut rows = reading.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

fn quoted(table: &str) -> String {
    format!("\"{}\"", table.replace('"', "\"\""))
}

/// Whether SQLite lacks what only the program has that made the database: a collation, a function, a virtual table's module.
fn is_of_its_program(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code & 0xff == rusqlite::ffi::SQLITE_ERROR)
}

/// Splits what a damaged database answers from being told to stop.
fn damage(outcome: rusqlite::Result<()>) -> rusqlite::Result<Option<String>> {
    match outcome {
        Ok(()) => Ok(None),
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) => Err(error),
        Err(error) => Ok(Some(error.to_string())),
    }
}

fn tables(database: &Connection) -> rusqlite::Result<Value> {
    let names = match names(database) {
        Ok(names) => names,
        Err(error) => return damage(Err(error)).map(|_| Value::Null),
    };
    let mut counts = Facts::new();
    for name in names.into_iter().filter(|name| !name.starts_with("sqlite_")) {
        let sql = format!("SELECT count(*) FROM {}", quoted(&name));
        let mut count = Value::Null;
        damage(database.query_row(&sql, [], |row| row.get::<_, i64>(0)).map(|rows| count = Value::from(rows)))?;
        counts.insert(name, count);
    }
    Ok(Value::Object(counts))
}

/// The tables, in order.
fn names(database: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut listing = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")?;
    let names = listing.query_map([], |row| Ok(text(row.get_ref(0)?)))?;
    names.collect()
}

fn text(value: ValueRef<'_>) -> String {
    value.as_bytes().map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// What is wrong with a database according to its facts.
pub fn integrity_problem(facts: &Value) -> Option<String> {
    let integrity = facts.get(INTEGRITY)?.as_str()?;
    let is_whole = integrity == OK || integrity.starts_with(OK_BUT);
    (!is_whole).then(|| format!("the database is damaged; SQLite's integrity check says: {integrity}"))
}

/// What could not be checked of a database that shows no damage.
pub fn unchecked(facts: &Value) -> Option<&str> {
    facts.get(INTEGRITY)?.as_str()?.strip_prefix(OK_BUT)
}

/// Recounts restored databases. What came back as it was is no proof where it was damaged already: that is an error, and
/// so is a database whose files were captured as they lay, of which nobody can say whether they are one state.
pub fn examine(dir: &Path, recorded: &Facts, cancel: &Cancel) -> Result<Facts, SourceError> {
    let databases = layout::recount(dir, recorded, DATABASES, |path, recorded| {
        cancel.check()?;
        if !path.try_exists().map_err(SourceError::io(path))? {
            return Ok(None);
        }
        if recorded.get(COPIED) == Some(&Value::Bool(false)) {
            return Ok(Some(recorded.clone()));
        }
        match count(path, cancel) {
            Ok(facts) => Ok(Some(facts)),
            Err(CopyError::Cancelled) => Err(SourceError::Cancelled),
            Err(CopyError::Failed(why)) => Ok(Some(json!({ "error": why }))),
            Err(CopyError::NoSpace) => Ok(Some(json!({ "error": "no space for temporary files" }))),
        }
    })?;
    let named = |path: &str, what: String| format!("{path}: {what}");
    if let Some(what) = databases.iter().find_map(|(path, facts)| Some(named(path, integrity_problem(facts)?))) {
        return Err(SourceError::Invalid { what });
    }
    if let Some((path, _)) = databases.iter().find(|(_, facts)| facts.get(COPIED) == Some(&Value::Bool(false))) {
        let what = "was not copied by SQLite but captured as it lay, which proves nothing: see what the backup said";
        return Err(SourceError::Unavailable { what: named(path, what.to_owned()) });
    }
    Ok([(DATABASES.to_owned(), Value::Object(databases))].into_iter().collect())
}
