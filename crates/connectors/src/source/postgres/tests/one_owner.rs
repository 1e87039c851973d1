//! Who owns one database and may do nothing else on the server.

use super::*;
use crate::source::into_server::Restored;
use crate::source::{IntoServer as _, PostgresRestore, Wanted};

/// A role with a database of its own, in which it made a table, and a superuser an extension. Nobody else may connect there, and it
/// may connect nowhere else that is asked first.
fn owned(server: &PostgresServer) -> (String, String) {
    let (name, user) = (servers::unique(), servers::unique());
    let sql = format!("CREATE ROLE \"{user}\" LOGIN PASSWORD 'secret'; CREATE DATABASE \"{name}\" OWNER \"{user}\"");
    for statement in sql.split("; ") {
        server.sql("postgres", statement);
    }
    server.sql(
        &name,
        &format!(
            "REVOKE CONNECT ON DATABASE \"{name}\" FROM PUBLIC; CREATE EXTENSION pg_stat_statements; SET ROLE \"{user}\"; \
             CREATE SCHEMA own; CREATE TABLE own.t (id serial PRIMARY KEY); INSERT INTO own.t SELECT generate_series(1, 9)"
        ),
    );
    (name, user)
}

fn restore(server: &PostgresServer, user: &str, captured: &Captured, wanted: Wanted) -> Result<Restored, SourceError> {
    let dir = tempfile::tempdir().unwrap();
    captured.restore(dir.path());
    let restore = PostgresRestore { into: options(server, user, &[]), wanted };
    restore.run(dir.path(), &captured.facts, &Cancel::new())
}

fn comes_back_whole(done: &Restored) {
    assert_eq!((&done.problems, &done.databases[0].problems), (&vec![], &vec![]), "{done:?}");
    let (recorded, found) = done.databases[0].counted.clone().unwrap();
    assert_eq!(found, recorded);
}

#[test]
fn who_owns_one_database_backs_it_up_whole_and_restores_it() {
    let Some(server) = servers::postgres() else { return };
    let _roles = roles_are_mine();
    let (name, user) = owned(server);
    let captured = capture_with(options(server, &user, &[&name])).unwrap();
    assert_eq!(captured.problems, [""; 0]);
    assert!(captured.notes[0].contains("without their passwords") && captured.notes.len() == 1, "{:?}", captured.notes);
    assert_eq!(drilled(&captured).unwrap(), captured.facts);
    // The whole snapshot, over what is there.
    server.sql(&name, "DELETE FROM own.t WHERE id > 3");
    let replace = Wanted { replace: true, ..Wanted::default() };
    let done = restore(server, &user, &captured, replace.clone()).unwrap();
    comes_back_whole(&done);
    assert!(done.notes[0].contains(&format!("role {user} may make no roles")), "{:?}", done.notes);
    assert_eq!(server.sql(&name, "SELECT count(*) FROM own.t"), "9");

    // Another server, which lacks the other roles, and lets this one into its own database alone.
    let other = PostgresServer::start().unwrap();
    other.sql("postgres", &format!("CREATE ROLE \"{user}\" LOGIN PASSWORD 'secret'"));
    other.sql("postgres", &format!("CREATE DATABASE \"{name}\" OWNER \"{user}\""));
    for closed in ["postgres", "template1"] {
        other.sql("postgres", &format!("REVOKE CONNECT ON DATABASE {closed} FROM PUBLIC"));
    }
    other
        .sql(&name, &format!("CREATE EXTENSION pg_stat_statements; REVOKE CONNECT ON DATABASE \"{name}\" FROM PUBLIC"));
    let stranger = servers::unique();
    server.sql("postgres", &format!("CREATE ROLE \"{stranger}\""));
    let captured = capture_with(options(server, &user, &[&name])).unwrap();
    let done = restore(&other, &user, &captured, Wanted::default()).unwrap();
    comes_back_whole(&done);
    assert!(done.notes[1].contains("lacks roles") && done.notes[1].contains(&stranger), "{:?}", done.notes);
    assert_eq!(other.sql(&name, "SELECT tableowner FROM pg_tables WHERE tablename = 't'"), user);
    server.sql("postgres", &format!("DROP ROLE \"{stranger}\""));

    // Things of others become who restored them's, which is told.
    for (to, problem) in [(server, "is no member of postgres"), (&other, "is no member of postgres")] {
        to.sql(&name, &format!("DROP OWNED BY \"{user}\" CASCADE; CREATE TABLE IF NOT EXISTS theirs AS SELECT 1"));
        let captured = capture(to, &[&name]);
        to.sql(&name, "DROP TABLE theirs");
        let done = restore(to, &user, &captured, Wanted::default()).unwrap();
        assert!(done.databases[0].problems[0].contains(problem), "{done:?}");
        assert_eq!(to.sql(&name, "SELECT tableowner FROM pg_tables WHERE tablename = 'theirs'"), user);
    }
}

#[test]
fn where_the_whole_server_is_wanted_passwords_that_are_lacking_are_a_problem() {
    let Some(server) = servers::postgres() else { return };
    let _roles = roles_are_mine();
    let (_, user) = owned(server);
    // The others' databases, all of which are called alike, are of no matter here.
    let unasked = DatabaseOptions { exclude: vec!["t*".to_owned()], ..options(server, &user, &[]) };
    for databases in [vec![], vec!["*".to_owned()]] {
        let captured = capture_with(DatabaseOptions { databases, ..unasked.clone() }).unwrap();
        let told =
            captured.problems.iter().any(|problem| problem.contains("the passwords of roles are not in the backup"));
        assert!(told && captured.notes.is_empty(), "{captured:?}");
    }
}
