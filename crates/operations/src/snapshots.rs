//! Finds the snapshot, and the place in it, that a user names.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use repository::format::snapshot::Snapshot;
use repository::{Error, Event, File, FileKind, Id, Problem, Repository, RunCx, receipt};

/// What a user writes to name a snapshot or something in it: `SNAPSHOT[:SOURCE[/PATH]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// An id, its first digits, or `latest`.
    pub snapshot: String,
    /// The path from the snapshot's root; empty for all of it.
    pub path: PathBuf,
}

impl Place {
    /// Reads what a user typed, whose path may be of any bytes. Fails with a message for the user.
    pub fn parse(text: &OsStr) -> Result<Self, String> {
        let text = text.as_bytes();
        let colon = text.iter().position(|byte| *byte == b':');
        let (snapshot, path) = colon.map_or((text, &[][..]), |colon| (&text[..colon], &text[colon + 1..]));
        let Some(snapshot) = std::str::from_utf8(snapshot).ok().filter(|snapshot| !snapshot.is_empty()) else {
            return Err("name a snapshot before the colon: an id, its first digits, or `latest`".to_owned());
        };
        let below = path.iter().position(|byte| *byte != b'/').map_or(&[][..], |start| &path[start..]);
        let path = PathBuf::from(OsStr::from_bytes(below));
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
    /// Snapshots that cannot be read, are lost or are dated in the future, where the name was `latest`: one of them may be the
    /// newest.
    pub doubts: Vec<Problem>,
}

/// The same as [`resolve`], with what makes it doubtful left to the caller.
pub fn resolve_noting_doubts(
    cx: &RunCx<'_>,
    repository: &Repository,
    name: &str,
    stack: Option<&str>,
) -> Result<Resolved, Error> {
    let (snapshots, damaged) = repository.snapshots_readable(cx.cancel)?;
    let mut doubts = Vec::new();
    if name == LATEST {
        doubts.extend(damaged.iter().map(|(id, error)| doubt(id, error)));
        doubts.extend(receipt::orphans(repository)?.iter().map(loss));
    }
    let now = cx.clock.now();
    let ahead = all_ahead(&snapshots, now);
    let (id, snapshot) = choose(snapshots, damaged, name, stack, now)?;
    if name == LATEST {
        doubts.extend(doubts_ahead(&ahead, id, &snapshot, now));
    }
    Ok(Resolved { id, snapshot, doubts })
}

/// The newest snapshot (of `stack`, where given) that any of `repositories` has, copies of one another, and the number of
/// the first that has it. One that is damaged or lost in a copy and can be read in another is no doubt.
pub fn latest_among(
    cx: &RunCx<'_>,
    repositories: &[&Repository],
    stack: Option<&str>,
) -> Result<(usize, Resolved), Error> {
    let mut all: BTreeMap<Id, (usize, Snapshot)> = BTreeMap::new();
    let mut doubts = BTreeMap::new();
    for (number, repository) in repositories.iter().enumerate() {
        let (snapshots, damaged) = repository.snapshots_readable(cx.cancel)?;
        for (id, snapshot) in snapshots {
            all.entry(id).or_insert((number, snapshot));
        }
        doubts.extend(damaged.iter().map(|(id, error)| (*id, doubt(id, error))));
        doubts.extend(receipt::orphans(repository)?.iter().map(|id| (*id, loss(id))));
    }
    doubts.retain(|id, _| !all.contains_key(id));
    let mut snapshots: Vec<_> = all.iter().map(|(id, (_, snapshot))| (*id, snapshot.clone())).collect();
    snapshots.sort_by_key(|(_, snapshot)| snapshot.time);
    let now = cx.clock.now();
    let ahead = all_ahead(&snapshots, now);
    let (id, snapshot) = latest(snapshots, stack, now)?;
    let doubts = doubts.into_values().chain(doubts_ahead(&ahead, id, &snapshot, now)).collect();
    let number = all.get(&id).map_or(0, |(number, _)| *number);
    Ok((number, Resolved { id, snapshot, doubts }))
}

/// What a snapshot that cannot be read means for `latest`.
fn doubt(id: &Id, error: &Error) -> Problem {
    let file = File::new(FileKind::Snapshot, *id);
    let what = format!("it cannot be read, is passed over, and may be the newest ({error}); run `lifeboat check`");
    Problem::new(Path::new(&file.path()), what)
}

/// What a snapshot that was drilled and is gone means for `latest`.
fn loss(id: &Id) -> Problem {
    let file = File::new(FileKind::Snapshot, *id);
    let what =
        "it is gone, while the receipt of its drill is there, and may have been the newest; run `lifeboat check`";
    Problem::new(Path::new(&file.path()), what)
}

fn all_ahead(snapshots: &[(Id, Snapshot)], now: Timestamp) -> Vec<(Id, Snapshot)> {
    snapshots.iter().filter(|(_, snapshot)| is_ahead(snapshot.time.into(), now)).cloned().collect()
}

/// What those `ahead` that are of the stack of the chosen one mean for `latest`.
fn doubts_ahead(
    ahead: &[(Id, Snapshot)],
    chosen: Id,
    described: &Snapshot,
    now: Timestamp,
) -> impl Iterator<Item = Problem> {
    ahead.iter().filter(|(_, snapshot)| snapshot.stack() == described.stack()).map(move |(id, snapshot)| {
        let what = if *id == chosen { "taken all the same, as there is no other" } else { "passed over" };
        let (file, at, short) = (File::new(FileKind::Snapshot, *id), Timestamp::from(snapshot.time), id.short());
        let what = format!(
            "it is dated {at}, and by the clock of this machine it is {now}: {what}; set the clock if it is wrong, else remove it \
             with `lifeboat forget {short} --force`"
        );
        Problem::new(Path::new(&file.path()), what)
    })
}

/// The newest of `snapshots`: of `stack`, or, where none is named, of the only stack there is.
fn latest(snapshots: Vec<(Id, Snapshot)>, stack: Option<&str>, now: Timestamp) -> Result<(Id, Snapshot), Error> {
    let stacks: BTreeSet<String> =
        snapshots.iter().filter_map(|(_, snapshot)| snapshot.stack().map(str::to_owned)).collect();
    let names = || stacks.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let stack = match stack {
        None if stacks.len() > 1 => {
            let what = format!("`latest` could be of several stacks: {}; say which with --stack", names());
            return Err(Error::NotFound(what));
        }
        // What other programs put there belongs to no stack.
        None => stacks.first().map(String::as_str),
        named => named,
    };
    newest(&of_stack(snapshots, stack), now).cloned().ok_or_else(|| {
        Error::NotFound(match stack {
            Some(stack) if !stacks.is_empty() => format!("there is no snapshot of a stack {stack}, but of {}", names()),
            _ => "there is no snapshot yet".to_owned(),
        })
    })
}

/// The snapshot that `name` means: the newest one (of `stack`, where given) for `latest`, else the only one whose id
/// begins with it, whatever its stack. Where `latest` passes over snapshots that are damaged or dated in the future, and so
/// might have been newer, a problem says it.
pub fn resolve(
    cx: &RunCx<'_>,
    repository: &Repository,
    name: &str,
    stack: Option<&str>,
) -> Result<(Id, Snapshot), Error> {
    let found = resolve_noting_doubts(cx, repository, name, stack)?;
    for doubt in found.doubts {
        cx.events.emit(Event::Problem(doubt));
    }
    Ok((found.id, found.snapshot))
}

/// The id of the snapshot that is to be removed. One that cannot be read has one, too.
pub fn resolve_to_remove(
    cx: &RunCx<'_>,
    repository: &Repository,
    name: &str,
    stack: Option<&str>,
) -> Result<Id, Error> {
    let (snapshots, damaged) = repository.snapshots_readable(cx.cancel)?;
    let matching: Vec<Id> = damaged.iter().map(|(id, _)| *id).filter(|id| begins_with(id, name)).collect();
    match (choose(snapshots, damaged, name, stack, cx.clock.now()), matching.as_slice()) {
        (Err(error), [id]) if error.is_damage() => Ok(*id),
        (found, _) => Ok(found?.0),
    }
}

fn begins_with(id: &Id, digits: &str) -> bool {
    id.to_hex().starts_with(&digits.to_lowercase())
}

fn choose(
    snapshots: Vec<(Id, Snapshot)>,
    damaged: Vec<(Id, Error)>,
    name: &str,
    stack: Option<&str>,
    now: Timestamp,
) -> Result<(Id, Snapshot), Error> {
    if name == LATEST {
        return latest(snapshots, stack, now);
    }
    check_digits(name)?;
    let mut matching = snapshots.into_iter().filter(|(id, _)| begins_with(id, name));
    let mut damaged = damaged.into_iter().filter(|(id, _)| begins_with(id, name));
    match (matching.next(), damaged.next(), matching.next()) {
        (Some(found), None, None) => Ok(found),
        (Some((one, _)), Some((other, _)), _) | (Some((one, _)), None, Some((other, _))) => {
            Err(Error::NotFound(format!(
                "{name} is the beginning of several snapshots, {} and {} among them; give more digits",
                one.short(),
                other.short()
            )))
        }
        (None, Some((_, error)), _) => Err(error),
        (None, None, _) => Err(Error::NotFound(format!("there is no snapshot {name}"))),
    }
}

/// The word for the newest snapshot.
pub const LATEST: &str = "latest";

/// The newest of `snapshots`, as [`rank`] has it.
pub fn newest(snapshots: &[(Id, Snapshot)], now: Timestamp) -> Option<&(Id, Snapshot)> {
    snapshots.iter().max_by_key(|(_, snapshot)| rank(snapshot.time.into(), is_selection(snapshot), now))
}

/// What the newest snapshot has the greatest of. One that a wrong clock dated into the future would be the newest for as long
/// as that, and hide that no backup comes any more; one of some sources only stands for its stack where there is no other.
pub fn rank(at: Timestamp, is_selection: bool, now: Timestamp) -> (bool, bool, Timestamp) {
    (!is_ahead(at, now), !is_selection, at)
}

/// How far the clocks of hosts that write one repository may be apart.
const AHEAD_MAX: Duration = Duration::from_secs(15 * 60);

/// Whether a snapshot is dated so far in the future that a clock was, or is, wrong.
pub fn is_ahead(at: Timestamp, now: Timestamp) -> bool {
    at > now && at.duration_since(now).unsigned_abs() > AHEAD_MAX
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

/// Tag of a snapshot from which something was left out, or in which something is doubtful.
pub const PARTIAL_TAG: &str = "partial";

/// Whether a snapshot holds only some of its stack's sources.
pub fn is_selection(snapshot: &Snapshot) -> bool {
    has_tag(&snapshot.tags, SELECTION_TAG)
}

/// Whether something was left out of a snapshot, as far as its tags tell.
pub fn is_partial(snapshot: &Snapshot) -> bool {
    has_tag(&snapshot.tags, PARTIAL_TAG)
}

pub(crate) fn has_tag(tags: &[String], tag: &str) -> bool {
    tags.iter().any(|own| own == tag)
}

/// Begins a tag that names a source of the snapshot and another snapshot, which holds whole what is damaged or missing here.
/// Retention goes by it, so it must not need the manifest.
const GOOD_IN_TAG: &str = "good-in:";

/// The tag that says where what is damaged or missing in `source` is whole.
pub fn good_in_tag(source: &str, id: &Id) -> String {
    format!("{GOOD_IN_TAG}{source}:{}", id.to_hex())
}

/// Where what is damaged or missing in a snapshot is whole: sources, each with a snapshot.
pub fn good_in(snapshot: &Snapshot) -> impl Iterator<Item = (&str, Id)> {
    snapshot.tags.iter().filter_map(|tag| {
        let (source, id) = tag.strip_prefix(GOOD_IN_TAG)?.rsplit_once(':')?;
        Some((source, id.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use repository::events::Recorded;
    use repository::{File, FileKind};

    use super::*;
    use crate::memory::Memory;

    #[test]
    fn a_damaged_snapshot_is_never_passed_over_in_silence() {
        let memory = Memory::new();
        let older = memory.snapshot("cht", "2026-02-01T00:00:00Z", &[]);
        let newer = memory.snapshot("cht", "2026-02-02T00:00:00Z", &[]);
        let events = Recorded::default();
        let cx = RunCx { events: &events, ..memory.cx() };
        let resolve = |name: &str| resolve(&cx, &memory.repository, name, Some("cht"));
        assert_eq!(resolve("latest").unwrap().0, newer);
        assert!(events.events().is_empty());
        assert!(memory.storage.flip(File::new(FileKind::Snapshot, newer), 40));
        assert_eq!(resolve("latest").unwrap().0, older);
        let told = events.events();
        let [Event::Problem(problem)] = &told[..] else { panic!("{told:?}") };
        assert!(problem.path.contains(&newer.short()), "{problem}");
        assert!(resolve(&newer.to_hex()).unwrap_err().is_damage(), "named, it is damaged, not missing");
    }

    #[test]
    fn a_snapshot_of_some_sources_stands_for_the_stack_only_where_there_is_no_other() {
        let memory = Memory::new();
        let snapshots = || memory.repository.snapshots(&memory.cancel).unwrap();
        let newest = || newest(&snapshots(), "2026-02-03T00:00:00Z".parse().unwrap()).map(|(id, _)| *id);
        assert_eq!(newest(), None);
        let some = memory.snapshot("cht", "2026-02-02T00:00:00Z", &[SELECTION_TAG]);
        assert_eq!(newest(), Some(some));
        let whole = memory.snapshot("cht", "2026-02-01T00:00:00Z", &[]);
        assert_eq!(newest(), Some(whole));
    }

    #[test]
    fn a_snapshot_of_the_future_is_the_latest_only_where_there_is_no_other_and_is_named() {
        // By the clock of `Memory` it is noon of the first of March.
        let memory = Memory::new();
        let (repository, cx) = (&*memory.repository, memory.cx());
        let latest = || {
            let one = resolve_noting_doubts(&cx, repository, LATEST, Some("cht")).unwrap();
            let (_, of_all) = latest_among(&cx, &[repository], Some("cht")).unwrap();
            assert_eq!((one.id, &one.doubts), (of_all.id, &of_all.doubts));
            assert_eq!(resolve_to_remove(&cx, repository, LATEST, Some("cht")).unwrap(), one.id);
            (one.id, one.doubts.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let ahead = memory.snapshot("cht", "2026-09-17T12:00:00Z", &[]);
        let (id, doubts) = latest();
        assert_eq!((id, doubts.len()), (ahead, 1));
        assert!(doubts[0].contains("taken all the same"), "{doubts:?}");
        memory.snapshot("other", "2026-09-18T12:00:00Z", &[]);
        let good = memory.snapshot("cht", "2026-03-01T11:00:00Z", &[]);
        let (id, doubts) = latest();
        assert_eq!((id, doubts.len()), (good, 1), "of another stack is no doubt");
        assert!(doubts[0].contains("dated 2026-09-17T12:00:00Z") && doubts[0].contains("passed over"), "{doubts:?}");
        assert!(doubts[0].contains(&format!("lifeboat forget {} --force", ahead.short())), "{doubts:?}");
        let near = memory.snapshot("cht", "2026-03-01T12:10:00Z", &[]);
        assert_eq!(latest().0, near, "the clock of another host runs a little ahead");
    }

    #[test]
    fn latest_of_several_stacks_is_refused_until_one_is_named() {
        let memory = Memory::new();
        let foreign = memory.snapshot("", "2026-02-03T00:00:00Z", &[]);
        let latest = |stack| resolve(&memory.cx(), &memory.repository, "latest", stack);
        let told = |stack| latest(stack).unwrap_err().to_string();
        assert_eq!(latest(None).unwrap().0, foreign);
        let ours = memory.snapshot("cht", "2026-02-01T00:00:00Z", &[]);
        assert_eq!(latest(None).unwrap().0, ours, "what no stack owns does not pass for the stack's");
        assert!(told(Some("cth")).contains("of a stack cth, but of cht"));
        let other = memory.snapshot("other", "2026-02-02T00:00:00Z", &[]);
        assert!(told(None).contains("cht, other; say which with --stack"));
        assert_eq!(latest(Some("other")).unwrap().0, other);
    }

    #[test]
    fn an_id_names_its_snapshot_whatever_its_stack() {
        let memory = Memory::new();
        let ours = memory.snapshot("cht", "2026-02-01T00:00:00Z", &[]);
        let other = memory.snapshot("other", "2026-02-02T00:00:00Z", &[]);
        let resolve = |name: &str| resolve(&memory.cx(), &memory.repository, name, Some("cht"));
        assert_eq!(resolve(&other.to_hex()[..12].to_uppercase()).unwrap().0, other);
        assert_eq!(resolve("latest").unwrap().0, ours);
        assert!(matches!(resolve("0123456789"), Err(Error::NotFound(_))));
    }

    #[test]
    fn the_latest_of_several_copies_is_the_newest_of_all_from_the_first_that_has_it() {
        let memory = Memory::new();
        memory.snapshot("cht", "2026-02-01T00:00:00Z", &[]);
        // `nas` lags behind by one, `usb` is in step.
        let nas = memory.copied();
        let newer = memory.snapshot("cht", "2026-02-02T00:00:00Z", &[]);
        let usb = memory.copied();
        let latest = |copies: &[&Memory]| {
            let repositories: Vec<&Repository> = copies.iter().map(|copy| &*copy.repository).collect();
            latest_among(&memory.cx(), &repositories, Some("cht"))
                .map(|(number, found)| (number, found.id, found.doubts.len()))
        };
        assert_eq!(latest(&[&nas, &memory, &usb]).unwrap(), (1, newer, 0));
        // Damaged in one copy and whole in another, it is no doubt; where no copy can read it, it is one.
        assert!(memory.storage.flip(File::new(FileKind::Snapshot, newer), 40));
        assert_eq!(latest(&[&nas, &memory, &usb]).unwrap(), (2, newer, 0));
        let (number, found, doubts) = latest(&[&nas, &memory]).unwrap();
        assert_eq!((number, doubts), (0, 1));
        assert_ne!(found, newer);
        assert!(matches!(latest(&[&Memory::new()]), Err(Error::NotFound(_))));
    }

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
        let parse = |text: &str| Place::parse(OsStr::new(text));
        assert_eq!(parse("latest"), Ok(place("latest", "")));
        assert_eq!(parse("ab12:files/srv/a:b"), Ok(place("ab12", "files/srv/a:b")));
        assert_eq!(parse("latest:/files/"), Ok(place("latest", "files/")));
        assert!(parse(":files").is_err());
        assert!(parse("latest:../x").is_err());
        let bytes = OsStr::from_bytes(b"latest:files/\xff\xfe");
        assert_eq!(Place::parse(bytes).unwrap().path.as_os_str().as_bytes(), b"files/\xff\xfe");
    }
}
