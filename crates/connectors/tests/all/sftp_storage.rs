//! A folder of an OpenSSH server that shuts its user in.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use connectors::storage::{ObjectStorage, S3Options, SftpOptions, SftpStorage};
use repository::clock::SystemClock;
use repository::storage::conformance;
use repository::storage::retry::Retry;
use repository::{Cancel, File, FileKind, Id, Storage, StorageError};

use servers::{Line, Proxy, SftpServer, free_port};

fn options(server: &SftpServer, path: &str) -> SftpOptions {
    SftpOptions {
        user: Some(SftpServer::USER.to_owned()),
        host: "127.0.0.1".to_owned(),
        port: Some(server.port),
        path: path.to_owned(),
        private_key_file: Some(server.key_file()),
        known_hosts_file: Some(server.known_hosts_file()),
    }
}

fn storage(server: &SftpServer, path: &str) -> SftpStorage {
    SftpStorage::new(options(server, path), Cancel::new())
}

fn pack(name: &str) -> File {
    File::pack(Id::of(name.as_bytes()))
}

#[test]
fn a_folder_of_openssh_conforms() {
    let Some(server) = servers::sftp() else { return };
    conformance::run(&|| Arc::new(storage(server, &server.place())));
}

#[test]
fn archives_in_a_folder_of_openssh_conform() {
    let Some(server) = servers::sftp() else { return };
    conformance::archives(&storage(server, &server.place()));
}

#[test]
fn foreign_files_are_passed_over() {
    let Some(server) = servers::sftp() else { return };
    let place = server.place();
    conformance::passes_over_foreign_names(&storage(server, &place), &|path| {
        let path = server.jail().join(&place[1..]).join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(0o777)).unwrap();
        fs::write(&path, "foreign").unwrap();
    });
}

/// A known-hosts file for another port of the same server, or for another key.
fn known_hosts(folder: &tempfile::TempDir, port: u16, key: &str) -> Option<std::path::PathBuf> {
    let file = folder.path().join("known_hosts");
    fs::write(&file, format!("[127.0.0.1]:{port} {key}\n")).unwrap();
    Some(file)
}

fn host_key(server: &SftpServer) -> String {
    fs::read_to_string(server.known_hosts_file()).unwrap().split_once(' ').unwrap().1.trim().to_owned()
}

fn permanent(result: Result<Vec<repository::storage::Listed>, StorageError>) -> String {
    match result {
        Err(StorageError::Permanent { what, .. }) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_lie_where_restic_looks_and_only_their_owner_reads_them() {
    let Some(server) = servers::sftp() else { return };
    let place = server.place();
    let storage = storage(server, &place);
    storage.put(pack("a"), b"content").unwrap();
    let path = server.jail().join(&place[1..]).join(pack("a").path());
    assert_eq!(fs::read(&path).unwrap(), b"content");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o400);
    let folder = path.parent().unwrap();
    assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o7777, 0o700);
    assert_eq!(fs::read_dir(folder).unwrap().count(), 1, "no temporary file stays");
    assert!(matches!(storage.put(pack("a"), b"other"), Err(StorageError::AlreadyExists { .. })));
    assert_eq!(fs::read_dir(folder).unwrap().count(), 1, "no temporary file stays");
}

#[test]
fn a_host_whose_key_is_not_known_is_not_trusted() {
    let Some(server) = servers::sftp() else { return };
    let folder = tempfile::tempdir().unwrap();
    let nobody = known_hosts(&folder, 1, &host_key(server));
    let options = SftpOptions { known_hosts_file: nobody, ..options(server, "/upload") };
    let what = permanent(SftpStorage::new(options, Cancel::new()).list(FileKind::Key));
    assert!(what.contains("host key of 127.0.0.1 is not known") && what.contains("ssh-keyscan -p"), "{what}");
}

#[test]
fn a_host_whose_key_has_changed_is_not_trusted() {
    let Some(server) = servers::sftp() else { return };
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&other).status().unwrap();
    assert!(made.success());
    let key = fs::read_to_string(other.with_extension("pub")).unwrap();
    let options =
        SftpOptions { known_hosts_file: known_hosts(&folder, server.port, &key), ..options(server, "/upload") };
    let what = permanent(SftpStorage::new(options, Cancel::new()).list(FileKind::Key));
    assert!(what.contains("has changed") && what.contains("ssh-keygen -f"), "{what}");
}

#[test]
fn a_key_that_does_not_open_the_server_is_denied() {
    let Some(server) = servers::sftp() else { return };
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&other).status().unwrap();
    assert!(made.success());
    for (key, expected) in [(other, "Permission denied (publickey)"), (folder.path().join("none"), "No such file")] {
        let options = SftpOptions { private_key_file: Some(key), ..options(server, "/upload") };
        match SftpStorage::new(options, Cancel::new()).put(pack("a"), b"content") {
            Err(StorageError::Denied { what, .. }) => assert!(what.contains(expected), "{what}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_folder_that_may_not_be_written_is_denied() {
    let Some(server) = servers::sftp() else { return };
    let error = storage(server, "/not-mine").put(pack("a"), b"content").unwrap_err();
    assert!(matches!(&error, StorageError::Denied { what, .. } if what.contains("Permission denied")), "{error:?}");
}

#[test]
fn where_nothing_listens_it_says_so() {
    let Some(server) = servers::sftp() else { return };
    let options = SftpOptions { port: Some(free_port()), ..options(server, "/upload") };
    let error = SftpStorage::new(options, Cancel::new()).list(FileKind::Key).unwrap_err();
    assert!(matches!(&error, StorageError::Transient { what, .. } if what.contains("Connection refused")), "{error:?}");
}

#[test]
fn a_connection_that_breaks_is_made_again_and_nothing_is_lost() {
    let Some(server) = servers::sftp() else { return };
    let line = Proxy::to(server.port);
    let folder = tempfile::tempdir().unwrap();
    let known_hosts_file = known_hosts(&folder, line.port, &host_key(server));
    let place = server.place();
    let options = SftpOptions { port: Some(line.port), known_hosts_file, ..options(server, &place) };
    let storage = SftpStorage::new(options, Cancel::new());
    storage.put(pack("before"), b"content").unwrap();
    line.set(Line::Cut);
    let error = storage.put(pack("during"), b"content").unwrap_err();
    assert!(matches!(error, StorageError::Transient { .. }), "{error:?}");

    line.set(Line::Open);
    line.cut_after(3_500_000);
    let storage = Retry::new(Arc::new(storage), Arc::new(SystemClock), Cancel::new());
    for name in 0..12_u8 {
        storage.put(File::pack(Id([name; 32])), &vec![name; 1 << 20]).unwrap();
    }
    line.cut_after(u64::MAX);
    for name in 0..12_u8 {
        assert!(storage.get(File::pack(Id([name; 32])), None).unwrap() == vec![name; 1 << 20]);
    }
    assert!(line.connections() > 4, "{} connections: none broke", line.connections());
    // What broke is not listed.
    assert_eq!(storage.list(FileKind::Pack).unwrap().len(), 13);
}

#[test]
fn a_server_that_is_killed_may_pass_and_one_that_comes_back_with_another_key_is_not_trusted() {
    if servers::sftp().is_none() {
        return;
    }
    let kept = tempfile::tempdir().unwrap();
    let port = free_port();
    let server = SftpServer::start(port).unwrap();
    let known_hosts_file = known_hosts(&kept, port, &host_key(&server));
    let options = SftpOptions { known_hosts_file, ..options(&server, &server.place()) };
    let storage = SftpStorage::new(options, Cancel::new());
    storage.put(pack("a"), b"content").unwrap();
    drop(server);
    let error = storage.get(pack("a"), None).unwrap_err();
    assert!(matches!(error, StorageError::Transient { .. }), "{error:?}");
    let _another = SftpServer::start(port).unwrap();
    let error = storage.get(pack("a"), None).unwrap_err();
    assert!(matches!(&error, StorageError::Permanent { what, .. } if what.contains("has changed")), "{error:?}");
}

#[test]
fn a_cancelled_run_does_not_wait_for_a_slow_line() {
    let Some(server) = servers::sftp() else { return };
    let line = Proxy::to(server.port);
    let folder = tempfile::tempdir().unwrap();
    let known_hosts_file = known_hosts(&folder, line.port, &host_key(server));
    let options = SftpOptions { port: Some(line.port), known_hosts_file, ..options(server, &server.place()) };
    let cancel = Cancel::new();
    let storage = SftpStorage::new(options, cancel.clone());
    storage.put(pack("b"), &vec![2; 2 << 20]).unwrap();
    line.set(Line::Slow(100_000));
    let started = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(500));
            cancel.cancel();
        });
        let error = storage.get(pack("b"), None).unwrap_err();
        assert!(error.to_string().contains("cancelled"), "{error}");
    });
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    // Nor does what it still has to do wait for what was under way: 2 MiB, 20 seconds.
    let lock = File::new(FileKind::Lock, Id::of(b"lock"));
    storage.put(lock, b"lock").unwrap();
    storage.delete(lock).unwrap();
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn temporary_files_of_the_dead_are_swept_up_and_those_of_the_living_are_not() {
    let Some(server) = servers::sftp() else { return };
    let place = server.place();
    let storage = storage(server, &place);
    storage.put(pack("a"), b"content").unwrap();
    let folder = server.jail().join(&place[1..]).join(pack("a").path());
    let folder = folder.parent().unwrap();
    let hex = pack("b").id.to_hex();
    for (name, days) in [("old", 2), ("young", 0)] {
        let file = fs::File::create(folder.join(format!("{hex}-tmp-{name}"))).unwrap();
        let written = file.metadata().unwrap().modified().unwrap() - Duration::from_secs(days * 86_400);
        file.set_times(fs::FileTimes::new().set_modified(written)).unwrap();
    }
    assert_eq!(storage.list(FileKind::Pack).unwrap().len(), 1);
    storage.put(pack("c"), b"content").unwrap();
    // The last request of a put is not waited for, the next one comes after it.
    storage.list(FileKind::Pack).unwrap();
    assert!(!folder.join(format!("{hex}-tmp-old")).exists());
    assert!(folder.join(format!("{hex}-tmp-young")).exists());
}

#[test]
fn on_a_full_disk_a_put_fails_as_full_and_leaves_nothing_behind() {
    let Some(server) = servers::sftp() else { return };
    let place = server.place();
    let root = server.jail().join(&place[1..]);
    fs::create_dir(&root).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m,mode=777", "none"]).arg(&root).output();
    assert!(mount.unwrap().status.success(), "may not mount a small disk here");
    let storage = storage(server, &place);
    let first = storage.put(pack("a"), &[1; 600 << 10]);
    let second = storage.put(pack("b"), &[2; 600 << 10]);
    let listed = storage.list(FileKind::Pack);
    let left = fs::read_dir(root.join("data").join(&pack("b").id.to_hex()[..2])).map(Iterator::count);
    assert!(Command::new("umount").arg("--lazy").arg(&root).status().unwrap().success());
    first.unwrap();
    assert!(matches!(second, Err(StorageError::Full { .. })), "{second:?}");
    assert_eq!(listed.unwrap().len(), 1);
    assert_eq!(left.unwrap(), 0);
}

#[test]
fn a_dead_line_is_noticed_in_about_a_minute() {
    let (Some(sftp), Some(rgw)) = (servers::sftp(), servers::rgw()) else { return };
    let (to_sftp, to_rgw) = (Proxy::to(sftp.port), Proxy::to(rgw.port));
    let folder = tempfile::tempdir().unwrap();
    let known_hosts_file = known_hosts(&folder, to_sftp.port, &host_key(sftp));
    let options = SftpOptions { port: Some(to_sftp.port), known_hosts_file, ..options(sftp, &sftp.place()) };
    let on_sftp = SftpStorage::new(options, Cancel::new());
    let options = S3Options {
        bucket: rgw.bucket(),
        endpoint: Some(format!("http://127.0.0.1:{}", to_rgw.port)),
        access_key_id: Some(rgw.access_key.to_owned()),
        secret_access_key: Some(rgw.secret_key.to_owned()),
        ..S3Options::default()
    };
    let on_s3 = ObjectStorage::s3(&options, Cancel::new()).unwrap();
    let storages: [&dyn Storage; 2] = [&on_sftp, &on_s3];
    std::thread::scope(|scope| {
        for storage in storages {
            storage.put(pack("a"), b"content").unwrap();
        }
        to_sftp.set(Line::Still);
        to_rgw.set(Line::Still);
        for storage in storages {
            scope.spawn(move || {
                let started = Instant::now();
                let error = storage.put(pack("b"), &vec![1; 20 << 20]).unwrap_err();
                let took = started.elapsed();
                assert!(matches!(error, StorageError::Transient { .. }), "{error:?}");
                assert!((Duration::from_secs(30)..Duration::from_secs(90)).contains(&took), "{took:?}: {error}");
            });
        }
    });
}
