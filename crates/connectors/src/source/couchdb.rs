//! Source `couchdb`: the data folder of a CouchDB that may be running, file by file and each as of a commit.
//!
//! CouchDB only ever appends to its files, and puts a header behind each commit. So every file is opened once, in an order
//! in which nothing can be ahead of what it is made from, and cut behind its last header. What comes out is what a CouchDB
//! finds after a crash at that instant, without the torn end. Nothing of it is written to, and no server is asked.

mod capture;
mod complete;
mod config;
mod damage;
mod data_folder;
mod examine;
mod facts;
mod opener;
mod prefix;
mod previous;
mod rename;
mod select;
#[cfg(test)]
mod tests;
mod version;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use repository::{Cancel, Capture, CaptureCx, Facts, Source, SourceError};

pub use self::examine::{check_files, examine};
pub use self::rename::{RenamedNodes, rename_nodes};
pub use self::select::{Selected, files_of, known_damage};
pub use self::version::{Version, needed_version};

use super::layout;

/// The kind's name in the configuration.
pub const KIND: &str = "couchdb";

/// The nodes that a data folder belongs to.
pub fn nodes(facts: &Facts) -> Vec<&str> {
    let listed = facts.get(facts::NODES).and_then(serde_json::Value::as_array).into_iter().flatten();
    listed.filter_map(serde_json::Value::as_str).collect()
}

/// Where the data folder lies below the restored folder `dir` of the source.
pub fn data_folder(facts: &Facts, dir: &Path) -> Option<PathBuf> {
    layout::restored(dir, facts.get(facts::DATA)?.as_str()?)
}

/// What a [`CouchDbSource`] captures.
#[derive(Clone, Debug)]
pub struct CouchDbOptions {
    /// The folder with `_dbs.couch` and `shards`.
    pub data: PathBuf,
    /// CouchDB's own configuration: a folder such as `local.d`, or a file.
    pub config: Option<PathBuf>,
    /// After this long, files are read and checked in full again, not by their tails.
    pub full_read: Duration,
    /// Nouveau's indexes are captured too.
    pub nouveau: bool,
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
    fn claims(&self, _: &Cancel) -> Result<BTreeSet<PathBuf>, SourceError> {
        let data = &self.options.data;
        let spelled = layout::absolute(data).unwrap_or_else(|_| data.clone());
        Ok([Some(spelled), data.canonicalize().ok()].into_iter().flatten().collect())
    }

    fn capture<'a>(&'a self, cx: &CaptureCx<'a>) -> Result<Box<dyn Capture + 'a>, SourceError> {
        Ok(Box::new(capture::open(&self.options, cx, opener::handles())?))
    }
}
