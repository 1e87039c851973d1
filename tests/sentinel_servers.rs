//! ALTCHA Sentinel whose databases are in servers of their own, as its variables name them: backed up by these variables alone,
//! and restored by URI into the servers. What stands for Sentinel is what it keeps there.

use std::process::Command;

use serde_json::{Value, json};
use servers::{PostgresServer, RedisServer};

use crate::support::{Ran, Site, run};

/// A pair of keys that opens nothing else.
const PUBLIC: &str = "age15w6w29yg9vv22n34d98tsndzuqdxll7g0tgfss3dkg9je0d7tghqj53ja6";
const SECRET: &str = "AGE-SECRET-KEY-19QYGCMMTLU0GAV0GNJW7SD4VWPRLMR0UUFFD096G7SRH09NXKAWS85SQJE";
const PASSWORD: &str = "hunter2/#";
/// The same as it stands in an address.
const ENCODED: &str = "hunter2%2F%23";
const KEYS: usize = 70;

struct Sentinel {
    site: Site,
    variables: Vec<(&'static str, String)>,
}

impl Sentinel {
    /// With the main database that this variable names, and a Redis.
    fn new(main: (&'static str, String), redis: &RedisServer) -> Self {
        let site = Site::new();
        std::fs::remove_file(site.config()).unwrap();
        std::fs::write(site.data().join(".env"), "JWT_SECRET=jwt-hunter2\n").unwrap();
        let folder = site.path("snapshots").to_str().unwrap().to_owned();
        let variables = vec![
            main,
            ("REDIS_URL", format!("redis://default:{ENCODED}@127.0.0.1:{}/0", redis.port)),
            ("SNAPSHOTS_STORAGE_LOCAL_DIR", folder),
            ("SNAPSHOTS_AGE_PUBLIC_KEY", PUBLIC.to_owned()),
            ("SNAPSHOTS_AGE_SECRET_KEY", SECRET.to_owned()),
        ];
        Self { site, variables }
    }

    /// Runs it, and sees to it that it shows no secret.
    fn lifeboat(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command.args(arguments);
        self.site.enclose(&mut command);
        command.env("DATA_DIR", self.site.data());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let ran = run(&mut command);
        let said = format!("{}{}", ran.text(), ran.errors());
        assert!(!said.contains("hunter2") && !said.contains("AGE-SECRET-KEY"), "{said}");
        ran
    }

    /// Backs up, and gives the summary, and the URLs of the archives of `main` and of `redis`.
    fn back_up(&self) -> (Value, [String; 2]) {
        self.lifeboat(&["init"]).ok();
        let done = self.lifeboat(&["backup", "--json"]).ok().summary();
        assert_eq!((&done["status"], &done["copies"]["local"]["status"]), (&json!("ok"), &json!("ok")), "{done}");
        let listed = self.lifeboat(&["snapshots", "--copy", "local", "--json"]).ok().of_type("snapshot");
        let urls: Vec<_> = listed[0]["archives"].as_array().unwrap().iter().map(|url| url.as_str().unwrap()).collect();
        let of = |source: &str| {
            let is_of = |url: &&&str| url.contains(&format!("/sentinel~{source}~"));
            urls.iter().find(is_of).unwrap_or_else(|| panic!("{source} in {urls:?}")).to_string()
        };
        (done, [of("main"), of("redis")])
    }

    /// Restores an archive into the server that the variables name. Sees to it that all databases are as they were.
    fn restore(&self, url: &str, more: &[&str]) -> Value {
        let words = [&["restore", url, "--server", "configured", "--json"], more].concat();
        let done = self.lifeboat(&words).ok().summary();
        for (name, database) in done["databases"].as_object().unwrap() {
            assert_eq!((&database["compared"], &database["problems"]), (&json!(true), &json!([])), "{name}: {done}");
        }
        done
    }
}

/// A Redis that lets nobody in without the password, with some keys.
fn redis() -> Option<RedisServer> {
    let server = servers::redis(&[])?;
    server.run(&format!("ACL SETUSER default on >{PASSWORD}"));
    keys(&server, &format!("EVAL \"for i = 1, {KEYS} do redis.call('SET', 'key' .. i, i) end\" 0"));
    Some(server)
}

fn keys(server: &RedisServer, commands: &str) -> String {
    server.pipe(&["-a", PASSWORD, "--no-auth-warning"], commands.as_bytes()).trim().to_owned()
}

/// Loses all keys, and restores them by URI; also where nothing is left but the archives.
fn lose_and_restore_redis(sentinel: &Sentinel, server: &RedisServer, url: &str) {
    keys(server, "FLUSHALL");
    sentinel.restore(url, &[]);
    assert_eq!(keys(server, "DBSIZE"), KEYS.to_string());
    keys(server, "SET key1 changed");
    sentinel.lifeboat(&["restore", url, "--server", "configured"]).exits(1).says(["--replace"]);
    sentinel.restore(url, &["--replace"]);
    assert_eq!(keys(server, "GET key1"), "1");
    let in_place = sentinel.lifeboat(&["restore", url, "--in-place", "--yes"]).exits(1);
    in_place.says(["has no place on this host", "--server configured"]);
}

#[test]
fn a_sentinel_with_a_postgresql_and_a_redis_is_backed_up_by_its_variables_and_comes_back_by_uri() {
    let (Some(postgres), Some(redis)) = (servers::postgres(), redis()) else { return };
    postgres.sql("postgres", "CREATE DATABASE sentinel_main");
    let fill = "CREATE TABLE challenges AS SELECT n AS id, 'value ' || n AS value FROM generate_series(1, 500) AS n";
    postgres.sql("sentinel_main", fill);
    let (user, password) = (PostgresServer::USER, PostgresServer::PASSWORD);
    let url = format!("postgresql://{user}:{password}@127.0.0.1:{}/sentinel_main", postgres.port);
    let sentinel = Sentinel::new(("POSTGRES_URL", url), &redis);
    let (done, [main, of_redis]) = sentinel.back_up();
    let kinds = ["main", "redis", "files"].map(|name| done["sources"][name]["kind"].clone());
    assert_eq!(kinds, ["postgres", "redis", "files"], "{done}");
    postgres.sql("sentinel_main", "DELETE FROM challenges WHERE id % 2 = 0");
    sentinel.restore(&main, &["--replace"]);
    assert_eq!(postgres.sql("sentinel_main", "SELECT count(*), max(value) FROM challenges"), "500|value 99");
    lose_and_restore_redis(&sentinel, &redis, &of_redis);
    // With nothing left but the archives and the variables.
    std::fs::remove_dir_all(sentinel.site.path("state")).unwrap();
    postgres.sql("postgres", "DROP DATABASE sentinel_main");
    sentinel.restore(&main, &[]);
    assert_eq!(postgres.sql("sentinel_main", "SELECT count(*) FROM challenges"), "500");
}

#[test]
fn a_sentinel_with_a_mariadb_whose_user_may_use_one_database_alone_comes_back_by_uri() {
    let (Some(mariadb), Some(redis)) = (servers::mariadb(), redis()) else { return };
    mariadb.sql(&format!(
        "CREATE DATABASE sentinel_main; USE sentinel_main; CREATE TABLE challenges AS SELECT seq AS id FROM seq_1_to_500; \
         CREATE USER sentinel@'%' IDENTIFIED BY '{PASSWORD}'; GRANT ALL PRIVILEGES ON sentinel_main.* TO sentinel@'%'"
    ));
    let url = format!("mysql://sentinel:{ENCODED}@127.0.0.1:{}/sentinel_main", mariadb.port);
    let sentinel = Sentinel::new(("MYSQL_URL", url), &redis);
    let (done, [main, of_redis]) = sentinel.back_up();
    let kinds = ["main", "redis", "files"].map(|name| done["sources"][name]["kind"].clone());
    assert_eq!(kinds, ["mysql", "redis", "files"], "{done}");
    let facts = &done["sources"]["main"]["facts"];
    assert_eq!(facts["databases"], json!({"sentinel_main": facts["databases"]["sentinel_main"]}));
    mariadb.sql("DELETE FROM sentinel_main.challenges WHERE id % 2 = 0");
    sentinel.restore(&main, &["--replace"]);
    assert_eq!(mariadb.sql("SELECT COUNT(*), MAX(id) FROM sentinel_main.challenges"), "500\t500");
    lose_and_restore_redis(&sentinel, &redis, &of_redis);
    std::fs::remove_dir_all(sentinel.site.path("state")).unwrap();
    mariadb.sql("DROP DATABASE sentinel_main");
    sentinel.restore(&main, &[]);
    assert_eq!(mariadb.sql("SELECT COUNT(*) FROM sentinel_main.challenges"), "500");
}

#[test]
fn a_redis_without_keys_is_restored_as_that_and_says_so() {
    let Some(redis) = redis() else { return };
    keys(&redis, "FLUSHALL");
    let sentinel = Sentinel::new(("LIFEBOAT_WITHOUT", "main".to_owned()), &redis);
    sentinel.lifeboat(&["init"]).ok();
    sentinel.lifeboat(&["backup"]).ok();
    keys(&redis, "SET late 1");
    let words = ["restore", "latest:redis", "--server", "configured"];
    sentinel.lifeboat(&words).ok().says(["the snapshot has no keys, so none was written"]);
    assert_eq!(keys(&redis, "DBSIZE"), "1");
}
