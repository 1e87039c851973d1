//! A stored file as `couchfile` reads it, and which of its errors may be passed over.

use std::io;

use couchfile::ReadAt;
use repository::Error;
use repository::file_reader::StoredFile;

/// A stored file.
pub struct Stored<'f>(pub StoredFile<'f>);

impl ReadAt for Stored<'_> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, buffer).map_err(io::Error::other)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.length())
    }
}

/// An error of the engine, as `couchfile` gives it back.
pub(super) fn wrapped(error: Error) -> couchfile::Error {
    couchfile::Error::Io { offset: 0, length: 0, error: io::Error::other(error) }
}

/// What to say of something that cannot be read, where the rest may be all the same: damage of the database's file, or of
/// the copy. Fails where the way to the copy is at fault, or the run was cancelled: then nothing else could be read.
pub fn passable(error: couchfile::Error) -> Result<String, Error> {
    let text = error.to_string();
    let couchfile::Error::Io { error, offset, .. } = error else { return Ok(text) };
    match error.downcast::<Error>() {
        Ok(engine) if engine.is_damage() => Ok(format!("what lies at {offset} is not in the copy as it was: {engine}")),
        Ok(engine) => Err(engine),
        Err(_) => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use repository::{Id, StorageError};

    use super::*;

    #[test]
    fn damage_is_passed_over_and_a_copy_that_is_away_is_not() {
        let missing = Error::BlobMissing { id: Id::of(b"x"), kind: "data" };
        assert!(passable(wrapped(missing)).unwrap().contains(&Id::of(b"x").to_hex()));
        assert!(passable(couchfile::Error::NoHeader { blocks: 1 }).is_ok());
        let away = StorageError::Transient { location: "nas".to_owned(), what: "no answer".to_owned() };
        assert!(passable(wrapped(away.into())).is_err());
        assert!(matches!(passable(wrapped(Error::Cancelled)), Err(Error::Cancelled)));
    }
}
