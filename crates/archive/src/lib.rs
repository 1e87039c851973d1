//! Archive copies: each source of each snapshot as one object that `age`, `zstd` and `tar` alone can read.
//!
//! An archive is made out of a repository ([`write`](mod@write)) and put back into a folder ([`read`]). What it is called
//! says what it is ([`name`]). It holds the snapshot's manifest and then the source's tree ([`member`]). Nothing of an
//! archive is shared with another: that is its price and its point.

mod error;
pub mod key;
pub mod member;
pub mod name;
pub mod read;
pub mod write;

pub use error::Error;
pub use key::{Identities, Recipients};
pub use name::ArchiveName;
