//! Copies: places that hold the same repository. They share the config file and the master key; each wraps the key with
//! passwords of its own.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Found, Repository, add_key_file, find_key, load_key_file, read};
use crate::format::config::Config;
use crate::format::crypto::Key;
use crate::format::key_file::{KdfCost, KeyFileError};
use crate::{Error, File, FileKind, Id, Storage, StorageError};

impl Repository {
    /// Makes an empty copy of `from` in another place. Fails with [`Error::AlreadyInitialised`] where a repository is. One
    /// that was interrupted can be repeated with the same password.
    pub fn init_copy(
        from: &Self,
        storage: Arc<dyn Storage>,
        password: &str,
        cost: KdfCost,
        now: Timestamp,
    ) -> Result<Self, Error> {
        from.check_writable()?;
        let stored = from.config_file()?;
        let location = storage.location();
        if Self::found_at(storage.as_ref())? == Found::Repository {
            return Err(Error::AlreadyInitialised { location });
        }
        let left_over = from.left_over_key(storage.as_ref(), password)?;
        let key_id = match left_over {
            Some(id) => id,
            None => add_key_file(storage.as_ref(), &from.key, password, cost, now)?,
        };
        let error = match storage.put(File::CONFIG, &stored) {
            Ok(()) => return Ok(Self { storage, key: from.key.clone(), key_id, config: from.config.clone() }),
            Err(error) => error,
        };
        // Another `init` won, or the place is full: nobody is to open what comes there by this password.
        if left_over.is_none() {
            let _ = storage.delete(File::new(FileKind::Key, key_id));
        }
        match error {
            StorageError::AlreadyExists { .. } => Err(Error::AlreadyInitialised { location }),
            error => Err(error.into()),
        }
    }

    /// Whether both are copies of one repository.
    pub fn is_copy_of(&self, other: &Self) -> bool {
        self.config.id == other.config.id && self.key.is_same(&other.key)
    }

    /// Fails with [`Error::NotACopy`] where `other` is another repository.
    pub(crate) fn check_copy(&self, other: &Self) -> Result<(), Error> {
        if self.is_copy_of(other) { Ok(()) } else { Err(self.not_a_copy(other.storage())) }
    }

    fn not_a_copy(&self, other: &dyn Storage) -> Error {
        Error::NotACopy { location: other.location(), of: self.storage.location() }
    }

    /// The config file as it is stored, once it is seen to be readable and the one that was opened.
    fn config_file(&self) -> Result<Vec<u8>, Error> {
        let stored = read(self.storage(), File::CONFIG, None)?;
        match parse_config(&self.key, stored.clone()) {
            Some(config) if config == self.config => Ok(stored),
            _ => Err(Error::Damaged { file: File::CONFIG, what: "it is no longer what was opened".to_owned() }),
        }
    }

    /// The key file that an interrupted `init_copy` left behind. A key file that does not open, or gives another key,
    /// belongs to a repository whose config was lost, which must not be turned into this one.
    fn left_over_key(&self, storage: &dyn Storage, password: &str) -> Result<Option<Id>, Error> {
        if storage.list(FileKind::Key)?.is_empty() {
            return Ok(None);
        }
        match find_key(storage, password) {
            Ok((id, key)) if key.is_same(&self.key) => Ok(Some(id)),
            Ok(_) => Err(self.not_a_copy(storage)),
            Err(Error::WrongPassword { .. }) => Err(Error::AlreadyInitialised { location: storage.location() }),
            Err(error) => Err(error),
        }
    }

    /// Puts this repository's config file in the place of one that is missing or damaged in another copy, which
    /// `password` must open. Whether that was needed.
    pub(crate) fn mend_config(&self, storage: &dyn Storage, password: &str) -> Result<bool, Error> {
        let (_, key) = find_key(storage, password)?;
        if !key.is_same(&self.key) {
            return Err(self.not_a_copy(storage));
        }
        let good = self.config_file()?;
        match read(storage, File::CONFIG, None) {
            Ok(found) => match parse_config(&key, found) {
                Some(config) if config == self.config => return Ok(false),
                Some(_) => return Err(self.not_a_copy(storage)),
                None => storage.delete(File::CONFIG)?,
            },
            Err(Error::Storage(StorageError::NotFound { .. })) => {}
            // What merely cannot be read may be whole.
            Err(Error::Damaged { .. }) => storage.delete(File::CONFIG)?,
            Err(error) => return Err(error),
        }
        storage.put(File::CONFIG, &good)?;
        Ok(true)
    }

    /// Adds a key file for `password` to another copy whose key files are gone or damaged. Whether that was needed: where
    /// one that can be read refuses the password, or one merely could not be read, it is not.
    pub(crate) fn mend_key(
        &self,
        storage: &dyn Storage,
        password: &str,
        cost: KdfCost,
        now: Timestamp,
    ) -> Result<bool, Error> {
        for listed in storage.list(FileKind::Key)? {
            match load_key_file(storage, listed.id).map(|file| file.unwrap(password)) {
                // One that refuses says that there is another password, which only its owner may change.
                Ok(Ok(_) | Err(KeyFileError::WrongPassword)) => return Ok(false),
                Ok(Err(_)) | Err(Error::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        match parse_config(&self.key, read(storage, File::CONFIG, None)?) {
            Some(config) if config == self.config => {}
            _ => return Err(self.not_a_copy(storage)),
        }
        add_key_file(storage, &self.key, password, cost, now)?;
        Ok(true)
    }
}

fn parse_config(key: &Key, mut stored: Vec<u8>) -> Option<Config> {
    let plain = key.decrypt_in_place(&mut stored).ok()?;
    serde_json::from_slice(plain).ok()
}
