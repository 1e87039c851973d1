mod encrypted;
mod files;
mod restored;

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use servers::{Meanwhile, RedisServer};
use zeroize::Zeroizing;

use super::*;
use crate::containers::ContainerName;
use crate::source::testing::{Captured, Setup, next_stream};
use crate::source::{IntoServer as _, RedisRestore, Wanted};

fn options(server: &RedisServer) -> RedisOptions {
    let url = format!("redis://127.0.0.1:{}", server.port);
    RedisOptions {
        server: ServerAt::Url(url),
        user: None,
        password: None,
        max_shrink_percent: 50,
        engine: EngineAddress::default(),
    }
}

fn with_login(server: &RedisServer, user: Option<&str>, password: &'static str) -> RedisOptions {
    let password: Password = Arc::new(move || Ok(Zeroizing::new(password.to_owned())));
    RedisOptions { user: user.map(str::to_owned), password: Some(password), ..options(server) }
}

fn capture(options: RedisOptions) -> Result<Captured, SourceError> {
    Setup::default().capture(&RedisSource::new(options).unwrap())
}

fn bytes<'a>(captured: &'a Captured, name: &str) -> &'a [u8] {
    &captured.entries.iter().find(|entry| entry.path == Path::new(name)).unwrap().bytes
}

/// A server that has loaded what was captured. It throws nothing away whose time is over.
fn restored(captured: &Captured) -> RedisServer {
    let folder = tempfile::tempdir().unwrap();
    captured.restore(folder.path());
    let dir = folder.path().display().to_string();
    servers::redis(&["--dir", &dir, "--dbfilename", DUMP, "--replicaof", "127.0.0.1", "1"]).unwrap()
}

/// Something of every type that Redis 7 has, small and large, in several databases.
const EVERYTHING: &str = r##"
SET text "a value"
SET number 1234567
SET negative -5
SETRANGE zeros 100000 x
SET expiring soon PX 3600000
SET "odd\n\x00\xff key" "\x00\xff"
RPUSH list a b c
EVAL "for i = 1, 3000 do redis.call('RPUSH', 'long', string.rep('x', i % 90) .. i) end" 0
SADD numbers 1 2 3
SADD words a b 3
EVAL "for i = 1, 3000 do redis.call('SADD', 'many', 'member' .. i) end" 0
HSET hash a 1 b 2
EVAL "for i = 1, 3000 do redis.call('HSET', 'fields', 'field' .. i, string.rep('y', 70)) end" 0
ZADD sorted 1.5 a -inf b inf c
EVAL "for i = 1, 3000 do redis.call('ZADD', 'scores', i / 3, 'member' .. i) end" 0
PFADD counted a b c
GEOADD places 13.361389 38.115556 Palermo
SETBIT bits 100 1
XADD stream * field value
EVAL "for i = 1, 500 do redis.call('XADD', 'stream', '*', 'number', i, 'text', string.rep('z', i)) end" 0
XGROUP CREATE stream readers 0
XREADGROUP GROUP readers someone COUNT 5 STREAMS stream >
XADD trimmed MAXLEN 1 * a 1
XADD trimmed MAXLEN 1 * b 2
FUNCTION LOAD "#!lua name=lib\nredis.register_function('f', function() return 1 end)"
SELECT 3
SET elsewhere x
EXPIREAT elsewhere 4102444800
SELECT 15
HSET last a b
"##;

#[test]
fn everything_that_redis_has_is_counted_and_comes_back() {
    let Some(server) = servers::redis(&[]) else { return };
    server.run(EVERYTHING);
    let captured = capture(options(&server)).unwrap();
    assert_eq!(captured.problems, [""; 0]);
    assert_eq!(captured.notes, [""; 0]);
    let names: Vec<_> = captured.entries.iter().map(|entry| entry.path.to_str().unwrap()).collect();
    assert_eq!(names, [DUMP, USERS]);
    let databases = json!({
        "0": {"keys": 20, "expiring": 1}, "3": {"keys": 1, "expiring": 1}, "15": {"keys": 1, "expiring": 0},
    });
    assert_eq!(captured.facts["databases"], databases);
    let types = json!({"string": 9, "list": 2, "set": 3, "hash": 3, "zset": 3, "stream": 2});
    assert_eq!(captured.facts["types"], types);
    assert_eq!((&captured.facts["functions"], &captured.facts["users"]), (&json!(1), &json!(1)));
    assert_eq!(captured.facts["server"]["name"], "redis");
    assert!(captured.facts["position"]["offset"].is_u64());
    assert!(captured.facts["dump"]["checksum"].is_string());
    let users = std::str::from_utf8(bytes(&captured, USERS)).unwrap();
    assert!(users.starts_with("user default on nopass"), "{users}");
    let folder = tempfile::tempdir().unwrap();
    captured.restore(folder.path());
    assert_eq!(examine(folder.path(), &captured.facts, &Cancel::new()).unwrap(), captured.facts);
    let again = restored(&captured);
    for ask in ["DEBUG DIGEST", "FUNCTION LIST", "XPENDING stream readers", "ZRANGE sorted 0 -1 WITHSCORES"] {
        assert_eq!(again.run(ask), server.run(ask), "{ask}");
    }
}

#[test]
fn what_is_missing_or_damaged_in_what_comes_back_is_found() {
    let Some(server) = servers::redis(&[]) else { return };
    server.run("SET a 1\nSET b 2\nACL SETUSER extra on >secret ~* +@read");
    let captured = capture(options(&server)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    captured.restore(folder.path());
    let examined = || examine(folder.path(), &captured.facts, &Cancel::new()).unwrap();
    assert_eq!(examined(), captured.facts);
    let users = std::str::from_utf8(bytes(&captured, USERS)).unwrap();
    assert!(users.contains("user extra on #") && !users.contains("secret"), "{users}");
    std::fs::write(folder.path().join(USERS), "user default on nopass\n").unwrap();
    assert_ne!(examined(), captured.facts);
    std::fs::write(folder.path().join(USERS), users).unwrap();
    let dump = bytes(&captured, DUMP);
    std::fs::write(folder.path().join(DUMP), &dump[..dump.len() - 1]).unwrap();
    assert!(examined()["error"].as_str().unwrap().starts_with("it ends early"));
    let mut flipped = dump.to_vec();
    flipped[dump.len() / 2] ^= 1;
    std::fs::write(folder.path().join(DUMP), flipped).unwrap();
    assert!(examined()["error"].is_string());
    std::fs::remove_file(folder.path().join(DUMP)).unwrap();
    assert_eq!(examined()["error"], "it is missing");
}

#[test]
fn keys_whose_time_ends_after_the_snapshot_are_in_it() {
    let Some(server) = servers::redis(&[]) else { return };
    server.run("SET stays 1\nSET goes 1 PX 1500");
    let captured = capture(options(&server)).unwrap();
    assert_eq!(captured.facts["databases"], json!({"0": {"keys": 2, "expiring": 1}}));
    std::thread::sleep(Duration::from_millis(1600));
    assert_eq!(server.run("EXISTS goes"), "0");
    let folder = tempfile::tempdir().unwrap();
    captured.restore(folder.path());
    assert_eq!(examine(folder.path(), &captured.facts, &Cancel::new()).unwrap(), captured.facts);
}

#[test]
fn an_unchanged_server_gives_nearly_the_same_bytes() {
    let Some(server) = servers::redis(&[]) else { return };
    server.run(EVERYTHING);
    let (first, second) = (capture(options(&server)).unwrap(), capture(options(&server)).unwrap());
    let (first, second) = (bytes(&first, DUMP), bytes(&second, DUMP));
    assert_eq!(first.len(), second.len());
    const HEAD_BYTES: usize = 200;
    let end = first.len() - 8;
    assert_eq!(first[HEAD_BYTES..end], second[HEAD_BYTES..end]);
}

#[test]
fn a_database_that_was_emptied_is_told_of_until_its_keys_are_back() {
    let Some(server) = servers::redis(&[]) else { return };
    server.run("EVAL \"for i = 1, 200 do redis.call('SET', i, i) end\" 0");
    let first = capture(options(&server)).unwrap();
    server.run("FLUSHALL");
    let source = RedisSource::new(options(&server)).unwrap();
    let setup = Setup { previous: Some(first.facts), ..Setup::default() };
    let second = setup.capture(&source).unwrap();
    assert_eq!(second.problems.len(), 1);
    let told = "database 0: has 0 keys that do not expire, and had 200 in the last";
    assert!(second.problems[0].starts_with(told), "{:?}", second.problems);
    let after = |facts: &Facts| {
        let setup = Setup { previous: Some(facts.clone()), ..Setup::default() };
        setup.capture(&source).unwrap()
    };
    assert_eq!(after(&second.facts).problems.len(), 1);
    server.run("EVAL \"for i = 1, 150 do redis.call('SET', i, i) end for i = 1, 900 do redis.call('SETEX', 'e' .. i, 600, i) end\" 0");
    let third = after(&second.facts);
    assert_eq!(third.problems, [""; 0]);
    server.run("EVAL \"for i = 1, 900 do redis.call('DEL', 'e' .. i) end\" 0");
    assert_eq!(after(&third.facts).problems, [""; 0], "keys that expire come and go");
}

#[test]
fn a_node_of_a_cluster_is_not_taken_for_all_of_it() {
    let Some(server) = servers::redis(&["--cluster-enabled", "yes"]) else { return };
    server.run("CLUSTER ADDSLOTSRANGE 0 8191");
    let part = capture(options(&server)).unwrap();
    assert!(matches!(&part.problems[..], [one] if one.contains("has 8192 of its 16384 slots")), "{:?}", part.problems);
    server.run("CLUSTER ADDSLOTSRANGE 8192 16383");
    assert_eq!(capture(options(&server)).unwrap().problems, [""; 0], "it is all there is");
}

#[test]
fn an_empty_server_is_captured_as_such() {
    let Some(server) = servers::redis(&[]) else { return };
    let captured = capture(options(&server)).unwrap();
    assert_eq!(captured.facts["databases"], json!({}));
    let folder = tempfile::tempdir().unwrap();
    captured.restore(folder.path());
    assert_eq!(examine(folder.path(), &captured.facts, &Cancel::new()).unwrap(), captured.facts);
}

/// Moves money between a hundred accounts, each time in one transaction.
fn move_money(server: &RedisServer) -> Meanwhile {
    let mut client = server.client();
    Meanwhile::start(move |number| {
        let (from, to, amount) = (number * 7 % 100, number * 13 % 100, number % 17);
        let moving = format!(
            "redis.call('DECRBY', 'account{from}', {amount}) redis.call('INCRBY', 'account{to}', {amount}) \
             return redis.call('SET', 'moves', {number})"
        );
        assert_eq!(client.ask(&format!("EVAL \"{moving}\" 0")), "OK");
    })
}

#[test]
fn twenty_snapshots_under_writes_are_each_one_state() {
    let Some(server) = servers::redis(&[]) else { return };
    server.run("EVAL \"for i = 0, 99 do redis.call('SET', 'account' .. i, 1000) end\" 0\nSET moves 0");
    let _writer = move_money(&server);
    let mut moves = Vec::new();
    for _ in 0..20 {
        let captured = capture(options(&server)).unwrap();
        let again = restored(&captured);
        let sum = "local sum = 0 for i = 0, 99 do sum = sum + redis.call('GET', 'account' .. i) end return sum";
        assert_eq!(again.run(&format!("EVAL_RO \"{sum}\" 0")), "100000");
        assert_eq!(captured.facts["databases"], json!({"0": {"keys": 101, "expiring": 0}}));
        assert_eq!(again.run("DBSIZE"), "101");
        moves.push(again.run("GET moves").parse::<u64>().unwrap());
    }
    assert!(moves.windows(2).all(|pair| pair[0] < pair[1]), "nothing was written meanwhile: {moves:?}");
}

#[test]
fn a_value_of_two_hundred_megabytes_is_captured() {
    let Some(server) = servers::redis(&[]) else { return };
    let mut value = vec![0; 200 << 20];
    // Nothing that could be packed.
    let mut number = 1_u64;
    for chunk in value.as_chunks_mut::<8>().0 {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *chunk = number.to_be_bytes();
    }
    server.pipe(&["-x", "SET", "large"], &value);
    let captured = capture(options(&server)).unwrap();
    assert!(bytes(&captured, DUMP).len() > value.len());
    assert_eq!(captured.facts["databases"], json!({"0": {"keys": 1, "expiring": 0}}));
}

#[test]
fn who_may_not_is_told_so_and_what_to_do() {
    let Some(server) = servers::redis(&[]) else { return };
    server.run(
        "SET a 1\nACL SETUSER reader on >word ~* +@read +info\nACL SETUSER backup on >word +psync +replconf +info\n\
         ACL SETUSER default on >secret",
    );
    let told = |options| capture(options).unwrap_err().to_string();
    let error = told(options(&server));
    assert!(error.contains("NOAUTH") && error.ends_with("give its password: `password_file`"), "{error}");
    let error = told(with_login(&server, None, "hunter2"));
    assert!(error.contains("WRONGPASS") && !error.contains("hunter2"), "{error}");
    let error = told(with_login(&server, Some("reader"), "word"));
    assert!(error.ends_with("ACL SETUSER reader +psync +replconf +info +acl|list"), "{error}");
    capture(with_login(&server, None, "secret")).unwrap();
    // Without the right to see users, all else is captured.
    let captured = capture(with_login(&server, Some("backup"), "word")).unwrap();
    assert_eq!(captured.facts["databases"], json!({"0": {"keys": 1, "expiring": 0}}));
    assert!(captured.problems[0].contains("its users are not in the snapshot"), "{:?}", captured.problems);
    let denied: Password = Arc::new(|| Err("the file is gone".to_owned()));
    let error = told(RedisOptions { password: Some(denied), ..options(&server) });
    assert_eq!(error, "the file is gone");
}

#[test]
fn a_server_that_is_killed_in_between_leaves_no_whole_dump() {
    let Some(server) = servers::redis(&[]) else { return };
    server.run("EVAL \"for i = 1, 64 do redis.call('SETRANGE', i, 1048576, math.random()) end\" 0\nCONFIG SET rdbcompression no");
    let source = RedisSource::new(options(&server)).unwrap();
    let setup = Setup::default();
    let mut capture = setup.open(&source).unwrap();
    let mut stream = next_stream(&mut *capture);
    stream.read_exact(&mut [0; 1000]).unwrap();
    kill_process(Pid::from_raw(server.pid).unwrap(), Signal::KILL).unwrap();
    let error = stream.read_to_end(&mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("Redis at 127.0.0.1:"), "{error}");
    while capture.next().unwrap().is_some() {}
    assert!(capture.finish().is_err());
    let error = self::capture(options(&server)).unwrap_err().to_string();
    assert!(error.starts_with("Redis at 127.0.0.1:"), "{error}");
}

#[test]
fn a_server_that_cannot_write_to_its_disk_sends_its_dump_all_the_same() {
    let Some(server) = servers::redis(&["--repl-diskless-sync-delay", "0"]) else { return };
    server.run("SET a 1");
    // No file can be made where a folder has its name.
    std::fs::remove_dir_all(&server.folder).unwrap();
    let captured = capture(options(&server)).unwrap();
    assert_eq!(captured.facts["databases"], json!({"0": {"keys": 1, "expiring": 0}}));
}

#[test]
fn a_server_is_reached_by_its_socket_and_a_replica_without_master_gives_no_dump() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let socket = socket.to_str().unwrap();
    let Some(server) = servers::redis(&["--unixsocket", socket, "--replicaof", "127.0.0.1", "1"]) else { return };
    let at = ServerAt::Url(format!("unix://{socket}"));
    let error = capture(RedisOptions { server: at.clone(), ..options(&server) }).unwrap_err().to_string();
    assert!(error.ends_with("it is a replica that has lost its master; back up the master"), "{error}");
    server.run("REPLICAOF NO ONE");
    assert_eq!(capture(RedisOptions { server: at, ..options(&server) }).unwrap().problems, [""; 0]);
}

#[test]
fn a_dry_run_asks_for_no_dump() {
    let Some(server) = servers::redis(&[]) else { return };
    let setup = Setup { look_only: true, ..Setup::default() };
    let captured = setup.capture(&RedisSource::new(options(&server)).unwrap()).unwrap();
    assert!(captured.entries.is_empty());
    assert!(captured.notes[0].ends_with("what it holds is not counted in a dry run"), "{:?}", captured.notes);
    assert_eq!(server.run("INFO stats").matches("sync_full:0").count(), 1);
}

#[test]
fn redis_cli_where_the_server_is_gives_the_same_dump() {
    let Some(server) = servers::redis(&["--repl-diskless-sync-delay", "0"]) else { return };
    server.run("SET a 1\nACL SETUSER default on >secret");
    let words = ["redis-server", "--port", &server.port.to_string(), "--requirepass", "secret"].map(str::to_owned);
    let cancel = Cancel::new();
    let there = Server::in_container(Stage::Here, Login::default(), &BTreeMap::new(), &words);
    assert_eq!(facts::of_server(&there.info(&cancel).unwrap())["server"]["role"], "master");
    let Users::Known(users) = there.users(&cancel).unwrap() else { panic!() };
    assert!(users[0].starts_with("user default on #"), "{users:?}");
    let found = Found::default();
    let proof = Watched { parser: Parser::default(), found: found.clone() };
    let (mut output, _) = there.dump(proof, &cancel).unwrap();
    output.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(output.awaited().whole().unwrap().said, "");
    assert_eq!(found.get().as_ref().unwrap().databases[&0].keys, 1);
    let without = Server::in_container(Stage::Here, Login::default(), &BTreeMap::new(), &words[..3]);
    let error = without.info(&cancel).unwrap_err().to_string();
    assert!(error.contains("NOAUTH"), "{error}");
    let (mut output, _) =
        without.dump(Watched { parser: Parser::default(), found: Found::default() }, &cancel).unwrap();
    assert!(output.read_to_end(&mut Vec::new()).is_err());
}

#[test]
fn a_server_in_a_container_is_captured_with_the_client_that_is_there_and_what_it_knows() {
    let Some(docker) = servers::docker() else { return };
    if servers::redis(&[]).is_none() {
        return;
    }
    let name = docker.name();
    // This machine's programs.
    let mut options: Vec<&str> =
        ["/usr:/usr:ro", "/lib:/lib:ro", "/lib64:/lib64:ro"].iter().flat_map(|at| ["-v", at]).collect();
    options.extend(["PATH=/usr/bin:/bin", "REDIS_PASSWORD=secret"].iter().flat_map(|set| ["-e", set]));
    docker.make(&name, &options, "exec redis-server --requirepass secret --repl-diskless-sync-delay 0 --save ''");
    docker.docker(&["start", &name]);
    let client = ["exec", "-e", "REDISCLI_AUTH=secret", &name, "redis-cli"];
    while !docker.attempt(&[&client[..], &["SET", "a", "1"]].concat()).stdout.starts_with(b"OK") {
        std::thread::sleep(Duration::from_millis(50));
    }
    let options = || RedisOptions {
        server: ServerAt::Container(ContainerName::Container(name.clone())),
        user: None,
        password: None,
        max_shrink_percent: 50,
        engine: EngineAddress::at(&docker.socket),
    };
    let captured = capture(options()).unwrap();
    assert_eq!((&captured.problems, &captured.notes), (&vec![], &vec![]));
    assert_eq!(captured.facts["databases"], json!({"0": {"keys": 1, "expiring": 0}}));
    assert_eq!((&captured.facts["users"], &captured.facts["functions"]), (&json!(1), &json!(0)));
    let folder = tempfile::tempdir().unwrap();
    captured.restore(folder.path());
    assert_eq!(examine(folder.path(), &captured.facts, &Cancel::new()).unwrap(), captured.facts);
    docker.docker(&[&client[..], &["FLUSHALL"]].concat());
    let restore = RedisRestore { into: options(), wanted: Wanted::default() };
    restore.run(folder.path(), &captured.facts, &Cancel::new()).unwrap();
    assert!(docker.attempt(&[&client[..], &["GET", "a"]].concat()).stdout.starts_with(b"1"));
    docker.docker(&["stop", &name]);
    assert_eq!(capture(options()).unwrap_err().to_string(), format!("container {name} does not run: start it"));
}
