//! A CouchDB that writes all the time, played by a thread, while snapshots are taken through the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use couchfile::Database;
use repository::backup::{self, Description};
use repository::format::key_file::KdfCost;
use repository::format::snapshot::Snapshot;
use repository::limits::CHUNK_BYTES_AVERAGE;
use repository::source::Previous;
use repository::storage::memory::MemoryStorage;
use repository::{
    Cancel, CaptureCx, Clock as _, Facts, Id, Identity, Index, Repository, RunCx, Silent, Source as _, SystemClock,
    restore,
};
use serde_json::json;

use super::scene::{NODE, RANGES, SUFFIX, Scene, Writer, map, shard, writer, writer_of};
use crate::source::examine;

/// Documents of each shard file that are committed, for databases that nobody is about to delete.
type Committed = Mutex<BTreeMap<String, u64>>;

/// The thread's own view: it writes as CouchDB does, in CouchDB's order.
struct CouchDb<'a> {
    data: PathBuf,
    maps: Writer,
    shards: BTreeMap<String, (Writer, u64)>,
    databases: BTreeSet<String>,
    committed: &'a Committed,
    random: u64,
    created: u64,
    removed: u64,
    compactions: u64,
}

impl<'a> CouchDb<'a> {
    fn new(scene: &Scene, committed: &'a Committed) -> Self {
        let mut couchdb = Self {
            data: scene.data(),
            maps: scene.writer("_dbs.couch"),
            shards: BTreeMap::new(),
            databases: BTreeSet::new(),
            committed,
            random: 1,
            created: 0,
            removed: 0,
            compactions: 0,
        };
        fs::create_dir(couchdb.data.join(".delete")).unwrap();
        for database in ["medic", "medic-sentinel", "medic-user-0-meta"] {
            couchdb.create(database);
        }
        couchdb
    }

    fn draw(&mut self, below: usize) -> usize {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as usize % below
    }

    fn step(&mut self) {
        let files: Vec<String> = self.shards.keys().cloned().collect();
        let file = files[self.draw(files.len())].clone();
        match self.draw(20) {
            0..2 => self.compact(&file),
            2 if self.databases.len() < 8 => {
                self.created += 1;
                let name = format!("medic-user-{}-meta", self.created);
                self.create(&name);
            }
            3 => {
                let last = self.databases.last().filter(|name| name.starts_with("medic-user")).cloned();
                if let Some(name) = last {
                    self.remove(&name);
                }
            }
            // Written, and not committed.
            4 => {
                let (writer, _) = self.shards.get_mut(&file).unwrap();
                writer.attachment("torn", "text/plain", &[7; 3000], 1, couchfile::Encoding::Identity).unwrap();
            }
            _ => self.put(&file),
        }
    }

    /// A document, and then Sentinel's cursor, which says how many there are.
    fn put(&mut self, file: &str) {
        if file.contains("medic-sentinel") {
            return;
        }
        let (writer, documents) = self.shards.get_mut(file).unwrap();
        put(writer, *documents);
        *documents += 1;
        writer.commit().unwrap();
        let documents = *documents;
        self.committed.lock().unwrap().insert(file.to_owned(), documents);
        let range = RANGES.iter().find(|range| shard(range, "medic") == file);
        if let Some(range) = range {
            let (sentinel, _) = self.shards.get_mut(&shard(range, "medic-sentinel")).unwrap();
            sentinel.put_local("_local/cursor", &json!({"seq": documents}));
            sentinel.commit().unwrap();
        }
    }

    /// Files first, then the shard map, as `fabric_db_create` does.
    fn create(&mut self, name: &str) {
        for range in RANGES {
            let file = shard(range, name);
            let mut writer = writer(&self.data.join(&file));
            writer.commit().unwrap();
            self.shards.insert(file, (writer, 0));
        }
        self.maps.put(name, &map(&[(NODE, RANGES.to_vec())])).unwrap();
        self.maps.commit().unwrap();
        self.databases.insert(name.to_owned());
        self.committed.lock().unwrap().extend(RANGES.map(|range| (shard(range, name), 0)));
    }

    /// The shard map first, then the files.
    fn remove(&mut self, name: &str) {
        self.databases.remove(name);
        self.committed.lock().unwrap().retain(|file, _| !file.contains(&format!("/{name}{SUFFIX}")));
        self.maps.delete(name).unwrap();
        self.maps.commit().unwrap();
        for range in RANGES {
            let file = shard(range, name);
            self.shards.remove(&file);
            self.unlink(&file);
        }
    }

    fn unlink(&mut self, file: &str) {
        self.removed += 1;
        let deleted = self.data.join(format!(".delete/{}", self.removed));
        fs::rename(self.data.join(file), &deleted).unwrap();
        fs::remove_file(deleted).unwrap();
    }

    /// The renames of `couch_bt_engine:finish_compaction_int`.
    fn compact(&mut self, file: &str) {
        if file.contains("medic-sentinel") {
            return;
        }
        let path = |end: &str| self.data.join(format!("{file}{end}"));
        let uuid = Database::open(fs::read(path("")).unwrap()).unwrap().header().uuid.clone().unwrap();
        let mut compacted = writer_of(&path(".compact.data"), &uuid);
        let documents = self.shards[file].1;
        for number in 0..documents {
            put(&mut compacted, number);
        }
        compacted.commit().unwrap();
        File::create(path(".compact.meta")).unwrap();
        fs::rename(path(".compact.data"), path(".compact")).unwrap();
        let (compact, whole, meta) = (path(".compact"), path(""), path(".compact.meta"));
        self.unlink(file);
        std::thread::sleep(Duration::from_micros(300));
        fs::rename(compact, whole).unwrap();
        fs::remove_file(meta).unwrap();
        self.shards.insert(file.to_owned(), (compacted, documents));
        self.compactions += 1;
    }
}

fn put(writer: &mut Writer, number: u64) {
    writer.put(&format!("document-{number:06}"), &json!({"number": number, "text": "x".repeat(200)})).unwrap();
}

/// Documents of a restored shard: all up to the last, or the test fails.
fn documents_in(path: &Path) -> u64 {
    let database = Database::open(fs::read(path).unwrap()).unwrap();
    let mut number = 0;
    for info in database.documents() {
        assert_eq!(info.unwrap().id, format!("document-{number:06}"), "{}", path.display());
        number += 1;
    }
    number
}

fn cursor_in(path: &Path) -> u64 {
    let database = Database::open(fs::read(path).unwrap()).unwrap();
    let cursor = database.local_document("_local/cursor").unwrap();
    let json = cursor.map_or("{}".to_owned(), |cursor| cursor.to_json().unwrap());
    serde_json::from_str::<serde_json::Value>(&json).unwrap()["seq"].as_u64().unwrap_or(0)
}

/// Takes snapshots one after the other, each compared with the last.
struct Snapshots<'a> {
    scene: &'a Scene,
    repository: Repository,
    cancel: Cancel,
    last: Option<(Id, Snapshot, Facts)>,
}

impl Snapshots<'_> {
    fn cx(&self) -> RunCx<'_> {
        RunCx { events: &Silent, cancel: &self.cancel, clock: &SystemClock, lock: None }
    }

    fn take(&mut self) -> (Vec<String>, Facts) {
        let cx = self.cx();
        let source = self.scene.source();
        let scratch = tempfile::tempdir().unwrap();
        let previous = self.last.as_ref().map(|(snapshot, _, facts)| Previous {
            snapshot: *snapshot,
            facts,
            has_snapshot: &|_| true,
        });
        let view = CaptureCx {
            events: &Silent,
            cancel: &self.cancel,
            clock: &SystemClock,
            claimed: &BTreeSet::new(),
            scratch: scratch.path(),
            own_paths: &[],
            previous,
            look_only: false,
        };
        let index = Index::load(&cx, &self.repository).unwrap();
        let parent = self.last.as_ref().map(|(_, snapshot, _)| snapshot);
        let mut capture = source.capture(&view).unwrap();
        let (problems, written) = backup::write(&cx, &self.repository, &index, parent, |writer| {
            Ok(writer.source("records", capture.as_mut())?.problems)
        })
        .unwrap();
        let facts = capture.finish().unwrap();
        let about = Description {
            identity: Identity { hostname: "host".into(), username: "user".into(), uid: 0, gid: 0 },
            paths: vec!["/records".into()],
            tags: Vec::new(),
            program_version: "test".into(),
            parent: None,
        };
        let (id, snapshot) = written.save(&cx, &self.repository, about).unwrap();
        self.last = Some((id, snapshot, facts.clone()));
        (problems.iter().map(ToString::to_string).collect(), facts)
    }

    fn restore(&self, dir: &Path) {
        let (cx, tree) = (self.cx(), self.last.as_ref().unwrap().1.tree);
        let index = Index::load(&cx, &self.repository).unwrap();
        let options = restore::Options::for_this_process();
        let restored = restore::tree(&cx, &self.repository, &index, &tree, dir, options).unwrap();
        assert!(restored.problems.is_empty(), "{:?}", restored.problems);
    }
}

#[test]
fn fifty_snapshots_of_a_couchdb_that_writes_hold_all_that_was_committed_before_each() {
    let scene = Scene::empty();
    let committed = Committed::default();
    let mut couchdb = CouchDb::new(&scene, &committed);
    let storage = Arc::new(MemoryStorage::new());
    let now = SystemClock.now();
    let repository = Repository::init(storage, "secret", KdfCost::FAST, CHUNK_BYTES_AVERAGE, now).unwrap();
    let mut snapshots = Snapshots { scene: &scene, repository, cancel: Cancel::new(), last: None };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                couchdb.step();
                std::thread::sleep(Duration::from_micros(500));
            }
            couchdb
        });
        let stop_at_the_end = StopAtTheEnd(&stop);
        let mut held = 0;
        for number in 0..50 {
            let before = committed.lock().unwrap().clone();
            let (problems, facts) = snapshots.take();
            let after: BTreeSet<String> = committed.lock().unwrap().keys().cloned().collect();
            assert_eq!(problems, [""; 0], "snapshot {number}");
            let dir = tempfile::tempdir().unwrap();
            snapshots.restore(dir.path());
            let root = dir.path().join("records");
            assert_eq!(examine("couchdb", &root, &facts, &Cancel::new()).unwrap(), facts, "snapshot {number}");
            let restored = |file: &str| root.join(scene.path(file).strip_prefix("/").unwrap());
            for (file, documents) in before.iter().filter(|(file, _)| after.contains(*file)) {
                if !file.contains("medic-sentinel") {
                    let found = documents_in(&restored(file));
                    assert!(found >= *documents, "snapshot {number}: {file} has {found} of {documents}");
                    held += 1;
                }
            }
            for range in RANGES {
                let cursor = cursor_in(&restored(&shard(range, "medic-sentinel")));
                let documents = documents_in(&restored(&shard(range, "medic")));
                assert!(cursor <= documents, "snapshot {number}: the cursor is at {cursor} of {documents}");
            }
        }
        drop(stop_at_the_end);
        let couchdb = writing.join().unwrap();
        let (compactions, created, removed) = (couchdb.compactions, couchdb.created, couchdb.removed);
        println!("{held} shards held; {compactions} compactions, {created} created, {removed} files removed");
        assert!(compactions > 30 && created > 5 && removed > compactions + 5 && held >= 100);
    });
}

/// Ends the writing also where the test fails.
struct StopAtTheEnd<'a>(&'a AtomicBool);

impl Drop for StopAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
