//! Restores into a running server: all of it, one database, one table.

use super::*;
use crate::source::Restored;

fn run(server: &MariadbServer, wanted: Wanted, captured: &Captured) -> Result<Restored, SourceError> {
    let folder = tempfile::tempdir().unwrap();
    captured.restore(folder.path());
    let job = MysqlRestore { into: of(server, &[]), wanted };
    let needed = job.files(&captured.facts)?;
    assert!(needed.iter().all(|file| folder.path().join(file).exists()), "{needed:?}");
    job.run(folder.path(), &captured.facts, &Cancel::new())
}

fn only(database: &str) -> Wanted {
    Wanted { databases: vec![database.to_owned()], ..Wanted::default() }
}

/// Every count is as it was backed up, of these databases.
fn assert_equal(restored: &Restored, names: &[&str]) {
    assert_eq!(restored.databases.iter().map(|one| one.restored_as.as_str()).collect::<Vec<_>>(), names);
    assert_eq!(restored.problems, [""; 0]);
    for one in &restored.databases {
        let (recorded, found) = one.counted.clone().unwrap();
        assert_eq!((found, one.problems.as_slice()), (recorded, &[][..]), "{}", one.name);
    }
}

#[test]
fn a_whole_server_comes_back_on_another_one_with_its_accounts() {
    if servers::mariadb().is_none() {
        return;
    }
    // Servers of its own, since accounts are of a whole server.
    let (server, other) = (MariadbServer::start(&[]).unwrap(), MariadbServer::start(&[]).unwrap());
    server.sql(AWKWARD);
    let captured = capture(of(&server, &["awkward", "odd*"])).unwrap();
    let restored = run(&other, Wanted::default(), &captured).unwrap();
    assert_equal(&restored, &["awkward", "odd `na;me/..x"]);
    assert!(restored.notes[0].contains("root@localhost"), "{:?}", restored.notes);
    for question in [
        "CHECKSUM TABLE awkward.types, awkward.generated, awkward.parts, awkward.plain",
        "SELECT table_name, definer, view_definition FROM information_schema.views WHERE table_schema = 'awkward' ORDER BY 1",
        "SELECT routine_name, definer, routine_definition FROM information_schema.routines WHERE routine_schema = 'awkward' ORDER BY 1",
        "SELECT * FROM awkward.v1",
        "SHOW GRANTS FOR `o'brien`@`%`",
        "SHOW GRANTS FOR readers",
    ] {
        assert_eq!(other.sql(question), server.sql(question), "{question}");
    }
    // Nothing is written over unasked, nor is half of it.
    other.sql("DROP DATABASE `odd ``na;me/..x`; DELETE FROM awkward.parts");
    let error = run(&other, Wanted::default(), &captured).unwrap_err().to_string();
    assert!(error.starts_with("database awkward is on the server and has 1") && error.contains("--replace"), "{error}");
    assert_eq!(other.sql("SHOW DATABASES LIKE 'odd%'"), "");
    let restored = run(&other, Wanted { replace: true, ..Wanted::default() }, &captured).unwrap();
    assert_equal(&restored, &["awkward", "odd `na;me/..x"]);
}

#[test]
fn one_database_comes_back_under_another_name_with_all_that_is_in_it() {
    let Some(server) = servers::mariadb() else { return };
    server.sql(
        "CREATE DATABASE again CHARACTER SET latin1; USE again; CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2); \
         CREATE VIEW v AS SELECT a + 1 AS b FROM t; CREATE PROCEDURE p() SELECT COUNT(*) FROM t; \
         CREATE TRIGGER r BEFORE INSERT ON t FOR EACH ROW SET NEW.a = NEW.a + 10; CREATE DATABASE again_other",
    );
    let captured = capture(of(server, &["again*"])).unwrap();
    let to_other = Wanted { rename: Some("again `new`".to_owned()), ..only("again") };
    assert_equal(&run(server, to_other.clone(), &captured).unwrap(), &["again `new`"]);
    let other = |sql: &str| server.sql(&format!("USE `again ``new```; {sql}"));
    assert_eq!(other("CALL p(); SELECT SUM(b) FROM v; SELECT @@character_set_database"), "2\n5\nlatin1");
    server.sql("DELETE FROM again.t");
    // What is written out in a body still means the old one, which is told.
    server.sql(
        "USE again; CREATE TABLE log (a INT); CREATE TRIGGER w AFTER INSERT ON t FOR EACH ROW INSERT INTO again.log VALUES (1); \
         CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO DELETE FROM `again`.`log`; CREATE PROCEDURE q() SELECT 'again'",
    );
    let naming = Wanted { rename: Some("again_naming".to_owned()), ..only("again") };
    let restored = run(server, naming, &capture(of(server, &["again"])).unwrap()).unwrap();
    let told = "these still mean database again, whose name somebody wrote into them: event e, trigger w; change them before \
                they are used";
    assert_eq!(restored.databases[0].problems, [told]);
    assert_eq!(other("SELECT COUNT(*) FROM v"), "2", "the view reads the table beside it");
    let error = run(server, to_other.clone(), &captured).unwrap_err().to_string();
    assert!(error.contains("`new` is on the server and has 3 tables, views, routines or events"), "{error}");
    other("INSERT INTO t VALUES (1); CREATE TABLE mine (a INT)");
    let restored = run(server, Wanted { replace: true, ..to_other }, &captured).unwrap();
    let (recorded, found) = restored.databases[0].counted.clone().unwrap();
    assert_ne!(found, recorded, "what is not in the snapshot stays");
    assert_eq!(found["tables"], json!({"mine": 0, "t": 2}));
    let error = run(server, only("gone"), &captured).unwrap_err().to_string();
    assert_eq!(error, "database gone is not in the snapshot, which has: again, again_other");
}

#[test]
fn one_table_comes_back_alone_and_beside_others() {
    let Some(server) = servers::mariadb() else { return };
    server.sql(
        "CREATE DATABASE single; USE single; CREATE TABLE a (a INT); INSERT INTO a VALUES (1), (2); \
         CREATE TABLE b (b INT); INSERT INTO b VALUES (1); CREATE VIEW v AS SELECT * FROM a; \
         CREATE TRIGGER r BEFORE INSERT ON a FOR EACH ROW SET NEW.a = NEW.a + 10",
    );
    let captured = capture(of(server, &["single"])).unwrap();
    let table = Wanted { tables: vec!["a".to_owned()], ..only("single") };
    let error = run(server, table.clone(), &captured).unwrap_err().to_string();
    assert!(error.contains("database single is on the server and has a table of that name"), "{error}");
    server.sql("DROP TABLE single.a; DELETE FROM single.b");
    let restored = run(server, table.clone(), &captured).unwrap();
    let counts = json!({"tables": {"a": 2}});
    assert_eq!(restored.databases[0].counted, Some((counts.clone(), counts)));
    assert_eq!(server.sql("SELECT COUNT(*) FROM single.b"), "0", "the rest stays as it is");
    let elsewhere = Wanted { rename: Some("single_b".to_owned()), tables: vec!["b".to_owned()], ..table.clone() };
    run(server, elsewhere, &captured).unwrap();
    assert_eq!(server.sql("USE single_b; SHOW TABLES; SELECT b FROM b"), "b\n1");
    server.sql("DELETE FROM single.a");
    run(server, Wanted { replace: true, ..table.clone() }, &captured).unwrap();
    assert_eq!(server.sql("INSERT INTO single.a VALUES (1); SELECT SUM(a) FROM single.a"), "14", "with its trigger");
    let error = run(server, Wanted { tables: vec!["v".to_owned()], ..table }, &captured).unwrap_err().to_string();
    assert_eq!(error, "table v is not in database single, which has: a, b");
}

#[test]
fn what_cannot_be_loaded_and_views_that_lack_something_are_told() {
    let Some(server) = servers::mariadb() else { return };
    server.sql(
        "CREATE DATABASE needs; CREATE DATABASE needed; CREATE TABLE needed.t (a INT); \
         CREATE VIEW needs.v AS SELECT a FROM needed.t; CREATE TABLE needs.t (a INT)",
    );
    let mut captured = capture(of(server, &["needs", "needed"])).unwrap();
    server.sql("DROP DATABASE needs; DROP DATABASE needed");
    let restored = run(server, only("needs"), &captured).unwrap();
    assert!(restored.databases[0].problems[0].starts_with("not all of its views could be made"), "{restored:?}");
    let file = captured.entries.iter_mut().find(|entry| entry.path.ends_with("needed.sql")).unwrap();
    file.bytes = String::from_utf8(file.bytes.clone()).unwrap().replace("CREATE TABLE", "CREATE A TABLE").into_bytes();
    let error = run(server, only("needed"), &captured).unwrap_err().to_string();
    assert!(error.starts_with("database needed: ") && error.contains("ERROR 1064"), "{error}");
    let wrong = MysqlRestore { into: by_port(server, MariadbServer::USER, "wrong", &[]), wanted: only("needed") };
    let error = wrong.run(Path::new("/nowhere"), &captured.facts, &Cancel::new()).unwrap_err().to_string();
    assert!(error.contains("Access denied") && !error.contains("wrong"), "{error}");
}

#[test]
fn what_fails_is_told_without_anybodys_data_and_with_the_accounts_name() {
    let Some(server) = servers::mariadb() else { return };
    server.sql(
        "CREATE DATABASE private; CREATE TABLE private.t (a INT, b TEXT); INSERT INTO private.t VALUES (1, 'confidential'); \
         CREATE USER unmade@'%' IDENTIFIED BY 'word'; GRANT SELECT ON private.* TO unmade@'%'",
    );
    let mut captured = capture(of(server, &["private"])).unwrap();
    server.sql("DROP DATABASE private; DROP USER unmade@'%'");
    let mut change = |name: &str, from: &str, to: &str| {
        let file = captured.entries.iter_mut().find(|entry| entry.path.ends_with(name)).unwrap();
        let text = String::from_utf8(file.bytes.clone()).unwrap();
        assert!(text.contains(from), "{text}");
        file.bytes = text.replace(from, to).into_bytes();
    };
    change(USERS, "`unmade`@`%` IDENTIFIED BY PASSWORD", "`unmade`@`%` IDENTIFIED VIA nothing USING");
    change("private.sql", "(1,'confidential')", "(1,'confidential',2)");
    let error = run(server, only("private"), &captured).unwrap_err().to_string();
    assert!(error.starts_with("database private: ERROR 1136 (21S01) at line "), "{error}");
    assert!(!error.contains("confidential") && !error.contains("INSERT"), "{error}");
    let file = captured.entries.iter_mut().find(|entry| entry.path.ends_with("private.sql")).unwrap();
    file.bytes = String::from_utf8(file.bytes.clone()).unwrap().replace("',2)", "')").into_bytes();
    let restored = run(server, Wanted { replace: true, ..Wanted::default() }, &captured).unwrap();
    let told: Vec<_> = restored.problems.iter().filter(|problem| problem.contains("unmade")).collect();
    assert!(told[0].starts_with("account unmade@% is not as it was: ERROR 1524 (HY000) at line "), "{told:?}");
    assert!(!told[0].contains("PASSWORD") && !told[0].contains('*'), "{told:?}");
    assert_eq!(server.sql("SELECT COUNT(*) FROM mysql.user WHERE user = 'unmade'"), "0", "it has no password");
}
