//! What `lifeboat restore` does for sources of kind `couchdb`: single databases and shards, nodes with new names, and that no
//! CouchDB is ever started on files that were not read back. It would take a damaged one for an empty database.

use std::path::{Path, PathBuf};

use connectors::source::couchdb::{self, Selected, needed_version};
use operations::manifest::{Manifest, SourceRecord};
use operations::{Fault, FaultKind, drill};
use repository::{Facts, SourceError};

use crate::app::App;
use crate::arguments::CouchFiles;
use crate::output::count;

/// The sources of kind `couchdb` in what is restored, and what of them.
pub struct CouchDbRestore<'a> {
    asked: &'a CouchFiles,
    parts: Vec<Part<'a>>,
}

struct Part<'a> {
    name: &'a str,
    record: &'a SourceRecord,
    wanted: Wanted,
}

enum Wanted {
    /// All of the source, at this path below the target.
    Whole(PathBuf),
    /// Some databases or shards.
    Files(Selected),
    /// A path of it, of which nothing is known.
    Path,
}

impl<'a> CouchDbRestore<'a> {
    /// Looks at what was asked for. `selected` is the path in the snapshot: empty, `SOURCE`, or `SOURCE/PATH`.
    ///
    /// Fails where databases, nodes or a version are named and there is no source for them, or they do not fit it.
    pub fn of(manifest: Option<&'a Manifest>, selected: &Path, asked: &'a CouchFiles) -> Result<Self, Fault> {
        let mut parts = Vec::new();
        for (name, record) in manifest.iter().flat_map(|manifest| &manifest.sources) {
            let mut below = selected.iter();
            let is_chosen = below.next().is_none_or(|first| first == name.as_str());
            if record.kind != couchdb::KIND || !is_chosen {
                continue;
            }
            let wanted = match (below.next(), asked.database.is_empty()) {
                (Some(_), true) => Wanted::Path,
                (Some(_), false) => {
                    return Err(usage("--database is of a whole source: name SNAPSHOT:SOURCE without a path"));
                }
                (None, true) if selected.as_os_str().is_empty() => Wanted::Whole(PathBuf::from(name)),
                (None, true) => Wanted::Whole(PathBuf::new()),
                (None, false) => Wanted::Files(couchdb::files_of(&record.facts, &asked.database, &asked.shard)?),
            };
            parts.push(Part { name, record, wanted });
        }
        let restore = Self { asked, parts };
        restore.check_arguments()?;
        Ok(restore)
    }

    fn check_arguments(&self) -> Result<(), Fault> {
        let CouchFiles { database, rename_node, couchdb_version, .. } = self.asked;
        let needs_one = !database.is_empty() || !rename_node.is_empty();
        if (needs_one || couchdb_version.is_some()) && self.parts.is_empty() {
            return Err(usage("there is no source of kind couchdb in what is to be restored"));
        }
        if needs_one && self.parts.len() > 1 {
            let names: Vec<&str> = self.parts.iter().map(|part| part.name).collect();
            return Err(usage(&format!("say which source: SNAPSHOT:SOURCE with one of {}", names.join(", "))));
        }
        if !rename_node.is_empty() && !self.parts.iter().all(|part| matches!(part.wanted, Wanted::Whole(_))) {
            return Err(usage("--rename-node needs the whole source: its shard map and its list of nodes"));
        }
        for node in rename_node {
            let known = self.parts.first().map_or_else(Vec::new, |part| couchdb::nodes(&part.record.facts));
            if !known.contains(&&*node.old) {
                return Err(usage(&format!("no node is called {}; the snapshot has {}", node.old, known.join(", "))));
            }
        }
        let Some(version) = couchdb_version else { return Ok(()) };
        for Part { name, record, .. } in &self.parts {
            let (needed, why) = needed_version(&record.facts);
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

    /// Reads every document and attachment that was restored below `target`, and gives nodes their new names. Says what it
    /// found; whatever is wrong is returned.
    pub fn finish(&self, app: &App, target: &Path) -> Result<Vec<String>, Fault> {
        let mut wrong = Vec::new();
        for Part { name, record, wanted } in &self.parts {
            let cancel = &app.run.cancel;
            let (found, known) = match wanted {
                Wanted::Path => continue,
                Wanted::Files(Selected { files, lacking, .. }) => {
                    (couchdb::check_files(target, files, &record.facts, cancel)?, lacking.clone())
                }
                Wanted::Whole(below) => {
                    let found = differences(&record.facts, &target.join(below), app)?;
                    (found, couchdb::known_damage(&record.facts))
                }
            };
            let is_whole = found.is_empty() && known.is_empty();
            let is_as_captured = found.is_empty();
            wrong.extend(found.into_iter().chain(known).map(|what| format!("{name}: {what}")));
            if !is_as_captured {
                if !self.asked.rename_node.is_empty() {
                    wrong.push(format!("{name}: its nodes keep their names, since it is not what was captured"));
                }
                continue;
            }
            if is_whole {
                app.output().text(format!("{name}: every document and attachment was read back"));
            }
            let (needed, why) = needed_version(&record.facts);
            app.output().chat(format!("{name}: start CouchDB {needed} or newer on it: {why}"));
            if let (Wanted::Whole(below), false) = (wanted, self.asked.rename_node.is_empty()) {
                self.rename(app, &record.facts, &target.join(below))?;
            }
        }
        Ok(wrong)
    }

    fn rename(&self, app: &App, facts: &Facts, folder: &Path) -> Result<(), Fault> {
        let names = self.asked.rename_node.iter().map(|node| (node.old.clone(), node.new.clone())).collect();
        let data = couchdb::data_folder(facts, folder).ok_or_else(|| usage("the snapshot names no data folder"))?;
        let renamed = couchdb::rename_nodes(&data, &names)?;
        let (nodes, databases) = (count(renamed.nodes as u64, "node"), count(renamed.databases as u64, "database"));
        app.output().text(format!("renamed {nodes} in the shard maps of {databases}"));
        Ok(())
    }
}

fn differences(facts: &Facts, folder: &Path, app: &App) -> Result<Vec<String>, SourceError> {
    let found = connectors::source::examine(couchdb::KIND, folder, facts, &app.run.cancel)?;
    Ok(drill::differences(facts, &found))
}

fn usage(what: &str) -> Fault {
    Fault::new(FaultKind::Usage, what)
}
