//! Looks at everything that is stored, names what is damaged, and says which snapshots and files suffer.

mod packs;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use crate::format::index_file::IndexedPack;
use crate::format::pack::BlobKind;
use crate::format::receipt::Receipt;
use crate::lock::{self, Held, Said};
use crate::walk::{self, Go, Step};
use crate::{Error, File, FileKind, Id, Index, NodeKind, Repository, RunCx, StorageError, prune, receipt};

/// How much of the packs is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ReadData {
    /// Nothing but the trees.
    None,
    /// Every byte.
    All,
    /// About this share of the packs, 0 to 100; another random choice each time.
    Percent(f64),
}

/// Something that is wrong with a stored file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file at fault; `None` where nothing is stored that should be.
    pub file: Option<File>,
    /// What is wrong.
    pub what: String,
}

/// A file of a snapshot that a restore could not bring back whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Affected {
    /// The snapshot.
    pub snapshot: Id,
    /// The path in it; empty where the snapshot as a whole cannot be read.
    pub path: PathBuf,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Snapshots that were walked.
    pub snapshots: usize,
    /// Packs listed.
    pub packs: usize,
    /// Packs of which every byte was read.
    pub packs_read: usize,
    /// Bytes of those.
    pub bytes_read: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Which files suffer, at most [`AFFECTED_MAX`].
    pub affected: Vec<Affected>,
    /// How many suffer in all.
    pub affected_total: usize,
    /// Packs that no index names, as an interrupted backup or prune leaves them. They harm nothing.
    pub unused_packs: usize,
}

/// Affected files that are listed one by one.
pub const AFFECTED_MAX: usize = 1000;

impl Report {
    /// Whether nothing is wrong.
    pub fn is_ok(&self) -> bool {
        self.findings.is_empty()
    }

    fn find(&mut self, file: Option<File>, what: impl Into<String>) {
        self.findings.push(Finding { file, what: what.into() });
    }

    /// Counts every affected file, and keeps the first of them: there may be as many as there are files.
    fn affect(&mut self, snapshot: Id, path: &Path) {
        self.affected_total += 1;
        if self.affected.len() < AFFECTED_MAX {
            self.affected.push(Affected { snapshot, path: path.to_owned() });
        }
    }

    fn find_error(&mut self, file: File, error: &Error) {
        let what = match error {
            Error::Damaged { what, .. } => what.clone(),
            Error::Unreadable { what, .. } => format!("it cannot be read: {what}"),
            other => other.to_string(),
        };
        self.find(Some(file), what);
    }
}

/// The blobs that cannot be read from anywhere.
type Lost = HashSet<(BlobKind, Id)>;

/// Checks structure always (keys, index, snapshots, trees, that every blob needed is stored, pack sizes), contents as
/// `read_data` asks. Errors are those that keep it from looking; what it finds is in the report.
pub fn check(cx: &RunCx<'_>, repository: &Repository, read_data: ReadData) -> Result<Report, Error> {
    let mut report = Report::default();
    check_small_files(cx, repository, &mut report)?;
    for id in receipt::orphans(repository)? {
        let what = "it is gone, while the receipt of its drill is there: lost, or removed by another program";
        report.find(Some(File::new(FileKind::Snapshot, id)), what);
    }
    let (snapshots, damaged_snapshots) = repository.snapshots_readable(cx.cancel)?;
    for (id, error) in &damaged_snapshots {
        report.find_error(File::new(FileKind::Snapshot, *id), error);
        report.affect(*id, Path::new(""));
    }
    let (index, damaged_index) = Index::load_readable(cx, repository)?;
    for (id, error) in &damaged_index {
        report.find_error(File::new(FileKind::Index, *id), error);
    }
    let listing = packs::list(repository)?;
    let mut lost = packs::check_listing(&listing, &index, &mut report);
    packs::read(cx, repository, &index, read_data, None, &mut report, &mut lost)?;
    let roots: Vec<Id> = snapshots.iter().map(|(_, snapshot)| snapshot.tree).collect();
    check_trees(cx, repository, &index, &listing, &roots, &mut report, &mut lost)?;
    report.snapshots = snapshots.len();
    if !lost.is_empty() {
        for (id, snapshot) in &snapshots {
            find_affected(cx, repository, &index, *id, &snapshot.tree, &lost, &mut report)?;
        }
    }
    report.affected.sort();
    // What names a file comes first: the rest follows from it.
    report.findings.sort_by_key(|finding| (finding.file.is_none(), finding.clone()));
    report.findings.dedup();
    Ok(report)
}

/// What a glance at a copy shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Glance {
    /// Packs that the index names and that are gone or have another size.
    pub packs_lost: usize,
    /// Packs that no index names and no prune condemned: left by a run that was killed, or their index is lost. 0 while
    /// another program is at work, since what it has written so far looks the same.
    pub packs_unknown: usize,
}

/// Holds the listing of packs against the index. Cheap enough for every look: one listing, and a few small files.
pub fn at_a_glance(cx: &RunCx<'_>, repository: &Repository, index: &Index) -> Result<Glance, Error> {
    let is_idle = || Ok::<_, Error>(lock::held(repository, cx.clock.now())?.iter().all(Held::is_dead));
    let was_idle = is_idle()?;
    let listing = packs::list(repository)?;
    let mut report = Report::default();
    packs::check_listing(&listing, index, &mut report);
    let indexed: HashSet<&Id> = index.pack_ids().iter().collect();
    let condemned = prune::load_condemned(repository)?.0;
    let condemned: HashSet<&Id> = condemned.iter().flat_map(|(_, list)| &list.packs).collect();
    let unknown = listing.keys().filter(|id| !indexed.contains(id) && !condemned.contains(id)).count();
    let is_idle = was_idle && is_idle()?;
    Ok(Glance { packs_lost: report.findings.len(), packs_unknown: if is_idle { unknown } else { 0 } })
}

/// Checks what one snapshot needs and nothing else: its trees, that its blobs are stored, and, where asked, every byte
/// of the packs they lie in.
pub fn snapshot(
    cx: &RunCx<'_>,
    repository: &Repository,
    index: &Index,
    tree: &Id,
    read_data: ReadData,
) -> Result<Report, Error> {
    let mut report = Report { snapshots: 1, ..Report::default() };
    let mut lost = Lost::new();
    let listing = packs::list(repository)?;
    let needed = check_trees(cx, repository, index, &listing, &[*tree], &mut report, &mut lost)?;
    report.packs = needed.packs.len() + needed.unusable.len();
    packs::report_unusable(&listing, index, &needed.unusable, &mut report);
    packs::read(cx, repository, index, read_data, Some(&needed.packs), &mut report, &mut lost)?;
    Ok(report)
}

/// Keys, locks and Lifeboat's own files. The config was read when the repository was opened.
fn check_small_files(cx: &RunCx<'_>, repository: &Repository, report: &mut Report) -> Result<(), Error> {
    let (_, damaged_keys) = repository.keys_readable()?;
    for (id, error) in damaged_keys {
        report.find_error(File::new(FileKind::Key, id), &error);
    }
    for lock in lock::held(repository, cx.clock.now())? {
        let file = Some(File::new(FileKind::Lock, lock.id));
        match lock.said {
            Said::Lock(_) => {}
            Said::Damaged => report.find(file, "it is damaged; remove it if nothing is running"),
            Said::Unread(what) => report.find(file, format!("it cannot be read: {what}")),
        }
    }
    let own = [
        (FileKind::Receipt, (|json| Receipt::parse(json).map(drop)) as fn(&[u8]) -> Result<(), String>),
        (FileKind::Condemned, |json| prune::Condemned::parse(json).map(drop)),
    ];
    for (kind, parse) in own {
        for listed in repository.storage().list(kind)? {
            let file = File::new(kind, listed.id);
            match repository.load_json(kind, listed.id) {
                Ok(json) => parse(&json).unwrap_or_else(|what| report.find(Some(file), what)),
                // Check takes no lock: a prune may have replaced a list since.
                Err(Error::Storage(StorageError::NotFound { .. })) if !repository.is_listed(file)? => {}
                Err(error) if error.is_damage() => report.find_error(file, &error),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// The packs that snapshots need.
#[derive(Default)]
struct Needed {
    /// Each needed blob lies in one of these, as far as their sizes tell.
    packs: HashSet<Id>,
    /// The blobs of these lie in no pack that is there and long enough.
    unusable: HashSet<Id>,
}

/// Reads every tree that the snapshots need, and looks up every data blob.
fn check_trees(
    cx: &RunCx<'_>,
    repository: &Repository,
    index: &Index,
    listing: &packs::Listing,
    roots: &[Id],
    report: &mut Report,
    lost: &mut Lost,
) -> Result<Needed, Error> {
    let needed = std::cell::RefCell::new(Needed::default());
    let find = |kind, id: &Id| {
        let mut needed = needed.borrow_mut();
        let held = index.locations(kind, id).find(|location| packs::holds(listing, location));
        match held.or_else(|| index.find(kind, id)) {
            Some(location) if held.is_some() => needed.packs.insert(location.pack),
            Some(location) => needed.unusable.insert(location.pack),
            None => return false,
        };
        true
    };
    let mut missing = BTreeSet::new();
    let mut damaged = BTreeMap::new();
    walk::sweep(
        cx,
        repository,
        index,
        roots,
        |id| {
            if !find(BlobKind::Data, &id) {
                missing.insert(id);
            }
        },
        |id| {
            // A missing tree shows when it is read.
            find(BlobKind::Tree, &id);
        },
        |id, error| {
            damaged.insert(id, error);
            Ok(())
        },
    )?;
    if let Some(first) = missing.first() {
        let blobs =
            if missing.len() == 1 { "a data blob is".to_owned() } else { format!("{} data blobs are", missing.len()) };
        report.find(None, format!("{blobs} in no index, such as {first}"));
    }
    lost.extend(missing.into_iter().map(|id| (BlobKind::Data, id)));
    for (id, error) in damaged {
        let pack = match &error {
            Error::BlobDamaged { pack, .. } => Some(File::pack(*pack)),
            Error::Unreadable { file, .. } => Some(*file),
            Error::Storage(StorageError::NotFound { file, .. }) => Some(*file),
            _ => None,
        };
        report.find(pack, error.to_string());
        lost.insert((BlobKind::Tree, id));
    }
    Ok(needed.into_inner())
}

/// Names the files of one snapshot that need a lost blob.
fn find_affected(
    cx: &RunCx<'_>,
    repository: &Repository,
    index: &Index,
    snapshot: Id,
    tree: &Id,
    lost: &Lost,
    report: &mut Report,
) -> Result<(), Error> {
    if lost.contains(&(BlobKind::Tree, *tree)) {
        report.affect(snapshot, Path::new(""));
        return Ok(());
    }
    walk::walk(cx, repository, index, tree, &mut |step| {
        let Step::Reach(path, node) = step else { return Ok(Go::In) };
        let tree_lost = node.subtree.is_some_and(|tree| lost.contains(&(BlobKind::Tree, tree)));
        let data_lost = node.content.iter().any(|id| lost.contains(&(BlobKind::Data, *id)));
        if tree_lost || data_lost {
            report.affect(snapshot, path);
        }
        Ok(if tree_lost && node.kind == NodeKind::Dir { Go::Past } else { Go::In })
    })
}

/// The packs an index names, each with its blobs in order.
fn indexed_packs(index: &Index) -> impl Iterator<Item = IndexedPack> {
    index.packs().into_iter().map(|(id, blobs)| IndexedPack { id, blobs })
}
