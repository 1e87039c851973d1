//! Every shard that the shard map names is there, or is named.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use repository::Cancel;
use serde_json::json;

use super::scene::{Hook, NODE, RANGES, Scene, shard};
use crate::source::couchdb::{CouchDbOptions, CouchDbSource, Peer, capture, known_damage, missing_shards};
use crate::source::testing::as_plain_user;

#[test]
fn a_shard_that_is_not_there_is_named() {
    let scene = Scene::new();
    fs::remove_file(scene.path(&shard(RANGES[1], "medic"))).unwrap();
    let captured = scene.capture();
    let [problem] = &captured.problems[..] else { panic!("{:?}", captured.problems) };
    assert!(problem.contains("80000000-ffffffff of medic"), "{problem}");
    assert_eq!(captured.facts["databases"]["medic"]["shards"], 1);
}

#[test]
fn a_shard_that_cannot_be_opened_is_named_once() {
    let own = tempfile::tempdir().unwrap();
    as_plain_user(own.path(), || {
        let scene = Scene::new();
        let path = scene.path(&shard(RANGES[1], "medic"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        let captured = scene.capture();
        assert_eq!(captured.problems, [format!("{}: Permission denied (os error 13)", path.display())]);
    });
}

#[test]
fn shards_without_a_shard_map_are_a_problem() {
    let scene = Scene::new();
    fs::remove_file(scene.path("_dbs.couch")).unwrap();
    let captured = scene.capture();
    let [problem] = &captured.problems[..] else { panic!("{:?}", captured.problems) };
    assert!(problem.contains("_dbs.couch: is not there"), "{problem}");
}

#[test]
fn a_database_that_is_created_meanwhile_is_captured() {
    // Its files come after the first look.
    let scene = Scene::new();
    scene.write_maps(&["medic", "medic-sentinel", "new"]);
    let options = scene.options();
    let clock = Hook::new(|| drop(scene.create("new")));
    let captured = scene.setup.capture_with(&clock, |cx| Ok(Box::new(capture::open(&options, cx, 100)?))).unwrap();
    assert_eq!(captured.problems, [""; 0]);
    assert_eq!(captured.facts["databases"]["new"]["documents"], 2);
    assert!(captured.get(&scene.path(&shard(RANGES[1], "new"))).bytes.len() > 100);
}

#[test]
fn a_database_that_is_deleted_meanwhile_is_no_problem() {
    // Its files are gone before its shard map is.
    let scene = Scene::new();
    fs::remove_file(scene.path(&shard(RANGES[0], "medic"))).unwrap();
    let options = scene.options();
    let clock = Hook::new(|| {
        scene.write_maps(&["medic-sentinel"]);
        let _ = fs::remove_file(scene.path(&shard(RANGES[1], "medic")));
    });
    let captured = scene.setup.capture_with(&clock, |cx| Ok(Box::new(capture::open(&options, cx, 100)?))).unwrap();
    assert_eq!(captured.problems, [""; 0]);
    assert_eq!(captured.facts["databases"].as_object().unwrap().keys().collect::<Vec<_>>(), ["medic-sentinel"]);
    assert!(captured.facts["files"].get(shard(RANGES[1], "medic")).is_some(), "what is there is captured all the same");
}

#[test]
fn a_link_in_the_place_of_a_shard_is_no_shard() {
    let scene = Scene::new();
    let path = scene.path(&shard(RANGES[1], "medic"));
    let other = scene.folder.path().join("other-disk.couch");
    fs::rename(&path, &other).unwrap();
    std::os::unix::fs::symlink(&other, &path).unwrap();
    let captured = scene.capture();
    assert_eq!(captured.problems.len(), 2, "{:?}", captured.problems);
    assert!(captured.problems.iter().any(|problem| problem.contains("it is no file, but a link")));
    assert!(captured.problems.iter().any(|problem| problem.contains("80000000-ffffffff of medic")));
}

#[test]
fn a_shard_that_vanishes_before_its_turn_lacks_unless_its_database_is_deleted() {
    for is_deleted in [false, true] {
        let scene = Scene::new();
        let options = scene.options();
        let path = scene.path(&shard(RANGES[1], "medic"));
        let captured = scene.setup.capture_with(&scene.setup.clock, |cx| {
            let view = capture::open(&options, cx, 0)?;
            fs::remove_file(&path).unwrap();
            if is_deleted {
                scene.write_maps(&["medic-sentinel"]);
            }
            Ok(Box::new(view))
        });
        let problems = captured.unwrap().problems;
        assert_eq!(problems.len(), usize::from(!is_deleted), "{problems:?}");
        assert!(is_deleted || problems[0].contains("it vanished while it was being captured"), "{problems:?}");
    }
}

/// Two nodes, each with a range of `medic`; the other node's files are elsewhere.
fn of_a_cluster() -> Scene {
    let scene = Scene::new();
    let other = "couchdb@couchdb-2.local";
    let mut nodes = scene.writer("_nodes.couch");
    for node in [NODE, other] {
        nodes.put(node, &json!({})).unwrap();
    }
    nodes.commit().unwrap();
    fs::remove_file(scene.path(&shard(RANGES[1], "medic"))).unwrap();
    scene.write_maps_of(vec![
        ("medic", vec![(NODE, vec![RANGES[0]]), (other, vec![RANGES[1]])]),
        ("medic-sentinel", vec![(NODE, RANGES.to_vec()), (other, RANGES.to_vec())]),
    ]);
    scene
}

#[test]
fn what_lies_on_other_nodes_is_named_with_the_node() {
    let scene = of_a_cluster();
    let captured = scene.capture();
    let [problem] = &captured.problems[..] else { panic!("{:?}", captured.problems) };
    let expected = "80000000-ffffffff of medic: on node couchdb@couchdb-2.local, whose files are not in this snapshot";
    assert!(problem.contains(expected), "{problem}");
    assert_eq!(captured.facts["nodes"], json!([NODE, "couchdb@couchdb-2.local"]));
}

#[test]
fn what_lacks_on_a_node_of_a_cluster_stays_in_its_facts() {
    let scene = of_a_cluster();
    assert_eq!(missing_shards(&scene.capture().facts), [""; 0], "the other range lies on the other node");
    let file = shard(RANGES[0], "medic");
    fs::remove_file(scene.path(&file)).unwrap();
    // In the first snapshot of all, when no earlier one tells that it was there.
    let captured = scene.capture();
    assert_eq!(captured.facts["missing"], json!([file]));
    let lacks = format!("database medic, shard {}: the shard map names it", RANGES[0]);
    for told in [missing_shards(&captured.facts), known_damage(&captured.facts)] {
        assert!(told.len() == 1 && told[0].starts_with(&lacks), "{told:?}");
    }
    // A restored folder shows nothing else than was captured.
    let restored = tempfile::tempdir().unwrap();
    captured.restore(restored.path());
    let found = crate::source::examine("couchdb", restored.path(), &captured.facts, &Cancel::new()).unwrap();
    assert_eq!(found, captured.facts);
}

#[test]
fn a_shard_of_a_cluster_that_cannot_be_read_lacks_too() {
    let mut scene = of_a_cluster();
    scene.setup.unreadable = Some(shard(RANGES[0], "medic").into());
    let captured = scene.capture();
    assert_eq!(captured.facts["missing"], json!([shard(RANGES[0], "medic")]));
}

/// Another data folder, whose shard map that node wrote.
fn of_node(node: &str) -> Scene {
    let other = Scene::empty();
    let mut maps = couchfile::CouchWriter::create(
        fs::File::create(other.path("_dbs.couch")).unwrap(),
        couchfile::Format { checksum: couchfile::Checksum::Md5, compression: couchfile::Compression::None },
        "0123",
        node,
    )
    .unwrap();
    maps.commit().unwrap();
    other
}

#[test]
fn the_secret_of_a_cluster_may_be_with_another_of_its_nodes() {
    let mut scene = of_a_cluster();
    let home = || vec![(NODE, RANGES.to_vec())];
    scene.create("medic-vault");
    scene.write_maps_of(vec![("medic-sentinel", home()), ("medic-vault", home())]);
    let medic = RANGES.map(|range| scene.path(&shard(range, "medic")));
    fs::remove_file(&medic[0]).unwrap();
    let mut asks = |node: &str, has_secret: bool| {
        let other = of_node(node);
        if !has_secret {
            fs::write(other.folder.path().join("local.d/cluster-credentials.ini"), "[admins]\n").unwrap();
        }
        scene.setup.claimed = [scene.data(), other.data()].into();
        let (data, config) = (other.options().data, other.options().config.unwrap());
        let options = CouchDbOptions { config: None, peers: vec![Peer { data, config }], ..scene.options() };
        let captured = scene.setup.capture(&CouchDbSource::new(options)).unwrap();
        match &captured.problems[..] {
            [] => false,
            [problem] if problem.contains("CouchDB's secret is not in the snapshot") => true,
            other => panic!("{other:?}"),
        }
    };
    assert!(!asks("couchdb@couchdb-2.local", true));
    assert!(asks("couchdb@couchdb-2.local", false));
    assert!(asks("couchdb@elsewhere", true), "of another cluster");
    assert!(asks(NODE, true), "two that stand alone have one name");
}

#[test]
fn another_source_of_the_stack_may_have_the_other_node() {
    let mut scene = of_a_cluster();
    let other = of_node("couchdb@couchdb-2.local");
    scene.setup.claimed = [scene.data(), other.data()].into();
    let captured = scene.capture();
    assert_eq!(captured.problems, [""; 0]);
    assert!(
        captured.notes.iter().any(|note| note.contains("not opened at the very same moment")),
        "{:?}",
        captured.notes
    );
}
