//! What a running CouchDB says, compared with what was captured of its files.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use servers::PouchServer;

use crate::couchdb::{COUCHDB, CREDENTIALS, site};
use crate::support::{Ran, Site, run, write_secret};

const PASSWORD: &str = "hunter2";

/// Answers like CouchDB, as far as it is asked. Ends with the test's process.
#[derive(Clone, Default)]
struct Told {
    /// Documents and deleted ones of each database.
    databases: BTreeMap<String, (u64, u64)>,
    tasks: Value,
    /// The version that it says it is.
    version: Option<&'static str>,
    /// Databases that it cannot tell of.
    broken: Vec<&'static str>,
    /// How often a proxy in front of it says that it is not there.
    away: usize,
    /// What it was asked, with the numbers of keys.
    asked: Vec<String>,
}

impl Told {
    fn serve(self) -> (u16, Arc<Mutex<Self>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let told = Arc::new(Mutex::new(self));
        let shared = told.clone();
        std::thread::spawn(move || listener.incoming().for_each(|stream| answer(&stream.unwrap(), &shared)));
        (port, told)
    }

    fn answer(&mut self, line: &str, body: &Value) -> Value {
        let keys = body["keys"].as_array().map_or(0, Vec::len);
        self.asked.push(if keys > 0 { format!("{line} {keys}") } else { line.to_owned() });
        match line {
            "GET /" => json!({ "couchdb": "Welcome", "version": self.version.unwrap_or("3.5.1") }),
            "GET /_all_dbs" => json!(self.databases.keys().collect::<Vec<_>>()),
            "GET /_active_tasks" => self.tasks.clone(),
            "POST /_dbs_info" => {
                let keys = body["keys"].as_array().unwrap().iter().map(|key| key.as_str().unwrap());
                let info = |name: &str| match self.databases.get(name) {
                    _ if self.broken.contains(&name) => json!({ "key": name, "error": "internal_server_error" }),
                    Some((count, deleted)) => json!({ "key": name, "info": {
                        "db_name": name, "doc_count": count, "doc_del_count": deleted } }),
                    None => json!({ "key": name, "error": "not_found" }),
                };
                keys.map(info).collect()
            }
            _ => Value::Null,
        }
    }
}

fn answer(stream: &TcpStream, told: &Mutex<Told>) {
    let mut reader = BufReader::new(stream);
    let (mut first, mut length, mut account) = (String::new(), 0, false);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() <= 2 {
            break;
        }
        let (name, value) = line.trim().split_once(": ").unwrap();
        match &*name.to_lowercase() {
            "content-length" => length = value.parse().unwrap(),
            // medic:hunter2
            "authorization" => account = value == "Basic bWVkaWM6aHVudGVyMg==",
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let line = first.rsplit_once(' ').unwrap().0;
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut told = told.lock().unwrap();
    let is_away = told.away > 0;
    told.away = told.away.saturating_sub(1);
    let (status, body) = match account {
        _ if is_away => ("502 Bad Gateway", Value::Null),
        true => ("200 OK", told.answer(line, &body)),
        false => ("401 Unauthorized", json!({ "error": "unauthorized", "reason": "Who are you?" })),
    };
    let body = body.to_string();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let mut stream = stream;
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
}

/// Lets the site's source ask this server.
fn configure(site: &Site, url: &str, user: &str, password: &str) {
    let (data, config) = (site.data().join(COUCHDB), site.data().join(CREDENTIALS));
    write_secret(&site.path("couch-password"), password);
    let login = format!("url: '{url}', user: {user}, password_file: couch-password");
    site.configure(&format!("records: {{ couchdb: {{ data: {data:?}, config: {config:?}, {login} }} }}"));
}

fn backup(site: &Site, password: &str) -> Ran {
    let ran = site.lifeboat(["backup", "--json"]);
    assert!(!ran.to_string().contains(password), "{ran}");
    ran
}

/// What the snapshot has of each database.
fn counted(summary: &Value) -> BTreeMap<String, (u64, u64)> {
    let databases = summary["sources"]["records"]["facts"]["databases"].as_object().unwrap();
    let number = |value: &Value| value.as_u64().unwrap();
    databases.iter().map(|(name, it)| (name.clone(), (number(&it["documents"]), number(&it["deleted"])))).collect()
}

#[test]
fn a_couchdb_that_has_what_was_captured_adds_its_version_and_a_note_of_what_it_compacts() {
    let site = site();
    let databases = counted(&site.lifeboat(["backup", "--json"]).ok().summary());
    let tasks = json!([{ "type": "database_compaction", "database": "shards/0-1/medic.1", "progress": 50 },
                       { "type": "replication" }]);
    let (port, told) = Told { databases: databases.clone(), tasks, ..Told::default() }.serve();
    configure(&site, &format!("http://127.0.0.1:{port}"), "medic", PASSWORD);
    let ran = backup(&site, PASSWORD).ok();
    assert_eq!(ran.summary()["sources"]["records"]["facts"]["couchdb_version"], "3.5.1");
    site.lifeboat(["drill"]).ok();
    let shown = site.lifeboat(["config", "show"]).ok();
    assert!(!shown.to_string().contains(PASSWORD), "{shown}");
    let asked = std::mem::take(&mut told.lock().unwrap().asked);
    let infos = format!("POST /_dbs_info {}", databases.len());
    assert_eq!(asked, ["GET /", "GET /_all_dbs", &infos, "GET /_all_dbs", "GET /_active_tasks"]);
    let said = "CouchDB is compacting the database shards/0-1/medic.1 (50 %)";
    site.lifeboat(["backup", "--verbose"]).ok().says([said]);

    // More of them than CouchDB answers at once; and one lacks, and of one there is less.
    let mut more = databases;
    more.extend((0..150).map(|number| (format!("made-{number:03}"), (1, 0))));
    more.get_mut("medic").unwrap().0 += 1;
    told.lock().unwrap().databases = more;
    let ran = backup(&site, PASSWORD).exits(3);
    ran.says(["the snapshot lacks", "made-000, made-001", "database medic: CouchDB had"]);
    let asked = told.lock().unwrap().asked.clone();
    assert!(asked.contains(&"POST /_dbs_info 100".to_owned()), "{asked:?}");

    // That it cannot tell of one does not keep the others from being compared.
    told.lock().unwrap().broken = vec!["medic-sentinel"];
    let ran = backup(&site, PASSWORD).exits(3);
    ran.says([
        "were not compared: medic-sentinel; it says of the first: internal_server_error",
        "database medic: CouchDB had",
    ]);
}

#[test]
fn a_couchdb_that_does_not_answer_is_a_problem_and_the_files_are_captured() {
    let site = site();
    let expected = "were not compared with what CouchDB says";
    configure(&site, "http://127.0.0.1:1", "medic", PASSWORD);
    let summary = backup(&site, PASSWORD).exits(3).summary();
    assert_eq!((&summary["status"], &summary["problems"]), (&json!("partial"), &json!(1)), "{summary}");
    site.lifeboat(["drill"]).ok();
    let (port, _) = Told::default().serve();
    configure(&site, &format!("http://127.0.0.1:{port}"), "medic", "wrong-one");
    backup(&site, "wrong-one").exits(3).says([expected, "CouchDB refuses"]);
    std::fs::remove_file(site.path("couch-password")).unwrap();
    backup(&site, PASSWORD).exits(3).says([expected, "does not exist"]);
    let target = site.restore("latest", "target");
    assert!(
        target.join("records").join(site.data().join(COUCHDB).strip_prefix("/").unwrap()).join("_dbs.couch").exists()
    );
}

#[test]
fn another_server_that_speaks_the_protocol_is_asked_about_each_database() {
    let Some(server) = servers::pouchdb() else { return };
    let site = site();
    let database = server.database();
    configure(&site, &server.url(), PouchServer::USER, PouchServer::PASSWORD);
    let ran = site.lifeboat(["backup", "--json"]).exits(3);
    assert!(ran.summary()["sources"]["records"]["facts"]["couchdb_version"].is_string(), "{ran}");
    ran.says(["the snapshot lacks", &*database]);
}

#[test]
fn a_server_whose_certificate_is_not_trusted_is_told_as_that_and_may_be_the_couchdb() {
    let Some(server) = servers::azurite_tls() else { return };
    let site = site();
    let url = format!("https://127.0.0.1:{}", server.port);
    configure(&site, &url, "medic", PASSWORD);
    backup(&site, PASSWORD).exits(3).says(["the server's certificate is not trusted"]);
    let restore = ["restore", "latest:records", "--in-place", "--yes"];
    site.lifeboat(restore).exits(1).says([&*url, "the server's certificate is not trusted"]);
    // Trusted, it is heard out; here it is another server than it should be.
    let mut trusting = site.lifeboat_command(["backup"]);
    let ran = run(trusting.env("SSL_CERT_FILE", server.certificate.as_ref().unwrap())).exits(3);
    ran.says(["CouchDB answers 400"]);
}

#[test]
fn files_are_not_put_below_a_couchdb_that_answers_nor_one_that_is_too_old_for_them() {
    let site = site();
    site.backup();
    let (port, told) = Told::default().serve();
    let url = format!("http://127.0.0.1:{port}");
    configure(&site, &url, "medic", PASSWORD);
    let restore = ["restore", "latest:records", "--in-place", "--yes"];
    let answers = format!("the CouchDB at {url} answers, and works with it: stop it first");
    let ran = site.lifeboat(restore).exits(1).says([&*answers]);
    assert!(!ran.to_string().contains("take these files"), "{ran}");
    told.lock().unwrap().version = Some("3.3.2");
    let too_old = "CouchDB 3.3.2 would take these files for empty databases, since they need 3.4 or newer";
    site.lifeboat(restore).exits(1).says([&*answers, too_old]);
    // That it does not tell us its version does not mean that it does not run.
    configure(&site, &url, "medic", "another");
    site.lifeboat(restore).exits(1).says([&*answers]);
    site.lifeboat(restore.iter().chain(&["--force"])).ok();
    // Where nothing answers, nothing is in the way.
    configure(&site, "http://127.0.0.1:1", "medic", PASSWORD);
    site.lifeboat(restore).ok();
    // It is asked again, when nothing was changed yet and right before the swap.
    configure(&site, &url, "medic", PASSWORD);
    let nodes = site.data().join(COUCHDB).join("_nodes.couch");
    std::fs::remove_file(&nodes).unwrap();
    for away in [1, 2] {
        told.lock().unwrap().away = away;
        let ran = site.lifeboat(restore).exits(1);
        let ran = ran.says([&*format!("nothing was changed: {answers}"), "runs is unknown"]);
        assert_eq!((told.lock().unwrap().away, nodes.exists()), (0, false), "{ran}");
    }
    told.lock().unwrap().away = usize::MAX;
    site.lifeboat(restore).ok();
    assert!(nodes.exists());
}
