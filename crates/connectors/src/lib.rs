//! Everything that touches the outside: places that hold copies, and sources that hold data.

pub mod source;
