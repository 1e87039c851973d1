//! Size and hash of a file, for facts.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use repository::{Cancel, Id, SourceError};
use sha2::{Digest as _, Sha256};

/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;

/// Size and SHA-256 of a file; `None` where there is none.
pub fn file_hash(path: &Path, cancel: &Cancel) -> Result<Option<(u64, String)>, SourceError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(SourceError::io(path)(error)),
    };
    let (mut sha256, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; READ_BYTES]);
    loop {
        cancel.check()?;
        let length = file.read(&mut buffer).map_err(SourceError::io(path))?;
        if length == 0 {
            return Ok(Some((bytes, Id(sha256.finalize().into()).to_hex())));
        }
        bytes += length as u64;
        sha256.update(&buffer[..length]);
    }
}
