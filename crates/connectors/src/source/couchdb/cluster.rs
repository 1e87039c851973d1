//! The databases of one or several data folders, laid out for other nodes: each shard of each database once. Which file
//! goes where is decided from the facts alone, but for shards of which a damaged copy may hold most; the shard maps are
//! rewritten in what was restored.

mod choose;
mod left_out;
mod settle;
mod write;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use couchfile::rewrite::spread;
use couchfile::{ShardName, ViewName};
use repository::{Facts, SourceError};
use serde_json::Value;

use self::choose::{Choice, Copy, choose, had_more};
pub use self::settle::{COPIES_NOT_TAKEN, Contest, Settled, settle, tidy};
pub use self::write::write_cluster;
use super::damage::without_ending;
use super::data_folder::Kind;
use super::facts::{DAMAGED, DATABASES, FILES, VIEWS};
use super::select::{names, not_there, object, shards_named};
use super::shard_map::{NODE_LIST_FILES, SHARD_MAP, SHARD_MAP_FILES};

/// Which files the nodes get.
#[derive(Debug, PartialEq, Eq)]
pub struct ClusterPlan {
    /// The source, by number, whose shard map all nodes get, and the first node what lies beside its shards.
    pub first: usize,
    /// In the order that was asked for.
    pub nodes: Vec<NodeFiles>,
    /// Shards whose copies have to be read before one is taken.
    pub contests: Vec<Contest>,
    /// Shards that no source has.
    pub lacking: Vec<ShardName>,
    /// What sources have or had, and this does not bring, in words.
    pub left_out: Vec<String>,
    /// Shards of which the copies are whole and do not hold the same: the fullest is taken.
    pub differing: usize,
}

/// The files of one node.
#[derive(Debug, PartialEq, Eq)]
pub struct NodeFiles {
    /// The node.
    pub node: String,
    /// Each with the number of the source that has it, by its path below the data folder there, which it keeps.
    pub files: Vec<(usize, PathBuf)>,
}

/// What a source has, by its facts.
struct Held {
    /// Database files.
    files: BTreeSet<String>,
    /// The views of each, by its path without an ending.
    views: BTreeMap<String, Vec<PathBuf>>,
}

impl Held {
    fn new(facts: &Facts) -> Self {
        let mut views: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for name in names(facts, VIEWS, Kind::View) {
            if let Some(view) = ViewName::parse(&name) {
                views.entry(view.database).or_default().push(PathBuf::from(name));
            }
        }
        Self { files: names(facts, FILES, Kind::Database), views }
    }

    /// A database file and its views.
    fn with_views<'h>(&'h self, name: &'h str) -> impl Iterator<Item = PathBuf> + 'h {
        let views = self.views.get(without_ending(name)).into_iter().flatten();
        [PathBuf::from(name)].into_iter().chain(views.cloned())
    }
}

impl ClusterPlan {
    /// What lacks in it, in words: a CouchDB would make it anew, as empty.
    pub fn missing(&self) -> Vec<String> {
        self.lacking.iter().map(not_there).collect()
    }

    /// What it does not bring, or not surely, in words.
    pub fn problems(&self, sources: &[&str]) -> Vec<String> {
        let contests = self.contests.iter().map(|contest| contest.told(sources));
        self.missing().into_iter().chain(contests).chain(self.left_out.iter().cloned()).collect()
    }
}

/// Lays the databases of `sources`, each with its name and facts, out for `nodes`. Where several have a shard, the copy that
/// holds most is taken; views go with it.
///
/// # Errors
/// No source has a shard map that can be read.
pub fn plan_cluster(sources: &[(&str, &Facts)], nodes: &[String]) -> Result<ClusterPlan, SourceError> {
    let is_whole = |source: usize, name: &str| {
        let facts = sources[source].1;
        record(facts, FILES, name).is_some() && record(facts, DAMAGED, name).is_none()
    };
    // Its second name is what a compaction left it under.
    let whole = |source: usize, names: [&'static str; 2]| names.into_iter().find(|name| is_whole(source, name));
    let with = |names| (0..sources.len()).filter_map(move |source| Some((source, whole(source, names)?)));
    // Where they differ, a database was made or deleted while the sources were opened one after the other.
    let count = |number: usize| object(sources[number].1, DATABASES).count();
    let map = with(SHARD_MAP_FILES).max_by_key(|(number, _)| (count(*number), Reverse(*number)));
    let map = map.ok_or_else(|| SourceError::Unavailable {
        what: format!("no source of the snapshot has {SHARD_MAP} whole, which says what belongs together"),
    })?;
    let first = map.0;
    // Without one, it is made anew.
    let list = with(NODE_LIST_FILES).min_by_key(|(number, _)| (*number != first, *number));
    let top: Vec<_> =
        [Some(map), list].into_iter().flatten().map(|(source, name)| (source, PathBuf::from(name))).collect();
    let nodes = nodes.iter().map(|node| NodeFiles { node: node.clone(), files: top.clone() }).collect();
    let (contests, lacking, left_out) = Default::default();
    let mut plan = ClusterPlan { first, nodes, contests, lacking, left_out, differing: 0 };
    let held: Vec<_> = sources.iter().map(|(_, facts)| Held::new(facts)).collect();
    let placed = plan.place_shards(sources, &held);
    plan.left_out.extend(left_out::databases(sources, &held, first, &placed));
    // What is one file beside the shards belongs to its node alone.
    let beside = left_out::beside_shards(sources, &held, first);
    plan.left_out.extend(beside.left_out);
    if let Some(node) = plan.nodes.first_mut() {
        for (source, name) in beside.taken {
            node.files.extend(held[source].with_views(&name).map(|file| (source, file)));
        }
    }
    Ok(plan)
}

impl ClusterPlan {
    /// Gives each shard that the shard map names to its node. Gives all of them.
    fn place_shards(&mut self, sources: &[(&str, &Facts)], held: &[Held]) -> BTreeSet<ShardName> {
        let facts = sources[self.first].1;
        let mut placed = BTreeSet::new();
        for (database, _) in object(facts, DATABASES) {
            let shards: BTreeMap<_, _> =
                shards_named(facts, database).into_iter().map(|shard| (shard.range, shard)).collect();
            let ranges: Vec<_> = shards.keys().copied().collect();
            for (range, at) in spread(&ranges, self.nodes.len()) {
                let Some(shard) = shards.get(&range) else { continue };
                placed.insert(shard.clone());
                match choose(Copy::all(sources, held, shard)) {
                    Choice::None => self.lacking.push(shard.clone()),
                    Choice::ToBeRead(copies) => {
                        self.contests.push(Contest { shard: shard.clone(), node: at, copies: choose::files(&copies) });
                    }
                    Choice::Copy { copy, differs } => {
                        self.differing += usize::from(differs);
                        let had_more = had_more(sources, held, shard, &copy);
                        self.left_out.extend(had_more.into_iter().map(|(name, had)| {
                            format!(
                                "database {database}, shard {range}: {name} had {had} updates of it in an earlier snapshot, and \
                                 its file is not in this one; taken is that of {}, with {}",
                                sources[copy.source].0,
                                copy.updates()
                            )
                        }));
                        let files = held[copy.source].with_views(&copy.name).map(|file| (copy.source, file));
                        self.nodes[at].files.extend(files);
                    }
                }
            }
        }
        placed
    }
}

fn record<'a>(facts: &'a Facts, fact: &str, name: &str) -> Option<&'a Value> {
    facts.get(fact)?.get(name)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::super::shard_map::NODE_LIST;
    use super::*;

    const RANGES: [&str; 4] = ["00000000-3fffffff", "40000000-7fffffff", "80000000-bfffffff", "c0000000-ffffffff"];

    fn shard(range: &str) -> String {
        format!("shards/{range}/medic.1.couch")
    }

    /// Facts of a source that has some shards of `medic`, each with its updates.
    fn source(shards: &[(&str, u64)]) -> Facts {
        let mut files: serde_json::Map<_, _> =
            shards.iter().map(|(range, seq)| (shard(range), json!({ "update_seq": seq }))).collect();
        files.extend([SHARD_MAP, NODE_LIST].map(|name| (name.to_owned(), json!({}))));
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
        assert_eq!((plan.first, plan.problems(&["one", "two"]).len()), (0, 0), "{plan:?}");
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
    fn copies_are_read_where_a_damaged_one_may_hold_more_than_a_whole_one() {
        let file = |documents: u64, seq: u64| json!({ "documents": documents, "deleted": 0, "update_seq": seq });
        let copy = |range: &str, record: Value| {
            let mut facts = source(&[(range, 0)]);
            facts["files"][&shard(range)] = record;
            facts
        };
        let damaged = |mut facts: Facts, lost: u64| {
            let record = json!({ "what": "torn", "lost": { "update_seq": lost } });
            facts.insert(DAMAGED.to_owned(), json!({ shard(RANGES[0]): record }));
            facts
        };
        let contested = |one: &Facts, two: &Facts| {
            let plan = plan_cluster(&[("one", one), ("two", two)], &nodes(&["a@x"])).unwrap();
            let contested = plan.contests.iter().map(|contest| contest.copies.iter().map(|copy| copy.0).collect());
            (
                contested.collect::<Vec<Vec<_>>>(),
                shards_of(&plan).concat().iter().map(|copy| copy.0).collect::<Vec<_>>(),
            )
        };
        let almost_empty = copy(RANGES[0], file(1, 1));
        let full = damaged(copy(RANGES[0], file(1000, 1500)), 0);
        assert_eq!(contested(&almost_empty, &full), (vec![vec![0, 1]], vec![]));
        assert_eq!(contested(&full, &almost_empty), (vec![vec![1, 0]], vec![]), "the whole one comes first");
        // What it had before counts, too: it may be found in the file.
        let lost = damaged(copy(RANGES[0], file(0, 0)), 900);
        assert_eq!(contested(&almost_empty, &lost), (vec![vec![0, 1]], vec![]));
        // One that surely holds no more is passed over, and where there is no other, it is read.
        assert_eq!(contested(&copy(RANGES[0], file(2000, 2000)), &full), (vec![], vec![0]));
        assert_eq!(contested(&copy(RANGES[1], file(1, 1)), &full), (vec![vec![1]], vec![0]));
        // A whole one is as good with fewer updates, where it was made anew from another; it is the documents that count.
        let made_anew = copy(RANGES[0], file(1001, 1001));
        let plan = plan_cluster(&[("one", &copy(RANGES[0], file(1000, 1500))), ("two", &made_anew)], &nodes(&["a@x"]));
        let plan = plan.unwrap();
        assert_eq!((shards_of(&plan), plan.differing), (vec![vec![(1, shard(RANGES[0]))]], 1));
    }

    #[test]
    fn what_a_source_had_and_is_not_in_the_snapshot_is_told() {
        let one = source(&[(RANGES[0], 5)]);
        for fact in [super::super::facts::UNSEEN, DAMAGED] {
            let mut two = source(&[(RANGES[1], 5)]);
            let record = json!({ "last": { "update_seq": 9 }, "lost": { "update_seq": 9 } });
            two.insert(fact.to_owned(), json!({ shard(RANGES[0]): record }));
            let told = |one: &Facts| {
                let plan = plan_cluster(&[("one", one), ("two", &two)], &nodes(&["a@x"])).unwrap();
                plan.left_out
            };
            let left_out = told(&one);
            assert!(left_out.len() == 1 && left_out[0].contains("two had 9 updates of it"), "{left_out:?}");
            assert!(told(&source(&[(RANGES[0], 9)])).is_empty());
        }
    }

    #[test]
    fn what_is_not_brought_is_named() {
        let mut one = source(&[(RANGES[0], 9), (RANGES[1], 5)]);
        let mut two = source(&[(RANGES[0], 7), (RANGES[2], 1)]);
        let more = json!({ "medic": two["databases"]["medic"], "later": { "suffix": ".2", "ranges": [] } });
        two.insert(DATABASES.to_owned(), more);
        let plan = |one: &Facts, two: &Facts| plan_cluster(&[("one", one), ("two", two)], &nodes(&["a@x"])).unwrap();
        let found = plan(&one, &two);
        assert_eq!(found.first, 1, "it names more databases");
        let problems = found.problems(&["one", "two"]);
        assert!(problems.len() == 1 && problems[0].contains("c0000000-ffffffff"), "{problems:?}");
        one.get_mut(DATABASES).unwrap()["gone"] = json!({ "suffix": ".1", "ranges": [] });
        let left_out = plan(&one, &two).left_out;
        assert!(left_out[0].contains("database later: only the shard map of two names it"), "{left_out:?}");

        // The same name, made anew meanwhile; shards that no map names; one file beside the shards.
        two.get_mut(DATABASES).unwrap()["gone"] = json!({ "suffix": ".7", "ranges": [] });
        two.get_mut(DATABASES).unwrap().as_object_mut().unwrap().remove("later");
        let files = two.get_mut(FILES).unwrap();
        files[&format!("shards/{}/lone.1.couch", RANGES[0])] = json!({});
        files["_users.couch"] = json!({ "documents": 3, "uuid": "b" });
        files["own.couch"] = json!({ "documents": 1, "uuid": "c" });
        one.get_mut(FILES).unwrap()["_users.couch"] = json!({ "documents": 1, "uuid": "a" });
        let found = plan(&one, &two);
        let left_out = found.left_out.join("\n");
        for told in [
            "database gone: two has another one of that name, of .7, while that of one is of .1",
            "database lone: two has shards of it, and no shard map names it",
            "database _users, which is one file beside the shards: that of one is taken, and that of two is left out",
        ] {
            assert!(left_out.contains(told), "{left_out}");
        }
        assert_eq!(found.left_out.len(), 3, "{left_out}");
        assert!(found.nodes[0].files.contains(&(1, "own.couch".into())), "nobody else has it: {found:?}");
        assert!(found.nodes[0].files.contains(&(0, "_users.couch".into())));
    }

    #[test]
    fn what_a_compaction_left_of_the_shard_map_and_the_nodes_serves_as_well() {
        let mut one = source(&[(RANGES[0], 9)]);
        let files = one["files"].as_object_mut().unwrap();
        for (name, left) in [(SHARD_MAP, SHARD_MAP_FILES[1]), (NODE_LIST, NODE_LIST_FILES[1])] {
            let record = files.remove(name).unwrap();
            files.insert(left.to_owned(), record);
        }
        let plan = plan_cluster(&[("one", &one)], &nodes(&["a@x", "b@x"])).unwrap();
        for node in &plan.nodes {
            assert_eq!(node.files[..2], [(0, SHARD_MAP_FILES[1].into()), (0, NODE_LIST_FILES[1].into())]);
        }
        assert!(plan.left_out.is_empty(), "{plan:?}");
    }

    #[test]
    fn a_list_of_nodes_is_taken_from_whoever_has_it_and_needed_from_nobody() {
        let mut one = source(&[(RANGES[0], 9)]);
        one["files"].as_object_mut().unwrap().remove(NODE_LIST);
        let two = source(&[(RANGES[1], 9)]);
        let files = |sources: &[(&str, &Facts)]| plan_cluster(sources, &nodes(&["a@x"])).unwrap().nodes.remove(0).files;
        assert!(files(&[("one", &one), ("two", &two)]).contains(&(1, NODE_LIST.into())));
        assert!(files(&[("one", &one)]).iter().all(|(_, file)| file != Path::new(NODE_LIST)));
        one["files"].as_object_mut().unwrap().remove(SHARD_MAP);
        assert!(plan_cluster(&[("one", &one)], &nodes(&["a@x"])).is_err());
    }
}
