//! Source `postgres`: the databases of a PostgreSQL server, as `pg_dump` writes them.
//!
//! A transaction is opened in every database before the first is read, all as close together as can be; what is dumped and
//! what is counted is what that transaction sees. The archives are read as they flow: one that ends early is a failed run.
//! Beside them lie the roles, the table spaces and the settings of the server.

mod archive;
mod capture;
mod definition;
mod examine;
mod facts;
mod globals;
mod inventory;
mod measure;
mod names;
mod pick;
mod properties;
mod restore;
mod scratch;
mod server;
mod session;
mod target;
#[cfg(test)]
mod tests;
mod tools;

use std::collections::BTreeSet;
use std::path::PathBuf;

use repository::{Cancel, Capture, CaptureCx, Source, SourceError, View};

#[cfg(feature = "fuzzing")]
pub(crate) use self::archive::{Archive, Shared};
pub use self::examine::examine;
pub use self::restore::PostgresRestore;

use super::database_options::DatabaseOptions;
use super::selection::Selection;

/// The kind's name in the configuration.
pub const KIND: &str = "postgres";

/// The databases of a server.
#[derive(Debug)]
pub struct PostgresSource {
    options: DatabaseOptions,
    selection: Selection,
}

impl PostgresSource {
    /// Nothing is asked yet. Fails with a message for the user where a pattern is malformed.
    pub fn new(options: DatabaseOptions) -> Result<Self, SourceError> {
        let selection = Selection::new(&options.databases, &options.exclude)?;
        Ok(Self { options, selection })
    }
}

impl Source for PostgresSource {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn claims(&self, _: &Cancel) -> Result<BTreeSet<PathBuf>, SourceError> {
        Ok(BTreeSet::new())
    }

    fn view(&self) -> View {
        View::Held
    }

    fn capture<'a>(&'a self, cx: &CaptureCx<'a>) -> Result<Box<dyn Capture + 'a>, SourceError> {
        capture::open(&self.options, &self.selection, cx)
    }
}
