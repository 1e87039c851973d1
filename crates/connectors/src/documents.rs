//! Documents of a CouchDB: out of a snapshot, without CouchDB and without restoring its files, and back into a running
//! one.
//!
//! A data folder is found wherever it lies below a source: by `_dbs.couch` with `shards/` beside it. So it does not matter
//! what kind of source took it.

mod changes;
#[cfg(test)]
mod costs_test;
mod database;
mod folder;
mod server;
mod stored;
mod upload;

pub use changes::{Since, each_change, since};
pub use database::{StoredDatabase, StoredShard, Summary};
pub use folder::{DataFolder, MISSING_SHARD, find_data_folders};
pub use server::{Account, CouchError, CouchServer, DatabaseInfo, DatabaseInfos, Now, Refused};
pub use stored::{Stored, passable};
pub use upload::{Upload, UploadError, Write};
