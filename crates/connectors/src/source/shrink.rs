//! What has become much less since the last snapshot, which a database that was emptied by mistake has.

use repository::Facts;
use serde_json::Value;

use super::into_server::{DATABASES, TABLES};

/// One that had fewer rows or keys than this may lose them without a word: they come and go.
const BEFORE_MIN: u64 = 100;

/// What this snapshot lacks that the last one had: databases of tables that are gone, of those that `is_wanted`, and more than
/// `percent_max` of the rows of one; `now` gives the facts of one that is there. Each with the name of the database.
pub fn lost<'a>(
    previous: &Facts,
    now: impl Fn(&str) -> Option<&'a Value>,
    is_wanted: impl Fn(&str) -> bool,
    percent_max: u8,
) -> Vec<(String, String)> {
    let before = previous.get(DATABASES).and_then(Value::as_object).into_iter().flatten();
    let lost = before.filter(|(name, _)| is_wanted(name)).filter_map(|(name, before)| {
        let what = match now(name) {
            Some(now) => told("rows", rows(before), rows(now), percent_max)?,
            None => "was in the last snapshot and is not in this one: see where it has gone, or name it in `exclude`"
                .to_owned(),
        };
        Some((name.clone(), what))
    });
    lost.collect()
}

/// Whether a database has so many rows that its loss is told.
pub fn is_worth_telling(database: &Value) -> bool {
    rows(database) >= BEFORE_MIN
}

fn rows(database: &Value) -> u64 {
    let tables = database[TABLES].as_object().into_iter().flat_map(|tables| tables.values());
    tables.filter_map(Value::as_u64).fold(0, u64::saturating_add)
}

/// What to tell, where there were so many rows, or `what` else, `before` in the last snapshot and are `now` in this one, and more
/// than `percent_max` of them are gone.
pub fn told(what: &str, before: u64, now: u64, percent_max: u8) -> Option<String> {
    let left_min = 100_u64.saturating_sub(percent_max.into());
    let is_less = before >= BEFORE_MIN && u128::from(now) * 100 < u128::from(before) * u128::from(left_min);
    is_less.then(|| {
        format!(
            "has {now} {what}, and had {before} in the last snapshot: see whether they were deleted on purpose; that snapshot \
             still has them"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::told;

    #[test]
    fn who_lost_more_than_is_set_is_told_so() {
        assert!(told("rows", 1000, 499, 50).unwrap().starts_with("has 499 rows, and had 1000"));
        assert!(told("rows", u64::MAX, 0, 99).is_some() && told("rows", 1000, 999, 0).is_some());
        assert!(told("rows", 1000, 899, 10).is_some() && told("rows", 1000, 900, 10).is_none());
        for (before, now) in [(1000, 500), (1000, 2000), (99, 0), (0, 0)] {
            assert_eq!(told("rows", before, now, 50), None, "{before} {now}");
        }
        assert_eq!(told("rows", u64::MAX, 0, 100), None, "all may go");
    }
}
