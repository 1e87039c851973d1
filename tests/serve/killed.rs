//! The machine goes down in the middle of each kind of job: afterwards no run stays "running", no process is left, no lock needs a
//! hand, and the copies are whole.

use std::time::Duration;

use serde_json::{Value, json};

use super::guest::Server;
use super::{kill, of_files, site};
use crate::support::{Dice, Site, wait_until};

/// So slowly is read and written that each job is in the middle of it when it is killed.
const SLOW: &str = ", upload_limit: 64KiB/s, download_limit: 64KiB/s";
const DATA_BYTES: usize = 512 << 10;

fn go_down(site: &Site, server: Server<'_>) {
    server.kill();
    // Every command of the site names its configuration so.
    kill(site, "--config");
}

fn with_copies(site: &Site, more: &str) {
    let text = std::fs::read_to_string(site.config()).unwrap();
    let (head, rest) = text.split_once("copies:").unwrap();
    let rest = &rest[rest.find("server:").unwrap()..];
    let copies = format!("copies:\n  disk: {{ url: repo{more} }}\n  nas: {{ url: nas{more} }}\n");
    std::fs::write(site.config(), format!("{head}{copies}{rest}")).unwrap();
}

fn random_file(site: &Site, name: &str, seed: u64) {
    let mut dice = Dice::new(seed);
    let bytes: Vec<u8> = (0..DATA_BYTES / 8).flat_map(|_| dice.next().to_le_bytes()).collect();
    std::fs::write(site.data().join(name), bytes).unwrap();
}

#[test]
fn whatever_job_the_machine_goes_down_in_all_is_whole_afterwards() {
    let site = site(|site| of_files(site, "app"));
    random_file(&site, "first", 1);
    let snapshot = site.backup();
    with_copies(&site, SLOW);
    random_file(&site, "second", 2);
    let mut server = Server::start(&site);
    let headers = server.token(&server.first_user(), "admin", None).0.headers;
    // Those that are surely still at it when they are killed, and those that may have ended by then.
    let certain = [
        json!({ "kind": "backup", "stack": "app" }),
        json!({ "kind": "drill", "stack": "app" }),
        json!({ "kind": "restore", "uri": snapshot, "to": "/there" }),
        json!({ "kind": "restore", "uri": snapshot }),
        json!({ "kind": "check", "read_data": true }),
    ];
    let others = [
        json!({ "kind": "sync" }),
        json!({ "kind": "heal", "read_data": true }),
        json!({ "kind": "prune" }),
        json!({ "kind": "tamper-test" }),
    ];
    for (number, task) in certain.iter().chain(&others).enumerate() {
        let mut ada = server.stranger();
        ada.headers.clone_from(&headers);
        let mut task = task.clone();
        if task["to"].is_string() {
            task["to"] = Value::from(site.path("there").display().to_string());
        }
        let id = ada.start("/v1/admin/runs", &task);
        wait_until("it runs", || ada.get(&format!("/v1/admin/runs/{id}")).json()["status"] != "queued");
        std::thread::sleep(Duration::from_millis(1500));
        go_down(&site, server);
        server = Server::start(&site);
        let mut ada = server.stranger();
        ada.headers.clone_from(&headers);
        let run = ada.end_of(&id);
        assert!(number >= certain.len() || run["status"] == "cut_off", "{run}");
        assert!(run["ended_at"].is_string(), "{run}");
        let open = ada.get("/v1/admin/runs?status=running").json();
        assert_eq!(open["items"], json!([]), "nobody wants it twice");
    }
    server.stop();
    with_copies(&site, "");
    site.lifeboat(["backup"]).ok();
    for copy in ["disk", "nas"] {
        site.lifeboat(["check", "--read-data", "--copy", copy]).ok();
    }
    site.lifeboat(["drill", "--all-copies"]).ok();
    site.restic_finds_no_errors("repo");
    for (name, seed) in [("first", 1), ("second", 2)] {
        let now = std::fs::read(site.data().join(name));
        random_file(&site, "expected", seed);
        assert!(now.unwrap() == std::fs::read(site.data().join("expected")).unwrap(), "{name} is as it was");
    }
}
