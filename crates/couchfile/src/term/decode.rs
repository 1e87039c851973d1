//! Finds where the values of a term start and end, in one pass and without recursion.

use super::{
    ATOM, ATOM_UTF8, BINARY, BYTE, FLOAT, FLOAT_TEXT_BYTES, INTEGER, LARGE_BIG, LARGE_TUPLE, LIST, MAP, NEW_FLOAT, NIL,
    Position, SMALL_ATOM, SMALL_ATOM_UTF8, SMALL_BIG, SMALL_INTEGER, SMALL_TUPLE, STRING,
};
use crate::Error;
use crate::limits::TERM_VALUES_MAX;

/// Where the values are of the term that begins at `start` and fills `bytes`; `offset` is the chunk's, for messages.
pub(super) fn positions(bytes: &[u8], start: usize, offset: u64) -> Result<Vec<Position>, Error> {
    let mut decoder = Decoder { bytes, at: start, offset, values: Vec::new(), open: Vec::new() };
    decoder.run()?;
    Ok(decoder.values)
}

/// Goes through the bytes once and notes where values start and end.
struct Decoder<'b> {
    bytes: &'b [u8],
    at: usize,
    /// Of the chunk in the file, for messages.
    offset: u64,
    values: Vec<Position>,
    /// Values that others are still to come into, the outermost first.
    open: Vec<Open>,
}

struct Open {
    index: usize,
    left: u32,
    list: bool,
}

impl Decoder<'_> {
    fn run(&mut self) -> Result<(), Error> {
        loop {
            self.value()?;
            self.close()?;
            if self.open.is_empty() {
                break;
            }
        }
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.wrong("something follows the term")) }
    }

    /// One value; if others are in it, it is left open.
    fn value(&mut self) -> Result<(), Error> {
        let at = self.at;
        match self.byte()? {
            SMALL_INTEGER => self.skip(1)?,
            INTEGER => self.skip(4)?,
            NEW_FLOAT => self.skip(8)?,
            FLOAT => self.skip(FLOAT_TEXT_BYTES)?,
            SMALL_ATOM | SMALL_ATOM_UTF8 => {
                let length = self.byte()?;
                self.skip(length.into())?;
            }
            ATOM | ATOM_UTF8 => {
                let length = self.word16()?;
                self.skip(length.into())?;
            }
            BINARY => {
                let length = self.word32()?;
                self.skip(length as usize)?;
            }
            SMALL_BIG => {
                let length = self.byte()?;
                self.skip(1 + usize::from(length))?;
            }
            LARGE_BIG => {
                let length = self.word32()?;
                self.skip((length as usize).saturating_add(1))?;
            }
            NIL => {}
            STRING => return self.bytes_as_list(at),
            SMALL_TUPLE => {
                let count = self.byte()?;
                return self.start(at, count.into(), false);
            }
            LARGE_TUPLE => {
                let count = self.word32()?;
                return self.start(at, count, false);
            }
            LIST => {
                let count = self.word32()?;
                return self.start(at, count, true);
            }
            MAP => {
                let pairs = self.word32()?;
                let count = pairs.checked_mul(2).ok_or_else(|| self.wrong("it has too many pairs"))?;
                return self.start(at, count, false);
            }
            _ => return Err(self.wrong("a value of a kind that CouchDB does not store")),
        }
        self.push(at, 0)
    }

    /// Erlang writes lists of integers below 256 as a run of bytes.
    fn bytes_as_list(&mut self, at: usize) -> Result<(), Error> {
        let count = self.word16()?;
        let first = self.at;
        self.skip(count.into())?;
        self.push(at, count.into())?;
        for position in first..self.at {
            self.push(position, BYTE)?;
            if let Some(last) = self.values.last_mut() {
                last.end = position as u32 + 1;
            }
        }
        let next = self.values.len() as u32;
        if let Some(list) = self.values.get_mut(next as usize - usize::from(count) - 1) {
            list.next = next;
        }
        Ok(())
    }

    fn start(&mut self, at: usize, count: u32, list: bool) -> Result<(), Error> {
        // Each value takes a byte at least.
        if count as usize > self.bytes.len() - self.at {
            return Err(self.wrong("it ends early"));
        }
        let index = self.values.len();
        self.push(at, count)?;
        self.open.push(Open { index, left: count, list });
        Ok(())
    }

    fn push(&mut self, at: usize, count: u32) -> Result<(), Error> {
        if self.values.len() >= TERM_VALUES_MAX {
            let bytes = self.values.len() as u64 + 1;
            return Err(Error::TooLarge { offset: self.offset, bytes, unit: "values", limit: TERM_VALUES_MAX as u64 });
        }
        // Both are below `TERM_BYTES_MAX`, which fits.
        self.values.push(Position { at: at as u32, end: self.at as u32, next: self.values.len() as u32 + 1, count });
        Ok(())
    }

    /// Counts the value that just ended, and closes all that are full.
    fn close(&mut self) -> Result<(), Error> {
        let mut ended = !matches!(self.open.last(), Some(open) if open.index + 1 == self.values.len());
        while let Some(open) = self.open.last_mut() {
            if ended {
                open.left -= 1;
            }
            if open.left > 0 {
                return Ok(());
            }
            let Open { index, list, .. } = *open;
            if list && self.byte()? != NIL {
                return Err(self.wrong("a list without an end"));
            }
            let next = self.values.len() as u32;
            if let Some(value) = self.values.get_mut(index) {
                value.end = self.at as u32;
                value.next = next;
            }
            self.open.pop();
            ended = true;
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    fn word16(&mut self) -> Result<u16, Error> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn word32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let found = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk);
        let found = *found.ok_or_else(|| self.wrong("it ends early"))?;
        self.at += N;
        Ok(found)
    }

    fn skip(&mut self, length: usize) -> Result<(), Error> {
        if length > self.bytes.len() - self.at {
            return Err(self.wrong("it ends early"));
        }
        self.at += length;
        Ok(())
    }

    fn wrong(&self, what: &'static str) -> Error {
        Error::Term { offset: self.offset, at: self.at as u64, what }
    }
}
