//! What has become much less than it was, which a database that was emptied by mistake has.
//!
//! A loss is told with every snapshot until what is gone is back, is allowed for in the configuration, or a week has passed: a
//! single red run is overlooked, and by the next the smaller size would be the measure. The facts of each snapshot carry what
//! is lost and since when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use repository::{CaptureCx, Facts};
use serde_json::{Value, json};

use super::into_server::{DATABASES, TABLES};

/// The fact with what is lost, by name: how many `rows` there were, and since when they are not (`since`, in RFC 3339).
pub const LOST: &str = "lost";
/// How long a loss is told.
const TOLD_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The share that is set where nobody set one.
pub const USUAL_PERCENT_MAX: u8 = 50;
/// One that had fewer rows or keys than this may lose them without a word: they come and go. Who sets a smaller share than the
/// usual one wants to know of these too.
const BEFORE_MIN: u64 = 100;

/// How many rows or keys there are, by the name of the database.
pub type Sizes = BTreeMap<String, u64>;

/// What the snapshots before had, which a capture is held against.
pub struct Before<'a> {
    facts: &'a Facts,
    now: Timestamp,
    percent_max: u8,
}

/// What a capture lacks.
#[derive(Debug, Default)]
pub struct Lost {
    /// Each with the name of the database.
    pub told: Vec<(String, String)>,
    standing: Facts,
}

impl Lost {
    /// Notes in the facts of this snapshot what the next one is still held against.
    pub fn note(self, facts: &mut Facts) -> Vec<(String, String)> {
        if !self.standing.is_empty() {
            facts.insert(LOST.to_owned(), Value::Object(self.standing));
        }
        self.told
    }
}

impl<'a> Before<'a> {
    /// None where there is no snapshot before, nothing is read, or all may go.
    pub fn new(cx: &CaptureCx<'a>, percent_max: u8) -> Option<Self> {
        let facts = cx.previous.filter(|_| !cx.look_only && percent_max < 100)?.facts;
        Some(Self { facts, now: cx.clock.now(), percent_max })
    }

    /// What is lost of `what` (rows, keys), of those databases that `is_wanted` (asked with the name and how many there were):
    /// where `sizes` of the snapshot before has one that `now` has not, and where too much is gone.
    pub fn lost(
        &self,
        what: &str,
        sizes: impl Fn(&Facts) -> Sizes,
        now: impl Fn(&str) -> Option<u64>,
        is_wanted: impl Fn(&str, u64) -> bool,
    ) -> Lost {
        let (before, standing) = (sizes(self.facts), self.standing());
        let names: BTreeSet<_> = before.keys().chain(standing.keys()).collect();
        let mut lost = Lost::default();
        for name in names {
            let known = standing.get(name).copied().or_else(|| Some((*before.get(name)?, self.now)));
            let Some((was, since)) = known.filter(|(was, _)| is_wanted(name, *was)) else { continue };
            let Some(text) = self.told(what, was, now(name), since) else { continue };
            lost.standing.insert(name.clone(), json!({ "rows": was, "since": since.to_string() }));
            lost.told.push((name.clone(), text));
        }
        lost
    }

    /// Losses that are still told. A time ahead of the clock proves nothing.
    fn standing(&self) -> BTreeMap<String, (u64, Timestamp)> {
        let all = self.facts.get(LOST).and_then(Value::as_object).into_iter().flatten();
        let one = |(name, loss): (&String, &Value)| {
            let since: Timestamp = loss["since"].as_str()?.parse().ok()?;
            let is_told = since <= self.now && self.now.duration_since(since).unsigned_abs() < TOLD_FOR;
            is_told.then_some((name.clone(), (loss["rows"].as_u64()?, since)))
        };
        all.filter_map(one).collect()
    }

    fn told(&self, what: &str, was: u64, now: Option<u64>, since: Timestamp) -> Option<String> {
        let (measure, those) = if since == self.now {
            ("in the last snapshot".to_owned(), "that snapshot still has them".to_owned())
        } else {
            (format!("until {since:.0}"), "snapshots from before then still have them".to_owned())
        };
        match now {
            None => Some(format!(
                "was {measure} and is not in this one: see where it has gone, or name it in `exclude`",
                measure = if since == self.now { measure } else { format!("there {measure}") }
            )),
            Some(now) => self.is_less(was, now).then(|| {
                format!(
                    "has {now} {what}, and had {was} {measure}: see whether they were deleted on purpose; {those}; `max_shrink` \
                     says how many may go"
                )
            }),
        }
    }

    fn is_less(&self, was: u64, now: u64) -> bool {
        let left_min = u128::from(100_u8.saturating_sub(self.percent_max));
        let is_looked_at = is_worth_telling(was) || self.percent_max < USUAL_PERCENT_MAX;
        is_looked_at && u128::from(now) * 100 < u128::from(was) * left_min
    }
}

/// Whether there are so many that their loss is told.
pub fn is_worth_telling(size: u64) -> bool {
    size >= BEFORE_MIN
}

/// The rows of each database, from facts that have them by table.
pub fn rows(facts: &Facts) -> Sizes {
    let all = facts.get(DATABASES).and_then(Value::as_object);
    all.map(rows_of).unwrap_or_default()
}

/// The same from the part with the databases.
pub fn rows_of(databases: &Facts) -> Sizes {
    let rows = |database: &Value| {
        let tables = database[TABLES].as_object().into_iter().flat_map(|tables| tables.values());
        tables.filter_map(Value::as_u64).fold(0, u64::saturating_add)
    };
    databases.iter().map(|(name, database)| (name.clone(), rows(database))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = "2026-11-22T10:00:00Z";

    fn facts(rows: &[(&str, u64)]) -> Facts {
        let all: Facts =
            rows.iter().map(|(name, rows)| ((*name).to_owned(), json!({ TABLES: { "t": rows } }))).collect();
        Facts::from_iter([(DATABASES.to_owned(), Value::Object(all))])
    }

    /// The facts of a snapshot `hours` after the start that has these rows, and what was told.
    fn after(before: &Facts, hours: i64, percent_max: u8, rows_now: &[(&str, u64)]) -> (Facts, Vec<(String, String)>) {
        let now = START.parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_hours(hours);
        let mut facts = facts(rows_now);
        let before = Before { facts: before, now, percent_max };
        let told = before.lost("rows", rows, |name| rows(&facts).get(name).copied(), |_, _| true).note(&mut facts);
        (facts, told)
    }

    fn is_told(was: u64, now: u64, percent_max: u8) -> bool {
        !after(&facts(&[("a", was)]), 0, percent_max, &[("a", now)]).1.is_empty()
    }

    #[test]
    fn who_lost_more_than_is_set_is_told_so() {
        assert!(is_told(1000, 499, 50) && !is_told(1000, 500, 50) && !is_told(1000, 2000, 50));
        assert!(is_told(u64::MAX, 0, 99) && is_told(1000, 999, 0));
        assert!(is_told(1000, 899, 10) && !is_told(1000, 900, 10));
        assert!(!is_told(99, 0, 50), "few rows come and go");
        assert!(is_told(99, 0, 49) && !is_told(0, 0, 0), "but not where somebody wants to know");
    }

    #[test]
    fn a_loss_is_told_until_it_is_made_good_or_a_week_is_over() {
        let (first, told) = after(&facts(&[("a", 1000), ("b", 500)]), 0, 50, &[("a", 3)]);
        assert!(told[0].1.starts_with("has 3 rows, and had 1000 in the last snapshot"), "{told:?}");
        assert!(told[1].1.starts_with("was in the last snapshot and is not in this one"), "{told:?}");
        let (second, told) = after(&first, 24, 50, &[("a", 4)]);
        assert!(told[0].1.starts_with("has 4 rows, and had 1000 until 2026-11-22T10:00:00Z"), "{told:?}");
        assert!(told[1].1.starts_with("was there until 2026-11-22T10:00:00Z and is not in this one"), "{told:?}");
        let (third, told) = after(&second, 7 * 24, 50, &[("a", 4)]);
        assert_eq!((told.len(), third.get(LOST)), (0, None), "the smaller size is the measure by then");
        let (third, told) = after(&second, 48, 50, &[("a", 900), ("b", 400)]);
        assert_eq!((told.len(), third.get(LOST)), (0, None), "all is back");
        let (_, told) = after(&third, 49, 50, &[("a", 2), ("b", 400)]);
        assert!(told[0].1.starts_with("has 2 rows, and had 900 in the last snapshot"), "{told:?}");
    }

    #[test]
    fn facts_that_make_no_sense_are_passed_over() {
        for loss in
            [json!(1), json!({}), json!({ "rows": -1, "since": START }), json!({ "rows": 9999, "since": "later" })]
        {
            let mut before = facts(&[("a", 200)]);
            before.insert(LOST.to_owned(), json!({ "a": loss }));
            assert_eq!(after(&before, 0, 50, &[("a", 150)]).1, []);
        }
    }
}
