//! A database in a snapshot: its shards, and in which of them a document is.

use couchfile::{Database, ShardRange};
use flate2::Crc;
use repository::Node;
use repository::file_reader::StoredFiles;
use serde::Serialize;

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
    pub(super) partitioned: bool,
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
        let hash = hash(id, self.partitioned);
        let mut shards: Vec<_> = self.shards.iter().collect();
        // False comes first.
        shards.sort_by_key(|shard| !shard.range.is_some_and(|range| (range.first..=range.last).contains(&hash)));
        shards
    }
}

/// Where on the ring of hashes a document lies: the CRC-32 of its id, or, in a partitioned database, of what is before the
/// colon. Design documents have no partition.
fn hash(id: &str, partitioned: bool) -> u32 {
    let partition = id.split_once(':').filter(|_| partitioned && !id.starts_with("_design/"));
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
                let hash = hash(&id, partitioned);
                assert!((shard.range.first..=shard.range.last).contains(&hash), "{path}: {id}");
                documents += 1;
                of_partitions += u32::from(partitioned);
            }
        }
        assert!(documents > 3000 && of_partitions > 100, "{documents} {of_partitions}");
    }
}
