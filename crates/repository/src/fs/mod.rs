//! Files and folders of this machine as nodes, and nodes as files and folders of this machine.

mod read_node;
mod write_node;

pub(crate) use read_node::node_of_stat;
pub use read_node::{NodeReader, ReadNode};
pub use write_node::apply_metadata;
pub(crate) use write_node::create_special;
pub(crate) use write_node::permissions_for;
