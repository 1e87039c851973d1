//! The two checksums of CouchDB's files. Versions before 3.4 know MD5 only; 3.4 reads both; 3.5 writes XXH3-128 unless
//! configured otherwise. Nothing in a file says which was used, so both are tried.

use md5::{Digest as _, Md5};
use twox_hash::XxHash3_128;

/// Which checksum something was written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// MD5, of all versions up to 3.4.
    Md5,
    /// XXH3 with 128 bits, big-endian, of 3.5 and later. Versions before 3.4 take what bears it for damaged.
    Xxh3,
}

/// Bytes of either.
pub(crate) const CHECKSUM_BYTES: usize = 16;

impl Checksum {
    /// Which kind `stored` is over `data`, if it is right.
    pub(crate) fn verify(data: &[u8], stored: &[u8]) -> Option<Self> {
        // A fuzzer cannot guess checksums; what lies behind them has to bear any bytes.
        if cfg!(fuzzing) {
            return Some(Self::Md5);
        }
        // The cheap one first.
        [Self::Xxh3, Self::Md5].into_iter().find(|kind| kind.of(data) == stored)
    }

    pub(crate) fn of(self, data: &[u8]) -> [u8; CHECKSUM_BYTES] {
        match self {
            Self::Md5 => Md5::digest(data).into(),
            Self::Xxh3 => XxHash3_128::oneshot(data).to_be_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_couchdbs_own_test_vectors() {
        assert_eq!(Checksum::Xxh3.of(b""), 0x99AA_06D3_0147_98D8_6001_C324_468D_497F_u128.to_be_bytes());
        assert_eq!(Checksum::Md5.of(b""), 0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e_u128.to_be_bytes());
        assert_eq!(Checksum::verify(b"a", &Checksum::Md5.of(b"a")), Some(Checksum::Md5));
        assert_eq!(Checksum::verify(b"a", &Checksum::Xxh3.of(b"a")), Some(Checksum::Xxh3));
        assert_eq!(Checksum::verify(b"b", &Checksum::Xxh3.of(b"a")), None);
    }
}
