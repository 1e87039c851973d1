//! Buckets of real servers: Ceph's object gateway and s3s-fs for S3, Azurite for Azure Blob Storage.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use connectors::storage::{AzureCredentials, AzureOptions, ObjectStorage, S3Options};
use repository::clock::SystemClock;
use repository::storage::conformance;
use repository::storage::retry::Retry;
use repository::{Cancel, File, FileKind, Id, Storage, StorageError};

use servers::{AzureServer, Line, Proxy, S3Server, unique};

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
fn a_bucket_of_s3s_fs_conforms_but_for_writers_in_the_same_moment() {
    let Some(server) = servers::s3s_fs() else { return };
    let bucket = server.bucket();
    // It honours conditions by looking and then writing: of eight writers at once, all win.
    conformance::run_in_turn(&|| Arc::new(s3(server, &bucket)));
}

#[test]
fn a_container_of_azurite_conforms() {
    let Some(server) = servers::azurite() else { return };
    let container = server.container();
    conformance::run(&|| Arc::new(azure(server, &container)));
}

#[test]
fn archives_in_a_bucket_and_a_container_conform() {
    if let Some(server) = servers::rgw() {
        conformance::archives(&s3(server, &server.bucket()));
    }
    if let Some(server) = servers::s3s_fs() {
        conformance::archives(&s3(server, &server.bucket()));
    }
    if let Some(server) = servers::azurite() {
        conformance::archives(&azure(server, &server.container()));
    }
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

/// Each kind of call.
fn every_call(storage: &dyn Storage) -> Vec<(&'static str, StorageError)> {
    let mut errors = Vec::new();
    let mut failed = |call, result: Result<(), StorageError>| match result {
        Err(error) => errors.push((call, error)),
        Ok(()) => panic!("{call} succeeded"),
    };
    failed("put", storage.put(pack("a"), b"content"));
    failed("put config", storage.put(File::CONFIG, b"content"));
    failed("get", storage.get(pack("a"), None).map(drop));
    failed("get range", storage.get(pack("a"), Some(1..2)).map(drop));
    failed("list", storage.list(FileKind::Pack).map(drop));
    failed("list config", storage.list(FileKind::Config).map(drop));
    failed("delete", storage.delete(pack("a")));
    errors
}

fn says_no_secret(error: &StorageError) {
    let shown = format!("{error} {error:?}");
    for secret in ["S3CRET", "SKSK", AzureServer::KEY, "ignature=", "sig="] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn wrong_credentials_are_denied_with_what_to_mend_and_no_secret() {
    if let Some(server) = servers::rgw() {
        let options = s3_options(server, server.port, &server.bucket());
        let wrong_secret = S3Options { secret_access_key: Some("S3CRET".into()), ..options.clone() };
        let wrong_id = S3Options { access_key_id: Some("NOBODY".into()), ..options };
        for (options, advice) in [(wrong_secret, "the secret access key is wrong"), (wrong_id, "access key id")] {
            for (call, error) in every_call(&ObjectStorage::s3(&options, Cancel::new()).unwrap()) {
                assert!(matches!(error, StorageError::Denied { .. }), "{call}: {error:?}");
                says_no_secret(&error);
                // An answer to HEAD has no body that could say more.
                let short = ["put config", "delete"].contains(&call);
                assert!(error.to_string().contains(if short { "403" } else { advice }), "{call}: {error}");
            }
        }
    }
    if let Some(server) = servers::azurite() {
        let container = server.container();
        let wrong = |credentials| AzureOptions { container: container.clone(), prefix: unique(), credentials };
        let (account, endpoint) = (AzureServer::ACCOUNT.to_owned(), Some(server.endpoint()));
        for options in [
            wrong(AzureCredentials::Key {
                account: account.clone(),
                key: "UzNDUkVU".into(),
                endpoint: endpoint.clone(),
            }),
            wrong(AzureCredentials::Signature {
                account,
                sas: "?sv=2024-08-04&ss=b&srt=sco&sp=rl&se=2020-01-01T00:00:00Z&sig=S3CRET".into(),
                endpoint,
            }),
        ] {
            for (call, error) in every_call(&ObjectStorage::azure(&options, Cancel::new()).unwrap()) {
                assert!(matches!(error, StorageError::Denied { .. }), "{call}: {error:?}");
                says_no_secret(&error);
            }
        }
    }
}

#[test]
fn a_bucket_that_is_not_there_is_named() {
    let check = |storage: &dyn Storage, name: &str| {
        for (call, error) in every_call(storage) {
            match error {
                // A server asked for one object's head need not say what is missing; nothing was to be deleted.
                StorageError::NotFound { .. } if call == "delete" => {}
                StorageError::Permanent { ref what, .. } => {
                    assert!(what.contains(&format!("there is no {name}")), "{call}: {error}");
                }
                error => panic!("{call}: {error:?}"),
            }
        }
    };
    if let Some(server) = servers::rgw() {
        check(&s3(server, "not-there"), "bucket not-there");
    }
    if let Some(server) = servers::azurite() {
        check(&azure(server, "not-there"), "container not-there");
    }
}

#[test]
fn a_server_that_ignores_conditions_overwrites_no_config() {
    let kept = Mutex::new(HashMap::<String, Vec<u8>>::new());
    let server = Server::new(move |head, body| {
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap().to_owned());
        let mut kept = kept.lock().unwrap();
        match (method, kept.get(&path)) {
            ("put", _) => {
                assert!(head.contains("if-none-match: *"), "{head}");
                kept.insert(path, body.to_vec());
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_owned()
            }
            ("head", Some(body)) => {
                format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len())
            }
            ("get", Some(body)) => {
                let body = String::from_utf8_lossy(body);
                format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
            }
            _ => "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_owned(),
        }
    });
    let storage = ObjectStorage::s3(&server.options(), Cancel::new()).unwrap();
    // Named by its content, so that it is the same again.
    storage.put(pack("a"), b"content").unwrap();
    storage.put(pack("a"), b"content").unwrap();
    storage.put(File::CONFIG, b"first").unwrap();
    assert!(matches!(storage.put(File::CONFIG, b"second"), Err(StorageError::AlreadyExists { .. })));
    assert_eq!(storage.get(File::CONFIG, None).unwrap(), b"first");
}

#[test]
fn in_a_bucket_that_keeps_versions_no_config_is_overwritten_either() {
    let Some(server) = servers::rgw() else { return };
    // Ceph's gateway does not look at conditions there, at least up to version 16.
    let storage = s3(server, &server.versioned_bucket());
    storage.put(File::CONFIG, b"first").unwrap();
    assert!(matches!(storage.put(File::CONFIG, b"second"), Err(StorageError::AlreadyExists { .. })));
    assert_eq!(storage.get(File::CONFIG, None).unwrap(), b"first");
    storage.delete(File::CONFIG).unwrap();
    assert!(matches!(storage.get(File::CONFIG, None), Err(StorageError::NotFound { .. })));
}

#[test]
fn credentials_may_come_from_the_environment() {
    let Some(server) = servers::rgw() else { return };
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "object_storage::puts_with_the_environments_credentials"])
        .env_clear()
        .env("AWS_ACCESS_KEY_ID", server.access_key)
        .env("AWS_SECRET_ACCESS_KEY", server.secret_key)
        .env("LIFEBOAT_TEST_PLACE", format!("{} {}", server.port, server.bucket()))
        .output()
        .unwrap();
    assert!(status.status.success(), "{status:?}");
}

#[test]
#[ignore = "the process that the test above starts"]
fn puts_with_the_environments_credentials() {
    #[expect(clippy::disallowed_methods, reason = "said by the test above")]
    let Ok(place) = std::env::var("LIFEBOAT_TEST_PLACE") else { return };
    let (port, bucket) = place.split_once(' ').unwrap();
    let options = S3Options {
        bucket: bucket.to_owned(),
        endpoint: Some(format!("http://127.0.0.1:{port}")),
        ..S3Options::default()
    };
    let storage = ObjectStorage::s3(&options, Cancel::new()).unwrap();
    storage.put(pack("a"), b"content").unwrap();
    assert_eq!(storage.get(pack("a"), None).unwrap(), b"content");
}

#[test]
fn a_certificate_that_nobody_signed_is_trusted_only_where_that_was_said() {
    let Some(server) = servers::azurite_tls() else { return };
    // No container is made, since only the program under test speaks TLS here; its absence shows that it got through.
    let storage = azure(server, "not-there");
    let error = storage.put(pack("a"), b"content").unwrap_err();
    let StorageError::Permanent { what, .. } = &error else { panic!("{error:?}") };
    assert!(what.contains("the server's certificate is not trusted"), "{what}");
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "object_storage::speaks_to_a_server_with_a_certificate_of_its_own"])
        .env_clear()
        .env("SSL_CERT_FILE", server.certificate.as_ref().unwrap())
        .env("LIFEBOAT_TEST_PLACE", server.connection_string())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
#[ignore = "the process that the test above starts"]
fn speaks_to_a_server_with_a_certificate_of_its_own() {
    #[expect(clippy::disallowed_methods, reason = "said by the test above")]
    let Ok(place) = std::env::var("LIFEBOAT_TEST_PLACE") else { return };
    let credentials = AzureCredentials::ConnectionString(place);
    let options = AzureOptions { container: "not-there".into(), prefix: unique(), credentials };
    let error = ObjectStorage::azure(&options, Cancel::new()).unwrap().put(pack("a"), b"content").unwrap_err();
    assert!(error.to_string().contains("there is no container not-there"), "{error:?}");
}

#[test]
fn a_server_that_is_away_and_comes_back_loses_nothing() {
    let Some(server) = servers::rgw() else { return };
    let line = Proxy::to(server.port);
    let storage = ObjectStorage::s3(&s3_options(server, line.port, &server.bucket()), Cancel::new()).unwrap();
    storage.put(pack("before"), b"content").unwrap();
    line.set(Line::Cut);
    let error = storage.put(pack("during"), b"content").unwrap_err();
    assert!(matches!(error, StorageError::Transient { .. }), "{error:?}");
    assert!(error.to_string().contains("the connection broke"), "{error}");

    let storage = Retry::new(Arc::new(storage), Arc::new(SystemClock), Cancel::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(700));
            line.set(Line::Open);
            // Each connection breaks in the middle of its third pack or so.
            line.cut_after(2_500_000);
            std::thread::sleep(Duration::from_secs(3));
            line.cut_after(u64::MAX);
        });
        for name in 0..12_u8 {
            storage.put(File::pack(Id([name; 32])), &vec![name; 1 << 20]).unwrap();
        }
    });
    for name in 0..12_u8 {
        assert!(storage.get(File::pack(Id([name; 32])), None).unwrap() == vec![name; 1 << 20]);
    }
    assert!(line.connections() > 4, "{} connections: none broke", line.connections());
}

#[test]
fn where_nothing_listens_it_says_so() {
    let options = S3Options {
        bucket: "b".into(),
        endpoint: Some(format!("http://127.0.0.1:{}", servers::free_port())),
        access_key_id: Some("AK".into()),
        secret_access_key: Some("S3CRET".into()),
        ..S3Options::default()
    };
    for (call, error) in every_call(&ObjectStorage::s3(&options, Cancel::new()).unwrap()) {
        let StorageError::Transient { what, .. } = &error else { panic!("{call}: {error:?}") };
        assert!(what.contains("the server cannot be reached: Connection refused"), "{what}");
        says_no_secret(&error);
    }
    let options = S3Options { endpoint: Some("https://nowhere.invalid".into()), ..options };
    let error = ObjectStorage::s3(&options, Cancel::new()).unwrap().list(FileKind::Key).unwrap_err();
    assert!(matches!(error, StorageError::Transient { .. }), "{error:?}");
}

#[test]
fn a_cancelled_run_does_not_wait_for_a_slow_line() {
    let Some(server) = servers::rgw() else { return };
    let line = Proxy::to(server.port);
    let cancel = Cancel::new();
    let storage = ObjectStorage::s3(&s3_options(server, line.port, &server.bucket()), cancel.clone()).unwrap();
    line.set(Line::Slow(100_000));
    let started = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(500));
            cancel.cancel();
        });
        let error = storage.put(pack("a"), &vec![1; 20 << 20]).unwrap_err();
        assert!(error.to_string().contains("cancelled"), "{error}");
    });
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    line.set(Line::Open);
    // What a cancelled run still has to do is done.
    let lock = File::new(FileKind::Lock, Id::of(b"lock"));
    storage.put(lock, b"lock").unwrap();
    storage.delete(lock).unwrap();
    assert_eq!(storage.list(FileKind::Pack).unwrap(), []);
}

#[test]
fn whatever_a_server_answers_becomes_an_error_that_callers_branch_on() {
    let kind = |error: &StorageError| match error {
        StorageError::NotFound { .. } => "not found",
        StorageError::AlreadyExists { .. } => "exists",
        StorageError::Full { .. } => "full",
        StorageError::Denied { .. } => "denied",
        StorageError::Transient { .. } => "transient",
        StorageError::Permanent { .. } => "permanent",
    };
    let xml =
        |code: &str| format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>S3CRET</Message></Error>");
    for (expected, status, body) in [
        ("transient", "503 Slow Down", xml("SlowDown")),
        ("transient", "500 Internal Server Error", String::new()),
        ("transient", "502 Bad Gateway", "<html>S3CRET".repeat(20_000)),
        ("full", "507 Insufficient Storage", xml("XMinioStorageFull")),
        ("full", "403 Forbidden", xml("QuotaExceeded")),
        ("denied", "400 Bad Request", xml("ExpiredToken")),
        ("denied", "403 Forbidden", xml("RequestTimeTooSkewed")),
        ("permanent", "301 Moved Permanently", xml("PermanentRedirect")),
        ("permanent", "501 Not Implemented", xml("NotImplemented")),
        ("transient", "200 OK", "<html>a page of a hotel".to_owned()),
    ] {
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
        let server = Server::new(move |_, _| answer.clone());
        let options = server.options();
        let storage = ObjectStorage::s3(&options, Cancel::new()).unwrap();
        let error = storage.list(FileKind::Pack).unwrap_err();
        assert_eq!(kind(&error), expected, "{status}: {error:?}");
        if !status.starts_with("200") {
            let error = storage.put(pack("a"), &[1; 100_000]).unwrap_err();
            assert_eq!(kind(&error), expected, "{status}: {error:?}");
        }
        assert!(error.to_string().len() < 500, "{error}");
    }
    // An answer that is cut off is no answer.
    let server = Server::new(|_, _| "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf of it".to_owned());
    let error = ObjectStorage::s3(&server.options(), Cancel::new()).unwrap().get(pack("a"), None).unwrap_err();
    assert!(error.to_string().contains("the connection broke"), "{error:?}");
}

#[cfg(feature = "gcs")]
#[test]
fn a_bucket_of_google_is_written_on_condition_and_its_refusals_are_understood() {
    let server = |refuses_conditions: bool| {
        Server::new(move |head, _| {
            // Paths come in small letters, as all of the head does.
            let is_conditional =
                head.starts_with("post /upload/storage/v1/b/b/o?") && head.contains("ifgenerationmatch=0");
            let (status, reason, message) = match is_conditional && refuses_conditions {
                true => ("412 Precondition Failed", "conditionNotMet", "At least one condition did not hold."),
                false => ("404 Not Found", "notFound", "The specified bucket does not exist."),
            };
            let body = format!(r#"{{"error": {{"message": "{message}", "errors": [{{"reason": "{reason}"}}]}}}}"#);
            format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        })
    };
    let storage = |server: &Server| {
        let endpoint = Some(format!("http://127.0.0.1:{}", server.port));
        let options = connectors::storage::GcsOptions { bucket: "b".into(), endpoint, ..Default::default() };
        ObjectStorage::gcs(&options, Cancel::new()).unwrap()
    };
    let taken = server(true);
    let error = storage(&taken).put(pack("a"), b"content").unwrap_err();
    assert!(matches!(error, StorageError::AlreadyExists { .. }), "{error:?}");
    let nothing = server(false);
    let storage = storage(&nothing);
    assert!(matches!(storage.get(pack("a"), None), Err(StorageError::NotFound { .. })));
    let error = storage.put(File::CONFIG, b"content").unwrap_err();
    assert!(error.to_string().contains("there is no bucket b; make it first"), "{error}");
    let error = Storage::list(&storage, FileKind::Key).unwrap_err();
    assert!(error.to_string().contains("404 notFound: The specified bucket does not exist."), "{error}");
}

/// A made-up server. What it answers depends on a request's head, in small letters, and body.
struct Server {
    port: u16,
    ended: Arc<AtomicBool>,
}

impl Server {
    fn new(answer: impl Fn(&str, &[u8]) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let ended = Arc::new(AtomicBool::new(false));
        let told = ended.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if told.load(Ordering::SeqCst) {
                    return;
                }
                answer_once(stream.unwrap(), &answer);
            }
        });
        Self { port, ended }
    }

    fn options(&self) -> S3Options {
        S3Options {
            bucket: "b".into(),
            endpoint: Some(format!("http://127.0.0.1:{}", self.port)),
            access_key_id: Some("AK".into()),
            secret_access_key: Some("S3CRET".into()),
            ..S3Options::default()
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn answer_once(mut stream: TcpStream, answer: &dyn Fn(&str, &[u8]) -> String) {
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut request = Vec::new();
    let mut buffer = [0; 1 << 16];
    let body_at = loop {
        let Ok(length @ 1..) = stream.read(&mut buffer) else { return };
        request.extend_from_slice(&buffer[..length]);
        if let Some(at) = request.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = String::from_utf8_lossy(&request[..body_at]).to_ascii_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |text| text.parse().unwrap());
    while request.len() < body_at + length {
        let Ok(length @ 1..) = stream.read(&mut buffer) else { return };
        request.extend_from_slice(&buffer[..length]);
    }
    let _ = stream.write_all(answer(&head, &request[body_at..]).as_bytes());
}
