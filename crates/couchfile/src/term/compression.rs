//! How terms are compressed: not at all, with Snappy (CouchDB's default) or with deflate, in Erlang's own envelope. Both
//! say how long the plain form is; it is believed only as far as the compressed form could hold it.

use std::io::Read as _;

use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

use super::VERSION;
use crate::Error;
use crate::limits::{DEFLATE_RATIO_MAX, SNAPPY_RATIO_MAX, TERM_BYTES_MAX};

const SNAPPY: u8 = 1;
const DEFLATED: u8 = 80;
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Behind the version and the tag comes the length in four bytes.
const DEFLATE_HEAD_BYTES: usize = 6;

/// How a writer compresses terms: CouchDB's setting `file_compression`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    None,
    /// With Snappy, CouchDB's default.
    #[default]
    Snappy,
    /// With deflate.
    Deflate,
}

/// The plain form of `stored`, which lies in a chunk at `offset`.
pub(crate) fn decompress(stored: Vec<u8>, offset: u64) -> Result<Vec<u8>, Error> {
    match stored.as_slice() {
        [SNAPPY, rest @ ..] => unsnappy(rest, offset),
        [VERSION, DEFLATED, ..] => inflate(&stored, offset),
        [VERSION, ..] => Ok(stored),
        start if start.starts_with(&ZSTD) => Err(Error::UnsupportedCompression { offset, method: "zstd" }),
        _ => Err(Error::Term { offset, at: 0, what: "it does not start as a term" }),
    }
}

fn unsnappy(packed: &[u8], offset: u64) -> Result<Vec<u8>, Error> {
    let damaged = |_| Error::Term { offset, at: 0, what: "its Snappy form is damaged" };
    let claimed = snap::raw::decompress_len(packed).map_err(damaged)? as u64;
    within_limit(claimed, packed.len(), SNAPPY_RATIO_MAX, offset)?;
    snap::raw::Decoder::new().decompress_vec(packed).map_err(damaged)
}

fn inflate(stored: &[u8], offset: u64) -> Result<Vec<u8>, Error> {
    let damaged = Error::Term { offset, at: 0, what: "its deflated form is damaged" };
    let Some((head, packed)) = stored.split_first_chunk::<DEFLATE_HEAD_BYTES>() else { return Err(damaged) };
    let claimed = u64::from(u32::from_be_bytes([head[2], head[3], head[4], head[5]]));
    within_limit(claimed, packed.len(), DEFLATE_RATIO_MAX, offset)?;
    let mut plain = vec![VERSION];
    let read = ZlibDecoder::new(packed).take(claimed + 1).read_to_end(&mut plain);
    match read {
        Ok(length) if length as u64 == claimed => Ok(plain),
        _ => Err(damaged),
    }
}

fn within_limit(claimed: u64, packed: usize, ratio: u64, offset: u64) -> Result<(), Error> {
    if claimed > TERM_BYTES_MAX {
        return Err(Error::TooLarge { offset, bytes: claimed, unit: "bytes", limit: TERM_BYTES_MAX });
    }
    if claimed > (packed as u64).saturating_mul(ratio) {
        return Err(Error::Term { offset, at: 0, what: "it claims to be longer than its compressed form can hold" });
    }
    Ok(())
}

/// `plain`, which starts with the version byte, as CouchDB would store it.
pub(crate) fn compress(plain: Vec<u8>, how: Compression) -> Result<Vec<u8>, Error> {
    let failed = |error: std::io::Error| Error::Write(error);
    match how {
        Compression::None => Ok(plain),
        Compression::Snappy => {
            let packed = snap::raw::Encoder::new().compress_vec(&plain).map_err(|error| failed(error.into()))?;
            Ok([&[SNAPPY], packed.as_slice()].concat())
        }
        Compression::Deflate => {
            let body = plain.get(1..).unwrap_or_default();
            let length = u32::try_from(body.len()).map_err(|_| failed(std::io::ErrorKind::FileTooLarge.into()))?;
            let mut stored = vec![VERSION, DEFLATED];
            stored.extend(length.to_be_bytes());
            let mut encoder = ZlibEncoder::new(stored, flate2::Compression::default());
            std::io::Write::write_all(&mut encoder, body).map_err(failed)?;
            encoder.finish().map_err(failed)
        }
    }
}
