//! What a drill finds in a restored folder.

use std::fs;
use std::path::Path;

use couchfile::{Database, Encoding, Leaf};
use repository::{Cancel, Facts};
use serde_json::json;

use super::scene::{RANGES, Scene, shard};
use crate::source::couchdb::check_part;
use crate::source::examine;

fn examined(dir: &Path, facts: &Facts) -> Facts {
    examine("couchdb", dir, facts, &Cancel::new()).unwrap()
}

#[test]
fn a_restored_folder_has_the_recorded_facts_until_something_is_missing() {
    let scene = Scene::new();
    let captured = scene.capture();
    let dir = tempfile::tempdir().unwrap();
    captured.restore(dir.path());
    assert_eq!(examined(dir.path(), &captured.facts), captured.facts);
    let restored = |file: &str| dir.path().join(scene.path(file).strip_prefix("/").unwrap());
    let path = restored(&shard(RANGES[0], "medic"));
    let bytes = fs::read(&path).unwrap();
    // Shorter by a commit.
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    assert_ne!(examined(dir.path(), &captured.facts)["databases"], captured.facts["databases"]);
    fs::remove_file(&path).unwrap();
    assert_ne!(examined(dir.path(), &captured.facts)["files"], captured.facts["files"]);
    fs::write(&path, &bytes).unwrap();
    fs::remove_file(restored("_dbs.couch")).unwrap();
    assert_ne!(examined(dir.path(), &captured.facts)["databases"], captured.facts["databases"]);
}

#[test]
fn what_was_damaged_when_it_was_captured_is_no_difference() {
    let scene = Scene::new();
    fs::write(scene.path(&shard(RANGES[0], "medic")), vec![1; 5000]).unwrap();
    let captured = scene.capture();
    assert_eq!(captured.problems.len(), 1);
    let dir = tempfile::tempdir().unwrap();
    captured.restore(dir.path());
    assert_eq!(examined(dir.path(), &captured.facts), captured.facts);
}

#[test]
fn a_part_of_a_source_is_read_as_far_as_it_is_there() {
    let scene = Scene::new();
    let [first, second] = [RANGES[0], RANGES[1]].map(|range| shard(range, "medic"));
    fs::write(scene.path(&second), vec![1; 5000]).unwrap();
    let captured = scene.capture();
    let dir = tempfile::tempdir().unwrap();
    captured.restore(dir.path());
    let checked = || check_part(dir.path(), &captured.facts, &Cancel::new()).unwrap();
    let restored = |file: &str| dir.path().join(scene.path(file).strip_prefix("/").unwrap());
    fs::remove_file(restored("_dbs.couch")).unwrap();
    assert_eq!(checked(), [""; 0], "what is not there is not asked for, and what was damaged before is known");
    let bytes = fs::read(restored(&first)).unwrap();
    fs::write(restored(&first), &bytes[..bytes.len() - 1]).unwrap();
    assert!(checked().iter().any(|what| what.starts_with(&first)), "{:?}", checked());
    fs::remove_dir_all(restored("")).unwrap();
    assert_eq!(checked(), [""; 0]);
}

#[test]
fn any_changed_byte_of_any_document_is_a_difference_that_names_it() {
    let scene = Scene::new();
    let file = shard(RANGES[0], "medic");
    let path = scene.path(&file);
    let mut writer = super::scene::writer(&path);
    for number in 0..6 {
        writer.put(&format!("patient-{number}"), &json!({"n": number, "name": "x".repeat(number * 10)})).unwrap();
    }
    writer.commit().unwrap();
    let captured = scene.capture();
    let dir = tempfile::tempdir().unwrap();
    captured.restore(dir.path());
    let path = dir.path().join(path.strip_prefix("/").unwrap());
    let bytes = fs::read(&path).unwrap();
    let database = Database::open(&bytes).unwrap();
    let mut changed = 0;
    for info in database.documents().map(Result::unwrap) {
        let leaf: Leaf<'_> = info.leaves()[0];
        let start = leaf.body().unwrap().offset;
        let length = database.read(&info.id, leaf).unwrap().unwrap().stored_length;
        // Behind the chunk's own length; the first byte of a block belongs to nothing.
        for at in (start + 4..start + length).filter(|at| at % 4096 != 0) {
            let mut bytes = bytes.clone();
            bytes[at as usize] ^= 1 << (at % 8);
            fs::write(&path, &bytes).unwrap();
            let found = examined(dir.path(), &captured.facts);
            let documents = &found["damaged"][&file]["documents"];
            assert_eq!(*documents, json!([info.id]), "byte {at}: {}", found["damaged"]);
            changed += 1;
        }
    }
    assert!(changed > 300, "{changed}");
}

#[test]
fn a_changed_byte_of_an_attachment_is_a_difference_that_names_its_document() {
    let scene = Scene::new();
    let file = shard(RANGES[0], "medic");
    let mut writer = super::scene::writer(&scene.path(&file));
    let content = [b"photograph ".repeat(100), vec![b'x'; 500]].concat();
    let photo = writer.attachment("photo", "image/png", &content, 1, Encoding::Identity).unwrap();
    writer.put_with("patient", &json!({"n": 1}), &[photo]).unwrap();
    writer.commit().unwrap();
    let captured = scene.capture();
    let dir = tempfile::tempdir().unwrap();
    captured.restore(dir.path());
    let path = dir.path().join(scene.path(&file).strip_prefix("/").unwrap());
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(20).position(|part| part == [b'x'; 20]).unwrap();
    bytes[at + 100] = b'y';
    fs::write(&path, &bytes).unwrap();
    let found = examined(dir.path(), &captured.facts);
    assert_eq!(found["damaged"][&file]["documents"], json!(["patient"]), "{}", found["damaged"]);
    assert!(found["damaged"][&file]["what"].as_str().unwrap().contains("photo"), "{}", found["damaged"]);
}
