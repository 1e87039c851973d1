//! A data folder, and what it takes to capture it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use couchfile::{Checksum, Compression, CouchWriter, Database, Format};
use jiff::Timestamp;
use repository::Clock;
use repository::clock::SimulatedClock;
use serde_json::{Map, Value, json};

use crate::containers::EngineAddress;
use crate::source::Place;
use crate::source::couchdb::{CouchDbOptions, CouchDbSource};
use crate::source::testing::{Captured, Setup};

pub const NODE: &str = "couchdb@127.0.0.1";
pub const RANGES: [&str; 2] = ["00000000-7fffffff", "80000000-ffffffff"];
pub const SUFFIX: &str = ".1700000000";

pub type Writer = CouchWriter<File>;
/// Which node holds which ranges.
pub type ByNode<'a> = Vec<(&'a str, Vec<&'a str>)>;

/// A data folder on disk, and a folder with CouchDB's own configuration.
pub struct Scene {
    pub folder: tempfile::TempDir,
    pub setup: Setup,
}

impl Scene {
    /// A single node with the databases `medic` and `medic-sentinel`, each of two shards with a document.
    pub fn new() -> Self {
        let scene = Self::empty();
        for database in ["medic", "medic-sentinel"] {
            scene.create(database);
        }
        scene.write_maps(&["medic", "medic-sentinel"]);
        scene
    }

    /// As [`Scene::new`], but with nothing in it.
    pub fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("data/shards")).unwrap();
        fs::create_dir(folder.path().join("local.d")).unwrap();
        let config = "[couch_httpd_auth]\nsecret = 0123456789\n";
        fs::write(folder.path().join("local.d/cluster-credentials.ini"), config).unwrap();
        let scene = Self { folder, setup: Setup::default() };
        let mut nodes = scene.writer("_nodes.couch");
        nodes.put(NODE, &json!({})).unwrap();
        nodes.commit().unwrap();
        scene
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.data().join(file)
    }

    pub fn options(&self) -> CouchDbOptions {
        CouchDbOptions {
            data: Place::Host(self.data()),
            config: Some(Place::Host(self.folder.path().join("local.d"))),
            engine: EngineAddress::at(&self.folder.path().join("no-socket")),
            full_read: Duration::from_secs(7 * 86_400),
            nouveau: false,
            peers: Vec::new(),
            server: None,
        }
    }

    pub fn source(&self) -> CouchDbSource {
        CouchDbSource::new(self.options())
    }

    pub fn capture(&self) -> Captured {
        self.setup.capture(&self.source()).unwrap()
    }

    /// Captures, and lets the next capture be one after it.
    pub fn capture_next(&mut self) -> Captured {
        let captured = self.capture();
        self.setup.previous = Some(captured.facts.clone());
        captured
    }

    /// Starts a file with nothing in it.
    pub fn writer(&self, file: &str) -> Writer {
        writer(&self.path(file))
    }

    /// Both shards of a database, a document in each.
    pub fn create(&self, database: &str) -> [Writer; 2] {
        RANGES.map(|range| {
            let mut writer = self.writer(&shard(range, database));
            writer.put(&format!("{database} {range}"), &json!({"name": database})).unwrap();
            writer.commit().unwrap();
            writer
        })
    }

    /// Writes a shard map that names both shards of each database on one node.
    pub fn write_maps(&self, databases: &[&str]) {
        let maps = databases.iter().map(|database| (*database, vec![(NODE, RANGES.to_vec())]));
        self.write_maps_of(maps.collect());
    }

    /// Writes a shard map that names for each database which node holds which ranges.
    pub fn write_maps_of(&self, maps: Vec<(&str, ByNode<'_>)>) {
        let temporary = self.folder.path().join("maps");
        let mut writer = writer(&temporary);
        for (database, by_node) in maps {
            writer.put(database, &map(&by_node)).unwrap();
        }
        writer.commit().unwrap();
        fs::rename(temporary, self.path("_dbs.couch")).unwrap();
    }
}

pub fn writer(path: &Path) -> Writer {
    // Each is a file of its own, also where the name stays.
    static FILES: AtomicUsize = AtomicUsize::new(0);
    writer_of(path, &format!("{:032x}", FILES.fetch_add(1, Ordering::Relaxed)))
}

/// Starts a file with the mark that makes it one of its kind, which a compaction keeps.
pub fn writer_of(path: &Path, uuid: &str) -> Writer {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let format = Format { checksum: Checksum::Md5, compression: Compression::Snappy };
    CouchWriter::create(File::create(path).unwrap(), format, uuid, NODE).unwrap()
}

pub fn shard(range: &str, database: &str) -> String {
    format!("shards/{range}/{database}{SUFFIX}.couch")
}

/// Changes a byte in the body of a document, in place.
pub fn harm(scene: &Scene, file: &str, id: &str) {
    let path = scene.path(file);
    let mut bytes = fs::read(&path).unwrap();
    let database = Database::open(&bytes[..]).unwrap();
    let info = database.document(id).unwrap().unwrap();
    let document = database.read(id, info.leaves()[0]).unwrap().unwrap();
    let at = document.offset + document.stored_length - 1;
    bytes[at as usize] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// A document of `_dbs.couch`.
pub fn map(by_node: &[(&str, Vec<&str>)]) -> Value {
    let mut by_range: Map<String, Value> = Map::new();
    for (node, ranges) in by_node {
        for range in ranges {
            let holders = by_range.entry(range.to_string()).or_insert_with(|| json!([]));
            holders.as_array_mut().unwrap().push(json!(node));
        }
    }
    let by_node: Map<_, _> = by_node.iter().map(|(node, ranges)| (node.to_string(), json!(ranges))).collect();
    json!({"shard_suffix": SUFFIX, "changelog": [], "by_node": by_node, "by_range": by_range})
}

/// A clock at whose every pause something happens.
pub struct Hook<F> {
    pub clock: SimulatedClock,
    pub happens: Mutex<F>,
}

impl<F: FnMut() + Send> Hook<F> {
    pub fn new(happens: F) -> Self {
        Self { clock: SimulatedClock::new("2026-01-01T00:00:00Z".parse().unwrap()), happens: Mutex::new(happens) }
    }
}

impl<F: FnMut() + Send> Clock for Hook<F> {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn sleep(&self, duration: Duration) {
        self.clock.sleep(duration);
        (self.happens.lock().unwrap())();
    }
}
