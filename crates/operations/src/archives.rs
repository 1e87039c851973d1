//! Archive copies: which snapshots they hold, which they lack, and which of them go.

mod bring;
mod seal;

use std::collections::BTreeMap;
use std::path::Path;

use archive::ArchiveName;
use jiff::Timestamp;
use repository::format::snapshot::Snapshot;
use repository::storage::archives::{ArchivePlace, ArchiveSink, StoredArchive};
use repository::{Error, Id, RunCx, plausible};

pub use self::bring::{ArchiveCopy, Brought, bring};
use crate::config::PrefixTemplate;
use crate::retention::{self, Group};

/// What an archive copy has of one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archived {
    /// The snapshot.
    pub id: Id,
    /// Its stack.
    pub stack: String,
    /// When it was taken, in whole seconds.
    pub time: Timestamp,
    /// Its sources that are here, and where.
    pub archives: BTreeMap<String, StoredArchive>,
    /// Its sources whose archive is gone, and where it lay: its seal is still there.
    pub lost: BTreeMap<String, String>,
    /// How many sources it has in all.
    pub of: usize,
    /// The first digits of the id of its repository; see [`ArchiveName::repository`].
    pub repository: Option<String>,
}

impl Archived {
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
    pub snapshots: Vec<Archived>,
    /// Archives that are not finished, as an interrupted run leaves them, or one that is still writing.
    pub unsealed: Vec<String>,
    /// The guide is there: this is the place, and not the empty folder that its disk is mounted on.
    pub has_guide: bool,
}

/// What a person finds beside the archives. It also tells the place from one that is not mounted.
pub const GUIDE_NAME: &str = "HOW-TO-RESTORE.txt";

/// How the names of probes begin, which are written to see what a place does. One stays where it may not be deleted.
pub const PROBE: &str = "lifeboat-probe-";

const GUIDE: &str = "\
Backups made by Lifeboat. Each file STACK~SOURCE~TIME~NUMBERofALL~SNAPSHOT~REPOSITORY.tar.zst.age
is one source of one snapshot, whole in itself. To get it back without Lifeboat:

  age -d -i KEYFILE FILE | zstd -d | tar -x --xattrs --xattrs-include='*' --numeric-owner

(as root, in an empty folder; without `-i KEYFILE` where a passphrase was used).
A snapshot is complete where all its files are there: 1of3, 2of3 and 3of3.
`sha256sum -c FILE.sha256` tells whether a file is as it was written.
With Lifeboat: lifeboat restore FILE --to DIR --identity KEYFILE
";

/// Lists a place. What has another name, or lies where archives of this `host` do not, is passed over: hosts that share a
/// place by a `${host}` in the prefix have nothing to do with each other. An archive without its seal is not finished.
pub fn contents(place: &dyn ArchivePlace, prefix: &PrefixTemplate, host: &str) -> Result<Contents, Error> {
    let mut has_guide = false;
    let mut seals = BTreeMap::new();
    let mut found = BTreeMap::new();
    let is_ours = |object: &str| {
        let file_name = object.rsplit_once('/').map_or(object, |(_, name)| name);
        file_name.parse::<ArchiveName>().ok().filter(|name| path(prefix, name, host) == object)
    };
    for object in place.list(prefix.common_folder())? {
        has_guide |= object.path == guide_path(prefix);
        if let Some(sealed) = seal::sealed(&object.path) {
            seals.extend(is_ours(sealed).map(|name| (sealed.to_owned(), name)));
        } else if is_ours(&object.path).is_some() {
            found.insert(object.path.clone(), object);
        }
    }
    let mut snapshots: BTreeMap<(Timestamp, Id), Archived> = BTreeMap::new();
    for (path, name) in seals {
        let ArchiveName { stack, source, time, of, snapshot: id, repository, .. } = name;
        let (archives, lost) = (BTreeMap::new(), BTreeMap::new());
        let held = snapshots.entry((time, id)).or_insert(Archived { id, stack, time, archives, lost, of, repository });
        match found.remove(&path) {
            Some(object) => drop(held.archives.insert(source, object)),
            None => drop(held.lost.insert(source, path)),
        }
    }
    let unsealed = found.into_keys().collect();
    Ok(Contents { snapshots: snapshots.into_values().collect(), unsealed, has_guide })
}

/// Archives in a place, wherever they lie in it: those of other prefixes, too.
pub fn anywhere(place: &dyn ArchivePlace) -> Result<Vec<String>, Error> {
    let is_archive = |path: &String| {
        let name = path.rsplit_once('/').map_or(&**path, |(_, name)| name);
        name.parse::<ArchiveName>().is_ok()
    };
    Ok(place.list("")?.into_iter().map(|object| object.path).filter(is_archive).collect())
}

fn put(cx: &RunCx<'_>, place: &dyn ArchivePlace, path: &str, bytes: &[u8]) -> Result<(), Error> {
    let mut sink = ArchiveSink::create(place, path, bytes.len() as u64, cx.cancel)?;
    std::io::Write::write_all(&mut sink, bytes).map_err(|error| Error::Internal(error.to_string()))?;
    sink.finish()?;
    Ok(())
}

/// Puts the guide beside the archives.
pub fn write_guide(cx: &RunCx<'_>, place: &dyn ArchivePlace, prefix: &PrefixTemplate) -> Result<(), Error> {
    put(cx, place, &guide_path(prefix), GUIDE.as_bytes())
}

fn guide_path(prefix: &PrefixTemplate) -> String {
    Path::new(prefix.common_folder()).join(GUIDE_NAME).to_string_lossy().into_owned()
}

fn path(prefix: &PrefixTemplate, name: &ArchiveName, host: &str) -> String {
    Path::new(&prefix.fill(name, host)).join(name.to_string()).to_string_lossy().into_owned()
}

/// The snapshots that retention compares with each other: those that are whole. The others push out none.
pub fn groups(held: &[Archived]) -> Vec<Group> {
    retention::groups(held.iter().filter(|held| held.is_whole()).map(|held| (held.id, held.described())))
}

/// Groups as [`groups`] with those that are not whole too: what `decide` would not keep of these is of no use to anybody.
pub fn groups_with_parts(held: &[Archived]) -> Vec<Group> {
    // What a snapshot lacks says nothing of which sources it has, so all of a stack are compared with each other.
    let described = |held: &Archived| Snapshot { paths: Vec::new(), ..held.described() };
    retention::groups(held.iter().map(|held| (held.id, described(held))))
}

/// Fails where the clock cannot be right, so that nothing may be removed by its age now: held against the newest archive, and
/// against the place's own clock, which tells when a probe was written.
pub fn check_clock(
    cx: &RunCx<'_>,
    place: &dyn ArchivePlace,
    prefix: &PrefixTemplate,
    held: &[Archived],
) -> Result<(), Error> {
    let now = cx.clock.now();
    let probe = format!("{PROBE}{}", now.as_nanosecond());
    let probe = Path::new(prefix.common_folder()).join(probe).to_string_lossy().into_owned();
    put(cx, place, &probe, b"probe")?;
    let there = place.modified(&probe);
    place.delete(&probe)?;
    let newest = held.last().map(|held| (held.id.short(), held.time));
    match plausible::doubt(now, newest, there?.map(|there| (there, now))) {
        Some(what) => Err(Error::ImplausibleClock { what }),
        None => Ok(()),
    }
}

/// What is wrong with an archive.
#[derive(Debug, PartialEq, Eq)]
pub struct Damaged {
    /// Its snapshot.
    pub snapshot: Id,
    /// Where it lies.
    pub path: String,
    /// What shows it.
    pub what: String,
}

/// Holds archives against their seals: their sizes, or, where asked, every byte. It takes no key. Fails where the place does
/// not answer; an archive that alone cannot be read is a damaged one.
pub fn check(
    cx: &RunCx<'_>,
    place: &dyn ArchivePlace,
    held: &[Archived],
    read_data: bool,
) -> Result<Vec<Damaged>, Error> {
    let mut damaged = Vec::new();
    for held in held {
        for object in held.archives.values() {
            cx.cancel.check()?;
            if let Some(what) = seal::breach(cx, place, object, read_data)? {
                damaged.push(Damaged { snapshot: held.id, path: object.path.clone(), what });
            }
        }
        damaged.extend(held.lost.values().map(|path| Damaged {
            snapshot: held.id,
            path: path.clone(),
            what: "it is gone, and its seal is still there".to_owned(),
        }));
    }
    Ok(damaged)
}

/// What is held, with only those archives whose path `is_meant`.
pub fn part_of(held: &[Archived], is_meant: impl Fn(&str) -> bool) -> Vec<Archived> {
    let mut part = held.to_vec();
    for held in &mut part {
        held.archives.retain(|_, object| is_meant(&object.path));
        held.lost.retain(|_, path| is_meant(path));
    }
    part.retain(|held| !held.archives.is_empty());
    part
}

/// Removes snapshots. One that is interrupted leaves some that are not whole, which the next run removes, and at most one archive
/// without a seal, which is told of.
pub fn remove(cx: &RunCx<'_>, place: &dyn ArchivePlace, held: &[Archived], ids: &[Id]) -> Result<(), Error> {
    for held in held.iter().filter(|held| ids.contains(&held.id)) {
        for object in held.archives.values() {
            cx.cancel.check()?;
            // First what makes it one, so that half of it is never taken for a whole one.
            place.delete(&seal::path(&object.path))?;
            place.delete(&object.path)?;
        }
        // Of what is lost only the seal is left.
        held.lost.values().try_for_each(|path| place.delete(&seal::path(path)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::sync::Arc;

    use archive::{Identities, Recipients};
    use jiff::tz::TimeZone;
    use repository::Repository;
    use repository::clock::SimulatedClock;
    use repository::restore::Options;
    use repository::storage::archives::{ArchiveReader, MemoryArchives};

    use super::*;
    use crate::manifest::{MANIFEST_NAME, Manifest};
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
        let (memory, place, prefix) = (Memory::new(), MemoryArchives::default(), prefix());
        let recipients = Recipients::keys([PUBLIC]).unwrap();
        let snapshot = back_up(&memory);
        let from = [memory.repository.clone()];
        let held = || contents(&place, &prefix, "h").unwrap().snapshots;
        let bring = || {
            let to = ArchiveCopy { place: &place, prefix: &prefix, host: "h", recipients: &recipients, held: &held() };
            bring(&memory.cx(), &from, &to, std::slice::from_ref(&snapshot)).unwrap()
        };
        let brought = bring();
        assert_eq!((&brought.snapshots[..], brought.archives), (&[snapshot.0][..], 2));
        assert_eq!(bring(), Brought::default());
        let found = held();
        assert_eq!((found.len(), found[0].is_whole(), found[0].bytes()), (1, true, brought.bytes));
        let object = &found[0].archives["one"];
        assert!(object.path.starts_with("backups/cht/"), "{}", object.path);
        let reader = ArchiveReader::new(&place, object);
        let target = tempfile::tempdir().unwrap();
        let options = Options { privileged: false, keep_damaged: false };
        let key = target.path().join("key");
        std::fs::write(&key, SECRET).unwrap();
        let identities = Identities::from_file(&key).unwrap();
        let unpacked = archive::read::unpack(&memory.cx(), reader, &identities, target.path(), options).unwrap();
        assert_eq!(std::fs::read_to_string(target.path().join("one/b/c")).unwrap(), "22");
        let (name, manifest) = unpacked.preface.as_ref().unwrap();
        assert_eq!((name.as_str(), Manifest::parse(manifest).unwrap().sources.len()), (MANIFEST_NAME, 2));
        // One of two is gone: only that one is written anew.
        let lost = found[0].archives["two"].path.clone();
        place.delete(&lost).unwrap();
        assert!(!held()[0].is_whole());
        assert_eq!(bring().archives, 1);
        assert!(held()[0].is_whole());
        assert!(!contents(&place, &prefix, "h").unwrap().has_guide);
        write_guide(&memory.cx(), &place, &prefix).unwrap();
        assert!(contents(&place, &prefix, "h").unwrap().has_guide);
    }

    #[test]
    fn a_damaged_copy_gives_no_archive_and_a_whole_one_gives_it() {
        let (memory, place, prefix) = (Memory::new(), MemoryArchives::default(), prefix());
        let recipients = Recipients::keys([PUBLIC]).unwrap();
        let snapshot = back_up(&memory);
        let whole = memory.copied();
        memory.damage(snapshot.0, "one/b");
        let held = || contents(&place, &prefix, "h").unwrap().snapshots;
        let bring = |from: &[Arc<Repository>]| {
            let to = ArchiveCopy { place: &place, prefix: &prefix, host: "h", recipients: &recipients, held: &held() };
            bring(&memory.cx(), from, &to, std::slice::from_ref(&snapshot)).unwrap()
        };
        let brought = bring(std::slice::from_ref(&memory.repository));
        assert_eq!((brought.snapshots.len(), brought.incomplete.len()), (0, 1));
        assert!(held().iter().all(|held| !held.is_whole()), "no archive of a damaged source");
        assert_eq!(bring(&[memory.repository.clone(), whole.repository.clone()]).snapshots, [snapshot.0]);
        let mut all = Vec::new();
        ArchiveReader::new(&place, &held()[0].archives["one"]).read_to_end(&mut all).unwrap();
        assert!(all.starts_with(b"age-encryption.org/v1"));
    }

    #[test]
    fn damage_is_told_by_the_seal_without_a_key_and_mended_from_a_repository() {
        let (memory, place, prefix) = (Memory::new(), MemoryArchives::default(), prefix());
        let recipients = Recipients::keys([PUBLIC]).unwrap();
        let snapshot = back_up(&memory);
        let held = || contents(&place, &prefix, "h").unwrap().snapshots;
        let from = std::slice::from_ref(&memory.repository);
        let bring_to = |held: &[Archived]| {
            let to = ArchiveCopy { place: &place, prefix: &prefix, host: "h", recipients: &recipients, held };
            bring(&memory.cx(), from, &to, std::slice::from_ref(&snapshot)).unwrap()
        };
        let bring = || bring_to(&held());
        let rewrite = |path: &str| bring_to(&part_of(&held(), |other| other != path));
        bring();
        let cx = memory.cx();
        let check = |read_data| check(&cx, &place, &held(), read_data).unwrap();
        assert_eq!(check(true), []);
        let path = held()[0].archives["one"].path.clone();
        place.objects().get_mut(&path).unwrap()[300] ^= 1;
        assert_eq!(check(false), [], "its size is right");
        let damaged = check(true);
        assert_eq!((damaged.len(), damaged[0].path.as_str()), (1, path.as_str()));
        place.objects().insert(path.clone(), b"short".to_vec());
        assert_eq!(check(false).len(), 1);
        assert_eq!(bring().archives, 0, "it is there");
        assert_eq!(rewrite(&path).archives, 1);
        assert_eq!(check(true), []);
        place.delete(&seal::path(&path)).unwrap();
        assert!(!held()[0].is_whole(), "without its seal it is not finished");
        assert_eq!(contents(&place, &prefix, "h").unwrap().unsealed, [path]);
    }

    #[test]
    fn an_archive_that_is_gone_is_missed_by_its_seal_and_the_seal_goes_with_the_snapshot() {
        let (memory, place, prefix) = (Memory::new(), MemoryArchives::default(), prefix());
        let recipients = Recipients::keys([PUBLIC]).unwrap();
        let snapshot = back_up(&memory);
        let held = || contents(&place, &prefix, "h").unwrap().snapshots;
        let to = ArchiveCopy { place: &place, prefix: &prefix, host: "h", recipients: &recipients, held: &[] };
        let from = std::slice::from_ref(&memory.repository);
        bring(&memory.cx(), from, &to, std::slice::from_ref(&snapshot)).unwrap();
        let paths: Vec<String> = held()[0].archives.values().map(|object| object.path.clone()).collect();
        place.delete(&paths[0]).unwrap();
        let lost = || check(&memory.cx(), &place, &held(), false).unwrap();
        assert_eq!(lost().iter().map(|damaged| &damaged.path).collect::<Vec<_>>(), [&paths[0]]);
        place.delete(&paths[1]).unwrap();
        assert_eq!((lost().len(), held().len(), held()[0].is_whole()), (2, 1, false));
        remove(&memory.cx(), &place, &held(), &[snapshot.0]).unwrap();
        assert_eq!(place.list("").unwrap(), []);
    }

    #[test]
    fn hosts_that_share_a_place_by_the_prefix_do_not_see_each_other() {
        let (memory, place) = (Memory::new(), MemoryArchives::default());
        let prefix = PrefixTemplate::parse("${host}/${source}").unwrap();
        let recipients = Recipients::keys([PUBLIC]).unwrap();
        let snapshot = back_up(&memory);
        let to = ArchiveCopy { place: &place, prefix: &prefix, host: "one", recipients: &recipients, held: &[] };
        let from = std::slice::from_ref(&memory.repository);
        bring(&memory.cx(), from, &to, std::slice::from_ref(&snapshot)).unwrap();
        assert_eq!(contents(&place, &prefix, "one").unwrap().snapshots.len(), 1);
        assert_eq!(contents(&place, &prefix, "two").unwrap().snapshots, []);
    }

    #[test]
    fn retention_asks_whole_snapshots_and_removes_those_that_will_never_be() {
        let held = |day: i64, of: usize| Archived {
            id: Id::of(&day.to_le_bytes()),
            stack: "cht".to_owned(),
            time: Timestamp::from_second(day * 86_400).unwrap(),
            archives: BTreeMap::from([("one".to_owned(), StoredArchive { path: day.to_string(), bytes: 1 })]),
            lost: BTreeMap::new(),
            of,
            repository: None,
        };
        let all = [held(1, 1), held(2, 2), held(3, 1), held(4, 1), held(5, 2)];
        let policy = Policy { last: retention::Count::AtMost(1), ..Policy::default() };
        let [group] = &groups(&all)[..] else { panic!("one stack") };
        let decisions = group.decide(
            &retention::Beside::default(),
            &policy,
            Timestamp::from_second(6 * 86_400).unwrap(),
            &TimeZone::UTC,
        );
        let kept: Vec<Id> =
            decisions.iter().filter(|decision| decision.is_kept()).map(|decision| decision.id).collect();
        assert_eq!((kept, decisions.len()), (vec![all[3].id], 3));
        let [parts] = &groups_with_parts(&all)[..] else { panic!("one stack") };
        let decisions = parts.decide(
            &retention::Beside::default(),
            &policy,
            Timestamp::from_second(6 * 86_400).unwrap(),
            &TimeZone::UTC,
        );
        let kept: Vec<Id> =
            decisions.iter().filter(|decision| decision.is_kept()).map(|decision| decision.id).collect();
        assert_eq!(kept, [all[4].id], "the newest that is not whole may still become so");
        let (cancel, place) = (repository::Cancel::new(), MemoryArchives::default());
        all.iter().for_each(|held| drop(place.create(&held.archives["one"].path).unwrap().finish()));
        let cx = RunCx { events: &repository::Silent, cancel: &cancel, clock: &repository::SystemClock, lock: None };
        remove(&cx, &place, &all, &[all[0].id, all[1].id]).unwrap();
        assert_eq!(place.list("").unwrap().len(), 3, "two of five went");
        let check = |day: i64| {
            let clock = SimulatedClock::new(Timestamp::from_second(day * 86_400).unwrap());
            check_clock(&RunCx { clock: &clock, ..cx }, &place, &prefix(), &all)
        };
        assert!(check(6).is_ok());
        assert!(matches!(check(0), Err(Error::ImplausibleClock { .. })));
        assert_eq!(place.list("").unwrap().len(), 3, "no probe stays");
    }
}
