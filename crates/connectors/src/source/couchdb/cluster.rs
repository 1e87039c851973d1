//! The databases of one or several data folders, laid out for other nodes: each shard of each database once. Which file
//! goes where is decided from the facts alone; the shard maps are rewritten in what was restored.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, lchown};
use std::path::{Path, PathBuf};

use couchfile::rewrite::{lay_out_nodes, lay_out_shard_maps, spread};
use couchfile::{ShardName, ViewName};
use repository::{Cancel, Facts, SourceError};
use serde_json::Value;

use super::complete::{self, NODES, SHARD_MAP};
use super::damage::without_ending;
use super::data_folder::{COMPACTED, Kind};
use super::facts::{DAMAGED, DATABASES, FILES, VIEWS};
use super::rewritten::{Beside, open};
use super::select::{named, names, not_there, object};
use crate::source::walk::{Seen, walk};

/// Which files the nodes get.
#[derive(Debug, PartialEq, Eq)]
pub struct ClusterPlan {
    /// The source, by number, whose shard map and list of nodes all nodes get, and the first node what lies beside its shards.
    pub first: usize,
    /// In the order that was asked for.
    pub nodes: Vec<NodeFiles>,
    /// Shards that no source has.
    pub lacking: Vec<ShardName>,
    /// Databases that are left out, in words.
    pub left_out: Vec<String>,
}

/// The files of one node.
#[derive(Debug, PartialEq, Eq)]
pub struct NodeFiles {
    /// The node.
    pub node: String,
    /// Each with the number of the source that has it, by its path below the data folder there, which it keeps.
    pub files: Vec<(usize, PathBuf)>,
}

impl ClusterPlan {
    /// What it does not bring, in words.
    pub fn problems(&self) -> Vec<String> {
        self.lacking.iter().map(not_there).chain(self.left_out.iter().cloned()).collect()
    }
}

/// Lays the databases of `sources`, each with its name and facts, out for `nodes`. Where several have a shard, it is taken
/// from the one with the most updates of those in which it is not damaged. Views go with their shard.
///
/// # Errors
/// No source has a shard map and a list of nodes that can be read.
pub fn plan_cluster(sources: &[(&str, &Facts)], nodes: &[String]) -> Result<ClusterPlan, SourceError> {
    let usable = (0..sources.len()).filter(|number| {
        let facts = sources[*number].1;
        [SHARD_MAP, NODES]
            .iter()
            .all(|name| record(facts, FILES, name).is_some() && record(facts, DAMAGED, name).is_none())
    });
    // Where they differ, a database was made or deleted while the sources were opened one after the other.
    let count = |number: &usize| object(sources[*number].1, DATABASES).count();
    let first = usable.max_by_key(|number| (count(number), Reverse(*number)));
    let first = first.ok_or_else(|| SourceError::Unavailable {
        what: format!(
            "no source of the snapshot has both {SHARD_MAP} and {NODES} whole, which say what belongs together"
        ),
    })?;
    let facts = sources[first].1;
    let views: Vec<_> = sources.iter().map(|(_, facts)| views_by_database(facts)).collect();
    let holds: Vec<_> = sources.iter().map(|(_, facts)| names(facts, FILES, Kind::Database)).collect();
    let top = |name: &str| (first, PathBuf::from(name));
    let mut plan = ClusterPlan {
        first,
        nodes: nodes
            .iter()
            .map(|node| NodeFiles { node: node.clone(), files: vec![top(SHARD_MAP), top(NODES)] })
            .collect(),
        lacking: Vec::new(),
        left_out: left_out(sources, first),
    };
    for (database, _) in object(facts, DATABASES) {
        let shards: BTreeMap<_, _> = named(facts, database).into_iter().map(|shard| (shard.range, shard)).collect();
        let ranges: Vec<_> = shards.keys().copied().collect();
        for (range, at) in spread(&ranges, nodes.len()) {
            let (Some(shard), Some(node)) = (shards.get(&range), plan.nodes.get_mut(at)) else { continue };
            let file = shard.file();
            let found = (0..sources.len()).flat_map(|source| {
                let names = [file.clone(), format!("{file}{COMPACTED}")];
                names
                    .into_iter()
                    .filter(|name| holds[source].contains(name))
                    .map(move |name| (source, name))
                    .collect::<Vec<_>>()
            });
            match found.max_by_key(|(source, name)| (worth(sources[*source].1, name), Reverse(*source))) {
                None => plan.lacking.push(shard.clone()),
                Some((source, name)) => {
                    let views = views[source].get(without_ending(&name)).into_iter().flatten();
                    let files = [PathBuf::from(name)].into_iter().chain(views.cloned());
                    node.files.extend(files.map(|file| (source, file)));
                }
            }
        }
    }
    // What is one file beside the shards belongs to its node alone.
    let beside = holds[first].iter().filter(|name| ShardName::parse(name).is_none());
    let beside = beside.filter(|name| ![SHARD_MAP, NODES].map(without_ending).contains(&without_ending(name)));
    if let Some(node) = plan.nodes.first_mut() {
        for name in beside {
            let views = views[first].get(without_ending(name)).into_iter().flatten();
            node.files.extend([PathBuf::from(name)].into_iter().chain(views.cloned()).map(|file| (first, file)));
        }
    }
    Ok(plan)
}

fn record<'a>(facts: &'a Facts, fact: &str, name: &str) -> Option<&'a Value> {
    facts.get(fact)?.get(name)
}

/// The more, the better: whole before damaged, then by updates.
fn worth(facts: &Facts, name: &str) -> (bool, u64) {
    let seq = record(facts, FILES, name).and_then(|file| file.get("update_seq")?.as_u64());
    (record(facts, DAMAGED, name).is_none(), seq.unwrap_or(0))
}

fn views_by_database(facts: &Facts) -> BTreeMap<String, Vec<PathBuf>> {
    let mut views: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for name in names(facts, VIEWS, Kind::View) {
        if let Some(view) = ViewName::parse(&name) {
            views.entry(view.database).or_default().push(PathBuf::from(name));
        }
    }
    views
}

fn left_out(sources: &[(&str, &Facts)], first: usize) -> Vec<String> {
    let mut left_out = BTreeMap::new();
    for (name, facts) in sources {
        for (database, _) in object(facts, DATABASES) {
            if record(sources[first].1, DATABASES, database).is_none() {
                let main = sources[first].0;
                left_out.entry(database).or_insert_with(|| {
                    format!("database {database}: only the shard map of {name} names it, and that of {main} does not; left out")
                });
            }
        }
    }
    left_out.into_values().collect()
}

/// Writes the shard maps and lists of nodes of data folders that were restored by a plan, for their nodes, and reads them
/// back: all nodes have the same shard maps, and each has the files that these say it has. Gives the number of databases.
///
/// # Errors
/// What is otherwise. No CouchDB may then be started on any of the folders.
pub fn write_cluster(
    folders: &[(String, PathBuf)],
    lacking: &[ShardName],
    cancel: &Cancel,
) -> Result<usize, SourceError> {
    let nodes: Vec<_> = folders.iter().map(|(node, _)| node.clone()).collect();
    let mut agreed = None;
    for (node, folder) in folders {
        let (maps, list) = (folder.join(SHARD_MAP), folder.join(NODES));
        let (old_maps, old_list) = (open(&maps)?, open(&list)?);
        let new_maps = Beside::write(&maps, |out| lay_out_shard_maps(&old_maps, &nodes, node, out))?;
        let new_list = Beside::write(&list, |out| lay_out_nodes(&old_list, &nodes, node, out))?;
        new_maps.persist()?;
        new_list.persist()?;
        let wrong = |what: String| SourceError::Invalid { what: format!("{node}: {what}") };
        let (read, failed) = complete::maps(&open(&maps)?);
        if let Some(error) = failed {
            return Err(wrong(format!("{SHARD_MAP}: {error}")));
        }
        let listed: BTreeSet<_> = complete::nodes(&open(&list)?).into_iter().collect();
        if listed != nodes.iter().cloned().collect() {
            return Err(wrong(format!("{NODES} names {listed:?}")));
        }
        for shard in read.iter().flat_map(|map| map.shards_of(node)).filter(|shard| !lacking.contains(shard)) {
            let file = shard.file();
            if ![file.clone(), format!("{file}{COMPACTED}")].iter().any(|file| folder.join(file).is_file()) {
                return Err(wrong(format!("{file} is not there")));
            }
        }
        if *agreed.get_or_insert_with(|| read.clone()) != read {
            return Err(wrong(format!("its {SHARD_MAP} is not that of {}", nodes[0])));
        }
        own_folders(folder, &maps, cancel)?;
    }
    Ok(agreed.map_or(0, |maps| maps.len()))
}

/// Gives folders that were made on the way to files the owner of the files, since CouchDB makes more files in them.
fn own_folders(folder: &Path, like: &Path, cancel: &Cancel) -> Result<(), SourceError> {
    let owner = std::fs::metadata(like).map_err(SourceError::io(like))?;
    let mut folders = vec![folder.to_owned()];
    walk(folder, cancel, &mut |seen| {
        if let Seen::Entry(path, kind) = seen
            && kind.is_dir()
        {
            folders.push(path.to_path_buf());
        }
        true
    })?;
    for path in folders {
        match lchown(&path, Some(owner.uid()), Some(owner.gid())) {
            // A plain user owns all of it already.
            Err(error) if error.kind() != ErrorKind::PermissionDenied => return Err(SourceError::io(&path)(error)),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RANGES: [&str; 4] = ["00000000-3fffffff", "40000000-7fffffff", "80000000-bfffffff", "c0000000-ffffffff"];

    fn shard(range: &str) -> String {
        format!("shards/{range}/medic.1.couch")
    }

    /// Facts of a source that has some shards of `medic`, each with its updates.
    fn source(shards: &[(&str, u64)]) -> Facts {
        let mut files: serde_json::Map<_, _> =
            shards.iter().map(|(range, seq)| (shard(range), json!({ "update_seq": seq }))).collect();
        files.extend([SHARD_MAP, NODES].map(|name| (name.to_owned(), json!({}))));
        let view = format!(".shards/{}/medic.1_design/mrview/2da00b9a4e2604c99e4b65b70817033f.view", shards[0].0);
        let facts = json!({
            "data": "/srv/couchdb", "files": files, "views": { view: {} },
            "databases": { "medic": { "suffix": ".1", "ranges": RANGES } },
        });
        serde_json::from_value(facts).unwrap()
    }

    fn nodes(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Which shard each node gets, and from where.
    fn shards_of(plan: &ClusterPlan) -> Vec<Vec<(usize, String)>> {
        let shards = |node: &NodeFiles| {
            let files = node.files.iter().filter(|(_, file)| ShardName::parse(&file.to_string_lossy()).is_some());
            files.map(|(source, file)| (*source, file.display().to_string())).collect()
        };
        plan.nodes.iter().map(shards).collect()
    }

    #[test]
    fn each_shard_goes_to_one_node_from_the_source_with_the_most_updates() {
        let one = source(&[(RANGES[0], 5), (RANGES[1], 5), (RANGES[2], 5)]);
        let two = source(&[(RANGES[2], 7), (RANGES[1], 4), (RANGES[3], 1)]);
        let sources = [("one", &one), ("two", &two)];
        let plan = plan_cluster(&sources, &nodes(&["a@x", "b@x", "c@x"])).unwrap();
        let [first, second, third, fourth] =
            [(0, shard(RANGES[0])), (0, shard(RANGES[1])), (1, shard(RANGES[2])), (1, shard(RANGES[3]))];
        assert_eq!(shards_of(&plan), [vec![first.clone(), fourth.clone()], vec![second.clone()], vec![third.clone()]]);
        assert_eq!((plan.first, plan.problems().len()), (0, 0), "{plan:?}");
        let views =
            plan.nodes.iter().map(|node| node.files.iter().filter(|(_, file)| Kind::of(file) == Kind::View).count());
        assert_eq!(
            views.collect::<Vec<_>>(),
            [1, 0, 1],
            "a view comes with the shard it is of, from where that comes from"
        );
        let plan = plan_cluster(&sources, &nodes(&["a@x"])).unwrap();
        assert_eq!(shards_of(&plan), [vec![first, second, third, fourth]]);
    }

    #[test]
    fn what_is_damaged_is_taken_only_where_nobody_has_it_whole_and_what_lacks_is_named() {
        let mut one = source(&[(RANGES[0], 9), (RANGES[1], 5)]);
        one.insert(DAMAGED.to_owned(), json!({ shard(RANGES[0]): {}, shard(RANGES[1]): {} }));
        let mut two = source(&[(RANGES[0], 7), (RANGES[2], 1)]);
        let more = json!({ "medic": two["databases"]["medic"], "later": { "suffix": ".2", "ranges": [] } });
        two.insert(DATABASES.to_owned(), more);
        let plan = plan_cluster(&[("one", &one), ("two", &two)], &nodes(&["a@x"])).unwrap();
        let expected = [(1, shard(RANGES[0])), (0, shard(RANGES[1])), (1, shard(RANGES[2]))];
        assert_eq!(shards_of(&plan), [expected]);
        assert_eq!(plan.first, 1, "it names more databases");
        assert!(plan.problems()[0].contains("c0000000-ffffffff"), "{plan:?}");
        one.get_mut(DATABASES).unwrap()["gone"] = json!({ "suffix": ".1", "ranges": [] });
        let plan = plan_cluster(&[("one", &one), ("two", &two)], &nodes(&["a@x"])).unwrap();
        assert!(plan.left_out[0].contains("database later: only the shard map of two names it"), "{plan:?}");
        two["files"].as_object_mut().unwrap().remove(NODES);
        assert!(plan_cluster(&[("two", &two)], &nodes(&["a@x"])).is_err());
    }
}
