//! A database that was restored, counted as the original was.

use std::io::Read as _;
use std::sync::Arc;

use repository::{Cancel, SourceError};
use serde_json::Value;

use super::archive::{Archive, Contents, Shared};
use super::server::Server;
use super::session::Session;
use super::tools::Tools;
use super::{facts, inventory};
use crate::source::output::Output;

/// The facts of a database: what is `known` of it, with what can be counted counted again.
pub fn measured(
    server: &Server,
    tools: &Tools,
    database: &str,
    known: &Value,
    cancel: &Cancel,
) -> Result<Value, SourceError> {
    let mut session = Session::begin(server, tools.program("psql"), database, cancel)?;
    let counted = inventory::count(&mut session)?;
    let sequences = inventory::sequences(&mut session)?;
    let contents = contents(server, tools, database, cancel)?;
    let mut facts = known.as_object().cloned().unwrap_or_default();
    facts.extend(facts::counted(&counted, &contents, &sequences));
    Ok(Value::Object(facts))
}

/// What a dump of the database would hold, but for the data.
fn contents(server: &Server, tools: &Tools, database: &str, cancel: &Cancel) -> Result<Contents, SourceError> {
    let dump = tools.program("pg_dump").args(["--format=custom", "--compress=0", "--schema-only", "--no-password"]);
    let running = server.at(dump, database).start(server.stage(), cancel)?;
    let shared = Shared::default();
    let what = format!("pg_dump of the restored database {database}");
    let mut output = Output::of(what, Archive::new(Arc::clone(&shared)), cancel, running);
    let mut buffer = [0; 64 << 10];
    while output.read(&mut buffer).map_err(SourceError::io(database))? > 0 {}
    output.awaited().whole()?;
    let contents = shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
    contents.ok_or_else(|| SourceError::Invalid { what: format!("the restored database {database} cannot be dumped") })
}
