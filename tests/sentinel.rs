//! ALTCHA Sentinel, configured by its own variables alone: backed up, restored by URI, brought to take it up; and read
//! without Lifeboat. What stands for Sentinel is a volume with what its documentation says of one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use servers::{DockerServer, S3Server};

use crate::support::{Ran, Running, Site, can, program, run, write_secret};

/// A pair of keys that opens nothing else.
const PUBLIC: &str = "age15w6w29yg9vv22n34d98tsndzuqdxll7g0tgfss3dkg9je0d7tghqj53ja6";
const SECRET: &str = "AGE-SECRET-KEY-19QYGCMMTLU0GAV0GNJW7SD4VWPRLMR0UUFFD096G7SRH09NXKAWS85SQJE";
const ENV: &str = "JWT_SECRET=jwt-hunter2\nHASHING_SALT='salt-hunter2'\nEXOTDB_REDIS_STORAGE=local\n";
const ROWS: i64 = 500;
const KEYS: i64 = 70;

/// A Sentinel's data folder, and the variables that configure Lifeboat.
struct Sentinel {
    site: Site,
    variables: Vec<(&'static str, String)>,
}

impl Sentinel {
    fn new(variables: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let site = Site::new();
        std::fs::remove_file(site.config()).unwrap();
        let sentinel = Self { variables: variables.into_iter().collect(), site };
        sentinel.fill("sentinel.db", "challenges", ROWS);
        sentinel.fill("exotdb.sqlite", "kv", KEYS);
        std::fs::write(sentinel.data(".env"), ENV).unwrap();
        std::fs::create_dir_all(sentinel.data("storage")).unwrap();
        std::fs::write(sentinel.data("storage/logo.png"), b"\x89PNG").unwrap();
        sentinel
    }

    fn data(&self, name: &str) -> PathBuf {
        self.site.data().join(name)
    }

    fn fill(&self, file: &str, table: &str, rows: i64) {
        let connection = Connection::open(self.data(file)).unwrap();
        connection.pragma_update(None, "journal_mode", "wal").unwrap();
        connection.execute_batch(&format!("CREATE TABLE {table}(id INTEGER PRIMARY KEY, value TEXT)")).unwrap();
        for row in 0..rows {
            connection.execute(&format!("INSERT INTO {table} VALUES (?1, 'value ' || ?1)"), [row]).unwrap();
        }
    }

    fn rows(&self, file: &Path, table: &str) -> i64 {
        let connection = Connection::open(file).unwrap();
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }

    /// Loses half of both databases.
    fn lose(&self) {
        for (file, table) in [("sentinel.db", "challenges"), ("exotdb.sqlite", "kv")] {
            let connection = Connection::open(self.data(file)).unwrap();
            connection.execute(&format!("DELETE FROM {table} WHERE id % 2 = 0"), []).unwrap();
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command.args(arguments);
        self.site.enclose(&mut command);
        command.env("DATA_DIR", self.site.data());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs it, and sees to it that it shows no secret.
    fn lifeboat(&self, arguments: &[&str]) -> Ran {
        let ran = run(&mut self.command(arguments));
        let said = format!("{}{}", ran.text(), ran.errors());
        assert!(!said.contains("hunter2") && !said.contains("AGE-SECRET-KEY"), "{said}");
        for (name, value) in &self.variables {
            let secret = match *name {
                name if name.ends_with("_CONNECTION_STRING") => {
                    value.split(';').find_map(|part| part.strip_prefix("AccountKey="))
                }
                name if name.ends_with("_S3_URL") => value.split('@').next().and_then(|login| login.rsplit(':').next()),
                name if name.ends_with("_ENCRYPTION_KEY") || name.ends_with("_SECRET_KEY") => Some(value.as_str()),
                _ => None,
            };
            assert!(secret.is_none_or(|secret| secret.is_empty() || !said.contains(secret)), "{name}: {said}");
        }
        ran
    }

    fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.variables.retain(|(other, _)| *other != name);
        self.variables.push((name, value.into()));
    }

    /// Backs up, and gives the URLs of the archives of `main` and of `redis`.
    fn back_up(&self, copy: &str) -> [String; 2] {
        self.lifeboat(&["init"]).ok().says(["created a repository in", "variables are the configuration"]);
        let done = self.lifeboat(&["backup", "--json"]).ok().summary();
        assert_eq!((&done["status"], &done["copies"][copy]["archives_written"]), (&"ok".into(), &3.into()), "{done}");
        let kinds: Vec<_> = ["main", "redis", "files"].map(|name| done["sources"][name]["kind"].clone()).into();
        assert_eq!(kinds, ["sqlite", "sqlite", "files"], "{done}");
        let listed = self.lifeboat(&["snapshots", "--copy", copy, "--json"]).ok().of_type("snapshot");
        let urls: Vec<String> = listed[0]["archives"].as_array().unwrap().iter().map(text).collect();
        ["main", "redis"].map(|source| {
            let is_of = |url: &&String| url.contains(&format!("/sentinel~{source}~"));
            urls.iter().find(is_of).unwrap_or_else(|| panic!("{source} in {urls:?}")).clone()
        })
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// What follows the bucket in an object's URL.
fn object(url: &str) -> &str {
    &url[url.find("/altcha-sentinel-backups/db/").unwrap()..]
}

/// What stands for Sentinel's `/.ready`: it is not ready the first two times.
fn ready() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/.ready", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // Who asks may give up at any time.
            let Ok(mut stream) = stream else { continue };
            let Ok(reading) = stream.try_clone() else { continue };
            let lines = BufReader::new(reading).lines().map_while(Result::ok);
            if lines.take_while(|line| !line.is_empty()).count() == 0 {
                continue;
            }
            let status = if count.fetch_add(1, Ordering::SeqCst) < 2 { "503 Wait" } else { "200 OK" };
            let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    (url, asked)
}

fn started_at(docker: &DockerServer, name: &str) -> String {
    docker.docker(&["inspect", "--format", "{{.State.StartedAt}}", name])
}

/// Restores `main` below a container that has the volume, and `redis` by its URL with a container that is only restarted; then
/// both on a machine that has nothing but the variables.
fn restore_everything(mut sentinel: Sentinel, docker: &'static DockerServer, copy: &str, urls: [String; 2], web: &str) {
    let [main, redis] = urls;
    let (ready_url, asked) = ready();
    sentinel.set("DOCKER_HOST", docker.host());
    sentinel.set("LIFEBOAT_READY_URL", ready_url);
    sentinel.set("LIFEBOAT_READY_WITHIN", "30s");
    let (with_volume, without) = (docker.name(), docker.name());
    docker.run(&with_volume, &["-v", &format!("{}:/data", sentinel.site.data().display())]);
    docker.run(&without, &[]);

    sentinel.lose();
    let began = started_at(docker, &with_volume);
    let refused = sentinel.lifeboat(&["restore", object(&main), "--in-place", "--yes"]).exits(1);
    refused.says(["works with it", "--stop-containers"]);
    let restore = ["restore", object(&main), "--in-place", "--yes", "--stop-containers", "--json"];
    let done = sentinel.lifeboat(&restore).ok().summary();
    assert_eq!((&done["status"], &done["reload"]["status"]), (&"ok".into(), &"ok".into()), "{done}");
    assert!(asked.load(Ordering::SeqCst) >= 3, "it waited until it was ready");
    assert_ne!(began, started_at(docker, &with_volume), "it was started anew");
    assert_eq!(docker.state(&with_volume), "running");
    assert_eq!(sentinel.rows(&sentinel.data("sentinel.db"), "challenges"), ROWS);
    assert_eq!(sentinel.rows(&sentinel.data("exotdb.sqlite"), "kv"), KEYS / 2, "main alone was asked for");

    docker.docker(&["stop", &with_volume]);
    sentinel.set("LIFEBOAT_RELOAD_CONTAINER", without.clone());
    let began = started_at(docker, &without);
    let by_web = format!("{web}{}?sig=hunter2", object(&redis));
    sentinel.lifeboat(&["restore", &by_web, "--in-place", "--yes"]).ok().says(["is restarted"]);
    assert_ne!(began, started_at(docker, &without), "it was restarted");
    assert_eq!(sentinel.rows(&sentinel.data("exotdb.sqlite"), "kv"), KEYS);

    // What is left where all else is lost.
    for lost in [sentinel.site.path("state"), sentinel.site.data()] {
        std::fs::remove_dir_all(lost).unwrap();
    }
    std::fs::create_dir(sentinel.site.data()).unwrap();
    for url in [object(&main), &redis] {
        sentinel.lifeboat(&["restore", url, "--in-place", "--yes"]).ok();
    }
    let uri = format!("lifeboat:{copy}/latest/files");
    sentinel.lifeboat(&["restore", &uri, "--in-place", "--yes"]).ok();
    assert_eq!(sentinel.rows(&sentinel.data("sentinel.db"), "challenges"), ROWS);
    assert_eq!(sentinel.rows(&sentinel.data("exotdb.sqlite"), "kv"), KEYS);
    assert_eq!(std::fs::read_to_string(sentinel.data(".env")).unwrap(), ENV);
    assert_eq!(std::fs::read(sentinel.data("storage/logo.png")).unwrap(), b"\x89PNG");
}

#[test]
fn a_sentinel_goes_to_azure_under_its_default_prefix_and_comes_back_by_uri() {
    let (Some(azure), Some(docker)) = (servers::azurite(), servers::docker()) else { return };
    let container = azure.container();
    let sentinel = Sentinel::new([
        ("SNAPHOSTS_STORAGE_PROVIDER", "azure".to_owned()),
        ("SNAPHOSTS_STORAGE_AZURE_CONTAINER", container.clone()),
        ("SNAPHOSTS_STORAGE_AZURE_CONNECTION_STRING", azure.connection_string()),
        ("SNAPHOSTS_CRON_SCHEDULE", "0 3 * * *".to_owned()),
        ("SNAPSHOTS_AGE_PUBLIC_KEY", PUBLIC.to_owned()),
        ("SNAPSHOTS_AGE_SECRET_KEY", SECRET.to_owned()),
    ]);
    let urls = sentinel.back_up("azure");
    let web = format!("{}/{container}", azure.endpoint());
    restore_everything(sentinel, docker, "azure", urls, &web);
}

#[test]
fn a_sentinel_goes_to_s3_by_its_one_address_and_comes_back_by_uri() {
    let (Some(s3), Some(docker)) = (servers::rgw(), servers::docker()) else { return };
    let bucket = s3.bucket();
    let (id, secret, region) = (s3.access_key, s3.secret_key, S3Server::REGION);
    let url = format!("http://{id}:{secret}@127.0.0.1:{}/?bucket={bucket}&region={region}", s3.port);
    let sentinel = Sentinel::new([
        ("SNAPSHOTS_STORAGE_PROVIDER", "s3".to_owned()),
        ("SNAPSHOTS_STORAGE_S3_URL", url),
        ("SNAPSHOTS_ENCRYPTION_KEY", "passphrase-hunter2".to_owned()),
        ("SNAPSHOTS_MAIN_SCHEDULE", "0 3 * * *".to_owned()),
    ]);
    let urls = sentinel.back_up("s3");
    let web = format!("http://127.0.0.1:{}/{bucket}", s3.port);
    restore_everything(sentinel, docker, "s3", urls, &web);
}

/// What goes to a folder.
fn local() -> Sentinel {
    let mut sentinel = Sentinel::new([("SNAPSHOTS_AGE_PUBLIC_KEY", PUBLIC.to_owned())]);
    let folder = sentinel.site.path("snapshots").to_str().unwrap().to_owned();
    sentinel.set("SNAPSHOTS_STORAGE_LOCAL_DIR", folder);
    sentinel
}

#[test]
fn a_sentinel_is_read_with_age_zstd_and_tar_alone() {
    if !["age", "zstd", "tar"].into_iter().all(|name| can(program(name))) {
        return;
    }
    let sentinel = local();
    let [main, redis] = sentinel.back_up("local");
    let (key, out) = (sentinel.site.path("key"), sentinel.site.path("out"));
    write_secret(&key, SECRET);
    std::fs::create_dir(&out).unwrap();
    for (archive, source, file, table, rows) in
        [(main, "main", "sentinel.db", "challenges", ROWS), (redis, "redis", "exotdb.sqlite", "kv", KEYS)]
    {
        assert!(archive.contains("/snapshots/altcha-sentinel-backups/db/20"), "{archive}");
        let line = format!("age -d -i '{}' '{archive}' | zstd -d | tar -x", key.display());
        run(Command::new("bash").args(["-o", "pipefail", "-c", &line]).current_dir(&out)).ok();
        let restored = out.join(source).join(sentinel.data(file).strip_prefix("/").unwrap());
        assert_eq!(sentinel.rows(&restored, table), rows);
        // What `age` decrypted needs no key.
        let plain = sentinel.site.path(Path::new(&archive).file_stem().unwrap());
        let line = format!("age -d -i '{}' '{archive}' > '{}'", key.display(), plain.display());
        run(Command::new("sh").args(["-c", &line])).ok();
        sentinel.lose();
        sentinel.lifeboat(&["restore", plain.to_str().unwrap(), "--in-place", "--yes"]).ok();
        assert_eq!(sentinel.rows(&sentinel.data(file), table), rows);
        let bytes = std::fs::read(&plain).unwrap();
        std::fs::write(&plain, &bytes[..bytes.len() - 9]).unwrap();
        let cut = ["restore", plain.to_str().unwrap(), "--to", &format!("cut-{source}")];
        sentinel.lifeboat(&cut).exits(1).says(["damaged", "NOT complete"]);
    }
}

#[test]
fn main_and_redis_are_backed_up_apart_and_what_is_wrong_is_named() {
    let mut sentinel = local();
    let shown = sentinel.lifeboat(&["config", "show"]).ok();
    shown.says(["effective values of the environment", "prefix: altcha-sentinel-backups/db/${iso_date()}"]);
    sentinel.back_up("local");
    sentinel.lifeboat(&["config", "check"]).ok().says(["the environment: well-formed", "source redis: 1 file"]);
    for source in ["main", "redis"] {
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let done = sentinel.lifeboat(&["backup", "sentinel", "--source", source, "--json"]).ok().summary();
        assert_eq!(done["sources"].as_object().unwrap().keys().collect::<Vec<_>>(), [source], "{done}");
        assert_eq!(done["copies"]["local"]["archives_written"], 1, "{done}");
    }
    sentinel.set("SNAPSHOTS_STORAGE_BUCKET", "hunter2");
    sentinel.lifeboat(&["backup"]).exits(2).says(["SNAPSHOTS_STORAGE_BUCKET", "did you mean"]);
    sentinel.set("SNAPSHOTS_STORAGE_BUCKET", "");
    sentinel.set("SNAPSHOTS_ENABLED", "0");
    let off = sentinel.lifeboat(&["backup", "--json"]).ok().summary();
    assert_eq!(off["status"], "disabled", "{off}");
    sentinel.lifeboat(&["backup"]).ok().says(["nothing was backed up: SNAPSHOTS_ENABLED switches backups off"]);
    sentinel.set("SNAPSHOTS_ENABLED", "1");
    // What Sentinel's own pages set lies in its volume.
    std::fs::write(sentinel.data(".env"), format!("{ENV}REDIS_CLUSTER_URL=redis://:hunter2@a\n")).unwrap();
    sentinel.lifeboat(&["backup"]).exits(2).says(["REDIS_CLUSTER_URL in ", "LIFEBOAT_WITHOUT=redis"]);
    sentinel.set("LIFEBOAT_WITHOUT", "redis");
    sentinel.lifeboat(&["backup"]).ok().says(["Redis is NOT in these backups"]);
    // Nothing is copied raw that is a database.
    sentinel.set("LIFEBOAT_WITHOUT", "main,redis");
    let done = sentinel.lifeboat(&["backup", "--json"]).ok().summary();
    assert_eq!((&done["status"], done["notices"].as_array().unwrap().len()), (&"ok".into(), 2), "{done}");
    assert_eq!(done["sources"]["other"]["tree"]["files"], 2, "{done}");
    assert_eq!(done["sources"]["files"]["tree"]["files"], 2, "{done}");
}

#[test]
fn what_the_volumes_env_says_is_taken_literally() {
    let mut sentinel = local();
    let set = "SNAPSHOTS_ENCRYPTION_KEY=pa$sword-hunter2\nSNAPSHOTS_DB_PREFIX=\"of/${iso_date()}\"\n";
    std::fs::write(sentinel.data(".env"), format!("{ENV}{set}")).unwrap();
    sentinel.set("SNAPSHOTS_AGE_PUBLIC_KEY", "");
    sentinel.lifeboat(&["config", "show"]).ok().says(["prefix: of/${iso_date()}"]);
    let [main, _] = sentinel.back_up("local");
    assert!(main.contains("/snapshots/of/20"), "{main}");
    // With nothing left but the archive and the key.
    std::fs::remove_dir_all(sentinel.site.path("state")).unwrap();
    std::fs::write(sentinel.data(".env"), ENV).unwrap();
    sentinel.lose();
    sentinel.set("SNAPSHOTS_ENCRYPTION_KEY", "pa$sword-hunter2");
    sentinel.lifeboat(&["restore", &main, "--in-place", "--yes"]).ok();
    assert_eq!(sentinel.rows(&sentinel.data("sentinel.db"), "challenges"), ROWS);
}

#[test]
fn a_sentinel_that_does_not_get_ready_is_told_of_and_its_data_is_restored() {
    let mut sentinel = local();
    sentinel.set("SNAPSHOTS_AGE_SECRET_KEY", SECRET);
    let [main, _] = sentinel.back_up("local");
    sentinel.lose();
    let port = servers::free_port();
    sentinel.set("LIFEBOAT_READY_URL", format!("http://127.0.0.1:{port}/.ready?key=hunter2"));
    sentinel.set("LIFEBOAT_READY_WITHIN", "1s");
    let ran = sentinel.lifeboat(&["restore", object(&main), "--in-place", "--yes"]).exits(3);
    ran.says(["the data is restored, but", "it is not ready after 1s", "cannot be reached", "--undo"]);
    assert_eq!(sentinel.rows(&sentinel.data("sentinel.db"), "challenges"), ROWS);
    sentinel.set("LIFEBOAT_RELOAD_COMMAND", "exit 7 # hunter2");
    let done = sentinel.lifeboat(&["restore", "latest:main", "--in-place", "--yes", "--json"]).exits(3).summary();
    let problem = done["reload"]["problem"].as_str().unwrap();
    assert!(problem.contains("${LIFEBOAT_RELOAD_COMMAND}") && problem.contains("exit code 7"), "{problem}");
    // Who does not want to wait is told where the way back is, and that there is something left to do.
    sentinel.lose();
    sentinel.set("LIFEBOAT_RELOAD_COMMAND", "");
    sentinel.set("LIFEBOAT_READY_WITHIN", "10m");
    let mut command = sentinel.command(&["restore", "latest:main", "--in-place", "--yes"]);
    let mut running = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    let said: Vec<_> = lines.by_ref().take_while(|line| !line.starts_with("waiting until")).collect();
    assert!(said.iter().any(|line| line.contains("--undo")), "{said:?}");
    kill_process(Pid::from_child(&running.0), Signal::INT).unwrap();
    let said: Vec<_> = lines.collect();
    assert!(said.last().is_some_and(|line| line.starts_with("cancelled; the data is restored")), "{said:?}");
    assert_eq!(running.0.wait().unwrap().code(), Some(3));
}

#[test]
fn a_new_repository_beside_archives_of_a_lost_one_has_to_be_asked_for() {
    let mut sentinel = local();
    sentinel.set("SNAPSHOTS_AGE_SECRET_KEY", SECRET);
    let [main, _] = sentinel.back_up("local");
    std::fs::remove_dir_all(sentinel.site.path("state")).unwrap();
    sentinel.lose();
    // A backup of what is there now would be the newest.
    let refused = sentinel.lifeboat(&["init"]).exits(10);
    refused.says(["has archives of stack sentinel, the newest of 20", "restore first", "init --anew local"]);
    assert!(!sentinel.site.path("state/repository").exists());
    sentinel.lifeboat(&["restore", object(&main), "--in-place", "--yes"]).ok();
    sentinel.lifeboat(&["init", "--anew", "local"]).ok();
    sentinel.lifeboat(&["init"]).ok();
    sentinel.lifeboat(&["backup"]).ok();
}

#[test]
fn the_tree_of_a_sentinel_is_recognised_and_its_stack_is_written() {
    let sentinel = local();
    let site = &sentinel.site;
    let (home, volume) = (site.path("host/altcha"), site.path("host/volumes/altcha_altcha_sentinel_data"));
    for folder in [&home, &volume] {
        std::fs::create_dir_all(folder).unwrap();
    }
    // As the install script has it.
    std::fs::write(
        home.join("docker-compose.yml"),
        "services:\n  altcha_sentinel:\n    image: ghcr.io/altcha-org/sentinel:1.14.0\n    env_file: .env\n    \
         ports: [\"8080:8080\"]\n    volumes: [\"altcha_sentinel_data:/data\"]\n    tmpfs: [/tmp]\n\
         volumes:\n  altcha_sentinel_data:\n",
    )
    .unwrap();
    std::fs::write(home.join(".env"), "MSSQL_URL=mssql://sa:hunter2@db\n").unwrap();
    std::fs::rename(site.data(), volume.join("_data")).unwrap();
    let found = site.lifeboat(["discover", "host", "--json"]).ok().summary();
    assert_eq!((&found["profile"], &found["uncovered"]), (&"sentinel".into(), &serde_json::json!([])), "{found}");
    let missing = found["missing"][0].as_str().unwrap();
    assert!(missing.contains("MSSQL_URL") && !missing.contains("hunter2"), "{missing}");
    // A database in a service of its own is a source, so that a backup without it is none.
    let compose = std::fs::read_to_string(home.join("docker-compose.yml")).unwrap();
    let with_server = compose.replacen("services:\n", "services:\n  db:\n    image: postgres:15\n", 1);
    std::fs::write(home.join("docker-compose.yml"), with_server).unwrap();
    std::fs::write(home.join(".env"), "POSTGRES_URL=postgres://sentinel:hunter2@db:5432/sentinel\n").unwrap();
    site.lifeboat(["init", "host", "--copy", "repo", "--yes"]).ok();
    let config = std::fs::read_to_string(site.config()).unwrap();
    assert!(config.contains("main:") && config.contains("service: db") && !config.contains("hunter2"), "{config}");
    site.lifeboat(["backup"]).exits(1).says(["main"]);
    std::fs::remove_file(site.config()).unwrap();
    std::fs::write(home.join("docker-compose.yml"), compose).unwrap();
    std::fs::write(home.join(".env"), "PORT=8080\n").unwrap();
    site.lifeboat(["init", "host", "--copy", "repo", "--yes"]).ok().says(["an ALTCHA Sentinel, 1.14.0"]);
    let done = site.lifeboat(["backup", "--json"]).ok().summary();
    let kinds = ["main", "redis", "files", "config"].map(|name| done["sources"][name]["kind"].clone());
    assert_eq!(kinds, ["sqlite", "sqlite", "files", "compose"], "{done}");
    assert_eq!((&done["status"], &done["stack"]), (&"ok".into(), &"sentinel".into()), "{done}");
    let out = site.restore("latest", "out");
    let restored =
        |source: &str, file: &str| out.join(source).join(volume.join("_data").join(file).strip_prefix("/").unwrap());
    assert_eq!(sentinel.rows(&restored("main", "sentinel.db"), "challenges"), ROWS);
    assert_eq!(sentinel.rows(&restored("redis", "exotdb.sqlite"), "kv"), KEYS);
    assert_eq!(std::fs::read_to_string(restored("files", ".env")).unwrap(), ENV);

    // The volume alone, as where it is mounted on a machine without an engine.
    std::fs::remove_file(site.config()).unwrap();
    std::fs::write(volume.join("_data/.env"), "EXOTDB_HMAC_SECRET=hunter2\nREDIS_URL=redis://cache\n").unwrap();
    let found = site.lifeboat(["discover", "host/volumes", "--json"]).ok().summary();
    assert_eq!(found["profile"], "sentinel", "{found}");
    let missing = found["missing"][0].as_str().unwrap();
    assert!(missing.contains("REDIS_URL") && missing.contains("a source `redis`"), "{missing}");
    site.lifeboat(["protect", "host/volumes"])
        .ok()
        .says(["an ALTCHA Sentinel, of unknown version", "MISSING: its Redis"]);
}
