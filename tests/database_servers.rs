//! Database servers, from the configuration to a drill: one snapshot of a stack that has a MariaDB and a Redis.

use serde_json::json;
use servers::{MariadbServer, RedisServer};

use crate::support::{Site, run, write_secret};

const SECRET: &str = "hunter2";

/// A stack of both, with what they hold.
fn site(mariadb: &MariadbServer, redis: &RedisServer, database: &str) -> Site {
    mariadb.sql(&format!(
        "CREATE DATABASE {database}; USE {database}; CREATE TABLE orders (id INT PRIMARY KEY, item TEXT); \
         INSERT INTO orders SELECT seq, MD5(seq) FROM seq_1_to_20000; CREATE VIEW few AS SELECT * FROM orders WHERE id < 10; \
         CREATE USER {database}@'%' IDENTIFIED BY '{SECRET}'; GRANT ALL ON *.* TO {database}@'%' WITH GRANT OPTION"
    ));
    redis
        .run(&format!("SET visits 1\nHSET session:1 user me\nEXPIRE session:1 3600\nACL SETUSER default on >{SECRET}"));
    let site = Site::new();
    let password = site.path("database-password");
    write_secret(&password, SECRET);
    site.configure(&format!(
        "shop: {{ mysql: {{ url: 'mysql://127.0.0.1:{}', user: {database}, password_file: {password:?}, databases: {database} }} }}\n\
         cache: {{ redis: {{ url: 'redis://127.0.0.1:{}', password_file: {password:?} }} }}",
        mariadb.port, redis.port
    ));
    site.lifeboat(["init"]).ok();
    site
}

#[test]
fn a_mariadb_and_a_redis_are_backed_up_drilled_and_restored_and_an_unchanged_one_adds_almost_nothing() {
    let (Some(mariadb), Some(redis)) = (servers::mariadb(), servers::redis(&[])) else { return };
    let site = site(mariadb, &redis, "shop_whole");
    let summary = site.lifeboat(["backup", "--json"]).ok().summary();
    assert_eq!(summary["status"], "ok", "{summary}");
    let facts = |source: &str, fact: &str| summary["sources"][source]["facts"][fact].clone();
    assert_eq!(facts("shop", "databases")["shop_whole"]["tables"], json!({"orders": 20_000}));
    assert_eq!(facts("cache", "databases"), json!({"0": {"keys": 2, "expiring": 1}}));
    let again = site.lifeboat(["backup", "--json"]).ok().summary();
    assert!(again["bytes_added"].as_u64().unwrap() < 20_000, "{again}");
    // Whom a server of a drill runs as finds its folder also where temporary files are nobody else's.
    let private = tempfile::tempdir().unwrap();
    let drill = run(site.lifeboat_command(["drill", "--json"]).env("TMPDIR", private.path())).ok().summary();
    assert_eq!((&drill["status"], &drill["level"]), (&json!("passed"), &json!(3)), "{drill}");
    let target = site.restore(summary["snapshot_id"].as_str().unwrap(), "target");
    let sql = std::fs::read_to_string(target.join("shop/databases/shop_whole.sql")).unwrap();
    assert!(sql.contains("CREATE TABLE `orders`") && sql.contains("-- Current Database: `shop_whole`"));
    assert!(std::fs::read(target.join("cache/dump.rdb")).unwrap().starts_with(b"REDIS00"));
    for name in ["shop/users.sql", "shop/views.sql", "cache/users.acl"] {
        let text = std::fs::read_to_string(target.join(name)).unwrap();
        assert!(!text.contains(SECRET), "{name}");
    }
    for shown in [site.lifeboat(["config", "show"]).ok().text(), site.lifeboat(["backup", "--verbose"]).ok().errors()] {
        assert!(!shown.contains(SECRET), "{shown}");
    }
}

#[test]
fn databases_of_a_mariadb_are_restored_into_a_server() {
    let (Some(mariadb), Some(redis)) = (servers::mariadb(), servers::redis(&[])) else { return };
    let site = site(mariadb, &redis, "shop_back");
    site.backup();
    let restore = |place: &str, arguments: &[&str]| {
        let first = ["restore", place, "--json", "--server"];
        let mut command = site.lifeboat_command(first.iter().chain(arguments).copied().collect::<Vec<_>>());
        run(command.env("MYSQL_PWD", SECRET))
    };
    let url = format!("mysql://shop_back@127.0.0.1:{}", mariadb.port);
    let planned = restore("latest:shop/shop_back", &[&url, "--as", "shop_new", "--dry-run"]).ok().summary();
    assert_eq!(planned["files"], json!(["databases/shop_back.sql", "views.sql"]));
    let restored = restore("latest:shop/shop_back", &[&url, "--as", "shop_new"]).ok().summary();
    let one = json!({ "restored_as": "shop_new", "compared": true, "problems": [] });
    assert_eq!(restored["databases"]["shop_back"], one, "{restored}");
    assert_eq!(mariadb.sql("SELECT COUNT(*), MAX(id) FROM shop_new.orders"), "20000\t20000");
    assert_eq!(mariadb.sql("SELECT COUNT(*) FROM shop_new.few"), "9");
    // Nothing of value is written over unasked.
    mariadb.sql("DELETE FROM shop_back.orders");
    let error = restore("latest:shop", &["configured"]).exits(1).error();
    assert!(error["message"].as_str().unwrap().contains("let what is there be dropped with --replace"), "{error}");
    restore("latest:shop/shop_back/orders", &["configured", "--replace"]).ok();
    assert_eq!(mariadb.sql("SELECT COUNT(*) FROM shop_back.orders"), "20000");
    let whole = restore("latest:shop", &["configured", "--replace"]).ok().summary();
    assert!(whole["notes"][0].as_str().unwrap().contains("shop_back@%"), "{whole}");
    let error = restore("latest:shop/shop_back", &["configured", "--database", "shop_back"]).exits(2).error();
    assert!(error["message"].as_str().unwrap().contains("SNAPSHOT:SOURCE/DB/TABLE"), "{error}");
    restore("latest:shop", &["mysql://me:hunter2@db"]).exits(2);
    restore("latest:shop", &["postgresql://db"]).exits(2);
}

#[test]
fn what_a_redis_held_is_restored_into_another_one() {
    let (Some(mariadb), Some(redis)) = (servers::mariadb(), servers::redis(&[])) else { return };
    let site = site(mariadb, &redis, "shop_keys");
    let other = servers::redis(&["--requirepass", SECRET]).unwrap();
    site.backup();
    let restore = |place: &str, arguments: &[&str]| {
        let first = ["restore", place, "--json", "--server"];
        let mut command = site.lifeboat_command(first.iter().chain(arguments).copied().collect::<Vec<_>>());
        run(command.env("REDISCLI_AUTH", SECRET))
    };
    let url = format!("redis://127.0.0.1:{}", other.port);
    let restored = restore("latest:cache", &[&url]).ok().summary();
    assert_eq!(
        restored["databases"]["0"],
        json!({ "restored_as": "0", "compared": true, "problems": [] }),
        "{restored}"
    );
    let asked = other.pipe(&["-a", SECRET, "--no-auth-warning"], b"GET visits\nHGET session:1 user\nTTL visits");
    assert_eq!(asked.trim(), "1\nme\n-1");
    let error = restore("latest:cache/0", &["configured"]).exits(1).error();
    assert!(error["message"].as_str().unwrap().contains("database 0 has 2 keys"), "{error}");
    restore("latest:cache/0", &["configured", "--replace"]).ok();
    restore("latest:cache/0", &["configured", "--as", "5"]).ok();
    restore("latest:cache", &["mysql://db"]).exits(2);
}

#[test]
fn a_redis_is_backed_up_and_drilled_by_its_files() {
    let Some(redis) = servers::redis(&["--appendonly", "yes", "--appendfsync", "always"]) else { return };
    redis.run("SET visits 1\nSAVE\nSET visits 2\nSET late 1");
    let site = Site::new();
    site.configure(&format!(
        "cache: {{ redis: {{ files: {:?} }} }}\nfiles: {{ files: {{ paths: [{:?}] }} }}",
        redis.folder, redis.folder
    ));
    site.lifeboat(["init"]).ok();
    let summary = site.lifeboat(["backup", "--json"]).ok().summary();
    let facts = &summary["sources"]["cache"]["facts"];
    assert_eq!(facts["databases"], json!({"0": {"keys": 1, "expiring": 0}}), "{summary}");
    let last = "appendonlydir/appendonly.aof.1.incr.aof";
    assert!(facts["log"][last]["commands"].as_u64() >= Some(3), "{facts}");
    let drill = site.lifeboat(["drill", "--json"]).ok().summary();
    assert_eq!((&drill["status"], &drill["level"]), (&json!("passed"), &json!(3)), "{drill}");
    let target = site.restore(summary["snapshot_id"].as_str().unwrap(), "target");
    let below = |source: &str| target.join(source).join(redis.folder.strip_prefix("/").unwrap());
    assert!(target.join("cache/dump.rdb").is_file() && target.join("cache").join(last).is_file());
    assert!(!below("files").join("appendonlydir").exists(), "what one source captures, no other one does");
    let other = servers::redis(&[]).unwrap();
    let url = format!("redis://127.0.0.1:{}", other.port);
    let restored = site.lifeboat(["restore", "latest:cache", "--server", &url, "--json"]).ok().summary();
    assert_eq!(restored["databases"]["0"]["compared"], true, "{restored}");
    assert_eq!(other.run("GET visits\nGET late"), "2\n1");
}

#[test]
fn a_server_in_a_compose_service_is_found_and_written_into_the_configuration() {
    let Some(docker) = servers::docker() else { return };
    if servers::redis(&[]).is_none() {
        return;
    }
    let site = Site::new();
    let (project, volume) = (docker.name(), docker.name());
    let app = site.path("app");
    std::fs::remove_file(site.config()).unwrap();
    std::fs::create_dir(&app).unwrap();
    let compose = format!(
        "name: {project}\nservices:\n  queue: {{ build: ., volumes: ['data:/data', 'conf:/etc/redis'] }}\n  \
         idle: {{ image: 'postgres:16' }}\nvolumes: {{ data: {{ name: {volume} }}, conf: {{}} }}\n"
    );
    std::fs::write(app.join("compose.yaml"), compose).unwrap();
    let labels = ["project", "service"].map(|label| format!("com.docker.compose.{label}="));
    let labels = [format!("{}{project}", labels[0]), format!("{}queue", labels[1])];
    let data = format!("{volume}:/data");
    let mut options: Vec<&str> =
        ["/usr:/usr:ro", "/lib:/lib:ro", "/lib64:/lib64:ro", &data].iter().flat_map(|at| ["-v", at]).collect();
    // As images of Redis have it; who may log in, the container knows.
    let variables = ["PATH=/usr/bin:/bin", "REDIS_VERSION=7.0.15", "REDIS_PASSWORD=secret"];
    options.extend(variables.iter().flat_map(|set| ["-e", set]));
    options.extend(labels.iter().flat_map(|label| ["--label", label]));
    let name = format!("{project}-queue-1");
    docker.make(&name, &options, "exec redis-server --requirepass secret --repl-diskless-sync-delay 0 --save ''");
    docker.docker(&["start", &name]);
    let client = ["exec", "-e", "REDISCLI_AUTH=secret", &name, "redis-cli"];
    while !docker.attempt(&[&client[..], &["SET", "a", "1"]].concat()).stdout.starts_with(b"OK") {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let dir = app.to_str().unwrap();
    let lifeboat = |arguments: &[&str]| run(site.lifeboat_command(arguments).env("DOCKER_HOST", docker.host()));
    let found = lifeboat(&["discover", dir, "--json"]).ok().summary();
    assert_eq!(found["servers"], json!([{ "project": project, "service": "queue", "server": "Redis" }]));
    let uncovered: Vec<_> = found["uncovered"].as_array().unwrap().iter().map(|gap| gap["name"].clone()).collect();
    assert_eq!(uncovered, [json!(format!("service idle of {project}")), json!(format!("volume {project}_conf"))]);
    lifeboat(&["init", dir, "--yes"]).ok();
    let written = std::fs::read_to_string(site.path("lifeboat.yaml")).unwrap();
    let source = format!("redis:\n          service: queue\n          project: {project}\n");
    assert!(written.contains(&source), "{written}");
    let summary = lifeboat(&["backup", "--json"]).ok().summary();
    assert_eq!(
        summary["sources"]["queue"]["facts"]["databases"],
        json!({"0": {"keys": 1, "expiring": 0}}),
        "{summary}"
    );
    docker.docker(&["stop", &name]);
    let found = lifeboat(&["discover", dir, "--json"]).ok().summary();
    assert_eq!(found["servers"], json!([]), "one that does not run cannot be asked");
}

#[test]
fn a_server_that_is_gone_fails_the_run_and_the_last_snapshot_stays() {
    let (Some(mariadb), Some(redis)) = (servers::mariadb(), servers::redis(&[])) else { return };
    let site = site(mariadb, &redis, "shop_gone");
    let kept = site.backup();
    drop(redis);
    let failed = site.lifeboat(["backup"]).exits(1);
    assert!(failed.errors().contains("Redis at 127.0.0.1:"), "{}", failed.errors());
    let snapshots = site.lifeboat(["snapshots", "--json"]).ok();
    assert!(snapshots.text().contains(&kept));
    site.lifeboat(["drill"]).ok();
}

#[test]
fn a_second_mariadb_waits_for_its_turn_longer_than_its_server_would() {
    if servers::mariadb().is_none() {
        return;
    }
    let server = MariadbServer::start(&["--net-write-timeout=2"]).unwrap();
    server.sql(
        "CREATE DATABASE first; CREATE TABLE first.t (a INT); INSERT INTO first.t VALUES (1); \
         CREATE DATABASE second; USE second; CREATE TABLE t (a LONGTEXT); \
         INSERT INTO t SELECT REPEAT(MD5(seq), 30000) FROM seq_1_to_60",
    );
    let site = Site::new();
    // The first dump has begun, and then takes its time.
    let tools = site.path("tools");
    std::fs::create_dir(&tools).unwrap();
    std::os::unix::fs::symlink("/usr/bin/mariadb", tools.join("mariadb")).unwrap();
    let slow = "#!/bin/sh\ncase \"$*\" in --version) exec /usr/bin/mariadb-dump --version;; esac\n\
        /usr/bin/mariadb-dump \"$@\" | { while read -r line; do printf '%s\\n' \"$line\"; case $line in INSERT*) sleep 7;; esac; done; }\n";
    std::fs::write(tools.join("mariadb-dump"), slow).unwrap();
    std::fs::set_permissions(tools.join("mariadb-dump"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    site.configure(&format!(
        "first: {{ mysql: {{ url: '{0}', user: root, databases: first, tools: {tools:?} }} }}\n\
         second: {{ mysql: {{ url: '{0}', user: root, databases: second }} }}",
        server.url()
    ));
    site.lifeboat(["init"]).ok();
    let summary = site.lifeboat(["backup", "--json"]).ok().summary();
    assert_eq!(summary["status"], "ok", "{summary}");
    let tables = |name: &str| summary["sources"][name]["facts"]["databases"][name]["tables"].clone();
    assert_eq!((tables("first"), tables("second")), (json!({"t": 1}), json!({"t": 60})), "{summary}");
    assert!(summary["duration_s"].as_f64().is_none_or(|seconds| seconds > 7.0), "it was not slow: {summary}");
}

#[test]
fn a_mariadb_that_quotes_otherwise_and_gives_only_some_rows_comes_back_whole_with_its_accounts() {
    if servers::mariadb().is_none() {
        return;
    }
    let (server, other) = (MariadbServer::start(&[]).unwrap(), MariadbServer::start(&[]).unwrap());
    server.sql(
        "CREATE DATABASE quoted; USE quoted; CREATE TABLE t SELECT seq FROM seq_1_to_100; \
         CREATE TABLE past (a INT) WITH SYSTEM VERSIONING; INSERT INTO past VALUES (1); UPDATE past SET a = 2; \
         CREATE USER seller@'%' IDENTIFIED BY 'word'; GRANT SELECT ON quoted.* TO seller@'%'",
    );
    let granted = server.sql("SHOW GRANTS FOR seller@'%'");
    server.sql("SET GLOBAL sql_mode='ORACLE', GLOBAL sql_quote_show_create=0, GLOBAL sql_select_limit=50");
    let site = Site::new();
    site.configure(&format!("db: {{ mysql: {{ url: '{}', user: root, databases: quoted }} }}", server.url()));
    site.lifeboat(["init"]).ok();
    let summary = site.lifeboat(["backup", "--json"]).ok().summary();
    let tables = &summary["sources"]["db"]["facts"]["databases"]["quoted"]["tables"];
    assert_eq!((&summary["status"], tables), (&json!("ok"), &json!({"past": 2, "t": 100})), "{summary}");
    site.lifeboat(["drill"]).ok();
    let url = format!("mysql://{}@127.0.0.1:{}", MariadbServer::USER, other.port);
    let mut command = site.lifeboat_command(["restore", "latest:db", "--json", "--server", &url]);
    let restored = run(command.env("MYSQL_PWD", MariadbServer::PASSWORD)).ok().summary();
    assert_eq!(restored["databases"]["quoted"]["problems"], json!([]), "{restored}");
    assert_eq!(other.sql("SELECT COUNT(*) FROM quoted.t"), "100");
    assert_eq!(other.sql("SELECT a FROM quoted.past FOR SYSTEM_TIME ALL ORDER BY a"), "1\n2");
    assert_eq!(other.sql("SHOW GRANTS FOR seller@'%'"), granted);
}
