//! `lifeboat restore … --couch-url`: documents out of a snapshot, written back into a server that speaks CouchDB's
//! protocol.

use serde_json::{Value, json};
use servers::PouchServer;

use crate::documents::{Made, site_of, truth};
use crate::support::{Ran, run, write_secret};

fn restore(made: &Made, place: &str, server: &PouchServer, database: &str, more: &[&str]) -> Ran {
    let url = server.url();
    let place = format!("latest:files/{place}");
    let arguments = ["restore", &place, "--couch-url", &url, "--couch-user", PouchServer::USER, "--couch-db", database];
    let mut command = made.site.lifeboat_command(arguments.iter().chain(more));
    run(command.env("COUCHDB_PASSWORD", PouchServer::PASSWORD))
}

fn get(server: &PouchServer, path: &str) -> Value {
    server.request("GET", path, None).1
}

fn post(server: &PouchServer, path: &str, body: &Value) -> Value {
    server.request("POST", path, Some(body)).1
}

/// A database with a document that has an attachment and a conflict, one that is deleted, and one more.
fn made() -> Made {
    let mut made = Made::new();
    let photo =
        made.writer.attachment("photo 1.png", "image/png", &[0, 255, 7, 9], 1, couchfile::Encoding::Identity).unwrap();
    made.writer.put("patient/1", &json!({ "name": "Adda" })).unwrap();
    made.writer.put_with("patient/1", &json!({ "name": "Ada", "weight": 1.0 }), &[photo]).unwrap();
    made.writer.put("gone", &json!({})).unwrap();
    made.writer.delete("gone").unwrap();
    made.writer.put("other", &json!({ "n": 1 })).unwrap();
    made.backup();
    made
}

#[test]
fn one_document_comes_back_with_its_history_and_attachments() {
    let Some(server) = servers::pouchdb() else { return };
    let (made, database) = (made(), server.database());
    let ran = restore(&made, "orders/patient/1", server, &database, &["--json"]).ok();
    let keys: Vec<_> = ran.summary().as_object().unwrap().keys().cloned().collect();
    let promised = "database documents dry_run hidden left_out_deleted message_type problems refused revisions \
                    snapshot_id status unchanged";
    assert_eq!(keys.join(" "), promised);
    assert_eq!((&ran.summary()["documents"], &ran.summary()["revisions"]), (&json!(1), &json!(1)));
    let there = get(server, &format!("{database}/patient%2F1?attachments=true&revs=true"));
    assert_eq!((&there["name"], &there["_revisions"]["start"]), (&json!("Ada"), &json!(2)));
    assert_eq!(there["_revisions"]["ids"].as_array().unwrap().len(), 2, "with the revision before it");
    assert_eq!(there["_attachments"]["photo 1.png"]["data"], "AP8HCQ==");
    assert_eq!(get(server, &database)["doc_count"], 1);
    // Once more changes nothing.
    restore(&made, "orders/patient/1", server, &database, &[]).ok();
    assert_eq!(get(server, &format!("{database}/patient%2F1?revs=true"))["_rev"], there["_rev"]);
}

#[test]
fn a_deletion_that_is_there_wins_until_a_new_revision_goes_on_top() {
    let Some(server) = servers::pouchdb() else { return };
    let (made, database) = (made(), server.database());
    restore(&made, "orders/patient/1", server, &database, &[]).ok();
    let path = format!("{database}/patient%2F1");
    let revision = get(server, &path)["_rev"].as_str().unwrap().to_owned();
    assert_eq!(server.request("DELETE", &format!("{path}?rev={revision}"), None).0, 200);

    let ran = restore(&made, "orders/patient/1", server, &database, &["--json"]).exits(3);
    assert_eq!(ran.summary()["hidden"], 1);
    ran.says(["stays deleted", "--as-new-revision"]);
    assert_eq!(server.request("GET", &path, None).0, 404);

    let dry = restore(&made, "orders/patient/1", server, &database, &["--as-new-revision", "--dry-run"]).ok();
    dry.says(["would write 1 document"]);
    assert_eq!(server.request("GET", &path, None).0, 404);

    restore(&made, "orders/patient/1", server, &database, &["--as-new-revision"]).ok();
    let there = get(server, &format!("{path}?attachments=true"));
    assert!(there["_rev"].as_str().unwrap().starts_with("4-"), "{there}");
    assert_eq!((&there["name"], &there["_attachments"]["photo 1.png"]["data"]), (&json!("Ada"), &json!("AP8HCQ==")));
}

#[test]
fn a_new_revision_goes_on_top_of_a_newer_one_and_on_none_that_is_the_same() {
    let Some(server) = servers::pouchdb() else { return };
    let (made, database) = (made(), server.database());
    restore(&made, "orders/other", server, &database, &[]).ok();
    let same = restore(&made, "orders/other", server, &database, &["--as-new-revision", "--json"]).ok().summary();
    assert_eq!((&same["unchanged"], &same["revisions"]), (&json!(1), &json!(0)));

    let path = format!("{database}/other");
    let revision = get(server, &path)["_rev"].clone();
    post(server, &database, &json!({ "_id": "other", "_rev": revision, "n": 2 }));
    let hidden = restore(&made, "orders/other", server, &database, &[]).exits(3);
    hidden.says(["is shown as 2-", "--as-new-revision"]);
    assert_eq!(get(server, &path)["n"], 2);
    restore(&made, "orders/other", server, &database, &["--as-new-revision"]).ok();
    let there = get(server, &path);
    assert_eq!(there["n"], 1);
    assert!(there["_rev"].as_str().unwrap().starts_with("3-"), "{there}");
}

#[test]
fn a_whole_database_comes_back_with_every_leaf() {
    let Some(server) = servers::pouchdb() else { return };
    let (site, truth) = (site_of("clean.data.tar.gz"), truth("clean.dump.json.gz"));
    let database = server.database();
    let url = server.url();
    write_secret(&site.path("couch-password"), PouchServer::PASSWORD);
    let arguments = ["restore", "latest:files/appdb", "--couch-url", &url, "--couch-user", PouchServer::USER];
    let more = ["--couch-password-file", "couch-password", "--couch-db", &database, "--json"];
    // Two of its shards are left out of the fixture, which is said.
    let ran = site.lifeboat(arguments.iter().chain(&more)).exits(3);
    let expected = truth["dbs"]["appdb"]["docs"].as_object().unwrap();
    let summary = ran.summary();
    assert_eq!((&summary["problems"], &summary["documents"]), (&json!(2), &json!(expected.len())), "{ran}");
    let rows = post(server, &format!("{database}/_all_docs"), &json!({ "keys": expected.keys().collect::<Vec<_>>() }));
    for (row, (id, told)) in rows["rows"].as_array().unwrap().iter().zip(expected) {
        assert_eq!((&row["id"], &row["value"]["rev"]), (&json!(id), &told["winner"]));
        assert_eq!(row["value"]["deleted"] == true, told["deleted"] == true, "{id}");
    }
    let several = expected.iter().filter(|(_, told)| told["leaves"].as_array().unwrap().len() > 1);
    let mut conflicts = 0;
    for (id, told) in several {
        let path =
            format!("{database}/{}?open_revs=all", id.replace('%', "%25").replace('/', "%2F").replace('+', "%2B"));
        let there = get(server, &path);
        let mut there: Vec<_> = there.as_array().unwrap().iter().map(|leaf| leaf["ok"]["_rev"].to_string()).collect();
        let leaves = told["leaves"].as_array().unwrap();
        let mut told: Vec<_> = leaves.iter().map(|leaf| leaf["rev"].to_string()).collect();
        there.sort();
        told.sort();
        assert_eq!(there, told, "{id}");
        conflicts += 1;
    }
    assert!(conflicts > 0);
}

#[test]
fn what_the_server_refuses_is_named_and_the_rest_is_written() {
    let Some(server) = servers::pouchdb() else { return };
    let (mut made, database) = (Made::new(), server.database());
    made.writer.put("good", &json!({})).unwrap();
    // A server takes no such id; a file that somebody made may hold it.
    made.writer.put("_bad", &json!({})).unwrap();
    made.writer.put("last", &json!({})).unwrap();
    made.backup();
    let ran = restore(&made, "orders", server, &database, &["--json"]).exits(3);
    assert_eq!((&ran.summary()["documents"], &ran.summary()["refused"]), (&json!(2), &json!(1)), "{ran}");
    ran.says([&*format!("{database}/_bad"), "was not written"]);
    assert_eq!(get(server, &database)["doc_count"], 2);
}

#[test]
fn a_document_whose_id_cannot_be_right_is_named_and_not_written() {
    let Some(server) = servers::pouchdb() else { return };
    let (mut made, database) = (Made::new(), server.database());
    // As a page reads that was lost.
    made.writer.put("", &json!({ "lost": true })).unwrap();
    made.writer.put("good", &json!({})).unwrap();
    made.backup();
    let ran = restore(&made, "orders", server, &database, &["--json"]).exits(3);
    assert_eq!((&ran.summary()["documents"], &ran.summary()["problems"]), (&json!(1), &json!(1)), "{ran}");
    ran.says([
        &*format!("{database}/"),
        "was not written: no document of this id belongs into shards/00000000-ffffffff/",
    ]);
    assert_eq!(get(server, &database)["doc_count"], 1);
}

#[test]
fn what_cannot_work_is_said_before_anything_is_written() {
    let Some(server) = servers::pouchdb() else { return };
    let made = made();
    restore(&made, "orders/other", server, "nowhere", &[])
        .exits(1)
        .says(["there is no database \"nowhere\"", "--couch-db"]);
    let database = server.database();
    restore(&made, "orders/othre", server, &database, &[]).exits(1).says(["did you mean other?"]);
    restore(&made, "orders/_local/x", server, &database, &[]).exits(1).says(["local document"]);
    restore(&made, "ordres/x", server, &database, &[]).exits(1).says(["there is no database"]);
    let several = restore(&made, "orders", server, &database, &["--id", "other", "--id", "gone", "--json"]).ok();
    assert_eq!(several.summary()["documents"], 2);

    let site = &made.site;
    let url = server.url();
    let nobody = ["restore", "latest:files/orders/other", "--couch-url", &url, "--couch-db", &database];
    site.lifeboat(nobody).exits(1).says(["CouchDB refuses", "--couch-user"]);
    write_secret(&site.path("wrong-password"), "hunter2");
    let wrong = nobody.iter().chain(&["--couch-user", PouchServer::USER, "--couch-password-file", "wrong-password"]);
    let ran = site.lifeboat(wrong).exits(1);
    assert!(!ran.errors().contains("hunter2"), "{}", ran.errors());
    ran.says(["CouchDB refuses"]);
    let with_password = ["restore", "latest:files/orders/other", "--couch-url", "http://me:hunter2@127.0.0.1:1"];
    let ran = site.lifeboat(with_password).exits(2);
    assert!(!format!("{}{}", ran.text(), ran.errors()).contains("hunter2"), "{}", ran.errors());
    ran.says(["must not hold a user or a password", "COUCHDB_PASSWORD"]);
    let away = ["restore", "latest:files/orders/other", "--couch-url", "http://127.0.0.1:1", "--couch-user", "me"];
    site.lifeboat(away).exits(2).says(["there is no password for me"]);
    write_secret(&site.path("couch-password"), "hunter2");
    let ran = site.lifeboat(away.iter().chain(&["--couch-password-file", "couch-password"])).exits(1);
    assert!(!ran.errors().contains("hunter2"), "{}", ran.errors());
    ran.says(["the server cannot be reached"]);
}
