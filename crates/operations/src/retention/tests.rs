//! restic's semantics, rule by rule; the rules on top; properties.

use std::collections::BTreeSet;
use std::fmt::Write;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use repository::format::snapshot::Snapshot;

use super::*;

const NOW: &str = "2026-11-21T12:00:00Z";

fn snapshot(number: u8, time: Timestamp) -> Candidate {
    Candidate {
        id: Id([number; 32]),
        time,
        tags: Vec::new(),
        drilled: false,
        drilled_elsewhere: false,
        is_last_good: false,
    }
}

fn snapshots(times: &[&str], zone: &TimeZone) -> Vec<Candidate> {
    let at = |text: &str| text.parse::<jiff::civil::DateTime>().unwrap().to_zoned(zone.clone()).unwrap().timestamp();
    times.iter().enumerate().map(|(n, text)| snapshot(u8::try_from(n).unwrap(), at(text))).collect()
}

/// One line per snapshot, newest first: its local time, and the reasons it stays for besides being the newest.
fn show(snapshots: &[Candidate], policy: &Policy, zone: &TimeZone) -> String {
    let mut shown = String::new();
    for decision in apply(snapshots, policy, NOW.parse().unwrap(), zone) {
        let time = decision.time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M");
        let reasons: Vec<String> = decision.reasons.iter().map(ToString::to_string).collect();
        let reasons = if decision.is_kept() { reasons.join(", ") } else { "-".to_owned() };
        let _ = writeln!(shown, "{time}  {reasons}");
    }
    shown
}

fn check(times: &[&str], policy: &Policy, expected: Expect) {
    expected.assert_eq(&show(&snapshots(times, &TimeZone::UTC), policy, &TimeZone::UTC));
}

const WEEK: &[&str] = &[
    "2026-11-14T08:00",
    "2026-11-15T08:00",
    "2026-11-15T20:00",
    "2026-11-16T08:00",
    "2026-11-17T08:00",
    "2026-11-17T08:30",
];

#[test]
fn partial_snapshots_never_push_out_the_last_whole_one() {
    let at = |day: i64| Timestamp::from_second(day * 86_400).unwrap();
    let taken = |day: u8, is_partial: bool| Candidate {
        tags: if is_partial { vec![PARTIAL_TAG.to_owned()] } else { Vec::new() },
        ..snapshot(day, at(i64::from(day)))
    };
    let all = [taken(1, false), taken(2, false), taken(3, true), taken(4, true), taken(5, true)];
    let policy = Policy { last: Count::AtMost(2), ..Policy::default() };
    let kept = |all: &[Candidate]| {
        let decisions = apply(all, &policy, at(6), &TimeZone::UTC);
        decisions.into_iter().filter(Decision::is_kept).map(|kept| (kept.id.0[0], kept.reasons)).collect::<Vec<_>>()
    };
    let of = kept(&all);
    assert_eq!(of.iter().map(|(day, _)| *day).collect::<Vec<_>>(), [5, 4, 2]);
    assert_eq!(of[2].1, [Reason::NewestWhole]);
    assert_eq!(kept(&all[..2]).len(), 2, "a whole newest one needs no reason more");
    assert!(kept(&all[..2]).iter().all(|(_, reasons)| !reasons.contains(&Reason::NewestWhole)));
}

#[test]
fn what_holds_the_last_good_version_of_something_stays() {
    let policy = Policy { last: Count::AtMost(1), ..Policy::default() };
    let mut all = snapshots(&WEEK[..4], &TimeZone::UTC);
    all[1].is_last_good = true;
    expect![[r#"
        2026-11-16 08:00  newest snapshot, last snapshot
        2026-11-15 20:00  -
        2026-11-15 08:00  holds the last good version of what is damaged or missing now
        2026-11-14 08:00  -
    "#]]
    .assert_eq(&show(&all, &policy, &TimeZone::UTC));
}

/// A snapshot of `cht` on a day of March 2026, with its sources, and for some of these where they are whole.
fn of_stack(day: u8, sources: &[&str], good_in: &[(&str, u8)]) -> (Id, Snapshot) {
    let tags = good_in.iter().map(|(source, good)| snapshots::good_in_tag(source, &Id([*good; 32])));
    let tags: Vec<String> = tags.chain([Snapshot::stack_tag("cht")]).collect();
    let paths: Vec<String> = sources.iter().map(|source| format!("/{source}")).collect();
    let json = serde_json::json!({
        "time": format!("2026-03-{day:02}T00:00:00Z"), "tree": Id::of(b""), "paths": paths, "tags": tags,
    });
    (Id([day; 32]), Snapshot::parse(json.to_string().as_bytes()).unwrap())
}

#[test]
fn the_newest_snapshot_of_each_source_says_where_it_is_whole() {
    let now: Timestamp = "2026-03-20T00:00:00Z".parse().unwrap();
    let last_good = |all: &[(Id, Snapshot)]| last_good(all, now).into_iter().map(|id| id.0[0]).collect::<Vec<_>>();
    let mut all = vec![
        of_stack(1, &["records"], &[]),
        of_stack(2, &["records"], &[("records", 1)]),
        of_stack(4, &["records", "tls"], &[("records", 1), ("records", 3), ("tls", 2)]),
    ];
    assert_eq!(last_good(&all), [1, 2, 3]);
    // One of some sources alone says nothing of the others.
    all.push(of_stack(5, &["tls"], &[]));
    assert_eq!(last_good(&all), [1, 3]);
    // A clock that was wrong: it counts, and it does not speak for those before it.
    all.push(of_stack(25, &["records"], &[("records", 5)]));
    assert_eq!(last_good(&all), [1, 3, 5]);
    all.push(of_stack(6, &["records"], &[]));
    assert_eq!(last_good(&all), [5]);
}

#[test]
fn an_empty_policy_keeps_everything() {
    check(
        &WEEK[..2],
        &Policy::default(),
        expect![[r#"
            2026-11-15 08:00  no retention rules, newest snapshot
            2026-11-14 08:00  no retention rules
        "#]],
    );
    assert!(Policy { within: Some(Within::default()), ..Policy::default() }.is_empty(), "a zero span is no rule");
    assert!(apply(&[], &Policy::default(), NOW.parse().unwrap(), &TimeZone::UTC).is_empty());
}

#[test]
fn last_keeps_the_newest_so_many() {
    check(
        WEEK,
        &Policy { last: Count::AtMost(2), ..Policy::default() },
        expect![[r#"
            2026-11-17 08:30  newest snapshot, last snapshot
            2026-11-17 08:00  last snapshot
            2026-11-16 08:00  -
            2026-11-15 20:00  -
            2026-11-15 08:00  -
            2026-11-14 08:00  -
        "#]],
    );
}

#[test]
fn a_period_keeps_its_newest_and_days_without_snapshots_do_not_count() {
    check(
        &["2026-10-01T01:00", "2026-11-15T08:00", "2026-11-15T20:00", "2026-11-17T08:00", "2026-11-17T08:30"],
        &Policy { daily: Count::AtMost(2), ..Policy::default() },
        expect![[r#"
            2026-11-17 08:30  newest snapshot, daily snapshot
            2026-11-17 08:00  -
            2026-11-15 20:00  daily snapshot
            2026-11-15 08:00  -
            2026-10-01 01:00  -
        "#]],
    );
}

#[test]
fn the_oldest_stays_while_counts_are_left() {
    check(
        &["2026-11-15T07:00", "2026-11-15T08:00", "2026-11-17T08:00"],
        &Policy { daily: Count::AtMost(3), hourly: Count::AtMost(1), monthly: Count::All, ..Policy::default() },
        expect![[r#"
            2026-11-17 08:00  newest snapshot, hourly snapshot, daily snapshot, monthly snapshot
            2026-11-15 08:00  daily snapshot
            2026-11-15 07:00  oldest daily snapshot, oldest monthly snapshot
        "#]],
    );
}

#[test]
fn weeks_are_iso_weeks_so_the_first_days_of_january_may_belong_to_december() {
    // Thursday 31 December 2020 and Sunday 3 January 2021 both lie in week 53 of 2020.
    check(
        &["2020-12-27T08:00", "2020-12-31T08:00", "2021-01-03T08:00", "2021-01-04T08:00"],
        &Policy { weekly: Count::AtMost(2), yearly: Count::AtMost(2), ..Policy::default() },
        expect![[r#"
            2021-01-04 08:00  newest snapshot, weekly snapshot, yearly snapshot
            2021-01-03 08:00  weekly snapshot
            2020-12-31 08:00  yearly snapshot
            2020-12-27 08:00  -
        "#]],
    );
}

#[test]
fn all_keeps_without_limit() {
    check(
        WEEK,
        &Policy { daily: Count::All, ..Policy::default() },
        expect![[r#"
            2026-11-17 08:30  newest snapshot, daily snapshot
            2026-11-17 08:00  -
            2026-11-16 08:00  daily snapshot
            2026-11-15 20:00  daily snapshot
            2026-11-15 08:00  -
            2026-11-14 08:00  daily snapshot
        "#]],
    );
}

#[test]
fn within_is_measured_from_the_newest_and_its_border_is_outside() {
    check(
        WEEK,
        &Policy { within: Some("1d30h".parse().unwrap()), ..Policy::default() },
        expect![[r#"
            2026-11-17 08:30  newest snapshot, within 1d30h
            2026-11-17 08:00  within 1d30h
            2026-11-16 08:00  within 1d30h
            2026-11-15 20:00  within 1d30h
            2026-11-15 08:00  within 1d30h
            2026-11-14 08:00  -
        "#]],
    );
    check(
        &["2026-11-15T08:30", "2026-11-15T08:31", "2026-11-17T08:30"],
        &Policy { within: Some("2d".parse().unwrap()), ..Policy::default() },
        expect![[r#"
            2026-11-17 08:30  newest snapshot, within 2d
            2026-11-15 08:31  within 2d
            2026-11-15 08:30  -
        "#]],
    );
}

#[test]
fn the_within_rules_of_a_period_keep_its_newest_inside_the_span() {
    check(
        WEEK,
        &Policy {
            within_daily: Some("2d1h".parse().unwrap()),
            within_yearly: Some("1y".parse().unwrap()),
            ..Policy::default()
        },
        expect![[r#"
            2026-11-17 08:30  newest snapshot, daily within 2d1h, yearly within 1y
            2026-11-17 08:00  -
            2026-11-16 08:00  daily within 2d1h
            2026-11-15 20:00  daily within 2d1h
            2026-11-15 08:00  -
            2026-11-14 08:00  oldest yearly within 1y
        "#]],
    );
}

#[test]
fn a_snapshot_from_the_future_moves_no_window_and_does_not_stay_alone() {
    check(
        &["2026-11-15T08:00", "2026-11-17T08:00", "2030-01-01T00:00"],
        &Policy { within: Some("1d".parse().unwrap()), ..Policy::default() },
        expect![[r#"
            2030-01-01 00:00  newest snapshot, within 1d
            2026-11-17 08:00  newest snapshot, within 1d
            2026-11-15 08:00  -
        "#]],
    );
    check(
        &["2029-01-01T00:00", "2030-01-01T00:00"],
        &Policy { within: Some("1d".parse().unwrap()), ..Policy::default() },
        expect![[r#"
            2030-01-01 00:00  newest snapshot, within 1d
            2029-01-01 00:00  within 1d
        "#]],
    );
}

#[test]
fn tags_keep_what_has_all_of_one_list_and_the_empty_tag_means_untagged() {
    let mut list = snapshots(&WEEK[..5], &TimeZone::UTC);
    let tags = |tags: &[&str]| tags.iter().map(ToString::to_string).collect::<Vec<_>>();
    list[0].tags = tags(&["release", "manual", "x"]);
    list[1].tags = tags(&["release"]);
    list[2].tags = tags(&["audit"]);
    list[4].tags = tags(&["y"]);
    let rules = [&["manual", "release"][..], &["audit"], &[""]].map(|list| TagList(tags(list)));
    let policy = Policy { tags: rules.to_vec(), ..Policy::default() };
    expect![[r#"
        2026-11-17 08:00  newest snapshot
        2026-11-16 08:00  has tags []
        2026-11-15 20:00  has tags [audit]
        2026-11-15 08:00  -
        2026-11-14 08:00  has tags [manual, release]
    "#]]
    .assert_eq(&show(&list, &policy, &TimeZone::UTC));
}

#[test]
fn the_newest_snapshot_that_passed_a_drill_stays() {
    let mut list = snapshots(WEEK, &TimeZone::UTC);
    list[1].drilled = true;
    list[0].drilled = true;
    let policy = Policy { last: Count::AtMost(1), ..Policy::default() };
    expect![[r#"
        2026-11-17 08:30  newest snapshot, last snapshot
        2026-11-17 08:00  -
        2026-11-16 08:00  -
        2026-11-15 20:00  -
        2026-11-15 08:00  newest snapshot that passed a drill
        2026-11-14 08:00  -
    "#]]
    .assert_eq(&show(&list, &policy, &TimeZone::UTC));
}

#[test]
fn days_are_those_of_the_stacks_time_zone() {
    let zone = TimeZone::get("Africa/Nairobi").unwrap();
    // 22:30 UTC is half past one of the next day in Nairobi.
    let list = snapshots(&["2026-11-15T20:00", "2026-11-15T22:30"], &TimeZone::UTC);
    let policy = Policy { daily: Count::AtMost(5), last: Count::AtMost(1), ..Policy::default() };
    expect![[r#"
        2026-11-16 01:30  newest snapshot, last snapshot, daily snapshot
        2026-11-15 23:00  daily snapshot
    "#]]
    .assert_eq(&show(&list, &policy, &zone));
    expect![[r#"
        2026-11-15 22:30  newest snapshot, last snapshot, daily snapshot
        2026-11-15 20:00  oldest daily snapshot
    "#]]
    .assert_eq(&show(&list, &policy, &TimeZone::UTC));
}

#[test]
fn the_hour_that_happens_twice_is_one_hour() {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    // Berlin's clocks went back from 3 to 2 o'clock on 25 October 2026, at 01:00 UTC.
    let list =
        snapshots(&["2026-10-24T23:30", "2026-10-25T00:30", "2026-10-25T01:30", "2026-10-25T02:30"], &TimeZone::UTC);
    let policy = Policy { hourly: Count::AtMost(3), ..Policy::default() };
    expect![[r#"
        2026-10-25 03:30  newest snapshot, hourly snapshot
        2026-10-25 02:30  hourly snapshot
        2026-10-25 02:30  -
        2026-10-25 01:30  hourly snapshot
    "#]]
    .assert_eq(&show(&list, &policy, &zone));
}

#[test]
fn a_year_of_backups_every_four_hours_keeps_what_the_preset_promises() {
    let start: Timestamp = "2025-11-21T12:00:00Z".parse().unwrap();
    let every = |n: i64| start + jiff::SignedDuration::from_hours(4 * n);
    let list: Vec<Candidate> = (0..=365 * 6)
        .map(|n: i64| Candidate {
            id: Id::of(&n.to_le_bytes()),
            time: every(n),
            tags: Vec::new(),
            drilled: n == 3,
            drilled_elsewhere: false,
            is_last_good: false,
        })
        .collect();
    let decisions = apply(&list, &Policy::preset(), NOW.parse().unwrap(), &TimeZone::UTC);
    let of = |period| {
        let is_reason = |reason: &Reason| matches!(reason, Reason::Counted { period: p, .. } if *p == period);
        decisions.iter().filter(|decision| decision.reasons.iter().any(is_reason)).count()
    };
    assert_eq!(Period::ALL.map(of), [3, 24, 7, 4, 12, 3]);
    assert_eq!(decisions.iter().filter(|decision| decision.reasons.contains(&Reason::NewestDrilled)).count(), 1);
}

fn count() -> impl Strategy<Value = Count> {
    prop_oneof![(0u32..6).prop_map(Count::AtMost), Just(Count::All)]
}

fn within() -> impl Strategy<Value = Option<Within>> {
    let some = (0u32..2, 0u32..4, 0u32..9, 0u32..30)
        .prop_map(|(years, months, days, hours)| Some(Within { years, months, days, hours }));
    prop_oneof![Just(None), some]
}

fn policy() -> impl Strategy<Value = Policy> {
    let counts = (count(), count(), count(), count(), count(), count());
    let spans = (within(), within(), within(), within(), within(), within());
    (counts, spans, any::<bool>()).prop_map(|(counts, spans, tagged)| Policy {
        last: counts.0,
        hourly: counts.1,
        daily: counts.2,
        weekly: counts.3,
        monthly: counts.4,
        yearly: counts.5,
        within: spans.0,
        within_hourly: spans.1,
        within_daily: spans.2,
        within_weekly: spans.3,
        within_monthly: spans.4,
        within_yearly: spans.5,
        tags: if tagged { vec![TagList(vec!["keep".to_owned()])] } else { Vec::new() },
    })
}

fn list() -> impl Strategy<Value = Vec<Candidate>> {
    // Two years before to a few days after NOW, some at the same second.
    let one = (0i64..17_700, 0i64..4, any::<bool>(), any::<bool>());
    prop::collection::vec(one, 1..60).prop_map(|list| {
        let end = NOW.parse::<Timestamp>().unwrap().as_second() + 3 * 86_400;
        let make = |(n, (hours, quarters, tagged, drilled)): (usize, (i64, i64, bool, bool))| Candidate {
            tags: if tagged { vec!["keep".to_owned()] } else { Vec::new() },
            drilled,
            ..snapshot(u8::try_from(n).unwrap(), Timestamp::from_second(end - hours * 3600 - quarters * 900).unwrap())
        };
        list.into_iter().enumerate().map(make).collect()
    })
}

fn kept(list: &[Candidate], policy: &Policy) -> BTreeSet<Id> {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let decisions = apply(list, policy, NOW.parse().unwrap(), &zone);
    decisions.into_iter().filter(Decision::is_kept).map(|decision| decision.id).collect()
}

proptest! {
    #[test]
    fn the_newest_and_the_newest_drilled_always_stay(list in list(), policy in policy()) {
        let kept = kept(&list, &policy);
        let newest = list.iter().map(|candidate| candidate.time).max().unwrap();
        prop_assert!(list.iter().any(|candidate| candidate.time == newest && kept.contains(&candidate.id)));
        if let Some(newest) = list.iter().filter(|candidate| candidate.drilled).map(|candidate| candidate.time).max() {
            let is_it = |candidate: &Candidate| candidate.drilled && candidate.time == newest;
            prop_assert!(list.iter().any(|candidate| is_it(candidate) && kept.contains(&candidate.id)));
        }
    }

    #[test]
    fn a_larger_count_keeps_at_least_as_much(list in list(), policy in policy(), which in 0usize..6) {
        let mut larger = policy.clone();
        let field = match which {
            0 => &mut larger.last,
            1 => &mut larger.hourly,
            2 => &mut larger.daily,
            3 => &mut larger.weekly,
            4 => &mut larger.monthly,
            _ => &mut larger.yearly,
        };
        *field = match *field {
            Count::AtMost(n) if n < 5 => Count::AtMost(n + 1),
            _ => Count::All,
        };
        // No rules at all keep everything, so the first rule may well keep less.
        prop_assume!(!policy.is_empty());
        prop_assert!(kept(&list, &policy).is_subset(&kept(&list, &larger)));
    }

    #[test]
    fn every_snapshot_gets_one_decision_and_the_order_of_the_input_does_not_matter(
        (list, shuffled) in list().prop_flat_map(|list| (Just(list.clone()), Just(list).prop_shuffle())),
        policy in policy(),
    ) {
        let zone = TimeZone::UTC;
        let decisions = apply(&list, &policy, NOW.parse().unwrap(), &zone);
        prop_assert_eq!(decisions.len(), list.len());
        prop_assert!(decisions.windows(2).all(|pair| pair[0].time >= pair[1].time));
        prop_assert_eq!(decisions, apply(&shuffled, &policy, NOW.parse().unwrap(), &zone));
    }

    #[test]
    fn forgetting_twice_removes_nothing_more_under_last_and_tags(list in list(), n in 0u32..6) {
        let policy = Policy { last: Count::AtMost(n), tags: vec![TagList(vec!["keep".to_owned()])], ..Policy::default() };
        let once = kept(&list, &policy);
        let rest: Vec<Candidate> = list.into_iter().filter(|candidate| once.contains(&candidate.id)).collect();
        prop_assert_eq!(kept(&rest, &policy), once);
    }
}
