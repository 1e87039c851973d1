//! The hours of the day at which something may begin.

use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;

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
