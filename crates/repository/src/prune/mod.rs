//! Removes what no snapshot needs, in two phases, so that nothing is lost to a program that did not see the lock.
//!
//! Phase one takes unneeded packs out of the index, after their needed blobs were packed anew, and notes them as
//! *condemned*. Phase two, a later run, deletes condemned packs once the grace period is over. A backup that still used
//! an old index may by then have written a snapshot that needs a blob of a condemned pack: such packs are taken back
//! into the index. The idea is the two-step fossil collection of Duplicacy (Chen, "Lock-Free Deduplication", 2018).
//!
//! Order within a run, which is valid at every instant: new packs, new index files, condemned list, older lists without
//! what they no longer speak for, delete old index files, delete packs. `docs/design/prune.md` tells the story of each
//! crash.

mod plan;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use plan::{Options, Plan};

use crate::blob_writer::with_blob_writer;
use crate::format::index_file::{IndexFile, IndexedPack};
use crate::format::time::Time;
use crate::limits::PACKS_PER_INDEX;
use crate::lock::{Access, Lock, with_held_lock};
use crate::plausible::check_clock;
use crate::{Error, Event, File, FileKind, Id, Index, Repository, RunCx};

/// Packs that are out of the index and wait to be deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condemned {
    /// When they were condemned.
    pub time: Time,
    /// The packs.
    pub packs: Vec<Id>,
}

impl Condemned {
    /// Reads the JSON of a list.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(json).map_err(|error| error.to_string())
    }
}

/// What a prune did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Packs deleted.
    pub packs_deleted: usize,
    /// Bytes freed.
    pub bytes_freed: u64,
    /// Packs that wait for the end of their grace period.
    pub packs_condemned: usize,
    /// Bytes that will be freed then.
    pub bytes_condemned: u64,
    /// Packs whose needed blobs were packed anew.
    pub packs_repacked: usize,
}

/// Decides what to remove, without changing anything.
pub fn plan(cx: &RunCx<'_>, repository: &Repository, options: Options) -> Result<Plan, Error> {
    plan::plan(cx, repository, options)
}

/// Plans and carries out the plan, alone in the repository.
pub fn prune(cx: &RunCx<'_>, repository: &Arc<Repository>, options: Options) -> Result<(Plan, Pruned), Error> {
    with_held_lock(cx, repository, Access::Exclusive, |cx, lock| {
        check_clock(cx, repository, lock)?;
        let plan = plan::plan(cx, repository, options)?;
        let pruned = carry_out(cx, repository, &plan, lock)?;
        Ok((plan, pruned))
    })
}

fn carry_out(cx: &RunCx<'_>, repository: &Repository, plan: &Plan, lock: &Lock<'_>) -> Result<Pruned, Error> {
    let mut pruned = Pruned { packs_repacked: plan.repack.len(), ..Pruned::default() };
    if !plan.repack.is_empty() {
        repack(cx, repository, plan)?;
    }
    lock.check()?;
    if plan.changes_index() {
        // What `repack` just wrote stays as it is.
        write_index(cx, repository, &plan.keep)?;
    }
    // From here on the new index files alone serve every snapshot.
    let (lists, damaged) = load_condemned(repository)?;
    let condemned = condemn(cx, repository, plan)?;
    let mut lists = settle(cx, repository, plan, lists)?;
    lists.extend(condemned);
    // What only a damaged list named was just condemned anew.
    for id in damaged {
        repository.delete_if_there(File::new(FileKind::Condemned, id))?;
    }
    if plan.changes_index() {
        for id in &plan.old_index_files {
            repository.delete_if_there(File::new(FileKind::Index, *id))?;
        }
    }
    delete(cx, repository, plan, lists, lock, &mut pruned)?;
    Ok(pruned)
}

/// Packs the needed blobs of `plan.repack` anew; their new index file is written as well.
fn repack(cx: &RunCx<'_>, repository: &Repository, plan: &Plan) -> Result<(), Error> {
    let bytes_total = plan.repack.iter().flat_map(|(_, blobs)| blobs).map(|blob| u64::from(blob.length)).sum();
    cx.events.emit(Event::StepStarted { name: "repacking".to_owned(), bytes_total: Some(bytes_total) });
    let source = Index::of_packs(&plan.all_packs);
    // The writer must not find the blobs where they are now, so it starts from an empty index.
    let nothing = Index::default();
    with_blob_writer(cx, repository, &nothing, |writer| {
        for (_, blobs) in &plan.repack {
            for blob in blobs {
                let plain = repository.blob(&source, blob.kind, &blob.id)?;
                cx.events.emit(Event::Bytes(u64::from(blob.length)));
                writer.store(blob.kind, plain)?;
            }
        }
        Ok(())
    })?;
    Ok(())
}

/// Writes index files of a bounded size for `packs`.
pub(crate) fn write_index(cx: &RunCx<'_>, repository: &Repository, packs: &[IndexedPack]) -> Result<(), Error> {
    for packs in packs.chunks(PACKS_PER_INDEX) {
        cx.cancel.check()?;
        cx.check_lock()?;
        let file = IndexFile { supersedes: Vec::new(), packs: packs.to_vec() };
        repository.save_json_bytes(FileKind::Index, &file.to_json())?;
    }
    Ok(())
}

type CondemnedLists = Vec<(Id, Condemned)>;

/// The condemned lists that can be read, and the names of damaged ones. Without its list a condemned pack is like one that
/// was never in an index, which is condemned by the next prune: a lost list delays and loses nothing.
pub(crate) fn load_condemned(repository: &Repository) -> Result<(CondemnedLists, Vec<Id>), Error> {
    let (mut lists, mut damaged) = (CondemnedLists::new(), Vec::new());
    for listed in repository.storage().list(FileKind::Condemned)? {
        let list = match repository.load_json(FileKind::Condemned, listed.id) {
            Ok(json) => Condemned::parse(&json).ok(),
            // It is no damaged one, and would be removed as such.
            Err(error @ Error::Unreadable { .. }) => return Err(error),
            Err(error) if error.is_damage() => None,
            Err(error) => return Err(error),
        };
        match list {
            Some(list) => lists.push((listed.id, list)),
            None => damaged.push(listed.id),
        }
    }
    Ok((lists, damaged))
}

fn condemn(cx: &RunCx<'_>, repository: &Repository, plan: &Plan) -> Result<Option<(Id, Condemned)>, Error> {
    if plan.condemn.is_empty() {
        return Ok(None);
    }
    let list = Condemned { time: cx.clock.now().into(), packs: plan.condemn.iter().map(|listed| listed.id).collect() };
    let id = repository.save_json(FileKind::Condemned, &list)?;
    Ok(Some((id, list)))
}

/// Takes out of older lists what they no longer speak for: packs that were taken back into the index, and packs that
/// were in the index until now, whose grace period begins anew. A list keeps its time.
fn settle(
    cx: &RunCx<'_>,
    repository: &Repository,
    plan: &Plan,
    lists: CondemnedLists,
) -> Result<CondemnedLists, Error> {
    let kept: HashSet<Id> = plan.keep.iter().map(|pack| pack.id).collect();
    let fresh: HashSet<Id> = plan.condemn.iter().map(|listed| listed.id).collect();
    let mut settled = CondemnedLists::new();
    for (id, mut list) in lists {
        cx.cancel.check()?;
        let before = list.packs.len();
        list.packs.retain(|pack| !kept.contains(pack) && !fresh.contains(pack));
        if list.packs.len() == before {
            settled.push((id, list));
            continue;
        }
        if !list.packs.is_empty() {
            settled.push((repository.save_json(FileKind::Condemned, &list)?, list));
        }
        repository.delete_if_there(File::new(FileKind::Condemned, id))?;
    }
    Ok(settled)
}

/// Deletes the packs whose grace period is over, then the lists that name nothing else. Where several lists name a pack,
/// as a run killed between two of its steps leaves them, the newest has the say.
fn delete(
    cx: &RunCx<'_>,
    repository: &Repository,
    plan: &Plan,
    lists: CondemnedLists,
    lock: &Lock<'_>,
    pruned: &mut Pruned,
) -> Result<(), Error> {
    let now = cx.clock.now();
    let is_over = |since: Time| is_over(since.into(), plan.grace, now);
    let mut condemned: BTreeMap<Id, Time> = BTreeMap::new();
    for (pack, time) in lists.iter().flat_map(|(_, list)| list.packs.iter().map(|pack| (*pack, list.time))) {
        let since = condemned.entry(pack).or_insert(time);
        *since = time.max(*since);
    }
    for (pack, since) in condemned {
        let Some(bytes) = plan.deletable.get(&pack) else { continue };
        if !is_over(since) {
            pruned.packs_condemned += 1;
            pruned.bytes_condemned += bytes;
            continue;
        }
        cx.cancel.check()?;
        lock.check()?;
        if repository.delete_if_there(File::pack(pack))? {
            pruned.packs_deleted += 1;
            pruned.bytes_freed += bytes;
        }
    }
    for (id, _) in lists.iter().filter(|(_, list)| is_over(list.time)) {
        repository.delete_if_there(File::new(FileKind::Condemned, *id))?;
    }
    Ok(())
}

/// Whether a grace period that began at `since` is over. A beginning in the future is one by a clock that was wrong;
/// waiting is the safe reading.
fn is_over(since: Timestamp, grace: Duration, now: Timestamp) -> bool {
    since <= now && now.duration_since(since).unsigned_abs() >= grace
}
