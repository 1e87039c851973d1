//! The format as other programs write it, and published test vectors: what must be read for ever.
//!
//! Fixtures are never made anew; `fixtures/make.py` shows how they were made and makes new ones.

mod crypto;
mod differing;
mod fixture;
mod folder;
mod node;
mod stored;
mod versions;
