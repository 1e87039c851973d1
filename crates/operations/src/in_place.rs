//! Puts a snapshot back where it came from: into the folders of this host, in place of what lies there now.
//!
//! Nothing that was there is ever lost. The snapshot's files are staged beside the target and held against the snapshot,
//! byte for byte; only then are they swapped in, by renames that are written down before the first is done. What they
//! replace is kept in an undo folder until the user drops it.
//!
//! The phases are [`roots`], [`preflight`], [`stage`], [`validate`], [`plan_swap`] and [`swap`]; [`preview`] and
//! [`restore`] go through them. [`undo`] is the way back.

mod folders;
mod journal;
mod locate;
mod mounts;
mod open_files;
mod plan;
mod preflight;
mod roots;
mod stage;
mod swap;
#[cfg(test)]
mod tests;
mod undo;

use std::fmt;
use std::path::{Path, PathBuf};

use repository::{Error, Event, Id, Index, Problem, Repository, RunCx, SourceError, verify};
use serde::Serialize;

use crate::manifest::{Manifest, SourceRecord};
pub use locate::{Located, Target, locate};
pub use open_files::{ProcessesSeen, processes_seen};
pub use plan::{Action, Change, SwapPlan, plan_swap};
pub use preflight::{Preflight, preflight};
pub use roots::{Root, Selection, host_paths, roots};
pub use stage::{Session, stage, validate};
pub use swap::swap;
pub use undo::{Undo, UndoState, Undone, drop_undo, half_way, list_undo, undo, undo_targets};

/// Counts a source's facts again in a staged folder, which is laid out as the source's folder in the snapshot, and gives
/// every difference from the record. The flag says whether all of the source is in that folder; where it is not, facts of
/// the whole cannot be counted, which is [`SourceError::Unavailable`].
pub type Check<'a> = &'a dyn Fn(&SourceRecord, &Path, bool) -> Result<Vec<String>, SourceError>;

/// Gives staged files another content, once all were held against the snapshot: [`Options::rewritten`]. Called with the
/// name of a source and each staging folder that has a part of it, laid out as the source's folder in the snapshot. What is
/// written is of the caller's making, and so is whether it is right.
pub type Rewrite<'a> = &'a dyn Fn(&str, &Path) -> Result<(), SourceError>;

/// What is restored.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The snapshot's id, for the undo folder's record.
    pub snapshot: Id,
    /// The snapshot's root tree.
    pub tree: Id,
    /// The snapshot's manifest.
    pub manifest: &'a Manifest,
    /// The paths in the snapshot: `SOURCE` or `SOURCE/PATH` each; an empty one means all sources.
    pub selected: &'a [PathBuf],
    /// How.
    pub options: &'a Options,
}

/// How to restore in place.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Move away what lies in a restored folder and is not in the snapshot. Without it, such files are left alone.
    pub delete: bool,
    /// Go on in spite of findings that only block unless forced.
    pub force: bool,
    /// Paths that are neither moved away nor replaced: the repository, the state folder, the configuration, the password
    /// file.
    pub protected: Vec<PathBuf>,
    /// Paths on this host that sources capture of which nothing is restored, such as databases that are newer than the
    /// snapshot: they are no surplus of the folder they lie in.
    pub claimed: Vec<PathBuf>,
    /// Files, by their paths on the host they came from, whose staged copies get another content than the snapshot has
    /// ([`Rewrite`]). They take the place of what is there, whatever that is.
    pub rewritten: Vec<PathBuf>,
    /// Paths on this host, outside of what is restored, that were made of what is replaced and must not meet what takes its
    /// place. What of them is there is moved away with it.
    pub outdated: Vec<PathBuf>,
}

/// What bears on a restore in place before it begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whether it keeps the restore from going on.
    pub effect: Effect,
    /// The file or folder on this host. Not always valid UTF-8; written lossily.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// What was found and what to do about it, in words for the user.
    pub what: String,
    /// It is about a program that works with the files now, and goes away with that program.
    #[serde(skip)]
    pub is_of_program: bool,
}

/// Whether a finding keeps a restore from going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Worth knowing.
    Warns,
    /// Blocks, unless [`Options::force`] is set.
    BlocksUnlessForced,
    /// Blocks.
    Blocks,
}

fn lossy<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)
    }
}

impl Finding {
    /// A finding about what lies on this host.
    pub fn new(effect: Effect, path: &Path, what: impl Into<String>) -> Self {
        Self { effect, path: path.to_owned(), what: what.into(), is_of_program: false }
    }

    /// A finding about a program that works with the files now. It blocks unless forced.
    fn of_program(path: &Path, what: String) -> Self {
        Self { is_of_program: true, ..Self::new(Effect::BlocksUnlessForced, path, what) }
    }
}

/// Why a restore in place, or its undo, did not succeed. But for [`InPlaceError::HalfWay`], the targets are as they were.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InPlaceError {
    /// What was asked for is not in the snapshot, or has no place on this host.
    #[error("{0}")]
    Selection(String),
    /// Findings that block.
    #[error("nothing was changed: {}", listed(.0))]
    Blocked(Vec<Finding>),
    /// The staged copy is not what the snapshot holds.
    #[error("the restored copy differs from the snapshot, so nothing was changed: {}", listed(.0))]
    Invalid(Vec<Problem>),
    /// A file or folder of this host could not be read, written or renamed.
    #[error("{}: {error}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: std::io::Error,
    },
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] Error),
    /// The swap failed midway, and everything was put back.
    #[error("{cause}; everything was put back as it was")]
    RolledBack {
        /// Why the swap failed.
        cause: Box<InPlaceError>,
    },
    /// The swap failed midway, and so did putting everything back.
    #[error("{cause}; putting everything back failed too ({failure}): free the way and undo {}", undo.display())]
    HalfWay {
        /// Why the swap failed.
        cause: Box<InPlaceError>,
        /// Why it could not be undone.
        failure: Box<InPlaceError>,
        /// The folder to undo.
        undo: PathBuf,
    },
    /// An undo folder is not one, or cannot be used now.
    #[error("{}: {what}", folder.display())]
    UndoFolder {
        /// The undo folder.
        folder: PathBuf,
        /// What is wrong with it, and what to do.
        what: String,
    },
}

impl InPlaceError {
    fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |error| Self::Io { path, error }
    }
}

/// The first few, and how many more there are.
fn listed<T: fmt::Display>(items: &[T]) -> String {
    const SHOWN_MAX: usize = 5;
    let mut shown: Vec<_> = items.iter().take(SHOWN_MAX).map(T::to_string).collect();
    if items.len() > SHOWN_MAX {
        shown.push(format!("and {} more", items.len() - SHOWN_MAX));
    }
    shown.join("; ")
}

/// What a restore in place would do, found without changing anything.
#[derive(Debug)]
pub struct Preview {
    /// What is restored, and where.
    pub targets: Vec<Target>,
    /// The folders in which staging and undo folders will be made.
    pub places: Vec<PathBuf>,
    /// Parts of the snapshot that are left out, and why.
    pub skipped: Vec<String>,
    /// What bears on it; see [`Preview::blocking`].
    pub findings: Vec<Finding>,
    /// Bytes of the staged copies.
    pub bytes_staged: u64,
    /// Every change. Empty where a finding keeps it from being known.
    pub plan: SwapPlan,
}

impl Preview {
    /// The findings that keep the restore from going on.
    pub fn blocking(&self, force: bool) -> Vec<Finding> {
        blocking(&self.findings, force)
    }
}

fn blocking(findings: &[Finding], force: bool) -> Vec<Finding> {
    let bar = if force { Effect::Blocks } else { Effect::BlocksUnlessForced };
    findings.iter().filter(|finding| finding.effect >= bar).cloned().collect()
}

fn refuse(findings: &[Finding], force: bool) -> Result<(), InPlaceError> {
    let blocking = blocking(findings, force);
    if blocking.is_empty() { Ok(()) } else { Err(InPlaceError::Blocked(blocking)) }
}

/// Looks at everything and changes nothing: for `--dry-run`, and to ask the user before [`restore`].
pub fn preview(cx: &RunCx<'_>, repository: &Repository, index: &Index, job: &Job<'_>) -> Result<Preview, InPlaceError> {
    let selection = roots(repository, index, &job.tree, job.manifest, job.selected)?;
    let located = locate(&selection)?;
    let Preflight { mut findings, bytes_staged } = preflight(cx, repository, index, &located, &job.options.outdated)?;
    let mut plan = SwapPlan::default();
    if !findings.iter().any(|finding| finding.effect == Effect::Blocks) {
        plan = plan_swap(cx, repository, index, &job.tree, &located, job.options)?;
        findings.append(&mut plan.findings);
    }
    let Located { targets, places, .. } = located;
    Ok(Preview { targets, places, skipped: selection.skipped, findings, bytes_staged, plan })
}

/// What a restore in place did.
#[derive(Debug)]
pub struct Done {
    /// What was changed.
    pub plan: SwapPlan,
    /// Parts of the snapshot that were left out, and why.
    pub skipped: Vec<String>,
    /// Findings that did not block, and sources whose facts could not be counted.
    pub warnings: Vec<Finding>,
    /// Where what was there is kept: one folder beside each target, any of which stands for the whole restore in
    /// [`undo`] and [`drop_undo`]. Empty where nothing had to be changed.
    pub undo: Vec<PathBuf>,
    /// Entries of the staged copies that were compared with the snapshot.
    pub compared: u64,
    /// Bytes fetched from the copy.
    pub bytes_fetched: u64,
    /// Metadata of folders that could not be set, and staging folders that could not be removed.
    pub problems: Vec<Problem>,
}

/// Restores in place.
pub fn restore(
    cx: &RunCx<'_>,
    repository: &Repository,
    index: &Index,
    job: &Job<'_>,
    check: Check<'_>,
    rewrite: Rewrite<'_>,
) -> Result<Done, InPlaceError> {
    let step = |name: &str, bytes_total| cx.events.emit(Event::StepStarted { name: name.to_owned(), bytes_total });
    let force = job.options.force;
    step("looking at the target", None);
    let selection = roots(repository, index, &job.tree, job.manifest, job.selected)?;
    let located = locate(&selection)?;
    let Preflight { mut findings, bytes_staged } = preflight(cx, repository, index, &located, &job.options.outdated)?;
    refuse(&findings, force)?;

    let mut session = Session::begin(cx, job, &located)?;
    let outcome = (|| {
        step("staging", Some(bytes_staged));
        let bytes_fetched = stage(cx, repository, index, &session, &located)?;
        step("comparing", Some(bytes_staged));
        let validated = validate(cx, repository, index, &session, &located, job.manifest, check)?;
        findings.extend(validated.warnings);
        session.rewrite(&located, rewrite)?;
        step("swapping", None);
        let mut plan = plan_swap(cx, repository, index, &job.tree, &located, job.options)?;
        findings.append(&mut plan.findings);
        // Staging may have taken hours.
        findings.extend(preflight::open_below(&located, &job.options.outdated));
        refuse(&findings, force)?;
        let problems = swap(cx, &mut session, &plan, &located)?;
        Ok((plan, validated.compared, bytes_fetched, problems))
    })();
    let (plan, compared, bytes_fetched, mut problems) = match outcome {
        Ok(done) => done,
        // The undo folder is all there is to put things right.
        Err(error @ InPlaceError::HalfWay { .. }) => return Err(error),
        Err(error) => {
            if let Err(failure) = session.abandon() {
                cx.events.emit(Event::Note(format!("the staged copy could not be removed: {failure}")));
            }
            return Err(error);
        }
    };
    findings.sort_by(|a, b| (&a.path, &a.what).cmp(&(&b.path, &b.what)));
    findings.dedup();
    let undo = if plan.changes.is_empty() {
        session.abandon()?;
        Vec::new()
    } else {
        session.finish(&mut problems)
    };
    Ok(Done { plan, skipped: selection.skipped, warnings: findings, undo, compared, bytes_fetched, problems })
}

/// Whether this process may restore and compare what only root may.
fn verify_options() -> verify::Options {
    verify::Options { privileged: repository::restore::Options::for_this_process().privileged }
}
