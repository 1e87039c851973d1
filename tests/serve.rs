//! `lifeboat serve`: from its first start on, over HTTP, through runs, crashes and wrong requests.

mod described;
mod guest;
mod killed;
mod rights;

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Site, wait_until};
use guest::Server;

/// A site whose server listens on a free port, with these lines of stacks.
fn site(stacks: impl Fn(&Site) -> String) -> Site {
    let site = Site::new();
    std::fs::write(site.data().join("a file"), "what is in it").unwrap();
    let stacks = stacks(&site);
    let text = format!(
        "version: 1\nstate_dir: state\npassword_file: password\ncopies:\n  disk: {{ url: repo }}\n  nas: {{ url: nas }}\n\
         server: {{ listen: '127.0.0.1:0' }}\nstacks:\n{stacks}"
    );
    std::fs::write(site.config(), text).unwrap();
    site.lifeboat(["init"]).ok();
    site
}

fn of_files(site: &Site, name: &str) -> String {
    format!("  {name}:\n    sources:\n      files: {{ files: {{ paths: [{:?}] }} }}\n", site.data())
}

/// A stack of files.
fn simple() -> Site {
    site(|site| of_files(site, "app"))
}

/// A stack whose backup takes some seconds.
fn slow(seconds: u32, more: &str) -> Site {
    let run = format!("echo begun >> \"$HOME/begun\"; sleep {seconds}; echo done");
    site(|_| format!("  app:\n{more}    sources: {{ slow: {{ command: {{ run: '{run}', name: x }} }} }}\n"))
}

fn begun(site: &Site) -> usize {
    std::fs::read_to_string(site.path("begun")).unwrap_or_default().lines().count()
}

#[test]
fn the_first_user_is_made_by_the_link_that_was_printed_and_nothing_works_without() {
    let site = simple();
    let server = Server::start(&site);
    let mode = std::fs::metadata(site.path("state/server")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "hashes of passwords are for the owner alone");
    let stranger = server.stranger();
    assert_eq!(stranger.get("/").status, 303);
    assert_eq!(stranger.get("/v1/admin/runs").status, 401);
    assert_eq!(stranger.get("/.live").status, 200);
    assert!(stranger.get("/sign-in").text().contains("There is no user yet"));
    let wrong = "code=guessed&name=eve&password=three+plain+words";
    assert_eq!(stranger.post_form("/setup", wrong).status, 403, "from another site");
    let ada = server.first_user();
    assert_eq!(ada.get("/v1/admin/me").json(), json!({ "name": "ada", "role": "admin" }));
    assert!(ada.get("/").text().contains("Are we safe?"));
    let code = server.log().split("/setup?code=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let again = ada.post_form("/setup", &format!("code={code}&name=eve&password=three+plain+words"));
    assert_eq!(again.status, 403, "the link is good once");
    assert_eq!(ada.get(&format!("/setup?code={code}")).status, 404);
    // Signed out, the cookie is worth nothing.
    assert_eq!(ada.post_form("/sign-out", "").status, 303);
    assert_eq!(ada.get("/v1/admin/me").status, 401);
    assert!(!server.log().contains("three"), "no password in the log");
    server.stop();
}

#[test]
fn who_types_wrong_passwords_waits_and_learns_nothing() {
    let site = simple();
    let server = Server::start(&site);
    let ada = server.first_user();
    let mut page = server.stranger();
    page.headers.push(("Origin".to_owned(), format!("http://{}", server.address)));
    let wrong = |name: &str| page.post_form("/sign-in", &format!("name={name}&password=not+the+password"));
    let (unknown, known) = (wrong("eve"), wrong("ada"));
    assert_eq!((unknown.status, known.status), (401, 401));
    let said = |answer: &guest::Answer| String::from_utf8_lossy(&answer.body).replace("eve", "ada");
    assert_eq!(said(&unknown), said(&known), "who there is does not show");
    (0..3).for_each(|_| drop(wrong("ada")));
    let waits = wrong("ada");
    assert_eq!(waits.status, 429, "{}", waits.text());
    assert!(waits.header("retry-after").is_some());
    let right = page.post_form("/sign-in", "name=ada&password=three+plain+words");
    assert_eq!(right.status, 429, "also the right one has to wait");
    let deeds = ada.get("/v1/admin/audit").json();
    let failed = deeds["items"].as_array().unwrap().iter().filter(|deed| deed["outcome"] == "wrong name or password");
    assert_eq!(failed.count(), 5);
    assert_eq!(ada.get("/v1/admin/audit/check").json(), json!({ "is_whole": true }));
}

#[test]
fn a_snapshot_is_taken_drilled_looked_into_and_restored() {
    let site = simple();
    let server = Server::start(&site);
    let ada = server.first_user();
    let (operator, secret) = server.token(&ada, "operator", None);
    let asked = json!({ "stack": "app" });
    let key = [("Idempotency-Key", "one")];
    let first = operator.send_json("POST", "/v1/admin/snapshots/create", &key, &asked);
    let again = operator.send_json("POST", "/v1/admin/snapshots/create", &key, &asked);
    assert_eq!((first.status, first.json()), (202, again.json()), "nothing is done twice");
    let other =
        operator.send_json("POST", "/v1/admin/snapshots/create", &key, &json!({ "stack": "app", "copies": ["disk"] }));
    assert_eq!(other.status, 422);
    let id = first.json()["run_id"].as_str().unwrap().to_owned();
    let run = operator.end_of(&id);
    assert_eq!(run["status"], "ok", "{run}");
    let snapshot = run["summary"]["snapshot_id"].as_str().unwrap().to_owned();
    // Everything it said can be followed from any place on, also afterwards.
    let events = operator.get(&format!("/v1/admin/runs/{id}/events")).text();
    assert!(events.contains("event: said") && events.contains("event: end"), "{events}");
    assert!(events.contains("\"message_type\":\"progress\"") && events.contains("\"step\":\"files\""), "{events}");
    let last = events.lines().filter_map(|line| line.strip_prefix("id: ")).next_back().unwrap();
    let rest = operator.send("GET", &format!("/v1/admin/runs/{id}/events"), &[("Last-Event-ID", last)], b"").text();
    assert!(!rest.contains("event: said") && rest.contains("event: end"), "{rest}");

    let path = format!("/v1/admin/snapshots/{snapshot}");
    wait_until("the snapshot is known", || operator.get(&path).status == 200);
    assert_eq!(operator.get(&path).json()["copies"], json!(["disk", "nas"]));
    let list = operator.get("/v1/admin/snapshots?limit=1");
    let tag = list.header("etag").unwrap();
    assert_eq!(operator.send("GET", "/v1/admin/snapshots?limit=1", &[("If-None-Match", tag)], b"").status, 304);

    let below = format!("files{}", site.data().display());
    let files = operator.get(&format!("{path}/files?path={below}")).json();
    assert_eq!(files["items"].as_array().unwrap().len(), 1, "{files}");
    let content = operator.get(&format!("{path}/content?path={below}/a%20file"));
    assert_eq!(content.body, b"what is in it", "{}", content.text());
    assert!(content.header("content-disposition").unwrap().ends_with("''a%20file"));
    assert_eq!(operator.get(&format!("{path}/content?path={below}/nothing")).status, 404);

    let drill = operator.start("/v1/admin/drills", &json!({ "stack": "app" }));
    assert_eq!(operator.end_of(&drill)["status"], "ok");
    let receipts = operator.get(&format!("/v1/admin/drills/{drill}/receipt")).json();
    assert_eq!(receipts["items"].as_array().unwrap().len(), 2, "of each copy: {receipts}");

    let restore = json!({ "uri": format!("lifeboat:nas/{snapshot}"), "to": "here" });
    let restored = operator.end_of(&operator.start("/v1/admin/snapshots/restore", &restore));
    assert_eq!(restored["status"], "ok", "{restored}");
    let file = site.restored_data(&site.path("state/restores/here")).join("a file");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "what is in it");
    // In place is for admins, and so is any other folder.
    std::fs::write(site.data().join("a file"), "overwritten").unwrap();
    for denied in [
        json!({ "uri": snapshot, "in_place": true }),
        json!({ "uri": snapshot, "to": "/tmp/elsewhere" }),
        json!({ "uri": snapshot, "to": "../../x" }),
    ] {
        assert_eq!(operator.post("/v1/admin/snapshots/restore", &denied).status, 403, "{denied}");
    }
    let in_place = ada.start("/v1/admin/snapshots/restore", &json!({ "uri": snapshot, "in_place": true }));
    let run = ada.end_of(&in_place);
    assert_eq!(run["status"], "ok", "{run}");
    assert_eq!(std::fs::read_to_string(site.data().join("a file")).unwrap(), "what is in it");

    let log = server.log();
    assert!(!log.contains(&secret) && !log.contains("lifeboat_"), "no token in the log: {log}");
    server.stop();
}

#[test]
fn a_run_is_cancelled_before_it_begins_and_while_it_runs() {
    let site = slow(600, "");
    let server = Server::start(&site);
    let ada = server.first_user();
    let first = ada.start("/v1/admin/snapshots/create", &json!({}));
    wait_until("the backup has begun", || begun(&site) == 1);
    // Of one stack there is one at a time.
    let second = ada.start("/v1/admin/snapshots/create", &json!({ "stack": "app" }));
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(ada.get(&format!("/v1/admin/runs/{second}")).json()["status"], "queued");
    for id in [&second, &first] {
        assert_eq!(ada.post(&format!("/v1/admin/runs/{id}/cancel"), &Value::Null).status, 202);
        assert_eq!(ada.end_of(id)["status"], "cancelled");
        assert_eq!(ada.post(&format!("/v1/admin/runs/{id}/cancel"), &Value::Null).status, 409);
    }
    assert_eq!(begun(&site), 1);
}

#[test]
fn a_run_survives_the_server_and_the_next_one_takes_it_over() {
    let site = slow(4, "");
    let server = Server::start(&site);
    let ada = server.first_user();
    let cookie = ada.headers.clone();
    let id = ada.start("/v1/admin/snapshots/create", &json!({}));
    wait_until("the backup has begun", || begun(&site) == 1);
    server.kill();
    let server = Server::start(&site);
    let mut ada = server.stranger();
    ada.headers = cookie;
    let run = ada.get(&format!("/v1/admin/runs/{id}")).json();
    assert_eq!(run["status"], "running", "{run}");
    let run = ada.end_of(&id);
    assert_eq!(run["status"], "ok", "{run}");
    assert!(run["summary"]["snapshot_id"].is_string() && begun(&site) == 1, "{run}");
}

#[test]
fn a_run_that_was_killed_is_told_as_cut_off_and_one_of_a_schedule_is_started_again() {
    // It is due each minute, so this takes one.
    let site = slow(600, "    schedule: '* * * * *'\n");
    let server = Server::start(&site);
    let ada = server.first_user();
    let cookie = ada.headers.clone();
    wait_until("the job has begun", || begun(&site) == 1);
    let running = ada.get("/v1/admin/runs?status=running").json();
    let first = running["items"][0].clone();
    assert_eq!(first["job"], "backup app", "{running}");
    server.kill();
    kill(&site, "backup");
    let server = Server::start(&site);
    let mut ada = server.stranger();
    ada.headers = cookie;
    let id = first["id"].as_str().unwrap();
    let run = ada.end_of(id);
    assert_eq!(run["status"], "cut_off", "{run}");
    wait_until("it is started again", || begun(&site) == 2);
    let running = ada.get("/v1/admin/runs?status=running").json();
    assert!(running["items"][0]["cause"].as_str().unwrap().ends_with("was cut off"), "{running}");
    // Whoever stops the server stops what it does, and nothing of that stays.
    server.stop();
    wait_until("its runs have ended", || processes(&site, "backup").is_empty());
}

/// The processes of a site that have this word among their arguments.
fn processes(site: &Site, word: &str) -> Vec<i32> {
    let config = site.config().display().to_string();
    let all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_one = |pid: &i32| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.contains(&config) && line.split('\0').any(|found| found == word)
    };
    all.filter(is_one).collect()
}

/// Ends them as a power failure would.
fn kill(site: &Site, word: &str) {
    for pid in processes(site, word) {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    wait_until("they are gone", || processes(site, word).is_empty());
}

#[test]
fn wrong_requests_are_told_as_problems() {
    let site = simple();
    let server = Server::start(&site);
    let ada = server.first_user();
    let wrong = [
        (ada.get("/v1/admin/runs/none"), 404),
        (ada.get("/nowhere"), 404),
        (ada.get("/v1/admin/runs?limit=0"), 400),
        (ada.get("/v1/admin/runs?odd=1"), 400),
        (ada.get("/v1/admin/snapshots/zz"), 404),
        (ada.get("/v1/admin/snapshots/..%2f"), 404),
        (ada.post("/v1/admin/me", &json!({})), 405),
        (ada.post("/v1/admin/snapshots/create", &json!({ "stack": "other" })), 404),
        (ada.post("/v1/admin/snapshots/create", &json!({ "database": "other" })), 404),
        (ada.post("/v1/admin/snapshots/create", &json!({ "copies": ["other"] })), 404),
        (ada.post("/v1/admin/snapshots/restore", &json!({ "uri": "x" })), 400),
        (ada.post("/v1/admin/snapshots/restore", &json!({ "uri": "", "in_place": true })), 400),
        (ada.post("/v1/admin/drills", &json!({ "stack": "app", "level": 9 })), 400),
        (ada.post("/v1/admin/runs", &json!({ "kind": "format-disk" })), 422),
        (ada.post("/v1/admin/runs", &json!({ "kind": "check", "subset": 0 })), 400),
        (ada.send("POST", "/v1/admin/runs", &[("Content-Type", "application/json")], b"{"), 400),
        (ada.send("POST", "/v1/admin/runs", &[], b"{}"), 415),
        (ada.send("POST", "/v1/admin/runs", &[("Content-Type", "application/json")], &[b' '; 100_000]), 413),
    ];
    for (answer, status) in wrong {
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", answer.text());
        let problem = answer.json();
        assert!(
            problem["status"] == status && problem["code"].is_string() && problem["detail"].is_string(),
            "{problem}"
        );
    }
    assert_eq!(ada.get("/v1/admin/runs").json(), json!({ "items": [] }), "nothing was started");
}
