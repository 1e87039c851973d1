//! Keeps on this machine what every run reads of a copy that is far: its snapshots, its index files, and the packs that
//! hold trees.
//!
//! What lies in the cache is as it is stored, so encrypted, and named by its hash, so never outdated. It may be deleted at
//! any time. Whoever looks for damage must not look through it: see `docs/design/cache.md`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::{File, FileKind, Listed, Storage, StorageError};
use crate::fs::free_bytes;
use crate::limits::SPOOL_BYTES_LEFT_MIN;
use crate::{Cancel, Id};

/// What is kept whenever it comes by. Packs are kept where somebody says that they are read often.
const KINDS: [FileKind; 2] = [FileKind::Index, FileKind::Snapshot];

/// A storage with a folder of this machine before it.
///
/// A folder that cannot be written or is full costs speed and nothing else.
pub struct Cache {
    inner: Arc<dyn Storage>,
    folder: PathBuf,
    /// Files of the cache whose bytes were held against their names in this run.
    verified: Mutex<BTreeSet<File>>,
    /// Bytes that may still be kept.
    room: Mutex<u64>,
    /// Files that could not be kept: they are not fetched whole again.
    declined: Mutex<BTreeSet<File>>,
}

impl Cache {
    /// Keeps what is near `inner` in `folder`, which is this copy's alone, and in it not more than about `bytes_max`: what
    /// was kept longest goes first.
    pub fn new(inner: Arc<dyn Storage>, folder: PathBuf, bytes_max: u64) -> Self {
        // What cannot be tidied up now will be the next time.
        let kept = trim(&folder, bytes_max).unwrap_or(bytes_max);
        let room = Mutex::new(bytes_max.saturating_sub(kept));
        Self { inner, folder, verified: Mutex::default(), room, declined: Mutex::default() }
    }

    fn verified(&self) -> MutexGuard<'_, BTreeSet<File>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, file: File) -> PathBuf {
        self.folder.join(file.kind.folder()).join(file.id.to_hex())
    }

    /// Puts a file into the cache, whole or not at all.
    fn keep(&self, file: File, bytes: &[u8]) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let path = self.path(file);
        if !self.take_room(bytes.len() as u64) {
            self.decline(file);
            return;
        }
        let write = || -> io::Result<()> {
            let folder = path.parent().unwrap_or(Path::new("."));
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            let unique = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let temp = path.with_extension(format!("tmp-{}-{}", unique.0, unique.1));
            fs::write(&temp, bytes)?;
            fs::rename(&temp, &path)
        };
        match write() {
            Ok(()) => {
                self.verified().insert(file);
            }
            Err(_) => self.decline(file),
        }
    }

    fn decline(&self, file: File) {
        self.declined.lock().unwrap_or_else(PoisonError::into_inner).insert(file);
    }

    fn is_declined(&self, file: File) -> bool {
        self.declined.lock().unwrap_or_else(PoisonError::into_inner).contains(&file)
    }

    /// Takes room for `bytes`, if there is: of what may be kept, and on the disk, which others need too.
    fn take_room(&self, bytes: u64) -> bool {
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room =
            *room >= bytes && free_bytes(&self.folder).is_ok_and(|free| free >= SPOOL_BYTES_LEFT_MIN + bytes);
        if has_room {
            *room -= bytes;
        }
        has_room
    }

    /// The bytes of a cached file, or of `range` in it. A disk can spoil them: that is no damage of the copy, so what is
    /// not as its name says is forgotten.
    fn read(&self, file: File, range: Option<&Range<u64>>) -> Option<Vec<u8>> {
        use std::os::unix::fs::FileExt as _;
        let path = self.path(file);
        let open = fs::File::open(&path).ok()?;
        if !self.verified().contains(&file) {
            let bytes = fs::read(&path).ok()?;
            if Id::of(&bytes) != file.id {
                let _ = fs::remove_file(&path);
                return None;
            }
            self.verified().insert(file);
        }
        let length = open.metadata().ok()?.len();
        let range = range.cloned().unwrap_or(0..length);
        if range.start > range.end || range.end > length {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(range.end - range.start).ok()?];
        open.read_exact_at(&mut bytes, range.start).ok()?;
        Some(bytes)
    }

    /// Forgets what the copy has no longer.
    fn forget_others(&self, kind: FileKind, listed: &[Listed]) {
        let there: BTreeSet<String> = listed.iter().map(|listed| listed.id.to_hex()).collect();
        for entry in fs::read_dir(self.folder.join(kind.folder())).into_iter().flatten().flatten() {
            if !there.contains(&*entry.file_name().to_string_lossy()) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Removes the files that were kept longest until the others have `bytes_max` at most. Gives the bytes of those.
fn trim(folder: &Path, bytes_max: u64) -> io::Result<u64> {
    let mut files = Vec::new();
    for kind in KINDS.into_iter().chain([FileKind::Pack]) {
        for entry in fs::read_dir(folder.join(kind.folder())).into_iter().flatten() {
            let entry = entry?;
            let found = entry.metadata()?;
            files.push((found.modified()?, found.len(), entry.path()));
        }
    }
    files.sort();
    let mut bytes: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, length, path) in files {
        if bytes <= bytes_max {
            break;
        }
        fs::remove_file(path)?;
        bytes -= length;
    }
    Ok(bytes)
}

impl Storage for Cache {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn put(&self, file: File, bytes: &[u8]) -> Result<(), StorageError> {
        self.inner.put(file, bytes)?;
        if KINDS.contains(&file.kind) {
            self.keep(file, bytes);
        }
        Ok(())
    }

    fn get(&self, file: File, range: Option<Range<u64>>) -> Result<Vec<u8>, StorageError> {
        if (file.kind == FileKind::Pack || KINDS.contains(&file.kind))
            && let Some(bytes) = self.read(file, range.as_ref())
        {
            return Ok(bytes);
        }
        let bytes = self.inner.get(file, range.clone())?;
        if KINDS.contains(&file.kind) && range.is_none() && Id::of(&bytes) == file.id {
            self.keep(file, &bytes);
        }
        Ok(bytes)
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, StorageError> {
        let listed = self.inner.list(kind)?;
        if kind == FileKind::Pack || KINDS.contains(&kind) {
            self.forget_others(kind, &listed);
        }
        Ok(listed)
    }

    fn modified(&self, file: File) -> Result<Option<Timestamp>, StorageError> {
        self.inner.modified(file)
    }

    fn give_up_with(&self, part: Option<&Cancel>) {
        self.inner.give_up_with(part);
    }

    fn delete(&self, file: File) -> Result<(), StorageError> {
        let _ = fs::remove_file(self.path(file));
        self.inner.delete(file)
    }

    fn keep_near(&self, file: File, bytes: Option<&[u8]>) {
        match bytes {
            _ if self.path(file).exists() || self.is_declined(file) => {}
            Some(bytes) => self.keep(file, bytes),
            // That it cannot be fetched now shows when it is read.
            None => match self.inner.get(file, None) {
                Ok(bytes) if Id::of(&bytes) == file.id => self.keep(file, &bytes),
                _ => self.decline(file),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::conformance;
    use crate::storage::memory::MemoryStorage;
    use crate::storage::record::{Record, Verb};

    struct Setup {
        folder: tempfile::TempDir,
        record: Arc<Record>,
        cache: Cache,
    }

    fn setup() -> Setup {
        let folder = tempfile::tempdir().unwrap();
        let record = Arc::new(Record::new(Arc::new(MemoryStorage::new())));
        let cache = Cache::new(record.clone(), folder.path().to_owned(), 1 << 30);
        Setup { folder, record, cache }
    }

    fn file(kind: FileKind, bytes: &[u8]) -> File {
        File::new(kind, Id::of(bytes))
    }

    #[test]
    fn a_cached_storage_conforms() {
        let around = tempfile::tempdir().unwrap();
        let next = std::sync::atomic::AtomicUsize::new(0);
        conformance::run(&|| {
            let number = next.fetch_add(1, Ordering::Relaxed);
            Arc::new(Cache::new(Arc::new(MemoryStorage::new()), around.path().join(number.to_string()), 1 << 30))
        });
    }

    #[test]
    fn indexes_and_what_is_kept_near_are_asked_for_once() {
        let s = setup();
        let (index, pack, far) = (b"index".as_slice(), b"a pack of trees".as_slice(), b"a pack of data".as_slice());
        for (kind, bytes) in [(FileKind::Index, index), (FileKind::Pack, pack), (FileKind::Pack, far)] {
            s.record.put(file(kind, bytes), bytes).unwrap();
        }
        s.record.take();
        for _ in 0..3 {
            assert_eq!(s.cache.get(file(FileKind::Index, index), None).unwrap(), index);
            s.cache.keep_near(file(FileKind::Pack, pack), None);
            assert_eq!(s.cache.get(file(FileKind::Pack, pack), Some(2..6)).unwrap(), b"pack");
        }
        assert_eq!((s.record.count(Verb::Get, FileKind::Index), s.record.count(Verb::Get, FileKind::Pack)), (1, 1));
        s.cache.get(file(FileKind::Pack, far), Some(0..1)).unwrap();
        s.cache.get(file(FileKind::Pack, far), Some(0..1)).unwrap();
        assert_eq!(s.record.count(Verb::Get, FileKind::Pack), 3, "what is not kept near is fetched each time");
        // Another run finds it, and what the copy has no longer goes.
        let again = Cache::new(s.record.clone(), s.folder.path().to_owned(), 1 << 30);
        s.record.take();
        again.get(file(FileKind::Pack, pack), None).unwrap();
        assert_eq!(s.record.count(Verb::Get, FileKind::Pack), 0);
        s.record.delete(file(FileKind::Index, index)).unwrap();
        again.list(FileKind::Index).unwrap();
        assert!(again.get(file(FileKind::Index, index), None).is_err());
    }

    #[test]
    fn what_cannot_be_kept_is_not_fetched_whole_again_and_again() {
        let s = setup();
        let bytes = vec![7; 5000];
        let pack = file(FileKind::Pack, &bytes);
        s.record.put(pack, &bytes).unwrap();
        let full = Cache::new(s.record.clone(), s.folder.path().to_owned(), 100);
        s.record.take();
        for _ in 0..5 {
            full.keep_near(pack, None);
            assert_eq!(full.get(pack, Some(0..3)).unwrap(), [7; 3]);
        }
        let whole = s.record.calls().iter().filter(|call| call.bytes == 5000).count();
        assert_eq!((whole, s.record.count(Verb::Get, FileKind::Pack)), (1, 6));
    }

    #[test]
    fn what_a_disk_spoiled_in_the_cache_is_fetched_anew_and_no_more_than_agreed_is_kept() {
        let s = setup();
        let bytes = b"the index as it is";
        let index = file(FileKind::Index, bytes);
        s.cache.put(index, bytes).unwrap();
        fs::write(s.cache.path(index), b"the index as it is not").unwrap();
        let again = Cache::new(s.record.clone(), s.folder.path().to_owned(), 1 << 30);
        assert_eq!(again.get(index, None).unwrap(), bytes);
        assert_eq!(again.get(index, None).unwrap(), bytes);
        assert_eq!(s.record.count(Verb::Get, FileKind::Index), 1);
        let more: Vec<Vec<u8>> = (0..10_u8).map(|number| vec![number; 1000]).collect();
        more.iter().for_each(|bytes| again.put(file(FileKind::Index, bytes), bytes).unwrap());
        let small = Cache::new(s.record.clone(), s.folder.path().to_owned(), 3500);
        let kept = more.iter().filter(|bytes| small.path(file(FileKind::Index, bytes)).exists()).count();
        assert_eq!(kept, 3);
    }
}
