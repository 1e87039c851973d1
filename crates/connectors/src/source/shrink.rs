//! What has become much less since the last snapshot, which a database that was emptied by mistake has.

/// One that had fewer rows or keys than this may lose them without a word: they come and go.
const BEFORE_MIN: u64 = 100;

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
