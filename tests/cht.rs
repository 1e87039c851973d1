//! A CHT host: recognised, backed up, drilled, and put back as a whole into an empty root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::couchdb::{COUCHDB, CREDENTIALS, compare_with_truth, fixture};
use crate::support::{Ran, Site, run};

const CHT: &str = "home/ubuntu/cht";
const CERTIFICATES: &str = "volumes/cht_cht-ssl/_data";
/// What must come back byte for byte besides CouchDB's data.
const FILES: [&str; 4] =
    ["compose/cht-core.yml", "compose/cht-couchdb.yml", "upgrade-service/docker-compose.yml", "upgrade-service/.env"];

/// A site with the tree of a CHT host, and no configuration yet.
fn site() -> Site {
    let site = Site::new();
    tar::Archive::new(fixture("cht-host.tar.gz")).unpack(site.data()).unwrap();
    fs::remove_file(site.config()).unwrap();
    let history = site.data().join(CHT).join("compose/data/backup/1700000000-x");
    fs::create_dir_all(&history).unwrap();
    fs::copy(site.data().join(CHT).join("compose/cht-core.yml"), history.join("cht-core.yml")).unwrap();
    site
}

/// Where a path of the site's tree lies below a root that the host was restored to.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap())
}

/// Backs up, drills, and restores the whole host. Gives the root and the summary of the restore.
fn round_trip(site: &Site, lifeboat: &dyn Fn(&[&str]) -> Ran) -> (PathBuf, Value) {
    let backup = lifeboat(&["backup", "--json"]).ok().summary();
    assert_eq!((backup["status"].as_str(), backup["problems"].as_u64()), (Some("ok"), Some(0)), "{backup}");
    let drill = lifeboat(&["drill", "--json"]).ok().summary();
    assert_eq!((drill["status"].as_str(), drill["level"].as_u64()), (Some("passed"), Some(3)), "{drill}");
    let root = site.path("root");
    let to = root.to_str().unwrap();
    lifeboat(&["restore", "latest", "--to", to, "--as-host", "--dry-run"]).ok().says(["would restore"]);
    let restored = lifeboat(&["restore", "latest", "--to", to, "--as-host", "--json"]).ok().summary();
    assert_eq!(restored["status"], "ok", "{restored}");
    for file in FILES {
        let file = site.data().join(CHT).join(file);
        assert!(fs::read(below(&root, &file)).unwrap() == fs::read(&file).unwrap(), "{}", file.display());
    }
    let history = site.data().join(CHT).join("compose/data/backup/1700000000-x/cht-core.yml");
    assert!(below(&root, &history).is_file(), "what the upgrade service kept");
    let numbers = compare_with_truth(&below(&root, &site.data().join(COUCHDB)));
    assert!(numbers.iter().all(|number| *number > 0), "{numbers:?}");
    assert!(root.join("lifeboat-restore/lifeboat.json").is_file());
    // Nothing goes into a root that holds something.
    lifeboat(&["restore", "latest", "--to", to, "--as-host"]).exits(1).says(["not empty"]);
    (root, restored)
}

/// The commands that a restore proposes for a source.
fn commands(restored: &Value, source: &str) -> Vec<String> {
    let steps = restored["next"].as_array().unwrap().iter().filter(|step| step["source"] == source);
    steps.flat_map(|step| step["commands"].as_array().unwrap()).map(|line| line.as_str().unwrap().to_owned()).collect()
}

fn same_files(folder: &Path, restored: &Path, names: &[&str]) {
    for name in names {
        assert!(fs::read(folder.join(name)).unwrap() == fs::read(restored.join(name)).unwrap(), "{name}");
    }
}

#[test]
fn the_tree_of_a_cht_host_is_recognised_and_comes_back_whole_into_an_empty_root() {
    let site = site();
    let found = site.lifeboat(["discover", "data", "--json"]).ok().summary();
    assert_eq!((&found["profile"], found["missing"].as_array().unwrap().len()), (&"cht".into(), 0), "{found}");
    assert_eq!(found["uncovered"], serde_json::json!([]), "{found}");
    let projects: Vec<_> = found["projects"].as_array().unwrap().iter().map(|project| &project["name"]).collect();
    assert!(projects.contains(&&Value::from("cht")) && !projects.contains(&&Value::from("compose")), "{projects:?}");
    site.lifeboat(["init", "data", "--copy", "repo", "--yes"]).ok().says(["Community Health Toolkit, 4.20.0"]);
    let text = fs::read_to_string(site.config()).unwrap();
    for part in [
        "\n  cht:\n",
        "rpo: 6h",
        "drill: { schedule: \"0 6 * * 0\", level: 3 }",
        "\n    schedule: \"0 */4 * * *\"",
        "retention: {",
        "timezone: ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let shown = site.lifeboat(["config", "show"]).ok().text();
    for source in ["records:", "config:", "upgrade-service:", "tls:", "files:", "cht/compose/*.yml", "project: cht\n"] {
        assert!(shown.contains(source), "{source}: {shown}");
    }
    let (root, restored) = round_trip(&site, &|arguments| site.lifeboat(arguments));
    let there = |path: &str| (site.data().join(path), below(&root, &site.data().join(path)));
    let ((credentials, credentials_back), (tls, tls_back)) = (there(CREDENTIALS), there(CERTIFICATES));
    same_files(&credentials, &credentials_back, &["cluster-credentials.ini"]);
    same_files(&tls, &tls_back, &["cert.pem", "key.pem"]);
    let own_folder = site.data().join(CHT);
    let (own, root) = (own_folder.display(), root.display());
    let up = format!(
        "docker compose -p cht -f {own}/compose/cht-core.yml -f {own}/compose/cht-couchdb.yml --env-file \
         {own}/upgrade-service/.env up -d"
    );
    assert_eq!(commands(&restored, "config").last(), Some(&up), "{restored}");
    let up = format!("docker compose -p upgrade-service -f {own}/upgrade-service/docker-compose.yml up -d");
    assert_eq!(commands(&restored, "upgrade-service").last(), Some(&up), "{restored}");
    let made = "docker volume create --label com.docker.compose.project=cht --label com.docker.compose.volume=cht-ssl \
                cht_cht-ssl";
    let filled = format!("&& cp -a {root}{} \"$place\")", tls.join(".").display());
    let commands_of_tls = commands(&restored, "tls");
    assert_eq!(commands_of_tls[0], made, "{restored}");
    assert!(commands_of_tls[1].contains("cht_cht-ssl)") && commands_of_tls[1].ends_with(&filled), "{restored}");
    let copied = commands(&restored, "records");
    assert!(copied[0].starts_with(&format!("(cd {root} && for ")) && copied[0].ends_with("/couchdb /)"), "{restored}");
    // Never into what is there already: CouchDB would take both for one.
    let (live, away) = (site.data().join(COUCHDB), site.path("away"));
    let copy = || run(Command::new("sh").arg("-c").arg(&copied[0]));
    copy().exits(1).says(["couchdb is not empty: move it away first"]);
    fs::rename(&live, &away).unwrap();
    fs::create_dir(&live).unwrap();
    copy().ok();
    compare_with_truth(&live);
    fs::remove_dir_all(&live).unwrap();
    fs::rename(&away, &live).unwrap();

    let nowhere = format!("unix://{}", site.path("no.sock").display());
    let coverage = || run(site.lifeboat_command(["coverage", "data", "--json"]).env("DOCKER_HOST", &nowhere)).summary();
    site.lifeboat(["drill"]).ok();
    let found = coverage();
    let things = |kind: &str| -> Vec<&Value> {
        found["things"].as_array().unwrap().iter().filter(|thing| thing["kind"] == kind).collect()
    };
    let is_drilled = |thing: &&Value| thing["covered"] == true && thing["drilled"] == true;
    for (kind, number) in [("couchdb-database", 12), ("compose-file", 3), ("certificate", 1), ("bind", 0)] {
        assert_eq!(things(kind).iter().filter(|thing| is_drilled(thing)).count(), number, "{found:#}");
        assert_eq!(things(kind).len(), number, "{found:#}");
    }

    // One source, and a node with another name.
    let node = "couchdb@127.0.0.1=couchdb@db.example.org";
    let records = site.path("records");
    let arguments =
        ["restore", "latest:records", "--as-host", "--rename-node", node, "--to", records.to_str().unwrap()];
    site.lifeboat(arguments).ok().says(["records: every document and attachment was read back", "renamed 1 node"]);
    assert!(!below(&records, &site.data().join(CHT)).join("compose").exists(), "one source was asked for");
    site.lifeboat(["restore", "latest:records/home", "--as-host", "--to", "x"]).exits(2).says(["whole sources"]);
}

#[test]
fn what_a_cht_host_lacks_is_named_and_the_rest_is_backed_up() {
    let site = site();
    fs::remove_dir_all(site.data().join("volumes")).unwrap();
    fs::remove_dir_all(site.data().join(CHT).join("upgrade-service")).unwrap();
    // Without the variables, CHT's own files say where the data would be.
    let text = fs::read_to_string(site.data().join(CHT).join("compose/cht-couchdb.yml")).unwrap();
    fs::write(site.data().join(CHT).join("compose/cht-couchdb.yml"), text.replace("./srv", "../couchdb")).unwrap();
    let nowhere = format!("unix://{}", site.path("no.sock").display());
    let mut init = site.lifeboat_command(["init", "data", "--copy", "repo", "--yes"]);
    let init = run(init.env("DOCKER_HOST", &nowhere)).ok();
    let missing =
        ["MISSING: config: volume cht_cht-credentials", "nobody can decrypt medic-vault", "MISSING: from: volume"];
    init.says(missing.into_iter().chain(["the certificate (volume cht-ssl) was not found", "the upgrade service's"]));
    // The vault's secret is not there, so the snapshot is partial; the data is in it.
    site.lifeboat(["backup"]).exits(3).says(["nobody can decrypt what is in database medic-vault"]);
    let root = site.path("root");
    let restored = site.lifeboat(["restore", "latest", "--as-host", "--to", root.to_str().unwrap()]).exits(3);
    restored.says(["what the backup could not take, so that it is not here either"]);
    compare_with_truth(&below(&root, &site.data().join(COUCHDB)));
}

#[test]
fn a_host_whose_images_have_too_old_a_couchdb_is_not_told_to_start_it() {
    let site = site();
    let compose = site.data().join(CHT).join("compose");
    for file in ["cht-core.yml", "cht-couchdb.yml"] {
        let text = fs::read_to_string(compose.join(file)).unwrap();
        // The CHT of this version comes with CouchDB 3.3, which knows no XXH3.
        fs::write(compose.join(file), text.replace("4.20.0", "4.10.0")).unwrap();
    }
    site.lifeboat(["init", "data", "--copy", "repo", "--yes"]).ok();
    site.backup();
    let restored = site.lifeboat(["restore", "--stack", "cht", "--to", "root"]).exits(3);
    assert!(!restored.text().contains("up -d"), "{restored}");
    restored
        .says(["cht-couchdb:4.10.0: CouchDB 3.3", "start none of it before its image is one that reads these files"]);
}

#[test]
fn a_data_folder_of_cht_is_known_by_its_database() {
    let site = site();
    let couchdb = site.data().join(COUCHDB);
    site.lifeboat(["init", couchdb.to_str().unwrap(), "--copy", "repo", "--yes"])
        .ok()
        .says(["MISSING: CHT's compose files"]);
    let shown = site.lifeboat(["config", "show"]).ok().text();
    assert!(shown.contains("  cht:\n") && shown.contains(&format!("data: {}", couchdb.display())), "{shown}");
    let nowhere = format!("unix://{}", site.path("no.sock").display());
    let coverage = run(site.lifeboat_command(["coverage", "--json"]).env("DOCKER_HOST", &nowhere)).ok().summary();
    let things = coverage["things"].as_array().unwrap();
    let is_covered = |thing: &Value| thing["kind"] == "couchdb-database" && thing["covered"] == true;
    assert_eq!(things.iter().filter(|thing| is_covered(thing)).count(), 12, "{coverage:#}");
}

#[test]
fn on_a_host_with_containers_everything_is_found_by_labels() {
    let Some(server) = servers::docker() else { return };
    let site = site();
    let project = server.name();
    let cht = site.data().join(CHT);
    // As on a real host: paths are those of the machine, and where the data is, only the container knows.
    let env = fs::read_to_string(cht.join("upgrade-service/.env")).unwrap();
    let env =
        env.replace("COUCHDB_DATA=/home/ubuntu/cht/couchdb\n", "").replace("/home/ubuntu/cht", cht.to_str().unwrap());
    let env = env.replace("PROJECT_NAME=cht\n", &format!("PROJECT_NAME={project}\n"));
    fs::write(cht.join("upgrade-service/.env"), env).unwrap();
    let mut folders = Vec::new();
    for (key, from) in [("cht-credentials", CREDENTIALS), ("cht-ssl", CERTIFICATES)] {
        let name = format!("{project}_{key}");
        let labels = [
            format!("com.docker.compose.project={project}"),
            format!("com.docker.compose.volume={key}"),
            "com.docker.compose.version=2.29.7".to_owned(),
        ];
        let [of_project, of_volume, version] = &labels;
        server.docker(&["volume", "create", "--label", of_project, "--label", of_volume, "--label", version, &name]);
        let folder = PathBuf::from(server.docker(&["volume", "inspect", "--format", "{{.Mountpoint}}", &name]));
        let from = site.data().join(from).join(".");
        assert!(Command::new("cp").arg("-a").arg(from).arg(&folder).status().unwrap().success());
        folders.push(folder);
    }
    fs::remove_dir_all(site.data().join("volumes")).unwrap();
    let service = |service: &str, mounts: &[String]| {
        let labels = [format!("com.docker.compose.project={project}"), format!("com.docker.compose.service={service}")];
        let mut options = vec!["--label", &labels[0], "--label", &labels[1]];
        options.extend(mounts.iter().flat_map(|mount| ["-v", mount]));
        // As version 1 of Compose called it.
        server.run(&format!("{project}_{service}_1"), &options);
    };
    let data = site.data().join(COUCHDB);
    let credentials = format!("{project}_cht-credentials:/opt/couchdb/etc/local.d");
    service("couchdb", &[format!("{}:/opt/couchdb/data", data.display()), credentials]);
    service("nginx", &[format!("{project}_cht-ssl:/etc/nginx/private")]);

    let host = server.host();
    let lifeboat = |arguments: &[&str]| run(site.lifeboat_command(arguments).env("DOCKER_HOST", &host));
    let init = lifeboat(&["init", "data", "--copy", "repo", "--yes"]).ok();
    assert!(!init.text().contains("MISSING"), "{init}");
    let shown = lifeboat(&["config", "show"]).ok().text();
    for part in [
        &format!("data: {}", data.display()),
        &format!("config: volume:{project}_cht-credentials"),
        &format!("from: volume:{project}_cht-ssl"),
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let (root, restored) = round_trip(&site, &lifeboat);
    same_files(&folders[0], &below(&root, &folders[0]), &["cluster-credentials.ini"]);
    same_files(&folders[1], &below(&root, &folders[1]), &["cert.pem", "key.pem"]);
    let made = format!(
        "docker volume create --label com.docker.compose.project={project} --label com.docker.compose.version=2.29.7 \
         --label com.docker.compose.volume=cht-credentials {project}_cht-credentials"
    );
    assert!(commands(&restored, "records").contains(&made), "{restored}");
    let status = lifeboat(&["status", "--json"]);
    assert!(!status.text().contains("cht-ssl"), "the volume is protected: {status}");
    // What is proposed makes the volume again, with what was in it.
    server.docker(&["rm", "-f", &format!("{project}_nginx_1")]);
    server.docker(&["volume", "rm", &format!("{project}_cht-ssl")]);
    for line in commands(&restored, "tls") {
        let mut shell = Command::new("sh");
        assert!(shell.args(["-c", &line]).env("DOCKER_HOST", &host).status().unwrap().success(), "{line}");
    }
    let again = server.docker(&["volume", "inspect", "--format", "{{.Mountpoint}}", &format!("{project}_cht-ssl")]);
    same_files(&below(&root, &folders[1]), Path::new(&again), &["cert.pem", "key.pem"]);
}
