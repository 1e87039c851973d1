//! What earlier snapshots have and this capture does not find: files that are gone, and databases that left the shard map or
//! lost it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use couchfile::{ShardMap, ShardName};
use repository::{Item, Problem};
use serde_json::{Map, Value};

use super::CouchDbCapture;
use crate::source::couchdb::complete::Completeness;
use crate::source::couchdb::damage::{self, Damage, is_other};
use crate::source::couchdb::data_folder::{COMPACTED, Kind};
use crate::source::couchdb::parent::{Before, FORGOTTEN};
use crate::source::couchdb::shard_map::{self, NODE_LIST, SHARD_MAP, SHARD_MAP_FILES};
use crate::source::couchdb::unseen;
use crate::source::layout;

impl CouchDbCapture<'_> {
    /// Keeps in the facts that a file is not there which an earlier snapshot had: CouchDB may make it anew, as empty. Where
    /// there is none at all, one problem says so of all.
    pub(super) fn note_missing(&mut self, maps: &[ShardMap], elsewhere: &BTreeSet<String>) {
        if !self.has_databases() {
            return;
        }
        let before = self.opener.before;
        let missing: Vec<_> = unseen::database_files(&before).into_iter().filter(|file| !self.has(file)).collect();
        for file in missing {
            let is_wanted = match ShardName::parse(file) {
                Some(shard) => self.completeness(maps, elsewhere, |it| it.places_here(&shard)),
                None => is_wanted_beside_shards(&before, file),
            };
            if is_wanted {
                let record = Damage::of_missing().record(&before, Kind::Database, file);
                self.tell_damage(&self.root.join(file), file, record);
            }
        }
    }

    /// Tells of a file that was lost and is there again.
    pub(super) fn note_returned(&mut self, host: &Path, key: &str, header: &Value) {
        if let Some(what) = damage::returned(&self.opener.before, key, header) {
            let what = format!("{}: {what}", damage::name(key));
            self.waiting.push_back(Item::Problem(Problem::new(host, what)));
        }
    }

    /// Keeps in the facts that the shard map is not the one of before, or has less than it had.
    pub(super) fn note_map_loss(&mut self) {
        let before = self.opener.before;
        let Some((key, header)) = SHARD_MAP_FILES.iter().find_map(|key| Some((*key, self.counted.files.get(*key)?)))
        else {
            return;
        };
        let header = header.clone();
        self.note_returned(&self.root.join(key), key, &header);
        // What a map that was made anew forgot is what there was before it. What was made and deleted since is not lost.
        let known = match before.forgotten(key).filter(|_| before.last(key).is_none_or(|last| !is_other(last, &header)))
        {
            Some(known) => known,
            None => {
                unseen::database_files(&before).into_iter().chain(before.forgotten(key).into_iter().flatten()).collect()
            }
        };
        let none = BTreeSet::new();
        let unnamed = self.completeness(&self.counted.maps, &none, |it| it.unnamed(known.into_iter()));
        if let Some(damage) = Damage::of_loss_of_map(&before, key, &header, &unnamed) {
            let mut record = damage.record(&before, Kind::Database, key);
            // One shard of each says which database of that name is meant.
            let files: BTreeMap<_, _> = unnamed
                .into_iter()
                .map(|shard| ((shard.database.clone(), shard.suffix.clone()), shard.file()))
                .collect();
            if !files.is_empty() {
                record[FORGOTTEN] = files.into_values().collect::<Vec<_>>().into();
            }
            self.tell_damage(&self.root.join(key), key, record);
        }
    }

    /// The shard maps of databases that are still there: one that was deleted since its map was read may well lack shards.
    pub(super) fn maps_not_deleted(&self) -> Vec<ShardMap> {
        let mut maps = self.counted.maps.clone();
        if let Some(now) = shard_map::maps_of_folder(&self.root) {
            maps.retain(|map| now.iter().any(|now| (&now.database, &now.suffix) == (&map.database, &map.suffix)));
        }
        maps
    }

    /// The shards that this node should have and the snapshot has not, by the paths of their files; in the end, when also
    /// those are known that could not be read.
    pub(super) fn missing(&self) -> BTreeSet<String> {
        let is_there = |path: &str| {
            let key = layout::fact_key(Path::new(path));
            self.seen.contains_key(&key) || self.seen.contains_key(&format!("{key}{COMPACTED}"))
        };
        let missing = |maps: &[ShardMap]| {
            let (nodes, owner, elsewhere) = (&self.counted.nodes, self.owner.as_deref(), &BTreeSet::new());
            Completeness { maps, nodes, owner, elsewhere, has: &is_there }.missing_shards()
        };
        if missing(&self.counted.maps).is_empty() {
            return BTreeSet::new();
        }
        missing(&self.maps_not_deleted()).iter().map(|shard| layout::fact_key(Path::new(&shard.file()))).collect()
    }

    /// What is known of files that were not seen, and not deleted with their databases.
    pub(super) fn unseen(&self) -> Map<String, Value> {
        // A map that lost updates may have lost databases that were never deleted.
        let is_map_damaged = SHARD_MAP_FILES.iter().any(|key| self.damaged.contains_key(*key));
        let is_deleted = |file: &str| match ShardName::parse(file) {
            Some(shard) => {
                self.is_map_whole
                    && !is_map_damaged
                    && !self.completeness(&self.counted.maps, &BTreeSet::new(), |it| it.places_here(&shard))
            }
            // Such as what CouchDB keeps of a deleted database, or files of a folder that was named a level too high.
            None => file.contains('/'),
        };
        unseen::carried(&self.opener.before, &self.counted.files, &self.damaged, is_deleted)
    }
}

/// Whether a database that is in no shard map must be there. CouchDB never works without these two. Another one that is gone
/// may have been deleted, and nothing tells; so that is told by the first snapshot without it.
fn is_wanted_beside_shards(before: &Before<'_>, file: &str) -> bool {
    !file.contains('/') && ([SHARD_MAP, NODE_LIST].contains(&file) || before.was_seen(file))
}
