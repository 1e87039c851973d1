//! What lies in a repository's files: types and their encoding, no I/O. Source for all of it: restic's `doc/design.rst`.

pub mod config;
pub mod crypto;
pub mod go;
pub mod id;
pub mod index_file;
pub mod key_file;
pub mod lock_file;
pub mod node;
pub mod pack;
pub mod receipt;
pub mod snapshot;
pub mod time;
pub mod tree;
pub mod unpacked;
