//! Whether all of it was found: the shard map is read, and what it names is looked for until it is there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use couchfile::{Database, ShardMap};
use repository::{CaptureCx, Event, Item, SourceError};

use super::{CouchDbCapture, Leaf};
use crate::source::couchdb::complete::{Completeness, in_words};
use crate::source::couchdb::data_folder::{COMPACTED, DataFolder, Kind, Part};
use crate::source::couchdb::opener::{Handle, How};
use crate::source::couchdb::prefix::Prefix;
use crate::source::couchdb::shard_map::{self, NODE_LIST, SHARD_MAP};

/// Times that shards are looked for again that the shard map names and that are not there.
const RESCANS: usize = 3;
const RESCAN_PAUSE: Duration = Duration::from_millis(200);

impl CouchDbCapture<'_> {
    /// Reads the shard map and the nodes out of the files that were opened.
    pub(super) fn read_shard_map(&mut self) {
        let cancel = self.opener.cancel;
        let leaf = |name: &str| self.leaves.get(&self.root.join(name));
        let opened = |name: &str| match leaf(name).or_else(|| leaf(&format!("{name}{COMPACTED}"))) {
            Some(Leaf::Opened(file)) => match &file.handle {
                Handle::Held(held) => Database::open(Prefix { file: held, bytes: file.node.size, cancel }).ok(),
                Handle::Released | Handle::Unchanged => None,
            },
            _ => None,
        };
        let shard_map = opened(SHARD_MAP);
        self.has_map = shard_map.is_some();
        let owner = shard_map.as_ref().and_then(shard_map::owner);
        let (maps, error) = shard_map.as_ref().map(shard_map::maps).unwrap_or_default();
        let nodes = shard_map::nodes_or_named(opened(NODE_LIST), &maps);
        (self.counted.nodes, self.counted.maps, self.owner) = (nodes, maps, owner);
        self.unread_map = error.map(|error| error.to_string());
    }

    /// Looks again for shards that are not there, since databases come and go meanwhile; says what lacks in the end.
    pub(super) fn look_for_missing_shards(
        &mut self,
        folder: &DataFolder<'_>,
        cx: &CaptureCx<'_>,
    ) -> Result<(), SourceError> {
        // By whatever link either was named.
        let real = |path: &Path| path.canonicalize().ok();
        let own = real(&self.root);
        let others = cx.claimed.iter().filter(|path| **path != self.root && (own.is_none() || real(path) != own));
        let elsewhere: BTreeSet<String> = others.filter_map(|path| shard_map::owner_of_folder(path)).collect();
        if !elsewhere.is_empty() {
            let what = "the nodes of this cluster are not opened at the very same moment, so that what Sentinel keeps of its work may \
                        be ahead of documents on another node";
            self.events.emit(Event::Note(format!("{}: {what}", self.root.display())));
        }
        let mut attempt = 0;
        while attempt < RESCANS
            && (!self.completeness(&self.counted.maps, &elsewhere, |it| it.missing()).is_empty()
                || !self.unnamed_shards().is_empty())
        {
            attempt += 1;
            self.opener.pause(RESCAN_PAUSE)?;
            self.take(&self.root.join(SHARD_MAP), How::Read)?;
            self.read_shard_map();
            let listing = folder.list(Part::Shards)?;
            self.take_found(folder, listing.found, false)?;
        }
        let root = self.root.clone();
        let is_shard = |path: &PathBuf| path.starts_with(root.join("shards")) && Kind::of(path) == Kind::Database;
        if self.leaves.keys().any(is_shard) && !self.has(SHARD_MAP) {
            let what = "is not there, and without it CouchDB does not know the databases whose shards are";
            self.problem(&root.join(SHARD_MAP), what);
        }
        let unnamed = self.unnamed_shards();
        if !unnamed.is_empty() {
            let databases = in_words(&unnamed);
            let what = format!(
                "the shard map does not name these databases, and there are shards of them: {databases}; CouchDB does not \
                 know them. Where they were deleted, remove the files of their shards; else the shard map has lost them"
            );
            self.problem(&root.join("shards"), what);
        }
        self.note_map_loss();
        self.is_map_whole = self.has_map && self.unread_map.is_none();
        if let Some(error) = self.unread_map.take() {
            let what = format!(
                "the shard map of a database cannot be read, so whether all its shards are there is unknown: {error}"
            );
            self.problem(&root.join(SHARD_MAP), what);
        }
        let maps = match self.completeness(&self.counted.maps, &elsewhere, |it| it.missing()).is_empty() {
            true => self.counted.maps.clone(),
            false => self.maps_not_deleted(),
        };
        let problems = self.completeness(&maps, &elsewhere, |it| it.problems(&root));
        self.waiting.extend(problems.into_iter().map(Item::Problem));
        self.note_missing(&maps, &elsewhere);
        Ok(())
    }

    pub(super) fn has_databases(&self) -> bool {
        self.leaves.keys().any(|path| Kind::of(path) == Kind::Database)
    }

    /// Databases that the shard map does not name, and of which shards are there, and still are.
    fn unnamed_shards(&self) -> BTreeSet<String> {
        if !self.has_map || self.unread_map.is_some() {
            return BTreeSet::new();
        }
        let there = self.leaves.keys().filter(|host| host.symlink_metadata().is_ok());
        let files = there.filter_map(|host| host.strip_prefix(&self.root).ok()?.to_str());
        self.completeness(&self.counted.maps, &BTreeSet::new(), |it| it.unnamed(files))
            .into_iter()
            .map(|shard| shard.database)
            .collect()
    }

    pub(super) fn completeness<T>(
        &self,
        maps: &[ShardMap],
        elsewhere: &BTreeSet<String>,
        ask: impl FnOnce(Completeness<'_>) -> T,
    ) -> T {
        ask(Completeness {
            maps,
            nodes: &self.counted.nodes,
            owner: self.owner.as_deref(),
            elsewhere,
            has: &|path| self.has(path),
        })
    }

    /// Whether a file was found, also in the form that a compaction left, and also where it could not be opened. What is
    /// no file, such as a link, does not count.
    pub(super) fn has(&self, path: &str) -> bool {
        let is_file =
            |host: &Path| matches!(self.leaves.get(host), Some(Leaf::Opened(_))) || self.failed.contains(host);
        is_file(&self.root.join(path)) || is_file(&self.root.join(format!("{path}{COMPACTED}")))
    }
}
