//! Lifeboat all year: starts what is due, answers the REST API, shows the admin app.
//!
//! The server does no backup itself. Each run is a process of this same program, with the arguments that a person would type
//! (`task.rs`), so the command line and the server cannot do different things, a run survives the server, and the server's memory
//! does not grow with repositories. What it shows is what the commands told last (`known.rs`). Decisions: docs/design/server.md.

mod access;
mod answered;
mod api;
mod audit;
mod bell;
mod database;
mod due;
#[cfg(test)]
mod fixture;
mod journal;
mod known;
mod listen;
mod log;
mod metrics;
mod notify;
mod pages;
mod problem;
mod process;
mod runner;
mod said;
mod scheduler;
mod shared;
mod task;
mod tls;

pub use api::openapi;
pub use listen::{Start, serve};
pub use runner::Program;
