//! A repository: a storage, the master key, and the reading and writing of whole files and single blobs.

mod copy;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::format::config::Config;
use crate::format::crypto::{Key, NoRandomness};
use crate::format::key_file::{KdfCost, KeyFile, KeyFileError};
use crate::format::pack::{self, BlobKind, BlobOpener};
use crate::format::snapshot::Snapshot;
use crate::format::{go, unpacked};
use crate::index::{Index, Location};
use crate::limits::SPOOL_BYTES_MAX;
use crate::storage::Listed;
use crate::storage::follow::{Follow, Follower};
use crate::storage::spool::Spool;
use crate::{Cancel, Error, File, FileKind, Id, Storage, StorageError};

/// An open repository. Cheap to share; holds no index, so that each operation works on the index of its own moment.
pub struct Repository {
    storage: Arc<dyn Storage>,
    key: Key,
    /// The key file that the password opened.
    key_id: Id,
    config: Config,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Repository({})", self.storage.location())
    }
}

/// The snapshots that can be read, oldest first, and the damaged ones.
pub type ReadableSnapshots = (Vec<(Id, Snapshot)>, Vec<(Id, Error)>);

/// What lies at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing of a repository.
    Nothing,
    /// Key files alone, as an interrupted `init` leaves them.
    Keys,
    /// What was backed up, without the config that opens it.
    Remains,
    /// A config: a repository, whole or not.
    Repository,
}

/// Key files by id, and those that are damaged.
pub type ReadableKeys = (Vec<(Id, KeyFile)>, Vec<(Id, Error)>);

/// Who and where, as it stands in key files, locks and snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The host's name.
    pub hostname: String,
    /// The user's name.
    pub username: String,
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
}

impl Identity {
    /// The process's own user on this host.
    pub fn of_process() -> Self {
        let uid = rustix::process::geteuid().as_raw();
        Self {
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            username: uzers::get_user_by_uid(uid).map_or_else(String::new, |u| u.name().to_string_lossy().into_owned()),
            uid,
            gid: rustix::process::getegid().as_raw(),
        }
    }
}

impl From<NoRandomness> for Error {
    fn from(error: NoRandomness) -> Self {
        Self::Internal(error.to_string())
    }
}

impl Repository {
    /// Makes a new repository with one password. Fails with [`Error::AlreadyInitialised`] where there is one.
    pub fn init(
        storage: Arc<dyn Storage>,
        password: &str,
        cost: KdfCost,
        chunk_bytes_average: u32,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let key = Key::generate()?;
        let config = Config::generate(chunk_bytes_average)?;
        let location = storage.location();
        if Self::found_at(storage.as_ref())? != Found::Nothing {
            return Err(Error::AlreadyInitialised { location });
        }
        let key_id = add_key_file(storage.as_ref(), &key, password, cost, now)?;
        // The config comes last: a place without it is no repository, so an interrupted `init` can be repeated once
        // the left-over key file is gone.
        let stored = key.encrypt(&go::to_json(&config))?;
        match storage.put(File::CONFIG, &stored) {
            Ok(()) => Ok(Self { storage, key, key_id, config }),
            Err(error) => {
                // Another `init` won, or the place is full: the key file wraps a key that opens nothing.
                let _ = storage.delete(File::new(FileKind::Key, key_id));
                match error {
                    StorageError::AlreadyExists { .. } => Err(Error::AlreadyInitialised { location }),
                    error => Err(error.into()),
                }
            }
        }
    }

    /// The same repository, for a run whose packs are handed on to `copies`; see [`Follow`]. One follower for each. Where
    /// there is a folder as `spool`, packs are kept in it, too; see [`Spool`].
    pub fn followed_by(&self, copies: &[&Self], spool: Option<PathBuf>, cancel: &Cancel) -> (Self, Vec<Follower>) {
        let places = copies.iter().map(|copy| copy.storage.clone());
        let storage: Arc<dyn Storage> = match spool {
            Some(folder) => Arc::new(Spool::new(self.storage.clone(), folder, SPOOL_BYTES_MAX)),
            None => self.storage.clone(),
        };
        let (storage, followers) = Follow::start(storage, places, cancel);
        (self.through(Arc::new(storage)), followers)
    }

    /// The same repository, reached through another storage for the same place.
    fn through(&self, storage: Arc<dyn Storage>) -> Self {
        Self { storage, key: self.key.clone(), key_id: self.key_id, config: self.config.clone() }
    }

    /// What lies at a place: the one answer to whether a repository is there.
    pub fn found_at(storage: &dyn Storage) -> Result<Found, Error> {
        match config_at(storage) {
            Ok(_) | Err(Error::Unreadable { .. }) => Ok(Found::Repository),
            Err(Error::Storage(StorageError::NotFound { .. })) => left_at(storage),
            Err(error) => Err(error),
        }
    }

    /// Opens a repository of version 1 or 2. Takes as long as scrypt does for each key file until one opens.
    pub fn open(storage: Arc<dyn Storage>, password: &str) -> Result<Self, Error> {
        let mut stored = match config_at(storage.as_ref()) {
            Err(Error::Storage(StorageError::NotFound { .. })) => {
                let location = storage.location();
                return Err(match left_at(storage.as_ref())? {
                    Found::Nothing => Error::NoRepository { location },
                    _ => {
                        let what = format!("it is missing in {location}, while other files are there");
                        Error::Damaged { file: File::CONFIG, what }
                    }
                });
            }
            config => config?,
        };
        let (key_id, key) = find_key(storage.as_ref(), password)?;
        let damaged = |what: String| Error::Damaged { file: File::CONFIG, what };
        let plain = key.decrypt_in_place(&mut stored).map_err(|error| damaged(error.to_string()))?;
        let config: Config = serde_json::from_slice(plain).map_err(|error| damaged(error.to_string()))?;
        if !(1..=Config::VERSION).contains(&config.version) {
            return Err(Error::UnsupportedVersion { found: config.version });
        }
        Ok(Self { storage, key, key_id, config })
    }

    /// Fails for version 1, which can only be read. Every writing operation begins with this.
    pub fn check_writable(&self) -> Result<(), Error> {
        if self.config.version < Config::VERSION { Err(Error::ReadOnlyVersion) } else { Ok(()) }
    }

    /// The place it lies in.
    pub fn storage(&self) -> &dyn Storage {
        self.storage.as_ref()
    }

    /// The decrypted config file.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The key file that was opened.
    pub fn key_id(&self) -> Id {
        self.key_id
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// Threads for work that keeps a processor busy.
    pub fn threads(&self) -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    /// Does `work` on each of `items`, on as many threads as there are processors, each with a blob opener of its own.
    /// The first error of each thread ends that thread; one of them is returned.
    pub(crate) fn on_all_processors<T: Send>(
        &self,
        items: impl IntoIterator<Item = T>,
        work: impl Fn(&mut BlobOpener<'_>, T) -> Result<(), Error> + Sync,
    ) -> Result<(), Error> {
        // All items are in the queue before the first thread begins, so it needs no bound of its own.
        let (send, queue) = crossbeam_channel::unbounded();
        for item in items {
            // The receiver lives in this function.
            let _ = send.send(item);
        }
        drop(send);
        let work_all = || {
            let mut opener = BlobOpener::new(&self.key).map_err(Error::Internal)?;
            queue.iter().try_for_each(|item| work(&mut opener, item))
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.threads()).map(|_| scope.spawn(work_all)).collect();
            workers.into_iter().try_for_each(|worker| {
                worker.join().unwrap_or_else(|_| Err(Error::Internal("a worker thread panicked".to_owned())))
            })
        })
    }

    /// Wraps the master key with one more password.
    pub fn add_key(&self, password: &str, cost: KdfCost, now: Timestamp) -> Result<Id, Error> {
        add_key_file(self.storage(), &self.key, password, cost, now)
    }

    /// All key files that can be read, oldest first, and the damaged ones.
    pub fn keys_readable(&self) -> Result<ReadableKeys, Error> {
        let (mut keys, mut damaged) = (Vec::new(), Vec::new());
        for listed in self.storage.list(FileKind::Key)? {
            match load_key_file(self.storage(), listed.id) {
                Ok(key) => keys.push((listed.id, key)),
                // Removed since it was listed.
                Err(Error::Storage(StorageError::NotFound { .. })) => {}
                Err(error) if error.is_damage() => damaged.push((listed.id, error)),
                Err(error) => return Err(error),
            }
        }
        keys.sort_by_key(|(_, key)| key.created);
        Ok((keys, damaged))
    }

    /// Removes a key file, so that its password opens this copy no longer. The one in use stays.
    pub fn remove_key(&self, id: Id) -> Result<(), Error> {
        if id == self.key_id {
            return Err(Error::NotFound("the key in use cannot be removed; open with another password".to_owned()));
        }
        Ok(self.storage.delete(File::new(FileKind::Key, id))?)
    }

    /// Stores JSON as an encrypted, compressed file of `kind`, named by its own hash.
    pub fn save_json(&self, kind: FileKind, value: &impl Serialize) -> Result<Id, Error> {
        self.save_json_bytes(kind, &go::to_json(value))
    }

    /// [`Repository::save_json`] of JSON that is encoded already.
    pub fn save_json_bytes(&self, kind: FileKind, json: &[u8]) -> Result<Id, Error> {
        let plain = unpacked::encode(json).map_err(|error| Error::Internal(format!("zstd: {error}")))?;
        let stored = self.key.encrypt(&plain)?;
        let id = Id::of(&stored);
        self.storage.put(File::new(kind, id), &stored)?;
        Ok(id)
    }

    /// Puts a file whose name is the hash of `bytes`; whether it was not there yet. What is there already is the same.
    pub(crate) fn put_if_absent(&self, file: File, bytes: &[u8]) -> Result<bool, Error> {
        match self.storage.put(file, bytes) {
            Ok(()) => Ok(true),
            Err(StorageError::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes a file that another run may have deleted first; whether it was there.
    pub(crate) fn delete_if_there(&self, file: File) -> Result<bool, Error> {
        match self.storage.delete(file) {
            Ok(()) => Ok(true),
            Err(StorageError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The JSON of an encrypted file, held against its name.
    pub fn load_json(&self, kind: FileKind, id: Id) -> Result<Vec<u8>, Error> {
        let file = File::new(kind, id);
        let stored = self.load_stored(file)?;
        self.decode_json(file, stored)
    }

    /// A file as it is stored, held against its name.
    pub(crate) fn load_stored(&self, file: File) -> Result<Vec<u8>, Error> {
        let stored = read(self.storage(), file, None)?;
        let found = Id::of(&stored);
        if found == file.id {
            Ok(stored)
        } else {
            Err(Error::Damaged { file, what: format!("its content has the SHA-256 {found}") })
        }
    }

    fn decode_json(&self, file: File, mut stored: Vec<u8>) -> Result<Vec<u8>, Error> {
        let damaged = |what: String| Error::Damaged { file, what };
        let plain = self.key.decrypt_in_place(&mut stored).map_err(|error| damaged(error.to_string()))?;
        unpacked::decode(plain).map_err(damaged)
    }

    /// A snapshot's file as it is stored, and what it says.
    pub(crate) fn stored_snapshot(&self, id: Id) -> Result<(Vec<u8>, Snapshot), Error> {
        let file = File::new(FileKind::Snapshot, id);
        let stored = self.load_stored(file)?;
        let json = self.decode_json(file, stored.clone())?;
        let snapshot = Snapshot::parse(&json).map_err(|what| Error::Damaged { file, what })?;
        Ok((stored, snapshot))
    }

    /// One snapshot.
    pub fn snapshot(&self, id: Id) -> Result<Snapshot, Error> {
        self.stored_snapshot(id).map(|(_, snapshot)| snapshot)
    }

    /// Whether a file that was listed and then not found is listed again. If not, another run removed it in between,
    /// and it is no damage.
    pub(crate) fn is_listed(&self, file: File) -> Result<bool, Error> {
        Ok(self.storage.list(file.kind)?.iter().any(|listed| listed.id == file.id))
    }

    /// All snapshots that can be read, oldest first, and the damaged ones.
    pub fn snapshots_readable(&self, cancel: &Cancel) -> Result<ReadableSnapshots, Error> {
        let (mut snapshots, mut damaged) = (Vec::new(), Vec::new());
        for listed in self.storage.list(FileKind::Snapshot)? {
            cancel.check()?;
            match self.snapshot(listed.id) {
                Ok(snapshot) => snapshots.push((listed.id, snapshot)),
                // Forgotten since it was listed.
                Err(Error::Storage(StorageError::NotFound { .. })) => {}
                Err(error) if error.is_damage() => damaged.push((listed.id, error)),
                Err(error) => return Err(error),
            }
        }
        snapshots.sort_by_key(|(id, snapshot)| (snapshot.time, *id));
        Ok((snapshots, damaged))
    }

    /// All snapshots, oldest first. A damaged one is an error.
    pub fn snapshots(&self, cancel: &Cancel) -> Result<Vec<(Id, Snapshot)>, Error> {
        let (snapshots, damaged) = self.snapshots_readable(cancel)?;
        match damaged.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(snapshots),
        }
    }

    /// Reads and verifies one blob. Where it lies in several packs, a damaged one is made up for by the next.
    pub fn blob(&self, index: &Index, kind: BlobKind, id: &Id) -> Result<Vec<u8>, Error> {
        let mut failure = Error::BlobMissing { id: *id, kind: kind.name() };
        for location in index.locations(kind, id) {
            match self.blob_at(&location) {
                Err(error) if error.is_damage() => failure = error,
                done => return done,
            }
        }
        Err(failure)
    }

    /// Reads and verifies the blob at one place. What was not read is [`Error::Unreadable`], and may be whole.
    pub fn blob_at(&self, location: &Location) -> Result<Vec<u8>, Error> {
        let blob = &location.blob;
        let damaged = |what| Error::BlobDamaged { id: blob.id, kind: blob.kind.name(), pack: location.pack, what };
        let range = u64::from(blob.offset)..u64::from(blob.offset) + u64::from(blob.length);
        if blob.kind == BlobKind::Tree {
            self.storage.keep_near(File::pack(location.pack), None);
        }
        let mut stored = read(self.storage(), File::pack(location.pack), Some(range))?;
        pack::open_blob(&self.key, blob, &mut stored).map_err(damaged)
    }

    /// Reads the header that lists a pack's blobs, from the pack's own end.
    pub fn pack_header(&self, listed: &Listed) -> Result<Vec<pack::PackedBlob>, Error> {
        let file = File::pack(listed.id);
        let damaged = |what| Error::Damaged { file, what };
        let end = listed.bytes;
        if end < 4 {
            return Err(damaged("it is too short for a pack".to_owned()));
        }
        let last = read(self.storage(), file, Some(end - 4..end))?;
        let last = last.try_into().map_err(|_| damaged("it is too short for a pack".to_owned()))?;
        let range = pack::header_range(end, last).map_err(damaged)?;
        let mut header = read(self.storage(), file, Some(range.clone()))?;
        pack::decode_header(&self.key, &mut header, range.start).map_err(damaged)
    }
}

/// Reads a file, or a part of it. What can never be read, such as a dead sector, is a failure of that file alone.
fn read(storage: &dyn Storage, file: File, range: Option<Range<u64>>) -> Result<Vec<u8>, Error> {
    match storage.get(file, range) {
        Err(StorageError::Permanent { what, .. }) => Err(Error::Unreadable { file, what }),
        read => Ok(read?),
    }
}

/// The config as it is stored. Where nothing else is answered for either, it is not that file: the place is away.
fn config_at(storage: &dyn Storage) -> Result<Vec<u8>, Error> {
    let config = read(storage, File::CONFIG, None);
    if let Err(Error::Unreadable { .. }) = config {
        storage.list(FileKind::Key)?;
    }
    config
}

/// What lies at a place that has no config.
fn left_at(storage: &dyn Storage) -> Result<Found, Error> {
    let any = |kind| Ok::<_, Error>(!storage.list(kind)?.is_empty());
    // What was backed up says more than keys, which may be all that an interrupted `init` came to.
    if any(FileKind::Snapshot)? || any(FileKind::Index)? {
        return Ok(Found::Remains);
    }
    Ok(if any(FileKind::Key)? { Found::Keys } else { Found::Nothing })
}

fn add_key_file(storage: &dyn Storage, key: &Key, password: &str, cost: KdfCost, now: Timestamp) -> Result<Id, Error> {
    let identity = Identity::of_process();
    let file = KeyFile::wrap(key, password, cost, (identity.username, identity.hostname), now.into())
        .map_err(|error| Error::Internal(error.to_string()))?;
    let bytes = file.to_bytes();
    let id = Id::of(&bytes);
    storage.put(File::new(FileKind::Key, id), &bytes)?;
    Ok(id)
}

fn load_key_file(storage: &dyn Storage, id: Id) -> Result<KeyFile, Error> {
    let file = File::new(FileKind::Key, id);
    let bytes = read(storage, file, None)?;
    let damaged = |what: String| Error::Damaged { file, what };
    if Id::of(&bytes) != id {
        return Err(damaged("its content does not match its name".to_owned()));
    }
    KeyFile::parse(&bytes).map_err(|error| damaged(error.to_string()))
}

/// Tries the password on every key file. A damaged key file must not hide one that opens.
fn find_key(storage: &dyn Storage, password: &str) -> Result<(Id, Key), Error> {
    let listed = storage.list(FileKind::Key)?;
    let mut damaged = None;
    let mut refused = 0;
    for Listed { id, .. } in &listed {
        let malformed =
            |error: KeyFileError| Error::Damaged { file: File::new(FileKind::Key, *id), what: error.to_string() };
        match load_key_file(storage, *id).map(|file| file.unwrap(password)) {
            Ok(Ok(key)) => return Ok((*id, key)),
            Ok(Err(KeyFileError::WrongPassword)) => refused += 1,
            Ok(Err(error)) => damaged = Some(malformed(error)),
            Err(error) if error.is_damage() => damaged = Some(error),
            Err(error) => return Err(error),
        }
    }
    match damaged {
        Some(error) if refused == 0 => Err(error),
        // The config was there.
        _ if listed.is_empty() => {
            let what = "there is no key file beside it, and nothing can be read without one".to_owned();
            Err(Error::Damaged { file: File::CONFIG, what })
        }
        // Where one key file is damaged and others refuse, the password may have belonged to the damaged one.
        Some(error) => Err(error),
        None => Err(Error::WrongPassword { keys: refused }),
    }
}
