//! The places a copy can lie in: implementations of [`repository::Storage`].

mod layout;
pub mod local;
pub mod object;
pub mod sftp;

pub use local::LocalStorage;
pub use object::{AzureCredentials, AzureOptions, ObjectStorage, S3Options};
pub use sftp::{SftpOptions, SftpStorage};
