//! Reads CouchDB's files without CouchDB.

mod attachment;
mod blocks;
mod check;
mod checksum;
#[cfg(feature = "writer")]
mod couch_writer;
mod database;
mod document;
mod error;
mod file_name;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod header;
mod json;
pub mod limits;
mod read_at;
mod revision;
pub mod rewrite;
mod salvage;
mod shard_map;
mod term;
mod tree;
mod view;
mod writer;

pub use attachment::{Attachment, Encoding};
pub use check::{Finding, Level, Report, Subject, TreeName};
pub use checksum::Checksum;
#[cfg(feature = "writer")]
pub use couch_writer::CouchWriter;
pub use database::{Database, headers};
pub use document::{Document, DocumentInfo, JsonOptions, LocalDocument, Purge};
pub use error::Error;
pub use file_name::{ShardName, ShardRange, ViewName};
pub use header::{Epoch, Header, HeaderPlace};
pub use read_at::ReadAt;
pub use revision::{Leaf, Revision, RevisionNode, RevisionTree, Sizes, StoredBody};
pub use salvage::{Reason, Refused, Salvage, salvage};
pub use shard_map::{ShardMap, shard_maps};
pub use term::Compression;
pub use view::{View, ViewHeader, ViewState};
pub use writer::Format;
