//! Which files of a snapshot belong to one database, or to some of its shards, as the facts list them, and what of them
//! the snapshot does not hold whole.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use couchfile::{ShardName, ShardRange, ViewName};
use repository::{Facts, SourceError};
use serde_json::Value;

use super::damage::{self, without_ending};
use super::data_folder::Kind;
use super::facts::{DAMAGED, DATA, DATABASES, FILES, MISSING, SEEN, VIEWS};
use super::shard_map::SHARD_MAP;
use crate::source::layout;

/// How the names of folders with indexes end.
const INDEXES: &str = "_design";

/// Files below a data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// The data folder on the host it came from.
    pub data: PathBuf,
    /// Paths below it, as they are written: databases first, then their views.
    pub files: Vec<PathBuf>,
    /// Shards that were asked for and are not in the snapshot, in words.
    pub lacking: Vec<String>,
    /// Shards of these databases that other nodes of the cluster have.
    pub elsewhere: Vec<ShardName>,
}

impl Selected {
    /// The databases alone, and the folders that hold their indexes.
    pub fn databases_and_index_folders(&self) -> Vec<PathBuf> {
        let folders: BTreeSet<_> = self.files.iter().filter_map(|file| index_folder_around(file)).collect();
        self.databases().cloned().chain(folders).collect()
    }

    /// Where indexes of these databases would lie, and the snapshot has none.
    pub fn indexes_not_in_it(&self) -> Vec<PathBuf> {
        let folders: BTreeSet<_> = self.files.iter().filter_map(|file| index_folder_around(file)).collect();
        self.databases().map(|file| index_folder(file)).filter(|folder| !folders.contains(folder)).collect()
    }

    /// The shards among the files.
    pub fn shards(&self) -> impl Iterator<Item = ShardName> {
        self.databases().filter_map(|file| ShardName::parse(file.to_str()?))
    }

    fn databases(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.iter().filter(|file| index_folder_around(file).is_none())
    }
}

/// Where CouchDB keeps the indexes of a database: at the same path with a dot before it.
fn index_folder(database: &Path) -> PathBuf {
    let mut folder = OsString::from(".");
    folder.push(without_ending(&database.to_string_lossy()));
    folder.push(INDEXES);
    PathBuf::from(folder)
}

/// The folder with all indexes of a database that the view `file` is in; `None` for a database.
fn index_folder_around(file: &Path) -> Option<PathBuf> {
    let is_folder = |path: &&Path| path.file_name().is_some_and(|name| name.as_bytes().ends_with(INDEXES.as_bytes()));
    file.ancestors().skip(1).find(is_folder).map(Path::to_path_buf)
}

/// The files of `databases`, of those of their shards whose range is one of `ranges`, or of all where none is named.
///
/// # Errors
/// A database, or range, that the snapshot does not have; the message names those it has.
pub fn files_of(facts: &Facts, databases: &[String], ranges: &[String]) -> Result<Selected, SourceError> {
    let ranges = ranges.iter().map(|text| {
        ShardRange::parse(text).ok_or_else(|| {
            SourceError::unavailable(format!("`{text}` is no range of a shard, such as 00000000-15555554"))
        })
    });
    let ranges = ranges.collect::<Result<BTreeSet<_>, _>>()?;
    let data = facts.get(DATA).and_then(Value::as_str).and_then(|data| layout::restored(Path::new("/"), data));
    let data = data.ok_or_else(|| SourceError::unavailable("the snapshot does not say where its data folder was"))?;
    let (mut files, mut found) = (Vec::new(), BTreeSet::new());
    let mut shards = BTreeSet::new();
    for name in names(facts, FILES, Kind::Database) {
        let Some(shard) = ShardName::parse(&name) else {
            // Not sharded: `_dbs`, `_nodes`.
            let Some(database) = databases.iter().find(|asked| *asked == without_ending(&name)) else { continue };
            found.insert(database.clone());
            files.push(PathBuf::from(name));
            continue;
        };
        if databases.contains(&shard.database) && (ranges.is_empty() || ranges.contains(&shard.range)) {
            found.insert(shard.database.clone());
            shards.insert(shard);
            files.push(PathBuf::from(name));
        }
    }
    if let Some(missing) = databases.iter().find(|asked| !found.contains(*asked)) {
        let has: BTreeSet<String> = names(facts, FILES, Kind::Database)
            .into_iter()
            .filter_map(|name| Some(ShardName::parse(&name)?.database))
            .collect();
        let has: Vec<&str> = has.iter().map(String::as_str).collect();
        let of_ranges = if ranges.is_empty() { "" } else { " in these ranges" };
        return Err(SourceError::unavailable(format!(
            "the snapshot has no database {missing}{of_ranges}; its databases are {}",
            has.join(", ")
        )));
    }
    let known: BTreeSet<ShardName> = databases.iter().flat_map(|database| shards_named(facts, database)).collect();
    let is_known = |range: &ShardRange| known.iter().chain(&shards).any(|shard| shard.range == *range);
    if let Some(range) = ranges.iter().find(|range| !is_known(range)) {
        return Err(SourceError::unavailable(format!("none of these databases has a shard {range}")));
    }
    // In a cluster other nodes may hold the rest of a database; a range that was asked for by name is wanted from this one.
    let wanted: Vec<ShardName> = match ranges.is_empty() {
        true => shards_lacking(facts).into_iter().filter(|shard| databases.contains(&shard.database)).collect(),
        false => known.iter().filter(|shard| ranges.contains(&shard.range)).cloned().collect(),
    };
    let lacking = wanted.iter().filter(|shard| !shards.contains(shard)).map(not_there).collect();
    let is_elsewhere = |shard: &ShardName| ranges.is_empty() && !wanted.contains(shard) && !shards.contains(shard);
    let elsewhere = known.into_iter().filter(is_elsewhere).collect();
    let of_files: BTreeSet<String> =
        files.iter().map(|file| without_ending(&file.to_string_lossy()).to_owned()).collect();
    let is_of_files = |name: &String| ViewName::parse(name).is_some_and(|view| of_files.contains(&view.database));
    files.extend(names(facts, VIEWS, Kind::View).into_iter().filter(is_of_files).map(PathBuf::from));
    Ok(Selected { data, files, lacking, elsewhere })
}

/// Whether the snapshot has a shard.
pub fn has_shard(facts: &Facts, shard: &ShardName) -> bool {
    names(facts, FILES, Kind::Database).iter().any(|name| ShardName::parse(name).as_ref() == Some(shard))
}

/// What is wrong with some files of a snapshot, as it was told when it was made.
pub fn damage_of(facts: &Facts, files: &[PathBuf]) -> Vec<String> {
    let damaged = object(facts, DAMAGED).filter(|(name, _)| files.iter().any(|file| file.as_os_str() == name.as_str()));
    damaged.map(|(name, record)| damage::problem(Path::new(""), name, record).what).collect()
}

/// What is wrong with a whole snapshot, as it was told when it was made: damaged files and missing shards.
pub fn known_damage(facts: &Facts) -> Vec<String> {
    let damaged = object(facts, DAMAGED).map(|(name, record)| damage::problem(Path::new(""), name, record).what);
    damaged.chain(missing_shards(facts)).chain(no_shard_map(facts)).chain(no_database(facts)).collect()
}

/// Whether the snapshot has damaged indexes, and lacks nothing else. CouchDB builds indexes anew.
pub fn has_damaged_indexes_alone(facts: &Facts) -> bool {
    let mut damaged = object(facts, DAMAGED).map(|(name, _)| is_index(Path::new(name))).peekable();
    damaged.peek().is_some()
        && damaged.all(|is_index| is_index)
        && missing_shards(facts).is_empty()
        && no_shard_map(facts).is_none()
        && no_database(facts).is_none()
}

/// Whether a file of the data folder is an index of a database, by its name.
pub fn is_index(path: &Path) -> bool {
    Kind::of(path) == Kind::View
}

/// That the snapshot has no database at all, in words. A CouchDB that is started on that makes everything anew, as empty.
pub fn no_database(facts: &Facts) -> Option<String> {
    names(facts, FILES, Kind::Database)
        .is_empty()
        .then(|| "no database is in the snapshot: the data folder was empty, or its disk not mounted".to_owned())
}

/// That the snapshot has shards and no shard map, in words: CouchDB would know none of their databases.
pub fn no_shard_map(facts: &Facts) -> Option<String> {
    let files = names(facts, FILES, Kind::Database);
    let has_shards = files.iter().any(|name| ShardName::parse(name).is_some());
    (has_shards && !files.iter().any(|name| without_ending(name) == without_ending(SHARD_MAP))).then(|| {
        format!("{SHARD_MAP} is not in the snapshot, and without this shard map CouchDB knows none of the databases")
    })
}

/// Shards that the shard map places on this node and the snapshot does not have, in words. Where there are several nodes, a
/// shard may well lie on another; so the capture, which knew the node, says which lack.
pub fn missing_shards(facts: &Facts) -> Vec<String> {
    shards_lacking(facts).iter().map(not_there).collect()
}

/// The shards of [`missing_shards`].
pub(super) fn shards_lacking(facts: &Facts) -> BTreeSet<ShardName> {
    let noted = facts.get(MISSING).and_then(Value::as_array).into_iter().flatten();
    let mut missing: BTreeSet<ShardName> = noted.filter_map(|file| ShardName::parse(file.as_str()?)).collect();
    if super::nodes(facts).len() == 1 {
        let files = names(facts, FILES, Kind::Database);
        let there: BTreeSet<ShardName> = files.iter().filter_map(|name| ShardName::parse(name)).collect();
        let shards = object(facts, DATABASES).flat_map(|(database, _)| shards_named(facts, database));
        missing.extend(shards.filter(|shard| !there.contains(shard)));
    }
    missing
}

pub(super) fn object<'a>(facts: &'a Facts, fact: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    facts.get(fact).and_then(Value::as_object).into_iter().flatten()
}

/// Files by what the facts say of them, those included in which no header was found.
pub(super) fn names(facts: &Facts, fact: &str, kind: Kind) -> BTreeSet<String> {
    let is_there = |name: &str| facts.get(SEEN).is_some_and(|seen| seen.get(name).is_some());
    let damaged = object(facts, DAMAGED).filter(|(name, _)| Kind::of(Path::new(name)) == kind && is_there(name));
    object(facts, fact).chain(damaged).map(|(name, _)| name.clone()).collect()
}

/// The shards that the shard map named of a database.
pub(super) fn shards_named(facts: &Facts, database: &str) -> Vec<ShardName> {
    let fact = facts.get(DATABASES).and_then(|databases| databases.get(database));
    let suffix = fact.and_then(|fact| fact.get("suffix")?.as_str()).unwrap_or_default();
    let ranges = fact.and_then(|fact| fact.get("ranges")?.as_array()).into_iter().flatten();
    let ranges = ranges.filter_map(|range| ShardRange::parse(range.as_str()?));
    ranges.map(|range| ShardName { range, database: database.to_owned(), suffix: suffix.to_owned() }).collect()
}

pub(super) fn not_there(shard: &ShardName) -> String {
    format!(
        "database {}, shard {}: the shard map names it, and the snapshot does not have it",
        shard.database, shard.range
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_database_is_its_shards_and_their_views() {
        let view = "_design/mrview/2da00b9a4e2604c99e4b65b70817033f.view";
        let facts = json!({
            "data": "/srv/couchdb",
            "files": {
                "_dbs.couch": {}, "shards/00000000-7fffffff/medic.1.couch": {}, "shards/80000000-ffffffff/medic.1.couch": {},
                "shards/00000000-7fffffff/medic-sentinel.1.couch": {},
            },
            "views": {
                (format!(".shards/00000000-7fffffff/medic.1{view}")): {},
                (format!(".shards/00000000-7fffffff/medic-sentinel.1{view}")): {},
            },
        });
        let facts: Facts = serde_json::from_value(facts).unwrap();
        let files = |databases: &[&str], ranges: &[&str]| {
            let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            files_of(&facts, &owned(databases), &owned(ranges)).map(|selected| selected.files.len())
        };
        assert_eq!(files(&["medic"], &[]).unwrap(), 3);
        assert_eq!(files(&["medic"], &["80000000-ffffffff"]).unwrap(), 1);
        assert_eq!(files(&["medic", "_dbs"], &[]).unwrap(), 4);
        let selected = files_of(&facts, &["medic".to_owned()], &[]).unwrap();
        let [first, second] = ["00000000-7fffffff", "80000000-ffffffff"].map(|range| format!("shards/{range}/medic.1"));
        let folders = [&first, &second].map(|file| PathBuf::from(format!(".{file}_design")));
        let restored = [format!("{first}.couch").into(), format!("{second}.couch").into(), folders[0].clone()];
        assert_eq!(selected.databases_and_index_folders(), restored);
        assert_eq!(selected.indexes_not_in_it(), folders[1..]);
        let error = files(&["medics"], &[]).unwrap_err().to_string();
        assert!(error.contains("no database medics") && error.contains("medic, medic-sentinel"), "{error}");
        assert!(files(&["medic"], &["00000000-3fffffff"]).unwrap_err().to_string().contains("in these ranges"));
        assert!(files(&["medic"], &["0-7"]).unwrap_err().to_string().contains("no range"));
        let error = files(&["medic"], &["80000000-ffffffff", "00000000-3fffffff"]).unwrap_err().to_string();
        assert!(error.contains("has a shard 00000000-3fffffff"), "{error}");
    }

    #[test]
    fn shards_without_a_header_are_taken_and_missing_ones_named() {
        let record = json!({ "what": "torn", "good_in": null });
        let facts = json!({
            "data": "/srv/couchdb",
            "nodes": ["couchdb@127.0.0.1"],
            "databases": { "medic": { "suffix": ".1", "ranges": ["00000000-3fffffff", "40000000-7fffffff", "80000000-ffffffff"] } },
            "files": { "shards/00000000-3fffffff/medic.1.couch.compact": {} },
            "damaged": {
                "shards/40000000-7fffffff/medic.1.couch": record, "shards/80000000-ffffffff/medic.1.couch": record,
            },
            "seen": { "shards/40000000-7fffffff/medic.1.couch": "", "shards/00000000-3fffffff/medic.1.couch.compact": "" },
        });
        let facts: Facts = serde_json::from_value(facts).unwrap();
        let selected = files_of(&facts, &["medic".to_owned()], &[]).unwrap();
        assert_eq!(selected.files.len(), 2, "{selected:?}");
        let missing =
            "database medic, shard 80000000-ffffffff: the shard map names it, and the snapshot does not have it";
        assert_eq!(selected.lacking, [missing]);
        let range = |range: &str| files_of(&facts, &["medic".to_owned()], &[range.to_owned()]).unwrap().lacking.len();
        assert_eq!((range("00000000-3fffffff"), range("40000000-7fffffff")), (0, 0));
        let cluster: Facts = serde_json::from_value(json!({
            "data": "/srv/couchdb",
            "nodes": ["couchdb@one", "couchdb@two"],
            "missing": ["shards/40000000-7fffffff/medic.1.couch"],
            "databases": facts["databases"],
            "files": { "shards/00000000-3fffffff/medic.1.couch": {} },
        }))
        .unwrap();
        let Selected { lacking, elsewhere, .. } = files_of(&cluster, &["medic".to_owned()], &[]).unwrap();
        assert!(lacking.len() == 1 && lacking[0].contains("40000000"), "the other node has the last: {lacking:?}");
        assert_eq!(elsewhere.iter().map(|shard| shard.range.to_string()).collect::<Vec<_>>(), ["80000000-ffffffff"]);
        let asked = ["00000000-3fffffff", "80000000-ffffffff"].map(str::to_owned);
        let lacking = files_of(&cluster, &["medic".to_owned()], &asked).unwrap().lacking;
        assert!(lacking.len() == 1 && lacking[0].contains("80000000"), "it was asked for by name: {lacking:?}");
        let index = PathBuf::from(".shards/00000000-3fffffff/medic.1_design");
        assert!(selected.indexes_not_in_it().contains(&index), "of what a compaction left, too: {selected:?}");
        let known = known_damage(&facts);
        assert_eq!(known.len(), 4, "{known:?}");
        assert!(known[3].starts_with("_dbs.couch is not in the snapshot"), "{known:?}");
        assert!(known.iter().any(|what| what == missing));
    }
}
