//! A process that writes to a local storage is killed, again and again, in the middle of its work.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use connectors::storage::LocalStorage;
use repository::{File, FileKind, Id, Storage};

const PACK_BYTES: usize = 4 << 20;
const KILLS: u64 = 12;
const PATIENCE: Duration = Duration::from_secs(60);
/// The writer starts only in a folder with this file in it, and not when somebody runs all ignored tests.
const MARK: &str = "a-folder-for-the-killed-writer";

#[test]
fn a_killed_writer_leaves_only_whole_files_in_the_listing() {
    let around = tempfile::tempdir().unwrap();
    fs::write(around.path().join(MARK), "").unwrap();
    let storage = LocalStorage::new(around.path().join("repository"));
    for kill in 0..KILLS {
        let before = storage.list(FileKind::Pack).unwrap().len();
        let mut writer = start_writer(around.path());
        let started = Instant::now();
        while storage.list(FileKind::Pack).unwrap().len() < before + 2 {
            assert!(started.elapsed() < PATIENCE && writer.try_wait().unwrap().is_none(), "the writer does not write");
            sleep(Duration::from_millis(1));
        }
        // Another moment each time.
        sleep(Duration::from_micros(kill * 1700));
        writer.kill().unwrap();
        writer.wait().unwrap();
    }

    let packs = storage.list(FileKind::Pack).unwrap();
    assert!(packs.len() >= 2 * KILLS as usize);
    for pack in packs {
        let content = storage.get(File::pack(pack.id), None).unwrap();
        assert_eq!((content.len(), Id::of(&content)), (PACK_BYTES, pack.id));
    }
    // Without this, no kill would have come while a file was written, and the test would show nothing.
    assert!(temporary_files(&around.path().join("repository/data")) > 0, "no writer was killed while it wrote");
}

fn start_writer(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "killed_writer::writes_until_it_is_killed"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "the process that the test above kills"]
fn writes_until_it_is_killed() {
    if !Path::new(MARK).exists() {
        return;
    }
    let storage = LocalStorage::new("repository".into());
    let started = Instant::now();
    for number in 0_u64.. {
        let seed = [u64::from(std::process::id()), number].map(u64::to_le_bytes).concat();
        let content = seed.repeat(PACK_BYTES / seed.len());
        storage.put(File::pack(Id::of(&content)), &content).unwrap();
        assert!(started.elapsed() < PATIENCE, "nobody kills the writer");
    }
}

fn temporary_files(data: &Path) -> usize {
    let folders = fs::read_dir(data).unwrap().map(|folder| folder.unwrap().path());
    let names = folders.flat_map(|folder| fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_str().is_some_and(|name| name.contains("-tmp-"))).count()
}
