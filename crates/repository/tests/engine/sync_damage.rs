//! A copy brought into step where something is damaged, lost or out of reach, in it or in the copies it is filled from.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use repository::format::pack::BlobKind;
use repository::storage::fault::{Effect, Failure, Fault, When};
use repository::{Clock as _, File, FileKind, Id, Index, forget, prune, sync};

use crate::support::*;
use crate::sync::*;

#[test]
fn a_pack_in_the_target_whose_header_or_size_is_wrong_is_not_relied_on() {
    for flip in [true, false] {
        let (world, ids) = scene();
        let copy = empty_copy(&world);
        sync(&[&world], &copy, &ids).unwrap();
        for kind in [FileKind::Index, FileKind::Snapshot] {
            copy.files(kind).into_iter().for_each(|file| assert!(copy.memory.remove(file)));
        }
        let file = pack_of(&world, BlobKind::Data);
        let length = copy.memory.read(file).unwrap().len();
        assert!(if flip { copy.memory.flip(file, length - 9) } else { copy.memory.truncate(file, length - 9) });
        let synced = sync(&[&world], &copy, &ids).unwrap();
        assert!(synced.blobs_repacked > 0 && synced.incomplete.is_empty(), "{synced:?}");
        assert_clean(&copy);
        ids.iter().for_each(|id| assert_same(&world, &copy, *id));
    }
}

#[test]
fn damage_in_a_source_never_spreads_and_is_made_up_for_by_the_next() {
    let (world, ids) = scene();
    let good = world.fork();
    for kind in [BlobKind::Data, BlobKind::Tree] {
        for harm in 0..4 {
            let bad = world.fork();
            let file = pack_of(&bad, kind);
            assert!(match harm {
                0 => bad.memory.flip(file, 60),
                1 => bad.memory.truncate(file, 100),
                2 => bad.memory.remove(file),
                _ => bad.memory.flip(file, bad.memory.read(file).unwrap().len() - 10),
            });
            let copy = empty_copy(&world);
            let synced = sync(&[&bad, &good], &copy, &ids).unwrap();
            assert_eq!((&synced.snapshots, &synced.incomplete, &synced.left), (&ids, &vec![], &vec![]));
            assert_clean(&copy);
            ids.iter().for_each(|id| assert_same(&good, &copy, *id));
            assert_eq!(copy.files(FileKind::Pack), world.files(FileKind::Pack), "{kind:?} {harm}");

            // Alone, it gives what is whole in it and names the rest.
            let copy = empty_copy(&world);
            let synced = sync(&[&bad], &copy, &ids).unwrap();
            assert_eq!(synced.damage.iter().map(|damage| damage.file).collect::<Vec<_>>(), [file], "{synced:?}");
            assert_eq!(synced.snapshots.len() + synced.incomplete.len(), ids.len());
            assert!(synced.snapshots.len() >= 2, "{synced:?}");
            assert_eq!(snapshots(&copy), synced.snapshots);
            assert_clean(&copy);
            synced.snapshots.iter().for_each(|id| assert_same(&good, &copy, *id));
        }
    }
}

#[test]
fn a_damaged_snapshot_or_index_file_of_a_source_comes_from_the_next() {
    let (world, ids) = scene();
    let good = world.fork();
    for kind in [FileKind::Snapshot, FileKind::Index] {
        let bad = world.fork();
        assert!(bad.memory.flip(bad.files(kind)[0], 40));
        let copy = empty_copy(&world);
        let synced = sync(&[&bad, &good], &copy, &ids).unwrap();
        assert_eq!((&synced.snapshots, synced.damage.len()), (&ids, 1));
        assert_clean(&copy);
        let copy = empty_copy(&world);
        let synced = sync(&[&bad], &copy, &ids).unwrap();
        // An index file may name what all snapshots share.
        assert_eq!(synced.snapshots.len() + synced.incomplete.len(), 3, "{synced:?}");
        assert!(!synced.incomplete.is_empty() && snapshots(&copy) == synced.snapshots);
        assert_clean(&copy);
    }
}

#[test]
fn blobs_of_a_pack_that_the_target_lost_are_moved_again() {
    let (world, ids) = scene();
    let copy = empty_copy(&world);
    sync(&[&world], &copy, &ids[..2]).unwrap();
    let folder_like = back_up(&world.cx(), &world.open(), one("a", 300_000, 1)).unwrap().id;
    // The newest shares all data with the oldest, whose packs are lost in the target.
    let index = Index::load(&world.cx(), &world.open()).unwrap();
    for file in copy.files(FileKind::Pack) {
        if index.packs()[&file.id][0].kind == BlobKind::Data {
            assert!(copy.memory.remove(file));
        }
    }
    let synced = sync(&[&world], &copy, &[folder_like]).unwrap();
    assert!(synced.packs_moved > 0);
    assert_same(&world, &copy, folder_like);
}

#[test]
fn what_the_sources_lack_is_named_and_the_rest_comes() {
    let (world, mut ids) = scene();
    let copy = empty_copy(&world);
    let unknown = Id::of(b"unknown");
    ids.push(unknown);
    let synced = sync(&[&world], &copy, &ids).unwrap();
    assert_eq!((synced.snapshots.len(), synced.incomplete.len()), (3, 1));
    assert_eq!(synced.incomplete[0].snapshot, unknown);
    assert_clean(&copy);
}

#[test]
fn condemned_packs_are_used_again_only_if_every_byte_is_right_and_get_a_new_grace_period() {
    for is_damaged in [false, true] {
        let (world, ids) = scene();
        let copy = empty_copy(&world);
        sync(&[&world], &copy, &ids).unwrap();
        forget::forget(&copy.cx(), &copy.open(), &ids, forget::Why::Named).unwrap();
        let condemned = prune::prune(&copy.cx(), &copy.open(), prune::Options::default()).unwrap().1.packs_condemned;
        assert_eq!(condemned, world.files(FileKind::Pack).len());
        copy.clock.advance(Duration::from_secs(25 * 3600));
        let data = pack_of(&world, BlobKind::Data);
        assert!(!is_damaged || copy.memory.flip(data, 60));
        let synced = sync(&[&world], &copy, &ids).unwrap();
        assert_eq!((synced.packs_moved, synced.packs_there), (0, condemned - usize::from(is_damaged)));
        assert_eq!(synced.blobs_repacked > 0, is_damaged);
        assert_clean(&copy);
        // A prune that saw none of this: the newest list counts.
        let lists = copy.files(FileKind::Condemned);
        assert_eq!(lists.len(), 2);
        let times: BTreeSet<_> = lists
            .iter()
            .map(|file| copy.open().load_json(FileKind::Condemned, file.id).unwrap())
            .map(|json| prune::Condemned::parse(&json).unwrap().time)
            .collect();
        assert_eq!(times.last().copied(), Some(copy.clock.now().into()));
        prune::prune(&copy.cx(), &copy.open(), prune::Options::default()).unwrap();
        ids.iter().for_each(|id| assert_same(&world, &copy, *id));
        assert_clean(&copy);
    }
}

#[test]
fn a_tree_that_cannot_be_read_once_leads_to_no_snapshot_that_lacks_what_lies_below() {
    let (world, ids) = scene();
    // One of the snapshots is incomplete for good, so that everything is planned twice.
    let repository = world.open();
    let index = Index::load(&world.cx(), &repository).unwrap();
    let root = repository.snapshot(ids[0]).unwrap().tree;
    assert!(world.memory.remove(File::pack(index.find(BlobKind::Tree, &root).unwrap().pack)));
    for nth in 1.. {
        let copy = empty_copy(&world);
        let fault = Arc::new(Fault::new(Arc::new(world.memory.clone()), nth));
        let source = open(fault.clone()).unwrap();
        fault.add(When::Nth(fault.calls() + nth), Effect::FlipBit);
        let before = fault.calls();
        let synced = sync::run(&copy.cx(), &[source], &copy.open(), &ids);
        let passed = fault.calls() - before < nth;
        assert_clean(&copy);
        snapshots(&copy).iter().for_each(|id| assert_same(&world, &copy, *id));
        if passed {
            let synced = synced.unwrap();
            assert_eq!((synced.snapshots.len(), synced.incomplete.len()), (2, 1));
            break;
        }
        world.files(FileKind::Lock).into_iter().for_each(|file| assert!(world.memory.remove(file)));
    }
}

#[test]
fn a_source_that_stops_answering_is_made_up_for_by_the_next_and_asked_no_more() {
    let (world, ids) = scene();
    let second = world.fork();
    for calls in [12, 16, 20] {
        let copy = empty_copy(&world);
        let fault = Arc::new(Fault::new(Arc::new(world.memory.clone()), 1));
        let first = open(fault.clone()).unwrap();
        let limit = fault.calls() + calls;
        fault.add(When::After(limit), Effect::Fail(Failure::Transient));
        let synced = sync::run(&copy.cx(), &[first, second.open()], &copy.open(), &ids).unwrap();
        assert_eq!((&synced.snapshots, synced.left.len()), (&ids, 1), "{calls}: {synced:?}");
        // Those that move packs at the same time may each have asked, and then the lock is to be removed.
        assert!(fault.calls() - limit <= 4, "{calls}: asked {} times in vain", fault.calls() - limit);
        assert_clean(&copy);
        bury_lock_holders(&world.open());
    }
}
