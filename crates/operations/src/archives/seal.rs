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
            Err(Error::Storage(StorageError::Permanent { what, .. })) => {
                return Ok(Some(format!("it cannot be read: {what}")));
            }
            Err(error) => return Err(error),
        };
        cx.events.emit(repository::Event::Bytes(read as u64));
        hash.update(&buffer[..read]);
    }
    Ok((hex(&hash.finalize()) != sum).then(|| "its bytes are not those that were written".to_owned()))
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
    use super::*;

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
