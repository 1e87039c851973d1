//! What is said of several copies is true, whatever is away, damaged or lost: nothing is "in step" that nobody could
//! compare, and no copy is made anew that is only not mounted.

use serde_json::json;

use crate::support::Site;

/// A site with two copies, `disk` and `nas`, and one snapshot in each.
fn two_copies() -> Site {
    let site = Site::new();
    std::fs::write(site.data().join("a"), "one").unwrap();
    configure(&site, "");
    site.lifeboat(["init"]).ok().says(["created a repository in", "created copy nas"]);
    site.backup();
    site
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

fn away(site: &Site, name: &str) {
    std::fs::rename(site.path(name), site.path(format!("{name}-away"))).unwrap();
}

fn back(site: &Site, name: &str) {
    std::fs::rename(site.path(format!("{name}-away")), site.path(name)).unwrap();
}

/// Takes a snapshot that only `disk` gets.
fn backup_without_nas(site: &Site) -> String {
    away(site, "nas");
    let done = site.lifeboat(["backup", "--json"]).exits(3).summary();
    back(site, "nas");
    done["snapshot_id"].as_str().unwrap().to_owned()
}

fn snapshot_file(site: &Site, copy: &str, id: &str) -> std::path::PathBuf {
    site.path(copy).join("snapshots").join(id)
}

#[test]
fn init_never_makes_the_first_copy_anew_where_its_disk_is_only_not_mounted() {
    let site = two_copies();
    away(&site, "repo");
    // As an empty mount point looks.
    std::fs::create_dir(site.repo()).unwrap();
    site.lifeboat(["init"]).exits(3).says(["passed over copy disk", "held it on", "--anew disk"]);
    assert!(!site.repo().join("config").exists());
    // Nor where no copy is in reach.
    away(&site, "nas");
    site.lifeboat(["init"]).exits(10).says(["held it on"]);
    assert!(!site.repo().join("config").exists() && !site.path("nas").exists());
    back(&site, "nas");
    // Gone for good: it is made out of the other copy, and filled.
    site.lifeboat(["init", "--anew", "dsk"]).exits(1).says(["disk, nas"]);
    site.lifeboat(["init", "--anew", "disk"]).ok().says(["there is a repository in", "created copy disk"]);
    site.lifeboat(["sync"]).ok().says(["copy disk got 1 snapshot"]);
    site.lifeboat(["check", "--read-data"]).ok();
    let config = |copy: &str| std::fs::read(site.path(copy).join("config")).unwrap();
    assert_eq!(config("repo"), config("nas"));
}

#[test]
fn a_new_copy_is_made_while_the_first_one_is_away() {
    let site = Site::initialised();
    site.backup();
    configure(&site, "");
    site.lifeboat(["init"]).ok().says(["created copy nas"]);
    site.lifeboat(["sync"]).ok();
    away(&site, "repo");
    let text = std::fs::read_to_string(site.config()).unwrap();
    std::fs::write(site.config(), text.replace("stacks:", "  third: { url: third }\nstacks:")).unwrap();
    site.lifeboat(["init"]).exits(3).says(["created copy third", "passed over copy disk"]);
    site.lifeboat(["sync", "--copy", "third"]).exits(3).says(["copy third got 1 snapshot", "copy disk FAILED"]);
}

#[test]
fn no_copy_is_called_in_step_while_another_cannot_be_asked() {
    let site = two_copies();
    backup_without_nas(&site);
    away(&site, "repo");
    let done = site.lifeboat(["sync", "--copy", "nas", "--json"]).exits(3).summary();
    assert_eq!((&done["status"], &done["copies"]["disk"]["status"]), (&json!("partial"), &json!("failed")));
    let ran = site.lifeboat(["sync", "--copy", "nas"]);
    let ran = ran.exits(3).says(["copy disk FAILED", "copy nas has all that the copies in reach have"]);
    assert!(!ran.text().contains("in step"), "{ran}");
    site.lifeboat(["sync", "--copy", "nas", "--dry-run"]).exits(3).says(["copy disk FAILED"]);
    back(&site, "repo");
    // It opens, but does not say what it has.
    let snapshots = site.repo().join("snapshots");
    std::fs::rename(&snapshots, site.path("aside")).unwrap();
    std::fs::write(&snapshots, "no folder").unwrap();
    site.lifeboat(["sync", "--copy", "nas"]).exits(3).says(["copy disk FAILED"]);
    std::fs::remove_file(&snapshots).unwrap();
    std::fs::rename(site.path("aside"), &snapshots).unwrap();
    site.lifeboat(["sync", "--copy", "nas"]).ok().says(["copy nas got 1 snapshot"]);
}

#[test]
fn a_snapshot_that_cannot_be_read_makes_a_sync_partial() {
    let site = two_copies();
    let newest = backup_without_nas(&site);
    std::fs::write(snapshot_file(&site, "repo", &newest), "damaged").unwrap();
    for command in [&["sync"][..], &["sync", "--dry-run"], &["sync", "--copy", "nas"]] {
        let ran = site.lifeboat(command).exits(3).says(["damaged: snapshots/", "lifeboat heal"]);
        assert!(!ran.text().contains("is in step"), "{ran}");
    }
    let done = site.lifeboat(["sync", "--json"]).exits(3).summary();
    let file = done["copies"]["disk"]["damage"][0]["file"].as_str().unwrap();
    assert_eq!(file, format!("snapshots/{newest}"));
}

#[test]
fn a_copy_that_lost_snapshots_is_not_safe_to_rely_on() {
    let site = two_copies();
    let lost = site.backup();
    site.backup();
    site.lifeboat(["drill", "--all-copies"]).ok();
    site.lifeboat(["status"]).ok();
    std::fs::remove_file(snapshot_file(&site, "nas", &lost)).unwrap();
    site.lifeboat(["status"]).exits(3).says(["copy nas lacks snapshots", &lost[..8]]);
    site.lifeboat(["copies"]).exits(3).says(["lacks 1 snapshot"]);
    let ran = site.lifeboat(["copies", "--json"]).exits(3);
    assert_eq!(ran.of_type("copy")[1]["stacks"]["app"]["lacks"], json!([lost]));
    site.lifeboat(["sync"]).ok();
    site.lifeboat(["status"]).ok();
}

#[test]
fn a_removable_copy_that_could_not_be_filled_does_not_turn_green_when_it_is_unplugged() {
    let site = two_copies();
    configure(&site, ", removable: true");
    site.lifeboat(["drill", "--all-copies"]).ok();
    // What cannot be written there: a file is where a folder must be.
    let data = site.path("nas/data");
    std::fs::rename(&data, site.path("nas/aside")).unwrap();
    std::fs::write(&data, "no folder").unwrap();
    std::fs::write(site.data().join("new"), "new").unwrap();
    site.lifeboat(["backup"]).exits(3);
    std::fs::remove_file(&data).unwrap();
    std::fs::rename(site.path("nas/aside"), &data).unwrap();
    away(&site, "nas");
    site.lifeboat(["status"]).exits(3).says(["removable copy nas is not here", "could not be filled on"]);
    back(&site, "nas");
    site.lifeboat(["sync"]).ok();
    away(&site, "nas");
    site.lifeboat(["drill"]).ok();
    site.lifeboat(["status"]).ok().says(["removable copy nas is not here"]);
    // It was plugged in and looked at since; that brought nothing to it.
    for entry in std::fs::read_dir(site.path("state/last-step")).unwrap() {
        let path = entry.unwrap().path();
        let mut memory: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        memory["in_step"] = json!("2020-01-01T00:00:00Z");
        std::fs::write(path, memory.to_string()).unwrap();
    }
    site.lifeboat(["status"]).exits(3).says(["last seen 0 days ago", "OVERDUE"]);
}

#[test]
fn copies_show_the_score_and_what_each_loss_would_take() {
    let site = two_copies();
    site.lifeboat(["copies"]).exits(3).says(["3-2-1-1-0: copies", "without this host: "]);
    let summary = site.lifeboat(["copies", "--json"]).exits(3).summary();
    let status = site.lifeboat(["status", "--json"]).exits(3).summary();
    for part in ["score", "rules", "losses"] {
        assert_eq!(summary["stacks"]["app"][part], status["stacks"]["app"][part]);
    }
    // A copy that no stack uses and that is gone.
    let text = std::fs::read_to_string(site.config()).unwrap();
    let text = text.replace("stacks:\n  app:", "  old: { url: old }\nstacks:\n  app:\n    copies: [disk, nas]");
    std::fs::write(site.config(), text).unwrap();
    site.lifeboat(["copies"]).exits(3).says(["no stack goes to copy old, and it cannot be opened"]);
    assert!(!site.path("old").exists());
}

#[test]
fn a_removable_copy_may_be_absent_whatever_is_asked_unless_it_is_named() {
    let site = two_copies();
    configure(&site, ", removable: true");
    away(&site, "nas");
    for command in [
        &["check"][..],
        &["heal"],
        &["forget"],
        &["prune"],
        &["drill", "--all-copies"],
        &["key", "list"],
        &["copies", "test"],
        &["snapshots"],
    ] {
        site.lifeboat(command).ok().says(["copy nas is not here, which a removable copy may be"]);
    }
    site.lifeboat(["config", "check"]).ok().says(["copy nas: not here"]);
    for command in ["check", "heal", "forget", "prune", "drill"] {
        site.lifeboat([command, "--copy", "nas"]).exits(10);
    }
    // What is there and lost its keys is damaged, and not somewhere else.
    back(&site, "nas");
    std::fs::remove_dir_all(site.path("nas/keys")).unwrap();
    assert_ne!(site.lifeboat(["check"]).status.code(), Some(0));
    // Where none is here, nothing was looked at.
    let text = std::fs::read_to_string(site.config()).unwrap();
    std::fs::write(site.config(), text.replace("{ url: repo }", "{ url: none, removable: true }")).unwrap();
    away(&site, "nas");
    site.lifeboat(["check"]).exits(10);
}

#[test]
fn a_copy_that_was_away_when_a_snapshot_was_forgotten_is_named() {
    let site = two_copies();
    let named = site.backup();
    site.backup();
    away(&site, "nas");
    let ran = site.lifeboat(["forget", &named]).exits(3);
    ran.says(["removed 1 snapshot", "copy nas may still have it", &format!("lifeboat forget {named} --copy nas")]);
    back(&site, "nas");
    site.lifeboat(["forget", &named]).ok();
    site.lifeboat(["sync"]).ok().says(["copy disk is in step"]);
}

#[test]
fn two_names_for_one_folder_are_told_and_no_second_copy() {
    let site = two_copies();
    std::fs::remove_dir_all(site.path("nas")).unwrap();
    std::os::unix::fs::symlink(site.repo(), site.path("nas")).unwrap();
    site.lifeboat(["config", "check"]).exits(1).says(["copy nas: FAILED: it lies in the same folder as copy disk"]);
}

#[test]
fn a_heal_names_the_copy_that_is_away_and_may_help() {
    let site = two_copies();
    for entry in std::fs::read_dir(site.repo().join("data")).unwrap() {
        let folder = entry.unwrap().path();
        std::fs::read_dir(&folder).unwrap().for_each(|pack| std::fs::remove_file(pack.unwrap().path()).unwrap());
    }
    away(&site, "nas");
    let ran = site.lifeboat(["heal", "--copy", "disk"]).exits(3);
    let ran = ran.says(["bring copy nas back"]);
    assert!(!ran.text().contains("name one below"), "{ran}");
}
