//! What reading documents costs: the parts of a copy that are fetched.

use std::path::PathBuf;
use std::sync::Arc;

use couchfile::{Checksum, Compression, CouchWriter, Format};
use repository::clock::SimulatedClock;
use repository::file_reader::StoredFiles;
use repository::format::key_file::KdfCost;
use repository::format::pack::BlobKind;
use repository::storage::memory::MemoryStorage;
use repository::storage::record::{Record, Verb};
use repository::{Cancel, CaptureCx, Error, FileKind, Id, Index, Repository, RunCx, Silent, Source as _, backup, walk};
use serde_json::json;

use super::{StoredDataFolder, each_change, find_data_folders};
use crate::source::{FilesOptions, FilesSource};

const DOCUMENTS: usize = 600;
const CHUNK_BYTES: u32 = 64 << 10;

/// A snapshot of a data folder with one database of two shards, all of whose documents are in the second.
struct Stored {
    clock: SimulatedClock,
    cancel: Cancel,
    record: Arc<Record>,
    repository: Repository,
    index: Index,
    tree: Id,
    folder: PathBuf,
}

impl Stored {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let data = place.path().join("couchdb");
        write_database(&data);
        let clock = SimulatedClock::new("2026-01-01T00:00:00Z".parse().unwrap());
        let cancel = Cancel::new();
        let record = Arc::new(Record::new(Arc::new(MemoryStorage::new())));
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let repository = Repository::init(record.clone(), "secret", KdfCost::FAST, CHUNK_BYTES, now).unwrap();
        let cx = RunCx { events: &Silent, cancel: &cancel, clock: &clock, lock: None };
        let index = Index::load(&cx, &repository).unwrap();
        let source = FilesSource::new(FilesOptions { paths: vec![data.clone()], ..FilesOptions::default() }).unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let of_source = CaptureCx {
            events: &Silent,
            cancel: &cancel,
            clock: &clock,
            claimed: &Default::default(),
            scratch: scratch.path(),
            own_paths: &[],
            previous: None,
            look_only: false,
        };
        let (_, written) = backup::write(&cx, &repository, &index, None, |writer| {
            writer.source("files", &mut *source.capture(&of_source)?)
        })
        .unwrap();
        let about = backup::Description {
            identity: repository::Identity::default(),
            paths: vec!["/files".to_owned()],
            tags: Vec::new(),
            program_version: "test".to_owned(),
            parent: None,
        };
        let (_, snapshot) = written.save(&cx, &repository, about).unwrap();
        let index = Index::load(&cx, &repository).unwrap();
        record.take();
        let folder = PathBuf::from("files").join(data.strip_prefix("/").unwrap());
        Self { clock, cancel, record, repository, index, tree: snapshot.tree, folder }
    }

    fn cx(&self) -> RunCx<'_> {
        RunCx { events: &Silent, cancel: &self.cancel, clock: &self.clock, lock: None }
    }

    fn open<'r>(&'r self, files: &'r StoredFiles<'r>) -> StoredDataFolder<'r> {
        let found = find_data_folders(&self.cx(), &self.repository, &self.index, &self.tree).unwrap();
        assert!(found.len() == 1 && found[0] == self.folder, "{found:?}");
        let node = walk::find(&self.repository, &self.index, &self.tree, &found[0]).unwrap().unwrap();
        let lost = &mut |path: &str, what: String| panic!("{path}: {what}");
        let tree = node.subtree.unwrap();
        StoredDataFolder::open(self.cx(), &self.repository, &self.index, files, &tree, lost).unwrap()
    }

    /// How many parts of packs with data were fetched.
    fn fetched(&self) -> usize {
        let calls = self.record.take();
        let packs = self.index.packs();
        let is_data = |call: &&repository::storage::record::Call| {
            call.verb == Verb::Get
                && call.kind == FileKind::Pack
                && call.file.is_some_and(|file| packs[&file.id][0].kind == BlobKind::Data)
        };
        calls.iter().filter(is_data).count()
    }
}

fn writer() -> CouchWriter<Vec<u8>> {
    let format = Format { checksum: Checksum::Xxh3, compression: Compression::None };
    CouchWriter::create(Vec::new(), format, "uuid", "couchdb@127.0.0.1").unwrap()
}

fn write_database(data: &std::path::Path) {
    let ranges = ["00000000-7fffffff", "80000000-ffffffff"];
    let mut maps = writer();
    let suffix: Vec<u8> = b".1700000000".to_vec();
    maps.put("orders", &json!({ "shard_suffix": suffix, "by_node": { "couchdb@127.0.0.1": ranges } })).unwrap();
    for range in ranges {
        let mut shard = writer();
        for number in 0..if range.starts_with('8') { DOCUMENTS } else { 0 } {
            // Scattered ids, and text that is never the same.
            let id = format!("{:08x}", (number as u32).wrapping_mul(0x9e37_79b9));
            let text: String =
                (0..1000).map(|part: u32| format!("{:x}", part.wrapping_mul(number as u32 ^ 0x85eb_ca6b))).collect();
            shard.put(&id, &json!({ "text": text })).unwrap();
            if number % 50 == 0 {
                shard.commit().unwrap();
            }
        }
        shard.commit().unwrap();
        let folder = data.join("shards").join(range);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("orders.1700000000.couch"), shard.into_inner()).unwrap();
    }
    maps.commit().unwrap();
    std::fs::write(data.join("_dbs.couch"), maps.into_inner()).unwrap();
}

#[test]
fn a_document_costs_the_chunks_on_the_way_to_it_and_a_database_each_chunk_about_once() {
    let stored = Stored::new();
    let chunks = stored.index.len(BlobKind::Data);
    assert!(chunks > 40, "{chunks}");

    let files = StoredFiles::new(&stored.repository, &stored.index);
    let folder = stored.open(&files);
    assert!(stored.fetched() <= 2, "the shard maps");
    let database = folder.database("orders").unwrap().unwrap();
    assert!(database.missing.is_empty() && database.shards.len() == 2);
    assert_eq!(stored.fetched(), 0, "no file is opened yet");
    let id = format!("{:08x}", 300_u32.wrapping_mul(0x9e37_79b9));
    let found = database.shards_for(&id).into_iter().find_map(|shard| {
        let opened = shard.open().unwrap();
        let info = opened.document(&id).unwrap()?;
        opened.read(&id, info.leaves()[0]).unwrap()
    });
    assert_eq!(found.unwrap().id, id);
    let fetched = stored.fetched();
    assert!((1..=8).contains(&fetched), "{fetched} of {chunks} chunks for one document");

    // Memory for a few chunks only.
    let files = StoredFiles::with_cache(&stored.repository, &stored.index, 8 * CHUNK_BYTES as usize);
    let folder = stored.open(&files);
    let database = folder.database("orders").unwrap().unwrap();
    stored.fetched();
    let mut documents = 0;
    for shard in &database.shards {
        let opened = shard.open().unwrap();
        let read: Result<(), Error> = each_change(&opened, 0, &mut |info| {
            let info = info.unwrap();
            assert!(opened.read(&info.id, info.leaves()[0]).unwrap().is_some());
            documents += 1;
            Ok(())
        });
        read.unwrap();
    }
    let fetched = stored.fetched();
    assert_eq!(documents, DOCUMENTS);
    assert!(fetched <= chunks * 3 / 2, "{fetched} fetches of {chunks} chunks");
}

#[test]
fn databases_are_summed_over_their_shards() {
    let stored = Stored::new();
    let files = StoredFiles::new(&stored.repository, &stored.index);
    let found = stored.open(&files).databases(&mut |path, what| panic!("{path}: {what}")).unwrap();
    let names: Vec<_> =
        found.iter().map(|database| (database.name.as_str(), database.shards, database.documents)).collect();
    assert_eq!(names, [("_dbs", 1, 1), ("orders", 2, DOCUMENTS as u64)]);
    assert_eq!(found[1].update_seq, DOCUMENTS as u64);
}
