//! A restored dump, counted again by a scratch server that has loaded it.

use std::path::{Path, PathBuf};

use repository::{Cancel, Facts, SourceError};
use serde_json::Value;

use super::inventory::Rows;
use super::scratch::Scratch;
use super::tools::Kind;
use super::{DATABASES, USERS, VIEWS, accounts, facts, inventory};
use crate::source::produced::{FILES, recount_files};

/// What is wrong with a file that cannot be loaded.
const ERROR: &str = "error";

/// Counts again below the restored folder `dir`. Fails where no server of the kind is here.
pub fn examine(dir: &Path, recorded: &Facts, cancel: &Cancel) -> Result<Facts, SourceError> {
    let mut found = Facts::new();
    for fact in [facts::SERVER, facts::LOG] {
        found.extend(recorded.get(fact).map(|value| (fact.to_owned(), value.clone())));
    }
    found.insert(FILES.to_owned(), recount_files(dir, recorded, cancel)?);
    found.extend(accounts_of(&dir.join(USERS))?.map(|accounts| (facts::ACCOUNTS.to_owned(), accounts)));
    if let Some(why) = users_problem(&dir.join(USERS))? {
        found.insert(ERROR.to_owned(), Value::from(format!("{USERS} cannot be understood by a restore: {why}")));
        return Ok(found);
    }
    if !recorded.contains_key(facts::DATABASES) {
        return Ok(found);
    }
    let said = |name: &str| recorded.get(facts::SERVER).and_then(|server| server[name].as_str()).unwrap_or_default();
    let kind = Kind::of(said("kind"));
    let scratch = Scratch::start(kind, said("lower_case_table_names"), cancel)?;
    for file in files(dir)? {
        if let Err(why) = scratch.load(&file, cancel)? {
            let name = file.strip_prefix(dir).unwrap_or(&file).display().to_string();
            found.insert(ERROR.to_owned(), Value::from(format!("{name} cannot be loaded: {why}")));
            return Ok(found);
        }
    }
    let mut session = scratch.server().session(cancel)?;
    let databases = inventory::databases(&mut session)?;
    let held = inventory::count(&mut session, &databases, Rows::All)?;
    found.insert(facts::DATABASES.to_owned(), facts::of_databases(&held));
    Ok(found)
}

/// The files of the databases, and then that of the views.
fn files(dir: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let folder = dir.join(DATABASES);
    let mut files = Vec::new();
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        // What is missing shows in what is counted.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(files),
        Err(error) => return Err(SourceError::io(folder)(error)),
    };
    for entry in entries {
        files.push(entry.map_err(SourceError::io(&folder))?.path());
    }
    files.sort();
    files.extend(Some(dir.join(VIEWS)).filter(|views| views.exists()));
    Ok(files)
}

/// How many accounts the file has. `None` where there is no file.
fn accounts_of(path: &Path) -> Result<Option<Value>, SourceError> {
    let users = read(path)?;
    Ok(users.map(|users| users.lines().filter(|line| line.starts_with("CREATE ")).count().into()))
}

/// What is wrong with the file of the accounts, if anything is.
fn users_problem(path: &Path) -> Result<Option<String>, SourceError> {
    Ok(read(path)?.and_then(|users| accounts::check(&users).err()))
}

fn read(path: &Path) -> Result<Option<String>, SourceError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SourceError::io(path)(error)),
    }
}
