//! The format as other programs write it, and published test vectors: what must be read for ever.
//!
//! Fixtures are never made anew; `fixtures/make.py` shows how they were made and makes new ones.

#![expect(clippy::unwrap_used, clippy::panic, reason = "all of this crate is tests; a failure has to end one")]

mod crypto;
mod differing;
mod fixture;
mod folder;
mod node;
mod stored;
mod versions;
