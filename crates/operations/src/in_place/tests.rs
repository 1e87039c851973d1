//! Restores in place, of real files, out of a real repository in memory.

mod crash;
mod model;
mod parts;
mod places;
mod swaps;
mod world;
