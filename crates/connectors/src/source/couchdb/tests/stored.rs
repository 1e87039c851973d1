//! What a check of stored files finds, and what it costs.

use std::fs;
use std::sync::Arc;

use couchfile::{Checksum, Compression, CouchWriter, Format};
use repository::clock::SimulatedClock;
use repository::format::key_file::KdfCost;
use repository::format::pack::BlobKind;
use repository::storage::fault::{Effect, Failure, Fault, When};
use repository::storage::memory::MemoryStorage;
use repository::storage::record::{Call, Record, Verb};
use repository::{
    Cancel, CaptureCx, Error, Facts, FileKind, Id, Index, Repository, RunCx, Silent, Source as _, StorageError, backup,
};
use serde_json::{Value, json};

use super::scene::{RANGES, Scene, harm, shard};
use crate::source::couchdb::{StoredCheck, StoredReport, StoredSource};
use crate::source::{FilesOptions, FilesSource};

const CHUNK_BYTES: u32 = 64 << 10;

/// The files of a data folder as they are now, in a copy.
struct Copy {
    cancel: Cancel,
    clock: SimulatedClock,
    storage: Arc<MemoryStorage>,
    fault: Arc<Fault>,
    record: Arc<Record>,
    repository: Repository,
    index: Index,
    tree: Id,
}

impl Copy {
    fn of(scene: &Scene) -> Self {
        let (cancel, now) = (Cancel::new(), "2026-01-01T00:00:00Z".parse().unwrap());
        let clock = SimulatedClock::new(now);
        let storage = Arc::new(MemoryStorage::new());
        let fault = Arc::new(Fault::new(storage.clone(), 1));
        let record = Arc::new(Record::new(fault.clone()));
        let repository = Repository::init(record.clone(), "secret", KdfCost::FAST, CHUNK_BYTES, now).unwrap();
        let cx = RunCx { events: &Silent, cancel: &cancel, clock: &clock, lock: None };
        let index = Index::load(&cx, &repository).unwrap();
        // Another source lays them out alike and does not look into them.
        let options = FilesOptions { paths: vec![scene.data()], ..FilesOptions::default() };
        let source = FilesSource::new(options).unwrap();
        let of_source = CaptureCx {
            events: &Silent,
            cancel: &cancel,
            clock: &clock,
            claimed: &Default::default(),
            scratch: scene.folder.path(),
            own_paths: &[],
            previous: None,
            look_only: false,
        };
        let (_, written) = backup::write(&cx, &repository, &index, None, |writer| {
            writer.source("records", &mut *source.capture(&of_source)?)
        })
        .unwrap();
        let tree = written.tree;
        let about = backup::Description {
            identity: repository::Identity::default(),
            paths: vec!["/records".to_owned()],
            tags: Vec::new(),
            program_version: "test".to_owned(),
            parent: None,
        };
        written.save(&cx, &repository, about).unwrap();
        let index = Index::load(&cx, &repository).unwrap();
        record.take();
        Self { cancel, clock, storage, fault, record, repository, index, tree }
    }

    fn start(&self) -> StoredCheck<'_> {
        let cx = RunCx { events: &Silent, cancel: &self.cancel, clock: &self.clock, lock: None };
        StoredCheck::new(cx, &self.repository, &self.index)
    }

    fn source<'s>(&self, facts: &'s Facts) -> StoredSource<'s> {
        StoredSource { snapshot: Id::of(b"snapshot"), tree: self.tree, name: "records", facts }
    }

    fn check(&self, facts: &Facts) -> StoredReport {
        let mut check = self.start();
        check.source(&self.source(facts)).unwrap();
        check.finish()
    }

    /// Bytes of data that were fetched since this was asked last.
    fn fetched(&self) -> u64 {
        let packs = self.index.packs();
        let is_data = |id: &Id| packs[id][0].kind == BlobKind::Data;
        let calls = self.record.take();
        let of_data = calls.iter().filter(|call| {
            call.verb == Verb::Get && call.kind == FileKind::Pack && call.file.is_some_and(|file| is_data(&file.id))
        });
        of_data.map(|call| call.bytes).sum()
    }
}

#[test]
fn whole_files_are_read_once_however_many_snapshots_have_them() {
    let scene = Scene::new();
    let facts = scene.capture().facts;
    let copy = Copy::of(&scene);
    let mut check = copy.start();
    check.source(&copy.source(&facts)).unwrap();
    assert!(copy.fetched() > 0);
    check.source(&copy.source(&facts)).unwrap();
    let few = copy.fetched();
    let report = check.finish();
    assert_eq!((&report.findings[..], report.files), (&[][..], 6), "{:?}", report.findings);
    // Two of each database, their shard maps and a node.
    assert_eq!(report.documents, 7);
    let maps =
        fs::metadata(scene.path("_dbs.couch")).unwrap().len() + fs::metadata(scene.path("_nodes.couch")).unwrap().len();
    assert!(few <= maps, "{few}: nothing but the shard maps");
}

#[test]
fn damage_that_nobody_saw_is_named_with_its_documents() {
    let scene = Scene::new();
    let facts = scene.capture().facts;
    let file = shard(RANGES[1], "medic");
    let id = format!("medic {}", RANGES[1]);
    harm(&scene, &file, &id);
    let copy = Copy::of(&scene);
    let report = copy.check(&facts);
    let [finding] = &report.findings[..] else { panic!("{:?}", report.findings) };
    assert_eq!((finding.snapshot, finding.source.as_str(), &finding.path), (Id::of(b"snapshot"), "records", &file));
    assert_eq!((finding.database.as_deref(), finding.shard.as_deref()), (Some("medic"), Some(RANGES[1])));
    assert_eq!((&finding.documents, finding.documents_total), (&vec![id.clone()], 1));
    let expected = format!("database medic, shard {}: ", RANGES[1]);
    assert!(finding.what.starts_with(&expected) && finding.what.contains(&id), "{}", finding.what);
}

#[test]
fn what_was_damaged_when_it_was_captured_is_told_once_and_no_finding() {
    let scene = Scene::new();
    let file = shard(RANGES[0], "medic");
    fs::write(scene.path(&file), vec![1; 5000]).unwrap();
    let facts = scene.capture().facts;
    assert!(facts["damaged"].get(&file).is_some(), "{}", facts["damaged"]);
    let copy = Copy::of(&scene);
    let mut check = copy.start();
    check.source(&copy.source(&facts)).unwrap();
    check.source(&copy.source(&facts)).unwrap();
    let report = check.finish();
    assert_eq!(report.findings, []);
    let [told] = &report.damaged_before[..] else { panic!("{:?}", report.damaged_before) };
    assert!(told.contains("source records: database medic, shard 00000000-7fffffff: there is no valid"), "{told}");
}

#[test]
fn files_and_counts_that_are_not_those_of_the_manifest_are_found() {
    let scene = Scene::new();
    let facts = scene.capture().facts;
    let (gone, new) = (shard(RANGES[0], "medic"), shard(RANGES[0], "orders"));
    let changed = shard(RANGES[1], "medic-sentinel");
    fs::remove_file(scene.path(&gone)).unwrap();
    let [mut first, _] = scene.create("orders");
    fs::remove_file(scene.path(&shard(RANGES[1], "orders"))).unwrap();
    first.commit().unwrap();
    let mut other = scene.writer(&changed);
    other.put("another", &json!({})).unwrap();
    other.commit().unwrap();
    let report = Copy::of(&scene).check(&facts);
    let mut found: Vec<_> =
        report.findings.iter().map(|finding| (finding.path.as_str(), finding.what.as_str())).collect();
    found.sort_unstable();
    let named = |file: &str, what: &str| found.iter().any(|(path, told)| *path == file && told.contains(what));
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(named(&gone, "it is not in the snapshot"), "{found:?}");
    assert!(named(&new, "the manifest does not know it"), "{found:?}");
    assert!(named(&changed, "not as of the commit that was captured"), "{found:?}");

    let scene = Scene::new();
    let mut facts = scene.capture().facts;
    facts["databases"]["medic"]["documents"] = Value::from(3);
    facts["nodes"] = json!(["couchdb@elsewhere"]);
    let report = Copy::of(&scene).check(&facts);
    let found: Vec<_> = report.findings.iter().map(|finding| finding.what.as_str()).collect();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("database medic") && found[0].contains("\"documents\":2"), "{found:?}");
    assert!(found[1].contains("other nodes"), "{found:?}");
}

#[test]
fn a_part_that_the_copy_lost_is_a_finding_and_a_copy_that_is_away_is_none() {
    let scene = Scene::new();
    let facts = scene.capture().facts;
    let copy = Copy::of(&scene);
    let packs = copy.index.packs();
    let data = packs.iter().filter(|(_, blobs)| blobs[0].kind == BlobKind::Data).map(|(id, _)| *id);
    for pack in data {
        assert!(copy.storage.remove(repository::File::pack(pack)));
    }
    let report = copy.check(&facts);
    assert_eq!(report.findings.len(), 6, "each of the files: {:?}", report.findings);

    let copy = Copy::of(&scene);
    let packs = copy.index.packs();
    copy.check(&facts);
    // It goes away with the second part of a file; the trees were read by then.
    let is_data = |call: &Call| packs[&call.file.unwrap().id][0].kind == BlobKind::Data;
    let first = copy.record.take().iter().position(is_data).unwrap() as u64;
    copy.fault.add(When::After(copy.fault.calls() + first + 1), Effect::Fail(Failure::Transient));
    let away = copy.start().source(&copy.source(&facts));
    assert!(matches!(away, Err(Error::Storage(StorageError::Transient { .. }))), "{away:?}");
}

#[test]
fn no_part_of_a_large_file_is_fetched_twice_on_average() {
    let scene = Scene::empty();
    scene.write_maps(&["orders"]);
    let format = Format { checksum: Checksum::Xxh3, compression: Compression::None };
    for range in RANGES {
        let mut writer = CouchWriter::create(Vec::new(), format, "uuid", super::scene::NODE).unwrap();
        for number in 0..if range == RANGES[0] { 1500_u32 } else { 0 } {
            // Scattered ids, and text that is never the same.
            let id = format!("{:08x}", number.wrapping_mul(0x9e37_79b9));
            let part = |part: u32| format!("{:x}", part.wrapping_mul(number ^ 0x85eb_ca6b));
            writer.put(&id, &json!({ "text": (0..300).map(part).collect::<String>() })).unwrap();
            if number % 50 == 0 {
                writer.commit().unwrap();
            }
        }
        writer.commit().unwrap();
        let path = scene.path(&shard(range, "orders"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, writer.into_inner()).unwrap();
    }
    let facts = scene.capture().facts;
    let copy = Copy::of(&scene);
    let mut check = copy.start().with_cache(8 * CHUNK_BYTES as usize);
    check.source(&copy.source(&facts)).unwrap();
    let report = check.finish();
    assert_eq!((report.findings.len(), report.documents), (0, 1502), "{:?}", report.findings);
    let (fetched, stored) = (copy.fetched(), copy.index.packs());
    let of_data = stored.values().flatten().filter(|blob| blob.kind == BlobKind::Data);
    let stored: u64 = of_data.map(|blob| u64::from(blob.length)).sum();
    assert!(report.bytes > 40 * u64::from(CHUNK_BYTES), "much more than is kept: {}", report.bytes);
    assert!(fetched <= stored * 3 / 2, "{fetched} of {stored} bytes fetched, for {} bytes of files", report.bytes);
    println!("{fetched} of {stored} bytes fetched, for {} bytes of files", report.bytes);
}
