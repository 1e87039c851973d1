//! Databases in use: every snapshot of one that is being written holds a committed state, never a torn one.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rusqlite::Connection;

use crate::support::{Site, wait_until};
use crate::tree;

/// A program that commits all the time. Each commit adds an order with its lines and moves the counters that tie all
/// tables together, so that any mixture of two states shows.
struct Writer {
    stop: &'static AtomicBool,
    commits: &'static AtomicU64,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    fn start(database: &Path) -> Self {
        let stop: &AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
        let commits: &AtomicU64 = Box::leak(Box::new(AtomicU64::new(0)));
        let connection = open(database);
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                commit(&connection);
                commits.fetch_add(1, Ordering::Relaxed);
                // Without a breath the database would grow by megabytes a second.
                std::thread::sleep(std::time::Duration::from_micros(500));
            }
        });
        let writer = Self { stop, commits, thread: Some(thread) };
        wait_until("the writer commits", || commits.load(Ordering::Relaxed) > 20);
        writer
    }

    fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

fn open(database: &Path) -> Connection {
    let connection = Connection::open(database).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(60)).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
             CREATE TABLE IF NOT EXISTS totals (id INTEGER PRIMARY KEY, orders INTEGER, amount INTEGER);
             CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, amount INTEGER, note TEXT);
             CREATE TABLE IF NOT EXISTS lines (id INTEGER PRIMARY KEY, order_id INTEGER, amount INTEGER);
             INSERT OR IGNORE INTO totals VALUES (1, 0, 0);",
        )
        .unwrap();
    connection
}

/// One transaction over three tables. Old orders change, too, so that pages all over the file are rewritten.
fn commit(connection: &Connection) {
    connection
        .execute_batch(
            "BEGIN IMMEDIATE;
             UPDATE totals SET orders = orders + 1, amount = amount + orders + 1 WHERE id = 1;
             INSERT INTO orders SELECT orders, orders, hex(randomblob(150)) FROM totals;
             INSERT INTO lines (order_id, amount) SELECT orders, orders / 2 FROM totals;
             INSERT INTO lines (order_id, amount) SELECT orders, orders - orders / 2 FROM totals;
             UPDATE orders SET note = hex(randomblob(150)) WHERE id = (SELECT abs(random()) % orders + 1 FROM totals);
             COMMIT;",
        )
        .unwrap();
}

/// Opens a restored database as any program would and asserts that it is exactly the state after some commit. Gives which.
fn committed_state(database: &Path) -> u64 {
    let connection = Connection::open(database).unwrap();
    let text = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(text("PRAGMA integrity_check"), "ok", "{}", database.display());
    let orders = number("SELECT orders FROM totals");
    for sql in [
        "SELECT count(*) FROM orders",
        "SELECT max(id) FROM orders",
        "SELECT count(*) / 2 FROM lines",
        "SELECT count(DISTINCT order_id) FROM lines",
    ] {
        assert_eq!(number(sql), orders, "{sql} in {}", database.display());
    }
    for sql in ["SELECT amount FROM totals", "SELECT sum(amount) FROM orders", "SELECT sum(amount) FROM lines"] {
        assert_eq!(number(sql), orders * (orders + 1) / 2, "{sql} in {}", database.display());
    }
    let untied = "SELECT count(*) FROM orders JOIN (SELECT order_id, sum(amount) AS total FROM lines GROUP BY order_id)
                  ON orders.id = order_id WHERE total != amount";
    assert_eq!(number(untied), 0, "{}", database.display());
    orders.try_into().unwrap()
}

fn restored(target: &Path, source: &str, host: &Path) -> PathBuf {
    target.join(source).join(host.strip_prefix("/").unwrap())
}

#[test]
fn twenty_snapshots_of_a_database_that_is_being_written_each_hold_a_committed_state() {
    let site = Site::new();
    let database = site.data().join("shop.db");
    site.configure(&format!("db: {{ sqlite: {{ paths: [{database:?}] }} }}"));
    site.lifeboat(["init"]).ok();
    let writer = Writer::start(&database);
    let mut snapshots = Vec::new();
    for _ in 0..20 {
        let before = writer.commits();
        let id = site.backup();
        snapshots.push((before, id, writer.commits()));
    }
    drop(writer);
    let mut last = 0;
    for (before, id, after) in &snapshots {
        let target = site.restore(id, "target");
        let beside: Vec<_> = std::fs::read_dir(restored(&target, "db", &database).parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(beside, ["shop.db"], "a restored database needs nothing beside it");
        let state = committed_state(&restored(&target, "db", &database));
        // The counter follows the commit, so one commit may be there that was not counted yet.
        assert!((*before..=*after + 1).contains(&state), "{before} <= {state} <= {after}");
        assert!(state >= last);
        last = state;
    }
    assert!(snapshots[0].2 < snapshots[19].0, "the writer wrote all the time");
    site.lifeboat(["drill"]).ok();
}

#[test]
fn a_protected_folder_holds_its_databases_once_and_whole() {
    let site = Site::new();
    let data = site.data();
    let database = data.join("app/state.db");
    std::fs::create_dir(data.join("app")).unwrap();
    std::fs::write(data.join("app/settings.ini"), "a=1\n").unwrap();
    std::fs::remove_file(site.config()).unwrap();
    let writer = Writer::start(&database);
    assert!(data.join("app/state.db-wal").exists() && data.join("app/state.db-shm").exists());
    site.lifeboat(["protect", data.to_str().unwrap(), "--to", site.repo().to_str().unwrap()]).ok();
    let found: Vec<String> = site.lifeboat(["ls", "-R", "latest"]).ok().text().lines().map(str::to_owned).collect();
    drop(writer);
    let target = site.restore("latest", "target");
    let holders: Vec<String> = std::fs::read_dir(&target)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .filter(|entry| restored(&target, entry.file_name().to_str().unwrap(), &database).exists())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    assert_eq!(holders.len(), 1, "{found:?}");
    assert!(committed_state(&restored(&target, &holders[0], &database)) > 0);
    let databases = found.iter().filter(|line| line.contains("state.db")).count();
    assert_eq!(databases, 1, "neither the database twice nor its side files: {found:?}");
    let settings: Vec<_> = tree::read(&target).into_keys().filter(|path| path.ends_with("settings.ini")).collect();
    assert_eq!(settings.len(), 1, "{settings:?}");
}

#[test]
fn a_drill_never_passes_on_a_database_that_was_damaged_before_the_backup() {
    let site = Site::new();
    let database = site.data().join("shop.db");
    site.configure(&format!("db: {{ sqlite: {{ paths: [{:?}] }} }}", site.data()));
    site.lifeboat(["init"]).ok();
    let connection = open(&database);
    (0..3000).for_each(|_| commit(&connection));
    drop(connection);
    // A page in the middle becomes rubbish.
    let file = std::fs::File::options().write(true).open(&database).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xff; 4096], 40 * 4096).unwrap();
    site.lifeboat(["backup"]).exits(3).says(["integrity check"]);
    site.lifeboat(["drill"]).exits(1).says(["drill FAILED", "integrity check"]);
    site.lifeboat(["forget", "--dry-run"]).ok();
}

#[test]
fn a_database_that_did_not_change_adds_almost_nothing() {
    let site = Site::new();
    let database = site.data().join("shop.db");
    site.configure(&format!("db: {{ sqlite: {{ paths: [{:?}] }} }}", site.data()));
    site.lifeboat(["init"]).ok();
    let connection = open(&database);
    (0..3000).for_each(|_| commit(&connection));
    drop(connection);
    let first = site.lifeboat(["backup", "--json"]).ok().summary();
    let second = site.lifeboat(["backup", "--json"]).ok().summary();
    let added = |summary: &serde_json::Value| summary["bytes_added"].as_u64().unwrap();
    assert!(added(&first) > 500_000, "{first}");
    assert!(added(&second) < 4_000, "{second}");
    assert_eq!(second["sources"]["db"]["facts"], first["sources"]["db"]["facts"]);
}

#[test]
fn a_database_that_lost_most_of_its_rows_is_told_and_what_is_left_of_it_passes_a_drill() {
    let site = Site::new();
    let database = site.data().join("a.db");
    let connection = Connection::open(&database).unwrap();
    connection.execute_batch("CREATE TABLE t AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 500) SELECT x FROM n").unwrap();
    site.configure(&format!("db: {{ sqlite: {{ paths: [{:?}] }} }}", site.data()));
    site.lifeboat(["init"]).ok();
    site.backup();
    connection.execute_batch("DELETE FROM t WHERE x > 10").unwrap();
    for _ in 0..2 {
        site.lifeboat(["backup"]).exits(3).says(["has 10 rows, and had 500"]);
        site.lifeboat(["drill"]).ok();
    }
}
