//! The rule for hours that a clock skips or shows twice, zone by zone. Times are those on the clock there, with its offset.

use expect_test::expect;

use super::*;

#[test]
fn where_clocks_never_change_every_day_is_like_the_other() {
    expect!["01-01 04:00+03:00, 01-01 08:00+03:00, 01-01 12:00+03:00"].assert_eq(&next(
        "0 */4 * * *",
        "Africa/Nairobi",
        "2026-01-01T00:00",
        3,
    ));
    expect!["03-29 02:30+05:45, 03-30 02:30+05:45"].assert_eq(&next(
        "30 2 * * *",
        "Asia/Kathmandu",
        "2026-03-29T00:00",
        2,
    ));
    // The day that began there at 18:15 of the day before in UTC.
    let first = timetable("0 0 1 * *", "Asia/Kathmandu").next_after(at("2026-01-15T00:00:00Z"));
    assert_eq!(first, Some(at("2026-01-31T18:15:00Z")));
}

#[test]
fn a_time_that_is_skipped_comes_right_after_the_gap() {
    // In Berlin, the clock went from 02:00 to 03:00 on 29 March 2026.
    let berlin = |expression| next(expression, "Europe/Berlin", "2026-03-28T12:00", 3);
    expect!["03-29 03:00+02:00, 03-30 02:30+02:00, 03-31 02:30+02:00"].assert_eq(&berlin("30 2 * * *"));
    expect!["03-29 01:59+01:00, 03-30 01:59+02:00, 03-31 01:59+02:00"].assert_eq(&berlin("59 1 * * *"));
    expect!["03-29 03:00+02:00, 03-30 03:00+02:00, 03-31 03:00+02:00"].assert_eq(&berlin("0 3 * * *"));
    // What is skipped together comes once, and so does what comes at that time anyway.
    expect!["03-29 03:00+02:00, 03-30 02:00+02:00, 03-30 02:15+02:00"].assert_eq(&berlin("*/15 2 * * *"));
    expect!["03-28 14:00+01:00, 03-28 16:00+01:00, 03-28 18:00+01:00"].assert_eq(&berlin("0 */2 * * *"));
    expect!["03-29 00:00+01:00, 03-29 03:00+02:00, 03-29 04:00+02:00"].assert_eq(&next(
        "0 */2 * * *",
        "Europe/Berlin",
        "2026-03-28T23:00",
        3,
    ));
    expect!["03-29 03:00+02:00, 03-29 03:30+02:00, 03-30 02:00+02:00"].assert_eq(&berlin("0,30 2,3 29-31 * *"));
    // In New York, from 02:00 to 03:00 on 8 March.
    expect!["03-08 03:00-04:00, 03-09 02:30-04:00"].assert_eq(&next(
        "30 2 * * *",
        "America/New_York",
        "2026-03-07T12:00",
        2,
    ));
    // On Lord Howe, from 02:00 to 02:30 on 4 October.
    expect!["10-04 02:30+11:00, 10-05 02:15+11:00"].assert_eq(&next(
        "15 2 * * *",
        "Australia/Lord_Howe",
        "2026-10-03T12:00",
        2,
    ));
    // In São Paulo, midnight was skipped on 4 November 2018.
    expect!["11-04 01:00-02:00, 11-05 00:00-02:00"].assert_eq(&next(
        "@daily",
        "America/Sao_Paulo",
        "2018-11-03T12:00",
        2,
    ));
}

#[test]
fn a_whole_day_that_is_skipped_is_made_up_for_once() {
    // Samoa went to the other side of the date line: there was no 30 December 2011.
    expect!["12-29 06:00-10:00, 12-31 00:00+14:00, 12-31 06:00+14:00"].assert_eq(&next(
        "0 6 * * *",
        "Pacific/Apia",
        "2011-12-29T00:00",
        3,
    ));
    expect!["12-31 00:00+14:00, 01-30 06:00+14:00"].assert_eq(&next(
        "0 6 30 * *",
        "Pacific/Apia",
        "2011-12-29T00:00",
        2,
    ));
    expect!["12-29 23:00-10:00, 12-31 00:00+14:00, 12-31 01:00+14:00"].assert_eq(&next(
        "@hourly",
        "Pacific/Apia",
        "2011-12-29T22:30",
        3,
    ));
}

#[test]
fn a_time_that_is_repeated_comes_once_and_the_first_time() {
    // In Berlin, 02:00 to 03:00 came twice on 25 October 2026.
    let berlin = |expression| next(expression, "Europe/Berlin", "2026-10-24T12:00", 3);
    expect!["10-25 02:30+02:00, 10-26 02:30+01:00, 10-27 02:30+01:00"].assert_eq(&berlin("30 2 * * *"));
    expect!["10-25 02:00+02:00, 10-25 02:30+02:00, 10-26 02:00+01:00"].assert_eq(&berlin("*/30 2 * * *"));
    expect!["10-25 03:00+01:00, 10-26 03:00+01:00, 10-27 03:00+01:00"].assert_eq(&berlin("0 3 * * *"));
    // Also for who looks in the repeated hour.
    let later = timetable("30 2 * * *", "Europe/Berlin").next_after(at("2026-10-25T01:10:00Z"));
    assert_eq!(later, Some(at("2026-10-26T01:30:00Z")));
    expect!["11-01 01:30-04:00, 11-02 01:30-05:00"].assert_eq(&next(
        "30 1 * * *",
        "America/New_York",
        "2026-10-31T12:00",
        2,
    ));
    // On Lord Howe, 01:30 to 02:00 came twice on 5 April.
    expect!["04-05 01:45+11:00, 04-06 01:45+10:30"].assert_eq(&next(
        "45 1 * * *",
        "Australia/Lord_Howe",
        "2026-04-04T12:00",
        2,
    ));
    // In São Paulo, the last hour of 17 February 2018 did.
    expect!["02-17 23:30-02:00, 02-18 23:30-03:00"].assert_eq(&next(
        "30 23 * * *",
        "America/Sao_Paulo",
        "2018-02-17T12:00",
        2,
    ));
}

#[test]
fn what_runs_in_every_hour_goes_by_real_time() {
    let berlin = |expression, after, count| next(expression, "Europe/Berlin", after, count);
    expect!["03-29 01:30+01:00, 03-29 03:30+02:00, 03-29 04:30+02:00"].assert_eq(&berlin(
        "30 * * * *",
        "2026-03-29T01:00",
        3,
    ));
    expect!["10-25 02:00+02:00, 10-25 02:00+01:00, 10-25 03:00+01:00"].assert_eq(&berlin(
        "0 * * * *",
        "2026-10-25T01:30",
        3,
    ));
    expect!["10-25 02:45+02:00, 10-25 02:00+01:00, 10-25 02:15+01:00"].assert_eq(&berlin(
        "*/15 0-23 * * *",
        "2026-10-25T02:30+02:00",
        3,
    ));
    // Where the clock is changed by half an hour, one distance is an hour and a half.
    expect!["10-04 01:00+10:30, 10-04 03:00+11:00, 10-04 04:00+11:00"].assert_eq(&next(
        "0 * * * *",
        "Australia/Lord_Howe",
        "2026-10-04T00:30",
        3,
    ));
    expect!["04-05 01:00+11:00, 04-05 02:00+10:30, 04-05 03:00+10:30"].assert_eq(&next(
        "0 * * * *",
        "Australia/Lord_Howe",
        "2026-04-05T00:30",
        3,
    ));
}

const ZONES: [&str; 7] = [
    "Africa/Nairobi",
    "America/New_York",
    "America/Sao_Paulo",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Pacific/Apia",
];

#[test]
fn over_ten_years_a_daily_job_runs_once_for_each_day_and_an_hourly_one_at_each_hour() {
    for name in ZONES {
        let noon = |year| jiff::civil::date(year, 1, 1).at(12, 0, 0, 0).to_zoned(zone(name)).unwrap().timestamp();
        let (start, end) = (noon(2010), noon(2020));
        for time in ["0 0", "30 1", "15 2", "45 23"] {
            let times = timetable(&format!("{time} * * *"), name);
            let count = times.upcoming(start).take_while(|time| *time <= end).count();
            // The midnight of the day that Samoa skipped is made up for at the next one.
            let days = if (name, time) == ("Pacific/Apia", "0 0") { 3651 } else { 3652 };
            assert_eq!(count, days, "{time} in {name}");
        }
        let mut last = start;
        for time in timetable("0 * * * *", name).upcoming(start).take_while(|time| *time <= end) {
            let minutes = time.duration_since(last).as_mins();
            assert!(minutes <= 60 || name == "Australia/Lord_Howe" && minutes == 90, "{minutes} to {time} in {name}");
            last = time;
        }
    }
}

#[test]
fn from_wherever_one_looks_the_next_time_is_the_same() {
    for name in ZONES {
        for expression in ["30 2 * * *", "*/15 1-2 * * *", "*/20 * * * *", "0 0 * * SUN", "0 */2 * * *"] {
            let timetable = timetable(expression, name);
            for start in
                ["2011-12-27T00:00:00Z", "2018-02-16T00:00:00Z", "2026-03-06T00:00:00Z", "2026-10-23T00:00:00Z"]
            {
                let times: Vec<Timestamp> = timetable.upcoming(at(start)).take(150).collect();
                assert!(times.is_sorted_by(|a, b| a < b), "{expression} in {name}");
                let mut place = 0;
                let mut now = at(start);
                while place + 1 < times.len() && now < at(start) + jiff::SignedDuration::from_hours(24 * 8) {
                    if now >= times[place] {
                        place += 1;
                    }
                    assert_eq!(timetable.next_after(now), Some(times[place]), "{expression} in {name} after {now}");
                    now += jiff::SignedDuration::from_secs(300);
                }
            }
        }
    }
}
