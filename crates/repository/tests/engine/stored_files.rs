//! Stored files, read by offset: any range gives the bytes that were backed up, and costs the blobs it lies in.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use repository::file_reader::{StoredFile, StoredFiles};
use repository::format::pack::BlobKind;
use repository::storage::record::{Record, Verb};
use repository::{Error, FileKind, Index, Node, Repository, walk};

use crate::support::*;

struct Stored {
    world: World,
    record: Arc<Record>,
    repository: Arc<Repository>,
    index: Index,
    plain: Vec<u8>,
    node: Node,
}

/// A file of several blobs, one of which comes twice.
fn stored() -> Stored {
    let world = World::new();
    let record = Arc::new(Record::new(Arc::new(world.memory.clone())));
    let repository = open(record.clone()).unwrap();
    let plain = [noise(1 << 20, 1), noise(1 << 20, 1), noise(12_345, 2)].concat();
    let capture = StreamCapture::default().with("a", std::io::Cursor::new(plain.clone()));
    let backup = back_up(&world.cx(), &repository, capture).unwrap();
    let index = Index::load(&world.cx(), &repository).unwrap();
    let node = walk::find(&repository, &index, &backup.snapshot.tree, Path::new("data/a")).unwrap().unwrap();
    assert!(node.content.len() > 8, "{}", node.content.len());
    Stored { world, record, repository, index, plain, node }
}

fn read(file: &StoredFile<'_>, offset: u64, length: usize) -> Vec<u8> {
    let mut buffer = vec![0xee; length];
    let read = file.read_at(offset, &mut buffer).unwrap();
    buffer.truncate(read);
    buffer
}

#[test]
fn any_range_of_a_stored_file_equals_the_plain_bytes() {
    let stored = stored();
    let length = stored.plain.len();
    // A small cache, so that blobs come and go, and a large one.
    for bytes_max in [0, 200_000, 64 << 20] {
        let files = StoredFiles::with_cache(&stored.repository, &stored.index, bytes_max);
        let file = files.open(&stored.node).unwrap();
        assert_eq!(file.length(), length as u64);
        let ranges = (0..length as u64 + 10_000, 0..400_000_usize);
        let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
        proptest!(config, |((offset, wanted) in ranges)| {
            let start = (offset as usize).min(length);
            let expected = &stored.plain[start..(start + wanted).min(length)];
            prop_assert!(read(&file, offset, wanted) == expected);
        });
        assert_eq!(read(&file, u64::MAX, 10), b"");
        assert!(read(&file, 0, length + 1) == stored.plain);
    }
}

#[test]
fn only_the_blobs_that_are_needed_are_fetched_and_each_once() {
    let stored = stored();
    let files = StoredFiles::new(&stored.repository, &stored.index);
    stored.record.take();
    let file = files.open(&stored.node).unwrap();
    assert_eq!(stored.record.calls().len(), 0, "opening costs nothing");

    let bytes = |position: usize| {
        let id = &stored.node.content[position];
        u64::from(stored.index.find(BlobKind::Data, id).unwrap().blob.length)
    };
    let first = u64::from(stored.index.plain_bytes(BlobKind::Data, &stored.node.content[0]).unwrap());
    read(&file, first - 10, 10);
    read(&file, 0, 100);
    let calls = stored.record.take();
    assert_eq!(calls.iter().map(|call| (call.verb, call.kind)).collect::<Vec<_>>(), [(Verb::Get, FileKind::Pack)]);
    assert_eq!(calls[0].bytes, bytes(0), "the blob's range of the pack, and no more");

    read(&file, first - 10, 20);
    let calls = stored.record.take();
    assert_eq!(calls.iter().map(|call| call.bytes).collect::<Vec<_>>(), [bytes(1)]);

    // In small steps, and what comes twice once.
    for offset in (0..file.length()).step_by(10_000) {
        read(&file, offset, 10_000);
    }
    let mut blobs = stored.node.content.clone();
    blobs.sort_unstable();
    blobs.dedup();
    assert!(blobs.len() < stored.node.content.len());
    assert_eq!(stored.record.take().len(), blobs.len() - 2);
}

#[test]
fn a_damaged_blob_is_named_and_the_others_can_be_read() {
    let stored = stored();
    let id = stored.node.content[1];
    let location = stored.index.find(BlobKind::Data, &id).unwrap();
    assert!(stored.world.memory.flip(repository::File::pack(location.pack), location.blob.offset as usize + 20));
    let files = StoredFiles::new(&stored.repository, &stored.index);
    let file = files.open(&stored.node).unwrap();
    let first = stored.index.plain_bytes(BlobKind::Data, &stored.node.content[0]).unwrap() as usize;
    assert!(read(&file, 0, first) == stored.plain[..first]);
    let error = file.read_at(first as u64, &mut [0]).unwrap_err();
    assert!(matches!(error, Error::BlobDamaged { id: damaged, .. } if damaged == id), "{error}");
    let second = first + stored.index.plain_bytes(BlobKind::Data, &id).unwrap() as usize;
    assert!(read(&file, second as u64, 1000) == stored.plain[second..second + 1000]);

    let mut node = stored.node.clone();
    node.content.push(repository::Id::of(b"not there"));
    assert!(matches!(files.open(&node).map(drop), Err(Error::BlobMissing { .. })));
}
