//! Finds databases: SQLite's files begin with magic bytes (sqlite.org/fileformat2.html, 1.3).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use ignore::gitignore::Gitignore;
use repository::{Cancel, Problem, SourceError};

use super::SqliteOptions;
use crate::source::glob::{Expanded, expand};
use crate::source::walk::{Seen, is_matched, walk};

const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// What a search came by.
#[derive(Debug, Default)]
pub struct Found {
    /// What to capture, by absolute path.
    pub databases: BTreeMap<PathBuf, Kind>,
    /// What could not be looked at.
    pub problems: Vec<Problem>,
}

/// What a found file is.
#[derive(Debug)]
pub enum Kind {
    /// A database.
    Database,
    /// A file that was named itself and is no database that can be opened, and why.
    NotADatabase(String),
}

/// Whether the file at `path` begins as a database does. Only asked of regular files: opening a fifo would wait for ever.
pub fn has_magic(path: &Path) -> io::Result<bool> {
    let mut start = [0; MAGIC.len()];
    match File::open(path)?.read_exact(&mut start) {
        Ok(()) => Ok(start == *MAGIC),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// `path` with `suffix` behind its name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Looks for databases at and below `paths`. Fails only where none of them exists.
pub fn find(options: &SqliteOptions, exclude: &Gitignore, cancel: &Cancel) -> Result<Found, SourceError> {
    let paths = &options.paths;
    let mut found = Found::default();
    let mut missing = Vec::new();
    for path in paths {
        let before = (found.problems.len(), missing.len());
        match expand(path, cancel)? {
            Expanded::Literal(path) => match path.metadata() {
                Ok(metadata) if metadata.is_dir() => found.search(&path, exclude, cancel)?,
                Ok(metadata) if metadata.is_file() => found.take_named(&path, metadata.len() == 0),
                Ok(_) => found.problems.push(Problem::new(&path, "is neither a file nor a folder")),
                Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(path),
                Err(error) => found.problems.push(Problem::new(&path, error.to_string())),
            },
            Expanded::Matches(matches) if matches.is_empty() => missing.push(path.clone()),
            Expanded::Matches(matches) => {
                for path in matches {
                    match path.metadata() {
                        Ok(metadata) if metadata.is_dir() => found.search(&path, exclude, cancel)?,
                        Ok(metadata) if metadata.is_file() => {
                            let base = path.parent().unwrap_or(&path);
                            if !is_matched(exclude, base, &path, false) {
                                found.take_if_database(&path);
                            }
                        }
                        // A link that leads nowhere, or a device: no database.
                        _ => {}
                    }
                }
            }
        }
        let is_silent = options.may_be_none || (found.problems.len(), missing.len()) != before;
        if !is_silent && !found.covers(path, cancel)? {
            found.problems.push(Problem::new(path, "no SQLite database found here"));
        }
    }
    if missing.len() == paths.len() {
        let names: Vec<_> = missing.iter().map(|path| path.display().to_string()).collect();
        return Err(SourceError::Unavailable { what: format!("no such file or folder: {}", names.join(", ")) });
    }
    found.problems.extend(missing.iter().map(|path| Problem::new(path, "does not exist")));
    Ok(found)
}

impl Found {
    fn search(&mut self, folder: &Path, exclude: &Gitignore, cancel: &Cancel) -> Result<(), SourceError> {
        walk(folder, cancel, &mut |seen| {
            match seen {
                Seen::Entry(path, file_type) => {
                    if is_matched(exclude, folder, path, file_type.is_dir()) {
                        return false;
                    }
                    if file_type.is_file() {
                        self.take_if_database(path);
                    }
                }
                Seen::Names(..) => {}
                Seen::Unreadable(path, error) => {
                    self.problems.push(Problem::new(path, format!("could not be searched for databases: {error}")));
                }
            }
            true
        })
    }

    fn take_if_database(&mut self, path: &Path) {
        match has_magic(path) {
            Ok(true) => {
                self.databases.entry(path.to_path_buf()).or_insert(Kind::Database);
            }
            Ok(false) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let what = format!("could not be read, so it is not known whether it is a database: {error}");
                self.problems.push(Problem::new(path, what));
            }
        }
    }

    /// A file that was named itself. An empty file is a database without tables.
    fn take_named(&mut self, path: &Path, is_empty: bool) {
        let kind = match has_magic(path) {
            Ok(is_database) if is_database || is_empty => Kind::Database,
            Ok(_) => Kind::NotADatabase("is not a SQLite database (or is it encrypted?)".to_owned()),
            Err(error) => Kind::NotADatabase(format!("could not be read: {error}")),
        };
        self.databases.insert(path.to_path_buf(), kind);
    }

    /// Whether something was found at or below `path`.
    fn covers(&self, path: &Path, cancel: &Cancel) -> Result<bool, SourceError> {
        let places = match expand(path, cancel)? {
            Expanded::Literal(path) => vec![path],
            Expanded::Matches(paths) => paths,
        };
        Ok(self.databases.keys().any(|found| places.iter().any(|place| found.starts_with(place))))
    }
}
