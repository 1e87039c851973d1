//! A folder of a real WebDAV server: rclone's.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use connectors::storage::{ObjectStorage, WebdavOptions};
use repository::clock::SystemClock;
use repository::storage::archives::ArchivePlace;
use repository::storage::conformance;
use repository::storage::retry::Retry;
use repository::{Cancel, File, FileKind, Id, Storage, StorageError};
use servers::{Line, Proxy, WebdavServer, unique};

/// Options for a new folder, and where it will lie.
fn options(server: &WebdavServer, port: u16) -> (WebdavOptions, PathBuf) {
    let name = format!("deep/{}", unique());
    let options = WebdavOptions {
        address: format!("http://127.0.0.1:{port}/{name}"),
        user: Some(WebdavServer::USER.to_owned()),
        password: Some(WebdavServer::PASSWORD.to_owned()),
    };
    (options, server.folder.join(name))
}

fn open(options: &WebdavOptions) -> ObjectStorage {
    ObjectStorage::webdav(options, Cancel::new()).unwrap()
}

fn pack(name: &str) -> File {
    File::pack(Id::of(name.as_bytes()))
}

#[test]
fn a_folder_of_rclone_conforms_but_for_writers_in_the_same_moment() {
    let Some(server) = servers::webdav() else { return };
    // It honours `Overwrite: F` by looking and then renaming. While it makes a folder, it answers others that want to that
    // the folder is locked (423), which passes.
    conformance::run_in_turn(&|| {
        let storage = Arc::new(open(&options(server, server.port).0));
        Arc::new(Retry::new(storage, Arc::new(SystemClock), Cancel::new()))
    });
}

#[test]
fn archives_on_a_webdav_server_conform() {
    let Some(server) = servers::webdav() else { return };
    conformance::archives(&open(&options(server, server.port).0));
}

#[test]
fn foreign_files_of_a_webdav_server_are_passed_over() {
    let Some(server) = servers::webdav() else { return };
    let (options, folder) = options(server, server.port);
    conformance::passes_over_foreign_names(&open(&options), &|path| {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"foreign").unwrap();
    });
}

#[test]
fn a_wrong_login_is_denied_and_shown_nowhere() {
    let Some(server) = servers::webdav() else { return };
    let right = options(server, server.port).0;
    let nobody = WebdavOptions { user: None, password: None, ..right.clone() };
    for options in [WebdavOptions { password: Some("S3CRET".to_owned()), ..right }, nobody] {
        let storage = open(&options);
        let errors = [
            storage.put(pack("a"), b"content").unwrap_err(),
            storage.get(pack("a"), None).unwrap_err(),
            Storage::list(&storage, FileKind::Pack).unwrap_err(),
            Storage::list(&storage, FileKind::Config).unwrap_err(),
            Storage::delete(&storage, pack("a")).unwrap_err(),
            storage.create("x").map(drop).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, StorageError::Denied { .. }), "{error:?}");
            let shown = format!("{error} {error:?}");
            assert!(shown.contains("it wants a login, or another one") && !shown.contains("S3CRET"), "{shown}");
        }
    }
}

#[test]
fn an_archive_whose_connection_breaks_leaves_nothing_and_says_so() {
    let Some(server) = servers::webdav() else { return };
    let line = Proxy::to(server.port);
    let (options, folder) = options(server, line.port);
    let place = open(&options);
    let mut writer = place.create("a/archive").unwrap();
    writer.write(vec![1; 1 << 20]).unwrap();
    line.set(Line::Cut);
    let mut written = Ok(());
    for _ in 0..64 {
        written = written.and_then(|()| writer.write(vec![1; 1 << 20]));
    }
    let error = written.and_then(|()| writer.finish()).unwrap_err();
    assert!(matches!(error, StorageError::Transient { .. }), "{error:?}");
    line.set(Line::Open);
    assert_eq!(ArchivePlace::list(&place, "").unwrap(), []);
    assert!(!folder.join("a/archive").exists());
    let mut writer = place.create("a/archive").unwrap();
    writer.write(b"whole".to_vec()).unwrap();
    writer.finish().unwrap();
    assert_eq!(std::fs::read(folder.join("a/archive")).unwrap(), b"whole");
}

#[test]
fn what_a_broken_connection_left_is_swept_up_a_day_later() {
    let Some(server) = servers::webdav() else { return };
    let (options, folder) = options(server, server.port);
    let storage = open(&options);
    let lock = File::new(FileKind::Lock, Id::of(b"lock"));
    storage.put(lock, b"lock").unwrap();
    let path = |name: &str| folder.join(format!("{}-tmp-{name}", lock.path()));
    #[expect(clippy::disallowed_methods, reason = "a server takes no simulated time")]
    let now = SystemTime::now();
    for (name, age) in [("old", Duration::from_secs(100_000)), ("young", Duration::ZERO)] {
        std::fs::write(path(name), b"half").unwrap();
        std::fs::File::options().write(true).open(path(name)).unwrap().set_modified(now - age).unwrap();
    }
    assert_eq!(Storage::list(&storage, FileKind::Lock).unwrap().len(), 1, "no listing shows them");
    storage.put(pack("a"), b"content").unwrap();
    assert!(!path("old").exists() && path("young").exists());
}
