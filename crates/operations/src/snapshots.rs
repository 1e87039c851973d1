//! Finds the snapshot, and the place in it, that a user names.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use repository::format::snapshot::Snapshot;
use repository::{Cancel, Error, File, FileKind, Id, Problem, Repository};

/// What a user writes to name a snapshot or something in it: `SNAPSHOT[:SOURCE[/PATH]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// An id, its first digits, or `latest`.
    pub snapshot: String,
    /// The path from the snapshot's root; empty for all of it.
    pub path: PathBuf,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (snapshot, path) = text.split_once(':').unwrap_or((text, ""));
        if snapshot.is_empty() {
            return Err("name a snapshot before the colon: an id, its first digits, or `latest`".to_owned());
        }
        let path: PathBuf = path.trim_start_matches('/').into();
        if path.components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
            return Err(format!("{} must not contain `.` or `..`", path.display()));
        }
        Ok(Self { snapshot: snapshot.to_owned(), path })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.snapshot)?;
        if self.path.as_os_str().is_empty() { Ok(()) } else { write!(f, ":{}", self.path.display()) }
    }
}

/// A snapshot that was found by its name.
#[derive(Debug)]
pub struct Resolved {
    /// Its id.
    pub id: Id,
    /// What it says.
    pub snapshot: Snapshot,
    /// Snapshots that cannot be read, where the name was `latest`: one of them may be the newest.
    pub doubts: Vec<Problem>,
}

/// The same as [`resolve`], and what makes it doubtful.
pub fn resolve_noting_doubts(
    repository: &Repository,
    cancel: &Cancel,
    name: &str,
    stack: Option<&str>,
) -> Result<Resolved, Error> {
    let (id, snapshot) = resolve(repository, cancel, name, stack)?;
    let mut doubts = Vec::new();
    if name == LATEST {
        for (damaged, error) in repository.snapshots_readable(cancel)?.1 {
            let file = File::new(FileKind::Snapshot, damaged);
            let what = format!("this snapshot cannot be read and may be the newest: {error}");
            doubts.push(Problem::new(Path::new(&file.path()), what));
        }
    }
    Ok(Resolved { id, snapshot, doubts })
}

/// The id of the snapshot that is to be removed. One that cannot be read has one, too.
pub fn resolve_to_remove(
    repository: &Repository,
    cancel: &Cancel,
    name: &str,
    stack: Option<&str>,
) -> Result<Id, Error> {
    let found = resolve(repository, cancel, name, stack);
    let Err(Error::NotFound(_)) = &found else { return Ok(found?.0) };
    let damaged = repository.snapshots_readable(cancel)?.1;
    let mut matching = damaged.iter().filter(|(id, _)| id.to_hex().starts_with(&name.to_lowercase()));
    match (matching.next(), matching.next()) {
        (Some((id, _)), None) => Ok(*id),
        _ => Ok(found?.0),
    }
}

/// What means the newest snapshot.
const LATEST: &str = "latest";

/// The snapshot that `name` means: the newest one (of `stack`, where given) for `latest`, else the only one whose id
/// begins with it.
pub fn resolve(
    repository: &Repository,
    cancel: &Cancel,
    name: &str,
    stack: Option<&str>,
) -> Result<(Id, Snapshot), Error> {
    let snapshots = of_stack(repository.snapshots_readable(cancel)?.0, stack);
    if name == LATEST {
        // A snapshot of some sources only stands for the stack where there is no other.
        let newest = snapshots.iter().rfind(|(_, snapshot)| !is_selection(snapshot)).or(snapshots.last());
        return newest.cloned().ok_or_else(|| Error::NotFound("there is no snapshot yet".to_owned()));
    }
    let mut matching = snapshots.into_iter().filter(|(id, _)| id.to_hex().starts_with(&name.to_lowercase()));
    match (matching.next(), matching.next()) {
        (Some(found), None) => Ok(found),
        (Some((one, _)), Some((other, _))) => Err(Error::NotFound(format!(
            "{name} is the beginning of several snapshots, {} and {} among them; give more digits",
            one.short(),
            other.short()
        ))),
        (None, _) => Err(Error::NotFound(format!("there is no snapshot {name}"))),
    }
}

/// The snapshots of one stack; all of them where none is named.
pub fn of_stack(snapshots: Vec<(Id, Snapshot)>, stack: Option<&str>) -> Vec<(Id, Snapshot)> {
    snapshots.into_iter().filter(|(_, snapshot)| stack.is_none() || snapshot.stack() == stack).collect()
}

/// Tag of a snapshot that holds only the sources somebody asked for.
pub const SELECTION_TAG: &str = "selection";

/// Whether a snapshot holds only some of its stack's sources.
pub fn is_selection(snapshot: &Snapshot) -> bool {
    snapshot.tags.iter().any(|tag| tag == SELECTION_TAG)
}

/// The newest snapshot of `stack` that holds all of `sources`: what a new backup is compared with.
pub fn parent(
    repository: &Repository,
    cancel: &Cancel,
    stack: &str,
    sources: &[&str],
) -> Result<Option<(Id, Snapshot)>, Error> {
    let has =
        |snapshot: &Snapshot, source: &&str| snapshot.paths.iter().any(|path| path.strip_prefix('/') == Some(source));
    let snapshots = of_stack(repository.snapshots_readable(cancel)?.0, Some(stack));
    let holds_all = |snapshot: &Snapshot| sources.iter().all(|source| has(snapshot, source));
    let best = snapshots.iter().rfind(|(_, snapshot)| holds_all(snapshot));
    // A stack that got a new source has no such snapshot; its last one still spares reading the others.
    Ok(best.or(snapshots.last()).cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        let place = |snapshot: &str, path: &str| Place { snapshot: snapshot.into(), path: path.into() };
        assert_eq!("latest".parse(), Ok(place("latest", "")));
        assert_eq!("ab12:files/srv/a:b".parse(), Ok(place("ab12", "files/srv/a:b")));
        assert_eq!("latest:/files/".parse(), Ok(place("latest", "files/")));
        assert!(":files".parse::<Place>().is_err());
        assert!("latest:../x".parse::<Place>().is_err());
    }
}
