//! The end of a stream, held back while it may be the mark that a server ends a dump with.

use repository::SourceError;

/// Bytes of a mark, which the server chooses at random.
pub const MARK_BYTES: usize = 40;
const READ_BYTES: usize = 64 << 10;

/// What came last of a stream. All but its end is given on.
#[derive(Default)]
pub struct Tail {
    held: Vec<u8>,
    given: usize,
}

impl Tail {
    /// Gives on what more than a mark's bytes came after; none where more must be read.
    pub fn give(&mut self, buffer: &mut [u8]) -> usize {
        self.give_all_but(MARK_BYTES, buffer)
    }

    /// After the end of the stream: gives on what is left, which is no mark.
    pub fn give_rest(&mut self, buffer: &mut [u8]) -> usize {
        self.give_all_but(0, buffer)
    }

    fn give_all_but(&mut self, kept: usize, buffer: &mut [u8]) -> usize {
        let ready = self.held.len().saturating_sub(self.given + kept);
        let length = ready.min(buffer.len());
        buffer[..length].copy_from_slice(&self.held[self.given..self.given + length]);
        self.given += length;
        length
    }

    /// What is held back.
    pub fn held(&self) -> &[u8] {
        &self.held[self.given..]
    }

    /// Reads more; gives how much.
    pub fn fill(&mut self, read: impl FnOnce(&mut [u8]) -> Result<usize, SourceError>) -> Result<usize, SourceError> {
        self.held.drain(..self.given);
        self.given = 0;
        let before = self.held.len();
        self.held.resize(before + READ_BYTES, 0);
        let read = read(&mut self.held[before..]);
        self.held.truncate(before + *read.as_ref().unwrap_or(&0));
        read
    }
}
