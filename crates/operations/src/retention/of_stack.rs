//! Retention as it is asked: for each stack by itself, and each set of its sources.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use repository::Id;
use repository::format::receipt::Receipt;
use repository::format::snapshot::Snapshot;

use super::{Candidate, Decision, Policy, apply};
use crate::drill;

/// Snapshots that retention compares with each other.
pub struct Group {
    /// The stack they are of.
    pub stack: String,
    /// The sources they hold, as paths: a snapshot of some sources must not push out one of all.
    pub paths: Vec<String>,
    /// The snapshots.
    pub snapshots: Vec<(Id, Snapshot)>,
}

/// What groups snapshots: stack and paths.
type Key = (String, Vec<String>);

/// Sorts snapshots into groups. Those that belong to no stack are left out: no rule is theirs.
pub fn groups(snapshots: impl IntoIterator<Item = (Id, Snapshot)>) -> Vec<Group> {
    let mut groups: BTreeMap<Key, Vec<(Id, Snapshot)>> = BTreeMap::new();
    for (id, snapshot) in snapshots {
        let Some(stack) = snapshot.stack().map(str::to_owned) else { continue };
        groups.entry((stack, snapshot.paths.clone())).or_default().push((id, snapshot));
    }
    groups.into_iter().map(|((stack, paths), snapshots)| Group { stack, paths, snapshots }).collect()
}

impl Group {
    /// Decides for each snapshot whether it stays; see [`apply`]. `receipts` are those of the copy, oldest first.
    pub fn decide(&self, receipts: &[Receipt], policy: &Policy, now: Timestamp, zone: &TimeZone) -> Vec<Decision> {
        let mut telling = drill::telling_by_snapshot(receipts);
        telling.retain(|_, receipt| drill::is_proof(receipt));
        // A proof of a complete snapshot is not pushed out by one of a partial snapshot.
        let is_complete = |id: &Id| telling.get(id).is_some_and(|receipt| !receipt.partial);
        let any_complete = self.snapshots.iter().any(|(id, _)| is_complete(id));
        let candidates: Vec<Candidate> = self
            .snapshots
            .iter()
            .map(|(id, snapshot)| Candidate {
                id: *id,
                time: snapshot.time.into(),
                tags: snapshot.tags.clone(),
                drilled: if any_complete { is_complete(id) } else { telling.contains_key(id) },
            })
            .collect();
        apply(&candidates, policy, now, zone)
    }
}
