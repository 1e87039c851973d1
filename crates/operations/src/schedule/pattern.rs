//! An expression whose `H` are settled, as sets of numbers, and the next time on a wall's clock that is in them.

use jiff::ToSpan;
use jiff::civil::{Date, DateTime};

/// In which years the next time is looked for. A 29 February on one day of the week may be 40 years away.
const YEARS_AHEAD_MAX: i16 = 50;
const HOURS: u64 = (1 << 24) - 1;

/// Sets of numbers as bits, the lowest for 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    /// The lowest for Sunday.
    weekdays: u64,
    /// One of the two fields for days is enough. So it is since Vixie's cron where both are narrowed down: `0 0 1 * MON` is
    /// every first of a month and every Monday. A field that begins with `*` does not count as narrowed down.
    is_either_day: bool,
}

impl Pattern {
    /// The sets for minute, hour, day, month and day of week, where Sunday may be 0 or 7.
    pub fn new([minutes, hours, days, months, weekdays]: [u64; 5], is_either_day: bool) -> Self {
        Self { minutes, hours, days, months, weekdays: (weekdays & 0x7f) | (weekdays >> 7), is_either_day }
    }

    /// Whether it is for every hour of the day.
    pub fn is_every_hour(&self) -> bool {
        self.hours == HOURS
    }

    /// The first time in it from `from` on, which is a whole minute. `None` where there is none for decades.
    pub fn first_from(&self, from: DateTime) -> Option<DateTime> {
        let mut date = from.date();
        if self.has_day(date)
            && let Some((hour, minute)) = self.first_of_day(from.hour(), from.minute())
        {
            return Some(date.at(hour, minute, 0, 0));
        }
        let (hour, minute) = self.first_of_day(0, 0)?;
        let year_last = from.year().saturating_add(YEARS_AHEAD_MAX);
        while date.year() <= year_last {
            date = match has(self.months, date.month()) {
                true => date.tomorrow().ok()?,
                false => date.first_of_month().checked_add(1.month()).ok()?,
            };
            if self.has_day(date) {
                return Some(date.at(hour, minute, 0, 0));
            }
        }
        None
    }

    fn has_day(&self, date: Date) -> bool {
        let by_month = has(self.days, date.day());
        let by_week = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        let is_day = if self.is_either_day { by_month || by_week } else { by_month && by_week };
        is_day && has(self.months, date.month())
    }

    /// The first time of a day from this one on.
    fn first_of_day(&self, hour: i8, minute: i8) -> Option<(i8, i8)> {
        if has(self.hours, hour)
            && let Some(minute) = first(self.minutes, minute)
        {
            return Some((hour, minute));
        }
        Some((first(self.hours, hour + 1)?, first(self.minutes, 0)?))
    }
}

fn has(bits: u64, number: i8) -> bool {
    bits >> number & 1 == 1
}

/// The first number in it from `from` on.
fn first(bits: u64, from: i8) -> Option<i8> {
    let place = (bits >> from << from).trailing_zeros();
    i8::try_from(place).ok().filter(|place| *place < 64)
}
