//! The places a copy can lie in: implementations of [`repository::Storage`].

pub mod local;

pub use local::LocalStorage;
