//! Who waits for whom: the server for whoever takes its dump, and we for nobody without a limit.

use super::*;

/// Takes all that a capture gives.
fn read_all(capture: &mut dyn Capture) {
    while let Some(item) = capture.next().unwrap() {
        if let Item::Entry(entry) = item
            && let Data::Stream(mut stream) = entry.data
        {
            stream.read_to_end(&mut Vec::new()).unwrap();
        }
    }
}

#[test]
fn a_dump_that_waits_for_its_turn_longer_than_the_server_would_is_whole() {
    if servers::mariadb().is_none() {
        return;
    }
    let server = MariadbServer::start(&["--net-write-timeout=2"]).unwrap();
    server.sql(
        "CREATE DATABASE waiting; USE waiting; CREATE TABLE t (a LONGTEXT); \
         INSERT INTO t SELECT REPEAT(MD5(seq), 30000) FROM seq_1_to_60",
    );
    // A server hangs up on a client that was not told to be waited for; else this test shows nothing.
    let plain = format!(
        "mariadb-dump --no-defaults --socket={} --user=root --quick waiting | (sleep 6; tail -n 1)",
        server.socket().display()
    );
    let printed = std::process::Command::new("sh").args(["-c", &plain]).output().unwrap();
    assert!(!String::from_utf8_lossy(&printed.stdout).contains("Dump completed"), "the server waits for anybody");
    for options in
        [of(&server, &["waiting"]), by_port(&server, MariadbServer::USER, MariadbServer::PASSWORD, &["waiting"])]
    {
        let source = MysqlSource::new(options).unwrap();
        let setup = Setup::default();
        let mut capture = setup.open(&source).unwrap();
        std::thread::sleep(Duration::from_secs(6));
        read_all(&mut *capture);
        assert_eq!(capture.finish().unwrap()["databases"]["waiting"]["tables"]["t"], 60);
    }
}

/// A server that says it is a MySQL, and tools that do. What the dump tool was told lies in the file `words` of the folder.
pub(super) fn mysql_of_sorts() -> Option<(MariadbServer, tempfile::TempDir)> {
    servers::mariadb()?;
    let server = MariadbServer::start(&["--version=8.0.36-log"]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let script = "#!/bin/bash\ncase \"$*\" in --version) echo 'mysqldump  Ver 8.0.36 for Linux on x86_64'; exit;; esac\n\
        echo \"$*\" > $(dirname $0)/words\nwords=()\n\
        for word; do case $word in --set-gtid-purged=*|--column-statistics=*) ;; *) words+=(\"$word\");; esac; done\n\
        exec /usr/bin/mariadb-dump \"${words[@]}\"\n";
    let tool = folder.path().join("mysqldump");
    std::fs::write(&tool, script).unwrap();
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("/usr/bin/mariadb", folder.path().join("mariadb")).unwrap();
    Some((server, folder))
}

#[test]
fn the_tool_of_mysql_is_not_asked_for_the_place_in_the_log_since_it_would_lock_the_server() {
    let Some((server, folder)) = mysql_of_sorts() else { return };
    server.sql("CREATE DATABASE placed; USE placed; CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2)");
    let options = DatabaseOptions { tools: Some(folder.path().to_owned()), ..of(&server, &["placed"]) };
    let captured = capture(options).unwrap();
    assert_eq!(captured.facts["server"]["kind"], "MySQL");
    let words = std::fs::read_to_string(folder.path().join("words")).unwrap();
    assert!(!words.contains("-data=2") && words.contains("--set-gtid-purged=OFF"), "{words}");
    let place = server.sql("SHOW MASTER STATUS");
    let (file, rest) = place.split_once('\t').unwrap();
    let log = &captured.facts["binary_log"];
    assert_eq!((&log["file"], log["position"].as_u64()), (&json!(file), rest.split('\t').next().unwrap().parse().ok()));
    assert_eq!(captured.facts["databases"]["placed"]["tables"], json!({"t": 2}));
}

#[test]
fn who_changes_something_for_long_holds_up_neither_the_backup_nor_others() {
    let Some((server, folder)) = mysql_of_sorts() else { return };
    server.sql("CREATE DATABASE busy_for_long; USE busy_for_long; CREATE TABLE t (a INT); CREATE TABLE other (a INT)");
    let mut writer = server.client();
    // Nobody can lock all tables until this one is let go.
    writer.ask("LOCK TABLES busy_for_long.t WRITE; SELECT 1;");
    let options = DatabaseOptions { tools: Some(folder.path().to_owned()), ..of(&server, &["busy_for_long"]) };
    let (captured, waited) = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(500));
            let start = Instant::now();
            server.sql("INSERT INTO busy_for_long.other VALUES (1)");
            start.elapsed()
        });
        let release = scope.spawn(|| {
            std::thread::sleep(Duration::from_secs(15));
            writer.ask("UNLOCK TABLES; SELECT 1;");
        });
        let captured = capture(options);
        release.join().unwrap();
        (captured.unwrap(), other.join().unwrap())
    });
    assert!(waited < Duration::from_secs(9), "others waited for {waited:?}");
    assert_eq!(captured.facts.get("binary_log"), None);
    let told = captured.notes.iter().any(|note| note.contains("how far the log of changes had come is not known"));
    assert!(told, "{:?}", captured.notes);
}
