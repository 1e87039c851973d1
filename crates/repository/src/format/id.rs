//! SHA-256 ids, which name everything in a repository.

use std::fmt;
use std::str::FromStr;

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// The SHA-256 of something. Shown in full by `Display` and `Debug`, in short by [`Id::short`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub [u8; 32]);

/// A text is not the hexadecimal form of an id.
#[derive(Debug, thiserror::Error)]
#[error("an id has 64 hexadecimal digits")]
pub struct NotAnId;

impl Id {
    /// All zeros: the name of nothing.
    pub const ZERO: Self = Self([0; 32]);

    /// The id of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The 64 digits.
    pub fn to_hex(self) -> String {
        data_encoding::HEXLOWER.encode(&self.0)
    }

    /// The first eight digits, which is how ids are shown to people.
    pub fn short(self) -> String {
        data_encoding::HEXLOWER.encode(&self.0[..4])
    }

    /// Reads 64 hexadecimal digits.
    pub fn from_hex(text: &[u8]) -> Result<Self, NotAnId> {
        let mut id = [0; 32];
        if text.len() != 64 {
            return Err(NotAnId);
        }
        data_encoding::HEXLOWER_PERMISSIVE.decode_mut(text, &mut id).map_err(|_| NotAnId)?;
        Ok(Self(id))
    }
}

impl FromStr for Id {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        Self::from_hex(text.as_bytes())
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut hex = [0; 64];
        data_encoding::HEXLOWER.encode_mut(&self.0, &mut hex);
        // Hexadecimal digits are ASCII, so this cannot fail; an empty text would be refused by every reader.
        serializer.serialize_str(std::str::from_utf8(&hex).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Hex;
        impl Visitor<'_> for Hex {
            type Value = Id;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("64 hexadecimal digits")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Id, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_bytes<E: serde::de::Error>(self, text: &[u8]) -> Result<Id, E> {
                Id::from_hex(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Hex).map_err(D::Error::custom)
    }
}
