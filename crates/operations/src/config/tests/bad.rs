//! Mistakes: what is said of each, where, and what to do.

use std::fmt::Write;

use expect_test::expect;

use super::*;

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
        copy-azure-two-servers.yaml:4:75: copies.azure.endpoint: `endpoint` and `connection_string` both name the server
            remove `endpoint`
        copy-azure-without-account.yaml:4:56: copies.azure.account_key_file: `account` is missing
            add the name of the storage account, or a `connection_string_file`
        copy-azure-without-anything.yaml:4:16: copies.azure.url: `account` is missing
            add the name of the storage account, or a `connection_string_file`
        copy-b2-without-bucket-id.yaml:4:13: copies.b2.url: `bucket_id` is missing
            B2 wants `bucket_id`, `application_key_id` and `application_key_file`
        copy-b2-without-key.yaml:4:13: copies.b2.url: `application_key` is missing
            B2 wants `bucket_id`, `application_key_id` and `application_key_file`
        copy-file-url-with-host.yaml:4:15: copies.disk.url: a `file://` URL must hold an absolute path, without `%`
            write a plain path instead, such as /srv/backups
        copy-key-misspelt.yaml:4:32: copies.nas.private_key: unknown key `private_key`
            did you mean `private_key_file`? known here: url, media, offsite, immutable, removable, site, provider, account, region, endpoint, access_key_id, access_key_id_file, access_key_id_command, secret_access_key, secret_access_key_file, secret_access_key_command, session_token, session_token_file, session_token_command, connection_string, connection_string_file, connection_string_command, account_key, account_key_file, account_key_command, sas_token, sas_token_file, sas_token_command, credential_file, bucket_id, application_key_id, application_key_id_file, application_key_id_command, application_key, application_key_file, application_key_command, login_user, login_password, login_password_file, login_password_command, private_key_file, known_hosts_file, password, password_file, password_command, retention, upload_limit, download_limit, layout, prefix, recipients, passphrase, passphrase_file, passphrase_command
        copy-key-of-azure-in-s3.yaml:4:52: copies.offsite.connection_string: `connection_string` does not fit a copy in s3://
            remove it; it belongs to copies in azblob://
        copy-key-of-b2-in-webdav.yaml:4:47: copies.cloud.bucket_id: `bucket_id` does not fit a copy over webdav://
            remove it; it belongs to copies in b2://
        copy-key-of-gcs-in-s3.yaml:4:50: copies.offsite.credential_file: `credential_file` does not fit a copy in s3://
            remove it; it belongs to copies in gs://
        copy-key-of-s3-in-folder.yaml:4:29: copies.disk.endpoint: `endpoint` does not fit a folder
            remove it; it belongs to copies in s3:// and azblob://
        copy-key-of-s3-in-sftp.yaml:4:56: copies.nas.secret_access_key_file: `secret_access_key_file` does not fit a copy over sftp://
            remove it; it belongs to copies in s3://
        copy-key-of-sftp-in-azure.yaml:4:71: copies.azure.private_key_file: `private_key_file` does not fit a copy in azblob://
            remove it; it belongs to copies over sftp://
        copy-key-of-webdav-in-b2.yaml:4:68: copies.b2.login_password_file: `login_password_file` does not fit a copy in b2://
            remove it; it belongs to copies over webdavs:// and webdav://
        copy-label-of-remote-in-folder.yaml:4:28: copies.disk.account: `account` does not fit a folder
            remove it; it belongs to copies that are not in a folder
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
            write a folder, s3://bucket/prefix, azblob://container/prefix, gs://bucket/prefix, b2://bucket/prefix, webdavs://host/path or sftp://user@host:port/path; a folder with a colon in its name: write ./ before it
        copy-sftp-password-in-url.yaml:4:14: copies.nas.url: a password does not belong into a url
            remove it; Lifeboat logs in by `private_key_file`, or by the keys of an ssh-agent
        copy-text.yaml:4:9: copies.disk: expected keys and values here
            write {key: value}, or one `key: value` a line, indented
        copy-tilde.yaml:4:15: copies.disk.url: `~` is not replaced here
            write ${HOME} instead
        copy-webdav-login-in-url.yaml:4:16: copies.cloud.url: only the name of the server stands between the slashes
            who logs in has keys of its own: `login_user` and `login_password_file`
        copy-webdav-password-alone.yaml:4:61: copies.cloud.login_password_command: `login_user` is missing
            give both, or neither for a server that asks for no login
        copy-webdav-user-alone.yaml:4:49: copies.cloud.login_user: `login_password` is missing
            give both, or neither for a server that asks for no login
        copy-webdav-user-with-password.yaml:4:49: copies.cloud.login_user: this cannot be a user's name
            write it without colons; the password has a key of its own
        copy-without-password.yaml:4:3: copies.nas: this copy has no password
            add `password_file` to it, or at the beginning of the file for all copies
        copy-without-url.yaml:4:3: copies.disk: `url` is missing
            add a folder, such as `url: /srv/backups`
        deep-unset-variable.yaml:11:15: stacks.cht.sources.data.files.paths[1]: the environment variable NO_SUCH is not set
            set the variable, give a default with ${VAR:-default}, or write $$ for a plain dollar
        empty.yaml:1:1: `version` is missing
            write `version: 1` at the beginning
        freeze-downtime.yaml:7:60: stacks.cht.freeze.max_downtime: expected a span of time
            write it like 30m, 6h, 7d or 1h30m (w, d, h, m, s; here `m` is minutes)
        freeze-mode-missing.yaml:5:3: stacks.cht: `mode` is missing
            add `mode: pause` or `mode: stop` to `freeze`
        freeze-mode.yaml:7:21: stacks.cht.freeze.mode: expected stop or pause
            write one of the two, or remove it to let the containers go on
        freeze-nothing.yaml:7:21: stacks.cht.freeze.mode: `freeze` names no container
            add `services: [web]`, or `containers` with their names
        freeze-of-database.yaml:7:21: stacks.cht.freeze.mode: the server of source `data` would stand still, and could not be asked
            take it out of `freeze`: what it holds is captured as of one moment all the same
        freeze-project.yaml:7:55: stacks.cht.freeze.project: `project` belongs to `services`
            remove it: a container's name needs no project
        hook-number.yaml:7:13: stacks.cht.after[0]: expected a text, a list of texts, or `run` with its options
            write a text or [text, text]; numbers need quotes
        hook-on-error.yaml:7:37: stacks.cht.before[0].on_error: expected fail, warn or continue
            fail: the run fails; warn: it is partial; continue: its result does not change
        hook-project-alone.yaml:7:36: stacks.cht.before[0].project: `project` needs a `service`
            add it, or remove this
        hook-run-missing.yaml:7:13: stacks.cht.after[0]: `run` is missing
            add the command, such as `run: php occ maintenance:mode --on`
        hook-service-and-container.yaml:7:52: stacks.cht.before[0].container: `service` and `container` are both given
            remove one of the two
        hook-timeout-zero.yaml:7:36: stacks.cht.before[0].timeout: this leaves no time
            write a longer one, such as 60s
        hook-unknown-key.yaml:7:27: stacks.cht.before[0].on_eror: unknown key `on_eror`
            did you mean `on_error`? known here: run, service, project, container, timeout, on_error
        key-misspelt.yaml:2:1: pasword_file: unknown key `pasword_file`
            did you mean `password_file`? known here: version, state_dir, password, password_file, password_command, copies, stacks, jobs, server, notifications
        key-twice.yaml:3:1: password_file: `password_file` is given twice
            remove one of the two
        key-unknown.yaml:3:1: repository: unknown key `repository`
            known here: version, state_dir, password, password_file, password_command, copies, stacks, jobs, server, notifications
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
        source-container-both.yaml:7:57: stacks.cht.sources.data.container-files.container: `service` and `container` are both given
            remove one of the two
        source-container-nothing.yaml:7:7: stacks.cht.sources.data: `service` is missing
            add the name of a Compose service, or `container` with the name of a container
        source-container-path.yaml:7:54: stacks.cht.sources.data.container-files.paths[0]: this is no path in a container
            write it from the root of the container, such as /etc/nginx, without `..`
        source-container-project.yaml:7:43: stacks.cht.sources.data.container-files.project: `project` belongs to a `service`, not to a `container`
            remove it: a container's name needs no project
        source-couchdb-password-alone.yaml:7:74: stacks.cht.sources.data.couchdb.password: `user` is missing
            write whose password it is
        source-couchdb-service.yaml:7:52: stacks.cht.sources.data.couchdb.config: CouchDB's files are read where they lie, not out of a container
            name the folder of the host that is mounted there, or volume:NAME
        source-couchdb-url-with-password.yaml:7:47: stacks.cht.sources.data.couchdb.url: a user or a password stands in it
            write them as `user` and `password_file`
        source-couchdb-url.yaml:7:47: stacks.cht.sources.data.couchdb.url: this is no address of a CouchDB
            write it like http://127.0.0.1:5984
        source-couchdb-user-alone.yaml:7:70: stacks.cht.sources.data.couchdb.user: `password_file` is missing
            give the password of the user; CouchDB tells nothing without
        source-couchdb-user-without-url.yaml:7:48: stacks.cht.sources.data.couchdb.user: `url` is missing
            write the address of CouchDB, such as `url: http://127.0.0.1:5984`
        source-couchdb-without-data.yaml:7:7: stacks.cht.sources.data: `data` is missing
            add the data folder, such as `data: /opt/couchdb/data`
        source-full-read.yaml:7:46: stacks.cht.sources.data.files.full_read: expected a span of time
            write it like 30m, 6h, 7d or 1h30m (w, d, h, m, s; here `m` is minutes)
        source-key-misspelt.yaml:7:22: stacks.cht.sources.data.files.pahts: unknown key `pahts`
            did you mean `paths`? known here: paths, exclude, exclude_caches, one_file_system, append_only, full_read
        source-later-kind.yaml:7:14: stacks.cht.sources.data.mongodb: kind `mongodb` is not supported by this version of Lifeboat
            it comes with a later one; this one has files, sqlite, compose, command, couchdb, tls, volume, container-files, postgres, mysql, redis
        source-mysql-by-another-name.yaml:7:14: stacks.cht.sources.data.mariadb: unknown kind of source `mariadb`
            write `mysql`, which is for mariadb too
        source-mysql-socket.yaml:7:27: stacks.cht.sources.data.mysql.url: this names no socket
            write the path after it, such as unix:///run/server.sock
        source-name-taken.yaml:8:7: stacks.cht.sources.lifeboat.json: `lifeboat.json` is the name of a file in every snapshot
            choose another name for the source
        source-nothing.yaml:7:7: stacks.cht.sources.data: a source needs a kind with its options
            write for example `files: {paths: [/srv/data]}`; kinds: files, sqlite, compose, command, couchdb, tls, volume, container-files, postgres, mysql, redis
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
        source-place-service.yaml:7:28: stacks.cht.sources.data.tls.from: this names no place in a container
            write it like nginx:/etc/nginx/private, without `..`
        source-place-volume.yaml:7:28: stacks.cht.sources.data.tls.from: this names no place in a volume
            write it like volume:shop_certs or volume:shop_certs/live, without `..`
        source-postgres-files.yaml:7:32: stacks.cht.sources.data.postgres.files: only of a Redis may the files be read while it runs
            remove it, and say where the server is
        source-postgres-nothing.yaml:7:7: stacks.cht.sources.data: `service` is missing
            add the name of a Compose service, or `container` with the name of a container, or `url`, such as `url: postgresql://backup@db.example.org:5432?sslmode=require`
        source-postgres-shrink.yaml:7:50: stacks.cht.sources.data.postgres.max_shrink: expected a share
            write it like 20%, from 0% up to 100%
        source-postgres-two-servers.yaml:7:66: stacks.cht.sources.data.postgres.container: `url` is given too, and a server is in one place only
            remove one of the two
        source-postgres-url-with-database.yaml:7:30: stacks.cht.sources.data.postgres.url: a database stands in it
            name it on its own
        source-postgres-url-with-password.yaml:7:30: stacks.cht.sources.data.postgres.url: a password stands in it
            give it in a file
        source-postgres-url.yaml:7:30: stacks.cht.sources.data.postgres.url: this is no address of such a server
            write it like postgresql://backup@db.example.org:5432?sslmode=require
        source-redis-databases.yaml:7:59: stacks.cht.sources.data.redis.databases: a Redis is captured with all its databases, and without tools of this machine
            remove the key
        source-redis-files-and-url.yaml:7:50: stacks.cht.sources.data.redis.url: `files` is given too, for which no server is asked
            remove one of the two
        source-redis-files-in-container.yaml:7:29: stacks.cht.sources.data.redis.files: Redis's files are read where they lie, not out of a container
            name the folder of the host that is mounted there, or volume:NAME
        source-schedule.yaml:7:24: stacks.cht.sources.data.schedule: minute: `60` is not from 0 to 59
            write 0 to 59, such as 0, */15 or H
        source-star.yaml:7:45: a text that begins with `*` needs quotes
            write it like "*.log"
        source-text.yaml:7:13: stacks.cht.sources.data: expected keys and values here
            write {key: value}, or one `key: value` a line, indented
        source-tls-both.yaml:7:37: stacks.cht.sources.data.tls.key: `from` stands for all files, so `cert` and `key` have no place beside it
            remove `from`, or the other two
        source-tls-cert-alone.yaml:7:7: stacks.cht.sources.data: `key` is missing
            add `from: /etc/ssl/shop`, a folder, or both `cert` and `key`
        source-tls-nothing.yaml:7:7: stacks.cht.sources.data: `from` is missing
            add `from: /etc/ssl/shop`, a folder, or both `cert` and `key`
        source-twice.yaml:8:7: stacks.cht.sources.data: `data` is given twice
            remove one of the two
        source-two-kinds.yaml:7:7: stacks.cht.sources.data: a source has one kind only
            make two sources of it, each with a name of its own
        source-unknown-kind.yaml:7:14: stacks.cht.sources.data.sqllite: unknown kind of source `sqllite`
            did you mean `sqlite`? known here: schedule, files, sqlite, compose, command, couchdb, tls, volume, container-files, postgres, mysql, redis, before, after
        source-volume-halt.yaml:7:40: stacks.cht.sources.data.volume.halt: expected stop or pause
            write one of the two, or remove it to let the containers go on
        source-volume-name.yaml:7:31: stacks.cht.sources.data.volume.name: this cannot be the name of a volume, service or container
            they have letters, digits, `_`, `.` and `-`, and begin with a letter or digit
        source-volume-nothing.yaml:7:7: stacks.cht.sources.data: `name` is missing
            add for example `name: shop_data`; `docker volume ls` shows what there is
        source-yes.yaml:7:52: stacks.cht.sources.data.files.one_file_system: expected true or false
            write one of the two, in small letters
        stack-after-restore-method.yaml:7:73: stacks.cht.after_restore.call.method: this is no method of HTTP
            write POST or GET
        stack-after-restore.yaml:7:34: stacks.cht.after_restore.ready.url: this is no address that a request can go to
            write it like http://127.0.0.1:8080/path; a login goes into `headers`
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
        stack-drill-schedule.yaml:7:23: stacks.cht.drill.schedule: day of week: `SUNDAY` is not known
            write SUN
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
        stack-retention-nothing.yaml:7:23: stacks.cht.retention.last: these rules keep nothing
            keep at least one; `retention: {}` keeps everything
        stack-retention-number.yaml:7:16: stacks.cht.retention: expected keys and values here
            write {key: value}, or one `key: value` a line, indented
        stack-retention-within.yaml:7:25: stacks.cht.retention.within: expected a span of time
            write it like 2y5m7d3h: years, months, days, hours (here `m` is months)
        stack-rpo.yaml:7:10: stacks.cht.rpo: expected a span of time
            write it like 30m, 6h, 7d or 1h30m (w, d, h, m, s; here `m` is minutes)
        stack-schedule-backwards.yaml:7:15: stacks.cht.schedule: hour: `22-2` runs backwards
            write 22-23,0-2
        stack-schedule-hour.yaml:7:15: stacks.cht.schedule: hour: `24` is not from 0 to 23
            write 0 to 23, such as 3, 22-23 or */4; midnight is 0
        stack-schedule-never.yaml:7:15: stacks.cht.schedule: this never comes: no month of it is sure to have 30 days
            write a day up to 29, other months, or * as the month
        stack-schedule-nickname.yaml:7:15: stacks.cht.schedule: `@dayly` is not known
            did you mean @daily? known here: @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually, or five fields such as "0 */4 * * *"
        stack-schedule-seconds.yaml:7:15: stacks.cht.schedule: there are 6 fields, and a schedule has five
            there are no seconds, years and commands here: write minute, hour, day of month, month and day of week, such as "0 */4 * * *" for every four hours, or @daily
        stack-schedule-span.yaml:7:15: stacks.cht.schedule: `6h` is no schedule
            write minute, hour, day of month, month and day of week, such as "0 */4 * * *" for every four hours, or @daily
        stack-schedule-word.yaml:7:15: stacks.cht.schedule: `daily` is no schedule
            write @daily
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
