//! Whether a file is laid out in blocks as CouchDB's are, which a few bytes tell: other programs use the same names.

use std::io;

use crate::ReadAt;
use crate::limits::BLOCK_BYTES;

/// Blocks that are looked at, over the whole file.
const BLOCKS_SAMPLED: u64 = 16;

/// Whether a file begins with a header, and blocks all over it begin with one of the two marks that blocks have. Other content
/// passes with a chance of one in 2^112 where it is at random, and any text fails.
///
/// # Errors
/// Those of the reader.
pub fn has_block_marks<R: ReadAt + ?Sized>(reader: &R) -> io::Result<bool> {
    let mark = |block: u64| {
        let mut mark = [0];
        let read = reader.read_at(block * BLOCK_BYTES, &mut mark)?;
        io::Result::Ok((read == 1).then_some(mark[0]))
    };
    let blocks = reader.length()?.div_ceil(BLOCK_BYTES);
    if mark(0)? != Some(1) {
        return Ok(false);
    }
    let sampled = BLOCKS_SAMPLED.min(blocks);
    for number in 1..=sampled {
        let block = (blocks - 1) * number / sampled;
        if !matches!(mark(block)?, Some(0 | 1)) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_tell_couchdbs_files_from_others_of_the_same_name() {
        let mut file = vec![7; 40 * BLOCK_BYTES as usize + 9];
        file.iter_mut().step_by(BLOCK_BYTES as usize).for_each(|mark| *mark = 0);
        file[0] = 1;
        assert!(has_block_marks(&file[..]).unwrap());
        for damage in [0, 40] {
            let mut other = file.clone();
            other[damage * BLOCK_BYTES as usize] = b'x';
            assert!(!has_block_marks(&other[..]).unwrap(), "block {damage}");
        }
        assert!(!has_block_marks::<[u8]>(&[]).unwrap());
        assert!(has_block_marks::<[u8]>(&[1]).unwrap());
        assert!(!has_block_marks::<[u8]>(&[9; 100_000]).unwrap());
    }
}
