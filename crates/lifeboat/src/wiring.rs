//! Settings become storages, repositories and sources. The only file that knows both sides.

use std::path::Path;
use std::sync::Arc;

use connectors::source::{
    CommandOptions, CommandSource, ComposeOptions, ComposeSource, FilesOptions, FilesSource, RunLine, SqliteOptions,
    SqliteSource,
};
use connectors::storage::LocalStorage;
use operations::Fault;
use operations::backup::NamedSource;
use operations::config::{CommandLine, CopySettings, Environment, Secret, SourceKind, SourceSettings, StackSettings};
use repository::storage::retry::Retry;
use repository::{FileKind, Repository, Source, SourceError, Storage};

use crate::app::Run;

/// The place a copy lies in.
pub fn storage(copy: &CopySettings, run: &Run) -> Arc<dyn Storage> {
    local(&copy.path, run)
}

/// A folder of this machine as a storage.
pub fn local(folder: &Path, run: &Run) -> Arc<dyn Storage> {
    let local = Arc::new(LocalStorage::new(folder.to_owned()));
    Arc::new(Retry::new(local, Arc::new(run.clock), run.cancel.clone()))
}

/// Opens a copy.
pub fn open(copy: &CopySettings, password: &Secret, run: &Run) -> Result<Arc<Repository>, Fault> {
    Ok(Arc::new(Repository::open(storage(copy, run), password.expose())?))
}

/// Whether a place holds key files, so that a new password would open nothing there.
pub fn holds_repository(storage: &dyn Storage) -> Result<bool, Fault> {
    Ok(!storage.list(FileKind::Key)?.is_empty())
}

/// The sources of a stack; only those named, where any are. Commands run in `folder`, that of the configuration.
pub fn sources(
    stack: &StackSettings,
    only: &[String],
    folder: &Path,
    environment: &Environment,
) -> Result<Vec<NamedSource>, Fault> {
    let chosen: Vec<&SourceSettings> = if only.is_empty() {
        stack.sources.iter().collect()
    } else {
        only.iter().map(|name| stack.source(name)).collect::<Result<_, _>>()?
    };
    chosen
        .into_iter()
        .map(|settings| {
            let source =
                source(&settings.kind, folder, environment).map_err(|error| in_source(&settings.name, error))?;
            Ok(NamedSource { name: settings.name.clone(), source })
        })
        .collect()
}

fn in_source(name: &str, error: SourceError) -> Fault {
    let mut fault = Fault::from(error);
    fault.message = format!("source {name}: {}", fault.message);
    fault
}

fn source(kind: &SourceKind, folder: &Path, environment: &Environment) -> Result<Box<dyn Source>, SourceError> {
    Ok(match kind.clone() {
        SourceKind::Files(files) => Box::new(FilesSource::new(FilesOptions {
            paths: files.paths,
            exclude: files.exclude,
            one_file_system: files.one_file_system,
            exclude_caches: files.exclude_caches,
            append_only: files.append_only,
            full_read: files.full_read,
        })?),
        SourceKind::Sqlite(sqlite) => Box::new(SqliteSource::new(SqliteOptions {
            paths: sqlite.paths,
            exclude: sqlite.exclude,
            ..SqliteOptions::default()
        })?),
        SourceKind::Compose(compose) => Box::new(ComposeSource::new(ComposeOptions {
            files: compose.files,
            env: compose.env,
            project: compose.project,
            variables: environment.variables().clone(),
        })?),
        SourceKind::Command(command) => Box::new(CommandSource::new(CommandOptions {
            run: match command.run {
                CommandLine::Shell(text) => RunLine::Shell(text.expose().to_owned()),
                CommandLine::Program(words) => RunLine::Words(words.iter().map(|word| word.expose().into()).collect()),
            },
            name: command.name,
            trailer: command.trailer,
            folder: folder.to_owned(),
        })?),
    })
}
