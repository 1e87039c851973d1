//! The real times of a schedule, also where a clock is put forward or back.
//!
//! A job for certain hours has each of its times once: right after the gap where the clock skips it, and the first time
//! where the clock shows it twice. A job for every hour of the day goes by real time: it runs again in an hour that comes
//! again, and what the clock skips took no time, so nothing of it is made up for.

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::pattern::Pattern;

/// The times of one job in one time zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Timetable {
    pattern: Pattern,
    zone: TimeZone,
}

impl Timetable {
    pub(super) fn new(pattern: Pattern, zone: TimeZone) -> Self {
        Self { pattern, zone }
    }

    /// The time zone that it is of.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The first time after `after`. `None` only at the end of the calendar.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match self.pattern.is_every_hour() {
            true => self.next_by_real_time(after),
            false => self.next_by_the_clock(after),
        }
    }

    /// All times after `after`; `take(5)` gives the next five.
    pub fn upcoming(&self, after: Timestamp) -> impl Iterator<Item = Timestamp> {
        std::iter::successors(self.next_after(after), |time| self.next_after(*time))
    }

    /// Every time on the clock means one moment, and a later one no earlier moment. So the search goes along the clock,
    /// from what it shows at `after`, until a moment is later.
    fn next_by_the_clock(&self, after: Timestamp) -> Option<Timestamp> {
        let shown = self.zone.to_datetime(after);
        let mut from = shown.date().at(shown.hour(), shown.minute(), 0, 0);
        loop {
            let time = self.pattern.first_from(from)?;
            let moment = self.moment_of(time)?;
            if moment > after {
                return Some(moment);
            }
            from = time.checked_add(1.minute()).ok()?;
        }
    }

    /// The moment at which the clock shows `time` first, or jumps over it.
    fn moment_of(&self, time: DateTime) -> Option<Timestamp> {
        match self.zone.to_ambiguous_timestamp(time).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(time).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(time).ok(),
            AmbiguousOffset::Gap { before, after } => {
                let earlier = after.to_timestamp(time).ok()?;
                let jump = self.zone.following(earlier).find(|change| change.offset() == after);
                jump.map(|change| change.timestamp()).or_else(|| before.to_timestamp(time).ok())
            }
        }
    }

    /// The search goes from one change of the clock to the next; between them the clock is real time.
    fn next_by_real_time(&self, after: Timestamp) -> Option<Timestamp> {
        let mut from = after.checked_add(SignedDuration::from_nanos(1)).ok()?;
        loop {
            let offset = self.zone.to_offset(from);
            let moment = self.first_with(offset, from)?;
            match self.zone.following(from).next() {
                Some(change) if change.timestamp() <= moment => from = change.timestamp(),
                _ => return Some(moment),
            }
        }
    }

    /// The first moment from `from` on, by a clock that is never changed.
    fn first_with(&self, offset: Offset, from: Timestamp) -> Option<Timestamp> {
        let shown = offset.to_datetime(from);
        let minute = shown.date().at(shown.hour(), shown.minute(), 0, 0);
        let minute = if minute == shown { minute } else { minute.checked_add(1.minute()).ok()? };
        offset.to_timestamp(self.pattern.first_from(minute)?).ok()
    }
}
