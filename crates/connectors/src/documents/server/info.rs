//! What a running CouchDB says of itself: its version, its databases, and what it is compacting.

use std::fmt::Write as _;

use reqwest::Method;
use serde_json::{Value, json};

use super::{CouchError, CouchServer, shown};

/// Databases asked about in one request; CouchDB's own limit unless it is configured.
const DATABASES_PER_REQUEST: usize = 100;

/// What a server says of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseInfo {
    /// Its name.
    pub name: String,
    /// Documents that are not deleted.
    pub documents: u64,
    /// Documents that are. Zero where the server does not say.
    pub deleted: u64,
}

impl CouchServer {
    /// The version that it says it has.
    pub fn version(&self) -> Result<String, CouchError> {
        let answer = self.ask(Method::GET, "", "", None)?;
        let version = answer.get("version").and_then(Value::as_str).map(shown);
        version.ok_or_else(|| CouchError::Strange("it does not say which version it is".to_owned()))
    }

    /// The names of all databases.
    pub fn databases(&self) -> Result<Vec<String>, CouchError> {
        serde_json::from_value(self.ask(Method::GET, "_all_dbs", "", None)?).map_err(super::strange)
    }

    /// What it says of these databases. One that is not there any more is left out.
    pub fn infos(&self, names: &[String]) -> Result<Vec<DatabaseInfo>, CouchError> {
        let mut infos = Vec::new();
        for names in names.chunks(DATABASES_PER_REQUEST) {
            let body = json!({ "keys": names }).to_string();
            match self.ask(Method::POST, "_dbs_info", "", Some(body)) {
                Ok(Value::Array(rows)) => {
                    for row in &rows {
                        infos.extend(info_of_row(row)?);
                    }
                }
                // Older ones are asked about each database.
                Ok(_) | Err(CouchError::NotFound(_) | CouchError::Refused { .. } | CouchError::Strange(_)) => {
                    infos.extend(self.infos_one_by_one(names)?);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(infos)
    }

    fn infos_one_by_one(&self, names: &[String]) -> Result<Vec<DatabaseInfo>, CouchError> {
        let mut infos = Vec::new();
        for name in names {
            match self.ask(Method::GET, name, "", None) {
                Ok(answer) => infos.extend(info(&answer)),
                Err(CouchError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(infos)
    }

    /// What it compacts now, in words.
    pub fn compactions(&self) -> Result<Vec<String>, CouchError> {
        let Value::Array(tasks) = self.ask(Method::GET, "_active_tasks", "", None)? else {
            return Err(CouchError::Strange("it does not list its tasks".to_owned()));
        };
        Ok(tasks.iter().filter_map(compaction).collect())
    }
}

/// What a row of `_dbs_info` says. Of a database that is there and broken, CouchDB tells an error alone.
fn info_of_row(row: &Value) -> Result<Option<DatabaseInfo>, CouchError> {
    match row["error"].as_str() {
        None => Ok(info(&row["info"])),
        Some("not_found") => Ok(None),
        Some(error) => {
            let name = shown(row["key"].as_str().unwrap_or_default());
            Err(CouchError::Failed(format!("database {name}: {}", shown(error))))
        }
    }
}

fn info(value: &Value) -> Option<DatabaseInfo> {
    Some(DatabaseInfo {
        name: value["db_name"].as_str()?.to_owned(),
        documents: value["doc_count"].as_u64()?,
        deleted: value["doc_del_count"].as_u64().unwrap_or(0),
    })
}

fn compaction(task: &Value) -> Option<String> {
    let text = |name: &str| task[name].as_str().map(shown);
    let what = match &*text("type")? {
        "database_compaction" => "the database",
        "view_compaction" => "indexes of",
        _ => return None,
    };
    let mut said = format!("{what} {}", text("database").unwrap_or_default());
    if let Some(percent) = task["progress"].as_u64() {
        // Writing to a string cannot fail.
        let _ = write!(said, " ({percent} %)");
    }
    Some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compactions_are_told_from_other_tasks() {
        let told = |task: Value| compaction(&task);
        let database = json!({ "type": "database_compaction", "database": "shards/0-7/medic.1", "progress": 12 });
        assert_eq!(told(database).unwrap(), "the database shards/0-7/medic.1 (12 %)");
        let views = json!({ "type": "view_compaction", "database": "medic", "design_document": "_design/a" });
        assert_eq!(told(views).unwrap(), "indexes of medic");
        assert_eq!(told(json!({ "type": "replication" })), None);
    }

    #[test]
    fn a_database_that_is_gone_says_nothing() {
        assert_eq!(info_of_row(&json!({ "key": "gone", "error": "not_found" })).unwrap(), None);
        let broken = info_of_row(&json!({ "key": "b", "error": "internal_server_error" })).unwrap_err().to_string();
        assert!(broken.contains("database b") && broken.contains("internal_server_error"), "{broken}");
        let here = info(&json!({ "db_name": "a", "doc_count": 3, "doc_del_count": 1 }));
        assert_eq!(here, Some(DatabaseInfo { name: "a".to_owned(), documents: 3, deleted: 1 }));
    }
}
