//! Stock restic reads and checks what Lifeboat wrote, Lifeboat takes over what restic wrote, and both work on one
//! repository at the same time.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, XattrFlags};

use crate::support::{Dice, PASSWORD, Running, Site, can, program, run, start, write_secret};
use crate::tree::{self, Tree};

/// Fills a folder with what is awkward to keep, as far as restic 0.14 keeps it: it knows neither sockets nor link targets
/// that are not UTF-8.
fn fill(folder: &Path, dice: &mut Dice) {
    let write = |name: &[u8], content: &[u8]| {
        let path = folder.join(OsStr::from_bytes(name));
        std::fs::write(&path, content).unwrap();
        path
    };
    write(b"empty", b"");
    write(b"small", b"one line\n");
    write(b"large", &dice.bytes(3_000_000));
    write(b"text.couch", &dice.text(1_500_000));
    write(b"zeros", &vec![0; 2_000_000]);
    for name in
        [&b"not utf-8 \xff\xfe"[..], b"line\nbreak", b"quote\" back\\slash", b" ", b"-rf", "ünï-код-名".as_bytes()]
    {
        write(name, name);
    }
    write(&[b'x'; 255], b"a long name");
    let program = write(b"program", b"#!/bin/sh\n");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o4755)).unwrap();
    let closed = write(b"closed", b"secret");
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o400)).unwrap();
    rustix::fs::setxattr(&program, "user.note", b"kept \x00 whole", XattrFlags::empty()).unwrap();
    std::fs::hard_link(&program, folder.join("program again")).unwrap();
    symlink("program", folder.join("link")).unwrap();
    symlink("/no/such place", folder.join("dangling")).unwrap();
    rustix::fs::mkfifoat(CWD, folder.join("fifo"), rustix::fs::Mode::from_raw_mode(0o640)).unwrap();
    std::fs::create_dir_all(folder.join("deep/deeper/deepest/nothing")).unwrap();
    std::fs::hard_link(&program, folder.join("deep/deeper/elsewhere")).unwrap();
    rustix::fs::setxattr(folder.join("deep"), "user.of-a-folder", b"1", XattrFlags::empty()).unwrap();
    std::fs::set_permissions(folder.join("deep/deeper"), std::fs::Permissions::from_mode(0o1750)).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(folder.join("small"), Some(12_345), Some(54_321)).unwrap();
    }
    set_mtime(&folder.join("small"), 1_000_000_000, 123_456_789);
    set_mtime(&folder.join("deep/deeper"), 951_782_400, 1);
    set_mtime(&folder.join("link"), 1_600_000_000, 999_999_999);
}

fn set_mtime(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Changes, adds and removes files.
fn change(folder: &Path, dice: &mut Dice) {
    let mut large = std::fs::read(folder.join("large")).unwrap();
    let middle = large.len() / 2;
    large.splice(middle..middle, dice.bytes(10_000));
    std::fs::write(folder.join("large"), large).unwrap();
    let mut grown = std::fs::read(folder.join("text.couch")).unwrap();
    grown.extend(dice.text(200_000));
    std::fs::write(folder.join("text.couch"), grown).unwrap();
    std::fs::write(folder.join(format!("new {}", dice.next())), dice.bytes(400_000)).unwrap();
    if folder.join("zeros").exists() {
        std::fs::remove_file(folder.join("zeros")).unwrap();
    } else {
        std::fs::write(folder.join("zeros"), vec![0; 1_000_000]).unwrap();
    }
}

/// Restores a snapshot with restic to a folder called `name` and gives the folder.
fn restic_restore(site: &Site, snapshot: &str, name: &str) -> PathBuf {
    let target = site.path(name);
    let _ = std::fs::remove_dir_all(&target);
    let arguments = [OsStr::new("restore"), OsStr::new(snapshot), OsStr::new("--target"), target.as_os_str()];
    site.restic(arguments).ok();
    target
}

/// The snapshots that restic lists, oldest first.
fn restic_snapshots(site: &Site) -> Vec<serde_json::Value> {
    let listed = site.restic(["snapshots", "--json"]).ok();
    serde_json::from_slice::<Vec<serde_json::Value>>(&listed.stdout).unwrap()
}

fn restic_reads_all(site: &Site) {
    site.restic(["check", "--read-data"]).ok().says(["no errors were found"]);
}

fn lifeboat_reads_all(site: &Site) -> serde_json::Value {
    site.lifeboat(["check", "--read-data", "--json"]).ok().summary()
}

/// Both programs restore `snapshot` to exactly this.
fn both_restore(site: &Site, snapshot: &str, expected: &Tree) {
    let by_restic = restic_restore(site, snapshot, "by-restic");
    tree::assert_same(expected, &tree::read(&site.restored_data(&by_restic)), "restored by restic");
    let by_us = site.restore(snapshot, "by-lifeboat");
    tree::assert_same(expected, &tree::read(&site.restored_data(&by_us)), "restored by Lifeboat");
    tree::assert_same_on_disk(&by_us, &by_restic);
}

/// A site with four snapshots of changing data, and what each holds.
fn with_history(dice: &mut Dice) -> (Site, Vec<(String, Tree)>) {
    let site = Site::initialised();
    fill(&site.data(), dice);
    let mut taken = Vec::new();
    for round in 0..4 {
        if round > 0 {
            change(&site.data(), dice);
        }
        let snapshot = site.backup();
        taken.push((snapshot, tree::read(&site.data())));
    }
    (site, taken)
}

#[test]
fn restic_restores_exactly_what_lifeboat_backed_up_also_after_forget_and_prune() {
    if !can(program("restic")) {
        return;
    }
    let (site, mut taken) = with_history(&mut Dice::new(1));
    restic_reads_all(&site);
    for (snapshot, expected) in &taken {
        both_restore(&site, snapshot, expected);
    }

    // Within the grace period, nothing may be deleted; without one, all that is unneeded goes.
    let (first, _) = taken.remove(0);
    site.lifeboat(["forget", "--force", &first]).ok();
    let packs = site.stored("data");
    let pruned = site.lifeboat(["prune", "--max-unused", "0", "--json"]).ok().summary();
    assert_eq!(pruned["packs_deleted"], 0);
    assert!(pruned["packs_condemned"].as_u64().unwrap() > 0, "{pruned}");
    assert!(packs.iter().all(|pack| pack.exists()));
    restic_reads_all(&site);
    for (snapshot, expected) in &taken {
        both_restore(&site, snapshot, expected);
    }

    let (second, _) = taken.remove(0);
    site.lifeboat(["forget", "--force", &second]).ok();
    let pruned = site.lifeboat(["prune", "--max-unused", "0", "--grace", "0s", "--json"]).ok().summary();
    assert!(pruned["packs_deleted"].as_u64().unwrap() > 0, "{pruned}");
    restic_reads_all(&site);
    let checked = lifeboat_reads_all(&site);
    assert_eq!(checked["unused_packs"], 0);
    for (snapshot, expected) in &taken {
        both_restore(&site, snapshot, expected);
    }
    let listed: Vec<String> =
        restic_snapshots(&site).iter().map(|snapshot| snapshot["id"].as_str().unwrap().to_owned()).collect();
    let left: Vec<&String> = taken.iter().map(|(snapshot, _)| snapshot).collect();
    assert_eq!(listed.iter().collect::<Vec<_>>(), left);
    assert!(site.stored("locks").is_empty());
}

#[test]
fn restic_lists_and_dumps_what_lifeboat_backed_up() {
    if !can(program("restic")) {
        return;
    }
    let site = Site::initialised();
    fill(&site.data(), &mut Dice::new(2));
    let backup = site.lifeboat(["backup", "--tag", "before-the-update", "--json"]).ok().summary();
    let snapshots = restic_snapshots(&site);
    assert_eq!(snapshots.len(), 1);
    assert_eq!(snapshots[0]["id"], backup["snapshot_id"]);
    assert_eq!(snapshots[0]["paths"], serde_json::json!(["/files"]));
    let tags = snapshots[0]["tags"].as_array().unwrap();
    assert!(tags.contains(&"before-the-update".into()) && tags.iter().any(|tag| tag.as_str().unwrap().contains("app")));

    let inside = Path::new("/files").join(site.data().strip_prefix("/").unwrap());
    for name in [&b"large"[..], b"zeros", b"empty", b"line\nbreak", b"not utf-8 \xff\xfe", &[b'x'; 255]] {
        let name = OsStr::from_bytes(name);
        let dumped = site.restic([OsStr::new("dump"), OsStr::new("latest"), inside.join(name).as_os_str()]).ok();
        assert!(dumped.stdout == std::fs::read(site.data().join(name)).unwrap(), "{name:?} differs");
        let mut place = OsString::from("latest:");
        place.push(inside.strip_prefix("/").unwrap().join(name));
        // Arguments that are not UTF-8 are the one thing that a place cannot spell.
        if name.to_str().is_some() {
            let printed = site.lifeboat([OsStr::new("cat"), &place]).ok();
            assert!(printed.stdout == dumped.stdout, "{name:?} differs");
        }
    }

    let listed = site.restic(["ls", "latest", "--json"]).ok().text();
    let nodes: Vec<serde_json::Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let by_restic = nodes.iter().filter(|node| node["struct_type"] == "node").count();
    let ours = site.lifeboat(["ls", "latest", "--recursive", "--json"]).ok();
    assert_eq!(ours.summary()["entries"], by_restic);
    let restored = site.restore("latest", "out");
    assert_eq!(tree::read(&restored).len() - 1, by_restic);
}

#[test]
fn lifeboat_goes_on_after_restic_forgot_and_pruned() {
    if !can(program("restic")) {
        return;
    }
    let mut dice = Dice::new(3);
    let (site, taken) = with_history(&mut dice);
    site.restic(["forget", &taken[0].0, &taken[2].0]).ok();
    site.restic(["prune", "--max-unused", "0"]).ok();
    lifeboat_reads_all(&site);
    for (snapshot, expected) in [&taken[1], &taken[3]] {
        both_restore(&site, snapshot, expected);
    }
    change(&site.data(), &mut dice);
    let newest = site.backup();
    restic_reads_all(&site);
    lifeboat_reads_all(&site);
    both_restore(&site, &newest, &tree::read(&site.data()));
    assert_eq!(site.lifeboat(["snapshots", "--json"]).ok().summary()["snapshots"], 3);
}

#[test]
fn a_repository_made_by_restic_is_adopted_and_restic_goes_on_with_it() {
    if !can(program("restic")) {
        return;
    }
    let mut dice = Dice::new(4);
    let site = Site::new();
    std::fs::remove_file(site.config()).unwrap();
    write_secret(&site.path("password"), "a chosen one");
    site.restic(["init"]).ok();
    fill(&site.data(), &mut dice);
    let data = site.data();
    let restic_backup = || site.restic([OsStr::new("backup"), data.as_os_str()]).ok();
    let mut taken = Vec::new();
    for round in 0..3 {
        if round > 0 {
            change(&data, &mut dice);
        }
        restic_backup();
        taken.push((restic_snapshots(&site).pop().unwrap()["id"].as_str().unwrap().to_owned(), tree::read(&data)));
    }

    let adopt = ["adopt", "repo", "--password-file", "password", "--dir", "data", "--stack", "app", "--json"];
    let adopted = site.lifeboat(adopt).ok().summary();
    assert_eq!((&adopted["snapshots"], &adopted["version"]), (&3.into(), &2.into()));
    let listed = site.lifeboat(["snapshots", "--json"]).ok();
    let ids: Vec<_> = listed.lines().iter().filter_map(|line| Some(line["id"].as_str()?.to_owned())).collect();
    assert_eq!(ids, taken.iter().map(|(snapshot, _)| snapshot.clone()).collect::<Vec<_>>());
    let below = data.strip_prefix("/").unwrap();
    let restores = |taken: &[(String, Tree)], when: &str| {
        for (snapshot, expected) in taken {
            let restored = site.restore(snapshot, "out");
            tree::assert_same(expected, &tree::read(&restored.join(below)), when);
        }
    };
    restores(&taken, "after the adoption");
    lifeboat_reads_all(&site);

    change(&data, &mut dice);
    let ours = site.backup();
    let held_by_ours = tree::read(&data);
    restic_reads_all(&site);
    both_restore(&site, &ours, &held_by_ours);
    change(&data, &mut dice);
    restic_backup();
    taken.push((restic_snapshots(&site).pop().unwrap()["id"].as_str().unwrap().to_owned(), tree::read(&data)));
    lifeboat_reads_all(&site);
    restores(&taken, "after restic's backup");

    // Removing restic's snapshots works, too; those of no stack are never removed by rules.
    site.lifeboat(["forget", "--keep-last", "1"]).ok();
    assert_eq!(restic_snapshots(&site).len(), 5);
    let (gone, _) = taken.remove(0);
    site.lifeboat(["forget", "--force", &gone]).ok();
    site.lifeboat(["prune", "--grace", "0s", "--max-unused", "0"]).ok();
    restic_reads_all(&site);
    restores(&taken, "after the prune");
    both_restore(&site, &ours, &held_by_ours);
}

#[test]
fn a_version_1_repository_is_read_and_never_written() {
    if !can(program("restic")) {
        return;
    }
    let site = Site::new();
    site.restic(["init", "--repository-version", "1"]).ok();
    fill(&site.data(), &mut Dice::new(5));
    let data = site.data();
    site.restic([OsStr::new("backup"), data.as_os_str()]).ok();
    let before = tree::read(&site.repo());

    assert_eq!(site.lifeboat(["snapshots", "--json"]).ok().summary()["snapshots"], 1);
    let restored = site.restore("latest", "out");
    tree::assert_same_on_disk(&data, &restored.join(data.strip_prefix("/").unwrap()));
    lifeboat_reads_all(&site);
    for arguments in [&["backup"][..], &["prune"], &["forget", "--force", "latest"], &["heal"]] {
        let refused = site.lifeboat(arguments.iter().chain(&["--json"])).exits(1).error();
        assert_eq!(refused["code"], "unsupported", "{refused}");
        assert!(refused["message"].as_str().unwrap().contains("version 1"), "{refused}");
        assert!(refused["hint"].as_str().unwrap().contains("migrate upgrade_repo_v2"), "{refused}");
    }
    std::fs::remove_file(site.config()).unwrap();
    site.lifeboat(["adopt", "repo", "--password-file", "password", "--dir", "data"])
        .exits(1)
        .says(["version 1", "migrate"]);
    assert!(!site.config().exists());
    tree::assert_same(&before, &tree::read(&site.repo()), "the repository");

    site.restic(["migrate", "upgrade_repo_v2"]).ok();
    site.lifeboat(["adopt", "repo", "--password-file", "password", "--dir", "data"]).ok();
    site.backup();
    restic_reads_all(&site);
}

/// How often each program has to get through in the test of both at once.
const ROUNDS: usize = 6;
const PATIENCE: Duration = Duration::from_secs(240);

#[test]
fn both_programs_at_once_on_one_repository_corrupt_nothing() {
    if !can(program("restic")) {
        return;
    }
    let site = Site::initialised();
    fill(&site.data(), &mut Dice::new(6));
    let (ours, theirs) = (site.path("data/of-lifeboat"), site.path("data/of-restic"));
    std::fs::create_dir(&ours).unwrap();
    std::fs::create_dir(&theirs).unwrap();
    site.configure(&format!("files: {{ files: {{ paths: [{:?}], exclude: [of-restic] }} }}", site.data()));
    let finished = AtomicBool::new(false);
    let begun = Instant::now();
    // Repeats `step` until it got through often enough; a step that finds the repository locked does not count.
    let repeat = |step: &mut dyn FnMut(usize) -> bool| {
        let mut done = 0;
        while done < ROUNDS {
            assert!(begun.elapsed() < PATIENCE, "got through only {done} times");
            done += usize::from(step(done));
        }
    };
    std::thread::scope(|scope| {
        let backups = [
            scope.spawn(|| {
                let mut dice = Dice::new(7);
                repeat(&mut |round| {
                    std::fs::write(ours.join(format!("{round}")), dice.bytes(600_000)).unwrap();
                    let ran = site.lifeboat(["backup", "--quiet"]);
                    ran.status.code() == Some(0) || {
                        ran.exits(11);
                        false
                    }
                });
            }),
            scope.spawn(|| {
                let mut dice = Dice::new(8);
                repeat(&mut |round| {
                    std::fs::write(theirs.join(format!("{round}")), dice.bytes(600_000)).unwrap();
                    let exclude = ["backup", "--quiet", "--exclude", "of-lifeboat"];
                    let ran = site.restic(exclude.map(OsStr::new).into_iter().chain([site.data().as_os_str()]));
                    ran.status.code() == Some(0) || {
                        ran.exits(1).says(["locked"]);
                        false
                    }
                });
            }),
        ];
        let removal = scope.spawn(|| {
            let mut pruned = [0, 0];
            while !finished.load(Ordering::SeqCst) || pruned.contains(&0) {
                assert!(begun.elapsed() < PATIENCE);
                let ran = site.lifeboat(["forget", "--keep-last", "2", "--quiet"]);
                assert!([Some(0), Some(11)].contains(&ran.status.code()), "{ran}");
                let ran = site.lifeboat(["prune", "--max-unused", "0", "--quiet"]);
                assert!([Some(0), Some(11)].contains(&ran.status.code()), "{ran}");
                pruned[0] += usize::from(ran.status.success());
                let ran = site.restic(["forget", "--keep-last", "2", "--prune", "--max-unused", "0", "--quiet"]);
                assert!(ran.status.success() || ran.errors().contains("locked"), "{ran}");
                pruned[1] += usize::from(ran.status.success());
            }
            pruned
        });
        let backups = backups.map(std::thread::ScopedJoinHandle::join);
        finished.store(true, Ordering::SeqCst);
        let pruned = removal.join();
        for backup in backups {
            backup.unwrap();
        }
        eprintln!("pruned meanwhile: {:?}", pruned.unwrap());
    });

    restic_reads_all(&site);
    lifeboat_reads_all(&site);
    site.lifeboat(["prune", "--grace", "0s", "--max-unused", "0"]).ok();
    restic_reads_all(&site);
    assert_eq!(lifeboat_reads_all(&site)["unused_packs"], 0);
    let listed = restic_snapshots(&site);
    assert!(listed.len() >= 2, "{listed:?}");
    for snapshot in &listed {
        let id = snapshot["id"].as_str().unwrap();
        let by_us = site.restore(id, "by-lifeboat");
        tree::assert_same_on_disk(&by_us, &restic_restore(&site, id, "by-restic"));
    }
    assert!(site.stored("locks").is_empty());
}

/// Starts restic so that it holds its lock until its standard input ends.
fn restic_with_a_lock(site: &Site) -> Running {
    let mut command = site.restic_command(["backup", "--stdin"]);
    command.stdin(std::process::Stdio::piped());
    let running = start(&mut command);
    wait_for_lock(site);
    running
}

fn wait_for_lock(site: &Site) {
    let begun = Instant::now();
    while site.stored("locks").is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60), "no lock appeared");
        std::thread::sleep(Duration::from_millis(20));
    }
    // restic looks a second time after 200 ms.
    std::thread::sleep(Duration::from_millis(300));
}

#[test]
fn a_lock_of_restic_holds_off_what_removes_and_its_holder_is_named() {
    if !can(program("restic")) {
        return;
    }
    let site = Site::initialised();
    std::fs::write(site.data().join("a"), "a").unwrap();
    site.backup();
    let mut holder = restic_with_a_lock(&site);
    for arguments in [&["forget", "--force", "latest"][..], &["prune"], &["heal"]] {
        let ran = site.lifeboat(arguments).exits(11);
        ran.says([format!("process {}", holder.0.id()).as_str()]);
        let error = site.lifeboat(arguments.iter().chain(&["--json"])).exits(11).error();
        assert_eq!(error["code"], "locked");
    }
    // Others that only add or read go on beside it.
    site.backup();
    site.lifeboat(["check"]).ok();
    site.lifeboat(["restore", "latest", "--to", "out"]).ok();

    // A killed restic leaves its lock; nobody has to remove it by hand.
    holder.0.kill().unwrap();
    holder.0.wait().unwrap();
    assert_eq!(site.stored("locks").len(), 1);
    site.lifeboat(["prune"]).ok();
    assert!(site.stored("locks").is_empty());
}

#[test]
fn a_lock_of_lifeboat_holds_off_restic_and_goes_when_its_process_is_gone() {
    if !can(program("restic")) {
        return;
    }
    let site = Site::initialised();
    std::fs::write(site.data().join("a"), "a").unwrap();
    site.backup();
    site.configure("slow: { command: { run: 'sleep 600; echo end' } }\nfiles: { files: { paths: [data] } }");
    let mut holder = start(&mut site.lifeboat_command(["backup"]));
    wait_for_lock(&site);
    let pid = holder.0.id().to_string();
    let refused = site.restic(["prune"]).exits(1);
    refused.says(["already locked", &pid]);
    site.lifeboat(["prune"]).exits(11).says([pid.as_str()]);
    site.restic(["snapshots"]).ok();

    holder.0.kill().unwrap();
    holder.0.wait().unwrap();
    assert_eq!(site.stored("locks").len(), 1);
    site.configure("files: { files: { paths: [data] } }");
    // restic sees it as stale, by its own rules.
    site.restic(["unlock"]).ok();
    assert!(site.stored("locks").is_empty(), "restic does not take the lock of a dead process for stale");
    site.restic(["check"]).ok();
    site.lifeboat(["prune"]).ok();
}

#[test]
fn a_wrong_password_and_a_missing_repository_have_their_exit_codes() {
    let site = Site::new();
    let missing = site.lifeboat(["snapshots", "--json"]).exits(10).error();
    assert_eq!(missing["code"], "no-repository");
    assert!(missing["hint"].is_string(), "{missing}");
    site.lifeboat(["init"]).ok();
    write_secret(&site.path("password"), &PASSWORD.to_lowercase());
    let wrong = site.lifeboat(["snapshots", "--json"]).exits(12).error();
    assert_eq!(wrong["code"], "wrong-password");
    assert!(!wrong.to_string().contains(&PASSWORD.to_lowercase()), "the password is shown");
    let _ = run(&mut site.lifeboat_command(["init"])).exits(12);
    write_secret(&site.path("password"), PASSWORD);
    site.lifeboat(["snapshots"]).ok();
}
