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
    let drill = site.lifeboat(["drill", "--json"]).ok().summary();
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
