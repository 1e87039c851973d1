//! What Lifeboat does, and when, and what came of it: everything between the engine and the outside.
//!
//! This crate depends on `repository` and `archive` alone. It knows no terminal, HTTP, SQL or container: sources and storages come in
//! through the engine's seams, so that a whole year of schedules and outages can be simulated in seconds.

pub mod archives;
pub mod backup;
pub mod config;
pub mod copies;
pub mod disk;
pub mod drill;
pub mod failure_domain;
pub mod fault;
pub mod host_root;
pub mod in_place;
pub mod manifest;
#[cfg(test)]
mod memory;
mod notes;
mod parents;
pub mod restore;
pub mod restore_guide;
pub mod retention;
#[cfg(test)]
mod scene;
pub mod schedule;
pub mod score;
pub mod scratch;
pub mod shell;
pub mod snapshots;
pub mod state;
pub mod status;
pub mod surroundings;
pub mod sync;
mod views;

pub use fault::{Fault, FaultKind};

/// Name and version, as snapshots and receipts carry it.
pub const PROGRAM_VERSION: &str = concat!("lifeboat ", env!("CARGO_PKG_VERSION"));
