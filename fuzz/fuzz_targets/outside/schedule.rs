//! Cron expressions, which stand in the configuration and in variables that other programs write.
#![no_main]

use jiff::Timestamp;
use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;
use operations::schedule::{Expression, Spread};

/// Two hours before the clock is put forward, and back, on Lord Howe and in Berlin.
const AFTER: [i64; 4] = [1_791_032_400, 1_775_305_800, 1_774_738_800, 1_792_879_200];

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(expression) = repository_fuzz::within(input, 64, || Expression::parse(text)) else { return };
    assert_eq!(Expression::parse(expression.as_str()), Ok(expression.clone()));
    let host = format!("host-{}", input.len());
    let spread = Spread { host: &host, stack: "stack", job: "backup" };
    for zone in ["UTC", "Australia/Lord_Howe", "Europe/Berlin"] {
        let timetable = expression.timetable(&spread, TimeZone::get(zone).expect("it is bundled"));
        for after in AFTER {
            let after = Timestamp::from_second(after).expect("it is within the calendar");
            let times: Vec<Timestamp> = timetable.upcoming(after).take(5).collect();
            assert_eq!(times.len(), 5, "{text} has no times in {zone}");
            assert!(times[0] > after && times.is_sorted_by(|a, b| a < b), "{text} in {zone}: {times:?}");
        }
    }
});
