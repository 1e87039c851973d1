//! Cuts files into chunks where their content says so, so that an insertion moves few boundaries.
//!
//! FastCDC (Xia et al., USENIX ATC 2016) with normalised chunking: a gear hash over the last 64 bytes, a stricter mask
//! before the average size and a looser one after it. The gear table comes from the repository's master key, so that
//! nobody without it can tell from chunk sizes which known files are stored (`docs/design/chunking.md`).

use sha2::{Digest as _, Sha256};

use crate::format::crypto::Key;

/// Cuts byte streams for one repository.
pub struct Chunker {
    gear: Box<[u64; 256]>,
    bytes_min: usize,
    bytes_average: usize,
    bytes_max: usize,
    mask_strict: u64,
    mask_loose: u64,
}

impl std::fmt::Debug for Chunker {
    /// Without the table, which is derived from the master key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chunker({} bytes)", self.bytes_average)
    }
}

impl Chunker {
    /// A chunker whose table depends on `key`. `bytes_average` is a power of two of at least 256.
    pub fn new(key: &Key, bytes_average: u32) -> Self {
        let secret = key.derive("lifeboat gear table 1");
        let mut gear = Box::new([0; 256]);
        for (byte, entry) in (0u8..=255).zip(gear.iter_mut()) {
            let digest = Sha256::new().chain_update(secret).chain_update([byte]).finalize();
            *entry = digest.iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte));
        }
        let bits = bytes_average.max(256).ilog2();
        let bytes_average = 1 << bits;
        Self {
            gear,
            bytes_min: bytes_average / 4,
            bytes_average,
            bytes_max: bytes_average * 4,
            mask_strict: high_bits(bits + 1),
            mask_loose: high_bits(bits - 1),
        }
    }

    /// No chunk is larger. [`Chunker::cut`] must see this many bytes unless the stream ends before.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// The length of the chunk that `bytes` starts with: at most [`Chunker::bytes_max`], zero only for no bytes. Every
    /// chunk starts afresh, so a stream can be cut again from any earlier boundary with the same result.
    pub fn cut(&self, bytes: &[u8]) -> usize {
        let end = bytes.len().min(self.bytes_max);
        if end <= self.bytes_min {
            return end;
        }
        let middle = end.min(self.bytes_average);
        let mut hash = 0;
        self.find(&bytes[..middle], self.bytes_min, self.mask_strict, &mut hash)
            .or_else(|| self.find(&bytes[..end], middle, self.mask_loose, &mut hash))
            .unwrap_or(end)
    }

    fn find(&self, bytes: &[u8], from: usize, mask: u64, hash: &mut u64) -> Option<usize> {
        for (at, byte) in bytes.iter().enumerate().skip(from) {
            *hash = (*hash << 1).wrapping_add(self.gear[usize::from(*byte)]);
            if *hash & mask == 0 {
                return Some(at + 1);
            }
        }
        None
    }
}

/// The high bits of a gear hash depend on the most bytes.
fn high_bits(count: u32) -> u64 {
    !(u64::MAX >> count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn noise(length: usize, seed: u64) -> Vec<u8> {
        let mut state = seed;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        })
        .take(length)
        .collect()
    }

    fn cut_all(chunker: &Chunker, mut bytes: &[u8]) -> Vec<usize> {
        let mut lengths = Vec::new();
        while !bytes.is_empty() {
            let length = chunker.cut(bytes);
            lengths.push(length);
            bytes = &bytes[length..];
        }
        lengths
    }

    #[test]
    fn chunks_have_the_average_size_that_was_asked_for() {
        let chunker = Chunker::new(&Key::from_bytes(&[7; 64]), 4096);
        let bytes = noise(8 << 20, 1);
        let average = bytes.len() / cut_all(&chunker, &bytes).len();
        assert!((3500..6500).contains(&average), "{average}");
    }

    #[test]
    fn an_insertion_moves_few_boundaries() {
        let chunker = Chunker::new(&Key::from_bytes(&[7; 64]), 4096);
        let before = noise(1 << 20, 2);
        let mut after = before.clone();
        after.splice(500_000..500_000, *b"inserted");
        let ends = |bytes: &[u8]| {
            cut_all(&chunker, bytes)
                .iter()
                .scan(0, |sum, length| {
                    *sum += length;
                    Some(bytes.len() - *sum)
                })
                .collect::<Vec<_>>()
        };
        let (before, after) = (ends(&before), ends(&after));
        let moved = after.iter().filter(|end| !before.contains(end)).count();
        // Ends are counted from the file's end, so all before the insertion move by its length and are not looked at.
        let behind = after.iter().filter(|end| **end < (1 << 20) - 510_000).count();
        assert!(after.iter().filter(|end| **end < (1 << 20) - 510_000 && !before.contains(end)).count() * 20 < behind);
        assert!(moved < after.len());
    }

    #[test]
    fn repositories_cut_the_same_bytes_differently() {
        let bytes = noise(1 << 20, 3);
        let one = cut_all(&Chunker::new(&Key::from_bytes(&[1; 64]), 4096), &bytes);
        let other = cut_all(&Chunker::new(&Key::from_bytes(&[2; 64]), 4096), &bytes);
        assert_ne!(one, other);
    }

    proptest! {
        #[test]
        fn lengths_add_up_and_keep_their_bounds(length in 0usize..100_000, seed: u64) {
            let chunker = Chunker::new(&Key::from_bytes(&[7; 64]), 1024);
            let lengths = cut_all(&chunker, &noise(length, seed));
            prop_assert_eq!(lengths.iter().sum::<usize>(), length);
            prop_assert!(lengths.iter().all(|length| (1..=4096).contains(length)));
            prop_assert!(lengths.iter().rev().skip(1).all(|length| *length >= 256));
        }
    }
}
