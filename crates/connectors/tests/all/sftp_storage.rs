//! A folder of an OpenSSH server that shuts its user in.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use connectors::storage::{SftpOptions, SftpStorage};
use repository::storage::conformance;
use repository::{Cancel, File, FileKind, Id, Storage, StorageError};

use crate::servers::{self, Line, Proxy, SftpServer, free_port, unique};

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
