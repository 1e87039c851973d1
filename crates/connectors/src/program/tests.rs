use std::time::{Duration, Instant};

use repository::{Cancel, SourceError};

use super::{Exit, Program, Running, Stage};

fn sh(script: &str) -> Program {
    Program::new("sh").arg("-c").arg(script)
}

fn start(program: &Program, cancel: &Cancel) -> Running {
    program.start(&Stage::Here, cancel).unwrap()
}

fn read(running: &mut Running) -> String {
    let mut buffer = [0; 1000];
    let length = running.read(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[test]
fn it_is_spoken_to_and_answers() {
    let program = sh("while read line; do echo \"$GREETING $line\"; done; echo done >&2; exit 3");
    let mut running = start(&program.variable("GREETING", "hello").with_input(), &Cancel::new());
    for name in ["one", "two"] {
        running.write(format!("{name}\n").as_bytes()).unwrap();
        assert_eq!(read(&mut running), format!("hello {name}\n"));
    }
    running.close_input().unwrap();
    assert_eq!(read(&mut running), "");
    let ended = running.wait().unwrap();
    assert_eq!((ended.exit, ended.said.as_str()), (Exit::Code(3), "done"));
    assert_eq!(ended.told(), "ended with exit code 3; it said: done");
}

#[test]
fn its_input_is_empty_unless_it_is_to_have_one() {
    let (printed, ended) = sh("cat; echo end").run(&Stage::Here, &Cancel::new()).unwrap();
    assert_eq!((printed.as_slice(), ended.is_well()), (&b"end\n"[..], true));
}

#[test]
fn an_input_larger_than_a_pipe_is_written_whole() {
    let mut running = start(&sh("sleep 0.1; wc -c").with_input(), &Cancel::new());
    running.write(&vec![b'x'; 3_000_000]).unwrap();
    running.close_input().unwrap();
    assert_eq!(read(&mut running).trim(), "3000000");
}

#[test]
fn one_that_takes_no_more_input_says_why() {
    let mut running = start(&sh("echo the reason >&2; exit 2").with_input(), &Cancel::new());
    let error = running.write(&vec![b'x'; 3_000_000]).unwrap_err().to_string();
    assert!(error.contains("it ended with exit code 2; it said: the reason"), "{error}");
}

#[test]
fn cancelling_ends_what_is_waited_for() {
    let cancel = Cancel::new();
    let mut running = start(&sh("echo $$; sleep 600").with_input(), &cancel);
    let pid = read(&mut running);
    let started = Instant::now();
    cancel.cancel();
    assert!(matches!(running.read(&mut [0; 10]), Err(SourceError::Cancelled)));
    drop(running);
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(!std::path::Path::new("/proc").join(pid.trim()).exists(), "it lives");
}

#[test]
fn nothing_of_what_it_is_given_is_shown() {
    let program = Program::new("psql").arg("secret-word").variable("PGPASSWORD", "secret-password");
    assert_eq!(format!("{program:?}"), "Program(psql …)");
}

#[test]
fn one_that_is_not_there_is_named() {
    let error = Program::new("no-such-program").start(&Stage::Here, &Cancel::new()).map(drop).unwrap_err();
    assert!(error.to_string().starts_with("no-such-program could not be started: No such file"), "{error}");
}
