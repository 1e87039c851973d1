//! Files that only grow: the tail is read and nothing else, as long as nothing speaks against it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use repository::format::pack::BlobKind;
use repository::{Capture, Data, Entry, Facts, FileKind, Id, Index, Item, SourceError, walk};

use crate::support::*;

const SIZE: usize = 6 << 20;

struct Scene {
    world: World,
    folder: tempfile::TempDir,
    path: PathBuf,
    first: Backup,
}

/// A file of `size` bytes that was backed up as one that only grows.
fn scene(size: usize) -> Scene {
    scene_of(&noise(size, 1))
}

fn scene_of(bytes: &[u8]) -> Scene {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.couch");
    std::fs::write(&path, bytes).unwrap();
    let_file_times_move_on();
    let first = back_up(&world.cx(), &world.open(), FolderCapture::of(folder.path()).append_only()).unwrap();
    assert_eq!(first.stats.bytes_read, bytes.len() as u64);
    let_file_times_move_on();
    Scene { world, folder, path, first }
}

impl Scene {
    fn chunks(&self, snapshot: &Backup) -> Vec<(Id, u64)> {
        let repository = self.world.open();
        let index = Index::load(&self.world.cx(), &repository).unwrap();
        let path = std::path::Path::new("data/db.couch");
        let node = walk::find(&repository, &index, &snapshot.snapshot.tree, path).unwrap().unwrap();
        let length = |id: &Id| u64::from(index.plain_bytes(BlobKind::Data, id).unwrap());
        node.content.iter().map(|id| (*id, length(id))).collect()
    }

    fn append(&self, bytes: usize) {
        use std::io::Write as _;
        File::options().append(true).open(&self.path).unwrap().write_all(&noise(bytes, 9)).unwrap();
    }

    fn again(&self) -> Backup {
        let capture = FolderCapture::of(self.folder.path()).append_only();
        let backup = back_up(&self.world.cx(), &self.world.open(), capture).unwrap();
        assert_eq!(backup.problems, []);
        let restored = self.world.contents(backup.id).unwrap();
        assert!(restored.files["db.couch"] == std::fs::read(&self.path).unwrap());
        backup
    }

    /// Whatever was done to the file, the next backup must read all of it.
    fn assert_read_in_full(&self) {
        let length = std::fs::metadata(&self.path).unwrap().len();
        let backup = self.again();
        assert!(backup.stats.bytes_read >= length, "{} of {length}", backup.stats.bytes_read);
    }
}

#[test]
fn only_the_last_chunk_samples_and_the_tail_are_read() {
    let scene = scene(SIZE);
    let chunks = scene.chunks(&scene.first);
    scene.append(300_000);
    let second = scene.again();
    let last = chunks.last().unwrap().1;
    // The last chunk is read to compare it and once more to cut it anew; four samples are compared.
    let least = 2 * last + 300_000;
    let most = least + 4 * CHUNK_MAX as u64;
    assert!((least..=most).contains(&second.stats.bytes_read), "{} of {least}..{most}", second.stats.bytes_read);
    assert!(second.stats.stored.bytes_added < 300_000 + 2 * CHUNK_MAX as u64);

    // A full read cuts the file in the same places.
    let fresh = World::on(scene.world.memory.fork());
    let full = back_up_with(
        &fresh.cx(),
        &fresh.open(),
        &Index::load(&fresh.cx(), &fresh.open()).unwrap(),
        FolderCapture::of(scene.folder.path()),
    );
    let full = full.unwrap();
    assert_eq!(full.stats.files_unmodified, 1, "the node keeps the file's own times");
    std::fs::write(scene.folder.path().join("copy"), std::fs::read(&scene.path).unwrap()).unwrap();
    let copied = back_up(&scene.world.cx(), &scene.world.open(), FolderCapture::of(scene.folder.path())).unwrap();
    assert_eq!(copied.stats.stored.data_blobs, 0);
    assert_eq!(copied.stats.bytes_read, SIZE as u64 + 300_000);
    assert_eq!(scene.chunks(&copied), scene.chunks(&second));
}

/// A program that writes in place changes the time and not the length, and so does who only touches it.
#[test]
fn a_file_that_changed_and_did_not_grow_is_read_in_full() {
    let scene = scene(SIZE);
    File::options().write(true).open(&scene.path).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    scene.assert_read_in_full();
    let file = File::options().write(true).open(&scene.path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"in place", 10 * SIZE as u64 / 21).unwrap();
    let_file_times_move_on();
    scene.assert_read_in_full();
}

#[test]
fn growth_after_a_backup_that_took_the_file_over_unread_is_read_by_its_tail() {
    let scene = scene(SIZE);
    assert_eq!(scene.again().stats.bytes_read, 0);
    scene.append(1000);
    assert!(scene.again().stats.bytes_read < 7 * CHUNK_MAX as u64);
}

#[test]
fn a_file_that_shrank_is_read_in_full() {
    let scene = scene(SIZE);
    File::options().write(true).open(&scene.path).unwrap().set_len(SIZE as u64 - 1).unwrap();
    scene.assert_read_in_full();
}

#[test]
fn a_file_that_was_replaced_is_read_in_full() {
    let scene = scene(SIZE);
    let bytes = std::fs::read(&scene.path).unwrap();
    let other = scene.folder.path().join("other");
    std::fs::write(&other, [&bytes[..], b"more"].concat()).unwrap();
    std::fs::rename(&other, &scene.path).unwrap();
    scene.assert_read_in_full();
}

#[test]
fn a_file_whose_last_chunk_changed_is_read_in_full() {
    let scene = scene(SIZE);
    File::options().write(true).open(&scene.path).unwrap().write_all_at(b"x", SIZE as u64 - 5).unwrap();
    scene.append(1000);
    scene.assert_read_in_full();
}

#[test]
fn a_small_file_with_a_change_in_any_chunk_is_read_in_full() {
    // At most four chunks before the last: all are sampled. Where bytes are cut depends on the repository's secret,
    // which all worlds of one process share: other bytes are tried until they are cut as wanted.
    let few_chunks = || {
        let mut scenes = (0..200).map(|seed| scene_of(&noise(4 * CHUNK_AVERAGE, seed)));
        scenes.find(|scene| (3..=5).contains(&scene.chunks(&scene.first).len())).unwrap()
    };
    for at in [0, CHUNK_AVERAGE as u64, 2 * CHUNK_AVERAGE as u64] {
        let scene = few_chunks();
        File::options().write(true).open(&scene.path).unwrap().write_all_at(b"changed", at).unwrap();
        scene.append(1000);
        scene.assert_read_in_full();
    }
}

#[test]
fn a_large_file_whose_early_bytes_changed_is_found_out_in_time() {
    // Each growth samples other chunks, so a rewritten head is noticed after some backups at the latest.
    let scene = scene(SIZE);
    File::options().write(true).open(&scene.path).unwrap().write_all_at(&noise(SIZE / 2, 77), 0).unwrap();
    let noticed = (0..20).any(|_| {
        scene.append(1000);
        let capture = FolderCapture::of(scene.folder.path()).append_only();
        let backup = back_up(&scene.world.cx(), &scene.world.open(), capture).unwrap();
        let_file_times_move_on();
        backup.stats.bytes_read >= SIZE as u64
    });
    assert!(noticed);
    scene.again();
}

#[test]
fn a_file_whose_stored_chunks_left_the_index_is_read_in_full() {
    let scene = scene(SIZE);
    let repository = scene.world.open();
    let index = Index::load(&scene.world.cx(), &repository).unwrap();
    let pack = index.find(BlobKind::Data, &scene.chunks(&scene.first)[0].0).unwrap().pack;
    assert!(scene.world.memory.remove(repository::File::new(FileKind::Pack, pack)));
    repository::heal::index(&scene.world.cx(), &repository, false).unwrap();
    scene.append(1000);
    scene.assert_read_in_full();
}

#[test]
fn a_file_cut_while_its_tail_is_read_is_stored_as_it_is_afterwards() {
    struct CutOnce(PathBuf, std::sync::atomic::AtomicBool);
    impl repository::Events for CutOnce {
        fn emit(&self, event: repository::Event) {
            let first = || !self.1.swap(true, Ordering::SeqCst);
            if matches!(event, repository::Event::Bytes(_)) && first() {
                File::options().write(true).open(&self.0).unwrap().set_len(10).unwrap();
            }
        }
    }
    let scene = scene(SIZE);
    scene.append(3 << 20);
    let events = CutOnce(scene.path.clone(), Default::default());
    let cx = repository::RunCx { events: &events, ..scene.world.cx() };
    let capture = FolderCapture::of(scene.folder.path()).append_only();
    let backup = back_up(&cx, &scene.world.open(), capture).unwrap();
    let restored = scene.world.contents(backup.id).unwrap();
    assert!(restored.files["db.couch"] == std::fs::read(&scene.path).unwrap(), "{:?}", backup.problems);
}

/// The first bytes of a file, as a view opened it.
struct PrefixCapture {
    opened: Option<(File, u64)>,
    path: PathBuf,
    /// How often it was told that a file was left out.
    left_out: Arc<AtomicUsize>,
    /// How often it was told that a file was read from its beginning.
    read_whole: Arc<AtomicUsize>,
}

impl PrefixCapture {
    fn of(path: &std::path::Path, bytes: u64) -> Self {
        Self {
            opened: Some((File::open(path).unwrap(), bytes)),
            path: path.to_owned(),
            left_out: Arc::default(),
            read_whole: Arc::default(),
        }
    }
}

impl Capture for PrefixCapture {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        let Some((file, bytes)) = self.opened.take() else { return Ok(None) };
        let stat = rustix::fs::fstat(&file).unwrap();
        let mut node = repository::fs::NodeReader::default().from_stat(b"db.couch", &stat);
        node.device_id = stat.st_dev;
        let data = Data::Prefix { open: Box::new(|| Ok(file)), bytes, append_only: true };
        let path = PathBuf::from(self.path.file_name().unwrap());
        Ok(Some(Item::Entry(Box::new(Entry { path, node, data }))))
    }

    fn left_out(&mut self) {
        self.left_out.fetch_add(1, Ordering::Relaxed);
    }

    fn read_whole(&mut self) {
        self.read_whole.fetch_add(1, Ordering::Relaxed);
    }

    fn finish(self: Box<Self>) -> Result<Facts, SourceError> {
        Ok(Facts::new())
    }
}

#[test]
fn of_a_file_that_grows_or_is_replaced_the_part_that_was_opened_is_stored() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.couch");
    let bytes = noise(SIZE, 1);
    std::fs::write(&path, &bytes).unwrap();
    let back_up = |capture: PrefixCapture| {
        let left_out = Arc::clone(&capture.left_out);
        let backup = back_up(&world.cx(), &world.open(), capture).unwrap();
        assert_eq!(left_out.load(Ordering::Relaxed), 0);
        let_file_times_move_on();
        let stored = world.contents(backup.id).unwrap().files["db.couch"].clone();
        (backup, stored)
    };
    let cut = SIZE as u64 - 5000;
    let (first, stored) = back_up(PrefixCapture::of(&path, cut));
    assert!(stored == bytes[..cut as usize] && first.stats.bytes_read == cut);
    let (same, stored) = back_up(PrefixCapture::of(&path, cut));
    assert!(stored == bytes[..cut as usize]);
    assert_eq!((same.stats.files_unmodified, same.stats.bytes_read), (1, 0));
    // It grew: the tail is read. While it is read it grows on, and then another file takes its name.
    let more = noise(1 << 20, 2);
    std::fs::write(&path, [&bytes[..], &more].concat()).unwrap();
    let capture = PrefixCapture::of(&path, SIZE as u64 + 100);
    std::fs::write(folder.path().join("new"), "compacted").unwrap();
    std::fs::rename(folder.path().join("new"), &path).unwrap();
    let (grown, stored) = back_up(capture);
    assert!(stored == [&bytes[..], &more[..100]].concat());
    assert!(grown.stats.bytes_read < 3 << 20, "{}", grown.stats.bytes_read);
    // One that was cut meanwhile is named, and not stored short; its source is told.
    let capture = PrefixCapture::of(&path, 100);
    let left_out = Arc::clone(&capture.left_out);
    let backup = crate::support::back_up(&world.cx(), &world.open(), capture).unwrap();
    assert_eq!(backup.problems.len(), 1);
    assert!(backup.problems[0].what.contains("it ends after 9 bytes"), "{:?}", backup.problems);
    assert_eq!(left_out.load(Ordering::Relaxed), 1);
}

#[test]
fn the_source_is_told_where_the_part_from_before_is_another_one() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.couch");
    let mut bytes = noise(SIZE, 1);
    let told = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let capture = PrefixCapture::of(&path, bytes.len() as u64);
        let read_whole = Arc::clone(&capture.read_whole);
        back_up(&world.cx(), &world.open(), capture).unwrap();
        let_file_times_move_on();
        read_whole.load(Ordering::Relaxed)
    };
    assert_eq!(told(&bytes), 1, "there was nothing before");
    bytes.extend(noise(5000, 2));
    assert_eq!(told(&bytes), 0);
    // In the last part, which is always looked at.
    let at = bytes.len() - 10;
    bytes[at] ^= 1;
    assert_eq!(told(&bytes), 1);
}
