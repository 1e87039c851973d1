//! What changed is checked, what did not is not even opened, and damage is told for as long as it lasts.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use couchfile::{Checksum, Compression, CouchWriter, Database, Encoding, Format, Level, View};
use repository::Id;
use serde_json::{Value, json};

use super::scene::{RANGES, Scene, harm, shard};
use crate::source::couchdb::needed_version;
use crate::source::couchdb::stamp::Stamp;

/// Makes the next capture believe that it has seen the file as it is now.
fn pretend_unchanged(scene: &mut Scene, file: &str) {
    let read = repository::fs::NodeReader::default().read(&scene.path(file)).unwrap();
    let stamp = Stamp::of(&read.node, read.file_system).to_string();
    scene.setup.previous.as_mut().unwrap()["seen"][file] = Value::from(stamp);
}

#[test]
fn a_file_that_is_unchanged_is_not_opened() {
    let mut scene = Scene::new();
    let first = scene.capture_next();
    assert!(first.entries.iter().all(|entry| !entry.append_only), "the first reading is a full one");
    let file = shard(RANGES[0], "medic");
    let bytes = fs::read(scene.path(&file)).unwrap();
    fs::write(scene.path(&file), vec![0; bytes.len() * 2]).unwrap();
    pretend_unchanged(&mut scene, &file);
    let second = scene.capture();
    assert_eq!(second.problems, [""; 0], "it holds nothing but zeros, and nobody looked");
    let entry = second.get(&scene.path(&file));
    assert_eq!((entry.node.size, entry.append_only), (bytes.len() as u64, true));
    assert_eq!(second.facts["files"], first.facts["files"]);
    scene.setup.clock.advance(Duration::from_secs(8 * 86_400));
    assert_eq!(scene.capture().problems.len(), 1, "a full reading reads it");
    // Otherwise it is looked into.
    scene.setup.previous = Some(first.facts);
    assert_eq!(scene.capture().problems.len(), 1);
}

#[test]
fn an_unchanged_folder_has_unchanged_facts() {
    let mut scene = Scene::new();
    let first = scene.capture_next();
    scene.setup.clock.advance(Duration::from_secs(86_400));
    let second = scene.capture_next();
    assert_eq!(first.facts, second.facts);
    assert_eq!(first.facts["databases"]["medic"]["documents"], 2);
    assert_eq!(first.facts["databases"]["medic"]["shards"], 2);
    assert_eq!(first.facts["nodes"], json!(["couchdb@127.0.0.1"]));
    assert_eq!(first.facts["checksums"], json!(["md5"]));
    scene.setup.clock.advance(Duration::from_secs(7 * 86_400));
    let third = scene.capture();
    assert_eq!(third.facts["full_read_at"], "2026-01-09T00:00:00Z");
    assert!(third.entries.iter().all(|entry| !entry.append_only));
}

#[test]
fn damage_is_named_with_its_documents_and_the_last_good_snapshot_for_as_long_as_it_lasts() {
    let mut scene = Scene::new();
    let file = shard(RANGES[0], "medic");
    let path = scene.path(&file);
    let mut writer = super::scene::writer(&path);
    for number in 0..30 {
        writer.put(&format!("patient-{number:02}"), &json!({"n": number})).unwrap();
    }
    writer.commit().unwrap();
    assert_eq!(scene.capture_next().problems, [""; 0]);
    let whole = fs::read(&path).unwrap();
    // The file grows by a commit, whose tree by id is then damaged: all documents are out of reach by their ids.
    writer.put("patient-30", &json!({"n": 30})).unwrap();
    writer.commit().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let needle = b"kp_node";
    let at = whole.len() + bytes[whole.len()..].windows(needle.len()).position(|part| part == needle).unwrap();
    bytes[at] = b'x';
    fs::write(&path, &bytes).unwrap();
    let good = Id::of(b"parent");
    let expected = format!("snapshot {} holds its newest good version", good.short());
    for day in 0..3 {
        let captured = scene.capture_next();
        let problem = captured.problems.first().unwrap_or_else(|| panic!("day {day}: {captured:?}"));
        assert_eq!(captured.problems.len(), 1, "{:?}", captured.problems);
        assert!(problem.contains("database medic, shard 00000000-7fffffff: the tree of documents by id"), "{problem}");
        assert!(problem.contains("(31): patient-00, patient-01,") && problem.contains(&expected), "{problem}");
        assert!(captured.get(&path).bytes == bytes, "it is captured all the same");
        let record = &captured.facts["damaged"][&file];
        assert_eq!((&record["good_in"], &record["documents_total"]), (&json!(good.to_hex()), &json!(31)));
        assert_eq!(record["documents"].as_array().unwrap().len(), 20);
        if day == 1 {
            // It changes, and stays damaged.
            fs::write(&path, &bytes).unwrap();
        }
    }
    fs::write(&path, &whole).unwrap();
    let captured = scene.capture_next();
    let [problem] = &captured.problems[..] else { panic!("{:?}", captured.problems) };
    assert!(problem.contains("it ends with update 30, and had 31") && problem.contains(&expected), "{problem}");
    // Once it has as many updates again, it is over.
    let mut writer = super::scene::writer(&path);
    for number in 0..32 {
        writer.put(&format!("again-{number:02}"), &json!({"n": number})).unwrap();
    }
    writer.commit().unwrap();
    assert!(scene.capture_next().problems[0].contains("another file stands in its place"));
    let captured = scene.capture();
    assert_eq!((captured.problems.len(), &captured.facts["damaged"]), (0, &json!({})));
}

#[test]
fn a_file_without_a_header_is_captured_whole_and_named() {
    let mut scene = Scene::new();
    let file = shard(RANGES[1], "medic");
    let path = scene.path(&file);
    scene.capture_next();
    fs::write(&path, vec![0; 9000]).unwrap();
    for _ in 0..2 {
        let captured = scene.capture_next();
        let [problem] = &captured.problems[..] else { panic!("{:?}", captured.problems) };
        assert!(problem.contains("medic, shard 80000000-ffffffff: there is no valid header"), "{problem}");
        assert!(problem.contains(&Id::of(b"parent").short()), "{problem}");
        assert_eq!((captured.get(&path).bytes.len(), captured.get(&path).append_only), (9000, false));
        assert_eq!(captured.facts["files"].get(&file), None);
        assert_eq!(captured.facts["databases"]["medic"]["shards"], 1);
    }
}

#[test]
fn a_commit_that_is_lost_is_noticed() {
    let mut scene = Scene::new();
    let path = scene.path(&shard(RANGES[0], "medic"));
    let before = fs::read(&path).unwrap();
    let mut writer = super::scene::writer(&path);
    writer.put("a", &json!({})).unwrap();
    writer.commit().unwrap();
    let cut = fs::metadata(&path).unwrap().len();
    writer.put("b", &json!({})).unwrap();
    writer.commit().unwrap();
    scene.capture_next();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(cut + 100).unwrap();
    let captured = scene.capture();
    let [problem] = &captured.problems[..] else { panic!("{:?}", captured.problems) };
    assert!(problem.contains("it ends with update 1, and had 2"), "{problem}");
    // The name of a shard has the second of its creation, and a compaction keeps the file's own mark.
    fs::write(&path, before).unwrap();
    let captured = scene.capture();
    let [problem] = &captured.problems[..] else { panic!("{:?}", captured.problems) };
    assert!(problem.contains("another file stands in its place, which ends with update 1"), "{problem}");
}

#[test]
fn a_shard_that_couchdb_emptied_is_damaged_until_it_has_as_much_again() {
    let good = format!("snapshot {} holds its newest good version", Id::of(b"parent").short());
    for is_removed in [false, true] {
        let mut scene = Scene::new();
        let file = shard(RANGES[0], "medic");
        let path = scene.path(&file);
        assert_eq!(scene.capture_next().problems, [""; 0]);
        // It loses its headers, or is lost.
        if is_removed {
            fs::remove_file(&path).unwrap();
        } else {
            fs::write(&path, vec![0; 9000]).unwrap();
        }
        let captured = scene.capture_next();
        assert!(captured.problems.iter().any(|problem| problem.contains(&good)), "{:?}", captured.problems);
        assert!(captured.facts["damaged"].get(&file).is_some());
        // CouchDB makes it anew.
        let mut writer = super::scene::writer(&path);
        writer.commit().unwrap();
        for _ in 0..3 {
            let captured = scene.capture_next();
            let [problem] = &captured.problems[..] else { panic!("{:?}", captured.problems) };
            assert!(
                problem.contains("ends with update 0; the one before had 1") && problem.contains(&good),
                "{problem}"
            );
            assert_eq!(captured.facts["damaged"][&file]["good_in"], json!(Id::of(b"parent").to_hex()));
        }
        writer.put("again", &json!({})).unwrap();
        writer.commit().unwrap();
        assert_eq!(scene.capture_next().problems, [""; 0]);
    }
}

#[test]
fn an_emptied_shard_map_is_damage_and_its_shards_are_unknown() {
    let mut scene = Scene::new();
    scene.capture_next();
    scene.write_maps(&[]);
    let captured = scene.capture_next();
    assert_eq!(captured.problems.len(), 2, "{:?}", captured.problems);
    let problem = |part: &str| captured.problems.iter().any(|problem| problem.contains(part));
    assert!(problem("database _dbs: another file stands in its place"), "{:?}", captured.problems);
    assert!(problem("there are shards of them: medic, medic-sentinel"), "{:?}", captured.problems);
    assert_eq!(scene.capture().problems.len(), 2, "for as long as it lasts");
}

#[test]
fn what_was_damaged_is_looked_at_again_though_it_did_not_change() {
    let mut scene = Scene::new();
    let file = shard(RANGES[0], "medic");
    let good = fs::read(scene.path(&file)).unwrap();
    fs::write(scene.path(&file), vec![0; 9000]).unwrap();
    assert_eq!(scene.capture_next().problems.len(), 1);
    fs::write(scene.path(&file), good).unwrap();
    pretend_unchanged(&mut scene, &file);
    assert_eq!(scene.capture().problems, [""; 0], "the disk may have read it badly");
}

#[test]
fn a_file_keeps_needing_what_reads_its_older_checksums() {
    let mut scene = Scene::new();
    let file = shard(RANGES[0], "medic");
    let write = |scene: &Scene, checksum: Checksum| {
        let format = Format { checksum, compression: Compression::None };
        let mut writer = CouchWriter::create(Vec::new(), format, "0123", super::scene::NODE).unwrap();
        writer.put("a", &json!({})).unwrap();
        writer.commit().unwrap();
        // In place, so that it is the same file.
        fs::write(scene.path(&file), writer.into_inner()).unwrap();
    };
    let needed = |scene: &mut Scene| needed_version(&scene.capture_next().facts).0.to_string();
    write(&scene, Checksum::Xxh3);
    assert_eq!(needed(&mut scene), "3.4");
    write(&scene, Checksum::Md5);
    assert_eq!(needed(&mut scene), "3.4", "an older CouchDB wrote on");
    assert_eq!(needed(&mut scene), "3.4");
    let compacted = scene.folder.path().join("compacted");
    fs::copy(scene.path(&file), &compacted).unwrap();
    fs::rename(&compacted, scene.path(&file)).unwrap();
    assert_eq!(needed(&mut scene), "3.0");
}

/// The first file that a real CouchDB wrote whose path ends so.
fn of_couchdb(end: &str) -> Vec<u8> {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("../couchfile/tests/fixtures/cht-host.tar.gz");
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(fs::File::open(archive).unwrap()));
    let is_wanted = |entry: &tar::Entry<'_, _>| entry.path().unwrap().to_str().unwrap().ends_with(end);
    let mut entry = archive.entries().unwrap().map(Result::unwrap).find(is_wanted).unwrap();
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn damage_in_a_view_is_named_as_that() {
    let scene = Scene::new();
    let mut bytes = of_couchdb(".view");
    let header = View::open(&bytes).unwrap().header().clone();
    let name = format!(".shards/{}/medic.1700000000_design/mrview/{}.view", RANGES[0], header.signature);
    let path = scene.path(&name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, &bytes).unwrap();
    let captured = scene.capture();
    assert_eq!(captured.problems, [""; 0]);
    let facts = &captured.facts["views"][&name];
    assert_eq!((&facts["update_seq"], &facts["bytes"]), (&json!(header.update_seq), &json!(header.place.end)));
    let needle = b"kv_node";
    let at = bytes.windows(needle.len()).rposition(|part| part == needle).unwrap();
    bytes[at] = b'x';
    fs::write(&path, &bytes).unwrap();
    let captured = scene.capture();
    let [problem] = &captured.problems[..] else { panic!("{:?}", captured.problems) };
    assert!(
        problem.contains("a view of database medic, shard 00000000-7fffffff (CouchDB can build it anew)"),
        "{problem}"
    );
}

#[test]
fn of_a_file_that_grew_only_the_new_part_is_checked_until_a_full_reading_is_due() {
    let bytes = of_couchdb("_dbs.couch");
    // Where an older commit of it ends.
    let cut = Database::open(&bytes).unwrap().headers().flatten().nth(1).unwrap().place.end;
    // A byte of an old node that the new trees still have, so that a check of the whole would find it.
    let damaged = (0..cut as usize).step_by(61).find_map(|at| {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        let earlier = Database::open(&damaged[..cut as usize]).ok()?;
        let database = Database::open(&damaged).ok()?;
        let passed_over = database.check_appended(Level::Trees, earlier.header()).is_ok();
        (passed_over && !database.check(Level::Trees).is_ok()).then_some(damaged)
    });
    let damaged = damaged.expect("the trees share nodes");
    let mut scene = Scene::new();
    let path = scene.path(&shard(RANGES[0], "medic"));
    fs::write(&path, &bytes[..cut as usize]).unwrap();
    assert_eq!(scene.capture_next().problems, [""; 0]);
    // Written in place, so that it is the same file.
    fs::write(&path, &damaged).unwrap();
    let captured = scene.capture();
    assert_eq!(captured.problems, [""; 0]);
    assert!(captured.get(&path).append_only && captured.get(&path).bytes.len() as u64 > cut);
    scene.setup.clock.advance(Duration::from_secs(8 * 86_400));
    let captured = scene.capture();
    assert!(captured.problems.len() == 1 && captured.problems[0].contains("database medic"), "{:?}", captured.problems);
    // Another file under its name is checked as a whole.
    scene.setup.clock.advance(Duration::from_secs(1));
    scene.setup.previous.as_mut().unwrap()["full_read_at"] = json!("2026-01-09T00:00:00Z");
    assert_eq!(scene.capture().problems, [""; 0]);
    let other = scene.folder.path().join("other");
    fs::write(&other, &damaged).unwrap();
    fs::rename(&other, &path).unwrap();
    assert_eq!(scene.capture().problems.len(), 1);
}

/// A scene whose last snapshot has one document more in the first shard of `medic`, and the writer of that file.
fn with_a_patient() -> (Scene, super::scene::Writer) {
    let mut scene = Scene::new();
    let mut writer = super::scene::writer(&scene.path(&shard(RANGES[0], "medic")));
    let photo = writer.attachment("photo", "image/png", &[b'x'; 500], 1, Encoding::Identity).unwrap();
    writer.put_with("patient", &json!({"n": 1}), &[photo]).unwrap();
    writer.commit().unwrap();
    assert_eq!(scene.capture_next().problems, [""; 0]);
    (scene, writer)
}

fn assert_names_the_patient(scene: &Scene) {
    let file = shard(RANGES[0], "medic");
    let captured = scene.capture();
    let [problem] = &captured.problems[..] else { panic!("{:?}", captured.problems) };
    let good = Id::of(b"parent");
    assert!(problem.contains("(1): patient; snapshot ") && problem.contains(&*good.short()), "{problem}");
    assert_eq!(captured.facts["damaged"][&file]["documents"], json!(["patient"]));
    assert_eq!(captured.facts["good_in"], json!([good.to_hex()]), "retention keeps what is whole");
}

#[test]
fn a_document_that_was_damaged_after_it_was_captured_is_named_before_it_replaces_the_whole_one() {
    let (mut scene, _) = with_a_patient();
    let file = shard(RANGES[0], "medic");
    harm(&scene, &file, "patient");
    let captured = scene.capture();
    assert!(captured.problems.is_empty() && captured.get(&scene.path(&file)).append_only, "{:?}", captured.problems);
    // What the parent snapshot has is another one now, so the engine stores all of it.
    scene.setup.reads_whole = true;
    assert_names_the_patient(&scene);
    scene.setup.reads_whole = false;
    scene.setup.clock.advance(Duration::from_secs(8 * 86_400));
    assert_names_the_patient(&scene);
}

#[test]
fn an_attachment_that_was_damaged_is_named_with_its_document() {
    let (scene, _) = with_a_patient();
    let path = scene.path(&shard(RANGES[0], "medic"));
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(20).position(|part| part == [b'x'; 20]).unwrap();
    bytes[at + 100] = b'y';
    fs::write(&path, bytes).unwrap();
    scene.setup.clock.advance(Duration::from_secs(8 * 86_400));
    assert_names_the_patient(&scene);
}

#[test]
fn a_document_that_was_written_since_is_read_though_the_rest_is_not() {
    let (mut scene, mut writer) = with_a_patient();
    let file = shard(RANGES[0], "medic");
    writer.put("late", &json!({"n": 2})).unwrap();
    writer.commit().unwrap();
    harm(&scene, &file, "late");
    let captured = scene.capture_next();
    assert_eq!(captured.facts["damaged"][&file]["documents"], json!(["late"]), "{:?}", captured.problems);
    // What is stored of a damaged file is not built on.
    assert!(!scene.capture().get(&scene.path(&file)).append_only);
}
