//! Which CouchDB can read the files. One that is too old finds no header that it knows, and starts the files anew, as empty.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use repository::Facts;
use serde_json::Value;

use super::facts::{CHECKSUMS, FILES, OLDER_XXH3, VIEWS};
use super::select::object;
use crate::source::layout;

/// The newest major version of CouchDB.
const MAJOR_MAX: u32 = 3;

/// A version of CouchDB: major, minor, and what comes after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

impl Version {
    const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor, patch: 0 }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.splitn(3, '.').map(|part| part.parse::<u32>().ok());
        // A part that is no number is wrong; one that is not there is zero.
        let mut next = || numbers.next().unwrap_or(Some(0));
        Some(Self { major: next()?, minor: next()?, patch: next()? })
    }
}

/// What a user calls the version of a CouchDB. There is none beyond 3, but a CHT has a version of its own, and an older
/// CouchDB in it.
impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let version = Self::parse(text).ok_or_else(|| format!("`{text}` is no version of CouchDB, such as 3.3.2"))?;
        if version.major <= MAJOR_MAX {
            return Ok(version);
        }
        let told = format!("`{text}` is no version of CouchDB, of which {MAJOR_MAX} is the newest");
        Err(couchdb_of_cht(version).map_or_else(
            || told.clone(),
            |couchdb| format!("{told}: it looks like CHT's; CHT {version} has CouchDB {couchdb}, so write {couchdb}"),
        ))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { major, minor, patch } = self;
        match patch {
            0 => write!(f, "{major}.{minor}"),
            patch => write!(f, "{major}.{minor}.{patch}"),
        }
    }
}

/// The oldest CouchDB that reads all files of a snapshot, and why no older one does
/// (`src/couch/src/couch_bt_engine_header.erl` and `couch_file.erl` of apache/couchdb).
pub fn needed_version(facts: &Facts) -> (Version, &'static str) {
    let is_xxh3 = listed(facts, CHECKSUMS).any(|kind| kind == "xxh3") || listed(facts, OLDER_XXH3).next().is_some();
    needed(is_xxh3, object(facts, FILES).filter_map(|(_, file)| disk_version(file)).max())
}

/// The same for some files, by their paths below the data folder. One of which nothing is known may need what any other does.
pub fn needed_version_of(facts: &Facts, files: &[PathBuf]) -> (Version, &'static str) {
    let keys: BTreeSet<String> = files.iter().map(|file| layout::fact_key(file)).collect();
    let known = || object(facts, FILES).chain(object(facts, VIEWS)).filter(|(key, _)| keys.contains(*key));
    if known().count() < keys.len() {
        return needed_version(facts);
    }
    let is_older = listed(facts, OLDER_XXH3).filter_map(Value::as_str).any(|file| keys.contains(file));
    let is_xxh3 = is_older || known().any(|(_, file)| file.get("checksum").is_some_and(|kind| kind == "xxh3"));
    needed(is_xxh3, known().filter_map(|(_, file)| disk_version(file)).max())
}

fn listed<'a>(facts: &'a Facts, fact: &str) -> impl Iterator<Item = &'a Value> {
    facts.get(fact).and_then(Value::as_array).into_iter().flatten()
}

fn disk_version(file: &Value) -> Option<u64> {
    file.get("disk_version")?.as_u64()
}

fn needed(is_xxh3: bool, disk_version: Option<u64>) -> (Version, &'static str) {
    if is_xxh3 {
        return (Version::new(3, 4), "older ones do not know the checksums of its files, which are XXH3");
    }
    match disk_version {
        Some(8..) => (Version::new(3, 0), "its files have disk version 8"),
        Some(7) => (Version::new(2, 3), "its files have disk version 7"),
        _ => (Version::new(1, 2), "its files have disk version 6"),
    }
}

/// The CouchDB in releases of CHT, from each of them on (`couchdb/Dockerfile` of medic/cht-core).
const OF_CHT: [(Version, Version); 4] = [
    (Version::new(4, 0), Version::new(2, 3)),
    (Version::new(4, 4), Version::new(3, 3)),
    (Version::new(4, 16), Version::new(3, 4)),
    (Version::new(4, 21), Version::new(3, 5)),
];

fn couchdb_of_cht(version: Version) -> Option<Version> {
    OF_CHT.iter().rev().find(|(cht, _)| version >= *cht).map(|(_, couchdb)| *couchdb)
}

/// The CouchDB in an image, as far as its name and tag tell: CouchDB's own are tagged with its version, CHT's with CHT's.
/// What is after the minor version of a CHT's CouchDB is not known.
pub fn version_of_image(image: &str) -> Option<Version> {
    let (name, tag) = image.split('@').next()?.rsplit('/').next()?.split_once(':')?;
    // Such as 3.5.0-nouveau. `3` alone is whatever is newest.
    let number = tag.split('-').next().filter(|number| number.contains('.'))?;
    let version = Version::parse(number.trim_start_matches('v'))?;
    match name {
        "couchdb" => Some(version),
        "cht-couchdb" => couchdb_of_cht(version),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_restored_decides_and_not_what_else_is_in_the_snapshot() {
        let facts = json!({
            "checksums": ["md5", "xxh3"], "older_xxh3": ["c.couch"],
            "files": {
                "a.couch": { "checksum": "md5", "disk_version": 7 }, "b.couch": { "checksum": "xxh3", "disk_version": 8 },
                "c.couch": { "checksum": "md5", "disk_version": 8 },
            },
            "views": { ".a_design/mrview/x.view": { "checksum": "xxh3" } },
        });
        let facts = serde_json::from_value(facts).unwrap();
        let needed = |files: &[&str]| {
            let files: Vec<_> = files.iter().map(PathBuf::from).collect();
            needed_version_of(&facts, &files).0.to_string()
        };
        assert_eq!(needed(&["a.couch"]), "2.3");
        for files in [&["a.couch", "b.couch"][..], &["c.couch"], &["a.couch", ".a_design/mrview/x.view"]] {
            assert_eq!(needed(files), "3.4", "{files:?}");
        }
        assert_eq!(needed(&["a.couch", "damaged.couch"]), "3.4", "it may be any");
    }

    #[test]
    fn files_need_a_version_that_knows_their_checksums_and_their_layout() {
        let needed = |checksum: &str, disk: u64| {
            let facts = json!({ "checksums": [checksum], "files": { "_dbs.couch": { "disk_version": disk } } });
            needed_version(&serde_json::from_value(facts).unwrap()).0.to_string()
        };
        assert_eq!((needed("xxh3", 8), needed("md5", 8), needed("md5", 7)), ("3.4".into(), "3.0".into(), "2.3".into()));
        let facts = json!({ "checksums": ["md5"], "older_xxh3": ["_dbs.couch"] });
        assert_eq!(needed_version(&serde_json::from_value(facts).unwrap()).0, Version::new(3, 4));
        let version = |text: &str| text.parse::<Version>();
        assert!(version("3.3.2").unwrap() < Version::new(3, 4) && version("3.4").unwrap() == Version::new(3, 4));
        assert!(version("3.10").unwrap() > version("3.9.9").unwrap());
        assert_eq!(version("3.5.0").unwrap().to_string(), "3.5");
        let of = |image: &str| version_of_image(image).map(|version| version.to_string());
        let registry = "public.ecr.aws/medic/cht-couchdb";
        for (image, expected) in [
            ("couchdb:3.3.2", Some("3.3.2")),
            ("localhost:5000/couchdb:3.5.0-nouveau@sha256:00", Some("3.5")),
            ("couchdb:latest", None),
            ("couchdb:3", None),
            ("couchdb", None),
            ("localhost:5000/couchdb", None),
            ("postgres:16.1", None),
            (&format!("{registry}:4.3.2"), Some("2.3")),
            (&format!("{registry}:4.15.0"), Some("3.3")),
            (&format!("{registry}:4.16.0-beta.1"), Some("3.4")),
            (&format!("{registry}:5.1.0"), Some("3.5")),
            (&format!("{registry}:3.17.0"), None),
        ] {
            assert_eq!(of(image).as_deref(), expected, "{image}");
        }
        for bad in ["", "three", "3.x", "3.4.1-rc", "4.15.0", "2024.1"] {
            assert!(version(bad).is_err(), "{bad}");
        }
        let of_cht = version("4.15.0").unwrap_err();
        assert!(of_cht.ends_with("CHT 4.15 has CouchDB 3.3, so write 3.3"), "{of_cht}");
    }
}
