//! Writes one snapshot: every source's entries become trees and chunks, compared with the parent snapshot.

mod parent;
mod read_file;
mod tree_builder;

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::blob_writer::{BlobWriter, Stored, with_blob_writer};
use crate::chunker::Chunker;
use crate::format::snapshot::{Snapshot, Summary};
use crate::format::time::Time;
use crate::format::tree::TreeWriter;
use crate::{
    Capture, Data, Entry, Error, Event, FileKind, Id, Identity, Index, Item, Node, NodeKind, Problem, Repository, RunCx,
};
use parent::ParentCursor;
use read_file::FileReader;
use tree_builder::TreeBuilder;

/// What the engine itself knows about the tree of a source. Part of the manifest; a drill computes it again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeFacts {
    /// Regular files.
    pub files: u64,
    /// Folders.
    pub dirs: u64,
    /// Links, devices, fifos and sockets.
    pub others: u64,
    /// Bytes of all regular files.
    pub bytes: u64,
    /// Hash over all names, portable metadata and contents; see [`crate::merkle`].
    pub root: String,
}

/// What a backup did, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupStats {
    /// Files that the parent snapshot does not have.
    pub files_new: u64,
    /// Files that were read anew because something about them differs, or because nothing tells: databases, command outputs.
    /// Their content may be what it was.
    pub files_changed: u64,
    /// Files taken over from the parent unread.
    pub files_unmodified: u64,
    /// Folders that the parent snapshot does not have.
    pub dirs_new: u64,
    /// Folders whose tree differs from the parent's.
    pub dirs_changed: u64,
    /// Folders whose tree is the parent's.
    pub dirs_unmodified: u64,
    /// Bytes of all files in the snapshot.
    pub bytes_source: u64,
    /// Bytes that were read.
    pub bytes_read: u64,
    /// What was stored.
    pub stored: Stored,
}

/// A source's part of the snapshot, as it was written.
#[derive(Debug)]
pub struct WrittenSource {
    /// The engine's facts.
    pub tree: TreeFacts,
    /// What was left out or is doubtful, one by one.
    pub problems: Vec<Problem>,
}

/// Takes the sources of one snapshot, one after the other.
pub struct SnapshotWriter<'a> {
    cx: RunCx<'a>,
    blobs: &'a BlobWriter<'a>,
    chunker: &'a Chunker,
    parent: ParentCursor<'a>,
    started: Time,
    root: BTreeMap<Vec<u8>, Node>,
    stats: BackupStats,
}

/// Runs `body` with a writer and stores everything it was given. The snapshot itself is written by
/// [`Written::save`], once the caller has seen that every source ended well.
pub fn write<T>(
    cx: &RunCx<'_>,
    repository: &Repository,
    index: &Index,
    parent: Option<&Snapshot>,
    body: impl FnOnce(&mut SnapshotWriter<'_>) -> Result<T, Error>,
) -> Result<(T, Written), Error> {
    let started = cx.clock.now();
    let chunker = Chunker::new(repository.key(), repository.config().chunk_bytes_average());
    let ((value, tree, mut stats), stored) = with_blob_writer(cx, repository, index, |blobs| {
        let mut writer = SnapshotWriter {
            cx: *cx,
            blobs,
            chunker: &chunker,
            parent: ParentCursor::at_root(repository, index, parent)?,
            started: started.into(),
            root: BTreeMap::new(),
            stats: BackupStats::default(),
        };
        let value = body(&mut writer)?;
        let (tree, stats) = writer.finish()?;
        Ok((value, tree, stats))
    })?;
    stats.stored = stored;
    Ok((value, Written { tree, stats, started }))
}

/// All blobs and index files of a backup are stored; only the snapshot that names them is not there yet.
#[derive(Debug)]
pub struct Written {
    /// The root tree.
    pub tree: Id,
    /// What was done.
    pub stats: BackupStats,
    started: Timestamp,
}

/// What a snapshot says about itself.
#[derive(Clone, Debug)]
pub struct Description {
    /// The host and user.
    pub identity: Identity,
    /// What was backed up.
    pub paths: Vec<String>,
    /// Tags; the stack's among them.
    pub tags: Vec<String>,
    /// Name and version of the program.
    pub program_version: String,
    /// The snapshot it was compared with.
    pub parent: Option<Id>,
}

impl Written {
    /// Writes the snapshot file, which makes the backup visible.
    pub fn save(&self, cx: &RunCx<'_>, repository: &Repository, about: Description) -> Result<(Id, Snapshot), Error> {
        cx.cancel.check()?;
        let stats = &self.stats;
        let summary = Summary {
            backup_start: Some(self.started.into()),
            backup_end: Some(cx.clock.now().into()),
            files_new: stats.files_new,
            files_changed: stats.files_changed,
            files_unmodified: stats.files_unmodified,
            dirs_new: stats.dirs_new,
            dirs_changed: stats.dirs_changed,
            dirs_unmodified: stats.dirs_unmodified,
            data_blobs: stats.stored.data_blobs,
            tree_blobs: stats.stored.tree_blobs,
            data_added: stats.stored.bytes_added,
            data_added_packed: stats.stored.bytes_added_packed,
            total_files_processed: stats.files_new + stats.files_changed + stats.files_unmodified,
            total_bytes_processed: stats.bytes_source,
        };
        let snapshot = Snapshot {
            time: self.started.into(),
            parent: about.parent,
            tree: self.tree,
            paths: about.paths,
            hostname: about.identity.hostname,
            username: about.identity.username,
            uid: about.identity.uid,
            gid: about.identity.gid,
            excludes: Vec::new(),
            tags: about.tags,
            original: None,
            program_version: about.program_version,
            summary: Some(summary),
        };
        // A lock that was lost meanwhile kept nobody from removing what this snapshot is about to name.
        cx.check_lock()?;
        let id = repository.save_json(FileKind::Snapshot, &snapshot)?;
        Ok((id, snapshot))
    }
}

/// What became of an entry.
struct Taken {
    is_stored: bool,
    is_whole_prefix: bool,
    /// What kept it, or a part of it, out.
    problem: Option<Problem>,
}

impl SnapshotWriter<'_> {
    /// Compares the source `name` with what it was in `snapshot`, where that is not the parent of the others. Asked before the
    /// source is written.
    pub fn compare_with(&mut self, name: &str, snapshot: &Snapshot) -> Result<(), Error> {
        self.parent.take_root_node(name.as_bytes(), snapshot)
    }

    /// Writes all entries of `capture` below a folder called `name`. The caller still has to `finish` the capture.
    pub fn source(&mut self, name: &str, capture: &mut dyn Capture) -> Result<WrittenSource, Error> {
        self.check_root_name(name)?;
        let mut written = WrittenSource { tree: TreeFacts::default(), problems: Vec::new() };
        let mut builder = TreeBuilder::new(self.synthetic_folder(name));
        self.parent.enter(name.as_bytes())?;
        while let Some(item) = capture.next()? {
            self.cx.cancel.check()?;
            match item {
                Item::Entry(entry) => {
                    let Taken { is_stored, is_whole_prefix, problem } = self.entry(&mut builder, *entry)?;
                    if !is_stored {
                        capture.left_out();
                    }
                    if is_whole_prefix {
                        capture.read_whole();
                    }
                    if let Some(problem) = problem {
                        self.report(problem, name, &mut written.problems);
                    }
                }
                Item::Problem(problem) => self.report(problem, name, &mut written.problems),
            }
        }
        for problem in self.parent.take_problems() {
            self.report(problem, name, &mut written.problems);
        }
        let (node, facts) = self.leave_all(builder)?;
        self.stats.bytes_source += facts.bytes;
        self.root.insert(node.name.clone(), node);
        written.tree = facts;
        Ok(written)
    }

    /// Writes a small file into the snapshot's root.
    pub fn root_file(&mut self, name: &str, content: &[u8]) -> Result<(), Error> {
        self.check_root_name(name)?;
        let mut ids = Vec::new();
        let mut rest = content;
        while !rest.is_empty() {
            let (chunk, next) = rest.split_at(self.chunker.cut(rest));
            ids.push(self.blobs.store_data(chunk.to_vec())?.wait()?);
            rest = next;
        }
        let mut node = self.synthetic(name, NodeKind::File, 0o644);
        node.size = content.len() as u64;
        node.links = 1;
        node.content = ids;
        // An unchanged file keeps its old time, so that an unchanged stack adds nothing but a snapshot.
        if let Some(parent) = self.parent.root_node(name.as_bytes())
            && parent.content == node.content
        {
            node.mtime = parent.mtime;
            node.atime = parent.mtime;
            node.ctime = parent.mtime;
        }
        self.root.insert(node.name.clone(), node);
        Ok(())
    }

    fn report(&self, mut problem: Problem, source: &str, problems: &mut Vec<Problem>) {
        source.clone_into(&mut problem.source);
        self.cx.events.emit(Event::Problem(problem.clone()));
        problems.push(problem);
    }

    fn check_root_name(&self, name: &str) -> Result<(), Error> {
        if !Node::is_valid_name(name.as_bytes()) || self.root.contains_key(name.as_bytes()) {
            return Err(Error::Internal(format!("{name:?} cannot be a name in the snapshot's root, or stands twice")));
        }
        Ok(())
    }

    /// A folder that exists on no host keeps the metadata it had, so that its tree stays the same.
    fn synthetic_folder(&self, name: &str) -> Node {
        let node = self.synthetic(name, NodeKind::Dir, 0o755);
        match self.parent.root_node(name.as_bytes()) {
            Some(parent) if parent.kind == NodeKind::Dir => {
                Node { mtime: parent.mtime, atime: parent.mtime, ctime: parent.mtime, ..node }
            }
            _ => node,
        }
    }

    fn synthetic(&self, name: &str, kind: NodeKind, permissions: u32) -> Node {
        let posix_type = if kind == NodeKind::Dir { 0o040_000 } else { 0o100_000 };
        let mut node = Node::new(name, kind);
        node.mode = crate::format::go::mode_from_posix(posix_type | permissions);
        node.mtime = self.started;
        node.atime = self.started;
        node.ctime = self.started;
        node.uid = rustix::process::geteuid().as_raw();
        node.gid = rustix::process::getegid().as_raw();
        node
    }

    /// Takes one entry.
    fn entry(&mut self, builder: &mut TreeBuilder, entry: Entry) -> Result<Taken, Error> {
        let Entry { path, node, data } = entry;
        self.move_to(builder, path.parent().unwrap_or(Path::new("")))?;
        if node.kind == NodeKind::Dir {
            self.parent.enter(&node.name)?;
            builder.enter(&path, node)?;
            return Ok(Taken { is_stored: true, is_whole_prefix: false, problem: None });
        }
        let parent = self.parent.find(&node.name);
        let mut reader = FileReader {
            cx: self.cx,
            blobs: self.blobs,
            chunker: self.chunker,
            bytes_read: &mut self.stats.bytes_read,
        };
        let read = match data {
            Data::None => read_file::Read::without_content(node),
            Data::File { path, append_only } => reader.file(&path, node, parent.as_ref(), append_only)?,
            Data::Prefix { open, bytes, append_only } => {
                reader.prefix(open, bytes, &path, node, parent.as_ref(), append_only)?
            }
            Data::Stream(stream) => reader.stream(stream, node)?,
        };
        let read_file::Read { leaf, problem, reused, is_whole_prefix } = read;
        let Some(leaf) = leaf else { return Ok(Taken { is_stored: false, is_whole_prefix, problem }) };
        if leaf.node.kind == NodeKind::File {
            match &parent {
                None => self.stats.files_new += 1,
                Some(_) if reused => self.stats.files_unmodified += 1,
                Some(_) => self.stats.files_changed += 1,
            }
        }
        self.cx.events.emit(Event::FileDone(path));
        builder.push(leaf)?;
        builder.settle(self.blobs, false)?;
        Ok(Taken { is_stored: true, is_whole_prefix, problem })
    }

    /// Leaves folders until the open one is `folder`, which must have been entered.
    fn move_to(&mut self, builder: &mut TreeBuilder, folder: &Path) -> Result<(), Error> {
        while builder.open_path() != folder {
            if !builder.open_path().starts_with(folder) || builder.open_path().as_os_str().is_empty() {
                let what = format!("an entry lies in {}, which was not entered", folder.display());
                return Err(Error::Internal(what));
            }
            builder.leave();
            self.parent.leave();
        }
        Ok(())
    }

    fn leave_all(&mut self, mut builder: TreeBuilder) -> Result<(Node, TreeFacts), Error> {
        self.move_to(&mut builder, Path::new(""))?;
        let (node, facts, dirs) = builder.finish(self.blobs)?;
        let parent = self.parent.root_node(&node.name).and_then(|parent| parent.subtree);
        self.parent.leave();
        // Counting every folder would take the parent's whole tree of trees; the source's own folder is exact, the
        // others are told by whether their tree was stored anew.
        match parent {
            Some(tree) if Some(tree) == node.subtree => self.stats.dirs_unmodified += facts.dirs + 1,
            Some(_) => {
                self.stats.dirs_changed += dirs.stored;
                self.stats.dirs_unmodified += (facts.dirs + 1).saturating_sub(dirs.stored);
            }
            None => self.stats.dirs_new += facts.dirs + 1,
        }
        Ok((node, facts))
    }

    fn finish(self) -> Result<(Id, BackupStats), Error> {
        let mut tree = TreeWriter::new();
        for node in self.root.values() {
            tree.push(node).map_err(Error::Internal)?;
        }
        let id = self.blobs.store_tree(tree.finish())?;
        Ok((id, self.stats))
    }
}
