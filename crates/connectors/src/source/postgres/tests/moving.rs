//! Captures of a database that is written to all the while.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const ACCOUNTS: u32 = 100;
const EACH: u32 = 1000;
const SNAPSHOTS: u32 = 20;

/// Moves money between accounts in other transactions, until dropped: also where a test fails.
struct Movers {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<u32>>,
}

impl Movers {
    fn start(server: &PostgresServer, database: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..2).map(|_| {
            let (stop, mut psql) = (Arc::clone(&stop), server.command("psql", database));
            std::thread::spawn(move || {
                use std::io::{BufRead as _, Write as _};
                psql.args(["-XAtq"]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
                let mut child = psql.stderr(std::process::Stdio::null()).spawn().unwrap();
                let mut input = child.stdin.take().unwrap();
                let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
                let (mut moved, mut line) = (0, String::new());
                while !stop.load(Ordering::Relaxed) {
                    line.clear();
                    input.write_all(b"SELECT move_some();\n").unwrap();
                    if output.read_line(&mut line).unwrap() == 0 {
                        break;
                    }
                    moved += 1;
                    // Enough that each snapshot meets some of it.
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                drop(input);
                child.wait().unwrap();
                moved
            })
        });
        Self { threads: threads.collect(), stop }
    }

    /// How often money was moved.
    fn end(mut self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).map(|thread| thread.join().unwrap()).sum()
    }
}

impl Drop for Movers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
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
    let movers = Movers::start(server, &name);
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
    assert!(u64::from(movers.end()) >= moves[moves.len() - 1]);
}
