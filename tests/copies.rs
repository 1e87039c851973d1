//! Several copies of one repository: each is looked into, checked, forgotten from and opened by itself, and what is asked
//! for comes from the first in reach that has it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Dice, Ran, Site, can, inside, program, root, run, write_secret};

fn restored(site: &Site, snapshot: &str, name: &str, more: &[&str]) -> String {
    let target = site.path(name);
    let target = target.to_str().unwrap();
    site.lifeboat([&["restore", snapshot, "--to", target], more].concat()).ok();
    std::fs::read_to_string(site.restored_data(Path::new(target)).join("a")).unwrap()
}

#[test]
fn a_backup_brings_every_copy_into_step_and_names_those_that_are_away() {
    let (site, first) = Site::with_two_copies();
    std::fs::write(site.data().join("a"), "two").unwrap();
    let done = site.lifeboat(["backup", "--json"]).ok().summary();
    assert_eq!((&done["copies"]["disk"]["status"], &done["copies"]["nas"]["status"]), (&json!("ok"), &json!("ok")));
    assert_eq!(walk(&site.repo().join("data")).len(), walk(&site.path("nas/data")).len());

    // The first copy is away: the next one is written, and the first is filled when it is back.
    std::fs::write(site.data().join("a"), "three").unwrap();
    site.away("repo");
    let done = site.lifeboat(["backup", "--json"]).exits(3).summary();
    assert_eq!(done["status"], "partial");
    assert_eq!((&done["copies"]["disk"]["status"], &done["copies"]["nas"]["status"]), (&json!("failed"), &json!("ok")));
    site.lifeboat(["backup"]).exits(3).says(["copy disk FAILED", "is complete"]);
    site.back("repo");
    site.lifeboat(["copies"]).exits(3).says(["2 snapshots behind", "lifeboat sync"]);
    let done = site.lifeboat(["backup", "--json"]).ok().summary();
    for (copy, got) in [("disk", 2), ("nas", 1)] {
        assert_eq!(done["copies"][copy]["snapshots"].as_array().unwrap().len(), got, "{done}");
    }
    site.lifeboat(["sync"]).ok().says(["copy disk is in step", "copy nas is in step"]);
    for copy in ["disk", "nas"] {
        assert_eq!(restored(&site, &first, &format!("first-{copy}"), &["--copy", copy]), "one");
        assert_eq!(restored(&site, "latest", &format!("latest-{copy}"), &["--copy", copy]), "three");
    }
    site.lifeboat(["check", "--read-data"]).ok();
    site.away("nas");
    site.away("repo");
    site.lifeboat(["backup"]).exits(10).says(["copy disk", "copy nas"]);
}

#[test]
fn hosts_that_back_up_under_one_name_keep_what_each_has() {
    if !can(root()) || !can(program("unshare")) {
        return;
    }
    let site = Site::initialised();
    let on = |host: &str, arguments: &[&str]| {
        let named = ["unshare", "--uts", "sh", "-c", "hostname \"$0\" && exec \"$@\"", host];
        run(&mut inside(&named, &site.lifeboat_command(arguments)))
    };
    on("ward", &["backup"]).ok();
    on("clinic", &["backup"]).ok().says(["host ward took the snapshot before this one"]);
    // It may have taken the place of the other; a second turn shows that it did not.
    on("clinic", &["forget", "--keep-last", "1"]).ok().says(["clinic and ward back up", "removed 0 snapshots"]);
    assert!(!on("ward", &["status"]).text().contains("back up under the name"));
    on("ward", &["backup"]).ok();
    on("ward", &["forget", "--keep-last", "1", "--dry-run"]).ok().says(["several hosts back up", "would remove 0"]);
    on("ward", &["status"]).exits(3).says(["hosts clinic and ward back up under the name app"]);
    on("ward", &["forget", "--keep-last", "1", "--force"]).ok().says(["removed 2 snapshots"]);
}

#[test]
fn what_a_drill_proved_in_one_copy_stays_in_the_others_also_once_that_one_is_lost() {
    let (site, proven) = Site::with_two_copies();
    site.lifeboat(["drill", "--copy", "disk"]).ok();
    for text in ["two", "three"] {
        std::fs::write(site.data().join("a"), text).unwrap();
        site.backup();
    }
    site.away("repo");
    let forget = ["forget", "--keep-last", "1", "--copy", "nas"];
    site.lifeboat(forget).ok().says(["newest snapshot that passed a drill in another copy", "removed 1 snapshot"]);
    assert_eq!(restored(&site, &proven, "proven", &["--copy", "nas"]), "one");
}

#[test]
fn a_sync_brings_what_is_missing_as_the_same_packs_and_shows_it_before() {
    let (site, _) = Site::with_two_copies();
    std::fs::write(site.data().join("a"), "two").unwrap();
    let second = site.backup_without("nas");
    let plan = site.lifeboat(["sync", "--dry-run", "--json"]).ok().summary();
    assert_eq!(plan["copies"]["nas"]["snapshots"], json!([second]), "{plan}");
    assert_eq!(plan["copies"]["disk"]["packs"], 0);
    site.lifeboat(["sync", "--dry-run"]).ok().says(["copy nas: would bring 1 snapshot"]);
    site.lifeboat(["sync", "--copy", "disk"]).ok().says(["copy disk is in step"]);
    let done = site.lifeboat(["sync", "--copy", "nas", "--json"]).ok().summary();
    assert_eq!((&done["copies"]["nas"]["snapshots"], done["copies"].get("disk")), (&json!([second]), None));
    let names = |folder: &str| -> Vec<_> {
        walk(&site.path(folder)).iter().map(|path| path.file_name().unwrap().to_owned()).collect()
    };
    assert_eq!(names("repo/data"), names("nas/data"));
    site.lifeboat(["sync", "--copy", "ans"]).exits(1).says(["ans", "disk, nas"]);
    site.away("nas");
    site.lifeboat(["sync"]).exits(3).says(["copy nas FAILED"]);
}

#[test]
fn a_new_copy_is_made_by_init_alone_and_filled_by_sync() {
    let site = Site::initialised();
    std::fs::write(site.data().join("a"), "one").unwrap();
    site.backup();
    site.configure_two("");
    // An empty mount point must not become a copy by itself.
    site.lifeboat(["backup"]).exits(3).says(["copy nas FAILED", "lifeboat init"]);
    assert!(!site.path("nas").exists());
    site.lifeboat(["init"]).ok().says(["created copy nas"]);
    site.lifeboat(["sync"]).ok().says(["copy nas got 2 snapshots"]);
    // What was there once and is gone is not made anew.
    site.away("nas");
    site.lifeboat(["init"]).exits(3).says(["held it on", "mount its disk"]);
    assert!(!site.path("nas").exists());
}

#[test]
fn a_damaged_copy_is_healed_from_the_other_and_passes_restics_check() {
    let (site, _) = Site::with_two_copies();
    std::fs::write(site.data().join("b"), vec![7; 300_000]).unwrap();
    site.backup();
    let damage = |kind: &str| walk(&site.path(format!("nas/{kind}"))).remove(0);
    std::fs::write(damage("data"), "damaged").unwrap();
    std::fs::remove_file(walk(&site.path("nas/data")).pop().unwrap()).unwrap();
    std::fs::write(damage("index"), "damaged").unwrap();
    std::fs::write(damage("snapshots"), "damaged").unwrap();
    site.lifeboat(["check", "--copy", "nas"]).exits(1);
    site.lifeboat(["status"]).exits(1).says(["NOT SAFE"]);
    site.lifeboat(["heal", "--copy", "nas", "--read-data"]).ok().says([
        "1 snapshot put back",
        "replaced by the same one of another copy",
        "copy nas is whole now",
    ]);
    site.lifeboat(["check", "--read-data"]).ok();
    site.lifeboat(["heal"]).ok().says(["copy disk is whole; nothing to mend", "copy nas is whole; nothing to mend"]);
    std::fs::write(site.path("nas/config"), "damaged").unwrap();
    site.lifeboat(["heal", "--copy", "nas"]).ok().says(["the config of copy nas was put back from copy disk"]);
    site.restic_finds_no_errors("nas");
}

#[test]
fn a_copy_that_lost_its_key_files_is_healed_and_restic_opens_it() {
    let (site, first) = Site::with_two_copies();
    std::fs::remove_dir_all(site.path("nas/keys")).unwrap();
    site.lifeboat(["snapshots", "--copy", "nas"]).exits(1).says(["no key file", "lifeboat heal"]);
    // Where no other copy helps, the hint does not send in circles.
    site.away("repo");
    site.lifeboat(["heal", "--copy", "nas"]).exits(1).says(["no other copy in reach"]);
    site.back("repo");
    site.lifeboat(["heal", "--copy", "nas", "--read-data"])
        .ok()
        .says(["copy nas had lost its key files", "nothing to mend"]);
    assert_eq!(restored(&site, &first, "from-nas", &["--copy", "nas"]), "one");
    site.restic_finds_no_errors("nas");
}

#[test]
fn a_copy_that_is_another_repository_is_not_called_whole() {
    let (site, _) = Site::with_two_copies();
    let stranger = Site::initialised();
    std::fs::remove_dir_all(site.path("nas")).unwrap();
    std::fs::rename(stranger.repo(), site.path("nas")).unwrap();
    site.lifeboat(["heal"]).exits(2).says(["copy disk is whole", "copy nas", "a repository of its own"]);
    site.lifeboat(["heal", "--copy", "nas"]).exits(2).says(["a repository of its own, not the one that was at"]);
    site.lifeboat(["status"]).exits(1).says(["NOT SAFE", "copy nas is a repository of its own"]);
}

#[test]
fn a_removable_copy_may_be_absent_and_is_said_to_be_overdue() {
    let (site, _) = Site::with_two_copies();
    site.configure_two(", removable: true");
    site.away("nas");
    site.lifeboat(["backup"]).ok().says(["copy nas is not here, which a removable copy may be"]);
    site.lifeboat(["copies"]).exits(3).says(["last seen 0 days ago"]);
    let seen = walk(&site.path("state/last-seen"));
    let text = |path: &Path| std::fs::read_to_string(path).unwrap();
    for path in &seen {
        let mut memory: Value = serde_json::from_str(&text(path)).unwrap();
        memory["at"] = json!("2020-01-01T00:00:00Z");
        std::fs::write(path, memory.to_string()).unwrap();
    }
    site.lifeboat(["copies"]).exits(3).says(["OVERDUE", "bring it back"]);
    std::fs::remove_dir_all(site.path("state/last-seen")).unwrap();
    site.lifeboat(["copies"]).exits(3).says(["never seen by this host"]);
}

#[test]
fn latest_is_the_newest_of_all_copies_and_an_id_is_found_in_whichever_has_it() {
    let (site, first) = Site::with_two_copies();
    std::fs::write(site.data().join("a"), "two").unwrap();
    let second = site.backup_without("repo");
    // `disk` comes first, but lags behind.
    assert_eq!(restored(&site, "latest", "t1", &[]), "two");
    assert_eq!(restored(&site, "latest", "t2", &["--copy", "disk"]), "one");
    assert_eq!(restored(&site, &second, "t3", &[]), "two");
    site.lifeboat(["restore", &second, "--to", "t4", "--copy", "disk"]).exits(1).says(["no snapshot"]);
    site.away("nas");
    site.lifeboat(["restore", "latest", "--to", "t5"]).ok().says(["passed over copy nas"]);
    site.back("nas");
    site.away("repo");
    assert_eq!(restored(&site, &first, "t6", &[]), "one");
    site.lifeboat(["ls", "latest"]).ok().says(["passed over copy disk", "lifeboat.json"]);
    site.lifeboat(["restore", "ffffffff", "--to", "t7"]).exits(10).says(["copy disk"]);
}

#[test]
fn every_snapshot_is_listed_once_with_the_copies_that_have_it() {
    let (site, first) = Site::with_two_copies();
    let second = site.backup_without("nas");
    site.lifeboat(["drill", "--copy", "nas"]).ok();
    let ran = site.lifeboat(["snapshots", "--json"]).ok();
    let listed = ran.of_type("snapshot");
    assert_eq!(listed.len(), 2, "{ran}");
    assert_eq!((&listed[0]["id"], &listed[0]["copies"]), (&json!(first), &json!(["disk", "nas"])));
    assert_eq!((&listed[1]["id"], &listed[1]["copies"]), (&json!(second), &json!(["disk"])));
    assert_eq!(listed[0]["drilled"]["nas"]["level"], 3, "{ran}");
    site.lifeboat(["snapshots"]).ok().says(["[disk, nas]", "[disk]", "2 snapshots"]);
    site.away("nas");
    assert_eq!(site.lifeboat(["snapshots", "--json"]).exits(3).summary()["status"], "partial");
}

#[test]
fn copies_are_listed_with_what_they_hold_and_how_far_they_lag() {
    let (site, _) = Site::with_two_copies();
    site.configure_two(", media: object, offsite: true, immutable: true");
    site.lifeboat(["copies"]).exits(3).says(["never drilled"]);
    site.lifeboat(["drill", "--all-copies"]).ok();
    let in_step = site.lifeboat(["copies", "--json"]).ok();
    assert_eq!(in_step.summary()["status"], "ok");
    let nas = &in_step.of_type("copy")[1];
    assert_eq!(
        (&nas["name"], &nas["media"], &nas["offsite"], &nas["reachable"]),
        (&json!("nas"), &json!("object"), &json!(true), &json!(true))
    );
    assert_eq!((&nas["stacks"]["app"]["snapshots"], &nas["stacks"]["app"]["lag"]["snapshots"]), (&json!(1), &json!(0)));
    assert!(nas["location"].as_str().unwrap().ends_with("/nas"), "{nas}");

    site.backup_without("nas");
    let behind = site.lifeboat(["copies", "--json"]).exits(3);
    assert_eq!(behind.summary()["bad"], json!(["nas"]));
    assert_eq!(behind.of_type("copy")[1]["stacks"]["app"]["lag"]["snapshots"], 1);
    site.lifeboat(["copies"]).exits(3).says(["off-site, immutable", "1 snapshot behind", "copy nas lags behind"]);

    site.lifeboat(["sync"]).ok();
    site.away("nas");
    site.lifeboat(["copies"]).exits(1).says(["critical", "holds no repository"]);
    site.configure_two(", removable: true");
    site.lifeboat(["copies"]).ok().says(["removable copy nas is not here"]);
    site.back("nas");
    // Another repository at the place of a copy.
    std::fs::remove_dir_all(site.path("nas")).unwrap();
    let other = Site::initialised();
    run(Command::new("cp").arg("-rT").arg(other.repo()).arg(site.path("nas"))).ok();
    site.lifeboat(["copies"]).exits(1).says(["critical", "a repository of its own"]);
    site.lifeboat(["sync"]).exits(3).says(["a repository of its own"]);
}

#[test]
fn status_scores_the_copies_and_says_what_each_loss_would_take() {
    let (site, _) = Site::with_two_copies();
    site.configure_two(", provider: acme, media: object, offsite: true, immutable: true");
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

    site.backup_without("nas");
    let behind = site.lifeboat(["status", "--json"]).exits(3).summary();
    assert_eq!(behind["stacks"]["app"]["score"]["verified"], 1, "{behind}");
    site.lifeboat(["status"]).exits(3).says(["app: WARNING", "copy nas lags behind"]);
    site.away("nas");
    site.lifeboat(["status"]).exits(1).says(["NOT SAFE", "copy nas holds no repository", "copies 1"]);
}

#[test]
fn each_copy_is_checked_and_drilled_by_itself() {
    let (site, _) = Site::with_two_copies();
    site.lifeboat(["check", "--read-data"]).ok().says(["copy disk:", "copy nas:"]);
    let pack = walk(&site.path("nas/data")).pop().unwrap();
    std::fs::write(&pack, "damaged").unwrap();
    site.lifeboat(["check", "--read-data", "--copy", "disk"]).ok();
    site.lifeboat(["check", "--read-data", "--copy", "nas"]).exits(1).says(["copy nas is DAMAGED"]);
    site.lifeboat(["check", "--read-data"]).exits(1).says(["copy disk:", "copy nas is DAMAGED"]);
    site.lifeboat(["drill", "--all-copies"]).exits(1).says(["came back from copy disk", "from copy nas"]);
    site.lifeboat(["copies"]).exits(1).says(["the drill of copy nas on", "the check of copy nas on"]);
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
    let (site, first) = Site::with_two_copies();
    let second = site.backup();
    let third = site.backup();
    let by_flags = || site.lifeboat(["forget", "--copy", "nas", "--keep-last", "1", "--dry-run"]).ok();
    by_flags().says(["2 snapshots of these: lifeboat.yaml keeps them", "write `retention: { last: 1 }` below nas"]);
    site.configure_two(", retention: { last: 1 }");
    assert!(!by_flags().text().contains("brings back"), "these are its own rules");
    let kept = |copy: &str| {
        let ran = site.lifeboat(["snapshots", "--copy", copy, "--json"]).ok();
        ran.of_type("snapshot").iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    site.lifeboat(["forget", "--dry-run"]).ok().says(["copy disk:", "copy nas:", "+", "# kept, x removed"]);
    assert_eq!((kept("disk").len(), kept("nas").len()), (3, 3));
    site.lifeboat(["forget", "--prune"]).ok();
    assert_eq!(kept("disk"), [first.clone(), second.clone(), third.clone()], "by the stack's rules");
    assert_eq!(kept("nas"), std::slice::from_ref(&third), "by its own");
    // That it keeps less is no lag, and nothing brings back what its rules removed.
    site.lifeboat(["copies"]).exits(3).says(["never drilled"]);
    site.lifeboat(["sync"]).ok().says(["copy nas is in step"]);
    assert_eq!(kept("nas").len(), 1);
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
    let (site, _) = Site::with_two_copies();
    site.lifeboat(["key", "add", "--new-password-file", "password"]).exits(2).says(["--copy", "disk, nas"]);
    write_secret(&site.path("other"), "OTHERTESTONLYOTHERTESTONLYOTHERTESTONLYOTHERTESTONLY");
    site.lifeboat(["key", "change", "--copy", "nas", "--new-password-file", "other"]).ok();
    site.lifeboat(["ls", "--copy", "nas"]).exits(12);
    // A password that opens nothing there is no reason not to restore from the other.
    site.lifeboat(["ls"]).ok().says(["passed over copy nas"]);
    site.configure_two(", password_file: other");
    site.lifeboat(["ls", "--copy", "nas"]).ok();
    site.lifeboat(["key", "list"]).ok().says(["copy disk:", "copy nas:"]);
    let status = site.lifeboat(["status"]).exits(3);
    status.says(["without the password from the file", "/other: copy nas gone; copy disk stays"]);
    site.lifeboat(["config", "check"]).ok().says(["copy disk: opened", "copy nas: opened"]);
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
    site.lifeboat(["init", "data", "--yes"]).ok().says(["local-2: there is a repository", "it opens"]);
    let guide = {
        site.lifeboat(["backup"]).ok();
        site.lifeboat(["cat", "latest:RESTORE.md"]).ok().text()
    };
    for copy in ["Copy local:", "Copy local-2:", "export RESTIC_REPOSITORY="] {
        assert!(guide.contains(copy), "{guide}");
    }
}

/// Runs that got through before the test ends.
const ROUNDS: u64 = 4;
/// What a run may end with beside others: done, partial since a copy was locked, locked.
const FINE: [Option<i32>; 3] = [Some(0), Some(3), Some(11)];

#[test]
fn three_lifeboats_and_a_restic_at_once_on_the_same_copies_lose_nothing() {
    if !can(program("restic")) {
        return;
    }
    let (shared, _) = Site::with_two_copies();
    let sites: Vec<Site> = (0..3u64)
        .map(|number| {
            let site = Site::new();
            let (disk, nas, data) = (shared.repo(), shared.path("nas"), site.data());
            let text = format!(
                "version: 1\nstate_dir: state\npassword_file: password\ncopies:\n  disk: {{ url: {disk:?} }}\n  nas: {{ url: {nas:?} }}\n\
                 stacks:\n  app-{number}:\n    sources:\n      files: {{ files: {{ paths: [{data:?}] }} }}\n"
            );
            std::fs::write(site.config(), text).unwrap();
            std::fs::write(site.data().join("same"), Dice::new(1).bytes(400_000)).unwrap();
            site
        })
        .collect();
    let ended = AtomicBool::new(false);
    // Every snapshot that a run said it had taken, with what was in it.
    let (taken, of_restic) = std::thread::scope(|scope| {
        let lifeboats: Vec<_> =
            sites.iter().zip(10..).map(|(site, seed)| scope.spawn(move || back_up_often(site, seed))).collect();
        let restic = scope.spawn(|| back_up_with_restic(&shared, &ended));
        let pruner = scope.spawn(|| {
            while !ended.load(Ordering::SeqCst) {
                let ran = shared.lifeboat(["prune", "--max-unused", "0", "--grace", "0s", "--quiet"]);
                assert!(FINE.contains(&ran.status.code()), "{ran}");
            }
        });
        let taken: Vec<_> = lifeboats.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        ended.store(true, Ordering::SeqCst);
        let of_restic = restic.join().unwrap();
        pruner.join().unwrap();
        (taken.into_iter().map(Result::unwrap).collect::<Vec<_>>(), of_restic)
    });
    for (site, taken) in sites.iter().zip(&taken) {
        site.lifeboat(["sync"]).ok();
        for (id, content) in taken {
            for copy in ["disk", "nas"] {
                let target = site.path("target");
                let _ = std::fs::remove_dir_all(&target);
                let target_text = target.to_str().unwrap();
                site.lifeboat(["restore", id, "--copy", copy, "--to", target_text]).ok();
                assert_eq!(std::fs::read(site.restored_data(&target).join("own")).unwrap(), *content, "{id} in {copy}");
            }
        }
    }
    assert_has_all_of_restic(&shared, &of_restic);
    shared.lifeboat(["check", "--read-data"]).ok();
    shared.restic(["check", "--read-data"]).ok().says(["no errors were found"]);
}

/// Backs up with restic, each time something else and with a tag of its own, until all others ended and it got through often
/// enough. Gives the tags, with what was backed up.
fn back_up_with_restic(site: &Site, ended: &AtomicBool) -> Vec<(String, Vec<u8>)> {
    let (begun, mut dice, mut taken) = (Instant::now(), Dice::new(99), Vec::new());
    let folder = site.path("of-restic");
    std::fs::create_dir(&folder).unwrap();
    while !ended.load(Ordering::SeqCst) || taken.len() < ROUNDS as usize {
        assert!(begun.elapsed() < Duration::from_secs(300), "got through only {} times", taken.len());
        let (tag, content) = (format!("round-{}", taken.len()), dice.bytes(300_000));
        std::fs::write(folder.join("x"), &content).unwrap();
        let ran = site.restic([OsStr::new("backup"), OsStr::new("--tag"), OsStr::new(&tag), folder.as_os_str()]);
        assert!(ran.status.success() || ran.errors().contains("locked"), "{ran}");
        if ran.status.success() {
            taken.push((tag, content));
        }
    }
    taken
}

/// Asserts that each of restic's snapshots is there once, and that both programs restore it exactly; Lifeboat also from the
/// other copy, to which it brings them.
fn assert_has_all_of_restic(site: &Site, taken: &[(String, Vec<u8>)]) {
    let listed: Vec<Value> = serde_json::from_slice(&site.restic(["snapshots", "--json"]).ok().stdout).unwrap();
    let of_round = |snapshot: &Value| -> Option<(String, String)> {
        let mut tags = snapshot["tags"].as_array()?.iter().filter_map(Value::as_str);
        let tag = tags.find(|tag| tag.starts_with("round-"))?.to_owned();
        Some((tag, snapshot["id"].as_str()?.to_owned()))
    };
    let own: Vec<_> = listed.iter().filter_map(of_round).collect();
    assert_eq!(own.len(), taken.len(), "{own:?}");
    site.lifeboat(["sync", "--all"]).ok();
    let target = site.path("target");
    let file = target.join(site.path("of-restic/x").strip_prefix("/").unwrap());
    for (tag, content) in taken {
        let id =
            own.iter().find_map(|(own, id)| (own == tag).then_some(&**id)).unwrap_or_else(|| panic!("{tag} is lost"));
        let restored_by = |ran: Ran, what: &str| {
            ran.ok();
            assert!(std::fs::read(&file).unwrap() == *content, "{tag} {what} differs");
            std::fs::remove_dir_all(&target).unwrap();
        };
        let target = target.to_str().unwrap();
        restored_by(site.restic(["restore", id, "--target", target]), "by restic");
        for copy in ["disk", "nas"] {
            restored_by(site.lifeboat(["restore", id, "--copy", copy, "--to", target]), copy);
        }
    }
}

/// Backs up until it got through often enough; forgets some of it again.
fn back_up_often(site: &Site, seed: u64) -> Vec<(String, Vec<u8>)> {
    let (begun, mut dice, mut taken) = (Instant::now(), Dice::new(seed), Vec::new());
    let mut done = 0;
    while done < ROUNDS {
        assert!(begun.elapsed() < Duration::from_secs(240), "got through only {done} times");
        let content = dice.bytes(500_000);
        std::fs::write(site.data().join("own"), &content).unwrap();
        let ran = site.lifeboat(["backup", "--json"]);
        assert!(FINE.contains(&ran.status.code()), "{ran}");
        if ran.status.code() == Some(11) {
            continue;
        }
        done += 1;
        taken.push((ran.summary()["snapshot_id"].as_str().unwrap().to_owned(), content));
        if done == 2 {
            let (first, _) = taken.remove(0);
            // A copy that was locked may lack the second, and does not give up its newest.
            let is_newest =
                |ran: &Ran| ran.status.code() == Some(2) && ran.errors().contains("is the newest of its stack");
            let removed = loop {
                let removed = site.lifeboat(["forget", &first]);
                let is_waited_for = removed.status.code() == Some(11) || is_newest(&removed);
                if !is_waited_for || begun.elapsed() > Duration::from_secs(200) {
                    break removed;
                }
                std::thread::sleep(Duration::from_millis(200));
                site.lifeboat(["sync"]);
            };
            assert!(FINE.contains(&removed.status.code()) || is_newest(&removed), "{removed}");
        }
    }
    taken
}
