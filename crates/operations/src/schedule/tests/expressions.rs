//! What may be written, and what is said of what may not.

use std::fmt::Write;

use expect_test::expect;
use proptest::prelude::*;

use super::*;

/// The next times in 2026, which began on a Thursday.
fn times(expression: &str, count: usize) -> String {
    next(expression, "UTC", "2026-01-01T00:00", count).replace("+00:00", "")
}

#[test]
fn fields_hold_numbers_names_lists_ranges_and_steps() {
    let mut said = String::new();
    for expression in [
        "0 */4 * * *",
        "5,10 3 * * *",
        "*/20 22-23 * * *",
        "7-20/6 0 * * *",
        "0 0 * * MON",
        "0 0 * * mon-wed,Fri",
        "0 0 * * 7",
        "0 0 * * 5-7",
        "0 0 * * SAT-SUN",
        "0 0 * * 7-1",
        "0 0 * * */3",
        "0 0 1 JAN,jul *",
        "0 0 31 * *",
        "00 06 02-04/2 * *",
        "0 0 29 2 *",
        "  0\t0   1  1  *  ",
    ] {
        let _ = writeln!(said, "{expression:?}: {}", times(expression, 5));
    }
    expect![[r#"
        "0 */4 * * *": 01-01 04:00, 01-01 08:00, 01-01 12:00, 01-01 16:00, 01-01 20:00
        "5,10 3 * * *": 01-01 03:05, 01-01 03:10, 01-02 03:05, 01-02 03:10, 01-03 03:05
        "*/20 22-23 * * *": 01-01 22:00, 01-01 22:20, 01-01 22:40, 01-01 23:00, 01-01 23:20
        "7-20/6 0 * * *": 01-01 00:07, 01-01 00:13, 01-01 00:19, 01-02 00:07, 01-02 00:13
        "0 0 * * MON": 01-05 00:00, 01-12 00:00, 01-19 00:00, 01-26 00:00, 02-02 00:00
        "0 0 * * mon-wed,Fri": 01-02 00:00, 01-05 00:00, 01-06 00:00, 01-07 00:00, 01-09 00:00
        "0 0 * * 7": 01-04 00:00, 01-11 00:00, 01-18 00:00, 01-25 00:00, 02-01 00:00
        "0 0 * * 5-7": 01-02 00:00, 01-03 00:00, 01-04 00:00, 01-09 00:00, 01-10 00:00
        "0 0 * * SAT-SUN": 01-03 00:00, 01-04 00:00, 01-10 00:00, 01-11 00:00, 01-17 00:00
        "0 0 * * 7-1": 01-04 00:00, 01-05 00:00, 01-11 00:00, 01-12 00:00, 01-18 00:00
        "0 0 * * */3": 01-03 00:00, 01-04 00:00, 01-07 00:00, 01-10 00:00, 01-11 00:00
        "0 0 1 JAN,jul *": 07-01 00:00, 01-01 00:00, 07-01 00:00, 01-01 00:00, 07-01 00:00
        "0 0 31 * *": 01-31 00:00, 03-31 00:00, 05-31 00:00, 07-31 00:00, 08-31 00:00
        "00 06 02-04/2 * *": 01-02 06:00, 01-04 06:00, 02-02 06:00, 02-04 06:00, 03-02 06:00
        "0 0 29 2 *": 02-29 00:00, 02-29 00:00, 02-29 00:00, 02-29 00:00, 02-29 00:00
        "  0\t0   1  1  *  ": 01-01 00:00, 01-01 00:00, 01-01 00:00, 01-01 00:00, 01-01 00:00
    "#]]
    .assert_eq(&said);
}

#[test]
fn nicknames_stand_for_what_they_stand_for_in_cron() {
    for (name, written) in [
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@Midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * SUN"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
    ] {
        assert_eq!(times(name, 30), times(written, 30), "{name}");
        assert_eq!(Expression::parse(name).unwrap().as_str(), name);
    }
}

#[test]
fn of_two_fields_for_days_one_is_enough_where_both_are_narrowed_down() {
    expect!["01-05 00:00, 01-12 00:00, 01-19 00:00, 01-20 00:00, 01-26 00:00"].assert_eq(&times("0 0 20 * MON", 5));
    assert_eq!(times("0 0 */2 * MON", 3), "01-05 00:00, 01-19 00:00, 02-09 00:00", "odd days that are Mondays");
    assert_eq!(times("0 0 1-7 * */7", 2), "01-04 00:00, 02-01 00:00", "the first Sunday of a month");
}

#[test]
fn h_is_settled_by_host_stack_and_job_and_stays_within_its_bounds() {
    let first = |expression: &str, spread: &Spread<'_>| {
        let timetable = Expression::parse(expression).unwrap().timetable(spread, TimeZone::UTC);
        let times: Vec<_> = timetable.upcoming(at("2026-01-01T00:00:00Z")).take(4).collect();
        assert_eq!(times, timetable.upcoming(at("2026-01-01T00:00:00Z")).take(4).collect::<Vec<_>>());
        times.into_iter().map(|time| time.to_zoned(TimeZone::UTC)).collect::<Vec<_>>()
    };
    let mut seen = std::collections::BTreeSet::new();
    for host in 0..300 {
        let host = format!("host-{host}");
        let spread = Spread { host: &host, stack: "cht", job: "backup" };
        let daily = &first("H H * * *", &spread)[0];
        seen.insert((daily.hour(), daily.minute()));
        let quarters: Vec<i8> = first("H/15 * * * *", &spread).iter().map(|time| time.minute() % 15).collect();
        assert!(quarters.iter().all(|minute| *minute == quarters[0]), "{quarters:?}");
        assert!(first("H(0-29) 3 * * *", &spread).iter().all(|time| time.minute() <= 29 && time.hour() == 3));
        assert!(first("0 h(22-23)/2 * * *", &spread).iter().all(|time| time.hour() >= 22));
        assert!(first("0 0 H * *", &spread).iter().all(|time| time.day() <= 28));
        let pair: Vec<i8> = first("H(0-9),H(50-59) 3 * * *", &spread).iter().map(|time| time.minute()).collect();
        assert!(pair[0] <= 9 && pair[1] >= 50, "{pair:?}");
    }
    assert!(seen.len() > 200, "300 hosts use {} minutes of the day", seen.len());
}

#[test]
fn what_cannot_be_is_told_with_what_to_write_instead() {
    let mut said = String::new();
    for wrong in [
        "",
        "60 * * * *",
        "0 24 * * *",
        "0 0 0 * *",
        "0 0 * 13 *",
        "0 0 * * 8",
        "0 0 * JANUARY *",
        "0 0 * * FRIDAY",
        "0 0 * * FRI-MON",
        "0 22-2 * * *",
        "0 99999999999999999999 * * *",
        "-5 * * * *",
        "1,,2 * * * *",
        "1- * * * *",
        "*/0 * * * *",
        "*/90 * * * *",
        "*/x * * * *",
        "5/15 * * * *",
        "0 2/4 * * *",
        "0 *-5 * * *",
        "0~59 3 * * *",
        "0 0 ? * MON",
        "0 0 L * *",
        "0 0 15W * *",
        "0 0 * * FRI#2",
        "0 0 * * 5L",
        "H(5) * * * *",
        "H(5-60) * * * *",
        "H5 * * * *",
        "H(0-9 * * * *",
        "H-9 * * * *",
        "H/61 * * * *",
        "x * * * *",
        "é€ * * * *",
        "0 0 \u{1b}[2J * *",
        "0 0 30 2 *",
        "0 0 31 4,6,9,11 *",
        "0 0 H(29-30) 2 *",
        "0 0 31 H *",
        "0 0 30 H(1-3) *",
        "0 3 * *",
        "*/5",
        "0 0 3 * * *",
        "0 3 * * * 2026",
        "0 3 * * * lifeboat backup",
        "CRON_TZ=UTC 0 3 * * *",
        "daily",
        "6h",
        "every day",
        "@dayly",
        "@reboot",
        "@every 5m",
        "@daily 5",
    ] {
        let error = Expression::parse(wrong).unwrap_err();
        let _ = writeln!(said, "{wrong:?}: {}\n    {}", error.what, error.hint);
    }
    let long = format!("0 0 {} * *", "1,".repeat(1000));
    assert!(Expression::parse(&long).unwrap_err().what.contains("longer"));
    assert!(!said.contains('\u{1b}'));
    expect![[r#"
        "": the schedule is empty
            write a cron expression such as "0 */4 * * *", or remove it
        "60 * * * *": minute: `60` is not from 0 to 59
            write 0 to 59, such as 0, */15 or H
        "0 24 * * *": hour: `24` is not from 0 to 23
            write 0 to 23, such as 3, 22-23 or */4; midnight is 0
        "0 0 0 * *": day of month: `0` is not from 1 to 31
            write 1 to 31, such as 1,15 or *
        "0 0 * 13 *": month: `13` is not from 1 to 12
            write 1 to 12 or JAN to DEC
        "0 0 * * 8": day of week: `8` is not from 0 to 7
            write SUN to SAT, or 0 to 7, where 0 and 7 are Sunday
        "0 0 * JANUARY *": month: `JANUARY` is not known
            write JAN
        "0 0 * * FRIDAY": day of week: `FRIDAY` is not known
            write FRI
        "0 0 * * FRI-MON": day of week: `FRI-MON` runs backwards
            write FRI-SAT,SUN-MON
        "0 22-2 * * *": hour: `22-2` runs backwards
            write 22-23,0-2
        "0 99999999999999999999 * * *": hour: `99999999999999999999` is not from 0 to 23
            write 0 to 23, such as 3, 22-23 or */4; midnight is 0
        "-5 * * * *": minute: a number is missing
            put one on both sides of each comma and dash; write 0 to 59, such as 0, */15 or H
        "1,,2 * * * *": minute: a number is missing
            put one on both sides of each comma and dash; write 0 to 59, such as 0, */15 or H
        "1- * * * *": minute: a number is missing
            put one on both sides of each comma and dash; write 0 to 59, such as 0, */15 or H
        "*/0 * * * *": minute: `0` is no step from 1 to 60
            write one, such as */2; steps begin anew with each hour
        "*/90 * * * *": minute: `90` is no step from 1 to 60
            write one, such as */2; steps begin anew with each hour
        "*/x * * * *": minute: `x` is no step from 1 to 60
            write one, such as */2; steps begin anew with each hour
        "5/15 * * * *": minute: `5/15` does not say where it ends
            write 5-59/15
        "0 2/4 * * *": hour: `2/4` does not say where it ends
            write 2-23/4
        "0 *-5 * * *": hour: `*` stands alone, or before a step as in */2
            write 0 to 23, such as 3, 22-23 or */4; midnight is 0
        "0~59 3 * * *": minute: `0~59` is not known
            for a time that differs from host to host write H(0-59)
        "0 0 ? * MON": day of month: `?` is not known
            write *
        "0 0 L * *": day of month: `L`, `W` and `#` are not known
            write the days by number or name, such as 1,15 or MON-FRI
        "0 0 15W * *": day of month: `L`, `W` and `#` are not known
            write the days by number or name, such as 1,15 or MON-FRI
        "0 0 * * FRI#2": day of week: `L`, `W` and `#` are not known
            write the days by number or name, such as 1,15 or MON-FRI
        "0 0 * * 5L": day of week: `L`, `W` and `#` are not known
            write the days by number or name, such as 1,15 or MON-FRI
        "H(5) * * * *": minute: `H(5)` is none of the forms that H has
            write H, H(0-59), H/2 or H(0-59)/2
        "H(5-60) * * * *": minute: `60` is not from 0 to 59
            write 0 to 59, such as 0, */15 or H
        "H5 * * * *": minute: `H5` is none of the forms that H has
            write H, H(0-59), H/2 or H(0-59)/2
        "H(0-9 * * * *": minute: `H(0-9` is none of the forms that H has
            write H, H(0-59), H/2 or H(0-59)/2
        "H-9 * * * *": minute: `H-9` is none of the forms that H has
            write H, H(0-59), H/2 or H(0-59)/2
        "H/61 * * * *": minute: `61` is no step from 1 to 60
            write one, such as */2; steps begin anew with each hour
        "x * * * *": minute: `x` is not known
            write 0 to 59, such as 0, */15 or H
        "é€ * * * *": minute: `é€` is not known
            write 0 to 59, such as 0, */15 or H
        "0 0 \u{1b}[2J * *": day of month: `\u{1b}[2J` is not known
            write 1 to 31, such as 1,15 or *
        "0 0 30 2 *": this never comes: no month of it is sure to have 30 days
            write a day up to 29, other months, or * as the month
        "0 0 31 4,6,9,11 *": this never comes: no month of it is sure to have 31 days
            write a day up to 30, other months, or * as the month
        "0 0 H(29-30) 2 *": this never comes: no month of it is sure to have 30 days
            write a day up to 29, other months, or * as the month
        "0 0 31 H *": this never comes: no month of it is sure to have 31 days
            write a day up to 29, other months, or * as the month
        "0 0 30 H(1-3) *": this never comes: no month of it is sure to have 30 days
            write a day up to 29, other months, or * as the month
        "0 3 * *": there are 4 fields, and a schedule has five
            write minute, hour, day of month, month and day of week, such as "0 */4 * * *" for every four hours, or @daily
        "*/5": there is 1 field, and a schedule has five
            write minute, hour, day of month, month and day of week, such as "0 */4 * * *" for every four hours, or @daily
        "0 0 3 * * *": there are 6 fields, and a schedule has five
            there are no seconds, years and commands here: write minute, hour, day of month, month and day of week, such as "0 */4 * * *" for every four hours, or @daily
        "0 3 * * * 2026": there are 6 fields, and a schedule has five
            there are no seconds, years and commands here: write minute, hour, day of month, month and day of week, such as "0 */4 * * *" for every four hours, or @daily
        "0 3 * * * lifeboat backup": there are 7 fields, and a schedule has five
            there are no seconds, years and commands here: write minute, hour, day of month, month and day of week, such as "0 */4 * * *" for every four hours, or @daily
        "CRON_TZ=UTC 0 3 * * *": a time zone does not belong into the schedule
            write it as the stack's `timezone`
        "daily": `daily` is no schedule
            write @daily
        "6h": `6h` is no schedule
            write minute, hour, day of month, month and day of week, such as "0 */4 * * *" for every four hours, or @daily
        "every day": there are 2 fields, and a schedule has five
            write minute, hour, day of month, month and day of week, such as "0 */4 * * *" for every four hours, or @daily
        "@dayly": `@dayly` is not known
            did you mean @daily? known here: @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually, or five fields such as "0 */4 * * *"
        "@reboot": `@reboot` is not known
            write the times; one that was missed is made up for after a start
        "@every 5m": `@every` is not known
            write */15 * * * * for every 15 minutes, 0 */4 * * * for every 4 hours
        "@daily 5": `@daily` is not known
            did you mean @daily? known here: @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually, or five fields such as "0 */4 * * *"
    "#]].assert_eq(&said);
}

#[test]
fn what_a_hint_says_to_write_can_be_written() {
    for right in ["0 0 * * FRI-SAT,SUN-MON", "0 22-23,0-2 * * *", "5-59/15 * * * *", "H(0-59) 3 * * *", "0 0 29 2 *"] {
        Expression::parse(right).unwrap();
    }
    assert_eq!(times("0 0 * * FRI-SAT,SUN-MON", 4), "01-02 00:00, 01-03 00:00, 01-04 00:00, 01-05 00:00");
}

#[test]
fn leap_days_are_found_however_far_away_they_are() {
    let years = |expression: &str, after: &str| -> Vec<i16> {
        let times = timetable(expression, "UTC");
        times.upcoming(at(after)).take(3).map(|time| time.to_zoned(TimeZone::UTC).year()).collect()
    };
    assert_eq!(years("0 0 29 2 *", "2026-01-01T00:00:00Z"), [2028, 2032, 2036]);
    assert_eq!(years("0 0 29 2 *", "2096-03-01T00:00:00Z"), [2104, 2108, 2112], "2100 is no leap year");
    // A day of month that is a certain day of the week, by Vixie's rule for fields that begin with a star.
    assert_eq!(years("0 0 29 2 */7", "2026-01-01T00:00:00Z"), [2032, 2060, 2088]);
    assert_eq!(years("0 0 29 2 */7", "2088-03-01T00:00:00Z"), [2128, 2156, 2184], "40 years later");
}

#[test]
fn at_the_end_of_the_calendar_there_is_no_next_time() {
    for expression in ["* * * * *", "0 3 * * *", "0 0 1 1 *"] {
        for zone in ["UTC", "Asia/Kathmandu", "America/New_York"] {
            assert_eq!(timetable(expression, zone).next_after(Timestamp::MAX), None);
            let _ = timetable(expression, zone).next_after(Timestamp::MIN);
        }
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,40}") {
        let _ = Expression::parse(&text);
    }

    #[test]
    fn no_text_of_signs_of_cron_makes_it_panic_and_what_it_takes_has_times(
        text in "[0-9*,/H()A-Z@-]{1,6} [0-9*,/H()-]{1,6} [0-9*,/H()LW-]{1,6} [0-9*,/HJANFEB()-]{1,6} [0-9*,/HMONSU()#-]{1,6}",
        after in 0i64..4_000_000_000,
    ) {
        if let Ok(expression) = Expression::parse(&text) {
            let spread = Spread { host: &text, stack: "s", job: "backup" };
            let after = Timestamp::from_second(after).unwrap();
            let next = expression.timetable(&spread, zone("Australia/Lord_Howe")).next_after(after);
            prop_assert!(next.is_some_and(|next| next > after), "{text}");
        }
    }

    #[test]
    fn whatever_can_be_written_is_what_a_slow_search_finds(
        minute in 0u32..60, hours in "(\\*|[0-9]|1[0-9]|2-5|\\*/3|0-23)", day in "(\\*|31|1,15|\\*/2)",
        weekday in "(\\*|MON|5-7|\\*/2)", start in 0i64..20_000,
    ) {
        let text = format!("{minute} {hours} {day} * {weekday}");
        let after = Timestamp::from_second(1_700_000_000 + start * 3607).unwrap();
        let found = timetable(&text, "UTC").next_after(after).unwrap();
        let fields: Vec<&str> = text.split(' ').collect();
        let has = |field: &str, first: i8, number: i8| {
            field.split(',').any(|item| match item {
                "*" | "0-23" => true,
                "*/2" => (number - first) % 2 == 0,
                "*/3" => number % 3 == 0,
                "MON" => number == 1,
                "2-5" => (2..=5).contains(&number),
                "5-7" => number == 0 || number >= 5,
                one => one.parse() == Ok(number),
            })
        };
        let is_time = |time: Timestamp| {
            let time = time.to_zoned(TimeZone::UTC);
            let by_month = has(fields[2], 1, time.day());
            let by_week = has(fields[4], 0, time.weekday().to_sunday_zero_offset());
            let is_day = match fields[2].starts_with('*') || fields[4].starts_with('*') {
                true => by_month && by_week,
                false => by_month || by_week,
            };
            time.minute() == i8::try_from(minute).unwrap() && has(fields[1], 0, time.hour()) && is_day
        };
        let mut slow = Timestamp::from_second(after.as_second().div_euclid(60) * 60 + 60).unwrap();
        while !is_time(slow) {
            slow += jiff::SignedDuration::from_mins(1);
        }
        prop_assert_eq!(found, slow, "{}", text);
    }
}
