//! `lifeboat status` calls nothing safe that is not.

use std::ffi::OsStr;

use crate::support::Site;

/// A site that is safe: backed up and drilled.
fn safe() -> Site {
    let site = Site::initialised();
    std::fs::write(site.data().join("a"), "one").unwrap();
    site.backup();
    site.lifeboat(["drill"]).ok();
    // Its one copy lies where its data does.
    site.lifeboat(["status"]).ok().says(["app: safe, but not from the loss of the disk", "or this host; backed up"]);
    site
}

#[test]
fn a_failed_backup_is_no_longer_safe_until_one_is_taken() {
    let site = safe();
    std::fs::rename(site.data(), site.path("away")).unwrap();
    site.lifeboat(["backup"]).exits(1);
    site.lifeboat(["status"]).exits(1).says(["app: NOT SAFE", "the last backup failed, on", "mend this, then run"]);
    std::fs::rename(site.path("away"), site.data()).unwrap();
    site.lifeboat(["backup"]).ok();
    site.lifeboat(["status"]).ok().says(["app: safe"]);
}

#[test]
fn a_copy_that_lost_packs_or_its_index_is_not_safe() {
    let site = safe();
    for pack in site.stored("data") {
        std::fs::rename(&pack, site.path("pack")).unwrap();
        site.lifeboat(["status"]).exits(1).says(["app: NOT SAFE", "lost packs"]);
        site.lifeboat(["copies"]).exits(1).says(["copy disk lost packs"]);
        std::fs::rename(site.path("pack"), &pack).unwrap();
    }
    for index in site.stored("index") {
        std::fs::remove_file(&index).unwrap();
    }
    site.lifeboat(["status"]).exits(1).says(["app: NOT SAFE", "packs that no index names"]);
    site.lifeboat(["heal"]).ok();
    site.lifeboat(["status"]).ok().says(["app: safe"]);
}

#[test]
fn an_emptied_source_makes_its_backup_partial_and_is_not_safe() {
    let site = safe();
    std::fs::remove_file(site.data().join("a")).unwrap();
    site.lifeboat(["backup"]).exits(3).says(["it is empty, and an earlier snapshot has files of it", "EMPTY"]);
    site.lifeboat(["status"]).exits(1).says(["app: NOT SAFE", "source files is empty"]);
    // It does not become normal by being repeated, and the snapshot with the files stays, whatever the rules say.
    for _ in 0..3 {
        site.lifeboat(["backup"]).exits(3);
    }
    site.lifeboat(["status"]).exits(1).says(["app: NOT SAFE", "source files is empty"]);
    site.lifeboat(["forget", "--keep-last", "1"]).ok().says(["newest snapshot that is not partial"]);
    std::fs::write(site.data().join("a"), "it is mounted again").unwrap();
    site.lifeboat(["backup"]).ok();
}

#[test]
fn a_copy_that_cannot_be_opened_is_not_said_to_be_empty() {
    let site = safe();
    std::fs::rename(site.repo(), site.path("away")).unwrap();
    let status = site.lifeboat(["status"]).exits(1).says(["app: NOT SAFE; no copy can be looked into"]);
    assert!(!status.text().contains("never backed up") && !status.text().contains("no backup yet"), "{status}");
}

#[test]
fn the_password_file_is_not_in_the_backup_of_its_own_folder() {
    let site = Site::initialised();
    site.configure(&format!("files: {{ files: {{ paths: [{:?}] }} }}", site.path(".")));
    site.lifeboat(["backup"]).ok();
    let listed = site.lifeboat(["ls", "-R"]).ok().text();
    assert!(listed.contains("lifeboat.yaml") && !listed.contains("password"), "{listed}");
}

#[test]
fn a_restore_that_would_be_refused_is_refused_in_a_look_too() {
    let site = safe();
    let target = site.data();
    let arguments = [OsStr::new("restore"), OsStr::new("latest"), OsStr::new("--to"), target.as_os_str()];
    site.lifeboat(arguments.into_iter().chain([OsStr::new("--dry-run")])).exits(1).says(["the folder is not empty"]);
}
