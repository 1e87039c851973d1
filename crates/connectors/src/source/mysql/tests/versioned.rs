//! System-versioned tables: their history is in the backup, or it is told that it is not.

use super::*;

const HISTORY: &str = "SELECT * FROM (\
    SELECT 'h', a, row_start AS s, row_end AS e FROM h FOR SYSTEM_TIME ALL UNION ALL \
    SELECT 'named', a, s, e FROM named FOR SYSTEM_TIME ALL UNION ALL \
    SELECT 'parts', a, row_start, row_end FROM parts FOR SYSTEM_TIME ALL) AS x ORDER BY 1, 2, 3, 4";

#[test]
fn the_history_of_tables_is_captured_counted_and_comes_back() {
    let Some(server) = servers::mariadb() else { return };
    server.sql(
        "CREATE DATABASE versions; USE versions; CREATE TABLE h (a INT) WITH SYSTEM VERSIONING; \
         CREATE TABLE named (a INT, s TIMESTAMP(6) GENERATED ALWAYS AS ROW START, e TIMESTAMP(6) GENERATED ALWAYS AS ROW END, \
         PERIOD FOR SYSTEM_TIME (s, e)) WITH SYSTEM VERSIONING; \
         CREATE TABLE parts (a INT) WITH SYSTEM VERSIONING PARTITION BY SYSTEM_TIME (PARTITION p HISTORY, PARTITION n CURRENT); \
         CREATE TABLE plain (a INT); INSERT INTO plain VALUES (1); \
         INSERT INTO h VALUES (1), (2); UPDATE h SET a = a + 10; DELETE FROM h WHERE a = 11; \
         INSERT INTO named (a) VALUES (1); UPDATE named SET a = 2; INSERT INTO parts VALUES (1), (2); DELETE FROM parts",
    );
    let captured = capture(of(server, &["versions"])).unwrap();
    assert_eq!((&captured.problems, &captured.notes), (&vec![], &vec![]));
    let expected = json!({"h": 4, "named": 2, "parts": 2, "plain": 1});
    assert_eq!(captured.facts["databases"]["versions"]["tables"], expected);
    assert_eq!(examined(&captured), captured.facts);
    let folder = tempfile::tempdir().unwrap();
    captured.restore(folder.path());
    let wanted = Wanted { rename: Some("versions_again".to_owned()), ..Wanted::default() };
    let wanted = Wanted { databases: vec!["versions".to_owned()], ..wanted };
    MysqlRestore { into: of(server, &[]), wanted }.run(folder.path(), &captured.facts, &Cancel::new()).unwrap();
    let history = |database: &str| server.sql(&format!("USE {database}; {HISTORY}"));
    assert_eq!(history("versions_again"), history("versions"));
}

#[test]
fn history_that_no_dump_can_have_is_named_and_all_else_is_captured() {
    let Some(server) = servers::mariadb() else { return };
    server.sql(
        "CREATE DATABASE kept_by_id; CREATE TABLE kept_by_id.t (a INT, s BIGINT UNSIGNED GENERATED ALWAYS AS ROW START, \
         e BIGINT UNSIGNED GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (s, e)) WITH SYSTEM VERSIONING; \
         INSERT INTO kept_by_id.t (a) VALUES (1); UPDATE kept_by_id.t SET a = 2; \
         CREATE DATABASE kept_beside; CREATE TABLE kept_beside.t (a INT) WITH SYSTEM VERSIONING; \
         INSERT INTO kept_beside.t VALUES (1); UPDATE kept_beside.t SET a = 2; \
         CREATE DATABASE of_a_moment; CREATE TABLE of_a_moment.t (a INT) WITH SYSTEM VERSIONING; \
         SET timestamp = 1700000000.5; INSERT INTO of_a_moment.t VALUES (1); DELETE FROM of_a_moment.t",
    );
    let captured = capture(of(server, &["kept_by_id", "kept_beside"])).unwrap();
    let lost = "the history of this system-versioned table is not in the backup: ";
    let told = |captured: &Captured, table: &str| {
        let begin = format!("{table}: {lost}");
        let problem = captured.problems.iter().find_map(|problem| problem.strip_prefix(&begin));
        problem.unwrap_or_else(|| panic!("{table}: {:?}", captured.problems)).to_owned()
    };
    assert!(told(&captured, "kept_by_id.t").starts_with("it is kept by transactions"));
    assert!(told(&captured, "kept_beside.t").starts_with("that of kept_by_id.t cannot be"));
    for database in ["kept_by_id", "kept_beside"] {
        assert_eq!(captured.facts["databases"][database]["tables"], json!({"t": 1}));
    }
    assert_eq!(examined(&captured), captured.facts);
    let captured = capture(of(server, &["of_a_moment"])).unwrap();
    assert!(told(&captured, "of_a_moment.t").contains("DELETE HISTORY"));
    assert_eq!(examined(&captured), captured.facts, "it can be loaded");
    // By itself, it is whole.
    let captured = capture(of(server, &["kept_beside"])).unwrap();
    assert_eq!((captured.problems.len(), &captured.facts["databases"]["kept_beside"]["tables"]), (0, &json!({"t": 2})));
}

#[test]
fn a_server_too_old_for_history_in_dumps_has_its_tables_named() {
    if servers::mariadb().is_none() {
        return;
    }
    let server = MariadbServer::start(&["--version=10.6.12-MariaDB-log"]).unwrap();
    server.sql(
        "CREATE DATABASE old; CREATE TABLE old.t (a INT) WITH SYSTEM VERSIONING; INSERT INTO old.t VALUES (1); \
         UPDATE old.t SET a = 2",
    );
    let captured = capture(of(&server, &["old"])).unwrap();
    assert!(captured.problems[0].contains("that takes MariaDB 10.11 or later"), "{:?}", captured.problems);
    assert_eq!(captured.facts["databases"]["old"]["tables"], json!({"t": 1}));
}
