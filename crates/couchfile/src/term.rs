//! Erlang's external term format, as far as CouchDB's files use it. A term is kept as its bytes and a flat list of where
//! each value starts and ends: no depth of nesting can exhaust the stack, neither here nor when it is dropped, and a
//! value costs 16 bytes whatever it is. Revision trees of documents that are edited often nest thousands deep.

mod compression;
mod decode;
pub(crate) mod encode;

pub use compression::Compression;
pub(crate) use compression::{compress, decompress};

use crate::Error;
use crate::blocks::Chunk;
use crate::limits::TERM_BYTES_MAX;

/// The byte every term starts with.
pub(crate) const VERSION: u8 = 131;

const NEW_FLOAT: u8 = 70;
const SMALL_INTEGER: u8 = 97;
const INTEGER: u8 = 98;
const FLOAT: u8 = 99;
const ATOM: u8 = 100;
const SMALL_TUPLE: u8 = 104;
const LARGE_TUPLE: u8 = 105;
const NIL: u8 = 106;
const STRING: u8 = 107;
const LIST: u8 = 108;
const BINARY: u8 = 109;
const SMALL_BIG: u8 = 110;
const LARGE_BIG: u8 = 111;
const SMALL_ATOM: u8 = 115;
const MAP: u8 = 116;
const ATOM_UTF8: u8 = 118;
const SMALL_ATOM_UTF8: u8 = 119;

/// A float of the old form is text in this many bytes, filled up with zeros.
const FLOAT_TEXT_BYTES: usize = 31;

/// Bytes of a decoded term, and where its values are.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    bytes: Vec<u8>,
    values: Vec<Position>,
}

#[derive(Debug, Clone, Copy)]
struct Position {
    /// Where the value's tag lies.
    at: u32,
    /// Behind its last byte.
    end: u32,
    /// Which value comes after it and all that is in it.
    next: u32,
    /// How many values are directly in it; or `BYTE`.
    count: u32,
}

/// Marks an element of the form that Erlang writes lists of small integers in: a byte without a tag.
const BYTE: u32 = u32::MAX;

/// A value within [`Terms`].
#[derive(Clone, Copy)]
pub(crate) struct Term<'t> {
    terms: &'t Terms,
    index: u32,
}

/// What a value is.
pub(crate) enum Kind<'t> {
    Int(i64),
    /// An integer beyond 64 bits: whether it is negative, and its bytes, the lowest first.
    Big(bool, &'t [u8]),
    Float(f64),
    Atom(&'t [u8]),
    Binary(&'t [u8]),
    Tuple(Items<'t>),
    List(Items<'t>),
    /// Keys and values by turns.
    Map(Items<'t>),
}

/// The values directly within another.
#[derive(Clone)]
pub(crate) struct Items<'t> {
    terms: &'t Terms,
    next: u32,
    left: u32,
}

impl Terms {
    /// Decompresses and decodes the content of a chunk that lies at `offset`.
    pub(crate) fn of_chunk(chunk: Chunk, offset: u64) -> Result<Self, Error> {
        Self::of_stored(chunk.data, offset)
    }

    /// Decompresses and decodes what CouchDB stored, in a chunk or within another term.
    pub(crate) fn of_stored(stored: Vec<u8>, offset: u64) -> Result<Self, Error> {
        let plain = decompress(stored, offset)?;
        if plain.first() != Some(&VERSION) {
            return Err(Error::Term { offset, at: 0, what: "it does not start as a term" });
        }
        Self::decode(plain, 1, offset)
    }

    /// Decodes a value that was taken out of a term by [`Term::raw`].
    pub(crate) fn of_raw(raw: &[u8], offset: u64) -> Result<Self, Error> {
        Self::decode(raw.to_vec(), 0, offset)
    }

    fn decode(bytes: Vec<u8>, start: usize, offset: u64) -> Result<Self, Error> {
        if bytes.len() as u64 > TERM_BYTES_MAX {
            return Err(Error::TooLarge { offset, bytes: bytes.len() as u64, unit: "bytes", limit: TERM_BYTES_MAX });
        }
        let values = decode::positions(&bytes, start, offset)?;
        Ok(Self { bytes, values })
    }

    pub(crate) fn root(&self) -> Term<'_> {
        Term { terms: self, index: 0 }
    }

    /// A value of which only the number was kept ([`Term::index`]).
    pub(crate) fn term(&self, index: u32) -> Term<'_> {
        Term { terms: self, index }
    }

    /// What comes after the value `index` within `whole`, of which it is a direct part.
    pub(crate) fn after(&self, index: u32, whole: Term<'_>) -> Option<Term<'_>> {
        let next = self.term(index).position().next;
        (next < whole.position().next).then(|| self.term(next))
    }

    /// How much memory it takes, about.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.bytes.len() as u64 + self.values.len() as u64 * size_of::<Position>() as u64
    }
}

impl<'t> Term<'t> {
    fn position(self) -> Position {
        // Indexes come from the list itself.
        self.terms.values[self.index as usize]
    }

    pub(crate) fn index(self) -> u32 {
        self.index
    }

    /// Its encoding. A byte out of a run has none and gives just itself.
    pub(crate) fn raw(self) -> &'t [u8] {
        let Position { at, end, .. } = self.position();
        &self.terms.bytes[at as usize..end as usize]
    }

    pub(crate) fn kind(self) -> Kind<'t> {
        let raw = self.raw();
        let count = self.position().count;
        if count == BYTE {
            return Kind::Int(raw[0].into());
        }
        let items = Items { terms: self.terms, next: self.index + 1, left: count };
        match raw[0] {
            SMALL_INTEGER => Kind::Int(raw[1].into()),
            INTEGER => Kind::Int(i32::from_be_bytes([raw[1], raw[2], raw[3], raw[4]]).into()),
            NEW_FLOAT => Kind::Float(f64::from_be_bytes(array_at(raw, 1))),
            FLOAT => Kind::Float(float_of_text(&raw[1..])),
            SMALL_ATOM | SMALL_ATOM_UTF8 => Kind::Atom(&raw[2..]),
            ATOM | ATOM_UTF8 => Kind::Atom(&raw[3..]),
            BINARY => Kind::Binary(&raw[5..]),
            SMALL_BIG => integer(raw[2] != 0, &raw[3..]),
            LARGE_BIG => integer(raw[5] != 0, &raw[6..]),
            SMALL_TUPLE | LARGE_TUPLE => Kind::Tuple(items),
            MAP => Kind::Map(items),
            // NIL, STRING and LIST; the decoder let nothing else through.
            _ => Kind::List(items),
        }
    }

    pub(crate) fn int(self) -> Option<i64> {
        if let Kind::Int(value) = self.kind() { Some(value) } else { None }
    }

    pub(crate) fn unsigned(self) -> Option<u64> {
        match self.kind() {
            Kind::Int(value) => value.try_into().ok(),
            Kind::Big(false, bytes) if bytes.len() <= 8 => Some(unsigned(bytes)),
            _ => None,
        }
    }

    pub(crate) fn binary(self) -> Option<&'t [u8]> {
        if let Kind::Binary(bytes) = self.kind() { Some(bytes) } else { None }
    }

    /// A binary of UTF-8.
    pub(crate) fn text(self) -> Option<&'t str> {
        std::str::from_utf8(self.binary()?).ok()
    }

    pub(crate) fn is_atom(self, name: &str) -> bool {
        matches!(self.kind(), Kind::Atom(found) if found == name.as_bytes())
    }

    pub(crate) fn atom(self) -> Option<&'t str> {
        if let Kind::Atom(bytes) = self.kind() { std::str::from_utf8(bytes).ok() } else { None }
    }

    pub(crate) fn tuple(self) -> Option<Items<'t>> {
        if let Kind::Tuple(items) = self.kind() { Some(items) } else { None }
    }

    /// The elements of a tuple of exactly this size.
    pub(crate) fn tuple_of<const N: usize>(self) -> Option<[Term<'t>; N]> {
        let mut items = self.tuple().filter(|items| items.len() == N)?;
        let mut found = [self; N];
        for place in &mut found {
            *place = items.next()?;
        }
        Some(found)
    }

    pub(crate) fn list(self) -> Option<Items<'t>> {
        if let Kind::List(items) = self.kind() { Some(items) } else { None }
    }
}

impl<'t> Iterator for Items<'t> {
    type Item = Term<'t>;

    fn next(&mut self) -> Option<Term<'t>> {
        self.left = self.left.checked_sub(1)?;
        let term = Term { terms: self.terms, index: self.next };
        self.next = term.position().next;
        Some(term)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Items<'_> {}

fn integer(negative: bool, bytes: &[u8]) -> Kind<'_> {
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let bytes = &bytes[..used];
    if bytes.len() <= 8 {
        let value = i128::from(unsigned(bytes));
        if let Ok(small) = i64::try_from(if negative { -value } else { value }) {
            return Kind::Int(small);
        }
    }
    Kind::Big(negative, bytes)
}

/// Of at most eight bytes, the lowest first.
fn unsigned(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn array_at<const N: usize>(raw: &[u8], at: usize) -> [u8; N] {
    raw.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

/// Written with 20 digits behind the point; what is no number gives NaN, which JSON cannot hold and so is refused later.
fn float_of_text(text: &[u8]) -> f64 {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests;
