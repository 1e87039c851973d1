//! Takes one snapshot of a stack: all views first, then source by source, then manifest and snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use repository::backup::{self, BackupStats, Description, SnapshotWriter};
use repository::lock::{Access, with_lock};
use repository::source::GOOD_IN_FACT;
use repository::{
    CaptureCx, Error, Event, Facts, Id, Identity, Index, Item, NodeKind, Problem, Repository, RunCx, Silent, Source,
    SourceError,
};
use serde::Serialize;
use serde_json::Value;

use crate::manifest::{MANIFEST_NAME, Manifest, RESTORE_GUIDE_NAME, SourceRecord, SourceStatus, Window};
use crate::notes::Notes;
use crate::parents::Parents;
use crate::restore_guide::GuideCopy;
use crate::snapshots::{self, PARTIAL_TAG, SELECTION_TAG};
use crate::surroundings::Surroundings;
use crate::views::{self, OpenView};
use crate::{PROGRAM_VERSION, restore_guide, scratch};

/// A source with its name in the stack.
pub struct NamedSource {
    /// The name, which is also its folder in the snapshot.
    pub name: String,
    /// The source.
    pub source: Box<dyn Source>,
}

/// What is to be backed up.
pub struct StackBackup<'a> {
    /// The stack.
    pub stack: &'a str,
    /// All its sources. Their order is that of their turns, as far as what they are leaves it open.
    pub sources: &'a [NamedSource],
    /// The names of those to capture; all where empty. What the others claim is left to them all the same.
    pub only: &'a [String],
    /// Further tags.
    pub tags: &'a [String],
    /// Where temporary folders may be made.
    pub scratch: &'a Path,
    /// Paths that are never captured: the copies, the state folder, files with secrets.
    pub own_paths: &'a [PathBuf],
    /// All copies of the repository, for the restore guide.
    pub copies: &'a [GuideCopy],
    /// Count a stack's first backup beforehand, so that whoever watches sees how much is left.
    pub count_first: bool,
    /// The other copies that are open, which are asked for snapshots that the written one lacks.
    pub others: &'a [Arc<Repository>],
    /// What is done around the capture.
    pub surroundings: &'a dyn Surroundings,
}

/// What a backup did.
#[derive(Debug)]
pub struct BackupReport {
    /// The new snapshot.
    pub snapshot: Id,
    /// The snapshot it was compared with.
    pub parent: Option<Id>,
    /// What each source gave.
    pub sources: BTreeMap<String, SourceRecord>,
    /// The numbers.
    pub stats: BackupStats,
    /// All problems, also those beyond what the manifest lists.
    pub problems: Vec<Problem>,
    /// The host that took the stack's snapshot before this one, where it is another.
    pub other_host: Option<String>,
}

impl BackupReport {
    /// `partial` where anything was left out or is doubtful.
    pub fn status(&self) -> SourceStatus {
        if self.problems.is_empty() { SourceStatus::Ok } else { SourceStatus::Partial }
    }
}

/// Takes the snapshot. On any error no snapshot is written, and the repository is as valid as before.
pub fn run(cx: &RunCx<'_>, repository: &Arc<Repository>, job: &StackBackup<'_>) -> Result<BackupReport, Error> {
    check_names(job.sources, job.only)?;
    with_lock(cx, repository, Access::Shared, |cx| {
        let taken = scratch::with_scratch(job.scratch, |scratch| take_snapshot(cx, repository, job, scratch));
        job.surroundings.end(taken.as_ref().err());
        taken
    })
}

fn take_snapshot(
    cx: &RunCx<'_>,
    repository: &Repository,
    job: &StackBackup<'_>,
    scratch: &Path,
) -> Result<BackupReport, Error> {
    let (index, lost) = Index::load_stored(cx, repository)?;
    if lost > 0 {
        let what = format!("{lost} stored blobs are lost; what the sources still have of them is stored anew");
        cx.events.emit(Event::Note(what));
    }
    let chosen = chosen(job.sources, job.only);
    let names: Vec<&str> = chosen.iter().map(|named| named.name.as_str()).collect();
    let parents = Parents::find(cx, repository, &index, job.stack, &names)?;
    let has_snapshot = parents.has_snapshot(job.others);
    let mut doubts = job.surroundings.begin(cx, &names)?;
    let expected = bytes_expected(cx, job, &names, &parents);
    let claimed = claims(cx, job.sources)?;
    let notes = Notes::of(&chosen, cx.events);
    let context = |name: &str| CaptureCx {
        events: notes.events(name),
        cancel: cx.cancel,
        clock: cx.clock,
        claimed: &claimed,
        scratch,
        own_paths: job.own_paths,
        previous: parents.previous(name, &has_snapshot),
        look_only: false,
    };
    doubts.extend(job.surroundings.hold_still(cx)?);
    let views = views::open(cx, &chosen, job.surroundings.is_still(), context)?;
    let main = parents.main().map(|(_, snapshot)| snapshot);
    let ((sources, problems), written) = backup::write(cx, repository, &index, main, |writer| {
        let taking = Taking { expected: &expected, parents: &parents, notes: &notes, surroundings: job.surroundings };
        let (sources, problems) = taking.store_all(cx, writer, views, doubts)?;
        let noted = parents.with_times_of_unchanged(&sources);
        let manifest = Manifest { version: Manifest::VERSION, stack: job.stack.to_owned(), sources: noted };
        writer.root_file(MANIFEST_NAME, &manifest.to_stored()?)?;
        writer.root_file(RESTORE_GUIDE_NAME, restore_guide::text(&manifest, job.copies, cx.clock.now()).as_bytes())?;
        Ok((sources, problems))
    })?;
    let parent = parents.main().map(|(id, _)| *id);
    let about = describe(job, &sources, parent, !problems.is_empty());
    let (snapshot, _) = written.save(cx, repository, about)?;
    let other_host = parents.other_host().map(str::to_owned);
    Ok(BackupReport { snapshot, parent, sources, stats: written.stats, problems, other_host })
}

fn chosen<'a>(sources: &'a [NamedSource], only: &[String]) -> Vec<&'a NamedSource> {
    sources.iter().filter(|named| only.is_empty() || only.contains(&named.name)).collect()
}

/// What sources capture in ways of their own, so that `files` sources leave it out.
fn claims(cx: &RunCx<'_>, sources: &[NamedSource]) -> Result<BTreeSet<PathBuf>, Error> {
    let mut claimed = BTreeSet::new();
    for named in sources {
        claimed.extend(named.source.claims(cx.cancel).map_err(in_source(&named.name))?);
    }
    Ok(claimed)
}

/// The kind of the sources that start a program of the user's.
pub(crate) const COMMAND_KIND: &str = "command";

/// What a source would give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Regular files.
    pub files: u64,
    /// Their bytes; 0 for streams, whose length shows only at their end.
    pub bytes: u64,
    /// Things that would be left out.
    pub problems: u64,
}

/// Opens the views and walks them without reading contents or storing anything. `only` as in [`StackBackup`]. Commands
/// are not started, as a look must change nothing: they are left out, and a note says so.
pub fn preview(
    cx: &RunCx<'_>,
    sources: &[NamedSource],
    only: &[String],
    scratch: &Path,
    own_paths: &[PathBuf],
) -> Result<BTreeMap<String, Counted>, Error> {
    scratch::with_scratch(scratch, |scratch| {
        let claimed = claims(cx, sources)?;
        let context = |_: &str| CaptureCx {
            events: cx.events,
            cancel: cx.cancel,
            clock: cx.clock,
            claimed: &claimed,
            scratch,
            own_paths,
            previous: None,
            look_only: true,
        };
        let (commands, walked): (Vec<_>, Vec<_>) =
            chosen(sources, only).into_iter().partition(|named| named.source.kind() == COMMAND_KIND);
        for named in commands {
            cx.events.emit(Event::Note(format!("source {} is a command: not started for a look", named.name)));
        }
        let mut counts = BTreeMap::new();
        for OpenView { named, mut capture, .. } in views::open(cx, &walked, false, context)? {
            let mut counted = Counted::default();
            while let Some(item) = capture.next().map_err(in_source(&named.name))? {
                cx.cancel.check()?;
                match item {
                    Item::Entry(entry) if entry.node.kind == NodeKind::File => {
                        counted.files += 1;
                        counted.bytes += entry.node.size;
                    }
                    Item::Entry(_) => {}
                    Item::Problem(problem) => {
                        counted.problems += 1;
                        cx.events.emit(Event::Problem(problem));
                    }
                }
            }
            counts.insert(named.name.clone(), counted);
        }
        Ok(counts)
    })
}

type Stored = (BTreeMap<String, SourceRecord>, Vec<Problem>);

/// What the storing of the sources goes by.
struct Taking<'a> {
    expected: &'a BTreeMap<String, u64>,
    parents: &'a Parents,
    notes: &'a Notes<'a>,
    surroundings: &'a dyn Surroundings,
}

impl Taking<'_> {
    /// Stores what the views give. `doubts` are problems that are known before; those without a source go to the first.
    fn store_all(
        &self,
        cx: &RunCx<'_>,
        writer: &mut SnapshotWriter<'_>,
        views: Vec<OpenView<'_>>,
        mut doubts: Vec<Problem>,
    ) -> Result<Stored, Error> {
        let mut live = views.iter().filter(|view| view.is_live()).count();
        if live == 0 {
            doubts.extend(self.surroundings.release());
        }
        let (mut sources, mut problems) = (BTreeMap::new(), Vec::new());
        for view in views {
            let name = &view.named.name;
            let is_last = view.is_live() && live == 1;
            live -= usize::from(view.is_live());
            let (mut record, mut found) = self.store(cx, writer, view)?;
            if is_last {
                doubts.extend(self.surroundings.release());
            }
            let is_its = |problem: &mut Problem| problem.source.is_empty() || problem.source == *name;
            let moved = self.moved_before(&record);
            let further: Vec<Problem> = doubts
                .extract_if(.., is_its)
                .chain(moved)
                .map(|problem| Problem { source: name.clone(), ..problem })
                .inspect(|problem| cx.events.emit(Event::Problem(problem.clone())))
                .collect();
            found.extend(further);
            record.list(&found);
            self.surroundings.was_read(name, record.status);
            sources.insert(name.clone(), record);
            problems.extend(found);
        }
        Ok((sources, problems))
    }

    /// Stores one source. Gives its record and its problems, which the record does not have yet.
    fn store(
        &self,
        cx: &RunCx<'_>,
        writer: &mut SnapshotWriter<'_>,
        mut view: OpenView<'_>,
    ) -> Result<(SourceRecord, Vec<Problem>), Error> {
        let (named, parents) = (view.named, self.parents);
        let name = &named.name;
        let bytes_total = self.expected.get(name).copied();
        cx.events.emit(Event::StepStarted { name: name.clone(), bytes_total });
        if let Some(parent) = parents.other(name) {
            writer.compare_with(name, parent)?;
        }
        let written = writer.source(name, view.capture.as_mut()).map_err(name_source(name))?;
        let captured = view.window(cx.clock.now());
        let captured = Window { to: view.capture.reopened().map_or(captured.to, |at| captured.to.max(at)), ..captured };
        let facts = view.capture.finish().map_err(in_source(name))?;
        let had = parents.record(name).map_or(0, SourceRecord::files_last);
        let emptied_of = (written.tree.files == 0 && had > 0).then_some(had);
        let unread = parents.problems(name);
        // Only a source that finds losses by its parent has lost something by it.
        let (doubtful, harmless) = if named.source.finds_losses() { (unread, &[][..]) } else { (&[][..], unread) };
        for harmless in harmless.iter().chain(parents.known(name)) {
            self.notes.events(name).emit(Event::Note(harmless.to_string()));
        }
        let further: Vec<_> = doubtful.iter().cloned().chain(emptied_of.map(|had| emptied(name, had))).collect();
        further.iter().for_each(|problem| cx.events.emit(Event::Problem(problem.clone())));
        let record = SourceRecord {
            kind: named.source.kind().to_owned(),
            status: SourceStatus::Ok,
            captured: Some(captured),
            tree: written.tree,
            facts,
            emptied_of,
            problems: Vec::new(),
            problems_total: 0,
            notes: self.notes.take(name),
        };
        Ok((record, [written.problems, further].concat()))
    }

    /// That what should have stood still moved while this was captured.
    fn moved_before(&self, record: &SourceRecord) -> Option<Problem> {
        let (moved, captured) = (self.surroundings.moved()?, record.captured?);
        let Window { to, .. } = captured;
        (to > moved.at).then(|| Problem { source: String::new(), path: "freeze".to_owned(), what: moved.what })
    }
}

/// A disk that is not mounted looks like an empty folder. Told in every snapshot until there is a file again: were it told once,
/// the snapshots without anything would be whole, and in time the only ones.
fn emptied(source: &str, had: u64) -> Problem {
    let what = format!(
        "it is empty, and an earlier snapshot has files of it ({had}); is its disk mounted? Where it is meant to be empty, give \
         the source another name in lifeboat.yaml"
    );
    Problem { source: source.to_owned(), path: source.to_owned(), what }
}

fn describe(
    job: &StackBackup<'_>,
    sources: &BTreeMap<String, SourceRecord>,
    parent: Option<Id>,
    is_partial: bool,
) -> Description {
    let mut tags = vec![repository::format::snapshot::Snapshot::stack_tag(job.stack)];
    if !job.only.is_empty() {
        tags.push(SELECTION_TAG.to_owned());
    }
    if is_partial {
        tags.push(PARTIAL_TAG.to_owned());
    }
    for (name, record) in sources {
        tags.extend(good_in(&record.facts).iter().map(|id| snapshots::good_in_tag(name, id)));
    }
    tags.extend(job.tags.iter().cloned());
    let names = job.sources.iter().map(|named| &named.name).filter(|name| sources.contains_key(*name));
    Description {
        identity: Identity::of_process(),
        paths: names.map(|name| format!("/{name}")).collect(),
        tags,
        program_version: PROGRAM_VERSION.to_owned(),
        parent,
    }
}

/// The snapshots that hold whole what a source has damaged or lacks.
fn good_in(facts: &Facts) -> BTreeSet<Id> {
    let listed = facts.get(GOOD_IN_FACT).and_then(Value::as_array).into_iter().flatten();
    listed.filter_map(|id| id.as_str()?.parse().ok()).collect()
}

/// About how many bytes each source has: what it had the last time, else what a look counts.
fn bytes_expected(cx: &RunCx<'_>, job: &StackBackup<'_>, names: &[&str], parents: &Parents) -> BTreeMap<String, u64> {
    match parents.is_empty() {
        false => {
            let had = |name: &&str| Some(((*name).to_owned(), parents.record(name)?.tree.bytes));
            names.iter().filter_map(had).collect()
        }
        true if job.count_first => {
            let quiet = RunCx { events: &Silent, ..*cx };
            let counted = preview(&quiet, job.sources, job.only, job.scratch, job.own_paths);
            // Only a bar depends on it; what is wrong shows again in the capture itself.
            counted.unwrap_or_default().into_iter().map(|(name, counted)| (name, counted.bytes)).collect()
        }
        true => BTreeMap::new(),
    }
}

fn check_names(sources: &[NamedSource], only: &[String]) -> Result<(), Error> {
    if let Some(unknown) = only.iter().find(|name| sources.iter().all(|named| named.name != **name)) {
        return Err(SourceError::Unavailable { what: format!("the stack has no source {unknown}") }.into());
    }
    if sources.is_empty() {
        return Err(SourceError::Unavailable { what: "the stack has no sources".to_owned() }.into());
    }
    for named in sources {
        if [MANIFEST_NAME, RESTORE_GUIDE_NAME].contains(&named.name.as_str()) || named.name.contains('/') {
            let what = format!("a source cannot be called {:?}; choose another name", named.name);
            return Err(SourceError::Unavailable { what }.into());
        }
    }
    Ok(())
}

/// Puts the source's name before its error.
pub(crate) fn in_source(name: &str) -> impl Fn(SourceError) -> Error + '_ {
    move |error| match error {
        SourceError::Cancelled => Error::Cancelled,
        SourceError::Unavailable { what } => SourceError::Unavailable { what: format!("source {name}: {what}") }.into(),
        SourceError::Invalid { what } => SourceError::Invalid { what: format!("source {name}: {what}") }.into(),
        SourceError::Io { path, error } => {
            let error = std::io::Error::new(error.kind(), format!("{error} (source {name})"));
            SourceError::Io { path, error }.into()
        }
    }
}

fn name_source(name: &str) -> impl Fn(Error) -> Error + '_ {
    move |error| match error {
        Error::Source(error) => in_source(name)(error),
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use repository::events::Recorded;
    use repository::storage::cache::Cache;
    use repository::storage::record::{Record, Verb};
    use repository::{Clock as _, FileKind, View, walk};

    use super::*;
    use crate::memory::{FixedFiles, Memory};
    use crate::scene::{SECOND, Scene};

    #[test]
    fn what_another_source_claims_is_left_to_it_also_when_it_is_not_chosen() {
        let memory = Memory::new();
        let files = FixedFiles::new(&[("app.db", "raw bytes"), ("notes", "text")]);
        let database = FixedFiles { claims: vec!["/app.db".into()], ..FixedFiles::new(&[("app.db", "a copy")]) };
        let opened = Arc::clone(&database.opened);
        let sources = [files.named("files"), database.named("db")];
        let report = memory.back_up(&sources, &["files"]).unwrap();
        assert_eq!(opened.load(Ordering::Relaxed), 0);
        let snapshot = memory.repository.snapshot(report.snapshot).unwrap();
        assert_eq!(snapshot.paths, ["/files"]);
        assert!(snapshots::is_selection(&snapshot));
        let index = memory.index();
        let is_there =
            |path: &str| walk::find(&memory.repository, &index, &snapshot.tree, path.as_ref()).unwrap().is_some();
        assert!(is_there("files/notes") && !is_there("files/app.db") && !is_there("db"));
        assert!(memory.back_up(&sources, &["flies"]).unwrap_err().to_string().contains("no source flies"));
    }

    #[test]
    fn a_source_that_lost_all_its_files_is_a_problem() {
        let memory = Memory::new();
        let files = || FixedFiles::new(&[("notes", "text")]).named("files");
        let empty = || FixedFiles::new(&[]).named("files");
        assert_eq!(memory.back_up(&[empty()], &[]).unwrap().status(), SourceStatus::Ok, "it never had any");
        memory.clock.advance(Duration::from_secs(1));
        assert_eq!(memory.back_up(&[files()], &[]).unwrap().status(), SourceStatus::Ok);
        memory.clock.advance(Duration::from_secs(1));
        let report = memory.back_up(&[empty()], &[]).unwrap();
        assert_eq!(report.status(), SourceStatus::Partial);
        assert!(report.problems[0].what.contains("is its disk mounted"), "{:?}", report.problems);
        let tags = |id| memory.repository.snapshot(id).unwrap().tags;
        let whole = report.parent.unwrap();
        assert!(
            tags(report.snapshot).contains(&PARTIAL_TAG.to_owned()) && !tags(whole).contains(&PARTIAL_TAG.to_owned())
        );
        for _ in 0..2 {
            memory.clock.advance(Duration::from_secs(1));
            assert_eq!(memory.back_up(&[empty()], &[]).unwrap().status(), SourceStatus::Partial, "it still is");
        }
        memory.clock.advance(Duration::from_secs(1));
        assert_eq!(memory.back_up(&[files()], &[]).unwrap().status(), SourceStatus::Ok, "its disk is mounted again");
    }

    #[test]
    fn an_unchanged_stack_costs_five_listings_the_last_manifest_and_one_snapshot() {
        let (memory, near) = (Memory::new(), tempfile::tempdir().unwrap());
        let record = Arc::new(Record::new(Arc::new(memory.storage.clone())));
        let back_up = |content: &'static str| {
            let cache = Cache::new(record.clone(), near.path().to_owned(), 1 << 30);
            let repository = Arc::new(Repository::open(Arc::new(cache), "secret").unwrap());
            record.take();
            memory.clock.advance(Duration::from_secs(1));
            let sources = [FixedFiles::new(&[("notes", content)]).named("files")];
            let job = StackBackup { sources: &sources, ..memory.job() };
            let packs = run(&memory.cx(), &repository, &job).unwrap().stats.stored.packs;
            (packs, record.take().into_iter().map(|call| (call.verb, call.kind)).collect::<Vec<_>>())
        };
        back_up("one");
        let (put, get, list, delete) = (Verb::Put, Verb::Get, Verb::List, Verb::Delete);
        let lock = FileKind::Lock;
        let begin = [(list, lock), (put, lock), (list, lock), (get, lock)];
        // What is stored is held against what is listed as stored: a pack that was lost is not taken for there.
        let look = [(list, FileKind::Index), (list, FileKind::Pack), (list, FileKind::Snapshot), (get, FileKind::Pack)];
        let end = [(put, FileKind::Snapshot), (delete, lock)];
        assert_eq!(back_up("one"), (0, [&begin[..], &look, &end].concat()));
        let (packs, calls) = back_up("two");
        // One of trees; small blobs of data lie in one pack or in several.
        assert!(packs >= 2, "{packs}");
        let stored = [vec![(put, FileKind::Pack); packs as usize], vec![(put, FileKind::Index)]].concat();
        assert_eq!(calls, [&begin[..], &look, &stored, &end].concat());
    }

    #[test]
    fn a_look_starts_no_command_and_says_so() {
        let memory = Memory::new();
        let command = FixedFiles { kind: COMMAND_KIND, ..FixedFiles::new(&[("dump", "x")]) };
        let opened = Arc::clone(&command.opened);
        let sources = [FixedFiles::new(&[("a", "1"), ("b", "22")]).named("files"), command.named("dump")];
        let events = Recorded::default();
        let cx = RunCx { events: &events, ..memory.cx() };
        let counts = preview(&cx, &sources, &[], memory.scratch.path(), &[]).unwrap();
        assert_eq!(
            counts.into_iter().collect::<Vec<_>>(),
            [("files".to_owned(), Counted { files: 2, bytes: 3, problems: 0 })]
        );
        assert_eq!(opened.load(Ordering::Relaxed), 0);
        assert!(matches!(&events.events()[..], [Event::Note(note)] if note.contains("dump")), "{events:?}");
    }

    #[test]
    fn an_error_of_reading_names_its_source_and_keeps_its_kind() {
        let memory = Memory::new();
        let closed = FixedFiles { fails_with: Some(ErrorKind::PermissionDenied), ..FixedFiles::new(&[]) };
        let error = memory.back_up(&[closed.named("letters")], &[]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("/srv/x") && text.contains("source letters"), "{text}");
        let Error::Source(SourceError::Io { error, .. }) = error else { panic!("{error:?}") };
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    }

    #[test]
    fn what_was_read_after_it_moved_again_is_partial() {
        let scene = Scene::new();
        let mut around = scene.around(true);
        around.moved = Some(scene.memory.clock.now() + 3 * SECOND);
        let report = scene.back_up(&around);
        let status = |name: &str| report.sources[name].status;
        assert_eq!(
            ["held", "live", "flowing"].map(status),
            [SourceStatus::Ok, SourceStatus::Partial, SourceStatus::Ok]
        );
        assert_eq!(report.sources["live"].problems[0].what, "it moved");
        assert_eq!(report.problems.len(), 1);
    }

    #[test]
    fn what_was_opened_again_is_of_the_time_until_then() {
        let scene = Scene::new();
        let sources = [scene.source("held", View::Held), scene.source("reopened", View::Held)];
        let around = scene.around(false);
        let job = StackBackup { sources: &sources, surroundings: &around, ..scene.memory.job() };
        let report = run(&scene.memory.cx(), &scene.memory.repository, &job).unwrap();
        let length = |name: &str| report.sources[name].captured.map(|Window { from, to }| to.duration_since(from));
        // Both are opened in the first two seconds, and read in one each.
        assert!(length("held").unwrap() <= (2 * SECOND).try_into().unwrap(), "{:?}", report.sources);
        assert!(length("reopened").unwrap() >= (3 * SECOND).try_into().unwrap(), "{:?}", report.sources);
    }

    #[test]
    fn what_must_come_after_a_capture_is_told_that_it_failed() {
        let scene = Scene::new();
        let sources = [scene.source("live", View::Live), scene.source("broken", View::Live)];
        let around = scene.around(false);
        let job = StackBackup { sources: &sources, surroundings: &around, ..scene.memory.job() };
        run(&scene.memory.cx(), &scene.memory.repository, &job).unwrap_err();
        assert_eq!(scene.log()[4..], ["read live", "after live Ok", "end source broken: broken"]);
    }

    #[test]
    fn an_unchanged_stack_keeps_the_times_of_its_manifest() {
        let memory = Memory::new();
        let back_up = |content: &'static str| {
            memory.clock.advance(SECOND);
            let sources = [FixedFiles::new(&[("a", content)]).named("a"), FixedFiles::new(&[("b", "same")]).named("b")];
            let report = memory.back_up(&sources, &[]).unwrap();
            let tree = memory.repository.snapshot(report.snapshot).unwrap().tree;
            let manifest = Manifest::load(&memory.repository, &memory.index(), &tree).unwrap().unwrap();
            let times = |name: &str| (manifest.sources[name].captured.unwrap(), report.sources[name].captured.unwrap());
            (times("a"), times("b"))
        };
        let (first, _) = back_up("one");
        assert_eq!(first.0, first.1);
        let (again, _) = back_up("one");
        assert_eq!(again.0, first.0, "nothing changed");
        assert!(again.1.from > first.1.to, "the run knows its own time");
        let (changed, other) = back_up("two");
        assert!(changed.0 == changed.1 && other.0 == other.1 && changed.0.from > again.1.to);
    }
}
