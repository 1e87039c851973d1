//! What the snapshots say of each source: the newest, the newest whole one before it, and those that came back in a drill.

use std::collections::{BTreeMap, BTreeSet};

use connectors::source::{Captured, Thing, couchdb};
use operations::manifest::{Manifest, SourceRecord, SourceStatus};
use operations::{Fault, drill, snapshots};
use repository::format::snapshot::Snapshot;
use repository::{Clock as _, Error, Id, Index};

use super::{SourceName, sources};
use crate::app::{App, Opened};

/// What the copies hold of the sources.
#[derive(Default)]
pub struct Stored {
    manifests: BTreeMap<Id, Manifest>,
    sources: BTreeMap<SourceName, Snapshots>,
}

/// The snapshots that tell of one source.
#[derive(Default)]
struct Snapshots {
    newest: Option<Id>,
    /// The newest in which the source is whole, of those before.
    whole_before: Option<Id>,
    /// Those that came back in a drill.
    proven: Vec<Id>,
}

/// A database that an earlier snapshot has whole and the newest has not.
pub struct Gone<'s> {
    pub source: &'s SourceName,
    pub database: &'s str,
    /// The snapshot that has it.
    pub snapshot: Id,
    /// It was not deleted, as far as the newest snapshot tells.
    pub may_be_lost: bool,
}

impl Stored {
    /// Looks into every copy that can be opened. One that cannot proves nothing, and is named; so is a manifest that cannot be read.
    pub fn look(app: &App) -> Result<Self, Fault> {
        let each = app.open_each(&app.repositories(None, None)?)?;
        for (copy, fault) in &each.faults {
            app.output().passed_over(&copy.name, fault);
        }
        let mut looked = Looked { opened: &each.opened, ..Looked::default() };
        for opened in &each.opened {
            looked.look_into(app, opened)?;
        }
        let mut stored = Self::default();
        for (stack, source) in sources(app) {
            let name = (stack.name.clone(), source.name.clone());
            let found = looked.source(app, &name)?;
            stored.sources.insert(name, found);
        }
        stored.manifests = looked.manifests.into_iter().filter_map(|(id, manifest)| Some((id, manifest?))).collect();
        Ok(stored)
    }

    /// What the newest snapshot of a source lacks of a thing, in words. `None` where there is no snapshot of it yet.
    pub fn lacks(&self, source: &SourceName, thing: &Thing) -> Option<Vec<String>> {
        Some(self.captured(source, self.sources.get(source)?.newest?)?.lacks(thing))
    }

    /// Whether all of a thing came back in a drill. What a snapshot lacks, its drill does not prove.
    pub fn is_proven(&self, source: &SourceName, thing: &Thing) -> bool {
        let proven = self.sources.get(source).map_or(&[][..], |found| &found.proven);
        proven.iter().filter_map(|id| self.captured(source, *id)).any(|captured| captured.lacks(thing).is_empty())
    }

    /// The databases of CouchDB that are gone.
    pub fn gone(&self) -> impl Iterator<Item = Gone<'_>> {
        self.sources.iter().flat_map(|(source, found)| {
            let newest = found.newest.and_then(|id| self.record(source, id));
            let before = found.whole_before.and_then(|id| Some((id, self.record(source, id)?)));
            newest.zip(before).into_iter().flat_map(move |(newest, (snapshot, before))| {
                let there = couchdb::databases_in(&newest.facts);
                let gone = couchdb::databases_in(&before.facts).into_iter().filter(move |name| !there.contains(name));
                gone.filter(|_| newest.kind == couchdb::KIND).map(move |database| {
                    let may_be_lost = couchdb::may_be_lost(&newest.facts, database);
                    Gone { source, database, snapshot, may_be_lost }
                })
            })
        })
    }

    fn record(&self, (_, source): &SourceName, snapshot: Id) -> Option<&SourceRecord> {
        self.manifests.get(&snapshot)?.sources.get(source)
    }

    fn captured(&self, source: &SourceName, snapshot: Id) -> Option<Captured<'_>> {
        let all = &self.manifests.get(&snapshot)?.sources;
        let SourceRecord { kind, facts, problems, emptied_of, .. } = self.record(source, snapshot)?;
        let couchdbs = all.values().filter(|record| record.kind == couchdb::KIND).map(|record| &record.facts);
        Some(Captured { kind, facts, problems, is_emptied: emptied_of.is_some(), couchdbs: couchdbs.collect() })
    }
}

/// What was looked at.
#[derive(Default)]
struct Looked<'a> {
    opened: &'a [Opened<'a>],
    indexes: Vec<Index>,
    /// Each with the number of a copy that has it.
    snapshots: BTreeMap<Id, (usize, Snapshot)>,
    proven: BTreeSet<Id>,
    /// `None` for those that cannot be read, or that another program made.
    manifests: BTreeMap<Id, Option<Manifest>>,
}

impl Looked<'_> {
    fn look_into(&mut self, app: &App, opened: &Opened<'_>) -> Result<(), Fault> {
        let number = self.indexes.len();
        self.indexes.push(app.index(&opened.repository)?);
        let receipts = app.receipts(&opened.repository)?;
        let telling = drill::telling_by_snapshot(&receipts);
        let (snapshots, _) = opened.repository.snapshots_readable(&app.run.cancel)?;
        for (id, snapshot) in snapshots {
            if telling.get(&id).is_some_and(|receipt| drill::is_proof(receipt)) {
                self.proven.insert(id);
            }
            self.snapshots.entry(id).or_insert((number, snapshot));
        }
        Ok(())
    }

    /// Finds the snapshots of one source, and reads the manifests that are needed.
    fn source(&mut self, app: &App, (stack, source): &SourceName) -> Result<Snapshots, Fault> {
        let now = app.run.clock.now();
        let is_of_it = |snapshot: &Snapshot| {
            let mut paths = snapshot.paths.iter().map(|path| path.trim_start_matches('/'));
            snapshot.stack() == Some(stack) && paths.any(|path| path == source)
        };
        let snapshots = self.snapshots.iter().filter(|(_, (_, snapshot))| is_of_it(snapshot));
        // A snapshot of some sources tells of these as well as any other.
        let mut newest_first: Vec<_> =
            snapshots.map(|(id, (_, snapshot))| (snapshots::rank(snapshot.time.into(), false, now), *id)).collect();
        newest_first.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
        let mut found = Snapshots::default();
        for (_, id) in newest_first {
            let is_proven = self.proven.contains(&id);
            if found.whole_before.is_some() && !is_proven {
                continue;
            }
            let Some(record) = self.manifest(app, id)?.and_then(|manifest| manifest.sources.get(source)) else {
                continue;
            };
            match found.newest {
                None => found.newest = Some(id),
                Some(_) if record.status == SourceStatus::Ok => drop(found.whole_before.get_or_insert(id)),
                Some(_) => {}
            }
            found.proven.extend(is_proven.then_some(id));
        }
        Ok(found)
    }

    fn manifest(&mut self, app: &App, id: Id) -> Result<Option<&Manifest>, Fault> {
        if !self.manifests.contains_key(&id) {
            let Some((number, snapshot)) = self.snapshots.get(&id) else { return Ok(None) };
            let manifest =
                match Manifest::load(&self.opened[*number].repository, &self.indexes[*number], &snapshot.tree) {
                    Err(error @ Error::Cancelled) => return Err(error.into()),
                    Err(error) => {
                        app.output()
                            .text(format!("problem: what snapshot {} holds cannot be read: {error}", id.short()));
                        None
                    }
                    Ok(manifest) => manifest,
                };
            self.manifests.insert(id, manifest);
        }
        Ok(self.manifests.get(&id).and_then(Option::as_ref))
    }
}
