//! Everything of Lifeboat that touches the outside: the places copies lie in and the sources data comes from.
//!
//! One file or folder each. They implement the seams that `repository` owns and know nothing of schedules, policies or screens.

pub mod containers;
pub mod couch_server;
pub mod documents;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod hook;
mod http;
pub mod process;
pub mod program;
pub mod source;
pub mod storage;
pub mod web;
