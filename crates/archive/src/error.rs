//! What goes wrong with archives.

use std::io;

use repository::StorageError;

/// Why an archive was not written or not read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The repository it comes from, or a folder of this machine; or the run was cancelled.
    #[error(transparent)]
    Engine(#[from] repository::Error),
    /// The place that the archive goes to or comes from.
    #[error(transparent)]
    Place(#[from] StorageError),
    /// What was given to encrypt or decrypt with is not usable.
    #[error("{what}")]
    Key {
        /// What is wrong with it; never the key itself.
        what: String,
    },
    /// It was encrypted for other keys, or with another passphrase.
    #[error("the archive does not open with this key")]
    WrongKey,
    /// It is not what was written, or not all of it.
    #[error("the archive is damaged: {what}")]
    Damaged {
        /// What shows it.
        what: String,
    },
}

/// What an error of a stream means: what the storage or the repository below it said, else what `otherwise` makes of it.
pub(crate) fn of_stream(error: io::Error, otherwise: impl FnOnce(io::Error) -> Error) -> Error {
    match error.downcast::<StorageError>() {
        Ok(storage) => storage.into(),
        Err(error) => match error.downcast::<repository::Error>() {
            Ok(engine) => engine.into(),
            Err(error) => otherwise(error),
        },
    }
}

/// A stream that ends early or does not decode.
pub(crate) fn damaged(error: io::Error) -> Error {
    Error::Damaged { what: error.to_string() }
}
