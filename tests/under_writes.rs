//! Database servers that are written to all the while: each of twenty snapshots is one moment of them, and comes back in
//! another server with every count as it was told.

use std::path::Path;

use serde_json::{Value, json};
use servers::{MariadbServer, Meanwhile, PostgresServer};

use crate::support::{Site, write_secret};

const SNAPSHOTS: usize = 20;
/// Accounts, each with this much money at first, and the sum that no transfer changes.
const ACCOUNTS: u64 = 100;
const EACH: u64 = 1000;
const SUM: u64 = ACCOUNTS * EACH;

/// Whose money goes to whom with this transfer, and how much.
fn transfer(number: u64) -> (u64, u64, u64) {
    (number * 7 % ACCOUNTS, number * 13 % ACCOUNTS, number % 17)
}

/// A site whose one source, `db`, has these settings. Its password lies in `secret`.
fn site(kind: &str, settings: &str, password: &str) -> Site {
    let site = Site::new();
    write_secret(&site.path("secret"), password);
    site.configure(&format!("db: {{ {kind}: {{ {settings} }} }}"));
    site.lifeboat(["init"]).ok();
    site
}

/// Takes the snapshots while somebody writes, restores each into the server at `url`, and gives how many transfers each has,
/// which `state` tells of what was restored: it is given what the backup told.
fn each_comes_back(site: &Site, writer: Meanwhile, url: &str, more: &[&str], mut state: impl FnMut(&Value) -> u64) {
    let snapshots: Vec<_> = (0..SNAPSHOTS).map(|_| site.lifeboat(["backup", "--json"]).ok().summary()).collect();
    drop(writer);
    let mut transfers = Vec::new();
    for done in &snapshots {
        assert_eq!(done["status"], "ok", "{done}");
        let place = format!("{}:db", done["snapshot_id"].as_str().unwrap());
        let arguments = ["restore", &place, "--json", "--server", url, "--replace"];
        let restored = site.lifeboat(arguments.iter().chain(more)).ok().summary();
        let databases = restored["databases"].as_object().unwrap();
        assert!(!databases.is_empty() && databases.values().all(|one| one["compared"] == true), "{restored}");
        assert_eq!(restored["problems"], json!([]));
        transfers.push(state(&done["sources"]["db"]["facts"]["databases"]));
    }
    assert!(transfers.windows(2).all(|pair| pair[0] < pair[1]), "nothing was written meanwhile: {transfers:?}");
    site.lifeboat(["drill"]).ok();
    site.lifeboat(["check", "--read-data"]).ok();
}

fn with_password(file: &Path) -> [String; 2] {
    ["--server-password-file".to_owned(), file.display().to_string()]
}

#[test]
fn twenty_snapshots_of_a_postgres_under_transfers_come_back_exactly() {
    if servers::postgres().is_none() {
        return;
    }
    // Servers of its own, since roles are of a whole server.
    let (server, other) = (PostgresServer::start().unwrap(), PostgresServer::start().unwrap());
    server.sql("postgres", "CREATE DATABASE bank");
    server.sql(
        "bank",
        &format!(
            "CREATE TABLE accounts (id int PRIMARY KEY, money bigint NOT NULL); CREATE TABLE transfers (id bigint PRIMARY KEY); \
             INSERT INTO accounts SELECT n, {EACH} FROM generate_series(0, {ACCOUNTS} - 1) AS n"
        ),
    );
    let mut client = server.client("bank");
    let writer = Meanwhile::start(move |number| {
        let (from, to, amount) = transfer(number);
        client.ask(&format!(
            "BEGIN; UPDATE accounts SET money = money - {amount} WHERE id = {from}; INSERT INTO transfers VALUES ({number}); \
             UPDATE accounts SET money = money + {amount} WHERE id = {to}; COMMIT; SELECT 1;"
        ));
    });
    let settings = format!("url: {:?}, user: postgres, password_file: secret, databases: [bank]", server.url());
    let site = site("postgres", &settings, PostgresServer::PASSWORD);
    let url = other.url().replace("//", "//postgres@");
    let password = with_password(&site.path("secret"));
    let more = ["--database", "bank", &password[0], &password[1]];
    each_comes_back(&site, writer, &url, &more, |told| {
        let tables = &told["bank"]["tables"];
        let transfers = tables["public.transfers"].as_u64().unwrap();
        let counted = "SELECT (SELECT sum(money) FROM accounts), (SELECT count(*) FROM accounts), \
                       (SELECT count(*) FROM transfers), (SELECT max(id) FROM transfers)";
        assert_eq!(other.sql("bank", counted), format!("{SUM}|{ACCOUNTS}|{transfers}|{transfers}"));
        assert_eq!(tables, &json!({ "public.accounts": ACCOUNTS, "public.transfers": transfers }));
        transfers
    });
}

#[test]
fn twenty_snapshots_of_a_mariadb_under_transfers_between_databases_come_back_exactly() {
    let Some(server) = servers::mariadb() else { return };
    let other = MariadbServer::start(&[]).unwrap();
    for database in ["branch_a", "branch_b"] {
        server.sql(&format!(
            "CREATE DATABASE {database}; USE {database}; CREATE TABLE accounts (id INT PRIMARY KEY, money BIGINT NOT NULL); \
             INSERT INTO accounts SELECT seq, {EACH} FROM seq_0_to_99; CREATE TABLE transfers (id BIGINT PRIMARY KEY)"
        ));
    }
    let mut client = server.client();
    let writer = Meanwhile::start(move |number| {
        let (from, to, amount) = transfer(number);
        client.ask(&format!(
            "START TRANSACTION; UPDATE branch_a.accounts SET money = money - {amount} WHERE id = {from}; \
             INSERT INTO branch_a.transfers VALUES ({number}); INSERT INTO branch_b.transfers VALUES ({number}); \
             UPDATE branch_b.accounts SET money = money + {amount} WHERE id = {to}; COMMIT; SELECT 1;"
        ));
    });
    let settings = format!(
        "url: 'mysql://127.0.0.1:{}', user: {}, password_file: secret, databases: ['branch_*']",
        server.port,
        MariadbServer::USER
    );
    let site = site("mysql", &settings, MariadbServer::PASSWORD);
    let url = format!("mysql://{}@127.0.0.1:{}", MariadbServer::USER, other.port);
    let password = with_password(&site.path("secret"));
    let more = ["--database", "branch_a", "--database", "branch_b", &password[0], &password[1]];
    each_comes_back(&site, writer, &url, &more, |told| {
        let sums = "SELECT (SELECT SUM(money) FROM branch_a.accounts) + (SELECT SUM(money) FROM branch_b.accounts)";
        assert_eq!(other.sql(sums), (2 * SUM).to_string());
        let transfers = told["branch_a"]["tables"]["transfers"].as_u64().unwrap();
        for database in ["branch_a", "branch_b"] {
            assert_eq!(told[database]["tables"], json!({ "accounts": ACCOUNTS, "transfers": transfers }));
            let counted = format!("SELECT COUNT(*), MAX(id) FROM {database}.transfers");
            assert_eq!(other.sql(&counted), format!("{transfers}\t{transfers}"));
        }
        transfers
    });
}

#[test]
fn twenty_snapshots_of_a_redis_under_transfers_come_back_exactly() {
    let (Some(server), Some(other)) = (servers::redis(&[]), servers::redis(&[])) else { return };
    server.run(&format!(
        "EVAL \"for i = 0, {ACCOUNTS} - 1 do redis.call('SET', 'account' .. i, {EACH}) end\" 0\nRPUSH transfers 0"
    ));
    let mut client = server.client();
    let writer = Meanwhile::start(move |number| {
        let (from, to, amount) = transfer(number);
        let moving = format!(
            "redis.call('DECRBY', 'account{from}', {amount}) redis.call('RPUSH', 'transfers', {number}) \
             return redis.call('INCRBY', 'account{to}', {amount})"
        );
        client.ask(&format!("EVAL \"{moving}\" 0"));
        // Else the list would grow by megabytes a second.
        std::thread::sleep(std::time::Duration::from_millis(1));
    });
    let site = site("redis", &format!("url: 'redis://127.0.0.1:{}'", server.port), "none");
    let url = format!("redis://127.0.0.1:{}", other.port);
    each_comes_back(&site, writer, &url, &[], |told| {
        assert_eq!(told, &json!({ "0": { "keys": ACCOUNTS + 1, "expiring": 0 } }));
        let sum =
            format!("local sum = 0 for i = 0, {ACCOUNTS} - 1 do sum = sum + redis.call('GET', 'account' .. i) end");
        let counted =
            other.run(&format!("EVAL_RO \"{sum} return sum\" 0\nDBSIZE\nLLEN transfers\nLINDEX transfers -1"));
        let counted: Vec<u64> = counted.lines().map(|number| number.parse().unwrap()).collect();
        let transfers = counted[3];
        assert_eq!(counted, [SUM, ACCOUNTS + 1, transfers + 1, transfers]);
        transfers
    });
}
