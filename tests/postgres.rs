//! A PostgreSQL server, from its backup to a drill and back into a server.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use servers::PostgresServer;

use crate::support::{Ran, Site, can, program, run, write_secret};

/// A site whose one source, `db`, is this database of a server.
fn site(server: &PostgresServer, database: &str, more: &str) -> Site {
    let site = Site::new();
    write_secret(&site.path("db-password"), PostgresServer::PASSWORD);
    site.configure(&format!(
        "db: {{ postgres: {{ url: {:?}, user: postgres, password_file: db-password, databases: [{database:?}]{more} }} }}",
        server.url()
    ));
    site.lifeboat(["init"]).ok();
    site
}

fn shop(server: &PostgresServer) -> String {
    let name = servers::unique();
    server.sql("postgres", &format!("CREATE DATABASE \"{name}\""));
    server.sql(
        &name,
        "CREATE TABLE orders (id serial PRIMARY KEY, what text); \
         INSERT INTO orders (what) SELECT md5(n::text) FROM generate_series(1, 20000) AS n",
    );
    name
}

#[test]
fn databases_are_backed_up_drilled_and_restored_into_a_server() {
    let Some(server) = servers::postgres() else { return };
    let name = shop(server);
    let site = site(server, &name, "");
    let done = site.lifeboat(["backup", "--json"]).ok().summary();
    assert_eq!(done["sources"]["db"]["facts"]["databases"][&name]["tables"], json!({ "public.orders": 20_000 }));
    // What did not change adds a few kilobytes, whatever the time is.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let again = site.lifeboat(["backup", "--json"]).ok().summary();
    assert!(done["bytes_added"].as_u64() > Some(300_000) && again["bytes_added"].as_u64() < Some(20_000), "{again}");
    // Whom a server of a drill runs as finds its folder also where temporary files are nobody else's.
    let private = tempfile::tempdir().unwrap();
    let drill = run(site.lifeboat_command(["drill", "--json"]).env("TMPDIR", private.path())).ok().summary();
    assert_eq!((&drill["status"], &drill["level"]), (&json!("passed"), &json!(3)), "{drill}");

    let other = format!("{name}-back");
    let restore = |arguments: &[&str]| {
        let all = ["restore", "latest:db", "--json", "--server"].iter().chain(arguments);
        let mut command = site.lifeboat_command(all.copied().collect::<Vec<_>>());
        run(command.env("PGPASSWORD", PostgresServer::PASSWORD))
    };
    let url = server.url().replace("//", "//postgres@");
    let planned = restore(&[&url, "--database", &name, "--as", &other, "--dry-run"]).ok().summary();
    assert_eq!(planned["files"], json!([format!("databases/{name}.dump")]));
    let restored = restore(&[&url, "--database", &name, "--as", &other]).ok().summary();
    assert_eq!(restored["databases"][&name], json!({ "restored_as": other, "compared": true, "problems": [] }));
    assert_eq!(server.sql(&other, "SELECT count(*), max(id) FROM orders"), "20000|20000");
    // Nothing of value is written over unasked.
    server.sql(&name, "DELETE FROM orders");
    let error = restore(&["configured", "--database", &name]).exits(1).error();
    assert!(error["message"].as_str().unwrap().contains("let what is there be dropped with --replace"), "{error}");
    restore(&["configured", "--database", &name, "--replace"]).ok();
    assert_eq!(server.sql(&name, "SELECT count(*) FROM orders"), "20000");
    restore(&["postgresql://me:hunter2@db"]).exits(2);
}

#[test]
fn what_belongs_to_a_database_itself_comes_back_with_it_and_is_drilled() {
    let Some(server) = servers::postgres() else { return };
    let name = shop(server);
    server.sql(
        "postgres",
        &format!("COMMENT ON DATABASE \"{name}\" IS 'the shop'; ALTER DATABASE \"{name}\" SET work_mem = '8MB'"),
    );
    server.sql("postgres", &format!("ALTER DATABASE \"{name}\" CONNECTION LIMIT 7"));
    let site = site(server, &name, "");
    site.backup();
    let drill = site.lifeboat(["drill", "--json"]).ok().summary();
    assert_eq!((&drill["status"], &drill["level"]), (&json!("passed"), &json!(3)), "{drill}");
    let other = format!("{name}-back");
    let restore = ["restore", "latest:db", "--json", "--server", "configured", "--database", &name];
    let done = site.lifeboat(restore.iter().chain(&["--as", &other])).ok().summary();
    assert_eq!((&done["status"], &done["notes"]), (&json!("ok"), &json!([])), "{done}");
    let itself = format!(
        "SELECT datconnlimit, shobj_description(d.oid, 'pg_database'), setconfig FROM pg_database d \
         JOIN pg_db_role_setting ON setdatabase = d.oid WHERE datname = '{other}'"
    );
    assert_eq!(server.sql("postgres", &itself), "7|the shop|{work_mem=8MB}");
    // One that is there keeps its own, which is noted.
    server.sql("postgres", &format!("ALTER DATABASE \"{name}\" CONNECTION LIMIT 9"));
    let done = site.lifeboat(restore.iter().chain(&["--replace"])).ok().summary();
    let note = done["notes"][0].as_str().unwrap();
    assert!(note.ends_with("other than in the snapshot: connection_limit"), "{done}");
}

/// An application as ALTCHA Sentinel's variables describe it, whose database is the one of a user that may do nothing else.
struct Application {
    site: Site,
    server: &'static PostgresServer,
    /// The database.
    name: String,
    url: String,
}

impl Application {
    fn new(server: &'static PostgresServer) -> Self {
        let (name, user) = (shop(server), servers::unique());
        let password = PostgresServer::PASSWORD;
        server.sql(
            &name,
            &format!(
                "CREATE ROLE \"{user}\" LOGIN PASSWORD '{password}'; ALTER DATABASE \"{name}\" OWNER TO \"{user}\"; \
                 ALTER TABLE orders OWNER TO \"{user}\"; CREATE EXTENSION pg_stat_statements"
            ),
        );
        let site = Site::new();
        std::fs::remove_file(site.config()).unwrap();
        std::fs::write(site.data().join("logo.png"), "logo").unwrap();
        let url = format!("postgres://{user}:{password}@127.0.0.1:{}/{name}", server.port);
        Self { site, server, name, url }
    }

    fn lifeboat(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        self.site.enclose(command.args(arguments));
        command.env("DATA_DIR", self.site.data()).env("POSTGRES_URL", &self.url).env("LIFEBOAT_WITHOUT", "redis");
        command.env("SNAPSHOTS_ENCRYPTION_KEY", "hunter2 of the archives");
        command.env("SNAPSHOTS_STORAGE_LOCAL_DIR", self.site.path("snapshots"));
        let ran = run(&mut command);
        assert!(!format!("{}{}", ran.text(), ran.errors()).contains("hunter2"), "a secret is shown");
        ran
    }

    fn rows(&self, database: &str) -> String {
        self.server.sql(database, "SELECT count(*) FROM orders")
    }
}

#[test]
fn who_owns_one_database_only_backs_it_up_whole_and_restores_it_out_of_archives() {
    let Some(server) = servers::postgres() else { return };
    let application = Application::new(server);
    application.lifeboat(&["init"]).ok();
    let said = application.lifeboat(&["backup"]).ok().text();
    assert!(said.contains("roles are in the backup without their passwords"), "{said}");
    // There is no SQLite database, and need not be any.
    assert!(!said.contains("EMPTY"), "{said}");
    let copy = "local";
    for uri in [format!("lifeboat:{copy}/latest/main"), "latest:main".to_owned()] {
        server.sql(&application.name, "DELETE FROM orders WHERE id > 5");
        let restore = ["restore", &uri, "--server", "configured", "--replace", "--json"];
        let done = application.lifeboat(&restore).ok().summary();
        assert_eq!((&done["status"], &done["problems"]), (&json!("ok"), &json!([])), "{done}");
        assert!(done["notes"][0].as_str().unwrap().contains("may make no roles"), "{done}");
        assert_eq!(application.rows(&application.name), "20000");
    }
    // One database or table of it.
    for place in [format!("{}/orders", application.name), application.name.clone()] {
        server.sql(&application.name, "DELETE FROM orders WHERE id > 5");
        let uri = format!("lifeboat:{copy}/latest/main/{place}");
        let restore = ["restore", &uri, "--server", "configured", "--replace", "--json"];
        application.lifeboat(&restore).ok();
        assert_eq!(application.rows(&application.name), "20000", "{place}");
    }
    let other = format!("{}-other", application.name);
    let url = format!("postgresql://postgres@127.0.0.1:{}", server.port);
    write_secret(&application.site.path("db-password"), PostgresServer::PASSWORD);
    let uri = format!("lifeboat:{copy}/latest/main");
    let restore = ["restore", &uri, "--database", &application.name, "--as", &other, "--server", &url];
    let restore = restore.iter().chain(&["--server-password-file", "db-password"]).copied();
    application.lifeboat(&restore.collect::<Vec<_>>()).ok();
    assert_eq!(application.rows(&other), "20000");
    // Files are restored as a whole.
    let inside = format!("{uri}/{}", application.name);
    application.lifeboat(&["restore", &inside, "--to", "out"]).exits(2).says(["restored as a whole"]);
    application.lifeboat(&["restore", &uri, "--to", "out", "--database", &other]).exits(2);
}

#[test]
fn an_archive_in_a_snapshot_is_restored_with_restic_and_pg_restore_alone() {
    let Some(server) = servers::postgres() else { return };
    if !can(program("restic")) {
        return;
    }
    let name = shop(server);
    let site = site(server, &name, "");
    site.backup();
    let target = site.path("by-restic");
    site.restic(["restore", "latest", "--target", &target.display().to_string()]).ok();
    let file = target.join("db/databases").join(format!("{name}.dump"));
    let back = format!("{name}-stock");
    server.sql("postgres", &format!("CREATE DATABASE \"{back}\""));
    let mut restore = server.command("pg_restore", &back);
    let done = restore.args(["--exit-on-error", "--dbname", &back]).arg(&file).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(server.sql(&back, "SELECT count(*) FROM orders"), "20000");
    assert!(std::fs::read_to_string(target.join("RESTORE.md")).unwrap().contains("pg_restore --create"));
}

#[test]
fn a_dump_that_prints_nothing_fails_the_run_and_the_last_good_snapshot_stays() {
    let Some(server) = servers::postgres() else { return };
    let name = shop(server);
    let site = site(server, &name, ", tools: tools");
    let tools = site.path("tools");
    std::fs::create_dir(&tools).unwrap();
    for tool in ["psql", "pg_dump", "pg_dumpall"] {
        std::os::unix::fs::symlink(server.programs.join(tool), tools.join(tool)).unwrap();
    }
    let good = site.backup();
    let real = server.programs.join("pg_dump");
    std::fs::remove_file(tools.join("pg_dump")).unwrap();
    script(&tools.join("pg_dump"), &format!("[ \"$1\" = --version ] && exec {} --version\nexit 0", real.display()));
    let error = site.lifeboat(["backup", "--json"]).exits(1).error();
    assert!(error["message"].as_str().unwrap().contains("printed nothing"), "{error}");
    let snapshots = site.lifeboat(["snapshots", "--json"]).ok().of_type("snapshot");
    assert_eq!(snapshots.iter().map(|snapshot| &snapshot["id"]).collect::<Vec<_>>(), [&json!(good)]);
}

fn script(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
