//! What speaks against a restore in place, found before anything is written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use repository::fs::free_bytes;
use repository::restore::Space;
use repository::walk::{self, Go, Step};
use repository::{Index, Node, NodeKind, Repository, RunCx};
use rustix::fs::{Access, StatVfsMountFlags};

use super::locate::{Located, Target};
use super::open_files::OpenFiles;
use super::undo::{UndoState, list_undo};
use super::{Effect, Finding, InPlaceError};

/// Left free on a file system beyond what the staged copy needs: folders, the journal, what others write meanwhile.
const SPARE_BYTES: u64 = 16 << 20;
/// A file takes whole blocks; with its inode that is about this much more than its bytes.
const ENTRY_BYTES: u64 = 4 << 10;
/// Open files named one by one.
const OPEN_FILES_LISTED_MAX: usize = 20;

/// What was found.
#[derive(Debug, Default)]
pub struct Preflight {
    /// Each blocking or a warning.
    pub findings: Vec<Finding>,
    /// Bytes of the staged copies.
    pub bytes_staged: u64,
}

/// Looks for what speaks against the restore. Changes nothing.
pub fn preflight(
    cx: &RunCx<'_>,
    repository: &Repository,
    index: &Index,
    located: &Located,
    outdated: &[PathBuf],
) -> Result<Preflight, InPlaceError> {
    let mut findings = located.findings.clone();
    let mut needs: BTreeMap<u64, Need> = BTreeMap::new();
    let mut foreign = BTreeSet::new();
    let mut bytes_staged = 0;
    for target in &located.targets {
        let survey = survey(cx, repository, index, target)?;
        bytes_staged += survey.bytes;
        foreign.extend(survey.foreign_owner.map(|owner| (target.live.clone(), owner)));
        let place = &located.places[target.place];
        let device = rustix::fs::stat(place).map_err(|error| InPlaceError::io(place)(error.into()))?.st_dev;
        let need = needs.entry(device).or_insert_with(|| Need { place: place.clone(), bytes: SPARE_BYTES });
        need.bytes += survey.bytes + survey.entries * ENTRY_BYTES;
        if let Some(missing) = target.missing.first() {
            findings.push(Finding::new(Effect::Warns, missing, "is missing, and will be made"));
        }
    }
    for Need { place, bytes } in needs.into_values() {
        findings.extend(missing_space(&place, bytes)?);
    }
    for place in &located.places {
        match closed_place(place) {
            Some(closed) => findings.push(closed),
            None => findings.extend(unfinished(place)?),
        }
    }
    for (live, (uid, gid)) in foreign {
        let what =
            format!("the snapshot has files of user {uid}, group {gid}, which only root can restore: run as root");
        findings.push(Finding::new(Effect::BlocksUnlessForced, &live, what));
    }
    findings.extend(open_below(located, outdated));
    Ok(Preflight { findings, bytes_staged })
}

struct Need {
    place: PathBuf,
    bytes: u64,
}

#[derive(Default)]
struct Survey {
    bytes: u64,
    entries: u64,
    /// The first owner that this process cannot give a file to.
    foreign_owner: Option<(u32, u32)>,
}

fn survey(cx: &RunCx<'_>, repository: &Repository, index: &Index, target: &Target) -> Result<Survey, InPlaceError> {
    let mut survey = Survey::default();
    let mut space = Space::new(repository);
    let mine = Mine::of_process();
    let mut take = |node: &Node| {
        survey.entries += 1;
        if node.kind == NodeKind::File {
            survey.bytes += space.needed(index, node);
        }
        if survey.foreign_owner.is_none() && !mine.may_own(node) {
            survey.foreign_owner = Some((node.uid, node.gid));
        }
    };
    take(&target.root.node);
    if let Some(tree) = target.root.node.subtree {
        walk::walk(cx, repository, index, &tree, &mut |step| {
            if let Step::Reach(_, node) = step {
                take(node);
            }
            Ok(Go::In)
        })?;
    }
    Ok(survey)
}

/// The owner and group that this process's files get by themselves.
struct Mine {
    is_root: bool,
    uid: u32,
    gid: u32,
}

impl Mine {
    fn of_process() -> Self {
        let uid = rustix::process::geteuid();
        Self { is_root: uid.is_root(), uid: uid.as_raw(), gid: rustix::process::getegid().as_raw() }
    }

    fn may_own(&self, node: &Node) -> bool {
        self.is_root || (node.uid == self.uid && node.gid == self.gid)
    }
}

fn missing_space(place: &Path, bytes: u64) -> Result<Option<Finding>, InPlaceError> {
    let free = free_bytes(place).map_err(InPlaceError::io(place))?;
    let what = format!("the staged copy needs {bytes} bytes here, and only {free} are free: make room, or use --to");
    Ok((free < bytes).then(|| Finding::new(Effect::Blocks, place, what)))
}

/// A place in which no folder can be made.
fn closed_place(place: &Path) -> Option<Finding> {
    let flags = rustix::fs::statvfs(place).map(|stat| stat.f_flag);
    if flags.is_ok_and(|flags| flags.contains(StatVfsMountFlags::RDONLY)) {
        return Some(Finding::new(Effect::Blocks, place, "lies on a read-only file system: use --to"));
    }
    rustix::fs::access(place, Access::WRITE_OK | Access::EXEC_OK).err().map(|error| {
        let error = std::io::Error::from(error);
        Finding::new(Effect::Blocks, place, format!("cannot be written to ({error}): run as root, or use --to"))
    })
}

/// Restores in place that have not ended. A second one on top would mix two states.
fn unfinished(place: &Path) -> Result<Vec<Finding>, InPlaceError> {
    let mut findings = Vec::new();
    for undo in list_undo(place)? {
        let (effect, what) = match undo.state {
            _ if undo.in_use => (Effect::Blocks, "another restore in place is at work here: wait for it"),
            UndoState::Interrupted => {
                (Effect::Blocks, "a restore in place was interrupted: undo it first, which puts back what was there")
            }
            UndoState::Preparing | UndoState::Dropping => {
                (Effect::Warns, "is left of an interrupted restore in place, and can be dropped")
            }
            UndoState::Swapped | UndoState::Undone => continue,
        };
        findings.push(Finding::new(effect, &undo.folder, what));
    }
    Ok(findings)
}

/// Files below the targets, and of what goes away with them, that processes have open: such a process would go on with the
/// file that was moved away.
pub(super) fn open_below(located: &Located, outdated: &[PathBuf]) -> Vec<Finding> {
    let paths = located.targets.iter().flat_map(|target| target.side_files().chain([target.live.clone()]));
    open_files(paths.chain(outdated.iter().cloned()))
}

pub(super) fn open_files(paths: impl Iterator<Item = PathBuf>) -> Vec<Finding> {
    let open = OpenFiles::of_this_host();
    // A target may lie below another.
    let files: BTreeSet<_> = paths.flat_map(|path| open.below(&path)).collect();
    let mut findings: Vec<_> = files
        .iter()
        .take(OPEN_FILES_LISTED_MAX)
        .map(|file| {
            let (name, id) = (&file.process.name, file.process.id);
            let what = format!("process {id} ({name}) has it open: stop it first, or use --force");
            Finding::of_program(&file.path, what)
        })
        .collect();
    if files.len() > OPEN_FILES_LISTED_MAX {
        let more = files.len() - OPEN_FILES_LISTED_MAX;
        let what = format!("{more} more files are open, besides those named: stop what has them open, or use --force");
        let path = files.last().map_or_else(PathBuf::new, |file| file.path.clone());
        findings.push(Finding::of_program(&path, what));
    }
    if open.unseen > 0 {
        let what = format!("{} processes could not be asked for their open files: run as root to be sure", open.unseen);
        findings.push(Finding::new(Effect::Warns, Path::new("/proc"), what));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_without_room_blocks() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(missing_space(place.path(), 1).unwrap(), None);
        let finding = missing_space(place.path(), u64::MAX).unwrap().unwrap();
        assert_eq!((finding.effect, finding.path.as_path()), (Effect::Blocks, place.path()));
    }
}
