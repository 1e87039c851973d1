//! Databases of a snapshot, restored into a running server.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use repository::{Cancel, Facts, SourceError};
use serde_json::{Value, json};

use super::inventory::{self, Rows};
use super::load::{load, load_what_goes};
use super::pick::{Choice, Picked};
use super::server::Server;
use super::session::Session;
use super::{DATABASES, DatabaseOptions, USERS, VIEWS, accounts, facts, names};
use crate::source::into_server::{Failed, IntoServer, Restored, RestoredDatabase, TABLES, Wanted};
use crate::source::produced::FILES;

/// A restore into a MariaDB or MySQL.
#[derive(Clone, Debug)]
pub struct MysqlRestore {
    /// The server, and who logs in. Its `databases` and `exclude` mean nothing here.
    pub into: DatabaseOptions,
    /// What is restored.
    pub wanted: Wanted,
}

impl IntoServer for MysqlRestore {
    fn files(&self, recorded: &Facts) -> Result<Vec<PathBuf>, SourceError> {
        let chosen = self.wanted.chosen(recorded)?;
        if let Some((name, known)) = chosen.first()
            && let Some(table) = self.wanted.tables.iter().find(|table| known[TABLES][table.as_str()].is_null())
        {
            let tables = known[TABLES].as_object().into_iter().flat_map(|tables| tables.keys());
            let tables: Vec<_> = tables.map(String::as_str).collect();
            let what = format!("table {table} is not in database {name}, which has: {}", tables.join(", "));
            return Err(SourceError::Unavailable { what });
        }
        let mut files: Vec<PathBuf> = chosen.iter().map(|(name, _)| file_of(name)).collect();
        if self.wanted.tables.is_empty() && !files.is_empty() {
            files.push(VIEWS.into());
        }
        // Who made the backup may have been kept from seeing them.
        let has_users = recorded.get(FILES).is_some_and(|files| !files[USERS].is_null());
        if self.wanted.is_all() && has_users {
            files.push(USERS.into());
        }
        Ok(files)
    }

    fn run(&self, dir: &Path, recorded: &Facts, cancel: &Cancel) -> Result<Restored, SourceError> {
        let files = self.files(recorded)?;
        let server = Server::find(&self.into, cancel)?;
        let mut session = server.session(cancel)?;
        let mut restored = Restored::default();
        let chosen = self.wanted.chosen(recorded)?;
        if !self.wanted.replace {
            for (name, _) in &chosen {
                self.check_room(&mut session, &self.wanted.name_of(name))?;
            }
        }
        for (name, _) in &chosen {
            let restored_as = self.wanted.name_of(name);
            let path = dir.join(file_of(name));
            let sql = Picked::new(open(&path)?, self.choice(name));
            if let Err(why) = load(&server, sql, &path.to_string_lossy(), cancel)? {
                // Its statements that make tables end transactions, so there is no way back.
                let left = match self.wanted.tables.as_slice() {
                    [] => {
                        format!("database {restored_as} has a part of it now: drop it, or restore again with --replace")
                    }
                    _ => {
                        format!("its tables in database {restored_as} may be unfinished: restore again with --replace")
                    }
                };
                let error = SourceError::Invalid { what: format!("database {name}: {why}") };
                return Err(restored.ended_by(Failed { error, left: Some(left) }));
            }
            let name = (*name).clone();
            restored.databases.push(RestoredDatabase { name, restored_as, problems: Vec::new(), counted: None });
        }
        if files.contains(&PathBuf::from(USERS)) {
            make_accounts(&server, &mut session, &dir.join(USERS), &mut restored, cancel)?;
        }
        for (one, (name, known)) in restored.databases.iter_mut().zip(chosen) {
            if self.wanted.tables.is_empty() {
                let path = dir.join(VIEWS);
                let sql = Picked::new(open(&path)?, self.choice(name));
                // Views may need databases that were not restored.
                let failed = load_what_goes(&server, sql, &path.to_string_lossy(), cancel)?;
                if !failed.is_empty() {
                    one.problems.push(format!("not all of its views could be made: {}", failed.join("; ")));
                }
            }
            if one.restored_as != *name {
                one.problems.extend(still_meaning(&mut session, name, &one.restored_as)?);
            }
            let held = inventory::count(&mut session, std::slice::from_ref(&one.restored_as), Rows::All)?;
            let found = facts::of_databases(&held)[&one.restored_as].clone();
            one.counted = Some(self.comparable(known, found));
        }
        Ok(restored)
    }
}

impl MysqlRestore {
    fn choice(&self, name: &str) -> Choice {
        let databases = [(name.to_owned(), self.wanted.name_of(name))].into();
        Choice { databases, tables: self.wanted.tables.clone() }
    }

    /// Sees to it that nothing is written over.
    fn check_room(&self, session: &mut Session, database: &str) -> Result<(), SourceError> {
        let there = inventory::objects(session, database, &self.wanted.tables)?;
        if there == 0 {
            return Ok(());
        }
        let what = match self.wanted.tables.as_slice() {
            [] => format!("{there} tables, views, routines or events"),
            _ => "a table of that name".to_owned(),
        };
        Err(SourceError::Unavailable {
            what: format!(
                "database {database} is on the server and has {what}: restore into another with --as NAME, or let what is \
                 there be dropped with --replace"
            ),
        })
    }

    /// What was recorded and what was found of as much as was restored.
    fn comparable(&self, known: &Value, found: Value) -> (Value, Value) {
        if self.wanted.tables.is_empty() {
            return (known.clone(), found);
        }
        let only = |all: &Value| {
            let rows = self.wanted.tables.iter().map(|table| (table.clone(), all[TABLES][table.as_str()].clone()));
            json!({ TABLES: rows.collect::<Facts>() })
        };
        (only(known), only(&found))
    }
}

/// What is written out in a body keeps the database's old name, and would go on to read and change that one.
fn still_meaning(session: &mut Session, name: &str, restored_as: &str) -> Result<Option<String>, SourceError> {
    let naming = inventory::naming(session, restored_as, name)?;
    Ok((!naming.is_empty()).then(|| {
        format!(
            "these still mean database {name}, whose name somebody wrote into them: {}; change them before they are used",
            naming.join(", ")
        )
    }))
}

fn file_of(database: &str) -> PathBuf {
    Path::new(DATABASES).join(names::file_name(database))
}

fn open(path: &Path) -> Result<File, SourceError> {
    File::open(path).map_err(SourceError::io(path))
}

/// What is wrong with an account, told by the client's error at a line of these statements.
fn account_problem(sql: &str, why: &str) -> String {
    let (_, place) = why.split_once(" at line ").unwrap_or_default();
    let line = place.split(|letter: char| !letter.is_ascii_digit()).next().and_then(|line| line.parse().ok());
    match line.and_then(|line| accounts::at_line(sql, line)) {
        Some(account) => format!("account {account} is not as it was: {why}"),
        None => format!("an account is not as it was: {why}"),
    }
}

/// Makes the accounts that the server lacks, once there is what they may use.
fn make_accounts(
    server: &Server,
    session: &mut Session,
    path: &Path,
    restored: &mut Restored,
    cancel: &Cancel,
) -> Result<(), SourceError> {
    let users = std::fs::read_to_string(path).map_err(SourceError::io(path))?;
    let invalid = |what: String| SourceError::Invalid { what: format!("{}: {what}", path.display()) };
    let there: BTreeSet<_> = match inventory::account_names(session) {
        Ok(there) => there,
        Err(SourceError::Cancelled) => return Err(SourceError::Cancelled),
        Err(error) => {
            *session = server.session(cancel)?;
            let accounts = accounts::made_by(&users).map_err(invalid)?;
            restored.problems.push(format!(
                "who logs in may not make accounts ({error}); make those that you need, as {USERS} of the snapshot says: {}",
                accounts.join(", ")
            ));
            return Ok(());
        }
    };
    let plan = match accounts::plan(&users, &there) {
        Ok(plan) => plan,
        // The databases are there, and are of use without.
        Err(why) => {
            restored.problems.push(format!(
                "{USERS} of the snapshot cannot be understood ({why}), so no accounts were made: make those that you need as it says"
            ));
            return Ok(());
        }
    };
    if !plan.sql.is_empty() {
        let failed = load_what_goes(server, plan.sql.as_bytes(), USERS, cancel)?;
        restored.problems.extend(failed.into_iter().map(|why| account_problem(&plan.sql, &why)));
    }
    if !plan.left.is_empty() {
        let left: Vec<_> = plan.left.into_iter().collect();
        restored.notes.push(format!("accounts that are there already stay as they are: {}", left.join(", ")));
    }
    Ok(())
}
