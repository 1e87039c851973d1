//! Bandwidths as they are typed in the configuration: `8MiB/s`, `500 kB/s`, `20Mbit/s`.

use std::num::NonZeroU64;

/// Units of bytes, largest first: what is shown, and what is read.
const BYTES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1000),
    ("B", 1),
];
/// Units of bits, as providers advertise lines.
const BITS: [(&str, u64); 3] = [("Gbit", 125_000_000), ("Mbit", 125_000), ("kbit", 125)];

/// Reads a bandwidth in bytes a second. `None` if it is not one, or none at all.
pub fn parse(text: &str) -> Option<NonZeroU64> {
    let amount = text.trim().strip_suffix("/s")?.trim_end();
    let digits = amount.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = (&amount[..digits], amount[digits..].trim_start());
    let (_, bytes) = BYTES.iter().chain(&BITS).find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    // Decimals are counted in whole numbers, so that no rate is rounded into another one.
    let scale = 10u64.checked_pow(u32::try_from(decimals.len()).ok()?)?;
    let whole = whole.parse::<u64>().ok()?.checked_mul(*bytes)?;
    let part = decimals.parse::<u64>().ok()?.checked_mul(*bytes)? / scale;
    NonZeroU64::new(whole.checked_add(part)?)
}

/// Writes a bandwidth the way it is read, in the largest unit that it is a whole number of.
pub fn show(rate: NonZeroU64) -> String {
    let fits = |(_, bytes): &&(&str, u64)| rate.get().is_multiple_of(*bytes);
    let (unit, bytes) = BYTES.iter().find(fits).unwrap_or(&("B", 1));
    format!("{}{unit}/s", rate.get() / bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_rate_is_a_number_a_unit_and_a_second() {
        let rate = |text| parse(text).map(NonZeroU64::get);
        assert_eq!(rate("8MiB/s"), Some(8 << 20));
        assert_eq!(rate("500 kB/s"), Some(500_000));
        assert_eq!(rate(" 1.5MiB/s "), Some(3 << 19));
        assert_eq!(rate("20Mbit/s"), Some(2_500_000));
        assert_eq!(rate("100 mbit/s"), Some(12_500_000));
        assert_eq!(rate("7B/s"), Some(7));
        for bad in
            ["", "8", "8MiB", "MiB/s", "0MiB/s", "0.1B/s", "-1MiB/s", "8M/s", "8MiB/m", "1.2.3kB/s", ".MB/s", "1.kB/s"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(rate("99999999999GiB/s"), None, "more than can be counted");
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(rate in 1u64..) {
            let rate = NonZeroU64::new(rate).unwrap();
            prop_assert_eq!(parse(&show(rate)), Some(rate));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,24}") {
            let _ = parse(&text);
        }
    }
}
