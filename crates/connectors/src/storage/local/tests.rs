//! The local folder against the conformance suite and against its own file system.

use std::fs::{self, File as StdFile, FileTimes, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use repository::Id;
use repository::storage::conformance;
use repository::storage::memory::MemoryStorage;
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use tempfile::TempDir;

use super::*;

fn pack(name: &str) -> File {
    File::pack(Id::of(name.as_bytes()))
}

/// An empty repository folder, and the folder around it that goes with the test.
fn fresh() -> (LocalStorage, PathBuf, TempDir) {
    let around = tempfile::tempdir().unwrap();
    let root = around.path().join("repository");
    (LocalStorage::new(root.clone()), root, around)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Every file below `folder`, relative to it.
fn files_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
        match path.is_dir() {
            true => found.extend(files_below(&path).into_iter().map(|below| format!("{name}/{below}"))),
            false => found.push(name),
        }
    }
    found.sort();
    found
}

/// Runs `deed` bound by file permissions, which root is not: in a thread without root's capabilities.
fn as_plain_user(deed: impl FnOnce() + Send) {
    let none = CapabilitySet::empty();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none }).unwrap();
            deed();
        });
    });
}

#[test]
fn archives_in_a_folder_conform_and_what_the_dead_left_is_swept_up() {
    let around = tempfile::tempdir().unwrap();
    let storage = LocalStorage::new(around.path().join("archives"));
    conformance::archives(&storage);
    let folder = around.path().join("archives/cht");
    let old = FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    StdFile::create(folder.join("x.part-1-1")).unwrap().set_times(old).unwrap();
    fs::write(folder.join("y.part-1-2"), "just now").unwrap();
    repository::storage::archives::ArchivePlace::create(&storage, "cht/new").unwrap().finish().unwrap();
    let mut left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["2026", "new", "y.part-1-2"]);
}

fn conforms(publish: &'static [Publish]) {
    let around = tempfile::tempdir().unwrap();
    let next = AtomicU64::new(0);
    conformance::run(&|| {
        let root = around.path().join(next.fetch_add(1, Ordering::Relaxed).to_string());
        Arc::new(LocalStorage { publish, ..LocalStorage::new(root) })
    });
}

#[test]
fn local_storage_conforms() {
    conforms(&PUBLISH);
}

#[test]
fn local_storage_conforms_without_exclusive_renames() {
    conforms(&PUBLISH[1..]);
}

#[test]
fn without_links_and_exclusive_renames_a_file_is_still_not_overwritten() {
    let (storage, root, _around) = fresh();
    let storage = LocalStorage { publish: &PUBLISH[2..], ..storage };
    storage.put(pack("a"), b"first").unwrap();
    assert!(matches!(storage.put(pack("a"), b"second"), Err(StorageError::AlreadyExists { .. })));
    assert_eq!(storage.get(pack("a"), None).unwrap(), b"first");
    assert_eq!(files_below(&root), [pack("a").path()]);
}

#[test]
fn foreign_files_are_passed_over() {
    let (storage, root, _around) = fresh();
    conformance::passes_over_foreign_names(&storage, &|path| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "foreign").unwrap();
    });
}

#[test]
fn files_lie_where_restic_looks_and_only_their_owner_reads_them() {
    let (storage, root, _around) = fresh();
    for kind in FileKind::ALL {
        let file = if kind == FileKind::Config { File::CONFIG } else { File::new(kind, Id::of(b"a")) };
        storage.put(file, b"content").unwrap();
        assert_eq!(fs::read(root.join(file.path())).unwrap(), b"content");
        assert_eq!(mode(&root.join(file.path())), 0o400, "{file}");
    }
    for folder in ["", "data", "data/ca", "index", "lifeboat", "lifeboat/receipts"] {
        assert_eq!(mode(&root.join(folder)), 0o700, "{folder}");
    }
    assert_eq!(files_below(&root).len(), FileKind::ALL.len(), "no temporary file stays");
}

#[test]
fn a_repository_shared_with_a_group_stays_shared() {
    let (storage, root, _around) = fresh();
    storage.put(File::CONFIG, b"config").unwrap();
    fs::set_permissions(root.join("config"), Permissions::from_mode(0o440)).unwrap();
    LocalStorage::new(root.clone()).put(pack("a"), b"content").unwrap();
    assert_eq!(mode(&root.join(pack("a").path())), 0o440);
    let folder_mode = mode(&root.join("data"));
    assert_eq!(folder_mode & !0o050, 0o700, "{folder_mode:o}");
}

#[test]
fn temporary_files_of_the_dead_are_swept_up_and_those_of_the_living_are_not() {
    let (storage, root, _around) = fresh();
    storage.put(pack("a"), b"content").unwrap();
    let below = root.join(pack("a").path()).parent().unwrap().to_owned();
    let hex = pack("b").id.to_hex();
    let (old, young, foreign) = (format!("{hex}-tmp-12-3"), format!("{hex}-tmp-987654321"), "notes-tmp-1".to_owned());
    for (name, age) in [(&old, LEFTOVER_SECONDS + 60), (&young, LEFTOVER_SECONDS - 60), (&foreign, 1 << 30)] {
        let file = StdFile::create(below.join(name)).unwrap();
        let written = file.metadata().unwrap().modified().unwrap() - Duration::from_secs(age as u64);
        file.set_times(FileTimes::new().set_modified(written)).unwrap();
    }

    storage.put(pack("c"), b"a put without a listing before it").unwrap();
    assert!(below.join(&old).exists());
    assert_eq!(storage.list(FileKind::Pack).unwrap().len(), 2);
    assert!(below.join(&old).exists(), "listing changes nothing");
    storage.put(pack("d"), b"content").unwrap();
    assert!(!below.join(&old).exists());
    assert!(below.join(&young).exists() && below.join(&foreign).exists());
}

#[test]
fn a_folder_put_in_the_place_of_the_repository_is_not_written_to() {
    let (storage, root, around) = fresh();
    storage.put(pack("a"), b"content").unwrap();
    fs::rename(&root, around.path().join("moved")).unwrap();
    fs::create_dir(&root).unwrap();
    storage.put(pack("b"), b"content").unwrap();
    assert_eq!(files_below(&root), Vec::<String>::new());
    assert_eq!(files_below(&around.path().join("moved")).len(), 2);
}

#[test]
fn a_repository_that_was_removed_is_not_made_again() {
    let (storage, root, _around) = fresh();
    storage.put(pack("a"), b"content").unwrap();
    fs::remove_dir_all(&root).unwrap();
    assert!(matches!(storage.put(pack("b"), b"content"), Err(StorageError::Permanent { .. })));
    assert!(matches!(storage.get(pack("a"), None), Err(StorageError::NotFound { .. })));
    assert!(!root.exists());
}

#[test]
fn a_plain_user_is_told_what_was_denied() {
    let (storage, root, _around) = fresh();
    storage.put(pack("a"), b"content").unwrap();
    let (file, below) = (root.join(pack("a").path()), root.join("data").join(&pack("a").id.to_hex()[..2]));
    let denied = |result: Result<(), StorageError>, verb: &str| match result {
        Err(StorageError::Denied { what, .. }) => assert_eq!(what, format!("{verb}: {}", Errno::ACCESS)),
        other => panic!("{verb}: {other:?}"),
    };
    as_plain_user(|| {
        fs::set_permissions(&below, Permissions::from_mode(0o500)).unwrap();
        denied(storage.put(pack("a"), b"content"), &format!("write {}", pack("a")));
        denied(storage.delete(pack("a")), &format!("delete {}", pack("a")));
        fs::set_permissions(&file, Permissions::from_mode(0o000)).unwrap();
        denied(storage.get(pack("a"), None).map(drop), &format!("read {}", pack("a")));
        fs::set_permissions(&below, Permissions::from_mode(0o000)).unwrap();
        denied(storage.list(FileKind::Pack).map(drop), "list data");
        fs::set_permissions(&below, Permissions::from_mode(0o700)).unwrap();
        fs::set_permissions(&root, Permissions::from_mode(0o500)).unwrap();
        denied(storage.put(File::CONFIG, b"config"), "write config");
        fs::set_permissions(&root, Permissions::from_mode(0o000)).unwrap();
        denied(LocalStorage::new(root.clone()).list(FileKind::Key).map(drop), "list keys");
        denied(LocalStorage::new(root.join("below")).put(File::CONFIG, b""), "write config");
        fs::set_permissions(&root, Permissions::from_mode(0o700)).unwrap();
    });
    assert_eq!(files_below(&root), [pack("a").path()]);
}

#[test]
fn on_a_full_disk_a_put_fails_as_full_and_leaves_nothing_behind() {
    let (storage, root, _around) = fresh();
    fs::create_dir(&root).unwrap();
    let Some(_mounted) = Mounted::tmpfs(&root, "1m") else {
        let name = "on_a_full_disk_a_put_fails_as_full_and_leaves_nothing_behind";
        #[expect(clippy::disallowed_methods, reason = "the test suite's own switch")]
        let all = std::env::var_os("LIFEBOAT_TEST_ALL").is_some();
        assert!(!all, "may not mount a small disk here");
        // Past the test harness, which would keep it to itself.
        writeln!(std::io::stderr(), "left out: {name}: may not mount a small disk here").unwrap();
        return;
    };
    storage.put(pack("a"), &[1; 600 << 10]).unwrap();
    for _ in 0..3 {
        assert!(matches!(storage.put(pack("b"), &[2; 600 << 10]), Err(StorageError::Full { .. })));
    }
    assert_eq!(files_below(&root), [pack("a").path()]);
    assert_eq!(storage.get(pack("a"), None).unwrap(), [1; 600 << 10]);
    storage.delete(pack("a")).unwrap();
    storage.put(pack("b"), &[2; 600 << 10]).unwrap();
    drop(storage);
}

/// A small disk, there until this is dropped.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn tmpfs(on: &'a Path, size: &str) -> Option<Self> {
        let options = format!("size={size},mode=700");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(on).output();
        mount.is_ok_and(|output| output.status.success()).then(|| Self(on))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // Lazily: the storage of a failed test still holds the folder open.
        Command::new("umount").arg("--lazy").arg(self.0).status().unwrap();
    }
}

#[test]
fn the_systems_errors_become_the_kinds_callers_branch_on() {
    let storage = LocalStorage::new("/srv/copy".into());
    let kind = |errno| match storage.error("write", "config", errno) {
        StorageError::Full { .. } => "full",
        StorageError::Denied { .. } => "denied",
        StorageError::Transient { .. } => "transient",
        StorageError::Permanent { .. } => "permanent",
        other => panic!("{other:?}"),
    };
    for (expected, errnos) in [
        ("full", [Errno::NOSPC, Errno::DQUOT].as_slice()),
        ("denied", &[Errno::ACCESS, Errno::PERM, Errno::ROFS]),
        ("transient", &[Errno::INTR, Errno::IO, Errno::STALE, Errno::TIMEDOUT]),
        ("permanent", &[Errno::NAMETOOLONG, Errno::ISDIR, Errno::NODEV, Errno::LOOP]),
    ] {
        assert!(errnos.iter().all(|errno| kind(*errno) == expected), "{expected}: {errnos:?}");
    }
    let error = storage.error("write", "config", Errno::ROFS);
    assert_eq!(error.to_string(), "/srv/copy denies access: write config: Read-only file system (os error 30)");
    assert!(std::error::Error::source(&error).is_none());
}

#[derive(Clone, Debug)]
enum Deed {
    Put(File, Vec<u8>),
    Get(File, Option<Range<u64>>),
    List(FileKind),
    Delete(File),
}

fn any_deed() -> impl Strategy<Value = Deed> {
    // Few names and kinds, so that deeds meet.
    let kind = || prop::sample::select(vec![FileKind::Config, FileKind::Pack, FileKind::Lock, FileKind::Receipt]);
    let file = move || {
        (kind(), 0..3_u8).prop_map(|(kind, name)| match kind {
            FileKind::Config => File::CONFIG,
            kind => File::new(kind, Id([name; 32])),
        })
    };
    let range = (0..40_u64, 0..40_u64).prop_map(|(start, end)| start..end);
    prop_oneof![
        (file(), prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(file, bytes)| Deed::Put(file, bytes)),
        (file(), prop::option::of(range)).prop_map(|(file, range)| Deed::Get(file, range)),
        kind().prop_map(Deed::List),
        file().prop_map(Deed::Delete),
    ]
}

/// What a storage answered, without its name.
fn answer(storage: &dyn Storage, deed: &Deed) -> String {
    let error = |error: StorageError| match error {
        StorageError::NotFound { file, .. } => format!("{file} not found"),
        StorageError::AlreadyExists { file, .. } => format!("{file} is there"),
        StorageError::Permanent { what, .. } => what,
        other => panic!("{deed:?}: {other}"),
    };
    match deed.clone() {
        Deed::Put(file, bytes) => storage.put(file, &bytes).map_or_else(error, |()| "done".into()),
        Deed::Get(file, range) => storage.get(file, range).map_or_else(error, |bytes| format!("{bytes:?}")),
        Deed::Delete(file) => storage.delete(file).map_or_else(error, |()| "done".into()),
        Deed::List(kind) => storage.list(kind).map_or_else(error, |mut listed| {
            listed.sort();
            format!("{listed:?}")
        }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_done_a_folder_and_memory_give_the_same_answers(
        deeds in prop::collection::vec(any_deed(), 1..40),
    ) {
        let (local, _root, _around) = fresh();
        let memory = MemoryStorage::new();
        for deed in &deeds {
            prop_assert_eq!(answer(&local, deed), answer(&memory, deed), "{:?}", deed);
        }
    }
}
