//! Several copies of one repository: each is looked into, checked, forgotten from and opened by itself, and what is asked
//! for comes from the first in reach that has it.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Ran, Site, run, write_secret};

/// A site with a snapshot in two copies, `disk` and `nas`, of which `nas` is still as `disk` was then.
fn two_copies() -> (Site, String) {
    let site = Site::new();
    configure(&site, "");
    site.lifeboat(["init"]).ok();
    std::fs::write(site.data().join("a"), "one").unwrap();
    let first = backup(&site);
    copy_repository(&site);
    (site, first)
}

/// Names both copies, the second with more settings.
fn configure(site: &Site, more: &str) {
    let text = format!(
        "version: 1\nstate_dir: state\npassword_file: password\ncopies:\n  disk: {{ url: repo }}\n  nas: {{ url: nas{more} }}\n\
         stacks:\n  app:\n    sources:\n      files: {{ files: {{ paths: [{:?}] }} }}\n",
        site.data()
    );
    std::fs::write(site.config(), text).unwrap();
}

/// What a synchronisation does: the same files in the other place.
fn copy_repository(site: &Site) {
    run(Command::new("cp").arg("-rT").arg(site.repo()).arg(site.path("nas"))).ok();
}

/// Backs up to the first copy in reach; the other one lags behind then, which makes the run partial.
fn backup(site: &Site) -> String {
    site.lifeboat(["backup", "--json"]).exits(3).summary()["snapshot_id"].as_str().unwrap().to_owned()
}

fn away(site: &Site, name: &str) {
    std::fs::rename(site.path(name), site.path(format!("{name}-away"))).unwrap();
}

fn back(site: &Site, name: &str) {
    std::fs::rename(site.path(format!("{name}-away")), site.path(name)).unwrap();
}

fn lines_of(ran: &Ran, message_type: &str) -> Vec<Value> {
    ran.lines().into_iter().filter(|line| line["message_type"] == message_type).collect()
}

fn restored(site: &Site, snapshot: &str, name: &str, more: &[&str]) -> String {
    let target = site.path(name);
    let target = target.to_str().unwrap();
    site.lifeboat([&["restore", snapshot, "--to", target], more].concat()).ok();
    std::fs::read_to_string(site.restored_data(Path::new(target)).join("a")).unwrap()
}

#[test]
fn a_backup_goes_to_the_first_copy_in_reach_and_says_that_the_others_lag() {
    let (site, _) = two_copies();
    std::fs::write(site.data().join("a"), "two").unwrap();
    let done = site.lifeboat(["backup", "--json"]).exits(3).summary();
    assert_eq!(done["status"], "partial");
    assert_eq!((&done["copies"]["disk"]["status"], &done["copies"]["nas"]["status"]), (&json!("ok"), &json!("behind")));
    site.lifeboat(["backup"]).exits(3).says(["copy nas does not have it: it lags behind copy disk"]);

    away(&site, "repo");
    let ran = site.lifeboat(["backup", "--json"]).exits(3);
    assert_eq!(lines_of(&ran, "passed_over")[0]["copy"], "disk");
    assert_eq!(ran.summary()["copies"]["nas"]["status"], "ok");
    site.lifeboat(["backup"]).exits(3).says(["passed over copy disk"]);
    away(&site, "nas");
    site.lifeboat(["backup"]).exits(10).says(["copy disk", "copy nas"]);
}

#[test]
fn latest_is_the_newest_of_all_copies_and_an_id_is_found_in_whichever_has_it() {
    let (site, first) = two_copies();
    away(&site, "repo");
    std::fs::write(site.data().join("a"), "two").unwrap();
    let second = backup(&site);
    back(&site, "repo");
    // `disk` comes first, but lags behind.
    assert_eq!(restored(&site, "latest", "t1", &[]), "two");
    assert_eq!(restored(&site, "latest", "t2", &["--copy", "disk"]), "one");
    assert_eq!(restored(&site, &second, "t3", &[]), "two");
    site.lifeboat(["restore", &second, "--to", "t4", "--copy", "disk"]).exits(1).says(["no snapshot"]);
    away(&site, "nas");
    site.lifeboat(["restore", "latest", "--to", "t5"]).ok().says(["passed over copy nas"]);
    back(&site, "nas");
    away(&site, "repo");
    assert_eq!(restored(&site, &first, "t6", &[]), "one");
    site.lifeboat(["ls", "latest"]).ok().says(["passed over copy disk", "lifeboat.json"]);
    site.lifeboat(["restore", "ffffffff", "--to", "t7"]).exits(10).says(["copy disk"]);
}

#[test]
fn every_snapshot_is_listed_once_with_the_copies_that_have_it() {
    let (site, first) = two_copies();
    let second = backup(&site);
    site.lifeboat(["drill", "--copy", "nas"]).ok();
    let ran = site.lifeboat(["snapshots", "--json"]).ok();
    let listed = lines_of(&ran, "snapshot");
    assert_eq!(listed.len(), 2, "{ran}");
    assert_eq!((&listed[0]["id"], &listed[0]["copies"]), (&json!(first), &json!(["disk", "nas"])));
    assert_eq!((&listed[1]["id"], &listed[1]["copies"]), (&json!(second), &json!(["disk"])));
    assert_eq!(listed[0]["drilled"]["nas"]["level"], 3, "{ran}");
    site.lifeboat(["snapshots"]).ok().says(["[disk, nas]", "[disk]", "2 snapshots"]);
    away(&site, "nas");
    assert_eq!(site.lifeboat(["snapshots", "--json"]).exits(3).summary()["status"], "partial");
}

#[test]
fn copies_are_listed_with_what_they_hold_and_how_far_they_lag() {
    let (site, _) = two_copies();
    configure(&site, ", media: object, offsite: true, immutable: true");
    let in_step = site.lifeboat(["copies", "--json"]).ok();
    assert_eq!(in_step.summary()["status"], "ok");
    let nas = &lines_of(&in_step, "copy")[1];
    assert_eq!(
        (&nas["name"], &nas["media"], &nas["offsite"], &nas["reachable"]),
        (&json!("nas"), &json!("object"), &json!(true), &json!(true))
    );
    assert_eq!((&nas["stacks"]["app"]["snapshots"], &nas["stacks"]["app"]["lag"]["snapshots"]), (&json!(1), &json!(0)));
    assert!(nas["location"].as_str().unwrap().ends_with("/nas"), "{nas}");

    backup(&site);
    let behind = site.lifeboat(["copies", "--json"]).exits(1);
    assert_eq!(behind.summary()["bad"], json!(["nas"]));
    assert_eq!(lines_of(&behind, "copy")[1]["stacks"]["app"]["lag"]["snapshots"], 1);
    site.lifeboat(["copies"]).exits(1).says(["off-site, immutable", "lags behind by 1 snapshot", "never drilled"]);

    copy_repository(&site);
    away(&site, "nas");
    site.lifeboat(["copies"]).exits(1).says(["WRONG", "repository"]);
    configure(&site, ", removable: true");
    site.lifeboat(["copies"]).ok().says(["not here, which a removable copy may be"]);
    back(&site, "nas");
    // Another repository at the place of a copy.
    std::fs::remove_dir_all(site.path("nas")).unwrap();
    let other = Site::initialised();
    run(Command::new("cp").arg("-rT").arg(other.repo()).arg(site.path("nas"))).ok();
    site.lifeboat(["copies"]).exits(1).says(["a repository of its own"]);
}

#[test]
fn status_scores_the_copies_and_says_what_each_loss_would_take() {
    let (site, _) = two_copies();
    configure(&site, ", provider: acme, media: object, offsite: true, immutable: true");
    site.lifeboat(["drill", "--all-copies"]).ok();
    let health = site.lifeboat(["status", "--json"]).ok().summary();
    // `disk` lies on the disk of the data, and so does not count as a copy of its own.
    let app = &health["stacks"]["app"];
    assert_eq!(app["score"], json!({ "copies": 2, "media": 2, "offsite": 1, "immutable": 1, "verified": 2 }));
    let rules: Vec<bool> =
        app["rules"].as_array().unwrap().iter().map(|rule| rule["kept"].as_bool().unwrap()).collect();
    assert_eq!(rules, [false, true, true, true, true]);
    assert_eq!((&app["problems"][0]["severity"], app["problems"].as_array().unwrap().len()), (&json!("notice"), 1));
    site.lifeboat(["status"]).ok().says([
        "app: safe",
        "3-2-1-1-0: copies 2, media 2, off-site 1, immutable 1, verified 2",
        "without this host: the data and copy disk gone; copy nas stays",
        "without the account at acme: copy nas gone",
        "notice: copies: 2 copies",
    ]);

    backup(&site);
    let behind = site.lifeboat(["status", "--json"]).exits(3).summary();
    assert_eq!(behind["stacks"]["app"]["score"]["verified"], 1, "{behind}");
    site.lifeboat(["status"]).exits(3).says(["app: WARNING", "copy nas lags behind"]);
    away(&site, "nas");
    site.lifeboat(["status"]).exits(1).says(["NOT SAFE", "copy nas holds no repository", "copies 1"]);
}

#[test]
fn each_copy_is_checked_and_drilled_by_itself() {
    let (site, _) = two_copies();
    site.lifeboat(["check", "--read-data"]).ok().says(["copy disk:", "copy nas:"]);
    let pack = walk(&site.path("nas/data")).pop().unwrap();
    std::fs::write(&pack, "damaged").unwrap();
    site.lifeboat(["check", "--read-data", "--copy", "disk"]).ok();
    site.lifeboat(["check", "--read-data", "--copy", "nas"]).exits(1).says(["copy nas is DAMAGED"]);
    site.lifeboat(["check", "--read-data"]).exits(1).says(["copy disk:", "copy nas is DAMAGED"]);
    site.lifeboat(["drill", "--all-copies"]).exits(1).says(["came back from copy disk", "from copy nas"]);
    site.lifeboat(["copies"]).exits(1).says(["its last drill failed"]);
}

/// Files below a folder, in order.
fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

#[test]
fn each_copy_forgets_by_its_own_rules_and_a_named_snapshot_leaves_all() {
    let (site, first) = two_copies();
    let second = backup(&site);
    let third = backup(&site);
    copy_repository(&site);
    configure(&site, ", retention: { last: 1 }");
    let kept = |copy: &str| {
        let ran = site.lifeboat(["snapshots", "--copy", copy, "--json"]).ok();
        lines_of(&ran, "snapshot").iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    site.lifeboat(["forget", "--dry-run"]).ok().says(["copy disk:", "copy nas:"]);
    assert_eq!((kept("disk").len(), kept("nas").len()), (3, 3));
    site.lifeboat(["forget", "--prune"]).ok();
    assert_eq!(kept("disk"), [first.clone(), second.clone(), third.clone()], "by the stack's rules");
    assert_eq!(kept("nas"), std::slice::from_ref(&third), "by its own");
    // That it keeps less is no lag.
    site.lifeboat(["copies"]).ok();
    // One copy only, then every copy that has it.
    site.lifeboat(["forget", &second, "--copy", "nas"]).exits(1);
    site.lifeboat(["forget", &second]).ok();
    assert_eq!((kept("disk"), kept("nas")), (vec![first, third.clone()], vec![third]));
    site.lifeboat(["forget", "ffffffff"]).exits(1).says(["ffffffff"]);
    site.lifeboat(["prune", "--grace", "0s"]).ok().says(["copy disk:", "copy nas:"]);
    site.lifeboat(["check", "--read-data"]).ok();
}

#[test]
fn each_copy_has_a_password_of_its_own() {
    let (site, _) = two_copies();
    site.lifeboat(["key", "add", "--new-password-file", "password"]).exits(2).says(["--copy", "disk, nas"]);
    write_secret(&site.path("other"), "OTHERTESTONLYOTHERTESTONLYOTHERTESTONLYOTHERTESTONLY");
    site.lifeboat(["key", "change", "--copy", "nas", "--new-password-file", "other"]).ok();
    site.lifeboat(["ls", "--copy", "nas"]).exits(12);
    // A password that opens nothing there is no reason not to restore from the other.
    site.lifeboat(["ls"]).ok().says(["passed over copy nas"]);
    configure(&site, ", password_file: other");
    site.lifeboat(["ls", "--copy", "nas"]).ok();
    site.lifeboat(["key", "list"]).ok().says(["copy disk:", "copy nas:"]);
    let status = site.lifeboat(["status"]).exits(3);
    status.says(["without the password from the file", "/other: copy nas gone; copy disk stays"]);
    site.lifeboat(["config", "check"]).ok().says(["copy disk: opened", "copy nas: opened"]);
}

#[test]
fn places_that_this_version_does_not_write_to_are_said_and_never_passed_over_in_silence() {
    let (site, _) = two_copies();
    let text = std::fs::read_to_string(site.config()).unwrap();
    let with = |copy: &str| std::fs::write(site.config(), text.replace("nas: { url: nas }", copy)).unwrap();
    with(
        "nas: { url: nas, layout: archive, recipients: [age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq] }",
    );
    site.lifeboat(["config", "check"]).exits(1).says(["copy nas: FAILED: archive copies are not in this version"]);
    site.lifeboat(["backup"]).exits(3).says(["copy nas does not have it"]);
    site.lifeboat(["status"]).exits(1).says(["archive copies are not in this version"]);
    site.lifeboat(["copies"]).exits(1).says(["archive copies are not in this version"]);
    site.lifeboat(["snapshots", "--copy", "nas"]).exits(1).says(["archive copies are not in this version"]);
}

#[test]
fn init_takes_any_number_of_places_and_refuses_what_is_none() {
    let site = Site::new();
    std::fs::remove_file(site.config()).unwrap();
    site.lifeboat(["init", "data", "--yes", "--copy", "ftp://host/x"]).exits(2).says(["s3://bucket/prefix"]);
    site.lifeboat(["init", "data", "--yes", "--copy", "sftp://u:hunter2@host/x"]).exits(2);
    assert!(!site.config().exists());
    let made = site.lifeboat(["init", "data", "--yes", "--copy", "repo", "--copy", "nas", "--json"]).ok().summary();
    assert!(made["repository"].as_str().unwrap().ends_with("/repo"), "{made}");
    site.lifeboat(["config", "show"]).ok().says(["local:", "local-2:"]);
    site.lifeboat(["init", "data", "--yes"]).ok().says(["nothing is in", "filled from the first"]);
    let guide = {
        site.lifeboat(["backup"]).exits(3);
        site.lifeboat(["cat", "latest:RESTORE.md"]).ok().text()
    };
    for copy in ["Copy local:", "Copy local-2:", "export RESTIC_REPOSITORY="] {
        assert!(guide.contains(copy), "{guide}");
    }
}
