//! restic's repository format, version 2, and an engine for it.
//!
//! This crate knows nothing of networks, SQL, HTTP, cron or YAML. It owns the four seams of Lifeboat: [`Storage`] (a
//! copy's place), [`Source`] (what holds data), [`Clock`] and [`Events`]. Everything a copy needs to be read back is in
//! the copy; stock `restic` reads and checks what this crate writes.
//!
//! Start reading at [`Repository`]; `format/` holds what lies in the files, `storage/` the places and their wrappers.

pub mod backup;
mod blob_writer;
pub mod cancel;
pub mod check;
pub mod chunker;
pub mod clock;
pub mod error;
pub mod events;
pub mod file_reader;
pub mod forget;
pub mod format;
pub mod fs;
pub mod heal;
pub mod index;
pub mod limits;
pub mod lock;
pub mod merkle;
mod packer;
pub mod plausible;
pub mod prune;
pub mod receipt;
pub mod repository;
pub mod restore;
pub mod source;
pub mod storage;
pub mod sync;
pub mod verify;
pub mod walk;

pub use cancel::Cancel;
pub use clock::{Clock, SystemClock};
pub use error::Error;
pub use events::{Event, Events, Silent};
pub use format::id::Id;
pub use format::node::{Node, NodeKind};
pub use index::Index;
pub use repository::{Identity, Repository};
pub use source::{Capture, CaptureCx, Data, Entry, Facts, Item, Problem, Source, SourceError, View};
pub use storage::{File, FileKind, Storage, StorageError};

/// What every long operation is given: who is told, who may stop it, and what time it is.
#[derive(Clone, Copy)]
pub struct RunCx<'a> {
    /// Told what is happening.
    pub events: &'a dyn Events,
    /// Asked often whether to stop.
    pub cancel: &'a Cancel,
    /// The only source of time.
    pub clock: &'a dyn Clock,
    /// The lock on what is written, where one is held.
    pub lock: Option<&'a lock::Lock<'a>>,
}

impl RunCx<'_> {
    /// Fails where the lock was lost under which this is done. Asked right before a snapshot, or an index that names packs,
    /// is put: whoever took the lock for dead may have removed what they need.
    pub fn check_lock(&self) -> Result<(), Error> {
        self.lock.map_or(Ok(()), lock::Lock::check)
    }
}
