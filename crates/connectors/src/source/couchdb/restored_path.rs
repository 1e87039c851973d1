//! What of a data folder comes back where one path of the host is restored: all of it, some files, or nothing. A data
//! folder that is asked for by its path is as ready for a CouchDB as one that is asked for by its source.

use std::path::{Path, PathBuf};

use couchfile::ShardName;
use repository::{Cancel, Facts, SourceError};

use super::data_folder::Kind;
use super::examine;
use super::facts::{FILES, VIEWS};
use super::select::{damage_of, names, not_there, shards_lacking};
use super::version::{Version, needed_version_of};

/// How a path of the host lies to the data folder of a snapshot.
#[derive(Debug, PartialEq, Eq)]
pub enum PartAt {
    /// The data folder is in it, at this path below it, which is empty where they are the same.
    Whole(PathBuf),
    /// It is in the data folder.
    Files(FilesAt),
    /// No database file is in it.
    Nothing,
}

/// The databases and views at or below a path that lies in the data folder.
#[derive(Debug, PartialEq, Eq)]
pub struct FilesAt {
    /// The folder that comes straight into the target, by its path below the data folder.
    folder: PathBuf,
    /// Paths below the data folder.
    files: Vec<PathBuf>,
    /// Shards that the shard map names here and the snapshot does not have, in words.
    pub lacking: Vec<String>,
}

/// What of the data folder is at or below `path`, a path of the host it came from.
pub fn part_at(facts: &Facts, path: &Path) -> PartAt {
    let Some(data) = super::data_folder(facts, Path::new("/")) else { return PartAt::Nothing };
    if let Ok(below) = data.strip_prefix(path) {
        return PartAt::Whole(below.to_owned());
    }
    let Ok(below) = path.strip_prefix(&data) else { return PartAt::Nothing };
    let is_here = |file: &Path| file.starts_with(below);
    let files =
        [(FILES, Kind::Database), (VIEWS, Kind::View)].into_iter().flat_map(|(fact, kind)| names(facts, fact, kind));
    let files: Vec<_> = files.map(PathBuf::from).filter(|file| is_here(file)).collect();
    let lacking = shards_lacking(facts).into_iter().filter(|shard: &ShardName| is_here(Path::new(&shard.file())));
    let lacking: Vec<_> = lacking.map(|shard| not_there(&shard)).collect();
    if files.is_empty() && lacking.is_empty() {
        return PartAt::Nothing;
    }
    // A single file comes into the target under its name.
    let is_file = files.iter().any(|file| file == below);
    let folder = if is_file { below.parent().unwrap_or(below) } else { below };
    PartAt::Files(FilesAt { folder: folder.to_owned(), files, lacking })
}

impl FilesAt {
    /// What is wrong with the files, as it was told when they were captured.
    pub fn damage(&self, recorded: &Facts) -> Vec<String> {
        damage_of(recorded, &self.files)
    }

    /// The oldest CouchDB that reads them, and why no older one does.
    pub fn needed_version(&self, recorded: &Facts) -> (Version, &'static str) {
        needed_version_of(recorded, &self.files)
    }

    /// Reads the files, which were restored into `target`, as [`super::check_files`] does.
    pub fn check(&self, target: &Path, recorded: &Facts, cancel: &Cancel) -> Result<Vec<String>, SourceError> {
        let host = |file: &Path| target.join(file.strip_prefix(&self.folder).unwrap_or(file));
        examine::check_placed(&self.files, host, recorded, cancel)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_at_or_above_the_data_folder_is_all_of_it_and_one_in_it_is_its_files() {
        let (first, second) = ("00000000-7fffffff", "80000000-ffffffff");
        let medic = format!("shards/{first}/medic.1.couch");
        let view = format!(".shards/{first}/medic.1_design/mrview/2da00b9a4e2604c99e4b65b70817033f.view");
        let facts = json!({
            "data": "/srv/cht/couchdb", "nodes": ["couchdb@127.0.0.1"],
            "databases": { "medic": { "suffix": ".1", "ranges": [first, second] } },
            "files": { "_dbs.couch": {}, (medic.clone()): {} }, "views": { (view.clone()): {} },
        });
        let facts: Facts = serde_json::from_value(facts).unwrap();
        let at = |path: &str| part_at(&facts, Path::new(path));
        assert_eq!(at("/srv/cht/couchdb"), PartAt::Whole("".into()));
        assert_eq!(at("/srv"), PartAt::Whole("cht/couchdb".into()));
        assert_eq!(at("/"), PartAt::Whole("srv/cht/couchdb".into()));
        let here = |path: &str| match at(&format!("/srv/cht/couchdb/{path}")) {
            PartAt::Files(FilesAt { folder, files, lacking }) => {
                let files: Vec<_> = files.into_iter().map(|file| file.display().to_string()).collect();
                Some((folder.display().to_string(), files, lacking.len()))
            }
            _ => None,
        };
        assert_eq!(here("shards"), Some(("shards".to_owned(), vec![medic.clone()], 1)));
        assert_eq!(here(".shards"), Some((".shards".to_owned(), vec![view], 0)));
        assert_eq!(here(&medic), Some((format!("shards/{first}"), vec![medic.clone()], 0)));
        assert_eq!(here(&format!("shards/{second}")), Some((format!("shards/{second}"), Vec::new(), 1)));
        assert_eq!(here("_dbs.couch"), Some((String::new(), vec!["_dbs.couch".to_owned()], 0)));
        for path in ["/srv/cht/couchdb/nouveau", "/srv/cht/couchdb-old", "/srv/cht/credentials"] {
            assert_eq!(at(path), PartAt::Nothing, "{path}");
        }
    }
}
