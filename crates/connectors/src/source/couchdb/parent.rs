//! What the parent snapshot says of each file, so that what did not change since need not be opened, and of what grew only
//! the new part be checked.

use std::fs::File;
use std::path::Path;

use couchfile::{Database, Header, View, ViewHeader};
use repository::source::Previous;
use repository::{Cancel, Facts, Id};
use serde_json::Value;

use super::data_folder::{COMPACTED, Kind, SHARDS};
use super::facts::{DAMAGED, DATA, FILES, OLDER_XXH3, SEEN, UNSEEN, VIEWS};
use super::prefix::Prefix;
use super::shard_map::SHARD_MAP_FILES;
use super::stamp::Stamp;

/// Stands in the record of a shard map that was made anew: what it does not name and earlier snapshots have.
pub const FORGOTTEN: &str = "forgotten";

/// The parent snapshot's facts, and whether the folder lay at the same path then.
///
/// A folder that moved, such as to a larger disk, has the same databases: what they had, where they are whole and what is
/// damaged goes on, and the uuid in each file tells whether it is that one. What `stat` said of the files does not.
#[derive(Clone, Copy)]
pub struct Before<'a> {
    parent: Option<Previous<'a>>,
    is_same_path: bool,
}

impl<'a> Before<'a> {
    pub fn new(previous: Option<Previous<'a>>, data: &str) -> Self {
        let is_same = |facts: &Facts| facts.get(DATA).and_then(Value::as_str) == Some(data);
        Self { parent: previous, is_same_path: previous.is_some_and(|previous| is_same(previous.facts)) }
    }

    /// Whether the parent snapshot is of this very folder, and has a shard map or shards right in it.
    pub fn had_shards_here(&self) -> bool {
        let is_here = |key: &str| SHARD_MAP_FILES.contains(&key) || key.starts_with(SHARDS);
        self.is_same_path && self.database_files().any(is_here)
    }

    /// What `stat` said of the file, where it lay at the same path.
    fn seen(&self, key: &str) -> Option<&'a str> {
        self.fact(SEEN, key)?.as_str().filter(|_| self.is_same_path)
    }

    fn fact(&self, fact: &str, key: &str) -> Option<&'a Value> {
        self.parent?.facts.get(fact)?.get(key)
    }

    /// A fact about a file, also where it had the other of its two names then: a compaction that is cut short leaves a
    /// database under its second name.
    fn fact_of_file(&self, fact: &str, key: &str) -> Option<&'a Value> {
        self.fact(fact, key).or_else(|| match key.strip_suffix(COMPACTED) {
            Some(database) => self.fact(fact, database),
            None => self.fact(fact, &format!("{key}{COMPACTED}")),
        })
    }

    /// What was noted of a database or view file.
    pub fn file(&self, kind: Kind, key: &str) -> Option<&'a Value> {
        self.fact_of_file(if kind == Kind::View { VIEWS } else { FILES }, key)
    }

    /// What a database file was when it was last seen with a header.
    pub fn last(&self, key: &str) -> Option<&'a Value> {
        let unseen = || self.fact_of_file(UNSEEN, key)?.get("last").filter(|last| last.is_object());
        self.file(Kind::Database, key).or_else(unseen)
    }

    /// Whether the file is what it was.
    pub fn is_unchanged(&self, key: &str, stamp: &Stamp) -> bool {
        self.seen(key).is_some_and(|seen| seen == stamp.to_string())
    }

    pub fn damage(&self, key: &str) -> Option<&'a Value> {
        self.fact_of_file(DAMAGED, key)
    }

    /// Whether the parent snapshot has the file, whatever is wrong with it.
    pub fn was_seen(&self, key: &str) -> bool {
        self.fact_of_file(SEEN, key).is_some()
    }

    /// Whether a snapshot that was named earlier can be found no more.
    pub fn is_gone(&self, snapshot: &str) -> bool {
        let has = |previous: Previous<'_>| snapshot.parse().is_ok_and(|id| (previous.has_snapshot)(&id));
        !self.parent.is_some_and(has)
    }

    /// Whether it is the file that the parent snapshot saw, and has parts with checksums of XXH3.
    pub fn has_xxh3(&self, key: &str, stamp: &Stamp, header: &Value) -> bool {
        let is_same = || Stamp::parse(self.seen(key)?).map(|seen| seen.is_same_file(stamp));
        let known = self.file(Kind::Database, key);
        let listed = self.parent.and_then(|previous| previous.facts.get(OLDER_XXH3)?.as_array()).into_iter().flatten();
        known.is_some_and(|known| known.get("uuid") == header.get("uuid"))
            && is_same() == Some(true)
            && (known.is_some_and(|known| known["checksum"] == "xxh3") || listed.into_iter().any(|file| file == key))
    }

    /// What a damaged file had before it was damaged.
    pub fn lost(&self, key: &str) -> Option<&'a Value> {
        let record = self.damage(key).or_else(|| self.fact_of_file(UNSEEN, key))?;
        record.get("lost").filter(|lost| lost.is_object())
    }

    /// Of the databases that a shard map which was made anew does not name, one shard each.
    pub fn forgotten(&self, key: &str) -> Option<Vec<&'a str>> {
        let files = self.damage(key)?.get(FORGOTTEN)?.as_array()?;
        Some(files.iter().filter_map(Value::as_str).collect())
    }

    /// The database files that the parent snapshot knows, damaged ones and those that it lacks included.
    pub fn database_files(&self) -> impl Iterator<Item = &'a str> {
        let fact = |name| self.parent.and_then(|previous| previous.facts.get(name)?.as_object()).into_iter().flatten();
        let keys = fact(FILES).chain(fact(DAMAGED)).chain(fact(UNSEEN)).map(|(key, _)| key.as_str());
        keys.filter(|key| Kind::of(Path::new(key)) == Kind::Database)
    }

    /// The snapshot that holds the file whole, where it does.
    pub fn good(&self, kind: Kind, key: &str) -> Option<Id> {
        self.file(kind, key).filter(|_| self.damage(key).is_none())?;
        Some(self.parent?.snapshot)
    }

    /// The snapshot that holds the newest good version of the file, as far as it is known.
    pub fn good_in(&self, kind: Kind, key: &str) -> Option<String> {
        match self.damage(key).or_else(|| self.fact_of_file(UNSEEN, key)) {
            Some(record) => record.get("good_in")?.as_str().map(str::to_owned),
            None => self.good(kind, key).map(Id::to_hex),
        }
    }

    /// Up to where the open file is the one that was captured and found whole then.
    pub fn checked(&self, kind: Kind, key: &str, file: &File, stamp: &Stamp, cancel: &Cancel) -> Option<Checked> {
        let seen = Stamp::parse(self.seen(key)?)?;
        self.good(kind, key)?;
        let fact = self.file(kind, key)?;
        if !seen.is_same_file(stamp) || stamp.size < seen.size {
            return None;
        }
        let number = |name: &str| fact.get(name).and_then(Value::as_u64);
        let before = Prefix { file, bytes: number("bytes")?, cancel };
        let is_same = |offset: u64, seq: u64| number("header") == Some(offset) && number("update_seq") == Some(seq);
        match kind {
            Kind::Database => {
                let database = Database::open(before).ok()?;
                let header = database.header();
                let is_same = is_same(header.place.offset, header.update_seq)
                    && header.uuid.as_deref() == fact.get("uuid").and_then(Value::as_str);
                is_same.then(|| Checked::Database(Box::new(header.clone())))
            }
            Kind::View => {
                let view = View::open(before).ok()?;
                let header = view.header();
                is_same(header.place.offset, header.update_seq).then(|| Checked::View(Box::new(header.clone())))
            }
            Kind::Other => None,
        }
    }
}

/// A header up to which a file was checked before.
pub enum Checked {
    Database(Box<Header>),
    View(Box<ViewHeader>),
}
