use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use repository::{Cancel, NodeKind, SourceError};
use rusqlite::Connection;
use serde_json::{Value, json};

use super::{KIND, SqliteOptions, SqliteSource, find};
use crate::source::examine;
use crate::source::testing::{Captured, Setup, as_plain_user};
use repository::Source as _;

fn source(paths: &[&Path]) -> SqliteSource {
    let paths = paths.iter().map(|path| path.to_path_buf()).collect();
    SqliteSource::new(SqliteOptions { paths, lock_wait: Duration::from_millis(600), ..SqliteOptions::default() })
        .unwrap()
}

fn capture(paths: &[&Path]) -> Captured {
    Setup::default().capture(&source(paths)).unwrap()
}

fn facts<'a>(captured: &'a Captured, path: &Path) -> &'a Value {
    &captured.facts["databases"][path.to_str().unwrap()]
}

fn make(path: &Path, sql: &str) -> Connection {
    let database = Connection::open(path).unwrap();
    database.execute_batch(sql).unwrap();
    database
}

/// Opens a captured copy as an application would.
fn open_copy(dir: &Path, bytes: &[u8]) -> Connection {
    let path = dir.join("copy.db");
    let _ = fs::remove_file(&path);
    fs::write(&path, bytes).unwrap();
    Connection::open(path).unwrap()
}

fn number(database: &Connection, sql: &str) -> i64 {
    database.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn a_look_copies_nothing_and_counts_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    make(&path, "CREATE TABLE t (x); INSERT INTO t VALUES (1)");
    let setup = Setup { look_only: true, ..Setup::default() };
    let looked = setup.capture(&source(&[dir.path()])).unwrap();
    let entry = looked.get(&path);
    assert!(!entry.is_stream, "what is not copied is the file itself");
    assert_eq!(entry.node.size, fs::metadata(&path).unwrap().len());
    assert!(looked.problems.is_empty() && looked.facts["databases"].as_object().unwrap().is_empty());
    assert!(capture(&[dir.path()]).get(&path).is_stream);
}

/// Commits all the time: every transaction adds rows and keeps two sums of them. Runs in a process of its own, started by
/// the tests below, until it is killed.
#[test]
#[ignore = "the writer of other tests, which runs until it is killed"]
fn writer() {
    let mode = fs::read_to_string("mode").unwrap();
    let mut database = Connection::open("app.db").unwrap();
    database.busy_timeout(Duration::from_secs(10)).unwrap();
    database.pragma_update(None, "journal_mode", mode).unwrap();
    database.pragma_update(None, "synchronous", "OFF").unwrap();
    database.execute_batch("PRAGMA wal_autocheckpoint = 50").unwrap();
    for number in 0i64.. {
        let transaction = database.transaction().unwrap();
        for part in 0..3 {
            let row = (number * 3 + part, number * 7 % 1009);
            transaction.execute("INSERT INTO rows VALUES (?1, ?2, randomblob(3000))", row).unwrap();
            transaction.execute("UPDATE sums SET rows = rows + 1, total = total + ?1", [row.1]).unwrap();
        }
        transaction.execute("DELETE FROM rows WHERE id < ?1 - 300", [number * 3]).unwrap();
        transaction.execute("UPDATE kept SET rows = (SELECT count(*) FROM rows)", []).unwrap();
        transaction.commit().unwrap();
    }
}

/// The writer, stopped when the test ends, however it ends.
struct Writer(Child);

impl Writer {
    fn start(dir: &Path, mode: &str) -> Self {
        let tables = "CREATE TABLE rows (id INTEGER PRIMARY KEY, value INTEGER, filler BLOB);
            CREATE TABLE sums (rows INTEGER, total INTEGER); INSERT INTO sums VALUES (0, 0);
            CREATE TABLE kept (rows INTEGER); INSERT INTO kept VALUES (0);";
        drop(make(&dir.join("app.db"), tables));
        fs::write(dir.join("mode"), mode).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "source::sqlite::tests::writer", "--ignored", "--nocapture"]).current_dir(dir);
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn copies_under_writes_are_committed_states(mode: &str) {
    let dir = tempfile::tempdir().unwrap();
    let copies = tempfile::tempdir().unwrap();
    let mut writer = Writer::start(dir.path(), mode);
    let path = dir.path().join("app.db");
    let source = SqliteSource::new(SqliteOptions { paths: vec![path.clone()], ..SqliteOptions::default() }).unwrap();
    let mut seen = Vec::new();
    while seen.len() < 20 {
        let captured = Setup::default().capture(&source).unwrap();
        assert_eq!(captured.problems, [""; 0]);
        let copy = open_copy(copies.path(), &captured.get(&path).bytes);
        let check: String = copy.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
        let rows = number(&copy, "SELECT rows FROM sums");
        assert_eq!(rows % 3, 0, "a transaction was torn");
        assert_eq!(
            number(&copy, "SELECT total FROM sums"),
            (0..rows / 3).map(|number| number * 7 % 1009 * 3).sum::<i64>()
        );
        let kept = number(&copy, "SELECT count(*) FROM rows");
        assert_eq!(kept, number(&copy, "SELECT rows FROM kept"));
        if rows > 0 {
            assert_eq!(number(&copy, "SELECT max(id) FROM rows"), rows - 1);
        }
        assert_eq!(facts(&captured, &path)["tables"]["rows"], kept);
        assert_eq!(facts(&captured, &path)["integrity"], "ok");
        // The first ones may come before the writer has begun.
        if rows > 0 {
            seen.push(rows);
        }
        assert!(writer.0.try_wait().unwrap().is_none(), "the writer has stopped");
    }
    assert!(seen.windows(2).filter(|pair| pair[0] < pair[1]).count() > 10, "hardly anything was written: {seen:?}");
}

#[test]
fn copies_under_writes_in_wal_mode_are_committed_states() {
    copies_under_writes_are_committed_states("WAL");
}

#[test]
fn copies_under_writes_with_a_rollback_journal_are_committed_states() {
    copies_under_writes_are_committed_states("DELETE");
}

#[test]
fn facts_tell_what_a_database_holds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weird \n%3f#name.sqlite");
    let sql = "PRAGMA page_size = 8192; PRAGMA encoding = 'UTF-16le'; PRAGMA user_version = 7; PRAGMA application_id = 9;
        CREATE TABLE \"we\"\"ird; DROP\" (a); INSERT INTO \"we\"\"ird; DROP\" VALUES (1), (2);
        CREATE TABLE [select] (a PRIMARY KEY) WITHOUT ROWID; INSERT INTO [select] VALUES ('x');
        CREATE TABLE empty (a INTEGER PRIMARY KEY AUTOINCREMENT, b AS (a + 1));
        CREATE VIEW v AS SELECT 1; CREATE VIRTUAL TABLE words USING fts5(body); INSERT INTO words VALUES ('hello world');
        CREATE VIRTUAL TABLE lost USING fts5(body);
        PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = 'CREATE VIRTUAL TABLE lost USING gone(x)' WHERE name = 'lost';";
    drop(make(&path, sql));
    let captured = capture(&[dir.path()]);
    let mut found = captured.facts["databases"].as_object().unwrap().values().next().unwrap().clone();
    let tables = found["tables"].as_object_mut().unwrap();
    tables.retain(|name, _| !name.starts_with("words_") && !name.starts_with("lost_"));
    assert!(found["page_count"].as_i64().unwrap() > 5);
    found["page_count"] = Value::Null;
    let expected = json!({
        "copied": true, "integrity": "ok", "page_size": 8192, "page_count": null, "user_version": 7,
        "application_id": 9, "encoding": "UTF-16le",
        "tables": {"we\"ird; DROP": 2, "select": 1, "empty": 0, "words": 1, "lost": null},
    });
    assert_eq!(found, expected);
}

#[test]
fn the_largest_pages_and_what_searches_text_come_back_out_of_the_log() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = dir.path().join("notes.db");
    // Its header has room for pages of 32 KiB, so it says 1 for these.
    let sql = "PRAGMA page_size = 65536; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE notes (id, text);
        CREATE VIRTUAL TABLE found USING fts5(text, content = 'notes', content_rowid = 'rowid');
        CREATE VIRTUAL TABLE old USING fts4(text);
        WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 500)
        INSERT INTO notes SELECT i, 'note ' || i || ' ' || hex(randomblob(1000)) FROM n;
        INSERT INTO found(found) VALUES ('rebuild'); INSERT INTO old SELECT text FROM notes;";
    let _writer = make(&path, sql);
    assert!(fs::metadata(super::with_suffix(&path, "-wal")).unwrap().len() > 1 << 20, "all of it is in the log");
    let captured = capture(&[dir.path()]);
    assert_eq!(
        (&facts(&captured, &path)["page_size"], &facts(&captured, &path)["integrity"]),
        (&json!(65536), &json!("ok"))
    );
    captured.restore(to.path());
    assert_eq!(examine(KIND, to.path(), &captured.facts, &Cancel::new()).unwrap(), captured.facts);
    let copy = open_copy(to.path(), &captured.get(&path).bytes);
    for table in ["found", "old"] {
        let matching = format!("SELECT count(*) FROM {table} WHERE {table} MATCH 'note AND 77'");
        assert_eq!(number(&copy, &matching), 1, "{table}");
    }
    copy.execute_batch("INSERT INTO found(found) VALUES ('integrity-check')").unwrap();
}

#[test]
fn a_restored_database_has_the_recorded_facts_until_something_is_missing() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = dir.path().join("a \"b\".db");
    let _writer = make(&path, "PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (1), (2)");
    let captured = capture(&[dir.path()]);
    captured.restore(to.path());
    let examined = || examine(KIND, to.path(), &captured.facts, &Cancel::new()).unwrap();
    assert_eq!(examined(), captured.facts);
    let restored = to.path().join(path.strip_prefix("/").unwrap());
    assert!(!super::with_suffix(&restored, "-shm").exists(), "examining left something behind");
    make(&restored, "PRAGMA journal_mode = DELETE; DELETE FROM t WHERE a = 1");
    assert_ne!(examined(), captured.facts);
    fs::write(&restored, "SQLite format 3\0 and nothing else").unwrap();
    assert!(examined()["databases"].to_string().contains("error"));
    fs::remove_file(&restored).unwrap();
    assert_eq!(examined()["databases"], json!({}));
}

#[test]
fn an_unchanged_database_gives_the_same_bytes() {
    for mode in ["WAL", "DELETE"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        let database = make(&path, &format!("PRAGMA journal_mode = {mode}; CREATE TABLE t (a)"));
        for number in 0..50 {
            database.execute("INSERT INTO t VALUES (?1 || hex(randomblob(500)))", [number]).unwrap();
        }
        let (first, second) = (capture(&[&path]), capture(&[&path]));
        assert_eq!(first.get(&path).bytes, second.get(&path).bytes);
        assert_eq!(first.facts, second.facts);
        assert_eq!(first.get(&path).node, second.get(&path).node);
    }
}

#[test]
fn the_entry_bears_the_originals_metadata() {
    let dir = tempfile::tempdir().unwrap();
    let (path, link) = (dir.path().join("app.db"), dir.path().join("link.db"));
    drop(make(&path, "CREATE TABLE t (a)"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    fs::hard_link(&path, dir.path().join("second.db")).unwrap();
    symlink("app.db", &link).unwrap();
    let captured = capture(&[&link]);
    let entry = captured.get(&link);
    assert_eq!((entry.node.kind, entry.node.mode & 0o777, entry.node.links), (NodeKind::File, 0o640, 1));
    assert_eq!(entry.node.size, u64::try_from(entry.bytes.len()).unwrap());
    assert!(entry.is_stream);
    let claims = source(&[&link]).claims(&Cancel::new()).unwrap();
    for name in ["app.db", "app.db-wal", "app.db-shm", "app.db-journal", "link.db"] {
        assert!(claims.contains(&dir.path().join(name)), "{name}");
    }
}

#[test]
fn searches_find_databases_by_their_content_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("deep/er")).unwrap();
    fs::create_dir_all(dir.path().join("skipped")).unwrap();
    for name in ["a", "deep/er/b.txt", "skipped/c.db", "deep/own.db"] {
        drop(make(&dir.path().join(name), "CREATE TABLE t (a)"));
    }
    fs::write(dir.path().join("not.db"), "no database").unwrap();
    fs::write(dir.path().join("empty.db"), "").unwrap();
    symlink("deep", dir.path().join("link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("pipe"), 0o640.into()).unwrap();
    let paths = vec![dir.path().to_path_buf()];
    let exclude = vec!["/skipped".to_owned()];
    let searching = SqliteSource::new(SqliteOptions { paths, exclude, ..SqliteOptions::default() }).unwrap();
    let setup = Setup { own_paths: vec![dir.path().join("deep/own.db")], ..Setup::default() };
    let captured = setup.capture(&searching).unwrap();
    assert_eq!(captured.below(dir.path()), ["a", "deep/", "deep/er/", "deep/er/b.txt"]);
    let captured = capture(&[&dir.path().join("**/*.db"), &dir.path().join("deep/*")]);
    assert_eq!(
        captured.below(dir.path()),
        ["deep/", "deep/er/", "deep/er/b.txt", "deep/own.db", "skipped/", "skipped/c.db"]
    );
    assert_eq!(captured.problems, [""; 0]);
}

#[test]
fn what_a_restore_keeps_for_its_undo_is_not_searched() {
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join(".lifeboat-undo-20260101/kept");
    fs::create_dir_all(&kept).unwrap();
    drop(make(&kept.join("old.db"), "CREATE TABLE t (a)"));
    drop(make(&dir.path().join("new.db"), "CREATE TABLE t (a)"));
    assert_eq!(capture(&[dir.path()]).below(dir.path()), ["new.db"]);
}

#[test]
fn paths_without_a_database_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let [there, empty, gone] = ["there.db", "empty", "gone.db"].map(|name| dir.path().join(name));
    drop(make(&there, "CREATE TABLE t (a)"));
    fs::create_dir(&empty).unwrap();
    let captured = capture(&[&there, &empty, &gone, &there]);
    let expected =
        [format!("{}: no SQLite database found here", empty.display()), format!("{}: does not exist", gone.display())];
    assert_eq!(captured.problems, expected);
    let error = Setup::default().capture(&source(&[&gone])).unwrap_err();
    assert_eq!(error.to_string(), format!("no such file or folder: {}", gone.display()));
}

#[test]
fn where_none_may_be_there_none_is_no_problem() {
    let dir = tempfile::tempdir().unwrap();
    let paths = vec![dir.path().to_owned()];
    let problems = |may_be_none| {
        let source = SqliteSource::new(SqliteOptions { paths: paths.clone(), may_be_none, ..SqliteOptions::default() });
        let source = source.unwrap();
        let found = find(&source.options, &source.exclude, &Cancel::new());
        found.unwrap().problems.len()
    };
    assert_eq!((problems(false), problems(true)), (1, 0));
    make(&dir.path().join("a.db"), "CREATE TABLE t(x)");
    assert_eq!((problems(false), problems(true)), (0, 0));
}

#[test]
fn an_empty_file_that_is_named_is_an_empty_database() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("empty.db");
    fs::write(&path, "").unwrap();
    let captured = capture(&[&path]);
    assert_eq!(captured.problems, [""; 0]);
    assert_eq!(facts(&captured, &path)["tables"], json!({}));
    assert_eq!(number(&open_copy(dir.path(), &captured.get(&path).bytes), "SELECT count(*) FROM sqlite_schema"), 0);
}

#[test]
fn what_only_stands_in_a_crashed_writers_log_is_captured_and_the_log_stays() {
    let (dir, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sql =
        "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (a); INSERT INTO t VALUES (1), (2)";
    let _writer = make(&dir.path().join("app.db"), sql);
    for name in ["app.db", "app.db-wal"] {
        fs::copy(dir.path().join(name), crashed.path().join(name)).unwrap();
    }
    let log = fs::read(crashed.path().join("app.db-wal")).unwrap();
    let path = crashed.path().join("app.db");
    let captured = capture(&[&path]);
    assert_eq!(captured.problems, [""; 0]);
    assert_eq!(facts(&captured, &path)["tables"]["t"], 2);
    assert_eq!(fs::read(crashed.path().join("app.db-wal")).unwrap(), log);
}

#[test]
fn nothing_is_left_beside_a_database_at_rest() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    drop(make(&path, "PRAGMA journal_mode = WAL; CREATE TABLE t (a)"));
    assert_eq!(facts(&capture(&[&path]), &path)["tables"]["t"], 0);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn databases_in_places_that_permit_no_writing_are_captured() {
    for mode in ["WAL", "DELETE"] {
        let dir = tempfile::tempdir().unwrap();
        as_plain_user(dir.path(), || {
            let path = dir.path().join("app.db");
            drop(make(&path, &format!("PRAGMA journal_mode = {mode}; CREATE TABLE t (a); INSERT INTO t VALUES (1)")));
            fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555)).unwrap();
            let captured = capture(&[&path]);
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
            assert_eq!(captured.problems, [""; 0]);
            assert_eq!(facts(&captured, &path)["tables"]["t"], 1);
        });
    }
}

#[test]
fn a_log_that_cannot_be_opened_is_captured_as_it_lies() {
    let (dir, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let _writer = make(&dir.path().join("app.db"), "PRAGMA journal_mode = WAL; CREATE TABLE t (a)");
    as_plain_user(crashed.path(), || {
        for name in ["app.db", "app.db-wal"] {
            let path = crashed.path().join(name);
            fs::write(&path, "").unwrap();
        }
    });
    for name in ["app.db", "app.db-wal"] {
        fs::write(crashed.path().join(name), fs::read(dir.path().join(name)).unwrap()).unwrap();
    }
    as_plain_user(crashed.path(), || {
        let path = crashed.path().join("app.db");
        fs::set_permissions(crashed.path(), fs::Permissions::from_mode(0o555)).unwrap();
        let captured = capture(&[&path]);
        fs::set_permissions(crashed.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(captured.problems[0].contains("could not be copied as a database"), "{:?}", captured.problems);
        assert_eq!(captured.below(crashed.path()), ["app.db", "app.db-wal"]);
        assert!(!captured.get(&path).is_stream);
    });
}

/// Rows for the table `t` of one column, so that there are many pages of it.
fn fill_pages(database: &Connection) {
    for number in 0..2000 {
        database.execute("INSERT INTO t VALUES (?1 || ' some text to fill pages')", [number]).unwrap();
    }
}

/// Damages the page in the middle of a file. Gives the file's bytes and where that page begins.
fn tear(path: &Path) -> (Vec<u8>, usize) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 64].fill(0xff);
    fs::write(path, &bytes).unwrap();
    (bytes, middle)
}

#[test]
fn a_damaged_database_is_captured_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    let database = make(&path, "CREATE TABLE t (a); CREATE INDEX i ON t (a)");
    fill_pages(&database);
    drop(database);
    let (bytes, middle) = tear(&path);
    let captured = capture(&[&path]);
    assert!(captured.problems[0].contains("integrity check says"), "{:?}", captured.problems);
    let copy = &captured.get(&path).bytes;
    assert_eq!((copy.len(), &copy[middle..middle + 64]), (bytes.len(), &[0xff; 64][..]));
}

#[test]
fn what_only_its_own_program_can_check_is_noted_and_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    // As where a program has added a collation and a function of its own.
    let own =
        "CREATE TABLE plain (a PRIMARY KEY); CREATE TABLE t (x TEXT); CREATE TABLE u (y); CREATE INDEX i ON u (y);
        INSERT INTO plain VALUES (1); INSERT INTO t VALUES ('a'), ('b'); INSERT INTO u VALUES (1);
        PRAGMA writable_schema = 1;
        UPDATE sqlite_schema SET sql = 'CREATE TABLE t (x TEXT COLLATE my CHECK (own(x)))' WHERE name = 't';
        UPDATE sqlite_schema SET sql = 'CREATE INDEX i ON u (y COLLATE my)' WHERE name = 'i'";
    drop(make(&path, own));
    let captured = capture(&[&path]);
    assert_eq!(captured.problems, [""; 0]);
    assert!(
        captured.notes.iter().any(|note| note.contains("not checked") && note.contains("my")),
        "{:?}",
        captured.notes
    );
    assert_eq!(facts(&captured, &path)["tables"], json!({ "plain": 1, "t": 2, "u": 1 }));
    let to = tempfile::tempdir().unwrap();
    captured.restore(to.path());
    assert_eq!(examine(KIND, to.path(), &captured.facts, &Cancel::new()).unwrap(), captured.facts);
}

#[test]
fn damage_is_found_also_where_only_its_own_program_can_check_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    let database = make(&path, "CREATE TABLE t (x TEXT)");
    fill_pages(&database);
    database
        .execute_batch(
            "PRAGMA writable_schema = 1; UPDATE sqlite_schema SET sql = 'CREATE TABLE t (x TEXT CHECK (own(x)))'",
        )
        .unwrap();
    drop(database);
    tear(&path);
    let captured = capture(&[&path]);
    assert!(captured.problems[0].contains("integrity check says"), "{:?}", captured.problems);
}

#[test]
fn what_cannot_be_copied_is_captured_as_it_lies() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let encrypted = dir.path().join("encrypted.db");
    fs::write(dir.path().join("broken"), [&b"SQLite format 3\0"[..], &[0x77; 4080]].concat()).unwrap();
    fs::write(dir.path().join("stump"), [&b"SQLite format 3\0"[..], &[0; 84]].concat()).unwrap();
    fs::write(dir.path().join("stump-journal"), "a journal").unwrap();
    fs::write(&encrypted, [0x5a; 4096]).unwrap();
    let captured = capture(&[dir.path(), &encrypted]);
    assert_eq!(captured.below(dir.path()), ["broken", "encrypted.db", "stump", "stump-journal"]);
    assert_eq!(captured.get(&encrypted).bytes, [0x5a; 4096]);
    assert_eq!(captured.problems.len(), 3);
    assert!(captured.problems[0].contains("could not be copied as a database: file is not a database"));
    assert!(captured.problems[1].contains("is not a SQLite database (or is it encrypted?); its files were captured"));
    assert!(captured.problems[2].contains("shorter than a page"));
    captured.restore(to.path());
    // What nobody can say of them when they are captured, nobody can prove of what comes back.
    let examined = examine(KIND, to.path(), &captured.facts, &Cancel::new());
    assert!(matches!(examined, Err(SourceError::Unavailable { .. })), "{examined:?}");
}

#[test]
fn a_database_that_stays_locked_is_captured_as_it_lies() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    let holder = make(&path, "CREATE TABLE t (a)");
    holder.execute_batch("BEGIN EXCLUSIVE; INSERT INTO t VALUES (1)").unwrap();
    let captured = capture(&[&path]);
    assert!(captured.problems[0].contains("another program kept it locked"), "{:?}", captured.problems);
    assert_eq!(captured.facts["databases"][path.to_str().unwrap()], json!({"copied": false}));
    assert!(captured.below(dir.path()).contains(&"app.db".to_owned()));
}

#[test]
fn a_cancelled_capture_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    drop(make(&path, "CREATE TABLE t (a)"));
    let setup = Setup::default();
    let source = source(&[&path]);
    source.claims(&setup.cancel).unwrap();
    setup.cancel.cancel();
    assert!(matches!(setup.capture(&source), Err(SourceError::Cancelled)));
    assert_eq!(fs::read_dir(setup.scratch.path()).unwrap().count(), 0);
}

#[test]
fn a_database_that_vanishes_is_noted() {
    let dir = tempfile::tempdir().unwrap();
    let [stays, goes] = ["stays.db", "goes.db"].map(|name| dir.path().join(name));
    for path in [&stays, &goes] {
        drop(make(path, "CREATE TABLE t (a)"));
    }
    let source = source(&[dir.path()]);
    source.claims(&Cancel::new()).unwrap();
    fs::remove_file(&goes).unwrap();
    let captured = Setup::default().capture(&source).unwrap();
    assert_eq!(captured.below(dir.path()), ["stays.db"]);
    assert_eq!(captured.notes, [format!("{}: vanished while it was being captured", goes.display())]);
}

#[test]
fn what_the_last_snapshot_had_and_this_one_lacks_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name);
    let rows = "CREATE TABLE t(x); WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 200) \
                INSERT INTO t SELECT x FROM n";
    for name in ["emptied.db", "damaged.db", "gone.db", "stays.db", "left-out.db"] {
        make(&place(name), rows);
    }
    make(&place("small.db"), "CREATE TABLE t(x); INSERT INTO t VALUES (1)");
    let told = |previous: &Captured, max_shrink_percent| {
        let options = SqliteOptions {
            paths: vec![dir.path().to_owned()],
            exclude: vec!["left-out.db".to_owned()],
            max_shrink_percent,
            ..SqliteOptions::default()
        };
        let setup = Setup { previous: Some(previous.facts.clone()), ..Setup::default() };
        let captured = setup.capture(&SqliteSource::new(options).unwrap()).unwrap();
        let told = captured.problems.iter().map(|problem| {
            let (path, what) = problem.split_once(": ").unwrap();
            (Path::new(path).file_name().unwrap().to_string_lossy().into_owned(), what.to_owned())
        });
        let told: Vec<(String, String)> = told.collect();
        (told, captured)
    };
    let first = capture(&[dir.path()]);
    Connection::open(place("emptied.db")).unwrap().execute_batch("DELETE FROM t").unwrap();
    let mut damaged = fs::read(place("damaged.db")).unwrap();
    damaged[..16].fill(0);
    fs::write(place("damaged.db"), damaged).unwrap();
    fs::remove_file(place("gone.db")).unwrap();
    fs::remove_file(place("small.db")).unwrap();
    let (problems, second) = told(&first, 50);
    let found = |name: &str| problems.iter().find(|(of, _)| of == name).map(|(_, what)| what.as_str()).unwrap_or("");
    assert!(found("emptied.db").starts_with("has 0 rows, and had 200 in the last snapshot"), "{problems:?}");
    assert!(
        found("damaged.db").starts_with("was a SQLite database in the last snapshot and is none now"),
        "{problems:?}"
    );
    assert!(found("gone.db").starts_with("was in the last snapshot and is not in this one"), "{problems:?}");
    assert_eq!(problems.len(), 3);
    let (problems, _) = told(&second, 50);
    assert_eq!(problems.len(), 3, "it is told until it is mended: {problems:?}");
    let (problems, _) = told(&first, 100);
    assert!(matches!(&problems[..], [(name, _)] if name == "damaged.db"), "{problems:?}");
}
