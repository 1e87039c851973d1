//! Files and folders of this machine as nodes, and nodes as files and folders of this machine.

mod read_node;

pub use read_node::{NodeReader, ReadNode};
