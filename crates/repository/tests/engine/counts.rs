//! What a backup asks of a storage: requests cost money and time, so their number is part of what is promised.

use std::sync::Arc;

use repository::storage::cache::Cache;
use repository::storage::record::{Call, Record, Verb};
use repository::{FileKind, Index};

use crate::support::*;

fn count(calls: &[Call], verb: Verb, kind: FileKind) -> usize {
    calls.iter().filter(|call| call.verb == verb && call.kind == kind).count()
}

#[test]
fn a_backup_of_p_packs_is_p_puts_one_index_one_snapshot_and_a_lock() {
    let world = World::new();
    let record = Arc::new(Record::new(Arc::new(world.memory.clone())));
    let repository = open(record.clone()).unwrap();
    record.take();
    let capture = StreamCapture::default().with("a", std::io::Cursor::new(noise(54 << 20, 1)));
    let backup = back_up(&world.cx(), &repository, capture).unwrap();
    let calls = record.take();
    let packs = count(&calls, Verb::Put, FileKind::Pack);
    assert!(packs >= 4, "{packs}");
    assert_eq!(backup.stats.stored.packs, packs as u64);
    assert_eq!(count(&calls, Verb::Put, FileKind::Index), packs.div_ceil(64));
    assert_eq!(count(&calls, Verb::Put, FileKind::Snapshot), 1);
    assert_eq!(count(&calls, Verb::Put, FileKind::Lock), 1);
    assert_eq!(calls.iter().filter(|call| call.verb == Verb::Put).count(), packs + 3);
    assert_eq!(count(&calls, Verb::Get, FileKind::Pack), 0);
    assert_eq!(count(&calls, Verb::Delete, FileKind::Lock), 1);
    assert_eq!(calls.iter().filter(|call| call.verb == Verb::Delete).count(), 1);
    assert_eq!(count(&calls, Verb::List, FileKind::Pack), 0, "listing all packs takes long where there are many");
    assert!(calls.iter().all(|call| call.ok));
    // Blobs are spread over packs of some 16 MiB.
    let sizes: Vec<_> = calls.iter().filter(|call| call.kind == FileKind::Pack).map(|call| call.bytes).collect();
    assert!(sizes.iter().all(|bytes| *bytes < 18 << 20), "{sizes:?}");
}

#[test]
fn an_unchanged_source_costs_one_snapshot_and_reads_trees_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("below")).unwrap();
    for name in ["a", "b", "below/c"] {
        std::fs::write(folder.path().join(name), noise(400_000, name.len() as u64)).unwrap();
    }
    let world = World::new();
    let record = Arc::new(Record::new(Arc::new(world.memory.clone())));
    let repository = open(record.clone()).unwrap();
    let first = back_up(&world.cx(), &repository, FolderCapture::of(folder.path())).unwrap();
    record.take();
    let second = back_up(&world.cx(), &repository, FolderCapture::of(folder.path())).unwrap();
    let calls = record.take();

    assert_eq!(second.snapshot.tree, first.snapshot.tree);
    assert_eq!((second.stats.files_unmodified, second.stats.bytes_read), (3, 0));
    let puts: Vec<_> = calls.iter().filter(|call| call.verb == Verb::Put).map(|call| call.kind).collect();
    assert_eq!(puts, [FileKind::Lock, FileKind::Snapshot]);
    let index = Index::load(&world.cx(), &repository).unwrap();
    let kind_of = |pack| index.packs()[&pack][0].kind.name();
    let gets: Vec<_> = calls.iter().filter(|call| call.verb == Verb::Get && call.kind == FileKind::Pack).collect();
    assert!(gets.iter().all(|call| kind_of(call.file.unwrap().id) == "tree"));
    // The root, the source and its one folder.
    assert_eq!(gets.len(), 3);
    assert!(gets.iter().map(|call| call.bytes).sum::<u64>() < 10_000);
}

#[test]
fn with_a_cache_a_backup_of_p_packs_is_p_puts_and_no_get() {
    let (folder, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    for (number, name) in ["a", "b", "c"].into_iter().enumerate() {
        write(name, &noise(20 << 20, number as u64));
    }
    let world = World::new();
    let record = Arc::new(Record::new(Arc::new(world.memory.clone())));
    // Each run opens the copy anew, as the program does.
    let run = || {
        let near = Cache::new(record.clone(), cache.path().to_owned(), 1 << 30);
        let repository = open(Arc::new(near)).unwrap();
        record.take();
        let backup = back_up(&world.cx(), &repository, FolderCapture::of(folder.path())).unwrap();
        (backup, record.take())
    };
    let gets = |calls: &[Call]| {
        calls
            .iter()
            .filter(|call| call.verb == Verb::Get && call.kind != FileKind::Lock)
            .map(|call| call.kind)
            .collect::<Vec<_>>()
    };
    let lists = |calls: &[Call]| {
        let mut kinds: Vec<_> = calls.iter().filter(|call| call.verb == Verb::List).map(|call| call.kind).collect();
        kinds.sort();
        kinds
    };
    run();
    write("d", &noise(20 << 20, 9));
    let (backup, calls) = run();
    let packs = count(&calls, Verb::Put, FileKind::Pack);
    assert_eq!(backup.stats.stored.packs, packs as u64);
    assert_eq!(gets(&calls), [], "what others wrote since is all that would be fetched");
    assert_eq!(lists(&calls), [FileKind::Index, FileKind::Snapshot, FileKind::Lock, FileKind::Lock]);
    let puts = calls.iter().filter(|call| call.verb == Verb::Put && call.kind != FileKind::Lock).count();
    assert_eq!(puts, packs + packs.div_ceil(64) + 1);
    // Unchanged: nothing but the snapshot.
    let (_, calls) = run();
    assert_eq!(gets(&calls), []);
    let puts: Vec<_> = calls.iter().filter(|call| call.verb == Verb::Put).map(|call| call.kind).collect();
    assert_eq!(puts, [FileKind::Lock, FileKind::Snapshot]);
    // Without its cache it costs each index, snapshot and pack of trees once.
    std::fs::remove_dir_all(cache.path()).unwrap();
    let (_, calls) = run();
    let packs = count(&calls, Verb::Get, FileKind::Pack);
    assert!((1..=3).contains(&packs), "{packs}");
    let (_, calls) = run();
    assert_eq!(gets(&calls), []);
}

#[test]
fn a_restore_fetches_each_pack_once_and_no_more_than_it_needs() {
    let world = World::new();
    let record = Arc::new(Record::new(Arc::new(world.memory.clone())));
    let repository = open(record.clone()).unwrap();
    let bytes = noise(3 << 20, 1);
    let doubled = [&bytes[..], &bytes[..]].concat();
    let capture = StreamCapture::default().with("a", std::io::Cursor::new(doubled));
    let backup = back_up(&world.cx(), &repository, capture).unwrap();
    record.take();
    let restored = contents(&world.cx(), &repository, backup.id).unwrap();
    assert_eq!(restored.files["a"].len(), 6 << 20);
    let calls = record.take();
    let data: Vec<_> =
        calls.iter().filter(|call| call.kind == FileKind::Pack && call.bytes > 5000).map(|call| call.bytes).collect();
    assert!(data.len() <= 3, "{data:?}");
    assert!(data.iter().sum::<u64>() < (3 << 20) + (1 << 19), "{data:?}");
}

#[test]
fn names_of_the_parents_folders_are_met_in_step() {
    // Files that come, go and stay between folders: whatever is still there is recognised.
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str| std::fs::write(folder.path().join(name), name).unwrap();
    for name in ["b", "d", "f"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        write(&format!("{name}/x"));
    }
    ["a", "c", "e", "g"].iter().for_each(|name| write(name));
    let world = World::new();
    let repository = world.open();
    back_up(&world.cx(), &repository, FolderCapture::of(folder.path())).unwrap();
    std::fs::remove_dir_all(folder.path().join("d")).unwrap();
    std::fs::remove_file(folder.path().join("c")).unwrap();
    std::fs::create_dir(folder.path().join("aa")).unwrap();
    write("aa/x");
    write("dd");
    let second = back_up(&world.cx(), &repository, FolderCapture::of(folder.path())).unwrap();
    assert_eq!((second.stats.files_new, second.stats.files_changed, second.stats.files_unmodified), (2, 0, 5));
}
