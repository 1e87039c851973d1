//! What a swap changes, what it leaves, and that an undo brings everything back.

use std::fs;
use std::os::unix::fs::symlink;

use super::world::{Taken, World, as_plain_user, delete};
use crate::in_place::{Action, InPlaceError, Options, UndoState, drop_undo, list_undo, undo};

fn actions(done: &crate::in_place::SwapPlan, world: &World) -> Vec<(String, &'static str)> {
    let mut actions: Vec<_> = done
        .changes
        .iter()
        .map(|change| {
            let action = match change.action {
                Action::MakeFolder { .. } => "make",
                Action::Create => "create",
                Action::Replace => "replace",
                Action::ReplaceKind { .. } => "kind",
                Action::MoveAway => "away",
                Action::MoveSideFile => "side",
                Action::Metadata { .. } => "metadata",
            };
            (change.path.strip_prefix(&world.base).unwrap().display().to_string(), action)
        })
        .collect();
    actions.sort();
    actions
}

/// A data folder with one of everything, taken, and then changed in every way.
fn changed() -> (World, Taken) {
    let world = World::new();
    for (path, content) in [
        ("data/same", "s"),
        ("data/changed", "old"),
        ("data/missing", "m"),
        ("data/gone/deep/file", "d"),
        ("data/in/x", "x"),
    ] {
        world.write(path, content);
    }
    fs::create_dir(world.path("data/dir-then-file")).unwrap();
    world.write("data/file-then-dir", "f");
    symlink("same", world.path("data/link")).unwrap();
    world.mode("data/in", 0o2750);
    let taken = world.take(&[("files", "files", &["data"])]);
    world.write("data/changed", "new");
    fs::remove_file(world.path("data/missing")).unwrap();
    fs::remove_dir_all(world.path("data/gone")).unwrap();
    fs::remove_dir(world.path("data/dir-then-file")).unwrap();
    world.write("data/dir-then-file", "now a file");
    fs::remove_file(world.path("data/file-then-dir")).unwrap();
    world.write("data/file-then-dir/inner", "now a folder");
    fs::remove_file(world.path("data/link")).unwrap();
    symlink("changed", world.path("data/link")).unwrap();
    world.mode("data/in", 0o700);
    world.write("data/extra/a", "not in the snapshot");
    (world, taken)
}

#[test]
fn what_differs_comes_back_and_what_is_extra_stays() {
    let (world, taken) = changed();
    let done = world.restore(&taken, "", &Options::default()).unwrap();
    let expected = [
        ("data", "metadata"),
        ("data/changed", "replace"),
        ("data/dir-then-file", "kind"),
        ("data/file-then-dir", "kind"),
        ("data/gone", "create"),
        ("data/in", "metadata"),
        ("data/link", "replace"),
        ("data/missing", "create"),
    ];
    assert_eq!(actions(&done.plan, &world), expected.map(|(path, action)| (path.to_owned(), action)));
    assert_eq!((done.plan.identical, done.plan.extras_left), (2, 1));
    assert_eq!(done.problems, []);
    assert_eq!(world.read("data/changed"), "old");
    assert_eq!(world.read("data/gone/deep/file"), "d");
    assert_eq!(world.read("data/extra/a"), "not in the snapshot");
    assert_eq!(world.read("data/file-then-dir"), "f");
    assert!(world.path("data/dir-then-file").is_dir());
}

#[test]
fn with_delete_the_folder_is_the_snapshot_and_undo_is_the_way_back() {
    let world = World::new();
    world.write("data/a", "a");
    world.write("data/b/c", "c");
    let taken = world.take(&[("files", "files", &["data"])]);
    let wanted = world.seen();
    world.write("data/b/extra", "e");
    world.write("data/new/f", "f");
    world.write("data/a", "longer");
    let before = world.seen();
    let done = world.restore(&taken, "files", &delete()).unwrap();
    assert_eq!(world.seen(), wanted);
    let [folder] = &done.undo[..] else { panic!("{:?}", done.undo) };
    assert_eq!(world.own_folders(), std::slice::from_ref(folder), "nothing of the staging is left");
    let undone = undo(folder, false).unwrap();
    assert_eq!(world.seen(), before);
    assert_eq!(undone.remarks, [""; 0]);
    assert_eq!(list_undo(&world.base).unwrap()[0].state, UndoState::Undone);
    drop_undo(folder).unwrap();
    assert_eq!(world.own_folders(), [""; 0].map(std::path::PathBuf::from));
    assert_eq!(world.seen(), before, "dropping changes no time either");
}

#[test]
fn every_kind_of_change_is_undone_exactly() {
    let (world, taken) = changed();
    let before = world.seen();
    for options in [Options::default(), delete()] {
        let done = world.restore(&taken, "files", &options).unwrap();
        assert_ne!(world.seen(), before);
        undo(&done.undo[0], false).unwrap();
        assert_eq!(world.seen(), before);
    }
}

#[test]
fn what_is_as_in_the_snapshot_is_not_touched() {
    let world = World::new();
    world.write("data/a", "a");
    let taken = world.take(&[("files", "files", &["data"])]);
    let inode = |world: &World| {
        use std::os::unix::fs::MetadataExt as _;
        world.path("data/a").metadata().unwrap().ino()
    };
    let before = (inode(&world), world.seen());
    let done = world.restore(&taken, "", &delete()).unwrap();
    assert!(done.plan.changes.is_empty() && done.undo.is_empty());
    assert_eq!((inode(&world), world.seen()), before);
    assert!(world.own_folders().is_empty());
}

#[test]
fn bytes_count_where_size_and_time_are_the_same() {
    let world = World::new();
    world.write("data/a", "one");
    let taken = world.take(&[("files", "files", &["data"])]);
    let wanted = world.seen();
    let file = fs::File::options().write(true).open(world.path("data/a")).unwrap();
    let time = file.metadata().unwrap().modified().unwrap();
    std::os::unix::fs::FileExt::write_at(&file, b"two", 0).unwrap();
    file.set_modified(time).unwrap();
    drop(file);
    world.restore(&taken, "", &delete()).unwrap();
    assert_eq!(world.seen(), wanted);
}

#[test]
fn one_path_of_a_source_is_restored_and_nothing_else() {
    let (world, taken) = changed();
    let selected = format!("files{}", world.path("data/changed").display());
    let done = world.restore(&taken, &selected, &Options::default()).unwrap();
    assert_eq!(actions(&done.plan, &world)[1..], [("data/changed".to_owned(), "replace")]);
    assert_eq!(world.read("data/changed"), "old");
    assert!(!world.path("data/missing").exists());
}

#[test]
fn a_preview_names_everything_and_changes_nothing() {
    let (world, taken) = changed();
    let before = world.seen();
    let preview = world.preview(&taken, "", &delete()).unwrap();
    assert!(actions(&preview.plan, &world).contains(&("data/extra".to_owned(), "away")));
    assert!(preview.blocking(false).is_empty(), "{:?}", preview.findings);
    assert_eq!(world.seen(), before);
    assert!(world.own_folders().is_empty());
    let done = world.restore(&taken, "", &delete()).unwrap();
    let planned = |plan| actions(plan, &world);
    assert_eq!(planned(&preview.plan), planned(&done.plan));
}

#[test]
fn hard_links_come_back_as_one_file_and_parted_files_are_parted() {
    let world = World::new();
    world.write("data/one", "1");
    fs::hard_link(world.path("data/one"), world.path("data/two")).unwrap();
    world.write("data/a", "same");
    world.write("data/b", "same");
    fs::hard_link(world.path("data/a"), world.path("data/elsewhere")).unwrap();
    let taken = world.take(&[("files", "files", &["data"])]);
    let wanted = world.seen();
    // A copy in place of a link, and a link in place of a copy, each with the same bytes and time.
    let time = world.path("data/one").metadata().unwrap().modified().unwrap();
    fs::remove_file(world.path("data/two")).unwrap();
    world.write("data/two", "1");
    fs::File::open(world.path("data/two")).unwrap().set_modified(time).unwrap();
    fs::remove_file(world.path("data/b")).unwrap();
    fs::hard_link(world.path("data/a"), world.path("data/b")).unwrap();
    let before = world.seen();
    let done = world.restore(&taken, "", &delete()).unwrap();
    assert_eq!(world.seen(), wanted);
    undo(&done.undo[0], false).unwrap();
    assert_eq!(world.seen(), before);
}

#[test]
fn awkward_names_and_attributes_survive_the_way_there_and_back() {
    use std::os::unix::ffi::OsStrExt as _;
    let world = World::new();
    let name = std::ffi::OsStr::from_bytes(b"\xff\n\"\\ \xe2\x80\xae");
    let long = "n".repeat(255);
    world.write(&format!("data/{long}/{long}"), "deep");
    fs::write(world.path("data").join(name), "odd").unwrap();
    let labelled = |value: &[u8]| {
        let path = world.path("data");
        rustix::fs::setxattr(&path, "user.label", value, rustix::fs::XattrFlags::empty()).is_ok()
    };
    let has_xattrs = labelled(b"one");
    let taken = world.take(&[("files", "files", &["data"])]);
    let wanted = world.seen();
    fs::write(world.path("data").join(name), "changed").unwrap();
    world.write(&format!("data/{long}/{long}"), "changed");
    assert_eq!(labelled(b"two"), has_xattrs);
    let before = world.seen();
    let done = world.restore(&taken, "", &delete()).unwrap();
    assert_eq!(world.seen(), wanted);
    undo(&done.undo[0], false).unwrap();
    assert_eq!(world.seen(), before);
}

#[test]
fn work_done_after_the_restore_is_kept_by_the_undo() {
    let world = World::new();
    world.write("data/file", "old");
    let taken = world.take(&[("files", "files", &["data"])]);
    world.write("data/file", "new");
    world.write("data/extra", "extra");
    let done = world.restore(&taken, "", &delete()).unwrap();
    world.write("data/file", "written after the restore");
    world.write("data/extra", "made after the restore");
    let undone = undo(&done.undo[0], false).unwrap();
    assert_eq!((world.read("data/file").as_str(), world.read("data/extra").as_str()), ("new", "extra"));
    assert!(undone.remarks[0].contains("data/extra was made since"), "{:?}", undone.remarks);
    let kept: Vec<_> =
        super::world::see(&done.undo[0].join("replaced")).into_values().map(|seen| seen.content).collect();
    assert!(kept.contains(&b"written after the restore".to_vec()));
    assert!(kept.contains(&b"made after the restore".to_vec()));
}

#[test]
fn a_failed_check_of_facts_leaves_everything_as_it_was() {
    let (world, taken) = changed();
    let before = world.seen();
    let options = Options::default();
    let all = [std::path::PathBuf::new()];
    let job = taken.job(&all, &options);
    let seen_by_check = std::cell::RefCell::new(None);
    let check = |record: &crate::manifest::SourceRecord, folder: &std::path::Path, _: bool| {
        let changed = folder.join(world.path("data/changed").strip_prefix("/").unwrap());
        *seen_by_check.borrow_mut() = Some((record.kind.clone(), fs::read_to_string(changed).unwrap()));
        Ok(vec!["3 rows instead of 4".to_owned()])
    };
    let (cx, rewrite) = (world.cx(), |_: &str, _: &std::path::Path| panic!("it is not what the snapshot holds"));
    let outcome = crate::in_place::restore(&cx, &world.repository, &taken.index, &job, &check, &rewrite);
    let Err(InPlaceError::Invalid(differences)) = outcome else { panic!("{outcome:?}") };
    assert_eq!((differences[0].source.as_str(), differences[0].what.as_str()), ("files", "3 rows instead of 4"));
    assert_eq!(seen_by_check.into_inner(), Some(("files".to_owned(), "old".to_owned())));
    assert_eq!(world.seen(), before);
    assert!(world.own_folders().is_empty());
}

#[test]
fn a_staged_copy_that_is_changed_by_its_check_is_not_swapped_in() {
    let (world, taken) = changed();
    let before = world.seen();
    let options = Options::default();
    let all = [std::path::PathBuf::new()];
    let job = taken.job(&all, &options);
    let check = |_: &crate::manifest::SourceRecord, folder: &std::path::Path, _: bool| {
        fs::write(folder.join(world.path("data/in/x").strip_prefix("/").unwrap()), "y").unwrap();
        Ok(Vec::new())
    };
    let (cx, nothing) = (world.cx(), |_: &str, _: &std::path::Path| Ok(()));
    let outcome = crate::in_place::restore(&cx, &world.repository, &taken.index, &job, &check, &nothing);
    let Err(InPlaceError::Invalid(differences)) = outcome else { panic!("{outcome:?}") };
    assert!(differences.iter().all(|found| found.path == world.path("data/in/x").display().to_string()));
    assert_eq!(world.seen(), before);
    assert!(world.own_folders().is_empty());
}

#[test]
fn damage_in_the_copy_leaves_everything_as_it_was() {
    let (world, taken) = changed();
    let before = world.seen();
    let damaged = |file: &repository::File| file.kind == repository::FileKind::Pack;
    for file in world.storage.files().into_iter().filter(damaged) {
        let bytes = world.storage.read(file).unwrap();
        let listed = repository::storage::Listed { id: file.id, bytes: bytes.len() as u64 };
        for blob in world.repository.pack_header(&listed).unwrap() {
            if blob.kind == repository::format::pack::BlobKind::Data {
                assert!(world.storage.flip(file, blob.offset as usize + 20));
            }
        }
    }
    let outcome = world.restore(&taken, "", &delete());
    let Err(InPlaceError::Invalid(problems)) = outcome else { panic!("{outcome:?}") };
    assert!(problems.iter().any(|problem| problem.path == world.path("data/changed").display().to_string()));
    assert_eq!(world.seen(), before);
    assert!(world.own_folders().is_empty());
}

#[test]
fn a_plain_user_restores_folders_that_even_the_owner_may_not_write_to() {
    let world = World::new();
    as_plain_user(&[&world.base], || {
        world.write("data/closed/file", "old");
        world.write("data/gone/file", "gone");
        world.mode("data/closed", 0o500);
        world.mode("data/gone", 0o500);
        let taken = world.take(&[("files", "files", &["data"])]);
        let wanted = world.seen();
        world.mode("data/closed", 0o700);
        world.write("data/closed/file", "new");
        world.mode("data/closed", 0o500);
        world.mode("data/gone", 0o700);
        fs::remove_dir_all(world.path("data/gone")).unwrap();
        world.write("data/extra/file", "extra");
        world.mode("data/extra", 0o500);
        let before = world.seen();
        let done = world.restore(&taken, "", &delete()).unwrap();
        assert_eq!(world.seen(), wanted);
        undo(&done.undo[0], false).unwrap();
        assert_eq!(world.seen(), before);
        drop_undo(&done.undo[0]).unwrap();
        assert!(world.own_folders().is_empty());
        // So that the test's own folder can be removed.
        for folder in ["data/closed", "data/extra"] {
            world.mode(folder, 0o700);
        }
    });
}
