//! What was captured comes back in a server of our own, and is counted to be the same.

use std::path::Path;

use serde_json::json;

use super::*;
use crate::source::{IntoServer as _, PostgresRestore, Wanted};

const ODD_ROLE: &str =
    "CREATE ROLE \"odd \"\"role\"\" ü\" LOGIN PASSWORD 'x' VALID UNTIL '2030-01-01'; CREATE ROLE \"odd reader\"";

/// A new database that sorts as ICU does, where the server can.
pub fn sorting_database(server: &PostgresServer) -> String {
    let can = "SELECT current_setting('server_version_num')::int >= 150000 \
               AND EXISTS (SELECT FROM pg_collation WHERE collprovider = 'i')";
    if server.sql("postgres", can) != "t" {
        return database(server);
    }
    let name = servers::unique();
    let sorting = "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'de-DE' LOCALE 'C.UTF-8'";
    server.sql("postgres", &format!("CREATE DATABASE \"{name}\" {sorting}"));
    name
}

pub fn awkward(server: &PostgresServer, name: &str) {
    let exists = server.sql("postgres", "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'odd %'");
    if exists == "0" {
        server.sql("postgres", ODD_ROLE);
    }
    server.sql_file(name, &Path::new(env!("CARGO_MANIFEST_DIR")).join("src/source/postgres/tests/awkward.sql"));
}

#[test]
fn whatever_is_in_a_database_comes_back_and_every_count_is_the_same() {
    let Some(server) = servers::postgres() else { return };
    let _roles = roles_are_mine();
    let name = sorting_database(server);
    awkward(server, &name);
    let captured = capture(server, &[&name]);
    assert_eq!(captured.problems, [""; 0]);
    let facts = &captured.facts["databases"][&name];
    let tables = &facts["tables"];
    for (table, rows) in [
        ("public.kinds", 4),
        ("public.made", 100),
        ("public.events_2025", 270),
        ("public.events_rest_x", 30),
        ("public.animals", 1),
        ("public.dogs", 2),
        ("\"odd \"\"schema\"\"\".\"t a.b%c'd\"", 2),
        ("public.quick", 10),
        ("public.nothing", 0),
        ("public.totals", 300),
        ("public.extended", 1),
        ("public.more_kinds", 1),
        ("public.booked", 2),
        ("public.first", 1),
        ("public.second", 1),
        ("public.of_totals", 1),
    ] {
        assert_eq!(tables[table], rows, "{table}");
    }
    let spread = ["spread_0", "spread_1"].map(|part| tables[format!("public.{part}")].as_u64().unwrap());
    assert_eq!(spread[0] + spread[1], 100);
    assert_eq!(tables.as_object().unwrap().len(), 18, "{tables}");
    assert_eq!(facts["large_objects"], 3);
    assert!(facts["extensions"]["hstore"].is_string(), "{facts}");
    assert_eq!(facts["sequences"]["public.counter"], json!({ "last": -10, "given_out": true }));
    assert_eq!(facts["sequences"]["public.untouched"], json!({ "last": 1, "given_out": false }));
    assert_eq!((&facts["objects"]["TRIGGER"], &facts["objects"]["POLICY"]), (&json!(1), &json!(1)));
    assert_eq!(drilled(&captured).unwrap(), captured.facts);
    // Not only as many rows, but the same.
    let again = format!("{name} again");
    restore_as(server, &captured, &name, &again);
    for table in tables.as_object().unwrap().keys() {
        let content =
            format!("SELECT md5(string_agg(t::text, '|' ORDER BY t::text COLLATE \"C\")) FROM ONLY {table} AS t");
        assert_eq!(server.sql(&again, &content), server.sql(&name, &content), "{table}");
    }
    for content in [
        "SELECT oid, md5(lo_get(oid)), lomacl, obj_description(oid, 'pg_largeobject') FROM pg_largeobject_metadata ORDER BY 1",
        "SELECT relname, pg_get_userbyid(relowner), relacl FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1",
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint ORDER BY 1, 2",
        "SELECT pg_get_viewdef(oid) FROM pg_class WHERE relkind IN ('v', 'm') AND relnamespace = 'public'::regnamespace ORDER BY 1",
        "SELECT extname, extversion FROM pg_extension ORDER BY 1",
        "SELECT defaclacl FROM pg_default_acl",
    ] {
        let found = server.sql(&again, content);
        assert!(!found.is_empty(), "{content}");
        assert_eq!(found, server.sql(&name, content), "{content}");
    }
}

/// Restores a database into the server it is of, under another name.
fn restore_as(server: &PostgresServer, captured: &Captured, database: &str, other: &str) {
    let dir = tempfile::tempdir().unwrap();
    captured.restore(dir.path());
    let wanted = Wanted { databases: vec![database.to_owned()], rename: Some(other.to_owned()), ..Wanted::default() };
    let restore = PostgresRestore { into: options(server, PostgresServer::USER, &[]), wanted };
    let done = restore.run(dir.path(), &captured.facts, &Cancel::new()).unwrap();
    assert_eq!(done.databases[0].problems, [""; 0]);
    let (recorded, found) = done.databases[0].counted.clone().unwrap();
    assert_eq!(found, recorded);
}

#[test]
fn an_unchanged_database_gives_the_same_bytes_again() {
    let Some(server) = servers::postgres() else { return };
    let _roles = roles_are_mine();
    let name = database(server);
    awkward(server, &name);
    let first = capture(server, &[&name]);
    // The archive has seconds in its header.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let second = capture(server, &[&name]);
    assert_eq!(first.facts, second.facts);
    assert_eq!(first.entries.len(), 4, "a folder, its archive, roles and settings");
}

#[test]
fn databases_of_other_encodings_and_odd_names_come_back() {
    let Some(server) = servers::postgres() else { return };
    let _roles = roles_are_mine();
    let unique = servers::unique();
    let names =
        [("SQL_ASCII", format!("{unique} a/b")), ("LATIN1", format!("{unique}\"q'x")), ("UTF8", format!("{unique}-ü"))];
    for (encoding, name) in &names {
        let quoted = super::super::names::quoted(name);
        server.sql(
            "postgres",
            &format!("CREATE DATABASE {quoted} TEMPLATE template0 ENCODING {encoding} LC_COLLATE 'C' LC_CTYPE 'C'"),
        );
        server.sql(name, "SET client_encoding = UTF8; CREATE TABLE t (\"grün\" text); INSERT INTO t VALUES ('größer')");
    }
    // Letters of more bytes than one, in an encoding of their own.
    let japanese = format!("{unique}-日本");
    server.sql(
        "postgres",
        &format!("CREATE DATABASE \"{japanese}\" TEMPLATE template0 ENCODING EUC_JP LC_COLLATE 'C' LC_CTYPE 'C'"),
    );
    for (_, name) in &names {
        let quoted = super::super::names::quoted(name);
        server.sql("postgres", &format!("COMMENT ON DATABASE {quoted} IS 'größer'"));
    }
    let kanji = r#"CREATE TABLE U&"\8868" (U&"\5217" text, id serial); INSERT INTO U&"\8868" VALUES (U&'\6F22\5B57')"#;
    server.sql(&japanese, kanji);
    // Bytes that are no text in any encoding.
    server.sql(&names[0].1, "INSERT INTO t VALUES (E'\\xff\\xfe'); CREATE TABLE bytes (a text)");
    let captured = capture(server, &[&format!("{unique}*")]);
    let databases = captured.facts["databases"].as_object().unwrap();
    assert_eq!(databases.len(), 4);
    assert_eq!(
        (&databases[&japanese]["encoding"], &databases[&japanese]["tables"]),
        (&json!("EUC_JP"), &json!({"public.\"表\"": 1}))
    );
    for (encoding, name) in &names {
        assert_eq!(databases[name]["encoding"], *encoding);
    }
    assert_eq!(databases[&names[0].1]["tables"]["public.t"], 2);
    assert_eq!(databases[&names[0].1]["file"], format!("databases/{unique}%20a%2fb.dump"));
    let noted: Vec<_> =
        captured.notes.iter().filter(|note| note.contains("are not compared after a restore")).collect();
    assert!(noted.len() == 1 && noted[0].contains(&names[1].1) && noted[0].ends_with("LATIN1"), "{noted:?}");
    assert_eq!(drilled(&captured).unwrap(), captured.facts);
    let again = format!("{japanese} again");
    restore_as(server, &captured, &japanese, &again);
    restore_as(server, &captured, &names[0].1, &format!("{unique} ü"));
    let read = r#"SELECT U&"\5217" = U&'\6F22\5B57' FROM U&"\8868""#;
    assert_eq!(server.sql(&again, read), "t");
    let comment = format!("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '{unique} ü'");
    assert_eq!(server.sql("postgres", &comment), "größer");
}

#[test]
fn what_does_not_come_back_shows_as_a_difference() {
    let Some(server) = servers::postgres() else { return };
    let _roles = roles_are_mine();
    let name = database(server);
    server.sql(&name, "CREATE TABLE t AS SELECT generate_series(1, 10)");
    let captured = capture(server, &[&name]);
    let mut wrong = captured.facts.clone();
    wrong["databases"][&name]["tables"]["public.t"] = json!(11);
    let dir = tempfile::tempdir().unwrap();
    captured.restore(dir.path());
    let found = examine(dir.path(), &wrong, &Cancel::new()).unwrap();
    assert_eq!(found, captured.facts);
    // No server is started for what is damaged.
    let dump = dir.path().join("databases").join(format!("{name}.dump"));
    std::fs::write(&dump, "PGDMP").unwrap();
    let found = examine(dir.path(), &captured.facts, &Cancel::new()).unwrap();
    assert_ne!(found["files"], captured.facts["files"]);
    assert!(!found.contains_key("databases"));
}

#[test]
fn table_spaces_are_kept_and_a_drill_needs_none() {
    let Some(server) = servers::postgres() else { return };
    let _roles = roles_are_mine();
    let (name, space) = (database(server), format!("space {}", servers::unique()));
    let place = server.folder.join(&space);
    std::fs::create_dir(&place).unwrap();
    let owner = std::fs::metadata(server.folder.join("data")).unwrap();
    use std::os::unix::fs::MetadataExt as _;
    std::os::unix::fs::chown(&place, Some(owner.uid()), Some(owner.gid())).unwrap();
    server.sql(&name, &format!("CREATE TABLESPACE \"{space}\" LOCATION '{}'", place.display()));
    server.sql(&name, &format!("CREATE TABLE t TABLESPACE \"{space}\" AS SELECT 1"));
    let captured = capture(server, &[&name]);
    let file = |name: &str| {
        let entry = captured.entries.iter().find(|entry| entry.path == Path::new(name)).unwrap();
        String::from_utf8_lossy(&entry.bytes).into_owned()
    };
    assert!(file("tablespaces.sql").contains(&format!("CREATE TABLESPACE \"{space}\"")));
    let about: serde_json::Value = serde_json::from_str(&file("server.json")).unwrap();
    assert_eq!(about["tablespaces"][0]["location"], place.display().to_string());
    let settings = about["settings"].as_array().unwrap();
    assert!(settings.iter().any(|setting| setting["name"] == "max_connections" && setting["setting"] == "60"));
    let drilled = drilled(&captured);
    server.sql(&name, "DROP TABLE t");
    server.sql(&name, &format!("DROP TABLESPACE \"{space}\""));
    assert_eq!(drilled.unwrap(), captured.facts);
}

#[test]
fn a_drill_that_cannot_run_here_says_what_to_install_and_nothing_of_the_backup() {
    let Some(server) = servers::postgres() else { return };
    let _roles = roles_are_mine();
    let name = database(server);
    let captured = capture(server, &[&name]);
    let dir = tempfile::tempdir().unwrap();
    captured.restore(dir.path());
    let refused = |facts: &Facts| match examine(dir.path(), facts, &Cancel::new()) {
        Err(SourceError::Unavailable { what }) => what,
        other => panic!("{other:?}"),
    };
    let mut newer = captured.facts.clone();
    newer["server"]["version"] = json!("99.1");
    let error = refused(&newer);
    assert!(
        error.contains("is older than the server, which is 99.1") && error.contains("install postgresql-99"),
        "{error}"
    );
    let mut extended = captured.facts.clone();
    extended["databases"][&name]["extensions"]["no_such_extension"] = json!("1.0");
    let error = refused(&extended);
    assert!(error.contains("extension no_such_extension is not installed here"), "{error}");
}

#[test]
fn the_template_of_new_databases_is_captured_only_where_it_has_something_in_it() {
    if servers::postgres().is_none() {
        return;
    }
    // One of its own, whose template is nobody else's.
    let server = PostgresServer::start().unwrap();
    let databases = || {
        let captured = capture(&server, &[]);
        captured.facts["databases"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(databases(), ["postgres"]);
    server.sql("template1", "CREATE TABLE everywhere ()");
    assert_eq!(databases(), ["postgres", "template1"]);
    let captured = capture(&server, &["template1"]);
    assert_eq!(drilled(&captured).unwrap(), captured.facts);
}

#[test]
fn a_look_lists_the_databases_and_dumps_nothing() {
    let Some(server) = servers::postgres() else { return };
    let name = database(server);
    let setup = Setup { look_only: true, ..Setup::default() };
    let source = PostgresSource::new(options(server, PostgresServer::USER, &[&name])).unwrap();
    let looked = setup.capture(&source).unwrap();
    let paths: Vec<_> = looked.entries.iter().map(|entry| entry.path.display().to_string()).collect();
    assert_eq!(paths, ["databases".to_owned(), format!("databases/{name}.dump")]);
    assert!(looked.entries.iter().all(|entry| entry.bytes.is_empty()));
}
