//! restic's encryption: AES-256 in counter mode, then Poly1305-AES over the ciphertext.
//!
//! Stored form: `IV (16) ‖ ciphertext ‖ MAC (16)`. The IV is also the nonce of Poly1305-AES (D. J. Bernstein, "The
//! Poly1305-AES message-authentication code"): its one-time pad is the IV encrypted with AES-128 under `k`.

use aes::cipher::{BlockCipherEncrypt as _, KeyInit as _, KeyIvInit as _, StreamCipher as _};
use aes::{Aes128, Aes256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ctr::Ctr128BE;
use poly1305::Poly1305;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes that encryption adds.
pub const OVERHEAD_BYTES: usize = 32;
const IV_BYTES: usize = 16;
const MAC_BYTES: usize = 16;

/// The system's generator of random bytes failed; nothing can be encrypted safely.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random bytes: {0}")]
pub struct NoRandomness(getrandom::Error);

/// The stored bytes were not written with this key, or were changed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the authentication code does not match")]
pub struct Forged;

/// A key of a repository: the master key, or the one derived from a password. Never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Key {
    encrypt: [u8; 32],
    mac_k: [u8; 16],
    mac_r: [u8; 16],
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(secret)")
    }
}

/// Fills an array with random bytes from the system.
pub fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(NoRandomness)?;
    Ok(bytes)
}

impl Key {
    /// A new random key.
    pub fn generate() -> Result<Self, NoRandomness> {
        Ok(Self { encrypt: random()?, mac_k: random()?, mac_r: random()? })
    }

    /// The key out of scrypt's 64 bytes: 32 to encrypt, 16 `k`, 16 `r`.
    pub fn from_bytes(bytes: &[u8; 64]) -> Self {
        let mut key = Self { encrypt: [0; 32], mac_k: [0; 16], mac_r: [0; 16] };
        key.encrypt.copy_from_slice(&bytes[..32]);
        key.mac_k.copy_from_slice(&bytes[32..48]);
        key.mac_r.copy_from_slice(&bytes[48..]);
        key
    }

    /// Whether this is the very same key.
    pub fn is_same(&self, other: &Self) -> bool {
        let parts = [
            constant_time_eq(&self.encrypt, &other.encrypt),
            constant_time_eq(&self.mac_k, &other.mac_k),
            constant_time_eq(&self.mac_r, &other.mac_r),
        ];
        parts == [true; 3]
    }

    /// Appends the stored form of `plain` to `stored`.
    pub fn encrypt_to(&self, plain: &[u8], stored: &mut Vec<u8>) -> Result<(), NoRandomness> {
        let iv: [u8; IV_BYTES] = random()?;
        self.encrypt_with_iv(&iv, plain, stored);
        Ok(())
    }

    fn encrypt_with_iv(&self, iv: &[u8; IV_BYTES], plain: &[u8], stored: &mut Vec<u8>) {
        stored.reserve(plain.len() + OVERHEAD_BYTES);
        stored.extend_from_slice(iv);
        let start = stored.len();
        stored.extend_from_slice(plain);
        let mut cipher = Ctr128BE::<Aes256>::new((&self.encrypt).into(), iv.into());
        cipher.apply_keystream(&mut stored[start..]);
        let mac = self.mac(iv, &stored[start..]);
        stored.extend_from_slice(&mac);
    }

    /// The stored form of `plain`.
    pub fn encrypt(&self, plain: &[u8]) -> Result<Vec<u8>, NoRandomness> {
        let mut stored = Vec::with_capacity(plain.len() + OVERHEAD_BYTES);
        self.encrypt_to(plain, &mut stored)?;
        Ok(stored)
    }

    /// Decrypts in place and returns the plain bytes within `stored`.
    pub fn decrypt_in_place<'a>(&self, stored: &'a mut [u8]) -> Result<&'a mut [u8], Forged> {
        if stored.len() < OVERHEAD_BYTES {
            return Err(Forged);
        }
        let (iv, rest) = stored.split_at_mut(IV_BYTES);
        let (plain, mac) = rest.split_at_mut(rest.len() - MAC_BYTES);
        let mut nonce = [0; IV_BYTES];
        nonce.copy_from_slice(iv);
        if !constant_time_eq(&self.mac(&nonce, plain), mac) {
            return Err(Forged);
        }
        let mut cipher = Ctr128BE::<Aes256>::new((&self.encrypt).into(), (&nonce).into());
        cipher.apply_keystream(plain);
        Ok(plain)
    }

    fn mac(&self, nonce: &[u8; IV_BYTES], ciphertext: &[u8]) -> [u8; MAC_BYTES] {
        let mut pad = (*nonce).into();
        Aes128::new((&self.mac_k).into()).encrypt_block(&mut pad);
        let mut key = [0; 32];
        key[..16].copy_from_slice(&self.mac_r);
        key[16..].copy_from_slice(&pad);
        let mac = Poly1305::new((&key).into()).compute_unpadded(ciphertext);
        key.zeroize();
        mac.into()
    }

    /// 32 bytes that depend on the key and on `purpose`, and betray nothing of the key.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        use hmac::Mac as _;
        #[expect(clippy::expect_used, reason = "HMAC is defined for keys of every length")]
        let mut mac = <hmac::Hmac<sha2::Sha256> as hmac::KeyInit>::new_from_slice(&self.encrypt)
            .expect("HMAC takes keys of any length");
        mac.update(&self.mac_k);
        mac.update(purpose.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[derive(Serialize, Deserialize)]
struct Written {
    mac: WrittenMac,
    encrypt: String,
}

#[derive(Serialize, Deserialize)]
struct WrittenMac {
    k: String,
    r: String,
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = Written {
            mac: WrittenMac { k: BASE64.encode(self.mac_k), r: BASE64.encode(self.mac_r) },
            encrypt: BASE64.encode(self.encrypt),
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        Ok(Self { encrypt: decode(&written.encrypt)?, mac_k: decode(&written.mac.k)?, mac_r: decode(&written.mac.r)? })
    }
}

fn decode<const N: usize, E: serde::de::Error>(text: &str) -> Result<[u8; N], E> {
    // Only the length is named: the text is a key.
    let bytes = BASE64.decode(text).map_err(|_| E::custom("a key is not in base64"))?;
    bytes.try_into().map_err(|_| E::custom(format!("a key must have {N} bytes")))
}
