//! Repositories of a version that this program does not know are refused, whatever else is in them.

use std::fs;
use std::sync::Arc;

use repository::format::config::Config;
use repository::format::crypto::Key;
use repository::format::go;
use repository::format::key_file::{KdfCost, KeyFile};
use repository::format::time::Time;
use repository::{Error, File, FileKind, Id, Repository};
use tempfile::TempDir;

use crate::fixture::unpack;
use crate::folder::Folder;

/// A folder with a key file and the config of a repository of this version.
fn make(version: u32) -> (TempDir, Arc<Folder>) {
    let folder = tempfile::tempdir().unwrap();
    let key = Key::generate().unwrap();
    let mut config = Config::generate(1 << 20).unwrap();
    config.version = version;
    let who = ("user".to_owned(), "host".to_owned());
    let key_file = KeyFile::wrap(&key, "password", KdfCost::FAST, who, Time::EPOCH).unwrap().to_bytes();
    let key_path = folder.path().join(File::new(FileKind::Key, Id::of(&key_file)).path());
    fs::create_dir(key_path.parent().unwrap()).unwrap();
    fs::write(key_path, key_file).unwrap();
    fs::write(folder.path().join("config"), key.encrypt(&go::to_json(&config)).unwrap()).unwrap();
    let storage = Arc::new(Folder(folder.path().to_owned()));
    (folder, storage)
}

#[test]
fn unknown_versions_are_refused_by_number() {
    for version in [0, 3, u32::MAX] {
        let (_folder, storage) = make(version);
        let error = Repository::open(storage, "password").unwrap_err();
        assert!(matches!(error, Error::UnsupportedVersion { found } if found == version), "{error}");
    }
}

#[test]
fn known_versions_open_and_only_version_2_is_written() {
    let (_folder, storage) = make(1);
    let repository = Repository::open(storage, "password").unwrap();
    assert!(matches!(repository.check_writable(), Err(Error::ReadOnlyVersion)));
    let (_folder, storage) = make(2);
    assert!(Repository::open(storage, "password").unwrap().check_writable().is_ok());
}

#[test]
fn a_wrong_password_opens_nothing_of_another_program() {
    let (_folder, storage) = unpack("restic-0.14-version-2");
    let error = Repository::open(storage, "wrong").unwrap_err();
    assert!(matches!(error, Error::WrongPassword { keys: 1 }), "{error}");
}
