//! Stores blobs: hash, known?, compress, encrypt, pack, put, index; on all processors, with bounded memory.
//!
//! The order that keeps a repository valid at every instant is packs, then the index files that name them, then (by the
//! caller) the snapshot. `docs/design/pipeline.md` draws the stages.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::format::index_file::{IndexFile, IndexedPack};
use crate::format::pack::{BlobKind, PackedBlob};
use crate::limits::{BLOB_BYTES_MAX, CHUNKS_QUEUED, PACK_BYTES_MAX, PACKS_OPEN, PACKS_PER_INDEX};
use crate::packer::{OpenPack, SealedPack};
use crate::{Error, File, FileKind, Id, Index, Repository, RunCx, StorageError};

/// Level of zstd. Level 1 takes half the time of level 3 for 3 % more space (`docs/design/compression.md`).
const COMPRESSION_LEVEL: i32 = 1;
/// Threads that put packs. Two, so that one pack's `fsync` does not hold up the next.
const UPLOADERS: usize = 2;

/// What one blob may take in a pack, so that its header fits, too.
const STORED_BYTES_MAX: usize = PACK_BYTES_MAX - (1 << 10);

/// What was stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// New data blobs.
    pub data_blobs: u64,
    /// New tree blobs.
    pub tree_blobs: u64,
    /// Their bytes before compression.
    pub bytes_added: u64,
    /// Their bytes in the packs.
    pub bytes_added_packed: u64,
    /// Packs put.
    pub packs: u64,
}

/// A chunk's id, once a worker has it.
pub(crate) struct PendingId(Receiver<Id>);

impl PendingId {
    /// Waits for the id. Fails where the pipeline broke; the real cause is then kept by the writer.
    pub fn wait(&self) -> Result<Id, Error> {
        self.0.recv().map_err(|_| Error::Internal("a chunk was not stored".to_owned()))
    }
}

struct Job {
    kind: BlobKind,
    plain: Vec<u8>,
    id: Option<Id>,
    done: Option<Sender<Id>>,
}

/// Takes blobs from one thread, stores them on others.
pub(crate) struct BlobWriter<'a> {
    shared: &'a Shared<'a>,
    jobs: Sender<Job>,
    spare_chunks: Receiver<Vec<u8>>,
}

struct Shared<'a> {
    repository: &'a Repository,
    index: &'a Index,
    cx: RunCx<'a>,
    /// Blobs of this run, which no index on disk names yet.
    claimed: Mutex<HashSet<(BlobKind, Id)>>,
    data: [Mutex<OpenPack>; PACKS_OPEN],
    trees: Mutex<OpenPack>,
    listing: Mutex<Vec<IndexedPack>>,
    stored: Mutex<Stored>,
    round_robin: AtomicU64,
    broken: AtomicBool,
    failure: Mutex<Option<Error>>,
}

/// Runs `body` with a writer, then stores what is still open. When this returns `Ok`, every blob given to the writer is
/// stored and named by an index file.
pub(crate) fn with_blob_writer<T>(
    cx: &RunCx<'_>,
    repository: &Repository,
    index: &Index,
    body: impl FnOnce(&BlobWriter<'_>) -> Result<T, Error>,
) -> Result<(T, Stored), Error> {
    repository.check_writable()?;
    let shared = Shared::new(cx, repository, index);
    let result = std::thread::scope(|scope| {
        let (jobs, next_job) = bounded::<Job>(CHUNKS_QUEUED);
        let (packs, next_pack) = bounded::<SealedPack>(0);
        // Bounded: `prune` hands over buffers of its own and takes none back.
        let (return_chunk, spare_chunks) = bounded(CHUNKS_QUEUED);
        let (return_pack, spare_packs) = bounded(UPLOADERS + PACKS_OPEN + 1);
        for _ in 0..UPLOADERS {
            let (next_pack, return_pack, shared) = (next_pack.clone(), return_pack.clone(), &shared);
            scope.spawn(move || shared.upload(&next_pack, &return_pack));
        }
        for _ in 0..repository.threads() {
            let lanes =
                Lanes { packs: packs.clone(), spare_packs: spare_packs.clone(), return_chunk: return_chunk.clone() };
            let (next_job, shared) = (next_job.clone(), &shared);
            scope.spawn(move || shared.work(&next_job, &lanes));
        }
        // Only the stages themselves keep a queue open: if all of a stage end, whoever sends to it learns of it.
        drop((packs, next_job, next_pack));
        let writer = BlobWriter { shared: &shared, jobs, spare_chunks };
        // Leaving the closure drops the writer, which ends the workers, which ends the uploaders.
        let result = body(&writer);
        if result.is_err() {
            shared.broken.store(true, Ordering::SeqCst);
        }
        result
    });
    // A failed stage shows as a lost chunk in `body`; its own error says why.
    if let Some(failure) = lock(&shared.failure).take() {
        return Err(failure);
    }
    let value = match result {
        // Workers drop the chunks of a cancelled run, which shows as a lost chunk, too.
        Err(Error::Internal(_)) if cx.cancel.is_cancelled() => return Err(Error::Cancelled),
        result => result?,
    };
    shared.finish()?;
    let stored = *lock(&shared.stored);
    Ok((value, stored))
}

struct Lanes {
    packs: Sender<SealedPack>,
    spare_packs: Receiver<Vec<u8>>,
    return_chunk: Sender<Vec<u8>>,
}

impl BlobWriter<'_> {
    /// An empty buffer for a chunk, reused where possible.
    pub fn buffer(&self) -> Vec<u8> {
        self.spare_chunks.try_recv().unwrap_or_default()
    }

    /// Hands over a data blob. Blocks while the queue is full.
    pub fn store_data(&self, plain: Vec<u8>) -> Result<PendingId, Error> {
        let (done, id) = bounded(1);
        self.send(Job { kind: BlobKind::Data, plain, id: None, done: Some(done) })?;
        Ok(PendingId(id))
    }

    /// Hands over a blob of either kind, whose id nobody waits for.
    pub fn store(&self, kind: BlobKind, plain: Vec<u8>) -> Result<(), Error> {
        self.send(Job { kind, plain, id: None, done: None })
    }

    /// Hands over a tree and gives its id at once.
    pub fn store_tree(&self, plain: Vec<u8>) -> Result<Id, Error> {
        let id = Id::of(&plain);
        if !self.is_known(BlobKind::Tree, &id) {
            self.send(Job { kind: BlobKind::Tree, plain, id: Some(id), done: None })?;
        }
        Ok(id)
    }

    /// Whether a blob is stored already, before or by this run.
    pub fn is_known(&self, kind: BlobKind, id: &Id) -> bool {
        self.shared.index.contains(kind, id) || lock(&self.shared.claimed).contains(&(kind, *id))
    }

    /// The index the run started with.
    pub fn index(&self) -> &Index {
        self.shared.index
    }

    fn send(&self, job: Job) -> Result<(), Error> {
        self.shared.cx.cancel.check()?;
        if job.plain.len() > BLOB_BYTES_MAX as usize {
            return Err(Error::Internal(format!("a blob of {} bytes is too large", job.plain.len())));
        }
        if self.shared.broken.load(Ordering::SeqCst) {
            return Err(Error::Internal("the pipeline broke".to_owned()));
        }
        self.jobs.send(job).map_err(|_| Error::Internal("the pipeline broke".to_owned()))
    }
}

impl<'a> Shared<'a> {
    fn new(cx: &RunCx<'a>, repository: &'a Repository, index: &'a Index) -> Self {
        Self {
            repository,
            index,
            cx: *cx,
            claimed: Mutex::default(),
            data: Default::default(),
            trees: Mutex::default(),
            listing: Mutex::default(),
            stored: Mutex::default(),
            round_robin: AtomicU64::new(0),
            broken: AtomicBool::new(false),
            failure: Mutex::new(None),
        }
    }

    fn fail(&self, error: Error) {
        self.broken.store(true, Ordering::SeqCst);
        lock(&self.failure).get_or_insert(error);
    }

    fn is_stopping(&self) -> bool {
        self.broken.load(Ordering::SeqCst) || self.cx.cancel.is_cancelled()
    }

    /// A worker: drains the queue to its end even when stopping, so that the sender never blocks for ever.
    fn work(&self, jobs: &Receiver<Job>, lanes: &Lanes) {
        let mut press = match Press::new() {
            Ok(press) => press,
            Err(error) => return self.fail(error),
        };
        for mut job in jobs {
            if self.is_stopping() {
                continue;
            }
            match self.store(&mut job, &mut press, lanes) {
                Ok(id) => drop(job.done.map(|done| done.send(id))),
                Err(error) => self.fail(error),
            }
            // A folder of 100,000 files makes a tree of some 50 MB, which must not stay behind as a spare chunk.
            if job.kind == BlobKind::Data {
                job.plain.clear();
                // Where there are spares enough, this one goes.
                let _ = lanes.return_chunk.try_send(job.plain);
            }
        }
    }

    fn store(&self, job: &mut Job, press: &mut Press, lanes: &Lanes) -> Result<Id, Error> {
        let id = job.id.unwrap_or_else(|| Id::of(&job.plain));
        if self.index.contains(job.kind, &id) || !lock(&self.claimed).insert((job.kind, id)) {
            return Ok(id);
        }
        let plain_length = press.encrypt(self.repository, &job.plain)?;
        if press.stored.len() > STORED_BYTES_MAX {
            // Every reader, this one included, would refuse the pack and the index file that names it.
            let (kind, bytes) = (job.kind.name(), press.stored.len());
            return Err(Error::Internal(format!("a {kind} blob takes {bytes} bytes, at most {STORED_BYTES_MAX} fit")));
        }
        let blob = PackedBlob { id, kind: job.kind, offset: 0, length: press.stored.len() as u32, plain_length };
        let sealable = self.add(blob, &press.stored, lanes);
        self.count(&blob, job.plain.len());
        if let Some(pack) = sealable {
            let sealed = pack.seal(self.repository.key())?;
            lanes.packs.send(sealed).map_err(|_| Error::Internal("no uploader is left".to_owned()))?;
        }
        Ok(id)
    }

    /// Adds a blob to an open pack; gives the pack back when it is to be closed.
    fn add(&self, blob: PackedBlob, stored: &[u8], lanes: &Lanes) -> Option<OpenPack> {
        let fresh = || OpenPack::with_buffer(lanes.spare_packs.try_recv().unwrap_or_default());
        let mut open = match blob.kind {
            BlobKind::Tree => lock(&self.trees),
            BlobKind::Data => lock(&self.data[self.pick()]),
        };
        if !open.has_room(stored.len()) {
            let full = std::mem::replace(&mut *open, fresh());
            open.push(blob, stored);
            return Some(full);
        }
        open.push(blob, stored);
        open.is_full().then(|| std::mem::replace(&mut *open, fresh()))
    }

    /// Which open pack takes the next chunk: unpredictable from outside, so that runs of chunks are broken up.
    fn pick(&self) -> usize {
        let turn = self.round_robin.fetch_add(1, Ordering::Relaxed);
        let random = crate::format::crypto::random::<1>().map_or(turn, |[byte]| u64::from(byte));
        (random % PACKS_OPEN as u64) as usize
    }

    fn count(&self, blob: &PackedBlob, plain_bytes: usize) {
        let mut stored = lock(&self.stored);
        match blob.kind {
            BlobKind::Data => stored.data_blobs += 1,
            BlobKind::Tree => stored.tree_blobs += 1,
        }
        stored.bytes_added += plain_bytes as u64;
        stored.bytes_added_packed += u64::from(blob.length);
    }

    fn upload(&self, packs: &Receiver<SealedPack>, spare: &Sender<Vec<u8>>) {
        for pack in packs {
            if !self.is_stopping()
                && let Err(error) = self.put(&pack)
            {
                self.fail(error);
            }
            let _ = spare.try_send(pack.bytes);
        }
    }

    /// Puts a pack and, after every [`PACKS_PER_INDEX`], the index file that names them.
    fn put(&self, pack: &SealedPack) -> Result<(), Error> {
        match self.repository.storage().put(File::pack(pack.listing.id), &pack.bytes) {
            // The name is the hash of the content, so what is there is the same pack.
            Ok(()) | Err(StorageError::AlreadyExists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        // The next backup compares with these trees.
        if pack.listing.blobs.first().is_some_and(|blob| blob.kind == BlobKind::Tree) {
            self.repository.storage().keep_near(File::pack(pack.listing.id), Some(&pack.bytes));
        }
        lock(&self.stored).packs += 1;
        let full = {
            let mut listing = lock(&self.listing);
            listing.push(pack.listing.clone());
            (listing.len() >= PACKS_PER_INDEX).then(|| std::mem::take(&mut *listing))
        };
        full.map_or(Ok(()), |packs| self.put_index(packs))
    }

    fn put_index(&self, packs: Vec<IndexedPack>) -> Result<(), Error> {
        self.cx.check_lock()?;
        let file = IndexFile { supersedes: Vec::new(), packs };
        self.repository.save_json_bytes(FileKind::Index, &file.to_json()).map(drop)
    }

    /// Closes what is open. All workers and uploaders have ended.
    fn finish(&self) -> Result<(), Error> {
        for open in self.data.iter().chain([&self.trees]) {
            self.cx.cancel.check()?;
            let pack = std::mem::take(&mut *lock(open));
            if !pack.is_empty() {
                self.put(&pack.seal(self.repository.key())?)?;
            }
        }
        let rest = std::mem::take(&mut *lock(&self.listing));
        if rest.is_empty() { Ok(()) } else { self.put_index(rest) }
    }
}

/// A worker's compressor and its buffers, kept from blob to blob.
struct Press {
    compressor: zstd::bulk::Compressor<'static>,
    compressed: Vec<u8>,
    stored: Vec<u8>,
}

impl Press {
    fn new() -> Result<Self, Error> {
        let compressor = zstd::bulk::Compressor::new(COMPRESSION_LEVEL).map_err(zstd_failed)?;
        Ok(Self { compressor, compressed: Vec::new(), stored: Vec::new() })
    }

    /// Leaves the stored form in `self.stored`; gives the plain length where it was worth compressing.
    fn encrypt(&mut self, repository: &Repository, plain: &[u8]) -> Result<Option<u32>, Error> {
        self.compressed.clear();
        self.compressed.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        let length = self.compressor.compress_to_buffer(plain, &mut self.compressed).map_err(zstd_failed)?;
        // Four bytes of header and the work of unpacking must be won back; random data is stored as it is.
        let worth_it = length + length / 64 < plain.len();
        self.stored.clear();
        let payload = if worth_it { &self.compressed[..length] } else { plain };
        repository.key().encrypt_to(payload, &mut self.stored)?;
        // The caller has held the length against `BLOB_BYTES_MAX`.
        Ok(worth_it.then_some(plain.len() as u32))
    }
}

fn zstd_failed(error: std::io::Error) -> Error {
    Error::Internal(format!("zstd: {error}"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
