//! Captures of a server's files while it writes them.

use super::*;
use crate::source::Place;

fn source(folder: &Path) -> RedisFilesSource {
    RedisFilesSource::new(RedisFilesOptions {
        files: Place::Host(folder.to_owned()),
        max_shrink_percent: 50,
        engine: EngineAddress::default(),
    })
}

fn capture_files(folder: &Path) -> Result<Captured, SourceError> {
    Setup::default().capture(&source(folder))
}

fn paths(captured: &Captured) -> Vec<&str> {
    captured.entries.iter().map(|entry| entry.path.to_str().unwrap()).collect()
}

fn examined(captured: &Captured) -> Facts {
    let folder = tempfile::tempdir().unwrap();
    captured.restore(folder.path());
    examine(folder.path(), &captured.facts, &Cancel::new()).unwrap()
}

/// What is written is in the log before anybody hears of it.
const APPENDING: [&str; 6] = ["--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"];

#[test]
fn a_log_is_one_state_at_any_time_also_while_it_is_written_anew() {
    let Some(server) = servers::redis(&APPENDING) else { return };
    server.run("EVAL \"for i = 0, 99 do redis.call('SET', 'account' .. i, 1000) end\" 0\nSET moves 0");
    let _writer = move_money(&server);
    let mut moves = Vec::new();
    for number in 0..20 {
        if number % 4 == 1 {
            server.run("BGREWRITEAOF");
        }
        let captured = capture_files(&server.folder).unwrap();
        let folder = tempfile::tempdir().unwrap();
        captured.restore(folder.path());
        let dir = folder.path().display().to_string();
        let strict = ["--dir", &dir, "--aof-load-truncated", "no"];
        let again = servers::redis(&[&APPENDING[..], &strict].concat()).unwrap();
        let sum = "local sum = 0 for i = 0, 99 do sum = sum + redis.call('GET', 'account' .. i) end return sum";
        assert_eq!(again.run(&format!("EVAL_RO \"{sum}\" 0")), "100000");
        moves.push(again.run("GET moves").parse::<u64>().unwrap());
    }
    assert!(moves.windows(2).all(|pair| pair[0] < pair[1]), "nothing was written meanwhile: {moves:?}");
}

#[test]
fn a_dump_and_a_log_come_back_and_are_counted_and_damage_is_found() {
    let Some(server) = servers::redis(&APPENDING) else { return };
    server.run(EVERYTHING);
    server.run("SELECT 3\nSAVE\nSET late 1");
    let captured = capture_files(&server.folder).unwrap();
    assert_eq!((&captured.problems, &captured.notes), (&vec![], &vec![]));
    let manifest = "appendonlydir/appendonly.aof.manifest";
    let last = "appendonlydir/appendonly.aof.1.incr.aof";
    let expected = ["appendonlydir", "appendonlydir/appendonly.aof.1.base.rdb", last, manifest, DUMP];
    assert_eq!(paths(&captured), expected);
    assert_eq!(captured.facts["databases"]["3"], json!({"keys": 1, "expiring": 1}));
    let log = &captured.facts["log"];
    assert!(log[last]["commands"].as_u64().unwrap() > 20, "{log}");
    assert_eq!(examined(&captured), captured.facts);
    let claims = source(&server.folder).claims(&Cancel::new()).unwrap();
    assert_eq!(claims, [server.folder.join(DUMP), server.folder.join("appendonlydir")].into());
    // A server on what was restored has the same.
    let folder = tempfile::tempdir().unwrap();
    captured.restore(folder.path());
    let dir = folder.path().display().to_string();
    let again = servers::redis(&[&APPENDING[..], &["--dir", &dir]].concat()).unwrap();
    assert_eq!(again.run("DEBUG DIGEST"), server.run("DEBUG DIGEST"));
    drop(again);
    let folder = tempfile::tempdir().unwrap();
    captured.restore(folder.path());
    let examined = || examine(folder.path(), &captured.facts, &Cancel::new()).unwrap();
    let bytes = std::fs::read(folder.path().join(last)).unwrap();
    std::fs::write(folder.path().join(last), &bytes[..bytes.len() - 5]).unwrap();
    assert!(examined()["error"].as_str().unwrap().contains("it ends early"));
    let mut damaged = bytes.clone();
    let at = memchr::memmem::find(&bytes, b"RPUSH").unwrap();
    damaged[at + 4] = b'X';
    std::fs::write(folder.path().join(last), damaged).unwrap();
    assert!(examined()["error"].as_str().unwrap().contains("a scratch server"), "{:?}", examined());
    std::fs::remove_file(folder.path().join(last)).unwrap();
    assert_ne!(examined(), captured.facts);
}

#[test]
fn a_log_that_is_damaged_at_its_end_is_found_however_long_it_takes_to_load() {
    let Some(server) = servers::redis(&["--appendonly", "yes", "--auto-aof-rewrite-percentage", "0"]) else { return };
    server.run("EVAL \"for i = 1, 300000 do redis.call('SET', 'key' .. i, i) end\" 0\nCONFIG SET appendfsync always\nINCR last");
    let captured = capture_files(&server.folder).unwrap();
    let folder = tempfile::tempdir().unwrap();
    captured.restore(folder.path());
    let log = folder.path().join("appendonlydir/appendonly.aof.1.incr.aof");
    let mut bytes = std::fs::read(&log).unwrap();
    let at = memchr::memmem::rfind(&bytes, b"INCR").unwrap();
    bytes[at] = b'X';
    std::fs::write(&log, bytes).unwrap();
    let found = examine(folder.path(), &captured.facts, &Cancel::new()).unwrap();
    assert!(found["error"].as_str().unwrap().contains("a scratch server"), "{:?}", found["error"]);
}

#[test]
fn a_log_goes_back_into_a_running_server() {
    let (Some(server), Some(other)) = (servers::redis(&APPENDING), servers::redis(&[])) else { return };
    server.run(EVERYTHING);
    // Older than the log, so that a server does not even look at it.
    server.run("SAVE\nSELECT 3\nSET late 1");
    let captured = capture_files(&server.folder).unwrap();
    let folder = tempfile::tempdir().unwrap();
    captured.restore(folder.path());
    let restore = |wanted: Wanted| {
        let restore = RedisRestore { into: options(&other), wanted };
        let files = restore.files(&captured.facts)?;
        assert!(files.iter().all(|file| folder.path().join(file).exists() && file != Path::new(DUMP)), "{files:?}");
        restore.run(folder.path(), &captured.facts, &Cancel::new())
    };
    let restored = restore(Wanted::default()).unwrap();
    assert_eq!((restored.databases.len(), restored.problems), (3, vec![]));
    for one in &restored.databases {
        let (recorded, found) = one.counted.clone().unwrap();
        assert_eq!(found, recorded, "{}", one.name);
    }
    assert_eq!(other.run("DEBUG DIGEST"), server.run("DEBUG DIGEST"));
    let gone = Wanted { databases: vec!["7".to_owned()], ..Wanted::default() };
    let error = restore(gone).unwrap_err().to_string();
    assert_eq!(error, "database 7 is not in the snapshot, which has: 0, 15, 3");
    let error = restore(Wanted::default()).unwrap_err().to_string();
    assert!(error.contains("database 0 has 20 keys"), "{error}");
    let log = folder.path().join("appendonlydir/appendonly.aof.1.incr.aof");
    let bytes = std::fs::read(&log).unwrap();
    std::fs::write(&log, &bytes[..bytes.len() - 5]).unwrap();
    let error = restore(Wanted::default()).unwrap_err().to_string();
    assert!(error.contains("a scratch server"), "{error}");
}

#[test]
fn a_dump_alone_is_captured_whatever_it_is_called_and_a_loss_is_told() {
    let Some(server) = servers::redis(&["--dbfilename", "mine.rdb"]) else { return };
    server.run("EVAL \"for i = 1, 200 do redis.call('SET', i, i) end\" 0\nSAVE");
    let first = capture_files(&server.folder).unwrap();
    assert_eq!(paths(&first), [DUMP]);
    assert_eq!(first.facts["databases"], json!({"0": {"keys": 200, "expiring": 0}}));
    assert_eq!(examined(&first), first.facts);
    server.run("FLUSHALL\nSET a 1\nSAVE");
    let setup = Setup { previous: Some(first.facts.clone()), ..Setup::default() };
    let second = setup.capture(&source(&server.folder)).unwrap();
    assert!(second.problems[0].contains("has 1 keys that do not expire, and had 200"), "{:?}", second.problems);
    // It goes back into a running server like one that was asked for.
    let folder = tempfile::tempdir().unwrap();
    first.restore(folder.path());
    let restore = RedisRestore { into: options(&server), wanted: Wanted { replace: true, ..Wanted::default() } };
    restore.run(folder.path(), &first.facts, &Cancel::new()).unwrap();
    assert_eq!(server.run("DBSIZE"), "201");
    let dump = server.folder.join("mine.rdb");
    let bytes = std::fs::read(&dump).unwrap();
    std::fs::write(&dump, &bytes[..bytes.len() - 3]).unwrap();
    let error = capture_files(&server.folder).unwrap_err().to_string();
    assert!(error.contains("mine.rdb gave no whole dump: it ends early"), "{error}");
}
