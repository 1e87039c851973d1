//! Every command, in its form for people and in its form for programs, on a small stack of every kind of source.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{PASSWORD, Site, can, program, root, run};
use crate::tree;

/// A site whose stack has a source of each kind.
fn stack() -> Site {
    let site = Site::new();
    fill(&site.data());
    site.configure(
        "database: { sqlite: { paths: [data] } }\n\
         compose: { compose: { files: [data/compose/compose.yaml] } }\n\
         report: { command: { run: 'echo one; echo two; echo \"-- complete\"', name: report.sql, trailer: '-- complete' } }\n\
         files: { files: { paths: [data], exclude: ['*.tmp'] } }",
    );
    site.lifeboat(["init"]).ok();
    site
}

fn fill(data: &Path) {
    std::fs::create_dir_all(data.join("photos/2024")).unwrap();
    std::fs::write(data.join("photos/2024/a.jpg"), vec![7; 300_000]).unwrap();
    std::fs::write(data.join("notes.txt"), "first\n").unwrap();
    std::fs::write(data.join("scratch.tmp"), "not kept\n").unwrap();
    std::fs::create_dir(data.join("compose")).unwrap();
    std::fs::write(
        data.join("compose/compose.yaml"),
        "services:\n  web:\n    image: \"nginx:${TAG}\"\n    env_file: [web.env]\n",
    )
    .unwrap();
    std::fs::write(data.join("compose/.env"), "TAG=1.27\n").unwrap();
    std::fs::write(data.join("compose/web.env"), "COLOUR=blue\n").unwrap();
    let database = rusqlite::Connection::open(data.join("app.db")).unwrap();
    database
        .execute_batch(
            "PRAGMA journal_mode=WAL; CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT);
             INSERT INTO item (name) VALUES ('one'), ('two'), ('three');",
        )
        .unwrap();
}

/// Where a file of the data lies in a snapshot.
fn place(site: &Site, snapshot: &str, source: &str, file: &str) -> String {
    format!("{snapshot}:{source}{}", site.data().join(file).display())
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn init_writes_configuration_password_and_repository_and_a_second_one_changes_nothing() {
    let site = Site::new();
    fill(&site.data());
    std::fs::remove_file(site.config()).unwrap();
    std::fs::remove_file(site.path("password")).unwrap();
    let refused = site.lifeboat(["init", "data", "--json"]).exits(2).error();
    assert!(refused["hint"].as_str().unwrap().contains("--yes"), "{refused}");
    assert!(!site.config().exists() && !site.path("lifeboat.password").exists());

    let made = site.lifeboat(["init", "data", "--stack", "app", "--copy", "repo", "--yes", "--json"]).ok().summary();
    assert_eq!((&made["status"], &made["created"]), (&json!("ok"), &json!(true)));
    assert_eq!(mode(&site.path("lifeboat.password")), 0o600);
    assert!(std::fs::read_to_string(site.path("lifeboat.password")).unwrap().trim().len() >= 40);
    let before = [site.config(), site.path("lifeboat.password")].map(|file| std::fs::read(file).unwrap());
    site.lifeboat(["init", "data", "--yes"]).ok().says(["stays as it is", "it opens"]);
    assert_eq!(before, [site.config(), site.path("lifeboat.password")].map(|file| std::fs::read(file).unwrap()));

    // What was found is what is then backed up.
    site.lifeboat(["config", "check"]).ok();
    let backup = site.lifeboat(["backup", "--json"]).ok().summary();
    let kinds: Vec<&str> =
        backup["sources"].as_object().unwrap().values().map(|source| source["kind"].as_str().unwrap()).collect();
    for kind in ["files", "sqlite", "compose"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }

    // A lost password file is not replaced by a new one, which would open nothing.
    std::fs::remove_file(site.path("lifeboat.password")).unwrap();
    site.lifeboat(["init", "data", "--yes"]).exits(2).says(["missing", "put the password of that repository there"]);
    assert!(!site.path("lifeboat.password").exists());
}

#[test]
fn protect_goes_from_a_folder_to_a_proven_backup() {
    let site = Site::new();
    fill(&site.data());
    std::fs::remove_file(site.config()).unwrap();
    let said = site.lifeboat(["protect", "data", "--to", "repo"]).ok();
    said.says(["found in", "drill passed", "lifeboat.password", "WITHOUT IT THE BACKUPS CANNOT BE READ", "next:"]);
    assert_eq!(site.lifeboat(["status", "--json"]).ok().summary()["status"], "ok");
    site.lifeboat(["status"]).ok().says(["data: safe"]);
    let again = site.lifeboat(["protect", "data", "--json"]).ok().summary();
    assert_eq!((&again["status"], &again["level"]), (&json!("passed"), &json!(3)));
    site.lifeboat(["protect", "elsewhere"]).exits(1);
    // With a configuration, the places are those that it names: another one is neither used nor made.
    site.lifeboat(["protect", "data", "--to", "another"]).exits(2).says(["--to"]);
    assert!(!site.path("another").exists());
    // A repository that is gone, such as on a disk that is not mounted, is not made anew in its empty place.
    std::fs::rename(site.repo(), site.path("unmounted")).unwrap();
    site.lifeboat(["protect", "data"]).exits(10);
    assert!(!site.repo().exists());
}

#[test]
fn discover_shows_databases_projects_and_what_is_not_covered() {
    let site = Site::new();
    fill(&site.data());
    site.lifeboat(["discover", "data"]).ok().says(["app.db", "compose project", "nginx:1.27"]);
    let found = site.lifeboat(["discover", "data", "--json"]).ok().summary();
    assert_eq!(found["databases"].as_array().unwrap().len(), 1);
    assert_eq!(found["projects"][0]["services"]["web"], "nginx:1.27");
    site.lifeboat(["discover", "nowhere"]).exits(1).says(["nowhere"]);
}

#[test]
fn backup_takes_all_sources_or_some_and_a_dry_run_stores_nothing() {
    let site = stack();
    let before = tree::read(&site.repo());
    let preview = site.lifeboat(["backup", "--dry-run", "--json"]).ok().summary();
    assert_eq!(preview["dry_run"], true);
    // The command is not run for a look.
    assert_eq!(preview["sources"].as_object().unwrap().len(), 3, "{preview}");
    site.lifeboat(["backup", "--dry-run"]).ok().says(["files: ", "database: "]);
    tree::assert_same(&before, &tree::read(&site.repo()), "the repository after a dry run");

    let first = site.lifeboat(["backup", "app", "--json"]).ok().summary();
    assert_eq!((&first["status"], &first["stack"], &first["problems"]), (&json!("ok"), &json!("app"), &json!(0)));
    assert_eq!(first["sources"]["database"]["facts"]["databases"].as_object().map(serde_json::Map::len), Some(1));
    assert_eq!(first["copies"]["disk"]["status"], "ok");
    assert!(first["parent"].is_null() && first["bytes_added"].as_u64().unwrap() > 0);

    let second = site.lifeboat(["backup", "--tag", "nightly", "--tag", "t2", "--json"]).ok().summary();
    assert_eq!(second["parent"], first["snapshot_id"]);
    assert!(second["files_unmodified"].as_u64().unwrap() > 0, "{second}");
    let some = site.lifeboat(["backup", "--source", "report", "--json"]).ok().summary();
    assert_eq!(some["sources"].as_object().unwrap().keys().collect::<Vec<_>>(), ["report"]);
    site.lifeboat(["backup"]).ok().says(["is complete", "database (sqlite)", "unchanged"]);
    assert!(!site.lifeboat(["backup", "--quiet"]).ok().text().contains("unchanged"));

    let listed = site.lifeboat(["snapshots", "--json"]).ok();
    let listed = listed.of_type("snapshot");
    assert_eq!(listed.len(), 5);
    assert!(listed[1]["tags"].as_array().unwrap().contains(&json!("nightly")));
    assert_eq!(listed[2]["sources"], json!(["report"]));
    // `latest` is the stack, not a part of it.
    assert_ne!(site.lifeboat(["drill", "--level", "0", "--json"]).ok().summary()["snapshot_id"], some["snapshot_id"]);

    let unknown = site.lifeboat(["backup", "ap", "--json"]).error();
    assert!(unknown["message"].as_str().unwrap().contains("ap"), "{unknown}");
    assert!(unknown["hint"].as_str().unwrap().contains("app"), "{unknown}");
    let unknown = site.lifeboat(["backup", "--source", "file", "--json"]).error();
    assert!(unknown["hint"].as_str().unwrap().contains("files"), "{unknown}");
}

#[test]
fn snapshots_are_looked_into_file_by_file() {
    let site = stack();
    let first = site.backup();
    std::fs::write(site.data().join("notes.txt"), "second, and longer\n").unwrap();
    std::fs::remove_file(site.data().join("photos/2024/a.jpg")).unwrap();
    std::fs::write(site.data().join("photos/b.jpg"), "new").unwrap();
    let second = site.backup();

    site.lifeboat(["snapshots"]).ok().says([&first[..8], &second[..8], "2 snapshots", "complete, not drilled"]);
    assert_eq!(site.lifeboat(["snapshots", "app", "--json"]).ok().summary()["snapshots"], 2);
    site.lifeboat(["snapshots", "other"]).exits(1).says(["no stack `other`"]);

    site.lifeboat(["ls"]).ok().says(["lifeboat.json\n", "RESTORE.md\n", "files/\n", "report/\n"]);
    site.lifeboat(["ls", "latest:report"]).ok().says(["report/report.sql"]);
    site.lifeboat(["ls", &first[..10], "--recursive", "--long"]).ok().says(["a.jpg", "300000", "0644"]);
    let nodes = site.lifeboat(["ls", &place(&site, &first, "files", ""), "--json"]).ok();
    let paths: Vec<_> = nodes.of_type("node").iter().map(|node| node["path"].as_str().unwrap().to_owned()).collect();
    assert!(paths.iter().any(|path| path.ends_with("/notes.txt")), "{paths:?}");
    assert!(!paths.iter().any(|path| path.ends_with(".tmp")), "{paths:?}");

    assert_eq!(site.lifeboat(["cat", &place(&site, &first, "files", "notes.txt")]).ok().text(), "first\n");
    assert_eq!(
        site.lifeboat(["cat", &place(&site, "latest", "files", "notes.txt")]).ok().text(),
        "second, and longer\n"
    );
    assert_eq!(site.lifeboat(["cat", "latest:report/report.sql"]).ok().text(), "one\ntwo\n-- complete\n");
    let manifest = site.lifeboat(["cat", "latest:lifeboat.json"]).ok();
    assert_eq!(serde_json::from_slice::<Value>(&manifest.stdout).unwrap()["stack"], "app");
    site.lifeboat(["cat", "latest:RESTORE.md"]).ok().says(["restic"]);
    let folder = site.lifeboat(["cat", "latest:files", "--json"]).exits(1).error();
    assert_eq!(folder["code"], "not-found");
    site.lifeboat(["cat", "latest:no/such"]).exits(1).says(["no/such", "lifeboat ls"]);

    site.lifeboat(["find", "?.jpg"]).ok().says([&first[..8], "a.jpg", &second[..8], "b.jpg", "2 found in 2 snapshots"]);
    let found = site.lifeboat(["find", "notes*", "--snapshot", &second, "--json"]).ok();
    assert_eq!((found.of_type("match").len(), &found.summary()["matches"]), (1, &json!(1)));
    assert_eq!(site.lifeboat(["find", "nothing", "--json"]).ok().summary()["matches"], 0);

    let data = site.data().strip_prefix("/").unwrap().display().to_string();
    let [changed, gone, new] = ["M  ", "-  ", "+  "].map(|sign| format!("{sign}files/{data}/"));
    site.lifeboat(["diff", &first, "latest"]).ok().says([
        &*format!("{changed}notes.txt"),
        &format!("{gone}photos/2024/a.jpg"),
        &format!("{new}photos/b.jpg"),
    ]);
    let folders = [place(&site, &first, "files", "photos"), place(&site, &second, "files", "photos")];
    let diff = site.lifeboat(["diff", &folders[0], &folders[1], "--json"]).ok();
    let totals = diff.summary();
    assert_eq!([&totals["added"], &totals["removed"], &totals["changed"]], [1, 1, 0], "{totals}");
    assert_eq!(diff.of_type("change").len(), 2);

    for command in ["ls", "cat", "restore"] {
        let missing = site.lifeboat(
            [command, "ffffffff:files", "--json"].into_iter().chain((command == "restore").then_some("--to=x")),
        );
        let missing = missing.exits(1).error();
        assert_eq!(missing["code"], "not-found");
        assert!(missing["hint"].as_str().unwrap().contains("lifeboat snapshots"), "{missing}");
    }
}

#[test]
fn restore_brings_back_all_or_a_part_and_never_into_what_is_there() {
    let site = stack();
    let snapshot = site.backup();
    let before = tree::read(&site.data());
    let target = site.path("out");
    let preview = site.lifeboat(["restore", "latest", "--to", "out", "--dry-run", "--json"]).ok().summary();
    assert_eq!(preview["dry_run"], true);
    site.lifeboat(["restore", "latest", "--to", "out", "--dry-run"]).ok().says(["would restore"]);
    assert!(!target.exists());

    let done = site.lifeboat(["restore", &snapshot, "--to", "out", "--json"]).ok().summary();
    assert_eq!((&done["status"], &done["files"]), (&json!("ok"), &preview["files"]));
    let mut found = tree::read(&site.restored_data(&target));
    // Databases come from their own source, and what is excluded does not come at all.
    let mut expected = before;
    for absent in
        ["app.db", "app.db-wal", "app.db-shm", "scratch.tmp", "compose/compose.yaml", "compose/.env", "compose/web.env"]
    {
        expected.remove(Path::new(absent));
        found.remove(Path::new(absent));
    }
    expected.remove(Path::new("compose"));
    found.remove(Path::new("compose"));
    tree::assert_same(&expected, &found, "the whole snapshot");
    let data = site.data().strip_prefix("/").unwrap().to_owned();
    let database = rusqlite::Connection::open(target.join("database").join(&data).join("app.db")).unwrap();
    assert_eq!(database.query_row("SELECT count(*) FROM item", [], |row| row.get::<_, i64>(0)), Ok(3));
    assert_eq!(std::fs::read_to_string(target.join("report/report.sql")).unwrap(), "one\ntwo\n-- complete\n");
    assert_eq!(
        std::fs::read(target.join("compose").join(&data).join("compose/web.env")).unwrap(),
        std::fs::read(site.data().join("compose/web.env")).unwrap()
    );

    let refused = site.lifeboat(["restore", "latest", "--to", "out", "--json"]).exits(1).error();
    assert!(refused["message"].as_str().unwrap().contains("out"), "{refused}");
    assert!(refused.to_string().contains("not empty"), "{refused}");
    site.lifeboat(["restore", "latest:report", "--to", "part"]).ok();
    assert_eq!(tree::read(&site.path("part")).keys().collect::<Vec<_>>(), [Path::new(""), Path::new("report.sql")]);
    site.lifeboat(["restore", &place(&site, "latest", "files", "photos"), "--to", "photos"]).ok();
    tree::assert_same_on_disk(&site.data().join("photos"), &site.path("photos"));
    site.lifeboat(["restore", &place(&site, "latest", "files", "notes.txt"), "--to", "single"]).ok().says(["1 file"]);
    assert_eq!(std::fs::read_to_string(site.path("single/notes.txt")).unwrap(), "first\n");
    site.lifeboat(["restore", "latest"]).exits(2).says(["--to DIR", "--in-place"]);
    site.lifeboat(["restore", "latest:no/such", "--to", "new"]).exits(1).says(["no/such"]);
    assert!(!site.path("new").exists(), "a folder was made for what is not there");
    site.lifeboat(["restore", "latest:../x", "--to", "new"]).exits(2);
}

#[test]
fn restore_in_place_keeps_what_was_there_for_an_undo() {
    let site = Site::initialised();
    std::fs::write(site.data().join("kept"), "good\n").unwrap();
    std::fs::write(site.data().join("same"), "same\n").unwrap();
    site.backup();
    let good = tree::read(&site.data());
    std::fs::write(site.data().join("kept"), "bad\n").unwrap();
    std::fs::write(site.data().join("came later"), "mine\n").unwrap();
    let bad = tree::read(&site.data());

    site.lifeboat(["restore", "latest", "--in-place"]).exits(2).says(["must be confirmed", "--yes"]);
    let preview = site.lifeboat(["restore", "latest:files", "--in-place", "--dry-run", "--json"]).ok().summary();
    assert_eq!((&preview["dry_run"], &preview["identical"].as_u64().is_some()), (&json!(true), &true));
    site.lifeboat(["restore", "latest:files", "--in-place", "--dry-run"]).ok().says(["kept"]);
    // A file that a program has open is not replaced under its hands.
    let in_use = std::fs::File::open(site.data().join("kept")).unwrap();
    let blocked = site.lifeboat(["restore", "latest:files", "--in-place", "--dry-run", "--json"]).exits(1).summary();
    assert_eq!((&blocked["status"], &blocked["dry_run"]), (&json!("blocked"), &json!(true)));
    assert!(blocked["findings"].to_string().contains("kept"), "{blocked}");
    site.lifeboat(["restore", "latest:files", "--in-place", "--yes"]).exits(1).says(["kept"]);
    drop(in_use);
    tree::assert_same(&bad, &tree::read(&site.data()), "after dry runs");

    let done = site.lifeboat(["restore", "latest:files", "--in-place", "--yes", "--json"]).ok().summary();
    assert_eq!(std::fs::read_to_string(site.data().join("kept")).unwrap(), "good\n");
    assert_eq!(std::fs::read_to_string(site.data().join("came later")).unwrap(), "mine\n");
    let undo = done["undo"][0].as_str().unwrap().to_owned();
    site.lifeboat(["restore", "--undo", &undo]).ok().says(["is back"]);
    let mut undone = tree::read(&site.data());
    undone.retain(|path, _| bad.contains_key(path));
    tree::assert_same(&bad, &undone, "after the undo");

    let done = site.lifeboat(["restore", "latest:files", "--in-place", "--delete", "--yes", "--json"]).ok().summary();
    let undo = done["undo"][0].as_str().unwrap().to_owned();
    site.lifeboat(["restore", "--drop-undo", &undo]).ok();
    assert!(!Path::new(&undo).exists());
    let mut found = tree::read(&site.data());
    found.retain(|path, _| !path.to_string_lossy().contains("undo"));
    tree::assert_same(&good, &found, "after a restore that deletes");
}

#[test]
fn drills_of_every_level_prove_the_copy() {
    let site = stack();
    site.backup();
    site.lifeboat(["status"]).exits(3).says(["never drilled", "lifeboat drill app --copy disk"]);
    for level in ["0", "1", "2", "3"] {
        let drilled = site.lifeboat(["drill", "--level", level, "--json"]).ok().summary();
        assert_eq!((&drilled["status"], drilled["level"].to_string()), (&json!("passed"), level.to_owned()));
        // The first two levels look at the copy as a whole.
        let sources = if level < "2" { 0 } else { 4 };
        assert_eq!(drilled["sources"].as_object().unwrap().len(), sources, "{drilled}");
        assert!(drilled["rto_s"].as_f64().unwrap() > 0.0 && !drilled["receipt"].is_null());
    }
    site.lifeboat(["drill", "app", "--all-copies"]).ok().says(["drill passed", "level 3"]);
    site.lifeboat(["drill", "--level", "4"]).exits(2).says(["levels 0 to 3"]);
    site.lifeboat(["drill", "--copy", "tape"]).says(["tape", "disk"]);
    let listed = site.lifeboat(["snapshots", "--json"]).ok();
    assert_eq!(listed.of_type("snapshot")[0]["drilled"]["disk"]["level"], 3);
    site.lifeboat(["snapshots"]).ok().says(["proven"]);
    assert_eq!(site.lifeboat(["status", "--json"]).ok().summary()["status"], "ok");
    // Drills leave nothing behind.
    assert!(is_empty(&site.path("state/scratch")));
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none())
}

#[test]
fn check_finds_and_heal_mends_a_lost_index() {
    let site = stack();
    let snapshot = site.backup();
    site.lifeboat(["check"]).ok().says(["structure is whole", "--read-data"]);
    let all = site.lifeboat(["check", "--read-data", "--json"]).ok().summary();
    assert_eq!((&all["status"], &all["packs_read"]), (&json!("ok"), &all["packs"]));
    let half = site.lifeboat(["check", "--read-data-subset", "50%", "--json"]).ok().summary();
    assert!(half["packs_read"].as_u64().unwrap() >= 1 && half["packs_read"].as_u64() <= all["packs_read"].as_u64());
    site.lifeboat(["check", "--read-data-subset", "half"]).exits(2);
    site.lifeboat(["check", "--read-data", "--read-data-subset", "5%"]).exits(2);
    site.lifeboat(["heal"]).ok().says(["nothing to mend"]);

    for file in site.stored("index") {
        std::fs::remove_file(file).unwrap();
    }
    let found = site.lifeboat(["check", "--json"]).exits(1);
    assert_eq!(found.summary()["status"], "damaged");
    assert!(!found.of_type("finding").is_empty());
    site.lifeboat(["check"]).exits(1).says(["DAMAGED", "lifeboat heal"]);
    let healed = site.lifeboat(["heal", "--json"]).ok().summary();
    assert_eq!(healed["packs_added"], all["packs"]);
    site.lifeboat(["check", "--read-data"]).ok();
    site.restore(&snapshot, "out");
}

#[test]
fn forget_and_prune_show_first_and_remove_then() {
    let site = stack();
    let taken: Vec<String> = (0..4)
        .map(|number: u32| {
            std::fs::write(site.data().join("changing"), number.to_string().repeat(100_000)).unwrap();
            site.backup()
        })
        .collect();
    let preview = site.lifeboat(["forget", "--keep-last", "2", "--dry-run", "--json"]).ok();
    assert_eq!(preview.summary()["removed"].as_array().unwrap().len(), 2);
    assert_eq!(preview.of_type("verdict").len(), 4);
    site.lifeboat(["forget", "--keep-last", "2", "--dry-run"]).ok().says([
        "keep",
        "remove",
        "would remove 2 snapshots",
    ]);
    assert_eq!(site.stored("snapshots").len(), 4);
    // By the preset, the last three stay, and the oldest as long as there is no older one of another hour.
    site.lifeboat(["forget"]).ok().says(["last snapshot", "oldest hourly snapshot", "removed 0 snapshots"]);
    site.lifeboat(["forget", "--keep-last", "3"]).ok().says(["removed 1 snapshot\n"]);
    assert_eq!(site.stored("snapshots").len(), 3);

    site.lifeboat(["forget", "--force", &taken[1][..12], &taken[2]])
        .ok()
        .says(["removed 2 snapshots", "lifeboat prune"]);
    let before = tree::read(&site.repo());
    let plan = site.lifeboat(["prune", "--dry-run", "--json"]).ok().summary();
    assert!(plan["bytes_unused"].as_u64().unwrap() > 0, "{plan}");
    site.lifeboat(["prune", "--dry-run"]).ok().says(["not needed"]);
    tree::assert_same(&before, &tree::read(&site.repo()), "the repository after a dry run");
    let pruned = site.lifeboat(["prune", "--json"]).ok().summary();
    assert_eq!(pruned["packs_deleted"], 0);
    site.lifeboat(["prune"]).ok().says(["--grace 0s"]);
    let pruned = site.lifeboat(["prune", "--grace", "0s", "--json"]).ok().summary();
    assert!(pruned["packs_deleted"].as_u64().unwrap() > 0, "{pruned}");
    site.lifeboat(["check", "--read-data"]).ok();
    site.lifeboat(["forget", "--keep-last", "1", "--prune", "--json"]).ok().summary();
    site.lifeboat(["forget", "--keep-last", "some"]).exits(2).says(["--keep-last"]);
    site.lifeboat(["forget", "--keep-last", "0"]).exits(2).says(["keep nothing"]);
    // The newest goes only where that is said.
    site.lifeboat(["forget", "latest"]).exits(2).says(["newest of its stack", "--force"]);
    assert_eq!(site.stored("snapshots").len(), 1);
    site.lifeboat(["drill"]).ok();
    assert_eq!(site.stored("lifeboat/receipts").len(), 1);
    site.lifeboat(["forget", "latest", "--force"]).ok();
    assert_eq!((site.stored("snapshots").len(), site.stored("lifeboat/receipts").len()), (0, 0));
    site.lifeboat(["forget", "ffff"]).exits(1).says(["ffff"]);
    site.lifeboat(["prune", "--grace", "soon"]).exits(2);
}

#[test]
fn status_says_what_is_wrong_and_what_to_do() {
    let site = stack();
    let never = site.lifeboat(["status", "--json"]).exits(1).summary();
    assert_eq!(never["status"], "critical");
    assert!(never["stacks"]["app"]["problems"][0]["fix"].as_str().unwrap().contains("lifeboat backup app"), "{never}");
    site.lifeboat(["status"]).exits(1).says(["app: NOT SAFE", "never backed up"]);
    site.backup();
    site.lifeboat(["drill"]).ok();
    site.lifeboat(["status"]).ok().says(["app: safe", "copies 1", "verified 1"]);
    std::fs::rename(site.repo(), site.path("away")).unwrap();
    site.lifeboat(["status"]).exits(1).says(["NOT SAFE", "copy disk holds no repository"]);
}

#[test]
fn the_configuration_is_described_shown_and_tried() {
    let site = stack();
    let schema: Value = serde_json::from_slice(&site.lifeboat(["config", "schema"]).ok().stdout).unwrap();
    assert!(schema["properties"]["stacks"].is_object());
    site.lifeboat(["config", "show"]).ok().says(["version: 1", "copies:", "keep", "files"].into_iter().take(2));
    let text = std::fs::read_to_string(site.config()).unwrap();
    std::fs::write(site.config(), text.replace("password_file: password", &format!("password: {PASSWORD}"))).unwrap();
    for form in [&["config", "show"][..], &["config", "show", "--json"], &["config", "check"]] {
        let shown = site.lifeboat(form).ok();
        assert!(!shown.to_string().contains(PASSWORD), "the password is shown");
    }
    let tried = site.lifeboat(["config", "check", "--json"]).ok();
    assert_eq!((tried.summary()["failed"].clone(), tried.of_type("tried").len()), (json!(0), 5));
    std::fs::rename(site.data().join("compose"), site.path("elsewhere")).unwrap();
    site.lifeboat(["config", "check"]).exits(1).says(["FAILED", "compose"]);
}

#[test]
fn mistakes_in_the_configuration_name_file_line_and_column() {
    let site = Site::new();
    let text = std::fs::read_to_string(site.config()).unwrap();
    for (from, to, place, said) in [
        ("state_dir: state", "state_dri: state", "lifeboat.yaml:2:1", "state_dir"),
        ("version: 1", "version: 7", "lifeboat.yaml:1:10", "1"),
        ("{ url: repo }", "{ url: repo, medai: disk }", "lifeboat.yaml:5:22", "media"),
        ("files: { files:", "files: { flies:", "lifeboat.yaml:9:", "files"),
        ("password_file: password", "password_file: ${NO_SUCH_VARIABLE}", "lifeboat.yaml:3:16", "NO_SUCH_VARIABLE"),
        ("stacks:", "stacks: [", "lifeboat.yaml:", "yaml"),
    ] {
        assert!(text.contains(from), "{text}");
        std::fs::write(site.config(), text.replacen(from, to, 1)).unwrap();
        let error = site.lifeboat(["backup", "--json"]).exits(2).error();
        assert_eq!(error["code"], "config", "{error}");
        assert!(error.to_string().contains(place), "{to}: {error}");
        site.lifeboat(["backup"]).exits(2).says([place, said]);
    }
    std::fs::remove_file(site.config()).unwrap();
    let missing = site.lifeboat(["backup", "--json"]).exits(2).error();
    assert!(missing["hint"].as_str().unwrap().contains("lifeboat init"), "{missing}");
}

#[test]
fn a_password_file_that_others_may_read_is_refused() {
    let site = stack();
    let password = site.path("password");
    for (mode, code) in [(0o644, 2), (0o640, 2), (0o604, 2), (0o600, 0), (0o400, 0)] {
        std::fs::set_permissions(&password, std::fs::Permissions::from_mode(mode)).unwrap();
        let ran = site.lifeboat(["snapshots"]);
        if code == 2 {
            ran.exits(2).says(["chmod 600", "password"]);
        } else {
            ran.exits(0);
        }
    }
    std::fs::remove_file(&password).unwrap();
    site.lifeboat(["snapshots"]).exits(2).says(["password"]);
    // Where one lies already, the first command ends before it has set up anything, and works once that is mended.
    std::fs::remove_file(site.config()).unwrap();
    let own = site.path("lifeboat.password");
    std::fs::write(&own, "secret words\n").unwrap();
    std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o644)).unwrap();
    site.lifeboat(["protect", "data"]).exits(2).says(["chmod 600"]);
    assert!(!site.config().exists());
    std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o600)).unwrap();
    site.lifeboat(["protect", "data"]).ok();
}

#[test]
fn completions_are_printed_for_shells() {
    let site = Site::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = site.lifeboat(["completions", shell]).ok();
        assert!(script.text().contains("lifeboat") && script.text().contains("snapshots"));
        let file = site.path("completions");
        std::fs::write(&file, &script.stdout).unwrap();
        if program(shell).is_ok() {
            run(Command::new(shell).arg("-n").arg(&file)).ok();
        }
    }
    site.lifeboat(["completions", "tcsh"]).exits(2);
}

#[test]
fn usage_errors_exit_with_2_and_help_with_0() {
    let site = Site::new();
    for wrong in [&["bakcup"][..], &[], &["backup", "--no-such"], &["restore"], &["ls", ":x"]] {
        let ran = site.lifeboat(wrong).exits(2);
        assert!(ran.errors().contains("--help") || ran.errors().contains("Usage: lifeboat"), "{ran}");
    }
    site.lifeboat(["bakcup"]).says(["backup"]);
    let version = site.lifeboat(["--version"]).ok().text();
    assert!(version.starts_with("lifeboat ") && version.contains('('), "{version}");
    let help = site.lifeboat(["--help"]).ok().text();
    for command in [
        "protect",
        "init",
        "discover",
        "backup",
        "snapshots",
        "ls",
        "cat",
        "find",
        "diff",
        "docs",
        "restore",
        "drill",
        "check",
        "heal",
        "forget",
        "prune",
        "adopt",
        "key",
        "status",
        "config",
        "completions",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is not in the help");
        let help = site.lifeboat([command, "--help"]).ok().text();
        assert!(help.contains("--json"), "{help}");
    }
    // Where JSON was asked for, even a usage error is JSON.
    let error = site.lifeboat(["backup", "--no-such", "--json"]).exits(2).error();
    assert_eq!(error["code"], "usage");
}

#[test]
fn a_vanished_path_makes_the_run_partial_and_is_named() {
    let site = stack();
    site.configure("files: { files: { paths: [data, gone] } }");
    let ran = site.lifeboat(["backup", "--json"]).exits(3);
    let summary = ran.summary();
    assert_eq!((&summary["status"], &summary["problems"]), (&json!("partial"), &json!(1)));
    assert!(summary["sources"]["files"]["problems"].to_string().contains("/gone"), "{summary}");
    site.lifeboat(["backup"]).exits(3).says(["PARTIAL", "/gone"]);
    site.lifeboat(["status"]).exits(1).says(["NOT SAFE", "partial"]);
    site.lifeboat(["snapshots"]).ok().says(["PARTIAL"]);
    site.lifeboat(["snapshots", "--problems"]).ok().says(["/gone"]);
}

#[test]
fn a_restore_of_a_stack_takes_its_newest_snapshot_and_asks_where_to() {
    let site = Site::initialised();
    std::fs::write(site.data().join("a"), "a").unwrap();
    site.backup();
    for arguments in [&["restore", "--stack", "app"][..], &["restore", "latest"]] {
        site.lifeboat(arguments)
            .exits(2)
            .says(["say where to: --to DIR", "--to DIR --as-host puts the whole host back"]);
    }
    // All of a stack, as it lay on its host; a snapshot's sources lie in a folder each.
    site.lifeboat(["restore", "--stack", "app", "--to", "back"]).ok().says(["next, as root on the new host"]);
    let data = site.data();
    assert!(site.path("back").join(data.strip_prefix("/").unwrap()).join("a").is_file());
    site.lifeboat(["restore", "latest", "--stack", "app", "--to", "sources"]).ok();
    assert!(site.path("sources/files").is_dir());
    site.lifeboat(["restore", "--to", "back"]).exits(2);
}

#[test]
fn a_check_of_a_small_share_still_reads_something() {
    let site = Site::initialised();
    std::fs::write(site.data().join("a"), "a").unwrap();
    site.backup();
    let checked = site.lifeboat(["check", "--read-data-subset", "0.01%", "--json"]).ok().summary();
    assert!(checked["packs_read"].as_u64().unwrap() > 0, "{checked}");
    site.lifeboat(["check", "--read-data-subset", "0%"]).exits(2).says(["above 0%"]);
}

#[test]
fn a_failed_source_fails_the_run_and_leaves_no_snapshot() {
    let site = stack();
    for (command, said) in [
        ("echo partial; exit 3", "3"),
        ("echo no end", "trailer"),
        ("no-such-program-anywhere", "no-such-program-anywhere"),
    ] {
        site.configure(&format!(
            "report: {{ command: {{ run: '{command}', trailer: '-- complete' }} }}\nfiles: {{ files: {{ paths: [data] }} }}"
        ));
        let error = site.lifeboat(["backup", "--json"]).exits(1).error();
        assert_eq!(error["code"], "source", "{error}");
        assert!(error["message"].as_str().unwrap().contains("report"), "{error}");
        assert!(error.to_string().contains(said), "{error}");
        assert!(site.stored("snapshots").is_empty() && site.stored("locks").is_empty());
    }
}

#[test]
fn an_unreadable_file_makes_the_run_partial_and_is_named() {
    if !can(root().and_then(|()| program("setpriv"))) {
        return;
    }
    const NOBODY: u32 = 65_534;
    let site = Site::new();
    std::fs::write(site.data().join("open"), "open\n").unwrap();
    std::fs::write(site.data().join("closed\nfile"), "secret\n").unwrap();
    std::fs::create_dir(site.data().join("closed folder")).unwrap();
    let give = |path: PathBuf| std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    for name in ["", "data", "data/open", "password", "lifeboat.yaml"] {
        give(site.path(name));
    }
    for closed in ["closed\nfile", "closed folder"] {
        std::fs::set_permissions(site.data().join(closed), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let as_nobody = |arguments: &[&str]| {
        let inner = site.lifeboat_command(arguments.iter().map(OsStr::new));
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(inner.get_program())
            .args(inner.get_args());
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", site.path("")).current_dir(site.path(""));
        run(&mut command)
    };
    as_nobody(&["init"]).ok();
    let ran = as_nobody(&["backup", "--json"]).exits(3);
    let problems = ran.summary()["sources"]["files"]["problems"].to_string();
    assert!(problems.contains("closed") && problems.contains("closed folder"), "{ran}");
    assert_eq!(ran.summary()["problems"], 2);
    as_nobody(&["status"]).exits(1).says(["NOT SAFE"]);
    as_nobody(&["restore", "latest", "--to", "out"]).ok().says(["not run as root"]);
    assert_eq!(std::fs::read_to_string(site.restored_data(&site.path("out")).join("open")).unwrap(), "open\n");
    // A repository that may not be read is not taken for one that is not there.
    std::fs::set_permissions(site.repo(), std::fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(site.repo(), Some(0), Some(0)).unwrap();
    let denied = as_nobody(&["snapshots", "--json"]).exits(1).error();
    assert_eq!(denied["code"], "denied", "{denied}");
}
