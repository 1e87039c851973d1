//! Restores a snapshot, a source or a path of it into a new place.

use std::path::Path;

use repository::restore::{self, Options, Restored};
use repository::{Error, Event, Id, Index, NodeKind, Repository, RunCx, walk};

/// What a restore would bring back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preview {
    /// Regular files.
    pub files: u64,
    /// Folders.
    pub dirs: u64,
    /// Links, devices, fifos and sockets.
    pub others: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

/// Counts what lies at `path` in the tree, without fetching it.
pub fn preview(
    cx: &RunCx<'_>,
    repository: &Repository,
    index: &Index,
    tree: &Id,
    path: &Path,
) -> Result<Preview, Error> {
    let node = find(repository, index, tree, path)?;
    let mut preview = Preview::default();
    let mut count = |kind, size| match kind {
        NodeKind::File => {
            preview.files += 1;
            preview.bytes += size;
        }
        NodeKind::Dir => preview.dirs += 1,
        _ => preview.others += 1,
    };
    match node.subtree {
        None => count(node.kind, node.size),
        Some(subtree) => walk::walk(cx, repository, index, &subtree, &mut |step| {
            if let walk::Step::Reach(_, node) = step {
                count(node.kind, node.size);
            }
            Ok(walk::Go::In)
        })?,
    }
    Ok(preview)
}

/// Restores what lies at `path` in the tree into `target`, which must be empty or not exist. What a folder holds comes
/// straight into it.
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
    let preview = preview(cx, repository, index, tree, path)?;
    prepare_target(target)?;
    check_space(target, preview.bytes)?;
    cx.events.emit(Event::StepStarted { name: "restoring".to_owned(), bytes_total: Some(preview.bytes) });
    match node.subtree {
        Some(subtree) => restore::tree(cx, repository, index, &subtree, target, options),
        None => restore::single(cx, repository, index, &node, target, options),
    }
}

fn find(repository: &Repository, index: &Index, tree: &Id, path: &Path) -> Result<repository::Node, Error> {
    walk::find(repository, index, tree, path)?
        .ok_or_else(|| Error::NotFound(format!("{} is not in the snapshot", path.display())))
}

/// Makes the folder. One that holds anything is refused: mixing restored and other files helps nobody in a disaster.
fn prepare_target(target: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(target).map_err(Error::local(target))?;
    let mut entries = std::fs::read_dir(target).map_err(Error::local(target))?;
    // A fresh ext4 file system is empty but for this folder.
    let holds_something = entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() != "lost+found"));
    if holds_something {
        let error = std::io::Error::new(std::io::ErrorKind::DirectoryNotEmpty, "the folder is not empty");
        return Err(Error::Local { path: target.to_owned(), error });
    }
    Ok(())
}

fn check_space(target: &Path, bytes: u64) -> Result<(), Error> {
    let Ok(stat) = rustix::fs::statvfs(target) else { return Ok(()) };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free >= bytes {
        return Ok(());
    }
    let what = format!("the restore needs {bytes} bytes, and only {free} are free");
    Err(Error::Local { path: target.to_owned(), error: std::io::Error::new(std::io::ErrorKind::StorageFull, what) })
}
