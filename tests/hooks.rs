//! Commands before and after a backup: when they run, what they are told, and what comes of those that fail, hang or print
//! secrets.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{PASSWORD, Ran, Running, Site, run, start, wait_until};

const SECRET: &str = "hunter2-of-the-hook";
/// Adds a line with what it is told.
const TELL: &str = "echo $LIFEBOAT_HOOK $LIFEBOAT_STACK $LIFEBOAT_SOURCE $LIFEBOAT_STATUS >> told";

/// A site whose stack has these lines besides its sources.
fn site(sources: &str, lines: &str) -> Site {
    let site = Site::initialised();
    fs::write(site.data().join("a"), "data").unwrap();
    site.configure(sources);
    let mut text = fs::read_to_string(site.config()).unwrap();
    lines.lines().for_each(|line| text.push_str(&format!("\n    {line}")));
    fs::write(site.config(), text).unwrap();
    site
}

const FILES: &str = "files: { files: { paths: [data] } }";

fn told(site: &Site) -> Vec<String> {
    fs::read_to_string(site.path("told")).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn snapshots(site: &Site) -> usize {
    site.lifeboat(["snapshots", "--json"]).ok().of_type("snapshot").len()
}

#[test]
fn hooks_run_around_the_stack_and_around_each_source_and_are_told_how_it_went() {
    let of_source = format!("before: [{TELL:?}], after: [{TELL:?}]");
    let sources = format!(
        "b: {{ files: {{ paths: [data] }}, {of_source} }}\na: {{ command: {{ run: 'date >> told; echo x' }}, {of_source} }}"
    );
    let site = site(
        &sources,
        &format!("before: [{TELL:?}, [touch, listed]]\nafter: [{TELL:?}, 'echo $LIFEBOAT_SNAPSHOT_ID > id']"),
    );
    let summary = site.lifeboat(["backup", "--json"]).ok().summary();
    assert_eq!((&summary["status"], &summary["hooks"]), (&"ok".into(), &serde_json::json!([])));
    let mut lines = told(&site);
    lines.retain(|line| line.starts_with("before") || line.starts_with("after"));
    let expected = ["before app", "before app b", "before app a", "after app b ok", "after app a ok", "after app ok"];
    assert_eq!(lines, expected);
    assert!(site.path("listed").exists());
    assert_eq!(fs::read_to_string(site.path("id")).unwrap().trim(), summary["snapshot_id"]);
    // Only what is captured has hooks around it.
    fs::remove_file(site.path("told")).unwrap();
    site.lifeboat(["backup", "--source", "b"]).ok();
    assert_eq!(told(&site), ["before app", "before app b", "after app b ok", "after app ok"]);
    // A look changes nothing.
    fs::remove_file(site.path("told")).unwrap();
    site.lifeboat(["backup", "--dry-run"]).ok();
    assert_eq!(told(&site), [""; 0]);
}

#[test]
fn a_hook_before_that_fails_keeps_the_backup_from_running_and_those_after_run() {
    let before = format!("before: ['exit 7', {TELL:?}]");
    for (sources, lines, who) in [
        (FILES.to_owned(), format!("{before}\nafter: [{TELL:?}]"), "the `before` hook `exit 7` ended with exit code 7"),
        (
            format!("files: {{ files: {{ paths: [data] }}, {before}, after: [{TELL:?}] }}"),
            format!("after: [{TELL:?}]"),
            "the `before` hook `exit 7` of source files ended with exit code 7",
        ),
    ] {
        let site = site(&sources, &lines);
        let error = site.lifeboat(["backup", "--json"]).exits(1).error();
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(who) && message.contains("nothing was backed up"), "{message}");
        assert_eq!(snapshots(&site), 0);
        let lines = told(&site);
        assert_eq!(lines.last().unwrap(), "after app failed");
        assert!(!lines.iter().any(|line| line.starts_with("before")), "the second does not run: {lines:?}");
        assert_eq!(lines.len(), if who.contains("source") { 2 } else { 1 });
        site.lifeboat(["status"]).exits(1).says(["the last backup failed", who]);
    }
}

#[test]
fn what_a_hook_that_fails_does_to_the_run_is_for_the_configuration_to_say() {
    let hook = |on_error: &str| format!("[{{ run: 'exit 7', on_error: {on_error} }}]");
    for (lines, code, status, marked) in [
        (format!("before: {}", hook("warn")), 3, "partial", true),
        (format!("before: {}", hook("continue")), 0, "ok", false),
        (format!("after: {}", hook("fail")), 1, "failed", false),
        (format!("after: {}", hook("warn")), 3, "partial", false),
        (format!("after: {}", hook("continue")), 0, "ok", false),
    ] {
        for is_of_source in [false, true] {
            let site = if is_of_source {
                site(&format!("files: {{ files: {{ paths: [data] }}, {lines} }}"), "")
            } else {
                site(FILES, &lines)
            };
            let ran = site.lifeboat(["backup", "--json"]).exits(code);
            let summary = ran.summary();
            assert_eq!(summary["status"], status, "{lines}");
            let failed = &summary["hooks"][0];
            assert_eq!((&failed["command"], &failed["error"]), (&"exit 7".into(), &"ended with exit code 7".into()));
            assert_eq!(failed["source"].is_string(), is_of_source);
            // The data is doubtful where what must come before it failed, and not by what comes after it.
            let problems = summary["sources"]["files"]["problems"].as_array().unwrap();
            assert_eq!(problems.len(), usize::from(marked), "{problems:?}");
            assert_eq!(snapshots(&site), 1);
            let told = site.lifeboat(["status"]);
            let is_told = told.text().contains("hook `exit 7`");
            assert_eq!(is_told, status != "ok", "{told}");
        }
    }
}

#[test]
fn a_hook_that_hangs_is_ended_with_all_that_it_started() {
    let hang = "{ run: 'sleep 600 & echo $! > pid; wait', timeout: 5s }";
    for (lines, code) in [(format!("before: [{hang}]"), 1), (format!("after: [{hang}]"), 1)] {
        let site = site(FILES, &lines);
        let started = Instant::now();
        site.lifeboat(["backup"]).exits(code).says(["did not end within 5 s, so it was ended"]);
        assert!(started.elapsed() < Duration::from_secs(40), "{:?}", started.elapsed());
        let pid = fs::read_to_string(site.path("pid")).unwrap();
        wait_until("its child is gone", || has_ended(pid.trim()));
    }
}

fn has_ended(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
}

#[test]
fn secrets_that_a_hook_prints_are_shown_nowhere() {
    let print = "echo said $DB_PASSWORD; cat password; echo $DB_PASSWORD >&2; exit $CODE";
    let site = site(
        FILES,
        &format!("before: [{{ run: {print:?}, on_error: warn }}]\nafter: [{{ run: {print:?}, on_error: warn }}]"),
    );
    let run = |arguments: &[&str], code: &str| {
        let mut command = site.lifeboat_command(arguments);
        run(command.env("DB_PASSWORD", SECRET).env("CODE", code))
    };
    let shows_none = |ran: &Ran| {
        let said = format!("{}{}", ran.text(), ran.errors());
        assert!(!said.contains(SECRET) && !said.contains(PASSWORD), "{ran}");
    };
    for code in ["0", "7"] {
        for more in [&["--verbose"][..], &["--json"], &["--json", "--verbose"], &[]] {
            let ran = run(&[&["backup"], more].concat(), code);
            assert_eq!(ran.status.code(), Some(if code == "0" { 0 } else { 3 }), "{ran}");
            shows_none(&ran);
        }
    }
    run(&["backup", "--verbose"], "0").ok().says(["before `echo said", "said ***", "after `echo said"]);
    shows_none(&run(&["status", "--json"], "0"));
    shows_none(&run(&["cat", "latest:lifeboat.json"], "0"));
    for entry in walk(&site.path("state")) {
        let bytes = fs::read(&entry).unwrap();
        let has = |secret: &str| bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
        assert!(!has(SECRET) && !has(PASSWORD), "{}", entry.display());
    }
}

/// All files below a folder.
fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let (mut folders, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files
}

#[test]
fn hooks_after_run_also_where_the_capture_fails_or_is_cancelled_and_are_given_the_time() {
    // Longer than a run that was cancelled may otherwise take.
    let slow = format!("sleep 3; {TELL}");
    let after = format!("after: [{slow:?}]");
    let failing =
        format!("files: {{ files: {{ paths: [data] }}, {after} }}\nbad: {{ command: {{ run: exit 3 }}, {after} }}");
    let failed = site(&failing, &after);
    failed.lifeboat(["backup"]).exits(1);
    assert_eq!(told(&failed), ["after app files ok", "after app bad failed", "after app failed"]);

    let endless = format!("endless: {{ command: {{ run: 'touch begun; sleep 600' }}, {after} }}");
    let cancelled = site(&endless, &after);
    let mut backup: Running = start(&mut cancelled.lifeboat_command(["backup"]));
    wait_until("it reads", || cancelled.path("begun").exists());
    kill_process(Pid::from_child(&backup.0), Signal::INT).unwrap();
    assert_eq!(backup.0.wait().unwrap().code(), Some(130));
    assert_eq!(told(&cancelled), ["after app endless cancelled", "after app cancelled"]);
    assert_eq!(cancelled.stored("locks").len(), 0);
}

#[test]
fn hooks_that_fail_are_told_also_where_the_run_failed_or_was_cancelled() {
    let failed = site("bad: { command: { run: exit 3 } }", "after: ['exit 7']");
    failed.lifeboat(["backup"]).exits(1);
    let hook = "the `after` hook `exit 7` ended with exit code 7";
    failed.lifeboat(["status"]).exits(1).says(["the last backup failed", "in the last backup", hook]);

    // What failed before that is still known.
    let slow = "slow: { command: { run: 'touch begun; sleep 600' } }";
    failed.configure(slow);
    let mut text = fs::read_to_string(failed.config()).unwrap();
    text.push_str("\n    after: ['exit 8']");
    fs::write(failed.config(), text).unwrap();
    let mut backup: Running = start(&mut failed.lifeboat_command(["backup"]));
    wait_until("it reads", || failed.path("begun").exists());
    kill_process(Pid::from_child(&backup.0), Signal::INT).unwrap();
    assert_eq!(backup.0.wait().unwrap().code(), Some(130));
    let hook = "the `after` hook `exit 8` ended with exit code 8";
    failed.lifeboat(["status"]).exits(1).says(["the last backup failed", "in a backup that was cancelled", hook]);
}

#[test]
fn the_time_that_each_source_is_of_is_told_and_kept() {
    let site = site("files: { files: { paths: [data] } }\nslow: { command: { run: 'sleep 1; echo x' } }", "");
    let ran = site.lifeboat(["backup", "--json"]).ok();
    let summary = ran.summary();
    let time =
        |window: &serde_json::Value, end: &str| window[end].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let slow = &summary["sources"]["slow"]["captured"];
    let took = time(slow, "to").duration_since(time(slow, "from")).as_millis();
    assert!((1000..60_000).contains(&took), "{took} ms");
    let started: jiff::Timestamp = summary["started_at"].as_str().unwrap().parse().unwrap();
    assert!(time(slow, "from") > started);
    let manifest = site.lifeboat(["cat", "latest:lifeboat.json"]).ok();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest.stdout).unwrap();
    let listed = site.lifeboat(["snapshots", "--json"]).ok().of_type("snapshot");
    for name in ["files", "slow"] {
        let captured = &summary["sources"][name]["captured"];
        assert!(time(captured, "to") >= time(captured, "from"));
        assert_eq!((&manifest["sources"][name]["captured"], &listed[0]["captured"][name]), (captured, captured));
    }
    site.lifeboat(["backup"]).ok().says(["all sources are of the "]);
}

#[test]
fn a_hook_runs_in_a_container() {
    for server in servers::engines() {
        let name = server.name();
        server.run(&name, &[]);
        let hook = |run: &str| format!("{{ run: {run:?}, container: {name}, timeout: 30s }}");
        let site =
            site(FILES, &format!("before: [{}]\nafter: [{}]", hook("echo $LIFEBOAT_HOOK > /told"), hook("exit 5")));
        let command = |arguments: &[&str]| -> Command {
            let mut command = site.lifeboat_command(arguments);
            command.env("DOCKER_HOST", server.host());
            command
        };
        run(&mut command(&["backup"]))
            .exits(1)
            .says(["the `after` hook `exit 5` ended with exit code 5", "is complete"]);
        assert_eq!(server.docker(&["exec", &name, "cat", "/told"]), "before");
        server.docker(&["kill", &name]);
        run(&mut command(&["backup"])).exits(1).says(["the `before` hook", "nothing was backed up"]);
    }
}

/// The words of each process of this machine, in whatever container.
fn processes() -> impl Iterator<Item = String> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|process| fs::read_to_string(process.path().join("cmdline")).ok())
}

#[test]
fn a_hook_that_takes_too_long_in_a_container_is_ended_with_all_that_it_started() {
    for server in servers::engines() {
        let name = server.name();
        server.run(&name, &[]);
        let hook =
            format!("{{ run: 'echo begun; sleep 765432 & sleep 765433; echo over', container: {name}, timeout: 4s }}");
        let site = site(FILES, &format!("before: [{hook}]"));
        let mut command = site.lifeboat_command(["backup"]);
        run(command.env("DOCKER_HOST", server.host())).exits(1).says(["did not end within 4 s, so it was ended"]);
        let sleeps = |words: &String| words.strip_prefix("sleep\0").is_some_and(|rest| rest.starts_with("76543"));
        assert_eq!(processes().filter(sleeps).count(), 0, "its children still run");
    }
}
