//! Sentinel's variables as users set them, of every generation, right and wrong.

use std::os::unix::fs::PermissionsExt as _;

use expect_test::expect;

use super::super::location::{AzureLogin, S3Location};
use super::super::settings::{DatabaseServer, DatabaseSettings, SourceKind, SqliteSettings};
use super::*;
use crate::schedule::backups;

const PUBLIC: &str = "age15w6w29yg9vv22n34d98tsndzuqdxll7g0tgfss3dkg9je0d7tghqj53ja6";

fn understood_with(set: &[(&str, &str)], of_file: &[(&str, &str)]) -> Result<Settings, Fault> {
    let environment = Environment::of([("HOME", "/home/a")].iter().chain(set).copied());
    let of_file = of_file.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    settings(&environment, Path::new("/data/.env"), &of_file).map(|found| found.expect("some are set"))
}

fn understood(set: &[(&str, &str)]) -> Settings {
    understood_with(set, &[]).unwrap_or_else(|fault| panic!("{fault:?}"))
}

/// What goes to a folder, with these variables besides.
fn local<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let base = [("SNAPSHOTS_STORAGE_LOCAL_DIR", "/srv/snapshots"), ("SNAPSHOTS_ENCRYPTION_KEY", "hunter2")];
    base.into_iter().chain(more.iter().copied()).collect()
}

fn archives(settings: &Settings) -> (&CopySettings, &ArchiveSettings) {
    let copy = settings.copies.last().unwrap();
    (copy, copy.archives().unwrap())
}

fn s3(settings: &Settings) -> &S3Location {
    match &archives(settings).0.location {
        Location::S3(s3) => s3,
        other => panic!("{other}"),
    }
}

fn given(source: &SecretSource) -> String {
    source.read().unwrap().expose().to_owned()
}

#[test]
fn nothing_is_configured_where_no_variable_for_snapshots_is_set() {
    let others = [("STORAGE_PROVIDER", "s3"), ("AWS_REGION", "x"), ("DATA_DIR", "/x"), ("SNAPSHOTS_ENABLED", "")];
    assert_eq!(settings(&Environment::of(others), Path::new("/x/.env"), &BTreeMap::new()).unwrap(), None);
}

#[test]
fn the_seed_s_spelling_writes_archives_under_the_default_prefix() {
    let settings = understood(&[
        ("SNAPHOSTS_STORAGE_PROVIDER", "S3"),
        ("SNAPHOSTS_STORAGE_S3_BUCKET", "backups"),
        ("SNAPHOSTS_STORAGE_S3_ACCESS_KEY_ID", "id"),
        ("SNAPHOSTS_STORAGE_S3_SECRET_ACCESS_KEY", "hunter2"),
        ("SNAPHOSTS_CRON_SCHEDULE", "0 3 * * *"),
        ("SNAPSHOTS_ENCRYPTION_KEY", "hunter2"),
    ]);
    let shown = settings.to_yaml().unwrap();
    expect![[r#"
        version: 1
        state_dir: /home/a/.local/state/lifeboat
        password: "***"
        copies:
          repository:
            url: /home/a/.local/state/lifeboat/repository
            media: disk
            offsite: false
            immutable: false
            removable: false
            password: "***"
          s3:
            url: s3://backups
            access_key_id: "***"
            secret_access_key: "***"
            media: object
            offsite: false
            immutable: false
            removable: false
            provider: amazon
            layout: archive
            prefix: altcha-sentinel-backups/db/${iso_date()}
            passphrase: "***"
        stacks:
          sentinel:
            schedule: 0 3 * * *
            timezone: UTC
            overlap: refuse
            copies:
            - repository
            - s3
            retention:
              last: 3
              hourly: 24
              daily: 7
              weekly: 4
              monthly: 12
              yearly: 3
            sources:
              main:
                sqlite:
                  paths:
                  - /data
                  exclude:
                  - "*exotdb*"
                  - "*redis*"
                  max_shrink: 50%
              redis:
                sqlite:
                  paths:
                  - /data
                  exclude:
                  - "*"
                  - "!*/"
                  - "!*exotdb*"
                  - "!*exotdb*/**"
                  - "!*redis*"
                  - "!*redis*/**"
                  max_shrink: 50%
              files:
                files:
                  paths:
                  - /data
                  exclude: []
                  exclude_caches: false
                  one_file_system: false
                  append_only:
                  - "*.couch"
                  - "*.view"
                  full_read: 7d
        jobs:
          at_once: 2
          timezone: UTC
        server:
          listen: 127.0.0.1:8484
          metrics: token
          restore_dir: /home/a/.local/state/lifeboat/restores
    "#]]
    .assert_eq(&shown);
    assert!(!format!("{settings:?}").contains("hunter2"));
    assert_eq!(given(settings.password.as_ref().unwrap()), "hunter2");
    assert_eq!(settings.origin(), "the environment");
}

#[test]
fn the_address_of_the_newest_generation_says_all_of_a_bucket() {
    let settings = understood(&[
        (
            "SNAPSHOTS_STORAGE_S3_URL",
            "https://me:pw%2Fx@s3.example.org:9000/?bucket=bkt&prefix=/sentinel/%24%7Biso_date()%7D&region=eu-1",
        ),
        ("SNAPSHOTS_AGE_PUBLIC_KEY", PUBLIC),
        ("SNAPSHOTS_AGE_SECRET_KEY", "AGE-SECRET-KEY-1"),
        ("SNAPSHOTS_MAIN_SCHEDULE", "0 1 * * *"),
        ("SNAPSHOTS_REDIS_SCHEDULE", "*/10 * * * *"),
    ]);
    let (copy, archive) = archives(&settings);
    assert_eq!((copy.name.as_str(), archive.prefix.to_string().as_str()), ("s3", "sentinel/${iso_date()}"));
    let bucket = s3(&settings);
    let server = (bucket.bucket.as_str(), bucket.endpoint.as_deref(), bucket.region.as_deref());
    assert_eq!(server, ("bkt", Some("https://s3.example.org:9000"), Some("eu-1")));
    let key = bucket.access_key.as_ref().unwrap();
    assert_eq!((given(&key.id), given(&key.secret)), ("me".to_owned(), "pw/x".to_owned()));
    let stack = settings.stack(STACK).unwrap();
    // Each at its own time, and what lies beside the main database together with that.
    assert_eq!(stack.schedule, None);
    let schedule =
        |name: &str| stack.source(name).unwrap().schedule.clone().map(|schedule| schedule.as_str().to_owned());
    assert_eq!((schedule("main").as_deref(), schedule("redis").as_deref()), (Some("0 1 * * *"), Some("*/10 * * * *")));
    let together: Vec<_> = backups(stack, "host").into_iter().map(|(names, _)| names).collect();
    assert!(together.len() == 2 && together.contains(&vec!["redis"]), "{together:?}");
    assert_eq!(together.iter().map(Vec::len).sum::<usize>(), stack.sources.len());
    assert!(settings.to_yaml().unwrap().contains("      redis:\n        schedule: \"*/10 * * * *\"\n        sqlite:"));
    // A secret key opens archives and never stands among the copies.
    assert_eq!(settings.password, Some(SecretSource::File("/home/a/.local/state/lifeboat/sentinel.password".into())));
    assert_eq!(given(settings.sentinel.as_ref().unwrap().identity.as_ref().unwrap()), "AGE-SECRET-KEY-1");
    assert!(!format!("{settings:?}{}", settings.to_yaml().unwrap()).contains("pw/x"));
}

#[test]
fn one_schedule_alone_leaves_out_nothing_without_a_word() {
    let of = |name: &'static str| {
        let settings = understood(&[
            ("SNAPSHOTS_STORAGE_LOCAL_DIR", "/srv/x"),
            ("SNAPSHOTS_ENCRYPTION_KEY", "p"),
            (name, "0 1 * * *"),
        ]);
        let stack = settings.stack(STACK).unwrap().clone();
        let sources = stack.sources.iter().filter(|source| source.schedule.is_some());
        let sources: Vec<_> = sources.map(|source| source.name.clone()).collect();
        let is_told = settings.sentinel.unwrap().notices.iter().any(|notice| notice.contains("has no schedule"));
        (stack.schedule.is_some(), sources, is_told)
    };
    assert_eq!(of("SNAPSHOTS_MAIN_SCHEDULE"), (true, vec![], false), "the Redis goes with it");
    assert_eq!(of("SNAPSHOTS_REDIS_SCHEDULE"), (false, vec!["redis".to_owned()], true));
    assert_eq!(of("SNAPSHOTS_CRON_SCHEDULE"), (true, vec![], false));
}

#[test]
fn amazons_own_variables_and_those_of_azure_are_read() {
    let settings = understood(&[
        ("SNAPSHOTS_STORAGE_S3_BUCKET", "bkt"),
        ("SNAPSHOTS_ENCRYPTION_KEY", "p"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY_FILE", "/run/secrets/aws"),
        ("AWS_REGION", "eu-2"),
        ("LIFEBOAT_REPOSITORY", "s3://other/lifeboat"),
    ]);
    let bucket = s3(&settings);
    let key = bucket.access_key.as_ref().unwrap();
    assert_eq!((bucket.region.as_deref(), key.secret.file()), (Some("eu-2"), Some(Path::new("/run/secrets/aws"))));
    assert_eq!(settings.copies[0].location.to_string(), "s3://other/lifeboat");
    let settings = understood(&[
        ("SNAPSHOTS_STORAGE_PROVIDER", "azure"),
        ("SNAPHOSTS_STORAGE_AZURE_CONTAINER", "box"),
        ("SNAPSHOTS_STORAGE_AZURE_CONTAINER", "box"),
        ("SNAPSHOTS_STORAGE_AZURE_CONNECTION_STRING", "AccountName=a;AccountKey=hunter2"),
        ("SNAPSHOTS_DB_PREFIX", "x/${iso_datetime()}"),
        ("SNAPSHOTS_AGE_PUBLIC_KEY", PUBLIC),
        ("LIFEBOAT_REPOSITORY", "azblob://box/lifeboat"),
        ("LIFEBOAT_PASSWORD", "own"),
    ]);
    let (copy, archive) = archives(&settings);
    let Location::Azure(azure) = &copy.location else { panic!("{}", copy.location) };
    assert!(matches!(&azure.login, AzureLogin::ConnectionString(text) if given(text).ends_with("hunter2")));
    assert_eq!((copy.name.as_str(), archive.prefix.to_string().as_str()), ("azure", "x/${iso_datetime()}"));
    assert_eq!(given(settings.copies[0].password().unwrap()), "own");
}

#[test]
fn a_setting_may_lie_in_a_file_and_in_the_volumes_env_which_the_environment_overrides() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (dir, key, postgres) =
        (path("dir", "/srv/x\n"), path("key", "hunter2\n"), path("pg", "postgres://me:pw@db/sentinel\n"));
    let command = understood_with(&local(&[]), &[("LIFEBOAT_RELOAD_COMMAND", "rm -r /")]).unwrap_err();
    assert!(command.message.starts_with("LIFEBOAT_RELOAD_COMMAND in /data/.env: "), "{command:?}");
    let outside = [("STORAGE_LOCAL_DIR", "/etc"), ("DATA_DIR", "/etc")];
    let settings = understood_with(&local(&[]), &outside).unwrap();
    let SourceKind::Files(files) = &settings.stacks[0].source("files").unwrap().kind else { panic!("files") };
    assert_eq!(files.paths, [Path::new("/data")]);
    let [notice] = &settings.sentinel.as_ref().unwrap().notices[..] else { panic!("one") };
    assert!(notice.contains("STORAGE_LOCAL_DIR in /data/.env says: they are NOT"), "{notice}");
    let settings = understood_with(
        &[("SNAPHOSTS_STORAGE_LOCAL_DIR_FILE", &dir), ("POSTGRES_URL_FILE", &postgres)],
        &[
            ("SNAPSHOTS_ENCRYPTION_KEY_FILE", &key),
            ("SNAPSHOTS_STORAGE_LOCAL_DIR", "/srv/overridden"),
            ("EXOTDB_REDIS_STORAGE", "memory"),
        ],
    )
    .unwrap();
    assert_eq!(archives(&settings).0.location, Location::Local("/srv/x".into()));
    assert_eq!(settings.password, Some(SecretSource::File(key.into())));
    let names: Vec<_> = settings.stacks[0].sources.iter().map(|source| &*source.name).collect();
    assert_eq!(names, ["main", "other", "files"]);
    let [notice] = &settings.sentinel.as_ref().unwrap().notices[..] else { panic!("one") };
    assert!(notice.contains("memory alone"), "{notice}");
}

#[test]
fn databases_that_are_not_in_the_volume_are_reached_by_their_addresses() {
    let sources = |more: &[(&str, &str)]| {
        let settings = understood(&local(more));
        assert!(!format!("{settings:?}{}", settings.to_yaml().unwrap()).contains("pw"), "{more:?}");
        settings.stacks[0].sources.iter().map(|source| (source.name.clone(), source.kind.clone())).collect::<Vec<_>>()
    };
    let database = |kind: &SourceKind| match kind {
        SourceKind::Postgres(database) | SourceKind::Mysql(database) | SourceKind::Redis(database) => database.clone(),
        other => panic!("{other:?}"),
    };
    let of = |url: &str, user: &str, password: &str, databases: &[&str]| DatabaseSettings {
        user: Some(user.to_owned()),
        password: Some(SecretSource::Given(super::super::secret::Secret::new(password.to_owned()))),
        databases: databases.iter().map(|name| name.to_string()).collect(),
        ..DatabaseSettings::new(DatabaseServer::Url(url.to_owned()))
    };
    let found = sources(&[
        ("POSTGRES_URL", "postgres://me:p%40pw@db:5433/sentinel?sslmode=require"),
        ("REDIS_URL", "redis://me:pw@cache:7000/2"),
    ]);
    assert_eq!(database(&found[0].1), of("postgresql://db:5433?sslmode=require", "me", "p@pw", &["sentinel"]));
    assert_eq!(database(&found[1].1), of("redis://cache:7000", "me", "pw", &[]));
    let found = sources(&[("REDIS_URL", "rediss://me:pw@cache:7000/2?ssl-ca=/ca.pem")]);
    assert_eq!(database(&found[1].1), of("rediss://cache:7000?ssl-ca=/ca.pem", "me", "pw", &[]));
    let found = sources(&[("MARIADB_URL", "mariadb://root:pw@[::1]:3306/a*b"), ("LIFEBOAT_WITHOUT", "redis")]);
    assert_eq!(found.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["main", "other", "files"]);
    assert_eq!(database(&found[0].1), of("mysql://[::1]:3306", "root", "pw", &["a[*]b"]));
}

#[test]
fn sqlite_files_beside_a_main_database_elsewhere_are_captured_as_databases() {
    let other = |more: &[(&str, &str)]| {
        let settings = understood(&local(more));
        match settings.stacks[0].source("other").map(|source| source.kind.clone()) {
            Ok(SourceKind::Sqlite(sqlite)) => Some(sqlite),
            _ => None,
        }
    };
    let all = SqliteSettings { may_be_none: true, ..SqliteSettings::new(vec!["/data".into()], Vec::new()) };
    let without_redis = SqliteSettings { exclude: vec!["*exotdb*".into(), "*redis*".into()], ..all.clone() };
    assert_eq!(other(&[]), None);
    assert_eq!(other(&[("MYSQL_URL", "mysql://db/a")]), Some(without_redis.clone()));
    assert_eq!(other(&[("LIFEBOAT_WITHOUT", "main")]), Some(without_redis));
    assert_eq!(other(&[("LIFEBOAT_WITHOUT", "main"), ("REDIS_URL", "redis://cache")]), Some(all));
}

#[test]
fn a_variable_that_would_do_nothing_is_a_mistake() {
    let cases: &[&[(&str, &str)]] = &[
        &[("LIFEBOAT_READY_WITHIN", "2m")],
        &[("LIFEBOAT_RELOAD_METHOD", "PUT")],
        &[("LIFEBOAT_RELOAD_HEADERS", "A: hunter2")],
        &[("LIFEBOAT_RELOAD_CONTAINERS", "a")],
        &[("LIFEBOAT_RELOAD_XYZ", "a")],
        &[("LIFEBOAT_REPOSITRY", "/r")],
        &[("LIFEBOAT_PASSWRD_FILE", "/p")],
        &[("LIFEBOAT_WITHOT", "main")],
        &[("LIFEBOAT_REDIS_FILE", "*a*")],
        &[("SNAPSHOTS_REDIS_SCHEDULE", "0 3 * * *"), ("LIFEBOAT_WITHOUT", "redis")],
        &[("SNAPSHOTS_MAIN_SCHEDULE", "0 3 * * *"), ("LIFEBOAT_WITHOUT", "main")],
    ];
    for set in cases {
        let fault = understood_with(&local(set), &[]).unwrap_err();
        let said = format!("{}: ", set[0].0);
        assert!(fault.message.starts_with(&said) && !fault.text().contains("hunter"), "{fault:?}");
    }
    let fault = understood_with(&local(&[]), &[("LIFEBOAT_WITHOUT", "main")]).unwrap_err();
    assert!(fault.message.starts_with("LIFEBOAT_WITHOUT in /data/.env: "), "{fault:?}");
    // What others read, and what hooks are told.
    understood(&local(
        &["CONFIG", "STACK", "HOOK", "SOURCE", "STATUS", "SNAPSHOT_ID", "ERROR", "TEST_ALL", "TEST_PLACE", "TEST_SEED"]
            .map(|name| format!("LIFEBOAT_{name}"))
            .each_ref()
            .map(|name| (name.as_str(), "x")),
    ));
}

#[test]
fn what_is_left_out_is_said() {
    let set = local(&[
        ("MSSQL_URL", "mssql://sa:pw@db"),
        ("REDIS_CLUSTER_URL", "redis://a,b"),
        ("LIFEBOAT_WITHOUT", "main, redis"),
        ("STORAGE_PROVIDER", "s3"),
    ]);
    let settings = understood(&set);
    let names: Vec<_> = settings.stacks[0].sources.iter().map(|source| &*source.name).collect();
    assert_eq!(names, ["other", "files"]);
    expect![[r#"
        what Sentinel keeps in its Redis is NOT in these backups, as LIFEBOAT_WITHOUT says, unless it is a SQLite file in /data: all of those are
        the main database (MSSQL_URL) is NOT in these backups, as LIFEBOAT_WITHOUT says: back it up with its own tools
        uploads are kept by provider s3, as STORAGE_PROVIDER says, and not in /data: they are NOT in these backups"#]]
    .assert_eq(&settings.sentinel.unwrap().notices.join("\n"));
    let set = local(&[("SNAPSHOTS_ENABLED", "0"), ("STORAGE_LOCAL_DIR", "/srv/uploads"), ("DATA_DIR", "/d")]);
    let settings = understood(&set);
    assert_eq!(settings.sentinel.as_ref().unwrap().disabled.as_deref(), Some("SNAPSHOTS_ENABLED switches backups off"));
    let SourceKind::Files(files) = &settings.stacks[0].source("files").unwrap().kind else { panic!("files") };
    assert_eq!(files.paths, [Path::new("/d"), Path::new("/srv/uploads")]);
}

#[test]
fn the_reload_after_a_restore_has_variables_of_its_own() {
    let settings = understood(&local(&[
        ("LIFEBOAT_RELOAD_CONTAINER", "altcha_sentinel"),
        ("LIFEBOAT_RELOAD_URL", "http://127.0.0.1:8080/reload?token=hunter3"),
        ("LIFEBOAT_RELOAD_HEADERS", "Authorization: Bearer hunter3"),
        ("LIFEBOAT_RELOAD_COMMAND", "reload hunter3"),
        ("LIFEBOAT_READY_URL", "http://127.0.0.1:8080/.ready"),
        ("LIFEBOAT_READY_WITHIN", "90s"),
    ]));
    let shown = settings.to_yaml().unwrap();
    expect![[r#"
        after_restore:
              restart:
              - altcha_sentinel
              call:
                url: ${LIFEBOAT_RELOAD_URL}
                method: POST
                headers: "***"
              run:
              - ${LIFEBOAT_RELOAD_COMMAND}
              ready:
                url: ${LIFEBOAT_READY_URL}
                within: 1m30s
    "#]]
    .assert_eq(&shown[shown.find("after_restore").unwrap()..shown.find("    sources:").unwrap()]);
    assert!(!format!("{settings:?}{shown}").contains("hunter3"));
}

#[test]
fn what_is_wrong_is_told_by_the_name_of_the_variable_and_no_secret() {
    let mut said = String::new();
    let url = "SNAPSHOTS_STORAGE_S3_URL";
    let base = [("SNAPSHOTS_STORAGE_LOCAL_DIR", "/srv/x"), ("SNAPSHOTS_ENCRYPTION_KEY", "hunter2")];
    let cases: &[&[(&str, &str)]] = &[
        &[("SNAPSHOTS_STORAGE_BUCKET", "bkt")],
        &[("SNAPHOSTS_STORAGE_S3_SECRET_KEY_FILE", "/x")],
        &[base[0], base[1], ("SNAPHOSTS_ENCRYPTION_KEY", "hunter3")],
        &[base[0], base[1], ("SNAPSHOTS_AGE_PUBLIC_KEY", PUBLIC)],
        &[("SNAPSHOTS_STORAGE_PROVIDER", "ftp")],
        &[("SNAPSHOTS_ENABLED", "no")],
        &[("SNAPSHOTS_ENCRYPTION_KEY", "hunter2")],
        &[("SNAPSHOTS_AGE_SECRET_KEY", "AGE-SECRET-KEY-1hunter2")],
        &[("SNAPSHOTS_STORAGE_LOCAL_DIR", "/srv/x"), ("SNAPSHOTS_AGE_SECRET_KEY", "AGE-SECRET-KEY-1hunter2")],
        &[("SNAPSHOTS_STORAGE_PROVIDER", "azure"), ("SNAPSHOTS_STORAGE_S3_BUCKET", "bkt")],
        &[("SNAPSHOTS_STORAGE_PROVIDER", "azure")],
        &[("SNAPSHOTS_STORAGE_AZURE_CONTAINER", "box")],
        &[("SNAPSHOTS_STORAGE_LOCAL_DIR", "backups")],
        &[("SNAPSHOTS_STORAGE_LOCAL_DIR", "/srv/x")],
        &[("SNAPSHOTS_STORAGE_LOCAL_DIR", "/srv/x"), ("SNAPSHOTS_AGE_PUBLIC_KEY", "AGE-SECRET-KEY-1hunter2")],
        &[("SNAPSHOTS_STORAGE_LOCAL_DIR_FILE", "/no/such/file")],
        &[(url, "https://me:hunter2@h/?bucket=bkt&regoin=hunter2")],
        &[(url, "https://me@h/?bucket=bkt")],
        &[(url, "s3://b/hunter2")],
        &[(url, "https://h/?region=x")],
        &[(url, "https://h/?bucket=bkt"), ("SNAPSHOTS_STORAGE_S3_BUCKET", "other")],
        &[(url, "https://h/?bucket=bkt&prefix=p"), ("SNAPSHOTS_DB_PREFIX", "q"), base[1]],
        &[("SNAPSHOTS_STORAGE_S3_BUCKET", "bkt"), ("SNAPSHOTS_STORAGE_S3_ACCESS_KEY_ID", "x")],
        &[base[0], base[1], ("SNAPSHOTS_DB_PREFIX", "x/${iso_day()}")],
        &[base[0], base[1], ("SNAPSHOTS_ENABLED", "maybe")],
        &[base[0], base[1], ("MSSQL_URL", "mssql://sa:hunter2@db")],
        &[base[0], base[1], ("POSTGRES_URL", "postgres://a"), ("MYSQL_URL", "mysql://b")],
        &[base[0], base[1], ("POSTGRES_URL", "host=db password=hunter2")],
        &[base[0], base[1], ("REDIS_CLUSTER_URL", "redis://x:hunter2@a,b")],
        &[base[0], base[1], ("EXOTDB_REDIS_STORAGE", "turbolite")],
        &[base[0], base[1], ("LIFEBOAT_WITHOUT", "mian")],
        &[base[0], base[1], ("LIFEBOAT_REPOSITORY", "s3://bkt/x")],
        &[base[0], base[1], ("LIFEBOAT_READY_URL", "http://me:hunter2@h/.ready")],
        &[base[0], base[1], ("LIFEBOAT_READY_URL", "http://h/.ready"), ("LIFEBOAT_READY_WITHIN", "soon")],
        &[base[0], base[1], ("DATA_DIR", "data")],
        &[base[0], base[1], ("SNAPSHOTS_CRON_SCHEDULE", "*/30 * * * * *")],
    ];
    for set in cases {
        let fault = understood_with(set, &[]).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Config);
        said += &format!("{}\n    {}\n", fault.message, fault.hint.unwrap_or_default());
    }
    let fault = understood_with(&local(&[]), &[("SNAPSHOTS_ENABLE", "1")]).unwrap_err();
    said += &fault.message;
    assert!(!said.contains("hunter"), "{said}");
    expect![[r#"
        SNAPSHOTS_STORAGE_BUCKET is set and not understood
            did you mean SNAPSHOTS_STORAGE_S3_BUCKET? known, each also with _FILE: SNAPSHOTS_AGE_PUBLIC_KEY, SNAPSHOTS_AGE_SECRET_KEY, SNAPSHOTS_CRON_SCHEDULE, SNAPSHOTS_DB_PREFIX, SNAPSHOTS_ENABLED, SNAPSHOTS_ENCRYPTION_KEY, SNAPSHOTS_MAIN_SCHEDULE, SNAPSHOTS_REDIS_SCHEDULE, SNAPSHOTS_STORAGE_AZURE_CONNECTION_STRING, SNAPSHOTS_STORAGE_AZURE_CONTAINER, SNAPSHOTS_STORAGE_LOCAL_DIR, SNAPSHOTS_STORAGE_PROVIDER, SNAPSHOTS_STORAGE_S3_ACCESS_KEY_ID, SNAPSHOTS_STORAGE_S3_BUCKET, SNAPSHOTS_STORAGE_S3_ENDPOINT, SNAPSHOTS_STORAGE_S3_REGION, SNAPSHOTS_STORAGE_S3_SECRET_ACCESS_KEY, SNAPSHOTS_STORAGE_S3_URL
        SNAPHOSTS_STORAGE_S3_SECRET_KEY_FILE is set and not understood
            did you mean SNAPHOSTS_STORAGE_S3_SECRET_ACCESS_KEY? known, each also with _FILE: SNAPHOSTS_AGE_PUBLIC_KEY, SNAPHOSTS_AGE_SECRET_KEY, SNAPHOSTS_CRON_SCHEDULE, SNAPHOSTS_DB_PREFIX, SNAPHOSTS_ENABLED, SNAPHOSTS_ENCRYPTION_KEY, SNAPHOSTS_MAIN_SCHEDULE, SNAPHOSTS_REDIS_SCHEDULE, SNAPHOSTS_STORAGE_AZURE_CONNECTION_STRING, SNAPHOSTS_STORAGE_AZURE_CONTAINER, SNAPHOSTS_STORAGE_LOCAL_DIR, SNAPHOSTS_STORAGE_PROVIDER, SNAPHOSTS_STORAGE_S3_ACCESS_KEY_ID, SNAPHOSTS_STORAGE_S3_BUCKET, SNAPHOSTS_STORAGE_S3_ENDPOINT, SNAPHOSTS_STORAGE_S3_REGION, SNAPHOSTS_STORAGE_S3_SECRET_ACCESS_KEY, SNAPHOSTS_STORAGE_S3_URL
        SNAPSHOTS_ENCRYPTION_KEY and SNAPHOSTS_ENCRYPTION_KEY are one setting, and differ
            unset one of the two
        SNAPSHOTS_AGE_PUBLIC_KEY: SNAPSHOTS_ENCRYPTION_KEY is set too, and an archive is encrypted to one of the two
            unset one of the two; the repository gets a password of its own with LIFEBOAT_PASSWORD_FILE
        SNAPSHOTS_STORAGE_PROVIDER: no such provider is known
            write s3, azure or local
        SNAPSHOTS_ENABLED switches backups off; for anything else, Sentinel's variables do not say where snapshots go
            set SNAPSHOTS_STORAGE_PROVIDER to s3, azure or local, and the variables that belong to it, such as SNAPSHOTS_STORAGE_LOCAL_DIR with a folder that is not in Sentinel's own volume
        Sentinel's variables do not say where snapshots go
            set SNAPSHOTS_STORAGE_PROVIDER to s3, azure or local, and the variables that belong to it, such as SNAPSHOTS_STORAGE_LOCAL_DIR with a folder that is not in Sentinel's own volume
        SNAPSHOTS_AGE_SECRET_KEY alone configures nothing: it opens archives in a restore; missing is where they are, and to whom they are encrypted
            set SNAPSHOTS_STORAGE_PROVIDER with what belongs to it, and SNAPSHOTS_AGE_PUBLIC_KEY, which `age-keygen -y` makes of the secret key
        there is no key to encrypt archives with: SNAPSHOTS_AGE_SECRET_KEY only opens them
            set SNAPSHOTS_AGE_PUBLIC_KEY to the public key that belongs to it, which `age-keygen -y` makes of it
        SNAPSHOTS_STORAGE_S3_BUCKET: it is set, and snapshots go to provider azure
            unset it, or name the provider that it belongs to in SNAPSHOTS_STORAGE_PROVIDER
        SNAPSHOTS_STORAGE_AZURE_CONTAINER is missing
            set it to the name of the container
        SNAPSHOTS_STORAGE_AZURE_CONNECTION_STRING is missing
            set it to the connection string that Azure shows among the access keys
        SNAPSHOTS_STORAGE_LOCAL_DIR: this is no path from the root
            write it like /srv/backups
        there is no key to encrypt archives with
            set SNAPSHOTS_AGE_PUBLIC_KEY to the public key that `age-keygen` prints, or SNAPSHOTS_ENCRYPTION_KEY to a passphrase: Sentinel's secrets are among what is backed up
        SNAPSHOTS_AGE_PUBLIC_KEY: this is a secret key, which must not stand here
            write the public key that belongs to it: `age-keygen -y FILE` prints it
        SNAPSHOTS_STORAGE_LOCAL_DIR_FILE: cannot read /no/such/file
            name a file that is there and can be read
        SNAPSHOTS_STORAGE_S3_URL: its query holds what is not understood
            did you mean `region`? known are bucket, prefix, region; write it like https://ID:SECRET@HOST/?bucket=NAME&prefix=PATH&region=NAME
        SNAPSHOTS_STORAGE_S3_URL: it holds one part of an access key
            write it like https://ID:SECRET@HOST/?bucket=NAME&prefix=PATH&region=NAME
        SNAPSHOTS_STORAGE_S3_URL: this is no address of a server that speaks S3
            write it like https://ID:SECRET@HOST/?bucket=NAME&prefix=PATH&region=NAME
        SNAPSHOTS_STORAGE_S3_BUCKET is missing
            set it to the name of the bucket
        SNAPSHOTS_STORAGE_S3_BUCKET: SNAPSHOTS_STORAGE_S3_URL says something else
            give it in one of the two
        SNAPSHOTS_DB_PREFIX: it and `prefix` in SNAPSHOTS_STORAGE_S3_URL are one setting, and differ
            give the prefix in one of the two
        SNAPSHOTS_STORAGE_S3_SECRET_ACCESS_KEY is missing
            set it, or unset SNAPSHOTS_STORAGE_S3_ACCESS_KEY_ID, to which it belongs
        SNAPSHOTS_DB_PREFIX: `${iso_day()}` is no place to fill in
            known here: ${stack}, ${source}, ${host}, ${iso_date()}, ${iso_datetime()}; $$ is a plain dollar
        SNAPSHOTS_ENABLED: expected 0 or 1
            write 0 to switch backups off, 1 or nothing to have them
        MSSQL_URL: Lifeboat cannot capture this kind of database
            back it up with its own tools, and set LIFEBOAT_WITHOUT=main so that the rest is backed up without it
        MYSQL_URL: POSTGRES_URL is set too, and Sentinel has one main database
            unset the one that it does not use
        POSTGRES_URL: this is no address of such a server
            write it like postgres://user:password@host:5432/database
        REDIS_CLUSTER_URL: Lifeboat cannot capture a cluster of Redis
            back it up with its own tools, and set LIFEBOAT_WITHOUT=redis so that the rest is backed up without it
        EXOTDB_REDIS_STORAGE: Lifeboat can capture storage `local` alone
            back it up with its own tools, and set LIFEBOAT_WITHOUT=redis so that the rest is backed up without it
        LIFEBOAT_WITHOUT: this names no part of Sentinel
            write main, redis, or both with a comma between them
        LIFEBOAT_REPOSITORY: this is not of the provider that snapshots go to
            write a folder, or with provider s3 or azure a place that its login opens, as s3://BUCKET/PATH or azblob://CONTAINER/PATH
        LIFEBOAT_READY_URL: this is no address that a request can go to
            write it like http://127.0.0.1:8080/path
        LIFEBOAT_READY_WITHIN: expected a span of time
            write it like 90s, 2m or 1h
        DATA_DIR: this is no path from the root
            write it like /data
        SNAPSHOTS_CRON_SCHEDULE: there are 6 fields, and a schedule has five
            there are no seconds, years and commands here: write minute, hour, day of month, month and day of week, such as "0 */4 * * *" for every four hours, or @daily
        SNAPSHOTS_ENABLE in /data/.env is set and not understood"#]].assert_eq(&said);
}
