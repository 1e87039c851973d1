//! Captures of a database that is written to all the while.

use servers::Meanwhile;

use repository::Source as _;

use super::*;

const ACCOUNTS: u32 = 100;
const EACH: u32 = 1000;
const SNAPSHOTS: u32 = 20;

/// Moves money between accounts, each time in one transaction that adds a row.
fn move_money(server: &PostgresServer, database: &str) -> Meanwhile {
    let mut client = server.client(database);
    Meanwhile::start(move |_| {
        client.ask("SELECT move_some();");
        // Enough that each snapshot meets some of it.
        std::thread::sleep(std::time::Duration::from_millis(1));
    })
}

#[test]
fn whatever_moves_meanwhile_each_snapshot_is_one_moment_and_its_counts_are_exact() {
    let Some(server) = servers::postgres() else { return };
    let name = database(server);
    server.sql(
        &name,
        &format!(
            "CREATE TABLE accounts (id int PRIMARY KEY, amount int NOT NULL); CREATE TABLE moves (giver int, taker int, n int); \
             INSERT INTO accounts SELECT n, {EACH} FROM generate_series(1, {ACCOUNTS}) AS n; \
             CREATE FUNCTION move_some() RETURNS int LANGUAGE plpgsql AS $$ \
             DECLARE a int := 1 + random() * 49; b int := 51 + random() * 49; n int := random() * 10; BEGIN \
             UPDATE accounts SET amount = amount - n WHERE id = a; INSERT INTO moves VALUES (a, b, n); \
             UPDATE accounts SET amount = amount + n WHERE id = b; RETURN n; END $$"
        ),
    );
    let _movers = [move_money(server, &name), move_money(server, &name)];
    let restored = database(server);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("dump");
    let mut moves = Vec::new();
    for _ in 0..SNAPSHOTS {
        let captured = capture(server, &[&name]);
        std::fs::write(&file, archive(&captured, &format!("{name}.dump"))).unwrap();
        let mut restore = server.command("pg_restore", &restored);
        let output = restore.args(["--clean", "--if-exists", "--dbname", &restored]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let sums = "SELECT (SELECT sum(amount) FROM accounts), (SELECT count(*) FROM moves), \
                    (SELECT count(*) FROM (SELECT id, 1000 AS n FROM accounts UNION ALL SELECT giver, -n FROM moves \
                    UNION ALL SELECT taker, n FROM moves) AS m GROUP BY id HAVING sum(n) <> \
                    (SELECT amount FROM accounts a WHERE a.id = m.id) LIMIT 1)";
        let found = server.sql(&restored, sums);
        let counted = captured.facts["databases"][&name]["tables"]["public.moves"].as_u64().unwrap();
        assert_eq!(found, format!("{}|{counted}|", ACCOUNTS * EACH));
        moves.push(counted);
    }
    assert!(moves.windows(2).all(|pair| pair[0] < pair[1]), "nothing moved: {moves:?}");
}

#[test]
fn what_is_emptied_or_written_anew_before_its_turn_is_captured_as_it_is_then() {
    let Some(server) = servers::postgres() else { return };
    for (change, rows, told) in [
        ("TRUNCATE a; INSERT INTO a SELECT generate_series(1, 5000)", 5000, "public.a"),
        ("ALTER TABLE a ALTER COLUMN n TYPE bigint", 1000, "public.a"),
        ("DROP TABLE gone", 1000, "gone"),
        ("INSERT INTO a VALUES (0); DELETE FROM gone", 1000, ""),
    ] {
        let name = database(server);
        server.sql(&name, "CREATE TABLE a AS SELECT generate_series(1, 1000) AS n; CREATE TABLE gone AS SELECT 1");
        let source = PostgresSource::new(options(server, PostgresServer::USER, &[&name])).unwrap();
        let setup = Setup::default();
        let captured = setup.capture_with(&setup.clock, |cx| {
            let capture = source.capture(cx)?;
            server.sql(&name, change);
            Ok(capture)
        });
        let captured = captured.unwrap();
        assert_eq!(captured.facts["databases"][&name]["tables"]["public.a"], rows, "{change}");
        assert_eq!((captured.problems.len(), captured.notes.len()), (0, usize::from(!told.is_empty())), "{captured:?}");
        assert_eq!(captured.reopened.is_some(), !told.is_empty(), "{change}");
        assert!(captured.notes.iter().all(|note| note.contains("was opened again") && note.contains(told)), "{change}");
        assert_eq!(drilled(&captured).unwrap(), captured.facts, "{change}");
    }
}
