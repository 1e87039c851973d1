//! Compares a restored folder with the tree it was restored from: every byte, every name, all metadata.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::backup::TreeFacts;
use crate::format::go;
use crate::format::pack::BlobKind;
use crate::fs::NodeReader;
use crate::merkle::FolderHash;
use crate::restore::LinkKey;
use crate::walk::{self, Go, Step};
use crate::{Error, Event, Id, Index, Node, NodeKind, Problem, Repository, RunCx};

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What only root can have restored, too; see [`crate::restore::Options::privileged`].
    pub privileged: bool,
}

/// What a comparison found.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Files, folders and other things that were compared.
    pub entries: u64,
    /// Bytes that were read back and hashed.
    pub bytes: u64,
    /// Every difference, named.
    pub differences: Vec<Problem>,
}

/// Computes the manifest's facts from a stored tree, without reading file contents.
pub fn tree_facts(cx: &RunCx<'_>, repository: &Repository, index: &Index, tree: &Id) -> Result<TreeFacts, Error> {
    let mut facts = TreeFacts::default();
    let mut open = vec![FolderHash::new()];
    walk::walk(cx, repository, index, tree, &mut |step| {
        match step {
            Step::Reach(_, node) if node.kind == NodeKind::Dir => {
                facts.dirs += 1;
                open.push(FolderHash::new());
            }
            Step::Reach(_, node) => {
                if node.kind == NodeKind::File {
                    facts.files += 1;
                    facts.bytes += node.size;
                } else {
                    facts.others += 1;
                }
                open.last_mut().into_iter().for_each(|folder| folder.push(node, None));
            }
            Step::Leave(_, node) => {
                let hash = open.pop().map(FolderHash::finish);
                open.last_mut().into_iter().for_each(|folder| folder.push(node, hash.as_ref()));
            }
        }
        Ok(Go::In)
    })?;
    let root = open.pop().unwrap_or_default().finish();
    facts.root = data_encoding::HEXLOWER.encode(&root);
    Ok(facts)
}

/// Compares everything below `tree` with what lies in `folder`.
pub fn restored(
    cx: &RunCx<'_>,
    repository: &Repository,
    index: &Index,
    tree: &Id,
    folder: &Path,
    options: Options,
) -> Result<Comparison, Error> {
    let comparison = Mutex::new(Comparison::default());
    std::thread::scope(|scope| {
        // Bounded: a walk is faster than the reading it asks for.
        let (send, files) = bounded::<(PathBuf, Node)>(64);
        let readers: Vec<_> = (0..repository.threads())
            .map(|_| {
                let files = files.clone();
                scope.spawn(|| read_files(cx, index, folder, files, &comparison))
            })
            .collect();
        drop(files);
        let walked = compare_tree(cx, repository, index, tree, folder, options, &send, &comparison);
        drop(send);
        let read = readers.into_iter().try_for_each(|reader| {
            reader.join().unwrap_or_else(|_| Err(Error::Internal("a comparing thread panicked".to_owned())))
        });
        walked.and(read)
    })?;
    let mut comparison = comparison.into_inner().unwrap_or_else(PoisonError::into_inner);
    comparison.differences.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(comparison)
}

/// Compares one thing with what lies at `path`: metadata first and, only where that is the same, content. What lies below
/// a folder is not looked at, nor whether names that belong to one file still do. Nothing means no difference.
pub fn node(
    cx: &RunCx<'_>,
    index: &Index,
    reader: &NodeReader,
    node: &Node,
    path: &Path,
    options: Options,
) -> Result<Vec<String>, Error> {
    let differences = compare_node(reader, path, node, options, &mut HashMap::new());
    if !differences.is_empty() || node.kind != NodeKind::File {
        return Ok(differences);
    }
    Ok(compare_content(cx, index, path, node)?.into_iter().collect())
}

/// Device and inode of the first name of each file that has several.
type Links = HashMap<LinkKey, (u64, u64)>;

#[expect(clippy::too_many_arguments, reason = "the half of `restored` that walks; its arguments are that function's")]
fn compare_tree(
    cx: &RunCx<'_>,
    repository: &Repository,
    index: &Index,
    tree: &Id,
    folder: &Path,
    options: Options,
    files: &Sender<(PathBuf, Node)>,
    comparison: &Mutex<Comparison>,
) -> Result<(), Error> {
    let reader = NodeReader::default();
    let mut links = Links::new();
    // Names that are there and were not met yet, for each open folder.
    let mut surplus = vec![names_in(folder)?];
    walk::walk(cx, repository, index, tree, &mut |step| {
        match step {
            Step::Leave(path, _) => report_surplus(path, surplus.pop(), comparison),
            Step::Reach(path, node) => {
                let full = folder.join(path);
                if let Some(names) = surplus.last_mut() {
                    names.remove(node_name(node));
                }
                if node.kind == NodeKind::Dir {
                    surplus.push(if full.is_dir() { names_in(&full)? } else { BTreeSet::new() });
                }
                let differences = compare_node(&reader, &full, node, options, &mut links);
                comparison.lock().unwrap_or_else(PoisonError::into_inner).entries += 1;
                note(comparison, path, differences);
                if node.kind == NodeKind::File && !node.content.is_empty() {
                    // A reader that ended early shows its own error.
                    let _ = files.send((path.to_owned(), node.clone()));
                }
            }
        }
        Ok(Go::In)
    })?;
    report_surplus(Path::new(""), surplus.pop(), comparison);
    Ok(())
}

fn node_name(node: &Node) -> &std::ffi::OsStr {
    std::ffi::OsStr::from_bytes(&node.name)
}

fn names_in(folder: &Path) -> Result<BTreeSet<OsString>, Error> {
    let entries = std::fs::read_dir(folder).map_err(Error::local(folder))?;
    entries.map(|entry| Ok(entry.map_err(Error::local(folder))?.file_name())).collect()
}

fn report_surplus(folder: &Path, names: Option<BTreeSet<OsString>>, comparison: &Mutex<Comparison>) {
    for name in names.into_iter().flatten() {
        note(comparison, &folder.join(name), vec!["it is not in the snapshot".to_owned()]);
    }
}

fn note(comparison: &Mutex<Comparison>, path: &Path, differences: Vec<String>) {
    let mut comparison = comparison.lock().unwrap_or_else(PoisonError::into_inner);
    comparison.differences.extend(differences.into_iter().map(|what| Problem::new(path, what)));
}

/// All differences between a node and what lies at `full`, but for file contents.
fn compare_node(reader: &NodeReader, full: &Path, expected: &Node, options: Options, links: &mut Links) -> Vec<String> {
    let is_device = matches!(expected.kind, NodeKind::BlockDevice | NodeKind::CharDevice);
    // These are not restored.
    if expected.kind == NodeKind::Socket || (is_device && !options.privileged) {
        return Vec::new();
    }
    let found = match reader.read(full) {
        Ok(read) => read.node,
        Err(error) => return vec![format!("it cannot be read: {error}")],
    };
    let mut differences = Vec::new();
    let mut compare = |what: &str, same: bool, found: &dyn std::fmt::Display, expected: &dyn std::fmt::Display| {
        if !same {
            differences.push(format!("{what}: {found} instead of {expected}"));
        }
    };
    let permissions = |node: &Node| format!("{:04o}", go::permissions_from_mode(node.mode));
    let owner = |node: &Node| format!("{}:{}", node.uid, node.gid);
    let target = |node: &Node| String::from_utf8_lossy(&node.link_target).into_owned();
    compare("kind", found.kind == expected.kind, &found.kind.name(), &expected.kind.name());
    compare("size", found.size == expected.size, &found.size, &expected.size);
    compare("time", found.mtime == expected.mtime, &found.mtime, &expected.mtime);
    compare("link target", found.link_target == expected.link_target, &target(&found), &target(expected));
    compare("device", found.device == expected.device, &found.device, &expected.device);
    if expected.kind != NodeKind::Symlink {
        let restored = format!("{:04o}", crate::fs::permissions_for(expected, options.privileged));
        compare("mode", permissions(&found) == restored, &permissions(&found), &restored);
    }
    if options.privileged {
        compare("owner", owner(&found) == owner(expected), &owner(&found), &owner(expected));
    }
    let xattrs = |node: &Node| {
        let restored = node.xattrs.iter().filter(|xattr| options.privileged || !xattr.is_privileged());
        restored.cloned().collect::<Vec<_>>()
    };
    if xattrs(&found) != xattrs(expected) {
        differences.push("its extended attributes differ".to_owned());
    }
    if expected.links > 1 && expected.kind != NodeKind::Dir {
        let place = std::fs::symlink_metadata(full).map(|meta| {
            use std::os::unix::fs::MetadataExt as _;
            (meta.dev(), meta.ino())
        });
        let first = links.entry(LinkKey::of(expected)).or_insert(place.as_ref().map_or((0, 0), |p| *p));
        if place.ok() != Some(*first) {
            differences.push("it is no longer a hard link to the same file".to_owned());
        }
    }
    differences
}

fn read_files(
    cx: &RunCx<'_>,
    index: &Index,
    folder: &Path,
    files: Receiver<(PathBuf, Node)>,
    comparison: &Mutex<Comparison>,
) -> Result<(), Error> {
    let mut failed = Ok(());
    // The queue is drained even after a failure, so that the walk never blocks.
    for (path, node) in files {
        if failed.is_err() {
            continue;
        }
        match compare_content(cx, index, &folder.join(&path), &node) {
            Ok(None) => comparison.lock().unwrap_or_else(PoisonError::into_inner).bytes += node.size,
            Ok(Some(difference)) => note(comparison, &path, vec![difference]),
            Err(error) => failed = Err(error),
        }
    }
    failed
}

/// Reads a file in the lengths of its blobs and hashes each: the same bytes, or not.
fn compare_content(cx: &RunCx<'_>, index: &Index, full: &Path, node: &Node) -> Result<Option<String>, Error> {
    // Never follows a link, nor waits for the writer of a fifo that lies where a file should.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    let Ok(mut file) = File::options().read(true).custom_flags(flags.bits() as i32).open(full) else {
        return Ok(Some("it cannot be read".to_owned()));
    };
    let mut offset = 0u64;
    let mut bytes = Vec::new();
    for id in &node.content {
        cx.cancel.check()?;
        let missing = Error::BlobMissing { id: *id, kind: BlobKind::Data.name() };
        let length = index.plain_bytes(BlobKind::Data, id).ok_or(missing)?;
        bytes.resize(length as usize, 0);
        if file.read_exact(&mut bytes).is_err() {
            return Ok(Some(format!("it ends before byte {}", offset + u64::from(length))));
        }
        if Id::of(&bytes) != *id {
            return Ok(Some(format!("its bytes differ between {offset} and {}", offset + u64::from(length))));
        }
        offset += u64::from(length);
        cx.events.emit(Event::Bytes(u64::from(length)));
    }
    Ok(None)
}
