//! Finds the snapshot, and the place in it, that a user names.

use std::path::PathBuf;
use std::str::FromStr;

use repository::format::snapshot::Snapshot;
use repository::{Cancel, Error, Id, Repository};

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

/// The snapshot that `name` means: the newest one (of `stack`, where given) for `latest`, else the only one whose id
/// begins with it.
pub fn resolve(
    repository: &Repository,
    cancel: &Cancel,
    name: &str,
    stack: Option<&str>,
) -> Result<(Id, Snapshot), Error> {
    let snapshots = of_stack(repository.snapshots_readable(cancel)?.0, stack);
    if name == "latest" {
        // A snapshot of some sources only stands for the stack where there is no other.
        let newest = snapshots.iter().rfind(|(_, snapshot)| !is_selection(snapshot)).or(snapshots.last());
        return newest.cloned().ok_or_else(|| Error::NotFound("there is no snapshot yet".to_owned()));
    }
    check_digits(name)?;
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

/// Digits of an id that name something. An empty variable in a script would otherwise name whatever there is.
const ID_DIGITS_MIN: usize = 4;

/// Refuses what is no beginning of an id, or too short a one.
pub fn check_digits(digits: &str) -> Result<(), Error> {
    if digits.len() >= ID_DIGITS_MIN && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Ok(());
    }
    Err(Error::NotFound(format!("`{digits}` is not an id: give at least {ID_DIGITS_MIN} of its digits, 0-9 and a-f")))
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
    fn an_id_is_named_by_four_digits_at_least() {
        for digits in ["ab12", "AB12", "0123456789abcdef"] {
            assert!(check_digits(digits).is_ok(), "{digits}");
        }
        for digits in ["", "a", "ab1", "ab1g", "-ab1", "new est"] {
            assert!(matches!(check_digits(digits), Err(Error::NotFound(_))), "{digits}");
        }
    }

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
