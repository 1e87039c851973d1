//! What goes in comes out: any bytes in any read sizes, and every kind of node with all its metadata.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use proptest::prelude::*;
use repository::verify;
use repository::{Index, restore};

use crate::support::*;

#[derive(Clone, Debug)]
enum Kind {
    Zeros,
    Noise(u64),
    /// Long stretches of both.
    Mixed(u64),
}

fn bytes(kind: &Kind, length: usize) -> Vec<u8> {
    match kind {
        Kind::Zeros => vec![0; length],
        Kind::Noise(seed) => noise(length, *seed),
        Kind::Mixed(seed) => {
            let mut bytes = noise(length, *seed);
            for stretch in bytes.chunks_mut(CHUNK_MAX + 77).skip(1).step_by(2) {
                stretch.fill(0);
            }
            bytes
        }
    }
}

fn length() -> impl Strategy<Value = usize> {
    let edges = prop::sample::select(vec![0, CHUNK_MIN, CHUNK_AVERAGE, CHUNK_MAX, 2 * CHUNK_MAX, 4096]);
    prop_oneof![
        3 => (edges, -2i64..=2).prop_map(|(edge, delta)| (edge as i64 + delta).max(0) as usize),
        1 => 0usize..3 * CHUNK_MAX,
    ]
}

fn stream() -> impl Strategy<Value = (Vec<u8>, Vec<usize>)> {
    let kind = prop_oneof![Just(Kind::Zeros), any::<u64>().prop_map(Kind::Noise), any::<u64>().prop_map(Kind::Mixed)];
    let sizes =
        prop::collection::vec(prop_oneof![Just(1usize << 20), 1000usize..100_000, Just(CHUNK_MIN), Just(4095)], 1..4);
    (kind, length(), sizes).prop_map(|(kind, length, sizes)| (bytes(&kind, length), sizes))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_streams_read_in_any_sizes_come_back(streams in prop::collection::vec(stream(), 1..4)) {
        let world = World::new();
        let repository = world.open();
        let capture = streams.iter().enumerate().fold(StreamCapture::default(), |capture, (at, (bytes, sizes))| {
            capture.with(&at.to_string(), Drip::new(bytes.clone(), sizes.clone()))
        });
        let backup = back_up(&world.cx(), &repository, capture).unwrap();
        prop_assert_eq!(backup.stats.bytes_source, streams.iter().map(|(bytes, _)| bytes.len() as u64).sum::<u64>());
        let restored = world.contents(backup.id).unwrap();
        prop_assert_eq!(&restored.problems, &[]);
        prop_assert_eq!(restored.files.len(), streams.len());
        for (at, (bytes, _)) in streams.iter().enumerate() {
            prop_assert!(restored.files[&at.to_string()] == *bytes, "stream {at} of {} bytes", bytes.len());
        }
    }
}

#[test]
fn a_stream_of_single_bytes_makes_the_same_chunks_as_one_of_large_reads() {
    let world = World::new();
    let repository = world.open();
    let bytes = noise(CHUNK_MAX + 5000, 1);
    let once = back_up(&world.cx(), &repository, StreamCapture::default().with("a", Drip::new(bytes.clone(), vec![1])));
    let again = back_up(&world.cx(), &repository, StreamCapture::default().with("a", std::io::Cursor::new(bytes)));
    let (once, again) = (once.unwrap(), again.unwrap());
    assert_eq!(once.snapshot.tree, again.snapshot.tree);
    assert_eq!(again.stats.stored, repository::backup::BackupStats::default().stored);
}

/// Every kind of node this process can make; gives the names of those it cannot.
fn make_every_kind(folder: &Path) -> Vec<&'static str> {
    use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat, setxattr};
    let at = |name: &str| folder.join(name);
    std::fs::create_dir_all(at("dir/below/deep")).unwrap();
    std::fs::write(at("dir/file"), noise(3 * CHUNK_AVERAGE, 5)).unwrap();
    std::fs::set_permissions(at("dir/file"), std::fs::Permissions::from_mode(0o4751)).unwrap();
    std::fs::write(at("dir/below/empty"), b"").unwrap();
    std::fs::hard_link(at("dir/file"), at("dir/below/another name")).unwrap();
    std::fs::hard_link(at("dir/file"), at("zz the same file")).unwrap();
    std::os::unix::fs::symlink("no/such/\u{e9} place", at("link")).unwrap();
    std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(b"raw\xff"), at("link to raw")).unwrap();
    std::fs::write(folder.join(std::ffi::OsStr::from_bytes(b"raw\xff\n\"name")), b"raw").unwrap();
    std::fs::write(at(&"n".repeat(255)), b"long").unwrap();
    let mut sparse = vec![0; 8 * CHUNK_MAX];
    sparse[5 * CHUNK_MAX] = 1;
    std::fs::write(at("sparse"), &sparse).unwrap();
    std::fs::write(at("read-only with attribute"), b"x").unwrap();
    let mut left_out = Vec::new();
    if setxattr(at("read-only with attribute"), "user.note", b"\0\xff", XattrFlags::empty()).is_err() {
        left_out.push("extended attributes");
    }
    std::fs::set_permissions(at("read-only with attribute"), std::fs::Permissions::from_mode(0o400)).unwrap();
    std::fs::set_permissions(at("dir/below"), std::fs::Permissions::from_mode(0o1711)).unwrap();
    mknodat(CWD, at("fifo"), FileType::Fifo, Mode::from_raw_mode(0o620), 0).unwrap();
    let devices = [("char", FileType::CharacterDevice), ("block", FileType::BlockDevice)];
    for (name, kind) in devices {
        if mknodat(CWD, at(name), kind, Mode::from_raw_mode(0o604), makedev(7, 300)).is_err() {
            left_out.push(name);
        }
    }
    left_out.push("sockets, which a restore leaves to their programs");
    drop(std::os::unix::net::UnixListener::bind(at("socket")).unwrap());
    for name in ["dir/below/deep", "dir/below", "dir/file", "link", "fifo"] {
        let time = rustix::fs::Timespec { tv_sec: 1_234_567_890, tv_nsec: 123_456_789 };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, at(name), &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
    left_out
}

#[test]
fn every_kind_of_node_comes_back_with_all_its_metadata() {
    let source = tempfile::tempdir().unwrap();
    println!("left out: {:?}", make_every_kind(source.path()));
    let world = World::new();
    let repository = world.open();
    let backup = back_up(&world.cx(), &repository, FolderCapture::of(source.path())).unwrap();
    assert_eq!(backup.problems, []);

    let target = tempfile::tempdir().unwrap();
    let (cx, index) = (world.cx(), Index::load(&world.cx(), &repository).unwrap());
    let data = repository::walk::find(&repository, &index, &backup.snapshot.tree, Path::new("data")).unwrap().unwrap();
    let options = restore::Options::for_this_process();
    let tree = data.subtree.unwrap();
    let restored = restore::tree(&cx, &repository, &index, &tree, target.path(), options).unwrap();
    assert_eq!(restored.problems, []);
    let compared = verify::Options { privileged: options.privileged };
    let comparison = verify::restored(&cx, &repository, &index, &tree, target.path(), compared).unwrap();
    assert_eq!(comparison.differences, []);

    // The comparison is the engine's own, so hold its verdict against the system's as well.
    use std::os::unix::fs::MetadataExt as _;
    let stat = |folder: &Path, name: &str| {
        let meta = std::fs::symlink_metadata(folder.join(name)).unwrap();
        (meta.mode(), meta.len(), meta.mtime(), meta.mtime_nsec(), meta.uid(), meta.gid(), meta.nlink())
    };
    for name in ["dir/file", "dir/below/another name", "zz the same file", "sparse", "link", "fifo", "dir/below/empty"]
    {
        assert_eq!(stat(target.path(), name), stat(source.path(), name), "{name}");
    }
    assert_eq!(stat(target.path(), "dir/below").2, 1_234_567_890);
    let (mut before, mut after) = Default::default();
    read_folder(source.path(), "", &mut before);
    read_folder(target.path(), "", &mut after);
    assert!(before == after);
    let blocks = std::fs::metadata(target.path().join("sparse")).unwrap().blocks();
    assert!(blocks * 512 < 2 * CHUNK_MAX as u64, "the file's holes take {blocks} blocks");

    // The comparison finds what is not as it was.
    std::fs::set_permissions(target.path().join("dir/file"), std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(target.path().join("surplus"), b"").unwrap();
    std::fs::remove_file(target.path().join("link")).unwrap();
    let comparison = verify::restored(&cx, &repository, &index, &tree, target.path(), compared).unwrap();
    let found: Vec<_> = comparison.differences.iter().map(|difference| difference.path.as_str()).collect();
    for name in ["dir/file", "link", "surplus", "zz the same file"] {
        assert!(found.contains(&name), "{name}: {found:?}");
    }
}
