//! The plug is pulled at every single storage call of every operation that writes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use repository::check::{self, ReadData};
use repository::prune::{self, Options};
use repository::storage::fault::{Effect, Failure, Fault, When};
use repository::{Error, File, FileKind, Id, Repository, RunCx, StorageError, forget, heal};

use crate::support::*;

/// Two snapshots to be kept, one to be forgotten whose removal leaves packs to be thrown away and to be packed anew.
struct Scene {
    world: World,
    folder: tempfile::TempDir,
    keep: Vec<(Id, BTreeMap<String, Vec<u8>>)>,
    forget: Id,
}

fn scene() -> Scene {
    let world = World::new();
    let repository = world.open();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, seed| std::fs::write(folder.path().join(name), noise(20_000, seed)).unwrap();
    // So many that no pack has only what stays, whichever thread packs which.
    let each = |name: &str| (0..10).map(|number| format!("{name}-{number}")).collect::<Vec<_>>();
    let back_up = || back_up(&world.cx(), &repository, FolderCapture::of(folder.path())).unwrap().id;
    std::fs::create_dir(folder.path().join("below")).unwrap();
    (100..).zip(each("gone")).for_each(|(seed, name)| write(&name, seed));
    (200..).zip(each("below/stays")).for_each(|(seed, name)| write(&name, seed));
    let forget = back_up();
    each("gone").iter().for_each(|name| std::fs::remove_file(folder.path().join(name)).unwrap());
    let first = back_up();
    write("new", 3);
    let second = back_up();
    let keep = [first, second].map(|id| (id, world.contents(id).unwrap().files)).to_vec();
    assert_eq!(keep[1].1.len(), 11);
    write("newer", 4);
    Scene { world, folder, keep, forget }
}

fn everything_at_once() -> Options {
    Options { grace: Duration::ZERO, unused_percent_max: 0 }
}

type Operation<'a> = dyn Fn(&Scene, &RunCx<'_>, &Arc<Repository>) -> Result<(), Error> + 'a;

fn assert_unharmed(scene: &Scene, world: &World, repository: &Arc<Repository>, what: &str) {
    for (id, files) in &scene.keep {
        let restored = contents(&world.cx(), repository, *id).unwrap();
        assert!(restored.problems.is_empty() && restored.files == *files, "{what}: {:?}", restored.problems);
    }
    let report = check::check(&world.cx(), repository, ReadData::All).unwrap();
    assert_eq!(report.findings, [], "{what}");
}

/// Pulls the plug after each number of calls until the operation gets through, and looks at what is left each time.
fn crash_everywhere(scene: &Scene, operation: &Operation<'_>) {
    for failure in [Failure::Transient, Failure::Full] {
        for calls in 0.. {
            let world = scene.world.fork();
            let fault = Arc::new(Fault::new(Arc::new(world.memory.clone()), calls));
            let doomed = open(fault.clone()).unwrap();
            fault.add(When::After(fault.calls() + calls), Effect::Fail(failure));
            let outcome = operation(scene, &world.cx(), &doomed);
            let what = format!("{failure:?} after {calls} calls: {outcome:?}");

            let repository = world.open();
            bury_lock_holders(&repository);
            assert_unharmed(scene, &world, &repository, &what);
            let next = back_up(&world.cx(), &repository, FolderCapture::of(scene.folder.path())).unwrap();
            assert_eq!(next.problems, []);
            assert_eq!(world.files(FileKind::Lock), [], "{what}");
            // Whatever was left behind can be cleaned away.
            prune::prune(&world.cx(), &repository, everything_at_once()).unwrap();
            assert_unharmed(scene, &world, &repository, &what);
            assert_eq!(world.contents(next.id).unwrap().files.len(), 12, "{what}");
            if outcome.is_ok() {
                assert!(calls > 3, "only {calls} calls could fail");
                break;
            }
        }
    }
}

#[test]
fn a_backup_may_end_at_any_call() {
    let scene = scene();
    crash_everywhere(&scene, &|scene, cx, repository| {
        back_up(cx, repository, FolderCapture::of(scene.folder.path())).map(drop)
    });
}

#[test]
fn forget_may_end_at_any_call() {
    let scene = scene();
    crash_everywhere(&scene, &|scene, cx, repository| {
        forget::forget(cx, repository, &[scene.forget], forget::Why::Named)
    });
}

#[test]
fn prune_may_end_at_any_call() {
    let scene = scene();
    forget::forget(&scene.world.cx(), &scene.world.open(), &[scene.forget], forget::Why::Named).unwrap();
    crash_everywhere(&scene, &|_, cx, repository| {
        let (plan, pruned) = prune::prune(cx, repository, everything_at_once())?;
        assert!(pruned.packs_deleted > 0 && !plan.repack.is_empty(), "{pruned:?}");
        Ok(())
    });
}

#[test]
fn prune_with_a_grace_period_may_end_at_any_call() {
    let scene = scene();
    forget::forget(&scene.world.cx(), &scene.world.open(), &[scene.forget], forget::Why::Named).unwrap();
    crash_everywhere(&scene, &|_, cx, repository| prune::prune(cx, repository, Options::default()).map(drop));
}

#[test]
fn heal_may_end_at_any_call() {
    let scene = scene();
    // The index file is there and wrong for one of the packs: the others must not be lost when it is replaced.
    let file = scene.world.files(FileKind::Index)[0];
    let broken = scene.world.fork();
    assert!(broken.memory.flip(file, 50));
    for calls in 0.. {
        let world = broken.fork();
        let fault = Arc::new(Fault::new(Arc::new(world.memory.clone()), calls));
        let doomed = open(fault.clone()).unwrap();
        fault.add(When::After(fault.calls() + calls), Effect::Fail(Failure::Transient));
        let outcome = heal::index(&world.cx(), &doomed, false);
        let repository = world.open();
        bury_lock_holders(&repository);
        heal::index(&world.cx(), &repository, false).unwrap();
        assert_unharmed(&scene, &world, &repository, &format!("after {calls} calls: {outcome:?}"));
        if outcome.is_ok() {
            assert!(calls > 5);
            break;
        }
    }
}

#[test]
fn lost_answers_harm_nothing() {
    // Each call in turn is carried out and reported as failed; the run ends there, as without retries it must.
    let scene = scene();
    for calls in 1.. {
        let world = scene.world.fork();
        let fault = Arc::new(Fault::new(Arc::new(world.memory.clone()), calls));
        let doomed = open(fault.clone()).unwrap();
        fault.add(When::Nth(fault.calls() + calls), Effect::LoseAnswer(Failure::Transient));
        let before = fault.calls();
        let outcome = back_up(&world.cx(), &doomed, FolderCapture::of(scene.folder.path())).map(drop);
        let passed = fault.calls() - before < calls;
        let repository = world.open();
        bury_lock_holders(&repository);
        assert_unharmed(&scene, &world, &repository, &format!("call {calls}: {outcome:?}"));
        back_up(&world.cx(), &repository, FolderCapture::of(scene.folder.path())).unwrap();
        if passed {
            outcome.unwrap();
            break;
        }
    }
}

/// A place that breaks its promise: the put that fails leaves half a file under the final name.
#[test]
fn half_a_file_is_found_and_named_and_harms_no_earlier_snapshot() {
    let scene = scene();
    for torn_put in 1.. {
        let world = scene.world.fork();
        let puts = AtomicU64::new(0);
        let watch = move |inner: &repository::storage::memory::MemoryStorage, asked: Asked<'_>| {
            let dead = || StorageError::Transient { location: "memory".to_owned(), what: "dead".to_owned() };
            if puts.load(Ordering::SeqCst) >= torn_put {
                return Err(dead());
            }
            let Asked::Put(file, bytes) = asked else { return Ok(()) };
            if puts.fetch_add(1, Ordering::SeqCst) + 1 < torn_put {
                return Ok(());
            }
            inner.plant(file, bytes[..bytes.len() / 2].to_vec());
            Err(dead())
        };
        let before = world.memory.files();
        let doomed = open(Arc::new(Watched { inner: world.memory.clone(), watch })).unwrap();
        let outcome = back_up(&world.cx(), &doomed, FolderCapture::of(scene.folder.path()));
        if outcome.is_ok() {
            assert!(torn_put > 5, "{torn_put}");
            break;
        }
        let repository = world.open();
        let new: Vec<File> = world.memory.files().into_iter().filter(|file| !before.contains(file)).collect();
        let report = check::check(&world.cx(), &repository, ReadData::All).unwrap();
        let torn = report.findings.iter().filter_map(|finding| finding.file).find(|file| new.contains(file));
        match torn {
            // What a person does once it is named.
            Some(file) => assert!(world.memory.remove(file)),
            // A pack that no index names yet is like none.
            None => assert!(report.is_ok() && report.unused_packs > 0, "put {torn_put}: {report:?}"),
        }
        bury_lock_holders(&repository);
        heal::index(&world.cx(), &repository, false).unwrap();
        assert_unharmed(&scene, &world, &repository, &format!("put {torn_put}"));
        let next = back_up(&world.cx(), &repository, FolderCapture::of(scene.folder.path())).unwrap();
        assert_eq!(world.contents(next.id).unwrap().files.len(), 12);
    }
}
