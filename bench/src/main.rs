//! Compares Lifeboat with its peers: makes the data, runs each program on it in turn, and prints what it cost.

#![expect(dead_code, reason = "wip")]
mod data;
fn main() {}
