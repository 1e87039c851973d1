//! A restored dump, counted again: in the file itself, and then by a server that loads it.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use repository::{Cancel, Facts, SourceError};
use serde_json::Value;

use super::aof::Log;
use super::rdb::{Dump, Parser};
use super::{DUMP, USERS, facts, scratch};
use crate::source::produced::{FILES, below, recount_files};

const READ_BYTES: usize = 64 << 10;
/// What is wrong with a dump that cannot be read to its end.
const ERROR: &str = "error";

/// Counts again below the restored folder `dir`. The counts of keys and functions are those of a scratch server that has
/// loaded the dump; fails where there is none that could.
pub fn examine(dir: &Path, recorded: &Facts, cancel: &Cancel) -> Result<Facts, SourceError> {
    let mut found = Facts::new();
    for fact in [facts::SERVER, facts::POSITION] {
        found.extend(recorded.get(fact).map(|value| (fact.to_owned(), value.clone())));
    }
    found.insert(FILES.to_owned(), recount_files(dir, recorded, cancel)?);
    found.extend(users(&dir.join(USERS))?.map(|users| (facts::USERS.to_owned(), users)));
    if let Some(recorded) = recorded.get(facts::LOG).and_then(Value::as_object)
        && let Err(what) = log(dir, recorded, &mut found, cancel)?
    {
        found.insert(ERROR.to_owned(), Value::from(what));
        return Ok(found);
    }
    if recorded.contains_key(facts::LOG) && recorded.get(FILES).is_some_and(|files| files[DUMP].is_null()) {
        return Ok(found);
    }
    let path = dir.join(DUMP);
    let dump = match read(&path, cancel)? {
        Ok(dump) => dump,
        Err(what) => {
            found.insert(ERROR.to_owned(), Value::from(what));
            return Ok(found);
        }
    };
    found.extend(facts::of_dump(&dump));
    if !dump.modules.is_empty() {
        let modules: Vec<_> = dump.modules.into_iter().collect();
        let what = format!("only a server with the modules that make {} could load the dump", modules.join(", "));
        return Err(SourceError::Unavailable { what });
    }
    let counted = scratch::count(&path, &dump, cancel)?;
    found.insert(facts::DATABASES.to_owned(), facts::of_databases(&counted.databases));
    found.insert(facts::FUNCTIONS.to_owned(), Value::from(counted.functions));
    Ok(found)
}

/// Counts the files of a log again, and lets a server load it. Gives what is wrong with it, if anything is.
fn log(dir: &Path, recorded: &Facts, found: &mut Facts, cancel: &Cancel) -> Result<Result<(), String>, SourceError> {
    let (mut counted, mut paths) = (Vec::new(), Vec::new());
    for name in recorded.keys() {
        let Some(path) = below(dir, name).filter(|path| path.exists()) else { continue };
        let mut log = Log::default();
        let pushed = each_piece(&path, cancel, |piece| log.push(piece))?;
        match pushed.and_then(|()| log.finish()) {
            Ok(whole) => counted.push((name.clone(), whole)),
            Err(what) => return Ok(Err(format!("{name}: {what}"))),
        }
        paths.push(path);
    }
    found.extend(facts::of_log(counted.into_iter()));
    scratch::load_log(&paths, cancel)
}

/// Reads a file to its end, or to what `take` does not like.
fn each_piece(
    path: &Path,
    cancel: &Cancel,
    mut take: impl FnMut(&[u8]) -> Result<(), String>,
) -> Result<Result<(), String>, SourceError> {
    let mut file = File::open(path).map_err(SourceError::io(path))?;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        cancel.check()?;
        let length = file.read(&mut buffer).map_err(SourceError::io(path))?;
        if length == 0 {
            return Ok(Ok(()));
        }
        if let Err(what) = take(&buffer[..length]) {
            return Ok(Err(what));
        }
    }
}

/// What a dump holds, or what is wrong with it.
fn read(path: &Path, cancel: &Cancel) -> Result<Result<Dump, String>, SourceError> {
    if !path.exists() {
        return Ok(Err("it is missing".to_owned()));
    }
    let mut parser = Parser::default();
    let pushed = each_piece(path, cancel, |piece| parser.push(piece))?;
    Ok(pushed.and_then(|()| parser.finish().cloned()))
}

/// How many users the file has. `None` where there is no file.
fn users(path: &Path) -> Result<Option<Value>, SourceError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.lines().filter(|line| line.starts_with("user ")).count().into())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SourceError::io(path)(error)),
    }
}
