//! The engine as a whole, over storages in memory: what a user relies on, at the lowest level that shows it.
//!
//! One module a layer of tests; `support` holds what they share.
#![cfg(test)]

mod support;

mod append_only;
mod cancel;
mod consistency;
mod copies_model;
mod counts;
mod crash;
mod damage;
mod heal_copies;
mod heal_index;
mod locks;
mod model;
mod prune_phases;
mod restores;
mod round_trip;
mod stock_restic;
mod stored_files;
mod sync;
mod sync_damage;
