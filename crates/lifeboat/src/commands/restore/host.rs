//! `lifeboat restore --to DIR --as-host`: a whole host into an empty root, and what is to be done there next.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use operations::host_root::{self, BESIDE};
use operations::in_place::host_paths;
use operations::manifest::{Manifest, SourceRecord, is_volume_folder};
use operations::shell::quote;
use operations::{Fault, FaultKind};
use repository::Clock as _;
use repository::format::go;
use repository::restore::Options;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Chosen, incomplete};
use crate::alike::grouped;
use crate::output::Outcome;

/// The kind whose facts say how what it describes is started.
const COMPOSE: &str = "compose";
/// Kinds whose files are one state: what is there already must not be mixed with them.
const ONE_STATE: [&str; 2] = ["couchdb", "sqlite"];

/// Things that the backup could not take, as they are listed one by one.
const LACKING_SHOWN: usize = 20;

impl Chosen<'_> {
    /// Restores all sources, or one, each path at its place below `target`.
    pub(super) fn to_root(&self, target: &Path, copy: &str) -> Result<Outcome, Fault> {
        let app = self.app;
        let Some(manifest) = self.manifest else {
            let what = "this snapshot does not say where things came from: another program made it, or it is damaged";
            return Err(Fault::new(FaultKind::Unsupported, what).with_hint("restore it without --as-host"));
        };
        let only = match self.place.path.iter().collect::<Vec<_>>()[..] {
            [] => None,
            [source] => Some(source.to_string_lossy().into_owned()),
            _ => {
                return Err(Fault::new(
                    FaultKind::Usage,
                    "--as-host restores whole sources: name SNAPSHOT or SNAPSHOT:SOURCE",
                ));
            }
        };
        let (cx, tree) = (app.cx(), &self.snapshot.tree);
        let parts = host_root::parts(self.repository, self.index, tree, manifest, only.as_deref())?;
        if self.arguments.dry_run {
            let preview = parts.preview(&cx, self.repository, self.index)?;
            let to = format!("as a host into {}", target.display());
            return self.would_restore(target, copy, preview, &to, &self.couchdb.known_damage());
        }
        let started = app.run.clock.now();
        let options = Options { keep_damaged: self.arguments.keep_damaged, ..Options::for_this_process() };
        let result = parts.restore(&cx, self.repository, self.index, target, options);
        app.run.progress.finish();
        let restored = result.map_err(|error| incomplete(error, target))?;
        let target = std::path::absolute(target).unwrap_or_else(|_| target.to_owned());
        let next = Next { target: &target, manifest, only: only.as_deref() }.steps();
        let outcome = self.conclude(&target, copy, started, restored, Some(json!(next)))?;
        if outcome != Outcome::Ok {
            app.output().text("  mend that before you start anything on it");
            return Ok(outcome);
        }
        let too_old = self.couchdb.too_old_services(manifest);
        if !too_old.is_empty() {
            too_old.iter().for_each(|what| app.output().text(format!("problem: {what}")));
            app.output().text("  start none of it before its image is one that reads these files");
            return Ok(Outcome::Partial);
        }
        // Nothing of that is damaged; whether the host can do without it, only its owner knows.
        let lacking = manifest
            .sources
            .iter()
            .flat_map(|(name, record)| record.problems.iter().map(move |problem| format!("{name}: {problem}")));
        let lacking = grouped(lacking);
        if !lacking.is_empty() {
            app.output().text("what the backup could not take, so that it is not here either:");
            lacking.iter().take(LACKING_SHOWN).for_each(|line| app.output().text(format!("  {line}")));
            if lacking.len() > LACKING_SHOWN {
                app.output().text(format!("  and {} more", lacking.len() - LACKING_SHOWN));
            }
        }
        if !next.is_empty() {
            app.output().text("next, as root on the new host:");
        }
        for Step { source, commands } in &next {
            app.output().text(format!("  # {source}"));
            commands.iter().for_each(|command| app.output().text(format!("  {command}")));
        }
        Ok(if self.left_out() > 0 { Outcome::Partial } else { Outcome::Ok })
    }
}

/// What is to be done for a source, as lines for a shell.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Step {
    source: String,
    commands: Vec<String>,
}

/// Says what is to be done with a restored root.
struct Next<'a> {
    target: &'a Path,
    manifest: &'a Manifest,
    only: Option<&'a str>,
}

/// A volume to make, and the folder of the old host that it was.
struct Volume<'a> {
    source: &'a str,
    facts: Value,
    folder: PathBuf,
}

impl Next<'_> {
    /// Files first, then volumes, since they must be there before containers are; then what is started.
    fn steps(&self) -> Vec<Step> {
        let volumes = self.volumes();
        let mut steps = Vec::new();
        let mut done: BTreeSet<PathBuf> = volumes.iter().map(|volume| volume.folder.clone()).collect();
        for (name, record) in self.sources() {
            let mut places = Vec::new();
            for host in host_paths(record) {
                if !host.ancestors().any(|above| done.contains(above)) {
                    places.push(quote(&below_root(&host).display().to_string()));
                    done.insert(host);
                }
            }
            if !places.is_empty() {
                let (target, places) = (quote(&self.target.display().to_string()), places.join(" "));
                let test = if ONE_STATE.contains(&record.kind.as_str()) { are_free(&places) } else { String::new() };
                steps.push(step(name, vec![format!("(cd {target} && {test}cp -a --parents {places} /)")]));
            } else if host_paths(record).is_empty() {
                let place = self.target.join(BESIDE).join(name);
                steps.push(step(name, vec![format!("ls {}", quote(&place.display().to_string()))]));
            }
        }
        for Volume { source, facts, folder } in &volumes {
            steps.push(step(source, self.make_volume(facts, folder)));
        }
        for (name, record) in self.sources().filter(|(_, record)| record.kind == COMPOSE) {
            steps.extend(start(record).map(|command| step(name, vec![command])));
        }
        steps
    }

    /// Those that are restored, in the order of their deeds.
    fn sources(&self) -> impl Iterator<Item = (&str, &SourceRecord)> {
        let mut sources: Vec<_> = self.manifest.sources.iter().map(|(name, record)| (name.as_str(), record)).collect();
        sources.retain(|(name, _)| self.only.is_none_or(|only| only == *name));
        sources.sort_by_key(|(_, record)| host_root::rank(&record.kind));
        sources.into_iter()
    }

    /// The volumes that were captured: as the engine knew them, or by their folders and what compose files call them.
    fn volumes(&self) -> Vec<Volume<'_>> {
        let mut volumes: Vec<Volume<'_>> = Vec::new();
        let of_compose = self.compose_volumes();
        for (source, record) in self.sources() {
            let hosts = host_paths(record);
            for facts in record.volumes() {
                let folder = facts["folder"].as_str().and_then(path_of).or_else(|| hosts.first().cloned());
                let facts = labelled(facts, &of_compose);
                volumes.extend(folder.map(|folder| Volume { source, facts, folder }));
            }
            for (name, facts) in &of_compose {
                let folder = hosts.iter().find(|host| is_volume_folder(host, name));
                volumes.extend(folder.map(|folder| Volume { source, facts: facts.clone(), folder: folder.clone() }));
            }
        }
        let mut seen = BTreeSet::new();
        volumes.retain(|volume| seen.insert(volume.folder.clone()));
        volumes
    }

    /// What the compose files of the snapshot say of their volumes, by name.
    fn compose_volumes(&self) -> BTreeMap<String, Value> {
        let mut volumes = BTreeMap::new();
        for record in self.manifest.sources.values().filter(|record| record.kind == COMPOSE) {
            for (key, volume) in record.facts.get("volumes").and_then(Value::as_object).into_iter().flatten() {
                let Some(name) = volume["name"].as_str() else { continue };
                let labels = json!({
                    "com.docker.compose.project": record.facts.get("project"), "com.docker.compose.volume": key,
                });
                let labels = if volume["external"] == true { json!({}) } else { labels };
                volumes.insert(name.to_owned(), json!({ "name": name, "labels": labels }));
            }
        }
        volumes
    }

    fn make_volume(&self, facts: &Value, folder: &Path) -> Vec<String> {
        let mut create = "docker volume create".to_owned();
        if let Some(driver) = facts["driver"].as_str().filter(|driver| *driver != "local") {
            create += &format!(" --driver {}", quote(driver));
        }
        for (option, fact) in [("--label", "labels"), ("--opt", "options")] {
            for (key, value) in facts[fact].as_object().into_iter().flatten() {
                create += &format!(" {option} {}", quote(&format!("{key}={}", value.as_str().unwrap_or_default())));
            }
        }
        let name = quote(facts["name"].as_str().unwrap_or_default());
        let from = quote(&self.target.join(below_root(folder)).join(".").display().to_string());
        let mut commands = vec![format!("{create} {name}")];
        if facts["options"].to_string().contains("***") {
            commands.push("# what is shown as *** is a secret: fill it in above".to_owned());
        }
        // One that was there already is not made anew, and CouchDB's files must not be mixed with others.
        commands.push(format!(
            "(place=\"$(docker volume inspect --format '{{{{.Mountpoint}}}}' {name})\" && if [ -n \"$(ls -A \"$place\")\" ]; \
             then echo \"$place is not empty: move what is in it away first\" >&2; exit 1; fi && cp -a {from} \"$place\")"
        ));
        commands
    }
}

/// What is known of a volume, with Compose's labels where the engine was not there to tell them: without those, Compose says
/// that the volume is not its own.
fn labelled(facts: &Value, of_compose: &BTreeMap<String, Value>) -> Value {
    let mut facts = facts.clone();
    let has_labels = facts["labels"].as_object().is_some_and(|labels| !labels.is_empty());
    let known = facts["name"].as_str().and_then(|name| of_compose.get(name)).filter(|_| !has_labels);
    if let (Some(known), Some(fields)) = (known, facts.as_object_mut()) {
        fields.insert("labels".to_owned(), known["labels"].clone());
    }
    facts
}

/// The part of a command that ends it where something lies at one of `places`, as the shell reads them: a copy would be
/// mixed with that.
fn are_free(places: &str) -> String {
    format!(
        "for place in {places}; do if [ -n \"$(ls -A \"/$place\" 2>/dev/null)\" ]; then \
         echo \"/$place is not empty: move it away first\" >&2; exit 1; fi; done && "
    )
}

/// How a project is started; `None` where the snapshot does not say.
fn start(record: &SourceRecord) -> Option<String> {
    let up = record.facts.get("up")?;
    let list = |name: &str| up[name].as_array().into_iter().flatten().filter_map(Value::as_str).filter_map(path_of);
    let mut command = format!("docker compose -p {}", quote(record.facts.get("project")?.as_str()?));
    for (option, name) in [("-f", "files"), ("--env-file", "env")] {
        for path in list(name) {
            command += &format!(" {option} {}", quote(&path.display().to_string()));
        }
    }
    Some(command + " up -d")
}

fn step(source: &str, commands: Vec<String>) -> Step {
    Step { source: source.to_owned(), commands }
}

/// A path as facts have it.
fn path_of(key: &str) -> Option<PathBuf> {
    go::unquote(key).map(|bytes| PathBuf::from(OsString::from_vec(bytes)))
}

fn below_root(host: &Path) -> &Path {
    host.strip_prefix("/").unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_no_engine_told_are_those_of_compose() {
        let of_compose = BTreeMap::from([("cht_ssl".to_owned(), json!({ "labels": { "of": "compose" } }))]);
        let labels = |facts: Value| labelled(&facts, &of_compose)["labels"].clone();
        assert_eq!(labels(json!({ "name": "cht_ssl" })), json!({ "of": "compose" }));
        assert_eq!(labels(json!({ "name": "cht_ssl", "labels": {} })), json!({ "of": "compose" }));
        assert_eq!(labels(json!({ "name": "cht_ssl", "labels": { "of": "engine" } })), json!({ "of": "engine" }));
        assert_eq!(labels(json!({ "name": "other" })), Value::Null);
    }
}
