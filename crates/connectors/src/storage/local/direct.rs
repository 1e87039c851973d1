//! Writes most of a large file past the kernel's cache. Who writes a pack does not read it soon, and the cache costs more
//! processor time than the disk does: pages are fetched, filled and thrown out again, and other programs' pages with
//! them. What a check or a drill reads later comes from the disk, and that is what these are to look at.

use rustix::fd::OwnedFd;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl, fstatfs};
use rustix::io::{self, Errno, retry_on_intr};

/// What addresses, offsets and lengths of direct writes are multiples of: no disk has larger blocks (open(2), `O_DIRECT`).
const BLOCK: usize = 4096;
/// Bytes that are written at once. Smaller files are not worth it.
const STEP: usize = 1 << 20;

/// File systems on disks of this machine, by what statfs(2) calls them: ext2 to ext4, XFS, btrfs, F2FS. On a share each direct
/// write is a way to the server and back, and many others do not have them or only say so.
const ON_DISK: [u64; 4] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010];

/// Writes as much from the front of `bytes` as this file system takes past the cache, and says how much that is. What is
/// left, which may be all of it, is to be written as usual; that also tells why it could not be written here.
pub(super) fn write_front(file: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    if bytes.len() < STEP || !is_on_disk(file) {
        return Ok(0);
    }
    let flags = fcntl_getfl(file)?;
    if fcntl_setfl(file, flags | OFlags::DIRECT).is_err() {
        return Ok(0);
    }
    let written = write_blocks(file, bytes);
    fcntl_setfl(file, flags)?;
    Ok(written)
}

fn is_on_disk(file: &OwnedFd) -> bool {
    // Its type differs from machine to machine.
    fstatfs(file).is_ok_and(|found| ON_DISK.contains(&(found.f_type as u64 & 0xffff_ffff)))
}

fn write_blocks(file: &OwnedFd, bytes: &[u8]) -> usize {
    let mut memory = vec![0; BLOCK + STEP];
    let aligned = memory.as_ptr().align_offset(BLOCK);
    let Some(buffer) = memory.get_mut(aligned..).and_then(|rest| rest.get_mut(..STEP)) else { return 0 };
    let mut written = 0;
    for piece in bytes.chunks(STEP) {
        let whole = piece.len() - piece.len() % BLOCK;
        buffer[..whole].copy_from_slice(&piece[..whole]);
        // A write that fails moves nothing: the disk wants larger blocks, or is full.
        let done = retry_on_intr(|| io::write(file, &buffer[..whole])).unwrap_or(0);
        written += done;
        // In the middle of a block no direct write begins.
        if done < STEP {
            break;
        }
    }
    written
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
                let file = file.into();
                let expected = if is_on_disk(&file) && size >= STEP { size - size % BLOCK } else { 0 };
                let written = write_front(&file, &bytes[..size]).unwrap();
                assert_eq!(written, expected, "of {size} in {}", folder.display());
                copy.write_all(&bytes[written..size]).unwrap();
                let mut read = Vec::new();
                copy.rewind().unwrap();
                copy.read_to_end(&mut read).unwrap();
                assert!(read == bytes[..size], "{size} bytes in {}", folder.display());
            }
        }
    }
}
