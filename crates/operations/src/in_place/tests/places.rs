//! Where things are restored to, and what speaks against it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use repository::SourceError;

use super::world::{World, as_plain_user, delete, see};
use crate::in_place::{Effect, InPlaceError, Options, drop_undo, undo};

#[test]
fn the_files_beside_a_database_are_moved_away_even_where_the_database_is_the_same() {
    let world = World::new();
    world.write("data/app.db", "committed");
    let taken = world.take(&[("db", "sqlite", &["data/app.db"])]);
    for suffix in ["-wal", "-shm", "-journal"] {
        world.write(&format!("data/app.db{suffix}"), "of another state");
    }
    let before = world.seen();
    let done = world.restore(&taken, "", &Options::default()).unwrap();
    let names: Vec<_> = fs::read_dir(world.path("data")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let mut names: Vec<_> = names.into_iter().map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| !name.starts_with(".lifeboat-undo-"));
    assert_eq!(names, ["app.db"]);
    undo(&done.undo[0], false).unwrap();
    assert_eq!(world.seen(), before);
}

#[test]
fn a_database_inside_a_folder_of_files_comes_back_with_it() {
    let world = World::new();
    world.write("data/sub/app.db", "committed");
    world.write("data/sub/file", "file");
    let taken = world.take(&[("files", "files", &["data"]), ("db", "sqlite", &["data/sub/app.db"])]);
    let wanted = see(&world.path("data"));
    // The folder changed, and then gone.
    world.write("data/sub/app.db", "later");
    world.write("data/sub/app.db-wal", "log");
    world.write("data/sub/file", "later");
    let before = world.seen();
    let done = world.restore(&taken, "", &delete()).unwrap();
    assert_eq!(see(&world.path("data")), wanted);
    undo(&done.undo[0], false).unwrap();
    assert_eq!(world.seen(), before);
    fs::remove_dir_all(world.path("data")).unwrap();
    let before = world.seen();
    let done = world.restore(&taken, "", &delete()).unwrap();
    assert_eq!(see(&world.path("data")), wanted);
    undo(&done.undo[0], false).unwrap();
    assert_eq!(world.seen(), before);
}

#[test]
fn two_sources_that_overlap_are_both_restored() {
    let world = World::new();
    world.write("data/file", "file");
    world.write("data/inner/file", "inner");
    fs::create_dir(world.path("data/inner/empty")).unwrap();
    let taken = world.take(&[("all", "files", &["data"]), ("part", "files", &["data/inner"])]);
    let wanted = see(&world.path("data"));
    world.write("data/inner/file", "changed");
    world.write("data/inner/extra", "extra");
    fs::remove_dir(world.path("data/inner/empty")).unwrap();
    for is_gone in [false, true] {
        if is_gone {
            fs::remove_dir_all(world.path("data")).unwrap();
        }
        let before = world.seen();
        let done = world.restore(&taken, "", &delete()).unwrap();
        assert_eq!(see(&world.path("data")), wanted);
        assert_eq!(undo(&done.undo[0], false).unwrap().remarks, [""; 0]);
        assert_eq!(world.seen(), before);
    }
}

#[test]
fn another_sources_data_and_protected_paths_are_never_surplus() {
    let world = World::new();
    world.write("data/file", "file");
    world.write("data/db/app.db", "committed");
    let taken = world.take(&[("files", "files", &["data/file", "data"]), ("db", "sqlite", &["data/db/app.db"])]);
    world.write("data/db/app.db-wal", "live");
    world.write("data/copies/deep/repository/config", "the repository");
    world.write("data/copies/other", "surplus");
    let options = Options { protected: vec![world.path("data/copies/deep/repository")], ..delete() };
    world.restore(&taken, "files", &options).unwrap();
    assert_eq!(world.read("data/db/app.db-wal"), "live");
    assert_eq!(world.read("data/db/app.db"), "committed");
    assert_eq!(world.read("data/copies/deep/repository/config"), "the repository");
    assert!(!world.path("data/copies/other").exists());
}

#[test]
fn a_protected_file_that_differs_from_the_snapshot_is_left_with_a_warning() {
    let world = World::new();
    world.write("data/password", "the old one");
    world.write("data/file", "old");
    let taken = world.take(&[("files", "files", &["data"])]);
    world.write("data/password", "the one in use");
    world.write("data/file", "new");
    let options = Options { protected: vec![world.path("data/password")], ..delete() };
    let done = world.restore(&taken, "", &options).unwrap();
    assert_eq!(world.read("data/password"), "the one in use");
    assert_eq!(world.read("data/file"), "old");
    let warned: Vec<_> = done.warnings.iter().filter(|finding| finding.path == world.path("data/password")).collect();
    assert!(matches!(warned[..], [finding] if finding.effect == Effect::Warns), "{:?}", done.warnings);
    // One that is gone comes back.
    fs::remove_file(world.path("data/password")).unwrap();
    world.restore(&taken, "", &options).unwrap();
    assert_eq!(world.read("data/password"), "the old one");
}

#[test]
fn a_folder_that_holds_a_protected_path_is_not_moved_away_for_a_file() {
    let world = World::new();
    world.write("data/name", "a file in the snapshot");
    let taken = world.take(&[("files", "files", &["data"])]);
    fs::remove_file(world.path("data/name")).unwrap();
    world.write("data/name/repository/config", "the repository");
    let before = world.seen();
    let options = Options { protected: vec![world.path("data/name/repository")], force: true, ..delete() };
    let Err(InPlaceError::Blocked(findings)) = world.restore(&taken, "files", &options) else { panic!() };
    assert_eq!(findings[0].path, world.path("data/name/repository"));
    assert_eq!(world.seen(), before);
    assert!(world.own_folders().is_empty());
}

#[test]
fn a_target_that_has_become_a_link_is_restored_where_the_link_leads() {
    let world = World::new();
    world.write("data/file", "old");
    world.write("elsewhere/keep", "k");
    let taken = world.take(&[("files", "files", &["data"])]);
    fs::rename(world.path("data"), world.path("elsewhere/moved")).unwrap();
    symlink(world.path("elsewhere/moved"), world.path("data")).unwrap();
    world.write("data/file", "new");
    let before = world.seen();
    let done = world.restore(&taken, "", &delete()).unwrap();
    assert!(world.path("data").is_symlink());
    assert_eq!(world.read("elsewhere/moved/file"), "old");
    assert!(done.warnings.iter().any(|finding| finding.path == world.path("data") && finding.what.contains("link")));
    assert_eq!(done.undo[0].parent().unwrap(), world.path("elsewhere"), "beside the real folder");
    undo(&done.undo[0], false).unwrap();
    assert_eq!(world.seen(), before);
}

#[test]
fn a_link_below_a_target_is_never_followed() {
    let world = World::new();
    world.write("data/sub/file", "old");
    world.write("outside/file", "not ours");
    let taken = world.take(&[("files", "files", &["data"])]);
    let wanted = world.seen();
    fs::remove_dir_all(world.path("data/sub")).unwrap();
    symlink(world.path("outside"), world.path("data/sub")).unwrap();
    world.restore(&taken, "", &delete()).unwrap();
    assert_eq!(world.seen(), wanted);
}

#[test]
fn missing_folders_on_the_way_are_made_as_they_were() {
    let world = World::new();
    world.write("a/b/data/file", "f");
    world.mode("a/b", 0o2751);
    let taken = world.take(&[("files", "files", &["a/b/data"])]);
    let wanted = world.seen();
    fs::remove_dir_all(world.path("a")).unwrap();
    let before = world.seen();
    let done = world.restore(&taken, "", &Options::default()).unwrap();
    // `a` gets its time back too; only the base folder has changed since the snapshot.
    let below = |mut seen: std::collections::BTreeMap<PathBuf, _>| {
        seen.remove(&world.base);
        seen
    };
    assert_eq!(below(world.seen()), below(wanted));
    assert_eq!(done.problems, []);
    undo(&done.undo[0], false).unwrap();
    assert_eq!(world.seen(), before);
    drop_undo(&done.undo[0]).unwrap();
    let done = world.restore(&taken, "", &Options::default()).unwrap();
    world.write("a/b/new", "made since");
    let undone = undo(&done.undo[0], false).unwrap();
    assert_eq!(world.read("a/b/new"), "made since");
    assert_eq!(undone.remarks.len(), 2, "{:?}", undone.remarks);
}

#[test]
fn files_that_are_open_block_unless_forced() {
    let world = World::new();
    world.write("data/sub/file", "old");
    let taken = world.take(&[("files", "files", &["data"])]);
    world.write("data/sub/file", "new");
    let file = fs::File::open(world.path("data/sub/file")).unwrap();
    let mut holder = Command::new("sleep").arg("600").stdin(Stdio::from(file)).spawn().unwrap();
    let before = world.seen();
    let refused = world.restore(&taken, "", &delete());
    let untouched = world.seen() == before && world.own_folders().is_empty();
    let forced = world.restore(&taken, "", &Options { force: true, ..delete() });
    // The undo is blocked by the file that is now kept only where the restored one is open.
    let undone = forced.as_ref().ok().map(|done| undo(&done.undo[0], false));
    holder.kill().unwrap();
    holder.wait().unwrap();
    let Err(InPlaceError::Blocked(findings)) = refused else { panic!("{refused:?}") };
    assert_eq!(findings[0].path, world.path("data/sub/file"));
    assert_eq!(findings[0].effect, Effect::BlocksUnlessForced);
    assert!(findings[0].what.contains(&holder.id().to_string()) && findings[0].what.contains("sleep"));
    assert!(untouched);
    undone.unwrap().unwrap();
    assert_eq!(world.seen(), before);
}

#[test]
fn a_source_without_paths_has_no_place_and_is_passed_over_in_a_whole_restore() {
    let world = World::new();
    world.write("data/file", "old");
    let taken = world.take(&[("dump", "command", &[]), ("files", "files", &["data"])]);
    world.write("data/file", "new");
    let Err(InPlaceError::Selection(what)) = world.restore(&taken, "dump", &delete()) else { panic!() };
    assert!(what.contains("dump") && what.contains("--to"), "{what}");
    let done = world.restore(&taken, "", &delete()).unwrap();
    assert_eq!(done.skipped.len(), 1);
    assert_eq!(world.read("data/file"), "old");
}

#[test]
fn what_is_not_in_the_snapshot_is_named() {
    let world = World::new();
    world.write("data/file", "old");
    let taken = world.take(&[("files", "files", &["data"])]);
    for selected in
        ["nothing".to_owned(), "files/nowhere".to_owned(), format!("files{}/x", world.path("data").display())]
    {
        let outcome = world.restore(&taken, &selected, &delete());
        assert!(matches!(outcome, Err(InPlaceError::Selection(_))), "{selected}: {outcome:?}");
    }
}

#[test]
fn a_folder_above_the_sources_paths_stands_for_them_alone() {
    let world = World::new();
    world.write("data/file", "old");
    world.write("other", "not in the snapshot");
    let taken = world.take(&[("files", "files", &["data"])]);
    world.write("data/file", "new");
    let selected = format!("files{}", world.base.display());
    world.restore(&taken, &selected, &delete()).unwrap();
    assert_eq!((world.read("data/file").as_str(), world.read("other").as_str()), ("old", "not in the snapshot"));
}

#[test]
fn a_way_that_is_no_folder_blocks() {
    let world = World::new();
    world.write("a/data/file", "old");
    let taken = world.take(&[("files", "files", &["a/data"])]);
    fs::remove_dir_all(world.path("a")).unwrap();
    world.write("a", "a file");
    let outcome = world.restore(&taken, "", &Options { force: true, ..delete() });
    assert!(matches!(outcome, Err(InPlaceError::Blocked(_))), "{outcome:?}");
    fs::remove_file(world.path("a")).unwrap();
    symlink("nowhere", world.path("a")).unwrap();
    let outcome = world.restore(&taken, "", &Options { force: true, ..delete() });
    assert!(matches!(outcome, Err(InPlaceError::Blocked(_))), "{outcome:?}");
}

#[test]
fn facts_are_counted_in_a_folder_laid_out_as_the_source_and_the_check_is_told_whether_all_of_it_is_there() {
    let world = World::new();
    for path in ["one/a.db", "one/b.db", "two/c.db"] {
        world.write(path, path);
    }
    let taken =
        world.take(&[("near", "sqlite", &["one/a.db", "one/b.db"]), ("far", "files", &["one/a.db", "two/c.db"])]);
    let checked = std::cell::RefCell::new(Vec::new());
    let options = delete();
    for selected in ["near", "far"] {
        let paths = [PathBuf::from(selected)];
        let job = taken.job(&paths, &options);
        let check = |record: &crate::manifest::SourceRecord, folder: &std::path::Path, is_whole: bool| {
            let there = |path: &&str| folder.join(world.path(path).strip_prefix("/").unwrap()).exists();
            let found = ["one/a.db", "one/b.db", "two/c.db"].into_iter().filter(there).collect::<Vec<_>>();
            checked.borrow_mut().push((record.kind.clone(), is_whole, found));
            if is_whole { Ok(Vec::new()) } else { Err(SourceError::Unavailable { what: "a part".to_owned() }) }
        };
        let done = crate::in_place::restore(&world.cx(), &world.repository, &taken.index, &job, &check, &|_, _| Ok(()))
            .unwrap();
        assert_eq!(done.warnings.iter().any(|finding| finding.what.contains("facts of far")), selected == "far");
    }
    // The database is the other source's, so the folder of files is not whole without it.
    let expected =
        [("sqlite".to_owned(), true, vec!["one/a.db", "one/b.db"]), ("files".to_owned(), false, vec!["two/c.db"])];
    assert_eq!(checked.into_inner(), expected);
}

#[test]
fn another_users_files_and_closed_folders_block_who_is_not_root() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let world = World::new();
    world.write("data/mine", "old");
    let taken = world.take(&[("files", "files", &["data"])]);
    world.write("data/mine", "new");
    as_plain_user(&[&world.base], || {
        let preview = world.preview(&taken, "", &delete()).unwrap();
        let blocking = |force| preview.blocking(force).into_iter().map(|found| found.path).collect::<Vec<_>>();
        // The files are root's, and so is the folder that they would be changed in.
        assert_eq!(blocking(false), [world.path("data"), world.path("data")]);
        assert_eq!(blocking(true), [world.path("data")]);
        let outcome = world.restore(&taken, "", &Options { force: true, ..delete() });
        assert!(matches!(outcome, Err(InPlaceError::Blocked(_))), "{outcome:?}");
        assert!(world.own_folders().is_empty());
    });
    assert_eq!(world.read("data/mine"), "new");
}

#[test]
fn undo_folders_are_no_part_of_the_data_on_either_side() {
    let world = World::new();
    world.write("data/file", "first");
    let first = world.take(&[("files", "files", &["data"])]);
    world.write("data/file", "second");
    // As if it had been taken with the data.
    world.write("data/.lifeboat-undo-x/file", "kept");
    let selected = format!("files{}", world.path("data/file").display());
    let done = world.restore(&first, &selected, &delete()).unwrap();
    world.restore(&first, "", &delete()).unwrap();
    assert!(done.undo[0].join("journal.jsonl").exists());
    assert_eq!(world.read("data/.lifeboat-undo-x/file"), "kept");
}
