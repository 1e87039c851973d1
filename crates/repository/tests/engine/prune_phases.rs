//! The two phases of `prune`: out of the index first, deleted only when nobody can need it any more.

use std::sync::Arc;
use std::time::Duration;

use repository::check::{self, ReadData};
use repository::clock::SimulatedClock;
use repository::format::time::Time;
use repository::prune::{self, Condemned, Options, Pruned};
use repository::{Error, FileKind, Id, Index, Repository, RunCx, forget};

use crate::support::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn one(name: &str, seed: u64) -> StreamCapture {
    StreamCapture::default().with(name, std::io::Cursor::new(noise(200_000, seed)))
}

/// A forgotten snapshot with packs of its own, and one that stays.
fn scene() -> (World, Arc<Repository>, Backup) {
    let world = World::new();
    let repository = world.open();
    let gone = back_up(&world.cx(), &repository, one("a", 1)).unwrap();
    world.clock.advance(Duration::from_secs(60));
    let stays = back_up(&world.cx(), &repository, one("b", 2)).unwrap();
    forget::forget(&world.cx(), &repository, &[gone.id], forget::Why::Named).unwrap();
    (world, repository, stays)
}

fn prune(world: &World, repository: &Arc<Repository>) -> Pruned {
    prune::prune(&world.cx(), repository, Options::default()).unwrap().1
}

fn indexed(world: &World, repository: &Repository) -> Vec<Id> {
    let mut packs: Vec<_> = Index::load(&world.cx(), repository).unwrap().packs().into_keys().collect();
    packs.sort();
    packs
}

fn assert_clean(world: &World, repository: &Repository) {
    let report = check::check(&world.cx(), repository, ReadData::All).unwrap();
    assert_eq!((report.findings, report.affected), (vec![], vec![]));
}

#[test]
fn condemned_packs_leave_the_index_at_once_and_the_storage_after_the_grace_period() {
    let (world, repository, stays) = scene();
    let before = world.files(FileKind::Pack).len();
    let first = prune(&world, &repository);
    assert!(first.packs_condemned > 0 && first.bytes_condemned > 200_000, "{first:?}");
    // Packing anew adds some.
    let packs = world.files(FileKind::Pack).len();
    assert!(first.packs_deleted == 0 && packs >= before, "{first:?}");
    assert_eq!(indexed(&world, &repository).len(), packs - first.packs_condemned);
    assert_clean(&world, &repository);

    world.clock.advance(DAY - Duration::from_secs(1));
    let second = prune(&world, &repository);
    assert_eq!((second.packs_deleted, second.packs_condemned), (0, first.packs_condemned));
    world.clock.advance(Duration::from_secs(1));
    let third = prune(&world, &repository);
    assert_eq!((third.packs_deleted, third.bytes_freed), (first.packs_condemned, first.bytes_condemned));
    assert_eq!(world.files(FileKind::Condemned), []);
    assert_eq!(world.files(FileKind::Pack).len(), packs - first.packs_condemned);
    assert_clean(&world, &repository);
    assert_eq!(world.contents(stays.id).unwrap().problems, []);
    let fourth = prune(&world, &repository);
    assert_eq!(fourth, Pruned::default());
}

#[test]
fn a_snapshot_by_a_writer_that_had_read_the_old_index_brings_its_packs_back() {
    let (world, repository, _) = scene();
    let old_index = Index::load(&world.cx(), &repository).unwrap();
    let condemned = prune(&world, &repository).packs_condemned;
    assert!(condemned > 0);
    // The writer saw no lock, or its own was lost: it takes the forgotten file's blobs for stored.
    let late = back_up_with(&world.cx(), &repository, &old_index, one("a", 1)).unwrap();
    assert_eq!(late.stats.stored.data_blobs, 0);
    assert!(!world.contents(late.id).is_ok_and(|late| late.problems.is_empty()), "its blobs are in no index");

    world.clock.advance(DAY * 2);
    let (plan, pruned) = prune::prune(&world.cx(), &repository, Options::default()).unwrap();
    assert!(!plan.taken_back.is_empty());
    assert!(pruned.packs_deleted < condemned);
    let restored = world.contents(late.id).unwrap();
    assert!(restored.problems.is_empty() && restored.files["a"] == noise(200_000, 1));
    assert_clean(&world, &repository);
}

#[test]
fn a_pack_that_was_taken_back_gets_a_new_grace_period_when_it_is_condemned_again() {
    let (world, repository, _) = scene();
    let old_index = Index::load(&world.cx(), &repository).unwrap();
    prune(&world, &repository);
    let late = back_up_with(&world.cx(), &repository, &old_index, one("a", 1)).unwrap();
    world.clock.advance(Duration::from_secs(3600));
    prune(&world, &repository);
    forget::forget(&world.cx(), &repository, &[late.id], forget::Why::Named).unwrap();
    // The old list's time is up, but a writer may have read the index since.
    world.clock.advance(DAY);
    let index = Index::load(&world.cx(), &repository).unwrap();
    let pruned = prune(&world, &repository);
    assert!(pruned.packs_condemned > 0, "{pruned:?}");
    let later = back_up_with(&world.cx(), &repository, &index, one("a", 1)).unwrap();
    prune(&world, &repository);
    assert!(world.contents(later.id).unwrap().files["a"] == noise(200_000, 1));
    assert_clean(&world, &repository);
}

/// The lists in the storage.
fn condemned_lists(repository: &Repository) -> Vec<Condemned> {
    let listed = repository.storage().list(FileKind::Condemned).unwrap();
    let load = |id| Condemned::parse(&repository.load_json(FileKind::Condemned, id).unwrap()).unwrap();
    listed.into_iter().map(|listed| load(listed.id)).collect()
}

/// A pack that was condemned by a first prune, taken back by a second, and condemned again six hours after the first.
fn condemned_twice() -> (World, Arc<Repository>, Index) {
    let (world, repository, _) = scene();
    let old_index = Index::load(&world.cx(), &repository).unwrap();
    prune(&world, &repository);
    let late = back_up_with(&world.cx(), &repository, &old_index, one("a", 1)).unwrap();
    let taken_back = prune::prune(&world.cx(), &repository, Options::default()).unwrap().0.taken_back;
    assert!(!taken_back.is_empty());
    let mut named: Vec<Id> = condemned_lists(&repository).into_iter().flat_map(|list| list.packs).collect();
    let indexed = indexed(&world, &repository);
    assert!(named.iter().all(|pack| !indexed.contains(pack)), "a pack that was taken back stayed in a list");
    named.sort();
    assert!(named.windows(2).all(|pair| pair[0] != pair[1]), "a pack is in two lists");
    forget::forget(&world.cx(), &repository, &[late.id], forget::Why::Named).unwrap();
    world.clock.advance(DAY / 4);
    let index = Index::load(&world.cx(), &repository).unwrap();
    assert!(prune(&world, &repository).packs_condemned > 0);
    (world, repository, index)
}

#[test]
fn when_the_older_of_two_grace_periods_ends_the_newer_still_protects() {
    let (world, repository, index) = condemned_twice();
    // A writer that had read the index before the second condemnation ends after the first one's time is up.
    world.clock.advance(DAY - DAY / 8);
    prune(&world, &repository);
    let later = back_up_with(&world.cx(), &repository, &index, one("a", 1)).unwrap();
    prune(&world, &repository);
    assert!(world.contents(later.id).unwrap().files["a"] == noise(200_000, 1));
    assert_clean(&world, &repository);
}

#[test]
fn of_several_lists_that_name_a_pack_the_newest_counts() {
    let (world, repository, _) = condemned_twice();
    // As a version that did not write older lists anew, or a killed run, leaves it.
    let packs: Vec<Id> = condemned_lists(&repository).into_iter().flat_map(|list| list.packs).collect();
    let old = Condemned { time: Time::from(start()), packs };
    repository.save_json(FileKind::Condemned, &old).unwrap();
    world.clock.advance(DAY - DAY / 8);
    let again = index_free_packs(&world, &repository);
    let pruned = prune(&world, &repository);
    assert!(pruned.packs_condemned > 0, "{pruned:?}");
    assert!(pruned.packs_condemned + pruned.packs_deleted <= again.len(), "a pack was counted twice: {pruned:?}");
    world.clock.advance(DAY);
    prune(&world, &repository);
    assert_eq!((world.files(FileKind::Condemned), index_free_packs(&world, &repository)), (vec![], vec![]));
}

/// Packs that are there and in no index.
fn index_free_packs(world: &World, repository: &Repository) -> Vec<Id> {
    let indexed = indexed(world, repository);
    world.files(FileKind::Pack).iter().map(|file| file.id).filter(|id| !indexed.contains(id)).collect()
}

#[test]
fn a_clock_that_runs_backwards_deletes_nothing_early() {
    let (world, repository, _) = scene();
    let condemned = prune(&world, &repository).packs_condemned;
    let at = |clock: &SimulatedClock| {
        let cx = RunCx { clock, ..world.cx() };
        prune::prune(&cx, &repository, Options::default())
    };
    let (_, pruned) = at(&SimulatedClock::new(start() - Duration::from_secs(23 * 3600))).unwrap();
    assert_eq!((pruned.packs_deleted, pruned.packs_condemned), (0, condemned));
    // What cannot be right is not acted upon at all, in either direction.
    let before = world.memory.files();
    for days in [-365, 500] {
        let wrong = start() + jiff::SignedDuration::from_hours(24 * days);
        assert!(matches!(at(&SimulatedClock::new(wrong)), Err(Error::ImplausibleClock { .. })), "{days}");
        assert_eq!(world.memory.files(), before);
    }
}

#[test]
fn rules_remove_nothing_while_the_clock_cannot_be_right() {
    let (world, repository, _) = scene();
    let id = world.files(FileKind::Snapshot)[0].id;
    let late = SimulatedClock::new(start() + jiff::SignedDuration::from_hours(24 * 500));
    let cx = RunCx { clock: &late, ..world.cx() };
    let refused = forget::forget(&cx, &repository, &[id], forget::Why::Rules);
    assert!(matches!(refused, Err(Error::ImplausibleClock { .. })));
    // What somebody names goes: it may be what has the wrong time.
    forget::forget(&cx, &repository, &[id], forget::Why::Named).unwrap();
}

#[test]
fn packs_that_a_killed_backup_left_are_condemned_and_then_deleted() {
    let (world, repository, _) = scene();
    prune::prune(&world.cx(), &repository, Options { grace: Duration::ZERO, ..Options::default() }).unwrap();
    let (before, all) = (world.files(FileKind::Pack), world.memory.files());
    // Killed before its index was written: its packs are there and nothing names them.
    back_up(&world.cx(), &repository, one("c", 3)).unwrap();
    for file in world.memory.files() {
        if file.kind != FileKind::Pack && !all.contains(&file) {
            assert!(world.memory.remove(file));
        }
    }
    let left = world.files(FileKind::Pack).len() - before.len();
    assert!(left > 0);
    assert_eq!(prune(&world, &repository).packs_condemned, left);
    world.clock.advance(DAY);
    assert_eq!(prune(&world, &repository).packs_deleted, left);
    assert_eq!(world.files(FileKind::Pack), before);
}

#[test]
fn a_damaged_list_of_condemned_packs_is_replaced_and_delays_their_end() {
    let (world, repository, _) = scene();
    let condemned = prune(&world, &repository).packs_condemned;
    let list = world.files(FileKind::Condemned)[0];
    assert!(world.memory.flip(list, 20));
    world.clock.advance(DAY * 2);
    let pruned = prune(&world, &repository);
    assert_eq!((pruned.packs_deleted, pruned.packs_condemned), (0, condemned));
    assert!(!world.files(FileKind::Condemned).contains(&list));
    world.clock.advance(DAY);
    assert_eq!(prune(&world, &repository).packs_deleted, condemned);
}

#[test]
fn a_plan_changes_nothing() {
    let (world, repository, _) = scene();
    let before = world.memory.files();
    let plan = prune::plan(&world.cx(), &repository, Options::default()).unwrap();
    assert!(!plan.is_empty() && !plan.condemn.is_empty() && plan.bytes_unused > 0);
    assert_eq!(world.memory.files(), before);
}

#[test]
fn half_needed_packs_are_packed_anew_and_everything_still_restores() {
    let world = World::new();
    let repository = world.open();
    // Which thread packs which file is not known. Many files, and no rhythm in which of them stay: so no pack has all of
    // those that stay, and another none of them.
    let name = |seed: u64| format!("{seed:02}");
    let stays = |seed: &u64| seed * seed % 7 < 3;
    let capture = |seeds: &mut dyn Iterator<Item = u64>| {
        seeds.fold(StreamCapture::default(), |capture, seed| {
            capture.with(&name(seed), std::io::Cursor::new(noise(15_000, seed)))
        })
    };
    let both = back_up(&world.cx(), &repository, capture(&mut (0..40))).unwrap();
    let half = back_up(&world.cx(), &repository, capture(&mut (0..40).filter(stays))).unwrap();
    forget::forget(&world.cx(), &repository, &[both.id], forget::Why::Named).unwrap();
    let options = Options { grace: Duration::ZERO, unused_percent_max: 0 };
    let (plan, pruned) = prune::prune(&world.cx(), &repository, options).unwrap();
    assert!(pruned.packs_repacked > 0 && !plan.repack.is_empty());
    let restored = world.contents(half.id).unwrap();
    assert!(restored.problems.is_empty());
    assert!((0..40).filter(stays).all(|seed| restored.files[&name(seed)] == noise(15_000, seed)));
    assert_clean(&world, &repository);
    let bytes: usize = world.files(FileKind::Pack).iter().map(|file| world.memory.read(*file).unwrap().len()).sum();
    let needed = (0..40).filter(stays).count() * 15_000;
    assert!(bytes < needed + 20_000, "{bytes} for {needed}");
    // A second run finds nothing to do.
    let (plan, again) = prune::prune(&world.cx(), &repository, options).unwrap();
    assert!(plan.is_empty(), "{plan:?}");
    assert_eq!(again, Pruned::default());
}
