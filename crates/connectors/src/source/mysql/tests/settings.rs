//! Servers that are set up otherwise than a fresh one: no setting may take anything out of a backup, or make it useless.

use super::patience::mysql_of_sorts;
use super::*;

#[test]
fn accounts_are_captured_alike_and_come_back_whatever_the_server_is_set_to() {
    if servers::mariadb().is_none() {
        return;
    }
    let (server, other) = (MariadbServer::start(&[]).unwrap(), MariadbServer::start(&[]).unwrap());
    server.sql(
        "CREATE DATABASE shop; CREATE TABLE shop.t (a INT); INSERT INTO shop.t VALUES (1), (2); \
         CREATE ROLE sellers; CREATE USER seller@'%' IDENTIFIED BY 'word'; GRANT sellers TO seller@'%'; \
         GRANT SELECT, INSERT ON shop.* TO sellers",
    );
    let plain = capture(of(&server, &["shop"])).unwrap();
    for setting in [
        "sql_mode='ANSI_QUOTES'",
        "sql_mode='ORACLE'",
        "sql_mode='PAD_CHAR_TO_FULL_LENGTH'",
        "sql_mode='NO_BACKSLASH_ESCAPES'",
        "sql_quote_show_create=0",
    ] {
        server.sql(&format!("SET GLOBAL sql_mode=DEFAULT, GLOBAL sql_quote_show_create=1, GLOBAL {setting}"));
        let captured = capture(of(&server, &["shop"])).unwrap();
        assert_eq!(captured.problems, [""; 0], "{setting}");
        assert_eq!(text(&captured, USERS), text(&plain, USERS), "{setting}");
        assert_eq!(captured.facts["databases"], plain.facts["databases"], "{setting}");
    }
    other.sql("SET GLOBAL sql_mode='ORACLE', GLOBAL sql_quote_show_create=0, GLOBAL sql_select_limit=1");
    let folder = tempfile::tempdir().unwrap();
    plain.restore(folder.path());
    let job = MysqlRestore { into: of(&other, &[]), wanted: Wanted::default() };
    let restored = job.run(folder.path(), &plain.facts, &Cancel::new()).unwrap();
    assert_eq!(restored.problems, [""; 0]);
    let (recorded, found) = restored.databases[0].counted.clone().unwrap();
    assert_eq!(found, recorded);
    server.sql("SET GLOBAL sql_quote_show_create=1");
    let default = "SET sql_mode='', sql_quote_show_create=1, sql_select_limit=1000; ";
    for whom in ["seller@'%'", "sellers"] {
        let question = format!("{default}SHOW GRANTS FOR {whom}");
        assert_eq!(other.sql(&question), server.sql(&question), "{whom}");
    }
}

#[test]
fn accounts_that_no_restore_understands_fail_the_drill_and_leave_the_databases() {
    let Some(server) = servers::mariadb() else { return };
    server.sql("CREATE DATABASE misquoted; CREATE TABLE misquoted.t (a INT); INSERT INTO misquoted.t VALUES (1)");
    let mut captured = capture(of(server, &["misquoted"])).unwrap();
    let users = captured.entries.iter_mut().find(|entry| entry.path == Path::new(USERS)).unwrap();
    users.bytes = b"GRANT USAGE ON *.* TO \"a\"@\"%\";\n".to_vec();
    let found = examined(&captured);
    assert_eq!(found["error"], "users.sql cannot be understood by a restore: it has a statement about nobody");
    let folder = tempfile::tempdir().unwrap();
    captured.restore(folder.path());
    let wanted = Wanted { replace: true, ..Wanted::default() };
    let job = MysqlRestore { into: of(server, &[]), wanted };
    let restored = job.run(folder.path(), &captured.facts, &Cancel::new()).unwrap();
    let (recorded, found) = restored.databases[0].counted.clone().unwrap();
    assert_eq!(found, recorded);
    assert!(restored.problems[0].starts_with("users.sql of the snapshot cannot be understood"), "{restored:?}");
}

#[test]
fn a_server_that_gives_only_some_rows_or_little_time_is_captured_whole() {
    if servers::mariadb().is_none() {
        return;
    }
    let server = MariadbServer::start(&[]).unwrap();
    server.sql(
        "CREATE DATABASE limited; USE limited; CREATE TABLE t SELECT seq FROM seq_1_to_100; \
         CREATE USER reader@'%' IDENTIFIED BY 'word'; \
         GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, EXECUTE ON limited.* TO reader@'%'; \
         SET GLOBAL sql_select_limit=50, GLOBAL max_statement_time=0.2",
    );
    // Else this test shows nothing.
    assert_eq!(server.sql("SELECT seq FROM limited.t").lines().count(), 50);
    let captured = capture(by_port(&server, "reader", "word", &["limited"])).unwrap();
    assert_eq!(captured.problems, [""; 0]);
    assert_eq!(captured.facts["databases"]["limited"]["tables"], json!({"t": 100}));
    assert!(text(&captured, "databases/limited.sql").contains("\n(100);"));
    let mut session = server::Server::own(&server.socket(), &Cancel::new()).unwrap().session(&Cancel::new()).unwrap();
    assert_eq!(session.ask_one("SELECT SLEEP(1)").unwrap(), "0", "it was broken off");
    assert_eq!(session.ask("SELECT seq FROM limited.t").unwrap().len(), 100);
}

#[test]
fn a_tool_that_cannot_ask_for_all_rows_is_refused_where_the_server_gives_only_some() {
    let Some((server, folder)) = mysql_of_sorts() else { return };
    server.sql(
        "CREATE DATABASE few; USE few; CREATE TABLE t SELECT seq FROM seq_1_to_100; SET GLOBAL sql_select_limit=50",
    );
    let options = || DatabaseOptions { tools: Some(folder.path().to_owned()), ..of(&server, &["few"]) };
    let error = capture(options()).unwrap_err().to_string();
    assert!(
        error.contains("its sql_select_limit gives mysqldump no more than 50 rows of a table: SET GLOBAL"),
        "{error}"
    );
    server.sql("SET GLOBAL sql_select_limit=DEFAULT");
    assert_eq!(capture(options()).unwrap().facts["databases"]["few"]["tables"]["t"], 100);
}

#[test]
fn a_table_that_is_locked_for_long_fails_the_run_with_what_to_do() {
    let Some(server) = servers::mariadb() else { return };
    server.sql(
        "CREATE DATABASE locked; CREATE TABLE locked.t (a INT); CREATE USER waiter@'%' IDENTIFIED BY 'word'; \
         GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, EXECUTE ON locked.* TO waiter@'%'",
    );
    let mut writer = server.client();
    writer.ask("LOCK TABLES locked.t WRITE; SELECT 1;");
    let error = capture(by_port(server, "waiter", "word", &["locked"])).unwrap_err().to_string();
    assert!(error.contains("Lock wait timeout exceeded") && error.contains("SHOW PROCESSLIST says who"), "{error}");
    writer.ask("UNLOCK TABLES; SELECT 1;");
    assert_eq!(capture(by_port(server, "waiter", "word", &["locked"])).unwrap().problems, [""; 0]);
}
