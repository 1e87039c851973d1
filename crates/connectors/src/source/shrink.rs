//! What has become much less since the last snapshot, which a database that was emptied by mistake has.

/// A database with less than this share of what it had, in percent, is told of.
const LEFT_PERCENT_MIN: u64 = 50;
/// One that had fewer rows or keys than this may lose them without a word: they come and go.
const BEFORE_MIN: u64 = 100;

/// What to tell, where there were so many rows, or `what` else, `before` in the last snapshot and are `now` in this one.
pub fn told(what: &str, before: u64, now: u64) -> Option<String> {
    let is_less = before >= BEFORE_MIN && u128::from(now) * 100 < u128::from(before) * u128::from(LEFT_PERCENT_MIN);
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
    fn less_than_half_of_much_is_told_of() {
        assert!(told("rows", 1000, 499).unwrap().starts_with("has 499 rows, and had 1000"));
        assert!(told("rows", u64::MAX, 0).is_some());
        for (before, now) in [(1000, 500), (1000, 2000), (99, 0), (0, 0)] {
            assert_eq!(told("rows", before, now), None, "{before} {now}");
        }
    }
}
