//! Restores a snapshot, a source or a path of it into a new place.

use std::path::{Path, PathBuf};

use repository::fs::free_bytes;
use repository::restore::{self, Options, Restored, Space};
use repository::{Error, Event, Id, Index, Node, NodeKind, Problem, Repository, RunCx, walk};

/// What a restore would bring back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preview {
    /// Regular files.
    pub files: u64,
    /// Folders.
    pub dirs: u64,
    /// Links, devices, fifos and sockets.
    pub others: u64,
    /// Bytes of the files, by what they say.
    pub bytes: u64,
    /// Bytes they will take: hard-linked files count once, and large holes not at all.
    pub bytes_needed: u64,
    /// Folders that are damaged: what they hold is not counted, or not all of it, and will not come back.
    pub damaged: u64,
}

impl Preview {
    /// Adds what else would be restored.
    pub fn add(&mut self, other: Self) {
        let Self { files, dirs, others, bytes, bytes_needed, damaged } = other;
        self.files += files;
        self.dirs += dirs;
        self.others += others;
        self.bytes += bytes;
        self.bytes_needed += bytes_needed;
        self.damaged += damaged;
    }
}

/// Counts what lies at `path` in the tree and can be read, without fetching it. Damaged folders are told of as problems.
pub fn preview(
    cx: &RunCx<'_>,
    repository: &Repository,
    index: &Index,
    tree: &Id,
    path: &Path,
) -> Result<Preview, Error> {
    let mut damaged = |path: &Path, error: Error| {
        let what = format!("what this folder holds cannot be restored, or not all of it: {error}");
        cx.events.emit(Event::Problem(Problem::new(path, what)));
    };
    count(cx, repository, index, &find(repository, index, tree, path)?, &mut damaged)
}

pub(crate) fn count(
    cx: &RunCx<'_>,
    repository: &Repository,
    index: &Index,
    node: &Node,
    damaged: &mut dyn FnMut(&Path, Error),
) -> Result<Preview, Error> {
    let mut preview = Preview::default();
    let mut folders_damaged = 0;
    let mut space = Space::new(repository);
    let mut add = |node: &Node| match node.kind {
        NodeKind::File => {
            preview.files += 1;
            preview.bytes += node.size;
            preview.bytes_needed += space.needed(index, node);
        }
        NodeKind::Dir => preview.dirs += 1,
        _ => preview.others += 1,
    };
    match &node.subtree {
        None => add(node),
        Some(subtree) => {
            let mut visit = |step: walk::Step<'_>| {
                if let walk::Step::Reach(_, node) = step {
                    add(node);
                }
                Ok(walk::Go::In)
            };
            walk::walk_readable(cx, repository, index, subtree, &mut visit, &mut |path, error| {
                folders_damaged += 1;
                damaged(path, error);
                Ok(())
            })?;
        }
    }
    Ok(Preview { damaged: folders_damaged, ..preview })
}

/// Restores what lies at `path` in the tree into `target`, which must be empty or not exist. What a folder holds comes
/// straight into it. Damage costs what it hit and nothing else, and is among the problems.
pub fn to_new_place(
    cx: &RunCx<'_>,
    repository: &Repository,
    index: &Index,
    tree: &Id,
    path: &Path,
    target: &Path,
    options: Options,
) -> Result<Restored, Error> {
    let node = find(repository, index, tree, path)?;
    // The restore itself tells of what is damaged.
    let Preview { bytes, bytes_needed, .. } = count(cx, repository, index, &node, &mut |_, _| {})?;
    prepare_target(target)?;
    check_space(target, bytes_needed)?;
    cx.events.emit(Event::StepStarted { name: "restoring".to_owned(), bytes_total: Some(bytes) });
    match node.subtree {
        Some(subtree) => restore::tree(cx, repository, index, &subtree, target, options),
        None => restore::single(cx, repository, index, &node, target, options),
    }
}

/// Restores several things into `target`, which must be empty or not exist: each path in the tree to a path below it. The
/// folders on the way are new ones.
pub fn several_to_new_place(
    cx: &RunCx<'_>,
    repository: &Repository,
    index: &Index,
    tree: &Id,
    wanted: &[(PathBuf, PathBuf)],
    target: &Path,
    options: Options,
) -> Result<Restored, Error> {
    let mut nodes = Vec::new();
    let mut total = Preview::default();
    for (path, below) in wanted {
        let node = find(repository, index, tree, path)?;
        total.add(count(cx, repository, index, &node, &mut |_, _| {})?);
        nodes.push((node, below));
    }
    prepare_target(target)?;
    check_space(target, total.bytes_needed)?;
    cx.events.emit(Event::StepStarted { name: "restoring".to_owned(), bytes_total: Some(total.bytes) });
    let mut restored = Restored::default();
    for (node, below) in nodes {
        let place = target.join(below);
        let folder = if node.subtree.is_some() { &*place } else { place.parent().unwrap_or(target) };
        std::fs::create_dir_all(folder).map_err(Error::local(folder))?;
        restored.add(match node.subtree {
            Some(subtree) => restore::tree(cx, repository, index, &subtree, folder, options)?,
            None => restore::single(cx, repository, index, &node, folder, options)?,
        });
    }
    Ok(restored)
}

fn find(repository: &Repository, index: &Index, tree: &Id, path: &Path) -> Result<Node, Error> {
    walk::find(repository, index, tree, path)?
        .ok_or_else(|| Error::NotFound(format!("{} is not in the snapshot", path.display())))
}

/// Makes the folder. One that holds anything is refused: mixing restored and other files helps nobody in a disaster.
pub(crate) fn prepare_target(target: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(target).map_err(Error::local(target))?;
    check_target(target)
}

/// Fails where a restore into `target` would be refused: it is there, and no empty folder.
pub fn check_target(target: &Path) -> Result<(), Error> {
    let mut entries = match std::fs::read_dir(target) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(Error::local(target))?,
    };
    // A fresh ext4 file system is empty but for this folder.
    let holds_something = entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() != "lost+found"));
    if holds_something {
        let error = std::io::Error::new(std::io::ErrorKind::DirectoryNotEmpty, "the folder is not empty");
        return Err(Error::Local { path: target.to_owned(), error });
    }
    Ok(())
}

pub(crate) fn check_space(target: &Path, bytes: u64) -> Result<(), Error> {
    // Where the system does not say, the restore finds out.
    let Some(free) = free_bytes(target).ok().filter(|free| *free < bytes) else { return Ok(()) };
    let what = format!("the restore needs {bytes} bytes, and only {free} are free");
    Err(Error::Local { path: target.to_owned(), error: std::io::Error::new(std::io::ErrorKind::StorageFull, what) })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use repository::events::Recorded;

    use super::*;
    use crate::memory::{FixedFiles, Memory};

    #[test]
    fn one_damaged_folder_keeps_nothing_else_from_coming_back() {
        let memory = Memory::new();
        let files = FixedFiles::new(&[("a/one", "1"), ("b/two", "22"), ("c/three", "333")]);
        let snapshot = memory.back_up(&[files.named("files")], &[]).unwrap().snapshot;
        memory.damage(snapshot, "files/b");
        let tree = memory.repository.snapshot(snapshot).unwrap().tree;
        let (index, events) = (memory.index(), Recorded::default());
        let cx = RunCx { events: &events, ..memory.cx() };
        let preview = preview(&cx, &memory.repository, &index, &tree, Path::new("files")).unwrap();
        assert_eq!(preview, Preview { files: 2, dirs: 3, others: 0, bytes: 4, bytes_needed: 4, damaged: 1 });
        assert!(matches!(&events.events()[..], [Event::Problem(problem)] if problem.path == "b"), "{events:?}");
        let target = memory.scratch.path().join("target");
        let options = Options::for_this_process();
        let restored =
            to_new_place(&memory.cx(), &memory.repository, &index, &tree, Path::new("files"), &target, options)
                .unwrap();
        assert_eq!(restored.problems.len(), 1, "{:?}", restored.problems);
        assert_eq!(std::fs::read_to_string(target.join("a/one")).unwrap(), "1");
        assert_eq!(std::fs::read_to_string(target.join("c/three")).unwrap(), "333");
        let names = std::fs::read_dir(target.join("b")).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.collect::<BTreeSet<_>>(), BTreeSet::new());
    }
}
