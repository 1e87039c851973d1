//! A server that ignores conditions: a put with `If-None-Match` overwrites what is there. Ceph's gateway does so in a bucket
//! that keeps old versions. `copies test` says so, and what Lifeboat does needs no condition: several hosts at once hold
//! each other off, and lose nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use servers::S3Server;

use crate::support::{Dice, Site, start, wait_until};

/// A host with a stack of its own, whose one copy lies in `bucket`.
fn host(name: &str, s3: &S3Server, bucket: &str) -> Site {
    let site = Site::new();
    configure(&site, name, s3, bucket, "");
    site
}

/// Names its copy and sources: its files, and more of them.
fn configure(site: &Site, name: &str, s3: &S3Server, bucket: &str, more: &str) {
    let (copy, data) = (site.s3_copy(s3, s3.port, bucket), site.data());
    let text = format!(
        "version: 1\nstate_dir: state\npassword_file: password\ncopies: {{ s3: {{ {copy} }} }}\nstacks:\n  {name}:\n    \
         sources:\n      files: {{ files: {{ paths: [{data:?}] }} }}\n{more}"
    );
    std::fs::write(site.config(), text).unwrap();
}

/// Backups of each host that get through before a test ends.
const ROUNDS: usize = 3;
/// What a run may end with beside another: done, or locked.
const FINE: [Option<i32>; 2] = [Some(0), Some(11)];

/// Two hosts with one bucket that keeps old versions, which the first has initialised.
fn two_hosts(s3: &S3Server) -> (String, Site, Site) {
    let bucket = s3.versioned_bucket();
    let (one, other) = (host("one", s3, &bucket), host("other", s3, &bucket));
    one.lifeboat(["init"]).ok();
    (bucket, one, other)
}

#[test]
fn a_server_that_ignores_conditions_is_named_and_is_not_relied_on() {
    let Some(s3) = servers::rgw() else { return };
    let (_, one, other) = two_hosts(s3);
    let tested = one.lifeboat(["copies", "test", "--json"]).exits(3);
    let found = &tested.of_type("copy_test")[0];
    assert_eq!(found["probe"]["keeps_what_is_there"], false, "{tested}");
    assert!(found["warnings"][0].as_str().unwrap().contains("If-None-Match"), "{tested}");
    assert_eq!(tested.summary()["status"], "partial");
    one.lifeboat(["copies", "test"]).exits(3).says([
        "warning: it takes a second file of the same name",
        "let one host at a time work with it, or choose a server that honours If-None-Match",
    ]);

    // A second host that is set up there finds the repository, and does not overwrite its config.
    one.lifeboat(["backup"]).ok();
    other.lifeboat(["init"]).ok().says(["there is a repository", "it opens"]);
    assert_eq!(other.lifeboat(["snapshots", "--json"]).ok().summary()["snapshots"], 1);
    one.lifeboat(["check", "--read-data"]).ok();
}

#[test]
fn locks_hold_where_conditions_are_ignored() {
    let Some(s3) = servers::rgw() else { return };
    let (bucket, one, other) = two_hosts(s3);
    one.lifeboat(["backup"]).ok();

    // A backup that waits for a file holds off who deletes, and nobody else.
    let go = one.path("go");
    configure(
        &one,
        "one",
        s3,
        &bucket,
        "      slow: { command: { run: \"until test -e go; do sleep 0.1; done; echo end\" } }\n",
    );
    let mut waiting = start(&mut one.lifeboat_command(["backup"]));
    wait_until("the lock is there", || !s3.keys(&bucket, "app/locks/").is_empty());
    let holder = format!("process {}", waiting.0.id());
    other.lifeboat(["prune"]).exits(11).says([&*holder]);
    other.lifeboat(["forget", "latest", "--force"]).exits(11).says([&*holder]);
    other.lifeboat(["backup"]).ok();
    assert!(waiting.0.try_wait().unwrap().is_none(), "it still waits");
    std::fs::write(go, "").unwrap();
    assert!(waiting.0.wait().unwrap().success());
    assert!(s3.keys(&bucket, "app/locks/").is_empty());
    other.lifeboat(["prune"]).ok();
}

#[test]
fn two_hosts_at_once_lose_nothing_where_conditions_are_ignored() {
    let Some(s3) = servers::rgw() else { return };
    let (bucket, one, other) = two_hosts(s3);
    let hosts = [one, other];
    let ended = AtomicBool::new(false);
    let taken = std::thread::scope(|scope| {
        let [one, other] = [0, 1].map(|number| {
            let site = &hosts[number];
            scope.spawn(move || back_up_and_forget(site, number as u64))
        });
        let pruner = scope.spawn(|| {
            let mut pruned = 0;
            while !ended.load(Ordering::SeqCst) || pruned == 0 {
                let ran = hosts[0].lifeboat(["prune", "--max-unused", "0", "--grace", "0s", "--quiet"]);
                assert!(FINE.contains(&ran.status.code()), "{ran}");
                pruned += usize::from(ran.status.success());
            }
        });
        let taken = [one.join(), other.join()];
        ended.store(true, Ordering::SeqCst);
        pruner.join().unwrap();
        taken.map(Result::unwrap)
    });
    for (site, taken) in hosts.iter().zip(&taken) {
        for (id, content) in taken {
            let restored = site.restore(id, "target");
            assert!(std::fs::read(site.restored_data(&restored).join("own")).unwrap() == *content, "{id} differs");
        }
    }
    let listed = hosts[0].lifeboat(["snapshots", "--json"]).ok().of_type("snapshot").len();
    assert_eq!(listed, taken.iter().map(Vec::len).sum::<usize>());
    hosts[1].lifeboat(["check", "--read-data"]).ok();
    assert!(s3.keys(&bucket, "app/locks/").is_empty());
}

/// Backs up until it got through often enough, and forgets the first again. Gives what is left, with what was backed up.
fn back_up_and_forget(site: &Site, seed: u64) -> Vec<(String, Vec<u8>)> {
    let (begun, mut dice, mut taken) = (Instant::now(), Dice::new(seed), Vec::new());
    // The same in both, so that both write packs that the other needs.
    std::fs::write(site.data().join("same"), Dice::new(9).bytes(400_000)).unwrap();
    let patience = || assert!(begun.elapsed() < Duration::from_secs(200), "it was locked out");
    while taken.len() < ROUNDS {
        patience();
        let content = dice.bytes(500_000);
        std::fs::write(site.data().join("own"), &content).unwrap();
        let ran = site.lifeboat(["backup", "--json"]);
        assert!(FINE.contains(&ran.status.code()), "{ran}");
        if ran.status.success() {
            taken.push((ran.summary()["snapshot_id"].as_str().unwrap().to_owned(), content));
        }
    }
    let (first, _) = taken.remove(0);
    loop {
        patience();
        let ran = site.lifeboat(["forget", &first]);
        assert!(FINE.contains(&ran.status.code()), "{ran}");
        if ran.status.success() {
            return taken;
        }
    }
}
