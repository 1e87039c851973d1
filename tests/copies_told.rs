//! What is said of several copies is true, whatever is away, damaged or lost: nothing is "in step" that nobody could
//! compare, and no copy is made anew that is only not mounted.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::{Site, can, program, start, wait_until};

/// A site with two copies, `disk` and `nas`, and one snapshot in each.
fn two_copies() -> Site {
    Site::with_two_copies().0
}

fn snapshot_file(site: &Site, copy: &str, id: &str) -> std::path::PathBuf {
    site.path(copy).join("snapshots").join(id)
}

#[test]
fn init_never_makes_the_first_copy_anew_where_its_disk_is_only_not_mounted() {
    let site = two_copies();
    site.away("repo");
    // As an empty mount point looks.
    std::fs::create_dir(site.repo()).unwrap();
    site.lifeboat(["init"]).exits(3).says(["passed over copy disk", "held it on", "--anew disk"]);
    assert!(!site.repo().join("config").exists());
    // Nor where no copy is in reach.
    site.away("nas");
    site.lifeboat(["init"]).exits(10).says(["held it on"]);
    assert!(!site.repo().join("config").exists() && !site.path("nas").exists());
    site.back("nas");
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
    site.configure_two("");
    site.lifeboat(["init"]).ok().says(["created copy nas"]);
    site.lifeboat(["sync"]).ok();
    site.away("repo");
    let text = std::fs::read_to_string(site.config()).unwrap();
    std::fs::write(site.config(), text.replace("stacks:", "  third: { url: third }\nstacks:")).unwrap();
    site.lifeboat(["init"]).exits(3).says(["created copy third", "passed over copy disk"]);
    site.lifeboat(["sync", "--copy", "third"]).exits(3).says(["copy third got 1 snapshot", "copy disk FAILED"]);
}

#[test]
fn no_copy_is_called_in_step_while_another_cannot_be_asked() {
    let site = two_copies();
    site.backup_without("nas");
    site.away("repo");
    let done = site.lifeboat(["sync", "--copy", "nas", "--json"]).exits(3).summary();
    assert_eq!((&done["status"], &done["copies"]["disk"]["status"]), (&json!("partial"), &json!("failed")));
    let ran = site.lifeboat(["sync", "--copy", "nas"]);
    let ran = ran.exits(3).says(["copy disk FAILED", "copy nas has all that the copies in reach have"]);
    assert!(!ran.text().contains("in step"), "{ran}");
    site.lifeboat(["sync", "--copy", "nas", "--dry-run"]).exits(3).says(["copy disk FAILED"]);
    site.back("repo");
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
    let newest = site.backup_without("nas");
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
    site.configure_two(", removable: true");
    site.lifeboat(["drill", "--all-copies"]).ok();
    // What cannot be written there: a file is where a folder must be.
    let data = site.path("nas/data");
    std::fs::rename(&data, site.path("nas/aside")).unwrap();
    std::fs::write(&data, "no folder").unwrap();
    std::fs::write(site.data().join("new"), "new").unwrap();
    site.lifeboat(["backup"]).exits(3);
    std::fs::remove_file(&data).unwrap();
    std::fs::rename(site.path("nas/aside"), &data).unwrap();
    site.away("nas");
    site.lifeboat(["status"]).exits(3).says(["removable copy nas is not here", "could not be filled on"]);
    site.back("nas");
    site.lifeboat(["sync"]).ok();
    site.away("nas");
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
    site.configure_two(", removable: true");
    site.away("nas");
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
    site.back("nas");
    std::fs::remove_dir_all(site.path("nas/keys")).unwrap();
    let ran = site.lifeboat(["check"]).exits(1).says(["copy nas: config is damaged: there is no key file beside it"]);
    assert!(!ran.text().contains("not here"), "{ran}");
    // Where none is here, nothing was looked at.
    let text = std::fs::read_to_string(site.config()).unwrap();
    std::fs::write(site.config(), text.replace("{ url: repo }", "{ url: none, removable: true }")).unwrap();
    site.away("nas");
    site.lifeboat(["check"]).exits(10);
}

#[test]
fn what_was_done_in_the_copies_in_reach_is_partial_and_no_failure() {
    let site = two_copies();
    site.backup();
    site.away("nas");
    for (command, done) in [
        (&["check"][..], "copy disk: 2 snapshots"),
        (&["heal"], "copy disk is whole"),
        (&["forget"], "removed 0 snapshots"),
        (&["prune"], "freed 0 B"),
        (&["key", "list"], "1 key"),
    ] {
        let ran = site.lifeboat(command).exits(3);
        ran.says([done, "passed over copy nas: no repository at"]);
        assert_eq!(site.lifeboat(command.iter().chain(&["--json"])).exits(3).summary()["status"], "partial");
    }
    site.away("repo");
    for command in ["check", "heal", "forget", "prune"] {
        site.lifeboat([command]).exits(10);
    }
}

#[test]
fn a_preview_tells_that_a_doubtful_clock_removes_nothing() {
    let site = Site::initialised();
    (0..3).for_each(|_| drop(site.backup()));
    let preview = ["forget", "--dry-run", "--keep-last", "1"];
    let told = "nothing is removed while the clock cannot be right";
    let quiet = site.lifeboat(preview).ok().says(["would remove 2 snapshots"]);
    assert!(!quiet.text().contains(told), "{quiet}");
    // From a host whose clock ran ahead.
    site.restic(["backup", "--time", "2040-01-01 00:00:00", site.data().to_str().unwrap()]).ok();
    site.lifeboat(preview).ok().says(["would remove 2 snapshots", told]);
    site.lifeboat(["prune", "--dry-run"]).ok().says([told]);
    site.lifeboat(["forget", "--keep-last", "1"]).exits(1).says(["the clock cannot be right"]);
}

#[test]
fn one_server_by_two_names_is_told_by_a_probe() {
    let Some(server) = servers::rgw() else { return };
    let (site, line, bucket) = (Site::new(), servers::Proxy::to(server.port), server.bucket());
    let [near, far] = [server.port, line.port].map(|port| site.s3_copy(server, port, &bucket));
    site.configure_copies(&[&format!("near: {{ {near} }}"), &format!("far: {{ {far} }}")]);
    site.lifeboat(["init"]).exits(3).says(["passed over copy far: there is a repository"]);
    site.lifeboat(["copies", "test"])
        .exits(2)
        .says(["copy far: it lies at the same place as copy near", "so they are one"]);
    // A name of this machine itself is known for one at once.
    let near_again = near.replace("127.0.0.1", "localhost");
    site.configure_copies(&[&format!("near: {{ {near} }}"), &format!("far: {{ {near_again} }}")]);
    site.lifeboat(["status"]).exits(2).says(["copy `near` is at the very same place"]);
}

#[test]
fn a_copy_that_was_away_when_a_snapshot_was_forgotten_is_named() {
    let site = two_copies();
    let named = site.backup();
    site.backup();
    site.away("nas");
    let ran = site.lifeboat(["forget", &named]).exits(3);
    ran.says(["removed 1 snapshot", "copy nas may still have it", &format!("lifeboat forget {named} --copy nas")]);
    site.back("nas");
    site.lifeboat(["forget", &named]).ok();
    site.lifeboat(["sync"]).ok().says(["copy disk is in step"]);
}

#[test]
fn two_names_for_one_folder_are_told_and_no_second_copy() {
    let site = two_copies();
    std::fs::remove_dir_all(site.path("nas")).unwrap();
    std::os::unix::fs::symlink(site.repo(), site.path("nas")).unwrap();
    site.lifeboat(["config", "check"]).exits(1).says(["copy nas: FAILED: it lies at the same place as copy disk"]);
    // Whoever mends it does not wait for their own lock, and nobody is told that there are two.
    site.lifeboat(["heal"]).ok().says(["copy disk is whole", "copy nas is whole"]);
    site.lifeboat(["backup"]).exits(3).says(["copy nas FAILED: it lies at the same place as copy disk"]);
    site.lifeboat(["sync"]).exits(3).says(["copy disk has all that the copies in reach have", "copy nas FAILED"]);
    site.lifeboat(["drill", "--all-copies"]).ok();
    site.lifeboat(["status"]).exits(3).says(["copy nas lies in the same folder as copy disk, so they are one"]);
}

#[test]
fn init_never_begins_anew_while_a_copy_that_was_seen_is_out_of_reach() {
    let site = Site::initialised();
    site.configure_two("");
    site.away("repo");
    // Its place gives an error, as a share does whose server is down; it is not empty.
    std::fs::write(site.repo(), "no folder").unwrap();
    site.lifeboat(["init"]).exits(1).says(["copy disk", "Not a directory"]);
    assert!(!site.path("nas").exists(), "what is made there would be unrelated to it");
    std::fs::remove_file(site.repo()).unwrap();
    site.back("repo");
    site.lifeboat(["init"]).ok().says(["created copy nas"]);
}

#[test]
fn init_calls_another_repository_by_its_name() {
    let (site, stranger) = (two_copies(), Site::initialised());
    std::fs::remove_dir_all(site.path("nas")).unwrap();
    std::fs::rename(stranger.repo(), site.path("nas")).unwrap();
    let ran = site.lifeboat(["init"]).exits(3);
    let ran = ran.says(["copy nas", "it is a repository of its own, not the one that was at", "init --anew nas"]);
    assert!(!ran.text().contains("copy nas: there is a repository"), "{ran}");
}

#[test]
fn a_copy_that_lost_its_config_and_its_keys_is_damaged_and_made_whole_by_name() {
    let site = two_copies();
    site.configure_two(", removable: true");
    std::fs::remove_file(site.path("nas/config")).unwrap();
    std::fs::remove_dir_all(site.path("nas/keys")).unwrap();
    let before = std::fs::read_dir(site.path("nas/data")).unwrap().count();
    site.lifeboat(["status"]).exits(1).says(["copy nas is damaged: config is damaged: it is missing in"]);
    site.lifeboat(["init"]).exits(3).says(["passed over copy nas", "config is damaged"]);
    site.lifeboat(["heal", "--copy", "nas"]).exits(1).says(["`lifeboat init --anew` with the name of this one"]);
    site.lifeboat(["init", "--anew", "nas"]).ok().says(["created copy nas"]);
    assert_eq!(std::fs::read_dir(site.path("nas/data")).unwrap().count(), before);
    site.lifeboat(["heal"]).ok().says(["copy nas is whole; nothing to mend"]);
    site.lifeboat(["sync"]).ok().says(["copy nas is in step"]);
    site.restic_finds_no_errors("nas");
}

#[test]
fn an_init_of_a_copy_that_was_interrupted_can_be_repeated() {
    let site = two_copies();
    // All that it came to was the key file, and nobody has seen a copy there.
    std::fs::rename(site.path("nas/keys"), site.path("keys")).unwrap();
    std::fs::remove_dir_all(site.path("nas")).unwrap();
    std::fs::create_dir(site.path("nas")).unwrap();
    std::fs::rename(site.path("keys"), site.path("nas/keys")).unwrap();
    site.lifeboat(["init"]).exits(3).says(["passed over copy nas", "holds key files", "but no `config`"]);
    std::fs::remove_dir_all(site.path("state/last-seen")).unwrap();
    site.lifeboat(["init"]).ok().says(["created copy nas"]);
    site.lifeboat(["sync"]).ok();
    site.lifeboat(["check", "--read-data"]).ok();
    // Where there is no copy that it could be one of, nobody knows what the key opens.
    std::fs::remove_file(site.path("nas/config")).unwrap();
    for folder in ["snapshots", "index"] {
        std::fs::remove_dir_all(site.path("nas").join(folder)).unwrap();
    }
    site.away("repo");
    std::fs::remove_dir_all(site.path("state/last-seen")).unwrap();
    site.lifeboat(["init"]).exits(1).says(["copy nas", "holds key files", "an `init` was interrupted"]);
    assert!(!site.repo().exists());
}

#[test]
fn damage_in_the_only_copy_in_reach_makes_a_sync_partial() {
    let site = two_copies();
    site.configure_two(", removable: true");
    let newest = site.backup();
    site.away("nas");
    site.lifeboat(["sync"]).ok();
    std::fs::write(snapshot_file(&site, "repo", &newest), "damaged").unwrap();
    let ran = site.lifeboat(["sync"]).exits(3).says(["damaged: snapshots/", "lifeboat heal"]);
    assert!(!ran.text().contains("has all that"), "{ran}");
}

#[test]
fn a_removable_copy_that_no_stack_uses_may_be_away() {
    let site = two_copies();
    site.lifeboat(["drill", "--all-copies"]).ok();
    let text = std::fs::read_to_string(site.config()).unwrap();
    let text = text
        .replace("stacks:\n  app:", "  old: { url: old, removable: true }\nstacks:\n  app:\n    copies: [disk, nas]");
    std::fs::write(site.config(), text).unwrap();
    site.lifeboat(["copies"]).ok().says(["notice: no stack goes to copy old, which is removable and not here"]);
}

#[test]
fn what_a_heal_could_not_mend_is_remembered_until_it_is_whole() {
    let (site, only) = Site::with_two_copies();
    site.lifeboat(["drill", "--all-copies"]).ok();
    let [first, second] = ["repo", "nas"].map(|copy| snapshot_file(&site, copy, &only));
    let good = std::fs::read(&first).unwrap();
    let write = |bytes: &[u8]| [&first, &second].into_iter().for_each(|file| std::fs::write(file, bytes).unwrap());
    for read_data in [None, Some("--read-data")] {
        write(b"damaged");
        site.lifeboat(["heal"].into_iter().chain(read_data)).exits(3).says(["NOT MENDED: snapshots/"]);
        write(&good);
        // Nothing tells of it any more but the memory.
        site.lifeboat(["status"]).exits(1).says(["the check of copy nas on", "found damage: not mended: snapshots/"]);
        if read_data.is_some() {
            // Who looks less closely takes nothing back.
            site.lifeboat(["heal"]).exits(3).says(["copy nas is NOT known to be whole: when all of it was read"]);
            site.lifeboat(["status"]).exits(1);
            site.lifeboat(["check", "--read-data", "--copy", "disk"]).ok();
        }
        site.lifeboat(["heal"].into_iter().chain(read_data)).ok();
        site.lifeboat(["status"]).ok();
    }
}

#[test]
fn a_heal_names_the_copy_that_is_away_and_may_help() {
    let site = two_copies();
    for entry in std::fs::read_dir(site.repo().join("data")).unwrap() {
        let folder = entry.unwrap().path();
        std::fs::read_dir(&folder).unwrap().for_each(|pack| std::fs::remove_file(pack.unwrap().path()).unwrap());
    }
    site.away("nas");
    let ran = site.lifeboat(["heal", "--copy", "disk"]).exits(3);
    let ran = ran.says(["bring copy nas back"]);
    assert!(!ran.text().contains("name one below"), "{ran}");
}

#[test]
fn a_lock_in_the_first_copy_does_not_cost_the_backup_where_another_is_free() {
    let site = two_copies();
    // A lock that nobody can read stays there until it is removed by hand.
    let lock = format!("locks/{}", "ab".repeat(32));
    std::fs::write(site.repo().join(&lock), "junk").unwrap();
    let fix = format!("then remove its file {lock}");
    site.lifeboat(["backup"])
        .exits(3)
        .says([&*format!("copy disk is in use: the repository is locked by {lock}"), &fix]);
    std::fs::write(site.path("nas").join(&lock), "junk").unwrap();
    let refused = site.lifeboat(["backup"]).exits(11).says(["which is damaged", &fix]);
    assert!(!refused.errors().contains("removed by themselves"), "{refused}");
}

#[test]
fn a_first_copy_that_another_program_holds_does_not_cost_the_backup() {
    if !can(program("restic")) {
        return;
    }
    let site = two_copies();
    site.backup();
    // Stock restic locks it for itself alone, and holds still.
    let check = start(&mut site.restic_command(["check"]));
    wait_until("restic has its lock", || !site.stored("locks").is_empty());
    kill_process(Pid::from_child(&check.0), Signal::STOP).unwrap();
    assert_eq!(site.stored("locks").len(), 1, "restic ended before it was halted");
    let ran = site.lifeboat(["backup", "--json"]).exits(3).summary();
    assert_eq!((&ran["copies"]["disk"]["status"], &ran["copies"]["nas"]["status"]), (&json!("failed"), &json!("ok")));
    site.lifeboat(["backup"]).exits(3).says(["copy disk is in use: the repository is locked by process"]);
    drop(check);
    // The lock of a process that is gone holds nobody off.
    site.lifeboat(["backup"]).ok();
    for copy in ["disk", "nas"] {
        assert_eq!(site.lifeboat(["snapshots", "--copy", copy, "--json"]).ok().summary()["snapshots"], 5, "{copy}");
    }
}

#[test]
fn another_repository_in_the_place_of_the_first_copy_is_named_and_not_written() {
    let site = two_copies();
    site.away("repo");
    let stranger = Site::initialised();
    std::fs::rename(stranger.repo(), site.repo()).unwrap();
    site.lifeboat(["init"]).exits(3).says(["disk", "a repository of its own"]);
    for _ in 0..2 {
        let done = site.lifeboat(["backup", "--json"]).exits(3).summary();
        let copies = &done["copies"];
        assert_eq!((&copies["disk"]["status"], &copies["nas"]["status"]), (&json!("failed"), &json!("ok")), "{done}");
    }
    // What is asked of the copy alone is not answered of another one.
    let before = site.stored("");
    for command in [
        &["prune", "--copy", "disk"][..],
        &["forget", "--copy", "disk"],
        &["forget", "latest", "--copy", "disk", "--force"],
        &["check", "--copy", "disk"],
        &["drill", "--copy", "disk"],
        &["heal", "--copy", "disk"],
        &["key", "list", "--copy", "disk"],
        &["key", "remove", "abcd", "--copy", "disk"],
        &["key", "add", "--copy", "disk", "--new-password-file", "password"],
        &["key", "change", "--copy", "disk", "--new-password-file", "password"],
        &["copies", "test", "disk"],
    ] {
        let refused = site.lifeboat(command.iter().copied());
        assert_ne!(refused.status.code(), Some(0), "{command:?}: {refused}");
        refused.says(["a repository of its own", "not the one that was at", "init --anew disk"]);
    }
    assert_eq!(site.stored(""), before, "the stranger was written");
    assert!(site.stored("snapshots").is_empty(), "the stranger was written");
    site.lifeboat(["sync"]).exits(3).says(["copy disk FAILED: it is a repository of its own", "init --anew disk"]);
    let status = site.lifeboat(["status"]).exits(1).says(["copy disk is a repository of its own"]);
    assert!(!status.text().contains("copy nas is a repository of its own"), "{status}");
    site.lifeboat(["restore", "latest", "--to", "restored"]).ok();
    // Back in its place it is what it was.
    std::fs::rename(site.repo(), stranger.repo()).unwrap();
    site.back("repo");
    site.lifeboat(["backup"]).ok();
    // Where it is meant, it is said by name.
    site.away("repo");
    std::fs::rename(stranger.repo(), site.repo()).unwrap();
    site.configure_copies(&["disk: { url: repo }"]);
    site.lifeboat(["backup"]).exits(2).says(["init --anew disk"]);
    site.lifeboat(["init", "--anew", "disk"]).ok();
    site.backup();
}

#[test]
fn a_damaged_key_file_has_a_way_out_wherever_it_is_told() {
    let site = two_copies();
    let key = format!("keys/{}", "ab".repeat(32));
    std::fs::write(site.path("nas").join(&key), "junk").unwrap();
    site.lifeboat(["check", "--copy", "nas"]).exits(1).says(["lifeboat key remove ID"]);
    site.lifeboat(["status"]).exits(1).says(["lifeboat key remove ID --copy nas"]);
    site.lifeboat(["heal", "--copy", "nas"]).says(["NOT MENDED: keys/", "lifeboat key remove ID --copy nas"]);
    site.lifeboat(["key", "remove", "abab", "--copy", "nas"]).ok();
    site.lifeboat(["heal", "--copy", "nas", "--read-data"]).ok().says(["nothing to mend"]);
}
