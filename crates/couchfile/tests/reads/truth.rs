//! Every document, revision, attachment and local document, held against what CouchDB itself returned.

use std::collections::BTreeSet;

use couchfile::{Attachment, Database, Document, DocumentInfo, JsonOptions, Level, ShardName, shard_maps};
use serde_json::{Map, Value};

use crate::canonical::{canonical, sha256};
use crate::fixtures::{ALL, CHT, CLEAN, Fixture, TORN, open};

const REVISIONS: JsonOptions = JsonOptions { revisions: true, encodings: false };

#[derive(Default)]
struct Seen {
    files: usize,
    documents: usize,
    leaves: usize,
    attachments: usize,
    locals: usize,
    /// Documents that the truth has an older revision of.
    newer: usize,
}

#[test]
fn a_clean_folder_holds_what_couchdb_said() {
    compare(&CLEAN);
}

#[test]
fn a_torn_copy_holds_what_couchdb_found_in_it() {
    compare(&TORN);
}

#[test]
fn a_folder_of_cht_holds_what_couchdb_said() {
    compare(&CHT);
}

fn compare(fixture: &Fixture) {
    let truth = fixture.truth();
    let mut seen = Seen::default();
    let mut shards = BTreeSet::new();
    for (path, bytes) in fixture.files() {
        let Some(name) = path.strip_suffix(".couch") else { continue };
        let context = format!("{} {path}", fixture.name);
        let database = open(&bytes);
        let report = database.check(Level::Attachments);
        assert!(report.is_ok(), "{context}: {}", report.findings[0]);
        seen.files += 1;
        if let Some(shard) = ShardName::parse(&path) {
            assert_eq!(shard.file(), path);
            shards.insert(name.to_owned());
            compare_shard(&context, &database, &truth["dbs"][&shard.database], name, &mut seen);
        } else if let Some(expected) = truth["node_local_dbs"].get(name) {
            compare_info(&context, &database, &expected["info"]);
            compare_node_local(&context, &database, &expected["docs"]);
        } else {
            // The one that CouchDB makes for itself and nobody uses.
            assert_eq!(name, "_users", "{context}");
        }
    }
    let expected = truth["dbs"].as_object().unwrap().values();
    let expected: BTreeSet<_> =
        expected.flat_map(|database| database["shards"].as_object().unwrap().keys().cloned()).collect();
    assert_eq!(shards, expected, "shards that are there and those that CouchDB had");
    let locals = truth["dbs"].as_object().unwrap().values().map(|database| database["local_docs"].as_array().unwrap());
    let locals: usize = locals.map(Vec::len).sum();
    println!(
        "{}: {} files, {} documents ({} newer than the truth), {} leaves, {} attachments, {} of {locals} local documents",
        fixture.name, seen.files, seen.documents, seen.newer, seen.leaves, seen.attachments, seen.locals
    );
    assert_eq!(seen.locals, locals, "{}: each local document is in one shard", fixture.name);
}

fn compare_shard(context: &str, database: &Database<&[u8]>, truth: &Value, shard: &str, seen: &mut Seen) {
    let expected = &truth["shards"][shard];
    compare_info(context, database, &expected["info"]);
    assert_eq!(expected["file_bytes"], database.reader().len(), "{context}");
    assert_eq!(parsed(&database.security().unwrap()), truth["security"], "{context}");
    assert_eq!(database.header().revs_limit, truth["revs_limit"], "{context}");
    assert_eq!(database.header().purge_infos_limit.unwrap(), truth["purged_infos_limit"], "{context}");

    let changes: Vec<_> = database.changes(0).map(|info| change(&info.unwrap())).collect();
    let changes = Value::Array(changes);
    assert_eq!(changes, expected["changes"], "{context}");
    let listed = expected["changes"].as_array().unwrap();
    let middle = listed.len() / 2;
    let since = listed.get(middle.wrapping_sub(1)).map_or(0, |change| change[0].as_u64().unwrap());
    let later: Vec<_> = database.changes(since).map(|info| change(&info.unwrap())).collect();
    assert_eq!(later, listed[middle.min(listed.len())..], "{context}: changes since {since}");

    let mut ids = BTreeSet::new();
    let mut last = String::new();
    for info in database.documents() {
        let info = info.unwrap();
        assert!(last < info.id, "{context}: documents come in the order of their ids");
        last.clone_from(&info.id);
        assert_eq!(database.document(&info.id).unwrap().as_ref(), Some(&info), "{context}");
        seen.documents += 1;
        match truth["docs"].get(&info.id).filter(|expected| !was_written_to_meanwhile(&info, expected)) {
            Some(expected) => compare_document(&format!("{context} {}", info.id), database, &info, expected, seen),
            None => {
                assert!(context.contains("/_global_changes."), "{context}: {} is not in the truth", info.id);
                seen.newer += 1;
            }
        }
        ids.insert(info.id);
    }
    let listed: BTreeSet<_> = listed.iter().map(|change| change[1].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, listed, "{context}");
    assert_eq!(database.document("no such document").unwrap(), None);
    compare_locals(context, database, &truth["local_docs"], seen);
}

fn compare_info(context: &str, database: &Database<&[u8]>, info: &Value) {
    let header = database.header();
    assert_eq!(header.doc_count, info["doc_count"], "{context}");
    assert_eq!(header.doc_del_count, info["doc_del_count"], "{context}");
    assert_eq!(header.update_seq, info["update_seq"], "{context}");
    // CouchDB does not write this down until the first update after the compaction.
    assert!(header.compacted_seq == 0 || header.compacted_seq == info["compacted_seq"], "{context}");
    assert_eq!(header.disk_version, info["disk_format_version"], "{context}");
    assert_eq!(header.uuid.as_deref(), info["uuid"].as_str(), "{context}");
    assert_eq!(header.sizes.unwrap().external, info["sizes"]["external"], "{context}");
    assert_eq!(database.purge_seq().unwrap(), info["purge_seq"], "{context}");
    let partitioned = info["props"].get("partitioned").is_some_and(|value| value == true);
    assert_eq!(database.partitioned().unwrap(), partitioned, "{context}");
    assert_eq!(header.place.end, database.reader().len() as u64 - tail(database), "{context}");
}

/// CouchDB itself writes to `_global_changes`, also while it is asked what it holds: its list of changes, which was asked
/// for last and agrees with the file, then has a newer revision than its list of documents.
fn was_written_to_meanwhile(info: &DocumentInfo, expected: &Value) -> bool {
    let winner = info.revisions.winner().unwrap();
    let told = expected["winner"].as_str().unwrap();
    let history: Vec<_> = winner.history().map(ToString::to_string).collect();
    history[0] != told && history.iter().any(|revision| revision == told)
}

/// Bytes behind the header: in these fixtures writes that were under way.
fn tail(database: &Database<&[u8]>) -> u64 {
    database.reader().len() as u64 - database.header().place.end
}

fn change(info: &DocumentInfo) -> Value {
    let revisions: Vec<_> = info.leaves().iter().map(|leaf| leaf.revision().to_string()).collect();
    serde_json::json!([info.seq, info.id, revisions, info.deleted])
}

fn compare_document(context: &str, database: &Database<&[u8]>, info: &DocumentInfo, expected: &Value, seen: &mut Seen) {
    let leaves = info.leaves();
    assert_eq!(leaves[0].revision().to_string(), expected["winner"].as_str().unwrap(), "{context}");
    assert_eq!(info.deleted, expected["deleted"], "{context}");
    let expected: Vec<&Value> = expected["leaves"].as_array().unwrap().iter().collect();
    assert_eq!(leaves.len(), expected.len(), "{context}");
    let mut conflicts = (Vec::new(), Vec::new());
    for (position, leaf) in leaves.iter().enumerate() {
        let revision = leaf.revision().to_string();
        let context = format!("{context} {revision}");
        let expected = expected.iter().find(|expected| expected["rev"] == revision);
        let expected = expected.unwrap_or_else(|| panic!("{context} is not there"));
        assert_eq!(leaf.deleted(), expected["deleted"], "{context}");
        let document = database.read(&info.id, *leaf).unwrap().unwrap();
        compare_leaf(&context, database, &document, expected, seen);
        seen.leaves += 1;
        if position > 0 {
            (if leaf.deleted() { &mut conflicts.1 } else { &mut conflicts.0 }).push(revision);
        }
    }
    let winner = parsed(&database.json(info, REVISIONS).unwrap().unwrap());
    for (name, revisions) in [("_conflicts", conflicts.0), ("_deleted_conflicts", conflicts.1)] {
        assert_eq!(winner.get(name), (!revisions.is_empty()).then(|| Value::from(revisions)).as_ref(), "{context}");
    }
}

fn compare_leaf(context: &str, database: &Database<&[u8]>, document: &Document, expected: &Value, seen: &mut Seen) {
    let mut json = parsed(&document.to_json(REVISIONS).unwrap());
    let members = json.as_object_mut().unwrap();
    assert_eq!(members.remove("_id").unwrap(), document.id, "{context}");
    assert_eq!(members.remove("_rev").unwrap(), expected["rev"], "{context}");
    assert_eq!(members.remove("_revisions").unwrap(), expected["revisions"], "{context}");
    assert_eq!(members.remove("_deleted").is_some(), document.deleted, "{context}");
    let stubs = members.remove("_attachments").unwrap_or_default();
    if let Some(body) = expected.get("body") {
        assert_eq!(json, *body, "{context}");
    }
    assert_eq!(json, parsed(&document.body_json().unwrap()), "{context}");
    assert_eq!(sha256(canonical(&json).as_bytes()), expected["body_sha256"], "{context}");

    let none = Map::new();
    let expected = expected.get("attachments").map_or(&none, |attachments| attachments.as_object().unwrap());
    assert_eq!(document.attachments.len(), expected.len(), "{context}");
    for attachment in &document.attachments {
        let context = format!("{context} {}", attachment.name);
        let expected = &expected[&attachment.name];
        let stub = &stubs[&attachment.name];
        for name in ["content_type", "revpos", "digest", "length"] {
            assert_eq!(stub[name], expected[name], "{context}");
        }
        compare_content(&context, database, document, attachment, expected);
        seen.attachments += 1;
    }
}

fn compare_content(
    context: &str,
    database: &Database<&[u8]>,
    document: &Document,
    attachment: &Attachment,
    expected: &Value,
) {
    let mut content = Vec::new();
    database.write_attachment(&document.id, attachment, &mut content).unwrap();
    assert_eq!(sha256(&content), expected["sha256"], "{context}");
    assert_eq!(content.len() as u64, attachment.length, "{context}");
    let mut stored = Vec::new();
    database.write_stored_attachment(&document.id, attachment, &mut stored).unwrap();
    assert_eq!(stored.len() as u64, attachment.stored_length, "{context}");
}

/// CouchDB does not list the local documents that it keeps for itself.
fn compare_locals(context: &str, database: &Database<&[u8]>, expected: &Value, seen: &mut Seen) {
    for local in database.local_documents() {
        let local = local.unwrap();
        assert_eq!(database.local_document(&local.id).unwrap().unwrap().id, local.id);
        let json = parsed(&local.to_json().unwrap());
        match expected.as_array().unwrap().iter().find(|expected| expected["_id"] == local.id) {
            Some(expected) => {
                assert_eq!(json, *expected, "{context}");
                seen.locals += 1;
            }
            None => {
                let own = ["_local/purge-", "_local/shard-sync-"].iter().any(|prefix| local.id.starts_with(prefix));
                assert!(own, "{context}: {} is not there", local.id);
            }
        }
    }
    assert!(database.local_document("_local/none").unwrap().is_none());
}

fn compare_node_local(context: &str, database: &Database<&[u8]>, expected: &Value) {
    let mut found = Vec::new();
    for info in database.documents() {
        let info = info.unwrap();
        if !info.deleted {
            found.push(parsed(&database.json(&info, JsonOptions::default()).unwrap().unwrap()));
        }
    }
    assert_eq!(Value::Array(found), *expected, "{context}");
}

#[test]
fn shard_maps_name_every_shard_that_is_there() {
    for fixture in ALL {
        let files = fixture.files();
        let database = open(&files["_dbs.couch"]);
        let maps: Vec<_> = shard_maps(&database).map(Result::unwrap).collect();
        let truth = fixture.truth();
        let names: Vec<_> = maps.iter().map(|map| map.database.clone()).collect();
        assert_eq!(names, truth["dbs"].as_object().unwrap().keys().cloned().collect::<Vec<_>>());
        let mut shards = BTreeSet::new();
        for map in &maps {
            assert!(map.is_complete(), "{}", map.database);
            let cluster = &truth["dbs"][&map.database]["info"]["cluster"];
            assert_eq!((map.q(), map.n()), (cluster["q"].as_u64().unwrap() as usize, 1));
            assert_eq!(map.by_range.len(), map.q());
            assert!(map.changelog.len() >= map.q());
            for (node, ranges) in &map.by_node {
                assert!(ranges.len() == map.q() && node.contains('@'));
                shards.extend(map.shards_of(node).map(|shard| shard.file()));
            }
        }
        let there: BTreeSet<_> = files.keys().filter(|path| ShardName::parse(path).is_some()).cloned().collect();
        assert!(there.is_subset(&shards), "{}: {:?}", fixture.name, there.difference(&shards).collect::<Vec<_>>());
        if fixture.name == "cht" {
            assert_eq!(there, shards);
        }
    }
}

fn parsed(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"))
}
