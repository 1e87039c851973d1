//! `lifeboat coverage`: nothing that holds data is forgotten unseen.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::couchdb::{self, COUCHDB};
use crate::support::{Site, run};

/// Of each thing: its kind, its name, whether it is covered, whether it was drilled.
fn things(summary: &Value) -> Vec<(String, String, bool, bool)> {
    let text = |thing: &Value, key: &str| thing[key].as_str().unwrap().to_owned();
    let is = |thing: &Value, key: &str| thing[key].as_bool().unwrap();
    let thing = |one: &Value| (text(one, "kind"), text(one, "name"), is(one, "covered"), is(one, "drilled"));
    summary["things"].as_array().unwrap().iter().map(thing).collect()
}

#[test]
fn what_compose_files_and_folders_show_is_listed_and_what_is_uncovered_is_exit_code_3() {
    let site = Site::initialised();
    let compose = "name: shop\nservices:\n  web: {image: x, volumes: ['up:/up', './conf:/conf']}\nvolumes: {up: {}}\n";
    fs::write(site.data().join("compose.yaml"), compose).unwrap();
    fs::create_dir(site.data().join("conf")).unwrap();
    fs::write(site.data().join("conf/a"), "a").unwrap();
    rusqlite::Connection::open(site.data().join("conf/x.db")).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    let nowhere = format!("unix://{}", site.path("no.sock").display());
    let coverage = |arguments: &[&str]| run(site.lifeboat_command(arguments).env("DOCKER_HOST", &nowhere));
    site.configure("compose: { compose: { files: data } }\ndb: { sqlite: { paths: data } }");
    let ran = coverage(&["coverage"]).exits(3);
    let path = |name: &str| site.data().join(name).canonicalize().unwrap().display().to_string();
    ran.says(["NOT covered: volume shop_up (used by service web of shop)", "no container engine answers"]);
    let summary = coverage(&["coverage", "--json"]).exits(3).summary();
    let thing = |kind: &str, name: &str, covered, drilled| (kind.to_owned(), name.to_owned(), covered, drilled);
    let expected = |drilled| {
        [
            thing("volume", "shop_up", false, false),
            thing("bind", &path("conf"), false, false),
            thing("compose-file", &path("compose.yaml"), true, drilled),
            thing("database", &path("conf/x.db"), true, drilled),
        ]
    };
    assert_eq!(things(&summary), expected(false));
    assert_eq!((&summary["uncovered"], &summary["undrilled"]), (&2.into(), &2.into()));
    site.backup();
    assert_eq!(things(&coverage(&["coverage", "--json"]).exits(3).summary()), expected(false));
    site.lifeboat(["drill"]).ok();
    assert_eq!(things(&coverage(&["coverage", "--json"]).exits(3).summary()), expected(true));
    // What is captured as files is covered, too; a volume may be left to a folder of the host.
    site.configure("all: { files: { paths: data } }");
    fs::write(site.data().join("compose.yaml"), compose.replace("'up:/up', ", "")).unwrap();
    let summary = coverage(&["coverage", "--json"]).ok().summary();
    assert_eq!((&summary["status"], &summary["uncovered"]), (&"ok".into(), &0.into()));
}

#[test]
fn what_came_after_a_drill_was_not_drilled_with_it() {
    let site = Site::new();
    // By another path than it has: the source goes by what it was told.
    let link = site.path("link");
    std::os::unix::fs::symlink(site.data(), &link).unwrap();
    site.configure(&format!("all: {{ files: {{ paths: {:?} }} }}", link.join("app")));
    fs::create_dir(site.data().join("app")).unwrap();
    let database = |name: &str| {
        let path = site.data().join("app").join(name);
        rusqlite::Connection::open(path).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    };
    let nowhere = format!("unix://{}", site.path("no.sock").display());
    let coverage = || run(site.lifeboat_command(["coverage", "--json"]).env("DOCKER_HOST", &nowhere));
    let of = |ran: crate::support::Ran| {
        things(&ran.summary()).into_iter().map(|(_, _, covered, drilled)| (covered, drilled)).collect::<Vec<_>>()
    };
    database("a.db");
    site.lifeboat(["init"]).ok();
    site.backup();
    site.lifeboat(["drill"]).ok();
    assert_eq!(of(coverage().ok()), [(true, true)]);
    database("b.db");
    assert_eq!(of(coverage().exits(3)), [(true, true), (false, false)], "it is in no snapshot yet");
    site.backup();
    assert_eq!(of(coverage().ok()), [(true, true), (true, false)]);
}

#[test]
fn a_database_is_covered_and_drilled_as_far_as_the_snapshots_have_it() {
    let site = couchdb::site();
    let nowhere = format!("unix://{}", site.path("no.sock").display());
    let coverage = |arguments: &[&str]| run(site.lifeboat_command(arguments).env("DOCKER_HOST", &nowhere));
    let of_medic = |summary: &Value| {
        let is_medic = |thing: &&Value| thing["name"].as_str().unwrap().starts_with("medic in ");
        let medic = summary["things"].as_array().unwrap().iter().find(is_medic).unwrap();
        (medic["covered"].as_bool().unwrap(), medic["drilled"].as_bool().unwrap(), medic["lacks"].clone())
    };
    // A snapshot that never had one of its shards.
    let shard = couchdb::first_shard(&site);
    let bytes = fs::read(&shard).unwrap();
    fs::remove_file(&shard).unwrap();
    site.lifeboat(["backup"]).exits(3);
    site.lifeboat(["drill"]).ok();
    let missing = "shard missing: 00000000-15555554";
    let found = coverage(&["coverage", "--json"]).exits(3).summary();
    assert_eq!(of_medic(&found), (false, false, serde_json::json!([missing])), "{found:#}");
    assert_eq!((&found["partly"], &found["undrilled"], &found["uncovered"]), (&1.into(), &0.into(), &0.into()));
    let told = "covered in PART: couchdb-database medic in ";
    coverage(&["coverage"]).exits(3).says([
        told,
        "never drilled; in the newest snapshot: ",
        missing,
        "1 covered in PART",
    ]);
    // It is back, and whole in the newest snapshot; that was not drilled yet.
    fs::write(&shard, bytes).unwrap();
    let whole = site.backup();
    let found = coverage(&["coverage", "--json"]).ok().summary();
    assert_eq!(of_medic(&found), (true, false, serde_json::json!([])), "{found:#}");
    site.lifeboat(["drill"]).ok();
    assert!(of_medic(&coverage(&["coverage", "--json"]).ok().summary()).1);
    // All of it is gone: nothing is there to be seen, and the last good snapshot knows what there was.
    let data = site.data().join(COUCHDB);
    fs::remove_dir_all(&data).unwrap();
    fs::create_dir(&data).unwrap();
    site.lifeboat(["backup"]).exits(3);
    let ran = coverage(&["coverage"]).exits(3);
    let told = format!(
        "NOT in the newest snapshot: couchdb-database medic of app/records, which snapshot {} has",
        &whole[..8]
    );
    ran.says([&*told, "12 databases LOST"]);
    let found = coverage(&["coverage", "--json"]).exits(3).summary();
    assert_eq!(found["gone"].as_array().unwrap().len(), 12, "{found:#}");
}

#[test]
fn a_shard_in_the_place_of_another_is_told_also_by_the_first_backup() {
    let site = couchdb::site();
    let shard = couchdb::first_shard(&site);
    let ranges = fs::read_dir(shard.parent().unwrap().parent().unwrap()).unwrap();
    let mut others: Vec<_> = ranges.map(|range| range.unwrap().path().join(shard.file_name().unwrap())).collect();
    others.retain(|other| *other != shard && other.exists());
    fs::copy(&shard, &others[0]).unwrap();
    site.lifeboat(["backup"]).exits(3).says(["is the same file, so one is a copy in the place of the other"]);
    site.lifeboat(["status"]).exits(1).says(["partial"]);
}

#[test]
fn a_couchdb_without_its_shard_map_is_seen_all_the_same() {
    let site = couchdb::site();
    fs::remove_file(site.data().join(COUCHDB).join("_dbs.couch")).unwrap();
    site.lifeboat(["backup"]).exits(3);
    let nowhere = format!("unix://{}", site.path("no.sock").display());
    let coverage = run(site.lifeboat_command(["coverage"]).env("DOCKER_HOST", nowhere));
    coverage.exits(3).says(["a CouchDB whose shard map cannot be read"]);
}

#[test]
fn discover_lists_what_the_engine_knows_and_what_a_backup_of_the_folder_would_miss() {
    let Some(server) = servers::docker() else { return };
    let site = Site::new();
    let (volume, container) = (server.name(), server.name());
    fs::write(site.data().join("a"), "a").unwrap();
    let bind = format!("{}:/bind:ro", site.data().display());
    server.run(&container, &["-v", &format!("{volume}:/v"), "-v", &bind]);
    let data = site.data().display().to_string();
    let discover = |more: &[&str]| {
        run(site.lifeboat_command(["discover", &data].iter().chain(more)).env("DOCKER_HOST", server.host())).ok()
    };
    assert!(discover(&["--json"]).summary()["docker"].is_null());
    let ran = discover(&["--docker"]);
    ran.says([&*format!("NOT covered by a backup of this folder: volume {volume} (used by {container})"), &container]);
    let found = discover(&["--docker", "--json"]).summary()["docker"].clone();
    assert!(found["containers"].as_array().unwrap().iter().any(|one| one["name"] == *container));
    let covered = |name: &str| {
        found["things"].as_array().unwrap().iter().find(|one| one["name"] == *name).unwrap()["covered"].clone()
    };
    assert_eq!((covered(&volume), covered(&data)), (false.into(), true.into()));
    let nowhere = format!("unix://{}", site.path("no.sock").display());
    let ran = run(site.lifeboat_command(["discover", "--docker", &data]).env("DOCKER_HOST", nowhere));
    ran.exits(1).says(["no container engine answers"]);
}

#[test]
fn what_the_engine_knows_is_listed() {
    let Some(server) = servers::docker() else { return };
    let site = Site::initialised();
    let (mine, other, container) = (server.name(), server.name(), server.name());
    let bind = format!("{}:/bind:ro", site.data().display());
    let (of_mine, of_other) = (format!("{mine}:/mine"), format!("{other}:/other"));
    server.run(&container, &["-v", &of_mine, "-v", &of_other, "-v", &bind, "-v", "/dev/null:/null"]);
    server.docker(&["exec", &container, "touch", "/mine/a"]);
    let coverage = || {
        let ran = run(site.lifeboat_command(["coverage", "--json"]).env("DOCKER_HOST", server.host())).exits(3);
        // Other tests use the engine as well.
        let own = [&mine, &other, &site.data().display().to_string()].map(Clone::clone);
        things(&ran.summary()).into_iter().filter(|thing| own.contains(&thing.1)).collect::<Vec<_>>()
    };
    site.configure(&format!(
        "mine: {{ volume: {{ name: {mine} }} }}\nmore: {{ container-files: {{ container: {container}, paths: /bind }} }}"
    ));
    let is = |name: &str, drilled| coverage().contains(&("volume".to_owned(), name.to_owned(), name == mine, drilled));
    assert!(is(&mine, false) && is(&other, false), "{:?}", coverage());
    let data = site.data().display().to_string();
    assert!(coverage().contains(&("bind".to_owned(), data, true, false)), "{:?}", coverage());
    assert!(coverage().iter().all(|thing| thing.1 != "/dev/null") && Path::new("/dev/null").exists());
    fs::write(site.data().join("x"), "x").unwrap();
    let backup = |arguments: &[&str]| run(site.lifeboat_command(arguments).env("DOCKER_HOST", server.host())).ok();
    backup(&["backup"]);
    backup(&["drill"]);
    assert!(is(&mine, true), "{:?}", coverage());
}
