//! Nodes under new names: read back, the new names are in every place, and everything else is as it was.

use couchfile::rewrite::{NodeNames, rename_in_nodes, rename_in_shard_maps};
use couchfile::{Checksum, Compression, CouchWriter, Database, Error, Format, JsonOptions, Level};
use serde_json::{Value, json};

use crate::fixtures::{ALL, open};

const EVERYTHING: JsonOptions = JsonOptions { revisions: true, encodings: true };

fn names(pairs: &[(&str, &str)]) -> NodeNames {
    pairs.iter().map(|(old, new)| ((*old).to_owned(), (*new).to_owned())).collect()
}

/// Everything that can be read of a database, as text, so that two can be compared.
fn everything(database: &Database<&[u8]>) -> Vec<String> {
    let header = database.header();
    let mut all = vec![format!(
        "{:?}",
        (
            (header.disk_version, header.update_seq, header.doc_count, header.doc_del_count, &header.uuid),
            (&header.epochs, header.revs_limit, header.purge_infos_limit, header.compacted_seq),
            (header.place.checksum, database.purge_seq().unwrap(), database.partitioned().unwrap()),
        )
    )];
    all.push(database.security().unwrap());
    for info in database.documents() {
        let info = info.unwrap();
        let leaf_of = |leaf: couchfile::Leaf<'_>| {
            let document = database.read(&info.id, leaf).unwrap().unwrap();
            let seq = leaf.body().unwrap().seq;
            let mut content = Vec::new();
            for attachment in &document.attachments {
                database.write_attachment(&info.id, attachment, &mut content).unwrap();
            }
            format!("{seq} {} {content:?}", document.to_json(EVERYTHING).unwrap())
        };
        let leaves: Vec<_> = info.leaves().into_iter().map(leaf_of).collect();
        let tree: Vec<_> = info.revisions.nodes().iter().map(|node| (&node.revision, node.parent, node.leaf)).collect();
        all.push(format!("{} {} {tree:?} {leaves:?}", info.seq, info.deleted));
    }
    all.extend(database.changes(0).map(|info| {
        let info = info.unwrap();
        format!("{} {} {}", info.seq, info.id, info.leaves().len())
    }));
    all.extend(database.local_documents().map(|local| local.unwrap().to_json().unwrap()));
    all.extend(database.purges().map(|purge| format!("{:?}", purge.unwrap())));
    all
}

#[test]
fn a_renamed_node_has_its_new_name_in_every_place_and_all_else_is_unchanged() {
    for fixture in ALL {
        let files = fixture.files();
        let old = if fixture.name == "cht" {
            "couchdb@127.0.0.1"
        } else if fixture.name == "clean" {
            "couchfx1@127.0.0.1"
        } else {
            "couchfx2@127.0.0.1"
        };
        let new = "couchdb@new-host.example.org";
        for file in ["_dbs.couch", "_nodes.couch"] {
            let database = open(&files[file]);
            let mut written = Vec::new();
            let renamed = if file == "_dbs.couch" {
                rename_in_shard_maps(&database, &names(&[(old, new)]), &mut written).unwrap()
            } else {
                rename_in_nodes(&database, &names(&[(old, new)]), &mut written).unwrap()
            };
            let again = open(&written);
            let report = again.check(Level::Attachments);
            assert!(report.is_ok(), "{} {file}: {}", fixture.name, report.findings[0]);
            assert_eq!(renamed.place, again.header().place);
            assert_eq!(renamed.place.end, written.len() as u64);
            assert_eq!(renamed.documents, again.header().documents());
            // Deleted shard maps name it as well.
            assert!(renamed.changed.len() as u64 >= database.header().doc_count, "each of them names the node");
            // Owners until now, and jobs of the past that local documents tell of, are what they were.
            let stays = |text: &String| text.contains("Epoch") || text.starts_with("{\"_id\":\"_local/reshard-job-");
            let swapped = |text: &String| if stays(text) { text.clone() } else { text.replace(old, new) };
            let expected: Vec<_> = everything(&database).iter().map(swapped).collect();
            assert_same(&everything(&again), &expected, file);
        }
    }
}

/// Two texts of a database are too long to be shown.
fn assert_same(found: &[String], expected: &[String], context: &str) {
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected, "{context}");
    }
    assert_eq!(found.len(), expected.len(), "{context}");
}

#[test]
fn renaming_nothing_gives_the_same_database_for_each_kind_of_file() {
    for fixture in ALL {
        for (path, bytes) in fixture.files() {
            // Large attachments are cut into other pieces; that, too, must not show.
            if !path.ends_with(".couch") || bytes.len() > 450_000 {
                continue;
            }
            let database = open(&bytes);
            let mut written = Vec::new();
            let renamed = rename_in_nodes(&database, &NodeNames::new(), &mut written).unwrap();
            assert!(renamed.changed.is_empty());
            let again = open(&written);
            let report = again.check(Level::Attachments);
            assert!(report.is_ok(), "{path}: {}", report.findings[0]);
            assert_same(&everything(&again), &everything(&database), &path);
        }
    }
}

#[test]
fn old_disk_versions_stay_what_they_were() {
    for (path, bytes) in crate::fixtures::eunit() {
        if path.ends_with(".couch") {
            let database = open(&bytes);
            let mut written = Vec::new();
            rename_in_nodes(&database, &NodeNames::new(), &mut written).unwrap();
            let again = open(&written);
            assert!(again.check(Level::Attachments).is_ok(), "{path}");
            assert_same(&everything(&again), &everything(&database), &path);
        }
    }
}

fn shard_maps_with(body: &Value) -> Vec<u8> {
    let format = Format { checksum: Checksum::Md5, compression: Compression::Deflate };
    let mut writer = CouchWriter::create(Vec::new(), format, "0123", "a@host").unwrap();
    writer.put("db", body).unwrap();
    writer.commit().unwrap();
    writer.into_inner()
}

#[test]
fn nodes_may_swap_names_but_not_share_one() {
    let range = "00000000-ffffffff";
    let body = json!({
        "shard_suffix": [46, 49, 50, 51],
        "changelog": [["add", range, "a@host"], ["split", range, [range], "b@host"], ["odd", 7, "a@host2"]],
        "by_node": {"a@host": [range], "b@host": [range]},
        "by_range": {range: ["a@host", "b@host"]},
        "props": {"a@host": "a@host"},
    });
    let bytes = shard_maps_with(&body);
    let database = open(&bytes);
    let mut written = Vec::new();
    rename_in_shard_maps(&database, &names(&[("a@host", "b@host"), ("b@host", "a@host")]), &mut written).unwrap();
    let again = open(&written);
    let info = again.document("db").unwrap().unwrap();
    let found: Value = serde_json::from_str(&again.json(&info, JsonOptions::default()).unwrap().unwrap()).unwrap();
    let suffix = json!([46, 49, 50, 51]);
    assert_eq!(found["shard_suffix"], suffix);
    let changelog = json!([["add", range, "b@host"], ["split", range, [range], "a@host"], ["odd", 7, "a@host2"]]);
    assert_eq!(found["changelog"], changelog);
    assert_eq!(found["by_range"][range], json!(["b@host", "a@host"]));
    assert_eq!(found["props"], json!({"a@host": "a@host"}), "what is not known to be a node stays");

    let refused = rename_in_shard_maps(&database, &names(&[("a@host", "b@host")]), Vec::new());
    assert!(matches!(&refused, Err(Error::Rename(message)) if message.contains("b@host")), "{refused:?}");
    let refused = rename_in_shard_maps(&database, &names(&[("a@host", "nowhere")]), Vec::new());
    assert!(matches!(&refused, Err(Error::Rename(message)) if message.contains("NAME@HOST")), "{refused:?}");
}
