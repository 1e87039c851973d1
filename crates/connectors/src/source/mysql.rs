//! Source `mysql`: the databases of a MariaDB or MySQL server, as its own dump tool writes them.
//!
//! One dump sees all databases as of one moment, and is parted into a file for each as it flows; what each holds is counted in
//! it. Where it is allowed, all changes are held up until the dump has begun, so that a second transaction sees the same
//! moment: in that one the server counts all rows, and both must agree.

mod accounts;
mod capture;
mod dump;
mod examine;
mod facts;
mod grants;
mod history;
mod hold;
mod inventory;
mod load;
mod names;
mod pick;
mod restore;
mod scratch;
mod server;
mod session;
pub(crate) mod split;
mod sql;
#[cfg(test)]
mod tests;
mod tools;

use std::collections::BTreeSet;
use std::path::PathBuf;

use repository::{Cancel, Capture, CaptureCx, Source, SourceError, View};

pub use self::examine::examine;
pub use self::restore::MysqlRestore;

use super::database_options::DatabaseOptions;
use super::selection::Selection;
use super::server_at::{ServerAt, ServerUrl};

/// The kind's name in the configuration.
pub const KIND: &str = "mysql";

/// Where a server listens, unless it is told otherwise.
const PORT: u16 = 3306;
/// The folder of the databases' files.
const DATABASES: &str = "databases";
/// The accounts, as statements that make them again.
const USERS: &str = "users.sql";
/// All views, since they may need each other's databases.
const VIEWS: &str = "views.sql";
/// Views that cannot be read, as statements for whoever mends them. Nothing loads it.
const INVALID_VIEWS: &str = "invalid-views.sql";

/// The databases of a server.
#[derive(Debug)]
pub struct MysqlSource {
    options: DatabaseOptions,
    selection: Selection,
}

impl MysqlSource {
    /// Nothing is asked yet. Fails with a message for the user where a pattern is malformed, or the address cannot be read.
    pub fn new(options: DatabaseOptions) -> Result<Self, SourceError> {
        if let ServerAt::Url(url) = &options.server {
            ServerUrl::parse(url, PORT)?;
        }
        let selection = Selection::new(&options.databases, &options.exclude)?;
        Ok(Self { options, selection })
    }
}

impl Source for MysqlSource {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn claims(&self, _: &Cancel) -> Result<BTreeSet<PathBuf>, SourceError> {
        Ok(BTreeSet::new())
    }

    fn view(&self) -> View {
        View::Flowing
    }

    fn capture<'a>(&'a self, cx: &CaptureCx<'a>) -> Result<Box<dyn Capture + 'a>, SourceError> {
        capture::open(&self.options, &self.selection, cx)
    }
}
