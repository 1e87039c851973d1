//! What Lifeboat does, and when, and what came of it: everything between the engine and the outside.
//!
//! This crate knows no terminal, HTTP, SQL or container. Sources and storages come in through the seams of
//! `repository`; `lifeboat` wires them together.

pub mod backup;
pub mod drill;
pub mod manifest;
pub mod restore;
pub mod restore_guide;
pub mod scratch;
pub mod snapshots;
pub mod status;

/// Name and version, as snapshots and receipts carry it.
pub const PROGRAM_VERSION: &str = concat!("lifeboat ", env!("CARGO_PKG_VERSION"));
