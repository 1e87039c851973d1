//! Writes terms, in the form that Erlang's `term_to_binary` with `minor_version` 1 gives them.

use super::{ATOM, BINARY, INTEGER, LARGE_BIG, LARGE_TUPLE, LIST, NIL, SMALL_BIG, SMALL_INTEGER, SMALL_TUPLE, VERSION};

/// Bytes of a term, appended value by value. The caller sees to it that a tuple or list gets as many as it announced.
#[derive(Default)]
pub(crate) struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    /// A term of its own, which starts with the version byte.
    pub(crate) fn term() -> Self {
        Self { bytes: vec![VERSION] }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn tuple(&mut self, count: usize) -> &mut Self {
        match u8::try_from(count) {
            Ok(count) => self.bytes.extend([SMALL_TUPLE, count]),
            Err(_) => self.tagged(LARGE_TUPLE, count),
        }
        self
    }

    /// `count` values follow, then [`Encoder::end_list`]. An empty list is the end alone.
    pub(crate) fn list(&mut self, count: usize) -> &mut Self {
        if count > 0 {
            self.tagged(LIST, count);
        }
        self
    }

    pub(crate) fn end_list(&mut self) -> &mut Self {
        self.bytes.push(NIL);
        self
    }

    pub(crate) fn atom(&mut self, name: &str) -> &mut Self {
        self.bytes.push(ATOM);
        self.bytes.extend((name.len() as u16).to_be_bytes());
        self.bytes.extend(name.as_bytes());
        self
    }

    pub(crate) fn binary(&mut self, bytes: &[u8]) -> &mut Self {
        self.tagged(BINARY, bytes.len());
        self.bytes.extend(bytes);
        self
    }

    pub(crate) fn unsigned(&mut self, value: u64) -> &mut Self {
        self.integer(i128::from(value))
    }

    pub(crate) fn integer(&mut self, value: i128) -> &mut Self {
        if let Ok(byte) = u8::try_from(value) {
            self.bytes.extend([SMALL_INTEGER, byte]);
        } else if let Ok(word) = i32::try_from(value) {
            self.bytes.push(INTEGER);
            self.bytes.extend(word.to_be_bytes());
        } else {
            self.big(value < 0, &value.unsigned_abs().to_le_bytes());
        }
        self
    }

    /// An integer of any size, its lowest byte first.
    pub(crate) fn big(&mut self, negative: bool, bytes: &[u8]) -> &mut Self {
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        match u8::try_from(used) {
            Ok(length) => self.bytes.extend([SMALL_BIG, length]),
            Err(_) => self.tagged(LARGE_BIG, used),
        }
        self.bytes.push(negative.into());
        self.bytes.extend(&bytes[..used]);
        self
    }

    #[cfg(any(test, feature = "writer"))]
    pub(crate) fn float(&mut self, value: f64) -> &mut Self {
        self.bytes.push(super::NEW_FLOAT);
        self.bytes.extend(value.to_be_bytes());
        self
    }

    /// A value that is encoded already.
    pub(crate) fn raw(&mut self, encoded: &[u8]) -> &mut Self {
        self.bytes.extend(encoded);
        self
    }

    /// Every use is for what came out of memory, where no length reaches four gigabytes.
    fn tagged(&mut self, tag: u8, count: usize) {
        self.bytes.push(tag);
        self.bytes.extend((count as u32).to_be_bytes());
    }
}
