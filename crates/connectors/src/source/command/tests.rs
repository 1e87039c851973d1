use std::time::{Duration, Instant};

use repository::{Cancel, SourceError};
use serde_json::json;

use super::{CommandOptions, CommandSource, RunLine, examine};
use crate::source::testing::{Captured, Setup};

fn options(shell: &str) -> CommandOptions {
    CommandOptions {
        run: RunLine::Shell(shell.to_owned()),
        name: "out.txt".to_owned(),
        trailer: None,
        folder: "/".into(),
    }
}

fn capture(options: CommandOptions) -> Result<Captured, SourceError> {
    Setup::default().capture(&CommandSource::new(options)?)
}

fn failure(options: CommandOptions) -> String {
    capture(options).unwrap_err().to_string()
}

#[test]
fn a_command_runs_in_the_folder_it_is_given() {
    let captured = capture(CommandOptions { folder: "/usr".into(), ..options("pwd") }).unwrap();
    assert_eq!(captured.entries.last().unwrap().bytes, b"/usr\n");
}

#[test]
fn the_output_is_one_file_and_its_facts_can_be_recounted() {
    let run = RunLine::Words(["printf", "%s\\n", "one two", "$HOME"].map(Into::into).to_vec());
    let captured = capture(CommandOptions { run, ..options("") }).unwrap();
    let entry = &captured.entries[0];
    assert_eq!((entry.bytes.as_slice(), entry.node.name.as_slice()), (&b"one two\n$HOME\n"[..], &b"out.txt"[..]));
    assert_eq!(entry.node.mtime.to_string(), "2026-01-01T00:00:00Z");
    assert_eq!(entry.node.uid, rustix::process::getuid().as_raw());
    assert_eq!(captured.facts["sha256"], "5d15c017a07cdae0c9c449dd2cfc9f866b8812fb8a7e3fca7dcf550f7f027d45");
    assert_eq!((&captured.facts["bytes"], &captured.facts["exit_code"]), (&json!(14), &json!(0)));
    let to = tempfile::tempdir().unwrap();
    captured.restore(to.path());
    let examined = || examine(to.path(), &captured.facts, &Cancel::new()).unwrap();
    assert_eq!(examined(), captured.facts);
    std::fs::write(to.path().join("out.txt"), "one two\n$HOME ").unwrap();
    assert_ne!(examined(), captured.facts);
    std::fs::remove_file(to.path().join("out.txt")).unwrap();
    assert_ne!(examined(), captured.facts);
}

#[test]
fn a_command_that_fails_is_never_a_whole_output() {
    let message = failure(options("echo data; echo the reason >&2; exit 3"));
    assert_eq!(message, "the command for `out.txt` ended with exit code 3; it said: the reason");
    assert_eq!(failure(options("echo data; kill -9 $$")), "the command for `out.txt` was killed by signal 9");
    assert_eq!(failure(options("true")), "the command for `out.txt` printed nothing");
    // The output ends long before the command does.
    let message = failure(options("echo data; exec >&-; sleep 0.3; echo late >&2; exit 1"));
    assert_eq!(message, "the command for `out.txt` ended with exit code 1; it said: late");
}

#[test]
fn a_missing_trailer_is_noticed() {
    let with = |shell: &str| CommandOptions { trailer: Some("-- complete\n".to_owned()), ..options(shell) };
    assert_eq!(capture(with("echo data; echo '-- complete'; echo; echo")).unwrap().entries[0].bytes.len(), 19);
    for shell in ["echo data", "echo '-- complete'; echo more", "printf -- '-- complet'"] {
        assert!(failure(with(shell)).contains("does not end with the trailer"), "{shell}");
    }
    let long = capture(with("head -c 300000 /dev/zero; echo '-- complete'")).unwrap();
    assert_eq!(long.facts["bytes"], 300_012);
}

#[test]
fn of_what_it_says_the_end_is_kept_and_nothing_blocks() {
    let message = failure(options("echo data; head -c 1000000 /dev/zero | tr '\\0' x >&2; echo the end >&2; exit 1"));
    assert!(message.ends_with("xxxthe end"));
    assert!((8000..9000).contains(&message.len()), "{}", message.len());
}

#[test]
fn what_a_command_says_is_passed_on_even_when_all_is_well() {
    let captured = capture(options("echo data; echo a warning >&2")).unwrap();
    assert_eq!(captured.notes, ["the command for `out.txt` said: a warning"]);
    assert_eq!(capture(options("echo data")).unwrap().notes, [""; 0]);
}

#[test]
fn its_input_is_empty() {
    assert_eq!(capture(options("cat; echo done")).unwrap().entries[0].bytes, b"done\n");
}

#[test]
fn cancelling_ends_the_command_and_its_children_within_a_second() {
    let dir = tempfile::tempdir().unwrap();
    // The grandchild does not end when asked.
    let shell = format!(
        "sh -c 'trap \"\" TERM; echo $$ > {0}/pid.new; mv {0}/pid.new {0}/pid; while :; do sleep 0.05; done' & echo data; wait",
        dir.path().display()
    );
    let setup = Setup::default();
    let cancel = setup.cancel.clone();
    let cancelling = std::thread::spawn({
        let pid = dir.path().join("pid");
        move || {
            while !pid.exists() {
                std::thread::sleep(Duration::from_millis(10));
            }
            cancel.cancel();
            Instant::now()
        }
    });
    let outcome = setup.capture(&CommandSource::new(options(&shell)).unwrap());
    assert!(matches!(outcome, Err(SourceError::Cancelled)), "{outcome:?}");
    assert!(cancelling.join().unwrap().elapsed() < Duration::from_secs(1));
    let pid = std::fs::read_to_string(dir.path().join("pid")).unwrap();
    let is_gone = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim()));
        status.map_or(true, |status| status.contains("State:\tZ"))
    };
    let start = Instant::now();
    while !is_gone() {
        assert!(start.elapsed() < Duration::from_secs(1), "the grandchild lives");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_part_of_a_pipe_that_fails_is_noticed() {
    let message = failure(options("(echo part; exit 3) | cat"));
    assert!(message.contains("exit code 3"), "{message}");
}

#[test]
fn an_output_that_nobody_read_is_not_finished() {
    use repository::clock::SystemClock;
    use repository::{CaptureCx, Silent, Source as _};
    let source = CommandSource::new(options("sleep 100")).unwrap();
    let (cancel, claimed, start) = (Cancel::new(), Default::default(), Instant::now());
    let cx = CaptureCx {
        events: &Silent,
        cancel: &cancel,
        clock: &SystemClock,
        claimed: &claimed,
        scratch: "/tmp".as_ref(),
        own_paths: &[],
        previous: None,
        look_only: false,
    };
    let mut capture = source.capture(&cx).unwrap();
    drop(capture.next().unwrap().unwrap());
    assert!(capture.next().unwrap().is_none());
    assert_eq!(
        capture.finish().unwrap_err().to_string(),
        "the output of the command for `out.txt` was not read to its end"
    );
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn what_cannot_be_run_is_refused() {
    let refused = |options| CommandSource::new(options).unwrap_err().to_string();
    assert_eq!(refused(options(" ")), "run: the command is empty");
    let name = "a/b".to_owned();
    assert!(refused(CommandOptions { name, ..options("true") }).starts_with("name: must be a file name"));
    assert!(refused(CommandOptions { trailer: Some("\n".to_owned()), ..options("true") }).starts_with("trailer: "));
    let run = RunLine::Words(vec!["/nowhere/at/all".into()]);
    let message = failure(CommandOptions { run, ..options("") });
    assert!(message.contains("/nowhere/at/all could not be started: No such file"), "{message}");
    let shown = format!("{:?}", options("mysqldump -psecret"));
    assert!(!shown.contains("secret"), "{shown}");
}
