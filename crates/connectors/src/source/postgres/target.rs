//! The server that databases are restored into: what is made there, filled, counted, and undone where it fails.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use repository::{Cancel, Facts, SourceError};
use serde_json::{Value, json};

use super::definition::Definition;
use super::globals;
use super::inventory::{self, Login};
use super::names::quoted;
use super::restore::Table;
use super::server::Server;
use super::session::Session;
use super::tools::Tools;
use crate::program::{Ended, Program, Stage};
use crate::source::into_server::TABLES;

/// Programs that restore one database at once, at most.
const JOBS_MAX: usize = 4;
/// Bytes of an archive that are passed into a container at once.
const PIECE_BYTES: usize = 256 << 10;
/// All or nothing: where anything fails, what was there is still there. It takes one connection.
pub const IN_ONE: &str = "--single-transaction";
/// Runs a program with one more option, which names a list that lies in no file: in a container there would be none to write.
const WITH_LIST: &str = "list=$1; shift; exec \"$@\" --use-list=/dev/fd/3 3<<END\n$list\nEND\n";

/// Where a database is restored to. What was made for it goes again where the restore fails.
pub struct Room {
    /// Whether the database was made for it.
    pub is_new: bool,
    /// Whether it comes all or not at all, so that what was there is still there where the restore fails. Not where nothing was: a
    /// transaction holds a lock for each thing that it makes, which are too many of a large database for most servers.
    pub is_in_one: bool,
    /// Schemas that were.
    pub schemas: Vec<String>,
}

/// The server that is restored into.
pub struct Target<'a> {
    /// How it is reached.
    pub server: &'a Server,
    /// The tools that read archives.
    pub tools: &'a Tools,
    /// What SQL goes through.
    pub psql: &'a Program,
    /// Who restores.
    pub login: &'a Login,
    /// The database that whatever is no part of another is asked through.
    pub through: &'a str,
    /// Asked whether to stop.
    pub cancel: &'a Cancel,
}

impl Target<'_> {
    /// A session with one of its databases.
    pub fn session(&self, database: &str) -> Result<Session, SourceError> {
        Session::begin(self.server, self.psql.clone(), database, self.cancel)
    }

    /// Makes the roles, and gives those that are there already the rights and passwords that they had; but for who logged in,
    /// who could not go on with another password.
    pub fn roles(&self, file: &Path) -> Result<(), SourceError> {
        let text = std::fs::read(file).map_err(SourceError::io(file))?;
        let text = globals::without_rights_of(&text, &self.login.name);
        globals::check_roles(&self.server.script(self.psql, self.through, &text, self.cancel)?)
    }

    /// Makes a database as it was. Gives what to know of that.
    fn make(
        &self,
        session: &mut Session,
        database: &str,
        definition: Option<&Definition>,
    ) -> Result<Option<String>, SourceError> {
        let advice = "make it as it is to be, and restore into it";
        let none = || SourceError::unavailable(format!("the archive does not tell how {database} was made: {advice}"));
        let definition = definition.ok_or_else(none)?;
        let space = definition.table_space();
        let is_there = match &space {
            Some(space) => inventory::may_use_table_space(session, space)?,
            None => false,
        };
        let statements = definition.create(database, is_there);
        let wrong = errors(&self.server.script(self.psql, self.through, &statements, self.cancel)?);
        if !wrong.is_empty() {
            let wrong = wrong.join("; ");
            return Err(SourceError::unavailable(format!("database {database} cannot be made: {wrong}: {advice}")));
        }
        let usual = |space| {
            format!(
                "database {database} lies in the usual table space, since {space} is not there for {}",
                self.login.name
            )
        };
        Ok(space.filter(|_| !is_there).map(usual))
    }

    /// Gives a database what belongs to itself. Gives what could not be given.
    pub fn give_properties(&self, database: &str, definition: &Definition) -> Result<Vec<String>, SourceError> {
        let statements = definition.properties(database);
        Ok(errors(&self.server.script(self.psql, self.through, &statements, self.cancel)?))
    }

    /// After a restore that failed: drops what was made for it. Tells what is left.
    pub fn leave(&self, database: &str, room: &Room) -> String {
        let undo = |through: &str, statement: String| {
            // Also where the run was asked to stop.
            Session::begin(self.server, self.psql.clone(), through, &Cancel::new())?.execute(&statement)
        };
        if room.is_new {
            return match undo(self.through, format!("DROP DATABASE {}", quoted(database))) {
                Ok(()) => format!("database {database}, which was made for it, is dropped again"),
                Err(_) => format!("database {database}, which was made for it, has a part of it: drop it"),
            };
        }
        if !room.is_in_one {
            return format!(
                "database {database}, which was empty, may have a part of it: restore again with --replace, or make it anew"
            );
        }
        let schemas: Vec<_> = room.schemas.iter().map(|schema| quoted(schema)).collect();
        // They are empty, since all that was to lie in them came in one transaction.
        let is_left = !schemas.is_empty() && undo(database, format!("DROP SCHEMA {}", schemas.join(", "))).is_err();
        let but = if is_left {
            format!(", but for schemas that were made for it: {}", schemas.join(", "))
        } else {
            String::new()
        };
        format!("what was in database {database} is as it was{but}")
    }

    /// Sees to it that the database is there, and empty unless what it has may be replaced. Gives what to know of that, too.
    pub fn prepare(
        &self,
        session: &mut Session,
        database: &str,
        definition: Option<&Definition>,
        tables: &[Table],
        may_replace: bool,
    ) -> Result<(Room, Option<String>), SourceError> {
        if inventory::databases(session)?.iter().any(|there| there.name == database) {
            let mut inside = self.session(database)?;
            if !may_replace && let Some(has) = in_the_way(&mut inside, tables)? {
                return Err(SourceError::unavailable(format!(
                    "database {database} is on the server and has {has}: restore into another with --as NAME, or let what is \
                     there be dropped with --replace"
                )));
            }
            let is_in_one = !tables.is_empty() || in_the_way(&mut inside, &[])?.is_some();
            return Ok((Room { is_new: false, is_in_one, schemas: Vec::new() }, None));
        }
        let note = self.make(session, database, definition)?;
        Ok((Room { is_new: true, is_in_one: false, schemas: Vec::new() }, note))
    }

    /// Makes the schemas that the database lacks: a table comes without the one that it lies in.
    pub fn make_schemas(&self, database: &str, tables: &[Table], room: &mut Room) -> Result<(), SourceError> {
        if tables.is_empty() {
            return Ok(());
        }
        let mut inside = self.session(database)?;
        for Table { schema, .. } in tables {
            // Who may not make any could not even ask for one that is there already.
            if !inventory::has_schema(&mut inside, schema)? {
                inside.execute(&format!("CREATE SCHEMA {}", quoted(schema)))?;
                room.schemas.push(schema.clone());
            }
        }
        Ok(())
    }

    /// The rows of these tables: as they were recorded, and as they are.
    pub fn counted(&self, database: &str, known: &Value, tables: &[Table]) -> Result<(Value, Value), SourceError> {
        let mut session = self.session(database)?;
        let (mut before, mut now) = (Facts::new(), Facts::new());
        for Table { recorded, .. } in tables {
            before.insert(recorded.clone(), known[TABLES][recorded.as_str()].clone());
            now.insert(recorded.clone(), inventory::rows(&mut session, recorded)?.into());
        }
        Ok((json!({ TABLES: before }), json!({ TABLES: now })))
    }

    /// Runs `pg_restore`: here with several connections unless all is one transaction, in a container with one, since the archive
    /// flows into it. Of the archive, only the entries on the list are restored, where there is one.
    pub fn restore(
        &self,
        file: &Path,
        database: &str,
        options: &[&str],
        list: Option<&str>,
    ) -> Result<(), SourceError> {
        let program = self.tools.program("pg_restore").args(options.iter().copied()).arg("--no-password");
        let mut program = self.server.into(program, database);
        if let Some(list) = list {
            program = program.run_by(["/bin/sh", "-c", WITH_LIST, "sh", list]);
        }
        let ended = match self.server.stage() {
            Stage::Here => {
                let cores = std::thread::available_parallelism().map_or(1, usize::from).min(JOBS_MAX);
                if list.is_none() && !options.contains(&IN_ONE) {
                    program = program.arg(format!("--jobs={cores}"));
                }
                program.arg(file).run(self.server.stage(), self.cancel)?.1
            }
            Stage::Container { .. } => {
                let mut running = program.with_input().start(self.server.stage(), self.cancel)?;
                let mut archive = File::open(file).map_err(SourceError::io(file))?;
                let mut piece = vec![0; PIECE_BYTES];
                loop {
                    let length = archive.read(&mut piece).map_err(SourceError::io(file))?;
                    if length == 0 {
                        break;
                    }
                    running.write(&piece[..length])?;
                }
                running.close_input()?;
                running.wait()?
            }
        };
        if ended.is_well() {
            return Ok(());
        }
        Err(SourceError::Invalid { what: format!("database {database}: pg_restore {}", ended.told()) })
    }
}

/// What the server refused of some statements.
pub fn errors(ended: &Ended) -> Vec<String> {
    let refused = ended.said.lines().filter_map(|line| line.split_once("ERROR:  ").or(line.split_once("FATAL:  ")));
    let mut refused: Vec<String> = refused.map(|(_, what)| what.to_owned()).collect();
    if refused.is_empty() && !ended.is_well() {
        refused.push(format!("psql {}", ended.told()));
    }
    refused
}

/// What a database has that would be written over: any of these tables, or anything at all where none are named.
fn in_the_way(session: &mut Session, tables: &[Table]) -> Result<Option<String>, SourceError> {
    if tables.is_empty() {
        let relations = inventory::relations(session)?;
        return Ok((relations > 0).then(|| format!("{relations} tables, views or sequences")));
    }
    for table in tables {
        if inventory::is_there(session, &table.recorded)? {
            return Ok(Some(format!("a table {}", table.shown())));
        }
    }
    Ok(None)
}
