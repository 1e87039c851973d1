//! Source `couchdb`: the data folder of a CouchDB that may be running, file by file and each as of a commit.
//!
//! CouchDB only ever appends to its files, and puts a header behind each commit. So every file is opened once, in an order
//! in which nothing can be ahead of what it is made from, and cut behind its last header. What comes out is what a CouchDB
//! finds after a crash at that instant, without the torn end. Nothing of it is written to. A server is asked
//! only where one is named, and what it says is compared, not captured.
//!
//! - Capture: `capture`, from `data_folder` by `opener` and `prefix`; held against the `parent` snapshot (`stamp`, `unseen`), the
//!   `shard_map` (`complete`), where things should lie (`misplaced`) and a running server (`cross_check`); `config` beside it.
//! - What is known of it: `facts`, `damage`, `version`, `lacks`; counted again by `examine`, read in the copy by `stored_check`.
//! - Restore: which files (`select`, `restored_path`), back into a folder that went on (`in_place`), under other names
//!   (`rename`, `rewritten`), on other nodes (`cluster`).

mod capture;
mod cluster;
mod complete;
mod config;
mod cross_check;
mod damage;
mod data_folder;
mod examine;
mod facts;
mod in_place;
mod lacks;
mod misplaced;
mod opener;
mod parent;
mod prefix;
mod rename;
mod restored_path;
mod rewritten;
mod select;
mod shard_map;
mod stamp;
mod stored_check;
#[cfg(test)]
mod tests;
mod unseen;
mod version;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use repository::{Cancel, Capture, CaptureCx, Facts, Source, SourceError, View};

pub use self::cluster::{
    COPIES_NOT_TAKEN, ClusterPlan, Contest, NodeFiles, Settled, plan_cluster, settle, tidy, write_cluster,
};
pub use self::cross_check::{Answer, ServerOptions, ask};
pub(super) use self::data_folder::is_rebuilt;
pub use self::examine::{check_files, check_part, examine, recount_data};
pub use self::in_place::{
    NamedOtherwise, NodesThere, cluster_files, is_shard_map, name_again, named_otherwise, nodes_there, search_indexes,
};
pub use self::lacks::{databases_in, is_undecryptable, lacks, may_be_lost};
pub use self::rename::{RenamedNodes, rename_nodes};
pub use self::restored_path::{FilesAt, PartAt, part_at};
pub use self::select::{
    Selected, damage_of, files_of, has_damaged_indexes_alone, has_shard, is_index, known_damage, missing_shards,
    no_database, no_shard_map,
};
pub use self::shard_map::SHARD_MAP;
pub use self::stored_check::{StoredCheck, StoredFinding, StoredReport, StoredSource};
pub use self::version::{Version, needed_version, needed_version_of, version_of_image};

use super::layout;
use super::place::{OnHost, Place};
use crate::containers::EngineAddress;

/// The kind's name in the configuration.
pub const KIND: &str = "couchdb";

/// Whether the shard map in a data folder, as it is now, has a database of that name. False where it cannot be read.
pub fn has_database(folder: &Path, name: &str) -> bool {
    shard_map::maps_of_folder(folder).is_some_and(|maps| maps.iter().any(|map| map.database == name))
}

/// The databases in the shard map of a data folder, as it is now. Empty where it cannot be read.
pub fn databases(folder: &Path) -> Vec<String> {
    let maps = shard_map::maps_of_folder(folder).unwrap_or_default();
    maps.into_iter().map(|map| map.database).collect()
}

/// The nodes that a data folder belongs to.
pub fn nodes(facts: &Facts) -> Vec<&str> {
    let listed = facts.get(facts::NODES).and_then(serde_json::Value::as_array).into_iter().flatten();
    listed.filter_map(serde_json::Value::as_str).collect()
}

/// Where the data folder lies below the restored folder `dir` of the source.
pub fn data_folder(facts: &Facts, dir: &Path) -> Option<PathBuf> {
    layout::restored(dir, facts.get(facts::DATA)?.as_str()?)
}

/// Files that were damaged when they were captured, by their paths below the data folder, and what was wrong with each.
pub fn damaged(facts: &Facts) -> Vec<(PathBuf, String)> {
    let listed = facts.get(facts::DAMAGED).and_then(serde_json::Value::as_object).into_iter().flatten();
    let text = |record: &serde_json::Value| {
        record.get("what").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    };
    listed.map(|(file, record)| (PathBuf::from(file), text(record))).collect()
}

/// Another source of the stack.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its data folder.
    pub data: Place,
    /// The configuration that it captures.
    pub config: Place,
}

/// What a [`CouchDbSource`] captures.
#[derive(Clone, Debug)]
pub struct CouchDbOptions {
    /// The folder with `_dbs.couch` and `shards`. Not in a container.
    pub data: Place,
    /// CouchDB's own configuration: a folder such as `local.d`, or a file. Not in a container.
    pub config: Option<Place>,
    /// Where the container engine is, for what lies in a volume.
    pub engine: EngineAddress,
    /// After this long, files are read and checked in full again, not by their tails.
    pub full_read: Duration,
    /// Nouveau's indexes are captured too.
    pub nouveau: bool,
    /// Sources of the same stack that may be other nodes of this cluster, and have CouchDB's configuration.
    pub peers: Vec<Peer>,
    /// The CouchDB whose folder it is, where what it says is to be compared.
    pub server: Option<ServerOptions>,
}

impl CouchDbOptions {
    /// Where the data folder lies.
    fn data_on_host(&self, cancel: &Cancel) -> Result<OnHost, SourceError> {
        on_host("data", &self.data, &self.engine, cancel)
    }

    /// Where the configuration lies.
    fn config_on_host(&self, cancel: &Cancel) -> Result<Option<OnHost>, SourceError> {
        self.config.as_ref().map(|config| on_host("config", config, &self.engine, cancel)).transpose()
    }
}

fn on_host(option: &str, place: &Place, engine: &EngineAddress, cancel: &Cancel) -> Result<OnHost, SourceError> {
    place.on_host(engine, cancel)?.ok_or_else(|| SourceError::Unavailable {
        what: format!("{option}: a folder or a volume is needed, since CouchDB's files are read where they lie"),
    })
}

/// The data folder of one node.
#[derive(Debug)]
pub struct CouchDbSource {
    options: CouchDbOptions,
}

impl CouchDbSource {
    /// The folder is looked for when it is captured.
    pub fn new(options: CouchDbOptions) -> Self {
        Self { options }
    }
}

impl Source for CouchDbSource {
    fn kind(&self) -> &'static str {
        KIND
    }

    /// The whole folder: what is left out of it must not come in through another source.
    fn claims(&self, cancel: &Cancel) -> Result<BTreeSet<PathBuf>, SourceError> {
        let data = self.options.data_on_host(cancel)?.path;
        let spelled = layout::absolute(&data).unwrap_or_else(|_| data.clone());
        Ok([Some(spelled), data.canonicalize().ok()].into_iter().flatten().collect())
    }

    fn finds_losses(&self) -> bool {
        true
    }

    fn view(&self) -> View {
        View::Held
    }

    fn capture<'a>(&'a self, cx: &CaptureCx<'a>) -> Result<Box<dyn Capture + 'a>, SourceError> {
        Ok(Box::new(capture::open(&self.options, cx, opener::handles())?))
    }
}
