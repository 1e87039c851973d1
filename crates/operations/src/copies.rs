//! How copies of one repository stand to each other: which lag behind, and by how much, and which are one.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use jiff::Timestamp;
use repository::Id;
use serde::Serialize;

use crate::config::CopySettings;
use crate::{Fault, FaultKind};

/// Whether two copies lie in one folder of this machine, whatever it is called by each: as by a symbolic link or a bind mount.
/// They are one copy then. What is not there lies in no folder yet; a repository and archives may share one.
pub fn are_one(one: &CopySettings, other: &CopySettings) -> bool {
    let place = |copy: &CopySettings| {
        let folder = std::fs::metadata(copy.location.local()?).ok()?;
        Some((folder.dev(), folder.ino(), copy.archives().is_some()))
    };
    place(one).is_some_and(|place_of_one| place(other) == Some(place_of_one))
}

/// That a copy is one with `other`.
pub fn one_with(other: &CopySettings) -> Fault {
    Fault::new(FaultKind::Config, format!("it lies at the same place as copy {}, so they are one", other.name))
        .with_hint("name another place for it, or take it out of lifeboat.yaml")
}

/// Which of the places in reach hold another repository than the others. Of each: the repository that is there, and the one
/// that this host saw there before. One that changed is a stranger, such as a disk that was swapped, and it is no less one for
/// being the first. Of the rest the majority is right, and where there is none, the first.
pub fn strangers(places: &[(Id, Option<Id>)]) -> Vec<bool> {
    let is_as_before = |(is, was): &&(Id, Option<Id>)| was.is_none_or(|was| was == *is);
    let trusted: Vec<Id> = places.iter().filter(is_as_before).map(|(is, _)| *is).collect();
    let is_most = |id: &&Id| trusted.iter().filter(|other| other == id).count() * 2 > trusted.len();
    let right = trusted.iter().find(is_most).or(trusted.first());
    places.iter().map(|place| !is_as_before(&place) || Some(&place.0) != right).collect()
}

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
    fn a_stranger_is_whoever_changed_or_differs_from_most() {
        let [ours, other] = [Id::of(b"ours"), Id::of(b"other")];
        let (seen, unseen) = (Some(ours), None);
        assert_eq!(strangers(&[(other, seen), (ours, seen)]), [true, false], "the first is a disk that was swapped");
        assert_eq!(strangers(&[(other, seen), (ours, unseen)]), [true, false]);
        assert_eq!(strangers(&[(other, seen)]), [true], "nor is the only one written to");
        assert_eq!(strangers(&[(other, unseen), (ours, unseen), (ours, unseen)]), [true, false, false]);
        assert_eq!(strangers(&[(ours, unseen), (other, unseen)]), [false, true], "of two the first is right");
        assert_eq!(strangers(&[(ours, seen), (ours, unseen)]), [false, false]);
        assert_eq!(strangers(&[]), [false; 0]);
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
