//! `lifeboat restore SNAPSHOT:SOURCE[/DB[/TABLE]] --server URL`: databases out of a snapshot, restored into a running server.
//!
//! What is needed is restored as files into a scratch folder first, since the tools read an archive here and there, and several
//! at once. Then each database is restored and counted, and held against what was counted when it was backed up.

use std::path::PathBuf;

use connectors::source::{IntoServer, MysqlRestore, PostgresRestore, RedisRestore, Restored, Wanted};
use operations::config::{DatabaseServer, DatabaseSettings, Secret, SecretSource, SourceKind, wrong_server_url};
use operations::drill::differences;
use operations::manifest::{Manifest, SourceRecord};
use operations::scratch::with_scratch;
use operations::snapshots::Place;
use operations::{Fault, FaultKind, restore};
use repository::restore::Options;
use repository::{Facts, Id, Index, Repository, SourceError};
use serde_json::{Value, json};

use super::reload::{self, Reload};
use crate::alike::grouped;
use crate::app::{App, Opened};
use crate::arguments::{self, ToServer};
use crate::output::{Outcome, count};
use crate::wiring::{self, Around};

/// What means the server that a source is configured with.
const CONFIGURED: &str = "configured";
/// The kinds of sources that this can do, and the password of who logs in, as the server's own tools call it.
const KINDS: [(&str, &str); 3] = [("postgres", "PGPASSWORD"), ("mysql", "MYSQL_PWD"), ("redis", "REDISCLI_AUTH")];

pub fn run(app: &App, place: &Place, server: &str, arguments: &arguments::Restore) -> Result<Outcome, Fault> {
    let stack = arguments.stack.as_deref();
    let of_stack = stack.and_then(|name| app.settings.stack(name).ok());
    let copies = app.repositories(arguments.copy.as_deref(), of_stack)?;
    let (Opened { repository, .. }, found) = app.find_snapshot(&copies, &place.snapshot, stack)?;
    let index = app.index(&repository)?;
    let tree = found.snapshot.tree;
    let manifest = Manifest::load(&repository, &index, &tree)?;
    let manifest = manifest.ok_or_else(|| {
        let what = "this snapshot does not say what is in it: another program made it";
        Fault::new(FaultKind::Unsupported, what).with_hint("restore its files with --to DIR")
    })?;
    let stored = Stored { repository: &repository, index: &index, id: found.id, tree, manifest: &manifest };
    into_server(app, &stored, place, server, arguments)
}

/// A snapshot and what holds it.
pub(super) struct Stored<'a> {
    pub repository: &'a Repository,
    pub index: &'a Index,
    pub id: Id,
    pub tree: Id,
    pub manifest: &'a Manifest,
}

/// Restores databases of a snapshot into a server.
pub(super) fn into_server(
    app: &App,
    stored: &Stored<'_>,
    place: &Place,
    server: &str,
    arguments: &arguments::Restore,
) -> Result<Outcome, Fault> {
    let Stored { repository, index, id, tree, manifest } = stored;
    let Chosen { source, record, password_variable, wanted } = chosen(manifest, place, arguments)?;
    let database = server_settings(app, &manifest.stack, source, record, server)?;
    let database = logged_in(app, database, server, &arguments.server, password_variable);
    let job = job(record, database, wanted, &Around::of(&app.settings, &app.run.environment));
    let files = job.files(&record.facts)?;
    if arguments.dry_run {
        return Ok(would_restore(app, &id.to_hex(), &files));
    }
    let wanted: Vec<_> = files.into_iter().map(|file| (PathBuf::from(source).join(&file), file)).collect();
    let restored: Result<_, Fault> = with_scratch(&app.scratch(), |scratch| {
        let options = Options::for_this_process();
        let dir = scratch.join("databases");
        let staged = restore::several_to_new_place(&app.cx(), repository, index, tree, &wanted, &dir, options)?;
        if let Some(problem) = staged.problems.first() {
            let what = format!("the copy does not give back all of it, so nothing was restored: {problem}");
            return Err(SourceError::Invalid { what }.into());
        }
        Ok(job.run(&dir, &record.facts, &app.run.cancel)?)
    });
    app.run.progress.finish();
    // Another server than the application's own is none of its concern.
    let concerned = (server == CONFIGURED).then_some(&*manifest.stack);
    Ok(tell(app, &id.to_hex(), record, restored?, concerned))
}

/// What is meant of a snapshot.
struct Chosen<'m> {
    source: &'m str,
    record: &'m SourceRecord,
    password_variable: &'static str,
    wanted: Wanted,
}

/// The source that is meant: the one named or, where the snapshot has one of these kinds only, that; and what of it.
fn chosen<'m>(manifest: &'m Manifest, place: &Place, arguments: &arguments::Restore) -> Result<Chosen<'m>, Fault> {
    let mut named = place.path.iter().map(|part| part.to_string_lossy().into_owned());
    let (name, database, table) = (named.next().unwrap_or_default(), named.next(), named.next());
    let variable_of =
        |record: &SourceRecord| KINDS.iter().find(|(kind, _)| *kind == record.kind).map(|(_, name)| *name);
    let possible: Vec<_> = manifest.sources.iter().filter(|(_, record)| variable_of(record).is_some()).collect();
    let (source, record) = match (manifest.sources.get_key_value(&name), possible.as_slice()) {
        (Some(found), _) => found,
        (None, [one]) if name.is_empty() => *one,
        _ => {
            let names: Vec<_> = possible.iter().map(|(name, _)| name.as_str()).collect();
            let what =
                format!("name the source: SNAPSHOT:SOURCE; those with databases of a server are: {}", names.join(", "));
            return Err(Fault::new(FaultKind::Usage, what).with_hint("one database of it is SNAPSHOT:SOURCE/DB"));
        }
    };
    let password_variable = variable_of(record).ok_or_else(|| {
        let what = format!("source {source} is of kind {}, which --server is not for", record.kind);
        Fault::new(FaultKind::Usage, what).with_hint("restore it with --to DIR, or --in-place")
    })?;
    let (databases, tables) = (&arguments.couch_files.database, &arguments.server.table);
    let is_twice = database.is_some() && !databases.is_empty() || table.is_some() && !tables.is_empty();
    if is_twice || named.next().is_some() {
        let what = "write SNAPSHOT:SOURCE/DB/TABLE, or name them by --database and --table, which may have any letters in them";
        return Err(Fault::new(FaultKind::Usage, what));
    }
    let wanted = Wanted {
        databases: databases.iter().cloned().chain(database).collect(),
        rename: arguments.server.rename.clone(),
        tables: tables.iter().cloned().chain(table).collect(),
        replace: arguments.server.replace,
    };
    Ok(Chosen { source, record, password_variable, wanted })
}

/// The server to restore into.
fn server_settings(
    app: &App,
    stack: &str,
    source: &str,
    record: &SourceRecord,
    server: &str,
) -> Result<DatabaseSettings, Fault> {
    if server != CONFIGURED {
        return match wrong_server_url(&record.kind, server) {
            Some((what, hint)) => Err(Fault::new(FaultKind::Usage, format!("--server: {what}")).with_hint(hint)),
            None => Ok(DatabaseSettings::new(DatabaseServer::Url(server.to_owned()))),
        };
    }
    match &app.settings.stack(stack)?.source(source)?.kind {
        kind @ (SourceKind::Postgres(database) | SourceKind::Mysql(database) | SourceKind::Redis(database))
            if kind.name() == record.kind =>
        {
            Ok(database.clone())
        }
        other => {
            let what = format!("source {source} is of kind {} by now", other.name());
            Err(Fault::new(FaultKind::Usage, what).with_hint("give the address of the server"))
        }
    }
}

/// With who was said to log in, and the password. A server that is configured has its own.
fn logged_in(
    app: &App,
    database: DatabaseSettings,
    server: &str,
    arguments: &ToServer,
    variable: &str,
) -> DatabaseSettings {
    let typed = arguments.server_password_file.clone().map(SecretSource::File);
    let of_variable = || {
        let password = app.run.environment.get(variable).filter(|_| server != CONFIGURED)?;
        Some(SecretSource::Given(Secret::new(password.to_owned())))
    };
    DatabaseSettings {
        user: arguments.server_user.clone().or(database.user),
        password: typed.or(database.password).or_else(of_variable),
        ..database
    }
}

fn job(record: &SourceRecord, database: DatabaseSettings, wanted: Wanted, around: &Around<'_>) -> Box<dyn IntoServer> {
    match &*record.kind {
        "mysql" => Box::new(MysqlRestore { into: wiring::database_options(database, around), wanted }),
        "redis" => Box::new(RedisRestore { into: wiring::redis(database, around), wanted }),
        _ => Box::new(PostgresRestore { into: wiring::database_options(database, around), wanted }),
    }
}

fn would_restore(app: &App, id: &str, files: &[PathBuf]) -> Outcome {
    let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    app.output().summary(json!({ "status": "ok", "dry_run": true, "snapshot_id": id, "files": names }));
    app.output().text(format!("would restore {}", names.join(", ")));
    Outcome::Ok
}

/// Tells what came of it, and lets the application of the stack that is `concerned` take it up.
fn tell(app: &App, id: &str, record: &SourceRecord, restored: Restored, concerned: Option<&str>) -> Outcome {
    let Restored { databases: done, mut problems, notes } = restored;
    let mut databases = Facts::new();
    for one in done {
        let as_facts = |value: &Value| value.as_object().cloned().unwrap_or_default();
        let compared = one.counted.as_ref().map(|(recorded, found)| differences(&as_facts(recorded), &as_facts(found)));
        let wrong = one.problems.iter().cloned().chain(compared.iter().flatten().cloned());
        let wrong: Vec<String> = wrong.map(|what| format!("database {}: {what}", one.restored_as)).collect();
        databases.insert(
            one.name.clone(),
            json!({ "restored_as": one.restored_as, "compared": compared.is_some(), "problems": wrong }),
        );
        let recorded = one.counted.as_ref().map_or(&record.facts["databases"][&one.name], |(recorded, _)| recorded);
        let (name, restored_as) = (&one.name, &one.restored_as);
        app.output().text(match (&compared, wrong.is_empty()) {
            (Some(_), true) => {
                format!("restored {name} as {restored_as}: {}, every count as it was backed up", size(recorded))
            }
            _ => format!("restored {name} as {restored_as}"),
        });
        problems.extend(wrong);
    }
    notes.iter().for_each(|what| app.output().text(format!("note: {what}")));
    grouped(problems.iter().cloned()).iter().for_each(|what| app.output().text(format!("problem: {what}")));
    let reload = concerned.and_then(|stack| reload::run(app, stack, &[]));
    reload.iter().for_each(|reload| reload.tell(app));
    let is_partial = !problems.is_empty() || reload.as_ref().is_some_and(Reload::is_wanting);
    app.output().summary(json!({
        "status": if is_partial { "partial" } else { "ok" }, "snapshot_id": id, "databases": databases,
        "problems": problems, "notes": notes, "reload": reload.as_ref().map(Reload::json),
    }));
    if is_partial { Outcome::Partial } else { Outcome::Ok }
}

/// How much a database has, by what is recorded of it.
fn size(recorded: &Value) -> String {
    match recorded["keys"].as_u64() {
        Some(keys) => count(keys, "key"),
        None => count(recorded["tables"].as_object().map_or(0, |tables| tables.len()) as u64, "table"),
    }
}
