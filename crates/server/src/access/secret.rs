//! Secrets that the server gives out once and keeps only the hash of.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use operations::Fault;
use sha2::{Digest as _, Sha256};

/// 256 bits that nobody guesses, so that a plain hash of them is enough.
const SECRET_BYTES: usize = 32;

/// A secret that was just made. It is shown once.
pub struct Secret(String);

impl Secret {
    /// A new one, behind `prefix`, by which scanners of leaked secrets know it.
    ///
    /// # Errors
    ///
    /// Where the system gives no random numbers.
    pub fn new(prefix: &str) -> Result<Self, Fault> {
        let mut bytes = [0; SECRET_BYTES];
        getrandom::fill(&mut bytes)
            .map_err(|error| Fault::local("the system gives no random numbers", error.into()))?;
        Ok(Self(format!("{prefix}{}", BASE64URL_NOPAD.encode(&bytes))))
    }

    /// The text, for whom it is for.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn hash(&self) -> [u8; 32] {
        hash(&self.0)
    }
}

/// What is kept of a secret. Looking it up by this needs no comparison in constant time.
pub fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
