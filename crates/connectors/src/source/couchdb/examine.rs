//! Counts the facts again in a restored folder, and reads every document and attachment of every file in it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use couchfile::{Database, Level, ReadAt, View};
use repository::source::{GOOD_IN_FACT, TOLD_FACT};
use repository::{Cancel, Facts, SourceError};
use serde_json::{Map, Value};

use super::damage::{self, Damage};
use super::data_folder::Kind;
use super::facts::{self, Counted, DAMAGED, DATA, FILES, MISSING, OLDER_XXH3, SEEN, UNSEEN, VERSION, VIEWS};
use super::parent::Before;
use super::prefix::Prefix;
use super::select::no_database;
use super::shard_map::{self, NODE_LIST};
use crate::source::full_read::FULL_READ_AT;
use crate::source::walk::{Seen, walk};

/// Facts that cannot be seen in a restored folder.
const CARRIED: [&str; 8] = [DATA, SEEN, UNSEEN, MISSING, GOOD_IN_FACT, FULL_READ_AT, VERSION, OLDER_XXH3];

/// What is wrong with a whole file whose header is not the recorded one.
pub(super) const OTHER_COMMIT: &str = "it is not as of the commit that was captured";

/// What a file's header says, and what is wrong with the file.
pub(super) type FileRead = (Option<Value>, Option<Damage>);

/// Recounts the facts. What is wrong with a file that was not damaged when it was captured is one more record of damage.
/// A snapshot without any database has nothing that could be counted, and proves nothing.
pub fn examine(dir: &Path, recorded: &Facts, cancel: &Cancel) -> Result<Facts, SourceError> {
    if let Some(what) = no_database(recorded) {
        return Err(SourceError::Unavailable { what });
    }
    match super::data_folder(recorded, dir) {
        Some(root) => recount_data(&root, recorded, cancel),
        None => Ok(with_carried(Facts::new(), recorded)),
    }
}

/// Recounts the facts as [`examine`] does, with the data folder at `root`.
pub fn recount_data(root: &Path, recorded: &Facts, cancel: &Cancel) -> Result<Facts, SourceError> {
    Ok(with_carried(recount(root, recorded, cancel)?, recorded))
}

fn with_carried(mut found: Facts, recorded: &Facts) -> Facts {
    for name in CARRIED {
        found.extend(recorded.get(name).map(|fact| (name.to_owned(), fact.clone())));
    }
    found
}

/// Reads some files of a restored data folder, by their paths below it, and gives what is wrong with each: damage, that it
/// was damaged when it was captured, or another header than the recorded one.
pub fn check_files(
    root: &Path,
    files: &[PathBuf],
    recorded: &Facts,
    cancel: &Cancel,
) -> Result<Vec<String>, SourceError> {
    check_placed(files, |file| root.join(file), recorded, cancel)
}

/// Reads some files of a data folder as [`check_files`] does, each where `host` says that it was restored to.
pub(super) fn check_placed(
    files: &[PathBuf],
    host: impl Fn(&Path) -> PathBuf,
    recorded: &Facts,
    cancel: &Cancel,
) -> Result<Vec<String>, SourceError> {
    let fact = |name: &str, file: &Path| recorded.get(name)?.as_object()?.get(&facts::key(Path::new(""), file));
    let (damaged, whole): (Vec<_>, Vec<_>) = files.iter().partition(|file| fact(DAMAGED, file).is_some());
    let mut wrong: Vec<_> = damaged
        .into_iter()
        .filter_map(|file| Some(damage::problem(&host(file), &file.to_string_lossy(), fact(DAMAGED, file)?).what))
        .collect();
    let hosts: Vec<_> = whole.iter().map(|file| (host(file), Kind::of(file))).collect();
    for (file, (header, damage)) in whole.into_iter().zip(read_all(&hosts, |_| true, cancel)?) {
        let expected = fact(if Kind::of(file) == Kind::View { VIEWS } else { FILES }, file);
        match damage {
            Some(damage) => wrong.push(format!("{}: {}", file.display(), damage.what)),
            None if header.as_ref() != expected => wrong.push(format!("{}: {OTHER_COMMIT}", file.display())),
            None => {}
        }
    }
    Ok(wrong)
}

/// Reads all files of the data folder that lie in `dir`, where only a part of the source was restored into it. What was
/// damaged when it was captured is passed over.
pub fn check_part(dir: &Path, recorded: &Facts, cancel: &Cancel) -> Result<Vec<String>, SourceError> {
    let Some(root) = super::data_folder(recorded, dir) else { return Ok(Vec::new()) };
    let damaged: BTreeSet<_> = super::damaged(recorded).into_iter().map(|(file, _)| file).collect();
    let files =
        files(&root, cancel)?.into_iter().filter_map(|(host, _)| host.strip_prefix(&root).ok().map(PathBuf::from));
    let files: Vec<_> = files.filter(|file| !damaged.contains(file)).collect();
    check_files(&root, &files, recorded, cancel)
}

fn recount(root: &Path, recorded: &Facts, cancel: &Cancel) -> Result<Facts, SourceError> {
    let none = Map::new();
    let damaged = recorded.get(DAMAGED).and_then(Value::as_object).unwrap_or(&none);
    let files = files(root, cancel)?;
    let is_whole = |host: &Path| !damaged.contains_key(&facts::key(root, host));
    let (mut counted, mut all_damage) = (Counted::default(), damaged.clone());
    for ((host, kind), (header, damage)) in files.iter().zip(read_all(&files, is_whole, cancel)?) {
        let key = facts::key(root, host);
        let noted = if *kind == Kind::View { &mut counted.views } else { &mut counted.files };
        noted.extend(header.map(|header| (key.clone(), header)));
        if let Some(damage) = damage.filter(|_| is_whole(host)) {
            let told = damage.told(&key);
            let mut record = damage.record(&Before::new(None, ""), *kind, &key);
            record[TOLD_FACT] = told.into();
            all_damage.insert(key, record);
        }
    }
    counted.add_maps(shard_map::open(&root.join(NODE_LIST)), shard_map::open_shard_map(root));
    let mut found = counted.into_facts();
    found.insert(DAMAGED.to_owned(), all_damage.into());
    Ok(found)
}

/// Reads files, several at once, and gives what each says, in their order. Those that `is_checked` is false for are only
/// opened.
fn read_all(
    files: &[(PathBuf, Kind)],
    is_checked: impl Fn(&Path) -> bool + Sync,
    cancel: &Cancel,
) -> Result<Vec<FileRead>, SourceError> {
    let waiting = Mutex::new(files.iter().enumerate());
    let next = || waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next();
    let read: Vec<_> = files.iter().map(|_| OnceLock::new()).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !cancel.is_cancelled()
                    && let Some((number, (host, kind))) = next()
                {
                    // Nobody else was given this number.
                    let _ = read[number].set(read_host(host, *kind, is_checked(host), cancel));
                }
            });
        }
    });
    cancel.check()?;
    Ok(read.into_iter().filter_map(OnceLock::into_inner).collect())
}

/// Database and view files. What else there is says nothing of itself, and is compared byte by byte.
fn files(root: &Path, cancel: &Cancel) -> Result<Vec<(PathBuf, Kind)>, SourceError> {
    let mut files = Vec::new();
    let mut unreadable = None;
    walk(root, cancel, &mut |seen| {
        match seen {
            Seen::Entry(path, file_type) if file_type.is_file() => match Kind::of(path) {
                Kind::Other => {}
                kind => files.push((path.to_path_buf(), kind)),
            },
            Seen::Unreadable(folder, error) if folder != root => unreadable = Some((folder.to_path_buf(), error)),
            _ => {}
        }
        true
    })?;
    match unreadable {
        Some((path, error)) => Err(SourceError::Io { path, error }),
        None => Ok(files),
    }
}

fn read_host(host: &Path, kind: Kind, is_checked: bool, cancel: &Cancel) -> FileRead {
    let opened = repository::fs::open(host).and_then(|file| Ok((file.metadata()?.len(), file)));
    match opened {
        Ok((bytes, file)) => read(Prefix { file: &file, bytes, cancel }, kind, is_checked),
        Err(error) => (None, Some(Damage::of_header(error.to_string()))),
    }
}

/// What the header says, and what is wrong with the file.
pub(super) fn read<R: ReadAt>(file: R, kind: Kind, is_checked: bool) -> FileRead {
    let checked = |report| Damage::of_report(&report);
    let found = match kind {
        Kind::View => View::open(file).map(|view| {
            let damage = is_checked.then(|| checked(view.check(Level::Attachments))).flatten();
            (facts::of_view(&view), damage)
        }),
        Kind::Database | Kind::Other => Database::open(file).map(|database| {
            let damage = is_checked.then(|| checked(database.check(Level::Attachments))).flatten();
            (facts::of_database(&database), damage)
        }),
    };
    match found {
        Ok((header, damage)) => (Some(header), damage),
        Err(error) => (None, Some(Damage::of_header(error.to_string()))),
    }
}
