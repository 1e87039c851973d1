//! `lifeboat diff`: what changed between two snapshots, or two places in them.

use std::path::{Path, PathBuf};

use operations::snapshots::{self, Place};
use operations::{Fault, FaultKind};
use repository::{Error, Id, Index, Node, NodeKind, Repository, RunCx, walk};
use serde::Serialize;
use serde_json::json;

use crate::app::{App, Opened};
use crate::arguments;
use crate::output::{Outcome, Output, bytes};

pub fn run(app: &App, arguments: &arguments::Diff) -> Result<Outcome, Fault> {
    // Both in one copy: the first that has the newer one.
    let copies = app.repositories(arguments.copy.as_deref(), None)?;
    let (Opened { repository, .. }, _) =
        app.find_snapshot(&copies, &arguments.to.snapshot, arguments.stack.as_deref())?;
    let index = app.index(&repository)?;
    let tree = |place: &Place| {
        let (_, snapshot) = snapshots::resolve(&app.cx(), &repository, &place.snapshot, arguments.stack.as_deref())?;
        let node = walk::find(&repository, &index, &snapshot.tree, &place.path)?;
        node.and_then(|node| node.subtree).ok_or_else(|| {
            Fault::new(FaultKind::NotFound, format!("{place} is not a folder in the snapshot"))
                .with_hint("compare two snapshots, or two folders in them")
        })
    };
    let (from, to) = (tree(&arguments.from)?, tree(&arguments.to)?);
    let mut diff = Diff {
        cx: &app.cx(),
        repository: &repository,
        index: &index,
        output: app.output(),
        metadata: arguments.metadata,
        totals: Totals::default(),
    };
    diff.folders(Path::new(""), Some(&from), Some(&to))?;
    let totals = diff.totals;
    app.output().summary(json!({ "status": "ok", "added": totals.added, "removed": totals.removed,
        "changed": totals.changed, "metadata": totals.metadata,
        "bytes_added": totals.bytes_added, "bytes_removed": totals.bytes_removed }));
    app.output().chat(format!(
        "{} added, {} removed, {} changed, {} in metadata alone; {} new, {} gone",
        totals.added,
        totals.removed,
        totals.changed,
        totals.metadata,
        bytes(totals.bytes_added),
        bytes(totals.bytes_removed)
    ));
    Ok(Outcome::Ok)
}

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    added: u64,
    removed: u64,
    changed: u64,
    metadata: u64,
    bytes_added: u64,
    bytes_removed: u64,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum Change {
    Added,
    Removed,
    Changed,
    Metadata,
}

struct Diff<'a> {
    cx: &'a RunCx<'a>,
    repository: &'a Repository,
    index: &'a Index,
    output: Output,
    metadata: bool,
    totals: Totals,
}

impl Diff<'_> {
    /// Both trees are sorted by name, so one pass over both finds all differences; equal subtrees are passed over.
    fn folders(&mut self, path: &Path, from: Option<&Id>, to: Option<&Id>) -> Result<(), Error> {
        // Folders below this one wait here, so that depth costs no stack.
        let mut waiting: Vec<(PathBuf, Option<Id>, Option<Id>)> = vec![(path.to_owned(), from.copied(), to.copied())];
        while let Some((path, from, to)) = waiting.pop() {
            self.cx.cancel.check()?;
            let (mut from, mut to) = (Side::open(self, from)?, Side::open(self, to)?);
            let mut below = Vec::new();
            loop {
                let (old, new) = match (from.name(), to.name()) {
                    (None, None) => break,
                    (Some(old), Some(new)) if old == new => (from.take()?, to.take()?),
                    (Some(old), new) if new.is_none_or(|new| old < new) => (from.take()?, None),
                    _ => (None, to.take()?),
                };
                below.extend(self.pair(&path, old, new));
            }
            // The first folder is to be shown first, and `waiting` is taken from its end.
            waiting.extend(below.into_iter().rev());
        }
        Ok(())
    }

    /// Reports one name; gives the folders to compare next.
    fn pair(&mut self, path: &Path, old: Option<Node>, new: Option<Node>) -> Option<(PathBuf, Option<Id>, Option<Id>)> {
        let path = walk::join(path, &old.as_ref().or(new.as_ref())?.name);
        match (&old, &new) {
            (Some(old), Some(new)) if old.kind != new.kind => {
                self.report(Change::Removed, &path, old);
                self.report(Change::Added, &path, new);
            }
            (Some(old), Some(new)) => {
                let same_content = old.content == new.content && old.link_target == new.link_target;
                if old.kind == NodeKind::Dir || same_content {
                    self.compare_metadata(&path, old, new);
                } else {
                    self.report(Change::Changed, &path, new);
                    self.totals.bytes_added += new.size;
                    self.totals.bytes_removed += old.size;
                }
            }
            (Some(old), None) => self.report(Change::Removed, &path, old),
            (None, Some(new)) => self.report(Change::Added, &path, new),
            (None, None) => {}
        }
        let (old, new) = (old.and_then(|node| node.subtree), new.and_then(|node| node.subtree));
        (old != new).then_some((path, old, new))
    }

    fn compare_metadata(&mut self, path: &Path, old: &Node, new: &Node) {
        let of = |node: &Node| (node.mode, node.uid, node.gid, node.mtime, node.xattrs.clone());
        // A folder's time changes with what it holds, which is reported by itself.
        let same = if old.kind == NodeKind::Dir {
            (old.mode, old.uid, old.gid, &old.xattrs) == (new.mode, new.uid, new.gid, &new.xattrs)
        } else {
            of(old) == of(new)
        };
        if !same {
            self.report(Change::Metadata, path, new);
        }
    }

    fn report(&mut self, change: Change, path: &Path, node: &Node) {
        let sign = match change {
            Change::Added => {
                self.totals.added += 1;
                self.totals.bytes_added += node.size;
                '+'
            }
            Change::Removed => {
                self.totals.removed += 1;
                self.totals.bytes_removed += node.size;
                '-'
            }
            Change::Changed => {
                self.totals.changed += 1;
                'M'
            }
            Change::Metadata => {
                self.totals.metadata += 1;
                if !self.metadata {
                    return;
                }
                'U'
            }
        };
        let slash = if node.kind == NodeKind::Dir { "/" } else { "" };
        self.output.text(format!("{sign}  {}{slash}", path.display()));
        self.output
            .json("change", json!({ "change": change, "path": path.to_string_lossy(), "type": node.kind.name() }));
    }
}

/// One of two trees, with the node that comes next.
struct Side {
    reader: Option<repository::format::tree::TreeReader>,
    id: Id,
    next: Option<Node>,
}

impl Side {
    fn open(diff: &Diff<'_>, tree: Option<Id>) -> Result<Self, Error> {
        let reader = tree.map(|id| walk::open_tree(diff.repository, diff.index, &id)).transpose()?;
        let mut side = Self { reader, id: tree.unwrap_or(Id::ZERO), next: None };
        side.take()?;
        Ok(side)
    }

    fn name(&self) -> Option<&[u8]> {
        self.next.as_ref().map(|node| node.name.as_slice())
    }

    fn take(&mut self) -> Result<Option<Node>, Error> {
        let next = match &mut self.reader {
            Some(reader) => reader.next().map_err(|what| Error::MalformedTree { id: self.id, what })?,
            None => None,
        };
        Ok(std::mem::replace(&mut self.next, next))
    }
}
