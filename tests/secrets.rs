//! Passwords and other secrets show nowhere: not on the screen, in JSON, in process lists, in snapshots, on the disk.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{Ran, Site, run, write_secret};

/// Of the length of a generated password, so that opening costs no time. Each appears in one place only.
const PASSWORD: &str = "HIDDENPASSWORDHIDDENPASSWORDHIDDENPASSWORDHIDDENPASS";
const OTHER_PASSWORD: &str = "OTHERHIDDENOTHERHIDDENOTHERHIDDENOTHERHIDDENOTHERHID";
const TOKEN: &str = "hidden-token-0123456789";

/// What must show nowhere.
const HIDDEN: [&str; 3] = [PASSWORD, OTHER_PASSWORD, TOKEN];

fn assert_hidden(bytes: &[u8], wherein: &str) {
    assert_shows_none(&HIDDEN, bytes, wherein);
}

/// Asserts that none of these secrets is in some bytes.
pub fn assert_shows_none(secrets: &[&str], bytes: &[u8], wherein: &str) {
    for secret in secrets {
        let shows = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!shows, "{wherein} shows {secret}:\n{}", String::from_utf8_lossy(bytes));
    }
}

fn assert_hidden_below(folder: &Path, except: &[PathBuf]) {
    assert_none_below(&HIDDEN, folder, except);
}

/// The same of everything in every file below a folder.
pub fn assert_none_below(secrets: &[&str], folder: &Path, except: &[PathBuf]) {
    let mut seen = 0;
    let mut waiting = vec![folder.to_owned()];
    while let Some(path) = waiting.pop() {
        if except.contains(&path) {
            continue;
        }
        if path.is_dir() {
            waiting.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            assert_shows_none(secrets, &std::fs::read(&path).unwrap(), &path.display().to_string());
            seen += 1;
        }
    }
    assert!(seen > 0, "{} is empty", folder.display());
}

/// Where the password comes from.
#[derive(Clone, Copy, Debug)]
enum Whence {
    File,
    Variable,
    Command,
}

/// A site whose password comes from there, and whose stack uses a token in two commands and in the environment.
fn site(whence: Whence) -> Site {
    let site = Site::new();
    std::fs::write(site.data().join("a"), "data").unwrap();
    let password = match whence {
        Whence::File => "password_file: password",
        Whence::Variable => "password: \"${THE_PASSWORD}\"",
        Whence::Command => "password_command: \"cat password; echo noise >&2\"",
    };
    write_secret(&site.path("password"), PASSWORD);
    // The command proves that it got the token by its length, and lingers so that the process list can be read.
    let text = format!(
        "version: 1\nstate_dir: state\n{password}\ncopies: {{ disk: {{ url: repo }} }}\nstacks:\n  app:\n\
         \x20   before: [\"test ${{THE_TOKEN}} != x\"]\n    sources:\n\
         \x20     files: {{ files: {{ paths: [{:?}] }} }}\n\
         \x20     dump: {{ command: {{ run: \"t=${{THE_TOKEN}}; sleep 0.3; echo $${{#t}} letters\", name: dump.txt }} }}\n",
        site.data()
    );
    std::fs::write(site.config(), text).unwrap();
    site
}

fn command(site: &Site, arguments: &[&str]) -> Command {
    let mut command = site.lifeboat_command(arguments);
    command.env("THE_PASSWORD", PASSWORD).env("THE_TOKEN", TOKEN);
    command
}

fn watched(site: &Site, arguments: &[&str]) -> (Ran, BTreeSet<Vec<u8>>) {
    watch(&mut command(site, arguments))
}

/// Runs to the end, reading over and over what the process list says of the program and all that it starts.
pub fn watch(command: &mut Command) -> (Ran, BTreeSet<Vec<u8>>) {
    let line = format!("{command:?}");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut seen = BTreeSet::new();
    while child.try_wait().unwrap().is_none() {
        for pid in family(child.id()) {
            // One that has ended says nothing any more.
            seen.extend(std::fs::read(format!("/proc/{pid}/cmdline")));
        }
        std::thread::sleep(std::time::Duration::from_millis(3));
    }
    let output = child.wait_with_output().unwrap();
    (Ran { line, status: output.status, stdout: output.stdout, stderr: output.stderr }, seen)
}

/// A process and all that descend from it.
fn family(root: u32) -> Vec<u32> {
    let mut family = vec![root];
    let mut at = 0;
    while let Some(pid) = family.get(at).copied() {
        at += 1;
        for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            family.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
    }
    family
}

#[test]
fn no_command_shows_a_secret_wherever_the_password_comes_from() {
    for whence in [Whence::File, Whence::Variable, Whence::Command] {
        let site = site(whence);
        let mut said = Vec::new();
        let mut seen = BTreeSet::new();
        for arguments in [
            &["init"][..],
            &["config", "show"],
            &["config", "show", "--json"],
            &["config", "check", "--verbose"],
            &["backup", "--verbose"],
            &["backup", "--json", "--verbose"],
            &["snapshots", "--json"],
            &["ls", "-R", "latest"],
            &["cat", "latest:lifeboat.json"],
            &["cat", "latest:RESTORE.md"],
            &["cat", "latest:dump/dump.txt"],
            &["restore", "latest", "--to", "target", "--verbose"],
            &["drill", "--json", "--verbose"],
            &["check", "--read-data", "--verbose"],
            &["key", "list"],
            &["status"],
            &["status", "--json"],
            &["forget", "--keep-last", "1", "--verbose"],
            &["prune", "--verbose"],
        ] {
            let (ran, processes) = watched(&site, arguments);
            assert!(matches!(ran.status.code(), Some(0)) || arguments[0] == "status", "{ran}");
            assert_hidden(&ran.stdout, &format!("{whence:?}: standard output of {arguments:?}"));
            assert_hidden(&ran.stderr, &format!("{whence:?}: standard error of {arguments:?}"));
            said.extend(ran.stdout);
            seen.extend(processes);
        }
        for line in &seen {
            assert_hidden(line, &format!("{whence:?}: the process list"));
        }
        let is_seen = |what: &str| seen.iter().any(|line| String::from_utf8_lossy(line).contains(what));
        assert!(is_seen("lifeboat") && is_seen("letters"), "the watcher saw the command at work: {seen:?}");
        assert!(String::from_utf8_lossy(&said).contains(&format!("{} letters", TOKEN.len())), "the command had it");
        for made in ["repo/config", "state", "target/RESTORE.md"] {
            assert!(site.path(made).exists(), "{made}");
        }
        // Repository, state, what was restored, the configuration: everything but the password file itself.
        assert_hidden_below(site.config().parent().unwrap(), &[site.path("password")]);
    }
}

#[test]
fn a_mistake_in_the_configuration_is_shown_without_the_secret_in_it() {
    let site = site(Whence::Variable);
    let whole = std::fs::read_to_string(site.config()).unwrap();
    for (right, wrong) in [
        ("password: \"${THE_PASSWORD}\"", "password: { a: \"${THE_PASSWORD}\" }"),
        ("password: \"${THE_PASSWORD}\"", "password: [ HIDDENPASSWORDHIDDENPASSWORDHIDDENPASSWORDHIDDENPASS ]"),
        ("password: \"${THE_PASSWORD}\"", "password: *HIDDENPASSWORDHIDDENPASSWORDHIDDENPASSWORDHIDDENPASS"),
        ("password: \"${THE_PASSWORD}\"", "password: \"${THE_PASSWORD}${}\""),
        (
            "password: \"${THE_PASSWORD}\"",
            "password: \"HIDDENPASSWORDHIDDENPASSWORDHIDDENPASSWORDHIDDENPASS\npasword: x",
        ),
        ("password: \"${THE_PASSWORD}\"", "password_file: \"${THE_PASSWORD}\""),
        ("stacks:\n", "stacks:\n  b: { rpo: \"${THE_TOKEN}\" }\n"),
        ("url: repo", "url: \"s3://key:${THE_TOKEN}@host/bucket\""),
        ("url: repo", "url: repo, offsite: \"${THE_TOKEN}\""),
        ("url: repo", "url: repo, secret_access_key: \"${THE_TOKEN}\""),
        ("version: 1", "version: \"${THE_TOKEN}\""),
    ] {
        assert!(whole.contains(right));
        std::fs::write(site.config(), whole.replace(right, wrong)).unwrap();
        for json in [&["snapshots"][..], &["snapshots", "--json", "--verbose"]] {
            let ran = run(&mut command(&site, json));
            assert_ne!(ran.status.code(), Some(0), "{wrong}: {ran}");
            // A file's name is no secret, so it is shown; nobody should use a secret as one.
            if !wrong.starts_with("password_file") {
                assert_hidden(&ran.stdout, wrong);
                assert_hidden(&ran.stderr, wrong);
            }
            assert!(!ran.errors().contains("panicked"), "{ran}");
        }
    }
}

#[test]
fn a_command_that_should_print_the_password_and_fails_is_named_without_what_it_printed() {
    let site = site(Whence::Command);
    let whole = std::fs::read_to_string(site.config()).unwrap();
    for end in ["; exit 3", "; kill -9 $$$$", " >/dev/null", "; cat password password password; sleep 0.1; exit 1"] {
        std::fs::write(site.config(), whole.replace("echo noise >&2", &format!("cat password >&2{end}"))).unwrap();
        for arguments in [&["init"][..], &["init", "--json"]] {
            let ran = run(&mut command(&site, arguments));
            if ran.status.code() != Some(0) {
                assert_eq!(ran.status.code(), Some(2), "{ran}");
            }
            assert_hidden(&ran.stdout, end);
            assert_hidden(&ran.stderr, end);
        }
    }
}

#[test]
fn a_wrong_password_is_not_repeated() {
    let site = site(Whence::File);
    run(&mut command(&site, &["init"])).ok();
    write_secret(&site.path("password"), OTHER_PASSWORD);
    for arguments in [&["snapshots"][..], &["snapshots", "--json"], &["backup", "--verbose"]] {
        let ran = run(&mut command(&site, arguments)).exits(12);
        assert_hidden(&ran.stdout, "standard output");
        assert_hidden(&ran.stderr, "standard error");
    }
}

#[test]
fn changing_the_password_shows_neither_the_old_nor_the_new_one() {
    let site = site(Whence::File);
    run(&mut command(&site, &["init"])).ok();
    write_secret(&site.path("new"), OTHER_PASSWORD);
    for arguments in [&["key", "change", "--new-password-file", "new"][..], &["key", "list"]] {
        let (ran, seen) = watched(&site, arguments);
        if arguments[1] == "change" {
            assert_eq!(ran.status.code(), Some(0), "{ran}");
            write_secret(&site.path("password"), OTHER_PASSWORD);
        }
        for bytes in [&ran.stdout, &ran.stderr].into_iter().chain(&seen) {
            assert_hidden(bytes, "key change");
        }
    }
    run(&mut command(&site, &["snapshots"])).ok();
    write_secret(&site.path("password"), PASSWORD);
    run(&mut command(&site, &["snapshots"])).exits(12);
    assert_hidden_below(&site.repo(), &[]);
}

#[test]
fn a_password_file_that_others_can_read_is_refused_with_the_command_that_mends_it() {
    let site = site(Whence::File);
    let file = site.path("password");
    run(&mut command(&site, &["init"])).ok();
    for mode in [0o644, 0o640, 0o604, 0o660] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let ran = run(&mut command(&site, &["backup"])).exits(2).says([file.to_str().unwrap(), "chmod 600"]);
        let mend = ran.errors().lines().find_map(|line| Some(line.split_once("run: ")?.1.to_owned())).unwrap();
        run(Command::new("sh").args(["-c", &mend])).ok();
        run(&mut command(&site, &["backup"])).ok();
    }
}

#[test]
fn a_new_password_file_is_for_its_owner_alone_and_its_password_is_not_shown() {
    let site = Site::new();
    std::fs::remove_file(site.config()).unwrap();
    std::fs::write(site.data().join("a"), "data").unwrap();
    let protect = site.lifeboat_command(["protect", "data"]);
    // With a mask that would let everybody in.
    let mut open_to_all = Command::new("sh");
    open_to_all.args(["-c", "umask 0; exec \"$0\" \"$@\""]).arg(protect.get_program()).args(protect.get_args());
    open_to_all.current_dir(site.path("")).env_clear().stdin(Stdio::null());
    open_to_all.envs(protect.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ran = run(&mut open_to_all).ok();
    let file = site.path("lifeboat.password");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let password = std::fs::read_to_string(&file).unwrap().trim().to_owned();
    assert!(password.len() >= 50, "256 bits");
    assert!(!ran.text().contains(&password) && !ran.errors().contains(&password));
    assert!(ran.text().contains("lifeboat.password"), "it is said where the password is: {ran}");
    let config = std::fs::read_to_string(site.config()).unwrap();
    assert!(!config.contains(&password));
}
