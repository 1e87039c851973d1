//! Databases of a snapshot, restored into a running server.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use repository::{Cancel, Facts, SourceError};
use serde_json::{Value, json};

use super::facts::{ENCODING, FILE, ROLES, SERVER, VERSION};
use super::globals::{self, ROLES_FILE};
use super::measure::measured;
use super::names::{literal, quoted};
use super::pick::{self, Picked, Reference};
use super::server::Server;
use super::session::Session;
use super::tools::{Tools, Version};
use super::{DatabaseOptions, archive, inventory, names};
use crate::program::{Program, Stage};
use crate::source::into_server::{Failed, IntoServer, Restored, RestoredDatabase, TABLES, Wanted};
use crate::source::produced::below;

/// Programs that restore one database at once, at most.
const JOBS_MAX: usize = 4;
/// Bytes of an archive that are passed into a container at once.
const PIECE_BYTES: usize = 256 << 10;
/// All or nothing: where anything fails, what was there is still there. It takes one connection.
const IN_ONE: &str = "--single-transaction";
/// Tables that are named where another one was meant.
const NAMED_MAX: usize = 20;
/// Runs a program with one more option, which names a list that lies in no file: in a container there would be none to write.
const WITH_LIST: &str = "list=$1; shift; exec \"$@\" --use-list=/dev/fd/3 3<<END\n$list\nEND\n";
/// What to do where a table cannot be had alone.
const INSTEAD: &str =
    "restore the whole database beside it with --as NAME and without --table, and copy the table from there";
/// The schema that nobody needs to name.
const PUBLIC: &str = "public";

/// A restore into a server of PostgreSQL.
#[derive(Clone, Debug)]
pub struct PostgresRestore {
    /// The server, and who logs in. Its `databases` and `exclude` mean nothing here.
    pub into: DatabaseOptions,
    /// What is restored. A table is named `SCHEMA.TABLE` or, in `public`, `TABLE`.
    pub wanted: Wanted,
}

impl IntoServer for PostgresRestore {
    fn files(&self, recorded: &Facts) -> Result<Vec<PathBuf>, SourceError> {
        let mut files: Vec<PathBuf> = self.wanted.is_all().then(|| ROLES_FILE.into()).into_iter().collect();
        for (name, known) in self.wanted.chosen(recorded)? {
            self.tables(name, known)?;
            files.extend(known[FILE].as_str().map(PathBuf::from));
        }
        Ok(files)
    }

    fn run(&self, dir: &Path, recorded: &Facts, cancel: &Cancel) -> Result<Restored, SourceError> {
        let server = Server::find(&self.into, cancel)?;
        let psql = Tools::psql(server.stage(), self.into.tools.as_deref(), cancel)?;
        let (mut session, through) = super::capture::maintenance(&server, &psql, &[], cancel)?;
        let there = inventory::version(&mut session)?;
        let made_by = recorded.get(SERVER).and_then(|server| Version::said(server[VERSION].as_str()?)).unwrap_or(there);
        // An archive is read by tools that are as new as those that wrote it.
        let tools = Tools::find(server.stage(), self.into.tools.as_deref(), "pg_restore", there.max(made_by), cancel)?;
        let into = Target { server: &server, tools: &tools, psql: &psql, through, cancel };
        let mut restored = Restored::default();
        if self.wanted.is_all() {
            let login = inventory::login(&mut session)?;
            into.roles(&dir.join(ROLES_FILE), &login)?;
            restored
                .notes
                .push(format!("role {login}, which restored it, keeps the password and the rights it has here"));
        }
        let missing_roles = missing_roles(recorded, &inventory::roles(&mut session)?);
        for (name, known) in self.wanted.chosen(recorded)? {
            let one = self.database(&into, &mut session, dir, (name, known), &missing_roles);
            let one = one.map_err(|failed| restored.ended_by(failed))?;
            restored.databases.push(one);
        }
        Ok(restored)
    }
}

impl PostgresRestore {
    /// Restores a database of the snapshot, or tables of it, and counts what is there then.
    fn database(
        &self,
        into: &Target<'_>,
        session: &mut Session,
        dir: &Path,
        (name, known): (&String, &Value),
        missing_roles: &[String],
    ) -> Result<RestoredDatabase, Failed> {
        let file = known[FILE].as_str().and_then(|file| below(dir, file));
        let file =
            file.ok_or_else(|| SourceError::unavailable(format!("the manifest does not name the file of {name}")))?;
        let restored_as = self.wanted.name_of(name);
        let mut one = RestoredDatabase { name: name.clone(), restored_as, problems: Vec::new(), counted: None };
        if !missing_roles.is_empty() {
            one.problems.push(format!(
                "the server lacks the roles {}, so everything belongs to who restored it, and rights were not given",
                missing_roles.join(", ")
            ));
        }
        let tables = self.tables(name, known)?;
        let mut room = into.prepare(session, &one.restored_as, known, &tables, self.wanted.replace)?;
        let options = self.options(&room, !missing_roles.is_empty());
        let made = into.make_schemas(&one.restored_as, &tables, &mut room);
        match made.and_then(|()| self.restore(into, &one, &tables, &file, &options)) {
            Ok(problems) => one.problems.extend(problems),
            Err(error) => return Err(Failed { error, left: Some(into.leave(&one.restored_as, &room)) }),
        }
        let counted = match tables.is_empty() {
            true => measured(into.server, into.tools, &one.restored_as, known, into.cancel)
                .map(|found| (known.clone(), found)),
            false => into.counted(&one.restored_as, known, &tables),
        };
        let not_counted = |error| {
            let left = format!("it was restored into database {}, and was not counted", one.restored_as);
            Failed { error, left: Some(left) }
        };
        one.counted = Some(counted.map_err(not_counted)?);
        Ok(one)
    }

    fn options(&self, room: &Room, lacks_roles: bool) -> Vec<&'static str> {
        let mut options = vec!["--exit-on-error", "--no-tablespaces"];
        if room.is_in_one {
            options.push(IN_ONE);
        }
        if lacks_roles {
            options.extend(["--no-owner", "--no-privileges"]);
        }
        if self.wanted.replace {
            options.extend(["--clean", "--if-exists"]);
        }
        options
    }

    /// The tables that are wanted of a database. Fails where one is not in the snapshot.
    fn tables(&self, database: &str, known: &Value) -> Result<Vec<Table>, SourceError> {
        let there: Vec<Table> = known[TABLES].as_object().into_iter().flatten().filter_map(Table::recorded).collect();
        let found = |wanted: &String| {
            let table = there.iter().find(|table| table.is_called(wanted)).cloned();
            table.ok_or_else(|| {
                let named = there.iter().take(NAMED_MAX).map(Table::shown).collect::<Vec<_>>().join(", ");
                let more = if there.len() > NAMED_MAX { ", …" } else { "" };
                SourceError::unavailable(format!(
                    "table {wanted} is not in database {database}, whose tables with rows of their own are: {named}{more}"
                ))
            })
        };
        self.wanted.tables.iter().map(found).collect()
    }

    /// Restores a database, or tables of it. Gives what of these is not as it was.
    fn restore(
        &self,
        into: &Target<'_>,
        one: &RestoredDatabase,
        tables: &[Table],
        file: &Path,
        options: &[&str],
    ) -> Result<Vec<String>, SourceError> {
        if tables.is_empty() {
            into.restore(file, &one.restored_as, options, None)?;
            return Ok(Vec::new());
        }
        let (picked, problems) = self.pick(into, one, tables, file)?;
        into.restore(file, &one.restored_as, options, Some(&picked.list()))?;
        Ok(problems)
    }

    /// What belongs to these tables, without what cannot be had there; that is told.
    fn pick(
        &self,
        into: &Target<'_>,
        one: &RestoredDatabase,
        tables: &[Table],
        file: &Path,
    ) -> Result<(Picked, Vec<String>), SourceError> {
        let refused = |what: String| SourceError::unavailable(format!("database {}: {what}; {INSTEAD}", one.name));
        let archive = File::open(file).map_err(SourceError::io(file))?;
        let contents = archive::table_of_contents(archive).map_err(|what| refused(format!("its archive {what}")))?;
        let named = tables.iter().map(|table| (&*table.schema, &*table.name));
        let mut picked = pick::pick(&contents, named).map_err(refused)?;
        let mut problems = Vec::new();
        for name in &picked.partitions {
            if self.wanted.replace {
                return Err(refused(format!("{name} is a partition, and would be taken out of its table")));
            }
            problems.push(format!("{name} was a partition, and is a table of its own: attach it with ALTER TABLE"));
        }
        let published = |name: &String| format!("publication and table {name}: add it with ALTER PUBLICATION");
        problems.extend(picked.published.iter().map(published));
        let mut session = Session::begin(into.server, into.psql.clone(), &one.restored_as, into.cancel)?;
        for Reference { entry, name, to: (schema, table) } in picked.references.clone() {
            if !inventory::is_there(&mut session, &names::pattern(&schema, &table))? {
                picked.leave_out(entry, &contents);
                problems.push(format!(
                    "foreign key {name} was left out, since table {schema}.{table} is not there: restore both, or add it \
                     with ALTER TABLE"
                ));
            }
        }
        Ok((picked, problems))
    }
}

/// A table that the manifest knows.
#[derive(Clone, Debug)]
struct Table {
    schema: String,
    name: String,
    /// As the manifest has it, which is as SQL has it.
    recorded: String,
}

impl Table {
    fn recorded((recorded, _): (&String, &Value)) -> Option<Self> {
        let (schema, name) = names::parts(recorded)?;
        Some(Self { schema, name, recorded: recorded.clone() })
    }

    /// As somebody types it: with its schema, or without where that is `public`.
    fn shown(&self) -> String {
        if self.schema == PUBLIC { self.name.clone() } else { format!("{}.{}", self.schema, self.name) }
    }

    fn is_called(&self, wanted: &str) -> bool {
        wanted == self.shown() || wanted == self.recorded || wanted == format!("{}.{}", self.schema, self.name)
    }
}

/// Where a database is restored to. What was made for it goes again where the restore fails.
struct Room {
    /// Whether the database was made for it.
    is_new: bool,
    /// Whether it comes all or not at all, so that what was there is still there where the restore fails. Not where nothing was: a
    /// transaction holds a lock for each thing that it makes, which are too many of a large database for most servers.
    is_in_one: bool,
    /// Schemas that were.
    schemas: Vec<String>,
}

fn missing_roles(recorded: &Facts, there: &[String]) -> Vec<String> {
    let roles = recorded.get(ROLES).and_then(Value::as_array).into_iter().flatten();
    roles.filter_map(|role| Some(role.as_str()?.to_owned())).filter(|role| !there.contains(role)).collect()
}

/// The server that is restored into.
struct Target<'a> {
    server: &'a Server,
    tools: &'a Tools,
    psql: &'a Program,
    /// The database that whatever is no part of another is asked through.
    through: &'a str,
    cancel: &'a Cancel,
}

impl Target<'_> {
    /// Makes the roles, and gives those that are there already the rights and passwords that they had; but for `login`, which
    /// could not go on with another password.
    fn roles(&self, file: &Path, login: &str) -> Result<(), SourceError> {
        let text = std::fs::read(file).map_err(SourceError::io(file))?;
        let text = globals::without_rights_of(&text, login);
        let psql = self.psql.clone().args(["-X", "-q", "--no-password"]).with_input();
        let mut running = self.server.at(psql, self.through).start(self.server.stage(), self.cancel)?;
        running.write(&text)?;
        running.close_input()?;
        let ended = running.wait()?;
        globals::check_roles(&ended)
    }

    /// After a restore that failed: drops what was made for it. Tells what is left.
    fn leave(&self, database: &str, room: &Room) -> String {
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

    /// Sees to it that the database is there, and empty unless what it has may be replaced.
    fn prepare(
        &self,
        session: &mut Session,
        database: &str,
        known: &Value,
        tables: &[Table],
        may_replace: bool,
    ) -> Result<Room, SourceError> {
        if inventory::databases(session)?.iter().any(|there| there.name == database) {
            let mut inside = Session::begin(self.server, self.psql.clone(), database, self.cancel)?;
            if !may_replace && let Some(has) = in_the_way(&mut inside, tables)? {
                return Err(SourceError::unavailable(format!(
                    "database {database} is on the server and has {has}: restore into another with --as NAME, or let what is \
                     there be dropped with --replace"
                )));
            }
            let is_in_one = !tables.is_empty() || in_the_way(&mut inside, &[])?.is_some();
            return Ok(Room { is_new: false, is_in_one, schemas: Vec::new() });
        }
        let text = |key: &str| known[key].as_str().map(literal);
        let (Some(encoding), Some(collate), Some(ctype)) = (text(ENCODING), text("collate"), text("ctype")) else {
            return Err(SourceError::unavailable(format!(
                "the manifest does not tell how database {database} stores text"
            )));
        };
        session.execute(&format!(
            "CREATE DATABASE {} TEMPLATE template0 ENCODING {encoding} LC_COLLATE {collate} LC_CTYPE {ctype}",
            quoted(database)
        ))?;
        Ok(Room { is_new: true, is_in_one: false, schemas: Vec::new() })
    }

    /// Makes the schemas that the database lacks: a table comes without the one that it lies in.
    fn make_schemas(&self, database: &str, tables: &[Table], room: &mut Room) -> Result<(), SourceError> {
        if tables.is_empty() {
            return Ok(());
        }
        let mut inside = Session::begin(self.server, self.psql.clone(), database, self.cancel)?;
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
    fn counted(&self, database: &str, known: &Value, tables: &[Table]) -> Result<(Value, Value), SourceError> {
        let mut session = Session::begin(self.server, self.psql.clone(), database, self.cancel)?;
        let (mut before, mut now) = (Facts::new(), Facts::new());
        for Table { recorded, .. } in tables {
            before.insert(recorded.clone(), known[TABLES][recorded.as_str()].clone());
            now.insert(recorded.clone(), inventory::rows(&mut session, recorded)?.into());
        }
        Ok((json!({ TABLES: before }), json!({ TABLES: now })))
    }

    /// Runs `pg_restore`: here with several connections unless all is one transaction, in a container with one, since the archive
    /// flows into it. Of the archive, only the entries on the list are restored, where there is one.
    fn restore(&self, file: &Path, database: &str, options: &[&str], list: Option<&str>) -> Result<(), SourceError> {
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
        let what = format!("database {database}: pg_restore {}", ended.told());
        Err(match list {
            None => SourceError::Invalid { what },
            Some(_) => SourceError::unavailable(format!(
                "{what}. A table comes with all that is its own, and needs what it refers to, such \
                 as types and functions: make these first, or {INSTEAD}"
            )),
        })
    }
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
