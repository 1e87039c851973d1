mod encrypted;
mod patience;
mod restored;
mod rights;
mod settings;
mod versioned;

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use repository::{Data, Facts, Item};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use servers::{MariadbServer, Meanwhile};
use zeroize::Zeroizing;

use super::*;
use crate::containers::{ContainerName, EngineAddress};
use crate::source::Password;
use crate::source::testing::{Captured, Setup, next_stream};
use crate::source::{IntoServer as _, MysqlRestore, Wanted};

/// Databases of a test alone, which others on the same server leave out.
fn of(server: &MariadbServer, databases: &[&str]) -> DatabaseOptions {
    DatabaseOptions {
        server: ServerAt::Url(server.url()),
        user: Some("root".to_owned()),
        password: None,
        databases: databases.iter().map(|name| (*name).to_owned()).collect(),
        exclude: Vec::new(),
        max_shrink_percent: 50,
        tools: None,
        engine: EngineAddress::default(),
    }
}

fn by_port(server: &MariadbServer, user: &str, password: &'static str, databases: &[&str]) -> DatabaseOptions {
    let password: Password = Arc::new(move || Ok(Zeroizing::new(password.to_owned())));
    let url = format!("mysql://{user}@127.0.0.1:{}", server.port);
    DatabaseOptions { server: ServerAt::Url(url), user: None, password: Some(password), ..of(server, databases) }
}

fn capture(options: DatabaseOptions) -> Result<Captured, SourceError> {
    Setup::default().capture(&MysqlSource::new(options).unwrap())
}

fn text<'a>(captured: &'a Captured, name: &str) -> &'a str {
    let entry = captured.entries.iter().find(|entry| entry.path == Path::new(name));
    std::str::from_utf8(&entry.unwrap_or_else(|| panic!("{name} is missing")).bytes).unwrap()
}

fn examined(captured: &Captured) -> Facts {
    let folder = tempfile::tempdir().unwrap();
    captured.restore(folder.path());
    examine(folder.path(), &captured.facts, &Cancel::new()).unwrap()
}

const AWKWARD: &str = include_str!("tests/awkward.sql");

#[test]
fn what_is_awkward_is_counted_and_comes_back() {
    let Some(server) = servers::mariadb() else { return };
    server.sql(AWKWARD);
    let captured = capture(of(server, &["awkward", "odd*"])).unwrap();
    assert_eq!(captured.problems, [""; 0]);
    let names: Vec<_> = captured.entries.iter().map(|entry| entry.path.to_str().unwrap()).collect();
    assert_eq!(names, ["databases", "databases/awkward.sql", "databases/odd `na;me%2f..x.sql", USERS, VIEWS]);
    let expected = json!({
        "tables": {"types": 3, "generated": 2, "parts": 1000, "plain": 2, "empty": 0, "parent": 2, "child": 2, "it's (odd": 1},
        "sequences": 1, "views": 3, "routines": 3, "triggers": 1, "events": 1,
    });
    assert_eq!(captured.facts["databases"]["awkward"], expected);
    assert_eq!(captured.facts["databases"]["odd `na;me/..x"]["tables"], json!({"x": 1}));
    assert_eq!(captured.facts["server"]["kind"], "MariaDB");
    assert!(captured.facts["binary_log"]["position"].as_u64().unwrap() > 0);
    assert!(captured.notes[0].ends_with("awkward.plain (MyISAM)"), "{:?}", captured.notes);
    let users = text(&captured, USERS);
    assert!(users.contains("CREATE USER IF NOT EXISTS `o'brien`@`%` IDENTIFIED BY PASSWORD '*"), "{users}");
    assert!(users.contains("CREATE ROLE IF NOT EXISTS `readers`;") && !users.contains("hunter2"), "{users}");
    assert!(users.contains("GRANT SELECT ON `awkward`.* TO `o'brien`@`%`"), "{users}");
    assert_eq!(examined(&captured), captured.facts);
    // Another server in which it is loaded has the very same content.
    let folder = tempfile::tempdir().unwrap();
    captured.restore(folder.path());
    let again = scratch::Scratch::start(tools::Kind::Mariadb, "0", &Cancel::new()).unwrap();
    for name in [&names[1], &names[2], &names[4]] {
        again.load(&folder.path().join(name), &Cancel::new()).unwrap().unwrap();
    }
    again.load(&folder.path().join(USERS), &Cancel::new()).unwrap().unwrap();
    let mut session = again.server().session(&Cancel::new()).unwrap();
    let mut here = server::Server::own(&server.socket(), &Cancel::new()).unwrap().session(&Cancel::new()).unwrap();
    for question in [
        "SELECT id, HEX(a), HEX(b), c, d, e, f, g, HEX(h), i, HEX(j) FROM awkward.types ORDER BY id",
        "CHECKSUM TABLE awkward.types, awkward.generated, awkward.parts, awkward.plain",
        "SELECT table_name, definer, security_type FROM information_schema.views WHERE table_schema = 'awkward' ORDER BY 1",
        "SELECT routine_name, definer, routine_definition FROM information_schema.routines WHERE routine_schema = 'awkward' ORDER BY 1",
        "SELECT trigger_name, action_statement, sql_mode FROM information_schema.triggers WHERE trigger_schema = 'awkward'",
        "SELECT event_name, event_definition, status FROM information_schema.events WHERE event_schema = 'awkward'",
        "SELECT * FROM awkward.v1",
        "SHOW GRANTS FOR `o'brien`@`%`",
        "SHOW GRANTS FOR readers",
    ] {
        assert_eq!(session.ask(question).unwrap(), here.ask(question).unwrap(), "{question}");
    }
}

#[test]
fn what_is_missing_or_damaged_in_what_comes_back_is_found() {
    let Some(server) = servers::mariadb() else { return };
    server.sql("CREATE DATABASE missing; USE missing; CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2)");
    let captured = capture(of(server, &["missing"])).unwrap();
    let folder = tempfile::tempdir().unwrap();
    captured.restore(folder.path());
    let examined = || examine(folder.path(), &captured.facts, &Cancel::new()).unwrap();
    let file = folder.path().join("databases/missing.sql");
    let whole = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, whole.replace("(2)", "(2),\n(3)")).unwrap();
    assert_eq!(examined()["databases"]["missing"]["tables"]["t"], 3);
    std::fs::write(&file, whole.replace("VALUES", "VALUE S")).unwrap();
    assert!(examined()["error"].as_str().unwrap().starts_with("databases/missing.sql cannot be loaded: "));
    std::fs::remove_file(&file).unwrap();
    assert_eq!(examined()["databases"], json!({}));
}

#[test]
fn a_view_whose_table_is_gone_is_named_and_all_else_is_captured() {
    let Some(server) = servers::mariadb() else { return };
    server.sql(
        "CREATE DATABASE invalid; USE invalid; CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2); CREATE TABLE gone (a INT); \
         CREATE VIEW `of ``gone` AS SELECT a FROM gone; CREATE VIEW of_view AS SELECT a FROM `of ``gone`; DROP TABLE gone; \
         CREATE DEFINER = `ghost`@`%` VIEW of_a_ghost AS SELECT a FROM t; CREATE VIEW whole AS SELECT a FROM t",
    );
    let captured = capture(of(server, &["invalid"])).unwrap();
    assert_eq!(captured.problems.len(), 2, "{:?}", captured.problems);
    for (problem, view) in captured.problems.iter().zip(["invalid.of `gone", "invalid.of_view"]) {
        assert!(problem.starts_with(&format!("{view}: what this view reads is gone")), "{problem}");
        assert!(problem.ends_with("how it was made is in invalid-views.sql"), "{problem}");
    }
    let held = &captured.facts["databases"]["invalid"];
    assert_eq!((&held["tables"], &held["views"]), (&json!({"t": 2}), &json!(2)));
    let definitions = text(&captured, INVALID_VIEWS);
    assert!(
        definitions.starts_with("CREATE ") && definitions.contains("VIEW `invalid`.`of ``gone` AS"),
        "{definitions}"
    );
    assert_eq!(examined(&captured), captured.facts);
    let wanted = Wanted { rename: Some("valid".to_owned()), ..Wanted::default() };
    let folder = tempfile::tempdir().unwrap();
    captured.restore(folder.path());
    let job = MysqlRestore { into: of(server, &[]), wanted };
    let restored = job.run(folder.path(), &captured.facts, &Cancel::new()).unwrap();
    // A view whose definer is missing names its database in every column, so it cannot be made under another name; the next can.
    let problems = &restored.databases[0].problems;
    assert!(
        problems.len() == 1 && problems[0].starts_with("not all of its views could be made: ERROR"),
        "{problems:?}"
    );
    assert_eq!(server.sql("SELECT COUNT(*) FROM valid.whole"), "2");
}

#[test]
fn a_view_whose_definition_is_kept_from_who_asks_is_said_to_be_nowhere() {
    let Some(server) = servers::mariadb() else { return };
    server.sql(
        "CREATE DATABASE unshown; USE unshown; CREATE TABLE gone (a INT); CREATE VIEW of_gone AS SELECT a FROM gone; \
         DROP TABLE gone; CREATE USER blind@'%' IDENTIFIED BY 'word'; \
         GRANT SELECT, LOCK TABLES, TRIGGER, EVENT ON unshown.* TO blind@'%'",
    );
    let captured = capture(by_port(server, "blind", "word", &["unshown"])).unwrap();
    let told = captured.problems.iter().find(|problem| problem.starts_with("unshown.of_gone: ")).unwrap();
    assert!(
        told.contains("how it was made could not be read: ") && told.contains("SHOW VIEW command denied"),
        "{told}"
    );
    assert!(captured.entries.iter().all(|entry| entry.path != Path::new(INVALID_VIEWS)));
}

#[test]
fn an_unchanged_database_gives_the_same_bytes_though_others_change() {
    let Some(server) = servers::mariadb() else { return };
    server.sql(
        "CREATE DATABASE still; USE still; CREATE TABLE t (a INT); INSERT INTO t VALUES (1); CREATE DATABASE busy",
    );
    let first = capture(of(server, &["still"])).unwrap();
    server.sql("CREATE TABLE busy.t (a INT); INSERT INTO busy.t VALUES (1)");
    let second = capture(of(server, &["still"])).unwrap();
    assert_ne!(first.facts["binary_log"], second.facts["binary_log"]);
    for name in ["databases/still.sql", VIEWS] {
        assert_eq!(text(&first, name), text(&second, name));
    }
}

/// Moves money between accounts of two databases, each time in one transaction, which adds a row.
fn move_money(server: &MariadbServer) -> Meanwhile {
    let mut client = server.client();
    Meanwhile::start(move |number| {
        let (from, to, amount) = (number * 7 % 100, number * 13 % 100, number % 17);
        let moving = format!(
            "START TRANSACTION; UPDATE bank_a.accounts SET money = money - {amount} WHERE id = {from}; \
             UPDATE bank_b.accounts SET money = money + {amount} WHERE id = {to}; \
             INSERT INTO bank_a.moves VALUES ({number}); INSERT INTO bank_b.moves VALUES ({number}); COMMIT; SELECT 1;"
        );
        client.ask(&moving);
    })
}

#[test]
fn twenty_snapshots_under_writes_are_each_one_state() {
    let Some(server) = servers::mariadb() else { return };
    for database in ["bank_a", "bank_b"] {
        server.sql(&format!(
            "CREATE DATABASE {database}; USE {database}; CREATE TABLE accounts (id INT PRIMARY KEY, money INT); \
             INSERT INTO accounts SELECT seq, 1000 FROM seq_0_to_99; CREATE TABLE moves (id INT PRIMARY KEY)"
        ));
    }
    let _writer = move_money(server);
    let scratch = scratch::Scratch::start(tools::Kind::Mariadb, "0", &Cancel::new()).unwrap();
    let mut session = scratch.server().session(&Cancel::new()).unwrap();
    let mut moves = Vec::new();
    for _ in 0..20 {
        let captured = capture(of(server, &["bank_*"])).unwrap();
        assert_eq!((&captured.problems, &captured.notes), (&vec![], &vec![]));
        let folder = tempfile::tempdir().unwrap();
        captured.restore(folder.path());
        for database in ["bank_a", "bank_b"] {
            scratch.load(&folder.path().join(format!("databases/{database}.sql")), &Cancel::new()).unwrap().unwrap();
        }
        let sum = "SELECT (SELECT SUM(money) FROM bank_a.accounts) + (SELECT SUM(money) FROM bank_b.accounts)";
        assert_eq!(session.ask_one(sum).unwrap(), "200000");
        let databases = ["bank_a".to_owned(), "bank_b".to_owned()];
        let held = inventory::count(&mut session, &databases, inventory::Rows::All).unwrap();
        assert_eq!(facts::of_databases(&held), captured.facts["databases"]);
        assert_eq!(held["bank_a"].tables["moves"], held["bank_b"].tables["moves"]);
        moves.push(held["bank_a"].tables["moves"]);
    }
    assert!(moves.windows(2).all(|pair| pair[0] < pair[1]), "nothing was written meanwhile: {moves:?}");
}

#[test]
fn who_may_not_do_all_gets_what_is_possible_and_is_told_the_rest() {
    let Some(server) = servers::mariadb() else { return };
    server.sql(
        "CREATE DATABASE rights; USE rights; CREATE TABLE seen (a INT); CREATE TABLE unseen (a INT); \
         INSERT INTO seen VALUES (1), (2); CREATE USER some@'%' IDENTIFIED BY 'word'; \
         GRANT SELECT, LOCK TABLES, TRIGGER, EVENT, SHOW VIEW ON rights.* TO some@'%'; \
         CREATE USER one@'%' IDENTIFIED BY 'word'; GRANT SELECT ON rights.seen TO one@'%'",
    );
    let captured = capture(by_port(server, "some", "word", &["rights"])).unwrap();
    assert_eq!(captured.facts["databases"]["rights"]["tables"], json!({"seen": 2, "unseen": 0}));
    assert_eq!(captured.facts.get("binary_log"), None);
    assert!(captured.problems[0].contains("there may be databases and tables that are not in the snapshot"));
    assert!(captured.problems[1].contains("its users are not in the snapshot"), "{:?}", captured.problems);
    // Who sees only some tables is told so, be the dump whole or not.
    match capture(by_port(server, "one", "word", &["rights"])) {
        Ok(captured) => assert!(captured.problems[0].contains("may not read everything"), "{:?}", captured.problems),
        Err(error) => assert!(error.to_string().contains("denied"), "{error}"),
    }
    let error = capture(by_port(server, "some", "wrong", &["rights"])).unwrap_err().to_string();
    assert!(error.contains("Access denied for user 'some'") && !error.contains("wrong"), "{error}");
    // By the port, with every right.
    let captured = capture(by_port(server, MariadbServer::USER, MariadbServer::PASSWORD, &["rights"])).unwrap();
    assert_eq!(captured.problems, [""; 0]);
}

#[test]
fn what_the_last_snapshot_had_and_this_one_lacks_is_told() {
    let Some(server) = servers::mariadb() else { return };
    for name in ["lost_kept", "lost_emptied", "lost_gone"] {
        server.sql(&format!("CREATE DATABASE {name}; USE {name}; CREATE TABLE t AS SELECT seq FROM seq_1_to_1000"));
    }
    let source = MysqlSource::new(of(server, &["lost_*"])).unwrap();
    let first = Setup::default().capture(&source).unwrap();
    server.sql("DELETE FROM lost_emptied.t WHERE seq > 400; DROP DATABASE lost_gone");
    let after = |facts: &Facts| {
        let setup = Setup { previous: Some(facts.clone()), ..Setup::default() };
        setup.capture(&source).unwrap()
    };
    let second = after(&first.facts);
    assert_eq!(second.problems.len(), 2, "{:?}", second.problems);
    assert!(second.problems[0].starts_with("lost_emptied: has 400 rows, and had 1000"), "{:?}", second.problems);
    assert!(second.problems[1].starts_with("lost_gone: was in the last snapshot"), "{:?}", second.problems);
    assert_eq!(after(&second.facts).problems.len(), 2, "it is told until it is made good");
    let lenient = MysqlSource::new(DatabaseOptions { max_shrink_percent: 60, ..of(server, &["lost_*"]) }).unwrap();
    let setup = Setup { previous: Some(first.facts), ..Setup::default() };
    assert_eq!(setup.capture(&lenient).unwrap().problems.len(), 1, "what may be lost is a setting");
}

#[test]
fn databases_that_are_not_there_are_named() {
    let Some(server) = servers::mariadb() else { return };
    let captured = capture(of(server, &["nowhere"])).unwrap();
    assert!(captured.problems[0].contains("nowhere: there is no such database"), "{:?}", captured.problems);
    assert!(captured.problems[1].contains("it has no database to be captured"), "{:?}", captured.problems);
    let nobody = ServerAt::Url(format!("mysql://127.0.0.1:{}", servers::free_port()));
    let error = capture(DatabaseOptions { server: nobody, ..of(server, &[]) }).unwrap_err().to_string();
    assert!(error.contains("Can't connect to"), "{error}");
}

/// A folder with the real client, and this as the dump tool.
fn with_dump_tool(server: &MariadbServer, script: &str, databases: &[&str]) -> (tempfile::TempDir, DatabaseOptions) {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/usr/bin/mariadb", folder.path().join("mariadb")).unwrap();
    let tool = folder.path().join("mariadb-dump");
    let version = "case \"$*\" in --version) exec /usr/bin/mariadb-dump --version;; esac";
    std::fs::write(&tool, format!("#!/bin/sh\n{version}\n{script}\n")).unwrap();
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    let options = DatabaseOptions { tools: Some(folder.path().to_owned()), ..of(server, databases) };
    (folder, options)
}

#[test]
fn a_tool_that_does_not_do_its_work_is_noticed() {
    let Some(server) = servers::mariadb() else { return };
    server.sql("CREATE DATABASE tool; USE tool; CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2)");
    let told = |script: &str| {
        let (_folder, options) = with_dump_tool(server, script, &["tool"]);
        capture(options).unwrap_err().to_string()
    };
    assert_eq!(told("exit 0"), "mariadb-dump printed nothing");
    let early = "mariadb-dump gave a dump that ends early: its last line is not `-- Dump completed`";
    assert_eq!(told("/usr/bin/mariadb-dump \"$@\" | head -n 40"), early);
    assert_eq!(told("/usr/bin/mariadb-dump \"$@\" | grep -v 'Dump completed'"), early);
    let fewer = told("/usr/bin/mariadb-dump \"$@\" | sed 's/^(1),$//'");
    assert_eq!(fewer, "table tool.t has 2 rows as the server counts them, and the dump has 1");
    let complained = told("/usr/bin/mariadb-dump \"$@\"; echo 'mysqldump: Got error: 1: x' >&2");
    assert!(complained.contains("ended as if all were well; it said: mysqldump: Got error: 1"), "{complained}");
    assert!(told("echo no >&2; exit 3").contains("ended with exit code 3; it said: no"));
    let (folder, options) = with_dump_tool(server, "exit 0", &["tool"]);
    std::fs::write(
        folder.path().join("mariadb-dump"),
        "#!/bin/sh\necho mariadb-dump  Ver 10.19 Distrib 5.5.68-MariaDB, for Linux",
    )
    .unwrap();
    let old = capture(options).unwrap_err().to_string();
    assert!(old.contains("takes a dump tool of MariaDB 10") && old.contains("and here is"), "{old}");
}

#[test]
fn a_server_that_is_killed_in_between_leaves_no_whole_dump() {
    if servers::mariadb().is_none() {
        return;
    }
    let server = MariadbServer::start(&[]).unwrap();
    server.sql(
        "CREATE DATABASE large; USE large; CREATE TABLE t (a LONGTEXT); \
         INSERT INTO t SELECT REPEAT(MD5(seq), 30000) FROM seq_1_to_40",
    );
    let source = MysqlSource::new(of(&server, &["large"])).unwrap();
    let setup = Setup::default();
    let mut capture = setup.open(&source).unwrap();
    let mut stream = next_stream(&mut *capture);
    stream.read_exact(&mut [0; 100_000]).unwrap();
    kill_process(Pid::from_raw(server.pid).unwrap(), Signal::KILL).unwrap();
    let error = stream.read_to_end(&mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("mariadb-dump"), "{error}");
    while capture.next().unwrap().is_some() {}
    assert!(capture.finish().is_err());
}

#[test]
fn changes_are_held_up_no_longer_than_until_the_dump_has_begun() {
    let Some(server) = servers::mariadb() else { return };
    server.sql(
        "CREATE DATABASE held; USE held; CREATE TABLE t (a LONGTEXT); \
         INSERT INTO t SELECT REPEAT(MD5(seq), 30000) FROM seq_1_to_20",
    );
    let source = MysqlSource::new(of(server, &["held"])).unwrap();
    let setup = Setup::default();
    let mut capture = setup.open(&source).unwrap();
    // Nothing was read yet, and this is not held up.
    server.sql("INSERT INTO held.t VALUES ('late')");
    while let Some(item) = capture.next().unwrap() {
        if let Item::Entry(entry) = item
            && let Data::Stream(mut stream) = entry.data
        {
            stream.read_to_end(&mut Vec::new()).unwrap();
        }
    }
    assert_eq!(capture.finish().unwrap()["databases"]["held"]["tables"]["t"], 20);
}

#[test]
fn a_dump_that_takes_long_to_begin_holds_nobody_up_for_long() {
    if servers::mariadb().is_none() {
        return;
    }
    // One of its own, since everybody on it is held up.
    let server = MariadbServer::start(&[]).unwrap();
    server.sql("CREATE DATABASE slow; USE slow; CREATE TABLE t (a INT); INSERT INTO t VALUES (1)");
    let (folder, options) =
        with_dump_tool(&server, "echo > $(dirname $0)/begun; sleep 12; exec /usr/bin/mariadb-dump \"$@\"", &["slow"]);
    let begun = folder.path().join("begun");
    let waited = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            while !begun.exists() {
                std::thread::sleep(Duration::from_millis(10));
            }
            let start = Instant::now();
            server.sql("INSERT INTO slow.t VALUES (2)");
            start.elapsed()
        });
        assert_eq!(capture(options).unwrap().facts["databases"]["slow"]["tables"]["t"], 2);
        writer.join().unwrap()
    });
    assert!(waited > Duration::from_secs(2), "nothing was held up: {waited:?}");
    assert!(waited < Duration::from_secs(9), "held up for {waited:?}");
}

#[test]
fn a_server_in_a_container_is_dumped_with_the_tools_of_the_container_and_what_it_knows() {
    let (Some(server), Some(docker)) = (servers::mariadb(), servers::docker()) else { return };
    server.sql("CREATE DATABASE contained; USE contained; CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2)");
    // This machine's programs, and the socket of the server where they look for it.
    let socket = format!("{}:/run/mysqld", server.folder.display());
    let mut options: Vec<&str> =
        ["/usr:/usr:ro", "/lib:/lib:ro", "/lib64:/lib64:ro", &socket].iter().flat_map(|at| ["-v", at]).collect();
    options.extend(
        ["PATH=/usr/bin:/bin", "MARIADB_USER=backup", "MARIADB_PASSWORD=secret"].iter().flat_map(|set| ["-e", set]),
    );
    let name = docker.name();
    docker.run(&name, &options);
    let options = || DatabaseOptions {
        server: ServerAt::Container(ContainerName::Container(name.clone())),
        user: None,
        engine: EngineAddress::at(&docker.socket),
        ..of(server, &["contained"])
    };
    let captured = capture(options()).unwrap();
    assert_eq!(captured.problems, [""; 0]);
    assert_eq!(captured.facts["databases"]["contained"]["tables"], json!({"t": 2}));
    assert_eq!(
        text(&captured, "databases/contained.sql"),
        text(&capture(of(server, &["contained"])).unwrap(), "databases/contained.sql")
    );
    let wanted = Wanted { rename: Some("contained_again".to_owned()), ..Wanted::default() };
    let folder = tempfile::tempdir().unwrap();
    captured.restore(folder.path());
    MysqlRestore { into: options(), wanted }.run(folder.path(), &captured.facts, &Cancel::new()).unwrap();
    assert_eq!(server.sql("SELECT SUM(a) FROM contained_again.t"), "3");
    docker.docker(&["stop", &name]);
    assert_eq!(capture(options()).unwrap_err().to_string(), format!("container {name} does not run: start it"));
}
