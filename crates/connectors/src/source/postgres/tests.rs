mod comes_back;
mod faults;
mod in_container;
mod itself;
mod moving;
mod one_owner;
mod one_table;
mod restored;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use repository::{Cancel, Facts, SourceError};
use servers::PostgresServer;
use zeroize::Zeroizing;

use super::{DatabaseOptions, PostgresSource, examine};
use crate::containers::EngineAddress;
use crate::source::ServerAt;
use crate::source::testing::{Captured, Setup};

/// One test at a time makes roles: they belong to the server, so each would see those of the other.
fn roles_are_mine() -> MutexGuard<'static, ()> {
    static ROLES: Mutex<()> = Mutex::new(());
    ROLES.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Captures these databases of a server as a user.
fn options(server: &PostgresServer, user: &str, databases: &[&str]) -> DatabaseOptions {
    DatabaseOptions {
        server: ServerAt::Url(server.url()),
        user: Some(user.to_owned()),
        password: Some(Arc::new(|| Ok(Zeroizing::new(PostgresServer::PASSWORD.to_owned())))),
        databases: databases.iter().map(|name| name.to_string()).collect(),
        exclude: Vec::new(),
        max_shrink_percent: 50,
        tools: None,
        engine: EngineAddress::at(Path::new("/nonexistent")),
    }
}

fn capture_with(options: DatabaseOptions) -> Result<Captured, SourceError> {
    Setup::default().capture(&PostgresSource::new(options)?)
}

fn capture(server: &PostgresServer, databases: &[&str]) -> Captured {
    capture_with(options(server, PostgresServer::USER, databases)).unwrap()
}

/// The bytes of a database's archive.
fn archive<'a>(captured: &'a Captured, file: &str) -> &'a [u8] {
    let path = PathBuf::from("databases").join(file);
    &captured.entries.iter().find(|entry| entry.path == path).unwrap().bytes
}

/// What a drill finds in what was captured.
fn drilled(captured: &Captured) -> Result<Facts, SourceError> {
    let dir = tempfile::tempdir().unwrap();
    captured.restore(dir.path());
    examine(dir.path(), &captured.facts, &Cancel::new())
}

/// A new database.
fn database(server: &PostgresServer) -> String {
    let name = servers::unique();
    server.sql("postgres", &format!("CREATE DATABASE \"{name}\""));
    name
}
