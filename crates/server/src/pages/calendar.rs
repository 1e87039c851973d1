//! A year of a stack, day by day: when it was backed up, when that was proven, and when a backup that was due did not come.

use std::collections::BTreeSet;

use jiff::ToSpan as _;
use jiff::civil::Date;

/// From the middle of one day's square to the next.
const STEP: i64 = 14;
/// The year shown, in whole weeks; the last one has today.
const WEEKS: i64 = 53;

/// The year, ready to be drawn.
pub struct Calendar {
    /// The days.
    pub days: Vec<Day>,
    /// The same in words.
    pub told: String,
    /// How wide it is.
    pub width: i64,
    /// How high it is.
    pub height: i64,
}

/// A day's square.
pub struct Day {
    /// From the left.
    pub x: i64,
    /// From the top.
    pub y: i64,
    /// `backup`, `drill`, `missed` or `none`.
    pub kind: &'static str,
    /// The day and what was, in words.
    pub told: String,
}

/// What happened on which days.
pub struct Happened {
    /// Days with a snapshot.
    pub backups: BTreeSet<Date>,
    /// Days with a drill that passed.
    pub drills: BTreeSet<Date>,
}

impl Calendar {
    /// The year up to `today`. `is_due` says whether a backup was due on a day.
    pub fn new(today: Date, happened: &Happened, is_due: impl Fn(Date) -> bool) -> Self {
        let weekday = i64::from(today.weekday().to_monday_zero_offset());
        let first = today.saturating_sub(((WEEKS - 1) * 7 + weekday).days());
        let began = happened.backups.first().copied();
        // What is due today may still come, and nothing was missed before there was anything.
        let is_missed = |day: Date| day < today && began.is_some_and(|began| day > began) && is_due(day);
        let (mut days, mut counts) = (Vec::new(), [0; 3]);
        for number in 0..(WEEKS - 1) * 7 + weekday + 1 {
            let day = first.saturating_add(number.days());
            let (is_drilled, is_backed_up) = (happened.drills.contains(&day), happened.backups.contains(&day));
            let is_missed = !is_drilled && !is_backed_up && is_missed(day);
            let (kind, what) = match (is_drilled, is_backed_up, is_missed) {
                (true, ..) => ("drill", "drill passed"),
                (_, true, _) => ("backup", "backup"),
                (_, _, true) => ("missed", "missed"),
                _ => ("none", "nothing"),
            };
            for (count, is_so) in counts.iter_mut().zip([is_backed_up, is_drilled, is_missed]) {
                *count += u32::from(is_so);
            }
            days.push(Day { x: number / 7 * STEP, y: number % 7 * STEP, kind, told: format!("{day}: {what}") });
        }
        let [backups, drills, missed] = counts;
        let told = format!(
            "Days of the last year with a backup: {backups}; with a drill that passed: {drills}; on which a backup was missed: {missed}"
        );
        Self { days, told, width: WEEKS * STEP, height: 7 * STEP }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_day_is_missed_only_between_the_first_backup_and_today() {
        let backups = [date(2026, 3, 1), date(2026, 3, 3)].into();
        let happened = Happened { backups, drills: [date(2026, 3, 3)].into() };
        let calendar = Calendar::new(date(2026, 3, 6), &happened, |day| day != date(2026, 3, 5));
        let told: Vec<_> = calendar.days.iter().rev().take(7).map(|day| &*day.told).collect();
        assert_eq!(
            told,
            [
                "2026-03-06: nothing",
                "2026-03-05: nothing",
                "2026-03-04: missed",
                "2026-03-03: drill passed",
                "2026-03-02: missed",
                "2026-03-01: backup",
                "2026-02-28: nothing",
            ]
        );
        assert_eq!(
            calendar.told,
            "Days of the last year with a backup: 2; with a drill that passed: 1; on which a backup was missed: 2"
        );
        let last = calendar.days.last().unwrap();
        assert_eq!((last.x + STEP, last.y), (calendar.width, 4 * STEP), "a Friday, in the last week");
        assert_eq!(calendar.days[0].told, "2025-03-03: nothing", "a Monday");
    }
}
