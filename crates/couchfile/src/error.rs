//! What can be wrong with a file. Each kind exists because a caller branches on it: damage is not the same as a file of a
//! newer CouchDB, and neither is a disk that cannot be read.

/// An error, with the place in the file it is about. Offsets and lengths are in bytes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system, or whatever the file is read from, failed.
    #[error("could not read {length} bytes at {offset}: {error}")]
    Io {
        /// Where reading began.
        offset: u64,
        /// How much was asked for.
        length: u64,
        /// What the system said.
        #[source]
        error: std::io::Error,
    },
    /// The file has no header whose checksum is right. CouchDB would open it as an empty database.
    #[error("there is no valid header in any of the {blocks} blocks; CouchDB would start this file anew, as empty")]
    NoHeader {
        /// Blocks that were looked at.
        blocks: u64,
    },
    /// The header is valid and belongs to another kind of file.
    #[error("the header at {offset} is that of {found}, not of {expected}")]
    OtherKind {
        /// Where the header starts.
        offset: u64,
        /// What it is.
        found: &'static str,
        /// What was asked for.
        expected: &'static str,
    },
    /// The header names a disk version that this library does not know.
    #[error("the header at {offset} is of disk version {found}; versions 6 to 8 can be read")]
    UnsupportedVersion {
        /// Where the header starts.
        offset: u64,
        /// The version it names.
        found: i64,
    },
    /// The header's checksum is right, but it is not built as any known CouchDB does.
    #[error("the header at {offset} is not built as expected: {what}")]
    UnsupportedHeader {
        /// Where the header starts.
        offset: u64,
        /// What is unexpected.
        what: &'static str,
    },
    /// Compressed in a way that this library does not read.
    #[error("what lies at {offset} is compressed with {method}, which cannot be read")]
    UnsupportedCompression {
        /// Where the chunk starts.
        offset: u64,
        /// The method.
        method: &'static str,
    },
    /// The bytes are not those that were written.
    #[error("the checksum of the {length} bytes at {offset} is wrong")]
    Checksum {
        /// Where the chunk starts.
        offset: u64,
        /// Its length without its checksum.
        length: u64,
    },
    /// Something points to where nothing can be.
    #[error("what lies at {offset} would end at {needed}, beyond {end}")]
    PastEnd {
        /// Where it starts.
        offset: u64,
        /// Where it would end.
        needed: u64,
        /// Where the file, or what this header can know of, ends.
        end: u64,
    },
    /// Larger than what this library agrees to hold in memory.
    #[error("what lies at {offset} is too large: {bytes} {unit}, more than {limit}")]
    TooLarge {
        /// Where it starts.
        offset: u64,
        /// How large it is, or says it is.
        bytes: u64,
        /// What is counted.
        unit: &'static str,
        /// The limit (see [`crate::limits`]).
        limit: u64,
    },
    /// Not a term of Erlang's external format, or damaged in its compression.
    #[error("what lies at {offset} is no readable term: {what}, {at} bytes into it")]
    Term {
        /// Where the chunk starts.
        offset: u64,
        /// How far into the decompressed term.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A readable term, but not what should stand in this place.
    #[error("what lies at {offset} is malformed: {what}")]
    Malformed {
        /// Where the chunk starts.
        offset: u64,
        /// What was expected.
        what: &'static str,
    },
    /// The tree is not in order.
    #[error("the tree node at {offset} is wrong: {what}")]
    Tree {
        /// Where the node starts.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// An attachment does not have the content that was stored.
    #[error("attachment {name:?} of {id:?} is damaged: {what}")]
    Attachment {
        /// The document.
        id: String,
        /// The attachment's name.
        name: String,
        /// What is wrong.
        what: &'static str,
    },
    /// Where something is written: the receiving side failed.
    #[error("could not write: {0}")]
    Write(#[source] std::io::Error),
    /// A rewritten file would not be right, so none is written.
    #[error("cannot rename nodes: {0}")]
    Rename(String),
}

impl Error {
    /// Whether the bytes are at fault, rather than the way to them or the age of this library.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::NoHeader { .. }
            | Self::Checksum { .. }
            | Self::PastEnd { .. }
            | Self::Term { .. }
            | Self::Malformed { .. }
            | Self::Tree { .. }
            | Self::Attachment { .. } => true,
            Self::Io { .. }
            | Self::OtherKind { .. }
            | Self::UnsupportedVersion { .. }
            | Self::UnsupportedHeader { .. }
            | Self::UnsupportedCompression { .. }
            | Self::TooLarge { .. }
            | Self::Write(_)
            | Self::Rename(_) => false,
        }
    }

    /// Whether the file may well be whole, but only a newer version of this library can tell.
    pub fn is_unsupported(&self) -> bool {
        matches!(
            self,
            Self::UnsupportedVersion { .. } | Self::UnsupportedHeader { .. } | Self::UnsupportedCompression { .. }
        )
    }
}
