//! Buckets of real servers: Ceph's object gateway and s3s-fs for S3, Azurite for Azure Blob Storage.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use connectors::storage::{AzureCredentials, AzureOptions, ObjectStorage, S3Options};
use repository::storage::conformance;
use repository::storage::retry::Retry;
use repository::{Cancel, File, FileKind, Id, Storage, StorageError};

use crate::servers::{self, AzureServer, Line, Proxy, S3Server, unique};

fn s3_options(server: &S3Server, port: u16, bucket: &str) -> S3Options {
    S3Options {
        bucket: bucket.to_owned(),
        prefix: unique(),
        endpoint: Some(format!("http://127.0.0.1:{port}")),
        region: Some(S3Server::REGION.to_owned()),
        access_key_id: Some(server.access_key.to_owned()),
        secret_access_key: Some(server.secret_key.to_owned()),
        session_token: None,
    }
}

fn s3(server: &S3Server, bucket: &str) -> ObjectStorage {
    ObjectStorage::s3(&s3_options(server, server.port, bucket), Cancel::new()).unwrap()
}

fn azure_options(server: &AzureServer, container: &str) -> AzureOptions {
    let credentials = AzureCredentials::ConnectionString(server.connection_string());
    AzureOptions { container: container.to_owned(), prefix: unique(), credentials }
}

fn azure(server: &AzureServer, container: &str) -> ObjectStorage {
    ObjectStorage::azure(&azure_options(server, container), Cancel::new()).unwrap()
}

fn pack(name: &str) -> File {
    File::pack(Id::of(name.as_bytes()))
}

#[test]
fn a_bucket_of_ceph_conforms() {
    let Some(server) = servers::rgw() else { return };
    let bucket = server.bucket();
    conformance::run(&|| Arc::new(s3(server, &bucket)));
}

#[test]
fn a_bucket_of_s3s_fs_conforms() {
    let Some(server) = servers::s3s_fs() else { return };
    let bucket = server.bucket();
    conformance::run(&|| Arc::new(s3(server, &bucket)));
}

#[test]
fn a_container_of_azurite_conforms() {
    let Some(server) = servers::azurite() else { return };
    let container = server.container();
    conformance::run(&|| Arc::new(azure(server, &container)));
}

#[test]
fn foreign_objects_are_passed_over() {
    if let Some(server) = servers::rgw() {
        let bucket = server.bucket();
        let options = s3_options(server, server.port, &bucket);
        let storage = ObjectStorage::s3(&options, Cancel::new()).unwrap();
        conformance::passes_over_foreign_names(&storage, &|path| {
            server.put(&bucket, &format!("{}/{path}", options.prefix), b"foreign");
        });
    }
    if let Some(server) = servers::azurite() {
        let container = server.container();
        let options = azure_options(server, &container);
        let storage = ObjectStorage::azure(&options, Cancel::new()).unwrap();
        conformance::passes_over_foreign_names(&storage, &|path| {
            server.put(&container, &format!("{}/{path}", options.prefix), b"foreign");
        });
    }
}
