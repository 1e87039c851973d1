//! Documents of a CouchDB: out of a snapshot, without CouchDB and without restoring its files, and back into a running
//! one.
//!
//! A data folder is found wherever it lies below a source: by `_dbs.couch` with `shards/` beside it or, where the maps
//! are gone, by a shard's file. So it does not matter what kind of source took it.

mod changes;
#[cfg(test)]
mod costs_test;
mod database;
mod folder;
mod stored;
mod upload;

pub use changes::{Since, each_change, since};
pub use database::{StoredDatabase, StoredShard, Summary};
pub use folder::{MISSING_SHARD, StoredDataFolder, find_data_folders};
pub use stored::{Stored, passable};
pub use upload::{Upload, UploadError, Write};
