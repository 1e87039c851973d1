//! Files that CouchDB wrote, held against what CouchDB said that it held; and the same files damaged.
//!
//! `fixtures/README.md` says where they come from.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "all of this crate is tests: a failure has to end one, and a long run says what it did"
)]

mod appended;
mod bounds;
mod canonical;
mod damage;
mod fixtures;
mod headers;
mod layout;
mod model;
mod renaming;
mod truth;
mod written;
