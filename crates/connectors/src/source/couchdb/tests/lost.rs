//! What was lost stays known, whatever the captures between could see, and so does the snapshot that holds it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use repository::Id;
use serde_json::{Value, json};

use super::scene::{NODE, RANGES, Scene, shard, writer_of};
use crate::source::Place;
use crate::source::couchdb::{CouchDbOptions, CouchDbSource, missing_shards, rename_nodes};
use crate::source::testing::{Captured, as_plain_user};

/// The first capture is of this snapshot.
fn good() -> Id {
    Id::of(b"parent")
}

/// A shard of `medic` with some updates, captured.
fn with_updates(scene: &mut Scene) -> (PathBuf, Vec<u8>) {
    let path = scene.path(&shard(RANGES[0], "medic"));
    let mut writer = writer_of(&path, "0123456789abcdef0123456789abcdef");
    writer.put("patient-1", &json!({})).unwrap();
    writer.commit().unwrap();
    let older = fs::read(&path).unwrap();
    for number in 2..9 {
        writer.put(&format!("patient-{number}"), &json!({})).unwrap();
    }
    writer.commit().unwrap();
    assert_eq!(scene.capture_next().problems, [""; 0]);
    (path, older)
}

/// Captures after the first, so that the next capture is compared with another snapshot than that.
fn later(scene: &mut Scene) -> Captured {
    let captured = scene.capture_next();
    scene.setup.parent = Id::of(b"later");
    captured
}

/// Holds that the shard is told as having lost updates, and which snapshot has them.
fn assert_told(captured: &Captured) {
    let told = captured.problems.iter().find(|problem| problem.contains("it ends with update 1, and had 8"));
    let told = told.unwrap_or_else(|| panic!("{:?}", captured.problems));
    assert!(told.contains(&format!("snapshot {} holds its newest good version", good().short())), "{told}");
    assert_eq!(captured.facts["good_in"], json!([good().to_hex()]));
}

#[test]
fn a_loss_is_told_after_captures_of_a_folder_that_was_empty() {
    let mut scene = Scene::new();
    let (path, older) = with_updates(&mut scene);
    let aside = scene.folder.path().join("aside");
    fs::rename(scene.data(), &aside).unwrap();
    fs::create_dir(scene.data()).unwrap();
    for _ in 0..3 {
        let captured = later(&mut scene);
        let [problem] = &captured.problems[..] else { panic!("{:?}", captured.problems) };
        assert!(problem.contains("is its disk mounted?"), "{problem}");
        assert_eq!(captured.facts["unseen"].as_object().unwrap().len(), 6, "{}", captured.facts["unseen"]);
        assert_eq!(captured.facts["good_in"], json!([good().to_hex()]));
    }
    fs::remove_dir(scene.data()).unwrap();
    fs::rename(aside, scene.data()).unwrap();
    fs::write(&path, older).unwrap();
    let captured = later(&mut scene);
    assert_told(&captured);
    assert_eq!(captured.facts.get("unseen"), None);
    assert_told(&scene.capture());
}

#[test]
fn a_loss_is_told_after_a_capture_that_could_not_open_the_file() {
    let own = tempfile::tempdir().unwrap();
    as_plain_user(own.path(), || {
        let mut scene = Scene::new();
        let (path, older) = with_updates(&mut scene);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        for _ in 0..3 {
            let captured = later(&mut scene);
            let [problem] = &captured.problems[..] else { panic!("{:?}", captured.problems) };
            let expected = format!("(os error 13); snapshot {} holds its newest good version", good().short());
            assert!(problem.contains(&expected), "{problem}");
            assert_eq!(captured.facts["good_in"], json!([good().to_hex()]));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&path, older).unwrap();
        assert_told(&scene.capture_next());
    });
}

#[test]
fn a_snapshot_without_a_file_that_could_not_be_read_does_not_count_as_holding_it() {
    let mut scene = Scene::new();
    let (path, older) = with_updates(&mut scene);
    let name = shard(RANGES[0], "medic");
    scene.setup.unreadable = Some(name.clone().into());
    // Its time changed, so it is read again.
    fs::write(&path, fs::read(&path).unwrap()).unwrap();
    let captured = later(&mut scene);
    assert_eq!(captured.facts["files"].get(&name), None);
    assert_eq!(captured.facts["unseen"][&name]["good_in"], json!(good().to_hex()));
    assert_eq!(captured.facts["databases"]["medic"]["shards"], 1, "as in a restored folder");
    scene.setup.unreadable = None;
    fs::write(&path, older).unwrap();
    assert_told(&scene.capture());
}

#[test]
fn a_file_that_comes_back_as_it_was_is_no_loss() {
    let mut scene = Scene::new();
    let (path, _) = with_updates(&mut scene);
    let aside = scene.folder.path().join("aside");
    fs::rename(&path, &aside).unwrap();
    assert_eq!(scene.capture_next().problems.len(), 2, "the range, and the file that an earlier snapshot had");
    fs::rename(&aside, &path).unwrap();
    let captured = scene.capture_next();
    assert_eq!((captured.problems.len(), captured.facts.get("good_in")), (0, None));
    // So is one that a compaction left under its second name.
    let compacted = path.with_extension("couch.compact");
    fs::rename(&path, &compacted).unwrap();
    for (from, to) in [(&compacted, &path), (&path, &compacted)] {
        let captured = scene.capture_next();
        assert_eq!((&captured.problems[..], captured.facts.get("unseen")), (&[][..], None));
        fs::rename(from, to).unwrap();
    }
}

/// Lets a new shard map pass for a later state of the one before.
fn take_new_map(scene: &mut Scene) {
    scene.setup.previous.as_mut().unwrap()["files"].as_object_mut().unwrap().remove("_dbs.couch");
}

#[test]
fn a_database_that_was_deleted_is_forgotten_unless_the_shard_map_is_damaged() {
    for is_map_damaged in [false, true] {
        let mut scene = Scene::new();
        with_updates(&mut scene);
        RANGES.iter().for_each(|range| fs::remove_file(scene.path(&shard(range, "medic"))).unwrap());
        scene.write_maps(&["medic-sentinel"]);
        if !is_map_damaged {
            take_new_map(&mut scene);
        }
        let captured = scene.capture();
        let unseen = captured.facts.get("unseen").and_then(Value::as_object).map(|unseen| unseen.len());
        assert_eq!(captured.problems.len(), usize::from(is_map_damaged), "{:?}", captured.problems);
        assert_eq!(unseen, is_map_damaged.then_some(2));
    }
}

/// Begins anew, as a CouchDB does that finds its disk empty: with databases of its own, and more updates of the shard map
/// than there were.
fn wipe(scene: &Scene) {
    fs::remove_dir_all(scene.data()).unwrap();
    let mut nodes = scene.writer("_nodes.couch");
    nodes.put(NODE, &json!({})).unwrap();
    nodes.commit().unwrap();
    let own = ["_global_changes", "_replicator", "_users"];
    own.iter().for_each(|database| drop(scene.create(database)));
    scene.write_maps(&own);
}

fn told_of_map(captured: &Captured) -> Vec<&String> {
    captured.problems.iter().filter(|told| told.contains("database _dbs: ")).collect()
}

#[test]
fn a_couchdb_that_began_anew_is_told_for_as_long_as_it_does_not_have_what_there_was() {
    let mut scene = Scene::new();
    with_updates(&mut scene);
    wipe(&scene);
    for _ in 0..3 {
        let captured = later(&mut scene);
        let told = told_of_map(&captured);
        let [told] = &told[..] else { panic!("{:?}", captured.problems) };
        for part in [
            "another file stands in its place, which ends with update 3; the one before had 2",
            "it does not name databases that earlier snapshots have: medic, medic-sentinel",
            "give its source another name",
            &format!("snapshot {} holds its newest good version", good().short()),
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert_eq!(captured.facts["good_in"], json!([good().to_hex()]), "so it is not removed");
        assert_eq!(captured.facts["unseen"].as_object().unwrap().len(), 4, "{}", captured.facts["unseen"]);
    }
    // A source of another name has no parent.
    scene.setup.previous = None;
    let captured = scene.capture_next();
    assert_eq!((&captured.problems[..], captured.facts.get("good_in")), (&[][..], None));
    assert_eq!(scene.capture().problems, [""; 0]);
}

#[test]
fn a_shard_map_that_was_made_anew_and_names_all_there_was_is_told_once() {
    let mut scene = Scene::new();
    with_updates(&mut scene);
    scene.write_maps(&["medic", "medic-sentinel", "later"]);
    scene.create("later");
    let captured = scene.capture_next();
    assert!(told_of_map(&captured)[0].contains("another file"), "{:?}", captured.problems);
    assert!(!captured.problems[0].contains("does not name"), "{:?}", captured.problems);
    assert_eq!(scene.capture_next().problems, [""; 0]);
}

#[test]
fn a_couchdb_that_is_back_after_another_stood_in_its_place_is_whole_again() {
    let mut scene = Scene::new();
    with_updates(&mut scene);
    let aside = scene.folder.path().join("aside");
    fs::rename(scene.data(), &aside).unwrap();
    fs::create_dir(scene.data()).unwrap();
    wipe(&scene);
    scene.capture_next();
    fs::remove_dir_all(scene.data()).unwrap();
    fs::rename(&aside, scene.data()).unwrap();
    let captured = scene.capture_next();
    let told = told_of_map(&captured);
    assert!(told.len() == 1 && told[0].contains("the file that was lost is back"), "{:?}", captured.problems);
    let captured = scene.capture();
    assert_eq!((&captured.problems[..], captured.facts.get("unseen")), (&[][..], None));
}

#[test]
fn a_file_of_the_cluster_that_vanished_is_told_for_as_long_as_it_lasts() {
    let mut scene = Scene::new();
    scene.capture_next();
    fs::remove_file(scene.path("_nodes.couch")).unwrap();
    for _ in 0..3 {
        let captured = later(&mut scene);
        let [problem] = &captured.problems[..] else { panic!("{:?}", captured.problems) };
        assert!(problem.contains("database _nodes: its file is not there"), "{problem}");
        assert!(problem.contains(&good().short()), "{problem}");
        assert_eq!(captured.facts["nodes"], json!([NODE]), "the shard maps name it");
    }
}

#[test]
fn another_database_beside_the_shards_that_vanished_is_told_once_and_stays_known() {
    let mut scene = Scene::new();
    let mut users = scene.writer("_users.couch");
    for number in 0..3 {
        users.put(&format!("user-{number}"), &json!({})).unwrap();
    }
    users.commit().unwrap();
    scene.capture_next();
    fs::remove_file(scene.path("_users.couch")).unwrap();
    let told = |captured: Captured| captured.problems.iter().filter(|told| told.contains("_users")).count();
    assert_eq!(told(scene.capture_next()), 1);
    assert_eq!(told(scene.capture_next()), 0, "nothing tells that it was not deleted");
    scene.writer("_users.couch").commit().unwrap();
    assert_eq!(told(scene.capture_next()), 1, "it was not");
}

#[test]
fn a_loss_is_told_where_the_folder_has_moved() {
    let mut scene = Scene::new();
    let (path, older) = with_updates(&mut scene);
    let whole = fs::read(&path).unwrap();
    let moved = scene.folder.path().join("larger-disk");
    fs::rename(scene.data(), &moved).unwrap();
    let options = CouchDbOptions { data: Place::Host(moved.clone()), ..scene.options() };
    let capture = |scene: &mut Scene| {
        let captured = scene.setup.capture(&CouchDbSource::new(options.clone())).unwrap();
        scene.setup.previous = Some(captured.facts.clone());
        scene.setup.parent = Id::of(b"later");
        captured
    };
    let path = moved.join(path.strip_prefix(scene.data()).unwrap());
    fs::write(&path, &older).unwrap();
    assert_told(&capture(&mut scene));
    assert_told(&capture(&mut scene));
    fs::write(&path, whole).unwrap();
    assert_eq!(capture(&mut scene).problems, [""; 0], "a move alone is no loss");
    // What is not there at the new place is told, too.
    fs::rename(&moved, scene.data()).unwrap();
    fs::remove_file(scene.path(&shard(RANGES[1], "medic"))).unwrap();
    let problems = scene.capture().problems;
    let expected = format!("its file is not there; snapshot {} holds", Id::of(b"later").short());
    assert!(problems.iter().any(|problem| problem.contains(&expected)), "{problems:?}");
}

#[test]
fn a_folder_that_moved_is_read_anew() {
    let mut scene = Scene::new();
    scene.capture_next();
    let moved = scene.folder.path().join("larger-disk");
    fs::rename(scene.data(), &moved).unwrap();
    // One inode may be another file on another disk.
    let file = moved.join(shard(RANGES[0], "medic"));
    let options = CouchDbOptions { data: Place::Host(moved), ..scene.options() };
    let key = shard(RANGES[0], "medic");
    scene.setup.previous.as_mut().unwrap()["files"][&key]["documents"] = json!(77);
    let captured = scene.setup.capture(&CouchDbSource::new(options)).unwrap();
    assert_eq!(captured.facts["files"][&key]["documents"], 1);
    assert_eq!(captured.get(&file).bytes, fs::read(&file).unwrap());
    assert_eq!(captured.problems, [""; 0]);
}

#[test]
fn a_snapshot_that_was_removed_is_not_told_as_if_it_were_there() {
    let mut scene = Scene::new();
    let (path, older) = with_updates(&mut scene);
    fs::write(&path, older).unwrap();
    assert_told(&later(&mut scene));
    scene.setup.has_snapshot = Box::new(|id| *id != good());
    let captured = scene.capture_next();
    let expected = format!("snapshot {} held its newest good version, and is in no copy", good().short());
    assert!(captured.problems[0].contains(&expected), "{:?}", captured.problems);
    // A copy with it comes back.
    scene.setup.has_snapshot = Box::new(|_| true);
    assert_told(&scene.capture());
}

#[test]
fn without_the_nodes_a_missing_shard_is_named_and_a_node_can_be_renamed() {
    let scene = Scene::new();
    fs::remove_file(scene.path("_nodes.couch")).unwrap();
    fs::remove_file(scene.path(&shard(RANGES[1], "medic"))).unwrap();
    let captured = scene.capture();
    let missing = missing_shards(&captured.facts);
    assert!(missing.len() == 1 && missing[0].contains("medic, shard 80000000-ffffffff"), "{missing:?}");
    let names = |old: &str| [(old.to_owned(), "couchdb@new".to_owned())].into();
    assert!(rename_nodes(&scene.data(), &names("couchdb@elsewhere")).unwrap_err().to_string().contains(NODE));
    assert_eq!(rename_nodes(&scene.data(), &names(NODE)).unwrap().databases, 2);
    assert_eq!(scene.capture().facts["nodes"], json!(["couchdb@new"]));
    assert!(!Path::new(&scene.path("_nodes.couch")).exists());
}

#[test]
fn a_shard_that_was_split_or_moved_is_no_loss() {
    let other = "couchdb@couchdb-2.local";
    let [moved, split] = [("moved", vec![(NODE, vec![RANGES[0]]), (other, vec![RANGES[1]])]), {
        ("split", vec![(NODE, vec![RANGES[0], "80000000-bfffffff", "c0000000-ffffffff"])])
    }];
    for (database, by_node) in [moved, split] {
        let mut scene = Scene::new();
        for range in ["80000000-bfffffff", "c0000000-ffffffff"] {
            scene.writer(&shard(range, database)).commit().unwrap();
        }
        scene.create(database);
        scene.write_maps(&["medic", "medic-sentinel", database]);
        scene.capture_next();
        fs::remove_file(scene.path(&shard(RANGES[1], database))).unwrap();
        let home = || vec![(NODE, RANGES.to_vec())];
        scene.write_maps_of(vec![("medic", home()), ("medic-sentinel", home()), (database, by_node)]);
        take_new_map(&mut scene);
        let captured = scene.capture();
        assert!(
            !captured.problems.iter().any(|told| told.contains("its file is not there")),
            "{:?}",
            captured.problems
        );
        assert_eq!(captured.facts.get("unseen"), None, "{database}");
    }
}
