//! What a source of a server's databases is told: the same for PostgreSQL as for MariaDB and MySQL.

use std::fmt;
use std::path::PathBuf;

use super::Password;
use super::server_at::ServerAt;
use crate::containers::EngineAddress;

/// A server, and which of its databases are captured.
#[derive(Clone)]
pub struct DatabaseOptions {
    /// The server.
    pub server: ServerAt,
    /// Who logs in. Else whom the address names, or the container was made with.
    pub user: Option<String>,
    /// The password, where one is needed and the container does not know it.
    pub password: Option<Password>,
    /// The databases: names, or patterns with `*`. All where empty.
    pub databases: Vec<String>,
    /// Those that are left out, the same way.
    pub exclude: Vec<String>,
    /// How much of its rows a database may lose from one snapshot to the next before that is a problem, in percent.
    pub max_shrink_percent: u8,
    /// The folder of the server's own client and dump tool, such as `psql` and `pg_dump`. Else they are looked for.
    pub tools: Option<PathBuf>,
    /// Where the container engine is.
    pub engine: EngineAddress,
}

/// Shows the server alone.
impl fmt::Debug for DatabaseOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseOptions").field("server", &self.server).finish_non_exhaustive()
    }
}
