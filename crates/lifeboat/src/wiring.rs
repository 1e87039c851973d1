//! Settings become storages, repositories and sources. The only file that knows both sides.

use std::path::Path;
use std::sync::Arc;

use connectors::source::{
    CommandOptions, CommandSource, ComposeOptions, ComposeSource, FilesOptions, FilesSource, RunLine, SqliteOptions,
    SqliteSource,
};
use connectors::storage::LocalStorage;
use operations::backup::NamedSource;
use operations::config::{
    CommandLine, CopySettings, Environment, Location, Secret, SourceKind, SourceSettings, StackSettings,
};
use operations::{Fault, FaultKind};
use repository::storage::limit::Limit;
use repository::storage::retry::Retry;
use repository::{FileKind, Repository, Source, SourceError, Storage};

use crate::app::Run;

/// The place a copy lies in, held to its bandwidth.
pub fn storage(copy: &CopySettings, run: &Run) -> Result<Arc<dyn Storage>, Fault> {
    let place: Arc<dyn Storage> = match &copy.location {
        Location::Local(folder) => Arc::new(LocalStorage::new(folder.clone())),
        Location::S3(_) | Location::Azure(_) | Location::Sftp(_) => {
            let what = format!("{} is not a folder, and other places are not in this version yet", copy.location);
            return Err(Fault::new(FaultKind::Unsupported, what)
                .with_hint("until they are, name a folder, such as a disk or a mounted share"));
        }
    };
    let (up, down) = (copy.upload_limit, copy.download_limit);
    let held: Arc<dyn Storage> = if up.is_none() && down.is_none() {
        place
    } else {
        Arc::new(Limit::new(place, up, down, Arc::new(run.clock), run.cancel.clone()))
    };
    Ok(tenacious(held, run))
}

/// A folder of this machine as a storage.
pub fn local(folder: &Path, run: &Run) -> Arc<dyn Storage> {
    tenacious(Arc::new(LocalStorage::new(folder.to_owned())), run)
}

/// What may work when tried again is tried again.
fn tenacious(storage: Arc<dyn Storage>, run: &Run) -> Arc<dyn Storage> {
    Arc::new(Retry::new(storage, Arc::new(run.clock), run.cancel.clone()))
}

/// Opens a copy with a password.
pub fn open(copy: &CopySettings, password: &Secret, run: &Run) -> Result<Arc<Repository>, Fault> {
    Ok(Arc::new(Repository::open(storage(copy, run)?, password.expose())?))
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
