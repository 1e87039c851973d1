//! CouchDB's files out of a snapshot: whole, by database, by shard, with other names of nodes, and in place.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use couchfile::{Checksum, Compression, CouchWriter, Database, Format, JsonOptions};
use serde_json::{Value, json};

use crate::couchdb::{COUCHDB, CREDENTIALS, compare_databases, site};
use crate::support::{Ran, Site, root};

pub const NODE: &str = "couchdb@127.0.0.1";
pub const RANGE: &str = "00000000-15555554";

pub fn backed_up() -> Site {
    let site = site();
    site.backup();
    site
}

pub fn restore(site: &Site, target: &str, more: &[&str]) -> Ran {
    let target = site.path(target);
    site.lifeboat(["restore", "latest:records", "--to", target.to_str().unwrap()].iter().chain(more))
}

/// All files below a folder, by their paths in it, with their contents.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let name = path.strip_prefix(folder).unwrap().display().to_string();
                    found.insert(name, fs::read(path).unwrap());
                }
            }
        }
    }
    found
}

/// The files of a database below a data folder: its shards and their views.
fn of_database(folder: &Path, database: &str) -> BTreeMap<String, Vec<u8>> {
    let mut all = files(folder);
    all.retain(|path, _| path.contains(&format!("/{database}.1")));
    all
}

pub fn shard(site: &Site, database: &str) -> PathBuf {
    let entries = fs::read_dir(site.data().join(COUCHDB).join("shards").join(RANGE)).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    let is_it = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with(&format!("{database}.1")) && name.ends_with(".couch")
    };
    paths.find(is_it).unwrap()
}

/// The folder with the indexes of that shard.
fn views(site: &Site, database: &str) -> PathBuf {
    let stem = shard(site, database).file_stem().unwrap().to_string_lossy().into_owned();
    site.data().join(COUCHDB).join(".shards").join(RANGE).join(format!("{stem}_design"))
}

#[test]
fn a_database_comes_back_as_exactly_its_shards_and_views() {
    let site = backed_up();
    let whole = site.path("whole");
    restore(&site, "whole", &[]).ok().says(["every document and attachment was read back"]);
    let data = whole.join(site.data().join(COUCHDB).strip_prefix("/").unwrap());
    let expected = of_database(&data, "medic");
    assert!(expected.keys().any(|path| path.ends_with(".view")) && expected.len() > 12, "{:?}", expected.keys());

    restore(&site, "medic", &["--database", "medic"]).ok().says(["every document and attachment was read back"]);
    assert!(files(&site.path("medic")) == expected, "{:?}", files(&site.path("medic")).keys());
    let numbers = compare_databases(&site.path("medic"), |name| name == "medic");
    assert!(numbers[0] > 0 && numbers[1] > 0, "leaves, attachments: {numbers:?}");

    restore(&site, "shard", &["--database", "medic", "--shard", RANGE]).ok();
    let mut of_shard = expected;
    of_shard.retain(|path, _| path.contains(RANGE));
    assert!(of_shard.len() >= 2 && files(&site.path("shard")) == of_shard);

    restore(&site, "two", &["--database", "medic-sentinel", "--database", "_users"]).ok();
    compare_databases(&site.path("two"), |name| ["medic-sentinel", "_users"].contains(&name));
    assert!(files(&site.path("two")).keys().all(|path| path.contains("/medic-sentinel.") || path.contains("_users.")));
}

#[test]
fn what_is_not_there_is_named_with_what_there_is() {
    let site = backed_up();
    restore(&site, "t", &["--database", "medics"]).exits(1).says(["no database medics", "medic-sentinel"]);
    let other = ["--database", "medic", "--shard", "00000000-7fffffff"];
    restore(&site, "t", &other).exits(1).says(["no database medic in these ranges"]);
    restore(&site, "t", &["--database", "medic", "--shard", "all"]).exits(1).says(["`all` is no range of a shard"]);
    let new = "nobody@127.0.0.1=couchdb@new.example.org";
    restore(&site, "t", &["--rename-node", new]).exits(2).says(["no node is called nobody@127.0.0.1", NODE]);
    restore(&site, "t", &["--rename-node", "new"]).exits(2).says(["write OLD=NEW"]);
    restore(&site, "t", &["--couchdb-version", "three"]).exits(2).says(["no version of CouchDB"]);
    site.lifeboat(["restore", "latest", "--to", "t", "--database", "nothing"]).exits(1).says(["medic"]);
    assert!(!site.path("t").exists(), "nothing was restored");
}

#[test]
fn a_couchdb_that_cannot_read_the_files_is_refused() {
    let site = backed_up();
    let old = restore(&site, "t", &["--couchdb-version", "3.3.2"]).exits(1);
    old.says(["CouchDB 3.3.2 cannot read the files of records", "3.4 or newer", "XXH3"]);
    assert!(!site.path("t").exists());
    restore(&site, "t", &["--couchdb-version", "3.5"]).ok();
}

/// Every document of a small database, with its sequence, revisions and deletion; and the local ones.
pub fn documents(path: &Path) -> BTreeMap<String, (u64, Value)> {
    let database = Database::open(File::open(path).unwrap()).unwrap();
    let options = JsonOptions { revisions: true, ..JsonOptions::default() };
    let documents = database.documents().map(|info| {
        let info = info.unwrap();
        let json = database.json(&info, options).unwrap().unwrap();
        (info.id.clone(), (info.seq, serde_json::from_str(&json).unwrap()))
    });
    let locals = database.local_documents().map(|local| {
        let local = local.unwrap();
        (local.id.clone(), (0, serde_json::from_str(&local.to_json().unwrap()).unwrap()))
    });
    documents.chain(locals).collect()
}

/// A value in which a node has its new name.
fn renamed(value: &Value, old: &str, new: &str) -> Value {
    match value {
        Value::String(text) if text == old => json!(new),
        Value::Array(items) => items.iter().map(|item| renamed(item, old, new)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| (if key == old { new.to_owned() } else { key.clone() }, renamed(value, old, new)))
            .collect(),
        other => other.clone(),
    }
}

/// The document without what a new revision changes.
fn without_revision(value: &Value) -> Value {
    let mut value = value.clone();
    for name in ["_rev", "_revisions"] {
        value.as_object_mut().unwrap().remove(name);
    }
    value
}

#[test]
fn a_node_gets_its_new_name_in_every_place_and_all_else_stays() {
    let new = "couchdb@db.example.org";
    let site = site();
    let maps = site.data().join(COUCHDB).join("_dbs.couch");
    fs::set_permissions(&maps, fs::Permissions::from_mode(0o640)).unwrap();
    if root().is_ok() {
        std::os::unix::fs::chown(&maps, Some(5984), Some(5985)).unwrap();
    }
    site.backup();
    restore(&site, "same", &[]).ok();
    restore(&site, "renamed", &["--rename-node", &format!("{NODE}={new}")]).ok().says(["renamed 1 node"]);
    let folder = |name: &str| site.path(name).join(site.data().join(COUCHDB).strip_prefix("/").unwrap());
    let (same, other) = (folder("same"), folder("renamed"));

    let (before, after) = (documents(&same.join("_dbs.couch")), documents(&other.join("_dbs.couch")));
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    let mut maps = 0;
    for (id, (seq, value)) in &before {
        let (seq_after, value_after) = &after[id];
        if value.get("by_node").is_none() {
            assert_eq!((seq, value), (seq_after, value_after), "{id}");
            continue;
        }
        maps += 1;
        assert_eq!(without_revision(&renamed(value, NODE, new)), without_revision(value_after), "{id}");
        assert!(value_after["by_node"][new].is_array(), "{id}");
        let by_range = value_after["by_range"].as_object().unwrap();
        assert!(!by_range.is_empty() && by_range.values().all(|nodes| *nodes == json!([new])), "{id}");
        assert!(value_after["changelog"].as_array().unwrap().iter().all(|change| change[2] == new), "{id}");
        assert!(!value_after.to_string().contains(NODE), "{id}");
    }
    assert!(maps >= 8, "{maps}");

    let (before, after) = (documents(&same.join("_nodes.couch")), documents(&other.join("_nodes.couch")));
    assert!(before.contains_key(NODE) && !before.contains_key(new));
    assert!(after.contains_key(new) && !after.contains_key(NODE));
    let others = |all: &BTreeMap<String, (u64, Value)>, own: &str| {
        all.iter().filter(|(id, _)| *id != own).map(|(id, (_, value))| (id.clone(), value.clone())).collect::<Vec<_>>()
    };
    assert_eq!(others(&before, NODE), others(&after, new));
    assert_eq!(without_id(&before[NODE].1), without_id(&after[new].1));

    let (mut left, mut right) = (files(&same), files(&other));
    for name in ["_dbs.couch", "_nodes.couch"] {
        assert!(left.remove(name) != right.remove(name), "{name}");
        let [a, b] = [&same, &other].map(|folder| fs::metadata(folder.join(name)).unwrap());
        assert_eq!((a.mode(), a.uid(), a.gid()), (b.mode(), b.uid(), b.gid()), "{name}");
    }
    assert_eq!(fs::metadata(other.join("_dbs.couch")).unwrap().mode() & 0o777, 0o640);
    assert!(left == right, "every other file is as it was");
}

fn without_id(value: &Value) -> Value {
    let mut value = without_revision(value);
    value.as_object_mut().unwrap().remove("_id");
    value
}

/// A data folder in which two nodes hold the same shard of one database.
fn of_two_nodes() -> Site {
    let site = Site::new();
    let writer = |file: &str| {
        let path = site.data().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let format = Format { checksum: Checksum::Xxh3, compression: Compression::Snappy };
        CouchWriter::create(File::create(path).unwrap(), format, &format!("{:032x}", file.len()), "couchdb@one")
            .unwrap()
    };
    let (range, suffix) = ("00000000-ffffffff", ".1700000000");
    let nodes = ["couchdb@one", "couchdb@two"];
    let mut file = writer("_nodes.couch");
    nodes.iter().for_each(|node| drop(file.put(node, &json!({})).unwrap()));
    file.commit().unwrap();
    let suffix_codes: Vec<u8> = suffix.bytes().collect();
    let mut file = writer("_dbs.couch");
    let map = json!({
        "shard_suffix": suffix_codes, "by_range": { range: nodes },
        "by_node": { nodes[0]: [range], nodes[1]: [range] },
        "changelog": [["add", range, nodes[0]], ["add", range, nodes[1]]],
    });
    file.put("medic", &map).unwrap();
    file.commit().unwrap();
    let mut file = writer(&format!("shards/{range}/medic{suffix}.couch"));
    file.put("a", &json!({})).unwrap();
    file.commit().unwrap();
    site.configure(&format!("records: {{ couchdb: {{ data: {:?} }} }}", site.data()));
    site.lifeboat(["init"]).ok();
    site.backup();
    site
}

#[test]
fn two_nodes_never_get_one_name() {
    let site = of_two_nodes();
    let refused = |names: &[&str]| {
        let arguments: Vec<_> = names.iter().flat_map(|name| ["--rename-node", name]).collect();
        restore(&site, "t", &arguments).exits(2).says(["two nodes"]);
        assert!(!site.path("t").exists(), "nothing was restored");
    };
    refused(&["couchdb@one=couchdb@three", "couchdb@two=couchdb@three"]);
    refused(&["couchdb@one=couchdb@two"]);
    let twice = ["--rename-node", "couchdb@one=couchdb@a", "--rename-node", "couchdb@one=couchdb@b"];
    restore(&site, "t", &twice).exits(2).says(["couchdb@one is given two names"]);
    // Each may get the other's.
    restore(&site, "t", &["--rename-node", "couchdb@one=couchdb@two", "--rename-node", "couchdb@two=couchdb@one"]).ok();
}

#[test]
fn in_place_nothing_stays_that_couchdb_would_go_on_with_and_an_undo_brings_it_back() {
    let site = backed_up();
    let data = site.data().join(COUCHDB);
    let before = files(&data);
    let leftovers = [
        shard(&site, "medic").with_extension("couch.compact.data"),
        shard(&site, "medic").with_extension("couch.compact.meta"),
        views(&site, "medic").join("mrview/ffffffffffffffffffffffffffffffff.view"),
        data.join("nouveau/shards/index"),
        data.join("shards").join(RANGE).join("made-since.1700000000.couch"),
    ];
    for path in &leftovers {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "newer").unwrap();
    }
    fs::write(shard(&site, "medic"), "no CouchDB file at all").unwrap();
    let changed = files(&data);
    let done = site.lifeboat(["restore", "latest:records", "--in-place", "--yes", "--json"]).ok().summary();
    let mut expected = before;
    // What is left out of a snapshot is nothing that a restore leaves there.
    expected.retain(|path, _| !path.starts_with(".delete/"));
    assert!(files(&data) == expected, "{:?}", files(&data).keys().collect::<BTreeSet<_>>());
    compare_databases(&data, |_| true);
    let undo = PathBuf::from(done["undo"][0].as_str().unwrap());
    let kept = files(&undo);
    for path in &leftovers {
        let below = path.strip_prefix(undo.parent().unwrap()).unwrap();
        assert_eq!(kept.get(&format!("kept/{}", below.display())).unwrap(), b"newer");
    }
    site.lifeboat(["restore", "--undo", undo.to_str().unwrap()]).ok();
    assert!(files(&data) == changed, "all is back as it was");
}

#[test]
fn one_database_in_place_replaces_its_files_and_what_was_made_of_them_alone() {
    let site = backed_up();
    let data = site.data().join(COUCHDB);
    let before = files(&data);
    for database in ["medic", "medic-sentinel"] {
        fs::write(shard(&site, database), "broken").unwrap();
        fs::write(shard(&site, database).with_extension("couch.compact.data"), "newer").unwrap();
    }
    fs::write(views(&site, "medic").join("mrview/ffffffffffffffffffffffffffffffff.view"), "newer").unwrap();
    let broken = files(&data);
    let done = site.lifeboat(["restore", "latest:records", "--database", "medic", "--in-place", "--yes", "--json"]);
    let done = done.ok().summary();
    let mut expected = broken.clone();
    expected.retain(|path, _| !path.contains("/medic.1"));
    expected.extend(before.into_iter().filter(|(path, _)| path.contains("/medic.1")));
    let mut found = files(&data);
    found.retain(|path, _| !path.contains(".lifeboat-undo-"));
    assert!(found == expected, "{:?}", found.keys().collect::<BTreeSet<_>>());
    compare_databases(&data, |name| name == "medic");
    let undo = done["undo"][0].as_str().unwrap();
    site.lifeboat(["restore", "--undo", undo]).ok();
    let mut found = files(&data);
    found.retain(|path, _| !path.contains(".lifeboat-undo-"));
    assert!(found == broken, "all is back as it was");

    // Indexes of a database of whose indexes the snapshot has none would be newer than it, unknown to anybody.
    let newer = views(&site, "medic-sentinel");
    fs::create_dir_all(newer.join("mrview")).unwrap();
    let sentinel = ["restore", "latest:records", "--database", "medic-sentinel", "--in-place", "--yes"];
    site.lifeboat(sentinel).exits(1).says(["holds indexes of the database before the restore"]);
    fs::remove_dir_all(newer).unwrap();
    site.lifeboat(sentinel).ok();
    compare_databases(&data, |name| name == "medic-sentinel");
}

#[test]
fn a_shard_that_the_snapshot_lacks_is_not_moved_away_unasked() {
    let site = backed_up();
    let file = shard(&site, "medic");
    let elsewhere = site.path("elsewhere");
    fs::rename(&file, &elsewhere).unwrap();
    site.lifeboat(["backup"]).exits(3);
    fs::rename(&elsewhere, &file).unwrap();
    let before = files(&site.data().join(COUCHDB));
    let restore = ["restore", "latest:records", "--in-place", "--yes"];
    let lacking = format!("database medic, shard {RANGE}: the shard map names it, and the snapshot does not have it");
    site.lifeboat(restore).exits(1).says([&*lacking, "what is there now would be moved away"]);
    site.lifeboat(restore.iter().chain(&["--database", "medic-sentinel"])).ok();
    assert!(
        files(&site.data().join(COUCHDB)).keys().filter(|name| !name.contains(".lifeboat-undo-")).eq(before.keys())
    );
    let done = site.lifeboat(restore.iter().chain(&["--force", "--json"])).exits(0).summary();
    assert!(!file.exists());
    let warnings: Vec<_> = done["warnings"].as_array().unwrap().iter().map(|found| found["what"].to_string()).collect();
    // Data and configuration lie in different folders, and are read back all the same.
    assert!(!warnings.iter().any(|what| what.contains("could not be counted")), "{warnings:?}");
}

#[test]
fn a_data_folder_restored_by_its_path_is_read_back_as_its_source_is() {
    let site = backed_up();
    let data = site.data().join(COUCHDB);
    let by_path = |path: &Path, target: &str| {
        let (from, target) = (format!("latest:records{}", path.display()), site.path(target));
        site.lifeboat(["restore", &from, "--to", target.to_str().unwrap()])
    };
    let read_back = "records: every document and attachment was read back";
    by_path(&data, "whole").ok().says([read_back]);
    let other = shard(&site, "medic-sentinel");
    fs::remove_file(shard(&site, "medic")).unwrap();
    site.lifeboat(["backup"]).exits(3);
    let lacking = format!("database medic, shard {RANGE}: the shard map names it, and the snapshot does not have it");
    let start_none = "records: start NO CouchDB on it";
    by_path(&data, "same").exits(3).says([&*lacking, start_none]);
    by_path(&site.data(), "above").exits(3).says([&*lacking, start_none]);
    by_path(other.parent().unwrap(), "range").exits(3).says([&*lacking, start_none]);
    by_path(&other, "file").ok().says([read_back]);
    assert!(site.path("file").join(other.file_name().unwrap()).exists());
    let of_config = by_path(&site.data().join(CREDENTIALS), "config").ok();
    assert!(!of_config.text().contains("read back"), "{of_config}");
}

#[test]
fn what_was_damaged_when_it_was_captured_is_not_put_in_place_unasked() {
    let site = backed_up();
    let file = shard(&site, "medic");
    let good = fs::read(&file).unwrap();
    fs::write(&file, vec![0; good.len()]).unwrap();
    site.lifeboat(["backup"]).exits(3);
    fs::write(&file, &good).unwrap();
    let restore = ["restore", "latest:records", "--in-place", "--yes"];
    site.lifeboat(restore).exits(1).says(["it was damaged when records was captured", "there is no valid header"]);
    for more in [&["--dry-run"][..], &["--dry-run", "--as-host"], &["--dry-run", "--database", "medic"]] {
        self::restore(&site, "target", more).exits(3).says(["problem: records: ", "there is no valid header"]);
    }
    assert!(fs::read(&file).unwrap() == good);
    site.lifeboat(["restore", "latest:records", "--database", "medic-sentinel", "--in-place", "--yes"]).ok();
    site.lifeboat(restore.iter().chain(&["--force"])).ok();
    assert!(fs::read(&file).unwrap() != good);
}

#[test]
fn a_damaged_index_keeps_no_document_from_coming_back() {
    let site = backed_up();
    let mut indexes = files(&views(&site, "medic")).into_keys().filter(|name| name.ends_with(".view"));
    let index = views(&site, "medic").join(indexes.next().unwrap());
    fs::write(&index, "").unwrap();
    site.lifeboat(["backup"]).exits(3);
    let told = ["every document is whole; remove the damaged indexes", "CouchDB builds them anew"];
    let ran = restore(&site, "target", &[]).exits(3);
    assert!(!ran.text().contains("start NO CouchDB"), "{ran}");
    ran.says(told);
    let told = "an index that was damaged when it was captured, and no document";
    site.lifeboat(["restore", "latest:records", "--in-place", "--yes"]).ok().says([told]);
}

#[test]
fn a_file_that_is_damaged_in_the_copy_makes_the_restore_partial_and_no_couchdb_may_be_started_on_it() {
    let site = backed_up();
    let packs = site.stored("data");
    let largest = packs.iter().max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap();
    let mut bytes = fs::read(largest).unwrap();
    let half = bytes.len() / 2;
    bytes[half] ^= 1;
    fs::remove_file(largest).unwrap();
    fs::write(largest, bytes).unwrap();
    // The backup found nothing wrong, so there is nothing to tell beforehand.
    restore(&site, "whole", &["--dry-run"]).ok();
    // What the copy lost in a database is the copy's damage, and no other copy's database.
    site.lifeboat(["check", "--read-data"]).exits(1);
    let status = site.lifeboat(["status"]).exits(1).says(["the check of copy disk", "lifeboat heal"]);
    assert!(!status.text().contains("does not help"), "{status}");
    let whole = restore(&site, "whole", &[]).exits(3);
    whole.says(["PARTIALLY", "start NO CouchDB on it", "shards/"]);
    let kept = restore(&site, "kept", &["--keep-damaged"]).exits(3);
    kept.says(["start NO CouchDB on it"]);
    let node = format!("{NODE}=couchdb@new.example.org");
    let renamed = restore(&site, "renamed", &["--rename-node", &node]).exits(3);
    assert!(!renamed.text().contains("renamed 1 node"), "{renamed}");
    let data = site.data().join(COUCHDB);
    let before = files(&data);
    site.lifeboat(["restore", "latest:records", "--in-place", "--yes"]).exits(1);
    assert!(files(&data) == before, "nothing was changed");
}
