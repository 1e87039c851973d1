//! Spans of time as they are typed in the configuration and on the command line: `30m`, `6h`, `7d`, `1h30m`.

use std::time::Duration;

/// Units, longest first, with their seconds. A day is 24 hours here; retention has spans of its own, which follow the
/// calendar: see [`crate::retention::Within`].
const UNITS: [(char, u64); 5] = [('w', 7 * 86_400), ('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

/// The longest span that makes sense: a hundred years.
const DURATION_SECONDS_MAX: u64 = 100 * 366 * 86_400;

/// Reads a span such as `6h`, `30m`, `7d` or `1h30m`. `None` if it is not one, or is longer than a hundred years.
pub fn parse(text: &str) -> Option<Duration> {
    let mut seconds = 0u64;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].chars().next()?;
        let (_, length) = UNITS.iter().find(|(name, _)| *name == unit)?;
        seconds = seconds.checked_add(number.checked_mul(*length)?)?;
        rest = &rest[digits + unit.len_utf8()..];
    }
    (seconds <= DURATION_SECONDS_MAX).then(|| Duration::from_secs(seconds))
}

/// Writes a span the way it is read, in whole seconds.
pub fn show(duration: Duration) -> String {
    let mut left = duration.as_secs();
    let mut shown = String::new();
    // Weeks are read, but days are what people expect to see.
    for (unit, length) in &UNITS[1..] {
        if left >= *length {
            shown.push_str(&format!("{}{unit}", left / length));
            left %= length;
        }
    }
    if shown.is_empty() { "0s".to_owned() } else { shown }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spans_are_a_number_and_a_unit_once_or_more() {
        assert_eq!(parse("6h"), Some(Duration::from_secs(6 * 3600)));
        assert_eq!(parse("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(parse(" 2w "), Some(Duration::from_secs(14 * 86_400)));
        assert_eq!(parse("0s"), Some(Duration::ZERO));
        for bad in ["", "6", "h", "6 h", "-6h", "6x", "6hh", "1.5h", "99999999999w", "18446744073709551615w", "6µ"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(seconds in 0..=DURATION_SECONDS_MAX) {
            let duration = Duration::from_secs(seconds);
            prop_assert_eq!(parse(&show(duration)), Some(duration));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,24}") {
            let _ = parse(&text);
        }
    }
}
