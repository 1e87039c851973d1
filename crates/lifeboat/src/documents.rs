//! Which of the databases in a snapshot a user means, for the commands that work with documents; and what of them could
//! not be read.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use connectors::documents::{
    MISSING_SHARD, Stored, StoredDataFolder, StoredDatabase, StoredShard, find_data_folders, passable,
};
use connectors::source::couchdb;
use couchfile::{Database, ReadAt};
use operations::manifest::{Manifest, SourceRecord};
use operations::{Fault, FaultKind};
use repository::file_reader::StoredFiles;
use repository::{Event, Events as _, Facts, Id, Index, Problem, Repository, walk};

use crate::app::App;

/// Names that are shown where none is the right one.
const NEAR_SHOWN_MAX: usize = 3;

/// Counts and names what could not be read.
pub struct Lost<'a> {
    app: &'a App,
    /// What the paths are below: the source and its data folder.
    below: PathBuf,
    /// The data folders of other nodes: a path below one of them is whole.
    others: Vec<PathBuf>,
    /// What the backup told of files that were damaged when it captured them, by their paths below the data folder. Some of their
    /// documents may read as if nothing were wrong: not all of a file has checksums.
    damaged: BTreeMap<PathBuf, String>,
    total: Cell<u64>,
}

impl Lost<'_> {
    /// Names what of a file is lost, such as a document: each, however many there are.
    pub fn name(&self, path: &str, what: impl Into<String>) {
        self.app.run.progress.by_name(&self.count(path, what));
    }

    /// Says what is wrong with a file.
    pub fn file(&self, path: &str, what: impl Into<String>) {
        self.app.run.progress.emit(Event::Problem(self.count(path, what)));
    }

    fn count(&self, path: &str, what: impl Into<String>) -> Problem {
        self.total.set(self.total.get() + 1);
        let is_elsewhere = self.others.iter().any(|other| Path::new(path).starts_with(other));
        let path = if is_elsewhere { PathBuf::from(path) } else { self.below.join(path) };
        Problem::new(&path, what)
    }

    /// Names an error that the rest does not suffer from.
    pub fn error(&self, path: &str, error: couchfile::Error) -> Result<(), Fault> {
        self.file(path, passable(error)?);
        Ok(())
    }

    /// Names the shards of `database` that the snapshot does not have whole.
    pub fn missing(&self, database: &StoredDatabase<'_>) {
        database.missing.iter().for_each(|path| self.file(path, MISSING_SHARD));
        database.shards.iter().for_each(|shard| self.damaged_before(shard));
    }

    /// Names what was known of a shard when it was captured.
    fn damaged_before(&self, shard: &StoredShard<'_>) {
        if let Some(what) = self.damaged.get(Path::new(&shard.path)) {
            self.file(
                &shard.path,
                format!("it was damaged when it was captured, so what is read of it is in doubt; {what}"),
            );
        }
    }

    /// Names a document that could not be written back.
    pub fn document(&self, database: &str, id: &str, what: impl Into<String>) {
        self.total.set(self.total.get() + 1);
        let path = format!("{database}/{id}");
        self.app.run.progress.by_name(&Problem { source: String::new(), path, what: what.into() });
    }

    /// `rest`, which is below `source`, without the path of the data folder where it begins with that.
    pub fn below_source<'t>(&self, source: &str, rest: &'t str) -> &'t str {
        let folder = self.below.strip_prefix(source).ok().and_then(Path::to_str).unwrap_or_default();
        match rest.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')) {
            Some(below) if !folder.is_empty() => below,
            _ => rest,
        }
    }

    /// What makes it doubtful that this is the right snapshot.
    pub fn doubt(&self, doubt: Problem) {
        self.total.set(self.total.get() + 1);
        self.app.run.progress.emit(Event::Problem(doubt));
    }

    /// Counts what another has named.
    pub fn add(&self, other: &Self) {
        self.total.set(self.total.get() + other.total());
    }

    pub fn total(&self) -> u64 {
        self.total.get()
    }
}

/// The one data folder below `path` in the snapshot with the root `tree`, and what of it is lost. What of its databases
/// other nodes of the cluster hold is in it, too, as far as they are in the snapshot.
pub fn data_folder<'r>(
    app: &'r App,
    repository: &'r Repository,
    index: &'r Index,
    files: &'r StoredFiles<'r>,
    tree: &Id,
    path: &Path,
) -> Result<(StoredDataFolder<'r>, Lost<'r>), Fault> {
    if path.as_os_str().is_empty() {
        return Err(Fault::new(FaultKind::Usage, "name the source with the databases: SNAPSHOT:SOURCE")
            .with_hint("`lifeboat ls SNAPSHOT` lists the sources"));
    }
    let missing = |what: String| {
        Fault::new(FaultKind::NotFound, what).with_hint("`lifeboat ls SNAPSHOT` lists the sources of a snapshot")
    };
    let found = walk::find(repository, index, tree, path)?.and_then(|node| node.subtree);
    let found = found.ok_or_else(|| missing(format!("there is no folder {} in the snapshot", path.display())))?;
    let folders = find_data_folders(&app.cx(), repository, index, &found)?;
    let folder = match folders.as_slice() {
        [folder] => path.join(folder),
        [] => {
            let what = format!("there is no data folder of a CouchDB in {}", path.display());
            return Err(missing(what).with_hint("it is found by `_dbs.couch` with a folder `shards` beside it"));
        }
        several => {
            let names: Vec<_> = several.iter().map(|folder| path.join(folder).display().to_string()).collect();
            let what = format!("there are several data folders of CouchDB in {}", path.display());
            return Err(Fault::new(FaultKind::Usage, what).with_hint(format!("name one of: {}", names.join(", "))));
        }
    };
    let folder_tree = walk::find(repository, index, tree, &folder)?.and_then(|node| node.subtree);
    let folder_tree = folder_tree.ok_or_else(|| missing(format!("there is no folder {}", folder.display())))?;
    let damaged = damaged(repository, index, tree, &folder)?;
    let mut lost = Lost { app, below: folder, others: Vec::new(), damaged, total: Cell::new(0) };
    let mut opened = StoredDataFolder::open(app.cx(), repository, index, files, &folder_tree, &mut |path, what| {
        lost.file(path, what)
    })?;
    if opened.is_of_several_nodes() {
        for other in other_data_folders(repository, index, tree, &lost.below)? {
            match open_other(app, repository, index, files, tree, &other) {
                Ok(Some(folder)) => {
                    opened.add_other(other.clone(), folder);
                    lost.others.push(other);
                }
                Ok(None) => {}
                // What is lacking then is named where it is looked for.
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok((opened, lost))
}

/// The data folders of all sources of kind `couchdb`, with what is known of each.
fn recorded(repository: &Repository, index: &Index, tree: &Id) -> Result<Vec<(PathBuf, Facts)>, repository::Error> {
    let manifest = match Manifest::load(repository, index, tree) {
        Err(error) if error.is_damage() => None,
        manifest => manifest?,
    };
    let sources = manifest.into_iter().flat_map(|manifest| manifest.sources);
    let sources = sources.filter(|(_, record)| record.kind == couchdb::KIND);
    let folder = |(name, record): (String, SourceRecord)| {
        Some((couchdb::data_folder(&record.facts, Path::new(&name))?, record.facts))
    };
    Ok(sources.filter_map(folder).collect())
}

/// What is known to be damaged in the data folder `own`.
fn damaged(
    repository: &Repository,
    index: &Index,
    tree: &Id,
    own: &Path,
) -> Result<BTreeMap<PathBuf, String>, repository::Error> {
    let own = recorded(repository, index, tree)?.into_iter().find(|(folder, _)| folder == own);
    Ok(own.map(|(_, facts)| couchdb::damaged(&facts).into_iter().collect()).unwrap_or_default())
}

/// The data folders of the other sources of kind `couchdb`.
fn other_data_folders(
    repository: &Repository,
    index: &Index,
    tree: &Id,
    own: &Path,
) -> Result<Vec<PathBuf>, repository::Error> {
    let folders = recorded(repository, index, tree)?.into_iter().map(|(folder, _)| folder);
    Ok(folders.filter(|folder| folder != own).collect())
}

fn open_other<'r>(
    app: &'r App,
    repository: &'r Repository,
    index: &'r Index,
    files: &'r StoredFiles<'r>,
    tree: &Id,
    folder: &Path,
) -> Result<Option<StoredDataFolder<'r>>, repository::Error> {
    let Some(tree) = walk::find(repository, index, tree, folder)?.and_then(|node| node.subtree) else {
        return Ok(None);
    };
    // Its own databases are not what was asked for.
    StoredDataFolder::open(app.cx(), repository, index, files, &tree, &mut |_, _| {}).map(Some)
}

/// The database called `name`.
pub fn database<'r>(folder: &StoredDataFolder<'r>, name: &str) -> Result<StoredDatabase<'r>, Fault> {
    match folder.database(name)? {
        Some(database) => Ok(database),
        None => {
            let names = folder.names()?;
            let near = near(name, names.iter().map(String::as_str));
            let hint = near.unwrap_or_else(|| "`lifeboat docs SNAPSHOT:SOURCE` lists the databases".to_owned());
            Err(Fault::new(FaultKind::NotFound, format!("there is no database {name:?} in the snapshot"))
                .with_hint(hint))
        }
    }
}

/// Looks for the document `id` with `look`, shard by shard, until one has it.
pub fn find<'f, T>(
    database: &StoredDatabase<'f>,
    id: &str,
    lost: &Lost<'_>,
    mut look: impl FnMut(&StoredShard<'f>, &Database<Stored<'f>>) -> Result<Option<T>, couchfile::Error>,
) -> Result<T, Fault> {
    let before = lost.total();
    for shard in database.shards_for(id) {
        match shard.open().and_then(|opened| look(shard, &opened)) {
            Ok(Some(found)) => {
                lost.damaged_before(shard);
                return Ok(found);
            }
            Ok(None) => {}
            Err(error) => lost.error(&shard.path, error)?,
        }
    }
    lost.missing(database);
    if lost.total() > before {
        let what = format!("document {id:?} was not found in what can be read of database {:?}", database.name);
        return Err(Fault::new(FaultKind::Damaged, what)
            .with_hint("it may be in what is named above; try another snapshot or --copy"));
    }
    Err(unknown_document(database, id))
}

fn unknown_document(database: &StoredDatabase<'_>, id: &str) -> Fault {
    let mut ids = Vec::new();
    for shard in &database.shards {
        // What cannot be read is near nothing.
        let Ok(opened) = shard.open() else { continue };
        ids.extend(ids_near(&opened, id));
    }
    let what = format!("there is no document {id:?} in database {:?} of the snapshot", database.name);
    let hint = near(id, ids.iter().map(String::as_str));
    hint.into_iter().fold(Fault::new(FaultKind::NotFound, what), Fault::with_hint)
}

/// Ids that begin as `id` does, as far as a few reads give them.
fn ids_near<R: ReadAt>(database: &Database<R>, id: &str) -> Vec<String> {
    let characters = id.chars().count();
    let starts = [characters, characters.saturating_sub(1), characters / 2];
    let starts = starts.map(|length| id.chars().take(length).collect::<String>());
    let infos = starts.iter().flat_map(|start| database.documents_from(start).take(NEAR_SHOWN_MAX));
    infos.filter_map(|info| info.ok().map(|info| info.id)).collect()
}

/// "did you mean …?" with the names that are most like `wanted`, if any is much like it.
fn near<'n>(wanted: &str, names: impl Iterator<Item = &'n str>) -> Option<String> {
    let far = (wanted.chars().count() / 3).max(1);
    let mut near: Vec<_> = names
        .map(|name| (strsim::damerau_levenshtein(wanted, name), name))
        .filter(|(distance, name)| *distance <= far || (wanted.len() > 3 && name.contains(wanted)))
        .collect();
    near.sort_unstable();
    near.dedup();
    let near: Vec<_> = near.iter().take(NEAR_SHOWN_MAX).map(|(_, name)| *name).collect();
    if near.is_empty() { None } else { Some(format!("did you mean {}?", near.join(" or "))) }
}

#[cfg(test)]
mod tests {
    use super::near;

    #[test]
    fn names_that_are_much_alike_are_offered() {
        let names = ["medic", "medic-sentinel", "medic-users-meta", "_users"];
        let near = |wanted: &str| near(wanted, names.into_iter());
        assert_eq!(near("medix").as_deref(), Some("did you mean medic?"));
        assert_eq!(near("sentinel").as_deref(), Some("did you mean medic-sentinel?"));
        assert_eq!(near("user").as_deref(), Some("did you mean _users or medic-users-meta?"));
        assert_eq!(near("orders"), None);
    }
}
