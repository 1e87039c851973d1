//! The `config` file: format version, repository id, and the polynomial that stock restic chunks with.

use serde::{Deserialize, Serialize};

use super::crypto::{self, NoRandomness};
use super::id::Id;
use crate::limits::{CHUNK_BYTES_AVERAGE, CHUNK_BYTES_AVERAGE_RANGE};

/// The decrypted config file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// 1 or 2; see [`Config::VERSION`].
    pub version: u32,
    /// Random, the same in every copy.
    pub id: Id,
    /// An irreducible polynomial of degree 53 over GF(2), in hexadecimal. Only stock restic uses it.
    pub chunker_polynomial: String,
    /// What only Lifeboat reads. Absent in repositories that restic made; restic passes the key over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifeboat: Option<Settings>,
}

/// Lifeboat's own settings of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Average chunk in bytes, a power of two; see `docs/design/chunking.md`.
    pub chunk_bytes_average: u32,
}

impl Config {
    /// The version this program writes.
    pub const VERSION: u32 = 2;

    /// The config of a new repository.
    pub fn generate(chunk_bytes_average: u32) -> Result<Self, NoRandomness> {
        let (low, high) = CHUNK_BYTES_AVERAGE_RANGE;
        let chunk_bytes_average = chunk_bytes_average.clamp(low, high).next_power_of_two();
        Ok(Self {
            version: Self::VERSION,
            id: Id(crypto::random()?),
            chunker_polynomial: format!("{:x}", polynomial::random_irreducible()?),
            lifeboat: Some(Settings { chunk_bytes_average }),
        })
    }

    /// Average chunk in bytes, within [`CHUNK_BYTES_AVERAGE_RANGE`] whatever the file says.
    pub fn chunk_bytes_average(&self) -> u32 {
        let (low, high) = CHUNK_BYTES_AVERAGE_RANGE;
        let asked = self.lifeboat.as_ref().map_or(CHUNK_BYTES_AVERAGE, |settings| settings.chunk_bytes_average);
        asked.clamp(low, high).next_power_of_two()
    }
}

/// Polynomials over GF(2), a bit a coefficient: just enough to draw an irreducible one, which restic insists on.
mod polynomial {
    use super::{NoRandomness, crypto};

    pub const DEGREE: u32 = 53;

    pub fn random_irreducible() -> Result<u64, NoRandomness> {
        loop {
            let random = u64::from_le_bytes(crypto::random()?);
            // Degree 53, and a constant term: without one the polynomial is divisible by x.
            let candidate = (random & ((1 << DEGREE) - 1)) | (1 << DEGREE) | 1;
            if is_irreducible(candidate) {
                return Ok(candidate);
            }
        }
    }

    /// Ben-Or's test: f of degree n is irreducible where gcd(x^(2^i) - x, f) = 1 for every i up to n / 2.
    pub fn is_irreducible(f: u64) -> bool {
        let mut power = 0b10;
        for _ in 0..degree(f) / 2 {
            power = multiply(power, power, f);
            if gcd(power ^ 0b10, f) != 1 {
                return false;
            }
        }
        true
    }

    fn degree(f: u64) -> u32 {
        63 - f.leading_zeros().min(63)
    }

    fn remainder(mut a: u64, b: u64) -> u64 {
        while a != 0 && degree(a) >= degree(b) {
            a ^= b << (degree(a) - degree(b));
        }
        a
    }

    fn multiply(mut a: u64, mut b: u64, modulus: u64) -> u64 {
        let mut product = 0;
        while b != 0 {
            if b & 1 == 1 {
                product ^= a;
            }
            a = remainder(a << 1, modulus);
            b >>= 1;
        }
        product
    }

    fn gcd(mut a: u64, mut b: u64) -> u64 {
        while b != 0 {
            (a, b) = (b, remainder(a, b));
        }
        a
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_polynomials_are_told_apart() {
        // The irreducible one is from restic/chunker's documentation; the other is a product.
        assert!(polynomial::is_irreducible(0x003D_A335_8B4D_C173));
        assert!(!polynomial::is_irreducible(0x20_0000_0000_0005));
        assert!(polynomial::is_irreducible(0b111));
        assert!(!polynomial::is_irreducible(0b101));
    }

    #[test]
    fn the_average_chunk_is_bounded_whatever_the_file_says() {
        let mut config = Config::generate(1000).unwrap();
        assert_eq!(config.chunk_bytes_average(), 64 << 10);
        config.lifeboat = Some(Settings { chunk_bytes_average: u32::MAX });
        assert_eq!(config.chunk_bytes_average(), 4 << 20);
        config.lifeboat = None;
        assert_eq!(config.chunk_bytes_average(), CHUNK_BYTES_AVERAGE);
    }
}
