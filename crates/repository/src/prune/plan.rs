//! Decides what `prune` keeps, packs anew, condemns and deletes. Changes nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::load_condemned;
use crate::format::index_file::IndexedPack;
use crate::format::pack::{BlobKind, PackedBlob};
use crate::limits::{PACK_BYTES_TARGET, PACKS_PER_INDEX, PRUNE_GRACE};
use crate::storage::Listed;
use crate::{Error, FileKind, Id, Index, Repository, RunCx, walk};

/// What the user may decide.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long condemned packs are kept.
    pub grace: Duration,
    /// Unneeded bytes within packs that are tolerated, in percent of all bytes kept; restic's default is 5.
    pub unused_percent_max: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self { grace: PRUNE_GRACE, unused_percent_max: 5 }
    }
}

/// What is to be done.
#[derive(Debug, Default)]
pub struct Plan {
    /// Packs that stay as they are.
    pub keep: Vec<IndexedPack>,
    /// Packs that are packed anew, with those of their blobs that are needed.
    pub repack: Vec<(Id, Vec<PackedBlob>)>,
    /// Packs that leave the index now, among them those packed anew and those that no index named.
    pub condemn: Vec<Listed>,
    /// Condemned packs that a newer snapshot turned out to need.
    pub taken_back: Vec<Id>,
    /// All packs out of the index after this run, with their bytes; deleted when their grace period is over.
    pub deletable: HashMap<Id, u64>,
    /// Bytes of blobs that snapshots need.
    pub bytes_used: u64,
    /// Bytes of blobs that none needs.
    pub bytes_unused: u64,
    /// The grace period.
    pub grace: Duration,
    pub(super) old_index_files: Vec<Id>,
    pub(super) all_packs: Vec<IndexedPack>,
    reindex: bool,
}

impl Plan {
    /// Whether index files are written anew.
    pub(super) fn changes_index(&self) -> bool {
        self.reindex
    }

    /// Whether nothing leaves or comes back, and nothing waits to be deleted.
    pub fn is_empty(&self) -> bool {
        self.repack.is_empty() && self.condemn.is_empty() && self.taken_back.is_empty() && self.deletable.is_empty()
    }
}

/// How much of a pack is needed.
struct Use {
    pack: IndexedPack,
    needed: Vec<PackedBlob>,
    bytes_used: u64,
    bytes_unused: u64,
}

pub(super) fn plan(cx: &RunCx<'_>, repository: &Repository, options: Options) -> Result<Plan, Error> {
    repository.check_writable()?;
    cx.cancel.check()?;
    let snapshots = repository.snapshots(cx.cancel)?;
    let index = Index::load(cx, repository)?;
    let listed: HashMap<Id, u64> =
        repository.storage().list(FileKind::Pack)?.into_iter().map(|listed| (listed.id, listed.bytes)).collect();
    let condemned: HashSet<Id> = load_condemned(repository)?.0.into_iter().flat_map(|(_, list)| list.packs).collect();
    let roots: Vec<Id> = snapshots.iter().map(|(_, snapshot)| snapshot.tree).collect();

    let (index, taken_back) = take_back(cx, repository, index, &roots, &listed, &condemned)?;
    let needed = needed(cx, repository, &index, &roots)?;
    check_present(&index, &needed, &listed)?;

    let mut plan = Plan { grace: options.grace, old_index_files: index.files().to_vec(), ..Plan::default() };
    plan.taken_back = taken_back.iter().map(|pack| pack.id).collect();
    let mut uses = uses(&index, &needed);
    plan.bytes_used = uses.iter().map(|u| u.bytes_used).sum();
    plan.bytes_unused = uses.iter().map(|u| u.bytes_unused).sum();
    plan.all_packs = uses.iter().map(|u| u.pack.clone()).collect();
    choose(&mut plan, &mut uses, options);

    let kept: HashSet<Id> = plan.keep.iter().map(|pack| pack.id).collect();
    plan.deletable = listed.into_iter().filter(|(id, _)| !kept.contains(id)).collect();
    // A pack that is in the index may be in use by a run that has read it, so it is condemned from now on, even where an
    // older list names it: it was taken back since, or written by a run that saw no lock.
    let indexed: HashSet<Id> = plan.all_packs.iter().map(|pack| pack.id).collect();
    plan.condemn = plan
        .deletable
        .iter()
        .filter(|(id, _)| !condemned.contains(id) || indexed.contains(id))
        .map(|(id, bytes)| Listed { id: *id, bytes: *bytes })
        .collect();
    plan.condemn.sort();
    // Each backup adds an index file, however small; together they open faster.
    let scattered = plan.old_index_files.len() > 2 * (plan.keep.len() / PACKS_PER_INDEX) + 16;
    plan.reindex = scattered || !plan.taken_back.is_empty() || plan.keep.len() != plan.all_packs.len();
    Ok(plan)
}

/// The needed blobs of each kind, one flag for each position in the index; of a blob that lies in several packs only its
/// first place is needed.
struct Needed {
    data: Vec<bool>,
    trees: Vec<bool>,
    missing: Vec<(BlobKind, Id)>,
}

impl Needed {
    fn mark(&mut self, index: &Index, kind: BlobKind, id: Id) {
        let at = index.range(kind, &id);
        if at.is_empty() {
            self.missing.push((kind, id));
            return;
        }
        match kind {
            BlobKind::Data => self.data[at.start] = true,
            BlobKind::Tree => self.trees[at.start] = true,
        }
    }

    fn has(&self, kind: BlobKind, at: usize) -> bool {
        match kind {
            BlobKind::Data => self.data[at],
            BlobKind::Tree => self.trees[at],
        }
    }
}

fn needed(cx: &RunCx<'_>, repository: &Repository, index: &Index, roots: &[Id]) -> Result<Needed, Error> {
    let needed = Needed {
        data: vec![false; index.len(BlobKind::Data)],
        trees: vec![false; index.len(BlobKind::Tree)],
        missing: Vec::new(),
    };
    let needed = std::cell::RefCell::new(needed);
    walk::sweep(
        cx,
        repository,
        index,
        roots,
        |id| needed.borrow_mut().mark(index, BlobKind::Data, id),
        |id| needed.borrow_mut().mark(index, BlobKind::Tree, id),
        // What a snapshot needs may hang on a tree that cannot be read, so nothing may be removed.
        |id, error| if index.contains(BlobKind::Tree, &id) { Err(error) } else { Ok(()) },
    )?;
    Ok(needed.into_inner())
}

/// Where snapshots need blobs that no index names, looks for them in condemned packs and takes those packs back.
fn take_back(
    cx: &RunCx<'_>,
    repository: &Repository,
    index: Index,
    roots: &[Id],
    listed: &HashMap<Id, u64>,
    condemned: &HashSet<Id>,
) -> Result<(Index, Vec<IndexedPack>), Error> {
    let mut taken: BTreeMap<Id, IndexedPack> = BTreeMap::new();
    let mut current = index;
    // A tree that was taken back may need further blobs, so until nothing new is found.
    loop {
        let missing: HashSet<_> = needed(cx, repository, &current, roots)?.missing.into_iter().collect();
        if missing.is_empty() {
            break;
        }
        let before = taken.len();
        for id in condemned {
            cx.cancel.check()?;
            let Some(bytes) = listed.get(id).filter(|_| !taken.contains_key(id)) else { continue };
            let blobs = match repository.pack_header(&Listed { id: *id, bytes: *bytes }) {
                Ok(blobs) => blobs,
                // It cannot help. What stays missing is named by `check_present`.
                Err(error) if error.is_damage() => continue,
                Err(error) => return Err(error),
            };
            if blobs.iter().any(|blob| missing.contains(&(blob.kind, blob.id))) {
                taken.insert(*id, IndexedPack { id: *id, blobs });
            }
        }
        if taken.len() == before {
            // Nothing to take back: `check_present` names what is missing.
            break;
        }
        let files = current.files().to_vec();
        let packs = current.packs().into_iter().map(|(id, blobs)| IndexedPack { id, blobs });
        let all: Vec<_> = packs.chain(taken.values().cloned()).collect();
        current = Index::of_packs(&all).with_files(files);
    }
    Ok((current, taken.into_values().collect()))
}

/// Fails, before anything is changed, where something that a snapshot needs is not there.
fn check_present(index: &Index, needed: &Needed, listed: &HashMap<Id, u64>) -> Result<(), Error> {
    if let Some((kind, id)) = needed.missing.first() {
        return Err(Error::BlobMissing { id: *id, kind: kind.name() });
    }
    for kind in [BlobKind::Data, BlobKind::Tree] {
        for at in (0..index.len(kind)).filter(|at| needed.has(kind, *at)) {
            let location = index.location(kind, at);
            let end = u64::from(location.blob.offset) + u64::from(location.blob.length);
            if listed.get(&location.pack).is_none_or(|bytes| *bytes < end) {
                let what = "snapshots need it, but it is missing or too short".to_owned();
                return Err(Error::Damaged { file: crate::File::pack(location.pack), what });
            }
        }
    }
    Ok(())
}

fn uses(index: &Index, needed: &Needed) -> Vec<Use> {
    let mut by_pack: HashMap<Id, Vec<PackedBlob>> = HashMap::new();
    for kind in [BlobKind::Data, BlobKind::Tree] {
        for at in (0..index.len(kind)).filter(|at| needed.has(kind, *at)) {
            let location = index.location(kind, at);
            by_pack.entry(location.pack).or_default().push(location.blob);
        }
    }
    let uses = index.packs().into_iter().map(|(id, blobs)| {
        let needed = by_pack.remove(&id).unwrap_or_default();
        let bytes = |blobs: &[PackedBlob]| blobs.iter().map(|blob| u64::from(blob.length)).sum::<u64>();
        let (all, bytes_used) = (bytes(&blobs), bytes(&needed));
        Use { pack: IndexedPack { id, blobs }, needed, bytes_used, bytes_unused: all.saturating_sub(bytes_used) }
    });
    uses.collect()
}

/// Packs without a needed blob go; of the others those with the largest share of unneeded bytes are packed anew, until
/// what stays unneeded is within its bound. Trees are packed anew wherever
/// they hold any, since they are read often and are small.
fn choose(plan: &mut Plan, uses: &mut Vec<Use>, options: Options) {
    let share = |u: &Use| u.bytes_unused as f64 / (u.bytes_used + u.bytes_unused).max(1) as f64;
    uses.sort_by(|a, b| share(b).total_cmp(&share(a)).then(a.pack.id.cmp(&b.pack.id)));
    let tolerated = plan.bytes_used / 100 * u64::from(options.unused_percent_max);
    let mut unused: u64 = uses.iter().filter(|u| !u.needed.is_empty()).map(|u| u.bytes_unused).sum();
    let small = |u: &Use| u.pack.pack_bytes() < PACK_BYTES_TARGET as u64 / 4;
    // Every backup ends with small packs; once there are enough to fill one, they are packed together.
    let bytes_small: u64 = uses.iter().filter(|u| small(u)).map(|u| u.bytes_used).sum();
    let merge_small = bytes_small >= PACK_BYTES_TARGET as u64;
    for mut u in uses.drain(..) {
        if u.needed.is_empty() {
            continue;
        }
        let is_tree = u.pack.blobs.iter().any(|blob| blob.kind == BlobKind::Tree);
        let wasteful = u.bytes_unused > 0 && (unused > tolerated || is_tree);
        if wasteful || (merge_small && small(&u)) {
            unused = unused.saturating_sub(u.bytes_unused);
            u.needed.sort_by_key(|blob| blob.offset);
            plan.repack.push((u.pack.id, u.needed));
        } else {
            plan.keep.push(u.pack);
        }
    }
    plan.keep.sort_by_key(|pack| pack.id);
}
