//! `lifeboat docs`: what it prints of a snapshot of CouchDB's files, held against what CouchDB itself returned.

#[path = "../crates/couchfile/tests/reads/canonical.rs"]
mod canonical;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use couchfile::{Checksum, Compression, CouchWriter, Encoding, Format};
use flate2::read::GzDecoder;
use serde_json::{Value, json};

use self::canonical::{canonical, sha256};
use crate::support::{Dice, Ran, Site, peak_kib};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../couchfile/tests/fixtures").join(name)
}

/// A site whose data is the archive `name`, backed up.
pub fn site_of(name: &str) -> Site {
    let site = Site::initialised();
    tar::Archive::new(GzDecoder::new(File::open(fixture(name)).unwrap())).unpack(site.data()).unwrap();
    site.backup();
    site
}

pub fn truth(name: &str) -> Value {
    serde_json::from_reader(GzDecoder::new(File::open(fixture(name)).unwrap())).unwrap()
}

fn docs(site: &Site, arguments: &[&str]) -> Ran {
    site.lifeboat(["docs", "latest:files"].iter().chain(arguments))
}

fn lines(ran: &Ran) -> Vec<Value> {
    ran.text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[test]
fn a_clean_folder_gives_what_couchdb_gave() {
    // Two of its shards are left out of the fixture, which is said.
    compare("clean.data.tar.gz", "clean.dump.json.gz", &["appdb"]);
}

#[test]
fn a_torn_copy_gives_what_couchdb_found_in_it() {
    compare("torn.data.tar.gz", "torn.dump.json.gz", &["live"]);
}

#[test]
fn a_host_of_cht_gives_what_couchdb_gave() {
    compare("cht-host.tar.gz", "truth.json.gz", &[]);
}

fn compare(archive: &str, told: &str, partial: &[&str]) {
    let (site, truth) = (site_of(archive), truth(told));
    let listed = lines(&docs(&site, &[]).exits(if partial.is_empty() { 0 } else { 3 }));
    let expected = truth["dbs"].as_object().unwrap();
    for (name, expected) in expected {
        let exit = if partial.contains(&name.as_str()) { 3 } else { 0 };
        let listed =
            listed.iter().find(|line| line["name"] == **name).unwrap_or_else(|| panic!("{name} is not listed"));
        let shards = expected["shards"].as_object().unwrap();
        let sum = |what: &str| shards.values().map(|shard| shard["info"][what].as_u64().unwrap()).sum::<u64>();
        assert_eq!(listed["shards"], shards.len(), "{name}");
        for (key, what) in [("documents", "doc_count"), ("deleted", "doc_del_count"), ("update_seq", "update_seq")] {
            assert_eq!(listed[key], sum(what), "{name}: {key}");
        }
        let bytes: u64 = shards.values().map(|shard| shard["file_bytes"].as_u64().unwrap()).sum();
        assert_eq!(listed["bytes"], bytes, "{name}");
        compare_database(&site, name, expected, exit);
    }
    let node_local = truth["node_local_dbs"].as_object().unwrap();
    for (name, expected) in node_local {
        let mut found = lines(&docs(&site, &[name]).ok());
        found.sort_by_key(|document| document["_id"].as_str().unwrap().to_owned());
        assert_eq!(Value::Array(found), expected["docs"], "{name}");
    }
    let names: BTreeSet<_> = listed.iter().map(|line| line["name"].as_str().unwrap()).collect();
    let known: BTreeSet<_> = expected.keys().chain(node_local.keys()).map(String::as_str).collect();
    // The one that CouchDB makes for itself and nobody uses.
    let more: Vec<_> = names.difference(&known).filter(|name| **name != "_node/_local/_users").collect();
    assert!(more.is_empty() && known.is_subset(&names), "{names:?}");
}

fn compare_database(site: &Site, name: &str, truth: &Value, exit: i32) {
    let folder = site.path("attachments");
    let _ = std::fs::remove_dir_all(&folder);
    let ran = docs(site, &[name, "--all-leaves", "--revs", "--attachments", folder.to_str().unwrap()]).exits(exit);
    let mut leaves: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for document in lines(&ran) {
        leaves.entry(document["_id"].as_str().unwrap().to_owned()).or_default().push(document);
    }
    let expected = truth["docs"].as_object().unwrap();
    let mut written = 0;
    for (id, found) in &leaves {
        // CouchDB itself writes to this one, also while it is asked what it holds.
        if name == "_global_changes" && expected.get(id).is_none_or(|told| told["winner"] != found[0]["_rev"]) {
            continue;
        }
        let expected = &expected.get(id).unwrap_or_else(|| panic!("{name}: {id} is not in the truth"))["leaves"];
        let expected = expected.as_array().unwrap();
        assert_eq!(found.len(), expected.len(), "{name} {id}");
        for leaf in found {
            let told = expected.iter().find(|told| told["rev"] == leaf["_rev"]);
            written += compare_leaf(&folder, leaf, told.unwrap_or_else(|| panic!("{name} {id} {}", leaf["_rev"])));
        }
    }
    let missing: Vec<_> = expected.keys().filter(|id| !leaves.contains_key(*id)).collect();
    assert!(missing.is_empty(), "{name}: not printed: {missing:?}");
    assert_eq!(files_below(&folder), written, "{name}: no other file");

    let told = |document: &Value| (document["_id"].as_str().unwrap().to_owned(), document["_rev"].clone());
    let shown: BTreeMap<_, _> = lines(&docs(site, &[name]).exits(exit)).iter().map(told).collect();
    if name != "_global_changes" {
        let alive = expected.iter().filter(|(_, document)| document["deleted"] == false);
        let alive: BTreeMap<_, _> = alive.map(|(id, document)| (id.clone(), document["winner"].clone())).collect();
        assert_eq!(shown, alive, "{name}: what is not deleted, and its winner");
    }

    let mut locals = lines(&docs(site, &[name, "--local"]).exits(exit));
    let mut expected = truth["local_docs"].as_array().unwrap().clone();
    for list in [&mut locals, &mut expected] {
        list.sort_by_key(|document| document["_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(locals, expected, "{name}");
    for local in expected {
        let id = local["_id"].as_str().unwrap();
        assert_eq!(lines(&docs(site, &[name, id]).ok()), [local]);
    }
}

/// Gives how many attachments it has.
fn compare_leaf(folder: &Path, leaf: &Value, expected: &Value) -> usize {
    let context = format!("{} {}", leaf["_id"], leaf["_rev"]);
    let mut body = leaf.as_object().unwrap().clone();
    for (name, told) in [("_revisions", "revisions"), ("_deleted", "deleted")] {
        let found = body.remove(name).unwrap_or(json!(false));
        assert_eq!(found, expected[told], "{context}");
    }
    let stubs = body.remove("_attachments").unwrap_or(json!({}));
    body.retain(|name, _| !["_id", "_rev"].contains(&name.as_str()));
    assert_eq!(sha256(canonical(&Value::Object(body)).as_bytes()), expected["body_sha256"], "{context}");
    let none = json!({});
    let attachments = expected.get("attachments").unwrap_or(&none).as_object().unwrap();
    assert_eq!(stubs.as_object().unwrap().len(), attachments.len(), "{context}");
    for (name, told) in attachments {
        for key in ["content_type", "revpos", "digest", "length"] {
            assert_eq!(stubs[name][key], told[key], "{context} {name}");
        }
    }
    if !attachments.is_empty() {
        let contents = contents_below(&folder.join(quoted(&leaf["_id"])).join(quoted(&leaf["_rev"])));
        let hashes: BTreeSet<_> = contents.iter().map(|content| sha256(content)).collect();
        let told: BTreeSet<_> = attachments.values().map(|told| told["sha256"].as_str().unwrap().to_owned()).collect();
        assert_eq!(hashes, told, "{context}");
        assert_eq!(contents.len(), attachments.len(), "{context}");
    }
    attachments.len()
}

fn quoted(text: &Value) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
    let quote = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.as_str().unwrap().bytes().map(quote).collect()
}

fn contents_below(folder: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect()
}

fn files_below(folder: &Path) -> usize {
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        files += if path.is_dir() { files_below(&path) } else { 1 };
    }
    files
}

/// A data folder with one database of one shard.
pub struct Made {
    pub site: Site,
    pub writer: CouchWriter<Vec<u8>>,
    shard: PathBuf,
}

impl Made {
    pub fn new() -> Self {
        let site = Site::initialised();
        let shard = site.data().join("couchdb/shards/00000000-ffffffff/orders.1700000000.couch");
        std::fs::create_dir_all(shard.parent().unwrap()).unwrap();
        let mut maps = writer("maps");
        let map = json!({
            "shard_suffix": ".1700000000".bytes().collect::<Vec<_>>(), "changelog": [],
            "by_node": { "couchdb@127.0.0.1": ["00000000-ffffffff"] }, "by_range": { "00000000-ffffffff": ["couchdb@127.0.0.1"] },
        });
        maps.put("orders", &map).unwrap();
        maps.commit().unwrap();
        std::fs::write(site.data().join("couchdb/_dbs.couch"), maps.into_inner()).unwrap();
        Self { site, writer: writer("orders"), shard }
    }

    /// Commits, and takes a snapshot.
    pub fn backup(&mut self) -> String {
        self.writer.commit().unwrap();
        std::fs::write(&self.shard, self.writer.get_mut()).unwrap();
        self.site.backup()
    }
}

pub fn writer(uuid: &str) -> CouchWriter<Vec<u8>> {
    let format = Format { checksum: Checksum::Xxh3, compression: Compression::Snappy };
    CouchWriter::create(Vec::new(), format, uuid, "couchdb@127.0.0.1").unwrap()
}

#[test]
fn old_revisions_deletions_and_what_is_near_are_found() {
    let mut made = Made::new();
    let first = made.writer.put("tea", &json!({ "pots": 1 })).unwrap();
    made.writer.put("tea", &json!({ "pots": 2 })).unwrap();
    made.writer.put("coffee", &json!({})).unwrap();
    made.writer.delete("coffee").unwrap();
    made.backup();
    let site = &made.site;
    assert_eq!(lines(&docs(site, &["orders", "tea"]).ok())[0]["pots"], 2);
    assert_eq!(lines(&docs(site, &["orders", "tea", "--rev", &first.to_string()]).ok())[0]["pots"], 1);
    docs(site, &["orders", "tea", "--rev", "9-x"]).exits(1).says(["does not hold revision 9-x", "it holds 1-", ", 2-"]);
    docs(site, &["orders", "coffee"]).exits(1).says(["is deleted in this snapshot", "--all-leaves"]);
    assert_eq!(lines(&docs(site, &["orders", "coffee", "--all-leaves"]).ok())[0]["_deleted"], true);
    docs(site, &["orders", "teapot"]).exits(1).says(["there is no document \"teapot\""]);
    docs(site, &["orders", "teas"]).exits(1).says(["did you mean tea?"]);
    docs(site, &["order"]).exits(1).says(["there is no database \"order\"", "did you mean orders?"]);
    site.lifeboat(["docs", "latest"]).exits(2).says(["name the source"]);
    site.lifeboat(["docs", "latest:nothing"]).exits(1).says(["there is no folder nothing"]);

    let json = docs(site, &["orders", "--json"]).ok();
    assert_eq!(json.of_type("document")[0]["doc"]["_id"], "tea");
    let summary = json.summary();
    assert_eq!((&summary["documents"], &summary["left_out_deleted"]), (&json!(1), &json!(1)));
    let keys = |ran: Ran| ran.summary().as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    let promised = "attachments database documents left_out_deleted message_type problems snapshot_id status";
    assert_eq!(keys(json), promised);
    let listed = docs(site, &["--json"]).ok();
    let keys_of_one = "bytes deleted documents message_type name shards update_seq";
    let one = &listed.of_type("database")[1];
    assert_eq!(one["name"], "orders");
    assert_eq!(one.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" "), keys_of_one);
    assert_eq!(keys(listed), "databases message_type problems snapshot_id status");
}

#[test]
fn only_what_changed_since_another_snapshot_is_given_also_after_a_compaction() {
    let mut made = Made::new();
    for number in 0..20 {
        made.writer.put(&format!("doc-{number:02}"), &json!({ "v": 1 })).unwrap();
    }
    let first = made.backup();
    for id in ["doc-03", "doc-11"] {
        made.writer.put(id, &json!({ "v": 2 })).unwrap();
    }
    made.writer.delete("doc-05").unwrap();
    made.writer.put("new", &json!({ "v": 2 })).unwrap();
    made.backup();
    let ids = |made: &Made, arguments: &[&str]| {
        let ran = docs(&made.site, arguments).ok();
        let ids = lines(&ran).iter().map(|line| line["_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        (ids.join(" "), ran.errors())
    };
    assert_eq!(ids(&made, &["orders", "--since", &first]).0, "doc-03 doc-11 new");
    assert_eq!(ids(&made, &["orders", "--since", &first, "--all-leaves"]).0, "doc-03 doc-11 doc-05 new");
    assert_eq!(ids(&made, &["orders", "--since", "latest"]).0, "");

    // A compaction writes the file anew; uuid and numbers stay. Deletions and old revisions are of no matter here.
    let mut compacted = writer("orders");
    for seq in 1..=24_u32 {
        let id = match seq {
            24 => "new".to_owned(),
            21 => "doc-03".to_owned(),
            22 => "doc-11".to_owned(),
            4 | 6 | 12 | 23 => "filler".to_owned(),
            _ => format!("doc-{:02}", seq - 1),
        };
        compacted.put(&id, &json!({ "v": 2 })).unwrap();
    }
    compacted.purge("filler");
    made.writer = compacted;
    made.backup();
    assert_eq!(ids(&made, &["orders", "--since", &first]).0, "doc-03 doc-11 new");

    // A database that was made anew under the same name has another uuid.
    made.writer = writer("another");
    made.writer.put("only", &json!({})).unwrap();
    made.backup();
    let (ids, said) = ids(&made, &["orders", "--since", &first]);
    assert_eq!(ids, "only");
    assert!(said.contains("all documents are given") && said.contains("uuid"), "{said}");
}

#[test]
fn what_is_damaged_is_named_and_the_rest_is_printed() {
    let mut made = Made::new();
    made.writer.put("first", &json!({ "text": "this one stays whole" })).unwrap();
    made.writer.put("second", &json!({ "text": "this one is damaged" })).unwrap();
    made.backup();
    let bytes = made.writer.get_mut();
    let at = bytes.windows(14).position(|window| window == b"one is damaged").unwrap();
    bytes[at] ^= 1;
    made.backup();
    let ran =
        docs(&made.site, &["orders"]).exits(3).says(["document \"second\"", "checksum", "orders.1700000000.couch"]);
    assert_eq!(lines(&ran).len(), 1);
    assert_eq!(lines(&docs(&made.site, &["orders", "first"]).ok())[0]["_id"], "first");
    assert!(lines(&docs(&made.site, &["orders", "second"]).exits(3)).is_empty());

    std::fs::write(&made.shard, [0; 5000]).unwrap();
    made.site.backup();
    let ran = docs(&made.site, &[]).exits(3).says(["no valid header", "orders.1700000000.couch"]);
    let listed = lines(&ran);
    let names: Vec<_> = listed.iter().map(|line| (line["name"].as_str().unwrap(), &line["shards"])).collect();
    assert_eq!(names, [("_dbs", &json!(1)), ("orders", &json!(0))]);
}

#[test]
fn damage_of_the_copy_costs_the_documents_it_hits_and_no_others() {
    const DOCUMENTS: usize = 3000;
    let mut made = Made::new();
    let mut dice = Dice::new(3);
    let mut expected = BTreeMap::new();
    for number in 0..DOCUMENTS {
        let id = format!("{:08x}-{number}", dice.next() as u32);
        let noise: String = dice.bytes(1000).iter().map(|byte| char::from(b' ' + byte % 64)).collect();
        made.writer.put(&id, &json!({ "text": noise })).unwrap();
        expected.insert(id, noise);
    }
    made.backup();
    let packs = made.site.stored("data");
    let pack = packs.iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    // The file is read-only.
    std::fs::remove_file(pack).unwrap();
    std::fs::write(pack, bytes).unwrap();

    let ran = docs(&made.site, &["orders"]).exits(3).says(["is not in the copy as it was", "orders.1700000000.couch"]);
    let found = lines(&ran);
    assert!(found.len() > DOCUMENTS / 3 && found.len() < DOCUMENTS, "{}", found.len());
    for document in found {
        assert_eq!(document["text"], *expected[document["_id"].as_str().unwrap()]);
    }
}

#[test]
fn attachments_are_written_where_no_name_leads_out_and_nothing_is_overwritten() {
    let mut made = Made::new();
    let evil = made.writer.attachment("../../evil", "text/plain", b"evil", 1, Encoding::Identity).unwrap();
    let plain = made.writer.attachment("plain.txt", "text/plain", b"plain", 1, Encoding::Gzip).unwrap();
    made.writer.put_with("../id", &json!({}), &[evil, plain]).unwrap();
    made.backup();
    let folder = made.site.path("out");
    let arguments = ["orders", "--attachments", folder.to_str().unwrap()];
    docs(&made.site, &arguments).ok();
    let below = folder.join("%2E.%2Fid");
    assert_eq!(std::fs::read(below.join("plain.txt")).unwrap(), b"plain");
    assert_eq!(std::fs::read(below.join("%2E.%2F..%2Fevil")).unwrap(), b"evil");
    assert_eq!(files_below(&folder), 2);
    docs(&made.site, &arguments).exits(1).says(["is there already"]);
}

#[test]
fn of_several_data_folders_one_has_to_be_named() {
    let mut made = Made::new();
    made.writer.put("a", &json!({})).unwrap();
    made.writer.commit().unwrap();
    let (one, other) = (made.site.data().join("couchdb"), made.site.data().join("other"));
    std::fs::create_dir_all(other.join("shards")).unwrap();
    std::fs::copy(one.join("_dbs.couch"), other.join("_dbs.couch")).unwrap();
    made.backup();
    let below = |folder: &Path| format!("files{}", folder.display());
    docs(&made.site, &[]).exits(2).says(["several data folders", &below(&one), &below(&other)]);
    let named = |folder: &Path| made.site.lifeboat(["docs", &format!("latest:{}", below(folder)), "orders"]);
    assert_eq!(lines(&named(&one).ok()).len(), 1);
    named(&other).exits(3).says(["the shard map names it, and it is not in the snapshot"]);
}

#[test]
fn a_database_of_any_size_needs_little_memory() {
    const DOCUMENTS: usize = 2200;
    const RESIDENT_KIB_MAX: u64 = 150 << 10;
    let mut made = Made::new();
    let mut dice = Dice::new(7);
    for number in 0..DOCUMENTS {
        let noise: String = dice.bytes(100_000).iter().map(|byte| char::from(b' ' + byte % 64)).collect();
        made.writer.put(&format!("{:08x}-{number}", dice.next() as u32), &json!({ "text": noise })).unwrap();
    }
    assert!(made.writer.position() > RESIDENT_KIB_MAX << 10);
    made.backup();
    let peak = peak_kib(&mut made.site.lifeboat_command(["docs", "latest:files", "orders"]));
    assert!(peak < RESIDENT_KIB_MAX, "{peak} KiB");
}
