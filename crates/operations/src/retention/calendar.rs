//! What retention decides, as a calendar: a line a month, a column a day.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;

use super::Decision;

/// The legend of [`calendar`].
pub const LEGEND: &str = "# kept, x removed, + some kept and some removed, . none";

/// The days of a month on which something is kept or removed.
#[derive(Default)]
struct Month {
    length: i8,
    kept: BTreeSet<i8>,
    removed: BTreeSet<i8>,
}

impl Month {
    fn line(&self) -> String {
        let sign = |day: i8| match (self.kept.contains(&day), self.removed.contains(&day)) {
            (true, true) => '+',
            (true, false) => '#',
            (false, true) => 'x',
            (false, false) => '.',
        };
        (1..=self.length).map(sign).collect()
    }
}

/// The months between the oldest and the newest snapshot, oldest first, in the days of `zone`. Months without any are
/// left out.
pub fn calendar(decisions: &[Decision], zone: &TimeZone) -> Vec<String> {
    let mut months: BTreeMap<(i16, i8), Month> = BTreeMap::new();
    for decision in decisions {
        let date = decision.time.to_zoned(zone.clone()).date();
        let month = months.entry((date.year(), date.month())).or_default();
        month.length = date.days_in_month();
        let set = if decision.is_kept() { &mut month.kept } else { &mut month.removed };
        set.insert(date.day());
    }
    months.iter().map(|((year, month), days)| format!("{year:04}-{month:02}  {}", days.line())).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use repository::Id;

    use super::super::Reason;
    use super::*;

    #[test]
    fn a_calendar_shows_each_day_with_what_stays_and_what_goes() {
        let decision = |time: &str, kept: bool| Decision {
            id: Id::of(time.as_bytes()),
            time: time.parse().unwrap(),
            reasons: kept.then_some(Reason::Newest).into_iter().collect(),
        };
        let decisions = [
            decision("2026-03-02T08:00:00Z", true),
            decision("2026-03-01T20:00:00Z", false),
            decision("2026-03-01T08:00:00Z", true),
            // In Nairobi it is the first of January already.
            decision("2025-12-31T22:00:00Z", false),
        ];
        let shown = calendar(&decisions, &TimeZone::get("Africa/Nairobi").unwrap()).join("\n");
        expect![[r#"
            2026-01  x..............................
            2026-03  +#............................."#]]
        .assert_eq(&shown);
    }
}
