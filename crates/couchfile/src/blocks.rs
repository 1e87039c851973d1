//! Bytes and chunks of a file. The first byte of every block of 4096 is a mark (0: data, 1: a header starts here) that
//! belongs to nothing and is left out wherever a run of bytes crosses it. A chunk is a run that begins with its length;
//! chunks of document bodies also have a checksum, nodes of trees and pieces of attachments have none.

use crate::checksum::{CHECKSUM_BYTES, Checksum};
use crate::limits::{BLOCK_BYTES, CHUNK_BYTES_FIRST, CHUNK_BYTES_MAX};
use crate::{Error, ReadAt};

/// What was read of a file, up to a certain end: that of the file, or the header through which it is looked at, since
/// nothing a header knows of lies behind it.
pub(crate) struct Blocks<'r, R: ?Sized> {
    reader: &'r R,
    end: u64,
}

impl<R: ?Sized> Clone for Blocks<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R: ?Sized> Copy for Blocks<'_, R> {}

/// A chunk whose checksum, if it has one, was right.
pub(crate) struct Chunk {
    pub(crate) data: Vec<u8>,
    pub(crate) checksum: Option<Checksum>,
    /// The offset behind it.
    pub(crate) end: u64,
}

/// The head of a chunk: how long what follows is.
struct Head {
    checksum: bool,
    length: u64,
}

impl<'r, R: ReadAt + ?Sized> Blocks<'r, R> {
    pub(crate) fn new(reader: &'r R, end: u64) -> Self {
        Self { reader, end }
    }

    pub(crate) fn end(self) -> u64 {
        self.end
    }

    /// The chunk at `offset`, whole in memory.
    pub(crate) fn chunk(self, offset: u64) -> Result<Chunk, Error> {
        // Most chunks are small: one call fetches head and all.
        let first = CHUNK_BYTES_FIRST.min(self.end.saturating_sub(offset));
        let raw = self.raw(offset, first)?;
        let plain = without_marks(offset, &raw);
        let head = head_of(offset, &plain, self.end)?;
        let sum_bytes = if head.checksum { CHECKSUM_BYTES as u64 } else { 0 };
        let needed = 4 + sum_bytes + head.length;
        let end = self.end_of(offset, needed)?;
        if head.length > CHUNK_BYTES_MAX {
            return Err(Error::TooLarge { offset, bytes: head.length, unit: "bytes", limit: CHUNK_BYTES_MAX });
        }
        let mut plain = if plain.len() as u64 >= needed { plain } else { self.run(offset, needed)?.0 };
        plain.truncate(usize_of(needed));
        let data = plain.split_off(4 + usize_of(sum_bytes));
        let checksum = match head.checksum {
            false => None,
            true => match Checksum::verify(&data, &plain[4..]) {
                Some(kind) => Some(kind),
                None => return Err(Error::Checksum { offset, length: head.length }),
            },
        };
        Ok(Chunk { data, checksum, end })
    }

    /// Gives the content of the chunk at `offset` to `take`, piece by piece and without holding all of it. Returns its
    /// length. A checksum of the chunk itself is not looked at: attachments have one over all their chunks.
    pub(crate) fn pieces(
        self,
        offset: u64,
        piece_bytes: usize,
        mut take: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        let (head, mut at) = self.run(offset, 4)?;
        let head = head_of(offset, &head, self.end)?;
        if head.checksum {
            at = self.run(at, CHECKSUM_BYTES as u64)?.1;
        }
        self.end_of(at, head.length)?;
        let mut left = head.length;
        while left > 0 {
            let (piece, next) = self.run(at, left.min(piece_bytes as u64))?;
            take(&piece)?;
            left -= piece.len() as u64;
            at = next;
        }
        Ok(head.length)
    }

    /// `length` bytes from `offset` on, marks left out, and the offset behind them. The caller has bounded `length`.
    pub(crate) fn run(self, offset: u64, length: u64) -> Result<(Vec<u8>, u64), Error> {
        let end = self.end_of(offset, length)?;
        let raw = self.raw(offset, end - offset)?;
        Ok((without_marks(offset, &raw), end))
    }

    /// `length` bytes exactly as they lie in the file; the caller knows that they are there.
    pub(crate) fn raw(self, offset: u64, length: u64) -> Result<Vec<u8>, Error> {
        let mut buffer = vec![0; usize_of(length)];
        let mut filled = 0;
        while filled < buffer.len() {
            let read = self.reader.read_at(offset + filled as u64, &mut buffer[filled..]);
            match read {
                Ok(0) => {
                    let end = offset + filled as u64;
                    return Err(Error::PastEnd { offset, needed: offset + length, end });
                }
                // A reader that claims more than it was asked for is not believed.
                Ok(read) => filled += read.min(buffer.len() - filled),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Io { offset, length, error }),
            }
        }
        Ok(buffer)
    }

    /// Where a run of `length` bytes from `offset` on ends, marks counted in; an error where that is not in the file.
    fn end_of(self, offset: u64, length: u64) -> Result<u64, Error> {
        let needed = offset.saturating_add(bytes_with_marks(offset, length));
        if needed > self.end {
            return Err(Error::PastEnd { offset, needed, end: self.end });
        }
        Ok(needed)
    }
}

fn head_of(offset: u64, plain: &[u8], end: u64) -> Result<Head, Error> {
    let Some(head) = plain.first_chunk::<4>() else {
        return Err(Error::PastEnd { offset, needed: offset.saturating_add(4), end });
    };
    let word = u32::from_be_bytes(*head);
    Ok(Head { checksum: word >> 31 == 1, length: u64::from(word & 0x7fff_ffff) })
}

/// How many bytes of the file a run of `length` bytes from `offset` on takes.
fn bytes_with_marks(offset: u64, length: u64) -> u64 {
    if length == 0 {
        return 0;
    }
    let content = BLOCK_BYTES - 1;
    // Content bytes of the first block that lie before the run.
    let before = (offset % BLOCK_BYTES).saturating_sub(1);
    let mark_first = u64::from(offset.is_multiple_of(BLOCK_BYTES));
    length.saturating_add(mark_first).saturating_add((before.saturating_add(length) - 1) / content)
}

/// What lies in `raw`, which was read at `offset`, without the marks of blocks.
fn without_marks(offset: u64, raw: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(raw.len());
    let mut offset = offset;
    let mut raw = raw;
    while !raw.is_empty() {
        let within = offset % BLOCK_BYTES;
        let take = usize_of(BLOCK_BYTES - within).min(raw.len());
        let (block, rest) = raw.split_at(take);
        plain.extend_from_slice(if within == 0 { &block[1..] } else { block });
        offset += take as u64;
        raw = rest;
    }
    plain
}

/// Sizes that were held against a limit in memory fit.
pub(crate) fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marks_of_blocks_are_counted_as_many_times_as_they_are_left_out() {
        let file: Vec<u8> =
            (0..3 * 4096).map(|at: u32| if at.is_multiple_of(4096) { 0xee } else { at as u8 }).collect();
        let blocks = Blocks::new(file.as_slice(), file.len() as u64);
        for offset in [0, 1, 2, 4094, 4095, 4096, 4097, 8191] {
            for length in [0, 1, 2, 3, 4094, 4095, 4096, 4097] {
                let Ok((plain, end)) = blocks.run(offset, length) else { continue };
                assert_eq!(plain.len() as u64, length, "{offset} {length}");
                let expected: Vec<u8> = (offset..end).filter(|at| at % 4096 != 0).map(|at| file[at as usize]).collect();
                assert_eq!(plain, expected, "{offset} {length}");
            }
        }
    }

    #[test]
    fn a_chunk_that_ends_beyond_the_file_is_refused_before_memory_is_taken_for_it() {
        let mut file = vec![0_u8];
        file.extend(0x7fff_ffff_u32.to_be_bytes());
        let refused = Blocks::new(file.as_slice(), file.len() as u64).chunk(0);
        assert!(matches!(refused, Err(Error::PastEnd { .. })));
        let refused = Blocks::new(file.as_slice(), file.len() as u64).chunk(u64::MAX);
        assert!(matches!(refused, Err(Error::PastEnd { .. })));
    }
}
