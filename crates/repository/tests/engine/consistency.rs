//! Files that change under the reader: stored as one state they had, or reported.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use repository::{Event, Events, RunCx};

use crate::support::*;

/// Changes a file when the engine says that a chunk of it was read: after the bytes were taken from the file, and before
/// the engine looks whether it changed.
struct WhileRead<F> {
    chunks: AtomicUsize,
    change: F,
}

impl<F: Fn(usize) + Send + Sync> Events for WhileRead<F> {
    fn emit(&self, event: Event) {
        if matches!(event, Event::Bytes(_)) {
            (self.change)(self.chunks.fetch_add(1, Ordering::SeqCst) + 1);
        }
    }
}

fn back_up_while(world: &World, folder: &Path, change: impl Fn(usize) + Send + Sync) -> Backup {
    let events = WhileRead { chunks: AtomicUsize::new(0), change };
    let cx = RunCx { events: &events, ..world.cx() };
    back_up(&cx, &world.open(), FolderCapture::of(folder)).unwrap()
}

fn file_of(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    std::fs::write(&path, bytes).unwrap();
    let_file_times_move_on();
    (folder, path)
}

fn append(path: &Path, bytes: &[u8]) {
    use std::io::Write as _;
    File::options().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    File::options().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}

#[test]
fn a_file_that_only_grows_is_stored_as_it_was_at_the_start() {
    // Larger than the reader's buffer, so that there is more to read when the first chunk is reported.
    let before = noise(3 << 20, 1);
    let (folder, path) = file_of(&before);
    let world = World::new();
    // It never stops growing.
    let backup = back_up_while(&world, folder.path(), |_| append(&path, b"more"));
    assert_eq!(backup.problems, []);
    assert!(world.contents(backup.id).unwrap().files["a"] == before);
    // What came after it is taken by the next backup.
    let next = back_up(&world.cx(), &world.open(), FolderCapture::of(folder.path())).unwrap();
    assert!(world.contents(next.id).unwrap().files["a"] == std::fs::read(&path).unwrap());
}

#[test]
fn a_file_that_is_changed_once_in_place_is_stored_as_it_is_afterwards() {
    let (folder, path) = file_of(&noise(3 << 20, 1));
    let world = World::new();
    let backup = back_up_while(&world, folder.path(), |chunk| {
        if chunk == 1 {
            // Behind and before what has been read.
            overwrite(&path, 10, b"new");
            overwrite(&path, (3 << 20) - 10, b"new");
        }
    });
    assert_eq!(backup.problems, []);
    assert!(world.contents(backup.id).unwrap().files["a"] == std::fs::read(&path).unwrap());
}

#[test]
fn a_file_that_is_changed_in_place_and_grows_is_not_cut_to_its_old_length() {
    let (folder, path) = file_of(&noise(3 << 20, 1));
    let world = World::new();
    let backup = back_up_while(&world, folder.path(), |chunk| {
        if chunk == 1 {
            overwrite(&path, 10, b"new");
            append(&path, &noise(100_000, 2));
        }
    });
    assert_eq!(backup.problems, []);
    assert!(world.contents(backup.id).unwrap().files["a"] == std::fs::read(&path).unwrap());
}

#[test]
fn a_file_that_never_holds_still_is_reported_as_torn() {
    let (folder, path) = file_of(&noise(1 << 20, 1));
    let world = World::new();
    let backup = back_up_while(&world, folder.path(), |chunk| {
        let_file_times_move_on();
        overwrite(&path, 10, &chunk.to_le_bytes());
    });
    let problem = &backup.problems[0];
    assert_eq!((backup.problems.len(), problem.path.as_str()), (1, path.to_str().unwrap()));
    assert!(problem.what.starts_with("changed each time it was read"), "{problem}");
    assert_eq!(problem.source, "data");
    // It is stored all the same, and what is stored can be read.
    let restored = world.contents(backup.id).unwrap();
    assert_eq!((restored.files["a"].len(), restored.problems), (1 << 20, vec![]));
    // The next backup does not take it for unchanged.
    let next = back_up(&world.cx(), &world.open(), FolderCapture::of(folder.path())).unwrap();
    assert_eq!((next.stats.files_changed, next.problems), (1, vec![]));
    assert!(world.contents(next.id).unwrap().files["a"] == std::fs::read(&path).unwrap());
}

#[test]
fn a_file_that_is_cut_while_it_is_read_is_stored_as_it_is_afterwards() {
    let (folder, path) = file_of(&noise(3 << 20, 1));
    let world = World::new();
    let backup = back_up_while(&world, folder.path(), |chunk| {
        if chunk == 1 {
            File::options().write(true).open(&path).unwrap().set_len(1000).unwrap();
        }
    });
    assert_eq!(backup.problems, []);
    assert!(world.contents(backup.id).unwrap().files["a"] == std::fs::read(&path).unwrap());
}

#[test]
fn a_file_that_vanishes_is_noted_and_the_others_are_stored() {
    let (folder, path) = file_of(b"a");
    std::fs::write(folder.path().join("b"), b"b").unwrap();
    let world = World::new();
    let gone = path.clone();
    let capture = FolderCapture::of(folder.path()).between(move |name| {
        if name == Path::new("a") {
            std::fs::remove_file(&gone).unwrap();
        }
    });
    let backup = back_up(&world.cx(), &world.open(), capture).unwrap();
    assert_eq!(backup.problems, []);
    assert_eq!(world.notes(), [format!("{} vanished before it was read", path.display())]);
    assert_eq!(world.contents(backup.id).unwrap().files.into_keys().collect::<Vec<_>>(), ["b"]);
}

#[test]
fn a_file_that_is_replaced_by_something_else_is_a_problem_and_no_link_is_followed() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), b"secret").unwrap();
    type Replace = fn(&Path, &Path);
    let replacements: [(&str, Replace); 3] = [
        ("link", |path, secret| std::os::unix::fs::symlink(secret, path).unwrap()),
        ("folder", |path, _| std::fs::create_dir(path).unwrap()),
        ("fifo", |path, _| {
            use rustix::fs::{CWD, FileType, Mode, mknodat};
            mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        }),
    ];
    for (what, replace) in replacements {
        let (folder, path) = file_of(b"innocent");
        let world = World::new();
        let (target, secret) = (path.clone(), secret.path().to_owned());
        let capture = FolderCapture::of(folder.path()).between(move |_| {
            std::fs::remove_file(&target).unwrap();
            replace(&target, &secret);
        });
        let backup = back_up(&world.cx(), &world.open(), capture).unwrap();
        assert_eq!(backup.problems.len(), 1, "{what}");
        assert_eq!(backup.problems[0].path, path.to_str().unwrap());
        assert_eq!(world.contents(backup.id).unwrap().files.len(), 0, "{what}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem_and_the_others_are_stored() {
    let (folder, _) = file_of(b"a");
    std::fs::write(folder.path().join("b"), b"b").unwrap();
    std::fs::set_permissions(folder.path().join("a"), std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    if std::fs::read(folder.path().join("a")).is_ok() {
        println!("left out: this process may read everything");
        return;
    }
    let world = World::new();
    let backup = back_up(&world.cx(), &world.open(), FolderCapture::of(folder.path())).unwrap();
    assert_eq!(backup.problems.len(), 1);
    assert_eq!(world.contents(backup.id).unwrap().files.into_keys().collect::<Vec<_>>(), ["b"]);
}

#[test]
fn a_stream_that_fails_ends_the_backup_without_a_snapshot() {
    struct Broken(usize);
    impl std::io::Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0 += 1;
            if self.0 > 3 { Err(std::io::Error::other("the dump broke")) } else { Ok(buffer.len()) }
        }
    }
    let world = World::new();
    let error = back_up(&world.cx(), &world.open(), StreamCapture::default().with("dump", Broken(0))).unwrap_err();
    assert_eq!(error.to_string(), "dump: the dump broke");
    assert_eq!(world.files(repository::FileKind::Snapshot), []);
    assert_eq!(world.files(repository::FileKind::Lock), []);
}
