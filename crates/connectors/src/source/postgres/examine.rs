//! A restore into a scratch server, which is then counted as the original was.

use std::fs::File;
use std::path::Path;

use repository::fs::free_bytes;
use repository::{Cancel, Facts, SourceError};
use serde_json::{Value, json};

use super::definition::Definition;
use super::facts::{DATABASES, ENCODING, EXTENSIONS, FILE, FIRST_USER, ROLES, SERVER, VERSION};
use super::globals::{self, ROLES_FILE};
use super::measure::measured;
use super::names::{literal, quoted};
use super::properties::{self, PROPERTIES};
use super::scratch::Scratch;
use super::tools::Version;
use super::{archive, inventory, target};
use crate::program::Stage;
use crate::source::produced::{FILES, below, recount_files};
use crate::source::scratch_server;

/// Programs that restore one database at once, at most.
const JOBS_MAX: usize = 4;
/// A scratch server takes this many times the size of the archives: indexes are not in them.
const SPACE_FACTOR: u64 = 2;

/// Restores everything below `dir` into a scratch server, and counts it as the capture did. Fails, as what says nothing about
/// the backup, where there is no server of a fitting version here, no space, or an extension is not installed.
pub fn examine(dir: &Path, recorded: &Facts, cancel: &Cancel) -> Result<Facts, SourceError> {
    let files = recount_files(dir, recorded, cancel)?;
    let is_whole = Some(&files) == recorded.get(FILES);
    let mut found = Facts::from_iter([(FILES.to_owned(), files)]);
    if !is_whole {
        // What is damaged is not worth a server; the files say so.
        return Ok(found);
    }
    let server = &recorded[SERVER];
    let version = server[VERSION].as_str().and_then(Version::said).ok_or_else(|| invalid("the server's version"))?;
    let first_user = server[FIRST_USER].as_str().ok_or_else(|| invalid("the server's first user"))?;
    check_space(recorded)?;
    let scratch = Scratch::start(version, first_user, cancel)?;
    let drill = Drill { scratch: &scratch, dir, cancel };
    drill.check_extensions(recorded)?;
    drill.roles()?;
    let mut databases = Facts::new();
    let named = recorded.get(DATABASES).and_then(Value::as_object).into_iter().flatten();
    for (number, (name, known)) in named.enumerate() {
        databases.insert(name.clone(), drill.database(&format!("drill_{number}"), name, known)?);
    }
    found.insert(SERVER.to_owned(), server.clone());
    found.insert(ROLES.to_owned(), json!(inventory::roles(&mut scratch.session("postgres", cancel)?)?));
    found.insert(DATABASES.to_owned(), Value::Object(databases));
    Ok(found)
}

fn invalid(what: &str) -> SourceError {
    SourceError::Invalid { what: format!("the manifest does not tell {what}") }
}

fn check_space(recorded: &Facts) -> Result<(), SourceError> {
    let files = recorded.get(FILES).and_then(Value::as_object).into_iter().flat_map(|files| files.values());
    let bytes: u64 = files.filter_map(|file| file["bytes"].as_u64()).sum();
    let (place, needed) = (scratch_server::place(), bytes.saturating_mul(SPACE_FACTOR));
    match free_bytes(&place) {
        Ok(free) if free < needed => {
            let place = place.display();
            let what = format!("a scratch server needs about {needed} bytes, and {place} has {free} free: set TMPDIR");
            Err(SourceError::Unavailable { what })
        }
        _ => Ok(()),
    }
}

struct Drill<'a> {
    scratch: &'a Scratch,
    dir: &'a Path,
    cancel: &'a Cancel,
}

impl Drill<'_> {
    /// An extension that is not installed here says nothing about the backup.
    fn check_extensions(&self, recorded: &Facts) -> Result<(), SourceError> {
        #[derive(serde::Deserialize)]
        struct Row {
            name: String,
        }
        let mut session = self.scratch.session("postgres", self.cancel)?;
        let there: Vec<Row> = session.ask("SELECT name FROM pg_available_extensions")?;
        for database in recorded.get(DATABASES).and_then(Value::as_object).into_iter().flat_map(|all| all.values()) {
            for name in database[EXTENSIONS].as_object().into_iter().flat_map(|extensions| extensions.keys()) {
                if !there.iter().any(|row| row.name == *name) {
                    let what =
                        format!("the extension {name} is not installed here, so nothing can be restored: install it");
                    return Err(SourceError::Unavailable { what });
                }
            }
        }
        Ok(())
    }

    /// Makes the roles. The first user is there already; anything else that fails is a fault.
    fn roles(&self) -> Result<(), SourceError> {
        let psql = self.scratch.tools().program("psql").args(["-X", "-q", "--no-password", "-f"]);
        let psql = psql.arg(self.dir.join(ROLES_FILE));
        let (_, ended) = self.scratch.server().at(psql, "postgres").run(&Stage::Here, self.cancel)?;
        globals::check_roles(&ended)
    }

    /// Restores one database, under another name, and counts it.
    fn database(&self, scratch_name: &str, name: &str, known: &Value) -> Result<Value, SourceError> {
        let file = known[FILE].as_str().and_then(|file| below(self.dir, file)).ok_or_else(|| invalid("a file"))?;
        let archive = File::open(&file).map_err(SourceError::io(&file))?;
        let damaged = |what| SourceError::Invalid { what: format!("database {name}: its archive {what}") };
        let definition = Definition::of(&archive::table_of_contents(archive).map_err(damaged)?);
        let definition = definition.ok_or_else(|| damaged("does not tell how it was made".to_owned()))?;
        let has_locale = self.make(scratch_name, known, &definition)?;
        let restore =
            self.scratch.tools().program("pg_restore").args(["--exit-on-error", "--no-tablespaces", "--no-password"]);
        let jobs = std::thread::available_parallelism().map_or(1, usize::from).min(JOBS_MAX);
        let restore = restore.arg(format!("--jobs={jobs}")).arg(format!("--dbname={scratch_name}")).arg(&file);
        let (_, ended) = self.scratch.server().at(restore, scratch_name).run(&Stage::Here, self.cancel)?;
        if !ended.is_well() {
            let what = format!("database {name} does not come back: pg_restore {}", ended.told());
            return Err(SourceError::Invalid { what });
        }
        let mut found = measured(self.scratch.server(), self.scratch.tools(), scratch_name, known, self.cancel)?;
        if let Some(recorded) = known.get(PROPERTIES) {
            let mut refused = self.script(&definition.properties(scratch_name))?;
            let now = properties::of(&mut self.scratch.session("postgres", self.cancel)?, scratch_name)?;
            let mut now = now.unwrap_or_else(|| json!({}));
            properties::forgive(recorded, &mut now, !has_locale, &mut refused);
            if !refused.is_empty() {
                now["refused"] = json!(refused);
            }
            found[PROPERTIES] = now;
        }
        Ok(found)
    }

    /// Runs statements. Gives what was refused.
    fn script(&self, statements: &[u8]) -> Result<Vec<String>, SourceError> {
        let psql = self.scratch.tools().program("psql");
        Ok(target::errors(&self.scratch.server().script(&psql, "postgres", statements, self.cancel)?))
    }

    /// Makes an empty database, as the original was made. Where this machine does not have its rules of sorting, which are of no
    /// matter for what is counted, it has others; gives whether it has its own.
    fn make(&self, name: &str, known: &Value, definition: &Definition) -> Result<bool, SourceError> {
        if self.script(&definition.create(name, false))?.is_empty() {
            return Ok(true);
        }
        let encoding = known[ENCODING].as_str().ok_or_else(|| invalid("how a database stores text"))?;
        let mut session = self.scratch.session("postgres", self.cancel)?;
        session.execute(&format!(
            "CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE 'C' LC_CTYPE 'C'",
            quoted(name),
            literal(encoding)
        ))?;
        Ok(false)
    }
}
