//! What is restored in place: the paths of the snapshot that were selected, and the paths of this host they came from.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use repository::source::{PATHS_FACT, SQLITE_SIDE_FILES};
use repository::{Error, Id, Index, Node, NodeKind, Repository, walk};
use serde_json::Value;

use super::InPlaceError;
use crate::manifest::{self, Manifest, SourceRecord};

/// The kind whose databases have files beside them that belong to one state of the database.
const SQLITE: &str = "sqlite";
/// The kind whose folder is one whole: views and indexes that are newer than their databases, and half-done compactions, are
/// worse than none.
const COUCHDB: &str = "couchdb";
/// Kinds of sources that a running server gave, and takes back.
const SERVERS: [&str; 3] = ["postgres", "mysql", "redis"];

/// One path of a source that is restored.
#[derive(Clone, Debug)]
pub struct Root {
    /// The source's name.
    pub source: String,
    /// The source's kind.
    pub kind: String,
    /// Where it came from on the host; absolute.
    pub host: PathBuf,
    /// The source's own path that this is a part of, where what lies in that belongs together: all of it is staged beside
    /// each other, so that one undo folder has what was there.
    pub within: Option<PathBuf>,
    /// What the snapshot holds there.
    pub node: Node,
}

impl Root {
    /// The path below the source's folder in the snapshot.
    pub fn below_source(&self) -> &Path {
        below_source(&self.host)
    }

    /// The path in the snapshot.
    pub fn in_snapshot(&self) -> PathBuf {
        Path::new(&self.source).join(self.below_source())
    }

    /// Whether what is there and not in the snapshot must go.
    pub(super) fn is_one_whole(&self) -> bool {
        self.kind == COUCHDB
    }

    /// What belongs to the state before the restore, where it is a single database: it must not meet the restored one.
    pub(super) fn side_files(&self, live: &Path) -> Vec<PathBuf> {
        match &*self.kind {
            _ if self.node.kind != NodeKind::File => Vec::new(),
            SQLITE => side_files(live).collect(),
            COUCHDB => compactions(live),
            _ => Vec::new(),
        }
    }
}

/// What is restored.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Sorted by host path, so that a root that lies below another comes after it.
    pub roots: Vec<Root>,
    /// What is left out, and why.
    pub skipped: Vec<String>,
    /// Sources that are restored whole, so that their facts can be counted.
    pub whole: BTreeSet<String>,
    /// Paths on the host that belong to any source of the snapshot. One that lies below a root of another source is not
    /// surplus there, whether or not it is restored itself.
    pub known: Vec<PathBuf>,
}

/// Finds what each of `selected` means: all sources (empty), one (`SOURCE`), or a path of one (`SOURCE/PATH`). A path above
/// the source's own paths stands for these, since the folders on the way to them belong to others too.
pub fn roots(
    repository: &Repository,
    index: &Index,
    tree: &Id,
    manifest: &Manifest,
    selected: &[PathBuf],
) -> Result<Selection, InPlaceError> {
    let mut selection = Selection::default();
    for record in manifest.sources.values() {
        for path in host_paths(record) {
            if record.kind == SQLITE {
                selection.known.extend(side_files(&path));
            }
            selection.known.push(path);
        }
    }
    let find =
        |source: &str, host: &Path| walk::find(repository, index, tree, &Path::new(source).join(below_source(host)));
    for selected in selected {
        take_selected(&mut selection, manifest, selected, &find)?;
    }
    if selection.roots.is_empty() {
        let what = format!("nothing of this snapshot has a place on this host: {}", selection.skipped.join("; "));
        return Err(InPlaceError::Selection(what));
    }
    settle(&mut selection);
    Ok(selection)
}

fn take_selected(
    selection: &mut Selection,
    manifest: &Manifest,
    selected: &Path,
    find: Find<'_>,
) -> Result<(), InPlaceError> {
    let mut parts = selected.iter().filter(|part| *part != "/");
    match parts.next() {
        None => {
            for (name, record) in &manifest.sources {
                take_source(selection, name, record, Path::new("/"), find)?;
            }
        }
        Some(name) => {
            let known = name.to_str().and_then(|name| manifest.sources.get_key_value(name));
            let Some((name, record)) = known else {
                let names: Vec<_> = manifest.sources.keys().map(String::as_str).collect();
                let name = name.to_string_lossy();
                let what = format!("the snapshot has no source {name}; it has {}", names.join(", "));
                return Err(InPlaceError::Selection(what));
            };
            let below: PathBuf = std::iter::once("/".as_ref()).chain(parts).collect();
            let before = selection.roots.len();
            take_source(selection, name, record, &below, find)?;
            if selection.roots.len() == before {
                return Err(InPlaceError::Selection(selection.skipped.join("; ")));
            }
        }
    }
    Ok(())
}

/// Looks up a host path in a source.
type Find<'a> = &'a dyn Fn(&str, &Path) -> Result<Option<Node>, Error>;

/// Takes what lies at or below `wanted` (`/` for all) of one source.
fn take_source(
    selection: &mut Selection,
    source: &str,
    record: &SourceRecord,
    wanted: &Path,
    find: Find<'_>,
) -> Result<(), InPlaceError> {
    let paths = host_paths(record);
    if paths.is_empty() {
        let kind = &record.kind;
        let instead = if SERVERS.contains(&kind.as_str()) { "--server configured, or --to DIR" } else { "--to DIR" };
        let what =
            format!("{source} is a source of kind {kind}, which has no place on this host: restore it with {instead}");
        selection.skipped.push(what);
        return Ok(());
    }
    let mut hosts: Vec<_> = paths.iter().filter(|path| path.starts_with(wanted)).cloned().collect();
    let is_whole = hosts.len() == paths.len();
    if hosts.is_empty() && paths.iter().any(|path| wanted.starts_with(path)) {
        hosts.push(wanted.to_owned());
    }
    if hosts.is_empty() {
        selection.skipped.push(format!("{} is not in the snapshot's source {source}", wanted.display()));
    }
    let mut all_found = true;
    for host in hosts {
        let Some(node) = find(source, &host)? else {
            all_found = false;
            selection.skipped.push(format!("{} is not in the snapshot's source {source}", host.display()));
            continue;
        };
        if host == Path::new("/") {
            let what = "the whole host cannot be restored in place: name one of its folders, or use --to";
            return Err(InPlaceError::Selection(what.to_owned()));
        }
        if matches!(node.kind, NodeKind::Socket | NodeKind::Unknown) {
            selection.skipped.push(format!("{} is a {}, which no restore makes", host.display(), node.kind.name()));
            continue;
        }
        let (source, kind) = (source.to_owned(), record.kind.clone());
        let around = paths.iter().find(|path| host != **path && host.starts_with(path));
        let within = around.filter(|_| kind == COUCHDB).cloned();
        selection.roots.push(Root { source, kind, host, within, node });
    }
    if is_whole && all_found {
        selection.whole.insert(source.to_owned());
    }
    Ok(())
}

/// Sorts the roots and takes out what another root of its source covers, or another source restores already.
fn settle(selection: &mut Selection) {
    let mut roots = std::mem::take(&mut selection.roots);
    // At the same path, the source that knows more of the file than its bytes comes first.
    roots.sort_by(|a, b| (&a.host, a.kind == "files", &a.source).cmp(&(&b.host, b.kind == "files", &b.source)));
    for root in roots {
        let covered = selection.roots.iter().any(|other| {
            other.source == root.source && other.node.kind == NodeKind::Dir && root.host.starts_with(&other.host)
        });
        match selection.roots.last() {
            Some(last) if last.host == root.host && last.source != root.source => {
                let (host, source, other) = (root.host.display(), &root.source, &last.source);
                selection.skipped.push(format!("{host} of {source}: it is restored from {other}"));
                selection.whole.remove(source);
            }
            _ if covered => {}
            _ => selection.roots.push(root),
        }
    }
}

/// The absolute paths of a source on the host; a path that could not have come from there is passed over.
pub fn host_paths(record: &SourceRecord) -> Vec<PathBuf> {
    let listed = record.facts.get(PATHS_FACT).and_then(Value::as_array).into_iter().flatten();
    let paths = listed.filter_map(Value::as_str).map(manifest::path);
    let normal = |path: &PathBuf| {
        path.is_absolute() && path.components().skip(1).all(|part| matches!(part, Component::Normal(_)))
    };
    paths.filter(normal).collect()
}

/// The files that SQLite keeps beside `database`.
pub(super) fn side_files(database: &Path) -> impl Iterator<Item = PathBuf> {
    let database = database.as_os_str().to_owned();
    SQLITE_SIDE_FILES.into_iter().map(move |suffix| {
        let mut path = database.clone();
        path.push(suffix);
        PathBuf::from(path)
    })
}

/// What lies beside a database file and is another state of the same database: what a compaction before the restore left,
/// which CouchDB would go on with; and beside a compacted one, which it takes where the other lacks, that other one.
fn compactions(file: &Path) -> Vec<PathBuf> {
    let extension = file.extension().unwrap_or_default();
    let database = if extension == "compact" { file.with_extension("") } else { file.to_owned() };
    if database.extension().is_none_or(|extension| extension != "couch") {
        return Vec::new();
    }
    let of_database = ["", ".compact", ".compact.data", ".compact.meta"].into_iter().map(|suffix| {
        let mut path = database.as_os_str().to_owned();
        path.push(suffix);
        PathBuf::from(path)
    });
    of_database.filter(|path| path != file).collect()
}

fn below_source(host: &Path) -> &Path {
    host.strip_prefix("/").unwrap_or(host)
}
