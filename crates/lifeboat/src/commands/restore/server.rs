//! `lifeboat restore SNAPSHOT:SOURCE --server URL`: databases out of a snapshot, restored into a running server.
//!
//! What is needed is restored as files into a scratch folder first, since the tools read an archive here and there, and several
//! at once. Then each database is restored and counted, and held against what was counted when it was backed up.

use std::path::PathBuf;
use std::sync::Arc;

use connectors::source::{PostgresOptions, PostgresRestore, RestoredDatabase, ServerAt};
use operations::config::{SecretSource, SourceKind, wrong_postgres_url};
use operations::drill::differences;
use operations::manifest::{Manifest, SourceRecord};
use operations::scratch::with_scratch;
use operations::snapshots::Place;
use operations::{Fault, FaultKind, restore};
use repository::restore::Options;
use repository::{Facts, SourceError};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::alike::grouped;
use crate::app::{App, Opened};
use crate::arguments::{self, ToServer};
use crate::output::{Outcome, count};
use crate::wiring::{self, Around};

/// What means the server that a source is configured with.
const CONFIGURED: &str = "configured";
/// The password of who logs in, as PostgreSQL's own tools call it.
const PASSWORD_VARIABLE: &str = "PGPASSWORD";
/// The one kind of source that this can do.
const KIND: &str = "postgres";

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
    let (source, record) = chosen(&manifest, place)?;
    let job = PostgresRestore {
        into: options(app, &manifest.stack, source, server, &arguments.server)?,
        databases: arguments.couch_files.database.clone(),
        rename: arguments.server.rename.clone(),
        tables: arguments.server.table.clone(),
        replace: arguments.server.replace,
    };
    let files = job.files(&record.facts)?;
    if arguments.dry_run {
        return Ok(would_restore(app, &found.id.to_hex(), &files));
    }
    let wanted: Vec<_> = files.into_iter().map(|file| (PathBuf::from(source).join(&file), file)).collect();
    let restored: Result<_, Fault> = with_scratch(&app.scratch(), |scratch| {
        let options = Options::for_this_process();
        let dir = scratch.join("archives");
        let staged = restore::several_to_new_place(&app.cx(), &repository, &index, &tree, &wanted, &dir, options)?;
        if let Some(problem) = staged.problems.first() {
            let what = format!("the copy does not give back all of it, so nothing was restored: {problem}");
            return Err(SourceError::Invalid { what }.into());
        }
        Ok(job.run(&dir, &record.facts, &app.run.cancel)?)
    });
    app.run.progress.finish();
    Ok(tell(app, &found.id.to_hex(), record, &restored?))
}

/// The source that is meant: the one named or, where the snapshot has one of this kind only, that.
fn chosen<'m>(manifest: &'m Manifest, place: &Place) -> Result<(&'m str, &'m SourceRecord), Fault> {
    let named = place.path.to_str().unwrap_or_default();
    let of_kind: Vec<_> = manifest.sources.iter().filter(|(_, record)| record.kind == KIND).collect();
    let found = match (manifest.sources.get_key_value(named), of_kind.as_slice()) {
        (Some(found), _) => found,
        (None, [one]) if named.is_empty() => *one,
        _ => {
            let names: Vec<_> = of_kind.iter().map(|(name, _)| name.as_str()).collect();
            let what = format!("name the source: SNAPSHOT:SOURCE; of kind {KIND} are: {}", names.join(", "));
            return Err(Fault::new(FaultKind::Usage, what).with_hint("one database of it is named with --database"));
        }
    };
    if found.1.kind != KIND {
        let what = format!("source {} is of kind {}, which --server is not for", found.0, found.1.kind);
        return Err(Fault::new(FaultKind::Usage, what).with_hint("restore it with --to DIR, or --in-place"));
    }
    Ok((found.0, found.1))
}

/// The server to restore into.
fn options(app: &App, stack: &str, source: &str, server: &str, arguments: &ToServer) -> Result<PostgresOptions, Fault> {
    let around = Around::of(&app.settings, &app.run.environment);
    let mut options = if server == CONFIGURED {
        match &app.settings.stack(stack)?.source(source)?.kind {
            SourceKind::Postgres(database) => wiring::postgres(database.clone(), &around),
            other => {
                let what = format!("source {source} is of kind {} by now", other.name());
                return Err(Fault::new(FaultKind::Usage, what).with_hint("give the address of the server"));
            }
        }
    } else {
        if let Some((what, hint)) = wrong_postgres_url(server) {
            return Err(Fault::new(FaultKind::Usage, format!("--server: {what}")).with_hint(hint));
        }
        PostgresOptions {
            server: ServerAt::Url(server.to_owned()),
            user: None,
            password: None,
            databases: Vec::new(),
            exclude: Vec::new(),
            tools: None,
            engine: around.engine(),
        }
    };
    options.user = arguments.server_user.clone().or(options.user);
    let given = match (&arguments.server_password_file, app.run.environment.get(PASSWORD_VARIABLE)) {
        (Some(file), _) => Some(Zeroizing::new(SecretSource::File(file.clone()).read()?.expose().to_owned())),
        // What is configured has its own.
        (None, Some(password)) if server != CONFIGURED => Some(Zeroizing::new(password.to_owned())),
        (None, _) => None,
    };
    if let Some(password) = given {
        options.password = Some(Arc::new(move || Ok(password.clone())));
    }
    Ok(options)
}

fn would_restore(app: &App, id: &str, files: &[PathBuf]) -> Outcome {
    let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    app.output().summary(json!({ "status": "ok", "dry_run": true, "snapshot_id": id, "files": names }));
    app.output().text(format!("would restore {}", names.join(", ")));
    Outcome::Ok
}

fn tell(app: &App, id: &str, record: &SourceRecord, restored: &[RestoredDatabase]) -> Outcome {
    let mut problems = Vec::new();
    let mut databases = Facts::new();
    for one in restored {
        let as_facts = |value: &Value| value.as_object().cloned().unwrap_or_default();
        let compared = one.counted.as_ref().map(|(recorded, found)| differences(&as_facts(recorded), &as_facts(found)));
        let wrong = one.problems.iter().cloned().chain(compared.iter().flatten().cloned());
        let wrong: Vec<String> = wrong.map(|what| format!("database {}: {what}", one.restored_as)).collect();
        databases.insert(
            one.name.clone(),
            json!({ "restored_as": one.restored_as, "compared": compared.is_some(), "problems": wrong }),
        );
        let tables = record.facts["databases"][&one.name]["tables"].as_object().map_or(0, |tables| tables.len());
        app.output().text(match (&compared, wrong.is_empty()) {
            (Some(_), true) => format!(
                "restored {} as {}: {}, every count as it was backed up",
                one.name,
                one.restored_as,
                count(tables as u64, "table")
            ),
            _ => format!("restored {} as {}", one.name, one.restored_as),
        });
        problems.extend(wrong);
    }
    grouped(problems.iter().cloned()).iter().for_each(|what| app.output().text(format!("problem: {what}")));
    let is_partial = !problems.is_empty();
    app.output().summary(json!({
        "status": if is_partial { "partial" } else { "ok" }, "snapshot_id": id, "databases": databases,
        "problems": problems,
    }));
    if is_partial { Outcome::Partial } else { Outcome::Ok }
}
