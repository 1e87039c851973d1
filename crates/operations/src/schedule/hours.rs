//! The hours of the day at which something may begin.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;

use serde::{Serialize, Serializer};

use super::pattern::Pattern;
use super::timetable::Timetable;

/// From one time of day until another, by the clock of a time zone; past midnight where the second is the earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    from: Time,
    until: Time,
}

impl Hours {
    /// From `from`, which is in it, until `until`, which is not; in whole minutes. The whole day where both are the same.
    pub fn new(from: Time, until: Time) -> Self {
        Self { from, until }
    }

    /// Whether `now` is in it.
    pub fn contains(&self, now: Timestamp, zone: &TimeZone) -> bool {
        let time = zone.to_datetime(now).time();
        match self.from < self.until {
            true => self.from <= time && time < self.until,
            false => self.from <= time || time < self.until,
        }
    }

    /// When it begins next, after `now`.
    pub fn opens_after(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let every_day = [1 << self.from.minute(), 1 << self.from.hour(), u64::MAX, u64::MAX, 0x7f];
        Timetable::new(Pattern::new(every_day, false), zone.clone()).next_after(now)
    }
}

impl FromStr for Hours {
    type Err = ();

    /// `22:00-06:00`. As an end, `24:00` is midnight.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (from, until) = text.split_once('-').ok_or(())?;
        let until = if until.trim() == "24:00" { "00:00" } else { until };
        Ok(Self::new(time(from)?, time(until)?))
    }
}

fn time(text: &str) -> Result<Time, ()> {
    let (hour, minute) = text.trim().split_once(':').ok_or(())?;
    let number = |text: &str| if text.len() <= 2 { text.parse().map_err(drop) } else { Err(()) };
    Time::new(number(hour)?, number(minute)?, 0, 0).map_err(drop)
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, until } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from.hour(), from.minute(), until.hour(), until.minute())
    }
}

impl Serialize for Hours {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
