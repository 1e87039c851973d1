//! Ctrl-C, SIGTERM and SIGHUP end a run within two seconds. What is left is a valid repository, without a lock and without
//! temporary data; what was started is stopped, too.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Dice, Running, Site, inside, program, run};
use crate::tree;

/// Also where the tests themselves were started so that they survive a lost connection.
const HEEDING_HANGUPS: [&str; 2] = ["env", "--default-signal=HUP"];
/// What the issue promises.
const END_WITHIN: Duration = Duration::from_secs(2);
/// Enough to be cancelled in the middle of reading it. Half of it is forgotten for the prune.
const FILES: usize = 24;
const FILE_BYTES: usize = 5 << 20;

/// Fills the data with `FILES` files of which those with an odd number are `round`'s own.
fn fill(site: &Site, round: u64) {
    let mut dice = Dice::new(round);
    for number in 0..FILES {
        let file = site.data().join(format!("file {number}"));
        if number % 2 == 1 || !file.exists() {
            std::fs::write(file, dice.bytes(FILE_BYTES)).unwrap();
        }
    }
}

/// Starts `lifeboat`, waits until `begun` and `delay` more, sends the signal and asserts that the run ends as it should.
fn cancel(site: &Site, arguments: &[&str], signal: Signal, begun: impl Fn() -> bool, delay: Duration) {
    let mut command = inside(&HEEDING_HANGUPS, &site.lifeboat_command(arguments.iter().chain(&["--json"])));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut running = Running(child);
    wait_until(&format!("{arguments:?} has begun"), || {
        assert!(running.0.try_wait().unwrap().is_none(), "{arguments:?} ended before it could be cancelled");
        begun()
    });
    std::thread::sleep(delay);
    assert!(running.0.try_wait().unwrap().is_none(), "{arguments:?} ended before it was cancelled");
    kill_process(Pid::from_child(&running.0), signal).unwrap();
    let sent = Instant::now();
    let status = running.0.wait().unwrap();
    let took = sent.elapsed();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut running.0.stdout.take().unwrap(), &mut said).unwrap();
    assert_eq!(status.code(), Some(130), "{arguments:?}: {status}\n{said}");
    assert!(took < END_WITHIN, "{arguments:?} took {took:?} to end");
    let last: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!((&last["message_type"], &last["code"]), (&"error".into(), &"cancelled".into()), "{last}");
    assert_eq!(site.stored("locks"), Vec::<std::path::PathBuf>::new(), "a lock is left by {arguments:?}");
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none())
}

fn repository_is_valid(site: &Site) {
    if program("restic").is_ok() {
        site.restic(["check"]).ok();
    } else {
        site.lifeboat(["check"]).ok();
    }
}

#[test]
fn signals_end_every_long_command_soon_and_cleanly() {
    let site = Site::initialised();
    fill(&site, 1);
    let locked = || !site.stored("locks").is_empty();
    let millis = Duration::from_millis;
    for (number, signal) in [Signal::INT, Signal::TERM, Signal::HUP, Signal::TERM].into_iter().enumerate() {
        cancel(&site, &["backup"], signal, locked, millis(number as u64 * 100));
        repository_is_valid(&site);
        assert!(site.stored("snapshots").is_empty());
    }
    let first = site.backup();
    fill(&site, 2);
    let second = site.backup();
    let expected = tree::read(&site.data());

    for (number, signal) in [Signal::INT, Signal::TERM].into_iter().enumerate() {
        let delay = millis(number as u64 * 100);
        let target = format!("cancelled {number}");
        let restoring = || !is_empty(&site.path(&target));
        cancel(&site, &["restore", &second, "--to", &target], signal, restoring, delay);
        // A check takes no lock; it reads for longer than this.
        cancel(&site, &["check", "--read-data"], signal, || true, millis(100) + delay);
        let scratch = site.path("state/scratch");
        cancel(&site, &["drill"], signal, || !is_empty(&scratch), delay);
        assert!(is_empty(&scratch), "the drill left temporary data");
    }
    let unproven = site.lifeboat(["status", "--json"]).exits(3).summary();
    assert_eq!(unproven["stacks"]["app"]["score"]["verified"], 0, "a cancelled drill proves nothing");

    site.lifeboat(["forget", &first]).ok();
    for signal in [Signal::INT, Signal::TERM] {
        cancel(&site, &["prune", "--max-unused", "0", "--grace", "0s"], signal, locked, millis(50));
        repository_is_valid(&site);
    }
    site.lifeboat(["prune", "--max-unused", "0", "--grace", "0s"]).ok();
    assert_eq!(site.lifeboat(["check", "--read-data", "--json"]).ok().summary()["unused_packs"], 0);
    let target = site.restore(&second, "out");
    tree::assert_same(&expected, &tree::read(&site.restored_data(&target)), "after all that was cancelled");
}

#[test]
fn commands_that_were_started_are_stopped_as_well() {
    let site = Site::initialised();
    let pid_file = site.path("pid");
    let slow = format!("sleep 600 & echo $! > {}; wait", pid_file.display());
    for before in [false, true] {
        let _ = std::fs::remove_file(&pid_file);
        if before {
            site.configure("files: { files: { paths: [data] } }");
            let text = std::fs::read_to_string(site.config()).unwrap();
            std::fs::write(site.config(), format!("{text}    before: [{slow:?}]\n")).unwrap();
        } else {
            site.configure(&format!("slow: {{ command: {{ run: {slow:?} }} }}"));
        }
        let begun = || std::fs::read_to_string(&pid_file).is_ok_and(|pid| pid.ends_with('\n'));
        cancel(&site, &["backup"], Signal::TERM, begun, Duration::ZERO);
        let pid = std::fs::read_to_string(&pid_file).unwrap();
        let process = Path::new("/proc").join(pid.trim());
        wait_until("the command is gone", || !is_alive(&process));
    }
}

/// A process that nobody waited for yet is gone as well.
fn is_alive(process: &Path) -> bool {
    std::fs::read_to_string(process.join("stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// As `timeout` sends it: to the program, and to the group that it is in.
#[test]
fn a_signal_that_comes_twice_is_one_and_the_run_ends_well() {
    let site = Site::initialised();
    fill(&site, 3);
    for _ in 0..5 {
        let mut command = site.lifeboat_command(["backup"]);
        let mut running = Running(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
        wait_until("there is a lock", || !site.stored("locks").is_empty());
        let pid = Pid::from_child(&running.0);
        kill_process(pid, Signal::TERM).unwrap();
        std::thread::sleep(Duration::from_millis(3));
        // It may have ended at the first one already.
        let _ = kill_process(pid, Signal::TERM);
        assert_eq!(running.0.wait().unwrap().code(), Some(130));
        let mut said = String::new();
        std::io::Read::read_to_string(&mut running.0.stderr.take().unwrap(), &mut said).unwrap();
        assert!(said.contains("cancelled"), "{said}");
        assert_eq!(site.stored("locks"), Vec::<std::path::PathBuf>::new());
    }
}

/// The shell sends SIGHUP to what it started where the connection is lost; so does the kernel, in its own time.
#[test]
fn a_lost_connection_leaves_hooks_the_time_unless_it_is_to_be_survived() {
    let site = Site::initialised();
    site.configure("slow: { command: { run: 'touch begun; while [ -e slow ]; do sleep 0.1; done; echo x' } }");
    let text = std::fs::read_to_string(site.config()).unwrap();
    std::fs::write(site.config(), format!("{text}    after: ['sleep 2; echo $LIFEBOAT_STATUS > told']\n")).unwrap();
    for (wrapper, code, told) in [(HEEDING_HANGUPS, 130, "cancelled"), (["env", "--ignore-signal=HUP"], 0, "ok")] {
        std::fs::write(site.path("slow"), "").unwrap();
        let _ = std::fs::remove_file(site.path("begun"));
        let mut command = inside(&wrapper, &site.lifeboat_command(["backup"]));
        let mut running = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        wait_until("it reads", || site.path("begun").exists());
        let pid = Pid::from_child(&running.0);
        kill_process(pid, Signal::HUP).unwrap();
        std::thread::sleep(Duration::from_millis(700));
        assert!(running.0.try_wait().unwrap().is_none(), "{wrapper:?}: it has something to do");
        kill_process(pid, Signal::HUP).unwrap();
        std::fs::remove_file(site.path("slow")).unwrap();
        assert_eq!(running.0.wait().unwrap().code(), Some(code));
        assert_eq!(std::fs::read_to_string(site.path("told")).unwrap().trim(), told);
    }
}

/// A site whose password never comes, and what keeps it from coming: a run there cannot end well.
fn that_never_answers() -> (Site, std::fs::File) {
    let site = Site::initialised();
    let pipe = site.path("pipe");
    assert!(run(std::process::Command::new("mkfifo").arg(&pipe)).status.success());
    // Held open at both ends, so that the command below waits for as long as the test runs, and no longer.
    let held = std::fs::File::options().read(true).write(true).open(&pipe).unwrap();
    let config = std::fs::read_to_string(site.config()).unwrap();
    let config = config.replace("password_file: password", "password_command: \"touch waiting; exec cat pipe\"");
    std::fs::write(site.config(), config).unwrap();
    (site, held)
}

/// Starts a run there and waits until it waits.
fn start_there(site: &Site) -> Running {
    let mut command = site.lifeboat_command(["snapshots"]);
    let running = Running(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    wait_until("the command waits", || site.path("waiting").exists());
    running
}

fn errors_of(mut running: Running) -> String {
    let mut said = String::new();
    std::io::Read::read_to_string(&mut running.0.stderr.take().unwrap(), &mut said).unwrap();
    said
}

#[test]
fn a_signal_that_comes_a_while_after_the_first_ends_the_run_at_once() {
    let (site, _held) = that_never_answers();
    let mut running = start_there(&site);
    let pid = Pid::from_child(&running.0);
    kill_process(pid, Signal::INT).unwrap();
    std::thread::sleep(Duration::from_millis(700));
    assert!(running.0.try_wait().unwrap().is_none(), "the first one leaves it time");
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(running.0.wait().unwrap().code(), Some(130));
    let said = errors_of(running);
    assert!(!said.contains("did not end in time"), "nobody waited any longer: {said}");
}

#[test]
fn what_does_not_end_in_time_is_ended_and_says_so() {
    let (site, _held) = that_never_answers();
    let mut running = start_there(&site);
    kill_process(Pid::from_child(&running.0), Signal::TERM).unwrap();
    let sent = Instant::now();
    let status = running.0.wait().unwrap();
    assert!(sent.elapsed() < END_WITHIN, "{:?}", sent.elapsed());
    assert_eq!(status.code(), Some(130));
    let said = errors_of(running);
    assert!(said.contains("did not end in time"), "{said}");
}
