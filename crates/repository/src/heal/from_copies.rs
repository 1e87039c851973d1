//! Mends a copy from other copies: damaged and missing packs, snapshots and index files.
//!
//! The order, so that a run may end anywhere and be repeated: snapshot files; packs that another copy has under the same
//! name; the index, which from then on names whole blobs alone; what the snapshots still lack, as whole packs or packed
//! anew, by the machinery of `sync`; and only when nothing is lacking, damaged packs leave the index and the place. A file
//! is deleted only where its content is already in memory or elsewhere in this copy. `docs/design/sync.md` says more.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::{Healed, Read, damaged_packs, mend_index};
use crate::check::Finding;
use crate::format::index_file::IndexedPack;
use crate::limits::PACK_BYTES_IN_TRANSFER;
use crate::lock::{Access, Lock};
use crate::sync::{GiverDamage, Givers, Incomplete, Left, Target, View, Work};
use crate::{Error, Event, File, FileKind, Id, Index, Repository, RunCx, prune, receipt, sync, walk};

/// What was mended from other copies, and what was not.
#[derive(Clone, Debug, Default)]
pub struct FromCopies {
    /// What was done to the index.
    pub index: Healed,
    /// Snapshot files that were replaced.
    pub snapshots_replaced: Vec<Id>,
    /// Packs that were replaced by the same pack of another copy, missing ones among them.
    pub packs_replaced: Vec<Id>,
    /// Other packs that were brought because blobs were missing.
    pub packs_moved: usize,
    /// Bytes of all packs that came from other copies.
    pub bytes_moved: u64,
    /// Blobs that were packed anew, because no other copy has their pack.
    pub blobs_repacked: u64,
    /// Damaged packs that were removed once all that is needed of them lay elsewhere.
    pub packs_removed: Vec<Id>,
    /// What could not be mended.
    pub unhealed: Vec<Finding>,
    /// Snapshots that still lack something.
    pub incomplete: Vec<Incomplete>,
    /// Damage that was met in the other copies.
    pub damage: Vec<GiverDamage>,
    /// Other copies that could not be used.
    pub left: Vec<Left>,
}

impl FromCopies {
    /// Whether the copy is whole now, as far as was looked.
    pub fn is_whole(&self) -> bool {
        self.unhealed.is_empty() && self.incomplete.is_empty() && self.index.packs_unread.is_empty()
    }

    /// Whether every snapshot that is listed can be read and lacks nothing. Where one cannot be read, nobody knows what it
    /// needs.
    fn has_all_snapshots(&self) -> bool {
        let is_snapshot = |finding: &Finding| finding.file.is_some_and(|file| file.kind == FileKind::Snapshot);
        self.incomplete.is_empty() && !self.unhealed.iter().any(is_snapshot)
    }
}

/// How to look for damage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct How {
    /// Read every byte; else what listings, index and trees show is all that is found.
    pub read_data: bool,
    /// There are further copies that could not be opened. They may have what the others lack, so what tells of it stays.
    pub some_away: bool,
}

/// Replaces what is missing or damaged in `repository` by what `others`, which are copies of it, have whole. A snapshot that is not
/// listed is not missed: which ones belong into a copy is its retention's business, and `sync` brings them.
///
/// Without `others`, blobs that are whole in damaged packs are packed anew, and the rest is named.
pub fn from_copies(
    cx: &RunCx<'_>,
    repository: &Arc<Repository>,
    others: &[Arc<Repository>],
    how: How,
) -> Result<FromCopies, Error> {
    others.iter().try_for_each(|other| repository.check_copy(other))?;
    sync::with_locks(cx, repository, Access::Exclusive, others, |cx, lock, others, left| {
        let givers = Givers::new(others);
        let heal = Heal { cx, repository, givers: &givers, lock };
        let mut done = FromCopies::default();
        heal.small_files(&mut done)?;
        let Read { mut damaged, mut failed } = heal.packs(how.read_data, &mut done)?;
        if !how.read_data {
            heal.damaged_trees(&mut damaged, &mut failed, &mut done)?;
        }
        done.index = mend_index(cx, repository, &damaged)?;
        done.index.note_unread(failed);
        heal.what_snapshots_lack(&damaged, &mut done)?;
        if done.has_all_snapshots() {
            heal.remove(&damaged, &mut done)?;
        }
        (done.damage, done.left) = givers.into_findings();
        done.left.splice(0..0, left);
        // A copy that is away may still have the snapshot that a receipt tells of.
        if done.left.is_empty() && !how.some_away {
            done.index.receipts_removed = receipt::remove_useless(repository)?;
        }
        Ok(done)
    })
}

struct Heal<'a> {
    cx: &'a RunCx<'a>,
    repository: &'a Arc<Repository>,
    givers: &'a Givers<'a>,
    lock: &'a Lock<'a>,
}

impl Heal<'_> {
    /// Snapshots byte for byte. A condemned list that is damaged says nothing any more; without it, prune condemns anew.
    fn small_files(&self, done: &mut FromCopies) -> Result<(), Error> {
        let (_, damaged) = self.repository.snapshots_readable(self.cx.cancel)?;
        for (id, error) in damaged {
            match error {
                // It may be whole, and what brings another in its place would have to remove it first.
                Error::Unreadable { file, what } => {
                    let what = format!("it could not be read and is left alone: {what}");
                    done.unhealed.push(Finding { file: Some(file), what });
                }
                error => self.snapshot(id, &error.to_string(), done)?,
            }
        }
        for id in receipt::orphans(self.repository)? {
            self.snapshot(id, "it passed a drill and is gone", done)?;
        }
        for id in prune::load_condemned(self.repository)?.1 {
            self.repository.delete_if_there(File::new(FileKind::Condemned, id))?;
        }
        // Each copy has key files of its own, so no other copy can give them back.
        for (id, error) in self.repository.keys_readable()?.1 {
            done.unhealed.push(Finding { file: Some(File::new(FileKind::Key, id)), what: error.to_string() });
        }
        Ok(())
    }

    /// Brings back a snapshot file that is damaged or gone.
    fn snapshot(&self, id: Id, wrong: &str, done: &mut FromCopies) -> Result<(), Error> {
        let file = File::new(FileKind::Snapshot, id);
        match sync::find_snapshot(self.cx, self.givers, id) {
            Ok((stored, _)) => {
                self.replace(file, &stored)?;
                done.snapshots_replaced.push(id);
            }
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(missing) => done.unhealed.push(Finding { file: Some(file), what: format!("{wrong}; {missing}") }),
        }
        Ok(())
    }

    /// Puts a file in the place of a damaged one of the same name.
    fn replace(&self, file: File, bytes: &[u8]) -> Result<(), Error> {
        self.cx.cancel.check()?;
        self.lock.check()?;
        self.repository.delete_if_there(file)?;
        self.repository.put_if_absent(file, bytes).map(drop)
    }

    /// Replaces packs by those of the same name. Gives the damaged ones that no other copy has whole, and those that could
    /// not be read.
    fn packs(&self, read_data: bool, done: &mut FromCopies) -> Result<Read, Error> {
        let (index, _) = Index::load_readable(self.cx, self.repository)?;
        let listed: HashMap<Id, u64> =
            self.repository.storage().list(FileKind::Pack)?.into_iter().map(|pack| (pack.id, pack.bytes)).collect();
        let indexed = index.packs().into_iter().map(|(id, blobs)| IndexedPack { id, blobs });
        let wrong: Vec<Id> =
            indexed.filter(|pack| listed.get(&pack.id) != Some(&pack.pack_bytes())).map(|pack| pack.id).collect();
        // A pack that only its index entry is wrong about is found whole when it is read.
        let suspects: Vec<Id> = if read_data { listed.keys().copied().collect() } else { wrong.clone() };
        let bytes_total = suspects.iter().filter_map(|id| listed.get(id)).sum();
        let Read { damaged, failed } = damaged_packs(self.cx, self.repository, suspects, Some(bytes_total))?;
        let missing = wrong.into_iter().filter(|id| !listed.contains_key(id));
        let mut left = self.replace_packs(damaged.iter().copied().chain(missing).collect(), done)?;
        // What is missing and stays so leaves the index as such.
        left.retain(|id| listed.contains_key(id));
        Ok(Read { damaged: left, failed })
    }

    /// Finds the packs in which trees of the snapshots are damaged, and replaces them. A tree that was mended may lead to
    /// another one that is damaged.
    fn damaged_trees(
        &self,
        damaged: &mut BTreeSet<Id>,
        failed: &mut BTreeMap<Id, String>,
        done: &mut FromCopies,
    ) -> Result<(), Error> {
        let (snapshots, _) = self.repository.snapshots_readable(self.cx.cancel)?;
        let (index, _) = Index::load_readable(self.cx, self.repository)?;
        let roots: Vec<Id> = snapshots.iter().map(|(_, snapshot)| snapshot.tree).collect();
        loop {
            let mut found = BTreeSet::new();
            let note = |_, error| {
                match error {
                    Error::BlobDamaged { pack, .. } => drop(found.insert(pack)),
                    // Reading all of it says whether it can be read.
                    Error::Unreadable { file, .. } if file.kind == FileKind::Pack => drop(found.insert(file.id)),
                    _ => {}
                }
                Ok(())
            };
            walk::sweep(self.cx, self.repository, &index, &roots, |_| (), |_| (), note)?;
            found.retain(|id| !damaged.contains(id) && !failed.contains_key(id));
            let read = damaged_packs(self.cx, self.repository, found, None)?;
            failed.extend(read.failed);
            let found = read.damaged;
            if found.is_empty() {
                return Ok(());
            }
            damaged.extend(self.replace_packs(found, done)?);
        }
    }

    /// Replaces these packs by those of the same name. Gives the ones that no other copy has whole.
    fn replace_packs(&self, bad: BTreeSet<Id>, done: &mut FromCopies) -> Result<BTreeSet<Id>, Error> {
        let mut left = BTreeSet::new();
        for id in bad {
            let Some(bytes) = sync::fetch(self.cx, self.givers, None, id)? else {
                left.insert(id);
                continue;
            };
            self.replace(File::pack(id), &bytes)?;
            self.cx.events.emit(Event::Bytes(bytes.len() as u64));
            done.bytes_moved += bytes.len() as u64;
            done.packs_replaced.push(id);
        }
        Ok(left)
    }

    /// Brings what snapshots need and no whole pack holds.
    fn what_snapshots_lack(&self, damaged: &BTreeSet<Id>, done: &mut FromCopies) -> Result<(), Error> {
        let (cx, repository) = (self.cx, self.repository);
        let (snapshots, _) = repository.snapshots_readable(cx.cancel)?;
        let roots: Vec<(Id, Id)> = snapshots.iter().map(|(id, snapshot)| (*id, snapshot.tree)).collect();
        let trees: Vec<Id> = roots.iter().map(|(_, tree)| *tree).collect();
        let (view, _) = View::load(cx, repository)?;
        let damaged = damaged.iter().chain(done.index.packs_unreadable.iter().map(|(id, _)| id));
        let target = Target::new(repository, view, damaged.copied().collect())?;
        let work = Work::plan(cx, self.givers, &target, &trees)?;
        let moved = sync::transfer(cx, self.givers, &target, &work, PACK_BYTES_IN_TRANSFER)?;
        done.packs_moved += moved.packs_moved;
        done.bytes_moved += moved.bytes_moved;
        done.blobs_repacked += moved.blobs_repacked;
        let lost: HashSet<_> = work.lost.union(&moved.lost).copied().collect();
        done.incomplete = sync::incomplete(cx, self.givers, &target, &lost, roots)?;
        Ok(())
    }

    /// Takes damaged packs, of which everything needed lies elsewhere by now, out of the index and then away.
    fn remove(&self, damaged: &BTreeSet<Id>, done: &mut FromCopies) -> Result<(), Error> {
        let unreadable = done.index.packs_unreadable.iter().map(|(id, _)| *id);
        let gone: BTreeSet<Id> = damaged.iter().copied().chain(unreadable).collect();
        if gone.is_empty() {
            return Ok(());
        }
        let index = Index::load(self.cx, self.repository)?;
        let packs = index.packs().into_iter().map(|(id, blobs)| IndexedPack { id, blobs });
        let (drop, keep): (Vec<_>, Vec<_>) = packs.partition(|pack| gone.contains(&pack.id));
        self.lock.check()?;
        if !drop.is_empty() {
            prune::write_index(self.cx, self.repository, &keep)?;
            for id in index.files() {
                self.repository.delete_if_there(File::new(FileKind::Index, *id))?;
            }
        }
        for id in gone {
            self.cx.cancel.check()?;
            self.lock.check()?;
            if self.repository.delete_if_there(File::pack(id))? {
                done.packs_removed.push(id);
            }
        }
        // All that is needed of them lies elsewhere by now, read or not.
        let FromCopies { index, packs_removed, .. } = done;
        index.packs_unread.retain(|(id, _)| !packs_removed.contains(id));
        Ok(())
    }
}
