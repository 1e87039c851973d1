//! Times as restic writes them: RFC 3339 with up to nine digits of nanoseconds.

use jiff::Timestamp;
use jiff::civil::DateTime;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment in nanoseconds since 1970, as file systems keep it. Written in UTC; years outside 0–9999 are pulled to the
/// nearest that RFC 3339 can name, as restic does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Whole seconds since 1970, negative before.
    pub seconds: i64,
    /// Nanoseconds after the second, 0 to 999,999,999.
    pub nanoseconds: u32,
}

const SECONDS_MIN: i64 = -62_167_219_200; // 0000-01-01T00:00:00Z
const SECONDS_MAX: i64 = 253_402_300_799; // 9999-12-31T23:59:59Z

impl Time {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self { seconds: 0, nanoseconds: 0 };

    /// The moment that `stat` gives as seconds and nanoseconds.
    pub fn from_stat(seconds: i64, nanoseconds: u32) -> Self {
        Self { seconds: seconds.clamp(SECONDS_MIN, SECONDS_MAX), nanoseconds: nanoseconds.min(999_999_999) }
    }

    /// Reads RFC 3339 with any offset. An offset can move a time out of the years that can be written; such a time is
    /// pulled back, so that what was read can be written and means the same.
    pub fn parse(text: &str) -> Option<Self> {
        // `jiff::Timestamp` ends at the year 9999 and starts well before 0000, so only its own parser is needed; Go
        // accepts no leap second and neither do file systems.
        let pieces = jiff::fmt::temporal::Pieces::parse(text).ok()?;
        let offset = pieces.to_numeric_offset()?;
        let civil = DateTime::from_parts(pieces.date(), pieces.time()?);
        // Offset arithmetic by hand, since 9999-12-31T23:59:59Z lies outside what a `Timestamp` holds.
        let days = i64::from((civil.date() - jiff::civil::date(1970, 1, 1)).get_days());
        let second_of_day = i64::from(civil.hour()) * 3600 + i64::from(civil.minute()) * 60 + i64::from(civil.second());
        let seconds = days * 86_400 + second_of_day - i64::from(offset.seconds());
        Some(Self::from_stat(seconds, civil.subsec_nanosecond().unsigned_abs()))
    }
}

impl From<Timestamp> for Time {
    fn from(moment: Timestamp) -> Self {
        let nanoseconds = moment.as_nanosecond();
        Self {
            // Both casts are exact: a `Timestamp` spans some 600 thousand million seconds.
            seconds: nanoseconds.div_euclid(1_000_000_000) as i64,
            nanoseconds: nanoseconds.rem_euclid(1_000_000_000) as u32,
        }
    }
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let time = Self::from_stat(self.seconds, self.nanoseconds);
        let days = time.seconds.div_euclid(86_400);
        let second = time.seconds.rem_euclid(86_400);
        let (year, month, day) = civil_from_days(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if time.nanoseconds != 0 {
            // Go prints as many digits as are needed and no trailing zeros.
            let digits = format!("{:09}", time.nanoseconds);
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

/// Days since 1970 to year, month, day in the Gregorian calendar (Howard Hinnant, "chrono-compatible low-level date
/// algorithms"). Written out because it runs three times for every file of a backup.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not an RFC 3339 time")))
    }
}

/// The moment as the program's other parts use it.
impl From<Time> for Timestamp {
    fn from(time: Time) -> Self {
        let nanoseconds = i32::try_from(time.nanoseconds).unwrap_or(0);
        Self::new(time.seconds, nanoseconds).unwrap_or(if time.seconds < 0 { Self::MIN } else { Self::MAX })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_print_as_go_prints_them() {
        let cases = [
            (0, 0, "1970-01-01T00:00:00Z"),
            (-1, 1, "1969-12-31T23:59:59.000000001Z"),
            (1_700_000_000, 120_000_000, "2023-11-14T22:13:20.12Z"),
            (951_782_400, 0, "2000-02-29T00:00:00Z"),
            (i64::MAX, 0, "9999-12-31T23:59:59Z"),
            (i64::MIN, 0, "0000-01-01T00:00:00Z"),
        ];
        for (seconds, nanoseconds, text) in cases {
            assert_eq!(Time::from_stat(seconds, nanoseconds).to_string(), text);
        }
    }

    #[test]
    fn offsets_are_read() {
        let expected = Time { seconds: 1_700_000_000, nanoseconds: 5 };
        assert_eq!(Time::parse("2023-11-15T01:13:20.000000005+03:00"), Some(expected));
        assert_eq!(Time::parse("2023-11-14T22:13:20.000000005Z"), Some(expected));
        assert_eq!(Time::parse("2023-11-14 22:13"), None);
    }

    #[test]
    fn times_beyond_the_calendar_are_pulled_to_its_ends() {
        assert_eq!(Time::parse("9999-12-31T20:10:00-10:03"), Some(Time::from_stat(SECONDS_MAX, 0)));
        assert_eq!(Time::parse("0000-01-01T00:00:00.5+23:59"), Some(Time::from_stat(SECONDS_MIN, 500_000_000)));
        assert_eq!(Time::parse("-000001-01-01T00:00:00Z"), Some(Time::from_stat(SECONDS_MIN, 0)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(seconds in SECONDS_MIN..=SECONDS_MAX, nanoseconds in 0u32..1_000_000_000) {
            let time = Time { seconds, nanoseconds };
            prop_assert_eq!(Time::parse(&time.to_string()), Some(time));
        }
    }
}
