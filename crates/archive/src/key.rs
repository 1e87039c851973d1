//! What archives are encrypted to and opened with: keys of `age` and SSH, or a passphrase.

use std::fmt;
use std::io::{self, Read, Write};
use std::iter;
use std::path::Path;

use age::secrecy::SecretString;
use age::stream::{StreamReader, StreamWriter};
use zeroize::Zeroizing;

use crate::Error;
use crate::error::{damaged, of_stream};

/// Memory that deriving a key takes is 1 KiB times two to the power of this: 64 MiB. What `age` chooses by itself depends on
/// the machine's speed, and is 256 MiB or more.
const WORK_FACTOR: u8 = 16;
/// Archives that others made may ask for 1 GiB.
const WORK_FACTOR_MAX: u8 = 20;

/// To whom archives are encrypted.
pub enum Recipients {
    /// The holders of keys. At least one.
    Keys(Vec<Box<dyn age::Recipient + Send + Sync>>),
    /// Whoever knows this.
    Passphrase(SecretString),
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys(keys) => write!(f, "{} keys", keys.len()),
            Self::Passphrase(_) => f.write_str("a passphrase"),
        }
    }
}

impl Recipients {
    /// Reads public keys: `age1…`, `ssh-ed25519 …`, `ssh-rsa …`.
    pub fn keys<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, Error> {
        let keys: Vec<_> = texts.into_iter().map(public_key).collect::<Result<_, _>>()?;
        match keys.is_empty() {
            true => Err(Error::Key { what: "there is no key to encrypt an archive to".to_owned() }),
            false => Ok(Self::Keys(keys)),
        }
    }

    /// A passphrase.
    pub fn passphrase(text: &str) -> Self {
        Self::Passphrase(SecretString::from(text.to_owned()))
    }

    /// Encrypts what is written into it.
    pub(crate) fn encrypt<W: Write>(&self, to: W) -> Result<StreamWriter<W>, Error> {
        let encryptor = match self {
            Self::Passphrase(text) => {
                let mut recipient = age::scrypt::Recipient::new(text.clone());
                recipient.set_work_factor(WORK_FACTOR);
                age::Encryptor::with_recipients(iter::once(&recipient as &dyn age::Recipient))
            }
            Self::Keys(keys) => {
                age::Encryptor::with_recipients(keys.iter().map(|key| -> &dyn age::Recipient { &**key }))
            }
        };
        let encryptor = encryptor.map_err(|error| Error::Key { what: error.to_string() })?;
        let failed = |error: io::Error| Error::Key { what: format!("encryption cannot begin: {error}") };
        encryptor.wrap_output(to).map_err(|error| of_stream(error, failed))
    }
}

fn public_key(text: &str) -> Result<Box<dyn age::Recipient + Send + Sync>, Error> {
    let text = text.trim();
    if let Ok(key) = text.parse::<age::x25519::Recipient>() {
        return Ok(Box::new(key));
    }
    match text.parse::<age::ssh::Recipient>() {
        Ok(key) => Ok(Box::new(key)),
        // A public key is no secret, but what stands there by mistake may be one.
        Err(_) => {
            Err(Error::Key { what: "a recipient is no public key of age or SSH; `age-keygen -y` prints one".into() })
        }
    }
}

/// What opens archives.
pub enum Identities {
    /// Secret keys.
    Keys(Vec<Box<dyn age::Identity>>),
    /// A passphrase.
    Passphrase(SecretString),
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl Identities {
    /// A passphrase.
    pub fn passphrase(text: &str) -> Self {
        Self::Passphrase(SecretString::from(text.to_owned()))
    }

    /// Reads a file that `age -i` takes: of `age-keygen`, or a private key of SSH without a passphrase.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let text = Zeroizing::new(std::fs::read(path).map_err(repository::Error::local(path))?);
        Self::from_text(&text, &path.display().to_string())
    }

    /// Reads the content of such a file, which came from `whence`.
    pub fn from_text(text: &[u8], whence: &str) -> Result<Self, Error> {
        let wrong = |what: &str| Error::Key { what: format!("{whence}: {what}") };
        if text.starts_with(b"-----BEGIN") {
            let key = age::ssh::Identity::from_buffer(text, None);
            return match key.map_err(|_| wrong("this is no private key of SSH"))? {
                key @ age::ssh::Identity::Unencrypted(_) => Ok(Self::Keys(vec![Box::new(key)])),
                age::ssh::Identity::Encrypted(_) => {
                    Err(wrong("it is protected by a passphrase; decrypt the archive with `age -d -i` instead"))
                }
                age::ssh::Identity::Unsupported(_) => Err(wrong("age does not know this kind of SSH key")),
            };
        }
        let none = "it holds no secret key of age; `age-keygen` writes such files";
        let keys =
            age::IdentityFile::from_buffer(text).and_then(|file| file.into_identities().map_err(io::Error::other));
        match keys {
            Ok(keys) if !keys.is_empty() => {
                Ok(Self::Keys(keys.into_iter().map(|key| -> Box<dyn age::Identity> { key }).collect()))
            }
            _ => Err(wrong(none)),
        }
    }

    /// Decrypts what is read from it.
    pub(crate) fn decrypt<R: Read>(&self, from: R) -> Result<StreamReader<R>, Error> {
        let decryptor = age::Decryptor::new(from).map_err(of_age)?;
        match self {
            Self::Passphrase(text) => {
                let mut identity = age::scrypt::Identity::new(text.clone());
                identity.set_max_work_factor(WORK_FACTOR_MAX);
                decryptor.decrypt(iter::once(&identity as &dyn age::Identity))
            }
            Self::Keys(keys) => decryptor.decrypt(keys.iter().map(|key| &**key)),
        }
        .map_err(of_age)
    }
}

fn of_age(error: age::DecryptError) -> Error {
    match error {
        age::DecryptError::Io(error) => of_stream(error, damaged),
        age::DecryptError::NoMatchingKeys
        | age::DecryptError::DecryptionFailed
        | age::DecryptError::KeyDecryptionFailed => Error::WrongKey,
        age::DecryptError::ExcessiveWork { .. } => {
            Error::Key { what: "deriving its key would take more memory than is allowed; `age -d` opens it".to_owned() }
        }
        other => Error::Damaged { what: other.to_string() },
    }
}
