//! A database in a snapshot: its shards, and in which of them a document is.

use couchfile::{Database, ShardRange};
use flate2::Crc;
use repository::Node;
use repository::file_reader::StoredFiles;
use serde::Serialize;
use serde_json::Value;

use super::stored::{Stored, wrapped};

/// What the headers of a database's files say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The database.
    pub name: String,
    /// Documents that are not deleted.
    pub documents: u64,
    /// Deleted documents.
    pub deleted: u64,
    /// Files that could be read.
    pub shards: u64,
    /// The sum of the files' update sequences.
    pub update_seq: u64,
    /// The sum of the files' lengths.
    pub bytes: u64,
}

impl Summary {
    pub(super) fn add(&mut self, database: &Database<Stored<'_>>) {
        let header = database.header();
        self.documents = self.documents.saturating_add(header.doc_count);
        self.deleted = self.deleted.saturating_add(header.doc_del_count);
        self.update_seq = self.update_seq.saturating_add(header.update_seq);
        self.bytes = self.bytes.saturating_add(database.reader().0.length());
        self.shards += 1;
    }
}

/// A database in a snapshot.
pub struct StoredDatabase<'f> {
    /// Its name.
    pub name: String,
    /// Its files, by range.
    pub shards: Vec<StoredShard<'f>>,
    /// Files that the shard map names and neither the data folder nor those of other nodes have.
    pub missing: Vec<String>,
    pub(super) hashing: Hashing,
}

/// A file of a database. It is opened only when it is needed.
pub struct StoredShard<'f> {
    /// Its path below the data folder; in the snapshot, where it is in the folder of another node.
    pub path: String,
    pub(super) range: Option<ShardRange>,
    pub(super) node: Node,
    pub(super) files: &'f StoredFiles<'f>,
}

impl<'f> StoredShard<'f> {
    /// Opens it; fetches the end of the file.
    pub fn open(&self) -> Result<Database<Stored<'f>>, couchfile::Error> {
        open(self.files, &self.node)
    }
}

pub(super) fn open<'f>(files: &'f StoredFiles<'f>, node: &Node) -> Result<Database<Stored<'f>>, couchfile::Error> {
    Database::open(Stored(files.open(node).map_err(wrapped)?))
}

impl<'f> StoredDatabase<'f> {
    /// The shards in the order in which a document is looked for: first the one that CouchDB's hash of its id says, then
    /// the others, since CouchDB can be told to hash in another way.
    pub fn shards_for(&self, id: &str) -> Vec<&StoredShard<'f>> {
        let hash = hash(id, self.hashing);
        let mut shards: Vec<_> = self.shards.iter().collect();
        // False comes first.
        shards.sort_by_key(|shard| !shard.range.is_some_and(|range| (range.first..=range.last).contains(&hash)));
        shards
    }

    /// Whether a document that was found in `shard` is one that CouchDB put there. What a damaged page says need not be: where it
    /// was read as blank, or as part of something else, ids are wrong, and nothing covers them with a checksum.
    pub fn belongs(&self, shard: &StoredShard<'_>, id: &str) -> bool {
        belongs(id, self.hashing, shard.range)
    }
}

/// By what CouchDB tells in which shard a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hashing {
    /// By its whole id.
    Id,
    /// By what is before the colon: the database is partitioned. Design documents have no partition.
    Partition,
    /// There is no shard map, or it names another hash.
    Unknown,
}

impl Hashing {
    /// What the shard map's properties say. CouchDB names the hash of a partitioned database, and none else.
    pub(super) fn of(properties: &Value) -> Self {
        let (partitioned, hash) = (properties["partitioned"] == true, &properties["hash"]);
        match (hash[0].as_str(), hash[1].as_str()) {
            _ if !partitioned && hash.is_null() => Self::Id,
            (Some("couch_partition"), Some("hash")) => Self::Partition,
            _ => Self::Unknown,
        }
    }
}

/// Whether CouchDB would put a document of this id into a shard of that range. False also for an id that no document has. Where
/// nobody knows, it is.
fn belongs(id: &str, hashing: Hashing, range: Option<ShardRange>) -> bool {
    let is_in = |range: ShardRange| (range.first..=range.last).contains(&hash(id, hashing));
    !id.is_empty() && (hashing == Hashing::Unknown || range.is_none_or(is_in))
}

/// Where on the ring of hashes a document lies: the CRC-32 of its id or partition.
fn hash(id: &str, hashing: Hashing) -> u32 {
    let is_of_partition = hashing == Hashing::Partition && !id.starts_with("_design/");
    let partition = id.split_once(':').filter(|_| is_of_partition);
    let mut crc = Crc::new();
    crc.update(partition.map_or(id, |(partition, _)| partition).as_bytes());
    crc.sum()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;
    use std::path::Path;

    use couchfile::ShardName;
    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn documents_of_a_real_couchdb_are_where_their_hash_says() {
        let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("../couchfile/tests/fixtures/clean.data.tar.gz");
        let mut archive = tar::Archive::new(GzDecoder::new(File::open(archive).unwrap()));
        let (mut documents, mut of_partitions) = (0, 0);
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_str().unwrap().trim_start_matches("data/").to_owned();
            let Some(shard) = ShardName::parse(&path) else { continue };
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            let database = Database::open(&bytes[..]).unwrap();
            let partitioned = database.partitioned().unwrap();
            let locals = database.local_documents().map(|local| local.unwrap().id);
            let locals = locals.filter(|id| !id.starts_with("_local/purge-") && !id.starts_with("_local/shard-sync-"));
            // A design document is in one shard, as others are.
            for id in database.documents().map(|info| info.unwrap().id).chain(locals) {
                let hashing = if partitioned { Hashing::Partition } else { Hashing::Id };
                assert!(belongs(&id, hashing, Some(shard.range)), "{path}: {id}");
                documents += 1;
                of_partitions += u32::from(partitioned);
            }
        }
        assert!(documents > 3000 && of_partitions > 100, "{documents} {of_partitions}");
    }

    #[test]
    fn an_id_that_couchdb_would_not_put_into_a_shard_does_not_belong_there() {
        let ranges = ["00000000-7fffffff", "80000000-ffffffff"].map(ShardRange::parse);
        let in_which = |id: &str, hashing| ranges.map(|range| belongs(id, hashing, range));
        // The CRC-32 of "123456789" is cbf43926, as every description of it says.
        assert_eq!(in_which("123456789", Hashing::Id), [false, true]);
        assert_eq!(in_which("123456789:x", Hashing::Partition), [false, true]);
        assert_eq!(in_which("", Hashing::Id), [false, false], "no document is called that");
        assert_eq!(in_which("123456789", Hashing::Unknown), [true, true]);
        assert!(belongs("123456789", Hashing::Id, None), "a database of one file");
    }

    #[test]
    fn the_shard_map_says_how_a_database_hashes() {
        let of = |json: &str| Hashing::of(&serde_json::from_str(json).unwrap());
        assert_eq!((of("null"), of("{}")), (Hashing::Id, Hashing::Id));
        assert_eq!(of(r#"{"partitioned":true,"hash":["couch_partition","hash",[]]}"#), Hashing::Partition);
        assert_eq!(of(r#"{"hash":["own","hash",[]]}"#), Hashing::Unknown);
        assert_eq!(of(r#"{"hash":[]}"#), Hashing::Unknown);
    }
}
