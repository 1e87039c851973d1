//! Which files of a snapshot belong to one database, or to some of its shards, as the facts list them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use couchfile::{ShardName, ShardRange, ViewName};
use repository::{Facts, SourceError};
use serde_json::Value;

use super::facts::{DATA, FILES, VIEWS};
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

    fn databases(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.iter().filter(|file| index_folder_around(file).is_none())
    }
}

/// Where CouchDB keeps the indexes of a database: at the same path with a dot before it.
fn index_folder(database: &Path) -> PathBuf {
    let mut folder = OsString::from(".");
    folder.push(database.with_extension(""));
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
    let unavailable = |what: String| SourceError::Unavailable { what };
    let ranges = ranges.iter().map(|text| {
        ShardRange::parse(text)
            .ok_or_else(|| unavailable(format!("`{text}` is no range of a shard, such as 00000000-15555554")))
    });
    let ranges = ranges.collect::<Result<BTreeSet<_>, _>>()?;
    let data = facts.get(DATA).and_then(Value::as_str).and_then(|data| layout::restored(Path::new("/"), data));
    let data = data.ok_or_else(|| unavailable("the snapshot does not say where its data folder was".to_owned()))?;
    let (mut files, mut found) = (Vec::new(), BTreeSet::new());
    let names =
        |fact: &str| facts.get(fact).and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name.clone());
    for name in names(FILES) {
        let Some(shard) = ShardName::parse(&name) else {
            // Not sharded: `_dbs`, `_nodes`.
            let Some(database) = name.strip_suffix(".couch").filter(|name| databases.iter().any(|asked| asked == name))
            else {
                continue;
            };
            found.insert(database.to_owned());
            files.push(PathBuf::from(name));
            continue;
        };
        if databases.contains(&shard.database) && (ranges.is_empty() || ranges.contains(&shard.range)) {
            found.insert(shard.database);
            files.push(PathBuf::from(name));
        }
    }
    if let Some(missing) = databases.iter().find(|asked| !found.contains(*asked)) {
        let has: BTreeSet<String> = names(FILES).filter_map(|name| Some(ShardName::parse(&name)?.database)).collect();
        let has: Vec<&str> = has.iter().map(String::as_str).collect();
        let of_ranges = if ranges.is_empty() { "" } else { " in these ranges" };
        return Err(unavailable(format!(
            "the snapshot has no database {missing}{of_ranges}; its databases are {}",
            has.join(", ")
        )));
    }
    let of_files: BTreeSet<PathBuf> = files.iter().map(|file| file.with_extension("")).collect();
    let is_of_files =
        |name: &String| ViewName::parse(name).is_some_and(|view| of_files.contains(Path::new(&view.database)));
    files.extend(names(VIEWS).filter(is_of_files).map(PathBuf::from));
    Ok(Selected { data, files })
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
    }
}
