//! The profile `sentinel`: the stack for an ALTCHA Sentinel.

use connectors::source::{SentinelHost, ServerVariables};
use operations::config::{
    ComposeSettings, FilesSettings, NewSource, Presets, SourceKind, SourceSettings, SqliteSettings, sentinel,
};

use repository::SourceError;

use super::discover::server_source;
use crate::output::{Output, count};
use crate::wiring;

/// The profile's name, and that of the stack.
pub const STACK: &str = sentinel::STACK;

/// What the configuration says besides the sources.
pub fn presets() -> Presets {
    Presets { drill: Some("0 6 * * 0".to_owned()), ..Presets::default() }
}

/// A source for each part, as Sentinel's variables make them, and one for its compose files.
pub fn sources(host: &SentinelHost) -> Result<Vec<NewSource>, SourceError> {
    let mut sources = Vec::new();
    let mut add = |name: &str, kind, note: &str| {
        let source = SourceSettings::new(name, kind);
        sources.push(NewSource { source, note: Some(note.to_owned()) });
    };
    if let Some(data) = &host.data {
        let patterns = sentinel::REDIS_FILES.map(str::to_owned).to_vec();
        let redis = SqliteSettings::new(vec![data.clone()], sentinel::all_but(&patterns));
        let (of_redis, of_main) = wiring::parted(&redis, &host.databases)?;
        let has_server = |name: &str| host.servers.iter().any(|(source, _)| source == name);
        if !of_main.is_empty() && !has_server(sentinel::MAIN) {
            let exclude = if of_redis.is_empty() { Vec::new() } else { patterns };
            let main = SqliteSettings::new(vec![data.clone()], exclude);
            add(sentinel::MAIN, SourceKind::Sqlite(main), "the main database, copied while in use");
        }
        if !of_redis.is_empty() && !has_server(sentinel::REDIS) {
            add(sentinel::REDIS, SourceKind::Sqlite(redis), "what Sentinel keeps in its own Redis");
        }
        let files = FilesSettings::new(vec![data.clone()]);
        add(
            sentinel::FILES,
            SourceKind::Files(files),
            "the secrets that Sentinel made, uploads, and what else is in its volume",
        );
    }
    for (name, server) in &host.servers {
        add(name, server_source(server), "taken through the server in the service that Sentinel's variables name");
    }
    if let Some((name, files)) = &host.project {
        let compose = ComposeSettings { files: files.clone(), env: Vec::new(), project: Some(name.clone()) };
        add("config", SourceKind::Compose(compose), "the compose files and the env files that they name");
    }
    Ok(sources)
}

/// Variables that name servers with what is not in the volume.
pub fn servers() -> [ServerVariables<'static>; 2] {
    fn of(
        (part, source): (&'static str, &'static str),
        variables: &[(&'static str, Option<sentinel::Server>)],
    ) -> ServerVariables<'static> {
        let variables = variables.iter().map(|(name, server)| (*name, server.map(sentinel::Server::source))).collect();
        ServerVariables { part, source, variables }
    }
    [
        of(("main database", sentinel::MAIN), &sentinel::MAIN_SERVERS),
        of(("Redis", sentinel::REDIS), &sentinel::REDIS_SERVERS),
    ]
}

/// Shows what was found, and what was not.
pub fn show(host: &SentinelHost, output: Output) {
    let version = host.version.as_deref().filter(|version| !version.is_empty()).unwrap_or("of unknown version");
    output.chat(format!("  this is an ALTCHA Sentinel, {version}"));
    if let Some(data) = &host.data {
        let databases = count(host.databases.len() as u64, "SQLite database");
        output.chat(format!("    its volume: {}, {databases}", data.display()));
    }
    for what in &host.missing {
        output.text(format!("  MISSING: {what}"));
    }
}
