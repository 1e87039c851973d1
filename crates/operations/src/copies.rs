//! How copies of one repository stand to each other: which lag behind, and by how much.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use repository::Id;
use serde::Serialize;

/// How far a copy lags behind the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lag {
    /// Snapshots newer than its newest that others have.
    pub snapshots: usize,
    /// Seconds between its newest and the newest of all; 0 for a copy that holds none.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub time: Duration,
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(time.as_secs())
}

/// A stack's snapshots in one copy: ids and times, in any order.
pub type Held = [(Id, Timestamp)];

/// How far `copy` lags behind `others`. That old snapshots are missing is no lag: each copy has its own retention.
pub fn lag(copy: &Held, others: &[&Held]) -> Lag {
    let newest = copy.iter().map(|(_, time)| *time).max();
    let own: BTreeSet<&Id> = copy.iter().map(|(id, _)| id).collect();
    // By id alone: the name of an archive tells the time in whole seconds, a repository to the nanosecond.
    let missing: BTreeMap<&Id, Timestamp> = others
        .iter()
        .flat_map(|held| held.iter())
        .filter(|(id, time)| !own.contains(id) && newest.is_none_or(|newest| *time > newest))
        .map(|(id, time)| (id, *time))
        .collect();
    let last = missing.values().copied().max();
    let time = match (newest, last) {
        (Some(newest), Some(last)) => last.duration_since(newest).unsigned_abs(),
        _ => Duration::ZERO,
    };
    Lag { snapshots: missing.len(), time }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(days: &[i64]) -> Vec<(Id, Timestamp)> {
        days.iter().map(|day| (Id::of(&day.to_le_bytes()), Timestamp::from_second(day * 86_400).unwrap())).collect()
    }

    #[test]
    fn a_copy_lags_by_what_is_newer_elsewhere_and_not_by_what_it_forgot() {
        let lag_of = |copy: &[i64], others: &[&[i64]]| {
            let others: Vec<_> = others.iter().map(|days| held(days)).collect();
            let others: Vec<&Held> = others.iter().map(|held| &held[..]).collect();
            let Lag { snapshots, time } = lag(&held(copy), &others);
            (snapshots, time.as_secs() / 86_400)
        };
        assert_eq!(lag_of(&[1, 2, 3], &[&[1, 2, 3]]), (0, 0));
        assert_eq!(lag_of(&[3], &[&[1, 2, 3]]), (0, 0), "its retention keeps less");
        assert_eq!(lag_of(&[1, 2], &[&[1, 2, 4, 5], &[5]]), (2, 3), "what two others have counts once");
        assert_eq!(lag_of(&[5], &[&[1, 2]]), (0, 0), "it is ahead");
        assert_eq!(lag_of(&[], &[&[1, 2]]), (2, 0));
        assert_eq!(lag_of(&[], &[]), (0, 0));
        let (id, second) = (Id::of(b"s"), Timestamp::from_second(9).unwrap());
        let (exact, rounded) = ([(id, second + Duration::from_nanos(5))], [(id, second)]);
        assert_eq!(lag(&[], &[&exact, &rounded]).snapshots, 1, "an archive's time is in whole seconds");
    }
}
