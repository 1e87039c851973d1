//! Databases of a snapshot, restored into a running server.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use repository::{Cancel, Facts, SourceError};
use serde_json::Value;

use super::facts::{ENCODING, FILE, ROLES, SERVER, VERSION};
use super::globals::{self, ROLES_FILE};
use super::measure::measured;
use super::names::{literal, quoted};
use super::server::Server;
use super::session::Session;
use super::tools::{Tools, Version};
use super::{PostgresOptions, inventory};
use crate::program::{Program, Stage};
use crate::source::into_server::{IntoServer, Restored, RestoredDatabase, Wanted};
use crate::source::produced::below;

/// Programs that restore one database at once, at most.
const JOBS_MAX: usize = 4;
/// Bytes of an archive that are passed into a container at once.
const PIECE_BYTES: usize = 256 << 10;

/// A restore into a server of PostgreSQL.
#[derive(Clone, Debug)]
pub struct PostgresRestore {
    /// The server, and who logs in. Its `databases` and `exclude` mean nothing here.
    pub into: PostgresOptions,
    /// What is restored. A table is named `SCHEMA.TABLE` or, in `public`, `TABLE`.
    pub wanted: Wanted,
}

impl IntoServer for PostgresRestore {
    fn files(&self, recorded: &Facts) -> Result<Vec<PathBuf>, SourceError> {
        let mut files: Vec<PathBuf> = self.wanted.is_all().then(|| ROLES_FILE.into()).into_iter().collect();
        for (_, known) in self.wanted.chosen(recorded)? {
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
        let into = Target { server: &server, tools: &tools, psql: &psql, cancel };
        if self.wanted.is_all() {
            into.roles(&dir.join(ROLES_FILE), through)?;
        }
        let roles = inventory::roles(&mut session)?;
        let mut restored = Restored::default();
        for (name, known) in self.wanted.chosen(recorded)? {
            let file = known[FILE].as_str().and_then(|file| below(dir, file));
            let file = file.ok_or_else(|| unavailable(format!("the manifest does not name the file of {name}")))?;
            let restored_as = self.wanted.name_of(name);
            let mut one = RestoredDatabase { name: name.clone(), restored_as, problems: Vec::new(), counted: None };
            let missing = missing_roles(recorded, &roles);
            if !missing.is_empty() {
                one.problems.push(format!(
                    "the server lacks the roles {}, so everything belongs to who restored it, and rights were not given",
                    missing.join(", ")
                ));
            }
            into.prepare(&mut session, &one.restored_as, known, self.wanted.replace)?;
            self.restore(&into, &one, &file, !missing.is_empty())?;
            if self.wanted.tables.is_empty() {
                let found = measured(&server, &tools, &one.restored_as, known, cancel)?;
                one.counted = Some((known.clone(), found));
            }
            restored.databases.push(one);
        }
        Ok(restored)
    }
}

impl PostgresRestore {
    fn restore(
        &self,
        into: &Target<'_>,
        one: &RestoredDatabase,
        file: &Path,
        lacks_roles: bool,
    ) -> Result<(), SourceError> {
        let mut options = vec!["--exit-on-error".to_owned(), "--no-tablespaces".to_owned()];
        if lacks_roles {
            options.extend(["--no-owner", "--no-privileges"].map(str::to_owned));
        }
        if self.wanted.replace {
            options.extend(["--clean", "--if-exists"].map(str::to_owned));
        }
        if self.wanted.tables.is_empty() {
            return into.restore(file, &one.restored_as, &options);
        }
        for table in &self.wanted.tables {
            let (schema, name) = table.split_once('.').unwrap_or(("public", table));
            let only = [format!("--schema={schema}"), format!("--table={name}")];
            into.restore(file, &one.restored_as, &[&options[..], &only].concat())?;
        }
        Ok(())
    }
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
    cancel: &'a Cancel,
}

impl Target<'_> {
    /// Makes the roles, and gives those that are there already the rights and passwords that they had.
    fn roles(&self, file: &Path, through: &str) -> Result<(), SourceError> {
        let text = std::fs::read(file).map_err(SourceError::io(file))?;
        let psql = self.psql.clone().args(["-X", "-q", "--no-password"]).with_input();
        let mut running = self.server.at(psql, through).start(self.server.stage(), self.cancel)?;
        running.write(&text)?;
        running.close_input()?;
        let ended = running.wait()?;
        globals::check_roles(&ended)
    }

    /// Sees to it that the database is there, and empty unless what it has may be replaced.
    fn prepare(
        &self,
        session: &mut Session,
        database: &str,
        known: &Value,
        may_replace: bool,
    ) -> Result<(), SourceError> {
        if inventory::databases(session)?.iter().any(|there| there.name == database) {
            let mut inside = Session::begin(self.server, self.psql.clone(), database, self.cancel)?;
            let relations = inventory::relations(&mut inside)?;
            if relations > 0 && !may_replace {
                return Err(unavailable(format!(
                    "database {database} is on the server and has {relations} tables, views or sequences: restore into another \
                     with --as NAME, or let what is there be dropped with --replace"
                )));
            }
            return Ok(());
        }
        let text = |key: &str| known[key].as_str().map(literal);
        let (Some(encoding), Some(collate), Some(ctype)) = (text(ENCODING), text("collate"), text("ctype")) else {
            return Err(unavailable(format!("the manifest does not tell how database {database} stores text")));
        };
        session.run(&format!(
            "CREATE DATABASE {} TEMPLATE template0 ENCODING {encoding} LC_COLLATE {collate} LC_CTYPE {ctype}",
            quoted(database)
        ))?;
        inventory::version(session).map(drop)
    }

    /// Runs `pg_restore`: here with several connections, in a container with one, since the archive flows into it.
    fn restore(&self, file: &Path, database: &str, options: &[String]) -> Result<(), SourceError> {
        let program = self.tools.program("pg_restore").args(options).arg("--no-password");
        let program = self.server.into(program, database);
        let ended = match self.server.stage() {
            Stage::Here => {
                let jobs = std::thread::available_parallelism().map_or(1, usize::from).min(JOBS_MAX);
                program.arg(format!("--jobs={jobs}")).arg(file).run(self.server.stage(), self.cancel)?.1
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

fn unavailable(what: String) -> SourceError {
    SourceError::Unavailable { what }
}
