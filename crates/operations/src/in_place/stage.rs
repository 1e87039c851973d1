//! The staged copies: restored beside their targets, where renames can reach them, and held against the snapshot before
//! any of them takes a target's place.

use std::path::{Path, PathBuf};

use repository::fs::{NodeReader, apply_metadata};
use repository::{Error, Index, NodeKind, Problem, Repository, RunCx, SourceError, restore, verify};

use super::folders::keeping_time;
use super::journal::{Header, Journal, StoredPath, create_private, staging_name, sync_folder, undo_name};
use super::locate::{Located, Target};
use super::{Check, Effect, Finding, InPlaceError, Job, Rewrite, verify_options};
use crate::manifest::Manifest;
use crate::scratch::remove_tree;

/// What a default ACL of the place would pass on to every staged file.
const DEFAULT_ACL: &str = "system.posix_acl_default";

/// A restore in place at work: its undo folders, which exist from its beginning so that no crash leaves a folder that
/// nobody knows, and its staging folders.
#[derive(Debug)]
pub struct Session {
    pub(super) works: Vec<Work>,
    /// By number; see [`Target::staging`].
    stagings: Vec<PathBuf>,
}

/// One place.
#[derive(Debug)]
pub(super) struct Work {
    pub place: PathBuf,
    pub undo: PathBuf,
    pub journal: Journal,
}

impl Session {
    /// Makes the undo folders. They hold nothing yet but who made them and why.
    pub fn begin(cx: &RunCx<'_>, job: &Job<'_>, located: &Located) -> Result<Self, InPlaceError> {
        let now = cx.clock.now();
        let id = free_id(now, located);
        let undo_of = |place: &Path| place.join(undo_name(&id));
        let together: Vec<_> = located.places.iter().map(|place| StoredPath(undo_of(place))).collect();
        let stagings: Vec<_> = (0..)
            .zip(&located.stagings)
            .map(|(number, (place, _))| located.places[*place].join(staging_name(&id, number)))
            .collect();
        let mut session = Self { works: Vec::new(), stagings: Vec::new() };
        for (number, place) in located.places.iter().enumerate() {
            let mut header = Header::new(&id, now, job.snapshot.to_hex());
            let targets = located.targets.iter().filter(|target| target.place == number);
            header.targets = targets.map(|target| StoredPath(target.live.clone())).collect();
            let here = (0..).zip(&located.stagings).filter(|(_, (place, _))| *place == number);
            header.staging = here.map(|(staging, _)| staging_name(&id, staging)).collect();
            header.together = together.clone();
            let undo = undo_of(place);
            let begun = keeping_time(place, || {
                create_private(&undo)?;
                let journal = Journal::create(&undo, &header)?;
                sync_folder(place)?;
                Ok(journal)
            });
            match begun {
                Ok(journal) => session.works.push(Work { place: place.clone(), undo, journal }),
                Err(error) => {
                    let _ = keeping_time(place, || remove_tree(&undo));
                    // The first error is the one to tell.
                    let _ = session.abandon();
                    return Err(error);
                }
            }
        }
        for (staging, (place, _)) in stagings.into_iter().zip(&located.stagings) {
            session.stagings.push(staging.clone());
            if let Err(error) = keeping_time(&located.places[*place], || create_staging(&staging)) {
                let _ = session.abandon();
                return Err(error);
            }
        }
        Ok(session)
    }

    /// Where a target's copy is staged: at its host path in the staging folder, which is laid out as the source's folder
    /// in the snapshot.
    pub fn staged(&self, target: &Target) -> PathBuf {
        self.stagings[target.staging].join(target.root.below_source())
    }

    /// Lets the caller give staged files another content. Where it fails, nothing was changed but staged copies.
    pub fn rewrite(&self, located: &Located, rewrite: Rewrite<'_>) -> Result<(), InPlaceError> {
        for (staging, (_, source)) in self.stagings.iter().zip(&located.stagings) {
            rewrite(source, staging).map_err(|error| match error {
                SourceError::Invalid { what } => {
                    InPlaceError::Invalid(vec![Problem { source: source.clone(), path: String::new(), what }])
                }
                SourceError::Cancelled => Error::Cancelled.into(),
                error => Error::Source(error).into(),
            })?;
        }
        Ok(())
    }

    /// Removes staging and undo folders of a restore that changed nothing, or was rolled back.
    pub fn abandon(self) -> Result<(), InPlaceError> {
        self.remove_staging()?;
        for work in &self.works {
            keeping_time(&work.place, || remove_tree(&work.undo)).map_err(InPlaceError::io(&work.undo))?;
        }
        Ok(())
    }

    /// Ends a restore that is done: removes what is left of the staged copies and gives the undo folders. What cannot be
    /// removed changes nothing of that.
    pub fn finish(self, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
        if let Err(error) = self.remove_staging() {
            problems.push(Problem::new(Path::new(""), format!("the staging folder could not be removed: {error}")));
        }
        self.works.into_iter().map(|work| work.undo).collect()
    }

    fn remove_staging(&self) -> Result<(), InPlaceError> {
        for staging in &self.stagings {
            let Some(place) = staging.parent() else { continue };
            keeping_time(place, || remove_tree(staging)).map_err(InPlaceError::io(staging))?;
        }
        Ok(())
    }
}

/// An id for people to read, of which no place has a trace.
fn free_id(now: jiff::Timestamp, located: &Located) -> String {
    let moment = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let is_free =
        |id: &String| located.places.iter().all(|place| place.join(undo_name(id)).symlink_metadata().is_err());
    let numbered = (2u32..).map(|number| format!("{moment}-{number}"));
    [moment.clone()].into_iter().chain(numbered).find(is_free).unwrap_or(moment)
}

fn create_staging(staging: &Path) -> Result<(), InPlaceError> {
    create_private(staging)?;
    match rustix::fs::lremovexattr(staging, DEFAULT_ACL) {
        Ok(()) | Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => Ok(()),
        Err(error) => Err(InPlaceError::io(staging)(error.into())),
    }
}

/// Restores every target's copy beside it. Gives the bytes fetched.
pub fn stage(
    cx: &RunCx<'_>,
    repository: &Repository,
    index: &Index,
    session: &Session,
    located: &Located,
) -> Result<u64, InPlaceError> {
    let options = restore::Options::for_this_process();
    let mut bytes_fetched = 0;
    for target in &located.targets {
        let staged = session.staged(target);
        let folder = staged.parent().unwrap_or(&staged);
        std::fs::create_dir_all(folder).map_err(InPlaceError::io(folder))?;
        let node = &target.root.node;
        let mut restored = match node.subtree {
            Some(tree) => {
                create_private(&staged)?;
                let mut restored = restore::tree(cx, repository, index, &tree, &staged, options)?;
                let failures = apply_metadata(&staged, node, options.privileged);
                restored.problems.extend(failures.into_iter().map(|what| Problem::new(Path::new(""), what)));
                restored
            }
            None => {
                let mut restored = restore::single(cx, repository, index, node, folder, options)?;
                restored.problems.iter_mut().for_each(|problem| problem.path.clear());
                restored
            }
        };
        bytes_fetched += restored.bytes_fetched;
        if !restored.problems.is_empty() {
            name_by_target(&mut restored.problems, target);
            return Err(InPlaceError::Invalid(restored.problems));
        }
    }
    Ok(bytes_fetched)
}

/// What a validation saw.
#[derive(Debug, Default)]
pub struct Validated {
    /// Entries that were compared.
    pub compared: u64,
    /// Sources whose facts were not counted, and why.
    pub warnings: Vec<Finding>,
}

/// Holds every staged copy against the snapshot, byte for byte, and the facts of whole sources against the manifest. Any
/// difference is [`InPlaceError::Invalid`].
pub fn validate(
    cx: &RunCx<'_>,
    repository: &Repository,
    index: &Index,
    session: &Session,
    located: &Located,
    manifest: &Manifest,
    check: Check<'_>,
) -> Result<Validated, InPlaceError> {
    let mut validated = Validated::default();
    let mut differences = Vec::new();
    for (staging, (_, source)) in session.stagings.iter().zip(&located.stagings) {
        let Some(record) = manifest.sources.get(source) else { continue };
        match check(record, staging, located.whole.contains(source)) {
            Ok(found) => differences.extend(found.into_iter().map(|what| Problem {
                source: source.clone(),
                path: String::new(),
                what,
            })),
            Err(SourceError::Invalid { what }) => {
                differences.push(Problem { source: source.clone(), path: String::new(), what });
            }
            Err(SourceError::Cancelled) => return Err(Error::Cancelled.into()),
            // Every byte was compared all the same.
            Err(SourceError::Unavailable { what }) => {
                let what = format!("the facts of {source} could not be counted: {what}");
                validated.warnings.push(Finding::new(Effect::Warns, staging.parent().unwrap_or(staging), what));
            }
            Err(error) => return Err(Error::Source(error).into()),
        }
    }
    // The bytes come last, so that whatever the check did to the copy is seen.
    let reader = NodeReader::default();
    for target in &located.targets {
        let staged = session.staged(target);
        let node = &target.root.node;
        let found = verify::node(cx, index, &reader, node, &staged, verify_options())?;
        validated.compared += 1;
        let mut found: Vec<_> = found.into_iter().map(|what| Problem::new(Path::new(""), what)).collect();
        if let Some(tree) = node.subtree.filter(|_| node.kind == NodeKind::Dir) {
            let comparison = verify::restored(cx, repository, index, &tree, &staged, verify_options())?;
            validated.compared += comparison.entries;
            found.extend(comparison.differences);
        }
        name_by_target(&mut found, target);
        differences.extend(found);
    }
    if !differences.is_empty() {
        return Err(InPlaceError::Invalid(differences));
    }
    carve(session, located)?;
    Ok(validated)
}

/// A target below another is put back by itself, so what the outer one's copy has in its place is taken out.
fn carve(session: &Session, located: &Located) -> Result<(), InPlaceError> {
    for (number, inner) in located.targets.iter().enumerate() {
        for outer in &located.targets[..number] {
            let Ok(below) = inner.live.strip_prefix(&outer.live) else { continue };
            let path = session.staged(outer).join(below);
            keeping_time(path.parent().unwrap_or(&path), || remove_entry(&path)).map_err(InPlaceError::io(&path))?;
        }
    }
    Ok(())
}

fn remove_entry(path: &Path) -> std::io::Result<()> {
    match path.symlink_metadata() {
        Ok(found) if found.is_dir() => remove_tree(path),
        Ok(_) => std::fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

/// Problems are told by paths on the host, not in a staging folder.
fn name_by_target(problems: &mut [Problem], target: &Target) {
    for problem in problems {
        let path = target.live.join(&problem.path);
        problem.path = path.to_string_lossy().trim_end_matches('/').to_owned();
        problem.source.clone_from(&target.root.source);
    }
}
