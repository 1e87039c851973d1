//! Databases laid out for other nodes, and shard maps brought back: read back, all is where it should be, and everything
//! else as it was.

use couchfile::rewrite::{NodeNames, lay_out_nodes, lay_out_shard_maps, new_nodes, put_shard_maps, spread};
use couchfile::{
    Checksum, Compression, CouchWriter, Database, Error, Format, JsonOptions, Level, ShardMap, shard_maps,
};
use serde_json::{Value, json};

use crate::fixtures::{ALL, open};

const RANGES: [&str; 4] = ["00000000-3fffffff", "40000000-7fffffff", "80000000-bfffffff", "c0000000-ffffffff"];

fn names(nodes: &[&str]) -> Vec<String> {
    nodes.iter().map(|node| (*node).to_owned()).collect()
}

fn maps(database: &Database<&[u8]>) -> Vec<ShardMap> {
    shard_maps(database).collect::<Result<_, _>>().unwrap()
}

fn checked(bytes: &[u8]) -> Database<&[u8]> {
    let database = Database::open(bytes).unwrap();
    let report = database.check(Level::Attachments);
    assert!(report.is_ok(), "{}", report.findings[0]);
    database
}

fn writer(uuid: &str) -> CouchWriter<Vec<u8>> {
    let format = Format { checksum: Checksum::Xxh3, compression: Compression::Snappy };
    CouchWriter::create(Vec::new(), format, uuid, "a@host").unwrap()
}

/// A shard map of four ranges, all on one node.
fn body(node: &str, suffix: &str) -> Value {
    let by_range: serde_json::Map<_, _> = RANGES.iter().map(|range| (range.to_string(), json!([node]))).collect();
    let changelog: Vec<_> = RANGES.iter().map(|range| json!(["add", range, node])).collect();
    json!({
        "shard_suffix": suffix.bytes().collect::<Vec<_>>(), "changelog": changelog, "by_node": {node: RANGES},
        "by_range": by_range, "props": {"partitioned": true},
    })
}

fn json_of(database: &Database<&[u8]>, id: &str) -> Value {
    let info = database.document(id).unwrap().unwrap();
    serde_json::from_str(&database.json(&info, JsonOptions::default()).unwrap().unwrap()).unwrap()
}

#[test]
fn each_shard_of_each_database_lies_on_one_node_and_all_nodes_agree() {
    let nodes = names(&["b@one", "a@two", "c@three"]);
    for fixture in ALL {
        let files = fixture.files();
        let before = open(&files["_dbs.couch"]);
        let written: Vec<_> = nodes
            .iter()
            .map(|node| {
                let mut written = Vec::new();
                lay_out_shard_maps(&before, &nodes, node, &mut written).unwrap();
                written
            })
            .collect();
        let read: Vec<_> = written.iter().map(|bytes| checked(bytes)).collect();
        let all = maps(&read[0]);
        assert!(read.iter().all(|database| maps(database) == all), "{}", fixture.name);
        for (map, old) in all.iter().zip(maps(&before)) {
            let same =
                |map: &ShardMap| (map.database.clone(), map.suffix.clone(), map.properties.clone(), map.ranges());
            assert_eq!(same(map), same(&old));
            let mut expected: Vec<Vec<_>> = vec![Vec::new(); nodes.len()];
            for (range, at) in spread(&old.ranges(), nodes.len()) {
                expected[at].push(range);
                assert!(map.by_range.contains(&(range, vec![nodes[at].clone()])), "{map:?}");
            }
            let held =
                |node: &String| map.by_node.iter().find(|(name, _)| name == node).map(|(_, ranges)| ranges.clone());
            assert_eq!(nodes.iter().map(|node| held(node).unwrap_or_default()).collect::<Vec<_>>(), expected);
            assert_eq!((map.n(), map.by_range.len()), (1, old.ranges().len()));
            assert!(map.changelog.starts_with(&old.changelog), "{map:?}");
            let told = |map: &ShardMap, what| map.changelog.iter().filter(|change| change.starts_with(what)).count();
            for what in ["[\"add\"", "[\"remove\""] {
                assert_eq!(told(map, what), told(&old, what) + old.q(), "{map:?}");
            }
        }
        // Each is a file of its own, and its node's.
        for (database, node) in read.iter().zip(&nodes) {
            let header = database.header();
            assert_eq!((&header.epochs[0].node, header.epochs[0].seq), (node, header.update_seq));
            assert_eq!(header.update_seq, before.header().update_seq);
        }
        let uuids: std::collections::BTreeSet<_> =
            read.iter().chain([&before]).map(|database| database.header().uuid.clone()).collect();
        assert_eq!(uuids.len(), nodes.len() + 1);

        let mut written = Vec::new();
        lay_out_nodes(&open(&files["_nodes.couch"]), &nodes, &nodes[1], &mut written).unwrap();
        let read = checked(&written);
        let ids: Vec<_> = read.documents().map(|info| info.unwrap().id).filter(|id| id.contains('@')).collect();
        assert_eq!(ids, ["a@two", "b@one", "c@three"]);
    }
}

#[test]
fn a_list_of_nodes_is_made_where_there_is_none() {
    let nodes = names(&["b@one", "a@two"]);
    for fixture in ALL {
        let files = fixture.files();
        let maps = open(&files["_dbs.couch"]);
        let (mut list, mut laid_out) = (Vec::new(), Vec::new());
        new_nodes(&maps, &nodes, &nodes[0], &mut list).unwrap();
        lay_out_shard_maps(&maps, &nodes, &nodes[0], &mut laid_out).unwrap();
        let (list, laid_out) = (checked(&list), checked(&laid_out));
        let ids: Vec<_> = list.documents().map(|info| info.unwrap().id).collect();
        assert_eq!(ids, ["a@two", "b@one"], "{}", fixture.name);
        let header = list.header();
        assert_eq!((header.update_seq, header.epochs.len(), &header.epochs[0].node), (2, 1, &nodes[0]));
        assert!(list.local_documents().next().is_none() && list.purge_seq().unwrap() == 0);
        assert_ne!(header.uuid, laid_out.header().uuid, "it is another database");
    }
}

#[test]
fn a_node_that_stays_keeps_what_is_known_of_it_and_one_that_comes_back_is_there_again() {
    let mut nodes = writer("0123");
    nodes.put("a@host", &json!({"zone": "cellar"})).unwrap();
    nodes.put("b@host", &json!({})).unwrap();
    nodes.put("c@host", &json!({})).unwrap();
    nodes.delete("c@host").unwrap();
    nodes.put("_design/x", &json!({})).unwrap();
    nodes.commit().unwrap();
    let bytes = nodes.into_inner();
    let before = Database::open(bytes.as_slice()).unwrap();
    let mut written = Vec::new();
    lay_out_nodes(&before, &names(&["a@host", "c@host"]), "c@host", &mut written).unwrap();
    let after = checked(&written);
    let ids: Vec<_> = after.documents().map(Result::unwrap).map(|info| (info.id.clone(), info.deleted)).collect();
    assert_eq!(ids, [("_design/x".to_owned(), false), ("a@host".to_owned(), false), ("c@host".to_owned(), false)]);
    assert_eq!(json_of(&after, "a@host")["zone"], "cellar");
    assert!(json_of(&after, "c@host")["_rev"].as_str().unwrap().starts_with("3-"));
    assert_eq!(after.header().update_seq, before.header().update_seq + 1);
    let refused = lay_out_nodes(&before, &names(&["a@host", "a@host"]), "a@host", Vec::new());
    assert!(matches!(&refused, Err(Error::Rename(what)) if what.contains("two nodes")), "{refused:?}");
    let refused = lay_out_nodes(&before, &names(&["a@host"]), "b@host", Vec::new());
    assert!(matches!(&refused, Err(Error::Rename(what)) if what.contains("none of the nodes")), "{refused:?}");
}

#[test]
fn a_shard_map_comes_back_on_top_of_a_deletion_of_another_one_and_where_nothing_was() {
    let mut old = writer("0123");
    for database in ["deleted", "made-anew", "unknown", "same"] {
        old.put(database, &body("a@host", ".1")).unwrap();
    }
    old.commit().unwrap();
    let old = old.into_inner();
    let mut now = writer("0123");
    for database in ["deleted", "made-anew", "same", "later"] {
        now.put(database, &body("a@host", ".1")).unwrap();
    }
    for database in ["deleted", "made-anew"] {
        now.delete(database).unwrap();
    }
    now.put("made-anew", &body("a@host", ".2")).unwrap();
    now.put_local("_local/x", &json!({"a": 1}));
    now.commit().unwrap();
    let now = now.into_inner();
    let (old, now) = (Database::open(old.as_slice()).unwrap(), Database::open(now.as_slice()).unwrap());
    let mut written = Vec::new();
    let wanted = names(&["deleted", "made-anew", "unknown"]);
    let rewritten = put_shard_maps(&now, &old, &wanted, &NodeNames::new(), &mut written).unwrap();
    assert_eq!(rewritten.changed, wanted);
    let after = checked(&written);
    let of = |database: &Database<&[u8]>, name: &str| maps(database).into_iter().find(|map| map.database == name);
    for database in &wanted {
        assert_eq!(of(&after, database), of(&old, database), "{database}");
    }
    let revision = |name: &str| json_of(&after, name)["_rev"].as_str().unwrap().split('-').next().unwrap().to_owned();
    assert_eq!(["deleted", "made-anew", "unknown"].map(revision), ["3", "4", "1"]);
    for database in ["same", "later"] {
        assert_eq!(json_of(&after, database), json_of(&now, database));
    }
    let header = |database: &Database<&[u8]>| (database.header().uuid.clone(), database.header().epochs.clone());
    assert_eq!(header(&after), header(&now), "it is the same file");
    assert_eq!(after.header().update_seq, now.header().update_seq + 3);
    assert_eq!(after.local_documents().count(), 1);
    // A node may be called otherwise by now.
    let renamed = NodeNames::from([("a@host".to_owned(), "b@host".to_owned())]);
    let mut written = Vec::new();
    put_shard_maps(&now, &old, &wanted, &renamed, &mut written).unwrap();
    let after = checked(&written);
    for (database, node) in [("deleted", "b@host"), ("unknown", "b@host"), ("same", "a@host"), ("later", "a@host")] {
        let map = of(&after, database).unwrap();
        assert!(map.by_node.iter().all(|(name, _)| name == node), "{map:?}");
        assert!(map.by_range.iter().all(|(_, names)| names == &[node]), "{map:?}");
    }
    let refused = put_shard_maps(&now, &old, &names(&["nothing"]), &NodeNames::new(), Vec::new());
    assert!(matches!(&refused, Err(Error::Rename(what)) if what.contains("\"nothing\"")), "{refused:?}");
}
