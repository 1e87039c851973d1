//! What goes wrong between a database server and a copy: each time the run fails, says what it was, and the last good snapshot
//! stays. Once it is mended, the next backup works.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use servers::{Line, MariadbServer, PostgresServer, Proxy, RedisServer};

use crate::mounts::Mounts;
use crate::support::{Dice, Ran, Site, can, wait_until, write_secret};

/// Bytes of a database, which do not compress: they take some seconds on a slow line.
const DATABASE_BYTES: usize = 12 << 20;
/// What a slow line carries in a second.
const SLOW: Line = Line::Slow(4 << 20);
/// A dump is in the midst of it when so many bytes have come.
const MIDST_BYTES: u64 = 2 << 20;

/// A site with one source, `db`, whose server is reached over a line.
struct Case {
    site: Site,
    line: Proxy,
}

impl Case {
    /// `settings` have what is not the address.
    fn new(kind: &str, scheme: &str, port: u16, settings: &str) -> Self {
        let (site, line) = (Site::new(), Proxy::to(port));
        write_secret(&site.path("secret"), "secret");
        let url = format!("{scheme}://127.0.0.1:{}", line.port);
        site.configure(&format!("db: {{ {kind}: {{ url: {url:?}{settings} }} }}"));
        Self { site, line }
    }

    /// What came of a backup that was in the midst of the dump when `then` was done. The line is as it was afterwards.
    fn backup_and_in_its_midst(&self, then: impl FnOnce() + Send) -> Ran {
        let before = self.line.received();
        self.line.set(SLOW);
        let ran = std::thread::scope(|scope| {
            scope.spawn(|| {
                wait_until("the dump is in its midst", || self.line.received() > before + MIDST_BYTES);
                then();
            });
            self.site.lifeboat(["backup", "--json"])
        });
        self.line.set(Line::Open);
        ran
    }

    /// The run failed, said all of this, and there are these snapshots as before.
    fn has_failed(&self, ran: Ran, said: &[&str], snapshots: &[&String]) {
        let error = ran.exits(1).error();
        let message = format!("{} {}", error["message"], error["hint"]);
        assert!(said.iter().all(|part| message.contains(part)), "{said:?} in {message}");
        assert_eq!(self.snapshots(), snapshots.iter().map(|id| json!(id)).collect::<Vec<_>>());
    }

    fn snapshots(&self) -> Vec<serde_json::Value> {
        let listed = self.site.lifeboat(["snapshots", "--json"]).ok().of_type("snapshot");
        let mut ids: Vec<_> =
            listed.iter().map(|snapshot| (snapshot["time"].clone(), snapshot["id"].clone())).collect();
        ids.sort_by_key(|(time, _)| time.to_string());
        ids.into_iter().map(|(_, id)| id).collect()
    }

    /// A line that is cut and a server that is killed, each in the midst of the dump, and then one that is not there.
    fn outlives_cuts_and_kills(&self, tool: &str, kill: impl FnOnce() + Send) {
        self.site.lifeboat(["init"]).ok();
        let first = self.site.backup();
        self.has_failed(self.backup_and_in_its_midst(|| self.line.set(Line::Cut)), &["source db", tool], &[&first]);
        let second = self.site.backup();
        self.has_failed(self.backup_and_in_its_midst(kill), &["source db", tool], &[&first, &second]);
        self.has_failed(self.site.lifeboat(["backup", "--json"]), &["source db"], &[&first, &second]);
        self.site.lifeboat(["check", "--read-data"]).ok();
        let drill = self.site.lifeboat(["drill", "--json"]).ok().summary();
        assert_eq!((&drill["status"], &drill["snapshot_id"]), (&json!("passed"), &json!(second)));
    }

    /// A copy whose disk is full in the midst of the dump.
    fn outlives_a_full_disk(&self) {
        if !can(Mounts::possible()) {
            return;
        }
        let mounts = Mounts::new();
        mounts.tmpfs(&self.site.repo(), "size=6m");
        mounts.lifeboat(&self.site, ["init"]).ok();
        for _ in 0..2 {
            let error = mounts.lifeboat(&self.site, ["backup", "--json"]).exits(1).error();
            assert_eq!(error["code"], "storage-full", "{error}");
        }
        mounts.lifeboat(&self.site, ["check", "--read-data"]).ok();
        mounts.run("mount", ["-o", "remount,size=60m", self.site.repo().to_str().unwrap()]);
        mounts.lifeboat(&self.site, ["backup"]).ok();
        mounts.lifeboat(&self.site, ["drill"]).ok();
    }
}

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

/// Random bytes as hexadecimal digits, a row of a thousand each.
fn rows() -> Vec<String> {
    let bytes = Dice::new(5).bytes(DATABASE_BYTES);
    bytes.chunks(1000).map(|row| row.iter().map(|byte| format!("{byte:02x}")).collect()).collect()
}

fn postgres() -> Option<(PostgresServer, Case)> {
    servers::postgres()?;
    let server = PostgresServer::start().unwrap();
    server.sql("postgres", "CREATE DATABASE shop");
    let file = server.folder.join("rows.sql");
    let rows: String = rows().iter().map(|row| format!("\\\\x{row}\n")).collect();
    std::fs::write(&file, format!("CREATE TABLE t (a bytea);\nCOPY t FROM stdin;\n{rows}\\.\n")).unwrap();
    server.sql_file("shop", &file);
    let settings = ", user: postgres, password_file: secret, databases: [shop]";
    let case = Case::new("postgres", "postgresql", server.port, settings);
    Some((server, case))
}

#[test]
fn a_postgres_that_is_cut_off_or_killed_in_the_midst_of_its_dump_fails_the_run() {
    let Some((server, case)) = postgres() else { return };
    let first_process = || {
        let file = std::fs::read_to_string(server.pid_file()).unwrap();
        file.lines().next().unwrap().parse().unwrap()
    };
    case.outlives_cuts_and_kills("pg_dump of database shop", || kill(first_process()));
}

#[test]
fn a_postgres_that_does_not_fit_on_the_disk_fails_the_run() {
    let Some((_server, case)) = postgres() else { return };
    case.outlives_a_full_disk();
}

fn mariadb() -> Option<(MariadbServer, Case)> {
    servers::mariadb()?;
    let server = MariadbServer::start(&[]).unwrap();
    let rows: String = rows().iter().map(|row| format!("INSERT INTO t VALUES (x'{row}');\n")).collect();
    server.sql(&format!("CREATE DATABASE shop; USE shop; CREATE TABLE t (a BLOB); START TRANSACTION; {rows} COMMIT"));
    let settings = format!(", user: {}, password_file: secret, databases: [shop]", MariadbServer::USER);
    let case = Case::new("mysql", "mysql", server.port, &settings);
    Some((server, case))
}

#[test]
fn a_mariadb_that_is_cut_off_or_killed_in_the_midst_of_its_dump_fails_the_run() {
    let Some((server, case)) = mariadb() else { return };
    case.outlives_cuts_and_kills("mariadb-dump", || kill(server.pid));
}

#[test]
fn a_mariadb_that_does_not_fit_on_the_disk_fails_the_run() {
    let Some((_server, case)) = mariadb() else { return };
    case.outlives_a_full_disk();
}

fn redis() -> Option<(RedisServer, Case)> {
    let server = servers::redis(&["--rdbcompression", "no"])?;
    let rows: String = rows().iter().enumerate().map(|(at, row)| format!("SET {at} {row}\n")).collect();
    server.run(&rows);
    let case = Case::new("redis", "redis", server.port, "");
    Some((server, case))
}

#[test]
fn a_redis_that_is_cut_off_or_killed_in_the_midst_of_its_dump_fails_the_run() {
    let Some((server, case)) = redis() else { return };
    case.outlives_cuts_and_kills("Redis at 127.0.0.1", || kill(server.pid));
}

#[test]
fn a_redis_that_does_not_fit_on_the_disk_fails_the_run() {
    let Some((_server, case)) = redis() else { return };
    case.outlives_a_full_disk();
}

#[test]
fn what_a_user_may_not_read_makes_the_run_partial_and_is_named() {
    let (Some(postgres), Some(mariadb)) = (servers::postgres(), servers::mariadb()) else { return };
    let name = servers::unique().replace('-', "_");
    postgres.sql("postgres", &format!("CREATE DATABASE {name}"));
    postgres.sql(
        &name,
        &format!(
            "CREATE TABLE seen AS SELECT 1; CREATE TABLE unseen AS SELECT 1; CREATE ROLE {name} LOGIN PASSWORD 'secret'; \
             GRANT SELECT ON seen TO {name}"
        ),
    );
    mariadb.sql(&format!(
        "CREATE DATABASE {name}; CREATE TABLE {name}.seen (a INT); CREATE TABLE {name}.unseen (a INT); \
         CREATE USER {name}@'%' IDENTIFIED BY 'secret'; GRANT EVENT ON {name}.* TO {name}@'%'; \
         GRANT SELECT, SHOW VIEW, TRIGGER ON {name}.seen TO {name}@'%'"
    ));
    let settings = format!(", user: {name}, password_file: secret, databases: [{name}]");
    for (case, table, told) in [
        (
            Case::new("postgres", "postgresql", postgres.port, &settings),
            "public.seen",
            "public.unseen is not in the backup",
        ),
        (Case::new("mysql", "mysql", mariadb.port, &settings), "seen", "who logs in may not read everything"),
    ] {
        case.site.lifeboat(["init"]).ok();
        let done = case.site.lifeboat(["backup", "--json"]).exits(3);
        assert!(done.text().contains(told), "{done}");
        let tables = &done.summary()["sources"]["db"]["facts"]["databases"][&name]["tables"];
        assert_eq!(tables.as_object().unwrap().keys().collect::<Vec<_>>(), [table]);
        case.site.lifeboat(["status"]).says(["the newest snapshot is partial"]);
        case.site.lifeboat(["snapshots", "--problems"]).ok().says([told]);
    }
    postgres.sql(&name, &format!("DROP OWNED BY {name}; DROP ROLE {name}"));
}
