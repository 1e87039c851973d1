//! The configuration as a user meets it: good files, bad files, where it is looked for, what is shown and written.

mod bad;
mod copies;
mod notifications;
mod served;

use std::fs;
use std::time::Duration;

use expect_test::expect;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use crate::retention::Policy;

fn environment() -> Environment {
    Environment::of([("HOME", "/home/a"), ("EMPTY", ""), ("KEY", "hunter2"), ("N", "5"), ("DIR", "/srv/x y")])
}

fn read(text: &str) -> Settings {
    parse(text, Path::new("/etc/lifeboat/lifeboat.yaml"), &environment())
        .unwrap_or_else(|fault| panic!("{fault:?}\n{text}"))
}

const WHOLE: &str = r#"
version: 1
state_dir: state
password_command: [cat, "my file"]
copies:
  disk: { url: "file:///srv/backups", media: usb, offsite: true, layout: repository }
stacks:
  cht:
    schedule: "0 */4 * * *"
    timezone: Africa/Nairobi
    copies: [disk]
    retention: { last: "${N}", daily: all, within: 1y2m, tags: ["a, b", c] }
    drill: { schedule: "0 6 * * 0", level: 2 }
    rpo: 6h
    rto: 1h30m
    before: ["sync && echo $1 $$ ${EMPTY:-d}", [docker, stop, "${N}", 0x10]]
    after_restore:
      restart: [api, cht-nginx]
      call: { url: "http://127.0.0.1:5988/reload?key=${KEY}", headers_file: headers }
      run: ["echo ${N}"]
      ready: { url: "http://127.0.0.1:5988/.ready", within: 90s }
    sources:
      data:
        files:
          paths: [., ./a/../b//c, "${DIR}", /abs/]
          exclude: "*.log"
          exclude_caches: true
          one_file_system: ${FLAG:-true}
          append_only: []
          full_read: 0s
      db: { schedule: "*/5 * * * *", sqlite: { paths: ["*.db", data], exclude: [tmp] } }
      config: { compose: { files: [compose/*.yml], env: .env, project: cht } }
      dump: { command: { run: "pg_dump x", name: x.sql, trailer: "-- done" } }
      "2": { command: { run: true } }
      records: { couchdb: { data: couch, config: "volume:cht_cht-credentials", full_read: 1d, nouveau: true, url: 'http://127.0.0.1:5984', user: medic, password_file: couch-password } }
      shop: { postgres: { service: db, project: shop, user: backup, databases: "shop_*", exclude: [shop_old] } }
      crm: { postgres: { url: 'postgresql://db:5432?sslmode=require', password_file: crm-password, tools: pg/bin } }
      blog: { mysql: { url: 'mysql://db', user: backup, databases: blog } }
      cache: { redis: { url: 'unix:///run/redis.sock', max_shrink: 90% } }
      queue: { redis: { files: 'volume:shop_queue' } }
"#;

#[test]
fn commands_are_texts_for_a_shell_or_lists_without_one() {
    let settings = read(WHOLE);
    let program = |parts: &[&str]| CommandLine::Program(parts.iter().map(|part| part.to_string().into()).collect());
    let stack = settings.stack("cht").unwrap();
    // `$1` is the shell's; a number stays as it was typed.
    let typed = |typed: &str, run: &str| Typed::new(typed.to_owned(), run.to_owned());
    let shell = CommandLine::Shell(typed("sync && echo $1 $$ ${EMPTY:-d}", "sync && echo $1 $ ${EMPTY:-d}"));
    let parts = [typed("docker", "docker"), typed("stop", "stop"), typed("${N}", "5"), typed("0x10", "0x10")];
    assert_eq!(stack.hooks.before, [shell, CommandLine::Program(parts.into())].map(HookSettings::new));
    let password = SecretSource::Command { line: program(&["cat", "my file"]), folder: "/etc/lifeboat".into() };
    assert_eq!(settings.password, Some(password));
    let SourceKind::Command(command) = &stack.source("2").unwrap().kind else { panic!("a command") };
    assert_eq!(command.run, CommandLine::Shell("true".to_owned().into()));
    assert_eq!(command.name, "2", "the file is named like the source");
}

#[test]
fn what_a_variable_of_a_command_holds_is_run_and_never_shown() {
    let environment = Environment::of([("TOKEN", "hunter2"), ("HOME", "/home/a")]);
    let text = "version: 1\npassword_command: 'exit 3 # ${TOKEN}'\ncopies: {disk: {url: /b}}\nstacks: {a: {\
                before: ['x ${TOKEN}', [x, '${TOKEN}']], sources: {s: {command: {run: 'echo ${TOKEN}'}}}}}";
    let settings = parse(text, Path::new("/etc/lifeboat/lifeboat.yaml"), &environment).unwrap();
    let before = settings.stacks[0].hooks.before.iter().map(|hook| hook.run.clone()).collect::<Vec<_>>();
    assert_eq!(before[0].program(), ("sh", vec!["-c", "x ${TOKEN}"]));
    assert_eq!(before[1].program(), ("x", vec!["hunter2"]));
    let fault = settings.password.as_ref().unwrap().read().unwrap_err();
    let shown = [
        settings.to_yaml().unwrap(),
        settings.to_json().unwrap().to_string(),
        format!("{settings:?} {} {} {} {fault:?}", before[0], before[1], settings.password.as_ref().unwrap()),
    ];
    for shown in shown {
        assert!(!shown.contains("hunter2") && shown.contains("${TOKEN}"), "{shown}");
    }
}

#[test]
fn hooks_and_freezing_have_options_and_are_shown_as_they_count() {
    let settings = read(
        "version: 1\npassword_file: pw\ncopies: {disk: {url: b}}\nstacks: {a: {\
         after: [{run: [sync], on_error: warn, timeout: 90s}, {run: 'x ${KEY}', container: c}],\
         freeze: {mode: stop, services: web, project: shop, containers: [c, d], max_downtime: 5m},\
         sources: {s: {files: {paths: x}, before: [{run: x, service: db, project: p}], after: ['y']}}}}",
    );
    let stack = &settings.stacks[0];
    let line = |text: &str| CommandLine::Shell(text.to_owned().into());
    let service = ContainerSettings::Service { service: "db".into(), project: Some("p".into()) };
    let in_service = HookSettings { container: Some(service), ..HookSettings::new(line("x")) };
    assert_eq!(stack.sources[0].hooks, Hooks { before: vec![in_service], after: vec![HookSettings::new(line("y"))] });
    assert_eq!((stack.hooks.after[0].on_error, stack.hooks.after[0].timeout), (OnError::Warn, Duration::from_secs(90)));
    let shown = settings.to_json().unwrap();
    let shown = &shown["stacks"]["a"];
    let freeze = serde_json::json!({
        "mode": "stop", "services": ["web"], "project": "shop", "containers": ["c", "d"], "max_downtime": "5m",
    });
    assert_eq!(shown["freeze"], freeze);
    let hook = serde_json::json!({ "run": "x ${KEY}", "container": "c", "timeout": "1h", "on_error": "fail" });
    assert_eq!(shown["after"][1], hook);
    assert_eq!(shown["sources"]["s"]["before"][0]["service"], "db");
    // What is shown means the same.
    let again = settings.to_yaml().unwrap();
    assert_eq!(
        parse(&again, Path::new("/etc/lifeboat/lifeboat.yaml"), &environment()).unwrap().stacks,
        settings.stacks
    );
}

#[test]
fn the_password_of_a_database_is_never_shown() {
    let settings = read(
        "version: 1\npassword_file: pw\ncopies: {disk: {url: b}}\nstacks: {a: {sources: {s: {postgres: {service: db, password: hunter2}}}}}",
    );
    for shown in [settings.to_yaml().unwrap(), settings.to_json().unwrap().to_string(), format!("{settings:?}")] {
        assert!(!shown.contains("hunter2") && shown.contains("db"), "{shown}");
    }
}

#[test]
fn places_are_paths_of_the_host_volumes_or_services() {
    let place = |typed: &str| {
        let text = format!(
            "version: 1\npassword_file: pw\ncopies: {{disk: {{url: b}}}}\nstacks: {{a: {{sources: {{s: {{tls: {{from: {typed:?}}}}}}}}}}}"
        );
        let settings = read(&text);
        let SourceKind::Tls(TlsSettings::From { from }) = settings.stacks[0].sources[0].kind.clone() else {
            panic!("a place")
        };
        assert_eq!(settings.to_json().unwrap()["stacks"]["a"]["sources"]["s"]["tls"]["from"], from.to_string());
        from
    };
    let volume = |name: &str, below: &str| PlaceSettings::Volume { name: name.into(), below: below.into() };
    let service = |project: Option<&str>, service: &str, path: &str| PlaceSettings::Service {
        project: project.map(str::to_owned),
        service: service.into(),
        path: path.into(),
    };
    assert_eq!(place("tls"), PlaceSettings::Host("/etc/lifeboat/tls".into()));
    assert_eq!(place("/srv/a:/b"), PlaceSettings::Host("/srv/a:/b".into()));
    assert_eq!(place("./a:/b"), PlaceSettings::Host("/etc/lifeboat/a:/b".into()));
    assert_eq!(place("volume:cht_cht-ssl"), volume("cht_cht-ssl", ""));
    assert_eq!(place("volume:certs/live/a/"), volume("certs", "live/a"));
    assert_eq!(place("nginx:/etc/nginx/private"), service(None, "nginx", "/etc/nginx/private"));
    assert_eq!(place("cht/nginx:/etc"), service(Some("cht"), "nginx", "/etc"));
}

#[test]
fn what_is_left_out_gets_its_default() {
    let text = "version: 1\npassword_file: pw\ncopies: {disk: {url: backups}}\n\
                stacks: {a: {drill: {}, sources: {s: {files: {paths: x}}}}, b: {retention: {}, sources: {s: {files: {paths: x}}}}}";
    let settings = read(text);
    assert_eq!(settings.folder(), Path::new("/etc/lifeboat"));
    assert_eq!(settings.state_dir, Path::new("/home/a/.local/state/lifeboat"));
    assert_eq!(settings.password, Some(SecretSource::File("/etc/lifeboat/pw".into())));
    let copy = CopySettings {
        name: "disk".into(),
        location: Location::Local("/etc/lifeboat/backups".into()),
        layout: Layout::Repository { password: SecretSource::File("/etc/lifeboat/pw".into()) },
        retention: None,
        media: "disk".into(),
        offsite: false,
        immutable: false,
        removable: false,
        site: None,
        provider: None,
        account: None,
        region: None,
        upload_limit: None,
        download_limit: None,
    };
    assert_eq!(settings.copies, [copy]);
    let [a, b] = &settings.stacks[..] else { panic!("two stacks") };
    assert_eq!((a.schedule.as_ref(), a.rpo, a.rto, a.hooks.before.len()), (None, None, None, 0));
    assert_eq!((&a.time_zone, &a.copies[..]), (&TimeZone::UTC, &["disk".to_owned()][..]));
    assert_eq!(a.drill, Some(DrillSettings { schedule: None, level: 3 }));
    assert_eq!(a.retention, Policy::preset());
    assert!(b.retention.is_empty(), "an empty policy is not the default one: it keeps everything");
    let files = FilesSettings::new(vec!["/etc/lifeboat/x".into()]);
    assert_eq!(files.append_only, ["*.couch", "*.view"]);
    assert_eq!(a.source("s").unwrap().kind, SourceKind::Files(files));
}

#[test]
fn a_secret_is_masked_wherever_settings_are_shown() {
    let settings = read(&WHOLE.replace("password_command: [cat, \"my file\"]", "password: ${KEY}"));
    let Some(SecretSource::Given(secret)) = &settings.password else { panic!("{:?}", settings.password) };
    assert_eq!(secret.expose(), "hunter2");
    let shown = format!("{settings:?} {} {}", settings.to_yaml().unwrap(), settings.to_json().unwrap());
    assert!(!shown.contains("hunter2"));
    assert_eq!(settings.to_json().unwrap()["password"], "***");
}

#[test]
fn show_gives_the_effective_values_in_the_shape_of_the_file() {
    let settings = read(WHOLE);
    let shown = settings.to_yaml().unwrap();
    expect![[r#"
        version: 1
        state_dir: /etc/lifeboat/state
        password_command:
        - cat
        - my file
        copies:
          disk:
            url: /srv/backups
            media: usb
            offsite: true
            immutable: false
            removable: false
            password_command:
            - cat
            - my file
        stacks:
          cht:
            schedule: 0 */4 * * *
            timezone: Africa/Nairobi
            overlap: refuse
            copies:
            - disk
            retention:
              last: 5
              daily: all
              within: 1y2m
              tags:
              - a,b
              - c
            drill:
              schedule: 0 6 * * 0
              level: 2
            rpo: 6h
            rto: 1h30m
            before:
            - run: sync && echo $1 $$ ${EMPTY:-d}
              timeout: 1h
              on_error: fail
            - run:
              - docker
              - stop
              - ${N}
              - "0x10"
              timeout: 1h
              on_error: fail
            after_restore:
              restart:
              - api
              - cht-nginx
              call:
                url: http://127.0.0.1:5988/reload?key=${KEY}
                method: POST
                headers_file: /etc/lifeboat/headers
              run:
              - echo ${N}
              ready:
                url: http://127.0.0.1:5988/.ready
                within: 1m30s
            sources:
              data:
                files:
                  paths:
                  - /etc/lifeboat
                  - /etc/lifeboat/a/../b/c
                  - /srv/x y
                  - /abs
                  exclude:
                  - "*.log"
                  exclude_caches: true
                  one_file_system: true
                  append_only: []
                  full_read: 0s
              db:
                schedule: "*/5 * * * *"
                sqlite:
                  paths:
                  - /etc/lifeboat/*.db
                  - /etc/lifeboat/data
                  exclude:
                  - tmp
                  max_shrink: 50%
              config:
                compose:
                  files:
                  - /etc/lifeboat/compose/*.yml
                  env:
                  - /etc/lifeboat/.env
                  project: cht
              dump:
                command:
                  run: pg_dump x
                  name: x.sql
                  trailer: -- done
              "2":
                command:
                  run: "true"
                  name: "2"
              records:
                couchdb:
                  data: /etc/lifeboat/couch
                  config: volume:cht_cht-credentials
                  full_read: 1d
                  nouveau: true
                  url: http://127.0.0.1:5984
                  user: medic
                  password_file: /etc/lifeboat/couch-password
              shop:
                postgres:
                  service: db
                  project: shop
                  user: backup
                  databases:
                  - shop_*
                  exclude:
                  - shop_old
                  max_shrink: 50%
              crm:
                postgres:
                  url: postgresql://db:5432?sslmode=require
                  password_file: /etc/lifeboat/crm-password
                  tools: /etc/lifeboat/pg/bin
                  max_shrink: 50%
              blog:
                mysql:
                  url: mysql://db
                  user: backup
                  databases:
                  - blog
                  max_shrink: 50%
              cache:
                redis:
                  url: unix:///run/redis.sock
                  max_shrink: 90%
              queue:
                redis:
                  files: volume:shop_queue
                  max_shrink: 50%
        jobs:
          at_once: 2
          timezone: UTC
        server:
          listen: 127.0.0.1:8484
          metrics: token
          restore_dir: /etc/lifeboat/state/restores
    "#]]
    .assert_eq(&shown);
    // What is shown is read back as the same. Only dollars are shown single, as the effective values have them.
    let again = read(&shown);
    assert_eq!(again, settings);
    assert_eq!(again.to_json().unwrap()["stacks"]["cht"]["rto"], "1h30m");
}

#[test]
fn names_that_do_not_exist_get_the_ones_that_do() {
    let settings = read(WHOLE);
    let fault = settings.stack("chat").unwrap_err();
    assert_eq!((fault.kind, fault.message.as_str()), (FaultKind::NotFound, "the configuration has no stack `chat`"));
    assert_eq!(fault.hint.as_deref(), Some("did you mean `cht`? it has: cht"));
    assert_eq!(settings.copy("tape").unwrap_err().hint.as_deref(), Some("it has: disk"));
    assert!(settings.copy("disk").is_ok());
    assert_eq!(settings.stack("cht").unwrap().source("db").unwrap().kind.name(), "sqlite");
}

#[test]
fn the_first_place_that_has_a_configuration_wins() {
    let folder = tempfile::tempdir().unwrap();
    let (here, system) = (folder.path().join("here.yaml"), folder.path().join("system.yaml"));
    let named = Environment::of([(FILE_VARIABLE, "/from/variable")]);
    let nothing = Environment::of([(FILE_VARIABLE, "")]);
    let find = |given: Option<&str>, environment| find_among(given.map(Path::new), environment, &[&here, &system]);
    assert_eq!(find(Some("/given"), &named).unwrap(), Path::new("/given"));
    assert_eq!(find(None, &named).unwrap(), Path::new("/from/variable"));
    let fault = find(None, &nothing).unwrap_err();
    assert!(fault.message.contains("here.yaml and no ") && fault.hint.unwrap().contains("lifeboat init"));
    fs::write(&system, "").unwrap();
    assert_eq!(find(None, &nothing).unwrap(), system);
    fs::write(&here, "").unwrap();
    assert_eq!(find(None, &nothing).unwrap(), here);
}

#[test]
fn a_file_that_cannot_be_a_configuration_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lifeboat.yaml");
    let error = || load(&file, &environment()).unwrap_err();
    assert!(error().text().ends_with("lifeboat.yaml does not exist"));
    fs::write(&file, b"version: \xff").unwrap();
    assert!(error().text().ends_with("is not a UTF-8 text"));
    fs::write(&file, vec![b'#'; 2 << 20]).unwrap();
    assert!(error().text().contains("larger than 1048576 bytes"));
    fs::write(&file, WHOLE).unwrap();
    let settings = load(&file, &environment()).unwrap();
    assert_eq!(settings.state_dir, folder.path().join("state"));
    assert_eq!(load(folder.path(), &environment()).unwrap_err().kind, FaultKind::Config);
}

#[test]
fn the_schema_describes_every_key_and_allows_no_others() {
    fn walk(schema: &serde_json::Value, path: &str, keys: &mut Vec<String>) {
        if let Some(properties) = schema["properties"].as_object() {
            assert_eq!(schema["additionalProperties"], false, "{path}");
            for (key, property) in properties {
                let path = format!("{path}.{key}");
                assert!(
                    property["description"].as_str().is_some_and(|text| text.len() > 10),
                    "{path} is not described"
                );
                let required = schema["required"].as_array().is_some_and(|keys| keys.contains(&key.as_str().into()));
                keys.push(path + if required { "!" } else { "" });
            }
        }
    }
    let schema = schema();
    let mut keys = Vec::new();
    walk(&schema, "", &mut keys);
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        walk(definition, name, &mut keys);
    }
    expect![".copies! .jobs .notifications .password .password_command .password_file .server .stacks! .state_dir .version! after_restore.call after_restore.ready after_restore.restart after_restore.run call.headers call.headers_command call.headers_file call.method call.url! check.hours check.read_data check.read_data_subset check.schedule! command.name command.run! command.trailer compose.env compose.files! compose.project container-files.container container-files.exclude container-files.paths! container-files.project container-files.service copy.access_key_id copy.access_key_id_command copy.access_key_id_file copy.account copy.account_key copy.account_key_command copy.account_key_file copy.application_key copy.application_key_command copy.application_key_file copy.application_key_id copy.application_key_id_command copy.application_key_id_file copy.bucket_id copy.connection_string copy.connection_string_command copy.connection_string_file copy.credential_file copy.download_limit copy.endpoint copy.immutable copy.known_hosts_file copy.layout copy.login_password copy.login_password_command copy.login_password_file copy.login_user copy.media copy.offsite copy.passphrase copy.passphrase_command copy.passphrase_file copy.password copy.password_command copy.password_file copy.prefix copy.private_key_file copy.provider copy.recipients copy.region copy.removable copy.retention copy.sas_token copy.sas_token_command copy.sas_token_file copy.secret_access_key copy.secret_access_key_command copy.secret_access_key_file copy.session_token copy.session_token_command copy.session_token_file copy.site copy.upload_limit copy.url! couchdb.config couchdb.data! couchdb.full_read couchdb.nouveau couchdb.password couchdb.password_command couchdb.password_file couchdb.url couchdb.user database.container database.databases database.exclude database.files database.max_shrink database.password database.password_command database.password_file database.project database.service database.tools database.url database.user drill.level drill.schedule email.encryption email.from! email.password email.password_command email.password_file email.server! email.to! email.user files.append_only files.exclude files.exclude_caches files.full_read files.one_file_system files.paths! freeze.containers freeze.max_downtime freeze.mode! freeze.project freeze.services hook.container hook.on_error hook.project hook.run! hook.service hook.timeout job.hours job.schedule! jobs.at_once jobs.check jobs.prune jobs.sync jobs.tamper_test jobs.timezone notification-webhook.allow_local notification-webhook.body notification-webhook.chat notification-webhook.token notification-webhook.token_command notification-webhook.token_file notification-webhook.url notification-webhook.url_command notification-webhook.url_file notifications.nothing_ran_for notifications.timezone notifications.to! pings.allow_local pings.jobs pings.url pings.url_command pings.url_file ready.url! ready.within receiver.digest receiver.discord receiver.email receiver.gotify receiver.healthchecks receiver.ntfy receiver.severity receiver.slack receiver.teams receiver.telegram receiver.webhook retention.daily retention.hourly retention.last retention.monthly retention.tags retention.weekly retention.within retention.within_daily retention.within_hourly retention.within_monthly retention.within_weekly retention.within_yearly retention.yearly server.certificate server.certificate_key server.listen server.metrics server.restore_dir server.url source.after source.before source.command source.compose source.container-files source.couchdb source.files source.mysql source.postgres source.redis source.schedule source.sqlite source.tls source.volume sqlite.exclude sqlite.max_shrink sqlite.paths! stack.after stack.after_restore stack.before stack.copies stack.drill stack.freeze stack.hours stack.overlap stack.retention stack.rpo stack.rto stack.schedule stack.sources! stack.timezone tls.cert tls.from tls.key volume.append_only volume.exclude volume.full_read volume.halt volume.name!"].assert_eq(&keys.join(" "));
}

fn found(name: &str, kind: SourceKind, note: Option<&str>) -> NewSource {
    NewSource { source: SourceSettings::new(name, kind), note: note.map(str::to_owned) }
}

#[test]
fn init_writes_a_file_that_people_can_read() {
    let dump = CommandSettings {
        run: CommandLine::Program(["pg_dump", "--dbname", "my db"].map(|part| part.to_owned().into()).to_vec()),
        name: "db.sql".into(),
        trailer: Some("-- PostgreSQL database dump complete\n".into()),
    };
    let config = NewConfig {
        password_file: "/etc/lifeboat/password".into(),
        copies: NewCopy::at(
            ["/srv/backups/cht", "s3://bucket/cht", "sftp://b@nas//srv/cht"].map(|url| Url::parse(url).unwrap()),
        ),
        stack: "cht".into(),
        program: "/usr/local/bin/lifeboat".into(),
        presets: Presets::default(),
        sources: vec![
            found(
                "files",
                SourceKind::Files(FilesSettings {
                    exclude: vec!["*.log".into(), "/cache/".into()],
                    one_file_system: true,
                    full_read: Duration::from_secs(86_400),
                    ..FilesSettings::new(vec!["/srv/cht".into()])
                }),
                Some("everything else in /srv/cht"),
            ),
            found(
                "databases",
                SourceKind::Sqlite(SqliteSettings::new(vec!["/srv/cht/a.db".into(), "/srv/cht/b c.db".into()], vec![])),
                Some("2 SQLite databases\nfound"),
            ),
            found(
                "compose",
                SourceKind::Compose(ComposeSettings {
                    files: vec!["/srv/cht/compose.yml".into()],
                    env: vec!["/srv/cht/.env".into()],
                    project: None,
                }),
                None,
            ),
            found("no", SourceKind::Command(dump), None),
        ],
    };
    let text = render(&config).unwrap();
    expect![[r##"
        # What Lifeboat backs up, and where to. `lifeboat config check` tries it out,
        # `lifeboat config schema` lists everything that may stand here.
        version: 1

        # Without this password the backups cannot be read: keep a copy of it on another machine or on paper.
        password_file: /etc/lifeboat/password

        # Where the backups go, the place to prefer first.
        copies:
          local:
            url: /srv/backups/cht
            media: disk
          s3:
            url: "s3://bucket/cht"
            # Without an access key, what the platform says is used, such as an instance's role.
            # endpoint: https://s3.example.org    # where it is not Amazon's
            # region: eu-1
            # access_key_id_file: /etc/lifeboat/s3-key-id
            # secret_access_key_file: /etc/lifeboat/s3-key
            # offsite: true    # where it is at another site than the data
          sftp:
            url: "sftp://b@nas//srv/cht"
            # Without these, an ssh-agent and ~/.ssh are asked.
            # private_key_file: /etc/lifeboat/id_ed25519
            # known_hosts_file: /etc/lifeboat/known_hosts
            # offsite: true    # where it is at another site than the data

        stacks:
          cht:
            # `lifeboat serve` acts on this. Without it, a line of root's crontab does:
            #   0 */4 * * *  /usr/local/bin/lifeboat --config /path/of/this/file --quiet backup cht
            schedule: "0 */4 * * *"
            # `lifeboat status` warns where the newest backup is older than this.
            rpo: 26h
            # The newest snapshot, and the newest that passed a drill, stay in any case.
            retention: { last: 3, hourly: 24, daily: 7, weekly: 4, monthly: 12, yearly: 3 }
            sources:
              # everything else in /srv/cht
              files:
                files:
                  paths: [/srv/cht]
                  exclude: ["*.log", /cache/]
                  one_file_system: true
                  full_read: "1d"
              # 2 SQLite databases found
              databases:
                sqlite:
                  paths: [/srv/cht/a.db, "/srv/cht/b c.db"]
              compose:
                compose:
                  files: [/srv/cht/compose.yml]
                  env: [/srv/cht/.env]
              "no":
                command:
                  run: [pg_dump, "--dbname", "my db"]
                  name: db.sql
                  trailer: "-- PostgreSQL database dump complete\n"
    "##]]
    .assert_eq(&text);
    let settings = read(&text);
    let sources: Vec<_> = config.sources.into_iter().map(|new| new.source).collect();
    assert_eq!(settings.stacks[0].sources, sources);
    assert_eq!(settings.stacks[0].retention, Policy::preset());
    assert_eq!(settings.password, Some(SecretSource::File(config.password_file)));
    let copies = settings.copies.iter().map(|copy| NewCopy { name: copy.name.clone(), url: copy.location.url() });
    assert_eq!(copies.collect::<Vec<_>>(), config.copies);
}

#[test]
fn a_path_that_yaml_cannot_hold_is_refused_rather_than_changed() {
    use std::os::unix::ffi::OsStringExt;
    let mut config = new_config(Vec::new());
    config.copies = NewCopy::at([Url::Folder(std::ffi::OsString::from_vec(b"/srv/\xff".to_vec()).into())]);
    assert!(render(&config).unwrap_err().message.contains("is not UTF-8"));
}

fn new_config(sources: Vec<NewSource>) -> NewConfig {
    let copies = NewCopy::at([Url::Folder("/b".into())]);
    NewConfig {
        password_file: "/pw".into(),
        copies,
        stack: "s".into(),
        sources,
        program: "/usr/bin/lifeboat".into(),
        presets: Presets::default(),
    }
}

/// Texts that YAML readers stumble over, and any others.
fn awkward() -> impl Strategy<Value = String> {
    let known = [
        "no",
        "NULL",
        "~",
        "1e3",
        "0x10",
        "- a",
        "a: b",
        "#x",
        "*",
        "&a",
        "${HOME}",
        "$$",
        "'",
        "\"",
        "\\",
        "\u{85}",
        "a\u{2028}b",
        "\u{1f600}",
        " x ",
        "\r\n\t",
    ];
    prop_oneof![prop::sample::select(known.to_vec()).prop_map(str::to_owned), "\\PC{1,20}", any::<String>()]
        .prop_filter("neither empty nor with NUL", |text| !text.trim().is_empty() && !text.contains('\0'))
}

proptest! {
    #[test]
    fn whatever_is_written_is_read_back_as_the_same(
        texts in prop::collection::vec(awkward(), 1..6),
        name in "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}",
        note in any::<Option<String>>(),
    ) {
        let paths: Vec<PathBuf> = texts.iter().map(|text| Path::new("/d").join(text.trim_start_matches('/')).components().collect()).collect();
        let (first, volume) = (paths[0].clone(), texts.clone());
        let plain: PathBuf = first.components().filter(|part| *part != std::path::Component::ParentDir).collect();
        let inside = Path::new("/etc").join(plain.strip_prefix("/").unwrap());
        let sources = vec![
            found(&name, SourceKind::Files(FilesSettings { exclude: texts.clone(), append_only: vec![], ..FilesSettings::new(paths.clone()) }), note.as_deref()),
            found("sqlite", SourceKind::Sqlite(SqliteSettings::new(paths.clone(), texts.clone())), None),
            found("couchdb", SourceKind::CouchDb(CouchDbSettings { config: paths.last().cloned().map(PlaceSettings::Host), nouveau: texts.len() > 2, ..CouchDbSettings::new(PlaceSettings::Volume { name: "couch".into(), below: PathBuf::new() }) }), None),
            found("compose", SourceKind::Compose(ComposeSettings { files: paths.clone(), env: paths, project: Some(texts[0].clone()) }), None),
            found("shell", SourceKind::Command(CommandSettings { run: CommandLine::Shell(texts[0].clone().into()), name: "shell".into(), trailer: Some(texts[0].clone()) }), None),
            found("list", SourceKind::Command(CommandSettings { run: CommandLine::Program(texts.into_iter().map(Into::into).collect()), name: "list".into(), trailer: None }), None),
            found("tls", SourceKind::Tls(TlsSettings::From { from: PlaceSettings::Host(first.clone()) }), None),
            found("pair", SourceKind::Tls(TlsSettings::Pair { cert: first.clone(), key: first }), None),
            found("volume", SourceKind::Volume(VolumeSettings { name: "shop_data".into(), exclude: volume.clone(), append_only: volume.clone(), full_read: Duration::ZERO, halt: Some(HaltSettings::Pause) }), None),
            found("postgres", SourceKind::Postgres(DatabaseSettings { user: volume.first().cloned(), databases: volume.clone(), exclude: volume.clone(), ..DatabaseSettings::new(DatabaseServer::Container(ContainerSettings::Container { container: "db".into() })) }), None),
            found("container", SourceKind::ContainerFiles(ContainerFilesSettings { of: ContainerSettings::Service { service: "web".into(), project: Some("shop".into()) }, paths: vec![inside], exclude: volume }), None),
        ];
        prop_assume!(!["sqlite", "compose", "shell", "list", "couchdb", "tls", "pair", "volume", "container", "postgres"].contains(&name.as_str()));
        let text = render(&new_config(sources.clone())).unwrap();
        let expected: Vec<_> = sources.into_iter().map(|new| new.source).collect();
        prop_assert_eq!(&read(&text).stacks[0].sources, &expected, "{}", text);
    }

    #[test]
    fn relative_paths_are_read_back_below_the_folder_of_the_file(name in "[a-z~:.]{1,6}") {
        let mut config = new_config(vec![found("s", SourceKind::Files(FilesSettings::new(vec![PathBuf::from(&name)])), None)]);
        config.copies = NewCopy::at([Url::Folder(PathBuf::from(&name))]);
        let settings = read(&render(&config).unwrap());
        let expected: PathBuf = Path::new("/etc/lifeboat").join(&name).components().collect();
        prop_assert_eq!(&settings.copies[0].location, &Location::Local(expected.clone()));
        prop_assert_eq!(&settings.stacks[0].sources[0].kind, &SourceKind::Files(FilesSettings::new(vec![expected])));
    }

    #[test]
    fn no_file_makes_the_reader_panic(text in "[a-z0-9:{}\\[\\]\"'*&!|>%@ \n\t#$-]{0,80}", at in 0usize..1000) {
        let _ = parse(&text, Path::new("x"), &environment());
        // Also with something odd in the middle of a good file.
        let at = WHOLE.char_indices().map(|(at, _)| at).nth(at % WHOLE.len()).unwrap_or(0);
        let broken = format!("{}{text}{}", &WHOLE[..at], &WHOLE[at..]);
        let _ = parse(&broken, Path::new("x"), &environment());
    }
}
