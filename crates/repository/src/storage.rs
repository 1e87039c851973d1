//! The seam to a copy's place. A storage is dumb on purpose: it keeps whole, immutable objects under restic's names.

pub mod archives;
pub mod cache;
pub mod fault;
pub mod follow;
pub mod limit;
pub mod memory;
pub mod record;
pub mod retry;
pub mod spool;
pub mod watched;

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;

use std::fmt;
use std::ops::Range;

use jiff::Timestamp;

use crate::{Cancel, Id};

/// The kinds of file a repository consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileKind {
    /// The one `config` file.
    Config,
    /// A wrapped master key.
    Key,
    /// A pack of blobs.
    Pack,
    /// An index file.
    Index,
    /// A snapshot.
    Snapshot,
    /// A lock.
    Lock,
    /// The record of a drill. Lifeboat's own; restic looks into no folder it does not know.
    Receipt,
    /// A list of packs that `prune` took out of the index and will delete later. Lifeboat's own.
    Condemned,
}

impl FileKind {
    /// Every kind.
    pub const ALL: [Self; 8] =
        [Self::Config, Self::Key, Self::Pack, Self::Index, Self::Snapshot, Self::Lock, Self::Receipt, Self::Condemned];

    /// The folder the kind lies in, relative to the repository; the config file's own name for [`FileKind::Config`].
    /// Packs lie one level deeper, in a folder named by the first two digits of their id.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Key => "keys",
            Self::Pack => "data",
            Self::Index => "index",
            Self::Snapshot => "snapshots",
            Self::Lock => "locks",
            Self::Receipt => "lifeboat/receipts",
            Self::Condemned => "lifeboat/condemned",
        }
    }
}

/// One file of a repository.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct File {
    /// What kind of file it is.
    pub kind: FileKind,
    /// Its id. [`Id::ZERO`] for the config file, which has none.
    pub id: Id,
}

impl File {
    /// The repository's config file.
    pub const CONFIG: Self = Self { kind: FileKind::Config, id: Id::ZERO };

    /// A file of `kind` named by `id`.
    pub fn new(kind: FileKind, id: Id) -> Self {
        Self { kind, id }
    }

    /// The pack `id`.
    pub fn pack(id: Id) -> Self {
        Self::new(FileKind::Pack, id)
    }

    /// The path below the repository's root, with `/` between parts; the same on every storage.
    pub fn path(&self) -> String {
        let hex = self.id.to_hex();
        match self.kind {
            FileKind::Config => "config".to_owned(),
            FileKind::Pack => format!("data/{}/{hex}", &hex[..2]),
            kind => format!("{}/{hex}", kind.folder()),
        }
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}

/// A file and its size, as a listing gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// The file's id.
    pub id: Id,
    /// Its size in bytes.
    pub bytes: u64,
}

/// Why a storage did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// There is no such file.
    #[error("{file} does not exist in {location}")]
    NotFound {
        /// The file asked for.
        file: File,
        /// The storage's own name for the place.
        location: String,
    },
    /// A file of that name is there already, and is left as it is.
    #[error("{file} is already in {location}")]
    AlreadyExists {
        /// The file that was to be written.
        file: File,
        /// The storage's own name for the place.
        location: String,
    },
    /// The place is full.
    #[error("no space left in {location}")]
    Full {
        /// The storage's own name for the place.
        location: String,
    },
    /// The place may not be written, or not be read.
    #[error("{location} denies access: {what}")]
    Denied {
        /// The storage's own name for the place.
        location: String,
        /// What was tried and what the system said.
        what: String,
    },
    /// Something that may pass: worth trying again.
    #[error("{location} failed: {what}")]
    Transient {
        /// The storage's own name for the place.
        location: String,
        /// What was tried and what came back.
        what: String,
    },
    /// Something that will not pass by trying again.
    #[error("{location} failed: {what}")]
    Permanent {
        /// The storage's own name for the place.
        location: String,
        /// What was tried and what came back.
        what: String,
    },
}

/// A place that keeps the files of one repository.
///
/// Objects are written once, fit in memory (packs end at [`crate::limits::PACK_BYTES_MAX`]), and are never changed.
/// Calls block; the engine calls from several threads at once and keeps as many requests under way as it wants in
/// parallel. See `docs/design/storage-seam.md` for why it is not `async`.
pub trait Storage: Send + Sync {
    /// The name users know the place by, without secrets.
    fn location(&self) -> String;

    /// Writes a file that is not there yet. Once this returns `Ok`, the whole file is durable; before that, no reader
    /// sees a part of it. Never overwrites: fails with [`StorageError::AlreadyExists`].
    fn put(&self, file: File, bytes: &[u8]) -> Result<(), StorageError>;

    /// Reads a file, whole or the bytes of `range`. A range past the end is [`StorageError::Permanent`].
    fn get(&self, file: File, range: Option<Range<u64>>) -> Result<Vec<u8>, StorageError>;

    /// Lists all files of a kind, in no particular order. Names that are not ids are passed over. A place or folder
    /// that does not exist holds nothing.
    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, StorageError>;

    /// When a file was written, by the place's own clock. `None` where it does not say.
    fn modified(&self, _file: File) -> Result<Option<Timestamp>, StorageError> {
        Ok(None)
    }

    /// Says that parts of a file will be read again and again, so that a place that is far may be asked for it once.
    /// `bytes` is its content where the caller has it. A hint: it may do nothing, and it cannot fail.
    fn keep_near(&self, _file: File, _bytes: Option<&[u8]>) {}

    /// Says that what is put from now on is of no use once `part` of the run is cancelled, as where the lock is lost under
    /// which it was to be named; `None` takes that back. A hint: what waits for its turn there need not be put then.
    fn give_up_with(&self, _part: Option<&Cancel>) {}

    /// Removes a file. Removing what is not there is an error, so that a caller learns that somebody else was at work.
    fn delete(&self, file: File) -> Result<(), StorageError>;
}
