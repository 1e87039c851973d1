//! The facts: what each file's header says, and what all of them say together. The same is counted in the folder at backup
//! time and in a restored one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use couchfile::{Checksum, Database, Header, ReadAt, ShardMap, View, ViewHeader};
use repository::Facts;
use serde_json::{Map, Value, json};

use super::data_folder::COMPACTED;
use super::shard_map;
use crate::source::layout;

/// The data folder's path, as in the fact about all paths.
pub const DATA: &str = "data";
/// The nodes that `_nodes.couch` names; where it names none, those of the shard maps.
pub const NODES: &str = "nodes";
/// Databases that the shard map names, each with the sums over its shards that are here.
pub const DATABASES: &str = "databases";
/// Database files, by their paths below the data folder.
pub const FILES: &str = "files";
/// View files.
pub const VIEWS: &str = "views";
/// Kinds of checksums in use. `xxh3` can be read by CouchDB from 3.4 on only.
pub const CHECKSUMS: &str = "checksums";
/// The version of the CouchDB that was asked, as it says.
pub const VERSION: &str = "couchdb_version";
/// Database files whose newest header is not of XXH3, and in which older parts are: an older CouchDB wrote on.
pub const OLDER_XXH3: &str = "older_xxh3";
/// What is wrong with files, by their paths.
pub const DAMAGED: &str = "damaged";
/// Shards that the shard map places on this node and that are not in the snapshot, by the paths of their files. Not there where
/// none lacks.
pub const MISSING: &str = "missing";
/// What is known of database files that were not seen, by their paths; see `unseen`.
pub const UNSEEN: &str = "unseen";
/// Each file as `stat` saw it, by which the next capture tells what it need not open.
pub const SEEN: &str = "seen";

/// The name of a file in facts: its path below the data folder.
pub fn key(root: &Path, host: &Path) -> String {
    layout::fact_key(host.strip_prefix(root).unwrap_or(host))
}

/// What a database file says of itself.
pub fn of_database<R: ReadAt>(database: &Database<R>) -> Value {
    let Header { place, disk_version, update_seq, doc_count, doc_del_count, uuid, epochs, .. } = database.header();
    let epochs: Vec<_> = epochs.iter().map(|epoch| json!([epoch.node, epoch.seq])).collect();
    json!({
        "header": place.offset,
        "bytes": place.end,
        "checksum": name(place.checksum),
        "disk_version": disk_version,
        "update_seq": update_seq,
        // Where they cannot be read, the check says so.
        "purge_seq": database.purge_seq().ok(),
        "documents": doc_count,
        "deleted": doc_del_count,
        "uuid": uuid,
        "epochs": epochs,
    })
}

/// What a view file says of itself.
pub fn of_view<R: ReadAt>(view: &View<R>) -> Value {
    let ViewHeader { place, update_seq, purge_seq, .. } = view.header();
    json!({
        "header": place.offset,
        "bytes": place.end,
        "checksum": name(place.checksum),
        "update_seq": update_seq,
        "purge_seq": purge_seq,
    })
}

fn name(checksum: Checksum) -> &'static str {
    match checksum {
        Checksum::Md5 => "md5",
        Checksum::Xxh3 => "xxh3",
    }
}

/// What the files of a folder say together.
#[derive(Default)]
pub struct Counted {
    pub nodes: Vec<String>,
    pub maps: Vec<ShardMap>,
    pub files: Map<String, Value>,
    pub views: Map<String, Value>,
}

impl Counted {
    /// Takes in what `_nodes.couch` and `_dbs.couch` say, where they can be opened.
    pub fn add_maps<R: ReadAt>(&mut self, nodes: Option<Database<R>>, maps: Option<Database<R>>) {
        self.maps = maps.map_or_else(Vec::new, |maps| shard_map::maps(&maps).0);
        self.nodes = shard_map::nodes_or_named(nodes, &self.maps);
    }

    pub fn into_facts(self) -> Facts {
        let all = self.files.values().chain(self.views.values());
        let checksums: BTreeSet<_> = all.filter_map(|file| file.get("checksum")?.as_str()).collect();
        let checksums = json!(checksums);
        let databases: Map<_, _> = self.maps.iter().map(|map| (map.database.clone(), self.database(map))).collect();
        [
            (NODES, json!(self.nodes)),
            (DATABASES, databases.into()),
            (CHECKSUMS, checksums),
            (FILES, self.files.into()),
            (VIEWS, self.views.into()),
        ]
        .map(|(name, fact)| (name.to_owned(), fact))
        .into_iter()
        .collect()
    }

    /// A database file, also where only what a compaction left for it is there.
    fn file(&self, key: &str) -> Option<&Value> {
        self.files.get(key).or_else(|| self.files.get(&format!("{key}{COMPACTED}")))
    }

    /// The databases of the shard map, with all documents of each, deleted ones too; without a number where not every range
    /// of it is here.
    pub fn documents_of_whole_databases(&self) -> BTreeMap<String, Option<u64>> {
        let documents = |map: &ShardMap| {
            let here = self.here(map);
            let sum = |name: &str| {
                here.iter().try_fold(0u64, |sum, file| Some(sum.saturating_add(file.get(name)?.as_u64()?)))
            };
            if here.len() == map.q() { Some(sum("documents")?.saturating_add(sum("deleted")?)) } else { None }
        };
        self.maps.iter().map(|map| (map.database.clone(), documents(map))).collect()
    }

    /// What the files of a database that are here say, one for each range.
    fn here(&self, map: &ShardMap) -> Vec<&Value> {
        let mut shards = BTreeSet::new();
        for (node, _) in &map.by_node {
            shards.extend(map.shards_of(node).map(|shard| shard.file()));
        }
        shards.iter().filter_map(|file| self.file(&layout::fact_key(Path::new(file)))).collect()
    }

    fn database(&self, map: &ShardMap) -> Value {
        let here = self.here(map);
        // What files say of themselves need not be true.
        let sum = |name: &str| here.iter().filter_map(|file| file.get(name)?.as_u64()).fold(0, u64::saturating_add);
        json!({
            "q": map.q(),
            "n": map.n(),
            "ranges": map.ranges().iter().map(ToString::to_string).collect::<Vec<_>>(),
            "suffix": map.suffix,
            "shards": here.len(),
            "documents": sum("documents"),
            "deleted": sum("deleted"),
            "update_seq": sum("update_seq"),
            "purge_seq": sum("purge_seq"),
            "bytes": sum("bytes"),
        })
    }
}
