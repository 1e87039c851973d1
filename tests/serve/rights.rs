//! Every route without rights, with too few, and with enough.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::guest::{Guest, Server};
use super::{of_files, simple};

/// Every route, with what is sent there, and the least role that gets further than a refusal.
fn routes() -> Vec<(&'static str, &'static str, Value, &'static str)> {
    let none = Value::Null;
    vec![
        ("get", "/.live", none.clone(), "nobody"),
        ("get", "/.ready", none.clone(), "nobody"),
        ("get", "/metrics", none.clone(), "viewer"),
        ("get", "/v1/admin/notifications", none.clone(), "viewer"),
        ("post", "/v1/admin/notifications/{name}/test", none.clone(), "admin"),
        ("post", "/v1/admin/snapshots/create", json!({}), "operator"),
        ("post", "/v1/admin/snapshots/restore", json!({ "uri": "0", "in_place": true }), "admin"),
        ("get", "/v1/admin/snapshots", none.clone(), "viewer"),
        ("get", "/v1/admin/snapshots/{id}", none.clone(), "viewer"),
        ("get", "/v1/admin/snapshots/{id}/files", none.clone(), "operator"),
        ("get", "/v1/admin/snapshots/{id}/content", none.clone(), "operator"),
        ("get", "/v1/admin/runs", none.clone(), "viewer"),
        ("post", "/v1/admin/runs", json!({ "kind": "prune" }), "admin"),
        ("get", "/v1/admin/runs/{id}", none.clone(), "viewer"),
        ("post", "/v1/admin/runs/{id}/cancel", none.clone(), "operator"),
        ("get", "/v1/admin/runs/{id}/events", none.clone(), "viewer"),
        ("get", "/v1/admin/events", none.clone(), "viewer"),
        ("get", "/v1/admin/drills", none.clone(), "viewer"),
        ("post", "/v1/admin/drills", json!({ "stack": "app" }), "operator"),
        ("get", "/v1/admin/drills/{id}", none.clone(), "viewer"),
        ("get", "/v1/admin/drills/{id}/receipt", none.clone(), "viewer"),
        ("get", "/v1/admin/stacks", none.clone(), "viewer"),
        ("get", "/v1/admin/status", none.clone(), "viewer"),
        ("get", "/v1/admin/copies", none.clone(), "viewer"),
        ("get", "/v1/admin/coverage", none.clone(), "viewer"),
        ("get", "/v1/admin/jobs", none.clone(), "viewer"),
        ("get", "/v1/admin/config", none.clone(), "operator"),
        ("get", "/v1/admin/users", none.clone(), "admin"),
        ("post", "/v1/admin/users", json!({ "name": "x y", "role": "viewer", "password": "" }), "admin"),
        ("patch", "/v1/admin/users/{name}", json!({ "role": "viewer" }), "admin"),
        ("delete", "/v1/admin/users/{name}", none.clone(), "admin"),
        ("get", "/v1/admin/tokens", none.clone(), "admin"),
        ("post", "/v1/admin/tokens", json!({ "name": "", "role": "viewer" }), "admin"),
        ("delete", "/v1/admin/tokens/{id}", none.clone(), "admin"),
        ("get", "/v1/admin/me", none.clone(), "viewer"),
        ("get", "/v1/admin/audit", none.clone(), "admin"),
        ("get", "/v1/admin/audit/check", none, "admin"),
    ]
}

const ROLES: [&str; 4] = ["nobody", "viewer", "operator", "admin"];

#[test]
fn every_route_is_for_those_it_is_for() {
    let site = simple();
    let server = Server::start(&site);
    let ada = server.first_user();
    let document = server.stranger().get("/openapi.json").json();
    assert_eq!(document["openapi"], "3.1.0");
    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(|method| (method.clone(), path.clone())))
        .collect();
    let tested = routes().into_iter().map(|(method, path, ..)| (method.to_owned(), path.to_owned())).collect();
    assert_eq!(described, tested, "every route of the document is in the table");

    let run = ada.start("/v1/admin/drills", &json!({ "stack": "app" }));
    ada.end_of(&run);
    let guests: Vec<_> = ROLES
        .iter()
        .map(|role| if *role == "nobody" { server.stranger() } else { server.token(&ada, role, None).0 })
        .collect();
    for (method, path, body, least) in routes() {
        // A stream goes on, so that it is looked at where it is refused.
        if path.ends_with("/events") {
            assert_eq!(server.stranger().get(&path.replace("{id}", &run)).status, 401, "{path}");
            continue;
        }
        let least = ROLES.iter().position(|role| *role == least).unwrap();
        for (number, guest) in guests.iter().enumerate() {
            let status = ask(guest, method, &filled(path, &run), &body);
            let context = format!("{} {method} {path}", ROLES[number]);
            match number {
                _ if number >= least => assert!(![401, 403].contains(&status), "{context}: {status}"),
                0 => assert_eq!(status, 401, "{context}"),
                _ => assert_eq!(status, 403, "{context}"),
            }
        }
    }
}

/// A path with the id of a run that is there, and of nothing else.
fn filled(path: &str, run: &str) -> String {
    let id = if path.contains("/runs/") || path.contains("/drills/") { run } else { "0" };
    path.replace("{id}", id).replace("{name}", "nobody")
}

fn ask(guest: &Guest<'_>, method: &str, path: &str, body: &Value) -> u16 {
    let method = method.to_uppercase();
    match body {
        Value::Null => guest.send(&method, path, &[], b"").status,
        body => guest.send_json(&method, path, &[], body).status,
    }
}

#[test]
fn a_token_for_one_stack_sees_nothing_of_the_others() {
    let site = simple();
    let text = std::fs::read_to_string(site.config()).unwrap();
    std::fs::write(site.config(), format!("{text}{}", of_files(&site, "secret-clinic"))).unwrap();
    let server = Server::start(&site);
    let ada = server.first_user();
    for stack in ["app", "secret-clinic"] {
        let run = ada.start("/v1/admin/snapshots/create", &json!({ "stack": stack }));
        assert_eq!(ada.end_of(&run)["status"], "ok");
    }
    let known = || ada.get("/v1/admin/snapshots").json()["items"].as_array().unwrap().len();
    crate::support::wait_until("both are known", || known() == 2);
    let (narrow, _) = server.token(&ada, "admin", Some(&["app"]));
    for path in ["stacks", "snapshots", "runs", "status", "copies", "jobs"] {
        let text = String::from_utf8(narrow.get(&format!("/v1/admin/{path}")).body).unwrap();
        assert!(!text.contains("secret-clinic"), "{path}: {text}");
    }
    let others =
        ada.get("/v1/admin/snapshots?stack=secret-clinic").json()["items"][0]["id"].as_str().unwrap().to_owned();
    let run = ada.get("/v1/admin/runs?stack=secret-clinic").json()["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(narrow.get(&format!("/v1/admin/snapshots/{others}")).status, 404);
    assert_eq!(narrow.get(&format!("/v1/admin/runs/{run}")).status, 404);
    assert_eq!(narrow.post("/v1/admin/drills", &json!({ "stack": "secret-clinic" })).status, 404);
    assert_eq!(narrow.post("/v1/admin/runs", &json!({ "kind": "check" })).status, 403);
    let widened = narrow.post("/v1/admin/tokens", &json!({ "name": "all", "role": "admin" }));
    assert_eq!(widened.status, 403, "it must not make one for all");
}
