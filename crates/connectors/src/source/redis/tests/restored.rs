//! Restores into a running server: all of it, one database, in the place of what is there.

use super::*;
use crate::source::Restored;

fn run(server: &RedisServer, wanted: Wanted, captured: &Captured) -> Result<Restored, SourceError> {
    let folder = tempfile::tempdir().unwrap();
    captured.restore(folder.path());
    let job = RedisRestore { into: options(server), wanted };
    let needed = job.files(&captured.facts)?;
    assert!(needed.iter().all(|file| folder.path().join(file).exists()), "{needed:?}");
    job.run(folder.path(), &captured.facts, &Cancel::new())
}

/// Every count is as it was backed up, of so many databases.
fn assert_equal(restored: &Restored, databases: usize) {
    assert_eq!((restored.databases.len(), restored.problems.as_slice()), (databases, &[][..]));
    for one in &restored.databases {
        let (recorded, found) = one.counted.clone().unwrap();
        assert_eq!((found, one.problems.as_slice()), (recorded, &[][..]), "{}", one.name);
    }
}

#[test]
fn everything_comes_back_key_by_key() {
    let (Some(server), Some(other)) = (servers::redis(&[]), servers::redis(&[])) else { return };
    server.run(EVERYTHING);
    server.run("ACL SETUSER extra on >secret ~* +@read");
    let captured = capture(options(&server)).unwrap();
    let restored = run(&other, Wanted::default(), &captured).unwrap();
    assert_equal(&restored, 3);
    let note = "the server lacks the users extra; they are in users.acl of the snapshot, each a line for ACL SETUSER or for \
                its aclfile";
    assert_eq!(restored.notes, [note]);
    for ask in ["DEBUG DIGEST", "FUNCTION LIST", "XPENDING stream readers", "PEXPIRETIME soon"] {
        assert_eq!(other.run(ask), server.run(ask), "{ask}");
    }
    // Nothing is written over unasked.
    let error = run(&other, Wanted::default(), &captured).unwrap_err().to_string();
    assert!(error.contains("database 0 has 20 keys: restore into another with --as NUMBER"), "{error}");
    other.run("SET text other\nRPUSH list d\nDEL long");
    let replacing = Wanted { replace: true, ..Wanted::default() };
    assert_equal(&run(&other, replacing.clone(), &captured).unwrap(), 3);
    assert_eq!(other.run("DEBUG DIGEST"), server.run("DEBUG DIGEST"));
    other.run("SET mine 1");
    let restored = run(&other, replacing, &captured).unwrap();
    assert_eq!(restored.databases[0].counted.clone().unwrap().1["keys"], 21, "what is not in the snapshot stays");
    // A library of functions that is there already is not written over either.
    other.run("FLUSHALL");
    let restored = run(&other, Wanted::default(), &captured).unwrap();
    assert!(restored.problems[0].starts_with("a library of functions was not taken: "), "{restored:?}");
}

#[test]
fn one_database_comes_back_under_another_number_and_through_redis_cli_as_well() {
    let (Some(server), Some(other)) = (servers::redis(&[]), servers::redis(&[])) else { return };
    server.run(EVERYTHING);
    let captured = capture(options(&server)).unwrap();
    let one = Wanted { databases: vec!["3".to_owned()], rename: Some("7".to_owned()), ..Wanted::default() };
    assert_equal(&run(&other, one.clone(), &captured).unwrap(), 1);
    assert_eq!(other.run("SELECT 7\nGET elsewhere"), "OK\nx");
    let folder = tempfile::tempdir().unwrap();
    captured.restore(folder.path());
    let words = ["redis-server", "--port", &other.port.to_string()].map(str::to_owned);
    let there = Server::in_container(Stage::Here, Login::default(), &BTreeMap::new(), &words);
    let job = RedisRestore { into: options(&other), wanted: Wanted::default() };
    let run_into = |job: &RedisRestore| job.run_into(&there, folder.path(), &captured.facts, &Cancel::new());
    assert_equal(&run_into(&job).unwrap(), 3);
    other.run("SELECT 7\nFLUSHDB");
    assert_eq!(other.run("DEBUG DIGEST"), server.run("DEBUG DIGEST"));
    let error = run_into(&job).unwrap_err().to_string();
    assert!(error.contains("has 20 keys"), "{error}");
    for (wrong, told) in [
        (Wanted { rename: Some("x".to_owned()), ..one.clone() }, "x is no database of a Redis: give its number"),
        (
            Wanted { databases: vec!["4".to_owned()], ..one.clone() },
            "database 4 is not in the snapshot, which has: 0, 15, 3",
        ),
        (
            Wanted { tables: vec!["t".to_owned()], ..one.clone() },
            "a Redis has no tables: name a database by its number",
        ),
    ] {
        assert_eq!(run(&other, wrong, &captured).unwrap_err().to_string(), told);
    }
    let beyond = Wanted { rename: Some("99".to_owned()), ..one };
    let error = run(&other, beyond, &captured).unwrap_err().to_string();
    assert!(error.contains("has no database 99 for us: ERR DB index is out of range"), "{error}");
}

#[test]
fn who_may_not_restore_is_told_what_to_allow_and_that_is_enough() {
    let (Some(server), Some(other)) = (servers::redis(&[]), servers::redis(&[])) else { return };
    server.run(EVERYTHING);
    let captured = capture(options(&server)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    captured.restore(folder.path());
    let restore = || {
        let job = RedisRestore { into: with_login(&other, Some("restorer"), "word"), wanted: Wanted::default() };
        job.run(folder.path(), &captured.facts, &Cancel::new())
    };
    // From the first question on, and where it may all but send keys.
    for allowed in ["+info", "+select +info +time"] {
        other.run(&format!("ACL SETUSER restorer reset on >word {allowed}"));
        let error = restore().unwrap_err().to_string();
        assert!(error.contains("NOPERM"), "{error}");
        let (_, hint) = error.split_once("let the user restore: ").unwrap();
        let (allow, more) = hint.split_once(", and from Redis 7 on ").unwrap();
        other.run(&format!("{allow} {more}"));
        assert_equal(&restore().unwrap(), 3);
        other.run("FLUSHALL\nFUNCTION FLUSH");
    }
}

#[test]
fn keys_whose_time_is_over_are_told_of_and_what_is_not_taken_is_named() {
    let (Some(server), Some(other)) = (servers::redis(&[]), servers::redis(&[])) else { return };
    server.run("SET stays 1\nSET goes 1 PX 1500\nSET later 1 EX 1000");
    let mut captured = capture(options(&server)).unwrap();
    std::thread::sleep(Duration::from_millis(1600));
    let restored = run(&other, Wanted::default(), &captured).unwrap();
    assert_equal(&restored, 1);
    assert_eq!(restored.databases[0].counted.clone().unwrap().1, json!({"keys": 2, "expiring": 1}));
    assert_eq!(restored.notes, ["database 0: keys that are not there since their time is over: 1"]);
    let replica = servers::redis(&["--replicaof", "127.0.0.1", "1"]).unwrap();
    let error = run(&replica, Wanted::default(), &captured).unwrap_err().to_string();
    assert!(error.contains("READONLY") && error.ends_with("restore into its master"), "{error}");
    // A dump of a later version of the format.
    let dump = &mut captured.entries.iter_mut().find(|entry| entry.path == Path::new(DUMP)).unwrap().bytes;
    dump.splice(5..9, *b"0077");
    let end = dump.len() - 8;
    let sum = crc64::crc64(0, &dump[..end]).to_le_bytes();
    dump[end..].copy_from_slice(&sum);
    let error = run(&servers::redis(&[]).unwrap(), Wanted::default(), &captured).unwrap_err().to_string();
    assert!(error.ends_with("so restore into one of that version"), "{error}");
}

#[test]
fn a_value_of_two_hundred_megabytes_comes_back() {
    let (Some(server), Some(other)) = (servers::redis(&[]), servers::redis(&[])) else { return };
    server.run("CONFIG SET rdbcompression no\nSETRANGE large 209715200 x\nSET small 1");
    let captured = capture(options(&server)).unwrap();
    assert_equal(&run(&other, Wanted::default(), &captured).unwrap(), 1);
    assert_eq!(other.run("STRLEN large\nGETRANGE large 209715200 -1\nGET small"), "209715201\nx\n1");
}
