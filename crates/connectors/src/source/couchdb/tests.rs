//! Captures of data folders that a `CouchWriter` wrote, or the one of a CHT host in the fixtures of `couchfile`.

mod checked;
mod cut;
mod examined;
mod lost;
mod misplaced;
mod scene;
mod shards;
mod stored;
mod writing;
