//! mysql
pub mod split;
pub mod sql;
