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

/// What a server says of databases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatabaseInfos {
    /// Of each that it can tell of.
    pub told: Vec<DatabaseInfo>,
    /// The names of those that are there and of which it cannot tell, each with what it says instead.
    pub untold: Vec<(String, String)>,
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
    ///
    /// # Errors
    /// It does not answer. That it cannot tell of one database is none.
    pub fn infos(&self, names: &[String]) -> Result<DatabaseInfos, CouchError> {
        let mut infos = DatabaseInfos::default();
        for names in names.chunks(DATABASES_PER_REQUEST) {
            let body = json!({ "keys": names }).to_string();
            match self.ask(Method::POST, "_dbs_info", "", Some(body)) {
                Ok(Value::Array(rows)) => {
                    rows.iter().for_each(|row| infos.add_row(row));
                }
                // Older ones are asked about each database.
                Ok(_) | Err(CouchError::NotFound(_) | CouchError::Refused { .. } | CouchError::Strange(_)) => {
                    self.ask_one_by_one(names, &mut infos)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(infos)
    }

    fn ask_one_by_one(&self, names: &[String], infos: &mut DatabaseInfos) -> Result<(), CouchError> {
        for name in names {
            match self.ask(Method::GET, name, "", None) {
                Ok(answer) => infos.add(name, &answer),
                Err(CouchError::NotFound(_)) => {}
                Err(error) if error.is_answer() => infos.untold.push((name.clone(), error.to_string())),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What it compacts now, in words.
    pub fn compactions(&self) -> Result<Vec<String>, CouchError> {
        let Value::Array(tasks) = self.ask(Method::GET, "_active_tasks", "", None)? else {
            return Err(CouchError::Strange("it does not list its tasks".to_owned()));
        };
        Ok(tasks.iter().filter_map(compaction).collect())
    }
}

impl DatabaseInfos {
    /// What a row of `_dbs_info` says. Of a database that is there and broken, CouchDB tells an error alone.
    fn add_row(&mut self, row: &Value) {
        let name = shown(row["key"].as_str().unwrap_or_default());
        match row["error"].as_str() {
            None => self.add(&name, &row["info"]),
            Some("not_found") => {}
            Some(error) => self.untold.push((name, shown(error))),
        }
    }

    fn add(&mut self, name: &str, said: &Value) {
        match info(said) {
            Some(info) => self.told.push(info),
            None => self.untold.push((name.to_owned(), "it does not describe the database".to_owned())),
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
    fn a_database_that_is_gone_says_nothing_and_a_broken_one_does_not_keep_others_from_being_told() {
        let mut infos = DatabaseInfos::default();
        infos.add_row(&json!({ "key": "gone", "error": "not_found" }));
        assert_eq!(infos, DatabaseInfos::default());
        infos.add_row(&json!({ "key": "broken", "error": "internal_server_error" }));
        infos.add_row(&json!({ "key": "strange", "info": {} }));
        infos.add_row(&json!({ "key": "a", "info": { "db_name": "a", "doc_count": 3, "doc_del_count": 1 } }));
        assert_eq!(infos.told, [DatabaseInfo { name: "a".to_owned(), documents: 3, deleted: 1 }]);
        let untold: Vec<_> = infos.untold.iter().map(|(name, _)| &**name).collect();
        assert_eq!(untold, ["broken", "strange"], "the others are told all the same");
    }
}
