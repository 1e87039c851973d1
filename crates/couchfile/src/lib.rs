//! Reads the files of [Apache CouchDB](https://couchdb.apache.org) without CouchDB: databases (`.couch`) and views
//! (`.view`), on disk, in memory, or wherever else bytes can be reached by their offset.
//!
//! ```no_run
//! use couchfile::{Database, JsonOptions, Level};
//!
//! let file = std::fs::File::open("data/shards/00000000-7fffffff/orders.1700000000.couch")?;
//! let database = Database::open(file)?;
//! println!("{} documents, update {}", database.header().doc_count, database.header().update_seq);
//!
//! for info in database.documents() {
//!     let info = info?;
//!     if let Some(json) = database.json(&info, JsonOptions::default())? {
//!         println!("{json}");
//!     }
//! }
//!
//! let report = database.check(Level::Attachments);
//! for finding in &report.findings {
//!     eprintln!("{finding}");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What there is
//! - [`Database`]: documents by id and by update with all their revisions, conflicts and deletions; bodies and attachments;
//!   local documents, purges, the security object. What an application stored comes as JSON text, as CouchDB prints it.
//! - [`Header`]: what a database says of itself in its last bytes, counts and update number included. Reading it costs one
//!   small read. [`headers`] are all that are left in the file, each of them a state that the database once had.
//! - [`Database::check`]: is everything there, and is it what was written? [`salvage`]: which state still is?
//! - [`View`]: up to which update a view was built, and whether its trees are whole.
//! - [`ShardMap`], [`shard_maps`]: which node holds which shards, out of `_dbs.couch`. [`ShardName`] and [`ViewName`] read and
//!   make the names of files.
//! - [`rewrite`]: a data folder for a node of another name, or for other nodes.
//! - With the feature `writer`, `CouchWriter` plays a CouchDB that writes, for tests.
//!
//! # What it reads
//! Disk versions 6 to 8, which CouchDB 1.2 to 3.5 write; MD5 and XXH3 checksums; terms that are plain, deflated or
//! compressed with Snappy. What is newer is refused as such ([`Error::is_unsupported`]). Only the database engine that
//! CouchDB brings along is known, and of clusters only what lies on one node.
//!
//! # What it bears
//! Any bytes. A file may be cut, torn or made up: reading it ends with an error that names a place, in bounded memory, and
//! without recursion ([`limits`]). What is read of a whole file does not depend on its length: the walk through a tree
//! holds one path from its root, attachments come in pieces.
//!
//! Nothing but headers and document bodies has a checksum in these files, and attachments have an MD5. A wrong byte in a
//! tree can lead to a wrong document; [`Database::check`] finds that, reading alone need not.
//!
//! # By offset
//! Files are read through [`ReadAt`]. Implement it for whatever holds the bytes:
//!
//! ```
//! # #[cfg(feature = "writer")] {
//! use couchfile::{Checksum, Compression, CouchWriter, Database, Format, JsonOptions};
//!
//! let format = Format { checksum: Checksum::Xxh3, compression: Compression::Snappy };
//! let mut writer = CouchWriter::create(Vec::new(), format, "0123456789abcdef", "couchdb@127.0.0.1")?;
//! writer.put("tea", &serde_json::json!({"pots": 2}))?;
//! writer.commit()?;
//! let bytes: Vec<u8> = writer.into_inner();
//!
//! let database = Database::open(bytes)?;
//! let tea = database.document("tea")?.expect("it was put");
//! let json = database.json(&tea, JsonOptions::default())?.expect("it has a body");
//! assert!(json.starts_with(r#"{"_id":"tea","_rev":"1-"#) && json.ends_with(r#""pots":2}"#));
//! # }
//! # Ok::<(), couchfile::Error>(())
//! ```

mod attachment;
mod block_marks;
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
mod node_name;
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
pub use block_marks::has_block_marks;
pub use check::{Finding, Level, Report, Subject, TreeName};
pub use checksum::Checksum;
#[cfg(feature = "writer")]
pub use couch_writer::CouchWriter;
pub use database::{Database, headers};
pub use document::{Document, DocumentInfo, JsonOptions, LocalDocument, Purge};
pub use error::Error;
pub use file_name::{ShardName, ShardRange, ViewName};
pub use header::{Epoch, Header, HeaderPlace};
pub use node_name::is_node_name;
pub use read_at::ReadAt;
pub use revision::{Leaf, Revision, RevisionNode, RevisionTree, Sizes, StoredBody};
pub use salvage::{Reason, Refused, Salvage, salvage};
pub use shard_map::{ShardMap, shard_maps};
pub use term::Compression;
pub use view::{View, ViewHeader, ViewState};
pub use writer::Format;
