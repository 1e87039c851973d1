//! What `lifeboat serve` goes by: jobs, hours, where it is reached.

use expect_test::expect;

use super::*;

fn document(top: &str, of_stack: &str) -> String {
    format!(
        "version: 1\npassword_file: /pw\nstate_dir: /state\ncopies: {{ disk: {{ url: /b }} }}\n{top}stacks:\n  s:\n{of_stack}    sources: {{ f: {{ \
         files: {{ paths: [/x] }} }} }}\n"
    )
}

fn told(top: &str, of_stack: &str) -> String {
    match parse(&document(top, of_stack), Path::new("/etc/lifeboat/lifeboat.yaml"), &environment()) {
        Ok(settings) => panic!("{settings:?}"),
        Err(fault) => format!("{} | {}", fault.text(), fault.hint.unwrap_or_default()),
    }
}

#[test]
fn without_a_word_the_server_is_for_this_machine_alone_and_does_nothing_but_what_stacks_schedule() {
    let settings = read(&document("", ""));
    assert_eq!(settings.server.listen.to_string(), "127.0.0.1:8484");
    assert_eq!(settings.server.restore_dir, Path::new("/state/restores"));
    assert_eq!((settings.jobs.at_once.get(), settings.jobs.check, settings.jobs.prune), (2, None, None));
}

#[test]
fn jobs_hours_and_the_server_are_read_and_shown() {
    let top = "jobs:\n  at_once: 3\n  timezone: Africa/Nairobi\n  check: { schedule: 'H 3 * * *', read_data_subset: 5%, hours: '22:00-6:30' }\n  \
               prune: { schedule: '@weekly' }\nserver: { listen: '[::]:443', url: 'https://b.example.org/', certificate: c.pem, \
               certificate_key: k.pem, metrics: open }\n";
    let settings = read(&document(top, "    hours: '20:00-24:00'\n    overlap: queue\n"));
    let shown = settings.to_yaml().unwrap();
    expect![[r#"
        jobs:
          at_once: 3
          timezone: Africa/Nairobi
          check:
            schedule: H 3 * * *
            hours: 22:00-06:30
            read_data: false
            read_data_subset: 5%
          prune:
            schedule: "@weekly"
        server:
          listen: "[::]:443"
          url: https://b.example.org
          certificate: /etc/lifeboat/c.pem
          certificate_key: /etc/lifeboat/k.pem
          metrics: open
          restore_dir: /state/restores
    "#]]
    .assert_eq(&shown[shown.find("jobs:").unwrap()..]);
    assert!(shown.contains("hours: 20:00-00:00") && shown.contains("overlap: queue"), "{shown}");
}

#[test]
fn what_cannot_be_is_told_with_what_to_write() {
    let all = [
        told("jobs: { at_once: 0 }\n", ""),
        told("jobs: { check: { read_data: true } }\n", ""),
        told("jobs: { check: { schedule: '@daily', read_data: true, read_data_subset: 5% } }\n", ""),
        told("jobs: { sync: { schedule: '@daily', hours: 22-6 } }\n", ""),
        told("", "    hours: '25:00-26:00'\n"),
        told("", "    overlap: often\n"),
        told("server: { listen: 8484 }\n", ""),
        told("server: { url: 'https://user:secret@x' }\n", ""),
        told("server: { certificate: c.pem }\n", ""),
        told("server: { metrics: all }\n", ""),
    ];
    expect![[r#"
        /etc/lifeboat/lifeboat.yaml:5:18: jobs.at_once: expected how many jobs run at once | write a number from 1 on
        /etc/lifeboat/lifeboat.yaml:1:1: `jobs: check: schedule` is missing | add when it runs, such as `schedule: H 3 * * *`
        /etc/lifeboat/lifeboat.yaml:5:73: jobs.check.read_data_subset: `read_data` reads all of it already | remove one of the two
        /etc/lifeboat/lifeboat.yaml:5:44: jobs.sync.hours: expected hours of the day | write them like 22:00-06:00
        /etc/lifeboat/lifeboat.yaml:7:12: stacks.s.hours: expected hours of the day | write them like 22:00-06:00
        /etc/lifeboat/lifeboat.yaml:7:14: stacks.s.overlap: expected refuse or queue | refuse: a time that comes while it still runs is left out; queue: it runs once more afterwards
        /etc/lifeboat/lifeboat.yaml:5:19: server.listen: expected an address and a port | write it like 127.0.0.1:8484, or 0.0.0.0:8484 for every network of this machine
        /etc/lifeboat/lifeboat.yaml:5:16: server.url: this is no address of a server | write it like https://backup.example.org
        /etc/lifeboat/lifeboat.yaml:5:24: server.certificate: `certificate` and `certificate_key` go together | name both files, or none
        /etc/lifeboat/lifeboat.yaml:5:20: server.metrics: expected open or token | open: for anybody who reaches the server; token: for who has a token"#]].assert_eq(&all.join("\n"));
}
