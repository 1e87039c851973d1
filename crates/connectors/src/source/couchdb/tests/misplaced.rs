//! A folder that is a level too high or too deep is not taken for CouchDB's.

use std::fs;
use std::path::Path;

use super::scene::{NODE, Scene, writer};
use crate::source::Place;
use crate::source::couchdb::{CouchDbOptions, CouchDbSource};
use crate::source::testing::Captured;

fn capture(scene: &Scene, data: &Path) -> Result<Captured, String> {
    let options = CouchDbOptions { data: Place::Host(data.to_owned()), ..scene.options() };
    scene.setup.capture(&CouchDbSource::new(options)).map_err(|error| error.to_string())
}

#[test]
fn a_folder_above_or_below_the_data_folder_is_refused_by_name() {
    let mut scene = Scene::new();
    let (data, deep) = (scene.data(), scene.data().join("shards/00000000-7fffffff"));
    let refused = |scene: &Scene| {
        for wrong in [scene.folder.path().to_owned(), data.join("shards"), deep.clone()] {
            let error = capture(scene, &wrong).unwrap_err();
            let expected = format!("{} is a data folder of CouchDB: name that one", data.display());
            assert!(error.contains(&expected) && error.contains(&format!("data: {} has", wrong.display())), "{error}");
        }
    };
    refused(&scene);
    // As `config check` looks.
    scene.setup.look_only = true;
    refused(&scene);
    scene.setup.look_only = false;
    scene.capture_next();
    refused(&scene);
}

#[test]
fn files_of_couchdb_without_shard_map_and_shards_are_captured_with_a_problem() {
    let scene = Scene::empty();
    let lone = scene.folder.path().join("lone");
    writer(&lone.join("_users.couch")).commit().unwrap();
    fs::remove_dir_all(scene.data()).unwrap();
    let captured = capture(&scene, &lone).unwrap();
    assert!(captured.get(&lone.join("_users.couch")).bytes.len() > 100);
    let told = "neither `_dbs.couch` nor `shards` is in it";
    assert!(captured.problems.iter().any(|problem| problem.contains(told)), "{:?}", captured.problems);
}

#[test]
fn a_disk_that_is_not_mounted_is_no_other_folder() {
    let mut scene = Scene::new();
    scene.capture_next();
    fs::rename(scene.data(), scene.folder.path().join("aside")).unwrap();
    // What lies below the place where the disk is mounted.
    let mut nodes = writer(&scene.path("old/_dbs.couch"));
    nodes.put(NODE, &serde_json::json!({})).unwrap();
    nodes.commit().unwrap();
    let captured = scene.capture();
    assert!(captured.facts["unseen"].as_object().unwrap().len() == 4, "{}", captured.facts["unseen"]);
    assert!(!captured.problems.is_empty());
}
