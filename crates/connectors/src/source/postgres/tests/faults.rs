//! Everything that goes wrong is a failed capture, or a named problem.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// A folder with the server's tools, one of which is a script that is given the real one as `$REAL`.
fn tools(server: &PostgresServer, name: &str, script: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for tool in ["psql", "pg_dump", "pg_dumpall"] {
        std::os::unix::fs::symlink(server.programs.join(tool), dir.path().join(tool)).unwrap();
    }
    let path = dir.path().join(name);
    std::fs::remove_file(&path).unwrap();
    let real = server.programs.join(name);
    let text = format!(
        "#!/bin/bash\nset -o pipefail\nREAL={}\n[ \"$1\" = --version ] && exec \"$REAL\" --version\n{script}\n",
        real.display()
    );
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

/// What comes of a capture of a database of a hundred thousand rows with such a tool.
fn with_tool(name: &str, script: &str) -> Option<String> {
    let server = servers::postgres()?;
    let database = database(server);
    server.sql(&database, "CREATE TABLE t AS SELECT n, repeat('x', 50) FROM generate_series(1, 100000) AS n");
    let dir = tools(server, name, script);
    let tools = Some(dir.path().to_owned());
    let options = DatabaseOptions { tools, ..options(server, PostgresServer::USER, &[&database]) };
    Some(capture_with(options).map(|captured| captured.problems).unwrap_err().to_string())
}

#[test]
fn a_dump_that_prints_nothing_and_is_content_is_a_failure() {
    let Some(error) = with_tool("pg_dump", "exit 0") else { return };
    assert!(error.starts_with("pg_dump of database t") && error.ends_with(" printed nothing"), "{error}");
}

#[test]
fn a_dump_that_ends_early_and_is_content_is_a_failure() {
    let Some(error) = with_tool("pg_dump", "\"$REAL\" \"$@\" 2>/dev/null | head -c 1000000; exit 0") else { return };
    assert!(error.ends_with("printed an archive that ends early"), "{error}");
    // An archive that is whole, of less than there is.
    let error = with_tool("pg_dump", "\"$REAL\" \"$@\" --schema-only").unwrap();
    assert!(error.contains("lacks the rows of 1 tables, such as public.t"), "{error}");
}

#[test]
fn a_dump_that_fails_is_a_failure_and_says_why() {
    let Some(error) = with_tool("pg_dump", "\"$REAL\" \"$@\"; echo the reason >&2; exit 1") else { return };
    assert!(error.ends_with("ended with exit code 1; it said: the reason"), "{error}");
    let error = with_tool("pg_dump", "\"$REAL\" \"$@\"; echo 'pg_dump: error: the reason' >&2; exit 0").unwrap();
    assert!(error.ends_with("it said: pg_dump: error: the reason"), "{error}");
}

#[test]
fn roles_without_their_end_are_a_failure() {
    let Some(error) = with_tool("pg_dumpall", "\"$REAL\" \"$@\" | head -n 5") else { return };
    assert!(error.contains("does not end with its trailer"), "{error}");
}

#[test]
fn a_tool_that_is_older_than_the_server_is_refused_before_anything_is_dumped() {
    let Some(server) = servers::postgres() else { return };
    let dir = tools(server, "pg_dump", "exit 9");
    let old = "#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.24'\n";
    std::fs::write(dir.path().join("pg_dump"), old).unwrap();
    let tools = Some(dir.path().to_owned());
    let error = capture_with(DatabaseOptions { tools: tools.clone(), ..options(server, "postgres", &[]) }).unwrap_err();
    let error = error.to_string();
    assert!(
        error.starts_with("pg_dump 9.6 is older than the server") && error.contains("postgresql-client-"),
        "{error}"
    );
    std::fs::remove_file(dir.path().join("pg_dump")).unwrap();
    let error = capture_with(DatabaseOptions { tools, ..options(server, "postgres", &[]) }).unwrap_err().to_string();
    assert!(error.starts_with("pg_dump is not here") && error.contains("install postgresql-client-"), "{error}");
}

#[test]
fn a_server_that_dies_while_it_is_dumped_is_a_failure() {
    if servers::postgres().is_none() {
        return;
    }
    let server = PostgresServer::start().unwrap();
    server.sql("postgres", "CREATE DATABASE shop");
    server.sql("shop", "CREATE TABLE t AS SELECT n, repeat('x', 90) FROM generate_series(1, 300000) AS n");
    let kill = format!(
        "\"$REAL\" \"$@\" | {{ head -c 1000000; kill -QUIT \"$(head -1 {})\"; cat; }}",
        server.pid_file().display()
    );
    let dir = tools(&server, "pg_dump", &kill);
    let tools = Some(dir.path().to_owned());
    let error = capture_with(DatabaseOptions { tools, ..options(&server, "postgres", &["shop"]) }).unwrap_err();
    assert!(error.to_string().contains("pg_dump of database shop ended with exit code 1; it said: "), "{error}");
}

#[test]
fn a_server_that_is_not_there_or_lets_nobody_in_is_named() {
    let Some(server) = servers::postgres() else { return };
    let nobody = ServerAt::Url(format!("postgresql://127.0.0.1:{}", servers::free_port()));
    let error = capture_with(DatabaseOptions { server: nobody, ..options(server, "postgres", &[]) }).unwrap_err();
    assert!(error.to_string().contains("Connection refused"), "{error}");
    let wrong: crate::source::Password = Arc::new(|| Ok(Zeroizing::new("hunter2".to_owned())));
    let error =
        capture_with(DatabaseOptions { password: Some(wrong), ..options(server, "postgres", &[]) }).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("password authentication failed") && !error.contains("hunter2"), "{error}");
    let gone: crate::source::Password = Arc::new(|| Err("its file is gone".to_owned()));
    let error = capture_with(DatabaseOptions { password: Some(gone), ..options(server, "postgres", &[]) }).unwrap_err();
    assert_eq!(error.to_string(), "the password cannot be had: its file is gone");
}

#[test]
fn what_a_user_may_not_read_is_named_and_the_rest_is_captured() {
    let Some(server) = servers::postgres() else { return };
    let _roles = roles_are_mine();
    let (name, closed, off, user) = (database(server), database(server), database(server), servers::unique());
    server.sql("postgres", &format!("CREATE ROLE \"{user}\" LOGIN PASSWORD 'secret'"));
    server.sql("postgres", &format!("REVOKE CONNECT ON DATABASE \"{closed}\" FROM PUBLIC"));
    server.sql("postgres", &format!("ALTER DATABASE \"{off}\" ALLOW_CONNECTIONS false"));
    server.sql(
        &name,
        &format!(
            "CREATE TABLE open AS SELECT 1; CREATE TABLE \"clo*sed\" AS SELECT 1; CREATE TABLE hidden AS SELECT 1 AS a; \
             CREATE SCHEMA inner_; CREATE TABLE inner_.t (id serial); CREATE SEQUENCE open_seq; CREATE SEQUENCE closed_seq; \
             ALTER TABLE hidden ENABLE ROW LEVEL SECURITY; GRANT SELECT ON open, hidden, open_seq TO \"{user}\""
        ),
    );
    let databases = [name.as_str(), &closed, &off];
    let captured = capture_with(options(server, &user, &databases)).unwrap();
    let told = |part: &str| captured.problems.iter().any(|problem| problem.contains(part));
    for part in [
        "public.clo*sed is not in the backup",
        "public.hidden is not in the backup",
        "inner_.t is not in the backup",
        "inner_.t_id_seq is not in the backup",
        "public.closed_seq is not in the backup",
        &format!("database {off}: allows no connections"),
        &format!("database {closed}: the user {user} may not connect"),
    ] {
        assert!(told(part), "{part} is not told: {:#?}", captured.problems);
    }
    assert_eq!(captured.problems.len(), 7, "{:#?}", captured.problems);
    let tables = captured.facts["databases"][&name]["tables"].as_object().unwrap();
    assert_eq!(tables.keys().collect::<Vec<_>>(), ["public.open"]);
    assert_eq!(drilled(&captured).unwrap(), captured.facts);
}

#[test]
fn databases_that_are_named_and_not_there_are_problems_and_none_at_all_is_a_failure() {
    let Some(server) = servers::postgres() else { return };
    let name = database(server);
    let captured = capture(server, &[&name, "no-such-database"]);
    assert_eq!(captured.problems.len(), 1);
    assert!(captured.problems[0].starts_with("database no-such-database: is not on the server"), "{captured:?}");
    let error = capture_with(options(server, "postgres", &["no-such-database"])).unwrap_err().to_string();
    assert!(error.starts_with("no database is left to be captured"), "{error}");
}

#[test]
fn what_the_last_snapshot_had_and_this_one_lacks_is_told() {
    let Some(server) = servers::postgres() else { return };
    let _roles = roles_are_mine();
    let unique = servers::unique();
    let (kept, emptied, gone) = (format!("{unique}-kept"), format!("{unique}-emptied"), format!("{unique}-gone"));
    for name in [&kept, &emptied, &gone] {
        server.sql("postgres", &format!("CREATE DATABASE \"{name}\""));
        server.sql(name, "CREATE TABLE t AS SELECT generate_series(1, 1000)");
    }
    let wanted = format!("{unique}*");
    let source = PostgresSource::new(options(server, PostgresServer::USER, &[&wanted])).unwrap();
    let first = Setup::default().capture(&source).unwrap();
    server.sql(&emptied, "DELETE FROM t WHERE generate_series > 400");
    server.sql("postgres", &format!("DROP DATABASE \"{gone}\""));
    let after = |facts: &Facts| {
        let setup = Setup { previous: Some(facts.clone()), ..Setup::default() };
        setup.capture(&source).unwrap()
    };
    let second = after(&first.facts);
    assert_eq!(second.problems.len(), 2, "{:?}", second.problems);
    assert!(second.problems[0].starts_with(&format!("database {emptied}: has 400 rows, and had 1000")), "{second:?}");
    assert!(second.problems[1].starts_with(&format!("database {gone}: was in the last snapshot")), "{second:?}");
    assert_eq!(after(&second.facts).problems.len(), 2, "it is told until it is made good");
}

#[test]
fn cancelling_ends_the_dump_and_what_counts() {
    let Some(server) = servers::postgres() else { return };
    let name = database(server);
    server.sql(&name, "CREATE TABLE t AS SELECT 1");
    let dir = tools(server, "pg_dump", "sleep 600");
    let tools = Some(dir.path().to_owned());
    let source = PostgresSource::new(DatabaseOptions { tools, ..options(server, "postgres", &[&name]) }).unwrap();
    let setup = Setup::default();
    let cancel = setup.cancel.clone();
    let cancelling = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(1500));
        cancel.cancel();
    });
    let started = std::time::Instant::now();
    assert!(matches!(setup.capture(&source), Err(SourceError::Cancelled)));
    cancelling.join().unwrap();
    assert!(started.elapsed() < std::time::Duration::from_secs(20));
    let left = || server.sql("postgres", &format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'"));
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while left() != "0" {
        assert!(std::time::Instant::now() < until, "a session is left open");
    }
}
