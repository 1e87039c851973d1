//! Restores into a running server: all of it, one database, one table.

use serde_json::json;

use super::*;
use crate::source::{IntoServer as _, PostgresRestore, RestoredDatabase, Wanted};

fn restore(server: &PostgresServer, databases: &[&str]) -> PostgresRestore {
    PostgresRestore {
        into: options(server, PostgresServer::USER, &[]),
        wanted: Wanted { databases: databases.iter().map(|name| name.to_string()).collect(), ..Wanted::default() },
    }
}

fn run(restore: &PostgresRestore, captured: &Captured) -> Result<Vec<RestoredDatabase>, SourceError> {
    let dir = tempfile::tempdir().unwrap();
    captured.restore(dir.path());
    let needed = restore.files(&captured.facts)?;
    assert!(needed.iter().all(|file| dir.path().join(file).exists()), "{needed:?}");
    Ok(restore.run(dir.path(), &captured.facts, &Cancel::new())?.databases)
}

fn shop(server: &PostgresServer) -> String {
    let name = database(server);
    server.sql(
        &name,
        "CREATE TABLE a (id serial PRIMARY KEY, t text); INSERT INTO a (t) SELECT 'x' FROM generate_series(1, 1000); \
         CREATE SCHEMA s; CREATE TABLE s.b AS SELECT 1 AS n; CREATE SCHEMA \"odd \"\"s\"\"\"; \
         CREATE TABLE \"odd \"\"s\"\"\".t AS SELECT generate_series(1, 2); CREATE VIEW v AS SELECT * FROM a",
    );
    name
}

#[test]
fn one_database_comes_back_under_another_name_and_into_an_empty_one_but_never_over_another() {
    let Some(server) = servers::postgres() else { return };
    let _roles = roles_are_mine();
    let name = shop(server);
    let captured = capture(server, &[&name]);
    let other = format!("{name} again");
    let mut to_other = restore(server, &[&name]);
    to_other.wanted.rename = Some(other.clone());
    let done = run(&to_other, &captured).unwrap();
    assert_eq!((done.len(), done[0].restored_as.as_str(), done[0].problems.len()), (1, other.as_str(), 0));
    let (recorded, found) = done[0].counted.clone().unwrap();
    assert_eq!(found, recorded);
    assert_eq!(server.sql(&other, "SELECT count(*), max(id) FROM a"), "1000|1000");
    let error = run(&to_other, &captured).unwrap_err().to_string();
    assert!(
        error.contains("is on the server and has 5 tables, views or sequences") && error.contains("--replace"),
        "{error}"
    );
    server.sql(&other, "DELETE FROM a; CREATE TABLE mine ()");
    to_other.wanted.replace = true;
    let done = run(&to_other, &captured).unwrap();
    assert_ne!(done[0].counted.clone().unwrap().1, recorded, "what is not in the snapshot stays");
    assert_eq!(server.sql(&other, "SELECT count(*) FROM a"), "1000");
}

#[test]
fn a_restore_that_fails_midway_leaves_what_was_there_and_nothing_of_its_own() {
    let Some(server) = servers::postgres() else { return };
    let _roles = roles_are_mine();
    let name = shop(server);
    let captured = capture(server, &[&name]);
    let dir = tempfile::tempdir().unwrap();
    captured.restore(dir.path());
    // Two rows with one key: that is noticed once the rows are in.
    let file = dir.path().join(captured.facts["databases"][&name]["file"].as_str().unwrap());
    let mut archive = std::fs::read(&file).unwrap();
    let row = archive.windows(4).position(|bytes| bytes == b"9\tx\n").unwrap();
    archive[row] = b'8';
    std::fs::write(&file, archive).unwrap();

    let other = format!("{name} again");
    let mut into = restore(server, &[&name]);
    into.wanted.rename = Some(other.clone());
    let fails = |into: &PostgresRestore| into.run(dir.path(), &captured.facts, &Cancel::new()).unwrap_err().to_string();
    let error = fails(&into);
    assert!(error.contains("pg_restore") && error.ends_with("which was made for it, is dropped again"), "{error}");
    assert!(!server.sql("postgres", "SELECT datname FROM pg_database").contains(&other));
    (into.wanted.rename, into.wanted.replace) = (None, true);
    server.sql(&name, "DELETE FROM a WHERE id > 7");
    let error = fails(&into);
    assert!(error.ends_with(&format!("what was in database {name} is as it was")), "{error}");
    assert_eq!(server.sql(&name, "SELECT count(*), (SELECT count(*) FROM v) FROM a"), "7|7");
}

#[test]
fn whatever_ends_a_restore_tells_what_was_restored_before() {
    let Some(server) = servers::postgres() else { return };
    let _roles = roles_are_mine();
    let unique = servers::unique();
    let (first, second) = (format!("{unique}-a"), format!("{unique}-b"));
    for name in [&first, &second] {
        server.sql("postgres", &format!("CREATE DATABASE \"{name}\""));
        server.sql(name, "CREATE TABLE t AS SELECT 1 AS a");
    }
    let captured = capture(server, &[&first, &second]);
    server.sql("postgres", &format!("DROP DATABASE \"{first}\""));
    let error = run(&restore(server, &[&first, &second]), &captured).unwrap_err().to_string();
    assert!(error.starts_with(&format!("database {second} is on the server and has ")), "{error}");
    assert!(error.ends_with(&format!("; restored before it: {first}")), "{error}");
    assert_eq!(server.sql(&first, "SELECT count(*) FROM t"), "1");
}

#[test]
fn one_table_comes_back_alone() {
    let Some(server) = servers::postgres() else { return };
    let _roles = roles_are_mine();
    let (name, other) = (shop(server), database(server));
    let captured = capture(server, &[&name]);
    let mut only = restore(server, &[&name]);
    (only.wanted.rename, only.wanted.tables) = (Some(other.clone()), vec!["a".to_owned()]);
    let counts = |table: &str, rows: u64| Some((json!({"tables": {table: rows}}), json!({"tables": {table: rows}})));
    assert_eq!(run(&only, &captured).unwrap()[0].counted, counts("public.a", 1000));
    assert_eq!(server.sql(&other, "SELECT count(*) FROM a"), "1000");
    assert_eq!(server.sql(&other, "SELECT count(*) FROM pg_class WHERE relname IN ('b', 'v')"), "0");
    // Beside others, with its schema, but not over what is there.
    let error = run(&only, &captured).unwrap_err().to_string();
    assert!(error.contains("is on the server and has a table a: ") && error.contains("--replace"), "{error}");
    only.wanted.tables = vec!["s.b".to_owned()];
    assert_eq!(run(&only, &captured).unwrap()[0].counted, counts("s.b", 1));
    (only.wanted.tables, only.wanted.replace) = (vec!["\"odd \"\"s\"\"\".t".to_owned(), "a".to_owned()], true);
    server.sql(&other, "DELETE FROM a; CREATE TABLE mine ()");
    assert!(run(&only, &captured).unwrap()[0].problems.is_empty());
    let odd =
        "SELECT (SELECT count(*) FROM \"odd \"\"s\"\"\".t), (SELECT count(*) FROM a), (SELECT count(*) FROM mine)";
    assert_eq!(server.sql(&other, odd), "2|1000|0");
    only.wanted.databases.clear();
    assert!(only.files(&captured.facts).is_ok(), "there is one database only");
    only.wanted.tables.push("ghost".to_owned());
    let error = only.files(&captured.facts).unwrap_err().to_string();
    let told = format!("table ghost is not in database {name}, whose tables with rows of their own are: ");
    assert_eq!(error, format!("{told}odd \"s\".t, a, s.b"));
    let error = restore(server, &["gone"]).files(&captured.facts).unwrap_err().to_string();
    assert_eq!(error, format!("database gone is not in the snapshot, which has: {name}"));
}

#[test]
fn a_whole_server_comes_back_on_another_one_with_its_roles() {
    let Some(server) = servers::postgres() else { return };
    let _roles = roles_are_mine();
    let (name, role) = (shop(server), format!("role \"{}\"", servers::unique()));
    let quoted = crate::source::postgres::names::quoted(&role);
    server.sql(&name, &format!("CREATE ROLE {quoted} PASSWORD 'x'; ALTER TABLE a OWNER TO {quoted}"));
    let captured = capture(server, &[&name, "postgres"]);
    let other = PostgresServer::start().unwrap();
    // Without its roles first, as whoever asks for one database gets it.
    let done = run(&restore(&other, &[&name]), &captured).unwrap();
    assert!(done[0].problems[0].contains(&role), "{done:?}");
    let owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'a'";
    assert_eq!(other.sql(&name, owner), "postgres");
    other.sql("postgres", &format!("DROP DATABASE \"{name}\""));
    let password = "SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'";
    let before = other.sql("postgres", password);
    let done = run(&restore(&other, &[]), &captured).unwrap();
    assert_eq!(done.len(), 2);
    assert_eq!(other.sql("postgres", password), before, "whoever restores can still log in");
    for one in &done {
        let (recorded, found) = one.counted.clone().unwrap();
        assert_eq!((found, one.problems.len()), (recorded, 0), "{}", one.name);
    }
    assert_eq!(other.sql(&name, owner), role);
    server.sql("postgres", &format!("DROP DATABASE \"{name}\""));
    server.sql("postgres", &format!("DROP ROLE {quoted}"));
}
