//! What holds data: folders, databases, compose projects, the output of commands. One file or folder a kind.
//!
//! What lies on the host is laid out as it lies there: by its path, without the leading slash, below the source's folder in the
//! snapshot. So a restored source can be compared with, and copied back to, where it came from. What a server or a command gives
//! lies on no path of the host, and has names of its own below that folder.

mod cht;
mod command;
mod compose;
pub(crate) mod container_files;
pub mod couchdb;
mod coverage;
mod database_options;
mod discover;
mod file_hash;
mod files;
mod full_read;
mod glob;
mod into_server;
pub(crate) mod layout;
pub(crate) mod mysql;
pub mod output;
mod place;
pub(crate) mod postgres;
pub mod produced;
pub(crate) mod redis;
mod scratch_server;
mod selection;
mod sentinel;
pub(crate) mod server_at;
mod server_tls;
mod shrink;
mod sqlite;
#[cfg(test)]
mod testing;
pub(crate) mod tls;
mod trailer;
mod volume;
mod walk;

use std::path::Path;
use std::sync::Arc;

use repository::source::{PATHS_FACT, VOLUME_FACT};
use repository::{Cancel, Facts, SourceError};
use zeroize::Zeroizing;

pub use cht::{ChtHost, ChtNode, ChtProject};
pub use command::{CommandOptions, CommandSource, RunLine};
pub use compose::{
    BindMount, ComposeOptions, ComposeProject, ComposeService, ComposeSource, NamedVolume, parse_env_file,
    parse_plain_env_file, read_compose_project,
};
pub use container_files::{ContainerFilesOptions, ContainerFilesSource};
pub use couchdb::{CouchDbOptions, CouchDbSource};
pub use coverage::{Captured, Covered, Reach, Sight, Thing, ThingKind};
pub use database_options::DatabaseOptions;
pub use discover::{Discovery, FoundDatabase, FoundServer, ServerKind, Uncovered, discover, server_kind_of_image};
pub use files::{FilesOptions, FilesSource};
pub use into_server::{IntoServer, Restored, RestoredDatabase, Wanted};
pub use mysql::{MysqlRestore, MysqlSource};
pub use place::Place;
pub use postgres::{PostgresRestore, PostgresSource};
pub use redis::{RedisFilesOptions, RedisFilesSource, RedisOptions, RedisRestore, RedisSource};
pub use sentinel::{SentinelHost, ServerVariables};
pub use server_at::ServerAt;
pub use sqlite::{SqliteOptions, SqliteSource};
pub use tls::{TlsOptions, TlsSource};
pub use volume::{VolumeOptions, VolumeSource};

/// Gives the password of a database when it is needed, or why there is none.
pub type Password = Arc<dyn Fn() -> Result<Zeroizing<String>, String> + Send + Sync>;

/// Recounts the facts of a source from its restored folder `dir`: what a drill holds against the `recorded` facts of the
/// manifest. Both are equal where everything that the facts speak of came back. Facts that only say how the capture
/// went, such as an exit code, are carried over.
///
/// What is missing or cannot be opened shows as a difference.
///
/// # Errors
/// [`SourceError::Unavailable`], which says nothing about what was restored: for a kind that this program does not know, and where
/// this machine lacks what counting takes, such as a server of the kind, an extension of it or space for one.
/// [`SourceError::Invalid`] where a restored database does not come back in a server, or the recorded facts lack what counting
/// needs. Others when `dir` cannot be read at all, and when cancelled.
pub fn examine(kind: &str, dir: &Path, recorded: &Facts, cancel: &Cancel) -> Result<Facts, SourceError> {
    let mut facts = match kind {
        files::KIND | volume::KIND | container_files::KIND => files::examine(recorded),
        sqlite::KIND => sqlite::examine(dir, recorded, cancel)?,
        compose::KIND => compose::examine(dir, recorded, cancel)?,
        tls::KIND => tls::examine(dir, recorded, cancel)?,
        command::KIND => command::examine(dir, recorded, cancel)?,
        couchdb::KIND => couchdb::examine(dir, recorded, cancel)?,
        mysql::KIND => mysql::examine(dir, recorded, cancel)?,
        postgres::KIND => postgres::examine(dir, recorded, cancel)?,
        redis::KIND => redis::examine(dir, recorded, cancel)?,
        other => {
            let what = format!("sources of kind `{other}` are not known to this version of Lifeboat");
            return Err(SourceError::Unavailable { what });
        }
    };
    // Where things came from, and what is no more, cannot be seen in a restored folder.
    for fact in [PATHS_FACT, VOLUME_FACT, shrink::LOST] {
        facts.extend(recorded.get(fact).map(|recorded| (fact.to_owned(), recorded.clone())));
    }
    Ok(facts)
}
