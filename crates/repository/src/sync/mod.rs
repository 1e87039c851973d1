//! Brings a copy into step with others: the difference of two listings, moved as the same packs, byte for byte.
//!
//! Tonight's copy, a new one, one that was away for a month and one whose run was interrupted are one case: the target
//! lacks snapshots, and what they need is moved, but for what lies there already. Packs come before the index files that
//! name them, those before the snapshots, so the target is valid at every instant and a run may end anywhere. Nothing is
//! put that was not held against its name, so damage never spreads. `docs/design/sync.md` tells why it is so.

mod locks;
mod plan;
mod transfer;
mod view;

use std::collections::HashSet;
use std::sync::Arc;

pub(crate) use locks::with_locks;
pub(crate) use plan::{Work, incomplete};
pub(crate) use transfer::{fetch, transfer};
pub(crate) use view::{Givers, Target, View};

use crate::format::snapshot::Snapshot;
use crate::limits::PACK_BYTES_IN_TRANSFER;
use crate::lock::{Access, Lock};
use crate::{Error, Event, File, FileKind, Id, Repository, RunCx};

/// What is to be moved.
#[derive(Debug, Default)]
pub struct Plan {
    /// Snapshots that will appear in the target, oldest first.
    pub snapshots: Vec<(Id, Snapshot)>,
    /// Snapshots that were asked for and cannot be brought whole.
    pub incomplete: Vec<Incomplete>,
    /// Packs to be moved.
    pub packs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Packs that lie in the target already and need only be named by an index, as an interrupted run leaves them.
    pub packs_there: usize,
    /// Blobs that have to be packed anew, because no giver has a whole pack of them or its name is taken.
    pub blobs: usize,
}

/// A snapshot that cannot be whole in the target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Incomplete {
    /// The snapshot.
    pub snapshot: Id,
    /// What it lacks.
    pub what: String,
}

/// Damage that was met in a giver. It did not spread; `heal` mends it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GiverDamage {
    /// The giver.
    pub location: String,
    /// The damaged or missing file.
    pub file: File,
    /// What is wrong.
    pub what: String,
}

/// A giver that could not be used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The giver.
    pub location: String,
    /// What it answered.
    pub what: String,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Synced {
    /// Snapshots that are in the target now, oldest first.
    pub snapshots: Vec<Id>,
    /// Snapshots that were asked for and could not be brought whole, so they are not there.
    pub incomplete: Vec<Incomplete>,
    /// Packs moved.
    pub packs_moved: usize,
    /// Their bytes.
    pub bytes_moved: u64,
    /// Packs that lay in the target already.
    pub packs_there: usize,
    /// Blobs that were packed anew.
    pub blobs_repacked: u64,
    /// Damage in the givers.
    pub damage: Vec<GiverDamage>,
    /// Givers that could not be used.
    pub left: Vec<Left>,
}

/// Decides what has to be moved so that `target` has the snapshots `wanted`, without changing anything. `givers` are
/// copies of the same repository, best first.
pub fn plan(
    cx: &RunCx<'_>,
    givers: &[Arc<Repository>],
    target: &Arc<Repository>,
    wanted: &[Id],
) -> Result<Plan, Error> {
    let missing = missing(givers, target, wanted)?;
    if missing.is_empty() {
        return Ok(Plan::default());
    }
    let givers = Givers::new(givers);
    Decided::decide(cx, &givers, target, &missing).map(|decided| decided.plan)
}

/// Plans and carries out the plan, under shared locks on all copies. A snapshot appears in the target once everything it
/// needs is there. What is damaged in one giver comes from the next; what none has whole is named, and the snapshots
/// that do not need it appear all the same.
///
/// Where the target has all that is wanted, this costs one listing and no lock.
pub fn run(
    cx: &RunCx<'_>,
    givers: &[Arc<Repository>],
    target: &Arc<Repository>,
    wanted: &[Id],
) -> Result<Synced, Error> {
    run_beside(cx, givers, target, wanted, 1)
}

/// The same, while `targets` are brought into step at once, this one among them: together they have no more packs in memory
/// than one has alone.
pub fn run_beside(
    cx: &RunCx<'_>,
    givers: &[Arc<Repository>],
    target: &Arc<Repository>,
    wanted: &[Id],
    targets: usize,
) -> Result<Synced, Error> {
    target.check_writable()?;
    let missing = missing(givers, target, wanted)?;
    if missing.is_empty() {
        return Ok(Synced::default());
    }
    with_locks(cx, target, Access::Shared, givers, |cx, lock, usable, left| {
        let givers = Givers::new(usable);
        let decided = Decided::decide(cx, &givers, target, &missing)?;
        let bytes_max = PACK_BYTES_IN_TRANSFER / targets.max(1) as u64;
        let mut synced = decided.carry_out(cx, &givers, lock, bytes_max)?;
        (synced.damage, synced.left) = givers.into_findings();
        synced.left.splice(0..0, left);
        Ok(synced)
    })
}

/// The wanted snapshots that the target does not list, each once.
fn missing(givers: &[Arc<Repository>], target: &Repository, wanted: &[Id]) -> Result<Vec<Id>, Error> {
    givers.iter().try_for_each(|giver| target.check_copy(giver))?;
    let listed = target.storage().list(FileKind::Snapshot)?;
    let mut there: HashSet<Id> = listed.into_iter().map(|listed| listed.id).collect();
    Ok(wanted.iter().copied().filter(|id| there.insert(*id)).collect())
}

/// A plan and what is needed to carry it out.
struct Decided<'a> {
    plan: Plan,
    target: Target<'a>,
    work: Work,
    /// The files of `plan.snapshots`.
    stored: Vec<Vec<u8>>,
}

impl<'a> Decided<'a> {
    fn decide(cx: &RunCx<'_>, givers: &Givers<'_>, target: &'a Arc<Repository>, missing: &[Id]) -> Result<Self, Error> {
        let mut plan = Plan::default();
        let mut snapshots = Vec::new();
        for id in missing {
            cx.cancel.check()?;
            match find_snapshot(cx, givers, *id) {
                Ok((stored, snapshot)) => snapshots.push((*id, snapshot, stored)),
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(error) => plan.incomplete.push(Incomplete { snapshot: *id, what: error.to_string() }),
            }
        }
        snapshots.sort_by_key(|(id, snapshot, _)| (snapshot.time, *id));
        let (view, damaged) = View::load(cx, target)?;
        for (id, error) in damaged {
            let file = File::new(FileKind::Index, id);
            cx.events.emit(Event::Note(format!("{}: {file}: {error}", target.storage().location())));
        }
        let target = Target::new(target, view, HashSet::new())?;
        let mut work = Work::default();
        if !snapshots.is_empty() {
            givers.look_first(cx)?;
            let roots = |snapshots: &[(Id, Snapshot, Vec<u8>)]| -> Vec<(Id, Id)> {
                snapshots.iter().map(|(id, snapshot, _)| (*id, snapshot.tree)).collect()
            };
            let trees = |snapshots: &[_]| -> Vec<Id> { roots(snapshots).into_iter().map(|(_, tree)| tree).collect() };
            work = Work::plan(cx, givers, &target, &trees(&snapshots))?;
            // What only they need is not worth moving. A tree may be read at one time and not at another, and what lies
            // below one that was not read is unknown, so until nothing is lost.
            while !work.lost.is_empty() {
                let lacking = incomplete(cx, givers, &target, &work.lost, roots(&snapshots))?;
                if lacking.is_empty() {
                    return Err(Error::Internal("something is lost that no snapshot needs".to_owned()));
                }
                snapshots.retain(|(id, _, _)| lacking.iter().all(|lacking| lacking.snapshot != *id));
                plan.incomplete.extend(lacking);
                work = Work::plan(cx, givers, &target, &trees(&snapshots))?;
            }
        }
        plan.packs = work.packs.iter().filter(|pack| !pack.is_there).count();
        plan.packs_there = work.packs.len() - plan.packs;
        (plan.bytes, plan.blobs) = (work.bytes_to_move(), work.blobs.len());
        let stored;
        (plan.snapshots, stored) = snapshots.into_iter().map(|(id, snapshot, stored)| ((id, snapshot), stored)).unzip();
        Ok(Self { plan, target, work, stored })
    }

    fn carry_out(self, cx: &RunCx<'_>, givers: &Givers<'_>, lock: &Lock<'_>, bytes_max: u64) -> Result<Synced, Error> {
        let done = transfer(cx, givers, &self.target, &self.work, bytes_max)?;
        let roots = self.plan.snapshots.iter().map(|(id, snapshot)| (*id, snapshot.tree));
        let mut synced = Synced {
            incomplete: self.plan.incomplete,
            packs_moved: done.packs_moved,
            bytes_moved: done.bytes_moved,
            packs_there: done.packs_named,
            blobs_repacked: done.blobs_repacked,
            ..Synced::default()
        };
        let lacking = incomplete(cx, givers, &self.target, &done.lost, roots)?;
        for ((id, _), stored) in self.plan.snapshots.iter().zip(&self.stored) {
            if lacking.iter().any(|lacking| lacking.snapshot == *id) {
                continue;
            }
            cx.cancel.check()?;
            lock.check()?;
            self.target.repository.put_if_absent(File::new(FileKind::Snapshot, *id), stored)?;
            synced.snapshots.push(*id);
        }
        synced.incomplete.extend(lacking);
        Ok(synced)
    }
}

/// A snapshot's file and what it says, from the first giver that has it whole.
pub(crate) fn find_snapshot(cx: &RunCx<'_>, givers: &Givers<'_>, id: Id) -> Result<(Vec<u8>, Snapshot), Error> {
    let mut failure = Error::NotFound("none of the copies asked has it".to_owned());
    for giver in &givers.all {
        match giver.repository.stored_snapshot(id) {
            Ok(found) => return Ok(found),
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(Error::Storage(crate::StorageError::NotFound { .. })) => {}
            Err(error) => {
                if error.is_damage() {
                    givers.note_damage(cx, giver.repository, File::new(FileKind::Snapshot, id), &error);
                }
                failure = error;
            }
        }
    }
    Err(failure)
}
