//! Databases of a snapshot, restored into a running server: what all kinds of servers have in common.

use std::path::{Path, PathBuf};

use repository::{Cancel, Facts, SourceError};
use serde_json::Value;

/// The fact that holds what each database has, of every kind of server.
pub const DATABASES: &str = "databases";
/// Of a database that has tables, the rows of each, by name.
pub const TABLES: &str = "tables";

/// What of a snapshot is restored, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The databases; all of the snapshot, and who may use them, where empty.
    pub databases: Vec<String>,
    /// What the one database is to be called there.
    pub rename: Option<String>,
    /// Only these tables of the one database.
    pub tables: Vec<String>,
    /// What is there of the same name is dropped first; else only what is empty or not there yet is restored into.
    pub replace: bool,
}

/// What was restored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// By database.
    pub databases: Vec<RestoredDatabase>,
    /// What is not as it was, of no one database.
    pub problems: Vec<String>,
    /// What to know, though all went well.
    pub notes: Vec<String>,
}

impl Restored {
    /// The error that ended a restore, with what was done before.
    pub(super) fn ended_by(&self, failed: Failed) -> SourceError {
        let Failed { error, left } = failed;
        let names: Vec<_> = self.databases.iter().map(|one| &*one.restored_as).collect();
        let before = (!names.is_empty()).then(|| format!("restored before it: {}", names.join(", ")));
        let more = |what: String| [Some(what), left, before].into_iter().flatten().collect::<Vec<_>>().join("; ");
        match error {
            SourceError::Invalid { what } => SourceError::Invalid { what: more(what) },
            SourceError::Unavailable { what } => SourceError::Unavailable { what: more(what) },
            other => other,
        }
    }
}

/// What kept a database from being restored.
pub(super) struct Failed {
    /// Why.
    pub error: SourceError,
    /// What that leaves of it, in words. `None` where nothing was changed.
    pub left: Option<String>,
}

impl From<SourceError> for Failed {
    fn from(error: SourceError) -> Self {
        Self { error, left: None }
    }
}

/// A database that was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredDatabase {
    /// Its name in the snapshot.
    pub name: String,
    /// Its name on the server.
    pub restored_as: String,
    /// What is not as it was.
    pub problems: Vec<String>,
    /// What was recorded of it, and what was counted there, of as much as was restored.
    pub counted: Option<(Value, Value)>,
}

/// A restore into a running server.
pub trait IntoServer {
    /// The files below a source's folder that are needed. Fails where something is not in the snapshot.
    fn files(&self, recorded: &Facts) -> Result<Vec<PathBuf>, SourceError>;

    /// Restores out of the folder `dir`, which has the [`IntoServer::files`] of the source whose facts are `recorded`. What was
    /// done before something fails stays.
    fn run(&self, dir: &Path, recorded: &Facts, cancel: &Cancel) -> Result<Restored, SourceError>;
}

impl Wanted {
    /// Whether everything is, with who may use it.
    pub fn is_all(&self) -> bool {
        self.databases.is_empty() && self.tables.is_empty()
    }

    /// What a database is to be called.
    pub fn name_of(&self, database: &str) -> String {
        self.rename.clone().unwrap_or_else(|| database.to_owned())
    }

    /// The databases that are meant, with what is recorded of each. Fails where one is not in the snapshot, or where it is not
    /// clear which one is.
    pub fn chosen<'a>(&self, recorded: &'a Facts) -> Result<Vec<(&'a String, &'a Value)>, SourceError> {
        let known = recorded.get(DATABASES).and_then(Value::as_object);
        let all: Vec<_> = known.into_iter().flatten().collect();
        let names = || all.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        for wanted in &self.databases {
            if !all.iter().any(|(name, _)| *name == wanted) {
                return Err(SourceError::unavailable(format!(
                    "database {wanted} is not in the snapshot, which has: {}",
                    names()
                )));
            }
        }
        let is_meant = |name: &String| self.databases.is_empty() || self.databases.contains(name);
        let chosen: Vec<_> = all.iter().copied().filter(|(name, _)| is_meant(name)).collect();
        if chosen.len() != 1 && (self.rename.is_some() || !self.tables.is_empty()) {
            return Err(SourceError::unavailable(format!(
                "say which one database is meant; the snapshot has: {}",
                names()
            )));
        }
        Ok(chosen)
    }
}
