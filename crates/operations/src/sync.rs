//! Brings copies into step: which snapshots belong into each, and all copies at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use repository::format::snapshot::Snapshot;
use repository::sync::{self, GiverDamage, Plan, Synced};
use repository::{Error, File, FileKind, Id, Repository, RunCx};

use crate::config::{CopySettings, Settings};
use crate::retention::{self, Beside};

/// A copy that is open.
pub struct Member<'a> {
    /// What the configuration says of it.
    pub settings: &'a CopySettings,
    /// Its repository.
    pub repository: Arc<Repository>,
}

/// What copies have together, and what keeps that from being all there is.
#[derive(Default)]
pub struct Union {
    /// All snapshots that any copy has and can read, oldest first.
    pub snapshots: Vec<(Id, Snapshot)>,
    /// Snapshots that a member, by its number, has and cannot read.
    pub damage: Vec<(usize, GiverDamage)>,
    /// Members, by their numbers, that do not say what they have.
    pub failed: Vec<(usize, Error)>,
}

/// Asks all members what they have.
pub fn union(cx: &RunCx<'_>, members: &[Member<'_>]) -> Result<Union, Error> {
    let mut union = Union::default();
    let mut all = BTreeMap::new();
    for (number, member) in members.iter().enumerate() {
        match member.repository.snapshots_readable(cx.cancel) {
            Ok((snapshots, damaged)) => {
                all.extend(snapshots);
                let location = member.repository.storage().location();
                union.damage.extend(damaged.into_iter().map(|(id, error)| {
                    let file = File::new(FileKind::Snapshot, id);
                    (number, GiverDamage { location: location.clone(), file, what: error.to_string() })
                }));
            }
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(error) => union.failed.push((number, error)),
        }
    }
    union.snapshots = all.into_iter().collect();
    union.snapshots.sort_by_key(|(id, snapshot)| (snapshot.time, *id));
    Ok(union)
}

/// Of all snapshots there are, those that belong into a copy: what its retention would keep. Bringing others would be
/// work that the next `forget` undoes. Only `stacks` are looked at, and of them those that go to this copy.
pub fn wanted(
    settings: &Settings,
    copy: &CopySettings,
    stacks: &[&str],
    all: &[(Id, Snapshot)],
    now: Timestamp,
) -> Vec<Id> {
    let beside = Beside::of(all, &[], now);
    let mut wanted = Vec::new();
    for group in retention::groups(all.iter().cloned()) {
        let stack = settings.stacks.iter().find(|stack| stack.name == group.stack && stacks.contains(&&*stack.name));
        let Some(stack) = stack.filter(|stack| stack.copies.contains(&copy.name)) else { continue };
        let decisions = group.decide(&beside, settings.retention(stack, copy), now, &stack.time_zone);
        wanted.extend(decisions.into_iter().filter(retention::Decision::is_kept).map(|decision| decision.id));
    }
    wanted
}

/// Of all snapshots there are, those that belong to no stack of the configuration: made by other programs or hosts.
pub fn foreign(settings: &Settings, all: &[(Id, Snapshot)]) -> Vec<Id> {
    let is_ours = |snapshot: &Snapshot| settings.stacks.iter().any(|stack| Some(&*stack.name) == snapshot.stack());
    all.iter().filter(|(_, snapshot)| !is_ours(snapshot)).map(|(id, _)| *id).collect()
}

/// Brings each target, a member by number, into step with all other members, all at once. `ready` is called for a target
/// before its turn, on its own thread.
pub fn run(
    cx: &RunCx<'_>,
    members: &[Member<'_>],
    targets: &[(usize, Vec<Id>)],
    ready: impl Fn(usize) + Sync,
) -> Vec<Result<Synced, Error>> {
    let ready = &ready;
    std::thread::scope(|scope| {
        let running: Vec<_> = targets
            .iter()
            .map(|(number, wanted)| {
                scope.spawn(move || {
                    ready(*number);
                    let target = &members[*number].repository;
                    sync::run_beside(cx, &sources(members, *number), target, wanted, targets.len())
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(panicked()))).collect()
    })
}

/// What [`run`] would do for one target.
pub fn plan(cx: &RunCx<'_>, members: &[Member<'_>], target: usize, wanted: &[Id]) -> Result<Plan, Error> {
    sync::plan(cx, &sources(members, target), &members[target].repository, wanted)
}

/// All other members. Those on this machine first: they cost no line.
pub fn sources(members: &[Member<'_>], target: usize) -> Vec<Arc<Repository>> {
    let mut others: Vec<_> = members.iter().enumerate().filter(|(number, _)| *number != target).collect();
    others.sort_by_key(|(_, member)| member.settings.location.local().is_none());
    others.into_iter().map(|(_, member)| member.repository.clone()).collect()
}

fn panicked() -> Error {
    Error::Internal("a thread that synchronised a copy panicked".to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use repository::Storage as _;

    use super::*;
    use crate::config::{self, Environment};
    use crate::memory::{FixedFiles, Memory};
    use crate::snapshots;

    fn settings() -> Settings {
        let text = "version: 1\nstate_dir: /s\npassword: p\ncopies:\n  all: {url: /a}\n  few: {url: /f, retention: {last: 1}}\n\
                    stacks:\n  cht: {retention: {}, sources: {one: {files: {paths: /x}}}}\n  \
                    near: {copies: [all], sources: {one: {files: {paths: /y}}}}\n";
        config::parse(text, Path::new("/lifeboat.yaml"), &Environment::of_process()).unwrap()
    }

    #[test]
    fn a_copy_is_brought_what_its_own_retention_keeps() {
        let (memory, settings) = (Memory::new(), settings());
        let day = |day: u32| format!("2026-02-0{day}T00:00:00Z");
        let ours: Vec<Id> = (1..4).map(|number| memory.snapshot("cht", &day(number), &[])).collect();
        let near = memory.snapshot("near", &day(4), &[]);
        let other = memory.snapshot("other", &day(5), &[]);
        let by_restic = memory.snapshot("", &day(6), &[]);
        let all = memory.repository.snapshots(&memory.cancel).unwrap();
        let wanted = |copy: &str| {
            let copy = settings.copy(copy).unwrap();
            let mut wanted = wanted(&settings, copy, &["cht", "near"], &all, "2026-02-07T00:00:00Z".parse().unwrap());
            wanted.sort();
            wanted
        };
        let mut everything = [&ours[..], &[near]].concat();
        everything.sort();
        assert_eq!(wanted("all"), everything);
        assert_eq!(wanted("few"), [ours[2]], "the stack `near` does not go there");
        assert_eq!(foreign(&settings, &all), [other, by_restic]);
        let needing = memory.snapshot("cht", &day(7), &[&snapshots::good_in_tag("x", &ours[0])]);
        let all = memory.repository.snapshots(&memory.cancel).unwrap();
        let few = settings.copy("few").unwrap();
        let wanted = super::wanted(&settings, few, &["cht"], &all, "2026-02-07T00:00:00Z".parse().unwrap());
        assert_eq!(wanted, [needing, ours[0]], "what is whole nowhere else");
    }

    #[test]
    fn a_snapshot_that_cannot_be_read_is_no_part_of_what_copies_have_and_is_named() {
        let (settings, first) = (settings(), Memory::new());
        let [whole, damaged] = [1, 2].map(|day| first.snapshot("cht", &format!("2026-02-0{day}T00:00:00Z"), &[]));
        let other = first.copied();
        let file = File::new(FileKind::Snapshot, damaged);
        first.storage.delete(file).unwrap();
        first.storage.put(file, b"damaged").unwrap();
        let member = |memory: &Memory| Member { settings: &settings.copies[0], repository: memory.repository.clone() };
        let alone = union(&first.cx(), &[member(&first)]).unwrap();
        let ids = |union: &Union| union.snapshots.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        assert_eq!(ids(&alone), [whole]);
        assert_eq!(alone.damage.iter().map(|(number, damage)| (*number, damage.file)).collect::<Vec<_>>(), [(0, file)]);
        let both = union(&first.cx(), &[member(&other), member(&first)]).unwrap();
        assert_eq!((ids(&both), both.damage.len(), both.damage[0].0), (vec![whole, damaged], 1, 1));
    }

    #[test]
    fn copies_are_brought_into_step_at_once_and_one_that_fails_keeps_no_other_from_it() {
        let settings = settings();
        let first = Memory::new();
        let (behind, other) = (first.copied(), Memory::new());
        let id = first.back_up(&[FixedFiles::new(&[("a", "1")]).named("one")], &[]).unwrap().snapshot;
        let late = first.copied();
        late.storage.delete(File::new(FileKind::Snapshot, id)).unwrap();
        let copy = settings.copy("all").unwrap();
        let member = |memory: &Memory| Member { settings: copy, repository: memory.repository.clone() };
        let members = [member(&first), member(&behind), member(&late)];
        let ready = std::sync::Mutex::new(Vec::new());
        let done =
            run(&first.cx(), &members, &[(1, vec![id]), (2, vec![id])], |number| ready.lock().unwrap().push(number));
        let snapshots: Vec<_> = done.into_iter().map(|done| done.unwrap().snapshots).collect();
        assert_eq!(snapshots, [[id], [id]]);
        let mut ready = ready.into_inner().unwrap();
        ready.sort_unstable();
        assert_eq!(ready, [1, 2]);
        let members = [member(&first), member(&other)];
        assert!(run(&first.cx(), &members, &[(1, vec![id])], |_| ()).pop().unwrap().is_err());
    }
}
