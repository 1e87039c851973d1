//! What is captured, in which order it is opened, and where it is cut.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use couchfile::{Database, Level};
use repository::Cancel;
use serde_json::json;

use super::scene::{Hook, RANGES, Scene, shard};
use crate::source::Place;
use crate::source::couchdb::capture;
use crate::source::couchdb::data_folder::{DataFolder, Found, Part};
use crate::source::couchdb::opener::{How, Opened, Opener};
use crate::source::couchdb::parent::Before;

#[test]
fn a_file_is_cut_behind_its_last_commit_and_what_is_being_written_left_behind() {
    let scene = Scene::new();
    let path = scene.path(&shard(RANGES[0], "orders"));
    let mut writer = super::scene::writer(&path);
    writer.put("one", &json!({"n": 1})).unwrap();
    let end = writer.commit().unwrap().end;
    writer.put("two", &json!({"n": 2, "text": "x".repeat(9000)})).unwrap();
    scene.writer(&shard(RANGES[1], "orders")).commit().unwrap();
    scene.write_maps(&["medic", "medic-sentinel", "orders"]);
    let captured = scene.capture();
    let file = captured.get(&path);
    assert!(file.bytes == fs::read(&path).unwrap()[..end as usize] && fs::metadata(&path).unwrap().len() > end);
    assert_eq!(file.node.size, end);
    let database = Database::open(&file.bytes).unwrap();
    assert!(database.check(Level::Attachments).is_ok());
    assert_eq!((database.header().update_seq, database.header().doc_count), (1, 1));
    let facts = &captured.facts["files"][&shard(RANGES[0], "orders")];
    assert_eq!((&facts["bytes"], &facts["update_seq"]), (&json!(end), &json!(1)));
    assert_eq!(captured.problems, [""; 0]);
}

#[test]
fn what_is_appended_after_the_opening_or_put_in_its_place_is_not_captured() {
    let scene = Scene::new();
    let path = scene.path(&shard(RANGES[0], "medic"));
    let before = fs::read(&path).unwrap();
    for handles in [0, 100] {
        fs::write(&path, &before).unwrap();
        let options = scene.options();
        let compacted = scene.folder.path().join("compacted");
        let mut writer = super::scene::writer(&compacted);
        writer.put("compacted", &json!({})).unwrap();
        let end = writer.commit().unwrap().end;
        let captured = scene
            .setup
            .capture_with(&scene.setup.clock, |cx| {
                let view = capture::open(&options, cx, handles)?;
                OpenOptions::new().append(true).open(&path).unwrap().write_all(&[7; 5000]).unwrap();
                fs::rename(&compacted, &path).unwrap();
                Ok(Box::new(view))
            })
            .unwrap();
        let file = captured.get(&path);
        let facts = &captured.facts["files"][&shard(RANGES[0], "medic")];
        // With no handle left, the file that took its place is cut anew, and the facts are about that one.
        assert!(if handles > 0 { file.bytes == before } else { file.bytes.len() as u64 == end });
        assert_eq!(facts["bytes"], file.bytes.len());
        assert_eq!(captured.problems, [""; 0]);
    }
}

#[test]
fn what_is_made_from_other_files_is_opened_before_them() {
    let scene = Scene::empty();
    let view = ".shards/00000000-7fffffff/medic.1700000000_design/mrview/0123456789abcdef0123456789abcdef";
    for file in [
        format!("{view}.view"),
        format!("{view}.compact.view"),
        "._users_design/mrview/0123456789abcdef0123456789abcdef.view".into(),
        "_dbs.couch".into(),
        "_users.couch".into(),
        "nouveau/couchdb@127.0.0.1/shards/a/index.json".into(),
        "couchdb@node2/shards/a/index.json".into(),
        "search_indexes/x".into(),
        ".delete/0123.couch".into(),
        "notes.txt".into(),
        shard(RANGES[0], "medic"),
        shard(RANGES[1], "medic"),
        shard(RANGES[1], "medic") + ".compact",
        shard(RANGES[1], "medic") + ".compact.data",
        shard(RANGES[1], "medic") + ".compact.meta",
        shard(RANGES[1], "medic-sentinel"),
        shard(RANGES[0], "odd/name"),
        shard(RANGES[1], "swapped") + ".compact",
    ] {
        let path = scene.path(&file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    let data = scene.data();
    let listed = |nouveau: bool| -> Vec<String> {
        let folder = DataFolder { root: &data, nouveau, cancel: &Cancel::new(), own_paths: Vec::new() };
        let parts = Part::IN_ORDER.map(|part| folder.list(part).unwrap());
        assert_eq!(parts.iter().map(|listing| listing.left_out.len()).sum::<usize>(), if nouveau { 1 } else { 3 });
        let name = |path: &Path| path.strip_prefix(&data).unwrap().to_str().unwrap().to_owned();
        let found = parts.iter().flat_map(|listing| &listing.found);
        found
            .map(|found| match found {
                Found::File(path) => name(path),
                Found::Beside(path) => format!("beside: {}", name(path)),
            })
            .collect()
    };
    let expected = [
        "._users_design/mrview/0123456789abcdef0123456789abcdef.view".to_owned(),
        format!("{view}.view"),
        "_dbs.couch".into(),
        "_nodes.couch".into(),
        "_users.couch".into(),
        "beside: notes.txt".into(),
        shard(RANGES[1], "medic-sentinel"),
        shard(RANGES[0], "medic"),
        shard(RANGES[0], "odd/name"),
        shard(RANGES[1], "medic"),
        shard(RANGES[1], "swapped"),
    ];
    assert_eq!(listed(false), expected);
    let indexes = ["couchdb@node2/shards/a/index.json", "nouveau/couchdb@127.0.0.1/shards/a/index.json"];
    assert_eq!(listed(true), [&indexes.map(str::to_owned)[..], &expected].concat());
}

#[test]
fn indexes_that_are_left_out_are_named_once_and_kept_where_asked_for() {
    let mut scene = Scene::new();
    let index = scene.path("nouveau/couchdb@127.0.0.1/shards/a/b/index.json");
    fs::create_dir_all(index.parent().unwrap()).unwrap();
    fs::write(&index, "{}").unwrap();
    let captured = scene.capture();
    let notes: Vec<_> = captured.notes.iter().filter(|note| note.contains("Nouveau")).collect();
    assert_eq!(notes.len(), 1, "{:?}", captured.notes);
    assert!(!captured.below(&scene.data()).iter().any(|path| path.starts_with("nouveau")));
    let options = crate::source::couchdb::CouchDbOptions { nouveau: true, ..scene.options() };
    scene.setup.previous = Some(captured.facts);
    let captured = scene.setup.capture(&crate::source::couchdb::CouchDbSource::new(options)).unwrap();
    assert_eq!((captured.get(&index).bytes.as_slice(), captured.get(&index).append_only), (&b"{}"[..], false));
}

#[test]
fn a_file_whose_name_a_compaction_is_about_to_give_to_another_is_waited_for() {
    let scene = Scene::new();
    let path = scene.path(&shard(RANGES[0], "medic"));
    let compacted = scene.path(&(shard(RANGES[0], "medic") + ".compact"));
    fs::rename(&path, &compacted).unwrap();
    let options = scene.options();
    let clock = Hook::new(|| {
        let _ = fs::rename(&compacted, &path);
    });
    let captured = scene.setup.capture_with(&clock, |cx| Ok(Box::new(capture::open(&options, cx, 100)?))).unwrap();
    assert!(captured.get(&path).bytes == fs::read(&path).unwrap());
    assert_eq!(captured.problems, [""; 0]);
    assert!(!captured.below(&scene.data()).iter().any(|path| path.ends_with(".compact")));
    // One that nobody renames any more was left by a crash: CouchDB takes it when it starts.
    fs::rename(&path, &compacted).unwrap();
    let captured = scene.capture();
    assert!(captured.get(&compacted).bytes == fs::read(&compacted).unwrap());
    assert_eq!(captured.problems, [""; 0], "nothing is missing");
    let key = shard(RANGES[0], "medic") + ".compact";
    assert_eq!(captured.facts["files"][&key]["update_seq"], 1);
    assert_eq!(captured.facts["databases"]["medic"]["shards"], 2);
    // As that it is checked, too.
    let restored = tempfile::tempdir().unwrap();
    captured.restore(restored.path());
    let found = crate::source::examine("couchdb", restored.path(), &captured.facts, &Cancel::new()).unwrap();
    assert_eq!(found, captured.facts);
    fs::write(&compacted, [0; 9000]).unwrap();
    assert_eq!(scene.capture().problems.len(), 1);
}

#[test]
fn a_view_whose_name_a_compaction_is_about_to_give_to_another_is_waited_for() {
    let scene = Scene::new();
    let key = ".shards/00000000-7fffffff/medic.1700000000_design/mrview/0123456789abcdef0123456789abcdef.view";
    let (path, compacted) = (scene.path(key), scene.path(key).with_extension("compact.view"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&compacted, "").unwrap();
    let clock = Hook::new(|| {
        let _ = fs::rename(&compacted, &path);
    });
    let options = scene.options();
    let captured = scene.setup.capture_with(&clock, |cx| {
        let mut opener = Opener::new(cx, Before::new(None, ""), 100, false);
        assert!(matches!(opener.open(&path, key, How::WhileHandlesLast)?, Opened::File(_)));
        Ok(Box::new(capture::open(&options, cx, 100)?))
    });
    assert!(captured.is_ok());
}

#[test]
fn the_secret_that_decrypts_the_vault_is_asked_for() {
    let scene = Scene::new();
    let without = |config| {
        let options = crate::source::couchdb::CouchDbOptions { config, ..scene.options() };
        let captured = scene.setup.capture(&crate::source::couchdb::CouchDbSource::new(options)).unwrap();
        let is_about = |text: &&String| text.contains("CouchDB's secret is not in the snapshot");
        (captured.notes.iter().filter(is_about).count(), captured.problems.iter().filter(is_about).count())
    };
    let config = scene.options().config;
    assert_eq!((without(config.clone()), without(None)), ((0, 0), (1, 0)));
    scene.create("medic-vault");
    scene.write_maps(&["medic", "medic-sentinel", "medic-vault"]);
    assert_eq!((without(config.clone()), without(None)), ((0, 0), (0, 1)));
    fs::write(scene.folder.path().join("local.d/cluster-credentials.ini"), "[admins]\nmedic = x\n").unwrap();
    assert_eq!(without(config), (0, 1));
    // A volume that nobody can ask for keeps nothing else out of the snapshot.
    let config = Some(Place::Volume { name: "cht_cht-credentials".to_owned(), below: PathBuf::new() });
    assert_eq!(without(config.clone()), (0, 1));
    let options = crate::source::couchdb::CouchDbOptions { config, ..scene.options() };
    let captured = scene.setup.capture(&crate::source::couchdb::CouchDbSource::new(options)).unwrap();
    let expected = "the configuration cannot be read: volume cht_cht-credentials: no container engine answers at";
    assert!(captured.problems.iter().any(|what| what.contains(expected)), "{:?}", captured.problems);
}

#[test]
fn a_folder_without_couchdb_is_no_silent_success() {
    let scene = Scene::empty();
    fs::remove_file(scene.path("_nodes.couch")).unwrap();
    let captured = scene.capture();
    assert!(
        captured.problems.iter().any(|problem| problem.contains("is its disk mounted?")),
        "{:?}",
        captured.problems
    );
    fs::remove_dir_all(scene.data()).unwrap();
    let error = scene.setup.capture(&scene.source()).unwrap_err().to_string();
    assert!(error.contains("is not a folder"), "{error}");
}
