//! Archive copies: written beside a repository, read back with `age`, `zstd` and `tar` alone and by Lifeboat, kept by the
//! same rules as everything else.

use std::path::{Path, PathBuf};
use std::process::Command;

use servers::{S3Server, SftpServer};

use crate::metadata::{grow, grow_as_root};
use crate::support::{Dice, Site, can, program, root, run, write_secret};
use crate::tree;

/// A pair of keys that opens nothing else.
const PUBLIC: &str = "age15w6w29yg9vv22n34d98tsndzuqdxll7g0tgfss3dkg9je0d7tghqj53ja6";
const SECRET: &str = "AGE-SECRET-KEY-19QYGCMMTLU0GAV0GNJW7SD4VWPRLMR0UUFFD096G7SRH09NXKAWS85SQJE\n";

/// A site with a repository and a copy `bundle` with these settings.
fn site(bundle: &str) -> Site {
    let site = Site::new();
    configure(&site, bundle);
    write_secret(&site.path("key"), SECRET);
    site.lifeboat(["init"]).ok();
    site
}

fn configure(site: &Site, bundle: &str) {
    let text = format!(
        "version: 1\nstate_dir: state\npassword_file: password\ncopies:\n  disk: {{ url: repo }}\n  \
         bundle: {{ layout: archive, {bundle} }}\nstacks:\n  app:\n    sources:\n      \
         files: {{ files: {{ paths: [{:?}] }} }}\n      more: {{ command: {{ run: \"cat words\", name: words }} }}\n",
        site.data()
    );
    std::fs::write(site.path("words"), "some words").unwrap();
    std::fs::write(site.config(), text).unwrap();
}

fn to_recipient() -> String {
    format!("url: bundles, prefix: \"x/${{stack}}/${{iso_date()}}\", recipients: [{PUBLIC}]")
}

/// The archives below a folder, by name.
fn archives(folder: &Path) -> Vec<PathBuf> {
    let found = run(Command::new("find").arg(folder).args(["-name", "*.tar.zst.age"])).ok().text();
    let mut found: Vec<PathBuf> = found.lines().map(PathBuf::from).collect();
    found.sort();
    found
}

fn of_source(folder: &Path, source: &str) -> PathBuf {
    let archives = archives(folder);
    archives.into_iter().rfind(|path| path.to_str().unwrap().contains(&format!("~{source}~"))).unwrap()
}

#[test]
fn age_zstd_and_tar_alone_give_back_what_was_backed_up() {
    if !["age", "zstd", "tar", "setfacl"].into_iter().all(|name| can(program(name))) || !can(root()) {
        return;
    }
    let site = site(&to_recipient());
    let tree_root = site.data().join("tree");
    std::fs::create_dir(&tree_root).unwrap();
    grow(&tree_root);
    grow_as_root(&tree_root);
    let done = site.lifeboat(["backup", "--json"]).ok().summary();
    let bundle = &done["copies"]["bundle"];
    assert_eq!((&bundle["status"], &bundle["archives_written"]), (&"ok".into(), &2.into()), "{done}");
    let all = archives(&site.path("bundles"));
    assert_eq!(all.len(), 2, "{all:?}");
    let name = all[0].file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("app~files~") && name.contains("~1of2~"), "{name}");
    let day = all[0].parent().unwrap();
    assert_eq!(day.parent().unwrap(), site.path("bundles/x/app"));
    let with_tar = site.path("with-tar");
    std::fs::create_dir(&with_tar).unwrap();
    // As HOW-TO-RESTORE.txt has it.
    let guide = std::fs::read_to_string(site.path("bundles/x/HOW-TO-RESTORE.txt")).unwrap();
    let line = guide.lines().find(|line| line.contains("| tar")).unwrap().trim();
    let line = line.replace("KEYFILE", site.path("key").to_str().unwrap());
    let line = line.replace("FILE", &format!("'{}'", of_source(&site.path("bundles"), "files").display()));
    run(Command::new("bash").args(["-o", "pipefail", "-c", &line]).current_dir(&with_tar)).ok();
    assert!(with_tar.join("lifeboat.json").is_file());
    let found = site.restored_data(&with_tar).join("tree");
    tree::assert_same(&tree::read(&tree_root), &tree::read(&found), "by tar");

    let path = of_source(&site.path("bundles"), "files");
    let path = path.to_str().unwrap();
    let (key, target) = (site.path("key"), site.path("with-lifeboat"));
    let (key, target) = (key.to_str().unwrap(), target.to_str().unwrap());
    let restored = site.lifeboat(["restore", path, "--to", target, "--identity", key, "--json"]).ok().summary();
    assert_eq!((&restored["compared"], &restored["differences"]), (&true.into(), &serde_json::json!([])), "{restored}");
    let found = site.restored_data(Path::new(target)).join("tree");
    tree::assert_same(&tree::read(&tree_root), &tree::read(&found), "by Lifeboat");
}

#[test]
fn an_archive_is_restored_on_a_machine_that_has_nothing_else() {
    let site = site(&to_recipient());
    let bytes = Dice::new(3).bytes(3_000_000);
    std::fs::write(site.data().join("a"), &bytes).unwrap();
    site.lifeboat(["backup"]).ok();
    let path = of_source(&site.path("bundles"), "files");
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join(path.file_name().unwrap());
    std::fs::copy(&path, &file).unwrap();
    let restore = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command.current_dir(elsewhere.path()).env("HOME", elsewhere.path()).env_remove("LIFEBOAT_CONFIG");
        run(command.arg("restore").arg(file.file_name().unwrap()).args(more))
    };
    restore(&["--to", "out"]).exits(2).says(["--identity FILE"]);
    restore(&["--in-place"]).exits(2).says(["--to DIR"]);
    write_secret(&elsewhere.path().join("wrong"), OTHER);
    let key = site.path("key");
    let key = key.to_str().unwrap();
    restore(&["--to", "out", "--identity", "wrong"]).exits(12).says(["does not open with this key"]);
    restore(&["--to", "out", "--identity", "no-such-file"]).exits(1).says(["no-such-file"]);
    restore(&["--to", "out", "--identity", key]).ok().says(["as its manifest says"]);
    let restored = std::fs::read(site.restored_data(&elsewhere.path().join("out")).join("a")).unwrap();
    assert!(restored == bytes);
    restore(&["--to", "out", "--identity", key]).exits(1).says(["files"]);
    // Cut off at its end, it is found out.
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    restore(&["--to", "cut", "--identity", key]).exits(1).says(["damaged", "NOT complete"]);
}

/// Another key.
const OTHER: &str = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX\n";

#[test]
fn rules_leave_the_archives_of_the_last_whole_state_and_remove_none_without_a_repository() {
    let site = site(&format!("{}, retention: {{ last: 1 }}", to_recipient()));
    std::fs::write(site.data().join("a"), "one").unwrap();
    let whole = site.backup();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    std::fs::remove_dir_all(site.data()).unwrap();
    std::fs::create_dir(site.data()).unwrap();
    site.lifeboat(["backup"]).exits(3);
    let held = archives(&site.path("bundles"));
    let ran = site.lifeboat(["forget", "--copy", "bundle"]).ok();
    ran.says(["newest snapshot that is not partial", "removed 0 snapshots"]);
    assert_eq!(archives(&site.path("bundles")), held);
    // What rules keep, `sync` brings, and nothing goes to and fro.
    site.lifeboat(["forget", &whole, "--copy", "bundle", "--force"]).ok();
    assert!(archives(&site.path("bundles")).len() < held.len());
    site.lifeboat(["sync"]).ok().says(["copy bundle got 1 snapshot"]);
    assert_eq!(archives(&site.path("bundles")), held);
    std::fs::rename(site.repo(), site.path("away")).unwrap();
    let ran = site.lifeboat(["forget", "--copy", "bundle", "--keep-last", "1"]).exits(10);
    ran.says(["rules remove no archives while no repository can be asked"]);
    assert_eq!(archives(&site.path("bundles")), held);
}

#[test]
fn what_an_archive_copy_lacks_is_written_again_and_old_ones_go_by_its_own_rules() {
    let site = site(&format!("{}, retention: {{ last: 2 }}", to_recipient()));
    let mut ids = Vec::new();
    for text in ["one", "two", "three"] {
        std::fs::write(site.data().join("a"), text).unwrap();
        ids.push(site.backup());
        // Names tell whole seconds.
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
    let bundles = site.path("bundles");
    assert_eq!(archives(&bundles).len(), 6);
    site.lifeboat(["forget", "--copy", "bundle", "--dry-run"]).ok().says(["would remove 1 snapshot"]);
    assert_eq!(archives(&bundles).len(), 6);
    site.lifeboat(["forget", "--copy", "bundle"]).ok().says(["removed 1 snapshot"]);
    assert_eq!(archives(&bundles).len(), 4);
    std::fs::remove_file(of_source(&bundles, "more")).unwrap();
    site.lifeboat(["status"]).exits(3).says(["copy bundle"]);
    site.lifeboat(["sync", "--copy", "bundle", "--dry-run"]).ok().says(["would write archives of 1 snapshot"]);
    site.lifeboat(["sync", "--copy", "bundle"]).ok().says(["copy bundle got 1 snapshot", "in 1 archive"]);
    assert_eq!(archives(&bundles).len(), 4, "what its rules removed does not come back");
    site.lifeboat(["sync"]).ok().says(["copy bundle is in step"]);
    let listed = site.lifeboat(["snapshots", "--json"]).ok().of_type("snapshot");
    let copies: Vec<String> = listed.iter().map(|line| line["copies"].to_string()).collect();
    assert_eq!(copies, ["[\"disk\"]", "[\"disk\",\"bundle\"]", "[\"disk\",\"bundle\"]"]);
    site.lifeboat(["snapshots", "--copy", "bundle"]).ok().says([&ids[2][..8], ".tar.zst.age", "archived"]);
    // By name it goes everywhere, but for the newest.
    site.lifeboat(["forget", &ids[2]]).exits(2).says(["is the newest of its stack"]);
    site.lifeboat(["forget", &ids[1], "--copy", "bundle"]).ok();
    assert_eq!(archives(&bundles).len(), 2);
    site.lifeboat(["forget", "--copy", "bundle", "--keep-tag", "x"]).exits(2).says(["archives carry no tags"]);
    for command in
        [&["ls", "latest", "--copy", "bundle"][..], &["prune", "--copy", "bundle"], &["drill", "--copy", "bundle"]]
    {
        site.lifeboat(command).exits(2).says(["copy bundle keeps archives"]);
    }
    let left = bundles.join("x/lifeboat-probe-1");
    std::fs::write(&left, "left by credentials that may not delete").unwrap();
    site.lifeboat(["copies", "test", "bundle"]).ok().says(["writes, reads and lists", "delete and overwrite"]);
    assert!(!left.exists());
    site.lifeboat(["protect", site.data().to_str().unwrap()]).ok().says(["came back from copy disk"]);
    site.lifeboat(["config", "check"]).ok().says(["copy bundle: listed, 2 archived snapshots"]);
    site.lifeboat(["copies"]).says(["bundle:"]);
}

#[test]
fn archives_of_another_hosts_repository_are_left_alone() {
    let one = site(&to_recipient());
    let shared = one.path("bundles");
    let two =
        site(&format!("url: {shared:?}, prefix: \"x/${{stack}}\", recipients: [{PUBLIC}], retention: {{ last: 1 }}"));
    configure(&one, &format!("url: bundles, prefix: \"x/${{stack}}\", recipients: [{PUBLIC}]"));
    one.backup();
    for text in ["one", "two"] {
        std::fs::write(two.data().join("a"), text).unwrap();
        two.backup();
        // Names tell whole seconds.
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
    let said = ["left alone: 1 snapshot of another repository", "removed 1 snapshot"];
    two.lifeboat(["forget", "--copy", "bundle"]).ok().says(said);
    assert_eq!(archives(&shared).len(), 4);
    one.lifeboat(["check", "--copy", "bundle", "--read-data"]).ok();
}

#[test]
fn a_damaged_archive_is_found_without_a_key_and_written_anew() {
    let site = site(&to_recipient());
    std::fs::write(site.data().join("a"), Dice::new(4).bytes(200_000)).unwrap();
    site.lifeboat(["backup"]).ok();
    site.lifeboat(["drill", "--all-copies"]).ok();
    site.lifeboat(["status"]).exits(3).says(["were never read back", "check --copy bundle --read-data"]);
    site.lifeboat(["check", "--read-data"]).ok().says(["copy bundle: 1 archived snapshot", "read back and as written"]);
    site.lifeboat(["status"]).ok().says(["app: safe"]);
    site.lifeboat(["check"]).ok();
    site.lifeboat(["status"]).ok().says(["app: safe"]);
    let path = of_source(&site.path("bundles"), "files");
    let seal = std::fs::read_to_string(format!("{}.sha256", path.display())).unwrap();
    run(Command::new("sha256sum")
        .arg("-c")
        .arg(format!("{}.sha256", path.display()))
        .current_dir(path.parent().unwrap()))
    .ok();
    assert!(seal.contains("bytes"));
    let whole = std::fs::read(&path).unwrap();
    let rewrite = |bytes: &[u8]| {
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
    };
    rewrite(&whole[..whole.len() - 9]);
    site.lifeboat(["check", "--copy", "bundle"]).exits(1).says(["copy bundle is DAMAGED", "`lifeboat heal`"]);
    let mut flipped = whole.clone();
    flipped[100_000] ^= 1;
    rewrite(&flipped);
    site.lifeboat(["check", "--copy", "bundle"]).ok();
    site.lifeboat(["check", "--copy", "bundle", "--read-data"]).exits(1);
    site.lifeboat(["status"]).exits(1).says(["the check of copy bundle"]);
    // What it does not read, it does not call whole.
    site.lifeboat(["heal", "--copy", "bundle"])
        .exits(3)
        .says(["NOT known to be whole", "heal --read-data --copy bundle"]);
    site.lifeboat(["heal", "--copy", "bundle", "--read-data"]).ok().says(["1 damaged archive written anew"]);
    site.lifeboat(["check", "--read-data"]).ok();
    site.lifeboat(["heal"]).ok().says(["copy bundle is whole; nothing to mend"]);
    std::fs::write(format!("{}.sha256", path.display()), "nonsense").unwrap();
    site.lifeboat(["heal"]).ok().says(["1 damaged archive written anew"]);
    site.lifeboat(["check", "--read-data"]).ok();
}

#[test]
fn a_damaged_archive_that_no_repository_can_give_anew_stays() {
    let site = site(&to_recipient());
    std::fs::write(site.data().join("a"), Dice::new(4).bytes(200_000)).unwrap();
    let first = site.backup();
    let path = of_source(&site.path("bundles"), "files");
    let mut damaged = std::fs::read(&path).unwrap();
    damaged[100_000] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, &damaged).unwrap();
    let heal = || {
        site.lifeboat(["heal", "--copy", "bundle", "--read-data"])
            .exits(3)
            .says(["NOT MENDED", "copy bundle is NOT whole: 0 damaged archives written anew, 1 left"]);
        assert!(std::fs::read(&path).unwrap() == damaged, "much of it can still be read");
        site.lifeboat(["status"]).exits(1);
    };
    site.lifeboat(["check", "--copy", "bundle", "--read-data"]).exits(1);
    // The repository is away.
    std::fs::rename(site.path("repo"), site.path("away")).unwrap();
    heal();
    std::fs::rename(site.path("away"), site.path("repo")).unwrap();
    // The repository no longer has the snapshot.
    site.backup();
    site.lifeboat(["forget", &first, "--copy", "disk"]).ok();
    heal();
    // It is gone from the configuration what the archives are of.
    let text = std::fs::read_to_string(site.config()).unwrap();
    std::fs::write(site.config(), text.replace("  app:", "  other:")).unwrap();
    site.lifeboat(["heal", "--copy", "bundle", "--read-data"]).exits(3).says(["1 left"]);
    assert!(std::fs::read(&path).unwrap() == damaged);
}

#[test]
fn what_sync_would_do_is_foretold_also_of_archives_that_are_away() {
    let site = site(&to_recipient());
    std::fs::write(site.data().join("a"), "one").unwrap();
    site.backup();
    std::fs::rename(site.path("bundles"), site.path("away")).unwrap();
    for arguments in [&["sync"][..], &["sync", "--dry-run"]] {
        site.lifeboat(arguments).exits(3).says(["copy bundle FAILED"]);
    }
    let plan = site.lifeboat(["sync", "--dry-run", "--json"]).exits(3).summary();
    assert_eq!((&plan["status"], &plan["copies"]["bundle"]["status"]), (&"partial".into(), &"failed".into()));
}

#[test]
fn what_means_nothing_for_an_archive_is_refused() {
    let site = site(&to_recipient());
    std::fs::write(site.data().join("a"), "one").unwrap();
    site.backup();
    let archive = of_source(&site.path("bundles"), "files").display().to_string();
    for flag in [&["--keep-damaged"][..], &["--copy", "bundle"], &["--stack", "app"]] {
        let arguments = [&["restore", &archive, "--to", "out"][..], flag].concat();
        site.lifeboat(&arguments).exits(2).says(["means nothing for an archive"]);
    }
    std::fs::create_dir_all(site.path("full/files")).unwrap();
    std::fs::write(site.path("full/files/mine"), "").unwrap();
    let to_full = ["restore", &archive, "--to", "full", "--dry-run"];
    site.lifeboat(to_full).exits(1).says(["is there already"]);
    // A broken configuration is named, not passed over for a missing key.
    std::fs::write(site.config(), "version: 7\n").unwrap();
    site.lifeboat(["restore", &archive, "--to", "out"]).exits(2).says(["version"]);
}

#[test]
fn the_last_whole_snapshot_of_archives_is_not_forgotten_for_one_that_is_not() {
    let site = site(&to_recipient());
    let mut ids = Vec::new();
    for text in ["one", "two"] {
        std::fs::write(site.data().join("a"), text).unwrap();
        ids.push(site.backup());
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
    std::fs::remove_file(of_source(&site.path("bundles"), "more")).unwrap();
    site.lifeboat(["forget", &ids[0]]).exits(2).says(["is the newest of its stack"]);
    assert_eq!(archives(&site.path("bundles")).len(), 3);
}

#[test]
fn a_rule_that_archives_cannot_keep_is_refused() {
    let site = site(&to_recipient());
    let text = std::fs::read_to_string(site.config()).unwrap();
    let with_tags = text.replace("    sources:", "    retention: { last: 2, tags: keep }\n    sources:");
    std::fs::write(site.config(), &with_tags).unwrap();
    site.lifeboat(["backup"]).exits(2).says(["archives carry no tags", "`retention` of its own"]);
    let own = with_tags.replace("layout: archive,", "layout: archive, retention: { last: 1 },");
    std::fs::write(site.config(), own).unwrap();
    site.lifeboat(["backup"]).ok();
}

#[test]
fn an_archive_copy_whose_disk_is_not_mounted_is_not_filled_in_its_stead() {
    let site = site(&to_recipient());
    std::fs::write(site.data().join("a"), "one").unwrap();
    site.lifeboat(["backup"]).ok();
    std::fs::rename(site.path("bundles"), site.path("away")).unwrap();
    site.lifeboat(["backup"]).exits(3).says(["copy bundle FAILED", "mount it"]);
    assert!(!site.path("bundles").exists());
    // Also where this host has forgotten that it was ever there, and `init` is asked again.
    site.lifeboat(["init"]).exits(3).says(["passed over copy bundle", "held it on", "--anew bundle"]);
    assert!(!site.path("bundles").exists());
    std::fs::remove_dir_all(site.path("state")).unwrap();
    site.lifeboat(["backup"]).exits(3).says(["copy bundle FAILED"]);
    assert!(!site.path("bundles").exists());
    site.lifeboat(["status"]).exits(1).says(["bundle"]);
    configure(&site, &format!("{}, removable: true", to_recipient()));
    site.lifeboat(["backup"]).ok().says(["copy bundle is not here"]);
    std::fs::rename(site.path("away"), site.path("bundles")).unwrap();
    site.lifeboat(["sync"]).ok().says(["copy bundle got 3 snapshots"]);
}

#[test]
fn a_passphrase_opens_archives_too_and_is_never_shown() {
    if !["age", "zstd"].into_iter().all(|name| can(program(name))) {
        return;
    }
    const PHRASE: &str = "twelve monkeys ate my backup";
    let site = Site::new();
    write_secret(&site.path("phrase"), PHRASE);
    configure(&site, "url: bundles, passphrase_file: phrase");
    site.lifeboat(["init"]).ok();
    std::fs::write(site.data().join("a"), "one").unwrap();
    let ran = site.lifeboat(["backup", "--verbose"]).ok();
    assert!(!format!("{ran}").contains(PHRASE));
    let path = of_source(&site.path("bundles"), "files");
    let path = path.to_str().unwrap();
    let target = site.path("out");
    // In the copy's own folder its passphrase is known.
    site.lifeboat(["restore", path, "--to", target.to_str().unwrap()]).ok();
    assert_eq!(std::fs::read_to_string(site.restored_data(&target).join("a")).unwrap(), "one");
    // `age` itself wants a terminal for it.
    let script = format!(
        "spawn sh -c {{age -d '{path}' | zstd -d | tar -t}}\nexpect assphrase\nsend {{{PHRASE}}}\nsend \\r\nexpect eof\n"
    );
    if can(program("expect")) {
        run(Command::new("expect").args(["-c", &script])).ok().says(["lifeboat.json", "files/"]);
    }
}

#[test]
fn a_stack_of_archives_alone_is_refused_with_what_to_do() {
    let site = Site::new();
    let text = format!(
        "version: 1\nstate_dir: state\ncopies:\n  bundle: {{ url: bundles, layout: archive, recipients: [{PUBLIC}] }}\n\
         stacks:\n  app:\n    sources:\n      files: {{ files: {{ paths: [{:?}] }} }}\n",
        site.data()
    );
    std::fs::write(site.config(), text).unwrap();
    site.lifeboat(["backup"]).exits(2).says(["all copies of this stack are archives", "without `layout: archive`"]);
}

#[test]
fn archives_go_to_a_bucket_and_a_server_and_come_back_by_their_url() {
    let (Some(s3), Some(sftp), Some(azure)) = (servers::rgw(), servers::sftp(), servers::azurite()) else { return };
    let site = Site::new();
    write_secret(&site.path("key"), SECRET);
    write_secret(&site.path("s3-id"), s3.access_key);
    write_secret(&site.path("s3-secret"), s3.secret_key);
    write_secret(&site.path("azure"), &azure.connection_string());
    let (bucket, container, place) = (s3.bucket(), azure.container(), sftp.place());
    let (user, identity, hosts) = (SftpServer::USER, sftp.key_file(), sftp.known_hosts_file());
    let layout = format!("layout: archive, recipients: [{PUBLIC}]");
    let text = format!(
        "version: 1\nstate_dir: state\npassword_file: password\ncopies:\n  disk: {{ url: repo }}\n  \
         s3: {{ url: \"s3://{bucket}/deep/er\", endpoint: \"http://127.0.0.1:{}\", region: {}, \
         access_key_id_file: s3-id, secret_access_key_file: s3-secret, {layout} }}\n  \
         azure: {{ url: \"azblob://{container}/x\", connection_string_file: azure, {layout} }}\n  \
         nas: {{ url: \"sftp://{user}@127.0.0.1:{}/{place}\", private_key_file: {identity:?}, known_hosts_file: {hosts:?}, {layout} }}\n\
         stacks:\n  app:\n    sources:\n      files: {{ files: {{ paths: [{:?}] }} }}\n",
        s3.port,
        S3Server::REGION,
        sftp.port,
        site.data()
    );
    std::fs::write(site.config(), text).unwrap();
    site.lifeboat(["init"]).ok();
    // Three parts.
    let bytes = Dice::new(9).bytes(40 << 20);
    std::fs::write(site.data().join("a"), &bytes).unwrap();
    site.lifeboat(["backup"]).ok().says([
        "copy s3 got 1 snapshot",
        "copy azure got 1 snapshot",
        "copy nas got 1 snapshot",
    ]);
    site.lifeboat(["copies", "test"]).ok();
    let listed = site.lifeboat(["snapshots", "--json"]).ok().of_type("snapshot");
    let urls: Vec<&str> = listed[0]["archives"].as_array().unwrap().iter().map(|url| url.as_str().unwrap()).collect();
    assert_eq!(urls.len(), 3, "{urls:?}");
    let key = site.path("key");
    for (number, url) in urls.into_iter().enumerate() {
        let target = site.path(format!("out-{number}"));
        let (target_text, key) = (target.to_str().unwrap(), key.to_str().unwrap());
        site.lifeboat(["restore", url, "--to", target_text, "--identity", key]).ok().says(["as its manifest says"]);
        assert!(std::fs::read(site.restored_data(&target).join("a")).unwrap() == bytes, "{url}");
    }
    std::fs::write(site.data().join("a"), "small").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    site.lifeboat(["backup"]).ok();
    for copy in ["s3", "azure", "nas"] {
        site.lifeboat(["forget", "--copy", copy, "--keep-last", "1"]).ok().says(["removed 1 snapshot"]);
        site.lifeboat(["sync", "--copy", copy, "--dry-run"]).ok();
    }
}

#[test]
fn an_archive_that_is_gone_is_a_finding_and_written_anew() {
    let site = site(&to_recipient());
    site.lifeboat(["backup"]).ok();
    let folder = site.path("bundles");
    site.lifeboat(["check", "--copy", "bundle", "--read-data"]).ok();
    let lost = of_source(&folder, "more");
    std::fs::remove_file(&lost).unwrap();
    site.lifeboat(["check", "--copy", "bundle", "--read-data"]).exits(1).says([
        "it is gone, and its seal is still there",
        "is not whole: 1 of 2 archives are there",
        "copy bundle is DAMAGED",
    ]);
    site.lifeboat(["status"]).exits(1);
    site.lifeboat(["heal", "--copy", "bundle", "--read-data"]).ok().says(["1 damaged archive written anew"]);
    site.lifeboat(["check", "--copy", "bundle", "--read-data"]).ok();
    // With its seal it leaves no trace but that the other one is alone.
    std::fs::remove_file(&lost).unwrap();
    std::fs::remove_file(format!("{}.sha256", lost.display())).unwrap();
    let ran = site.lifeboat(["check", "--copy", "bundle", "--json"]).exits(3).summary();
    assert_eq!((&ran["status"], &ran["snapshots_not_whole"]), (&"partial".into(), &1.into()));
    site.lifeboat(["sync"]).ok().says(["1 archive"]);
    site.lifeboat(["check", "--copy", "bundle"]).ok();
}

#[test]
fn an_archive_without_its_seal_is_told_of_and_left_alone() {
    let site = site(&to_recipient());
    site.lifeboat(["backup"]).ok();
    let left = of_source(&site.path("bundles"), "more");
    std::fs::remove_file(format!("{}.sha256", left.display())).unwrap();
    run(Command::new("touch").args(["-d", "2 days ago"]).arg(&left)).ok();
    site.lifeboat(["forget", "--copy", "bundle"]).ok().says(["left alone: 1 archive without a seal"]);
    assert!(left.exists(), "it may be the only one, and the seal alone be lost");
}

#[test]
fn a_changed_prefix_is_no_missing_disk() {
    let site = site(&to_recipient());
    site.lifeboat(["backup"]).ok();
    configure(&site, &to_recipient().replace("x/", "y/"));
    let said = ["2 archives lie in", "under another prefix", "such as x/app/", "put the old `prefix` back"];
    let status = site.lifeboat(["status"]).exits(1).says(said);
    assert!(!status.text().contains("mount its disk"), "{status}");
    site.lifeboat(["init"]).exits(3).says(said);
    site.lifeboat(["init", "--anew", "bundle"]).ok();
    site.lifeboat(["backup"]).ok();
}

#[test]
fn one_source_in_place_leaves_alone_what_others_hold_in_the_same_folder() {
    let site = site(&to_recipient());
    let text = std::fs::read_to_string(site.config()).unwrap();
    std::fs::write(site.config(), format!("{text}      db: {{ sqlite: {{ paths: [{:?}] }} }}\n", site.data())).unwrap();
    let fill = |name: &str, rows: u32| {
        let connection = rusqlite::Connection::open(site.data().join(name)).unwrap();
        connection.execute_batch("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY)").unwrap();
        (0..rows).for_each(|_| connection.execute_batch("INSERT INTO t DEFAULT VALUES").unwrap());
    };
    let rows = |name: &str| {
        let path = site.data().join(name);
        assert!(path.exists(), "{name} was moved away");
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, u32>(0)).unwrap()
    };
    let file = site.data().join("a");
    std::fs::write(&file, "one").unwrap();
    fill("app.db", 3);
    site.backup();
    let archive = of_source(&site.path("bundles"), "files").display().to_string();
    let alone = site.lifeboat(["backup", "--source", "files", "--json"]).ok().summary();
    let alone = format!("{}:files", alone["snapshot_id"].as_str().unwrap());
    // Since then there is more in one database, and another one.
    fill("app.db", 2);
    fill("new.db", 7);
    let key = site.path("key").display().to_string();
    for from in [&[&*archive, "--identity", &*key][..], &[&*alone]] {
        std::fs::write(&file, "two").unwrap();
        std::fs::write(site.data().join("surplus"), "").unwrap();
        let arguments = [&["restore", "--in-place", "--delete", "--yes"][..], from].concat();
        site.lifeboat(&arguments).ok();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "one", "{from:?}");
        assert!(!site.data().join("surplus").exists(), "{from:?}");
        assert_eq!((rows("app.db"), rows("new.db")), (5, 7), "{from:?}");
    }
    // Where what is theirs cannot be told, nothing is moved away.
    let text = std::fs::read_to_string(site.config()).unwrap();
    std::fs::write(site.config(), format!("{text}      keys: {{ redis: {{ files: {:?} }} }}\n", site.path("gone")))
        .unwrap();
    std::fs::write(site.data().join("surplus"), "").unwrap();
    let refused = site.lifeboat(["restore", &alone, "--in-place", "--delete", "--yes"]);
    assert!(!refused.status.success(), "{refused}");
    refused.says(["what source keys holds cannot be told", "leave --delete out"]);
    assert!(site.data().join("surplus").exists());
}

#[test]
fn the_latest_archive_of_a_source_is_that_of_this_hosts_repository() {
    let one = site(&to_recipient());
    let shared = one.path("bundles");
    let to_shared = format!("url: {shared:?}, prefix: \"x/${{stack}}\", recipients: [{PUBLIC}]");
    let two = site(&to_shared);
    configure(&one, &to_shared);
    std::fs::write(one.data().join("a"), "one").unwrap();
    let of_one = one.backup();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    // What is newer has another source alone, or is another host's.
    one.lifeboat(["backup", "--source", "more"]).ok();
    std::fs::write(two.data().join("a"), "two").unwrap();
    let of_two = two.backup();
    let key = one.path("key").display().to_string();
    let restore = |snapshot: &str, target: &str| {
        let uri = format!("lifeboat:bundle/{snapshot}/files");
        one.lifeboat(["restore", &uri, "--to", one.path(target).to_str().unwrap(), "--identity", &key])
    };
    restore("latest", "out").ok();
    assert_eq!(std::fs::read_to_string(one.restored_data(&one.path("out")).join("a")).unwrap(), "one");
    std::fs::remove_dir_all(one.path("state")).unwrap();
    restore("latest", "again").ok();
    assert_eq!(std::fs::read_to_string(one.restored_data(&one.path("again")).join("a")).unwrap(), "one");
    // Where nothing tells which is its own, none is taken.
    std::fs::rename(one.repo(), one.path("away")).unwrap();
    let refused = restore("latest", "which");
    assert!(!refused.status.success() && !one.path("which").exists(), "{refused}");
    refused.says(["archives of several repositories", &of_one[..8], &of_two[..8], "name one by its id"]);
    restore(&of_one, "named").ok();
}
