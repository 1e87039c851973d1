//! restic's durations for retention, such as `2y5m7d3h`: here `m` is months, and a day is a day of the calendar.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::{SignedDuration, Span, Timestamp, Zoned};
use serde::{Serialize, Serializer};

/// How far back from the newest snapshot a rule reaches. Written `2y5m7d3h`: years, months, days, hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Within {
    pub years: u32,
    pub months: u32,
    pub days: u32,
    pub hours: u32,
}

/// A text is not such a duration.
#[derive(Debug, PartialEq, Eq)]
pub struct NotWithin;

impl Within {
    /// Whether it reaches back not at all, which switches a rule off.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// The moment this much before `time`, with the arithmetic of Go's `AddDate`, as restic has it: one month before
    /// 31 March is "31 February", which is 3 March (2 March in a leap year).
    pub fn before(&self, time: &Zoned) -> Timestamp {
        // What reaches back past the calendar reaches back to its beginning.
        self.checked_before(time).unwrap_or(Timestamp::MIN)
    }

    fn checked_before(&self, time: &Zoned) -> Option<Timestamp> {
        let months = i64::from(time.year()) * 12 + i64::from(time.month()) - 1;
        let months = months - i64::from(self.years) * 12 - i64::from(self.months);
        let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
        let first = Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, 1).ok()?;
        let days = i64::from(time.day()) - 1 - i64::from(self.days);
        let date = first.checked_add(Span::new().try_days(days).ok()?).ok()?;
        let moment = date.to_datetime(time.time()).to_zoned(time.time_zone().clone()).ok()?.timestamp();
        moment.checked_sub(SignedDuration::from_hours(i64::from(self.hours))).ok()
    }
}

impl FromStr for Within {
    type Err = NotWithin;

    fn from_str(text: &str) -> Result<Self, NotWithin> {
        let mut within = Self::default();
        let mut seen = Vec::new();
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(NotWithin);
        }
        while let Some(digits) = rest.find(|c: char| !c.is_ascii_digit()) {
            let number = rest[..digits].parse().map_err(|_| NotWithin)?;
            let unit = rest.as_bytes()[digits];
            let field = match unit {
                b'y' => &mut within.years,
                b'm' => &mut within.months,
                b'd' => &mut within.days,
                b'h' => &mut within.hours,
                _ => return Err(NotWithin),
            };
            if seen.contains(&unit) {
                return Err(NotWithin);
            }
            seen.push(unit);
            *field = number;
            rest = &rest[digits + 1..];
        }
        if rest.is_empty() { Ok(within) } else { Err(NotWithin) }
    }
}

impl fmt::Display for Within {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, unit) in [(self.years, 'y'), (self.months, 'm'), (self.days, 'd'), (self.hours, 'h')] {
            if number != 0 {
                write!(f, "{number}{unit}")?;
            }
        }
        if self.is_zero() { f.write_str("0h") } else { Ok(()) }
    }
}

impl Serialize for Within {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for NotWithin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time span for retention is written like 2y5m7d3h (years, months, days, hours)")
    }
}

impl std::error::Error for NotWithin {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn before(within: &str, time: &str) -> String {
        let time: Zoned = time.parse().unwrap();
        within.parse::<Within>().unwrap().before(&time).to_zoned(time.time_zone().clone()).to_string()
    }

    #[test]
    fn spans_are_written_as_in_restic() {
        let within: Within = "2y5m7d3h".parse().unwrap();
        assert_eq!(within, Within { years: 2, months: 5, days: 7, hours: 3 });
        assert_eq!(" 3h2d ".parse::<Within>().unwrap().to_string(), "2d3h");
        for bad in ["", "3", "d", "3w", "-3d", "3d4", "3d 4h", "1d2d", "99999999999y", "3µ"] {
            assert_eq!(bad.parse::<Within>(), Err(NotWithin), "{bad}");
        }
    }

    #[test]
    fn months_overflow_as_in_go_rather_than_being_cut() {
        assert_eq!(before("1m", "2026-03-31T12:00[UTC]"), "2026-03-03T12:00:00+00:00[UTC]");
        assert_eq!(before("1m", "2024-03-31T12:00[UTC]"), "2024-03-02T12:00:00+00:00[UTC]");
        assert_eq!(before("1y", "2024-02-29T12:00[UTC]"), "2023-03-01T12:00:00+00:00[UTC]");
        assert_eq!(before("1y2m3d4h", "2026-01-02T03:00[UTC]"), "2024-10-29T23:00:00+00:00[UTC]");
    }

    #[test]
    fn a_day_is_a_day_of_the_calendar_and_an_hour_is_an_hour() {
        // Berlin's clocks went forward at 2 o'clock on 29 March 2026.
        assert_eq!(before("1d", "2026-03-29T12:00[Europe/Berlin]"), "2026-03-28T12:00:00+01:00[Europe/Berlin]");
        assert_eq!(before("24h", "2026-03-29T12:00[Europe/Berlin]"), "2026-03-28T11:00:00+01:00[Europe/Berlin]");
    }

    #[test]
    fn what_reaches_past_the_calendar_reaches_to_its_beginning() {
        let time: Zoned = "2026-03-29T12:00[UTC]".parse().unwrap();
        for text in ["4294967295y", "4294967295m", "4294967295d", "4294967295h"] {
            let within: Within = text.parse().unwrap();
            assert!(within.before(&time) < "0001-01-01T00:00Z".parse().unwrap() || text.ends_with('h'), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(years: u32, months: u32, days: u32, hours: u32) {
            let within = Within { years, months, days, hours };
            prop_assert_eq!(within.to_string().parse::<Within>().unwrap(), within);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,12}") {
            let _ = text.parse::<Within>();
        }

        #[test]
        fn it_never_reaches_forward(years in 0u32..20_000, months: u32, days: u32, hours: u32, at in 0i64..4_000_000_000) {
            let time = Timestamp::from_second(at).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
            let start = Within { years, months, days, hours }.before(&time);
            prop_assert!(start <= time.timestamp());
        }
    }
}
