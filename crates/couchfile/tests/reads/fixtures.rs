//! The fixtures, read into memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use couchfile::Database;
use flate2::read::GzDecoder;
use serde_json::Value;

/// Files by their paths below CouchDB's data folder.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A data folder of CouchDB, and what CouchDB said of it.
pub struct Fixture {
    pub name: &'static str,
    archive: &'static str,
    truth: &'static str,
    /// Where the data folder lies in the archive.
    root: &'static str,
}

/// CouchDB 3.5.0 after a clean stop; checksums are XXH3.
pub const CLEAN: Fixture =
    Fixture { name: "clean", archive: "clean.data.tar.gz", truth: "clean.dump.json.gz", root: "data/" };
/// Copied while many wrote to it.
pub const TORN: Fixture =
    Fixture { name: "torn", archive: "torn.data.tar.gz", truth: "torn.dump.json.gz", root: "data/" };
/// Databases as CHT has them; checksums are MD5.
pub const CHT: Fixture =
    Fixture { name: "cht", archive: "cht-host.tar.gz", truth: "truth.json.gz", root: "home/ubuntu/cht/couchdb/" };
pub const ALL: [&Fixture; 3] = [&CLEAN, &TORN, &CHT];

impl Fixture {
    pub fn files(&self) -> Files {
        unpack(self.archive, self.root)
    }

    pub fn truth(&self) -> Value {
        json(self.truth)
    }
}

/// Test files of CouchDB itself: disk versions 6, 7 and 8, and views of all forms.
pub fn eunit() -> Files {
    unpack("couchdb-eunit.tar.gz", "")
}

/// Where each file of `torn` ends, as another program found it.
pub fn torn_tails() -> Value {
    serde_json::from_reader(File::open(path("torn.tails.json")).unwrap()).unwrap()
}

pub fn json(name: &str) -> Value {
    serde_json::from_reader(GzDecoder::new(File::open(path(name)).unwrap())).unwrap()
}

pub fn open(bytes: &[u8]) -> Database<&[u8]> {
    Database::open(bytes).unwrap()
}

fn unpack(name: &str, root: &str) -> Files {
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(path(name)).unwrap()));
    let mut files = Files::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let path = path.strip_prefix("./").unwrap_or(&path);
        let Some(path) = path.strip_prefix(root) else { continue };
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        files.insert(path.to_owned(), bytes);
    }
    files
}

/// Some shards are left out of the fixtures, which would be twice as large with them. Whoever has all of them can have
/// them tested.
fn path(name: &str) -> PathBuf {
    let mut folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    if let Some(complete) = switch("COUCHFILE_TEST_DATA") {
        for complete in complete.split(':').map(PathBuf::from) {
            if complete.join(name).exists() {
                folder = complete;
            }
        }
    }
    folder.join(name)
}

#[expect(clippy::disallowed_methods, reason = "the tests' own switches are no configuration")]
pub fn switch(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
