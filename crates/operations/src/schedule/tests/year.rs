//! A year of a scheduler that is switched off for an hour, a day and a month, killed while jobs run, and whose clock jumps.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use jiff::SignedDuration;

use super::*;

const NAMES: [&str; 4] = ["backup", "redis", "drill", "check"];

/// A server that keeps a journal, and nothing else that survives it.
struct Server {
    timetables: BTreeMap<&'static str, Timetable>,
    memory: BTreeMap<&'static str, Memory>,
    /// What runs, and until when.
    running: BTreeMap<&'static str, Timestamp>,
    limits: Limits,
    /// Everything that was started.
    starts: Vec<(Timestamp, &'static str, Cause)>,
    most_at_once: usize,
}

impl Server {
    fn new(zone_name: &str, at_once: usize, now: Timestamp) -> Self {
        let expressions = ["0 */4 * * *", "*/15 * * * *", "0 6 * * SUN", "30 2 1 * *"];
        let timetables = NAMES.into_iter().zip(expressions.map(|expression| timetable(expression, zone_name)));
        Self {
            timetables: timetables.collect(),
            memory: NAMES.into_iter().map(|name| (name, Memory::new(now))).collect(),
            running: BTreeMap::new(),
            limits: Limits { at_once: NonZeroUsize::new(at_once).unwrap(), at_once_of_kind: BTreeMap::new() },
            starts: Vec::new(),
            most_at_once: 0,
        }
    }

    fn takes(name: &str) -> SignedDuration {
        SignedDuration::from_mins(match name {
            "backup" => 20,
            "redis" => 1,
            "drill" => 90,
            _ => 300,
        })
    }

    /// Lives from `from` to `until`, looking whenever a job ends or is due.
    fn live(&mut self, from: &str, until: &str) {
        let (mut now, until) = (at(from), at(until));
        while now < until {
            let (ended, running) = std::mem::take(&mut self.running).into_iter().partition(|(_, end)| *end <= now);
            self.running = running;
            for (name, end) in ended as BTreeMap<&'static str, Timestamp> {
                let memory = self.memory[name].with_end(end);
                self.memory.insert(name, memory);
            }
            let next = self.look(now);
            let end = self.running.values().min().copied();
            now = next.into_iter().chain(end).min().unwrap_or(until);
        }
    }

    /// Decides, and starts what is to be started.
    fn look(&mut self, now: Timestamp) -> Option<Timestamp> {
        let jobs = NAMES.map(|name| Job {
            name,
            kind: name,
            timetable: &self.timetables[name],
            overlap: Overlap::Refuse,
            hours: None,
            memory: &self.memory[name],
        });
        let running: Vec<_> = self.running.keys().map(|name| Running { name, kind: name }).collect();
        let decisions = decide(now, &jobs, &running, &self.limits);
        let next = look_again(&decisions);
        assert!(next.is_some_and(|next| next > now));
        let remembered: Vec<_> = decisions.iter().map(|decision| decision.memory.clone()).collect();
        let verdicts: Vec<_> = decisions.into_iter().map(|decision| decision.verdict).collect();
        for ((name, verdict), memory) in NAMES.into_iter().zip(verdicts).zip(remembered) {
            self.memory.insert(name, memory);
            if let Verdict::Start(cause) = verdict {
                self.starts.push((now, name, cause));
                assert_eq!(self.running.insert(name, now + Self::takes(name)), None, "{name} runs twice");
            }
        }
        self.most_at_once = self.most_at_once.max(self.running.len());
        next
    }

    /// As `kill -9` and a power failure do.
    fn is_killed(&mut self) {
        self.running.clear();
    }

    fn starts_of(&self, name: &str) -> impl Iterator<Item = (Timestamp, Cause)> {
        self.starts.iter().filter(move |start| start.1 == name).map(|(time, _, cause)| (*time, *cause))
    }
}

#[test]
fn a_year_without_any_trouble_has_each_run_at_its_time() {
    for zone in ["Europe/Berlin", "America/New_York", "Africa/Nairobi"] {
        let mut server = Server::new(zone, 4, at("2026-01-01T00:31:00Z"));
        server.live("2026-01-01T00:31:00Z", "2027-01-01T00:31:00Z");
        let count = |name: &str| server.starts_of(name).count();
        assert_eq!((count("backup"), count("drill"), count("check")), (6 * 365, 52, 12), "{zone}");
        assert_eq!(count("redis"), 4 * 24 * 365, "{zone}");
        let late = server.starts.iter().filter(|start| start.1 == "backup" && !matches!(start.2, Cause::Due(_)));
        assert_eq!(late.count(), 0, "{zone}");
    }
}

#[test]
fn after_downtime_of_an_hour_a_day_and_a_month_each_job_that_was_missed_runs_once() {
    for (end, missed) in [
        ("2026-06-07T06:40:00Z", &["redis", "drill"][..]),
        ("2026-06-08T05:40:00Z", &["backup", "redis", "drill"]),
        ("2026-07-07T05:40:00Z", &["backup", "redis", "drill", "check"]),
    ] {
        let start = "2026-06-07T05:40:00Z";
        let mut server = Server::new("UTC", 2, at("2026-01-01T00:30:00Z"));
        server.live("2026-01-01T00:30:00Z", start);
        let before = server.starts.len();
        assert!(server.running.is_empty());
        server.is_killed();
        server.live(end, "2027-01-01T00:30:00Z");
        let after = &server.starts[before..];
        let late: Vec<_> =
            after.iter().filter(|(_, _, cause)| matches!(cause, Cause::Late(due) if *due < at(end))).collect();
        let mut names: Vec<&str> = late.iter().map(|(_, name, _)| *name).collect();
        names.sort_by_key(|name| NAMES.iter().position(|other| other == name));
        assert_eq!(names, missed, "down until {end}");
        let same_day = at(end) + SignedDuration::from_hours(8);
        assert!(late.iter().all(|(time, ..)| *time < same_day), "{late:?}");
        // And from the next day on as if nothing had been.
        let next_day = at(end) + SignedDuration::from_hours(24);
        assert!(
            server
                .starts_of("backup")
                .filter(|(time, _)| *time > next_day)
                .all(|(_, cause)| matches!(cause, Cause::Due(_)))
        );
    }
}

#[test]
fn what_is_killed_while_it_runs_runs_again_and_nothing_is_left_running() {
    let mut server = Server::new("UTC", 2, at("2026-01-01T00:30:00Z"));
    server.live("2026-01-01T00:30:00Z", "2026-01-02T08:03:00Z");
    assert!(server.running.contains_key("backup"));
    server.is_killed();
    server.live("2026-01-02T08:05:00Z", "2026-01-02T11:00:00Z");
    let starts: Vec<_> = server.starts_of("backup").collect();
    let cut_off = at("2026-01-02T08:00:00Z");
    assert_eq!(starts.last(), Some(&(at("2026-01-02T08:05:00Z"), Cause::CutOff(cut_off))));
    assert!(server.memory["backup"].ended.is_some());
}

#[test]
fn over_a_year_of_jumping_clocks_nothing_runs_twice_at_once_nor_stops_running() {
    let mut server = Server::new("Europe/Berlin", 2, at("2026-01-01T00:30:00Z"));
    server.live("2026-01-01T00:30:00Z", "2026-02-01T00:30:00Z");
    // Back by three hours: what was there is not there again.
    let before = server.starts_of("backup").count();
    server.live("2026-01-31T21:30:00Z", "2026-02-01T00:29:00Z");
    assert_eq!(server.starts_of("backup").count(), before);
    // Ahead by a year: once each.
    let before = server.starts.len();
    server.live("2027-02-01T00:30:00Z", "2027-02-01T00:31:00Z");
    let late = server.starts[before..].iter().filter(|start| matches!(start.2, Cause::Late(_))).count();
    assert_eq!((late, server.starts.len() - before), (2, 2), "as many as may run at once");
    // And back to what is right: all go on from there, once those have ended that run.
    server.running.values_mut().for_each(|end| *end = at("2026-02-01T00:41:00Z"));
    let before = server.starts.len();
    server.live("2026-02-01T00:40:00Z", "2026-03-01T00:40:00Z");
    let later = &server.starts[before..];
    let count = |name: &str| later.iter().filter(|start| start.1 == name).count();
    assert_eq!((count("backup"), count("drill")), (6 * 28, 4));
    assert_eq!(server.most_at_once, 2);
    let doubled = later.windows(2).any(|pair| pair[0].1 == pair[1].1 && pair[0].0 == pair[1].0);
    assert!(!doubled);
}
