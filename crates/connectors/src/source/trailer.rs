//! Text that an output must end with.

use std::collections::VecDeque;

use super::output::Proof;
use crate::program::keep_end;

/// White space after the trailer that is passed over.
const BLANK_BYTES_MAX: usize = 4 << 10;

/// The text that proves an output whole, by standing at its end.
pub struct Trailer {
    text: Vec<u8>,
    /// The end of the output, long enough for the text.
    end: VecDeque<u8>,
}

impl Trailer {
    /// White space at the end of both, the text and the output, is passed over. `None` for a text of nothing else, which
    /// would prove nothing.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.as_bytes().trim_ascii_end().to_vec();
        (!text.is_empty()).then_some(Self { text, end: VecDeque::new() })
    }
}

impl Proof for Trailer {
    fn take(&mut self, bytes: &mut [u8]) -> Result<(), String> {
        keep_end(&mut self.end, bytes, self.text.len() + BLANK_BYTES_MAX);
        Ok(())
    }

    fn verdict(&mut self, _: &str) -> Result<(), String> {
        if self.end.make_contiguous().trim_ascii_end().ends_with(&self.text) {
            return Ok(());
        }
        Err("printed an output that does not end with the trailer, so it is not whole".to_owned())
    }
}
