//! What is done when, and what came of it: configuration, faults, retention.
//!
//! This crate depends on `repository` alone. It knows no SQL, no network and no terminal, so that a whole year of
//! schedules and outages can be simulated in seconds.

pub mod config;
pub mod fault;
pub mod retention;

pub use fault::{Fault, FaultKind, Severity};
