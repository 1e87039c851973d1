//! Users who may do something in one database alone: their backups are whole where no more than that one is wanted.

use super::*;

#[test]
fn who_may_read_the_databases_that_are_named_has_a_whole_backup_and_is_told_what_is_not_in_it() {
    let Some(server) = servers::mariadb() else { return };
    server.sql(
        "CREATE DATABASE owned; USE owned; CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2); \
         CREATE USER owner@'%' IDENTIFIED BY 'word'; GRANT ALL PRIVILEGES ON owned.* TO owner@'%'; \
         CREATE USER reader@'%' IDENTIFIED BY 'word'; \
         GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, EXECUTE ON owned.* TO reader@'%'",
    );
    for user in ["owner", "reader"] {
        let captured = capture(by_port(server, user, "word", &["owned"])).unwrap();
        assert_eq!(captured.problems, [""; 0], "{user}");
        assert_eq!(captured.facts["databases"]["owned"]["tables"], json!({"t": 2}));
        let told: Vec<_> = captured.notes.iter().filter(|note| note.contains("users, their rights and")).collect();
        assert_eq!(told.len(), 1, "{:?}", captured.notes);
        assert!(captured.entries.iter().all(|entry| entry.path != Path::new(USERS)));
        assert_eq!(examined(&captured), captured.facts);
    }
    // There may be more, of which they are told nothing.
    for databases in [&[][..], &["own*"]] {
        let captured = capture(by_port(server, "owner", "word", databases)).unwrap();
        assert!(captured.problems[0].contains("ON *.* TO the user"), "{:?}", captured.problems);
    }
}

#[test]
fn who_may_change_one_database_restores_it_and_is_told_which_accounts_are_not_made() {
    let Some(server) = servers::mariadb() else { return };
    server.sql(
        "CREATE DATABASE regained; USE regained; CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2); \
         CREATE VIEW v AS SELECT a FROM t; CREATE USER regainer@'%' IDENTIFIED BY 'word'; \
         GRANT ALL PRIVILEGES ON regained.* TO regainer@'%'",
    );
    let captured = capture(of(server, &["regained"])).unwrap();
    let folder = tempfile::tempdir().unwrap();
    captured.restore(folder.path());
    let other = MariadbServer::start(&[]).unwrap();
    other.sql("CREATE USER regainer@'%' IDENTIFIED BY 'word'; GRANT ALL PRIVILEGES ON regained.* TO regainer@'%'");
    let job = MysqlRestore { into: by_port(&other, "regainer", "word", &[]), wanted: Wanted::default() };
    let restored = job.run(folder.path(), &captured.facts, &Cancel::new()).unwrap();
    assert_eq!(other.sql("SELECT COUNT(*) FROM regained.t"), "2");
    let told = &restored.problems[0];
    assert!(told.starts_with("who logs in may not make accounts (") && told.contains("regainer@%"), "{told}");
    assert!(!told.contains("PASSWORD"), "{told}");
}

#[test]
fn functions_that_others_defined_take_one_more_right_which_is_told() {
    let Some(server) = servers::mariadb() else { return };
    server.sql(
        "CREATE DATABASE foreign_body; CREATE TABLE foreign_body.t (a INT); \
         CREATE FUNCTION foreign_body.f() RETURNS INT DETERMINISTIC RETURN 1; CREATE USER outsider@'%' IDENTIFIED BY 'word'; \
         GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, EXECUTE ON foreign_body.* TO outsider@'%'",
    );
    let by_outsider = || by_port(server, "outsider", "word", &["foreign_body"]);
    let error = capture(by_outsider()).unwrap_err().to_string();
    assert!(error.contains("insufficient privileges to SHOW CREATE FUNCTION `f`"), "{error}");
    assert!(error.contains("GRANT SELECT ON mysql.proc TO the user"), "{error}");
    server.sql("GRANT SELECT ON mysql.proc TO outsider@'%'");
    let captured = capture(by_outsider()).unwrap();
    assert_eq!((captured.problems.len(), &captured.facts["databases"]["foreign_body"]["routines"]), (0, &json!(1)));
}
