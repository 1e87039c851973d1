//! Archive copies: which snapshots they hold, which they lack, and which of them go.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use archive::{ArchiveName, Recipients};
use jiff::Timestamp;
use repository::format::snapshot::Snapshot;
use repository::storage::objects::{Object, ObjectPlace, ObjectSink};
use repository::{Error, Event, Id, Index, Repository, RunCx, plausible};

use crate::config::PrefixTemplate;
use crate::manifest::{MANIFEST_NAME, Manifest};
use crate::retention::{self, Group};

/// What an archive copy has of one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The snapshot.
    pub id: Id,
    /// Its stack.
    pub stack: String,
    /// When it was taken, in whole seconds.
    pub time: Timestamp,
    /// Its sources that are here, and where.
    pub archives: BTreeMap<String, Object>,
    /// How many sources it has in all.
    pub of: usize,
}

impl Held {
    /// Whether all its sources are here.
    pub fn is_whole(&self) -> bool {
        self.archives.len() >= self.of
    }

    /// What the names of its archives say of the snapshot; the rest is empty.
    pub fn described(&self) -> Snapshot {
        Snapshot {
            time: self.time.into(),
            parent: None,
            tree: Id::ZERO,
            paths: self.archives.keys().map(|source| format!("/{source}")).collect(),
            hostname: String::new(),
            username: String::new(),
            uid: 0,
            gid: 0,
            excludes: Vec::new(),
            tags: vec![Snapshot::stack_tag(&self.stack)],
            original: None,
            program_version: String::new(),
            summary: None,
        }
    }

    /// Bytes of its archives.
    pub fn bytes(&self) -> u64 {
        self.archives.values().map(|object| object.bytes).sum()
    }
}

/// What a place holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Snapshots, oldest first.
    pub snapshots: Vec<Held>,
    /// The guide is there: this is the place, and not the empty folder that its disk is mounted on.
    pub has_guide: bool,
}

/// What a person finds beside the archives. It also tells the place from one that is not mounted.
pub const GUIDE_NAME: &str = "HOW-TO-RESTORE.txt";

const GUIDE: &str = "\
Backups made by Lifeboat. Each file STACK~SOURCE~TIME~NUMBERofALL~SNAPSHOT.tar.zst.age is
one source of one snapshot, whole in itself. To get it back without Lifeboat:

  age -d -i KEYFILE FILE | zstd -d | tar -x --xattrs --xattrs-include='*' --numeric-owner

(as root, in an empty folder; without `-i KEYFILE` where a passphrase was used).
A snapshot is complete where all its files are there: 1of3, 2of3 and 3of3.
With Lifeboat: lifeboat restore FILE --to DIR --identity KEYFILE
";

/// Lists a place. Objects with other names are passed over.
pub fn contents(place: &dyn ObjectPlace, prefix: &PrefixTemplate) -> Result<Contents, Error> {
    let mut has_guide = false;
    let mut found: BTreeMap<(Timestamp, Id), Held> = BTreeMap::new();
    for object in place.list(prefix.common_folder())? {
        has_guide |= object.path == guide_path(prefix);
        let file_name = object.path.rsplit_once('/').map_or(&*object.path, |(_, name)| name);
        let Ok(name) = file_name.parse::<ArchiveName>() else { continue };
        let ArchiveName { stack, source, time, of, snapshot: id, .. } = name;
        let held = found.entry((time, id)).or_insert(Held { id, stack, time, archives: BTreeMap::new(), of });
        held.archives.insert(source, object);
    }
    Ok(Contents { snapshots: found.into_values().collect(), has_guide })
}

/// Puts the guide beside the archives.
pub fn write_guide(cx: &RunCx<'_>, place: &dyn ObjectPlace, prefix: &PrefixTemplate) -> Result<(), Error> {
    let path = guide_path(prefix);
    let mut sink = ObjectSink::create(place, &path, GUIDE.len() as u64, cx.cancel)?;
    std::io::Write::write_all(&mut sink, GUIDE.as_bytes()).map_err(|error| Error::Internal(error.to_string()))?;
    sink.finish()?;
    Ok(())
}

fn guide_path(prefix: &PrefixTemplate) -> String {
    Path::new(prefix.common_folder()).join(GUIDE_NAME).to_string_lossy().into_owned()
}

/// What was brought to an archive copy.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Brought {
    /// The snapshots that became whole.
    pub snapshots: Vec<Id>,
    /// Archives that were written.
    pub archives: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Snapshots that are not whole, and why.
    pub incomplete: Vec<(Id, String)>,
}

/// An archive copy that is open.
pub struct ArchiveCopy<'a> {
    /// Where it is.
    pub place: &'a dyn ObjectPlace,
    /// Where in there.
    pub prefix: &'a PrefixTemplate,
    /// For whom.
    pub recipients: &'a Recipients,
    /// What it has already.
    pub held: &'a [Held],
}

/// Writes what an archive copy lacks of the `wanted` snapshots, the newest first, out of the first of `from` that has them
/// whole. A snapshot that cannot be brought keeps no other from it; a place that fails ends it.
pub fn bring(
    cx: &RunCx<'_>,
    from: &[Arc<Repository>],
    to: &ArchiveCopy<'_>,
    wanted: &[(Id, Snapshot)],
) -> Result<Brought, archive::Error> {
    let held = to.held;
    let mut brought = Brought::default();
    let mut missing: Vec<&(Id, Snapshot)> =
        wanted.iter().filter(|(id, _)| !held.iter().any(|held| held.id == *id && held.is_whole())).collect();
    missing.sort_by_key(|(id, snapshot)| std::cmp::Reverse((snapshot.time, *id)));
    if missing.is_empty() {
        return Ok(brought);
    }
    let mut from: Vec<(&Repository, Option<Index>)> = from.iter().map(|repository| (&**repository, None)).collect();
    for (id, snapshot) in missing {
        let there = held.iter().find(|held| held.id == *id).map(|held| &held.archives);
        let mut why = "no copy has it whole".to_owned();
        for (repository, index) in &mut from {
            if index.is_none() {
                *index = Index::load(cx, repository).ok();
            }
            // A copy whose index is damaged is none to take from.
            let Some(index) = &*index else { continue };
            match one(cx, repository, index, to, (*id, snapshot), there, &mut brought) {
                Ok(()) => {
                    brought.snapshots.push(*id);
                    why.clear();
                    break;
                }
                Err(archive::Error::Engine(error)) if error.is_damage() || matches!(error, Error::NotFound(_)) => {
                    why = error.to_string();
                }
                Err(error) => return Err(error),
            }
        }
        if !why.is_empty() {
            brought.incomplete.push((*id, why));
        }
    }
    Ok(brought)
}

fn one(
    cx: &RunCx<'_>,
    repository: &Repository,
    index: &Index,
    to: &ArchiveCopy<'_>,
    (id, snapshot): (Id, &Snapshot),
    there: Option<&BTreeMap<String, Object>>,
    brought: &mut Brought,
) -> Result<(), archive::Error> {
    let no_manifest = || Error::NotFound(format!("snapshot {} has no manifest", id.short()));
    let manifest = Manifest::load(repository, index, &snapshot.tree)?.ok_or_else(no_manifest)?;
    let of = manifest.sources.len();
    for (number, (source, record)) in manifest.sources.iter().enumerate() {
        if there.is_some_and(|there| there.contains_key(source)) {
            continue;
        }
        let time = whole_seconds(snapshot.time.into());
        let name = ArchiveName {
            stack: manifest.stack.clone(),
            source: source.clone(),
            time,
            number: number + 1,
            of,
            snapshot: id,
        };
        let path = path(to.prefix, &name, &snapshot.hostname);
        let step = format!("archive of {source}");
        cx.events.emit(Event::StepStarted { name: step, bytes_total: Some(record.tree.bytes) });
        let sink = ObjectSink::create(to.place, &path, record.tree.bytes, cx.cancel)?;
        let job = archive::write::Job { repository, index, tree: &snapshot.tree, preface: &[MANIFEST_NAME], source };
        brought.bytes += archive::write::write(cx, &job, to.recipients, sink)?;
        brought.archives += 1;
    }
    Ok(())
}

fn path(prefix: &PrefixTemplate, name: &ArchiveName, host: &str) -> String {
    Path::new(&prefix.fill(name, host)).join(name.to_string()).to_string_lossy().into_owned()
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    // Rounding down cannot leave the range.
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// The snapshots that retention compares with each other: those that are whole. The others push out none.
pub fn groups(held: &[Held]) -> Vec<Group> {
    retention::groups(held.iter().filter(|held| held.is_whole()).map(|held| (held.id, held.described())))
}

/// Snapshots that will never be whole: what an interrupted run left, where a newer one of the stack is whole.
pub fn leftovers(held: &[Held]) -> Vec<Id> {
    let newest_whole =
        |stack: &str| held.iter().filter(|held| held.stack == stack && held.is_whole()).map(|held| held.time).max();
    let is_left = |held: &&Held| !held.is_whole() && newest_whole(&held.stack).is_some_and(|newest| held.time < newest);
    held.iter().filter(is_left).map(|held| held.id).collect()
}

/// What speaks against removing anything by its age now.
pub fn check_clock(held: &[Held], now: Timestamp) -> Result<(), Error> {
    let newest = held.last().map(|held| (held.id.short(), held.time));
    match plausible::doubt(now, newest, None) {
        Some(what) => Err(Error::ImplausibleClock { what }),
        None => Ok(()),
    }
}

/// Removes snapshots. One that is interrupted leaves some that are not whole, which the next run removes.
pub fn remove(cx: &RunCx<'_>, place: &dyn ObjectPlace, held: &[Held], ids: &[Id]) -> Result<(), Error> {
    for held in held.iter().filter(|held| ids.contains(&held.id)) {
        for object in held.archives.values() {
            cx.cancel.check()?;
            place.delete(&object.path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use archive::Identities;
    use jiff::tz::TimeZone;
    use repository::restore::Options;
    use repository::storage::objects::{MemoryObjects, ObjectReader};

    use super::*;
    use crate::memory::{FixedFiles, Memory};
    use crate::retention::Policy;

    /// A pair of keys that opens nothing else.
    const PUBLIC: &str = "age15w6w29yg9vv22n34d98tsndzuqdxll7g0tgfss3dkg9je0d7tghqj53ja6";
    const SECRET: &str = "AGE-SECRET-KEY-19QYGCMMTLU0GAV0GNJW7SD4VWPRLMR0UUFFD096G7SRH09NXKAWS85SQJE";

    fn prefix() -> PrefixTemplate {
        PrefixTemplate::parse("backups/${stack}/${iso_date()}").unwrap()
    }

    fn back_up(memory: &Memory) -> (Id, Snapshot) {
        let sources =
            [FixedFiles::new(&[("a", "1"), ("b/c", "22")]).named("one"), FixedFiles::new(&[("x", "3")]).named("two")];
        let id = memory.back_up(&sources, &[]).unwrap().snapshot;
        (id, memory.repository.snapshot(id).unwrap())
    }

    #[test]
    fn what_is_lacking_is_written_once_and_comes_back_as_it_was() {
        let (memory, place, prefix) = (Memory::new(), MemoryObjects::default(), prefix());
        let recipients = Recipients::keys([PUBLIC]).unwrap();
        let snapshot = back_up(&memory);
        let from = [memory.repository.clone()];
        let held = || contents(&place, &prefix).unwrap().snapshots;
        let bring = || {
            let to = ArchiveCopy { place: &place, prefix: &prefix, recipients: &recipients, held: &held() };
            bring(&memory.cx(), &from, &to, std::slice::from_ref(&snapshot)).unwrap()
        };
        let brought = bring();
        assert_eq!((&brought.snapshots[..], brought.archives), (&[snapshot.0][..], 2));
        assert_eq!(bring(), Brought::default());
        let found = held();
        assert_eq!((found.len(), found[0].is_whole(), found[0].bytes()), (1, true, brought.bytes));
        let object = &found[0].archives["one"];
        assert!(object.path.starts_with("backups/cht/"), "{}", object.path);
        let reader = ObjectReader::new(&place, object);
        let target = tempfile::tempdir().unwrap();
        let options = Options { privileged: false, keep_damaged: false };
        let key = target.path().join("key");
        std::fs::write(&key, SECRET).unwrap();
        let identities = Identities::from_file(&key).unwrap();
        let unpacked = archive::read::unpack(&memory.cx(), reader, &identities, target.path(), options).unwrap();
        assert_eq!(std::fs::read_to_string(target.path().join("one/b/c")).unwrap(), "22");
        let (name, manifest) = &unpacked.preface[0];
        assert_eq!((name.as_str(), Manifest::parse(manifest).unwrap().sources.len()), (MANIFEST_NAME, 2));
        // One of two is gone: only that one is written anew.
        let lost = found[0].archives["two"].path.clone();
        place.delete(&lost).unwrap();
        assert!(!held()[0].is_whole());
        assert_eq!(bring().archives, 1);
        assert!(held()[0].is_whole());
        assert!(!contents(&place, &prefix).unwrap().has_guide);
        write_guide(&memory.cx(), &place, &prefix).unwrap();
        assert!(contents(&place, &prefix).unwrap().has_guide);
    }

    #[test]
    fn a_damaged_copy_gives_no_archive_and_a_whole_one_gives_it() {
        let (memory, place, prefix) = (Memory::new(), MemoryObjects::default(), prefix());
        let recipients = Recipients::keys([PUBLIC]).unwrap();
        let snapshot = back_up(&memory);
        let whole = memory.copied();
        memory.damage(snapshot.0, "one/b");
        let held = || contents(&place, &prefix).unwrap().snapshots;
        let bring = |from: &[Arc<Repository>]| {
            let to = ArchiveCopy { place: &place, prefix: &prefix, recipients: &recipients, held: &held() };
            bring(&memory.cx(), from, &to, std::slice::from_ref(&snapshot)).unwrap()
        };
        let brought = bring(std::slice::from_ref(&memory.repository));
        assert_eq!((brought.snapshots.len(), brought.incomplete.len()), (0, 1));
        assert!(held().iter().all(|held| !held.is_whole()), "no archive of a damaged source");
        assert_eq!(bring(&[memory.repository.clone(), whole.repository.clone()]).snapshots, [snapshot.0]);
        let mut all = Vec::new();
        ObjectReader::new(&place, &held()[0].archives["one"]).read_to_end(&mut all).unwrap();
        assert!(all.starts_with(b"age-encryption.org/v1"));
    }

    #[test]
    fn retention_asks_whole_snapshots_and_removes_those_that_will_never_be() {
        let held = |day: i64, of: usize| Held {
            id: Id::of(&day.to_le_bytes()),
            stack: "cht".to_owned(),
            time: Timestamp::from_second(day * 86_400).unwrap(),
            archives: BTreeMap::from([("one".to_owned(), Object { path: day.to_string(), bytes: 1 })]),
            of,
        };
        let all = [held(1, 1), held(2, 2), held(3, 1), held(4, 1), held(5, 2)];
        let policy = Policy { last: retention::Count::AtMost(1), ..Policy::default() };
        let [group] = &groups(&all)[..] else { panic!("one stack") };
        let decisions = group.decide(&[], &policy, Timestamp::from_second(6 * 86_400).unwrap(), &TimeZone::UTC);
        let kept: Vec<Id> =
            decisions.iter().filter(|decision| decision.is_kept()).map(|decision| decision.id).collect();
        assert_eq!((kept, decisions.len()), (vec![all[3].id], 3));
        assert_eq!(leftovers(&all), [all[1].id], "the newest that is not whole may still become so");
        let (cancel, place) = (repository::Cancel::new(), MemoryObjects::default());
        all.iter().for_each(|held| drop(place.create(&held.archives["one"].path).unwrap().finish()));
        let cx = RunCx { events: &repository::Silent, cancel: &cancel, clock: &repository::SystemClock };
        remove(&cx, &place, &all, &[all[0].id, all[1].id]).unwrap();
        assert_eq!(place.list("").unwrap().len(), 3);
        assert!(check_clock(&all, Timestamp::from_second(6 * 86_400).unwrap()).is_ok());
        assert!(check_clock(&all, Timestamp::UNIX_EPOCH).is_err());
    }
}
