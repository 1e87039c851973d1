//! A bounded number of files, fetched together: each pack is read once, each needed range in it once.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::format::pack::{BlobKind, BlobOpener};
use crate::index::Location;
use crate::limits::RANGE_GAP_BYTES_MAX;
use crate::{Error, Event, Id, Index, Node, Repository, RunCx, StorageError};

/// Files to be written, and where each of their blobs goes. 16 bytes a blob.
#[derive(Default)]
pub(super) struct Batch {
    files: Vec<Planned>,
    writes: Vec<Write>,
}

struct Planned {
    /// Below the target, for messages.
    path: PathBuf,
    full: PathBuf,
    node: Node,
    /// It has several blobs, none, or several names, so it was made when it was planned.
    prepared: bool,
}

#[derive(Clone, Copy)]
struct Write {
    /// The blob's position in the index.
    blob: u32,
    file: u32,
    offset: u64,
}

/// What came of a batch.
pub(super) struct Fetched {
    pub complete: Vec<(PathBuf, Node)>,
    /// Damaged files, with what was done about each.
    pub damaged: Vec<(PathBuf, String)>,
    pub bytes_fetched: u64,
}

impl Batch {
    /// The number of blobs planned.
    pub fn len(&self) -> usize {
        self.writes.len() + self.files.len()
    }

    /// Plans a file. Fails with damage, and plans nothing, where the index lacks one of its blobs.
    pub fn add(&mut self, index: &Index, path: &Path, node: &Node, full: PathBuf) -> Result<(), Error> {
        let planned = self.writes.len();
        let file = self.files.len() as u32;
        let mut offset = 0;
        for id in &node.content {
            let range = index.range(BlobKind::Data, id);
            if range.is_empty() {
                self.writes.truncate(planned);
                return Err(Error::BlobMissing { id: *id, kind: BlobKind::Data.name() });
            }
            self.writes.push(Write { blob: range.start as u32, file, offset });
            offset += u64::from(index.location(BlobKind::Data, range.start).blob.plain_bytes());
        }
        if offset != node.size {
            self.writes.truncate(planned);
            let what = format!("the parts of {} have {offset} bytes, not {}", path.display(), node.size);
            return Err(Error::MalformedTree { id: Id::ZERO, what });
        }
        let mut node = node.clone();
        let prepared = node.content.len() != 1 || node.links > 1;
        if prepared {
            let created = create(&full).and_then(|handle| handle.set_len(node.size));
            created.map_err(Error::local(&full))?;
        }
        node.content = Vec::new();
        self.files.push(Planned { path: path.to_owned(), full, node, prepared });
        Ok(())
    }

    /// Writes all files. Damage in the copy concerns single files; anything else ends the restore.
    pub fn fetch(
        mut self,
        cx: &RunCx<'_>,
        repository: &Repository,
        index: &Index,
        keep_damaged: bool,
    ) -> Result<Fetched, Error> {
        let location = |write: &Write| index.location(BlobKind::Data, write.blob as usize);
        self.writes.sort_unstable_by_key(|write| {
            let location = location(write);
            (location.pack, location.blob.offset, write.file, write.offset)
        });
        let fetch =
            Fetch { cx, repository, index, batch: &self, bytes_fetched: AtomicU64::new(0), damaged: Mutex::default() };
        fetch.run()?;
        let bytes_fetched = fetch.bytes_fetched.into_inner();
        let mut damaged = fetch.damaged.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut done = Fetched { complete: Vec::new(), damaged: Vec::new(), bytes_fetched };
        for (number, file) in (0u32..).zip(self.files) {
            let Some(what) = damaged.remove(&number) else {
                done.complete.push((file.path, file.node));
                continue;
            };
            if keep_damaged {
                let handle = if file.prepared { open_existing(&file.full) } else { create(&file.full) };
                let sized = handle.and_then(|handle| handle.set_len(file.node.size));
                sized.map_err(Error::local(&file.full))?;
                done.complete.push((file.path.clone(), file.node));
                done.damaged.push((file.path, format!("restored with zeros for what is lost: {what}")));
            } else {
                remove_if_there(&file.full).map_err(Error::local(&file.full))?;
                done.damaged.push((file.path, format!("not restored: {what}")));
            }
        }
        Ok(done)
    }
}

struct Fetch<'a> {
    cx: &'a RunCx<'a>,
    repository: &'a Repository,
    index: &'a Index,
    batch: &'a Batch,
    bytes_fetched: AtomicU64,
    damaged: Mutex<BTreeMap<u32, String>>,
}

impl Fetch<'_> {
    fn run(&self) -> Result<(), Error> {
        let pack_of = |write: &Write| self.location(write).pack;
        let by_pack = self.batch.writes.chunk_by(|a, b| pack_of(a) == pack_of(b));
        self.repository.on_all_processors(by_pack, |opener, writes| {
            for range in ranges(writes, |write| self.location(write)) {
                self.cx.cancel.check()?;
                self.range(range, opener)?;
            }
            Ok(())
        })
    }

    fn location(&self, write: &Write) -> Location {
        self.index.location(BlobKind::Data, write.blob as usize)
    }

    /// Fetches one stretch of a pack and writes all that is needed of it.
    fn range(&self, writes: &[Write], opener: &mut BlobOpener<'_>) -> Result<(), Error> {
        let (Some(first), Some(last)) = (writes.first(), writes.last()) else { return Ok(()) };
        let (first, last) = (self.location(first), self.location(last));
        let start = u64::from(first.blob.offset);
        let end = u64::from(last.blob.offset) + u64::from(last.blob.length);
        let file = crate::File::pack(first.pack);
        let mut bytes = match self.repository.storage().get(file, Some(start..end)) {
            Ok(bytes) => bytes,
            // The pack is gone or shorter than it was: each blob may still lie in another one.
            Err(StorageError::NotFound { .. } | StorageError::Permanent { .. }) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        self.bytes_fetched.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let mut open: Option<(u32, File)> = None;
        let mut lined_up = LinedUp::default();
        for same_blob in writes.chunk_by(|a, b| a.blob == b.blob) {
            self.cx.cancel.check()?;
            let location = self.location(&same_blob[0]);
            let from = (u64::from(location.blob.offset) - start) as usize;
            let stored = bytes.get_mut(from..from + location.blob.length as usize);
            let opened = stored.and_then(|stored| opener.open(&location.blob, stored).ok());
            let mut write = |plain: &[u8]| {
                same_blob.iter().try_for_each(|write| self.write(write, plain, &mut lined_up, &mut open))
            };
            match opened {
                Some(plain) => write(plain)?,
                // What is damaged here may lie whole in another pack, and if not, that read says what is wrong.
                None => match self.repository.blob(self.index, BlobKind::Data, &location.blob.id) {
                    Ok(plain) => write(&plain)?,
                    Err(error) if error.is_damage() => self.note_damage(same_blob, &location.blob.id, &error),
                    Err(error) => return Err(error),
                },
            }
        }
        Ok(())
    }

    fn note_damage(&self, writes: &[Write], id: &Id, error: &Error) {
        let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        for write in writes {
            damaged
                .entry(write.file)
                .or_insert_with(|| format!("{error} (blob {}, byte {})", id.short(), write.offset));
        }
    }

    fn write(
        &self,
        write: &Write,
        plain: &[u8],
        lined_up: &mut LinedUp,
        open: &mut Option<(u32, File)>,
    ) -> Result<(), Error> {
        let planned = &self.batch.files[write.file as usize];
        let failed = Error::local(&planned.full);
        let result = (|| {
            if open.as_ref().is_none_or(|(file, _)| *file != write.file) {
                let handle = if planned.prepared { open_existing(&planned.full)? } else { create(&planned.full)? };
                *open = Some((write.file, handle));
            }
            let Some((_, handle)) = open else { return Ok(()) };
            if is_zero(plain) {
                // A hole: the file is as long as it must be, and reads as zeros where nothing was written.
                if planned.prepared { Ok(()) } else { handle.set_len(planned.node.size) }
            } else {
                handle.write_all_at(lined_up.line_up(plain, write.offset), write.offset)
            }
        })();
        result.map_err(failed)?;
        self.cx.events.emit(Event::Bytes(plain.len() as u64));
        Ok(())
    }
}

/// A buffer whose bytes lie in memory as they will lie in the file, by cache lines. The kernel copies them into its page
/// cache several times as fast so: its `rep movsb` is slow on processors of AMD where source and target are askew
/// (measured in `docs/design/restore.md`).
#[derive(Default)]
struct LinedUp(Vec<u8>);

impl LinedUp {
    fn line_up<'a>(&'a mut self, bytes: &'a [u8], offset: u64) -> &'a [u8] {
        const LINE_BYTES: usize = 64;
        let askew = |bytes: &[u8]| (offset as usize).wrapping_sub(bytes.as_ptr().addr()) % LINE_BYTES;
        if askew(bytes) == 0 {
            return bytes;
        }
        if self.0.len() < bytes.len() + LINE_BYTES {
            self.0.resize(bytes.len() + LINE_BYTES, 0);
        }
        let start = askew(&self.0);
        let copy = &mut self.0[start..start + bytes.len()];
        copy.copy_from_slice(bytes);
        copy
    }
}

/// Splits the sorted writes of one pack where the gap between needed blobs is not worth fetching, and where a stretch
/// would grow past a pack's ordinary size.
fn ranges(writes: &[Write], location: impl Fn(&Write) -> Location) -> impl Iterator<Item = &[Write]> {
    let mut start = None;
    writes.chunk_by(move |a, b| {
        let (a, b) = (location(a).blob, location(b).blob);
        let begin = *start.get_or_insert(a.offset);
        let near = b.offset.saturating_sub(a.offset + a.length) <= RANGE_GAP_BYTES_MAX;
        let small = (b.offset + b.length - begin) as usize <= crate::limits::PACK_BYTES_TARGET * 2;
        if !(near && small) {
            start = Some(b.offset);
        }
        near && small
    })
}

fn is_zero(bytes: &[u8]) -> bool {
    // `align_to` is unsafe, and comparing with a zero block is as fast.
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|chunk| *chunk == ZEROS[..chunk.len()])
}

/// Makes a file that only its owner can read until its real mode is set.
fn create(path: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

fn open_existing(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC;
    File::options().write(true).custom_flags(flags.bits() as i32).open(path)
}

pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
