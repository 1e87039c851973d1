//! Every bound of the engine in one place, with its unit in its name. Memory is a function of these, never of the data.

use std::time::Duration;

/// A pack is closed once it holds this much. restic's default.
pub const PACK_BYTES_TARGET: usize = 16 << 20;
/// No pack is larger than this; restic refuses larger ones.
pub const PACK_BYTES_MAX: usize = 128 << 20;
/// Data packs open at the same time. Blobs are spread over them at random, so that the order and sizes of a file's
/// chunks cannot be read off a pack (eprint 2025/532).
pub const PACKS_OPEN: usize = 3;
/// An index file is written after this many packs, so that an interrupted backup loses little.
pub const PACKS_PER_INDEX: usize = 64;
/// Average chunk, where a repository does not say otherwise (`docs/design/chunking.md`).
pub const CHUNK_BYTES_AVERAGE: u32 = 256 << 10;
/// The smallest and largest average chunk a repository may ask for.
pub const CHUNK_BYTES_AVERAGE_RANGE: (u32, u32) = (64 << 10, 4 << 20);
/// A blob larger than this in a foreign repository is refused rather than allocated. restic's chunks end at 8 MiB, its
/// trees do not: a folder of a million files makes one of several hundred MiB.
pub const BLOB_BYTES_MAX: u32 = 1 << 30;
/// One decoded unpacked file (index, snapshot, lock). restic writes index files below 8 MiB.
pub const UNPACKED_BYTES_MAX: usize = 512 << 20;
/// Chunks waiting for a worker.
pub const CHUNKS_QUEUED: usize = 16;
/// Tree entries that wait for their chunks to be stored.
pub const ENTRIES_PENDING: usize = 4096;
/// Chunks that those entries may have in all, where it is more than one entry's.
pub const CHUNKS_PENDING: usize = 1 << 15;
/// Bytes read from a source at once.
pub const READ_BYTES: usize = 1 << 20;
/// Needed blobs closer than this in one pack are fetched with one request.
pub const RANGE_GAP_BYTES_MAX: u32 = 512 << 10;
/// Packs that `sync` moves at the same time, each of them whole in memory.
pub const PACKS_IN_TRANSFER: usize = 3;
/// Bytes of all packs in transfer together, to all targets that are filled at once; each may have one pack all the same.
pub const PACK_BYTES_IN_TRANSFER: u64 = 72 << 20;
/// Packs that wait for one copy that follows a backup. A copy that is slower gets the others from `sync`.
pub const PACKS_FOLLOWING: usize = 1;
/// How long a backup waits until a copy that follows it, and kept up so far, has room for a pack.
pub const FOLLOWER_PATIENCE: Duration = Duration::from_millis(200);
/// Blobs planned at once by a restore: bounds its memory to some tens of MiB.
pub const RESTORE_BLOBS_PLANNED: usize = 1 << 18;
/// Decoded blobs that are kept while stored files are read by offset.
pub const READER_CACHE_BYTES: usize = 64 << 20;
/// Times a file that changes under the reader is read before it is reported.
pub const READ_ATTEMPTS: u32 = 3;
/// Earlier chunks of an append-only file that are read again before its tail is trusted.
pub const APPEND_ONLY_SAMPLES: usize = 4;
/// Trees may nest this deep; Linux paths end at 4096 bytes, so at 2048 folders.
pub const TREE_DEPTH_MAX: usize = 4096;

/// Bytes of an archive that are sent or fetched with one request.
pub const ARCHIVE_PART_BYTES: usize = 16 << 20;
/// Larger archives are sent in larger parts, up to this, since S3 takes 10,000 parts of an object: 1.2 TB.
pub const ARCHIVE_PART_BYTES_MAX: usize = 128 << 20;
/// Parts that an archive should come in, for what compression and `tar` may add to stay below the 10,000.
pub const ARCHIVE_PARTS_MAX: u64 = 9_000;

/// How often a held lock is renewed, as restic does.
pub const LOCK_REFRESH: Duration = Duration::from_secs(5 * 60);
/// A lock not renewed for this long is dead, as in restic.
pub const LOCK_STALE: Duration = Duration::from_secs(30 * 60);
/// Its holder trusts it no longer than this: what is put after a look at the lock has to arrive before others take it for
/// dead, by clocks that may be ahead of the holder's.
pub const LOCK_TRUSTED: Duration = Duration::from_secs(20 * 60);
/// Packs of one run that are kept on this machine until all copies have them, where no copy lies on it.
pub const SPOOL_BYTES_MAX: u64 = 4 << 30;
/// What they leave free of the disk.
pub const SPOOL_BYTES_LEFT_MIN: u64 = 1 << 30;
/// Bytes of one copy's cache: indexes, snapshots and trees of some ten million files.
pub const CACHE_BYTES_MAX: u64 = 2 << 30;
/// How far the machine's clock and a storage's own may be apart where something is removed by its age. Less than
/// [`LOCK_STALE`] by more than [`LOCK_REFRESH`], so that no lock that is being renewed looks dead to a clock that passes.
pub const CLOCK_BESIDE_STORAGE_MAX: Duration = Duration::from_secs(20 * 60);
/// How far the newest snapshot may be in the future there: clocks of several hosts differ, and so do their owners.
pub const CLOCK_BEFORE_SNAPSHOT_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How old it may be: longer than any pause between backups that still are ones.
pub const CLOCK_BEYOND_SNAPSHOT_MAX: Duration = Duration::from_secs(400 * 24 * 60 * 60);
/// How long packs that nothing needs any more are kept before `prune` deletes them.
pub const PRUNE_GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// How soon a waiting thread notices that the run was cancelled.
pub const CANCEL_POLL: Duration = Duration::from_millis(100);
/// How often a storage is asked before a failure that may pass is reported: the first call and its retries.
pub const STORAGE_TRIES: u32 = 8;
/// The same where the storage has never answered yet: about eight seconds with the pauses.
pub const FIRST_CONTACT_TRIES: u32 = 5;
/// The pause before the first retry; it doubles from one retry to the next.
pub const RETRY_PAUSE_FIRST: Duration = Duration::from_millis(500);
/// No pause between two tries is longer.
pub const RETRY_PAUSE_MAX: Duration = Duration::from_secs(30);
/// All pauses of one call together. Long enough for a router to start again, short enough for a lock to stay fresh and
/// for a disk with dead sectors to be read to its end.
pub const RETRY_PAUSES_TOTAL_MAX: Duration = Duration::from_secs(60);
