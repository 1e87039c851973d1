//! What is decided about jobs in one moment, and why.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use jiff::SignedDuration;

use super::*;

const NOW: &str = "2026-03-10T12:00:00Z";

/// A job of 3:00 and what is known of it.
struct Known {
    name: &'static str,
    kind: &'static str,
    timetable: Timetable,
    overlap: Overlap,
    hours: Option<Hours>,
    memory: Memory,
}

impl Known {
    fn daily(name: &'static str, settled: &str) -> Self {
        Self::of(name, "0 3 * * *", settled)
    }

    fn of(name: &'static str, expression: &str, settled: &str) -> Self {
        let memory = Memory::new(at(settled));
        let timetable = timetable(expression, "UTC");
        Self { name, kind: "backup", timetable, overlap: Overlap::Refuse, hours: None, memory }
    }

    fn job(&self) -> Job<'_> {
        let Self { name, kind, timetable, overlap, hours, memory } = self;
        Job { name, kind, timetable, overlap: *overlap, hours: *hours, memory }
    }

    fn running(&self) -> Running<'static> {
        Running { name: self.name, kind: self.kind }
    }

    /// What is decided about it alone, and remembered.
    fn decide(&mut self, now: &str, is_running: bool) -> Verdict {
        let running: Vec<_> = is_running.then(|| self.running()).into_iter().collect();
        let Decision { verdict, memory, .. } = decide(at(now), &[self.job()], &running, &limits(9)).remove(0);
        self.memory = memory;
        verdict
    }
}

fn limits(at_once: usize) -> Limits {
    Limits { at_once: NonZeroUsize::new(at_once).unwrap(), at_once_of_kind: BTreeMap::new() }
}

#[test]
fn a_job_starts_when_its_time_comes_and_once() {
    let mut job = Known::daily("a", "2026-03-10T00:00:00Z");
    assert_eq!(job.decide("2026-03-10T02:59:59Z", false), Verdict::NotDue);
    let due = at("2026-03-10T03:00:00Z");
    assert_eq!(job.decide("2026-03-10T03:00:00Z", false), Verdict::Start(Cause::Due(due)));
    assert_eq!(job.decide("2026-03-10T03:00:00Z", true), Verdict::Running);
    job.memory = job.memory.with_end(at("2026-03-10T03:20:00Z"));
    assert_eq!(job.decide("2026-03-10T03:20:00Z", false), Verdict::NotDue);
    let next = decide(at(NOW), &[job.job()], &[], &limits(1))[0].next;
    assert_eq!(next, Some(at("2026-03-11T03:00:00Z")));
}

#[test]
fn a_new_job_makes_up_for_nothing() {
    assert_eq!(Known::daily("a", NOW).decide(NOW, false), Verdict::NotDue);
}

#[test]
fn what_was_missed_is_made_up_for_once_however_much_it_was() {
    for since in ["2026-03-10T02:00:00Z", "2026-03-01T02:00:00Z", "2025-01-01T02:00:00Z"] {
        let mut job = Known::daily("a", since);
        let first = at(since) + SignedDuration::from_hours(1);
        assert_eq!(job.decide(NOW, false), Verdict::Start(Cause::Late(first)));
        job.memory = job.memory.with_end(at(NOW));
        assert_eq!(job.decide(NOW, false), Verdict::NotDue);
    }
}

#[test]
fn where_it_still_runs_its_time_is_refused_or_queued_once() {
    let times = ["2026-03-10T12:00:00Z", "2026-03-10T13:00:00Z", "2026-03-10T14:00:00Z"];
    let mut job = Known::of("a", "0 * * * *", "2026-03-10T11:30:00Z");
    assert!(matches!(job.decide(times[0], false), Verdict::Start(_)));
    for due in &times[1..] {
        assert_eq!(job.decide(due, true), Verdict::Refused { due: at(due) });
        assert_eq!(job.decide(due, true), Verdict::Running, "it is told once");
    }
    job.memory = job.memory.with_end(at("2026-03-10T14:10:00Z"));
    assert_eq!(job.decide("2026-03-10T14:10:00Z", false), Verdict::NotDue);

    let mut job = Known { overlap: Overlap::Queue, ..Known::of("a", "0 * * * *", "2026-03-10T11:30:00Z") };
    assert!(matches!(job.decide(times[0], false), Verdict::Start(_)));
    for due in &times[1..] {
        assert_eq!(job.decide(due, true), Verdict::Queued { due: at(times[1]) });
    }
    let end = "2026-03-10T14:10:00Z";
    job.memory = job.memory.with_end(at(end));
    assert_eq!(job.decide(end, false), Verdict::Start(Cause::Queued(at(times[1]))));
    job.memory = job.memory.with_end(at("2026-03-10T14:20:00Z"));
    assert_eq!(job.decide("2026-03-10T14:20:00Z", false), Verdict::NotDue, "two times came, and it ran once for them");
}

#[test]
fn a_clock_that_went_back_starts_nothing_twice() {
    let mut job = Known::daily("a", "2026-03-10T00:00:00Z");
    assert!(matches!(job.decide("2026-03-10T03:00:00Z", false), Verdict::Start(_)));
    let settled = at("2026-03-10T03:00:00Z");
    // It ends at a time before it began.
    job.memory = job.memory.with_end(at("2026-03-10T01:10:00Z"));
    for now in ["2026-03-10T01:10:00Z", "2026-03-10T02:59:59Z"] {
        assert_eq!(job.decide(now, false), Verdict::ClockWentBack { settled });
    }
    assert_eq!(job.decide("2026-03-10T03:00:00Z", false), Verdict::NotDue);
    assert!(matches!(job.decide("2026-03-11T03:00:00Z", false), Verdict::Start(_)));
}

#[test]
fn a_clock_that_was_far_ahead_does_not_keep_jobs_waiting_for_years() {
    let mut job = Known::daily("a", "2026-03-10T00:00:00Z");
    let wrong = "2031-05-05T05:05:00Z";
    assert_eq!(job.decide(wrong, false), Verdict::Start(Cause::Late(at("2026-03-10T03:00:00Z"))));
    job.memory = job.memory.with_end(at(wrong));
    assert_eq!(job.decide(NOW, false), Verdict::CountedAnew { settled: at(wrong) });
    assert_eq!(job.decide(NOW, false), Verdict::NotDue);
    assert_eq!(job.decide("2026-03-11T03:00:00Z", false), Verdict::Start(Cause::Due(at("2026-03-11T03:00:00Z"))));
}

#[test]
fn a_clock_that_went_ahead_makes_up_once() {
    let mut job = Known::of("a", "*/5 * * * *", "2026-03-10T12:00:00Z");
    assert_eq!(job.decide("2026-03-17T12:01:00Z", false), Verdict::Start(Cause::Late(at("2026-03-10T12:05:00Z"))));
    job.memory = job.memory.with_end(at("2026-03-17T12:02:00Z"));
    assert_eq!(job.decide("2026-03-17T12:02:00Z", false), Verdict::NotDue);
}

#[test]
fn a_run_that_was_cut_off_is_started_again_but_not_for_ever() {
    let mut job = Known::daily("a", "2026-03-10T00:00:00Z");
    assert!(matches!(job.decide("2026-03-10T03:00:00Z", false), Verdict::Start(Cause::Due(_))));
    for minute in ["10", "20"] {
        let (now, begun) = (format!("2026-03-10T03:{minute}:00Z"), job.memory.begun.unwrap());
        assert_eq!(job.decide(&now, false), Verdict::Start(Cause::CutOff(begun)));
    }
    assert_eq!(job.decide("2026-03-10T03:30:00Z", false), Verdict::NotDue, "it may be what brings the machine down");
    assert!(matches!(job.decide("2026-03-11T03:00:00Z", false), Verdict::Start(Cause::Due(_))));
    // One that is cut off and one that was missed meanwhile are one run.
    assert!(matches!(job.decide("2026-03-13T08:00:00Z", false), Verdict::Start(Cause::Late(_))));
    job.memory = job.memory.with_end(at("2026-03-13T08:10:00Z"));
    assert_eq!(job.decide("2026-03-13T08:10:00Z", false), Verdict::NotDue);
}

#[test]
fn no_more_run_at_once_than_may_and_those_that_waited_longest_are_first() {
    let mut jobs = [
        Known::daily("new", "2026-03-10T00:00:00Z"),
        Known::daily("old", "2026-03-08T00:00:00Z"),
        Known { kind: "drill", ..Known::daily("drill", "2026-03-09T00:00:00Z") },
        Known { kind: "drill", ..Known::daily("drill2", "2026-03-07T00:00:00Z") },
    ];
    let show = |jobs: &[Known], running: &[Running<'_>], limits: &Limits| {
        let jobs: Vec<Job<'_>> = jobs.iter().map(Known::job).collect();
        let decisions = decide(at(NOW), &jobs, running, limits);
        decisions
            .iter()
            .map(|decision| format!("{} {}", decision.name, decision.verdict))
            .collect::<Vec<_>>()
            .join("\n")
    };
    expect_test::expect![[r#"
        new waits for another job to end: due since 2026-03-10T03:00:00Z, made up for once
        old is started: due since 2026-03-08T03:00:00Z, made up for once
        drill waits for another job to end: due since 2026-03-09T03:00:00Z, made up for once
        drill2 is started: due since 2026-03-07T03:00:00Z, made up for once"#]]
    .assert_eq(&show(&jobs, &[], &limits(2)));
    let one_drill = Limits { at_once_of_kind: [("drill".to_owned(), NonZeroUsize::MIN)].into(), ..limits(3) };
    expect_test::expect![[r#"
        new waits for another job to end: due since 2026-03-10T03:00:00Z, made up for once
        old is started: due since 2026-03-08T03:00:00Z, made up for once
        drill waits for another job of its kind to end: due since 2026-03-09T03:00:00Z, made up for once
        drill2 is started: due since 2026-03-07T03:00:00Z, made up for once"#]]
    .assert_eq(&show(&jobs, &[Running { name: "by hand", kind: "backup" }], &one_drill));
    // What waits keeps its place: nothing is settled for it.
    let before = jobs[0].memory.clone();
    let all: Vec<Job<'_>> = jobs.iter().map(Known::job).collect();
    let after = decide(at(NOW), &all, &[], &limits(1)).remove(0).memory;
    assert_eq!(after, before);
    jobs[0].memory = after;
    assert!(matches!(jobs[0].decide(NOW, false), Verdict::Start(Cause::Late(_))));
}

#[test]
fn outside_of_its_hours_a_job_waits_until_they_begin() {
    let night = Hours::new(jiff::civil::time(22, 0, 0, 0), jiff::civil::time(2, 30, 0, 0));
    let mut job = Known { hours: Some(night), ..Known::daily("a", "2026-03-10T00:00:00Z") };
    let due = at("2026-03-10T03:00:00Z");
    let open = Some(at("2026-03-10T22:00:00Z"));
    let waits = Verdict::Wait(Cause::Due(due), Waiting::Hours { open });
    assert_eq!(job.decide("2026-03-10T03:00:00Z", false), waits);
    let decisions = decide(at("2026-03-10T03:00:00Z"), &[job.job()], &[], &limits(1)).remove(0);
    assert_eq!(look_again(&[decisions]), open, "before its next time");
    assert_eq!(job.decide("2026-03-10T21:59:00Z", false), Verdict::Wait(Cause::Late(due), Waiting::Hours { open }));
    assert_eq!(job.decide("2026-03-10T22:00:00Z", false), Verdict::Start(Cause::Late(due)));
    for (now, is_in) in
        [("22:00", true), ("23:59", true), ("00:00", true), ("02:29", true), ("02:30", false), ("12:00", false)]
    {
        assert_eq!(night.contains(at(&format!("2026-03-10T{now}:00Z")), &TimeZone::UTC), is_in, "{now}");
    }
    let day = Hours::new(jiff::civil::time(8, 0, 0, 0), jiff::civil::time(17, 0, 0, 0));
    let nairobi = zone("Africa/Nairobi");
    assert!(day.contains(at("2026-03-10T05:00:00Z"), &nairobi) && !day.contains(at("2026-03-10T14:00:00Z"), &nairobi));
    assert_eq!(day.opens_after(at(NOW), &nairobi), Some(at("2026-03-11T05:00:00Z")));
    let whole = Hours::new(jiff::civil::time(8, 0, 0, 0), jiff::civil::time(8, 0, 0, 0));
    assert!(whole.contains(at("2026-03-10T07:59:00Z"), &TimeZone::UTC) && whole.contains(at(NOW), &TimeZone::UTC));
}

#[test]
fn what_is_remembered_is_the_same_after_a_restart() {
    let mut job = Known { overlap: Overlap::Queue, ..Known::of("a", "0 * * * *", "2026-03-10T10:30:00Z") };
    job.decide("2026-03-10T11:00:00Z", false);
    job.decide(NOW, true);
    let written = serde_json::to_string(&job.memory).unwrap();
    expect_test::expect![[r#"{"settled":"2026-03-10T12:00:00Z","begun":"2026-03-10T11:00:00Z","ended":null,"restarts":0,"queued":"2026-03-10T12:00:00Z"}"#]].assert_eq(&written);
    assert_eq!(serde_json::from_str::<Memory>(&written).unwrap(), job.memory);
    // What ran was cut off by the restart, and another time was queued: that is one run.
    assert_eq!(job.decide("2026-03-10T12:10:00Z", false), Verdict::Start(Cause::Queued(at(NOW))));
    job.memory = job.memory.with_end(at("2026-03-10T12:20:00Z"));
    assert_eq!(job.decide("2026-03-10T12:20:00Z", false), Verdict::NotDue);
}
