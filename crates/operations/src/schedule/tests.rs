//! Schedules as a whole: what may be written, what it means where clocks change, and a year of decisions.

mod decisions;
mod expressions;
mod year;
mod zones;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn timetable(expression: &str, zone_name: &str) -> Timetable {
    let spread = Spread { host: "host", stack: "stack", job: "backup" };
    Expression::parse(expression).unwrap().timetable(&spread, zone(zone_name))
}

/// The next times after a time of that zone, as its clocks show them, with the offset.
fn next(expression: &str, zone_name: &str, after: &str, count: usize) -> String {
    let after = format!("{after}[{zone_name}]").parse::<jiff::Zoned>().unwrap().timestamp();
    let timetable = timetable(expression, zone_name);
    let times = timetable.upcoming(after).take(count);
    let shown = times.map(|time| time.to_zoned(zone(zone_name)).strftime("%m-%d %H:%M%:z").to_string());
    shown.collect::<Vec<_>>().join(", ")
}
