//! The swap: what is staged takes the place of what is there, entry by entry, by renames.
//!
//! The crash story:
//! 1. The undo folder and the first line of its journal are durable before anything is staged.
//! 2. All that is staged is durable, and so is the journal with every step, before the first rename.
//! 3. A step is at most two renames: what is there goes to `kept/`, what is staged takes its place. Each rename happens
//!    or does not, and none replaces anything.
//! 4. So where things lie tells how far a step got: staged copy still there → not moved in; something in `kept/` → moved
//!    away and not put back. Nothing but the plan need be written down, and an undo may itself be cut and begun again.
//! 5. The metadata that folders had is in the journal; it is set when the entries below are back.
//! 6. `swapped` is written when all is durable in its place; only then is the staging folder removed.
//! 7. Without that mark, the restore counts as interrupted: the next one is refused until it was undone.
//! 8. An undo never deletes: what the restore had put there, and what was made there since, goes to `replaced/`.
//! 9. `undone` or `dropping` is written before staging, `kept/` or `replaced/` is removed, so that half a removal is not
//!    taken for a state to undo.
//! 10. The journal's lock lives as long as its process: whoever gets it knows that nobody is at work.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use repository::fs::NodeReader;
use repository::{Node, Problem, RunCx};

use super::folders::{bring_to, move_entry, open_up};
use super::journal::{Mark, Step, StoredPath, sync_folder};
use super::locate::Located;
use super::plan::{Action, Change, SwapPlan};
use super::stage::Session;
use super::undo::put_back;
use super::{InPlaceError, undo};

/// Asked before each rename whether to go on: where a run is cancelled, and where a test ends it.
pub(super) type Permit<'a> = &'a mut dyn FnMut() -> Result<(), InPlaceError>;

/// Carries the plan out. What fails midway is rolled back; metadata that could not be set is given.
pub fn swap(
    cx: &RunCx<'_>,
    session: &mut Session,
    plan: &SwapPlan,
    located: &Located,
) -> Result<Vec<Problem>, InPlaceError> {
    if plan.changes.is_empty() {
        return Ok(Vec::new());
    }
    let steps = steps(plan, session, located);
    attempt(session, plan, &steps, &mut || Ok(cx.cancel.check()?)).map_err(|cause| roll_back(session, &steps, cause))
}

/// The steps of each place, in order.
pub(super) fn steps(plan: &SwapPlan, session: &Session, located: &Located) -> Vec<Vec<Step>> {
    let mut steps = vec![Vec::new(); session.works.len()];
    for Change { target, path, action } in &plan.changes {
        let target = &located.targets[*target];
        let place = &session.works[target.place].place;
        let stored = |path: &Path| StoredPath(path.strip_prefix(place).unwrap_or(path).to_owned());
        let staged = || {
            // A target that is no folder has nothing below it.
            let below = path.strip_prefix(&target.live).unwrap_or(Path::new(""));
            stored(&session.staged(target).components().chain(below.components()).collect::<PathBuf>())
        };
        steps[target.place].push(match action {
            Action::MakeFolder { .. } => Step::MakeFolder { path: stored(path) },
            Action::Create => Step::Create { path: stored(path), staged: staged() },
            Action::Replace | Action::ReplaceKind { .. } => Step::Exchange { path: stored(path), staged: staged() },
            Action::MoveAway | Action::MoveSideFile => Step::MoveAway { path: stored(path) },
            Action::Metadata { before, .. } => Step::Metadata { path: stored(path), before: before.clone() },
        });
    }
    steps
}

/// Everything up to the mark `swapped`. Where it fails, the journal tells how to put things back.
pub(super) fn attempt(
    session: &mut Session,
    plan: &SwapPlan,
    steps: &[Vec<Step>],
    permit: Permit<'_>,
) -> Result<Vec<Problem>, InPlaceError> {
    for (work, steps) in session.works.iter_mut().zip(steps) {
        sync_file_system(&work.place)?;
        work.journal.plan(steps)?;
    }
    let mut folders = BTreeSet::new();
    for (work, steps) in session.works.iter().zip(steps) {
        let paths = Paths { place: &work.place, undo: &work.undo };
        for step in steps {
            if let Step::Metadata { path, before } = step {
                open_up(&paths.live(path), before);
            }
        }
        for step in steps {
            perform(&paths, step, permit, &mut folders)?;
        }
    }
    let problems = settle_folders(plan);
    for folder in folders {
        // Moved away since, with the folder it lay in.
        if folder.is_dir() {
            sync_folder(&folder)?;
        }
    }
    for work in &mut session.works {
        work.journal.mark(Mark::Swapped)?;
    }
    Ok(problems)
}

/// The folders of one place, and where the steps' paths lie in them.
pub(super) struct Paths<'a> {
    pub place: &'a Path,
    pub undo: &'a Path,
}

impl Paths<'_> {
    /// An empty path is the place itself, without a slash at its end: links must not be followed.
    pub fn live(&self, path: &StoredPath) -> PathBuf {
        self.place.components().chain(path.0.components()).collect()
    }

    pub fn kept(&self, path: &StoredPath) -> PathBuf {
        self.undo.join("kept").join(&path.0)
    }
}

fn perform(
    paths: &Paths<'_>,
    step: &Step,
    permit: Permit<'_>,
    folders: &mut BTreeSet<PathBuf>,
) -> Result<(), InPlaceError> {
    let mut rename = |from: &Path, to: &Path| {
        permit()?;
        move_entry(from, to)?;
        folders.extend([from, to].into_iter().filter_map(Path::parent).map(Path::to_owned));
        Ok::<_, InPlaceError>(())
    };
    let keep = |path: &StoredPath| {
        let kept = paths.kept(path);
        let folder = kept.parent().unwrap_or(&kept);
        std::fs::create_dir_all(folder).map_err(InPlaceError::io(folder))?;
        Ok::<_, InPlaceError>(kept)
    };
    match step {
        Step::MakeFolder { path } => {
            let live = paths.live(path);
            match super::journal::create_private(&live) {
                // It came with an outer target.
                Err(_) if live.is_dir() => Ok(()),
                made => made,
            }
        }
        Step::Create { path, staged } => rename(&open_staged(paths, staged), &paths.live(path)),
        Step::Exchange { path, staged } => {
            rename(&paths.live(path), &keep(path)?)?;
            rename(&open_staged(paths, staged), &paths.live(path))
        }
        Step::MoveAway { path } => rename(&paths.live(path), &keep(path)?),
        Step::Metadata { .. } => Ok(()),
    }
}

/// The path of a staged entry. Its folder may be closed like the one it is a copy of, and is of no more use.
fn open_staged(paths: &Paths<'_>, staged: &StoredPath) -> PathBuf {
    let staged = paths.live(staged);
    if let Some(folder) = staged.parent()
        && let Ok(found) = NodeReader::default().read(folder)
    {
        open_up(folder, &found.node);
    }
    staged
}

/// Gives folders their metadata, the innermost first: a mode may shut us out of what is below.
fn settle_folders(plan: &SwapPlan) -> Vec<Problem> {
    let mut moved = BTreeSet::new();
    let mut wanted: BTreeMap<&Path, (&Node, bool)> = BTreeMap::new();
    for Change { path, action, .. } in &plan.changes {
        match action {
            Action::Metadata { after, differs, .. } => drop(wanted.insert(path, (after, *differs))),
            Action::MakeFolder { after: Some(after) } => drop(wanted.insert(path, (after, true))),
            Action::ReplaceKind { .. } | Action::MoveAway | Action::MoveSideFile => drop(moved.insert(path.as_path())),
            _ => {}
        }
    }
    let mut problems = Vec::new();
    for (path, (node, differs)) in wanted.into_iter().rev().filter(|(path, _)| !moved.contains(path)) {
        let failures = bring_to(path, node);
        // Of a folder around the target, perhaps somebody else's, only the time has changed.
        if differs {
            problems.extend(failures.into_iter().map(|what| Problem::new(path, what)));
        }
    }
    problems
}

fn roll_back(session: &mut Session, steps: &[Vec<Step>], cause: InPlaceError) -> InPlaceError {
    for (work, steps) in session.works.iter_mut().zip(steps) {
        let paths = Paths { place: &work.place, undo: &work.undo };
        let back = put_back(&paths, steps, &mut undo::Remarks::default(), &mut || Ok(()));
        if let Err(failure) = back.and_then(|()| work.journal.mark(Mark::Undone)) {
            return InPlaceError::HalfWay {
                cause: Box::new(cause),
                failure: Box::new(failure),
                undo: work.undo.clone(),
            };
        }
    }
    InPlaceError::RolledBack { cause: Box::new(cause) }
}

/// Makes durable whatever was written to the file system of `folder`.
fn sync_file_system(folder: &Path) -> Result<(), InPlaceError> {
    let sync = || {
        let folder = std::fs::File::open(folder)?;
        Ok(rustix::fs::syncfs(&folder)?)
    };
    sync().map_err(InPlaceError::io(folder))
}
