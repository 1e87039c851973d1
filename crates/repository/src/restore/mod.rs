//! Puts a tree of a snapshot back into a folder of this machine.
//!
//! The tree is walked once; files are planned in batches of bounded size, and each batch is fetched pack by pack, every
//! needed range once, decrypted and verified on all processors and written where it belongs.

mod batch;
mod space;

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::fs::{apply_metadata, create_special};
use crate::limits::RESTORE_BLOBS_PLANNED;
use crate::walk::{self, Go, Step};
use crate::{Error, Event, Id, Index, Node, NodeKind, Problem, Repository, RunCx};
use batch::Batch;

pub use space::Space;

/// How to restore.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Restore what only root may: owners and groups (by number), devices, and the attributes `security.*` and
    /// `trusted.*`. Without it these are left out with one note.
    pub privileged: bool,
    /// Leave files with damaged parts in place, with zeros for what is lost, instead of removing them.
    pub keep_damaged: bool,
}

impl Options {
    /// Privileged where this process is root's; damaged files are removed.
    pub fn for_this_process() -> Self {
        Self { privileged: rustix::process::geteuid().is_root(), keep_damaged: false }
    }
}

/// Linux opens no longer path, the closing zero byte included (`PATH_MAX`).
const PATH_BYTES_MAX: usize = 4096;

const TOO_LONG: &str = "not restored: its path would be longer than Linux can open here; restore the folder it lies in by \
                        itself, to a place with a shorter path";

/// What was restored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Regular files, links to the same file counted each.
    pub files: u64,
    /// Folders.
    pub dirs: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Bytes fetched from the copy.
    pub bytes_fetched: u64,
    /// What could not be restored, or not as it was.
    pub problems: Vec<Problem>,
}

impl Restored {
    /// Adds what another restore did.
    pub fn add(&mut self, other: Self) {
        let Self { files, dirs, bytes, bytes_fetched, problems } = other;
        self.files += files;
        self.dirs += dirs;
        self.bytes += bytes;
        self.bytes_fetched += bytes_fetched;
        self.problems.extend(problems);
    }
}

/// What makes two names one file: its number, and what it holds. A number alone is not enough: it may have been given to
/// another file, or the file may have been changed, between the reading of the two names.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LinkKey {
    device: u64,
    inode: u64,
    content: Id,
}

impl LinkKey {
    /// That of a node that a tree holds.
    pub fn of(node: &Node) -> Self {
        let mut bytes = node.link_target.clone();
        node.content.iter().for_each(|id| bytes.extend_from_slice(&id.0));
        Self { device: node.device_id, inode: node.inode, content: Id::of(&bytes) }
    }
}

struct Restore<'a> {
    cx: &'a RunCx<'a>,
    repository: &'a Repository,
    index: &'a Index,
    target: &'a Path,
    options: Options,
    restored: Restored,
    /// The names under which each file was restored that has several.
    links: HashMap<LinkKey, Vec<PathBuf>>,
    batch: Batch,
    /// Something may be there already, of an earlier part.
    is_merging: bool,
    /// Folders that have no place, since an earlier part has something else there.
    refused: HashSet<PathBuf>,
}

/// Restores everything below `tree` into `target`, which must exist and be empty.
pub fn tree(
    cx: &RunCx<'_>,
    repository: &Repository,
    index: &Index,
    tree: &Id,
    target: &Path,
    options: Options,
) -> Result<Restored, Error> {
    let mut restore = Restore::new(cx, repository, index, target, options);
    restore.reach_all(tree, Path::new(""))?;
    restore.fetch_batch()?;
    restore.leave_all(tree, Path::new(""))?;
    Ok(restore.restored)
}

/// Restores several parts of a snapshot into `target`, which must exist and be empty, as if they were one tree: each node
/// at its path below `target`. A folder that several parts have is one folder, and a file that an earlier part has brought
/// is not restored again; owners, modes and times are those of the earliest. What another part has restored as something
/// else is a problem. Folders on the way to a part are new ones.
pub fn merged(
    cx: &RunCx<'_>,
    repository: &Repository,
    index: &Index,
    parts: &[(Node, PathBuf)],
    target: &Path,
    options: Options,
) -> Result<Restored, Error> {
    let mut restore = Restore::new(cx, repository, index, target, options);
    for (node, below) in parts {
        let folder = target.join(below);
        let folder = folder.parent().unwrap_or(target);
        std::fs::create_dir_all(folder).map_err(Error::local(folder))?;
        let go = restore.reach(below, node)?;
        if let (Some(tree), Go::In) = (&node.subtree, go) {
            restore.reach_all(tree, below)?;
        }
        // What it has brought can be seen from now on.
        restore.fetch_batch()?;
        restore.is_merging = true;
    }
    for (node, below) in parts.iter().rev() {
        if let Some(tree) = node.subtree.as_ref().filter(|_| !restore.refused.contains(below)) {
            restore.leave_all(tree, below)?;
            restore.apply(below, node);
        }
    }
    Ok(restore.restored)
}

/// Restores one thing that is not a folder, as `target/NAME`.
pub fn single(
    cx: &RunCx<'_>,
    repository: &Repository,
    index: &Index,
    node: &Node,
    target: &Path,
    options: Options,
) -> Result<Restored, Error> {
    let mut restore = Restore::new(cx, repository, index, target, options);
    restore.reach(&walk::join(Path::new(""), &node.name), node)?;
    restore.fetch_batch()?;
    Ok(restore.restored)
}

impl<'a> Restore<'a> {
    fn new(
        cx: &'a RunCx<'a>,
        repository: &'a Repository,
        index: &'a Index,
        target: &'a Path,
        options: Options,
    ) -> Self {
        let (restored, links, batch, is_merging, refused) = Default::default();
        Self { cx, repository, index, target, options, restored, links, batch, is_merging, refused }
    }

    /// Whether a path can be opened.
    fn fits(&self, path: &Path) -> bool {
        self.target.join(path).as_os_str().len() < PATH_BYTES_MAX
    }

    /// Restores everything below `tree` to `below`, but for the metadata of folders.
    fn reach_all(&mut self, tree: &Id, below: &Path) -> Result<(), Error> {
        let (cx, repository, index) = (self.cx, self.repository, self.index);
        let mut damaged = Vec::new();
        let mut reach = |step: Step<'_>| {
            let Step::Reach(path, node) = step else { return Ok(Go::In) };
            let path = below.join(path);
            if !self.fits(&path) {
                self.problem(&path, TOO_LONG);
                return Ok(Go::Past);
            }
            self.reach(&path, node)
        };
        walk::walk_readable(cx, repository, index, tree, &mut reach, &mut |path, error| {
            damaged.push((below.join(path), error));
            Ok(())
        })?;
        for (path, error) in damaged {
            self.problem(&path, format!("what this folder held is not restored, or not all of it: {error}"));
        }
        Ok(())
    }

    /// Folders get their metadata last: making entries changes their times, and their modes may shut us out.
    fn leave_all(&mut self, tree: &Id, below: &Path) -> Result<(), Error> {
        let (cx, repository, index) = (self.cx, self.repository, self.index);
        let mut leave = |step: Step<'_>| {
            let (Step::Reach(path, node) | Step::Leave(path, node)) = step;
            let path = below.join(path);
            if !self.fits(&path) || self.refused.contains(&path) {
                return Ok(Go::Past);
            }
            if let Step::Leave(..) = step {
                self.apply(&path, node);
            }
            Ok(Go::In)
        };
        // Damage was reported by the first walk.
        walk::walk_readable(cx, repository, index, tree, &mut leave, &mut |_, _| Ok(()))
    }

    /// What an earlier part has brought to the place of `node` stays; only a folder takes in more.
    fn meet(&mut self, path: &Path, node: &Node, there: &std::fs::Metadata) -> Go {
        match (node.kind == NodeKind::Dir, there.is_dir()) {
            (true, true) => return Go::In,
            (false, false) => {}
            (is_dir, _) => {
                self.problem(path, "not restored: another source of the snapshot has something else there");
                if is_dir {
                    self.refused.insert(path.to_owned());
                }
            }
        }
        Go::Past
    }

    fn reach(&mut self, path: &Path, node: &Node) -> Result<Go, Error> {
        let full = self.target.join(path);
        if self.is_merging
            && let Ok(there) = full.symlink_metadata()
        {
            return Ok(self.meet(path, node, &there));
        }
        match node.kind {
            NodeKind::Dir => {
                // Its real mode comes last; until then nobody else may look in.
                std::fs::DirBuilder::new().mode(0o700).create(&full).map_err(Error::local(&full))?;
                self.restored.dirs += 1;
            }
            NodeKind::File => {
                self.restored.files += 1;
                self.restored.bytes += node.size;
                if !self.link_to_first(path, node, &full) {
                    self.plan(path, node, full)?;
                }
            }
            NodeKind::Socket => {
                self.cx
                    .events
                    .emit(Event::Note(format!("{} is a socket, which its program makes anew", path.display())));
            }
            NodeKind::BlockDevice | NodeKind::CharDevice if !self.options.privileged => {
                self.cx.events.emit(Event::Note(format!("{} is a device, which only root can make", path.display())));
            }
            NodeKind::Unknown => self.problem(path, "it is of a kind this program does not know"),
            NodeKind::Symlink | NodeKind::BlockDevice | NodeKind::CharDevice | NodeKind::Fifo => {
                if self.link_to_first(path, node, &full) {
                    return Ok(Go::In);
                }
                match create_special(&full, node) {
                    Ok(()) => self.apply(path, node),
                    Err(error) => self.problem(path, format!("it could not be made: {error}")),
                }
            }
        }
        Ok(Go::In)
    }

    /// Makes a hard link where the same file was restored before under another name.
    fn link_to_first(&mut self, path: &Path, node: &Node, full: &Path) -> bool {
        if node.links < 2 {
            return false;
        }
        let names = self.links.entry(LinkKey::of(node)).or_default();
        let first = names.first().map(|first| self.target.join(first));
        names.push(path.to_owned());
        // Where the first could not be restored, or the place knows no hard links, a copy is better than nothing.
        first.is_some_and(|first| std::fs::hard_link(first, full).is_ok())
    }

    fn plan(&mut self, path: &Path, node: &Node, full: PathBuf) -> Result<(), Error> {
        match self.batch.add(self.index, path, node, full) {
            Err(error) if error.is_damage() => self.problem(path, format!("not restored: {error}")),
            planned => planned?,
        }
        if self.batch.len() >= RESTORE_BLOBS_PLANNED { self.fetch_batch() } else { Ok(()) }
    }

    fn fetch_batch(&mut self) -> Result<(), Error> {
        let batch = std::mem::take(&mut self.batch);
        let done = batch.fetch(self.cx, self.repository, self.index, self.options.keep_damaged)?;
        self.restored.bytes_fetched += done.bytes_fetched;
        for (path, what) in done.damaged {
            self.problem(&path, what.clone());
            self.drop_other_names(&path, &what)?;
        }
        for (path, node) in done.complete {
            self.apply(&path, &node);
            self.cx.events.emit(Event::FileDone(path));
        }
        Ok(())
    }

    /// A damaged file must not stay under another of its names.
    fn drop_other_names(&mut self, path: &Path, what: &str) -> Result<(), Error> {
        let group = self.links.iter().find(|(_, names)| names.iter().any(|name| name == path)).map(|(key, _)| *key);
        let names = group.and_then(|key| self.links.remove(&key)).unwrap_or_default();
        for name in names.iter().filter(|name| *name != path) {
            if !self.options.keep_damaged {
                let full = self.target.join(name);
                batch::remove_if_there(&full).map_err(Error::local(&full))?;
            }
            self.problem(name, what);
        }
        Ok(())
    }

    fn apply(&mut self, path: &Path, node: &Node) {
        for failure in apply_metadata(&self.target.join(path), node, self.options.privileged) {
            self.problem(path, failure);
        }
    }

    fn problem(&mut self, path: &Path, what: impl Into<String>) {
        let problem = Problem::new(path, what);
        self.cx.events.emit(Event::Problem(problem.clone()));
        self.restored.problems.push(problem);
    }
}
