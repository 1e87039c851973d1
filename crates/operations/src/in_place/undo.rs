//! The way back from a restore in place: puts back what was there, whether the restore ended well or was cut.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::folders::{bring_to, keeping_time, move_entry, open_up};
use super::journal::{Header, Journal, Mark, Record, Step, StoredPath, sync_folder, undo_id};
use super::preflight::open_files;
use super::roots::side_files;
use super::swap::{Paths, Permit};
use super::{InPlaceError, refuse};
use crate::scratch::remove_tree;

/// An undo folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undo {
    /// The folder.
    pub folder: PathBuf,
    /// The restore's id, the same in all its undo folders.
    pub id: String,
    /// When the restore began; `None` where it was cut before it could write that down.
    pub created: Option<Timestamp>,
    /// The id of the snapshot that was restored; empty where it was cut before it could write that down.
    pub snapshot: String,
    /// What was restored from this place.
    pub targets: Vec<PathBuf>,
    /// How far it got.
    pub state: UndoState,
    /// Whether a restore or an undo is at work with it now.
    pub in_use: bool,
}

/// How far a restore in place got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoState {
    /// Nothing was changed yet. Can be undone and dropped, which are the same.
    Preparing,
    /// It was cut in the swap: some entries are the snapshot's, some are not. Must be undone.
    Interrupted,
    /// It is done, and what was there is kept. Can be undone or dropped.
    Swapped,
    /// What was there is back; what the restore had put there is kept in `replaced/`. Can be dropped.
    Undone,
    /// It was cut while it was dropped. Can be dropped.
    Dropping,
}

/// What an undo did.
#[derive(Debug, Default)]
pub struct Undone {
    /// Steps that were undone.
    pub steps: u64,
    /// What could not be put back exactly, and files made since that were moved aside.
    pub remarks: Vec<String>,
    /// The undo folders that now keep, in `replaced/`, what the restore had put in place. Empty where it had not got
    /// that far.
    pub folders: Vec<PathBuf>,
}

/// The restores in place that left an undo folder in `parent`, oldest first.
pub fn list_undo(parent: &Path) -> Result<Vec<Undo>, InPlaceError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(parent).map_err(InPlaceError::io(parent))? {
        let folder = entry.map_err(InPlaceError::io(parent))?.path();
        let Some(id) = undo_id(&folder) else { continue };
        let id = id.to_owned();
        // A folder of another user is that user's business.
        let Ok(record) = Record::load(&folder) else { continue };
        let state = state(&record);
        let in_use = matches!(Journal::open(&folder), Err(InPlaceError::UndoFolder { .. }));
        let header = record.header;
        let snapshot = header.as_ref().map(|header| header.snapshot.clone()).unwrap_or_default();
        let created = header.as_ref().map(|header| header.created);
        let targets = header.into_iter().flat_map(|header| header.targets).map(|path| path.0).collect();
        found.push(Undo { folder, id, created, snapshot, targets, state, in_use });
    }
    found.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    Ok(found)
}

/// The undo folder, in one of `places`, of a restore in place that is at work with one of `paths`, or was cut while it was:
/// until it has ended, or was undone, nobody may work with them.
///
/// # Errors
/// A place that cannot be listed, or a journal that cannot be read: what became of the paths is unknown.
pub fn half_way(places: &[PathBuf], paths: &[PathBuf]) -> Result<Option<PathBuf>, InPlaceError> {
    for place in places {
        for entry in std::fs::read_dir(place).map_err(InPlaceError::io(place))? {
            let folder = entry.map_err(InPlaceError::io(place))?.path();
            if undo_id(&folder).is_none() {
                continue;
            }
            let record = Record::load(&folder)?;
            let targets = record.header.iter().flat_map(|header| &header.targets);
            let mut theirs = targets.filter(|StoredPath(target)| paths.iter().any(|path| overlap(path, target)));
            let in_use = || matches!(Journal::open(&folder), Err(InPlaceError::UndoFolder { .. }));
            if theirs.next().is_some() && (state(&record) == UndoState::Interrupted || in_use()) {
                return Ok(Some(folder));
            }
        }
    }
    Ok(None)
}

fn overlap(a: &Path, b: &Path) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

fn state(record: &Record) -> UndoState {
    match record.mark {
        None => UndoState::Preparing,
        Some(Mark::Planned) => UndoState::Interrupted,
        Some(Mark::Swapped) => UndoState::Swapped,
        Some(Mark::Undone) => UndoState::Undone,
        Some(Mark::Dropping) => UndoState::Dropping,
    }
}

/// What an undo of the restore in place that `folder` belongs to would put back, in all its places.
pub fn undo_targets(folder: &Path) -> Result<Vec<PathBuf>, InPlaceError> {
    let (opened, _) = open_together(folder)?;
    Ok(opened.iter().flat_map(Opened::targets).map(Path::to_owned).collect())
}

/// Undoes the restore in place that `folder` belongs to, in all its places. What the restore had put there, and what was
/// made in its place since, is moved to `replaced/` in the undo folder. Files that processes have open block it unless
/// `force`.
pub fn undo(folder: &Path, force: bool) -> Result<Undone, InPlaceError> {
    undo_with(folder, force, &mut || Ok(()))
}

pub(super) fn undo_with(folder: &Path, force: bool, permit: Permit<'_>) -> Result<Undone, InPlaceError> {
    let (mut opened, missing) = open_together(folder)?;
    let wrong = |folder: &Path, what: String| InPlaceError::UndoFolder { folder: folder.to_owned(), what };
    if let Some(dropping) = opened.iter().find(|one| one.state() == UndoState::Dropping) {
        return Err(wrong(&dropping.folder, "what it kept is being dropped: there is no way back".to_owned()));
    }
    opened.retain(|one| one.state() != UndoState::Undone);
    if opened.is_empty() {
        return Err(wrong(folder, "it was undone already".to_owned()));
    }
    let mut undone = Undone::default();
    undone
        .remarks
        .extend(missing.iter().map(|folder| format!("{} is gone: nothing there was undone", folder.display())));
    if opened.iter().all(|one| one.state() == UndoState::Preparing) {
        opened.iter().try_for_each(Opened::remove)?;
        undone.remarks.push("the restore had changed nothing".to_owned());
        return Ok(undone);
    }
    for one in &opened {
        one.refuse_newer()?;
    }
    let targets = opened.iter().flat_map(Opened::targets).map(Path::to_owned);
    refuse(&open_files(targets.flat_map(|path| side_files(&path).chain([path.clone()]).collect::<Vec<_>>())), force)?;
    for one in &mut opened {
        let mut remarks = Remarks::default();
        let paths = Paths { place: &one.place, undo: &one.folder };
        put_back(&paths, one.steps(), &mut remarks, permit)?;
        undone.steps += one.record.steps.len() as u64;
        undone.remarks.append(&mut remarks.0);
        if let Some(journal) = &mut one.journal {
            journal.mark(Mark::Undone)?;
        }
        one.remove_staging()?;
        undone.folders.push(one.folder.clone());
    }
    Ok(undone)
}

/// Removes what a restore in place kept, in all its places: after this there is no way back.
pub fn drop_undo(folder: &Path) -> Result<(), InPlaceError> {
    let (mut opened, _) = open_together(folder)?;
    if let Some(cut) = opened.iter().find(|one| one.state() == UndoState::Interrupted) {
        let what = "the restore was interrupted, so this is the only copy of what was there: undo it first".to_owned();
        return Err(InPlaceError::UndoFolder { folder: cut.folder.clone(), what });
    }
    for one in &mut opened {
        match &mut one.journal {
            Some(journal) if one.record.header.is_some() => journal.mark(Mark::Dropping)?,
            _ => {}
        }
    }
    opened.iter().try_for_each(Opened::remove)
}

/// An undo folder whose lock this process holds.
struct Opened {
    folder: PathBuf,
    place: PathBuf,
    journal: Option<Journal>,
    record: Record,
}

/// Opens all undo folders of a restore, that of `folder` first. Gives those that are gone, too.
fn open_together(folder: &Path) -> Result<(Vec<Opened>, Vec<PathBuf>), InPlaceError> {
    let folder = std::path::absolute(folder).map_err(InPlaceError::io(folder))?;
    let first = Opened::open(folder.components().collect())?;
    let others = first.record.header.iter().flat_map(|header| header.together.clone());
    let (mut opened, mut missing) = (Vec::new(), Vec::new());
    for StoredPath(other) in others {
        // The folder may have been reached, or its parent be named, by another path since.
        if other.file_name() == first.folder.file_name() && is_same(&other, &first.folder) {
            continue;
        }
        match other.symlink_metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => missing.push(other),
            _ => {
                let other = Opened::open(other)?;
                // Ids repeat where clocks stand still; the whole header tells whether they belong together.
                if other.record.header.as_ref().map(|header| &header.together)
                    == first.record.header.as_ref().map(|header| &header.together)
                {
                    opened.push(other);
                }
            }
        }
    }
    opened.insert(0, first);
    Ok((opened, missing))
}

fn is_same(a: &Path, b: &Path) -> bool {
    a == b || a.canonicalize().ok().zip(b.canonicalize().ok()).is_some_and(|(a, b)| a == b)
}

impl Opened {
    fn open(folder: PathBuf) -> Result<Self, InPlaceError> {
        Record::load(&folder)?;
        let journal = Journal::open(&folder)?;
        // Once more, now that nobody else can write to it.
        let record = Record::load(&folder)?;
        let place = folder.parent().unwrap_or(&folder).to_owned();
        Ok(Self { folder, place, journal, record })
    }

    fn state(&self) -> UndoState {
        state(&self.record)
    }

    fn targets(&self) -> impl Iterator<Item = &Path> {
        self.record.header.iter().flat_map(|header| &header.targets).map(|path| path.0.as_path())
    }

    /// Steps without a mark behind them were being written down, and none was done.
    fn steps(&self) -> &[Step] {
        if self.record.mark.is_some() { &self.record.steps } else { &[] }
    }

    /// Restores on top of one another are undone from the top, or two states mix.
    fn refuse_newer(&self) -> Result<(), InPlaceError> {
        let own = self.record.header.as_ref().map(|header: &Header| (Some(header.created), &header.id));
        for other in list_undo(&self.place)? {
            let counts = matches!(other.state, UndoState::Interrupted | UndoState::Swapped);
            let overlaps = other.targets.iter().any(|theirs| self.targets().any(|ours| overlap(ours, theirs)));
            if counts && overlaps && Some((other.created, &other.id)) > own {
                let what = format!("a later restore was made on top of it: undo {} first", other.folder.display());
                return Err(InPlaceError::UndoFolder { folder: self.folder.clone(), what });
            }
        }
        Ok(())
    }

    fn remove_staging(&self) -> Result<(), InPlaceError> {
        for name in self.record.header.iter().flat_map(|header| &header.staging) {
            let staging = self.place.join(name);
            keeping_time(&self.place, || remove_tree(&staging)).map_err(InPlaceError::io(&staging))?;
        }
        Ok(())
    }

    /// Removes everything; the journal last, as it tells what the folder is.
    fn remove(&self) -> Result<(), InPlaceError> {
        self.remove_staging()?;
        for name in ["kept", "replaced"] {
            let path = self.folder.join(name);
            remove_tree(&path).map_err(InPlaceError::io(&path))?;
        }
        keeping_time(&self.place, || remove_tree(&self.folder)).map_err(InPlaceError::io(&self.folder))
    }
}

/// What is worth telling of an undo.
#[derive(Debug, Default)]
pub(super) struct Remarks(pub Vec<String>);

/// Undoes the steps of one place, the last first. May be cut and begun again.
pub(super) fn put_back(
    paths: &Paths<'_>,
    steps: &[Step],
    remarks: &mut Remarks,
    permit: Permit<'_>,
) -> Result<(), InPlaceError> {
    let metadata = || {
        steps.iter().filter_map(|step| match step {
            Step::Metadata { path, before } => Some((paths.live(path), before)),
            _ => None,
        })
    };
    for (folder, _) in metadata() {
        // What it has now; what it gets back is set below.
        if let Ok(found) = repository::fs::NodeReader::default().read(&folder)
            && found.node.kind == repository::NodeKind::Dir
        {
            open_up(&folder, &found.node);
        }
    }
    let mut folders = BTreeSet::new();
    for (number, step) in steps.iter().enumerate().rev() {
        let mut back = Back { paths, number, remarks: &mut *remarks, permit: &mut *permit, folders: &mut folders };
        back.step(step)?;
    }
    for step in steps {
        if let Step::MakeFolder { path } = step
            && exists(&paths.live(path))
        {
            let live = paths.live(path);
            remarks.0.push(format!("{} stays, as files were made in it since", live.display()));
        }
    }
    let mut metadata: Vec<_> = metadata().collect();
    metadata.sort_by(|a, b| b.0.cmp(&a.0));
    for (folder, before) in metadata {
        let failures = bring_to(&folder, before);
        remarks.0.extend(failures.into_iter().map(|what| format!("{}: {what}", folder.display())));
    }
    for folder in folders {
        if folder.is_dir() {
            sync_folder(&folder)?;
        }
    }
    Ok(())
}

struct Back<'a> {
    paths: &'a Paths<'a>,
    /// The step's number, which names its part of `replaced/`.
    number: usize,
    remarks: &'a mut Remarks,
    permit: Permit<'a>,
    folders: &'a mut BTreeSet<PathBuf>,
}

impl Back<'_> {
    fn step(&mut self, step: &Step) -> Result<(), InPlaceError> {
        match step {
            Step::Create { path, staged } => {
                let live = self.paths.live(path);
                if exists(&self.paths.live(staged)) || !exists(&live) {
                    return Ok(());
                }
                self.set_aside(&live)
            }
            Step::Exchange { path, .. } | Step::MoveAway { path } => {
                let (live, kept) = (self.paths.live(path), self.paths.kept(path));
                // Not moved away yet, or put back already.
                if !exists(&kept) {
                    return Ok(());
                }
                if exists(&live) {
                    if matches!(step, Step::MoveAway { .. }) {
                        let what = "was made since, and is kept in the undo folder";
                        self.remarks.0.push(format!("{} {what}", live.display()));
                    }
                    self.set_aside(&live)?;
                }
                self.rename(&kept, &live)
            }
            Step::MakeFolder { path } => {
                let live = self.paths.live(path);
                // It goes with the target it came with, or stays where files were made in it since.
                let _ = std::fs::remove_dir(&live);
                Ok(())
            }
            Step::Metadata { .. } => Ok(()),
        }
    }

    /// Moves what the restore, or somebody since, had put there out of the way.
    fn set_aside(&mut self, live: &Path) -> Result<(), InPlaceError> {
        let Some(name) = live.file_name() else { return Ok(()) };
        let replaced = self.paths.undo.join("replaced");
        // Taken where an undo was cut, and something was made in the same place before the next.
        let folders = (0u32..).map(|attempt| replaced.join(format!("{}-{attempt}", self.number)));
        let Some(aside) = folders.map(|folder| folder.join(name)).find(|aside| !exists(aside)) else { return Ok(()) };
        let folder = aside.parent().unwrap_or(&aside);
        std::fs::create_dir_all(folder).map_err(InPlaceError::io(folder))?;
        self.rename(live, &aside)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Result<(), InPlaceError> {
        (self.permit)()?;
        move_entry(from, to)?;
        self.folders.extend([from, to].into_iter().filter_map(Path::parent).map(Path::to_owned));
        Ok(())
    }
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
