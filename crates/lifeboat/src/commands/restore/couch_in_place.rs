//! What a restore in place does for sources of kind `couchdb`: whether what goes back fits what is there, which other files
//! have to go with it, and which get another content on the way.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use connectors::containers::ContainerState;
use connectors::source::couchdb::{self, Answer, NamedOtherwise, NodesThere, Selected, Version};
use operations::in_place::{Effect, Finding};
use operations::manifest::Manifest;
use repository::{Facts, SourceError};

use super::containers::Users;
use super::couch_files::{CouchDbRestore, Part, Wanted};
use crate::app::App;
use crate::output::count;
use crate::wiring;

/// The database of a CHT's documents, and that in which Sentinel keeps how far it came in it.
const DATA: &str = "medic";
const CURSOR: &str = "medic-sentinel";

/// What a restore in place is told.
pub struct InPlaceParts {
    /// The paths in the snapshot, where single files were asked for: the databases, and the folders with their indexes,
    /// whole, since no newer index may stay.
    pub selected: Option<Vec<PathBuf>>,
    /// Files, by their paths on the host, that [`CouchDbRestore::rewrite`] gives another content.
    pub rewritten: Vec<PathBuf>,
    /// What was made of the files that are replaced.
    pub outdated: Vec<PathBuf>,
    /// What speaks against it.
    pub findings: Vec<Finding>,
}

impl CouchDbRestore<'_> {
    /// Looks at the snapshot and at what is there now. Changes nothing.
    pub fn in_place(&self) -> InPlaceParts {
        let mut parts =
            InPlaceParts { selected: None, rewritten: Vec::new(), outdated: Vec::new(), findings: self.findings() };
        for Part { name, record, wanted } in &self.parts {
            let Some(data) = couchdb::data_folder(&record.facts, Path::new("/")) else { continue };
            match wanted {
                Wanted::Whole(_) if !self.asked.rename_node.is_empty() => {
                    let files = couchdb::cluster_files(&record.facts);
                    parts.rewritten.extend(files.iter().map(|file| data.join(file)));
                    let has_map = files.iter().any(|file| couchdb::is_shard_map(Path::new(file)));
                    parts.findings.push(match has_map {
                        true => {
                            let what =
                                "its nodes get their new names: CouchDB has to be called so, too, before you start it";
                            Finding::new(Effect::Warns, &data, what)
                        }
                        false => {
                            let what = "the snapshot has no shard map, so its nodes cannot get other names: leave out \
                                        --rename-node";
                            Finding::new(Effect::Blocks, &data, what)
                        }
                    });
                }
                Wanted::Files(selected) => {
                    let mut files = selected.databases_and_index_folders();
                    let named_again = self.named_again(&record.facts, &data, &mut parts.findings);
                    if named_again && !files.iter().any(|file| couchdb::is_shard_map(file)) {
                        let map = couchdb::cluster_files(&record.facts).into_iter().map(PathBuf::from);
                        let map: Vec<_> = map.filter(|file| couchdb::is_shard_map(file)).collect();
                        parts.rewritten.extend(map.iter().map(|file| data.join(file)));
                        files.extend(map);
                    }
                    let below = Path::new(name).join(selected.data.strip_prefix("/").unwrap_or(&selected.data));
                    parts.selected = Some(files.into_iter().map(|path| below.join(path)).collect());
                    parts.outdated = couchdb::search_indexes(&data, selected);
                    parts.findings.extend(parts.outdated.iter().map(|folder| {
                        let what = "is an index of the database before the restore, and goes with it: it is built anew";
                        Finding::new(Effect::Warns, folder, what)
                    }));
                    parts.findings.extend(self.sentinel(&record.facts, &data));
                }
                Wanted::Whole(_) | Wanted::Path(_) => {}
            }
        }
        parts
    }

    /// Whether entries of the shard map come back with the files of databases. What keeps one from coming back is a finding.
    fn named_again(&self, facts: &Facts, data: &Path, findings: &mut Vec<Finding>) -> bool {
        let map = data.join(couchdb::SHARD_MAP);
        let blocks = |what: String| Finding::new(Effect::BlocksUnlessForced, &map, what);
        let otherwise = match couchdb::named_otherwise(facts, data, &self.asked.database) {
            Ok(otherwise) => otherwise,
            Err(error) => {
                let what = "so CouchDB may not find what comes back: restore the whole source, or use --force";
                findings.push(blocks(format!("{error}, {what}")));
                return false;
            }
        };
        for (database, NamedOtherwise { why, can_come_back }) in &otherwise {
            findings.push(if !self.asked.shard.is_empty() {
                blocks(format!("database {database}: {why}, and a shard alone is not all of it: leave out --shard"))
            } else if !can_come_back {
                blocks(format!(
                    "database {database}: {why}, and the snapshot has no shard map that can be read and names it: CouchDB \
                     would not find it. Restore another snapshot, or use --force"
                ))
            } else {
                let what =
                    "its entry comes back with its files; what it may have been since stays in its files, unseen";
                Finding::new(Effect::Warns, &map, format!("database {database}: {why}; {what}"))
            });
        }
        let comes_back = !self.coming_back(&otherwise).is_empty();
        if comes_back {
            findings.extend(self.unknown_nodes(facts, data));
        } else if !self.asked.rename_node.is_empty() {
            let what = "no entry of it comes back, so there is no node to be renamed: leave out --rename-node";
            findings.push(Finding::new(Effect::Blocks, &map, what));
        }
        comes_back
    }

    /// The databases of which the shard map's entry comes back with their files.
    fn coming_back(&self, otherwise: &BTreeMap<String, NamedOtherwise>) -> Vec<String> {
        let coming = otherwise.iter().filter(|(_, it)| it.can_come_back && self.asked.shard.is_empty());
        coming.map(|(database, _)| database.clone()).collect()
    }

    /// An entry that names a node which is not there would make a database that CouchDB cannot open.
    fn unknown_nodes(&self, facts: &Facts, data: &Path) -> Option<Finding> {
        let NodesThere { unknown, there } = couchdb::nodes_there(facts, data, &self.new_names());
        let first = unknown.first()?;
        // One that was given a name which is not there either.
        let renamed = self.asked.rename_node.iter().find(|node| node.new == *first);
        let old = renamed.map_or(first, |node| &node.old);
        let new = there.first().map_or("NAME", String::as_str);
        let what = format!(
            "what comes back would lie on {}, and the CouchDB that is there knows {} alone as nodes, so it could not open it. \
             Say its name of now, such as with --rename-node {old}={new}, or use --force where it is another node's",
            unknown.join(", "),
            there.join(", ")
        );
        Some(Finding::new(Effect::BlocksUnlessForced, &data.join(couchdb::SHARD_MAP), what))
    }

    /// Sentinel goes on from where it came to, which is ahead of older data. How far it came since, only a running CouchDB tells.
    fn sentinel(&self, facts: &Facts, data: &Path) -> Option<Finding> {
        let asked = |name: &str| self.asked.database.iter().any(|database| database == name);
        let is_there = facts.get("databases").is_some_and(|databases| databases.get(CURSOR).is_some());
        (asked(DATA) && !asked(CURSOR) && is_there).then(|| {
            let what = format!(
                "Sentinel keeps in {CURSOR} how far it came; where it came further since the snapshot, it would pass over \
                 documents of the older {DATA}: then restore both, with --database {DATA} --database {CURSOR}"
            );
            Finding::new(Effect::Warns, data, what)
        })
    }

    /// Gives staged files of a source their new content: names of nodes, or a shard map with what comes back.
    pub fn rewrite(&self, app: &App, source: &str, staging: &Path) -> Result<(), SourceError> {
        let Some(Part { record, wanted, .. }) = self.parts.iter().find(|part| part.name == source) else {
            return Ok(());
        };
        let folder = |dir: &Path| couchdb::data_folder(&record.facts, dir);
        let (Some(staged), Some(live)) = (folder(staging), folder(Path::new("/"))) else { return Ok(()) };
        // What lies elsewhere, such as CouchDB's configuration, may be staged elsewhere.
        let files = couchdb::cluster_files(&record.facts);
        if !files.iter().any(|file| couchdb::is_shard_map(Path::new(file)) && staged.join(file).exists()) {
            return Ok(());
        }
        match wanted {
            Wanted::Whole(_) if !self.asked.rename_node.is_empty() => self.rename(app, &staged),
            Wanted::Files(selected) if !selected.files.iter().any(|file| couchdb::is_shard_map(file)) => {
                let otherwise = couchdb::named_otherwise(&record.facts, &live, &self.asked.database)?;
                couchdb::name_again(&staged, &live, &self.coming_back(&otherwise), &self.new_names())
            }
            _ => Ok(()),
        }
    }

    /// The CouchDBs that will work with what is restored, or do so now: one that cannot read it, or that runs.
    pub fn of_servers(&self, app: &App, manifest: &Manifest, users: &Users) -> Vec<Finding> {
        let mut findings = Vec::new();
        for part @ Part { name, record, .. } in &self.parts {
            let Some(data) = couchdb::data_folder(&record.facts, Path::new("/")) else { continue };
            let of_data: Vec<_> = users.all().iter().filter(|user| user.works_with(&data)).collect();
            for user in &of_data {
                let version = couchdb::version_of_image(&user.container.image);
                let what = version.and_then(|version| too_old(part, version));
                let shown = |what| format!("{}, of {}: {what}", user.shown(), user.container.image);
                findings.extend(what.map(|what| Finding::new(Effect::BlocksUnlessForced, &data, shown(what))));
            }
            let Some(server) = wiring::couch_server(&app.settings, &manifest.stack, name) else { continue };
            let answer = couchdb::ask(&server, &app.run.cancel);
            if let Answer::Runs(Some(version)) = &answer {
                let what = version.parse().ok().and_then(|version| too_old(part, version));
                findings.extend(what.map(|what| {
                    Finding::new(Effect::BlocksUnlessForced, &data, format!("the CouchDB at {}: {what}", server.url))
                }));
            }
            if let Answer::Unknown(why) = &answer {
                let what = format!("whether the CouchDB at {} runs is unknown: {why}", server.url);
                findings.push(Finding::new(Effect::Warns, &data, what));
            }
            // One whose container is stopped for the restore is asked again then.
            let is_stopped =
                users.are_stopped() && of_data.iter().any(|user| user.container.state == ContainerState::Running);
            let what = in_the_way(&answer, &server.url).filter(|_| !is_stopped);
            findings.extend(what.map(|what| Finding::new(Effect::BlocksUnlessForced, &data, what)));
        }
        findings
    }

    /// Asks once more, of `source` or of all, since a container that was stopped need not have been the CouchDB that
    /// answered, and another may have been started since.
    ///
    /// # Errors
    /// One answers, or something in its place.
    pub fn stand_still(&self, app: &App, manifest: &Manifest, source: Option<&str>) -> Result<(), SourceError> {
        for Part { name, .. } in self.parts.iter().filter(|part| source.is_none_or(|source| source == part.name)) {
            let Some(server) = wiring::couch_server(&app.settings, &manifest.stack, name) else { continue };
            let answer = couchdb::ask(&server, &app.run.cancel);
            app.run.cancel.check()?;
            if let Some(what) = in_the_way(&answer, &server.url) {
                return Err(SourceError::Unavailable { what: format!("nothing was changed: {what}") });
            }
        }
        Ok(())
    }

    /// Files that were damaged when they were captured, shards that the snapshot does not have, and indexes that would not
    /// fit.
    fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for Part { name, record, wanted } in &self.parts {
            let Some(data) = couchdb::data_folder(&record.facts, Path::new("/")) else { continue };
            let damaged = couchdb::damaged(&record.facts).into_iter().filter(|(file, _)| match wanted {
                Wanted::Whole(_) => true,
                Wanted::Files(Selected { files, .. }) => files.contains(file),
                Wanted::Path(path) => data.join(file).starts_with(path),
            });
            findings.extend(damaged.map(|(file, what)| {
                if couchdb::is_index(&file) {
                    let what = format!("{DAMAGED_INDEX}; {what}");
                    return Finding::new(Effect::Warns, &data.join(file), what);
                }
                let what = format!(
                    "it was damaged when {name} was captured, and CouchDB may take it for empty: restore another \
                     snapshot, or use --force; {what}"
                );
                Finding::new(Effect::BlocksUnlessForced, &data.join(file), what)
            }));
            let missing = match wanted {
                Wanted::Whole(_) => couchdb::no_database(&record.facts)
                    .into_iter()
                    .chain(couchdb::missing_shards(&record.facts))
                    .collect(),
                Wanted::Files(Selected { lacking, .. }) => lacking.clone(),
                Wanted::Path(path) if data.starts_with(path) => couchdb::missing_shards(&record.facts),
                Wanted::Path(_) => Vec::new(),
            };
            if let Some(first) = missing.first() {
                let more = missing.len() - 1;
                let more =
                    if more > 0 { format!(" (and {})", count(more as u64, "more shard")) } else { String::new() };
                let now = match wanted {
                    Wanted::Files(_) => "what is there now would stay beside what is older",
                    Wanted::Whole(_) | Wanted::Path(_) => "what is there now would be moved away",
                };
                let what = format!("{first}{more}; {now}: restore another snapshot, or use --force");
                findings.push(Finding::new(Effect::BlocksUnlessForced, &data, what));
            }
            let Wanted::Files(selected) = wanted else {
                let is_all = !matches!(wanted, Wanted::Path(path) if !data.starts_with(path));
                let what = couchdb::no_shard_map(&record.facts).filter(|_| is_all);
                findings.extend(what.map(|what| {
                    let what = format!("{what}: restore another snapshot, or use --force");
                    Finding::new(Effect::BlocksUnlessForced, &data, what)
                }));
                continue;
            };
            let left = selected.indexes_not_in_it().into_iter().map(|folder| data.join(folder));
            findings.extend(left.filter(|folder| folder.exists()).map(|folder| {
                let what = "holds indexes of the database before the restore, and the snapshot has none of it: move it \
                            away while CouchDB stands still";
                Finding::new(Effect::BlocksUnlessForced, &folder, what)
            }));
        }
        findings
    }
}

/// What is said of an index that is put in place as it was captured.
const DAMAGED_INDEX: &str = "an index that was damaged when it was captured, and no document: remove the file while CouchDB stands \
                             still, which then builds it anew";

/// Why nothing may be put below the CouchDB that gave this answer.
fn in_the_way(answer: &Answer, url: &str) -> Option<String> {
    match answer {
        Answer::Runs(_) => Some(format!("the CouchDB at {url} answers, and works with it: stop it first")),
        Answer::Mute(why) => Some(format!(
            "something listens at {url} and gives no answer, so whether CouchDB works with it is unknown ({why}): stop it \
             first, mend `url` in the configuration, or use --force"
        )),
        Answer::Nothing | Answer::Unknown(_) => None,
    }
}

/// Why a CouchDB of that version cannot work with the files.
pub(super) fn too_old(part: &Part<'_>, version: Version) -> Option<String> {
    let (needed, why) = part.needed_version();
    (version < needed).then(|| {
        format!(
            "CouchDB {version} would take these files for empty databases, since they need {needed} or newer: {why}; \
             upgrade it first, or restore an older snapshot"
        )
    })
}
