//! The configuration as a user meets it: good files, bad files, where it is looked for, what is shown and written.

use std::fmt::Write;
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

/// Every file in `bad/` has exactly one thing wrong, and what is said about it stands here.
#[test]
fn bad_files_are_told_what_is_wrong_and_where_and_what_to_do() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/bad");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut said = String::new();
    for file in files {
        let name = Path::new(file.file_name().unwrap());
        let text = fs::read_to_string(&file).unwrap();
        let Err(fault) = parse(&text, name, &environment()) else { panic!("{} is accepted", name.display()) };
        assert_eq!(fault.kind, FaultKind::Config);
        let hint = fault.hint.as_ref().unwrap_or_else(|| panic!("{fault:?} does not say what to do"));
        let _ = writeln!(said, "{}\n    {hint}", fault.text());
    }
    assert!(!said.contains("hunter2"), "a secret is shown");
    expect![[r#"
        alias.yaml:4:9: a text that begins with `*` needs quotes
            write it like "*.log"
        bad-indent.yaml:2:12: this is not YAML: mapping values are not allowed in this context
            texts that hold `: ` or ` #`, or begin with one of * & ! | > % @ ` { [, need quotes, and so does ${VAR} between { } or [ ]; indent with spaces
        copies-at-one-site-and-not.yaml:5:26: copies.there.site: copy `here` is at this site too, and only one of them says `offsite: true`
            a site is away from the data, or it is not
        copies-at-the-same-place.yaml:5:14: copies.nas.url: copy `disk` is at the very same place
            name another place, or remove one of the two
        copies-list.yaml:4:3: copies: expected keys and values here
            write {key: value}, or one `key: value` a line, indented
        copies-missing.yaml:1:1: `copies` is missing
            add for example `copies: {disk: {url: /srv/backups}}`
        copy-archive-key-in-repository.yaml:4:27: copies.disk.prefix: `prefix` does not fit a repository
            remove it; it belongs to copies with `layout: archive`
        copy-archive-no-recipient.yaml:4:50: copies.bundle.recipients: the list is empty
            name at least one recipient
        copy-archive-password.yaml:4:48: copies.bundle.password: `password` does not fit an archive copy
            remove it; it belongs to repositories; an archive copy has `recipients` or `passphrase_file`
        copy-archive-prefix.yaml:4:46: copies.bundle.prefix: `${HOME}` is no place to fill in
            known here: ${stack}, ${source}, ${host}, ${iso_date()}, ${iso_datetime()}; $$ is a plain dollar
        copy-archive-recipient.yaml:4:51: copies.bundle.recipients[0]: this is no public key of age or SSH
            write what begins with age1, ssh-ed25519 or ssh-rsa; `age-keygen` makes one
        copy-archive-secret-key.yaml:4:51: copies.bundle.recipients[0]: this is a secret key, which must not stand here
            write the public key that belongs to it: `age-keygen -y FILE` prints it
        copy-archive-two-keys.yaml:4:128: copies.bundle.passphrase: `recipients` and a passphrase are both given
            `age` takes one or the other: remove one of the two
        copy-archive-without-key.yaml:4:3: copies.bundle: an archive copy needs a key to encrypt with
            add `recipients: [age1…]`, the public keys that `age-keygen` prints, or `passphrase_file`
        copy-azure-account.yaml:4:47: copies.azure.account: this cannot be the name of a storage account
            write 3 to 24 small letters and digits
        copy-azure-two-logins.yaml:4:92: copies.azure.sas_token_file: `account_key_file` and `sas_token_file` are both given
            one of connection_string, account_key and sas_token is enough
        copy-azure-without-account.yaml:4:56: copies.azure.account_key_file: `account` is missing
            add the name of the storage account, or a `connection_string_file`
        copy-azure-without-anything.yaml:4:16: copies.azure.url: `account` is missing
            add the name of the storage account, or a `connection_string_file`
        copy-file-url-with-host.yaml:4:15: copies.disk.url: a `file://` URL must hold an absolute path, without `%`
            write a plain path instead, such as /srv/backups
        copy-key-misspelt.yaml:4:32: copies.nas.private_key: unknown key `private_key`
            did you mean `private_key_file`? known here: url, media, offsite, immutable, removable, site, provider, account, region, endpoint, access_key_id, access_key_id_file, access_key_id_command, secret_access_key, secret_access_key_file, secret_access_key_command, session_token, session_token_file, session_token_command, connection_string, connection_string_file, connection_string_command, account_key, account_key_file, account_key_command, sas_token, sas_token_file, sas_token_command, private_key_file, known_hosts_file, password, password_file, password_command, retention, upload_limit, download_limit, layout, prefix, recipients, passphrase, passphrase_file, passphrase_command
        copy-key-of-azure-in-s3.yaml:4:52: copies.offsite.connection_string: `connection_string` does not fit a copy in s3://
            remove it; it belongs to copies in azblob://
        copy-key-of-s3-in-folder.yaml:4:29: copies.disk.endpoint: `endpoint` does not fit a folder
            remove it; it belongs to copies in s3://
        copy-key-of-s3-in-sftp.yaml:4:56: copies.nas.secret_access_key_file: `secret_access_key_file` does not fit a copy over sftp://
            remove it; it belongs to copies in s3://
        copy-key-of-sftp-in-azure.yaml:4:71: copies.azure.private_key_file: `private_key_file` does not fit a copy in azblob://
            remove it; it belongs to copies over sftp://
        copy-label-of-remote-in-folder.yaml:4:28: copies.disk.account: `account` does not fit a folder
            remove it; it belongs to copies in s3://, azblob:// and sftp://
        copy-layout.yaml:4:27: copies.disk.layout: unknown layout
            write `layout: repository` or `layout: archive`, or remove it
        copy-limit-zero.yaml:4:35: copies.disk.download_limit: expected a bandwidth
            write it like 8MiB/s, 500kB/s or 20Mbit/s; without a limit, remove the key
        copy-limit.yaml:4:33: copies.disk.upload_limit: expected a bandwidth
            write it like 8MiB/s, 500kB/s or 20Mbit/s; without a limit, remove the key
        copy-name.yaml:4:3: copies.a b: this cannot be a name
            use letters, digits, `.`, `_` and `-`, not `.` or `-` first, at most 64 of them
        copy-offsite-maybe.yaml:4:28: copies.disk.offsite: expected true or false
            write one of the two, in small letters
        copy-restic-url.yaml:4:18: copies.offsite.url: `sftp:` must be followed by `//`
            write sftp://user@host:port/path; a path from the root begins with two slashes: sftp://user@host//srv/x
        copy-retention.yaml:4:38: copies.disk.retention.daily: expected a number of snapshots
            write a number from 0 on, or `all` to keep all of them
        copy-s3-endpoint-without-scheme.yaml:4:43: copies.offsite.endpoint: this is not the address of a server
            write https://host or https://host:port; the bucket stands in `url`, keys have settings of their own
        copy-s3-endpoint.yaml:4:43: copies.offsite.endpoint: this is not the address of a server
            write https://host or https://host:port; the bucket stands in `url`, keys have settings of their own
        copy-s3-half-a-key.yaml:4:48: copies.offsite.access_key_id: `secret_access_key` is missing
            give both parts of the access key, or neither to use what the platform says
        copy-s3-key-twice.yaml:4:106: copies.offsite.secret_access_key_file: `secret_access_key` and `secret_access_key_file` are both given
            remove one of the two
        copy-s3-keys-in-url.yaml:4:18: copies.offsite.url: only the name of the bucket stands between the slashes
            keys and passwords have settings of their own, and so has the server's address
        copy-s3-token-without-key.yaml:4:53: copies.offsite.session_token_file: a session token needs the access key it belongs to
            give both parts of the access key, or neither to use what the platform says
        copy-scheme-unknown.yaml:4:18: copies.offsite.url: `ftp:` is no kind of place that Lifeboat knows
            write a folder, s3://bucket/prefix, azblob://container/prefix or sftp://user@host:port/path; a folder with a colon in its name: write ./ before it
        copy-sftp-password-in-url.yaml:4:14: copies.nas.url: a password does not belong into a url
            remove it; Lifeboat logs in by `private_key_file`, or by the keys of an ssh-agent
        copy-text.yaml:4:9: copies.disk: expected keys and values here
            write {key: value}, or one `key: value` a line, indented
        copy-tilde.yaml:4:15: copies.disk.url: `~` is not replaced here
            write ${HOME} instead
        copy-without-password.yaml:4:3: copies.nas: this copy has no password
            add `password_file` to it, or at the beginning of the file for all copies
        copy-without-url.yaml:4:3: copies.disk: `url` is missing
            add a folder, such as `url: /srv/backups`
        deep-unset-variable.yaml:11:15: stacks.cht.sources.data.files.paths[1]: the environment variable NO_SUCH is not set
            set the variable, give a default with ${VAR:-default}, or write $$ for a plain dollar
        empty.yaml:1:1: `version` is missing
            write `version: 1` at the beginning
        key-misspelt.yaml:2:1: pasword_file: unknown key `pasword_file`
            did you mean `password_file`? known here: version, state_dir, password, password_file, password_command, copies, stacks
        key-twice.yaml:3:1: password_file: `password_file` is given twice
            remove one of the two
        key-unknown.yaml:3:1: repository: unknown key `repository`
            known here: version, state_dir, password, password_file, password_command, copies, stacks
        not-a-map.yaml:1:1: expected keys and values here
            write {key: value}, or one `key: value` a line, indented
        only-a-comment.yaml:1:1: `version` is missing
            write `version: 1` at the beginning
        open-quote.yaml:3:1: this is not YAML: invalid indentation in multiline quoted scalar
            texts that hold `: ` or ` #`, or begin with one of * & ! | > % @ ` { [, need quotes, and so does ${VAR} between { } or [ ]; indent with spaces
        password-command-empty.yaml:2:19: password_command: a command needs a program
            write for example [pg_dump, mydb]
        password-command-number.yaml:2:1: password_command: expected a text or a list of texts
            write a text or [text, text]; numbers need quotes
        password-empty.yaml:2:11: password: the value is empty
            write one, or remove the key
        password-list.yaml:2:11: password: expected a single value here
            write one text, without [ ] and { } around it
        password-map.yaml:2:11: password: expected a single value here
            write one text, without [ ] and { } around it
        password-missing.yaml:1:1: there is no password
            add `password_file` with the name of a file that holds it
        password-twice.yaml:3:16: password_file: `password` and `password_file` are both given
            remove one of the two
        password-unset-variable.yaml:2:11: password: the environment variable UNSET is not set
            set the variable, give a default with ${VAR:-default}, or write $$ for a plain dollar
        source-command-empty.yaml:7:29: stacks.cht.sources.data.command.run: a command needs a program
            write for example [pg_dump, mydb]
        source-command-name.yaml:7:41: stacks.cht.sources.data.command.name: this is not a name for a file
            write a name without `/`, of at most 255 bytes
        source-command-without-run.yaml:7:7: stacks.cht.sources.data: `run` is missing
            add the command, such as `run: pg_dump mydb`
        source-compose-without-files.yaml:7:7: stacks.cht.sources.data: `files` is missing
            add for example `files: [/srv/data]`
        source-full-read.yaml:7:46: stacks.cht.sources.data.files.full_read: expected a span of time
            write it like 30m, 6h, 7d or 1h30m (w, d, h, m, s; here `m` is minutes)
        source-key-misspelt.yaml:7:22: stacks.cht.sources.data.files.pahts: unknown key `pahts`
            did you mean `paths`? known here: paths, exclude, exclude_caches, one_file_system, append_only, full_read
        source-later-kind.yaml:7:14: stacks.cht.sources.data.couchdb: kind `couchdb` is not supported by this version of Lifeboat
            it comes with a later one; this one has files, sqlite, compose, command
        source-name-taken.yaml:8:7: stacks.cht.sources.lifeboat.json: `lifeboat.json` is the name of a file in every snapshot
            choose another name for the source
        source-nothing.yaml:7:7: stacks.cht.sources.data: a source needs a kind with its options
            write for example `files: {paths: [/srv/data]}`; kinds: files, sqlite, compose, command
        source-open-variable.yaml:7:29: stacks.cht.sources.data.command.run: `${` is not closed by `}`
            set the variable, give a default with ${VAR:-default}, or write $$ for a plain dollar
        source-paths-empty.yaml:7:29: stacks.cht.sources.data.files.paths: the list is empty
            name at least one path
        source-paths-map.yaml:7:29: stacks.cht.sources.data.files.paths: expected a text or a list of texts
            write a text or [text, text]; numbers need quotes
        source-paths-missing.yaml:7:7: stacks.cht.sources.data: `paths` is missing
            add for example `paths: [/srv/data]`
        source-paths-nested.yaml:7:34: stacks.cht.sources.data.files.paths[1]: expected a single value here
            write one text, without [ ] and { } around it
        source-paths-null.yaml:9:34: stacks.cht.sources.more.files.paths[1]: there is no value here
            write one, or remove what stands before it
        source-star.yaml:7:45: a text that begins with `*` needs quotes
            write it like "*.log"
        source-text.yaml:7:13: stacks.cht.sources.data: expected keys and values here
            write {key: value}, or one `key: value` a line, indented
        source-twice.yaml:8:7: stacks.cht.sources.data: `data` is given twice
            remove one of the two
        source-two-kinds.yaml:7:7: stacks.cht.sources.data: a source has one kind only
            make two sources of it, each with a name of its own
        source-unknown-kind.yaml:7:14: stacks.cht.sources.data.sqllite: unknown kind of source `sqllite`
            did you mean `sqlite`? known here: files, sqlite, compose, command
        source-yes.yaml:7:52: stacks.cht.sources.data.files.one_file_system: expected true or false
            write one of the two, in small letters
        stack-after-restore.yaml:7:5: stacks.cht.after_restore: `after_restore` is not supported by this version of Lifeboat
            it comes with a later one
        stack-before-empty.yaml:7:14: stacks.cht.before[0]: a command needs a program
            write for example [pg_dump, mydb]
        stack-before-text.yaml:7:13: stacks.cht.before: expected a list here
            write [a, b], or one item a line, each after `- `
        stack-copy-twice.yaml:7:20: stacks.cht.copies[1]: `disk` is given twice
            remove one of the two
        stack-drill-level-later.yaml:7:20: stacks.cht.drill.level: drill levels 4 and 5 are not supported by this version of Lifeboat
            they come with a later one; write 3, or remove `level`
        stack-drill-level.yaml:7:20: stacks.cht.drill.level: a drill level is a number from 0 to 3
            0: listed, 1: every byte read, 2: structure checked, 3: restored and compared
        stack-empty-schedule.yaml:7:15: stacks.cht.schedule: the schedule is empty
            write a cron expression such as "0 */4 * * *", or remove it
        stack-name.yaml:4:10: stacks.-cht: this cannot be a name
            use letters, digits, `.`, `_` and `-`, not `.` or `-` first, at most 64 of them
        stack-no-copy.yaml:7:13: stacks.cht.copies: a stack needs at least one copy
            name one, or remove `copies` to write to all
        stack-retention-key.yaml:7:17: stacks.cht.retention.keep_daily: unknown key `keep_daily`
            did you mean `daily`? known here: last, hourly, daily, weekly, monthly, yearly, within, within_hourly, within_daily, within_weekly, within_monthly, within_yearly, tags
        stack-retention-many.yaml:7:24: stacks.cht.retention.daily: expected a number of snapshots
            write a number from 0 on, or `all` to keep all of them
        stack-retention-minus.yaml:7:23: stacks.cht.retention.last: expected a number of snapshots
            write a number from 0 on, or `all` to keep all of them
        stack-retention-number.yaml:7:16: stacks.cht.retention: expected keys and values here
            write {key: value}, or one `key: value` a line, indented
        stack-retention-within.yaml:7:25: stacks.cht.retention.within: expected a span of time
            write it like 2y5m7d3h: years, months, days, hours (here `m` is months)
        stack-rpo.yaml:7:10: stacks.cht.rpo: expected a span of time
            write it like 30m, 6h, 7d or 1h30m (w, d, h, m, s; here `m` is minutes)
        stack-time-zone.yaml:7:15: stacks.cht.timezone: unknown time zone `Africa/Nairoby`
            write the name of a region and city, such as Africa/Nairobi, or UTC
        stack-unknown-copy.yaml:7:20: stacks.cht.copies[1]: there is no copy `dsk`
            did you mean `disk`? known here: disk
        stack-without-sources.yaml:4:10: stacks.cht: `sources` is missing
            add what to back up, such as `sources: {data: {files: {paths: [/srv/data]}}}`
        stacks-empty.yaml:1:1: `stacks` is missing
            add what to back up: `lifeboat init` writes it
        stacks-missing.yaml:1:1: `stacks` is missing
            add what to back up: `lifeboat init` writes it
        tab.yaml:1:10: this is not YAML: while scanning a plain scalar, found a tab
            texts that hold `: ` or ` #`, or begin with one of * & ! | > % @ ` { [, need quotes, and so does ${VAR} between { } or [ ]; indent with spaces
        two-documents.yaml:3:1: the file holds more than one YAML document
            remove the line `---` and what does not belong here
        variable-in-braces-without-quotes.yaml:5:68: this is not YAML: while parsing a flow mapping, did not find expected ',' or '}'
            texts that hold `: ` or ` #`, or begin with one of * & ! | > % @ ` { [, need quotes, and so does ${VAR} between { } or [ ]; indent with spaces
        version-missing.yaml:1:1: `version` is missing
            write `version: 1` at the beginning
        version-unknown.yaml:1:10: version: this version of Lifeboat reads `version: 1` only
            update Lifeboat, or mend the number
    "#]].assert_eq(&said);
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
    sources:
      data:
        files:
          paths: [., ./a/../b//c, "${DIR}", /abs/]
          exclude: "*.log"
          exclude_caches: true
          one_file_system: ${FLAG:-true}
          append_only: []
          full_read: 0s
      db: { sqlite: { paths: ["*.db", data], exclude: [tmp] } }
      config: { compose: { files: [compose/*.yml], env: .env, project: cht } }
      dump: { command: { run: "pg_dump x", name: x.sql, trailer: "-- done" } }
      "2": { command: { run: true } }
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
    assert_eq!(stack.before, [shell, CommandLine::Program(parts.into())]);
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
    let before = &settings.stacks[0].before;
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
    assert_eq!((a.schedule.as_ref(), a.rpo, a.rto, a.before.len()), (None, None, None, 0));
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
            - sync && echo $1 $$ ${EMPTY:-d}
            - - docker
              - stop
              - ${N}
              - "0x10"
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
                sqlite:
                  paths:
                  - /etc/lifeboat/*.db
                  - /etc/lifeboat/data
                  exclude:
                  - tmp
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
    assert_eq!((fault.kind, fault.message.as_str()), (FaultKind::NotFound, "lifeboat.yaml has no stack `chat`"));
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
    expect![".copies! .password .password_command .password_file .stacks! .state_dir .version! command.name command.run! command.trailer compose.env compose.files! compose.project copy.access_key_id copy.access_key_id_command copy.access_key_id_file copy.account copy.account_key copy.account_key_command copy.account_key_file copy.connection_string copy.connection_string_command copy.connection_string_file copy.download_limit copy.endpoint copy.immutable copy.known_hosts_file copy.layout copy.media copy.offsite copy.passphrase copy.passphrase_command copy.passphrase_file copy.password copy.password_command copy.password_file copy.prefix copy.private_key_file copy.provider copy.recipients copy.region copy.removable copy.retention copy.sas_token copy.sas_token_command copy.sas_token_file copy.secret_access_key copy.secret_access_key_command copy.secret_access_key_file copy.session_token copy.session_token_command copy.session_token_file copy.site copy.upload_limit copy.url! drill.level drill.schedule files.append_only files.exclude files.exclude_caches files.full_read files.one_file_system files.paths! retention.daily retention.hourly retention.last retention.monthly retention.tags retention.weekly retention.within retention.within_daily retention.within_hourly retention.within_monthly retention.within_weekly retention.within_yearly retention.yearly source.command source.compose source.files source.sqlite sqlite.exclude sqlite.paths! stack.before stack.copies stack.drill stack.retention stack.rpo stack.rto stack.schedule stack.sources! stack.timezone"].assert_eq(&keys.join(" "));
}

fn found(name: &str, kind: SourceKind, note: Option<&str>) -> NewSource {
    NewSource { source: SourceSettings { name: name.into(), kind }, note: note.map(str::to_owned) }
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
                SourceKind::Sqlite(SqliteSettings {
                    paths: vec!["/srv/cht/a.db".into(), "/srv/cht/b c.db".into()],
                    exclude: vec![],
                }),
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
            # This version starts nothing by itself: a line of root's crontab does, such as
            #   0 */4 * * *  lifeboat --config /path/of/this/file --quiet backup cht
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
    NewConfig { password_file: "/pw".into(), copies, stack: "s".into(), sources }
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
        let sources = vec![
            found(&name, SourceKind::Files(FilesSettings { exclude: texts.clone(), append_only: vec![], ..FilesSettings::new(paths.clone()) }), note.as_deref()),
            found("sqlite", SourceKind::Sqlite(SqliteSettings { paths: paths.clone(), exclude: texts.clone() }), None),
            found("compose", SourceKind::Compose(ComposeSettings { files: paths.clone(), env: paths, project: Some(texts[0].clone()) }), None),
            found("shell", SourceKind::Command(CommandSettings { run: CommandLine::Shell(texts[0].clone().into()), name: "shell".into(), trailer: Some(texts[0].clone()) }), None),
            found("list", SourceKind::Command(CommandSettings { run: CommandLine::Program(texts.into_iter().map(Into::into).collect()), name: "list".into(), trailer: None }), None),
        ];
        prop_assume!(!["sqlite", "compose", "shell", "list"].contains(&name.as_str()));
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

#[test]
fn a_schedule_that_nothing_acts_on_is_named() {
    let idle = |lines: &str| {
        read(&format!("version: 1\npassword_file: /pw\ncopies: {{ disk: {{ url: /b }} }}\nstacks:\n  s:\n{lines}    sources: {{ f: {{ files: {{ paths: [/x] }} }} }}\n")).stacks[0].idle_schedules()
    };
    assert_eq!(idle("    drill: { level: 2 }\n"), None);
    for (lines, keys) in [
        ("    schedule: '@daily'\n", "`schedule` is"),
        ("    drill: { schedule: '@weekly' }\n", "`drill: schedule` is"),
        ("    schedule: '@daily'\n    drill: { schedule: '@weekly' }\n", "`schedule` and `drill: schedule` are"),
    ] {
        let text = idle(lines).unwrap();
        assert!(text.starts_with(&format!("stack s: {keys} not acted on")), "{text}");
    }
}
