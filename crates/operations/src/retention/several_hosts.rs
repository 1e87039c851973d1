//! Hosts that back up under one stack's name at the same time. To Lifeboat they are one stack, so the rules of one would
//! remove what the other keeps.
//!
//! A name alone says little: a container's host name changes with each start, and a host that is replaced has a successor.
//! A name that comes back after another one does not: then both are at work.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use repository::Id;
use repository::format::snapshot::Snapshot;

/// A host that was there so lately may come back, which a daily backup shows within this time.
const MAY_COME_BACK: Duration = Duration::from_secs(36 * 60 * 60);

/// The hosts of each stack that back up at the same time, or may, as they follow each other closely. A stack of one host
/// is not in it, nor are hosts of which each took the place of the one before.
pub fn several_hosts(snapshots: &[(Id, Snapshot)], now: Timestamp) -> BTreeMap<String, BTreeSet<String>> {
    let of_stack = |(stack, turns): (&str, Vec<Turn<'_>>)| {
        let hosts: BTreeSet<String> = at_once(&turns).chain(may_be(&turns, now)).map(str::to_owned).collect();
        (!hosts.is_empty()).then(|| (stack.to_owned(), hosts))
    };
    turns(snapshots).into_iter().filter_map(of_stack).collect()
}

/// The hosts of one stack's snapshots that certainly back up at the same time.
pub fn hosts_at_once(snapshots: &[(Id, Snapshot)]) -> BTreeSet<String> {
    turns(snapshots).values().flat_map(|turns| at_once(turns)).map(str::to_owned).collect()
}

/// Whether a name is one that container engines make up, another for each container.
pub fn is_made_up(host: &str) -> bool {
    host.len() == 12 && host.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Snapshots of one host without another's between them.
struct Turn<'a> {
    host: &'a str,
    snapshots: usize,
    until: Timestamp,
}

/// The turns of each stack's hosts, oldest first.
fn turns(snapshots: &[(Id, Snapshot)]) -> BTreeMap<&str, Vec<Turn<'_>>> {
    let mut by_time: Vec<&Snapshot> = snapshots.iter().map(|(_, snapshot)| snapshot).collect();
    by_time.sort_by_key(|snapshot| snapshot.time);
    let mut turns: BTreeMap<&str, Vec<Turn<'_>>> = BTreeMap::new();
    for snapshot in by_time.into_iter().filter(|snapshot| !snapshot.hostname.is_empty()) {
        let Some(stack) = snapshot.stack() else { continue };
        let of_stack = turns.entry(stack).or_default();
        let until = snapshot.time.into();
        match of_stack.last_mut().filter(|turn| turn.host == snapshot.hostname) {
            Some(turn) => (turn.snapshots, turn.until) = (turn.snapshots + 1, until),
            None => of_stack.push(Turn { host: &snapshot.hostname, snapshots: 1, until }),
        }
    }
    turns
}

fn at_once<'a>(turns: &[Turn<'a>]) -> impl Iterator<Item = &'a str> {
    turns.iter().enumerate().flat_map(move |(number, turn)| {
        let again = turns.iter().rposition(|other| other.host == turn.host).filter(|again| *again > number);
        again.map_or(&[][..], |again| &turns[number..=again]).iter().map(|turn| turn.host)
    })
}

fn may_be<'a>(turns: &[Turn<'a>], now: Timestamp) -> impl Iterator<Item = &'a str> {
    let hosts = match turns {
        [.., before, newest] if may_come_back(before, turns.len() == 2, now) => vec![before.host, newest.host],
        _ => Vec::new(),
    };
    hosts.into_iter()
}

/// Where each run has a name of its own, as jobs of a cluster have, none comes back: such a name took one snapshot.
fn may_come_back(turn: &Turn<'_>, is_first: bool, now: Timestamp) -> bool {
    let is_lately = now.duration_since(turn.until).unsigned_abs() < MAY_COME_BACK;
    is_lately && !is_made_up(turn.host) && (is_first || turn.snapshots > 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archives::Archived;

    /// Snapshots of these hosts, one a day, and what is said some days after the last.
    fn after(hosts: &[&str], days: i64) -> Vec<String> {
        let snapshot = |(day, host): (usize, &&str)| {
            let (id, stack) = (Id::of(&day.to_le_bytes()), "cht".to_owned());
            let time = Timestamp::from_second(day as i64 * 86_400).unwrap();
            let (archives, lost) = Default::default();
            let snapshot = Archived { id, stack, time, archives, lost, of: 0, repository: None }.described();
            (id, Snapshot { hostname: (*host).to_owned(), ..snapshot })
        };
        let snapshots: Vec<_> = hosts.iter().enumerate().map(snapshot).collect();
        let (proven, told) = (hosts_at_once(&snapshots), several_hosts(&snapshots, Timestamp::MAX));
        assert_eq!(proven, told.get("cht").cloned().unwrap_or_default());
        let now = Timestamp::from_second((hosts.len() as i64 - 1 + days) * 86_400).unwrap();
        several_hosts(&snapshots, now).remove("cht").unwrap_or_default().into_iter().collect()
    }

    #[test]
    fn a_host_that_comes_back_after_another_is_at_work_beside_it() {
        assert_eq!(after(&["a", "b", "a"], 3), ["a", "b"]);
        assert_eq!(after(&["a", "b", "c", "b", "d"], 3), ["b", "c"], "a and d have not met anyone");
    }

    #[test]
    fn hosts_that_follow_each_other_are_one_after_a_while() {
        assert_eq!(after(&["a", "a", "b"], 0), ["a", "b"], "a may still come back");
        assert_eq!(after(&["a", "a", "b"], 3), Vec::<String>::new());
        assert_eq!(after(&["a", "b", "c"], 0), Vec::<String>::new(), "jobs, each with a name of its own");
        assert_eq!(
            after(&["0123456789ab", "0123456789ab", "b"], 0),
            Vec::<String>::new(),
            "a container that was replaced"
        );
        assert_eq!(after(&["0123456789ab", "b", "0123456789ab"], 3).len(), 2);
        assert_eq!(after(&["a", "", "a"], 0), Vec::<String>::new(), "archives tell no host");
    }
}
