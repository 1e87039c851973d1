//! One table of a database comes back with all that is its own, or not at all.

use super::*;
use crate::source::{IntoServer as _, PostgresRestore, RestoredDatabase, Wanted};

const SHOP: &str = "CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other VALUES (1);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name = NEW.name || '!'; RETURN NEW; END $$;
    CREATE TABLE a (id serial PRIMARY KEY, name text UNIQUE NOT NULL DEFAULT 'none', other int REFERENCES other,
        self int CONSTRAINT loop REFERENCES a, number bigint GENERATED ALWAYS AS IDENTITY (START 100), CHECK (number > 0));
    INSERT INTO a (name, other) SELECT 'n' || n, 1 FROM generate_series(1, 50) AS n;
    CREATE INDEX low ON a (lower(name)) WHERE id > 3;
    CREATE TRIGGER noting BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION note();
    ALTER TABLE a ENABLE ROW LEVEL SECURITY; CREATE POLICY seen ON a USING (id IN (SELECT id FROM other));
    COMMENT ON TABLE a IS 'mine'; COMMENT ON CONSTRAINT a_other_fkey ON a IS 'there'; GRANT SELECT ON a TO PUBLIC;
    CREATE STATISTICS related ON name, other FROM a;
    CREATE TABLE user_of_it (id serial, a int DEFAULT currval('a_id_seq'))";

/// What there is of `a` besides its rows.
const ALL_OF_IT: &str = "SELECT 'constraint', conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'a'::regclass
    UNION ALL SELECT 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'a'::regclass
    UNION ALL SELECT 'trigger', tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'a'::regclass AND NOT tgisinternal
    UNION ALL SELECT 'policy', polname, pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polrelid = 'a'::regclass
    UNION ALL SELECT 'statistics', stxname, stxkeys::text FROM pg_statistic_ext WHERE stxrelid = 'a'::regclass
    UNION ALL SELECT 'table', relrowsecurity::text || relacl::text, obj_description(oid) FROM pg_class WHERE oid = 'a'::regclass
    UNION ALL SELECT 'column', attname, attidentity::text || attnotnull || coalesce(pg_get_expr(adbin, adrelid), '')
        || coalesce(pg_get_serial_sequence('a', attname), '')
        FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attrelid = 'a'::regclass AND attnum > 0
    ORDER BY 1, 2";

fn into(server: &PostgresServer, captured: &Captured, wanted: Wanted) -> Result<RestoredDatabase, SourceError> {
    let dir = tempfile::tempdir().unwrap();
    captured.restore(dir.path());
    let restore = PostgresRestore { into: options(server, PostgresServer::USER, &[]), wanted };
    Ok(restore.run(dir.path(), &captured.facts, &Cancel::new())?.databases.remove(0))
}

fn of(database: &str, tables: &[&str]) -> Wanted {
    let tables = tables.iter().map(|table| table.to_string()).collect();
    Wanted { databases: vec![database.to_owned()], tables, ..Wanted::default() }
}

/// A row more gets the next numbers, and goes through the trigger.
fn takes_a_row(server: &PostgresServer, database: &str) {
    let row = server.sql(database, "INSERT INTO a (self) VALUES (1) RETURNING id, number, name");
    assert_eq!(row, "51|150|none!");
    server.sql(database, "DELETE FROM a WHERE id = 51");
}

#[test]
fn a_table_comes_back_with_its_keys_defaults_indexes_and_triggers() {
    let Some(server) = servers::postgres() else { return };
    let name = database(server);
    server.sql(&name, SHOP);
    let all = server.sql(&name, ALL_OF_IT);
    assert!(all.lines().count() > 12, "{all}");
    let captured = capture(server, &[&name]);
    // Where it was dropped, and over what became of it.
    for (change, replace) in [("DROP TABLE a", false), ("DELETE FROM a; DROP INDEX low", true)] {
        server.sql(&name, "ALTER TABLE user_of_it ALTER a DROP DEFAULT");
        server.sql(&name, change);
        let done = into(server, &captured, Wanted { replace, ..of(&name, &["a"]) }).unwrap();
        assert_eq!(done.problems, [""; 0]);
        assert_eq!(server.sql(&name, ALL_OF_IT), all, "{change}");
        assert_eq!(server.sql(&name, "SELECT count(*), min(name) FROM a"), "50|n1");
        takes_a_row(server, &name);
    }
    // Of two, each has what refers to the other.
    let other = format!("{name} other");
    server.sql("postgres", &format!("CREATE DATABASE \"{other}\""));
    server.sql(&other, "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name = NEW.name || '!'; RETURN NEW; END $$");
    let done = into(server, &captured, Wanted { rename: Some(other.clone()), ..of(&name, &["a", "other"]) }).unwrap();
    assert_eq!(done.problems, [""; 0]);
    assert_eq!(server.sql(&other, ALL_OF_IT), all);
    takes_a_row(server, &other);
}

#[test]
fn a_foreign_key_to_a_table_that_is_not_there_is_left_out_and_told() {
    let Some(server) = servers::postgres() else { return };
    let name = database(server);
    server.sql(&name, SHOP);
    server.sql(&name, "DROP POLICY seen ON a");
    let captured = capture(server, &[&name]);
    let other = database(server);
    server.sql(&other, "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name = NEW.name || '!'; RETURN NEW; END $$");
    let done = into(server, &captured, Wanted { rename: Some(other.clone()), ..of(&name, &["a"]) }).unwrap();
    let told = "foreign key a a_other_fkey was left out, since table public.other is not there: restore both, or add it with \
                ALTER TABLE";
    assert_eq!(done.problems, [told]);
    let keys = "SELECT string_agg(conname, ' ' ORDER BY conname) FROM pg_constraint WHERE conrelid = 'a'::regclass";
    assert_eq!(server.sql(&other, keys), "a_name_key a_number_check a_pkey loop");
    takes_a_row(server, &other);
}

#[test]
fn a_schema_that_was_made_for_a_table_goes_again_with_it() {
    let Some(server) = servers::postgres() else { return };
    let (name, other) = (database(server), database(server));
    server.sql(&name, "CREATE TYPE size AS ENUM ('small'); CREATE SCHEMA s; CREATE TABLE s.t AS SELECT 'small'::size");
    let captured = capture(server, &[&name]);
    let wanted = || Wanted { rename: Some(other.clone()), ..of(&name, &["s.t"]) };
    let error = into(server, &captured, wanted()).unwrap_err().to_string();
    assert!(error.contains("type \"public.size\" does not exist"), "{error}");
    assert!(error.ends_with(&format!("what was in database {other} is as it was")), "{error}");
    assert_eq!(server.sql(&other, "SELECT count(*) FROM pg_namespace WHERE nspname = 's'"), "0");
    // One that was there stays.
    server.sql(&other, "CREATE SCHEMA s");
    into(server, &captured, wanted()).unwrap_err();
    assert_eq!(server.sql(&other, "SELECT count(*) FROM pg_namespace WHERE nspname = 's'"), "1");
    server.sql(&other, "DROP SCHEMA s; CREATE TYPE size AS ENUM ('small')");
    into(server, &captured, wanted()).unwrap();
    assert_eq!(server.sql(&other, "SELECT count(*) FROM s.t"), "1");
}

#[test]
fn a_table_that_cannot_come_back_whole_is_left_as_it_is() {
    let Some(server) = servers::postgres() else { return };
    let name = database(server);
    server.sql(&name, SHOP);
    server.sql(
        &name,
        "CREATE TABLE days (at date PRIMARY KEY) PARTITION BY RANGE (at); CREATE TABLE day PARTITION OF days DEFAULT",
    );
    let captured = capture(server, &[&name]);
    // Its trigger needs a function.
    let other = database(server);
    server.sql(&other, "CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other VALUES (1)");
    let wanted = Wanted { rename: Some(other.clone()), ..of(&name, &["a"]) };
    let error = into(server, &captured, wanted).unwrap_err().to_string();
    assert!(error.contains("function public.note() does not exist") && error.contains("make these first"), "{error}");
    assert_eq!(server.sql(&other, "SELECT to_regclass('a') IS NULL, to_regclass('a_id_seq') IS NULL"), "t|t");
    // Another table has come to refer to the one that is there.
    let all = server.sql(&name, ALL_OF_IT);
    server.sql(&name, "CREATE TABLE refers (a int REFERENCES a); INSERT INTO refers VALUES (7)");
    let replace = |table: &str| into(server, &captured, Wanted { replace: true, ..of(&name, &[table]) });
    let error = replace("a").unwrap_err().to_string();
    assert!(error.contains("what was in database") && error.contains("--as NAME"), "{error}");
    assert_eq!(server.sql(&name, ALL_OF_IT), all);
    assert_eq!(server.sql(&name, "SELECT count(*) FROM a"), "50");
    let error = replace("day").unwrap_err().to_string();
    assert!(error.contains("day is a partition, and would be taken out of its table"), "{error}");
    let wanted = Wanted { rename: Some(database(server)), ..of(&name, &["day"]) };
    let problems = into(server, &captured, wanted).unwrap().problems;
    assert_eq!(problems, ["day was a partition, and is a table of its own: attach it with ALTER TABLE"]);
}
