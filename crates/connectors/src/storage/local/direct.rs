//! Writes most of a large file past the kernel's cache. Who writes a pack does not read it soon, and the cache costs more
//! processor time than the disk does: pages are fetched, filled and thrown out again, and other programs' pages with
//! them. What a check or a drill reads later comes from the disk, and that is what these are to look at.

use rustix::fd::OwnedFd;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{self, Errno, retry_on_intr};

/// What addresses, offsets and lengths of direct writes are multiples of: no disk has larger blocks (open(2), `O_DIRECT`).
const BLOCK: usize = 4096;
/// Bytes that are written at once. Smaller files are not worth it.
const STEP: usize = 1 << 20;

/// Writes as much from the front of `bytes` as this file system takes past the cache, and says how much that is. What is
/// left, which may be all of it, is to be written as usual.
pub(super) fn write_front(file: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    if bytes.len() < STEP {
        return Ok(0);
    }
    let flags = fcntl_getfl(file)?;
    if fcntl_setfl(file, flags | OFlags::DIRECT).is_err() {
        return Ok(0);
    }
    let written = write_blocks(file, bytes);
    fcntl_setfl(file, flags)?;
    written
}

fn write_blocks(file: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    let mut memory = vec![0; BLOCK + STEP];
    let aligned = memory.as_ptr().align_offset(BLOCK);
    let Some(buffer) = memory.get_mut(aligned..).and_then(|rest| rest.get_mut(..STEP)) else { return Ok(0) };
    let mut written = 0;
    for piece in bytes.chunks(STEP) {
        let whole = piece.len() - piece.len() % BLOCK;
        buffer[..whole].copy_from_slice(&piece[..whole]);
        let done = match retry_on_intr(|| io::write(file, &buffer[..whole])) {
            // It wants larger blocks, or does not have direct writes after all.
            Err(Errno::INVAL | Errno::NOTSUP) => break,
            done => done?,
        };
        written += done;
        // In the middle of a block no direct write begins.
        if done < STEP {
            break;
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _, Write as _};

    use super::*;

    #[test]
    fn what_is_written_past_the_cache_is_a_front_of_the_file_on_every_file_system() {
        let bytes: Vec<u8> = (0..3 * STEP + BLOCK + 1).map(|at| (at * 7 + at / 251) as u8).collect();
        for folder in [std::env::temp_dir(), "/dev/shm".into(), "/run".into()] {
            for size in [0, 1, STEP - 1, STEP, STEP + 1, STEP + BLOCK, 2 * STEP - 1, bytes.len()] {
                let Ok(file) = tempfile::tempfile_in(&folder) else { continue };
                let mut copy = file.try_clone().unwrap();
                let written = write_front(&file.into(), &bytes[..size]).unwrap();
                assert!(written == 0 || written == size - size % BLOCK, "{written} of {size}");
                copy.write_all(&bytes[written..size]).unwrap();
                let mut read = Vec::new();
                copy.rewind().unwrap();
                copy.read_to_end(&mut read).unwrap();
                assert!(read == bytes[..size], "{size} bytes in {}", folder.display());
            }
        }
    }
}
