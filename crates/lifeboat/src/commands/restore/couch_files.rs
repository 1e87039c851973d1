//! What `lifeboat restore` does for sources of kind `couchdb`: single databases and shards, nodes with new names, and that no
//! CouchDB is ever started on files that were not read back. It would take a damaged one for an empty database.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use connectors::source::couchdb::{self, PartAt, Selected, Version};
use couchfile::ShardName;
use operations::manifest::{Manifest, SourceRecord};
use operations::{Fault, FaultKind, drill};
use repository::source::{PATHS_FACT, VOLUME_FACT};
use repository::{Facts, SourceError};

use super::couch_in_place::too_old;
use crate::app::App;
use crate::arguments::{CouchFiles, NewNodeName, Restore};
use crate::output::count;

/// Said where a CouchDB would lose data that could still be saved.
pub(super) const START_NONE: &str =
    "start NO CouchDB on it: it takes a file that is damaged or missing for an empty database";

/// What is said where nothing but indexes is damaged.
const INDEXES_DAMAGED: &str = "every document is whole; remove the damaged indexes that are named, and CouchDB builds them anew once it is started";

/// The sources of kind `couchdb` in what is restored, and what of them.
pub struct CouchDbRestore<'a> {
    pub(super) asked: &'a CouchFiles,
    pub(super) parts: Vec<Part<'a>>,
}

pub(super) struct Part<'a> {
    pub(super) name: &'a str,
    pub(super) record: &'a SourceRecord,
    pub(super) wanted: Wanted,
}

pub(super) enum Wanted {
    /// All of the source, at this path below the target.
    Whole(PathBuf),
    /// Some databases or shards.
    Files(Selected),
    /// What lies at this path of the host it came from.
    Path(PathBuf),
}

impl<'a> CouchDbRestore<'a> {
    /// Looks at what was asked for. `selected` is the path in the snapshot: empty, `SOURCE`, or `SOURCE/PATH`.
    ///
    /// Fails where databases, nodes or a version are named and there is no source for them, or they do not fit it.
    pub fn of(manifest: Option<&'a Manifest>, selected: &Path, arguments: &'a Restore) -> Result<Self, Fault> {
        let Restore { couch_files: asked, in_place, .. } = arguments;
        let (as_host, in_place) = (arguments.is_as_host(), *in_place);
        let mut parts = Vec::new();
        for (name, record) in manifest.iter().flat_map(|manifest| &manifest.sources) {
            let mut below = selected.iter();
            let is_chosen = below.next().is_none_or(|first| first == name.as_str());
            if record.kind != couchdb::KIND || !is_chosen {
                continue;
            }
            let others = || manifest.iter().flat_map(|manifest| &manifest.sources).filter(|(other, _)| *other != name);
            let wanted = match (below.next(), asked.database.is_empty()) {
                (Some(first), true) => Wanted::Path(Path::new("/").join(first).join(below)),
                (Some(_), false) => {
                    return Err(usage("--database is of a whole source: name SNAPSHOT:SOURCE without a path"));
                }
                (None, true) if selected.as_os_str().is_empty() && !as_host => Wanted::Whole(PathBuf::from(name)),
                (None, true) => Wanted::Whole(PathBuf::new()),
                (None, false) => {
                    let mut selected = couchdb::files_of(&record.facts, &asked.database, &asked.shard)?;
                    // What a source of another node has is brought by that; what none has comes back nowhere.
                    let has = |shard: &ShardName| others().any(|(_, other)| couchdb::has_shard(&other.facts, shard));
                    let (there, nowhere): (Vec<_>, Vec<_>) = selected.elsewhere.into_iter().partition(has);
                    selected.elsewhere = there;
                    selected.lacking.extend(nowhere.iter().map(on_no_node));
                    Wanted::Files(selected)
                }
            };
            parts.push(Part { name, record, wanted });
        }
        let restore = Self { asked, parts };
        restore.check_arguments(as_host, in_place)?;
        Ok(restore)
    }

    fn check_arguments(&self, as_host: bool, in_place: bool) -> Result<(), Fault> {
        let CouchFiles { database, rename_node, nodes, couchdb_version, .. } = self.asked;
        let needs_one = !database.is_empty() || !rename_node.is_empty();
        if (needs_one || !nodes.is_empty() || couchdb_version.is_some()) && self.parts.is_empty() {
            return Err(usage("there is no source of kind couchdb in what is to be restored"));
        }
        // Nodes of one host are of one cluster: each knows the others' names.
        if needs_one && !as_host && self.parts.len() > 1 {
            let names: Vec<&str> = self.parts.iter().map(|part| part.name).collect();
            return Err(usage(&format!("say which source: SNAPSHOT:SOURCE with one of {}", names.join(", "))));
        }
        let can_rename = |part: &Part<'_>| match &part.wanted {
            Wanted::Whole(_) => true,
            // Entries of the shard map that come back with their databases.
            Wanted::Files(_) => in_place && !database.iter().any(|name| ["_dbs", "_nodes"].contains(&&**name)),
            Wanted::Path(_) => false,
        };
        if !rename_node.is_empty() && !self.parts.iter().all(can_rename) {
            return Err(usage(
                "--rename-node needs the whole source, with its shard map and its list of nodes; or, with --in-place, \
                 databases whose entries come back into the shard map",
            ));
        }
        if !nodes.is_empty() && !self.parts.iter().all(|part| matches!(part.wanted, Wanted::Whole(_))) {
            return Err(usage("--nodes needs whole sources: name SNAPSHOT or SNAPSHOT:SOURCE"));
        }
        for part in &self.parts {
            check_names(rename_node, &couchdb::nodes(&part.record.facts))?;
        }
        let Some(version) = couchdb_version else { return Ok(()) };
        for part in &self.parts {
            let (name, (needed, why)) = (part.name, part.needed_version());
            if *version < needed {
                let what =
                    format!("CouchDB {version} cannot read the files of {name}, which need {needed} or newer: {why}");
                return Err(Fault::new(FaultKind::Unsupported, what).with_hint(
                    "it would take them for empty databases; restore them for the version that wrote them",
                ));
            }
        }
        Ok(())
    }

    /// The paths in the snapshot that are restored, each with its path below the target, where single files were asked for.
    pub fn files(&self) -> Option<Vec<(PathBuf, PathBuf)>> {
        self.parts.iter().find_map(|part| {
            let Wanted::Files(Selected { data, files, .. }) = &part.wanted else { return None };
            let data = Path::new(part.name).join(data.strip_prefix("/").unwrap_or(data));
            Some(files.iter().map(|file| (data.join(file), file.clone())).collect())
        })
    }

    /// The sources of kind `couchdb`, by name.
    pub fn sources(&self) -> impl Iterator<Item = (&'a str, &'a SourceRecord)> {
        self.parts.iter().map(|part| (part.name, part.record))
    }

    /// The services of the snapshot's own Compose projects whose CouchDB is too old for what is restored.
    pub fn too_old_services(&self, manifest: &Manifest) -> Vec<String> {
        let services =
            manifest.sources.values().filter_map(|record| record.facts.get("services")?.as_object()).flatten();
        let images = services.filter_map(|(service, facts)| Some((service, facts.get("image")?.as_str()?)));
        let versions = images.filter_map(|(service, image)| Some((service, image, couchdb::version_of_image(image)?)));
        let told = versions.flat_map(|(service, image, version)| {
            let too_old = self.parts.iter().filter_map(move |part| too_old(part, version));
            too_old.map(move |what| format!("service {service} is of {image}: {what}"))
        });
        told.collect()
    }

    /// What of all that was asked for the snapshot is known not to hold whole.
    pub fn known_damage(&self) -> Vec<String> {
        let mut known = Vec::new();
        for part in &self.parts {
            let told = part.known_damage().into_iter().chain(part.damage_of_files());
            known.extend(told.map(|what| format!("{}: {what}", part.name)));
        }
        known
    }

    /// Reads every document and attachment that was restored below `target`, and gives nodes their new names. Says what it
    /// found; whatever is wrong is returned.
    pub fn finish(&self, app: &App, target: &Path) -> Result<Vec<String>, Fault> {
        let mut wrong = Vec::new();
        for part in &self.parts {
            let (Part { name, record, wanted }, cancel) = (part, &app.run.cancel);
            let found = match wanted {
                Wanted::Path(path) => match couchdb::part_at(&record.facts, path) {
                    PartAt::Whole(below) => {
                        let mut found = couchdb::recount_data(&target.join(below), &record.facts, cancel)?;
                        // Where things came from cannot be seen in a restored folder.
                        for fact in [PATHS_FACT, VOLUME_FACT] {
                            found.extend(record.facts.get(fact).map(|recorded| (fact.to_owned(), recorded.clone())));
                        }
                        drill::differences(&record.facts, &found)
                    }
                    PartAt::Files(files) => files.check(target, &record.facts, cancel)?,
                    PartAt::Nothing => continue,
                },
                Wanted::Files(Selected { files, .. }) => couchdb::check_files(target, files, &record.facts, cancel)?,
                // That there is none is known.
                Wanted::Whole(_) if couchdb::no_database(&record.facts).is_some() => Vec::new(),
                Wanted::Whole(below) => differences(&record.facts, &target.join(below), app)?,
            };
            let known = part.known_damage();
            let is_whole = found.is_empty() && known.is_empty();
            let is_as_captured = found.is_empty();
            wrong.extend(found.into_iter().chain(known).map(|what| format!("{name}: {what}")));
            if let Wanted::Files(Selected { elsewhere, .. }) = wanted
                && !elsewhere.is_empty()
            {
                let shards = count(elsewhere.len() as u64, "shard");
                app.output().text(format!("{name}: {shards} of it lie on other nodes, and come from their sources"));
            }
            let is_index_alone = |part: &&Part<'_>| {
                matches!(part.wanted, Wanted::Whole(_)) && couchdb::has_damaged_indexes_alone(&part.record.facts)
            };
            if is_as_captured && is_index_alone(&part) {
                app.output().text(format!("{name}: {INDEXES_DAMAGED}"));
            } else if is_whole {
                app.output().text(format!("{name}: every document and attachment was read back"));
                let (needed, why) = part.needed_version();
                app.output().chat(format!("{name}: start CouchDB {needed} or newer on it: {why}"));
            } else {
                app.output().text(format!("{name}: {START_NONE}"));
            }
            if !is_as_captured {
                if !self.asked.rename_node.is_empty() {
                    wrong.push(format!("{name}: its nodes keep their names, since it is not what was captured"));
                }
                continue;
            }
            if let (Wanted::Whole(below), false) = (wanted, self.asked.rename_node.is_empty()) {
                let data = couchdb::data_folder(&record.facts, &target.join(below));
                self.rename(app, &data.ok_or_else(|| usage("the snapshot names no data folder"))?)?;
            }
        }
        Ok(wrong)
    }

    /// New names of nodes by their old ones.
    pub(super) fn new_names(&self) -> BTreeMap<String, String> {
        self.asked.rename_node.iter().map(|node| (node.old.clone(), node.new.clone())).collect()
    }

    /// Gives nodes their new names in a data folder.
    pub(super) fn rename(&self, app: &App, data: &Path) -> Result<(), SourceError> {
        let renamed = couchdb::rename_nodes(data, &self.new_names())?;
        let (nodes, databases) = (count(renamed.nodes as u64, "node"), count(renamed.databases as u64, "database"));
        app.output().text(format!("renamed {nodes} in the shard maps of {databases}"));
        Ok(())
    }
}

impl Part<'_> {
    /// The oldest CouchDB that reads what is restored, and why no older one does.
    pub(super) fn needed_version(&self) -> (Version, &'static str) {
        let facts = &self.record.facts;
        match &self.wanted {
            Wanted::Whole(_) => couchdb::needed_version(facts),
            Wanted::Files(Selected { files, .. }) => couchdb::needed_version_of(facts, files),
            Wanted::Path(path) => match couchdb::part_at(facts, path) {
                PartAt::Whole(_) => couchdb::needed_version(facts),
                PartAt::Files(files) => files.needed_version(facts),
                PartAt::Nothing => couchdb::needed_version_of(facts, &[]),
            },
        }
    }

    /// What is wrong with single files that were asked for. Who reads these back finds it, too.
    fn damage_of_files(&self) -> Vec<String> {
        let facts = &self.record.facts;
        match &self.wanted {
            Wanted::Whole(_) => Vec::new(),
            Wanted::Files(Selected { files, .. }) => couchdb::damage_of(facts, files),
            Wanted::Path(path) => match couchdb::part_at(facts, path) {
                PartAt::Files(files) => files.damage(facts),
                PartAt::Whole(_) | PartAt::Nothing => Vec::new(),
            },
        }
    }

    /// What of it the snapshot is known not to hold whole, as the backup told.
    fn known_damage(&self) -> Vec<String> {
        let facts = &self.record.facts;
        match &self.wanted {
            Wanted::Whole(_) => couchdb::known_damage(facts),
            Wanted::Files(Selected { lacking, .. }) => lacking.clone(),
            Wanted::Path(path) => match couchdb::part_at(facts, path) {
                PartAt::Whole(_) => couchdb::known_damage(facts),
                PartAt::Files(files) => files.lacking,
                PartAt::Nothing => Vec::new(),
            },
        }
    }
}

/// Whether each of the nodes `known` has one name afterwards, and its own.
fn check_names(renamed: &[NewNodeName], known: &[&str]) -> Result<(), Fault> {
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    for NewNodeName { old, new } in renamed {
        if !known.contains(&&**old) {
            return Err(usage(&format!("no node is called {old}; the snapshot has {}", known.join(", "))));
        }
        if names.insert(old, new).is_some() {
            return Err(usage(&format!("{old} is given two names")));
        }
    }
    let mut taken = BTreeSet::new();
    let mut after = known.iter().map(|old| names.get(old).unwrap_or(old));
    match after.find(|name| !taken.insert(**name)) {
        Some(name) => Err(usage(&format!("two nodes would be called {name}"))),
        None => Ok(()),
    }
}

fn on_no_node(shard: &ShardName) -> String {
    let ShardName { database, range, .. } = shard;
    format!("database {database}, shard {range}: it lies on another node, of which nothing is in the snapshot")
}

fn differences(facts: &Facts, folder: &Path, app: &App) -> Result<Vec<String>, SourceError> {
    let found = connectors::source::examine(couchdb::KIND, folder, facts, &app.run.cancel)?;
    Ok(drill::differences(facts, &found))
}

fn usage(what: &str) -> Fault {
    Fault::new(FaultKind::Usage, what)
}
