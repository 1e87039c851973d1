//! Databases of a snapshot, restored into a running server.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use repository::{Cancel, Facts, SourceError};
use serde_json::Value;

use super::archive::{self, Listed};
use super::definition::Definition;
use super::facts::{FILE, ROLE_PASSWORDS, ROLES, SERVER, VERSION};
use super::globals::ROLES_FILE;
use super::measure::measured;
use super::names;
use super::pick::{self, Picked, Reference};
use super::properties::{self, PROPERTIES};
use super::server::Server;
use super::session::Session;
use super::target::{IN_ONE, Room, Target};
use super::tools::{Tools, Version};
use super::{DatabaseOptions, inventory};
use crate::source::into_server::{Failed, IntoServer, Restored, RestoredDatabase, TABLES, Wanted};
use crate::source::produced::below;

/// Tables that are named where another one was meant.
const NAMED_MAX: usize = 20;
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
        let chosen = self.wanted.chosen(recorded)?;
        // Who may only connect to one of them has nowhere else to ask.
        let named: Vec<String> = chosen.iter().map(|(name, _)| self.wanted.name_of(name)).collect();
        let (mut session, through) = super::capture::maintenance(&server, &psql, &named, cancel)?;
        let there = inventory::version(&mut session)?;
        let made_by = recorded.get(SERVER).and_then(|server| Version::said(server[VERSION].as_str()?)).unwrap_or(there);
        // An archive is read by tools that are as new as those that wrote it.
        let tools = Tools::find(server.stage(), self.into.tools.as_deref(), "pg_restore", there.max(made_by), cancel)?;
        let login = inventory::login(&mut session)?;
        let into = Target { server: &server, tools: &tools, psql: &psql, login: &login, through, cancel };
        let mut restored = Restored::default();
        if self.wanted.is_all() {
            restore_roles(&into, &mut session, dir, recorded, &mut restored)?;
        }
        let roles = Roles {
            there: inventory::roles(&mut session)?.into_iter().collect(),
            of_others: inventory::roles_of_others(&mut session)?.into_iter().collect(),
            recorded: roles_of(recorded.get(ROLES)).unwrap_or_default(),
        };
        for (name, known) in chosen {
            let one = self.database(&into, &mut session, dir, (name, known), &roles, &mut restored.notes);
            let one = one.map_err(|failed| restored.ended_by(failed))?;
            restored.databases.push(one);
        }
        Ok(restored)
    }
}

/// Brings the roles back, as far as who restores may do that.
fn restore_roles(
    into: &Target<'_>,
    session: &mut Session,
    dir: &Path,
    recorded: &Facts,
    restored: &mut Restored,
) -> Result<(), SourceError> {
    let login = &into.login.name;
    let wanted = roles_of(recorded.get(ROLES)).unwrap_or_default();
    let lacking = |session: &mut Session| -> Result<Vec<String>, SourceError> {
        let there = inventory::roles(session)?;
        Ok(wanted.iter().filter(|role| !there.contains(role)).cloned().collect())
    };
    let lacked = lacking(session)?;
    if !into.login.may_make_roles {
        restored.notes.push(format!("role {login} may make no roles: those that are there stay as they are"));
    } else {
        match into.roles(&dir.join(ROLES_FILE)) {
            // Who is no superuser may not make all of them; which are lacking is told.
            Err(SourceError::Invalid { what }) if !into.login.is_superuser => restored.problems.push(what),
            done => done?,
        }
        restored.notes.push(format!("role {login}, which restored it, keeps the password and the rights it has here"));
        if recorded.get(SERVER).is_some_and(|server| server[ROLE_PASSWORDS] == false) && !lacked.is_empty() {
            let lacked = lacked.join(", ");
            restored.notes.push(format!("no passwords are in the snapshot: set those of {lacked} with ALTER ROLE"));
        }
    }
    let lacked = lacking(session)?;
    if !lacked.is_empty() {
        restored.notes.push(format!("the server lacks roles that the snapshot has: {}", lacked.join(", ")));
    }
    Ok(())
}

/// The roles of the server, and those that the snapshot has.
struct Roles {
    there: BTreeSet<String>,
    /// Those that who restores is no member of.
    of_others: BTreeSet<String>,
    recorded: Vec<String>,
}

impl Roles {
    /// Those that a database needs and the server lacks.
    fn missing(&self, known: &Value) -> Vec<String> {
        // An earlier version did not tell which of all roles these are.
        let needed = roles_of(known.get(ROLES)).unwrap_or_else(|| self.recorded.clone());
        needed.into_iter().filter(|role| !self.there.contains(role)).collect()
    }

    /// Those to whom things of an archive belong and who restores can give nothing.
    fn out_of_reach<'a>(&self, entries: impl Iterator<Item = &'a Listed>) -> Vec<String> {
        let owners = entries.filter_map(|entry| String::from_utf8(entry.has_owner()?.to_vec()).ok());
        let out_of_reach: BTreeSet<String> = owners.filter(|owner| self.of_others.contains(owner)).collect();
        out_of_reach.into_iter().collect()
    }
}

fn roles_of(fact: Option<&Value>) -> Option<Vec<String>> {
    let roles = fact?.as_array()?;
    Some(roles.iter().filter_map(|role| Some(role.as_str()?.to_owned())).collect())
}

/// What is restored of an archive.
struct Stored<'a> {
    file: &'a Path,
    contents: &'a [Listed],
    /// The tables that are wanted; all of it where there are none.
    tables: &'a [Table],
    /// The roles that the server lacks.
    missing_roles: &'a [String],
}

impl PostgresRestore {
    /// Restores a database of the snapshot, or tables of it, and counts what is there then.
    fn database(
        &self,
        into: &Target<'_>,
        session: &mut Session,
        dir: &Path,
        (name, known): (&String, &Value),
        roles: &Roles,
        notes: &mut Vec<String>,
    ) -> Result<RestoredDatabase, Failed> {
        let file = known[FILE].as_str().and_then(|file| below(dir, file));
        let file =
            file.ok_or_else(|| SourceError::unavailable(format!("the manifest does not name the file of {name}")))?;
        let restored_as = self.wanted.name_of(name);
        let mut one = RestoredDatabase {
            name: name.clone(),
            restored_as: restored_as.clone(),
            problems: Vec::new(),
            counted: None,
        };
        let missing_roles = roles.missing(known);
        if !missing_roles.is_empty() {
            one.problems.push(format!(
                "the server lacks the roles {}, so everything belongs to who restored it, and rights were not given",
                missing_roles.join(", ")
            ));
        }
        let tables = self.tables(name, known)?;
        let archive = File::open(&file).map_err(SourceError::io(&file))?;
        let unreadable = |what| SourceError::unavailable(format!("database {name}: its archive {what}"));
        let contents = archive::table_of_contents(archive).map_err(unreadable)?;
        let definition = Definition::of(&contents);
        let (mut room, note) =
            into.prepare(session, &one.restored_as, definition.as_ref(), &tables, self.wanted.replace)?;
        notes.extend(note);
        let stored = Stored { file: &file, contents: &contents, tables: &tables, missing_roles: &missing_roles };
        let made = into.make_schemas(&one.restored_as, &tables, &mut room);
        match made.and_then(|()| self.restore(into, &one, &stored, &room, roles)) {
            Ok(problems) => one.problems.extend(problems),
            Err(error) => return Err(Failed { error, left: Some(into.leave(&one.restored_as, &room)) }),
        }
        let counted = match tables.is_empty() {
            true => measured(into.server, into.tools, &one.restored_as, known, into.cancel)
                .map(|found| (known.clone(), found)),
            false => into.counted(&one.restored_as, known, &tables),
        };
        let not_counted = |error| {
            let left = format!("it was restored into database {restored_as}, and not all of it was compared");
            Failed { error, left: Some(left) }
        };
        let mut counted = counted.map_err(not_counted)?;
        if tables.is_empty() {
            // Once nothing more is to be asked in there: its settings may let nobody in.
            if let Some(definition) = definition.filter(|_| room.is_new) {
                let given = give_properties(into, &one.restored_as, &definition, &missing_roles);
                one.problems.extend(given.map_err(not_counted)?);
            }
            notes.extend(compare_properties(session, &one.restored_as, &room, &mut counted).map_err(not_counted)?);
        }
        one.counted = Some(counted);
        Ok(one)
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
        stored: &Stored<'_>,
        room: &Room,
        roles: &Roles,
    ) -> Result<Vec<String>, SourceError> {
        let (picked, mut problems) = match stored.tables {
            [] => (without_extensions_of_others(into, one, stored.contents)?, Vec::new()),
            tables => {
                let (picked, problems) = self.pick(into, one, tables, stored.contents)?;
                (Some(picked), problems)
            }
        };
        let is_picked = |entry: &&Listed| picked.as_ref().is_none_or(|picked| picked.entries.contains(&entry.number));
        let out_of_reach = roles.out_of_reach(stored.contents.iter().filter(is_picked));
        if !out_of_reach.is_empty() {
            problems.push(format!(
                "role {} is no member of {}, so everything belongs to who restored it, and rights were not given",
                into.login.name,
                out_of_reach.join(", ")
            ));
        }
        let mut options = vec!["--exit-on-error", "--no-tablespaces"];
        if room.is_in_one {
            options.push(IN_ONE);
        }
        if !stored.missing_roles.is_empty() || !out_of_reach.is_empty() {
            options.extend(["--no-owner", "--no-privileges"]);
        }
        if self.wanted.replace {
            options.extend(["--clean", "--if-exists"]);
        }
        let list = picked.map(|picked| picked.list());
        into.restore(stored.file, &one.restored_as, &options, list.as_deref()).map_err(|error| match error {
            SourceError::Invalid { what } if !stored.tables.is_empty() => SourceError::unavailable(format!(
                "{what}. A table comes with all that is its own, and needs what it refers to, such as types and functions: make \
                 these first, or {INSTEAD}"
            )),
            error => error,
        })?;
        Ok(problems)
    }

    /// What belongs to these tables, without what cannot be had there; that is told.
    fn pick(
        &self,
        into: &Target<'_>,
        one: &RestoredDatabase,
        tables: &[Table],
        contents: &[Listed],
    ) -> Result<(Picked, Vec<String>), SourceError> {
        let refused = |what: String| SourceError::unavailable(format!("database {}: {what}; {INSTEAD}", one.name));
        let named = tables.iter().map(|table| (&*table.schema, &*table.name));
        let mut picked = pick::pick(contents, named).map_err(refused)?;
        let mut problems = Vec::new();
        for name in &picked.partitions {
            if self.wanted.replace {
                return Err(refused(format!("{name} is a partition, and would be taken out of its table")));
            }
            problems.push(format!("{name} was a partition, and is a table of its own: attach it with ALTER TABLE"));
        }
        let published = |name: &String| format!("publication and table {name}: add it with ALTER PUBLICATION");
        problems.extend(picked.published.iter().map(published));
        let mut session = into.session(&one.restored_as)?;
        for Reference { entry, name, to: (schema, table) } in picked.references.clone() {
            if !inventory::is_there(&mut session, &names::pattern(&schema, &table))? {
                picked.leave_out(entry, contents);
                problems.push(format!(
                    "foreign key {name} was left out, since table {schema}.{table} is not there: restore both, or add it \
                     with ALTER TABLE"
                ));
            }
        }
        Ok((picked, problems))
    }
}

/// What of an archive who restores may bring back, where that is not all: an extension that is there already can only be changed by
/// whose it is.
fn without_extensions_of_others(
    into: &Target<'_>,
    one: &RestoredDatabase,
    contents: &[Listed],
) -> Result<Option<Picked>, SourceError> {
    if into.login.is_superuser {
        return Ok(None);
    }
    let names = inventory::extensions_of_others(&mut into.session(&one.restored_as)?)?;
    let picked = pick::without_extensions(contents, &names);
    Ok((picked.entries.len() < contents.len()).then_some(picked))
}

/// Gives a database that is new what belongs to itself. Gives what it did not get.
fn give_properties(
    into: &Target<'_>,
    database: &str,
    definition: &Definition,
    missing_roles: &[String],
) -> Result<Vec<String>, SourceError> {
    let refused = into.give_properties(database, definition)?;
    // That these are lacking is told already.
    let is_told = |what: &String| missing_roles.iter().any(|role| *what == format!("role \"{role}\" does not exist"));
    let refused: Vec<String> = refused.into_iter().filter(|what| !is_told(what)).collect();
    let told = || format!("not all of its owner, rights, settings and comment could be given: {}", refused.join("; "));
    Ok((!refused.is_empty()).then(told).into_iter().collect())
}

/// Compares what belongs to the database itself, where that was recorded, with what it has now. One that was there before keeps
/// what it has, which is no fault; it is noted.
fn compare_properties(
    session: &mut Session,
    database: &str,
    room: &Room,
    (known, found): &mut (Value, Value),
) -> Result<Option<String>, SourceError> {
    let Some(recorded) = known.get(PROPERTIES) else { return Ok(None) };
    let now = properties::of(session, database)?;
    if room.is_new {
        found[PROPERTIES] = now.into();
        return Ok(None);
    }
    let now = now.unwrap_or_default();
    let differing = properties::differing(recorded, &now);
    let told = || {
        format!(
            "database {database} was there, and keeps what belongs to itself; other than in the snapshot: {}",
            differing.join(", ")
        )
    };
    Ok((!differing.is_empty()).then(told))
}

/// A table that the manifest knows.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its schema.
    pub schema: String,
    /// Its name there.
    pub name: String,
    /// As the manifest has it, which is as SQL has it.
    pub recorded: String,
}

impl Table {
    fn recorded((recorded, _): (&String, &Value)) -> Option<Self> {
        let (schema, name) = names::parts(recorded)?;
        Some(Self { schema, name, recorded: recorded.clone() })
    }

    /// As somebody types it: with its schema, or without where that is `public`.
    pub fn shown(&self) -> String {
        if self.schema == PUBLIC { self.name.clone() } else { format!("{}.{}", self.schema, self.name) }
    }

    fn is_called(&self, wanted: &str) -> bool {
        wanted == self.shown() || wanted == self.recorded || wanted == format!("{}.{}", self.schema, self.name)
    }
}
