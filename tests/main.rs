//! Drives the built binary from outside, as users, scripts and stock restic do. Nothing here knows how it works inside.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test may panic, and says what it leaves out"
)]

mod archives;
mod cancelled;
mod cht;
mod commands;
mod containers;
mod copies;
mod copies_told;
mod couch_files;
mod couch_in_place;
mod couch_nodes;
mod couch_server;
mod couchdb;
mod coverage;
mod credentials;
mod damage;
mod database_faults;
mod database_servers;
mod disks;
mod documents;
mod documents_back;
mod freeze;
mod hooks;
mod ignored_conditions;
mod in_place_containers;
mod keys;
mod killed;
mod metadata;
mod mounts;
mod pages;
mod partial;
mod postgres;
mod promised_keys;
mod remote;
mod requests;
mod restic;
mod secrets;
mod sentinel;
mod sentinel_servers;
mod serve;
mod sqlite;
mod status;
mod support;
mod tell;
mod tls;
mod tree;
mod under_writes;
