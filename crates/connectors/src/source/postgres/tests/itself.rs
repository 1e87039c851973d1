//! What belongs to a database itself: whose, who may use it, its settings, how it sorts.

use serde_json::json;

use super::comes_back::{awkward, sorting_database};
use super::*;
use crate::source::into_server::Restored;
use crate::source::{IntoServer as _, PostgresRestore, Wanted};

const PROPERTIES: &str = "properties";

fn restore(server: &PostgresServer, captured: &Captured, facts: &Facts, wanted: Wanted) -> Restored {
    let dir = tempfile::tempdir().unwrap();
    captured.restore(dir.path());
    let restore = PostgresRestore { into: options(server, PostgresServer::USER, &[]), wanted };
    restore.run(dir.path(), facts, &Cancel::new()).unwrap()
}

/// As the catalogue has it, without the name.
fn catalogue(server: &PostgresServer, name: &str) -> String {
    server.sql(
        "postgres",
        &format!(
            "SELECT to_jsonb(d) - '{{oid,datname,datfrozenxid,datminmxid,datacl}}'::text[], \
             (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(datacl) a), \
             shobj_description(d.oid, 'pg_database'), (SELECT array_agg(setrole::regrole || setconfig::text ORDER BY setrole) \
             FROM pg_db_role_setting WHERE setdatabase = d.oid) FROM pg_database d WHERE datname = '{name}'"
        ),
    )
}

#[test]
fn what_belongs_to_a_database_itself_comes_back_under_any_name() {
    let Some(server) = servers::postgres() else { return };
    let _roles = roles_are_mine();
    let name = sorting_database(server);
    awkward(server, &name);
    let captured = capture(server, &[&name]);
    let properties = &captured.facts["databases"][&name][PROPERTIES];
    assert_eq!(properties["owner"], "odd \"role\" ü");
    assert_eq!(properties["rights"]["odd reader"], json!(["CONNECT and may grant it"]));
    assert_eq!((&properties["rights"]["public"], &properties["connection_limit"]), (&json!(null), &json!(7)));
    assert_eq!(properties["settings"]["odd reader"], json!({ "work_mem": "8MB" }));
    assert_eq!(properties["comment"], "it's ON DATABASE x; -- and no more");
    assert!(!json!(captured.facts).to_string().contains("hunter2"), "a setting may be a secret");
    assert_eq!(captured.facts["databases"][&name]["roles"], json!(["odd \"role\" ü", "odd reader", "postgres"]));

    let before = catalogue(server, &name);
    assert!(before.contains("hunter2"), "{before}");
    for other in [format!("{name} \"ü DATABASE"), name.clone()] {
        server.sql("postgres", &format!("DROP DATABASE IF EXISTS {}", crate::source::postgres::names::quoted(&other)));
        let wanted = Wanted { databases: vec![name.clone()], rename: Some(other.clone()), ..Wanted::default() };
        let done = restore(server, &captured, &captured.facts, wanted);
        assert_eq!((&done.databases[0].problems, &done.notes), (&vec![], &vec![]));
        let (recorded, found) = done.databases[0].counted.clone().unwrap();
        assert_eq!(found, recorded);
        assert_eq!(catalogue(server, &other), before);
    }
}

#[test]
fn what_a_database_lost_of_itself_is_told_by_its_name() {
    let Some(server) = servers::postgres() else { return };
    let _roles = roles_are_mine();
    let name = database(server);
    server.sql(&name, &format!("CREATE TABLE t (); ALTER DATABASE \"{name}\" SET work_mem = '8MB'"));
    let captured = capture(server, &[&name]);
    let mut wrong = captured.facts.clone();
    wrong["databases"][&name][PROPERTIES]["settings"]["public"]["jit"] = json!("off");
    let dir = tempfile::tempdir().unwrap();
    captured.restore(dir.path());
    assert_eq!(examine(dir.path(), &wrong, &Cancel::new()).unwrap(), captured.facts);
    // One that is there keeps what it has, and it is noted what that is.
    server.sql(
        &name,
        &format!("DROP TABLE t; ALTER DATABASE \"{name}\" RESET ALL; COMMENT ON DATABASE \"{name}\" IS 'x'"),
    );
    let wanted = Wanted { databases: vec![name.clone()], ..Wanted::default() };
    let done = restore(server, &captured, &captured.facts, wanted.clone());
    let (recorded, found) = done.databases[0].counted.clone().unwrap();
    assert_eq!((&done.databases[0].problems, found), (&vec![], recorded));
    let noted = format!(
        "database {name} was there, and keeps what belongs to itself; other than in the snapshot: comment, settings"
    );
    assert_eq!(done.notes, [noted]);
    // A new one that does not get it all: a role is gone.
    let other = format!("{name}-other");
    let role = servers::unique();
    server.sql(&name, &format!("CREATE ROLE \"{role}\"; GRANT CREATE ON DATABASE \"{name}\" TO \"{role}\""));
    let captured = capture(server, &[&name]);
    server.sql(&name, &format!("DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\""));
    let done = restore(server, &captured, &captured.facts, Wanted { rename: Some(other), ..wanted });
    let (recorded, found) = done.databases[0].counted.clone().unwrap();
    assert!(done.databases[0].problems[0].contains(&format!("lacks the roles {role}, ")), "{done:?}");
    assert_eq!(
        (recorded[PROPERTIES]["rights"][&role][0].as_str(), &found[PROPERTIES]["rights"][&role]),
        (Some("CREATE"), &json!(null))
    );
}

#[test]
fn a_manifest_that_does_not_tell_of_it_is_drilled_and_restored_all_the_same() {
    let Some(server) = servers::postgres() else { return };
    let _roles = roles_are_mine();
    let name = database(server);
    server.sql(&name, &format!("CREATE TABLE t (); ALTER DATABASE \"{name}\" CONNECTION LIMIT 3"));
    let captured = capture(server, &[&name]);
    let mut old = captured.facts.clone();
    let known = old["databases"][&name].as_object_mut().unwrap();
    known.retain(|fact, _| fact != PROPERTIES && fact != "roles");
    known.extend(
        [("owner", "postgres"), ("collate", "C"), ("ctype", "C")].map(|(fact, is)| (fact.to_owned(), is.into())),
    );
    let dir = tempfile::tempdir().unwrap();
    captured.restore(dir.path());
    assert_eq!(examine(dir.path(), &old, &Cancel::new()).unwrap(), old);
    let other = format!("{name}-other");
    let wanted = Wanted { databases: vec![name.clone()], rename: Some(other.clone()), ..Wanted::default() };
    let done = restore(server, &captured, &old, wanted);
    let (recorded, found) = done.databases[0].counted.clone().unwrap();
    assert_eq!((&done.databases[0].problems, found), (&vec![], recorded));
    let limit = format!("SELECT datconnlimit FROM pg_database WHERE datname = '{other}'");
    assert_eq!(server.sql("postgres", &limit), "3", "the archive has it");
}
