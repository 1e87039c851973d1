//! What a new snapshot is compared with. Each source has a parent of its own, the newest snapshot that holds it: a source
//! that was added, or a snapshot of some sources alone, must not make the others forget what was lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use repository::format::snapshot::Snapshot;
use repository::source::Previous;
use repository::{Error, Event, FileKind, Id, Identity, Index, Problem, Repository, RunCx};

use crate::manifest::{Manifest, SourceRecord};
use crate::retention::is_made_up;
use crate::snapshots;

/// Unreadable manifests that are tried for a source before it counts as new. Where one cannot be read, more seldom can.
const TRIED_MAX: usize = 8;
/// Snapshots that are looked at for a source: another program's have no manifest.
const LOOKED_AT_MAX: usize = 64;

/// The parents of a stack's sources.
pub struct Parents {
    /// All snapshots of the stack that can be read, oldest first; but before all others those that are dated in the future.
    snapshots: Vec<(Id, Snapshot)>,
    /// The snapshot that most of the new one is compared with: the newest that has all sources, else the newest.
    main: Option<usize>,
    /// Of each source its parent, where one is readable.
    of_source: BTreeMap<String, usize>,
    manifests: BTreeMap<usize, Manifest>,
    /// Of each source what keeps it from being compared with the newest snapshot that has it.
    problems: BTreeMap<String, Vec<Problem>>,
    /// The same, where an earlier snapshot told it already.
    known: BTreeMap<String, Vec<Problem>>,
    here: BTreeSet<Id>,
}

impl Parents {
    /// Finds the parents of `sources`. Only the manifests that are needed are read: one, as a rule.
    pub fn find(
        cx: &RunCx<'_>,
        repository: &Repository,
        index: &Index,
        stack: &str,
        sources: &[&str],
    ) -> Result<Self, Error> {
        let (readable, damaged) = repository.snapshots_readable(cx.cancel)?;
        let here = readable.iter().map(|(id, _)| *id).collect();
        // What another was compared with is older than that one.
        let compared: BTreeSet<Id> = readable.iter().filter_map(|(_, snapshot)| snapshot.parent).collect();
        let damaged: Vec<_> = damaged.iter().filter(|(id, _)| !compared.contains(id)).map(damaged_file).collect();
        let mut snapshots = snapshots::of_stack(readable, Some(stack));
        let now = cx.clock.now();
        let is_ahead = |snapshot: &Snapshot| snapshots::is_ahead(snapshot.time.into(), now);
        // Else what happens to the data would be held against one and the same snapshot until that day.
        snapshots.sort_by_key(|(_, snapshot)| !is_ahead(snapshot));
        if let Some((id, snapshot)) = snapshots.iter().rfind(|(_, snapshot)| is_ahead(snapshot)) {
            cx.events.emit(Event::Note(told_ahead(id, snapshot, now)));
        }
        let holds_all = |(_, snapshot): &(Id, Snapshot)| sources.iter().all(|source| has(snapshot, source));
        // A stack that got a new source has no such snapshot; its last one still spares reading the others.
        let main = snapshots.iter().rposition(holds_all).or(snapshots.len().checked_sub(1));
        let (of_source, manifests, problems, known) = Default::default();
        let mut parents = Self { snapshots, main, of_source, manifests, problems, known, here };
        let mut without = BTreeMap::new();
        for source in sources {
            parents.find_one(repository, index, source, &mut without)?;
            damaged.iter().for_each(|damaged| parents.add_damaged(source, damaged));
        }
        Ok(parents)
    }

    /// `without` has the snapshots that gave no manifest: `None` where another program made one; its files are there all the
    /// same, and an older manifest is better than none.
    fn find_one(
        &mut self,
        repository: &Repository,
        index: &Index,
        source: &str,
        without: &mut BTreeMap<usize, Option<Problem>>,
    ) -> Result<(), Error> {
        let having = self.snapshots.iter().enumerate().rev().filter(|(_, (_, snapshot))| has(snapshot, source));
        let mut unread = Vec::new();
        for (number, (id, snapshot)) in having.take(LOOKED_AT_MAX) {
            if !self.manifests.contains_key(&number) && !without.contains_key(&number) {
                match Manifest::load(repository, index, &snapshot.tree) {
                    Ok(Some(manifest)) => drop(self.manifests.insert(number, manifest)),
                    Ok(None) => drop(without.insert(number, None)),
                    Err(Error::Cancelled) => return Err(Error::Cancelled),
                    Err(error) => drop(without.insert(number, Some(unreadable(id, &error)))),
                }
            }
            if self.manifests.contains_key(&number) {
                self.of_source.insert(source.to_owned(), number);
                break;
            }
            unread.extend(without.get(&number).cloned().flatten().map(|problem| of(source, problem)));
            if unread.len() == TRIED_MAX {
                break;
            }
        }
        if !unread.is_empty() {
            self.problems.insert(source.to_owned(), unread);
        }
        Ok(())
    }

    /// Adds a snapshot of which not even the stack can be read. Once a source was compared with an older one instead, later
    /// ones are compared with that: it is told on, and nothing more is lost by it.
    fn add_damaged(&mut self, source: &str, damaged: &Problem) {
        let is_told = self.record(source).is_some_and(|record| {
            let in_notes = record.notes.iter().any(|note| note.starts_with(&damaged.path));
            in_notes || record.problems.iter().any(|problem| problem.path == damaged.path)
        });
        let list = if is_told { &mut self.known } else { &mut self.problems };
        list.entry(source.to_owned()).or_default().push(of(source, damaged.clone()));
    }

    /// The snapshot that is named as the parent.
    pub fn main(&self) -> Option<&(Id, Snapshot)> {
        self.snapshots.get(self.main?)
    }

    /// The host that took the stack's newest snapshot, where it is not this one: its forerunner, or one at work beside it. A
    /// container or a job that has a name of its own for each run is none.
    pub fn other_host(&self) -> Option<&str> {
        let host = self.snapshots.last().map(|(_, snapshot)| &*snapshot.hostname)?;
        let of_it = self.snapshots.iter().filter(|(_, snapshot)| snapshot.hostname == host).count();
        let is_of_one_run = is_made_up(host) || (of_it == 1 && self.snapshots.len() > 1);
        Some(host).filter(|host| !host.is_empty() && !is_of_one_run && *host != Identity::of_process().hostname)
    }

    /// The parent of a source, where that is another than [`Parents::main`].
    pub fn other(&self, source: &str) -> Option<&Snapshot> {
        let number = self.of_source.get(source).filter(|number| Some(**number) != self.main)?;
        self.snapshots.get(*number).map(|(_, snapshot)| snapshot)
    }

    /// What is wrong with snapshots that a source should have been compared with.
    pub fn problems(&self, source: &str) -> &[Problem] {
        self.problems.get(source).map_or(&[], Vec::as_slice)
    }

    /// What is wrong with them, and was told by an earlier snapshot already.
    pub fn known(&self, source: &str) -> &[Problem] {
        self.known.get(source).map_or(&[], Vec::as_slice)
    }

    /// Whether no source has a parent.
    pub fn is_empty(&self) -> bool {
        self.of_source.is_empty()
    }

    /// A source in its parent.
    pub fn record(&self, source: &str) -> Option<&SourceRecord> {
        self.manifests.get(self.of_source.get(source)?)?.sources.get(source)
    }

    /// `sources` as the manifest is to tell of them. Where they say what their common parent says of them, they keep its times: it
    /// was so then, too, and an unchanged stack adds nothing but a snapshot.
    pub fn with_times_of_unchanged(&self, sources: &BTreeMap<String, SourceRecord>) -> BTreeMap<String, SourceRecord> {
        let before = self.main.and_then(|main| self.manifests.get(&main)).map(|manifest| &manifest.sources);
        let is_same = |before: &SourceRecord, now: &SourceRecord| before.captured.is_some() && now.is_same_as(before);
        let are_same = |before: &&BTreeMap<String, SourceRecord>| {
            before.len() == sources.len()
                && sources.iter().all(|(name, now)| before.get(name).is_some_and(|before| is_same(before, now)))
        };
        before.filter(are_same).unwrap_or(sources).clone()
    }

    /// What a source is told of its parent.
    pub fn previous<'a>(
        &'a self,
        source: &str,
        has_snapshot: &'a (dyn Fn(&Id) -> bool + Sync),
    ) -> Option<Previous<'a>> {
        let (snapshot, _) = self.snapshots.get(*self.of_source.get(source)?)?;
        Some(Previous { snapshot: *snapshot, facts: &self.record(source)?.facts, has_snapshot })
    }

    /// Tells whether this copy has a snapshot, or one of `others`, which are only asked for one that it lacks. What does not
    /// answer has none.
    pub fn has_snapshot<'a>(&'a self, others: &'a [Arc<Repository>]) -> impl Fn(&Id) -> bool + Sync + 'a {
        let elsewhere = OnceLock::new();
        let list = || -> BTreeSet<Id> {
            let listed = others.iter().filter_map(|other| other.storage().list(FileKind::Snapshot).ok());
            listed.flatten().map(|file| file.id).collect()
        };
        move |id| self.here.contains(id) || elsewhere.get_or_init(list).contains(id)
    }
}

fn has(snapshot: &Snapshot, source: &str) -> bool {
    snapshot.paths.iter().any(|path| path.strip_prefix('/') == Some(source))
}

fn told_ahead(id: &Id, snapshot: &Snapshot, now: Timestamp) -> String {
    let (short, at) = (id.short(), Timestamp::from(snapshot.time));
    format!(
        "snapshot {short} is of {at}, and by the clock of this machine it is {now}: set the clock if it is wrong, else remove that \
         snapshot with `lifeboat forget {short} --force`"
    )
}

fn unreadable(id: &Id, error: &Error) -> Problem {
    let what = format!(
        "what it says of its sources cannot be read, so what was lost since is not noticed by comparing with it; run \
         `lifeboat check`, and `lifeboat heal` where another copy has it whole: {error}"
    );
    Problem { source: String::new(), path: format!("snapshot {}", id.short()), what }
}

fn damaged_file((id, error): &(Id, Error)) -> Problem {
    let what = format!(
        "it cannot be read, and may be the newest of this stack, so what was lost since is not noticed by comparing with it; run \
         `lifeboat heal`, where another copy has it whole: {error}"
    );
    Problem { source: String::new(), path: format!("snapshot {}", id.short()), what }
}

fn of(source: &str, problem: Problem) -> Problem {
    Problem { source: source.to_owned(), ..problem }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use jiff::tz::TimeZone;
    use repository::events::Recorded;
    use repository::source::GOOD_IN_FACT;
    use repository::{Clock as _, File, walk};
    use serde_json::json;

    use super::*;
    use crate::backup::BackupReport;
    use crate::memory::{FixedFiles, Memory};
    use crate::retention::{self, Beside, Count, Decision, Policy, Reason};

    /// Backs up `records` and `tls`, or one of them, a second later. Gives what each was compared with.
    fn back_up(memory: &Memory, records: &'static str, only: &[&str]) -> (BackupReport, [Option<Id>; 2]) {
        memory.clock.advance(Duration::from_secs(1));
        let records = FixedFiles { finds_losses: true, ..FixedFiles::new(&[("medic.couch", records)]) };
        let sources = [records, FixedFiles::new(&[("key", "pem")])];
        let parents = [0, 1].map(|number: usize| Arc::clone(&sources[number].parents));
        let [first, second] = sources;
        let report = memory.back_up(&[first.named("records"), second.named("tls")], only).unwrap();
        (report, parents.map(|parents| parents.lock().unwrap().first().copied().flatten()))
    }

    #[test]
    fn each_source_is_compared_with_the_newest_snapshot_that_has_it() {
        let memory = Memory::new();
        let first = back_up(&memory, "one", &["records"]).0.snapshot;
        let second = back_up(&memory, "one", &["tls"]).0.snapshot;
        let (report, parents) = back_up(&memory, "one", &[]);
        assert_eq!(parents, [Some(first), Some(second)]);
        assert_eq!((report.stats.files_new, report.parent), (0, Some(second)), "their files, too");
        let third = report.snapshot;
        let fourth = back_up(&memory, "one", &["records"]).0.snapshot;
        assert_eq!(back_up(&memory, "one", &[]).1, [Some(fourth), Some(third)]);
    }

    #[test]
    fn a_manifest_that_cannot_be_read_is_a_problem_and_the_one_before_it_is_taken() {
        let memory = Memory::new();
        let first = back_up(&memory, "one", &[]).0.snapshot;
        let second = back_up(&memory, "two", &[]).0.snapshot;
        memory.damage(second, crate::manifest::MANIFEST_NAME);
        let (report, parents) = back_up(&memory, "three", &[]);
        assert_eq!(parents, [Some(first); 2]);
        let told: Vec<_> = report.problems.iter().map(|problem| (problem.source.as_str(), &problem.path)).collect();
        let path = format!("snapshot {}", second.short());
        assert_eq!(told, [("records", &path)]);
        assert!(report.sources["tls"].notes[0].starts_with(&path), "{:?}", report.sources["tls"].notes);
        let record = &report.sources["records"];
        assert!(record.problems[0].what.contains("what was lost since is not noticed"), "{:?}", record.problems);
        assert_eq!(back_up(&memory, "three", &[]).0.problems, [], "it is over with the next");
    }

    #[test]
    fn a_snapshot_file_that_cannot_be_read_is_a_problem_once_and_then_told_on() {
        let memory = Memory::new();
        let first = back_up(&memory, "one", &[]).0.snapshot;
        let second = back_up(&memory, "two", &[]).0.snapshot;
        assert!(memory.storage.flip(File::new(FileKind::Snapshot, second), 20));
        let (report, parents) = back_up(&memory, "three", &[]);
        assert_eq!(parents, [Some(first); 2]);
        let path = format!("snapshot {}", second.short());
        let told: Vec<_> = report.problems.iter().map(|problem| (problem.source.as_str(), &problem.path)).collect();
        assert_eq!(told, [("records", &path)], "{:?}", report.problems);
        for content in ["four", "five"] {
            let report = back_up(&memory, content, &[]).0;
            assert_eq!(report.problems, []);
            assert!(report.sources["records"].notes[0].starts_with(&path), "{:?}", report.sources["records"].notes);
        }
        // One that another was compared with is not the newest.
        assert!(memory.storage.flip(File::new(FileKind::Snapshot, first), 20));
        let notes = &back_up(&memory, "six", &[]).0.sources["records"].notes;
        assert_eq!(notes.len(), 1, "{notes:?}");
    }

    #[test]
    fn a_snapshot_without_a_manifest_does_not_hide_an_older_one_that_has_it() {
        let memory = Memory::new();
        let first = back_up(&memory, "one", &[]).0;
        let tree = memory.repository.snapshot(first.snapshot).unwrap().tree;
        let records = walk::find(&memory.repository, &memory.index(), &tree, Path::new("records")).unwrap().unwrap();
        // As another program writes it, for the same stack and paths.
        let json = json!({
            "time": "2100-01-01T00:00:00Z", "tree": records.subtree, "paths": ["/records"],
            "tags": [Snapshot::stack_tag("cht")],
        });
        let foreign = Snapshot::parse(json.to_string().as_bytes()).unwrap();
        memory.repository.save_json(FileKind::Snapshot, &foreign).unwrap();
        let (report, parents) = back_up(&memory, "two", &[]);
        assert_eq!((parents, report.problems), ([Some(first.snapshot); 2], vec![]));
    }

    #[test]
    fn what_a_source_says_is_good_elsewhere_is_kept_by_the_rules_of_every_copy() {
        let memory = Memory::new();
        let good = back_up(&memory, "one", &[]).0.snapshot;
        for content in ["two", "three", "four"] {
            memory.clock.advance(Duration::from_secs(1));
            let facts: repository::Facts = [(GOOD_IN_FACT.to_owned(), json!([good.to_hex()]))].into_iter().collect();
            let records = FixedFiles { facts, ..FixedFiles::new(&[("medic.couch", content)]) };
            memory.back_up(&[records.named("records"), FixedFiles::new(&[("key", "pem")]).named("tls")], &[]).unwrap();
        }
        let all = memory.repository.snapshots(&memory.cancel).unwrap();
        let policy = Policy { last: Count::AtMost(1), ..Policy::default() };
        let kept = |all: &[(Id, Snapshot)]| {
            let now = memory.clock.now();
            let [group] = &retention::groups(all.to_vec())[..] else { panic!("one stack") };
            let decisions = group.decide(&Beside::of(all, &[], now), &policy, now, &TimeZone::UTC);
            decisions.into_iter().filter(Decision::is_kept).collect::<Vec<_>>()
        };
        let decisions = kept(&all);
        assert_eq!(decisions.iter().map(|kept| kept.id).collect::<Vec<_>>(), [all[3].0, good]);
        assert_eq!(decisions[1].reasons, [Reason::LastGood]);
        // Mended: nothing needs it any more.
        back_up(&memory, "five", &[]);
        assert_eq!(kept(&memory.repository.snapshots(&memory.cancel).unwrap()).len(), 1);
    }

    #[test]
    fn a_snapshot_is_looked_for_in_other_copies_too() {
        let memory = Memory::new();
        let first = back_up(&memory, "one", &[]).0.snapshot;
        let other = memory.copied();
        let only_there = other.snapshot("cht", "2026-02-01T00:00:00Z", &[]);
        let others = [Arc::clone(&other.repository)];
        let cx = memory.cx();
        let parents = Parents::find(&cx, &memory.repository, &memory.index(), "cht", &["records"]).unwrap();
        let has = parents.has_snapshot(&others);
        assert!(has(&first) && has(&only_there) && !has(&Id::of(b"gone")));
        assert!(!parents.has_snapshot(&[])(&only_there));
    }

    #[test]
    fn a_snapshot_of_the_future_is_told_and_compared_with_only_where_there_is_no_other() {
        let memory = Memory::new();
        let ahead = memory.snapshot("cht", "2026-09-17T12:00:00Z", &[]);
        let main = || {
            let events = Recorded::default();
            let cx = RunCx { events: &events, ..memory.cx() };
            let parents = Parents::find(&cx, &memory.repository, &memory.index(), "cht", &[]).unwrap();
            let told = events.events().iter().map(|event| format!("{event:?}")).collect::<Vec<_>>().join(" ");
            (parents.main().map(|(id, _)| *id), told)
        };
        let (id, told) = main();
        assert_eq!(id, Some(ahead));
        assert!(told.contains(&format!("lifeboat forget {} --force", ahead.short())), "{told}");
        let good = memory.snapshot("cht", "2026-03-01T11:00:00Z", &[]);
        let (id, told) = main();
        assert_eq!(id, Some(good));
        assert!(told.contains("by the clock of this machine it is 2026-03-01T12:00:00Z"), "{told}");
    }
}
