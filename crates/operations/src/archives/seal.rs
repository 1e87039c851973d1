//! The seal of an archive: a small file beside it, written when the archive is finished, with its checksum and size. It is
//! in the form that `sha256sum -c` takes, and tells damage without a key.

use archive::ArchiveName;
use archive::write::Written;
use repository::limits::ARCHIVE_PART_BYTES;
use repository::storage::archives::{ArchivePlace, ArchiveReader, StoredArchive};
use repository::{Error, RunCx, StorageError};
use sha2::{Digest as _, Sha256};

/// How the names of seals end.
const EXTENSION: &str = ".sha256";

/// Where the seal of the archive at `archive` lies.
pub fn path(archive: &str) -> String {
    format!("{archive}{EXTENSION}")
}

/// The path of the archive that the file at `path` seals; `None` where it is no seal.
pub fn sealed(path: &str) -> Option<&str> {
    path.strip_suffix(EXTENSION).filter(|archive| archive.ends_with(archive::name::EXTENSION))
}

/// The text of a seal.
pub fn text(name: &ArchiveName, written: &Written) -> String {
    text_of(&name.to_string(), &written.sha256, written.bytes)
}

fn text_of(name: &str, sha256: &[u8; 32], bytes: u64) -> String {
    format!("{}  {name}\n# {bytes} bytes\n", hex(sha256))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What speaks against an archive: its size, or, where `read_data`, its bytes, or that they cannot be read. `None` where
/// nothing does. Fails where the place itself does not answer.
pub fn breach(
    cx: &RunCx<'_>,
    place: &dyn ArchivePlace,
    object: &StoredArchive,
    read_data: bool,
) -> Result<Option<String>, Error> {
    let name = object.path.rsplit_once('/').map_or(&*object.path, |(_, name)| name);
    // All of it is known but the checksum, and so is its length.
    let length = text_of(name, &[0; 32], object.bytes).len() as u64;
    let text = match place.read(&path(&object.path), 0..length) {
        Err(StorageError::Permanent { what, .. }) => return Ok(Some(format!("its seal cannot be read: {what}"))),
        text => text?,
    };
    let parsed = std::str::from_utf8(&text).ok().and_then(parse);
    let Some((sum, _)) = parsed.filter(|(_, bytes)| *bytes == object.bytes) else {
        return Ok(Some(format!("it has {} bytes, and its seal says other", object.bytes)));
    };
    if !read_data {
        return Ok(None);
    }
    let mut reader = ArchiveReader::new(place, object);
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; ARCHIVE_PART_BYTES]);
    loop {
        cx.cancel.check()?;
        let read = match std::io::Read::read(&mut reader, &mut buffer).map_err(of_place) {
            Ok(0) => break,
            Ok(read) => read,
            Err(Error::Storage(error)) => return unreadable(cx, place, object, error).map(Some),
            Err(error) => return Err(error),
        };
        cx.events.emit(repository::Event::Bytes(read as u64));
        hash.update(&buffer[..read]);
    }
    Ok((hex(&hash.finalize()) != sum).then(|| "its bytes are not those that were written".to_owned()))
}

/// What to say of an archive that cannot be read, where its place still answers about it: then the failure is the archive's
/// own, as a dead sector is.
fn unreadable(
    cx: &RunCx<'_>,
    place: &dyn ArchivePlace,
    object: &StoredArchive,
    error: StorageError,
) -> Result<String, Error> {
    match &error {
        StorageError::Permanent { what, .. } => Ok(format!("it cannot be read: {what}")),
        StorageError::Transient { what, .. } if !cx.cancel.is_cancelled() && place.modified(&object.path).is_ok() => {
            Ok(format!("it cannot be read: {what}"))
        }
        _ => Err(error.into()),
    }
}

/// What the place said, out of a stream's error.
fn of_place(error: std::io::Error) -> Error {
    match error.downcast::<StorageError>() {
        Ok(error) => error.into(),
        Err(error) => Error::Internal(error.to_string()),
    }
}

/// Checksum and size.
fn parse(text: &str) -> Option<(&str, u64)> {
    let mut lines = text.lines();
    let (sum, _) = lines.next()?.split_once("  ")?;
    let bytes = lines.next()?.strip_prefix("# ")?.strip_suffix(" bytes")?;
    Some((sum, bytes.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use jiff::Timestamp;
    use repository::storage::archives::{ArchiveWriter, MemoryArchives};

    use super::*;
    use crate::memory::Memory;

    /// Answers about its archives and cannot read them, or is away.
    struct Failing {
        inner: MemoryArchives,
        is_away: AtomicBool,
    }

    impl Failing {
        fn broken<T>(&self) -> Result<T, StorageError> {
            Err(StorageError::Transient { location: self.location(), what: "no answer".to_owned() })
        }
    }

    impl ArchivePlace for Failing {
        fn location(&self) -> String {
            self.inner.location()
        }

        fn list(&self, folder: &str) -> Result<Vec<StoredArchive>, StorageError> {
            self.inner.list(folder)
        }

        fn create(&self, path: &str) -> Result<Box<dyn ArchiveWriter + '_>, StorageError> {
            self.inner.create(path)
        }

        fn read(&self, path: &str, range: std::ops::Range<u64>) -> Result<Vec<u8>, StorageError> {
            if path.ends_with(EXTENSION) { self.inner.read(path, range) } else { self.broken() }
        }

        fn modified(&self, _: &str) -> Result<Option<Timestamp>, StorageError> {
            if self.is_away.load(Ordering::Relaxed) { self.broken() } else { Ok(None) }
        }

        fn delete(&self, path: &str) -> Result<(), StorageError> {
            self.inner.delete(path)
        }
    }

    #[test]
    fn an_archive_that_alone_cannot_be_read_is_damaged_and_a_place_that_is_away_is_not() {
        let place = Failing { inner: MemoryArchives::default(), is_away: AtomicBool::new(false) };
        let object = StoredArchive { path: "x/a.tar.zst.age".to_owned(), bytes: 7 };
        place.inner.objects().insert(path(&object.path), text_of("a.tar.zst.age", &[0; 32], 7).into_bytes());
        let memory = Memory::new();
        assert_eq!(breach(&memory.cx(), &place, &object, false).unwrap(), None);
        let found = breach(&memory.cx(), &place, &object, true).unwrap();
        assert_eq!(found.as_deref(), Some("it cannot be read: no answer"));
        place.is_away.store(true, Ordering::Relaxed);
        assert!(breach(&memory.cx(), &place, &object, true).is_err());
    }

    #[test]
    fn a_seal_is_read_back_and_nothing_else_is_one() {
        assert_eq!(sealed("x/a~b.tar.zst.age.sha256"), Some("x/a~b.tar.zst.age"));
        assert_eq!(sealed("x/notes.sha256"), None);
        assert_eq!(parse("ab12  name\n# 77 bytes\n"), Some(("ab12", 77)));
        for bad in ["", "ab12  name\n", "ab12\n# 7 bytes", "ab12  name\n# many bytes"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
