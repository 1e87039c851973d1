//! CouchDB's data folder in a snapshot: where it is, and which files in it are which database.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use couchfile::{ShardName, ShardRange, shard_maps};
use repository::file_reader::StoredFiles;
use repository::walk::{self, Go, Step};
use repository::{Error, Id, Index, Node, NodeKind, Repository, RunCx};

use super::database::{Hashing, StoredDatabase, StoredShard, Summary, open};
use super::stored::passable;
use crate::source::couchdb::SHARD_MAP;

/// Files whose headers are read at the same time. There may be thousands, and where the copy is far each is a request.
const FILES_AT_ONCE: usize = 8;
/// What CouchDB calls a database that it compacted, until it takes the other's place. It counts where that is not there.
const COMPACTED_DATABASE: &str = ".couch.compact";
/// The folder with the shards.
const SHARDS: &str = "shards";
/// Folders of CouchDB that hold no database.
const OTHERS: [&[u8]; 2] = [b".shards", b".delete"];
/// What a file beside `shards/` is called where a database of shards has the same name: as CouchDB calls it over HTTP.
const OF_THE_NODE: &str = "_node/_local/";

/// The data folders below `tree`, by their paths.
pub fn find_data_folders(
    cx: &RunCx<'_>,
    repository: &Repository,
    index: &Index,
    tree: &Id,
) -> Result<Vec<PathBuf>, Error> {
    let (mut found, mut with_maps) = (Vec::new(), BTreeSet::new());
    walk::walk(cx, repository, index, tree, &mut |step| {
        let Step::Reach(path, node) = step else { return Ok(Go::Past) };
        let folder = path.parent().unwrap_or(Path::new(""));
        match node.kind {
            // The maps' name comes before that of the shards' folder, and so the file does.
            NodeKind::File if is_shard_maps(&node.name) => drop(with_maps.insert(folder.to_owned())),
            NodeKind::Dir if with_maps.contains(folder) => {
                if node.name == SHARDS.as_bytes() {
                    found.push(folder.to_owned());
                }
                return Ok(Go::Past);
            }
            // Without its maps, it is known by a shard's file. Nouveau has folders of the same names, and no such file in them.
            NodeKind::File => {
                let data = around_shard(path).map(Path::to_owned).filter(|data| !found.contains(data));
                found.extend(data);
            }
            NodeKind::Dir if OTHERS.contains(&node.name.as_slice()) => return Ok(Go::Past),
            _ => {}
        }
        Ok(Go::In)
    })?;
    Ok(found)
}

/// The data folder of a shard's file, which is below `shards/RANGE/` in it: names of databases may have slashes.
fn around_shard(path: &Path) -> Option<&Path> {
    let is_file = |file: &str| file.ends_with(".couch") || file.ends_with(COMPACTED_DATABASE);
    path.ancestors().skip(3).find(|data| {
        let file = path.strip_prefix(data).ok().and_then(Path::to_str);
        file.is_some_and(|file| is_file(file) && ShardName::parse(file).is_some())
    })
}

fn is_shard_maps(name: &[u8]) -> bool {
    name.strip_prefix(SHARD_MAP.as_bytes()).is_some_and(|end| end.is_empty() || end == b".compact")
}

/// What is left out, and why: called with the path of a file below the data folder.
pub type Lost<'l> = dyn FnMut(&str, String) + 'l;

/// A data folder in a snapshot.
pub struct StoredDataFolder<'r> {
    cx: RunCx<'r>,
    files: &'r StoredFiles<'r>,
    repository: &'r Repository,
    index: &'r Index,
    /// Databases that are one file beside the shards, by name.
    unsharded: BTreeMap<String, Node>,
    shards: Option<Id>,
    maps: BTreeMap<String, Map>,
    /// What other nodes of the cluster may hold, with the paths of their data folders.
    others: Vec<(PathBuf, Self)>,
}

/// A file of a database, by the database's name and the suffix of its shards.
struct DatabaseFile {
    key: (String, String),
    path: String,
    node: Node,
}

/// What the headers that were read say.
#[derive(Default)]
struct Headers {
    sums: BTreeMap<(String, String), Summary>,
    lost: Vec<(String, String)>,
    /// What kept the others from being read.
    failed: Option<Error>,
}

/// What the shard map says of a database. Two that are equal are of the same cluster.
#[derive(PartialEq, Eq)]
struct Map {
    suffix: String,
    ranges: Vec<ShardRange>,
    hashing: Hashing,
    nodes: BTreeSet<String>,
}

impl<'r> StoredDataFolder<'r> {
    /// Opens the data folder whose tree is `tree`, and reads its shard maps. What of them is damaged is told to `lost`;
    /// their databases are then made up of the files that are there.
    pub fn open(
        cx: RunCx<'r>,
        repository: &'r Repository,
        index: &'r Index,
        files: &'r StoredFiles<'r>,
        tree: &Id,
        lost: &mut Lost<'_>,
    ) -> Result<Self, Error> {
        let (mut unsharded, mut shards) = (BTreeMap::new(), None);
        walk::walk(&cx, repository, index, tree, &mut |step| {
            if let Step::Reach(path, node) = step
                && let Some(name) = path.to_str()
            {
                match (node.kind, name.strip_suffix(".couch").or(name.strip_suffix(COMPACTED_DATABASE))) {
                    // In the order of names, the compacted one comes second.
                    (NodeKind::File, Some(database)) => {
                        unsharded.entry(database.to_owned()).or_insert_with(|| node.clone());
                    }
                    (NodeKind::Dir, None) if name == SHARDS => shards = node.subtree,
                    _ => {}
                }
            }
            Ok(Go::Past)
        })?;
        let mut folder =
            Self { cx, files, repository, index, unsharded, shards, maps: BTreeMap::new(), others: Vec::new() };
        folder.read_maps(lost)?;
        Ok(folder)
    }

    fn read_maps(&mut self, lost: &mut Lost<'_>) -> Result<(), Error> {
        let Some(node) = self.unsharded.get("_dbs") else {
            if self.shards.is_some() {
                lost(
                    SHARD_MAP,
                    "it is not in the snapshot: which shards belong together is told by their names".to_owned(),
                );
            }
            return Ok(());
        };
        let database = match open(self.files, node) {
            Ok(database) => database,
            Err(error) => {
                lost(SHARD_MAP, passable(error)?);
                return Ok(());
            }
        };
        for map in shard_maps(&database) {
            match map {
                Ok(map) => {
                    let properties = map.properties.as_deref().and_then(|json| serde_json::from_str(json).ok());
                    let properties: serde_json::Value = properties.unwrap_or_default();
                    let (ranges, hashing) = (map.ranges(), Hashing::of(&properties));
                    let nodes = map.by_node.into_iter().map(|(node, _)| node).collect();
                    self.maps.insert(map.database, Map { suffix: map.suffix, ranges, hashing, nodes });
                }
                Err(error) => lost(SHARD_MAP, passable(error)?),
            }
        }
        Ok(())
    }

    /// Whether a part of its databases may lie on other nodes.
    pub fn is_of_several_nodes(&self) -> bool {
        self.maps.values().any(|map| map.nodes.len() > 1)
    }

    /// Takes what it lacks from `other`, the data folder at `path` in the same snapshot, as far as that is of the same
    /// cluster.
    pub fn add_other(&mut self, path: PathBuf, other: Self) {
        self.others.push((path, other));
    }

    /// Visits the file of every shard of a database that this node lacks and another of the cluster has, each once and with
    /// its path in the snapshot. `there` are all that this node has; those that were found come to them.
    fn each_shard_elsewhere(
        &self,
        there: &mut BTreeSet<ShardName>,
        visit: &mut dyn FnMut(String, ShardName, &Node) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for (folder, other) in &self.others {
            if self.maps.iter().all(|(database, map)| map.missing(database, there).is_empty()) {
                break;
            }
            let visited = other.each_shard(&mut |name, node| {
                let map = self.maps.get(&name.database).filter(|map| map.nodes.len() > 1 && map.has(&name));
                if map.is_none() || map != other.maps.get(&name.database) || !there.insert(name.clone()) {
                    return Ok(());
                }
                visit(folder.join(name.file()).display().to_string(), name, node)
            });
            match visited {
                // What is still lacking is named as that.
                Err(error) if error.is_damage() => {}
                visited => visited?,
            }
        }
        Ok(())
    }

    /// Visits the file of every shard that belongs to a database. A file that the shard map does not know of a database it
    /// has, is left from an earlier one.
    fn each_shard(&self, visit: &mut dyn FnMut(ShardName, &Node) -> Result<(), Error>) -> Result<(), Error> {
        let Some(shards) = &self.shards else { return Ok(()) };
        let is_shard = |path: &&str| path.ends_with(".couch") || path.ends_with(COMPACTED_DATABASE);
        let mut last = None;
        walk::walk(&self.cx, self.repository, self.index, shards, &mut |step| {
            if let Step::Reach(path, node) = step
                && node.kind == NodeKind::File
                && let Some(path) = Path::new(SHARDS).join(path).to_str().filter(is_shard)
                && let Some(name) = ShardName::parse(path)
                && self.maps.get(&name.database).is_none_or(|map| map.has(&name))
                && last.as_ref() != Some(&name)
            {
                last = Some(name.clone());
                visit(name, node)?;
            }
            Ok(Go::In)
        })
    }

    /// Every database with what the headers of its files say, by name.
    pub fn databases(&self, lost: &mut Lost<'_>) -> Result<Vec<Summary>, Error> {
        let (send, files) = sync_channel(FILES_AT_ONCE);
        let (files, headers) = (Mutex::new(files), Mutex::new(Headers::default()));
        let fed = std::thread::scope(|scope| {
            for _ in 0..FILES_AT_ONCE {
                scope.spawn(|| self.read_headers(&files, &headers));
            }
            // Its end is that of the threads.
            let send = send;
            self.feed(&send)
        });
        let there = fed?;
        let mut headers = headers.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = headers.failed {
            return Err(error);
        }
        headers.lost.sort();
        for (path, what) in headers.lost {
            lost(&path, what);
        }
        for (database, map) in &self.maps {
            headers.sums.entry((database.clone(), map.suffix.clone())).or_default();
            for missing in map.missing(database, &there) {
                lost(&missing, MISSING_SHARD.to_owned());
            }
        }
        // Of one that has no map, the files that were made last are what it is.
        let mut summaries: BTreeMap<String, Summary> = BTreeMap::new();
        for ((name, _), summary) in headers.sums {
            summaries.insert(name.clone(), Summary { name, ..summary });
        }
        Ok(summaries.into_values().collect())
    }

    /// Hands the files of all databases to the threads that read their headers. Gives the shards that are there.
    fn feed(&self, send: &SyncSender<DatabaseFile>) -> Result<BTreeSet<ShardName>, Error> {
        let panicked = |_| Error::Internal("a thread that reads headers panicked".to_owned());
        for (database, node) in &self.unsharded {
            let key = (self.name_of_unsharded(database), String::new());
            let file = DatabaseFile { key, path: format!("{database}.couch"), node: node.clone() };
            send.send(file).map_err(panicked)?;
        }
        let hand_over = |path: String, name: &ShardName, node: &Node| {
            let key = (name.database.clone(), name.suffix.clone());
            send.send(DatabaseFile { key, path, node: node.clone() }).map_err(panicked)
        };
        let mut there = BTreeSet::new();
        self.each_shard(&mut |name, node| {
            hand_over(name.file(), &name, node)?;
            there.insert(name);
            Ok(())
        })?;
        self.each_shard_elsewhere(&mut there, &mut |path, name, node| hand_over(path, &name, node))?;
        Ok(there)
    }

    /// Reads the headers of `files` until there are no more. After a failure, the rest is passed over.
    fn read_headers(&self, files: &Mutex<Receiver<DatabaseFile>>, headers: &Mutex<Headers>) {
        let lock = || headers.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let next = files.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(DatabaseFile { key, path, node }) = next else { return };
            if lock().failed.is_some() {
                continue;
            }
            let opened = open(self.files, &node).map_err(passable);
            let mut headers = lock();
            let sum = headers.sums.entry(key).or_default();
            match opened {
                Ok(database) => sum.add(&database),
                Err(Ok(what)) => headers.lost.push((path, what)),
                Err(Err(error)) => headers.failed = Some(error),
            }
        }
    }

    /// The names of all databases.
    pub fn names(&self) -> Result<BTreeSet<String>, Error> {
        let mut names: BTreeSet<_> = self.maps.keys().cloned().collect();
        names.extend(self.unsharded.keys().map(|database| self.name_of_unsharded(database)));
        self.each_shard(&mut |name, _| {
            names.insert(name.database);
            Ok(())
        })?;
        Ok(names)
    }

    /// The database called `name`.
    pub fn database(&self, name: &str) -> Result<Option<StoredDatabase<'r>>, Error> {
        let files = self.files;
        let unsharded = name.strip_prefix(OF_THE_NODE).unwrap_or(name);
        if let Some(node) = self.unsharded.get(unsharded).filter(|_| self.name_of_unsharded(unsharded) == name) {
            let shard = StoredShard { path: format!("{unsharded}.couch"), range: None, node: node.clone(), files };
            let (shards, missing) = (vec![shard], Vec::new());
            return Ok(Some(StoredDatabase { name: name.to_owned(), shards, missing, hashing: Hashing::Unknown }));
        }
        let mut found: BTreeMap<String, Vec<StoredShard<'r>>> = BTreeMap::new();
        let mut take = |path: String, shard: ShardName, node: &Node| {
            let stored = StoredShard { path, range: Some(shard.range), node: node.clone(), files };
            found.entry(shard.suffix).or_default().push(stored);
        };
        let mut there = BTreeSet::new();
        self.each_shard(&mut |shard, node| {
            there.insert(shard.clone());
            if shard.database == name {
                take(shard.file(), shard, node);
            }
            Ok(())
        })?;
        self.each_shard_elsewhere(&mut there, &mut |path, shard, node| {
            if shard.database == name {
                take(path, shard, node);
            }
            Ok(())
        })?;
        let map = self.maps.get(name);
        let Some((_, mut shards)) = found.pop_last().or_else(|| map.map(|_| Default::default())) else {
            return Ok(None);
        };
        shards.sort_by_key(|shard| shard.range);
        let missing = map.map(|map| map.missing(name, &there)).unwrap_or_default();
        let hashing = map.map_or(Hashing::Unknown, |map| map.hashing);
        Ok(Some(StoredDatabase { name: name.to_owned(), shards, missing, hashing }))
    }

    fn name_of_unsharded(&self, database: &str) -> String {
        if self.maps.contains_key(database) { format!("{OF_THE_NODE}{database}") } else { database.to_owned() }
    }
}

/// What to say of a shard that is [missing](StoredDatabase::missing).
pub const MISSING_SHARD: &str = "the shard map names it, and it is not in the snapshot";

impl Map {
    fn has(&self, name: &ShardName) -> bool {
        name.suffix == self.suffix && self.ranges.contains(&name.range)
    }

    /// The files of shards that are not there.
    fn missing(&self, database: &str, there: &BTreeSet<ShardName>) -> Vec<String> {
        let name = |range: &ShardRange| ShardName {
            range: *range,
            database: database.to_owned(),
            suffix: self.suffix.clone(),
        };
        self.ranges.iter().map(name).filter(|shard| !there.contains(shard)).map(|shard| shard.file()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_of_nouveau_is_no_data_folder() {
        let data = |path: &str| around_shard(Path::new(path)).map(|data| data.display().to_string());
        let range = "shards/00000000-7fffffff";
        assert_eq!(data(&format!("records/srv/{range}/medic.1700000000.couch")).as_deref(), Some("records/srv"));
        assert_eq!(data(&format!("srv/{range}/odd/name.1700000000.couch")).as_deref(), Some("srv"));
        assert_eq!(data(&format!("{range}/medic.1700000000.couch.compact")).as_deref(), Some(""));
        for path in ["shards/all/medic.1700000000.couch", "00000000-7fffffff/medic.1.couch", "medic.couch"] {
            assert_eq!(data(path), None, "{path}");
        }
        assert_eq!(data(&format!("records/nouveau/n@h/{range}/medic.1700000000/sig/_0.cfs")), None);
        assert_eq!(data(&format!("records/nouveau/n@h/{range}/write.lock")), None);
    }
}
