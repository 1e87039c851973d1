//! What can go wrong in the engine. Each kind exists because a caller branches on it: exit codes, retries, drill verdicts.

use std::path::PathBuf;

use crate::{File, Id, SourceError, StorageError};

/// An error of the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The place holds no repository.
    #[error("no repository at {location}")]
    NoRepository {
        /// The storage's own name for the place.
        location: String,
    },
    /// The place holds a repository already.
    #[error("there is a repository at {location} already")]
    AlreadyInitialised {
        /// The storage's own name for the place.
        location: String,
    },
    /// Two places hold different repositories, where copies of one were expected.
    #[error("{location} holds another repository, not a copy of the one at {of}")]
    NotACopy {
        /// The storage's own name for the place.
        location: String,
        /// The place it was held against.
        of: String,
    },
    /// No key file opens with this password.
    #[error("wrong password: it opens none of the {keys} key files")]
    WrongPassword {
        /// Key files tried.
        keys: usize,
    },
    /// A newer or unknown format.
    #[error("repository version {found} is not supported (this program reads versions 1 and 2)")]
    UnsupportedVersion {
        /// The version the repository's config names.
        found: u32,
    },
    /// Version 1 repositories can be read but not written.
    #[error("this is a version 1 repository, which can only be read")]
    ReadOnlyVersion,
    /// Another program holds a lock that conflicts.
    #[error("the repository is locked by {holder}")]
    Locked {
        /// Who holds the lock, since when.
        holder: String,
    },
    /// A lock that nobody can read may be anybody's. No run removes it.
    #[error("the repository is locked by {file}, which is damaged")]
    LockDamaged {
        /// The lock file.
        file: File,
    },
    /// The lock could not be renewed in time, so the run must stop.
    #[error("the lock could not be renewed and may be considered dead by others")]
    LockLost,
    /// The time cannot be right, so nothing that depends on it may be removed.
    #[error("the clock cannot be right: {what}; nothing was removed")]
    ImplausibleClock {
        /// What it was held against.
        what: String,
    },
    /// A stored file is not what it must be.
    #[error("{file} is damaged: {what}")]
    Damaged {
        /// The stored file.
        file: File,
        /// What is wrong with it.
        what: String,
    },
    /// A stored file could not be read though its place answers: a dead sector, or a line on which all that is large stalls.
    /// To who reads, that is damage. Nobody knows whether it is, so nothing is removed for it.
    #[error("{file} cannot be read: {what}")]
    Unreadable {
        /// The stored file.
        file: File,
        /// What was answered.
        what: String,
    },
    /// A blob that a tree or snapshot needs is in no index.
    #[error("{kind} blob {id} is missing")]
    BlobMissing {
        /// The missing blob.
        id: Id,
        /// "data" or "tree".
        kind: &'static str,
    },
    /// A blob does not have the content its name says.
    #[error("{kind} blob {id} in pack {pack} is damaged: {what}")]
    BlobDamaged {
        /// The blob.
        id: Id,
        /// "data" or "tree".
        kind: &'static str,
        /// The pack it was read from.
        pack: Id,
        /// What is wrong with it.
        what: String,
    },
    /// A tree cannot be what a backup program wrote.
    #[error("tree {id} is malformed: {what}")]
    MalformedTree {
        /// The tree blob.
        id: Id,
        /// What is wrong with it.
        what: String,
    },
    /// A snapshot or path that the user named does not exist, or not uniquely.
    #[error("{0}")]
    NotFound(String),
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A source failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A file or folder of this machine could not be read or written.
    #[error("{}: {error}", path.display())]
    Local {
        /// The path on this machine.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: std::io::Error,
    },
    /// The run was asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// An assertion about our own data failed before it was written. Nothing was written.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// Attaches the local path that an I/O error is about.
    pub fn local(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |error| Self::Local { path, error }
    }

    /// Whether stored data cannot be used, rather than its place not be reached.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. }
                | Self::Unreadable { .. }
                | Self::BlobMissing { .. }
                | Self::BlobDamaged { .. }
                | Self::MalformedTree { .. }
        ) || matches!(self, Self::Storage(StorageError::NotFound { .. }))
    }
}
