//! The places a copy can lie in: implementations of [`repository::Storage`].

mod layout;
pub mod local;
pub mod object;
pub mod sftp;

pub use local::LocalStorage;
#[cfg(feature = "b2")]
pub use object::B2Options;
#[cfg(feature = "gcs")]
pub use object::GcsOptions;
#[cfg(feature = "webdav")]
pub use object::WebdavOptions;
pub use object::{AzureCredentials, AzureOptions, ObjectStorage, S3Options};
pub use sftp::{SftpOptions, SftpStorage};
