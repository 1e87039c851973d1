//! Stock restic and the remote storages meet in one place: each opens what the other wrote.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use connectors::storage::{ObjectStorage, S3Options, SftpOptions, SftpStorage};
use repository::{Cancel, File, FileKind, Id, Storage};

use servers::{S3Server, SftpServer, unique};

/// restic with a home and a cache of its own.
fn restic(folder: &Path, repository: &[String], arguments: &[&str]) -> String {
    let mut command = Command::new("restic");
    #[expect(clippy::disallowed_methods, reason = "the test decides what the program's environment is")]
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).env("HOME", folder).env("RESTIC_PASSWORD", "TESTONLY");
    command
        .env("RESTIC_CACHE_DIR", folder.join("cache"))
        .env("AWS_ACCESS_KEY_ID", "AK")
        .env("AWS_SECRET_ACCESS_KEY", "SK");
    command.current_dir(folder).args(repository).args(arguments).stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

/// Moves every file of a repository, each of which must be what its name says.
fn copy(from: &dyn Storage, to: &dyn Storage) -> usize {
    let mut copied = 0;
    for kind in FileKind::ALL {
        for listed in from.list(kind).unwrap() {
            let file = if kind == FileKind::Config { File::CONFIG } else { File::new(kind, listed.id) };
            let content = from.get(file, None).unwrap();
            assert_eq!(content.len() as u64, listed.bytes, "{file}");
            assert!(kind == FileKind::Config || Id::of(&content) == listed.id, "{file} is not what its name says");
            to.put(file, &content).unwrap();
            copied += 1;
        }
    }
    copied
}

#[test]
fn restic_opens_what_is_put_on_s3_and_sftp_and_its_own_is_read() {
    let (Some(rgw), Some(sftp)) = (servers::rgw(), servers::sftp()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::create_dir(folder.join("data")).unwrap();
    for number in 0..300_u32 {
        let content: Vec<u8> = (0..40_000_u32).map(|at| (at.wrapping_mul(number + 7) >> 5) as u8).collect();
        fs::write(folder.join(format!("data/{number}")), content).unwrap();
    }
    let bucket = rgw.bucket();
    let on_s3 = |prefix: &str| {
        let options = S3Options {
            bucket: bucket.clone(),
            prefix: prefix.to_owned(),
            endpoint: Some(rgw.endpoint()),
            region: Some(S3Server::REGION.to_owned()),
            access_key_id: Some(rgw.access_key.to_owned()),
            secret_access_key: Some(rgw.secret_key.to_owned()),
            session_token: None,
        };
        let repository = vec!["-r".to_owned(), format!("s3:{}/{bucket}/{prefix}", rgw.endpoint())];
        (ObjectStorage::s3(&options, Cancel::new()).unwrap(), repository)
    };
    let (first, first_restic) = on_s3("first");
    restic(folder, &first_restic, &["init", "--repository-version", "2"]);
    restic(folder, &first_restic, &["backup", "data", "--quiet"]);

    // From restic's bucket to a server, and from there to a bucket.
    let path = format!("/upload/{}", unique());
    let options = SftpOptions {
        user: Some(SftpServer::USER.to_owned()),
        host: "127.0.0.1".to_owned(),
        port: Some(sftp.port),
        path: path.clone(),
        private_key_file: Some(sftp.key_file()),
        known_hosts_file: Some(sftp.known_hosts_file()),
    };
    let on_server = SftpStorage::new(options, Cancel::new());
    assert!(copy(&first, &on_server) > 4);
    let ssh = format!(
        "ssh -i {} -o IdentitiesOnly=yes -o UserKnownHostsFile={} -p {} -l {} 127.0.0.1 -s sftp",
        sftp.key_file().display(),
        sftp.known_hosts_file().display(),
        sftp.port,
        SftpServer::USER
    );
    let server_restic =
        vec!["-o".to_owned(), format!("sftp.command={ssh}"), "-r".to_owned(), format!("sftp:127.0.0.1:{path}")];
    assert!(restic(folder, &server_restic, &["check", "--read-data"]).contains("no errors were found"));

    let (second, second_restic) = on_s3("second");
    copy(&on_server, &second);
    assert!(restic(folder, &second_restic, &["check", "--read-data"]).contains("no errors were found"));
    restic(folder, &second_restic, &["restore", "latest", "--target", folder.join("out").to_str().unwrap()]);
    let restored = |number: u32| fs::read(folder.join("out/data").join(number.to_string())).ok();
    let whole = (0..300).all(|number| restored(number) == fs::read(folder.join(format!("data/{number}"))).ok());
    assert!(whole, "what restic restored differs");
}
