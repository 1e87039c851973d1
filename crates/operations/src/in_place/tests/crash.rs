//! The swap and its undo, cut at every rename.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use repository::format::time::Time;

use super::world::{Seen, Taken, World, delete, own_folders};
use crate::in_place::swap::{attempt, steps};
use crate::in_place::undo::undo_with;
use crate::in_place::{
    InPlaceError, Job, Options, Session, UndoState, drop_undo, half_way, list_undo, locate, plan_swap, roots, stage,
    swap, undo, validate,
};

/// Lets `count` renames happen, and no more.
fn cut_after(mut count: usize) -> impl FnMut() -> Result<(), InPlaceError> {
    move || {
        if count == 0 {
            return Err(InPlaceError::Selection("cut".to_owned()));
        }
        count -= 1;
        Ok(())
    }
}

/// A stack of two sources in two places, with every kind of change to make.
fn stack() -> (World, Taken) {
    let world = World::new();
    for path in ["one/data/same", "one/data/changed", "one/data/missing", "one/data/gone/deep/file", "one/data/clash"] {
        world.write(path, path);
    }
    symlink("same", world.path("one/data/link")).unwrap();
    world.write("one/data/db.sqlite", "a database");
    world.write("two/away/config", "in a folder that will be missing");
    let taken =
        world.take(&[("app", "files", &["one/data", "two/away/config"]), ("db", "sqlite", &["one/data/db.sqlite"])]);
    world.write("one/data/changed", "new");
    world.write("one/data/db.sqlite", "a later state");
    world.write("one/data/db.sqlite-wal", "a log of the later state");
    fs::remove_file(world.path("one/data/missing")).unwrap();
    fs::remove_dir_all(world.path("one/data/gone")).unwrap();
    fs::remove_file(world.path("one/data/clash")).unwrap();
    world.write("one/data/clash/inner", "a folder now");
    world.write("one/data/extra/file", "extra");
    fs::remove_dir_all(world.path("two/away")).unwrap();
    world.mode("one/data", 0o711);
    (world, taken)
}

/// Everything up to the swap, which is cut after `count` renames, as if the process were killed. Gives whether it ended
/// before that.
fn restore_cut(world: &World, taken: &Taken, options: &Options, count: usize) -> bool {
    let cx = world.cx();
    let all = &[PathBuf::new()];
    let job: Job<'_> = taken.job(all, options);
    let (repository, index) = (&world.repository, &taken.index);
    let selection = roots(repository, index, &job.tree, job.manifest, job.selected).unwrap();
    let located = locate(&selection).unwrap();
    let mut session = Session::begin(&cx, &job, &located).unwrap();
    stage(&cx, repository, index, &session, &located).unwrap();
    validate(&cx, repository, index, &session, &located, job.manifest, &|_, _, _| Ok(Vec::new())).unwrap();
    let plan = plan_swap(&cx, repository, index, &job.tree, &located, options).unwrap();
    let steps = steps(&plan, &session, &located);
    attempt(&mut session, &plan, &steps, &mut cut_after(count)).is_ok()
}

fn undo_folders(world: &World) -> Vec<PathBuf> {
    let places = ["one", "two"].map(|place| list_undo(&world.path(place)).unwrap());
    places.into_iter().flatten().map(|undo| undo.folder).collect()
}

fn assert_no_own_folders(world: &World) {
    for place in ["one", "two", "one/data"] {
        assert_eq!(own_folders(&world.path(place)), [""; 0].map(PathBuf::from));
    }
}

#[test]
fn after_a_cut_at_any_rename_undo_brings_everything_back() {
    let (world, taken) = stack();
    let before = world.seen();
    let mut cuts = 0;
    loop {
        let ended = restore_cut(&world, &taken, &delete(), cuts);
        let folders = undo_folders(&world);
        assert_eq!(folders.len(), 2);
        let states: Vec<_> = list_undo(&world.path("one")).unwrap().into_iter().map(|undo| undo.state).collect();
        assert_eq!(states, [if ended { UndoState::Swapped } else { UndoState::Interrupted }]);
        // Either folder stands for the whole restore.
        undo(&folders[cuts % 2], false).unwrap();
        assert_eq!(world.seen(), before, "cut after {cuts}");
        drop_undo(&folders[cuts % 2]).unwrap();
        assert_eq!(world.seen(), before);
        assert_no_own_folders(&world);
        if ended {
            break;
        }
        cuts += 1;
    }
    assert!(cuts > 10, "{cuts} renames");
}

#[test]
fn an_undo_that_was_cut_is_begun_again() {
    let (world, taken) = stack();
    let before = world.seen();
    // From a whole swap, and from one that was cut in the middle.
    for swap_cut in [usize::MAX, 7] {
        let mut cuts = 0;
        loop {
            restore_cut(&world, &taken, &delete(), swap_cut);
            let folder = undo_folders(&world).remove(0);
            let ended = undo_with(&folder, false, &mut cut_after(cuts)).is_ok();
            if !ended {
                // Once more cut, one rename later, and then to the end.
                let _ = undo_with(&folder, false, &mut cut_after(1));
                let _ = undo(&folder, false);
            }
            assert_eq!(world.seen(), before, "cut after {cuts}");
            drop_undo(&folder).unwrap();
            assert_no_own_folders(&world);
            if ended {
                break;
            }
            cuts += 1;
        }
        assert!(cuts > 5, "{cuts} renames");
    }
}

#[test]
fn an_interrupted_restore_must_be_undone_before_the_next_and_cannot_be_dropped() {
    let (world, taken) = stack();
    restore_cut(&world, &taken, &Options::default(), 3);
    let half = world.seen();
    let folder = list_undo(&world.path("one")).unwrap().remove(0).folder;
    let Err(InPlaceError::Blocked(findings)) = world.restore(&taken, "", &delete()) else { panic!() };
    assert!(findings.iter().any(|finding| finding.path == folder), "{findings:?}");
    assert!(matches!(drop_undo(&folder), Err(InPlaceError::UndoFolder { .. })));
    assert_eq!(world.seen(), half);
    undo(&folder, false).unwrap();
    world.restore(&taken, "", &delete()).unwrap();
}

#[test]
fn what_is_left_of_a_cut_before_the_swap_is_removed_by_undo_and_by_drop() {
    let (world, taken) = stack();
    let before = world.seen();
    for clear in [|folder: &Path| drop(undo(folder, false).unwrap()), |folder: &Path| drop_undo(folder).unwrap()] {
        let options = Options::default();
        let all = &[PathBuf::new()];
        let job = taken.job(all, &options);
        let selection = roots(&world.repository, &taken.index, &job.tree, job.manifest, job.selected).unwrap();
        let located = locate(&selection).unwrap();
        let session = Session::begin(&world.cx(), &job, &located).unwrap();
        stage(&world.cx(), &world.repository, &taken.index, &session, &located).unwrap();
        let listed = list_undo(&world.path("two")).unwrap();
        assert_eq!((listed[0].state, listed[0].in_use), (UndoState::Preparing, true));
        assert!(matches!(undo(&listed[0].folder, false), Err(InPlaceError::UndoFolder { .. })), "it is in use");
        drop(session);
        clear(&listed[0].folder);
        assert_eq!(world.seen(), before);
        assert_no_own_folders(&world);
    }
}

#[test]
fn a_swap_that_fails_midway_rolls_back_by_itself() {
    let (world, taken) = stack();
    let before = world.seen();
    let options = delete();
    let all = &[PathBuf::new()];
    let job = taken.job(all, &options);
    let (cx, repository, index) = (world.cx(), &world.repository, &taken.index);
    let selection = roots(repository, index, &job.tree, job.manifest, job.selected).unwrap();
    let located = locate(&selection).unwrap();
    let mut session = Session::begin(&cx, &job, &located).unwrap();
    stage(&cx, repository, index, &session, &located).unwrap();
    let plan = plan_swap(&cx, repository, index, &job.tree, &located, &options).unwrap();
    // Somebody makes what the plan is about to create.
    world.write("one/data/missing", "made at the last moment");
    let outcome = swap(&cx, &mut session, &plan, &located);
    assert!(matches!(outcome, Err(InPlaceError::RolledBack { .. })), "{outcome:?}");
    assert_eq!(world.read("one/data/missing"), "made at the last moment");
    fs::remove_file(world.path("one/data/missing")).unwrap();
    session.abandon().unwrap();
    let but_times = |seen: BTreeMap<PathBuf, Seen>| {
        let strip = |(path, mut seen): (PathBuf, Seen)| {
            seen.node.mtime = Time::EPOCH;
            (seen.node.atime, seen.node.ctime) = (Time::EPOCH, Time::EPOCH);
            (path, seen)
        };
        seen.into_iter().map(strip).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(but_times(world.seen()), but_times(before));
    assert_no_own_folders(&world);
}

#[test]
fn a_cancelled_restore_leaves_nothing_behind() {
    let (world, taken) = stack();
    let before = world.seen();
    world.cancel.cancel();
    let outcome = world.restore(&taken, "", &delete());
    assert!(matches!(outcome, Err(InPlaceError::Engine(repository::Error::Cancelled))), "{outcome:?}");
    assert_eq!(world.seen(), before);
    assert_no_own_folders(&world);
}

#[test]
fn restores_on_top_of_one_another_are_undone_from_the_top() {
    let world = World::new();
    world.write("data/a", "first");
    let first = world.take(&[("files", "files", &["data"])]);
    world.write("data/a", "second");
    let second = world.take(&[("files", "files", &["data"])]);
    world.write("data/a", "third");
    let before = world.seen();
    let older = world.restore(&first, "", &delete()).unwrap().undo.remove(0);
    let newer = world.restore(&second, "", &delete()).unwrap().undo.remove(0);
    let Err(InPlaceError::UndoFolder { what, .. }) = undo(&older, false) else { panic!() };
    assert!(what.contains(&newer.display().to_string()), "{what}");
    assert_eq!(world.read("data/a"), "second");
    undo(&newer, false).unwrap();
    assert_eq!(world.read("data/a"), "first");
    undo(&older, false).unwrap();
    assert_eq!(world.seen(), before);
    assert!(matches!(undo(&older, false), Err(InPlaceError::UndoFolder { .. })), "undone once, for all");
}

#[test]
fn an_undo_folder_that_others_can_write_to_is_not_trusted() {
    let world = World::new();
    world.write("data/a", "first");
    let taken = world.take(&[("files", "files", &["data"])]);
    world.write("data/a", "second");
    let folder = world.restore(&taken, "", &delete()).unwrap().undo.remove(0);
    fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o770)).unwrap();
    assert!(matches!(undo(&folder, false), Err(InPlaceError::UndoFolder { .. })));
    assert!(matches!(undo(&world.path("data"), false), Err(InPlaceError::UndoFolder { .. })));
    assert_eq!(world.read("data/a"), "first");
}

#[test]
fn what_was_cut_in_its_swap_is_half_way_until_it_is_undone() {
    let options = delete();
    for count in 0.. {
        let (world, taken) = stack();
        let places = ["one", "two"].map(|place| world.path(place));
        let is_half_way = |path: &str| half_way(&places, &[world.path(path)]).unwrap().is_some();
        assert!(!is_half_way("one/data"));
        let is_done = restore_cut(&world, &taken, &options, count);
        assert_eq!(is_half_way("one/data"), !is_done, "after {count} renames");
        assert_eq!(is_half_way("one/data/db.sqlite") || is_half_way("one"), !is_done);
        assert!(!is_half_way("one/other"));
        assert!(half_way(&[world.path("nowhere")], &[]).is_err(), "nobody knows what became of it");
        undo(&undo_folders(&world)[0], false).unwrap();
        assert!(!is_half_way("one/data"), "after {count} renames");
        if is_done {
            break;
        }
    }
}
