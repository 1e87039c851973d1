//! Key files: the master key, wrapped by a key that scrypt derives from a password.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::crypto::{self, Key, NoRandomness};
use super::time::Time;

/// Cost of scrypt. 128 · `n` · `r` bytes of memory, time in proportion to `n` · `r` · `p`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KdfCost {
    /// Rounds; a power of two.
    pub n: u64,
    /// Block size.
    pub r: u32,
    /// Parallelism.
    pub p: u32,
}

impl KdfCost {
    /// For passwords that Lifeboat generated: 256 random bits need no slow derivation, and every command opens the
    /// repository. The floor that restic never goes below; some 0.1 s.
    pub const GENERATED: Self = Self { n: 1 << 15, r: 8, p: 1 };
    /// For passwords that a person chose: about half a second, what restic's calibration aims for on common machines.
    pub const CHOSEN: Self = Self { n: 1 << 15, r: 8, p: 6 };
    /// For tests, which open repositories thousands of times.
    pub const FAST: Self = Self { n: 1 << 10, r: 8, p: 1 };
    /// More memory than this, in bytes, no key file may ask for: a hostile one could otherwise take all there is.
    const MEMORY_BYTES_MAX: u64 = 1 << 30;
    /// 256 bits in the 32 letters and digits that Lifeboat writes passwords with.
    const GENERATED_CHARS: usize = 52;

    /// A password that looks like ours is not guessed, however fast a guess is; any other may be, so each guess must
    /// cost.
    pub fn for_password(password: &str) -> Self {
        let is_ours = |byte: u8| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte);
        let generated = password.len() == Self::GENERATED_CHARS && password.bytes().all(is_ours);
        if generated { Self::GENERATED } else { Self::CHOSEN }
    }
}

/// A key file as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyFile {
    /// When it was made; 1970 where the file does not say.
    #[serde(default = "unknown_time")]
    pub created: Time,
    /// Who made it; empty where the file does not say. rustic writes none of these three unless it is asked to.
    #[serde(default)]
    pub username: String,
    /// On which host; empty where the file does not say.
    #[serde(default)]
    pub hostname: String,
    kdf: String,
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
    salt: String,
    data: String,
}

fn unknown_time() -> Time {
    Time::EPOCH
}

/// Why a key file gives no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The password is not the one the key was wrapped with.
    #[error("the password does not open this key file")]
    WrongPassword,
    /// No key can be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// The file is not a key file this program understands.
    #[error("{0}")]
    Malformed(String),
}

impl KeyFile {
    /// Wraps `master` with `password`.
    pub fn wrap(
        master: &Key,
        password: &str,
        cost: KdfCost,
        who: (String, String),
        created: Time,
    ) -> Result<Self, KeyFileError> {
        let salt: [u8; 64] = crypto::random()?;
        let mut file = Self {
            created,
            username: who.0,
            hostname: who.1,
            kdf: "scrypt".to_owned(),
            n: cost.n,
            r: cost.r,
            p: cost.p,
            salt: BASE64.encode(salt),
            data: String::new(),
        };
        let plain = Zeroizing::new(super::go::to_json(master));
        let wrapping = file.derive(password)?;
        file.data = BASE64.encode(wrapping.encrypt(&plain)?);
        Ok(file)
    }

    /// Reads a stored key file.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyFileError> {
        serde_json::from_slice(bytes).map_err(|error| KeyFileError::Malformed(error.to_string()))
    }

    /// The stored form; key files are plain JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        super::go::to_json(self)
    }

    /// Derives the wrapping key and opens the master key. Takes from a tenth of a second to seconds.
    pub fn unwrap(&self, password: &str) -> Result<Key, KeyFileError> {
        let wrapping = self.derive(password)?;
        let malformed = |_| KeyFileError::Malformed("the wrapped key is not in base64".to_owned());
        let mut data = Zeroizing::new(BASE64.decode(&self.data).map_err(malformed)?);
        let plain = wrapping.decrypt_in_place(&mut data).map_err(|_| KeyFileError::WrongPassword)?;
        serde_json::from_slice(plain).map_err(|_| KeyFileError::Malformed("the wrapped key is not a key".to_owned()))
    }

    fn derive(&self, password: &str) -> Result<Key, KeyFileError> {
        let malformed = |what: &str| KeyFileError::Malformed(what.to_owned());
        if self.kdf != "scrypt" {
            return Err(KeyFileError::Malformed(format!("key derivation {:?} is not known", self.kdf)));
        }
        let memory = self.n.saturating_mul(128).saturating_mul(self.r.into());
        let lanes = u64::from(self.r).saturating_mul(self.p.into());
        if !self.n.is_power_of_two() || self.n < 2 || memory > KdfCost::MEMORY_BYTES_MAX || lanes > 1 << 10 {
            return Err(malformed("its scrypt cost is out of bounds"));
        }
        let salt = BASE64.decode(&self.salt).map_err(|_| malformed("the salt is not in base64"))?;
        let log_n = u8::try_from(self.n.trailing_zeros()).map_err(|_| malformed("its scrypt cost is out of bounds"))?;
        let cost =
            scrypt::Params::new(log_n, self.r, self.p).map_err(|_| malformed("its scrypt cost is out of bounds"))?;
        let mut bytes = Zeroizing::new([0; 64]);
        scrypt::scrypt(password.as_bytes(), &salt, &cost, &mut *bytes)
            .map_err(|_| malformed("its scrypt cost is out of bounds"))?;
        Ok(Key::from_bytes(&bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_looks_like_a_generated_password_is_derived_fast() {
        let generated = data_encoding::BASE32_NOPAD.encode(&[0xb7; 32]);
        assert_eq!(KdfCost::for_password(&generated), KdfCost::GENERATED);
        let sentence = "four score and seven years ago our fathers brought forth";
        for chosen in ["secret", sentence, &generated[1..], &format!("{generated}A"), &generated.to_lowercase()] {
            assert_eq!(KdfCost::for_password(chosen), KdfCost::CHOSEN, "{chosen}");
        }
    }

    #[test]
    fn a_key_file_that_does_not_say_who_made_it_opens() {
        let master = Key::generate().unwrap();
        let who = ("user".to_owned(), "host".to_owned());
        let file = KeyFile::wrap(&master, "pass", KdfCost { n: 16, r: 1, p: 1 }, who, Time::EPOCH).unwrap();
        let mut json: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&file.to_bytes()).unwrap();
        for key in ["created", "username", "hostname"] {
            assert!(json.remove(key).is_some());
        }
        let anonymous = KeyFile::parse(&serde_json::to_vec(&json).unwrap()).unwrap();
        assert_eq!((anonymous.username.as_str(), anonymous.created), ("", Time::EPOCH));
        let opened = anonymous.unwrap("pass").unwrap();
        assert_eq!(opened.derive("the same key"), master.derive("the same key"));
        assert!(matches!(anonymous.unwrap("other"), Err(KeyFileError::WrongPassword)));
    }
}
