//! What the snapshots say of each source: the newest, the newest whole one before it, and those that came back in a drill.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use connectors::source::{Captured, Thing, couchdb};
use operations::in_place::host_paths;
use operations::manifest::{Manifest, SourceRecord, SourceStatus};
use operations::{Fault, drill, snapshots};
use repository::format::snapshot::Snapshot;
use repository::{Clock as _, Error, Id, Index, walk};

use super::{SourceName, sources};
use crate::app::{App, Opened};

/// What the copies hold of the sources.
pub struct Stored<'a> {
    app: &'a App,
    opened: Vec<Opened<'a>>,
    /// Of each that is opened.
    indexes: Vec<Index>,
    /// Each with the number of a copy that has it.
    snapshots: BTreeMap<Id, (usize, Snapshot)>,
    proven: BTreeSet<Id>,
    /// Those that were needed; `None` where it cannot be read, or another program made the snapshot.
    manifests: BTreeMap<Id, Option<Manifest>>,
    sources: BTreeMap<SourceName, Telling>,
}

/// The snapshots that tell of one source.
#[derive(Default)]
struct Telling {
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

impl<'a> Stored<'a> {
    /// Looks into every copy that can be opened. One that cannot proves nothing, and is named; so is a manifest that cannot be read.
    pub fn look(app: &'a App) -> Result<Self, Fault> {
        let each = app.open_each(&app.repositories(None, None)?)?;
        for (copy, fault) in &each.faults {
            app.output().passed_over(&copy.name, fault);
        }
        let (indexes, snapshots, proven, manifests, found) = Default::default();
        let mut stored = Self { app, opened: each.opened, indexes, snapshots, proven, manifests, sources: found };
        for number in 0..stored.opened.len() {
            stored.look_into(number)?;
        }
        for (stack, source) in sources(app) {
            let name = (stack.name.clone(), source.name.clone());
            let telling = stored.telling(&name)?;
            stored.sources.insert(name, telling);
        }
        Ok(stored)
    }

    /// What the newest snapshot of a source lacks of a thing, in words. `None` where there is no snapshot of it yet.
    pub fn lacks(&self, source: &SourceName, thing: &Thing) -> Result<Option<Vec<String>>, Fault> {
        let newest = self.sources.get(source).and_then(|telling| telling.newest);
        newest.map(|id| self.lacks_in(id, source, thing)).transpose()
    }

    /// Whether all of a thing came back in a drill. What a snapshot lacks, its drill does not prove.
    pub fn is_proven(&self, source: &SourceName, thing: &Thing) -> Result<bool, Fault> {
        for id in self.sources.get(source).map_or(&[][..], |telling| &telling.proven) {
            if self.lacks_in(*id, source, thing)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn lacks_in(&self, snapshot: Id, source: &SourceName, thing: &Thing) -> Result<Vec<String>, Fault> {
        let not_there = || vec!["it is not there".to_owned()];
        let (Some(captured), Some(record)) = (self.captured(source, snapshot), self.record(source, snapshot)) else {
            return Ok(not_there());
        };
        let lacks = captured.lacks(thing);
        let places = thing.place.as_deref().filter(|_| lacks.is_empty()).and_then(|place| places(record, place));
        let (Some(places), Some((number, described))) = (places, self.snapshots.get(&snapshot)) else {
            return Ok(lacks);
        };
        for place in places {
            let path = Path::new(&source.1).join(place);
            let (repository, index) = (&self.opened[*number].repository, &self.indexes[*number]);
            match walk::find(repository, index, &described.tree, &path) {
                Ok(Some(_)) => return Ok(lacks),
                Ok(None) => {}
                Err(error) if error.is_damage() => return Ok(vec![error.to_string()]),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(not_there())
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
        self.manifests.get(&snapshot)?.as_ref()?.sources.get(source)
    }

    fn captured(&self, source: &SourceName, snapshot: Id) -> Option<Captured<'_>> {
        let all = &self.manifests.get(&snapshot)?.as_ref()?.sources;
        let SourceRecord { kind, facts, problems, emptied_of, .. } = self.record(source, snapshot)?;
        let couchdbs = all.values().filter(|record| record.kind == couchdb::KIND).map(|record| &record.facts);
        Some(Captured { kind, facts, problems, is_emptied: emptied_of.is_some(), couchdbs: couchdbs.collect() })
    }

    fn look_into(&mut self, number: usize) -> Result<(), Fault> {
        let (app, repository) = (self.app, &self.opened[number].repository);
        self.indexes.push(app.index(repository)?);
        let receipts = app.receipts(repository)?;
        let telling = drill::telling_by_snapshot(&receipts);
        let (snapshots, _) = repository.snapshots_readable(&app.run.cancel)?;
        for (id, snapshot) in snapshots {
            if telling.get(&id).is_some_and(|receipt| drill::is_proof(receipt)) {
                self.proven.insert(id);
            }
            self.snapshots.entry(id).or_insert((number, snapshot));
        }
        Ok(())
    }

    /// Finds the snapshots of one source, and reads the manifests that are needed.
    fn telling(&mut self, (stack, source): &SourceName) -> Result<Telling, Fault> {
        let now = self.app.run.clock.now();
        let is_of_it = |snapshot: &Snapshot| {
            let mut paths = snapshot.paths.iter().map(|path| path.trim_start_matches('/'));
            snapshot.stack() == Some(stack) && paths.any(|path| path == source)
        };
        let snapshots = self.snapshots.iter().filter(|(_, (_, snapshot))| is_of_it(snapshot));
        // A snapshot of some sources tells of these as well as any other.
        let mut newest_first: Vec<_> =
            snapshots.map(|(id, (_, snapshot))| (snapshots::rank(snapshot.time.into(), false, now), *id)).collect();
        newest_first.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
        let mut found = Telling::default();
        for (_, id) in newest_first {
            let is_proven = self.proven.contains(&id);
            if found.whole_before.is_some() && !is_proven {
                continue;
            }
            let Some(record) = self.manifest(id)?.and_then(|manifest| manifest.sources.get(source)) else {
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

    fn manifest(&mut self, id: Id) -> Result<Option<&Manifest>, Fault> {
        if !self.manifests.contains_key(&id) {
            let Some((number, snapshot)) = self.snapshots.get(&id) else { return Ok(None) };
            let manifest =
                match Manifest::load(&self.opened[*number].repository, &self.indexes[*number], &snapshot.tree) {
                    Err(error @ Error::Cancelled) => return Err(error.into()),
                    Err(error) => {
                        self.app
                            .output()
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

/// Where a source has what lies at `place`, as paths below its folder: the paths that it was given may be links. `None` where
/// that is not to be told: it names no paths of the host, or has parts of the place alone.
fn places(record: &SourceRecord, place: &Path) -> Option<Vec<PathBuf>> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let place = real(place);
    let roots = host_paths(record);
    if roots.is_empty() || roots.iter().any(|root| real(root).starts_with(&place)) {
        return None;
    }
    let below = |root: &PathBuf| {
        let path = root.join(place.strip_prefix(real(root)).ok()?);
        Some(path.strip_prefix("/").unwrap_or(&path).to_owned())
    };
    Some(roots.iter().filter_map(below).collect())
}
