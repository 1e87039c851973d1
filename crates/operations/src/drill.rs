//! Proves that a copy restores: a real restore from it into a scratch folder, compared exactly with what was backed up,
//! timed. A drill that could not run is *unknown*, never *passed*.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use repository::check::{self, Finding};
use repository::format::receipt::{Receipt, Verdict};
use repository::format::snapshot::Snapshot;
use repository::fs::free_bytes;
use repository::source::TOLD_FACT;
use repository::{Error, Event, Facts, FileKind, Id, Index, NodeKind, Problem, Repository, RunCx, SourceError};
use repository::{receipt, restore, verify, walk};
use serde::Serialize;
use serde_json::Value;

use crate::manifest::{Manifest, SourceRecord};
use crate::scratch::with_scratch;
use crate::{Fault, FaultKind, PROGRAM_VERSION};

/// Counts a source's facts again in restored data: kind, folder, recorded facts.
pub type Examine<'a> = &'a dyn Fn(&str, &Path, &Facts) -> Result<Facts, SourceError>;

/// The highest level there is for sources without a server of their own.
pub const LEVEL_MAX: u8 = 3;
/// The lowest level that restores anything: those below look through the copy, and prove no restore.
const PROOF_LEVEL_MIN: u8 = 2;

/// What is drilled.
pub struct DrillJob<'a> {
    /// The copy's name.
    pub copy: &'a str,
    /// The snapshot.
    pub snapshot: Id,
    /// Its content.
    pub described: &'a Snapshot,
    /// 0 listed, 1 every byte read, 2 restored and its facts counted, 3 compared exactly.
    pub level: u8,
    /// Where the scratch folder is made.
    pub scratch: &'a Path,
    /// How facts are counted.
    pub examine: Examine<'a>,
}

/// What a drill found.
#[derive(Debug)]
pub struct DrillReport {
    /// What came of it.
    pub verdict: Verdict,
    /// The level that was reached.
    pub level: u8,
    /// From the start until the data was back and compared.
    pub rto: Duration,
    /// The age of the data that came back.
    pub rpo: Duration,
    /// Bytes fetched from the copy.
    pub bytes_fetched: u64,
    /// The copy gave back what it was given, and nothing else is wrong than what was wrong before it was stored.
    pub is_as_stored: bool,
    /// Things that were left out or doubtful when the snapshot was made: they cannot come back, and nothing is proven of them.
    pub left_out: usize,
    /// These, as far as the manifest lists them.
    pub lacked: Vec<Problem>,
    /// Each source's part.
    pub sources: BTreeMap<String, SourceDrill>,
    /// What concerns no single source, and why a drill is unknown.
    pub remarks: Vec<String>,
    /// Seconds of each step.
    pub steps: Vec<(&'static str, f64)>,
    /// The receipt's id in the copy; `None` where it could not be stored.
    pub receipt: Option<Id>,
}

/// One source's part of a drill.
#[derive(Clone, Debug, Serialize)]
pub struct SourceDrill {
    /// What came of it.
    pub status: Verdict,
    /// Files, folders and facts that were compared.
    pub compared: u64,
    /// Bytes that were read back and hashed.
    pub bytes: u64,
    /// Every difference, named.
    pub differences: Vec<Problem>,
    /// How many of these were in what was stored.
    #[serde(skip)]
    stored_so: usize,
}

/// Runs the drill and stores its receipt in the copy.
pub fn run(cx: &RunCx<'_>, repository: &Repository, job: &DrillJob<'_>) -> Result<DrillReport, Error> {
    let started = cx.clock.now();
    let mut drill = Drill { cx, repository, job, report: DrillReport::new(job, started), step_started: started };
    match drill.climb() {
        Ok(()) => {}
        Err(Error::Cancelled) => return Err(Error::Cancelled),
        // Damage is what a drill looks for; anything else says nothing about the copy.
        Err(error) if error.is_damage() => drill.fail(error.to_string()),
        Err(error) => drill.unknown(error.to_string()),
    }
    let mut report = drill.report;
    report.rto = cx.clock.now().duration_since(started).unsigned_abs();
    report.receipt = store_receipt(cx, repository, job, started, &mut report);
    Ok(report)
}

struct Drill<'a> {
    cx: &'a RunCx<'a>,
    repository: &'a Repository,
    job: &'a DrillJob<'a>,
    report: DrillReport,
    step_started: Timestamp,
}

impl DrillReport {
    fn new(job: &DrillJob<'_>, started: Timestamp) -> Self {
        let taken = Timestamp::from(job.described.time);
        Self {
            verdict: Verdict::Passed,
            level: 0,
            rto: Duration::ZERO,
            rpo: if taken < started { started.duration_since(taken).unsigned_abs() } else { Duration::ZERO },
            bytes_fetched: 0,
            is_as_stored: true,
            left_out: 0,
            lacked: Vec::new(),
            sources: BTreeMap::new(),
            remarks: Vec::new(),
            steps: Vec::new(),
            receipt: None,
        }
    }
}

impl Drill<'_> {
    /// Level by level, until the one asked for or the first that fails.
    fn climb(&mut self) -> Result<(), Error> {
        self.cx.events.emit(Event::StepStarted { name: "listing".to_owned(), bytes_total: None });
        let index = Index::load(self.cx, self.repository)?;
        let tree = self.job.described.tree;
        let manifest = Manifest::load(self.repository, &index, &tree)?;
        self.list(&index)?;
        self.end_step("list");
        if self.job.level == 0 || self.report.verdict != Verdict::Passed {
            return Ok(());
        }
        let Some(manifest) = manifest.filter(|_| self.job.level >= 2) else {
            return self.read_all(&index);
        };
        let left_out: usize = manifest.sources.values().map(|record| record.problems_total).sum();
        if left_out > 0 {
            self.report.left_out = left_out;
            for (name, record) in &manifest.sources {
                let of_source = |problem: &Problem| Problem { source: name.clone(), ..problem.clone() };
                self.report.lacked.extend(record.problems.iter().map(of_source));
            }
            let what = "this snapshot is PARTIAL: things that were left out when it was made cannot come back";
            self.report.remarks.push(format!("{what} ({left_out}; `lifeboat snapshots --problems` names them)"));
        }
        let needed = crate::restore::preview(self.cx, self.repository, &index, &tree, Path::new(""))?;
        let bytes = needed.bytes_needed;
        if let Ok(free) = free_bytes(self.job.scratch)
            && free < bytes.saturating_add(SPARE_BYTES)
        {
            let place = self.job.scratch.display();
            self.unknown(format!(
                "the restore needs {bytes} bytes, and {place} has {free} free; set another state_dir"
            ));
            return Ok(());
        }
        with_scratch(self.job.scratch, |scratch| self.restore_and_compare(&index, &manifest, scratch))
    }

    /// Level 0: every tree can be read, and every blob is where the index says.
    fn list(&mut self, index: &Index) -> Result<(), Error> {
        let tree = self.job.described.tree;
        let findings = check::snapshot(self.cx, self.repository, index, &tree, check::ReadData::None)?;
        self.take_findings(&findings.findings);
        Ok(())
    }

    /// Level 1: every byte of every pack that the snapshot needs.
    fn read_all(&mut self, index: &Index) -> Result<(), Error> {
        if self.job.level >= 2 {
            let what =
                "another program made this snapshot, so there is no manifest to compare with: every byte was read";
            self.report.remarks.push(what.to_owned());
        }
        let tree = self.job.described.tree;
        let found = check::snapshot(self.cx, self.repository, index, &tree, check::ReadData::All)?;
        self.report.bytes_fetched += found.bytes_read;
        self.take_findings(&found.findings);
        self.end_step("read");
        self.reach(1);
        Ok(())
    }

    fn restore_and_compare(&mut self, index: &Index, manifest: &Manifest, scratch: &Path) -> Result<(), Error> {
        let bytes_total = manifest.sources.values().map(|record| record.tree.bytes).sum();
        self.cx.events.emit(Event::StepStarted { name: "restoring".to_owned(), bytes_total: Some(bytes_total) });
        let options = restore::Options::for_this_process();
        let restored = restore::tree(self.cx, self.repository, index, &self.job.described.tree, scratch, options)?;
        self.report.bytes_fetched += restored.bytes_fetched;
        self.end_step("restore");
        if !options.privileged {
            let what = "not run as root: owners, devices and privileged attributes were neither restored nor compared";
            self.report.remarks.push(what.to_owned());
        }
        self.cx.events.emit(Event::StepStarted { name: "comparing".to_owned(), bytes_total: Some(bytes_total) });
        for (name, record) in &manifest.sources {
            let mut source = self.examine(name, record, &scratch.join(name))?;
            for problem in restored.problems.iter().filter(|problem| Path::new(&problem.path).starts_with(name)) {
                source.differences.push(problem.clone());
            }
            if self.job.level >= 3 {
                self.compare(name, record, index, scratch, options, &mut source)?;
            }
            // A source that could not be examined names the reason; whatever else is named is a difference.
            let reasons = usize::from(source.status == Verdict::Unknown);
            if source.differences.len() > reasons {
                source.status = Verdict::Failed;
            }
            self.weigh(source.status);
            self.report.is_as_stored &= self.job.level >= 3 && source.differences.len() == source.stored_so;
            self.report.sources.insert(name.clone(), source);
        }
        // What lies beside the sources was part of the backup too, such as the guide to restore without Lifeboat.
        let is_of_source = |path: &Path| manifest.sources.keys().any(|name| path.starts_with(name));
        for problem in restored.problems.iter().filter(|problem| !is_of_source(Path::new(&problem.path))) {
            self.fail(problem.to_string());
        }
        self.check_root(index, manifest)?;
        self.end_step("compare");
        self.reach(self.job.level.min(LEVEL_MAX));
        Ok(())
    }

    /// Level 2: what the source's own format says about the restored data, against the manifest.
    fn examine(&self, name: &str, record: &SourceRecord, folder: &Path) -> Result<SourceDrill, Error> {
        let mut source =
            SourceDrill { status: Verdict::Passed, compared: 0, bytes: 0, differences: Vec::new(), stored_so: 0 };
        if record.emptied_of.is_some() {
            let what = "it was empty when it was captured and had files before, so this proves nothing".to_owned();
            source.status = Verdict::Unknown;
            source.differences.push(Problem { source: name.to_owned(), path: String::new(), what });
            return Ok(source);
        }
        match (self.job.examine)(&record.kind, folder, &record.facts) {
            Ok(found) => {
                source.compared += record.facts.len() as u64;
                let named = |what| Problem { source: name.to_owned(), path: String::new(), what };
                source.differences.extend(differences(&record.facts, &found).into_iter().map(named));
                source.stored_so = told_in(&found);
            }
            Err(SourceError::Cancelled) => return Err(Error::Cancelled),
            Err(SourceError::Unavailable { what }) => {
                source.status = Verdict::Unknown;
                source.differences.push(Problem { source: name.to_owned(), path: String::new(), what });
            }
            Err(error) => source.differences.push(Problem {
                source: name.to_owned(),
                path: String::new(),
                what: error.to_string(),
            }),
        }
        Ok(source)
    }

    /// Level 3: every byte and all metadata, and the tree against the manifest's own hash of it.
    fn compare(
        &self,
        name: &str,
        record: &SourceRecord,
        index: &Index,
        scratch: &Path,
        options: restore::Options,
        source: &mut SourceDrill,
    ) -> Result<(), Error> {
        let root = self.job.described.tree;
        let node = walk::find(self.repository, index, &root, name.as_ref())?;
        let Some(tree) = node.filter(|node| node.kind == NodeKind::Dir).and_then(|node| node.subtree) else {
            source.differences.push(Problem::new(name.as_ref(), "the manifest names it, but the snapshot lacks it"));
            return Ok(());
        };
        let facts = verify::tree_facts(self.cx, self.repository, index, &tree)?;
        if facts != record.tree {
            let what = format!("the stored tree is {facts:?}, the manifest says {:?}", record.tree);
            source.differences.push(Problem::new(name.as_ref(), what));
        }
        let options = verify::Options { privileged: options.privileged };
        let found = verify::restored(self.cx, self.repository, index, &tree, &scratch.join(name), options)?;
        source.compared += found.entries;
        source.bytes += found.bytes;
        source.differences.extend(found.differences);
        Ok(())
    }

    /// Nothing in the snapshot's root that the manifest does not name: what is not in it was not compared.
    fn check_root(&mut self, index: &Index, manifest: &Manifest) -> Result<(), Error> {
        let tree = self.job.described.tree;
        let mut reader = walk::open_tree(self.repository, index, &tree)?;
        while let Some(node) = reader.next().map_err(|what| Error::MalformedTree { id: tree, what })? {
            let name = node.display_name();
            if node.kind == NodeKind::Dir && !manifest.sources.contains_key(name.as_ref()) {
                self.fail(format!("{name} is in the snapshot, but not in its manifest"));
            }
        }
        Ok(())
    }

    fn take_findings(&mut self, findings: &[Finding]) {
        for Finding { file, what } in findings {
            let file = file.map_or_else(String::new, |file| format!("{file}: "));
            self.fail(format!("{file}{what}"));
        }
    }

    fn fail(&mut self, what: String) {
        self.report.remarks.push(what);
        self.report.is_as_stored = false;
        self.weigh(Verdict::Failed);
    }

    fn unknown(&mut self, what: String) {
        self.report.remarks.push(what);
        self.weigh(Verdict::Unknown);
    }

    /// The worst verdict counts; failed is worse than unknown.
    fn weigh(&mut self, verdict: Verdict) {
        self.report.verdict = match (self.report.verdict, verdict) {
            (Verdict::Failed, _) | (_, Verdict::Failed) => Verdict::Failed,
            (Verdict::Unknown, _) | (_, Verdict::Unknown) => Verdict::Unknown,
            (Verdict::Passed, Verdict::Passed) => Verdict::Passed,
        };
    }

    fn reach(&mut self, level: u8) {
        if self.report.verdict == Verdict::Passed {
            self.report.level = level;
        }
    }

    fn end_step(&mut self, name: &'static str) {
        let now = self.cx.clock.now();
        self.report.steps.push((name, now.duration_since(self.step_started).as_secs_f64()));
        self.step_started = now;
    }
}

/// Room for folders and small files beside the bytes of a restore.
const SPARE_BYTES: u64 = 64 << 20;

/// What differs between recorded and recounted facts. Of facts that have parts, the parts that differ.
pub fn differences(recorded: &Facts, found: &Facts) -> Vec<String> {
    let names: std::collections::BTreeSet<&String> = recorded.keys().chain(found.keys()).collect();
    let mut differences = Vec::new();
    for name in names {
        match (recorded.get(name), found.get(name)) {
            (recorded, found) if recorded == found => {}
            (_, Some(found)) if told(found).is_some() => differences.extend(told(found).map(str::to_owned)),
            (Some(Value::Object(recorded)), Some(Value::Object(found))) => {
                let parts = self::differences(recorded, found);
                differences.extend(parts.into_iter().map(|part| format!("{name}: {part}")));
            }
            (recorded, found) => {
                let show = |fact: Option<&Value>| fact.map_or("nothing".to_owned(), ToString::to_string);
                differences.push(format!("{name}: {} instead of {}", show(found), show(recorded)));
            }
        }
    }
    differences
}

/// What a part of a fact says is wrong with the bytes that were stored.
fn told(part: &Value) -> Option<&str> {
    part.get(TOLD_FACT)?.as_str()
}

/// How much there is that was wrong before it was stored.
fn told_in(found: &Facts) -> usize {
    found.values().filter_map(Value::as_object).flatten().filter(|(_, part)| told(part).is_some()).count()
}

/// Notes the result in the copy. A copy that cannot be written can still be drilled; it is then said that nothing was
/// noted.
fn store_receipt(
    cx: &RunCx<'_>,
    repository: &Repository,
    job: &DrillJob<'_>,
    started: Timestamp,
    report: &mut DrillReport,
) -> Option<Id> {
    let receipt = Receipt {
        snapshot: job.snapshot,
        stack: job.described.stack().unwrap_or_default().to_owned(),
        copy: job.copy.to_owned(),
        level: report.level,
        verdict: report.verdict,
        partial: report.left_out > 0,
        at: started.into(),
        rto_s: report.rto.as_secs_f64(),
        rpo_s: report.rpo.as_secs_f64(),
        program_version: PROGRAM_VERSION.to_owned(),
    };
    match repository.check_writable().and_then(|()| repository.save_json(FileKind::Receipt, &receipt)) {
        Ok(id) => Some(id),
        Err(error) => {
            let what = format!("the result could not be noted in the copy: {error}");
            cx.events.emit(Event::Note(what.clone()));
            report.remarks.push(what);
            None
        }
    }
}

/// Whether a drill proves that its snapshot came back from its copy: all that is in it. Of what a [`Receipt::partial`] one
/// lacked, it proves nothing.
pub fn is_proof(receipt: &Receipt) -> bool {
    receipt.verdict == Verdict::Passed && receipt.level >= PROOF_LEVEL_MIN
}

/// The drill that tells where things stand: the newest of those that prove a restore or failed, at whatever level. A
/// passed look through the copy, or a drill that could not run, takes back neither. `receipts` come oldest first.
pub fn telling<'a>(receipts: impl DoubleEndedIterator<Item = &'a Receipt>) -> Option<&'a Receipt> {
    receipts.rev().find(|receipt| is_proof(receipt) || receipt.verdict == Verdict::Failed)
}

/// The telling drill of each snapshot; see [`telling`]. `receipts` come oldest first.
pub fn telling_by_snapshot(receipts: &[Receipt]) -> BTreeMap<Id, &Receipt> {
    let drilled: std::collections::BTreeSet<Id> = receipts.iter().map(|receipt| receipt.snapshot).collect();
    let of = |id| telling(receipts.iter().filter(move |receipt| receipt.snapshot == id));
    drilled.into_iter().filter_map(|id| Some((id, of(id)?))).collect()
}

/// The receipts of a copy. A damaged one proves nothing; `check` names it.
#[derive(Debug, Default)]
pub struct Receipts {
    /// Those that can be read, oldest first.
    pub read: Vec<Receipt>,
    /// Those that could not be read though their place answers, and why. Each may be the proof of any snapshot.
    pub unread: Vec<(Id, Error)>,
}

/// The receipts of a copy; see [`Receipts`].
pub fn receipts(repository: &Repository) -> Result<Receipts, Error> {
    let receipt::Receipts { readable, unread, .. } = receipt::load(repository)?;
    let mut read: Vec<Receipt> = readable.into_iter().map(|(_, receipt)| receipt).collect();
    read.sort_by_key(|receipt| receipt.at);
    Ok(Receipts { read, unread })
}

impl Receipts {
    /// All of them, oldest first, for whoever removes snapshots. Fails where one could not be read: nobody knows which
    /// snapshot it proves.
    pub fn all(self) -> Result<Vec<Receipt>, Fault> {
        let Some((_, error)) = self.unread.into_iter().next() else { return Ok(self.read) };
        let what = format!("{error}; it may prove any snapshot, so nothing was removed");
        Err(Fault::new(FaultKind::Failed, what).with_hint(
            "mend the disk or the line first; where that file is lost for good, remove it by hand, run `lifeboat drill`, then \
             this again",
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use repository::StorageError;
    use repository::storage::memory::MemoryStorage;
    use repository::storage::watched::{Asked, Watched};

    use super::*;
    use crate::manifest::RESTORE_GUIDE_NAME;
    use crate::memory::{FixedFiles, Memory};

    fn drill(memory: &Memory, snapshot: Id, level: u8) -> DrillReport {
        drill_examined(memory, snapshot, level, &|_, _, facts| Ok(facts.clone()))
    }

    fn drill_examined(memory: &Memory, snapshot: Id, level: u8, examine: Examine<'_>) -> DrillReport {
        let described = memory.repository.snapshot(snapshot).unwrap();
        let scratch = memory.scratch.path();
        run(
            &memory.cx(),
            &memory.repository,
            &DrillJob { copy: "disk", snapshot, described: &described, level, scratch, examine },
        )
        .unwrap()
    }

    #[test]
    fn a_drill_fails_for_whatever_is_lost_in_a_source_or_beside_them() {
        let whole = Memory::new();
        let sources = [FixedFiles::new(&[("srv/a", "content of a")]).named("files")];
        let snapshot = whole.back_up(&sources, &[]).unwrap().snapshot;
        let passed = drill(&whole, snapshot, 3);
        assert_eq!((passed.verdict, passed.level), (Verdict::Passed, 3), "{:?}", passed.remarks);
        for path in ["files/srv/a", RESTORE_GUIDE_NAME] {
            let memory = Memory::new();
            let snapshot = memory.back_up(&sources, &[]).unwrap().snapshot;
            memory.damage(snapshot, path);
            let failed = drill(&memory, snapshot, 3);
            assert_eq!((failed.verdict, failed.level), (Verdict::Failed, 0), "{path}");
            let named = failed.remarks.iter().any(|remark| remark.contains(path))
                || failed.sources["files"].differences.iter().any(|problem| problem.path.contains("srv/a"));
            assert!(named, "{path}: {failed:?}");
        }
    }

    #[test]
    fn a_drill_fails_where_what_came_back_differs_from_what_was_backed_up() {
        let memory = Memory::new();
        let snapshot = memory.back_up(&[FixedFiles::new(&[("srv/a", "content of a")]).named("files")], &[]).unwrap();
        let drill = |level, examine: Examine<'_>| drill_examined(&memory, snapshot.snapshot, level, examine);
        let says = |report: &DrillReport, text: &str| {
            report.sources["files"].differences.iter().any(|problem| problem.to_string().contains(text))
        };

        // A fact that is counted again comes out otherwise.
        let rows = |count: u64| Ok([("rows".to_owned(), count.into())].into_iter().collect());
        let failed = drill(2, &|_, _, _| rows(41));
        assert_eq!((failed.verdict, failed.level), (Verdict::Failed, 0));
        assert!(says(&failed, "rows: 41 instead of nothing"), "{failed:?}");

        // The restored bytes, and a restored mode, are not those of the snapshot: only level 3 compares them.
        let spoil = |_: &str, folder: &Path, facts: &Facts| {
            std::fs::write(folder.join("srv/a"), "content of b").unwrap();
            Ok(facts.clone())
        };
        assert_eq!(drill(2, &spoil).verdict, Verdict::Passed);
        let failed = drill(3, &spoil);
        assert_eq!((failed.verdict, failed.level), (Verdict::Failed, 0));
        assert!(says(&failed, "srv/a"), "{failed:?}");

        // Something came back that was never backed up.
        let add = |_: &str, folder: &Path, facts: &Facts| {
            std::fs::write(folder.join("srv/more"), "x").unwrap();
            Ok(facts.clone())
        };
        let failed = drill(3, &add);
        assert!(failed.verdict == Verdict::Failed && says(&failed, "srv/more"), "{failed:?}");
        let receipts = receipts(&memory, snapshot.snapshot);
        assert_eq!(receipts.iter().filter(|verdict| **verdict == Verdict::Failed).count(), 3);
        assert_eq!(receipts.len(), 4);
    }

    #[test]
    fn a_source_that_cannot_be_examined_is_unknown_unless_its_bytes_differ() {
        let memory = Memory::new();
        let report = memory.back_up(&[FixedFiles::new(&[("srv/a", "content of a")]).named("files")], &[]).unwrap();
        let unavailable = || Err(SourceError::Unavailable { what: "no server here".to_owned() });
        let unknown = drill_examined(&memory, report.snapshot, 3, &|_, _, _| unavailable());
        assert_eq!((unknown.verdict, unknown.level), (Verdict::Unknown, 0), "{unknown:?}");
        let failed = drill_examined(&memory, report.snapshot, 3, &|_, folder, _| {
            std::fs::write(folder.join("srv/a"), "content of b").unwrap();
            unavailable()
        });
        assert_eq!((failed.verdict, failed.level), (Verdict::Failed, 0), "{failed:?}");
    }

    #[test]
    fn a_receipt_that_could_not_be_read_is_told_and_keeps_whoever_removes_snapshots_from_it() {
        let memory = Memory::new();
        let report = memory.back_up(&[FixedFiles::new(&[("srv/a", "content of a")]).named("files")], &[]).unwrap();
        drill(&memory, report.snapshot, 3);
        let watch = |_: &MemoryStorage, asked: Asked<'_>| match asked {
            Asked::Get(file) if file.kind == FileKind::Receipt => {
                Err(StorageError::Permanent { location: "usb".to_owned(), what: "input/output error".to_owned() })
            }
            _ => Ok(()),
        };
        let repository =
            Repository::open(Arc::new(Watched { inner: memory.storage.clone(), watch }), "secret").unwrap();
        let found = super::receipts(&repository).unwrap();
        assert_eq!((found.read.len(), found.unread.len()), (0, 1));
        let fault = found.all().unwrap_err();
        assert!(fault.message.contains("nothing was removed") && fault.hint.is_some(), "{fault:?}");
        assert_eq!(super::receipts(&memory.repository).unwrap().all().unwrap().len(), 1);
    }

    #[test]
    fn a_drill_of_a_partial_snapshot_names_what_was_not_in_it() {
        let memory = Memory::new();
        let mut sources = [FixedFiles::new(&[("srv/a", "content of a")]).named("files")];
        let whole = memory.back_up(&sources, &[]).unwrap().snapshot;
        assert!(drill(&memory, whole, 3).lacked.is_empty());
        memory.clock.advance(Duration::from_secs(1));
        sources = [FixedFiles::new(&[]).named("files")];
        let partial = memory.back_up(&sources, &[]).unwrap();
        assert_eq!(partial.problems.len(), 1);
        let report = drill(&memory, partial.snapshot, 3);
        assert_eq!((report.left_out, report.lacked.len()), (1, 1), "{report:?}");
        assert_eq!((&*report.lacked[0].source, &report.lacked[0].what), ("files", &partial.problems[0].what));
        let read = super::receipts(&memory.repository).unwrap().read;
        let of = |id| read.iter().find(|receipt| receipt.snapshot == id).unwrap().partial;
        assert!(!of(whole) && of(partial.snapshot));
    }

    /// What the copy itself says came of the drills.
    fn receipts(memory: &Memory, snapshot: Id) -> Vec<Verdict> {
        let receipts = super::receipts(&memory.repository).unwrap().all().unwrap();
        receipts.iter().filter(|receipt| receipt.snapshot == snapshot).map(|receipt| receipt.verdict).collect()
    }
}
