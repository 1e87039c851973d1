//! Whether the clock can be right. What is removed by age would be removed too early where it is not: a machine whose
//! battery is flat wakes up in 1970, one whose clock ran ahead takes every grace period for over.

use std::time::Duration;

use jiff::Timestamp;

use crate::limits::{CLOCK_BEFORE_SNAPSHOT_MAX, CLOCK_BESIDE_STORAGE_MAX, CLOCK_BEYOND_SNAPSHOT_MAX};
use crate::lock::Lock;
use crate::{Error, Repository, RunCx, StorageError};

/// Holds the clock against the newest snapshot and against the storage's own, which tells when our lock was written.
pub(crate) fn check_clock(cx: &RunCx<'_>, repository: &Repository, lock: &Lock<'_>) -> Result<(), Error> {
    let now = cx.clock.now();
    let snapshots = repository.snapshots_readable(cx.cancel)?.0;
    let newest = snapshots.last().map(|(id, snapshot)| (id.short(), Timestamp::from(snapshot.time)));
    let there = match repository.storage().modified(lock.file()) {
        // Renewed in this very moment; the snapshots have to do.
        Err(StorageError::NotFound { .. }) => None,
        there => there?,
    };
    let stored = there.map(|there| (there, lock.written_at()));
    match doubt(now, newest, stored) {
        Some(what) => Err(Error::ImplausibleClock { what }),
        None => Ok(()),
    }
}

/// What speaks against `now`: the newest snapshot, by id and time, or a file that the storage says was written at one time
/// and this machine at another.
pub fn doubt(
    now: Timestamp,
    newest: Option<(String, Timestamp)>,
    stored: Option<(Timestamp, Timestamp)>,
) -> Option<String> {
    if let Some((there, here)) = stored.filter(|(there, here)| apart(*there, *here) > CLOCK_BESIDE_STORAGE_MAX) {
        return Some(format!("it is {here} here, and {there} where the copy lies"));
    }
    let (id, at) = newest?;
    let (limit, beyond) = if at > now {
        (CLOCK_BEFORE_SNAPSHOT_MAX, "the newest snapshot is from the future")
    } else {
        (CLOCK_BEYOND_SNAPSHOT_MAX, "nothing was backed up for very long")
    };
    (apart(at, now) > limit).then(|| format!("it is {now}, and snapshot {id} is of {at}: {beyond}"))
}

fn apart(one: Timestamp, other: Timestamp) -> Duration {
    one.duration_since(other).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_clock_is_doubted_that_is_far_from_the_newest_snapshot_or_from_the_storages_own() {
        let now = at("2026-03-01T12:00:00Z");
        let newest = |time: &str| doubt(now, Some(("ab12".to_owned(), at(time))), None);
        assert_eq!(doubt(now, None, None), None);
        for fine in ["2026-03-01T11:00:00Z", "2025-03-01T12:00:00Z", "2026-03-02T11:00:00Z"] {
            assert_eq!(newest(fine), None, "{fine}");
        }
        assert!(newest("2026-03-02T13:00:00Z").unwrap().contains("snapshot ab12 is of"), "the clock is behind");
        assert!(newest("2024-12-01T00:00:00Z").unwrap().contains("for very long"), "the clock ran ahead");
        let stored = |there: &str| doubt(now, None, Some((at(there), now)));
        assert_eq!(stored("2026-03-01T12:19:00Z"), None);
        // Half an hour ahead, living locks would be taken for dead.
        assert!(stored("2026-03-01T11:39:00Z").is_some());
        assert!(stored("2026-03-01T12:21:00Z").is_some());
    }
}
