//! Retention as it is asked: for each stack by itself, and each set of its sources.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use repository::Id;
use repository::format::receipt::Receipt;
use repository::format::snapshot::Snapshot;

use super::{Candidate, Decision, Policy, Reason, apply, several_hosts};
use crate::{drill, snapshots};

/// Snapshots that retention compares with each other.
pub struct Group {
    /// The stack they are of.
    pub stack: String,
    /// The sources they hold, as paths: a snapshot of some sources must not push out one of all.
    pub paths: Vec<String>,
    /// The snapshots.
    pub snapshots: Vec<(Id, Snapshot)>,
}

/// What retention asks of a copy beside the snapshots of one group.
#[derive(Default)]
pub struct Beside<'a> {
    /// The receipts of the copy, oldest first.
    pub receipts: &'a [Receipt],
    /// See [`last_good`].
    pub last_good: BTreeSet<Id>,
    /// Snapshots that other copies proved by drills.
    pub proven_elsewhere: BTreeSet<Id>,
    /// See [`several_hosts`].
    pub several_hosts: BTreeMap<String, BTreeSet<String>>,
}

impl<'a> Beside<'a> {
    /// What a copy says that holds `snapshots` and `receipts`, oldest first.
    pub fn of(snapshots: &[(Id, Snapshot)], receipts: &'a [Receipt], now: Timestamp) -> Self {
        Self {
            receipts,
            last_good: last_good(snapshots, now),
            proven_elsewhere: BTreeSet::new(),
            several_hosts: several_hosts(snapshots, now),
        }
    }
}

/// The snapshots that receipts prove.
pub fn proven(receipts: &[Receipt]) -> BTreeSet<Id> {
    let telling = drill::telling_by_snapshot(receipts);
    telling.into_iter().filter(|(_, receipt)| drill::is_proof(receipt)).map(|(id, _)| id).collect()
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

/// The snapshots that hold whole what is damaged or missing now: what the newest snapshot of each source names, whatever other
/// sources it has, so asked of all snapshots together.
pub fn last_good(snapshots: &[(Id, Snapshot)], now: Timestamp) -> BTreeSet<Id> {
    let mut newest_first: Vec<&Snapshot> = snapshots.iter().map(|(_, snapshot)| snapshot).collect();
    newest_first.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.time));
    let (mut settled, mut found) = (BTreeSet::new(), BTreeSet::new());
    for snapshot in newest_first {
        let Some(stack) = snapshot.stack() else { continue };
        let named = snapshots::good_in(snapshot).filter(|(source, _)| !settled.contains(&(stack, *source)));
        found.extend(named.map(|(_, id)| id));
        // One that a wrong clock dated into the future does not speak for the others.
        if Timestamp::from(snapshot.time) <= now {
            settled.extend(snapshot.paths.iter().map(|path| (stack, path.trim_start_matches('/'))));
        }
    }
    found
}

impl Group {
    /// Decides for each snapshot whether it stays; see [`apply`].
    pub fn decide(&self, beside: &Beside<'_>, policy: &Policy, now: Timestamp, zone: &TimeZone) -> Vec<Decision> {
        let mut telling = drill::telling_by_snapshot(beside.receipts);
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
                is_last_good: beside.last_good.contains(id),
                drilled_elsewhere: beside.proven_elsewhere.contains(id),
            })
            .collect();
        let mut decisions = apply(&candidates, policy, now, zone);
        if beside.several_hosts.contains_key(&self.stack) {
            decisions.iter_mut().for_each(|decision| decision.reasons.push(Reason::SeveralHosts));
        }
        decisions
    }
}
