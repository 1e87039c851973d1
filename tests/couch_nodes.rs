//! The databases of a CouchDB laid out for other nodes: every document is there, once, and all nodes agree.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use couchfile::{Checksum, Compression, CouchWriter, Database, Format, ShardMap, ShardName, headers, shard_maps};
use serde_json::json;

use crate::couch_files::{NODE, RANGE, backed_up, files, restore, shard};
use crate::couchdb::{COUCHDB, CREDENTIALS, compare_with_truth};
use crate::support::Site;

const NODES: [&str; 3] = ["couchdb@one.example.org", "couchdb@two.example.org", "couchdb@three.example.org"];

fn maps(folder: &Path) -> Vec<ShardMap> {
    let database = Database::open(File::open(folder.join("_dbs.couch")).unwrap()).unwrap();
    shard_maps(&database).collect::<Result<_, _>>().unwrap()
}

/// The names in `_nodes.couch`.
fn nodes(folder: &Path) -> Vec<String> {
    let database = Database::open(File::open(folder.join("_nodes.couch")).unwrap()).unwrap();
    database.documents().map(Result::unwrap).filter(|info| !info.deleted).map(|info| info.id).collect()
}

/// The shards that lie in a data folder, and those that its map gives to `node`.
fn shards(folder: &Path, node: &str) -> [BTreeSet<ShardName>; 2] {
    let there = files(folder).into_keys().filter(|path| path.ends_with(".couch"));
    let there = there.filter_map(|path| ShardName::parse(&path)).collect();
    [there, maps(folder).iter().flat_map(|map| map.shards_of(node)).collect()]
}

fn below(site: &Site, path: &str) -> PathBuf {
    site.data().join(path).strip_prefix("/").unwrap().to_owned()
}

#[test]
fn one_node_becomes_three_and_three_become_one_with_every_document() {
    let site = backed_up();
    let ran = restore(&site, "three", &["--nodes", &NODES.join(",")]).ok();
    ran.says(["laid out for 3 nodes", "every document and attachment was read back"]);
    let folder = |node: &str| site.path("three").join(node).join(below(&site, COUCHDB));
    let all = maps(&folder(NODES[0]));
    assert!(all.len() >= 8);
    for node in NODES {
        assert_eq!(maps(&folder(node)), all, "the shard maps are equal on all nodes");
        assert_eq!(nodes(&folder(node)).into_iter().collect::<BTreeSet<_>>(), NODES.map(str::to_owned).into());
        let [there, named] = shards(&folder(node), node);
        assert_eq!(there, named, "{node}");
        assert!(there.iter().filter(|shard| shard.database == "medic").count() == 4, "12 ranges on 3 nodes");
    }
    assert!(all.iter().all(|map| map.n() == 1 && map.is_complete() && !format!("{:?}", map.by_node).contains(NODE)));
    let of_views = |node| files(&folder(node)).into_keys().filter(|path| path.ends_with(".view")).count();
    assert!(NODES.iter().all(|node| of_views(node) > 0));
    let credentials = |node| site.path("three").join(node).join(below(&site, CREDENTIALS)).exists();
    assert_eq!(NODES.map(credentials), [true, false, false], "the configuration stays with the first");

    // Three sources of another stack, and one node again. As CHT has it, the configuration with the secret is on the first.
    let cluster = Site::new();
    let config = site.path("three").join(NODES[0]).join(below(&site, CREDENTIALS));
    let source =
        |name: &str, node: &str, more: &str| format!("{name}: {{ couchdb: {{ data: {:?}{more} }} }}\n", folder(node));
    let others = source("b", NODES[1], "") + &source("c", NODES[2], "");
    cluster.configure(&(source("a", NODES[0], &format!(", config: {config:?}")) + &others));
    cluster.lifeboat(["init"]).ok();
    cluster.lifeboat(["backup"]).ok();
    let one = cluster.path("one");
    let ran = cluster.lifeboat(["restore", "latest", "--to", one.to_str().unwrap(), "--nodes", NODE]).ok();
    ran.says(["laid out for 1 node"]);
    let whole = one.join(folder(NODES[0]).strip_prefix("/").unwrap());
    let numbers = compare_with_truth(&whole);
    assert!(numbers.iter().all(|number| *number > 0), "{numbers:?}");
    assert_eq!(nodes(&whole), [NODE]);
    let [there, named] = shards(&whole, NODE);
    assert_eq!(there, named);
    // One of the three does not have it all.
    let target = cluster.path("part");
    let ran = cluster.lifeboat(["restore", "latest:b", "--to", target.to_str().unwrap(), "--nodes", NODE]).exits(3);
    ran.says(["the snapshot does not have it", "start NO CouchDB on it"]);
}

/// A node's data folder, with one database in two shards, of which it has those that are given, each with as many documents.
fn write_node(folder: &Path, node: &str, shards: &[(&str, usize)]) {
    let ranges: &[&str] = &["00000000-7fffffff", "80000000-ffffffff"];
    write_node_of(folder, node, [("n@one", ranges), ("n@two", ranges)], shards);
}

/// The same for a cluster of which each node holds what is given with it.
fn write_node_of(folder: &Path, node: &str, cluster: [(&str, &[&str]); 2], shards: &[(&str, usize)]) {
    let writer = |file: &str| {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let format = Format { checksum: Checksum::Md5, compression: Compression::Snappy };
        // Another one for each file, as CouchDB draws them.
        let uuid = file.bytes().fold(0_u128, |sum, byte| sum.wrapping_mul(31).wrapping_add(u128::from(byte)));
        CouchWriter::create(File::create(path).unwrap(), format, &format!("{uuid:032x}"), node).unwrap()
    };
    let mut list = writer("_nodes.couch");
    cluster.iter().for_each(|(name, _)| drop(list.put(name, &json!({})).unwrap()));
    list.commit().unwrap();
    let ranges = ["00000000-7fffffff", "80000000-ffffffff"];
    let holders = |range: &str| -> Vec<&str> {
        cluster.iter().filter(|(_, held)| held.contains(&range)).map(|(name, _)| *name).collect()
    };
    let mut maps = writer("_dbs.couch");
    let map = json!({
        "shard_suffix": ".1700000000".bytes().collect::<Vec<_>>(), "changelog": [],
        "by_node": { cluster[0].0: cluster[0].1, cluster[1].0: cluster[1].1 },
        "by_range": { ranges[0]: holders(ranges[0]), ranges[1]: holders(ranges[1]) },
    });
    maps.put("orders", &map).unwrap();
    maps.commit().unwrap();
    for (range, count) in shards {
        let mut shard = writer(&format!("shards/{range}/orders.1700000000.couch"));
        for number in 0..*count {
            shard.put(&format!("{node} {number}"), &json!({})).unwrap();
            shard.commit().unwrap();
        }
    }
}

#[test]
fn what_a_compaction_left_of_the_shard_map_is_laid_out_as_well() {
    let site = Site::new();
    let folder = site.data().join("one");
    write_node(&folder, "n@one", &[("00000000-7fffffff", 5), ("80000000-ffffffff", 1)]);
    for name in ["_dbs.couch", "_nodes.couch"] {
        fs::rename(folder.join(name), folder.join(format!("{name}.compact"))).unwrap();
    }
    site.configure(&format!("one: {{ couchdb: {{ data: {folder:?} }} }}"));
    site.lifeboat(["init"]).ok();
    site.lifeboat(["backup"]).ok();
    let target = site.path("laid-out");
    site.lifeboat(["restore", "latest", "--to", target.to_str().unwrap(), "--nodes", NODE]).ok();
    let data = target.join(folder.strip_prefix("/").unwrap());
    // As CouchDB does when it starts.
    for name in ["_dbs.couch", "_nodes.couch"] {
        fs::rename(data.join(format!("{name}.compact")), data.join(name)).unwrap();
    }
    let [there, named] = shards(&data, NODE);
    assert_eq!((there.len(), nodes(&data)), (2, vec![NODE.to_owned()]));
    assert_eq!(there, named);
}

#[test]
fn of_a_shard_that_several_nodes_have_the_one_with_the_most_updates_is_taken() {
    let site = Site::new();
    let [one, two] = ["one", "two"].map(|name| site.data().join(name));
    write_node(&one, "n@one", &[("00000000-7fffffff", 5), ("80000000-ffffffff", 1)]);
    write_node(&two, "n@two", &[("00000000-7fffffff", 2), ("80000000-ffffffff", 4)]);
    let source = |name: &str, folder: &Path| format!("{name}: {{ couchdb: {{ data: {folder:?} }} }}\n");
    site.configure(&(source("one", &one) + &source("two", &two)));
    site.lifeboat(["init"]).ok();
    site.lifeboat(["backup"]).ok();
    let target = site.path("t");
    let arguments = ["restore", "latest", "--to", target.to_str().unwrap(), "--nodes"];
    site.lifeboat(arguments.iter().chain(&["n@new", "--dry-run"])).ok().says(["for 1 node"]);
    site.lifeboat(arguments.iter().chain(&["n@new,n@new"])).exits(2).says(["n@new is named twice"]);
    site.lifeboat(arguments.iter().chain(&["new"])).exits(2).says(["no name of a node"]);
    assert!(!target.exists());
    let ran = site.lifeboat(arguments.iter().chain(&["n@new"])).ok();
    ran.says(["of 2 shards the copies differ: the one with the most documents was taken"]);
    let folder = target.join(one.strip_prefix("/").unwrap());
    let ids = |range: &str| ids(&folder, range);
    assert_eq!((ids("00000000-7fffffff").len(), ids("80000000-ffffffff").len()), (5, 4));
    assert!(ids("80000000-ffffffff")[0].starts_with("n@two"));
}

/// The documents in a shard of the database of [`write_node`].
fn ids(folder: &Path, range: &str) -> Vec<String> {
    let path = folder.join(format!("shards/{range}/orders.1700000000.couch"));
    let database = Database::open(File::open(path).unwrap()).unwrap();
    database.documents().map(|info| info.unwrap().id).collect()
}

/// Two nodes, with a snapshot whose making ends with `code`. `before` is done to their folders first.
fn backed_up_nodes(code: i32, before: impl FnOnce(&Path, &Path)) -> (Site, PathBuf) {
    let site = Site::new();
    let [one, two] = ["one", "two"].map(|name| site.data().join(name));
    let ranges = ["00000000-7fffffff", "80000000-ffffffff"];
    write_node(&one, "n@one", &[(ranges[0], 9), (ranges[1], 2)]);
    write_node(&two, "n@two", &[(ranges[0], 1), (ranges[1], 2)]);
    before(&one, &two);
    let source = |name: &str, folder: &Path| format!("{name}: {{ couchdb: {{ data: {folder:?} }} }}\n");
    site.configure(&(source("one", &one) + &source("two", &two)));
    site.lifeboat(["init"]).ok();
    site.lifeboat(["backup"]).exits(code);
    let folder = site.path("t").join(one.strip_prefix("/").unwrap());
    (site, folder)
}

#[test]
fn a_node_whose_snapshot_lacks_a_shard_does_not_take_the_live_one_away() {
    let file = "shards/00000000-7fffffff/orders.1700000000.couch";
    let (site, _) = backed_up_nodes(3, |one, two| fs::rename(one.join(file), two.with_extension("aside")).unwrap());
    let [one, aside] = ["one", "two.aside"].map(|name| site.data().join(name));
    fs::rename(aside, one.join(file)).unwrap();
    let lacks = "database orders, shard 00000000-7fffffff: the shard map names it, and the snapshot does not have it";
    let ran = site.lifeboat(["restore", "latest:one", "--in-place", "--yes"]).exits(1);
    ran.says([lacks, "what is there now would be moved away"]);
    assert_eq!(ids(&one, "00000000-7fffffff").len(), 9);
    let ran = site.lifeboat(["restore", "latest:one", "--to", site.path("t").to_str().unwrap()]).exits(3);
    ran.says([lacks, "start NO CouchDB on it"]);
    site.lifeboat(["restore", "latest:two", "--in-place", "--yes"]).ok();
}

#[test]
fn a_damaged_copy_that_holds_most_is_taken_as_far_as_it_is_whole_and_that_is_told() {
    let (site, folder) = backed_up_nodes(3, |one, _| {
        let path = one.join("shards/00000000-7fffffff/orders.1700000000.couch");
        let mut bytes = fs::read(&path).unwrap();
        let places: Vec<_> = headers(&bytes).take(2).map(|header| header.unwrap().place).collect();
        // The newest document, and the newest nodes of the trees.
        bytes[places[1].end as usize..places[0].offset as usize].fill(0xff);
        fs::write(&path, bytes).unwrap();
    });
    let target = site.path("t");
    let restore = |more: &[&str]| {
        let arguments = ["restore", "latest", "--to", target.to_str().unwrap(), "--nodes", "n@new"];
        site.lifeboat(arguments.iter().chain(more)).exits(3)
    };
    let shown = "database orders, shard 00000000-7fffffff";
    let planned = restore(&["--dry-run"]);
    planned.says([shown, "some are damaged and may hold most: they are read, and the fullest is taken", "for 1 node"]);
    assert_eq!(restore(&["--dry-run", "--json"]).summary()["status"], "partial");
    assert!(!target.exists());
    let ran = restore(&[]);
    assert!(!ran.text().contains("start NO CouchDB"), "what is there can be read: {ran}");
    ran.says([shown, "taken is the copy of one, which holds most", "newest whole commit", "two has 1 documents"]);
    let taken = ids(&folder, "00000000-7fffffff");
    assert!(taken.len() > 4 && taken.len() < 9 && taken.iter().all(|id| id.starts_with("n@one")), "{taken:?}");
    assert_eq!(ids(&folder, "80000000-ffffffff").len(), 2);
    for source in ["one", "two"] {
        let kept = target.join("copies-not-taken").join(source).join("shards/00000000-7fffffff");
        assert!(kept.join("orders.1700000000.couch").exists(), "{source}");
    }
}

#[test]
fn documents_are_found_on_whichever_node_of_the_cluster_has_them() {
    let site = Site::new();
    let folder = |name: &str| site.data().join(name);
    let ranges = ["00000000-7fffffff", "80000000-ffffffff"];
    let each: [&[&str]; 2] = [&ranges[..1], &ranges[1..]];
    let cluster = [("n@one", each[0]), ("n@two", each[1])];
    write_node_of(&folder("one"), "n@one", cluster, &[(ranges[0], 3)]);
    write_node_of(&folder("two"), "n@two", cluster, &[(ranges[1], 2)]);
    // Of the same names, and of another cluster: it comes first, and is not asked.
    let other: [(&str, &[&str]); 2] = [("m@one", &ranges), ("m@two", &[])];
    write_node_of(&folder("else"), "m@one", other, &[(ranges[0], 7), (ranges[1], 7)]);
    let source = |name: &str| format!("{name}: {{ couchdb: {{ data: {:?} }} }}\n", folder(name));
    site.configure(&["else", "one", "two"].map(source).concat());
    site.lifeboat(["init"]).ok();
    site.lifeboat(["backup"]).ok();
    let docs = |of: &str, more: &[&str]| site.lifeboat(["docs", &format!("latest:{of}")].iter().chain(more));
    for of in ["one", "two"] {
        let listed = docs(of, &["--json"]).ok();
        let listed = listed.lines().into_iter().find(|line| line["name"] == "orders").unwrap();
        assert_eq!((&listed["documents"], &listed["shards"]), (&json!(5), &json!(2)), "{listed}");
        assert_eq!(docs(of, &["orders", "--json"]).ok().summary()["documents"], 5);
        for id in ["n@one 2", "n@two 1"] {
            docs(of, &["orders", id]).ok().says([id]);
        }
    }
    docs("one", &["orders", "m@one 1"]).exits(1).says(["there is no document"]);
    // Damage is named where it is.
    let shard = format!("shards/{}/orders.1700000000.couch", ranges[1]);
    fs::write(folder("two").join(&shard), vec![1; 5000]).unwrap();
    site.lifeboat(["backup"]).exits(3);
    let place = Path::new("two").join(folder("two").strip_prefix("/").unwrap()).join(&shard);
    docs("one", &["orders"]).exits(3).says([place.to_str().unwrap()]);
    fs::remove_file(folder("two").join(&shard)).unwrap();
    site.lifeboat(["backup"]).exits(3);
    docs("one", &["orders"]).exits(3).says(["the shard map names it, and it is not in the snapshot"]);
}

#[test]
fn without_a_list_of_nodes_the_shard_map_is_enough() {
    let (site, folder) = backed_up_nodes(0, |one, two| {
        [one, two].into_iter().for_each(|folder| fs::remove_file(folder.join("_nodes.couch")).unwrap());
    });
    let target = site.path("t");
    let ran = site.lifeboat(["restore", "latest", "--to", target.to_str().unwrap(), "--nodes", "n@a,n@b"]).ok();
    ran.says(["laid out for 2 nodes"]);
    for node in ["n@a", "n@b"] {
        let folder = target.join(node).join(folder.strip_prefix(&target).unwrap());
        assert_eq!(nodes(&folder), ["n@a", "n@b"]);
        let [there, named] = shards(&folder, node);
        assert_eq!((there.len(), &there), (1, &named));
    }
}

#[test]
fn a_shard_that_nobody_has_is_named_and_the_rest_is_laid_out() {
    let site = crate::couchdb::site();
    fs::remove_file(shard(&site, "medic")).unwrap();
    site.lifeboat(["backup"]).exits(3);
    let lacks = format!("database medic, shard {RANGE}");
    restore(&site, "t", &["--nodes", "a@x,b@x", "--dry-run"]).exits(3).says([&*lacks, "for 2 nodes"]);
    assert!(!site.path("t").exists());
    let ran = restore(&site, "t", &["--nodes", "a@x,b@x"]).exits(3);
    ran.says([&*lacks, "start NO CouchDB on it"]);
    let [there, named] = shards(&site.path("t/b@x").join(below(&site, COUCHDB)), "b@x");
    assert_eq!(there, named, "what the other lacks");
}
