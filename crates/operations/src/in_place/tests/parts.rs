//! Parts of a source whose files belong together: staged and kept in one place, files that get another content than the
//! snapshot has, and what was made of the old state.

use std::path::{Path, PathBuf};

use repository::SourceError;

use super::world::{World, as_plain_user, see};
use crate::in_place::{Done, InPlaceError, Options, restore, undo};

/// A CouchDB's folder with two shards, their shard map, and an index of the first.
fn couch() -> World {
    let world = World::new();
    write_couch(&world);
    world
}

fn write_couch(world: &World) {
    for path in ["data/shards/a/medic.1.couch", "data/shards/b/medic.1.couch", "data/_dbs.couch", "data/other"] {
        world.write(path, "old");
    }
}

const SHARDS: [&str; 2] = ["data/shards/a/medic.1.couch", "data/shards/b/medic.1.couch"];

fn restore_parts(
    world: &World,
    parts: &[&str],
    options: &Options,
    rewrite: &dyn Fn(&str, &Path) -> Result<(), SourceError>,
) -> Result<Done, InPlaceError> {
    let taken = world.take(&[("records", "couchdb", &["data"])]);
    for path in SHARDS {
        world.write(path, "new");
    }
    let in_snapshot = |part: &&str| Path::new("records").join(world.path(part).strip_prefix("/").unwrap());
    let selected: Vec<PathBuf> = parts.iter().map(in_snapshot).collect();
    let job = taken.job(&selected, options);
    restore(&world.cx(), &world.repository, &taken.index, &job, &|_, _, _| Ok(Vec::new()), rewrite)
}

#[test]
fn a_rewritten_file_is_swapped_in_though_the_one_that_is_there_equals_the_snapshots() {
    let world = couch();
    let map = world.path("data/_dbs.couch");
    let options = Options { rewritten: vec![map.clone()], ..Options::default() };
    let rewrite = |source: &str, staging: &Path| {
        assert_eq!(source, "records");
        std::fs::write(staging.join(map.strip_prefix("/").unwrap()), "rewritten").unwrap();
        Ok(())
    };
    let before = |world: &World| (world.read("data/_dbs.couch"), world.read(SHARDS[0]));
    let done = restore_parts(&world, &[SHARDS[0], "data/_dbs.couch"], &options, &rewrite).unwrap();
    assert_eq!(before(&world), ("rewritten".to_owned(), "old".to_owned()));
    assert_eq!(world.read(SHARDS[1]), "new");
    undo(&done.undo[0], false).unwrap();
    assert_eq!(before(&world), ("old".to_owned(), "new".to_owned()));
}

#[test]
fn where_a_file_cannot_be_rewritten_everything_stays_as_it_was() {
    let world = couch();
    let options = Options { rewritten: vec![world.path("data/_dbs.couch")], ..Options::default() };
    let failing = |_: &str, _: &Path| Err(SourceError::Invalid { what: "no shard map".to_owned() });
    let outcome = restore_parts(&world, &[SHARDS[0], "data/_dbs.couch"], &options, &failing);
    let Err(InPlaceError::Invalid(problems)) = outcome else { panic!("{outcome:?}") };
    assert_eq!((problems[0].source.as_str(), problems[0].what.as_str()), ("records", "no shard map"));
    assert_eq!((world.read("data/_dbs.couch"), world.read(SHARDS[0])), ("old".to_owned(), "new".to_owned()));
    assert!(see(&world.path("data")).keys().all(|path| !path.to_string_lossy().contains(".lifeboat")));
}

#[test]
fn what_was_made_of_the_old_state_goes_with_it_and_all_is_kept_in_one_place() {
    let world = couch();
    world.write("data/nouveau/node/shards/a/medic.1/sig/index", "newer");
    world.write("data/nouveau/node/shards/a/other.1/sig/index", "stays");
    let outdated = ["a", "b"].map(|range| world.path(&format!("data/nouveau/node/shards/{range}/medic.1")));
    let options = Options { outdated: outdated.into(), ..Options::default() };
    let done = restore_parts(&world, &SHARDS, &options, &|_, _| Ok(())).unwrap();
    let [kept] = &done.undo[..] else { panic!("{:?}", done.undo) };
    assert_eq!(kept.parent().unwrap(), world.path("data"), "the source's own folder");
    assert!(SHARDS.iter().all(|path| world.read(path) == "old"));
    assert!(!world.path("data/nouveau/node/shards/a/medic.1").exists());
    assert_eq!(world.read("data/nouveau/node/shards/a/other.1/sig/index"), "stays");
    undo(kept, false).unwrap();
    assert_eq!(world.read("data/nouveau/node/shards/a/medic.1/sig/index"), "newer");
    assert!(SHARDS.iter().all(|path| world.read(path) == "new"));
}

#[test]
fn an_index_that_is_moved_away_by_a_plain_user_may_be_closed() {
    let world = World::new();
    as_plain_user(&[&world.base], || {
        write_couch(&world);
        let index = "data/nouveau/medic.1";
        world.write(&format!("{index}/sig"), "newer");
        world.mode(index, 0o500);
        let before = see(&world.path(index));
        let options = Options { outdated: vec![world.path(index)], ..Options::default() };
        let done = restore_parts(&world, &SHARDS, &options, &|_, _| Ok(())).unwrap();
        assert!(done.problems.is_empty(), "it is not there to get its mode back: {:?}", done.problems);
        assert!(!world.path(index).exists());
        undo(&done.undo[0], false).unwrap();
        assert_eq!(see(&world.path(index)), before);
        // So that the test's own folder can be removed.
        world.mode(index, 0o700);
    });
}

#[test]
fn a_compacted_database_takes_the_place_of_the_one_it_was_made_from() {
    let world = World::new();
    let (plain, compacted) = ("data/shards/a/medic.1.couch", "data/shards/a/medic.1.couch.compact");
    world.write(compacted, "old");
    let taken = world.take(&[("records", "couchdb", &["data"])]);
    world.write(plain, "newer");
    world.write("data/shards/a/medic.1.couch.compact.data", "newer");
    let selected = [Path::new("records").join(world.path(compacted).strip_prefix("/").unwrap())];
    let (options, cx) = (Options::default(), world.cx());
    let job = taken.job(&selected, &options);
    restore(&cx, &world.repository, &taken.index, &job, &|_, _, _| Ok(Vec::new()), &|_, _| Ok(())).unwrap();
    assert_eq!(world.read(compacted), "old");
    assert!(!world.path(plain).exists() && !world.path("data/shards/a/medic.1.couch.compact.data").exists());
}
