//! Copies: every key of every kind of place.

use std::num::NonZeroU64;

use expect_test::expect;

use super::*;

const EVERY: &str = r#"
version: 1
state_dir: /s
copies:
  disk: { url: backups, password: "${KEY}", upload_limit: 8MiB/s, download_limit: "20 Mbit/s" }
  s3:
    url: s3://bucket/cht
    endpoint: https://s3.example.org:8443/
    region: eu-1
    access_key_id: ${KEY}
    secret_access_key_file: s3-key
    session_token_command: [get-token, "${KEY}"]
    password_file: pw
    offsite: true
    immutable: true
    account: acme
    retention: { daily: 7 }
  role: { url: s3://bucket/other, password_file: pw }
  azure: { url: "azblob://container", account: acme, account_key: "${KEY}", password_file: pw }
  string: { url: "azblob://container/x", connection_string: "${KEY}", password_file: pw }
  sas: { url: "azblob://container", account: other, sas_token: "${KEY}", password_file: pw, provider: reseller }
  managed: { url: "azblob://other", account: acme, password_file: pw }
  nas: { url: "sftp://backup@nas:2222//srv/x", private_key_file: id, known_hosts_file: /k, site: office, password_command: pass }
  google: { url: "gs://bucket/x", credential_file: google.json, password_file: pw, region: eu }
  b2: { url: "b2://bucket/x", bucket_id: e73ede, application_key_id: "${KEY}", application_key_file: b2-key, password_file: pw }
  cloud: { url: "webdavs://cloud:8443/dav", login_user: me, login_password: "${KEY}", password_file: pw }
  usb: { url: /mnt/usb, removable: true, media: tape, site: office, password_file: pw }
  bundle: { url: s3://bundles, layout: archive, prefix: "x/${stack}/${iso_date()}", recipients: [age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq] }
  mail: { url: /mnt/mail, layout: archive, passphrase: "${KEY}" }
stacks:
  cht: { copies: [nas, disk], retention: { last: 3 }, sources: { f: { files: { paths: /x } } } }
"#;

#[test]
fn every_key_of_a_copy_is_read() {
    let settings = read(EVERY);
    assert_eq!(settings.password, None, "each has its own");
    let copy = |name: &str| settings.copy(name).unwrap();
    assert_eq!(copy("disk").upload_limit, NonZeroU64::new(8 << 20));
    assert_eq!(copy("disk").download_limit, NonZeroU64::new(2_500_000));
    let Location::S3(s3) = &copy("s3").location else { panic!("S3") };
    assert_eq!((s3.endpoint.as_deref(), s3.region.as_deref()), (Some("https://s3.example.org:8443"), Some("eu-1")));
    let key = s3.access_key.as_ref().unwrap();
    assert_eq!(key.id, SecretSource::Given(Secret::new("hunter2".into())));
    assert_eq!(key.secret, SecretSource::File("/etc/lifeboat/s3-key".into()));
    assert!(matches!(key.session_token, Some(SecretSource::Command { .. })));
    let Location::Gcs(google) = &copy("google").location else { panic!("Google") };
    assert_eq!(google.credential_file.as_deref(), Some(Path::new("/etc/lifeboat/google.json")));
    let Location::B2(b2) = &copy("b2").location else { panic!("B2") };
    assert_eq!((b2.bucket_id.as_str(), &b2.key), ("e73ede", &SecretSource::File("/etc/lifeboat/b2-key".into())));
    let Location::Webdav(cloud) = &copy("cloud").location else { panic!("WebDAV") };
    let login = cloud.login.as_ref().unwrap();
    assert_eq!((login.user.as_str(), cloud.address().as_str()), ("me", "https://cloud:8443/dav"));
    assert_eq!(login.password, SecretSource::Given(Secret::new("hunter2".into())));
    let Location::S3(role) = &copy("role").location else { panic!("S3") };
    assert_eq!((&role.access_key, &role.endpoint), (&None, &None));
    let login = |name: &str| match &copy(name).location {
        Location::Azure(azure) => azure.login.clone(),
        other => panic!("{other}"),
    };
    assert!(matches!(login("azure"), AzureLogin::Key { account, .. } if account == "acme"));
    assert!(matches!(login("string"), AzureLogin::ConnectionString(_)));
    assert!(matches!(login("sas"), AzureLogin::Sas { account, .. } if account == "other"));
    assert!(matches!(login("managed"), AzureLogin::Platform { .. }));
    let Location::Sftp(nas) = &copy("nas").location else { panic!("SFTP") };
    assert_eq!((nas.user.as_str(), nas.host.as_str(), nas.port, nas.path.as_str()), ("backup", "nas", 2222, "/srv/x"));
    assert_eq!(nas.private_key_file.as_deref(), Some(Path::new("/etc/lifeboat/id")));
    let Layout::Archive(bundle) = &copy("bundle").layout else { panic!("an archive") };
    assert_eq!(bundle.prefix.to_string(), "x/${stack}/${iso_date()}", "the environment has no say in it");
    // Defaults that follow from the place.
    let labels = |name| (copy(name).media.as_str(), copy(name).provider.as_deref());
    assert_eq!(labels("disk"), ("disk", None));
    assert_eq!(labels("s3"), ("object", Some("s3.example.org")));
    assert_eq!(labels("role"), ("object", Some("amazon")));
    assert_eq!(labels("azure"), ("object", Some("azure")));
    assert_eq!(labels("sas"), ("object", Some("reseller")));
    assert_eq!(labels("nas"), ("disk", Some("nas")));
    let stack = &settings.stacks[0];
    assert_eq!(stack.copies, ["nas", "disk"], "in the order of preference");
    assert_eq!(settings.retention(stack, copy("s3")).daily, crate::retention::Count::AtMost(7));
    assert_eq!(settings.retention(stack, copy("disk")), &stack.retention);
    let files: Vec<&Path> = settings.secret_files().into_iter().collect();
    assert_eq!(
        files,
        ["b2-key", "google.json", "id", "pw", "s3-key"].map(|name| Path::new("/etc/lifeboat").join(name))
    );
}

#[test]
fn what_is_shown_of_copies_holds_no_secret_and_is_read_back() {
    let settings = read(EVERY);
    let shown = settings.to_yaml().unwrap();
    let all = format!("{shown} {settings:?} {}", settings.to_json().unwrap());
    assert!(!all.contains("hunter2"), "{all}");
    expect![[r#"
        version: 1
        state_dir: /s
        copies:
          disk:
            url: /etc/lifeboat/backups
            media: disk
            offsite: false
            immutable: false
            removable: false
            upload_limit: 8MiB/s
            download_limit: 2500kB/s
            password: "***"
          s3:
            url: s3://bucket/cht
            endpoint: https://s3.example.org:8443
            access_key_id: "***"
            secret_access_key_file: /etc/lifeboat/s3-key
            session_token_command:
            - get-token
            - ${KEY}
            media: object
            offsite: true
            immutable: true
            removable: false
            provider: s3.example.org
            account: acme
            region: eu-1
            retention:
              daily: 7
            password_file: /etc/lifeboat/pw
          role:
            url: s3://bucket/other
            media: object
            offsite: false
            immutable: false
            removable: false
            provider: amazon
            password_file: /etc/lifeboat/pw
          azure:
            url: azblob://container
            account_key: "***"
            media: object
            offsite: false
            immutable: false
            removable: false
            provider: azure
            account: acme
            password_file: /etc/lifeboat/pw
          string:
            url: azblob://container/x
            connection_string: "***"
            media: object
            offsite: false
            immutable: false
            removable: false
            provider: azure
            password_file: /etc/lifeboat/pw
          sas:
            url: azblob://container
            sas_token: "***"
            media: object
            offsite: false
            immutable: false
            removable: false
            provider: reseller
            account: other
            password_file: /etc/lifeboat/pw
          managed:
            url: azblob://other
            media: object
            offsite: false
            immutable: false
            removable: false
            provider: azure
            account: acme
            password_file: /etc/lifeboat/pw
          nas:
            url: sftp://backup@nas:2222//srv/x
            private_key_file: /etc/lifeboat/id
            known_hosts_file: /k
            media: disk
            offsite: false
            immutable: false
            removable: false
            site: office
            provider: nas
            password_command: pass
          google:
            url: gs://bucket/x
            credential_file: /etc/lifeboat/google.json
            media: object
            offsite: false
            immutable: false
            removable: false
            provider: google
            region: eu
            password_file: /etc/lifeboat/pw
          b2:
            url: b2://bucket/x
            bucket_id: e73ede
            application_key_id: "***"
            application_key_file: /etc/lifeboat/b2-key
            media: object
            offsite: false
            immutable: false
            removable: false
            provider: backblaze
            password_file: /etc/lifeboat/pw
          cloud:
            url: webdavs://cloud:8443/dav
            login_user: me
            login_password: "***"
            media: disk
            offsite: false
            immutable: false
            removable: false
            provider: cloud
            password_file: /etc/lifeboat/pw
          usb:
            url: /mnt/usb
            media: tape
            offsite: false
            immutable: false
            removable: true
            site: office
            password_file: /etc/lifeboat/pw
          bundle:
            url: s3://bundles
            media: object
            offsite: false
            immutable: false
            removable: false
            provider: amazon
            layout: archive
            prefix: x/${stack}/${iso_date()}
            recipients:
            - age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq
          mail:
            url: /mnt/mail
            media: disk
            offsite: false
            immutable: false
            removable: false
            layout: archive
            prefix: ${stack}/${iso_datetime()}
            passphrase: "***"
    "#]]
    .assert_eq(shown.split("stacks:").next().unwrap());
    // With the secrets in place of their masks, and the dollars of a command doubled, it is the same again.
    let again = read(&shown.replace("'***'", "hunter2").replace("\"***\"", "hunter2"));
    let without_commands = |settings: &Settings| {
        settings
            .copies
            .iter()
            .map(|copy| (copy.location.clone(), copy.retention.clone(), copy.upload_limit))
            .collect::<Vec<_>>()
    };
    assert_eq!(without_commands(&again), without_commands(&settings));
    assert_eq!(again.copy("mail").unwrap(), settings.copy("mail").unwrap());
}

#[test]
fn an_archive_copy_has_no_password_and_says_what_to_do() {
    let settings = read(EVERY);
    let bundle = settings.copy("bundle").unwrap();
    let fault = bundle.password().unwrap_err();
    assert_eq!(
        (fault.kind, fault.message.as_str()),
        (FaultKind::Usage, "copy bundle keeps archives, which are no repository")
    );
    assert!(bundle.archives().is_some());
    assert!(settings.repositories().all(|copy| copy.archives().is_none()));
}
