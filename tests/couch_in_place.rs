//! A CouchDB's databases back in place, where the data folder went on without them: what was made of them since goes, and
//! CouchDB finds them again. And what lacks in a snapshot is said.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use couchfile::{Checksum, Compression, CouchWriter, Database, Format, ShardMap, shard_maps};
use serde_json::Value;

use crate::couch_files::{NODE, RANGE, backed_up, documents, files, restore, shard};
use crate::couchdb::{COUCHDB, compare_databases, site};
use crate::support::{Ran, Site};

const MEDIC: [&str; 6] = ["restore", "latest:records", "--database", "medic", "--in-place", "--yes"];

fn maps(folder: &Path) -> BTreeMap<String, ShardMap> {
    let database = Database::open(File::open(folder.join("_dbs.couch")).unwrap()).unwrap();
    shard_maps(&database).map(Result::unwrap).map(|map| (map.database.clone(), map)).collect()
}

/// What is there without what Lifeboat keeps.
fn own_files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = files(folder);
    all.retain(|path, _| !path.contains(".lifeboat-undo-"));
    all
}

/// Lets the data folder go on with other shard maps: each as `change` leaves it.
fn change_maps(folder: &Path, change: impl Fn(&str, Value) -> Option<Value>) {
    let path = folder.join("_dbs.couch");
    let all = documents(&path);
    let format = Format { checksum: Checksum::Xxh3, compression: Compression::Snappy };
    let mut writer = CouchWriter::create(File::create(&path).unwrap(), format, "0123", NODE).unwrap();
    for (id, (_, mut body)) in all.into_iter().filter(|(id, _)| !id.starts_with("_local/")) {
        body.as_object_mut().unwrap().retain(|name, _| !name.starts_with('_'));
        writer.put(&id, &body).unwrap();
        match change(&id, body.clone()) {
            None => drop(writer.delete(&id).unwrap()),
            Some(changed) if changed != body => drop(writer.put(&id, &changed).unwrap()),
            Some(_) => {}
        }
    }
    writer.commit().unwrap();
}

fn remove_files_of(folder: &Path, part: &str) {
    for path in files(folder).into_keys().filter(|path| path.contains(part)) {
        fs::remove_file(folder.join(path)).unwrap();
    }
}

#[test]
fn a_database_that_was_deleted_comes_back_with_its_shard_map() {
    let site = backed_up();
    let data = site.data().join(COUCHDB);
    let before = maps(&data);
    change_maps(&data, |id, body| (id != "medic").then_some(body));
    remove_files_of(&data, "/medic.1");
    let without = own_files(&data);
    let mut expected = before.clone();
    expected.remove("medic");
    assert_eq!(maps(&data), expected);

    let one = site.lifeboat(MEDIC.iter().chain(&["--shard", RANGE])).exits(1);
    one.says(["database medic: the shard map does not name it any more", "leave out --shard"]);
    site.lifeboat(MEDIC.iter().chain(&["--dry-run"])).ok().says(["its entry comes back with its files"]);
    assert!(own_files(&data) == without, "nothing was changed");
    let done = site.lifeboat(MEDIC.iter().chain(&["--json"])).ok().summary();
    assert_eq!(maps(&data), before);
    compare_databases(&data, |name| name == "medic");
    assert_eq!(done["undo"].as_array().unwrap().len(), 1, "{done}");
    // Once it is there, there is nothing to be brought back.
    assert!(!site.lifeboat(MEDIC.iter().chain(&["--dry-run"])).ok().to_string().contains("comes back"));
    site.lifeboat(["restore", "--undo", done["undo"][0].as_str().unwrap()]).ok();
    assert!(own_files(&data) == without, "all is back as it was");
}

#[test]
fn a_database_that_was_made_anew_gives_way_to_the_one_of_the_snapshot() {
    let site = backed_up();
    let data = site.data().join(COUCHDB);
    let before = maps(&data);
    let suffix: Vec<_> = ".1999999999".bytes().collect();
    change_maps(&data, |id, mut body| {
        if id == "medic" {
            body["shard_suffix"] = serde_json::json!(suffix);
        }
        Some(body)
    });
    assert_ne!(maps(&data), before);
    site.lifeboat(MEDIC).ok().says(["database medic: it was made anew since"]);
    assert_eq!(maps(&data), before);
    fs::write(data.join("_dbs.couch"), "torn").unwrap();
    site.lifeboat(MEDIC).exits(1).says(["the shard map _dbs.couch that is there now", "restore the whole source"]);
}

#[test]
fn search_indexes_of_a_database_that_goes_back_go_with_it() {
    let site = backed_up();
    let data = site.data().join(COUCHDB);
    let index_of = |database: &str| {
        let stem = shard(&site, database).file_stem().unwrap().to_string_lossy().into_owned();
        format!("shards/{RANGE}/{stem}/sig/index")
    };
    let roots = ["nouveau/couchdb@127.0.0.1", "couchdb@127.0.0.1", "nouveau", "search_indexes"];
    for (root, database) in roots.iter().flat_map(|root| ["medic", "medic-sentinel"].map(|database| (root, database))) {
        let path = data.join(root).join(index_of(database));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "newer").unwrap();
    }
    let before = own_files(&data);
    let ran: Ran = site.lifeboat(MEDIC).ok();
    ran.says(["is an index of the database before the restore", "restore both, with --database medic"]);
    for root in roots {
        assert!(!data.join(root).join(index_of("medic")).exists(), "{root}");
        assert!(data.join(root).join(index_of("medic-sentinel")).exists(), "{root}");
    }
    let both = MEDIC.iter().chain(&["--database", "medic-sentinel", "--dry-run"]);
    assert!(!site.lifeboat(both).ok().to_string().contains("restore both"));
    let undo: Vec<PathBuf> = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path()).collect();
    let undo = undo.iter().find(|path| path.to_string_lossy().contains(".lifeboat-undo-")).unwrap();
    site.lifeboat(["restore", "--undo", undo.to_str().unwrap()]).ok();
    assert!(own_files(&data) == before, "all is back as it was");
}

#[test]
fn nodes_get_their_new_names_in_place_too() {
    let site = backed_up();
    let data = site.data().join(COUCHDB);
    let before = files(&data);
    let new = "couchdb@db.example.org";
    let names = format!("{NODE}={new}");
    let restore = ["restore", "latest:records", "--in-place", "--yes", "--rename-node", &names];
    let done = site.lifeboat(restore.iter().chain(&["--json"])).ok().summary();
    let renamed = maps(&data);
    assert!(renamed.len() >= 8 && renamed.values().all(|map| map.by_node.iter().all(|(node, _)| node == new)));
    assert!(documents(&data.join("_nodes.couch")).contains_key(new));
    compare_databases(&data, |_| true);
    site.lifeboat(["restore", "--undo", done["undo"][0].as_str().unwrap()]).ok();
    assert!(files(&data) == before, "all is back as it was");
}

/// Lets the CouchDB be called `new`, with a list of nodes and shard maps that say so.
fn rename_the_live_one(data: &Path, new: &str) {
    change_maps(data, |_, body| Some(serde_json::from_str(&body.to_string().replace(NODE, new)).unwrap()));
    let format = Format { checksum: Checksum::Xxh3, compression: Compression::Snappy };
    let file = File::create(data.join("_nodes.couch")).unwrap();
    let mut nodes = CouchWriter::create(file, format, "4567", new).unwrap();
    nodes.put(new, &serde_json::json!({})).unwrap();
    nodes.commit().unwrap();
}

#[test]
fn a_database_comes_back_to_a_node_of_another_name_only_under_that() {
    let site = backed_up();
    let data = site.data().join(COUCHDB);
    let new = "couchdb@db.example.org";
    rename_the_live_one(&data, new);
    let expected = maps(&data);
    let names = format!("{NODE}={new}");
    let needless = site.lifeboat(MEDIC.iter().chain(&["--rename-node", &names])).exits(1);
    needless.says(["no entry of it comes back", "leave out --rename-node"]);
    change_maps(&data, |id, body| (id != "medic").then_some(body));
    let without = own_files(&data);
    site.lifeboat(MEDIC).exits(1).says([&*format!("--rename-node {names}")]);
    // Forced, it is held against the entry itself.
    let forced = site.lifeboat(MEDIC.iter().chain(&["--force"])).exits(1);
    forced.says([&*format!("database medic would lie on node {NODE}"), new]);
    let wrong = format!("{NODE}=couchdb@elsewhere");
    site.lifeboat(MEDIC.iter().chain(&["--rename-node", &wrong])).exits(1);
    let to = ["restore", "latest:records", "--database", "medic", "--to", "t", "--rename-node", &names];
    site.lifeboat(to).exits(2).says(["--rename-node needs the whole source"]);
    assert!(own_files(&data) == without, "nothing was changed");
    site.lifeboat(MEDIC.iter().chain(&["--rename-node", &names])).ok();
    let found = maps(&data);
    let places = |maps: &BTreeMap<String, ShardMap>| (maps["medic"].by_node.clone(), maps["medic"].by_range.clone());
    assert_eq!(places(&found), places(&expected));
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    compare_databases(&data, |name| name == "medic");
}

#[test]
fn a_database_of_a_snapshot_without_a_shard_map_is_held_against_the_one_that_is_there() {
    let site = site();
    let data = site.data().join(COUCHDB);
    let path = data.join("_dbs.couch");
    let map = fs::read(&path).unwrap();
    for unreadable in [None, Some(vec![0; 9000])] {
        fs::remove_file(&path).unwrap();
        unreadable.into_iter().for_each(|bytes| fs::write(&path, bytes).unwrap());
        site.lifeboat(["backup"]).exits(3);
        fs::write(&path, &map).unwrap();
        // It is named as the files are: they go back.
        site.lifeboat(MEDIC.iter().chain(&["--dry-run"])).ok();
        change_maps(&data, |id, body| (id != "medic").then_some(body));
        let before = own_files(&data);
        let ran = site.lifeboat(MEDIC).exits(1);
        ran.says(["database medic: the shard map does not name it any more", "no shard map that can be read"]);
        assert!(own_files(&data) == before, "nothing was changed");
        fs::write(&path, &map).unwrap();
    }
}

#[test]
fn a_shard_map_that_a_compaction_left_is_renamed_and_takes_back_entries_too() {
    let site = site();
    let data = site.data().join(COUCHDB);
    let [plain, compacted] = ["_dbs.couch", "_dbs.couch.compact"].map(|name| data.join(name));
    fs::rename(&plain, &compacted).unwrap();
    site.backup();
    let before = own_files(&data);
    let new = "couchdb@db.example.org";
    let names = format!("{NODE}={new}");
    let is_renamed = |folder: &Path| {
        let database = Database::open(File::open(folder.join("_dbs.couch.compact")).unwrap()).unwrap();
        let maps: Vec<_> = shard_maps(&database).map(Result::unwrap).collect();
        maps.len() >= 8 && maps.iter().all(|map| map.by_node.iter().all(|(node, _)| node == new))
    };
    restore(&site, "t", &["--rename-node", &names]).ok().says(["renamed 1 node"]);
    assert!(is_renamed(&site.path("t").join(data.strip_prefix("/").unwrap())));
    let in_place = ["restore", "latest:records", "--in-place", "--yes", "--rename-node", &names, "--json"];
    let done = site.lifeboat(in_place).ok().summary();
    assert!(is_renamed(&data));
    site.lifeboat(["restore", "--undo", done["undo"][0].as_str().unwrap()]).ok();
    assert!(own_files(&data) == before, "all is back as it was");
    // CouchDB took it for its shard map, and the database was deleted.
    fs::rename(&compacted, &plain).unwrap();
    let expected = maps(&data);
    change_maps(&data, |id, body| (id != "medic").then_some(body));
    site.lifeboat(MEDIC).ok();
    assert!(!plain.exists(), "CouchDB takes what a compaction left");
    fs::rename(&compacted, &plain).unwrap();
    assert_eq!(maps(&data), expected);
}

/// A site whose snapshot was made while `file` of the data folder was not there.
fn without(file: impl FnOnce(&Site) -> PathBuf) -> Site {
    let site = site();
    fs::remove_file(file(&site)).unwrap();
    site.lifeboat(["backup"]).exits(3);
    site
}

#[test]
fn a_snapshot_without_a_shard_map_is_known_damage_and_its_documents_can_be_read() {
    let site = without(|site| site.data().join(COUCHDB).join("_dbs.couch"));
    let ran = restore(&site, "t", &[]).exits(3).says(["_dbs.couch is not in the snapshot", "start NO CouchDB on it"]);
    assert!(!ran.to_string().contains("newer on it"), "{ran}");
    let in_place = ["restore", "latest:records", "--in-place", "--yes"];
    site.lifeboat(in_place).exits(1).says(["_dbs.couch is not in the snapshot", "restore another snapshot"]);
    let listed = site.lifeboat(["docs", "latest:records"]).exits(3);
    assert!(listed.text().contains("medic-sentinel"), "{listed}");
    let documents = site.lifeboat(["docs", "latest:records", "medic"]).exits(3);
    let count = documents.text().lines().count();
    assert!(count > 100, "{count}");
}

#[test]
fn no_couchdb_is_to_be_started_where_a_shard_lacks() {
    let site = without(|site| shard(site, "medic"));
    let ran = restore(&site, "t", &[]).exits(3).says(["the snapshot does not have it", "start NO CouchDB on it"]);
    assert!(!ran.to_string().contains("newer on it"), "{ran}");
}
