//! The databases of a CouchDB laid out for other nodes: every document is there, once, and all nodes agree.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use couchfile::{Checksum, Compression, CouchWriter, Database, Format, ShardMap, ShardName, shard_maps};
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

    // Three sources of another stack, and one node again.
    let cluster = Site::new();
    let config = site.path("three").join(NODES[0]).join(below(&site, CREDENTIALS));
    let sources = NODES.iter().zip(["a", "b", "c"]).map(|(node, name)| {
        let own = cluster.path(name);
        fs::create_dir(&own).unwrap();
        for entry in fs::read_dir(&config).unwrap().map(Result::unwrap) {
            fs::copy(entry.path(), own.join(entry.file_name())).unwrap();
        }
        format!("{name}: {{ couchdb: {{ data: {:?}, config: {own:?} }} }}\n", folder(node))
    });
    cluster.configure(&sources.collect::<String>());
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
    let writer = |file: &str| {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let format = Format { checksum: Checksum::Md5, compression: Compression::Snappy };
        CouchWriter::create(File::create(path).unwrap(), format, &format!("{:032x}", file.len()), node).unwrap()
    };
    let mut list = writer("_nodes.couch");
    ["n@one", "n@two"].iter().for_each(|name| drop(list.put(name, &json!({})).unwrap()));
    list.commit().unwrap();
    let ranges = ["00000000-7fffffff", "80000000-ffffffff"];
    let mut maps = writer("_dbs.couch");
    let map = json!({
        "shard_suffix": ".1700000000".bytes().collect::<Vec<_>>(), "changelog": [],
        "by_node": { "n@one": ranges, "n@two": ranges },
        "by_range": { ranges[0]: ["n@one", "n@two"], ranges[1]: ["n@one", "n@two"] },
    });
    maps.put("orders", &map).unwrap();
    maps.commit().unwrap();
    for (range, count) in shards {
        let mut shard = writer(&format!("shards/{range}/orders.1700000000.couch"));
        (0..*count).for_each(|number| drop(shard.put(&format!("{node} {number}"), &json!({})).unwrap()));
        shard.commit().unwrap();
    }
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
    site.lifeboat(arguments.iter().chain(&["n@new"])).ok();
    let folder = target.join(one.strip_prefix("/").unwrap());
    let ids = |range: &str| {
        let path = folder.join(format!("shards/{range}/orders.1700000000.couch"));
        let database = Database::open(File::open(path).unwrap()).unwrap();
        database.documents().map(|info| info.unwrap().id).collect::<Vec<_>>()
    };
    assert_eq!((ids("00000000-7fffffff").len(), ids("80000000-ffffffff").len()), (5, 4));
    assert!(ids("80000000-ffffffff")[0].starts_with("n@two"));
}

#[test]
fn a_shard_that_nobody_has_is_named_and_the_rest_is_laid_out() {
    let site = crate::couchdb::site();
    fs::remove_file(shard(&site, "medic")).unwrap();
    site.lifeboat(["backup"]).exits(3);
    let ran = restore(&site, "t", &["--nodes", "a@x,b@x"]).exits(3);
    ran.says([&*format!("database medic, shard {RANGE}"), "start NO CouchDB on it"]);
    let [there, named] = shards(&site.path("t/b@x").join(below(&site, COUCHDB)), "b@x");
    assert_eq!(there, named, "what the other lacks");
}
