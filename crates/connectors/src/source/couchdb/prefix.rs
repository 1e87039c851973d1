//! The first bytes of a file, for `couchfile`: what was there when the file was opened, however much is appended to it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use couchfile::ReadAt;
use repository::Cancel;

/// The first bytes of an open file. Reading fails once the run is to stop, so that no check outlasts that.
pub struct Prefix<'a> {
    pub file: &'a File,
    pub bytes: u64,
    pub cancel: &'a Cancel,
}

impl ReadAt for Prefix<'_> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.cancel.check().map_err(io::Error::other)?;
        let left = self.bytes.saturating_sub(offset);
        let length = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        FileExt::read_at(self.file, &mut buffer[..length], offset)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.bytes)
    }
}
