//! Random histories of several copies of one repository, with a fault in many of their steps: whatever happens, every
//! snapshot that a copy lists comes back exactly, and none that was acknowledged is lost.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Cursor;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use repository::check::{self, ReadData};
use repository::clock::SimulatedClock;
use repository::format::pack::BlobKind;
use repository::storage::fault::{Effect, Failure, Fault, When};
use repository::storage::memory::MemoryStorage;
use repository::walk::{self, Go, Step};
use repository::{
    Cancel, Error, File, FileKind, Id, Index, NodeKind, Repository, RunCx, Silent, forget, heal, prune, sync,
};

use crate::support::*;

type Files = BTreeMap<String, Vec<u8>>;

struct Copy {
    memory: MemoryStorage,
    fault: Arc<Fault>,
    /// Through the faults.
    repository: Arc<Repository>,
    /// Past them.
    truth: Arc<Repository>,
    /// Snapshots that must be there: acknowledged and not forgotten.
    acknowledged: BTreeSet<Id>,
}

impl Copy {
    fn on(memory: MemoryStorage) -> Self {
        let fault = Arc::new(Fault::new(Arc::new(memory.clone()), 1));
        let repository = open(fault.clone()).unwrap();
        let truth = open(Arc::new(memory.clone())).unwrap();
        Self { memory, fault, repository, truth, acknowledged: BTreeSet::new() }
    }

    fn files(&self, kind: FileKind) -> Vec<File> {
        self.memory.files().into_iter().filter(|file| file.kind == kind).collect()
    }

    fn listed(&self) -> BTreeSet<Id> {
        self.files(FileKind::Snapshot).into_iter().map(|file| file.id).collect()
    }
}

struct Model {
    copies: Vec<Copy>,
    clock: SimulatedClock,
    cancel: Cancel,
    random: Random,
    /// What the source holds now.
    files: Files,
    /// What each snapshot there ever was holds.
    contents: HashMap<Id, Files>,
    history: Vec<String>,
}

impl Model {
    fn new(copies: usize) -> Self {
        let first = World::new();
        // Copies of one repository: the same config and master key.
        let copies = (0..copies).map(|_| Copy::on(first.memory.fork())).collect();
        let (clock, cancel) = (SimulatedClock::new(start()), Cancel::new());
        let (files, contents, history) = Default::default();
        Self { copies, clock, cancel, random: Random(0), files, contents, history }
    }

    /// Opening a repository costs a scrypt, so all schedules share one set.
    fn reset(&mut self, seed: u64) {
        for copy in &mut self.copies {
            let rest = copy.memory.files().into_iter();
            rest.filter(|file| !matches!(file.kind, FileKind::Config | FileKind::Key))
                .for_each(|file| assert!(copy.memory.remove(file)));
            copy.acknowledged.clear();
        }
        self.random = Random(seed);
        (self.files, self.contents, self.history) = Default::default();
    }

    fn cx(&self) -> RunCx<'_> {
        RunCx { events: &Silent, cancel: &self.cancel, clock: &self.clock, lock: None }
    }

    fn change(&mut self) {
        let name = ["a", "b", "c", "d"][self.random.below(4)].to_owned();
        let length = [10, 2_000, 20_000, 60_000][self.random.below(4)];
        // A few seeds, so that contents come back that were forgotten.
        let seed = self.random.below(12) as u64;
        if self.random.below(6) == 0 {
            self.files.remove(&name);
        } else {
            self.files.insert(name, noise(length, seed));
        }
    }

    /// In a third of the steps something goes wrong in one of the copies that take part.
    fn go_wrong(&mut self, taking_part: &[usize]) -> bool {
        if self.random.below(3) != 0 {
            return false;
        }
        let copy = taking_part[self.random.below(taking_part.len())];
        let fault = &self.copies[copy].fault;
        let nth = fault.calls() + 1 + self.random.below(40) as u64;
        let failure = [Failure::Transient, Failure::Full, Failure::Denied, Failure::Permanent][self.random.below(4)];
        let (when, effect) = match self.random.below(6) {
            0 | 1 => (When::After(nth), Effect::Fail(Failure::Transient)),
            2 => (When::Nth(nth), Effect::Fail(failure)),
            3 => (When::Nth(nth), Effect::LoseAnswer(failure)),
            4 => (When::Nth(nth), Effect::CutShort),
            _ => (When::Nth(nth), Effect::FlipBit),
        };
        self.history.push(format!("  {effect:?} {when:?} (now {}) in copy {copy}", fault.calls()));
        fault.add(when, effect);
        true
    }

    /// After a step: faults end, and the locks of whoever died are gone.
    fn settle(&self) {
        for copy in &self.copies {
            copy.fault.mend();
            copy.files(FileKind::Lock).into_iter().for_each(|file| assert!(copy.memory.remove(file)));
        }
    }

    fn back_up(&mut self) {
        for _ in 0..self.random.below(4) {
            self.change();
        }
        let at = self.random.below(self.copies.len());
        let went_wrong = self.go_wrong(&[at]);
        let mut capture = StreamCapture::default();
        for (name, bytes) in &self.files {
            capture = capture.with(name, Cursor::new(bytes.clone()));
        }
        let before = self.copies[at].listed();
        let result = back_up(&self.cx(), &self.copies[at].repository, capture);
        self.settle();
        // One whose answer was lost is there and was not acknowledged.
        for id in self.copies[at].listed().difference(&before) {
            self.contents.insert(*id, self.files.clone());
        }
        match result {
            Ok(backup) => drop(self.copies[at].acknowledged.insert(backup.id)),
            Err(error) => assert!(went_wrong, "{error}"),
        }
    }

    fn sync(&mut self) {
        let target = self.random.below(self.copies.len());
        let mut sources: Vec<usize> = (0..self.copies.len()).filter(|at| *at != target).collect();
        let swap = self.random.below(sources.len());
        sources.swap(0, swap);
        sources.truncate(1 + self.random.below(sources.len()));
        let listed = self.copies[sources[0]].listed();
        let wanted: Vec<Id> = listed.into_iter().filter(|_| self.random.below(4) != 0).collect();
        let taking_part: Vec<usize> = sources.iter().copied().chain([target]).collect();
        let went_wrong = self.go_wrong(&taking_part);
        self.history.push(format!("  {sources:?} to {target}: {} snapshots", wanted.len()));
        // What is damaged in a source must not spread, and what it cannot give must not seem to be there.
        let damages = if self.random.below(2) == 0 { self.random.below(4) } else { 0 };
        let damaged: Vec<_> = (0..damages).filter_map(|_| self.damage(sources[0])).collect();
        let from: Vec<_> = sources.iter().map(|at| self.copies[*at].repository.clone()).collect();
        let result = sync::run(&self.cx(), &from, &self.copies[target].repository, &wanted);
        for (file, bytes) in damaged.iter().rev() {
            self.copies[sources[0]].memory.plant(*file, bytes.clone());
        }
        self.settle();
        match result {
            Ok(synced) => {
                assert!(went_wrong || !damaged.is_empty() || synced.incomplete.is_empty(), "{synced:?}");
                self.copies[target].acknowledged.extend(&synced.snapshots);
            }
            Err(error) => assert!(went_wrong, "{error}"),
        }
    }

    fn forget(&mut self) {
        let at = self.random.below(self.copies.len());
        let listed: Vec<Id> = self.copies[at].listed().into_iter().collect();
        let Some(id) = self.random.pick(&listed).copied() else { return };
        self.copies[at].acknowledged.remove(&id);
        let went_wrong = self.go_wrong(&[at]);
        let result = forget::forget(&self.cx(), &self.copies[at].repository, &[id], forget::Why::Named);
        self.settle();
        assert!(went_wrong || result.is_ok(), "{result:?}");
    }

    fn prune(&mut self) {
        let at = self.random.below(self.copies.len());
        let went_wrong = self.go_wrong(&[at]);
        let grace = Duration::from_secs([0, 24 * 3600][self.random.below(2)]);
        let options = prune::Options { grace, unused_percent_max: [0, 5, 50][self.random.below(3)] };
        let result = prune::prune(&self.cx(), &self.copies[at].repository, options);
        self.settle();
        assert!(went_wrong || result.is_ok(), "{result:?}");
    }

    /// Damages a copy whose snapshots others have, too, and mends it, at the second try if something goes wrong.
    fn heal(&mut self) {
        let at = self.random.below(self.copies.len());
        let others: Vec<usize> = (0..self.copies.len()).filter(|other| *other != at).collect();
        let elsewhere: BTreeSet<Id> = others.iter().flat_map(|other| self.copies[*other].listed()).collect();
        if self.copies[at].listed().is_subset(&elsewhere) {
            for _ in 0..1 + self.random.below(4) {
                let _ = self.damage(at);
            }
        }
        let read_data = self.random.below(4) != 0;
        let from: Vec<_> = others.iter().map(|other| self.copies[*other].repository.clone()).collect();
        let went_wrong = self.go_wrong(&(0..self.copies.len()).collect::<Vec<_>>());
        let first = heal::from_copies(
            &self.cx(),
            &self.copies[at].repository,
            &from,
            heal::How { read_data, some_away: false },
        );
        self.settle();
        assert!(went_wrong || first.is_ok(), "{first:?}");
        let healed = heal::from_copies(
            &self.cx(),
            &self.copies[at].repository,
            &from,
            heal::How { read_data: true, some_away: false },
        )
        .unwrap();
        assert!(healed.is_whole(), "{healed:?}");
        // A damaged snapshot that was taken away, and then the run ended.
        let lost: Vec<Id> = self.copies[at].acknowledged.difference(&self.copies[at].listed()).copied().collect();
        assert!(went_wrong || lost.is_empty());
        let synced = sync::run(&self.cx(), &from, &self.copies[at].repository, &lost).unwrap();
        assert!(synced.incomplete.is_empty(), "{synced:?}");
        self.settle();
        self.check(at);
    }

    /// Damages a file of a copy, and gives it as it was.
    fn damage(&mut self, at: usize) -> Option<(File, Vec<u8>)> {
        let kind = [FileKind::Pack, FileKind::Pack, FileKind::Index, FileKind::Snapshot][self.random.below(4)];
        let files = self.copies[at].files(kind);
        let file = self.random.pick(&files).copied()?;
        let memory = self.copies[at].memory.clone();
        let before = memory.read(file).unwrap();
        let length = before.len();
        let byte = self.random.below(length);
        let how = self.random.below(3);
        self.history.push(format!("  damage {how} of {file} in copy {at}"));
        match how {
            0 => drop(memory.truncate(file, byte)),
            // A snapshot that is not listed is not missed.
            1 if kind != FileKind::Snapshot => drop(memory.remove(file)),
            _ => assert!(length == 0 || memory.flip(file, byte)),
        }
        Some((file, before))
    }

    fn check(&self, at: usize) {
        let report = check::check(&self.cx(), &self.copies[at].truth, ReadData::All).unwrap();
        assert_eq!((report.findings, report.affected), (vec![], vec![]), "copy {at}");
    }

    /// Nothing acknowledged is lost, and all that a copy lists comes back exactly.
    fn verify(&self) {
        (0..self.copies.len()).for_each(|at| self.verify_copy(at));
    }

    fn verify_copy(&self, at: usize) {
        let copy = &self.copies[at];
        let listed = copy.listed();
        assert!(copy.acknowledged.is_subset(&listed), "copy {at} lost {:?}", copy.acknowledged.difference(&listed));
        let index = Index::load(&self.cx(), &copy.truth).unwrap();
        for id in listed {
            let found = read_all(&self.cx(), &copy.truth, &index, id)
                .unwrap_or_else(|error| panic!("snapshot {id} in copy {at}: {error}"));
            assert!(found == self.contents[&id], "snapshot {id} in copy {at} has other contents");
        }
    }

    fn step(&mut self) {
        let (step, deed): (&str, fn(&mut Self)) = match self.random.below(100) {
            0..28 => ("back up", Self::back_up),
            28..68 => ("sync", Self::sync),
            68..75 => ("forget", Self::forget),
            75..87 => ("prune", Self::prune),
            87..96 => ("heal", Self::heal),
            _ => ("a day goes by", |model| model.clock.advance(Duration::from_secs(25 * 3600))),
        };
        self.history.push(step.to_owned());
        deed(self);
        self.verify();
    }
}

/// The files of a snapshot, read into memory: as a restore reads them, but for the folder they go to.
fn read_all(cx: &RunCx<'_>, repository: &Repository, index: &Index, id: Id) -> Result<Files, Error> {
    let mut files = Files::new();
    let tree = repository.snapshot(id)?.tree;
    walk::walk(cx, repository, index, &tree, &mut |step| {
        if let Step::Reach(path, node) = step
            && node.kind == NodeKind::File
        {
            let mut bytes = Vec::new();
            for id in &node.content {
                bytes.extend(repository.blob(index, BlobKind::Data, id)?);
            }
            assert_eq!(bytes.len() as u64, node.size);
            if let Ok(name) = path.strip_prefix("data") {
                files.insert(name.display().to_string(), bytes);
            }
        }
        Ok(Go::In)
    })?;
    Ok(files)
}

/// Says how to run a schedule again that failed.
struct Story<'a>(&'a str, u64, &'a mut Model);

impl Drop for Story<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.2.history.join("\n"));
            println!("run it again: LIFEBOAT_TEST_SEED={} cargo test -p repository --test engine {}", self.1, self.0);
            println!("(what is random in encryption, and the order of threads, is not the same again)");
        }
    }
}

const STEPS: usize = 14;

/// Runs the schedules of the seeds `default`; `LIFEBOAT_TEST_SEED` runs that one alone, and `LIFEBOAT_TEST_SCHEDULES` as
/// many as it says.
fn run(test: &str, copies: usize, default: Range<u64>) {
    let seeds = match (switch("LIFEBOAT_TEST_SEED"), switch("LIFEBOAT_TEST_SCHEDULES")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(schedules)) => default.start..default.start + schedules,
        (None, None) => default,
    };
    let mut model = Model::new(copies);
    for seed in seeds {
        model.reset(seed);
        let story = Story(test, seed, &mut model);
        for _ in 0..3 {
            story.2.back_up();
        }
        for _ in 0..STEPS {
            story.2.step();
        }
        (0..copies).for_each(|at| story.2.check(at));
    }
}

#[expect(clippy::disallowed_methods, reason = "the tests' own switches are no configuration")]
fn switch(name: &str) -> Option<u64> {
    let text = std::env::var_os(name)?;
    Some(text.to_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{name} must be a number")))
}

#[test]
fn two_copies_lose_nothing_whatever_happens_1() {
    run("two_copies_lose_nothing_whatever_happens_1", 2, 1_000_000..1_001_000);
}

#[test]
fn three_copies_lose_nothing_whatever_happens_1() {
    run("three_copies_lose_nothing_whatever_happens_1", 3, 2_000_000..2_001_000);
}
