//! Moves packs: fetched whole, held against their names, put, and named by an index file after each
//! [`PACKS_PER_INDEX`]. What cannot come as a pack comes blob by blob.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::plan::{Blob, Chosen, Work};
use super::view::{Givers, Target, View, blob_from};
use crate::blob_writer::with_blob_writer;
use crate::format::index_file::{IndexFile, IndexedPack};
use crate::format::pack;
use crate::limits::{CANCEL_POLL, PACKS_IN_TRANSFER, PACKS_PER_INDEX};
use crate::prune::Condemned;
use crate::{Error, Event, File, FileKind, Id, Index, Repository, RunCx};

/// What was moved.
#[derive(Default)]
pub(crate) struct Transferred {
    pub packs_moved: usize,
    pub bytes_moved: u64,
    /// Packs that lay in the target already and were named by an index now.
    pub packs_named: usize,
    /// Blobs that were packed anew.
    pub blobs_repacked: u64,
    /// What could not be had, beside what the plan knew.
    pub lost: HashSet<Blob>,
}

/// Carries out `work`, with packs of about `bytes_max` in memory. When this returns `Ok`, all of it is stored and named by
/// index files, but for what is lost.
pub(crate) fn transfer(
    cx: &RunCx<'_>,
    givers: &Givers<'_>,
    target: &Target<'_>,
    work: &Work,
    bytes_max: u64,
) -> Result<Transferred, Error> {
    renew_condemned(cx, target, work)?;
    let bytes_total = work.bytes_to_move();
    cx.events.emit(Event::StepStarted { name: "copying packs".to_owned(), bytes_total: Some(bytes_total) });
    let transfer = Transfer {
        cx: *cx,
        givers,
        target,
        work,
        next: AtomicUsize::new(0),
        broken: AtomicBool::new(false),
        room: Room { bytes_max, taken: Mutex::default(), freed: Condvar::new() },
        state: Mutex::default(),
    };
    std::thread::scope(|scope| {
        let threads = PACKS_IN_TRANSFER.min(work.packs.len());
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| transfer.work_all())).collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| Err(Error::Internal("a worker thread panicked".to_owned())))
        })
    })?;
    let mut state = transfer.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !state.listing.is_empty() {
        put_index(cx, target.repository, std::mem::take(&mut state.listing))?;
    }
    let mut blobs = state.failed;
    blobs.extend(&work.blobs);
    one_by_one(cx, givers, target, blobs, &mut state.done)?;
    Ok(state.done)
}

/// Condemned packs that are to be named again begin a new grace period first, so that a prune that sees no lock keeps
/// them: of several lists the newest has the say. The next prune finds them needed and takes them off the lists.
fn renew_condemned(cx: &RunCx<'_>, target: &Target<'_>, work: &Work) -> Result<(), Error> {
    let condemned = work.packs.iter().filter(|pack| target.condemned.contains(&pack.id)).map(|pack| pack.id);
    let list = Condemned { time: cx.clock.now().into(), packs: condemned.collect() };
    if list.packs.is_empty() {
        return Ok(());
    }
    target.repository.save_json(FileKind::Condemned, &list).map(drop)
}

struct Transfer<'a> {
    cx: RunCx<'a>,
    givers: &'a Givers<'a>,
    target: &'a Target<'a>,
    work: &'a Work,
    next: AtomicUsize,
    broken: AtomicBool,
    room: Room,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    done: Transferred,
    /// Packs that no index file names yet.
    listing: Vec<IndexedPack>,
    /// Needed blobs of packs that could not be had whole.
    failed: Vec<Blob>,
}

impl Transfer<'_> {
    fn work_all(&self) -> Result<(), Error> {
        while let Some(chosen) = self.work.packs.get(self.next.fetch_add(1, Ordering::SeqCst)) {
            if self.broken.load(Ordering::SeqCst) {
                break;
            }
            let done = self.cx.cancel.check().and_then(|()| self.settle(chosen));
            if done.is_err() {
                self.broken.store(true, Ordering::SeqCst);
                return done;
            }
        }
        Ok(())
    }

    /// Sees to it that one pack is in the target, or notes which blobs have to come in another way.
    fn settle(&self, chosen: &Chosen) -> Result<(), Error> {
        let listing = if chosen.is_there { self.name(chosen)? } else { self.fetch_and_put(chosen)? };
        let mut needed = self.work.needed_of(self.givers, chosen);
        if let Some(listing) = &listing {
            let held: HashSet<Blob> = listing.blobs.iter().map(|blob| (blob.kind, blob.id)).collect();
            needed.retain(|blob| !held.contains(&(blob.kind, blob.id)));
        }
        let full = {
            let mut state = self.state();
            state.failed.extend(needed.iter().map(|blob| (blob.kind, blob.id)));
            state.listing.extend(listing);
            (state.listing.len() >= PACKS_PER_INDEX).then(|| std::mem::take(&mut state.listing))
        };
        full.map_or(Ok(()), |packs| put_index(&self.cx, self.target.repository, packs))
    }

    /// Looks at a pack that lies in the target already: at its header, or at all of it where it is condemned. `None` where
    /// it is not what the giver says.
    fn name(&self, chosen: &Chosen) -> Result<Option<IndexedPack>, Error> {
        let Some(view) = self.givers.all[chosen.giver].view() else { return Ok(None) };
        let blobs = view.blobs(chosen.number);
        let (file, repository) = (File::pack(chosen.id), self.target.repository);
        let _room;
        let tail = if self.target.condemned.contains(&chosen.id) {
            _room = self.room.take(&self.cx, chosen.bytes)?;
            repository.load_stored(file)
        } else {
            let start = chosen.bytes - pack::trailer_bytes(&blobs) as u64;
            repository.storage().get(file, Some(start..chosen.bytes)).map_err(Error::from)
        };
        let tail = match tail {
            Ok(tail) => tail,
            Err(error) if is_damage(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let found = pack::header_of(repository.key(), &tail, chosen.bytes);
        if found.is_ok_and(|found| found == blobs) {
            self.state().done.packs_named += 1;
            return Ok(Some(IndexedPack { id: chosen.id, blobs }));
        }
        self.cx.events.emit(Event::Note(format!("{file} in {} is not whole", repository.storage().location())));
        Ok(None)
    }

    fn fetch_and_put(&self, chosen: &Chosen) -> Result<Option<IndexedPack>, Error> {
        let _room = self.room.take(&self.cx, chosen.bytes)?;
        let first = &self.givers.all[chosen.giver];
        let Some(bytes) = fetch(&self.cx, self.givers, Some(chosen.giver), chosen.id)? else { return Ok(None) };
        let blobs = match pack::header_of(self.target.repository.key(), &bytes, bytes.len() as u64) {
            Ok(blobs) => blobs,
            Err(what) => {
                let error = Error::Damaged { file: File::pack(chosen.id), what };
                self.givers.note_damage(&self.cx, first.repository, File::pack(chosen.id), &error);
                return Ok(None);
            }
        };
        self.cx.cancel.check()?;
        let is_new = self.target.repository.put_if_absent(File::pack(chosen.id), &bytes)?;
        self.cx.events.emit(Event::Bytes(bytes.len() as u64));
        let done = &mut self.state().done;
        done.packs_moved += usize::from(is_new);
        done.bytes_moved += if is_new { bytes.len() as u64 } else { 0 };
        Ok(Some(IndexedPack { id: chosen.id, blobs }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fetches a pack from the first giver that has it whole, beginning with `first`. `None` where none has; a giver that
/// does not answer is an error only where no other helps, since the pack may well be whole in it.
pub(crate) fn fetch(
    cx: &RunCx<'_>,
    givers: &Givers<'_>,
    first: Option<usize>,
    id: Id,
) -> Result<Option<Vec<u8>>, Error> {
    for repository in givers.here(first) {
        cx.cancel.check()?;
        match repository.load_stored(File::pack(id)) {
            Ok(bytes) => return Ok(Some(bytes)),
            Err(error) if is_absent(&error) => {
                // That a copy never had a pack is no damage. One that its index names is.
                let named = givers.views().any(|(number, view)| {
                    std::ptr::eq(&**givers.all[number].repository, repository) && view.indexed.contains(&id)
                });
                if named {
                    givers.note_damage(cx, repository, File::pack(id), &error);
                }
            }
            Err(error) if is_damage(&error) => givers.note_damage(cx, repository, File::pack(id), &error),
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(error) => givers.note_away(repository, &error),
        }
    }
    givers.check_all_here().map(|()| None)
}

fn is_absent(error: &Error) -> bool {
    matches!(error, Error::Storage(crate::StorageError::NotFound { .. }))
}

/// Besides damage proper, a part of a file that its place can never give.
fn is_damage(error: &Error) -> bool {
    error.is_damage() || matches!(error, Error::Storage(crate::StorageError::Permanent { .. }))
}

/// Brings single blobs into new packs of the target.
fn one_by_one(
    cx: &RunCx<'_>,
    givers: &Givers<'_>,
    target: &Target<'_>,
    blobs: Vec<Blob>,
    done: &mut Transferred,
) -> Result<(), Error> {
    if blobs.is_empty() {
        return Ok(());
    }
    while givers.look_further(cx)? {}
    let mut fresh = Fresh::default();
    // The writer must not find the blobs where they cannot be used, so it starts from an empty index.
    let nothing = Index::default();
    let (lost, stored) = with_blob_writer(cx, target.repository, &nothing, |writer| {
        let mut lost = HashSet::new();
        for (kind, id) in blobs {
            cx.cancel.check()?;
            if writer.is_known(kind, &id) {
                continue;
            }
            let mut found = givers.blob(cx, target, kind, &id);
            if found.as_ref().is_err_and(Error::is_damage) {
                found = fresh.blob(cx, givers, kind, &id);
            }
            match found {
                Ok(plain) => writer.store(kind, plain)?,
                Err(error) if error.is_damage() => drop(lost.insert((kind, id))),
                Err(error) => return Err(error),
            }
        }
        Ok(lost)
    })?;
    done.blobs_repacked = stored.data_blobs + stored.tree_blobs;
    done.lost = lost;
    Ok(())
}

/// The givers looked into once more: where one was read without a lock, a prune may have packed its blobs anew.
#[derive(Default)]
struct Fresh(Option<Vec<(usize, View)>>);

impl Fresh {
    fn blob(&mut self, cx: &RunCx<'_>, givers: &Givers<'_>, kind: pack::BlobKind, id: &Id) -> Result<Vec<u8>, Error> {
        if self.0.is_none() {
            let mut views = Vec::new();
            for (number, _) in givers.views() {
                views.push((number, View::load(cx, givers.all[number].repository)?.0));
            }
            self.0 = Some(views);
        }
        let views = self.0.iter().flatten();
        let readers = views.map(|(number, view)| (&**givers.all[*number].repository, &view.index));
        blob_from(readers, kind, id, |_, _| {})
    }
}

fn put_index(cx: &RunCx<'_>, repository: &Repository, packs: Vec<IndexedPack>) -> Result<(), Error> {
    cx.check_lock()?;
    let file = IndexFile { supersedes: Vec::new(), packs };
    repository.save_json_bytes(FileKind::Index, &file.to_json()).map(drop)
}

/// Bounds the bytes of all packs in memory.
struct Room {
    bytes_max: u64,
    taken: Mutex<u64>,
    freed: Condvar,
}

struct Taken<'a>(&'a Room, u64);

impl Room {
    /// Waits until there is room for `bytes`. A pack that is larger than all room waits until it is alone.
    fn take(&self, cx: &RunCx<'_>, bytes: u64) -> Result<Taken<'_>, Error> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while *taken > 0 && *taken + bytes > self.bytes_max {
            cx.cancel.check()?;
            taken = self.freed.wait_timeout(taken, CANCEL_POLL).unwrap_or_else(PoisonError::into_inner).0;
        }
        *taken += bytes;
        Ok(Taken(self, bytes))
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) -= self.1;
        self.0.freed.notify_one();
    }
}
