//! The data folder of a CHT host, backed up and restored: every document is what CouchDB itself said it was.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use couchfile::{Database, Document, JsonOptions};
use flate2::read::GzDecoder;
use operations::shell::quote;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::support::{Site, can, program, run};

const FIXTURES: &str = "../couchfile/tests/fixtures";
/// The data folder in the fixture.
pub const COUCHDB: &str = "home/ubuntu/cht/couchdb";
pub const CREDENTIALS: &str = "volumes/cht_cht-credentials/_data";

pub fn fixture(name: &str) -> GzDecoder<File> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(FIXTURES);
    GzDecoder::new(File::open(folder.join(name)).unwrap())
}

/// A site whose one source is the host's CouchDB.
pub fn site() -> Site {
    let site = Site::new();
    tar::Archive::new(fixture("cht-host.tar.gz")).unpack(site.data()).unwrap();
    let (data, config) = (site.data().join(COUCHDB), site.data().join(CREDENTIALS));
    site.configure(&format!("records: {{ couchdb: {{ data: {data:?}, config: {config:?} }} }}"));
    site.lifeboat(["init"]).ok();
    site
}

/// The source's files of `site` below the folder that a snapshot was restored to.
fn restored(site: &Site, target: &Path, path: &str) -> PathBuf {
    target.join("records").join(site.data().join(path).strip_prefix("/").unwrap())
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Holds everything in a restored data folder against what CouchDB said. Gives the numbers of leaves, attachments and local
/// documents.
pub fn compare_with_truth(folder: &Path) -> [usize; 3] {
    compare_databases(folder, |_| true)
}

/// As [`compare_with_truth`], of some databases.
pub fn compare_databases(folder: &Path, is_wanted: impl Fn(&str) -> bool) -> [usize; 3] {
    let mut truth: Value = serde_json::from_reader(fixture("truth.json.gz")).unwrap();
    truth["dbs"].as_object_mut().unwrap().retain(|name, _| is_wanted(name));
    let mut seen = [0; 3];
    for (name, expected) in truth["dbs"].as_object().unwrap() {
        let mut found = BTreeSet::new();
        for shard in expected["shards"].as_object().unwrap().keys() {
            let database = Database::open(File::open(folder.join(format!("{shard}.couch"))).unwrap()).unwrap();
            for info in database.documents().map(Result::unwrap) {
                let told = expected["docs"].get(&info.id);
                let winner = info.leaves()[0];
                // CouchDB wrote to this one while it was asked.
                let moved_on = |told: &Value| told["winner"] != winner.revision().to_string();
                if name == "_global_changes" && told.is_none_or(moved_on) {
                    found.insert(info.id);
                    continue;
                }
                let told = told.unwrap_or_else(|| panic!("{name} {} is not in the truth", info.id));
                assert_eq!(told["winner"], winner.revision().to_string(), "{name} {}", info.id);
                assert_eq!(told["leaves"].as_array().unwrap().len(), info.leaves().len(), "{name} {}", info.id);
                for leaf in info.leaves() {
                    let revision = leaf.revision().to_string();
                    let told = told["leaves"].as_array().unwrap().iter().find(|told| told["rev"] == revision).unwrap();
                    let document = database.read(&info.id, leaf).unwrap().unwrap();
                    seen[0] += 1;
                    seen[1] += compare_leaf(&database, &document, told);
                }
                found.insert(info.id);
            }
            for local in database.local_documents().map(Result::unwrap) {
                let json: Value = serde_json::from_str(&local.to_json().unwrap()).unwrap();
                seen[2] += usize::from(expected["local_docs"].as_array().unwrap().contains(&json));
            }
        }
        let told: BTreeSet<_> = expected["docs"].as_object().unwrap().keys().cloned().collect();
        assert!(told.is_subset(&found), "{name}: {:?} are missing", told.difference(&found).collect::<Vec<_>>());
    }
    let locals = truth["dbs"].as_object().unwrap().values();
    assert_eq!(seen[2], locals.map(|database| database["local_docs"].as_array().unwrap().len()).sum::<usize>());
    seen
}

fn compare_leaf(database: &Database<File>, document: &Document, told: &Value) -> usize {
    let context = format!("{} {}", document.id, told["rev"]);
    let json: Value = serde_json::from_str(&document.to_json(JsonOptions::default()).unwrap()).unwrap();
    assert_eq!(json["_rev"], told["rev"], "{context}");
    let body: Value = serde_json::from_str(&document.body_json().unwrap()).unwrap();
    match told.get("body") {
        Some(told) => assert_eq!(body, *told, "{context}"),
        // The truth has only a hash of long ones: of the JSON with sorted members.
        None => assert_eq!(sha256(body.to_string().as_bytes()), told["body_sha256"], "{context}"),
    }
    assert_eq!(document.deleted, told["deleted"], "{context}");
    for attachment in &document.attachments {
        let mut content = Vec::new();
        database.write_attachment(&document.id, attachment, &mut content).unwrap();
        assert_eq!(sha256(&content), told["attachments"][&attachment.name]["sha256"], "{context} {}", attachment.name);
    }
    let told = told.get("attachments").map_or(0, |attachments| attachments.as_object().unwrap().len());
    assert_eq!(document.attachments.len(), told, "{context}");
    told
}

#[test]
fn a_cht_host_comes_back_with_every_document_and_an_unchanged_one_costs_nothing() {
    let site = site();
    let first = site.lifeboat(["backup", "--json"]).ok().summary();
    assert_eq!((first["status"].as_str(), first["problems"].as_u64()), (Some("ok"), Some(0)), "{first}");
    let facts = &first["sources"]["records"]["facts"];
    assert_eq!(facts["nodes"], serde_json::json!(["couchdb@127.0.0.1"]));
    assert_eq!((&facts["databases"]["medic"]["q"], &facts["databases"]["medic"]["n"]), (&12.into(), &1.into()));
    let drill = site.lifeboat(["drill", "--json"]).ok().summary();
    assert_eq!((drill["status"].as_str(), drill["level"].as_u64()), (Some("passed"), Some(3)), "{drill}");
    let target = site.restore("latest", "target");
    let numbers = compare_with_truth(&restored(&site, &target, COUCHDB));
    assert!(numbers.iter().all(|number| *number > 0), "leaves, attachments, local documents: {numbers:?}");
    let ini = "cluster-credentials.ini";
    let kept = std::fs::read(restored(&site, &target, CREDENTIALS).join(ini)).unwrap();
    assert!(kept == std::fs::read(site.data().join(CREDENTIALS).join(ini)).unwrap());
    assert!(!restored(&site, &target, COUCHDB).join(".delete").exists());

    let second = site.lifeboat(["backup", "--json"]).ok().summary();
    assert_eq!((&second["bytes_read"], &second["files_new"]), (&0.into(), &0.into()), "{second}");
    assert_eq!(second["sources"]["records"]["facts"], *facts);
    // The folders above the data have changed: the drill and the restore went there.
    assert!(second["bytes_added"].as_u64().unwrap() < 16 << 10, "{second}");
    if can(program("restic")) {
        let by_restic = site.path("by-restic");
        site.restic(["restore", "latest", "--target", by_restic.to_str().unwrap()]).ok();
        assert_eq!(compare_with_truth(&restored(&site, &by_restic, COUCHDB)), numbers);
    }
}

#[test]
fn damage_makes_a_backup_partial_and_a_missing_config_is_named() {
    let site = site();
    let id = site.backup();
    let shard = first_shard(&site);
    let length = std::fs::metadata(&shard).unwrap().len();
    std::fs::write(&shard, vec![0; length as usize]).unwrap();
    let expected = "database medic, shard 00000000-15555554: there is no valid header";
    let ran = site.lifeboat(["backup"]).exits(3);
    assert!(ran.errors().contains(expected) || ran.text().contains(expected), "{ran}");
    assert!(ran.to_string().contains(&id[..8]), "the last good snapshot is named: {ran}");
    // What was damaged on the host is no fault of the copy.
    site.lifeboat(["drill"]).ok();
    // Whoever restores it is told, also where only the database is restored.
    let folder = tempfile::tempdir().unwrap();
    for (name, more) in [("whole", &[][..]), ("database", &["--database", "medic"][..])] {
        let target = folder.path().join(name).into_os_string().into_string().unwrap();
        let arguments = [&["restore", "latest:records", "--to", target.as_str()][..], more].concat();
        let ran = site.lifeboat(arguments).exits(3);
        assert!(ran.to_string().contains("database medic, shard 00000000-15555554"), "{ran}");
        assert!(!ran.to_string().contains("every document and attachment was read back"), "{ran}");
        let file = shard.strip_prefix(site.data().join(COUCHDB)).unwrap();
        assert!(name == "whole" || folder.path().join(name).join(file).exists(), "it is taken all the same");
    }
    let data = site.data().join(COUCHDB);
    site.configure(&format!("records: {{ couchdb: {{ data: {data:?} }} }}"));
    assert!(
        site.lifeboat(["backup"]).exits(3).to_string().contains("nobody can decrypt what is in database medic-vault")
    );
}

/// The path of the first shard of the database `medic` on the host.
pub fn first_shard(site: &Site) -> PathBuf {
    let shards = site.data().join(COUCHDB).join("shards/00000000-15555554");
    let found = std::fs::read_dir(&shards).unwrap().map(|entry| entry.unwrap().path());
    found.into_iter().find(|path| path.to_str().unwrap().contains("/medic.")).unwrap()
}

/// Changes a byte in the body of a document. Gives its id.
fn change_a_body(shard: &Path) -> String {
    let mut bytes = std::fs::read(shard).unwrap();
    let database = Database::open(&bytes[..]).unwrap();
    let info = database.documents().map(Result::unwrap).find(|info| !info.deleted).unwrap();
    let document = database.read(&info.id, info.leaves()[0]).unwrap().unwrap();
    let at = document.offset + document.stored_length - 1;
    bytes[at as usize] ^= 1;
    std::fs::write(shard, bytes).unwrap();
    info.id
}

/// Stores a snapshot that says that all is whole, and in which a document is not. Gives its id and the document's. `None`
/// without restic.
fn store_a_changed_body(site: &Site) -> Option<(String, String)> {
    if !can(program("restic")) {
        return None;
    }
    let target = site.path("changed");
    site.restic(["restore", "latest", "--target", target.to_str().unwrap()]).ok();
    let shard = first_shard(site);
    let document = change_a_body(&restored(site, &target, shard.strip_prefix(site.data()).unwrap().to_str().unwrap()));
    run(site.restic_command(["backup", ".", "--tag", "stack:app", "--json"]).current_dir(&target)).ok();
    let newest = site.lifeboat(["snapshots", "--json"]).ok().of_type("snapshot");
    let newest = newest.iter().max_by_key(|line| line["time"].as_str().unwrap().to_owned()).unwrap();
    Some((newest["id"].as_str().unwrap().to_owned(), document))
}

#[test]
fn a_document_that_was_damaged_on_the_host_does_not_push_out_the_snapshot_that_has_it_whole() {
    for full_read in ["1s", "7d"] {
        let site = site();
        let (data, config) = (site.data().join(COUCHDB), site.data().join(CREDENTIALS));
        let options = format!("data: {data:?}, config: {config:?}, full_read: {full_read}");
        site.configure(&format!("records: {{ couchdb: {{ {options} }} }}"));
        let good = site.backup();
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let document = change_a_body(&first_shard(&site));
        let named = format!("{document}; snapshot {} holds its newest good version", &good[..8]);
        site.lifeboat(["backup"]).exits(3).says([named.as_str()]);
        site.lifeboat(["backup"]).exits(3).says([named.as_str()]);
        site.lifeboat(["forget", "--keep-last", "1"]).ok();
        let place = format!("{}:records", &good[..8]);
        let ran = site.lifeboat(["docs", &place, "medic", &document]).ok();
        assert!(ran.text().contains(&document), "{ran}");
    }
}

#[test]
fn a_check_of_every_byte_reads_every_document_of_the_newest_snapshot() {
    let site = site();
    site.backup();
    let whole = site.lifeboat(["check", "--read-data", "--json"]).ok().summary();
    assert!(whole["couchdb_files"].as_u64() > Some(100) && whole["couchdb_documents"].as_u64() > Some(3000), "{whole}");
    assert_eq!(site.lifeboat(["check", "--json"]).ok().summary()["couchdb_files"], 0, "structure only");

    // Every byte in the copy is the one that was stored, and nobody saw at its capture that it was another one.
    let shard = first_shard(&site);
    let before = std::fs::read(&shard).unwrap();
    let Some((id, document)) = store_a_changed_body(&site) else { return };
    let ran = site.lifeboat(["check", "--read-data", "--json"]).exits(1);
    let [finding] = &ran.of_type("finding")[..] else { panic!("{ran}") };
    assert_eq!((&finding["snapshot"], &finding["source"]), (&Value::from(id.as_str()), &Value::from("records")));
    assert_eq!((&finding["database"], &finding["shard"]), (&"medic".into(), &"00000000-15555554".into()));
    assert_eq!(finding["documents"], serde_json::json!([document]), "{finding}");
    let summary = ran.summary();
    assert_eq!((&summary["status"], &summary["findings"]), (&"damaged".into(), &1.into()), "{summary}");
    let ran = site.lifeboat(["check", "--read-data"]).exits(1);
    let told = format!("damaged: snapshot {}, source records: database medic, shard 00000000-15555554: ", &id[..8]);
    assert!(ran.text().contains(&told) && ran.text().contains(&document), "{ran}");
    let fix = format!("lifeboat restore {} --couch-url URL", quote(&format!("OLDER:records/medic/{document}")));
    ran.says(["`heal` does not help", fix.as_str()]);
    let status = site.lifeboat(["status"]);
    status.says(["database medic, shard 00000000-15555554", "`heal` does not help", fix.as_str()]);
    // A copy whose bytes are all as they were stored has nothing to mend, which makes no document whole.
    site.lifeboat(["heal", "--read-data"]).ok();
    site.lifeboat(["status"]).says(["database medic, shard 00000000-15555554", fix.as_str()]);
    let ran = site.lifeboat(["drill"]).exits(1);
    let told = format!("documents lost or in doubt (1): {document}");
    assert!(!ran.to_string().contains("good_in"), "{ran}");
    ran.says(["damaged: database medic, shard 00000000-15555554: ", told.as_str()]);

    // Damage that was seen when it was captured is told as such, and is none of the copy.
    std::fs::write(&shard, vec![0; before.len()]).unwrap();
    site.lifeboat(["backup"]).exits(3);
    let ran = site.lifeboat(["check", "--read-data"]).ok();
    let told = "damaged on the host when it was captured, and stored so: source records: database medic, shard 00000000-15555554";
    assert_eq!(ran.text().matches(told).count(), 1, "{ran}");
}

#[test]
fn the_last_good_version_of_a_shard_is_kept_and_named_for_as_long_as_it_is_there() {
    let site = site();
    // Without the secret every snapshot is partial, so none is kept for being whole.
    let data = site.data().join(COUCHDB);
    site.configure(&format!("records: {{ couchdb: {{ data: {data:?} }} }}"));
    let partial = || {
        let summary = site.lifeboat(["backup", "--json"]).exits(3).summary();
        summary["snapshot_id"].as_str().unwrap().to_owned()
    };
    let good = partial();
    let shard = first_shard(&site);
    std::fs::write(&shard, vec![0; std::fs::metadata(&shard).unwrap().len() as usize]).unwrap();
    let ids: Vec<String> = (0..3).map(|_| partial()).collect();
    let kept = || {
        let lines = site.lifeboat(["snapshots", "--json"]).ok().of_type("snapshot");
        lines.iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    let ran = site.lifeboat(["forget", "--keep-last", "2", "--prune"]).ok();
    let reason = "holds the last good version of what is damaged or missing now";
    assert!(ran.text().lines().any(|line| line.contains(&good[..8]) && line.contains(reason)), "{ran}");
    assert_eq!(kept(), [&good, &ids[1], &ids[2]].into_iter().cloned().collect());
    site.lifeboat(["forget", &good[..12]]).exits(2).says([reason, "--force"]);
    let named = format!("snapshot {} holds its newest good version", &good[..8]);
    site.lifeboat(["backup"]).exits(3).says([named.as_str()]);
    site.lifeboat(["forget", &good[..12], "--force"]).ok();
    let gone = format!("snapshot {} held its newest good version, and is in no copy that was reached", &good[..8]);
    site.lifeboat(["backup"]).exits(3).says([gone.as_str()]);
}

#[test]
fn notes_of_a_source_are_printed_once_and_kept() {
    let site = site();
    let nouveau = site.data().join(COUCHDB).join("nouveau");
    std::fs::create_dir(&nouveau).unwrap();
    std::fs::write(nouveau.join("index"), "lucene").unwrap();
    let note = "Nouveau builds these indexes anew";
    let ran = site.lifeboat(["backup"]).ok();
    assert_eq!((ran.text().matches(note).count(), ran.errors().matches(note).count()), (1, 0), "{ran}");
    assert!(!site.lifeboat(["backup", "--quiet"]).ok().to_string().contains(note));
    let ran = site.lifeboat(["backup", "--verbose"]).ok();
    assert_eq!((ran.text().matches(note).count(), ran.errors().matches(note).count()), (0, 1), "{ran}");
    let summary = site.lifeboat(["backup", "--json"]).ok().summary();
    let notes = summary["sources"]["records"]["notes"].as_array().unwrap();
    assert!(notes.iter().any(|kept| kept.as_str().unwrap().contains(note)), "{summary}");
    let manifest = site.lifeboat(["cat", "latest:lifeboat.json"]).ok();
    assert!(manifest.text().contains(note), "{manifest}");
}
