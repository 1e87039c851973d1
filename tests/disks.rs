//! Disks that are full or cannot be written, and repositories of the future: a clear error, and nothing lost.

use std::path::Path;

use repository::format::key_file::KeyFile;

use crate::mounts::Mounts;
use crate::support::{Dice, PASSWORD, Ran, Site, can, write_secret};
use crate::tree;

/// What the error that ended a run said, hint and all.
fn fails(ran: Ran, exit: i32, code: &str) -> String {
    let ran = ran.exits(exit);
    let error = ran.error();
    assert_eq!(error["code"], code, "{ran}");
    format!("{} {}", error["message"].as_str().unwrap(), error["hint"].as_str().unwrap_or_default())
}

fn restore_whole(mounts: &Mounts, site: &Site, snapshot: &str, expected: &tree::Tree) {
    let target = site.path("whole");
    let _ = std::fs::remove_dir_all(&target);
    mounts.lifeboat(site, ["restore", snapshot, "--to", "whole"]).ok();
    tree::assert_same(expected, &tree::read(&site.restored_data(&target)), snapshot);
}

#[test]
fn a_wrong_password_says_so_and_exits_with_12() {
    let site = Site::initialised();
    site.backup();
    write_secret(&site.path("password"), "not the password");
    for command in [
        &["backup", "--json"][..],
        &["snapshots", "--json"],
        &["check", "--json"],
        &["restore", "latest", "--to", "x", "--json"],
    ] {
        fails(site.lifeboat(command), 12, "wrong-password");
    }
    assert!(!site.path("x").exists());
    write_secret(&site.path("password"), PASSWORD);
    site.lifeboat(["check", "--read-data"]).ok();
}

#[test]
fn holes_and_further_names_of_a_file_need_no_room() {
    if !can(Mounts::possible()) {
        return;
    }
    let (site, mounts) = (Site::initialised(), Mounts::new());
    std::fs::File::create(site.data().join("sparse")).unwrap().set_len(300 << 20).unwrap();
    std::fs::write(site.data().join("one"), Dice::new(9).bytes(6 << 20)).unwrap();
    for name in ["two", "three", "four"] {
        std::fs::hard_link(site.data().join("one"), site.data().join(name)).unwrap();
    }
    site.backup();
    mounts.tmpfs(&site.path("state"), "size=90m");
    mounts.lifeboat(&site, ["drill"]).ok().says(["drill passed"]);
    mounts.tmpfs(&site.path("small"), "size=16m");
    mounts.lifeboat(&site, ["restore", "latest", "--to", "small"]).ok();
}

#[test]
fn a_backup_to_a_full_disk_fails_clearly_and_loses_nothing() {
    if !can(Mounts::possible()) {
        return;
    }
    let (site, mounts) = (Site::new(), Mounts::new());
    mounts.tmpfs(&site.repo(), "size=4m");
    mounts.lifeboat(&site, ["init"]).ok();
    let mut dice = Dice::new(3);
    std::fs::write(site.data().join("small"), dice.bytes(500_000)).unwrap();
    let first = mounts.lifeboat(&site, ["backup", "--json"]).ok().summary();
    let before = tree::read(&site.data());
    std::fs::write(site.data().join("big"), dice.bytes(9_000_000)).unwrap();
    for _ in 0..2 {
        let message = fails(mounts.lifeboat(&site, ["backup", "--json"]), 1, "storage-full");
        assert!(message.contains(site.repo().to_str().unwrap()), "which disk? {message}");
        assert!(message.contains("free some space"), "{message}");
    }
    // Reading works while it is full.
    mounts.lifeboat(&site, ["check", "--read-data"]).ok();
    restore_whole(&mounts, &site, first["snapshot_id"].as_str().unwrap(), &before);
    mounts.run("mount", ["-o", "remount,size=40m", site.repo().to_str().unwrap()]);
    mounts.lifeboat(&site, ["backup"]).ok();
    mounts.lifeboat(&site, ["check", "--read-data"]).ok();
    restore_whole(&mounts, &site, "latest", &tree::read(&site.data()));
    restore_whole(&mounts, &site, first["snapshot_id"].as_str().unwrap(), &before);
    mounts.lifeboat(&site, ["drill"]).ok();
}

#[test]
fn a_restore_to_a_full_disk_fails_clearly_before_or_while_it_writes() {
    if !can(Mounts::possible()) {
        return;
    }
    let (site, mounts) = (Site::initialised(), Mounts::new());
    let mut dice = Dice::new(4);
    for n in 0..40 {
        std::fs::write(site.data().join(format!("file{n}")), dice.bytes(100_000)).unwrap();
    }
    site.backup();
    // Too few bytes, which shows before anything is written; too few inodes, which shows only on the way.
    for (name, options) in [("few-bytes", "size=1m"), ("few-inodes", "size=40m,nr_inodes=20")] {
        let target = site.path(name);
        mounts.tmpfs(&target, options);
        let said = fails(mounts.lifeboat(&site, ["restore", "latest", "--json", "--to", name]), 1, "storage-full");
        assert!(said.contains(name), "{said}");
    }
    restore_whole(&mounts, &site, "latest", &tree::read(&site.data()));
}

#[test]
fn a_full_scratch_folder_makes_a_drill_unknown_and_fails_a_database_backup_clearly() {
    if !can(Mounts::possible()) {
        return;
    }
    let (site, mounts) = (Site::new(), Mounts::new());
    let database = site.data().join("app.db");
    let connection = rusqlite::Connection::open(&database).unwrap();
    connection.execute_batch("CREATE TABLE t (b); WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 400) INSERT INTO t SELECT randomblob(10000) FROM n;").unwrap();
    drop(connection);
    site.configure(&format!("db: {{ sqlite: {{ paths: [{:?}] }} }}", site.data()));
    site.lifeboat(["init"]).ok();
    let id = site.backup();
    mounts.tmpfs(&site.path("state"), "size=2m");
    let drill = mounts.lifeboat(&site, ["drill", "--json"]).exits(3).summary();
    assert_eq!(drill["status"], "unknown");
    assert!(drill["remarks"].to_string().contains("state_dir"), "{drill}");
    let said = fails(mounts.lifeboat(&site, ["backup", "--json"]), 1, "source");
    assert!(said.contains("free some space"), "{said}");
    assert!(mounts.run("ls", [site.path("state/scratch")]).stdout.is_empty(), "nothing is left there");
    // Nothing was lost, nothing half-written stays visible.
    let snapshots = site.lifeboat(["snapshots", "--json"]).ok();
    assert_eq!(snapshots.summary()["snapshots"], 1);
    assert_eq!(snapshots.lines()[0]["id"], id.as_str());
    site.lifeboat(["check", "--read-data"]).ok();
    site.lifeboat(["backup"]).ok();
    site.lifeboat(["drill"]).ok();
}

#[test]
fn a_repository_that_cannot_be_written_can_be_read_restored_and_drilled() {
    if !can(Mounts::possible()) {
        return;
    }
    let (site, mounts) = (Site::initialised(), Mounts::new());
    std::fs::write(site.data().join("a"), "content").unwrap();
    let id = site.backup();
    let repo = site.repo();
    let repo_text = repo.to_str().unwrap();
    mounts.run("mount", ["--bind", repo_text, repo_text]);
    mounts.run("mount", ["-o", "remount,ro,bind", repo_text]);
    mounts.lifeboat(&site, ["snapshots"]).ok().says([&id[..8]]);
    mounts.lifeboat(&site, ["ls", "-R", "latest"]).ok().says(["data/a"]);
    mounts.lifeboat(&site, ["cat", &format!("latest:files{}/a", site.data().display())]).ok().says(["content"]);
    mounts.lifeboat(&site, ["find", "a"]).ok();
    mounts.lifeboat(&site, ["status", "--json"]);
    mounts.lifeboat(&site, ["check", "--read-data"]).ok();
    restore_whole(&mounts, &site, "latest", &tree::read(&site.data()));
    let drill = mounts.lifeboat(&site, ["drill", "--json"]).ok().summary();
    assert_eq!((&drill["status"], &drill["receipt"]), (&"passed".into(), &serde_json::Value::Null));
    assert!(drill["remarks"].to_string().contains("could not be noted"), "{drill}");
    for command in
        [&["backup", "--json"][..], &["forget", "--force", "--json", &id], &["prune", "--json"], &["heal", "--json"]]
    {
        fails(mounts.lifeboat(&site, command), 1, "denied");
    }
    // The same folder, where it can be written.
    site.lifeboat(["backup"]).ok();
    site.lifeboat(["drill"]).ok();
}

#[test]
fn a_repository_of_a_newer_version_is_left_alone() {
    let site = Site::initialised();
    std::fs::write(site.data().join("a"), "content").unwrap();
    site.backup();
    let ours = std::fs::read(site.repo().join("config")).unwrap();
    write_version(&site.repo(), 3);
    let before = tree::read(&site.repo());
    for command in [
        &["backup", "--json"][..],
        &["init", "--json"],
        &["snapshots", "--json"],
        &["check", "--json"],
        &["prune", "--json"],
        &["heal", "--json"],
        &["restore", "latest", "--to", "x", "--json"],
        &["drill", "--json"],
    ] {
        let message = fails(site.lifeboat(command), 1, "unsupported");
        assert!(message.contains("version 3"), "{message}");
    }
    tree::assert_same(&before, &tree::read(&site.repo()), "the repository of a newer program");
    std::fs::write(site.repo().join("config"), ours).unwrap();
    site.lifeboat(["drill"]).ok();
}

/// Makes the config of a repository say another version.
fn write_version(repo: &Path, version: u32) {
    let key = std::fs::read_dir(repo.join("keys")).unwrap().next().unwrap().unwrap().path();
    let key = KeyFile::parse(&std::fs::read(key).unwrap()).unwrap().unwrap(PASSWORD).unwrap();
    let file = repo.join("config");
    let mut stored = std::fs::read(&file).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(key.decrypt_in_place(&mut stored).unwrap()).unwrap();
    config["version"] = version.into();
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, key.encrypt(config.to_string().as_bytes()).unwrap()).unwrap();
}
